"""Becomes a warm interpreter: `python3 -u -c THIS MODULE...` imports the modules and waits to be forked.

What comes back from the import of sandkeep_warm is a fork, behind all walls, that may run foreign code. It has to become the
interpreter that `python3 -u FILE ARGUMENTS...` would be: it sets right what differs, runs FILE as __main__, and ends as
an interpreter ends, but for taking apart what was here before the fork, which would copy every page of it.

Whenever something would not come out the same, the fork executes the interpreter anew: nothing of the code has run by then.

A fork pays for every page that it writes to, and to look at an object is to write to it: what can be known before the fork is
found out before it, and afterwards nothing goes through all of what was there.
"""
import sys

# Where `-c` has put the working directory: nothing may be imported from there.
del sys.path[0]

import _signal
import _thread
import atexit
import builtins
import gc
import importlib.machinery
import importlib.util
import io
import os
import stat
import threading
import time
import weakref

MODULE = "/proc/self/fd/5"
# Where the agent lays the files of executions, which code cannot change: code that came with a request is alone there.
LAID = "/run/sandkeep/"
# The files of a directory that are looked at for names that would have been imported in place of ours.
MOST_NAMES = 2000
# Names of the environment that an interpreter, its C library or its loader reads at its start.
EARLY = ("PYTHON", "LC_", "LANGUAGE", "LD_", "MALLOC_", "GLIBC_", "GCONV_")
# Of those, what every execution has.
USUAL = {"PYTHONPATH": "/workspace", "PYTHONDONTWRITEBYTECODE": "1"}
LANG = "C.UTF-8"
# What most executions have: what is the same already need not be set.
TYPICAL = {
    "HOME": "/home/user",
    "LANG": LANG,
    "LOGNAME": "user",
    "NODE_PATH": "/workspace/node_modules",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "TMPDIR": "/tmp",
    "USER": "user",
    **USUAL,
}
PACKAGES = "/.local/lib/python%d.%d/site-packages" % sys.version_info[:2]


def become_warm(names):
    """Imports `names` and what is needed to end; returns in forks alone, with what is known of all of them."""
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError:
            # Code that needs it hears of it when it imports it itself.
            pass
    loader = importlib.machinery.ExtensionFileLoader("sandkeep_warm", MODULE)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("sandkeep_warm", loader))
    # Only now: at the start an interpreter looks for modules where these say.
    os.environ.clear()
    os.environ.update(sorted(TYPICAL.items()))
    find_user_site()
    fork = Fork(module)
    gc.collect()
    # From here on nothing that exists is looked at again by the collector, which would write to every page.
    gc.freeze()
    loader.exec_module(module)
    return fork


def texts(joined):
    return os.fsdecode(joined).split("\0")[:-1]


def find_user_site():
    """Has `site` say where modules of the user would be, which depends on the home directory."""
    site = sys.modules.get("site")
    if site is not None:
        site.USER_BASE = site.USER_SITE = None
        site.getusersitepackages()


class Fork:
    """One start."""

    def __init__(self, module):
        self.module = module
        # What was there before any code.
        self.known = frozenset(sys.modules)
        self.counts = [(vars(module), len(vars(module))) for module in (sys, builtins)]

    def run(self):
        """Runs the code and ends; raises SystemExit where the interpreter is to end in its own way."""
        self.argv = texts(self.module.argv)
        self.env = dict(text.split("=", 1) for text in texts(self.module.env))
        path = self.argv[2]
        self.set_environment()
        code = self.code(path)
        if code is None:
            self.start_anew()
        # Nothing here holds the code's names, so that they go when the code's module does.
        status, interrupted = run_main(code, self.set_main(path))
        self.end(status, interrupted)
        raise SystemExit(status)

    def start_anew(self):
        os.execve(sys.executable, self.argv, self.env)

    def set_environment(self):
        if self.env == TYPICAL:
            return
        os.environ.clear()
        os.environ.update(self.env)
        if "TZ" in self.env:
            time.tzset()
        find_user_site()

    def is_usual(self):
        """Whether an interpreter that starts with this environment would be as this one is."""
        if os.path.exists(self.env.get("HOME", "/") + PACKAGES):
            return False
        early = {name: value for name, value in self.env.items() if name.startswith(EARLY)}
        return early == USUAL and self.env.get("LANG") == LANG

    def code(self, path):
        """What is to be run; None where that had better be found out by an interpreter of its own."""
        if not path.startswith("/") or not self.is_usual():
            return None
        if path.startswith(LAID):
            directory, name = os.path.split(path)
            hides = name.split(".", 1)[0] in self.known
        else:
            directory = os.path.dirname(os.path.realpath(path))
            hides = hides_known(directory, self.known)
        if hides or hides_known("/workspace", self.known):
            return None
        try:
            with io.FileIO(path) as file:
                source = file.readall()
            if source.startswith(b"PK"):
                return None
            compiled = compile(source, path, "exec", dont_inherit=True)
        except Exception:
            return None
        sys.path[:0] = [directory, "/workspace"]
        return compiled

    def set_main(self, path):
        sys.argv = self.argv[2:]
        if hasattr(sys, "orig_argv"):
            sys.orig_argv = self.argv
        if not stat.S_ISCHR(os.fstat(0).st_mode):
            # It was opened on /dev/null, of which other things are true than of what is there now.
            old = sys.stdin
            raw = io.FileIO(0, "r", closefd=False)
            raw.name = old.buffer.raw.name
            new = io.TextIOWrapper(io.BufferedReader(raw), old.encoding, old.errors, "\n")
            new.mode = old.mode
            sys.stdin = sys.__stdin__ = new
        main = type(sys)("__main__")
        namespace = vars(main)
        loader = importlib.machinery.SourceFileLoader("__main__", path)
        namespace.update(__loader__=loader, __builtins__=builtins, __file__=path)
        if sys.version_info < (3, 15):
            namespace.update(__cached__=None)
        if sys.version_info < (3, 14):
            namespace.update(__annotations__={})
        sys.modules["__main__"] = main
        return namespace

    def end(self, status, interrupted):
        """As Py_FinalizeEx does, in its order."""
        if _thread._count() or getattr(threading, "_threading_atexits", True):
            try:
                threading._shutdown()
            except BaseException:
                # An interpreter says which way it failed; so does this one when it ends in its own way.
                return
        atexit._run_exitfuncs()
        if not flush():
            return
        self.let_go()
        flush()
        if interrupted:
            _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
            os.kill(os.getpid(), _signal.SIGINT)
        self.module.leave(status)

    def let_go(self):
        """Drops what the code has made, so that its objects are finalized and its files are written."""
        for names, count in self.counts:
            # New names stand behind the old ones.
            for name in list_of_last(names, len(names) - count):
                del names[name]
        modules = sys.modules
        own = []
        for name in reversed(modules):
            if name in self.known:
                break
            own.append(name)
        own.append("__main__")
        left = [weakref.ref(module) for name in own if isinstance(module := modules.get(name), type(sys))]
        module = None
        for name in own:
            modules.pop(name, None)
        collect()
        if any(module() is not None for module in left):
            for module in left:
                clear(module())
            collect()
        write_files()


def list_of_last(names, count):
    """The last `count` keys of a dictionary."""
    last = reversed(names)
    return [next(last) for _ in range(count)]


def collect():
    """Finalizes what is only held by itself: without what is older than the code, and that cheaply while all is young."""
    young = gc.get_count()[1:] == (0, 0)
    gc.collect(0 if young else 2)


def hides_known(directory, known):
    """Whether an import by a name of `known` would find something in `directory`."""
    try:
        with os.scandir(directory) as entries:
            for count, entry in enumerate(entries):
                if count > MOST_NAMES or entry.name.split(".", 1)[0] in known:
                    return True
                if entry.name in ("sitecustomize.py", "usercustomize.py"):
                    return True
    except OSError:
        return False
    return False


def run_main(code, namespace):
    """Returns the exit status, and whether it was interrupted."""
    try:
        exec(code, namespace)
    except SystemExit as end:
        return exit_status(end.code), False
    except BaseException as error:
        return report(error, namespace)
    return 0, False


def exit_status(code):
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF if -(2**63) <= code < 2**63 else 0xFF
    try:
        sys.stderr.write(str(code))
        sys.stderr.write("\n")
        sys.stderr.flush()
    except Exception:
        pass
    return 1


def report(error, namespace):
    """Tells of an exception that nothing caught, without the frame of ours that it came through."""
    kind, trace = type(error), error.__traceback__.tb_next
    error.__traceback__ = trace
    sys.last_type, sys.last_value, sys.last_traceback = kind, error, trace
    if sys.version_info >= (3, 12):
        sys.last_exc = error
    try:
        sys.excepthook(kind, error, trace)
    except SystemExit as end:
        return exit_status(end.code), False
    except BaseException as second:
        second.__traceback__ = second.__traceback__.tb_next
        second.__context__ = None
        sys.stderr.write("Error in sys.excepthook:\n")
        sys.__excepthook__(type(second), second, second.__traceback__)
        sys.stderr.write("\nOriginal exception was:\n")
        sys.__excepthook__(kind, error, trace)
    return 1, isinstance(error, KeyboardInterrupt)


def flush():
    """Writes what the standard streams hold; False where that failed, which an interpreter says when it ends."""
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None and not getattr(stream, "closed", False):
                stream.flush()
    except Exception:
        return False
    return True


def clear(module):
    """As `_PyModule_ClearDict`: first what begins with one underscore."""
    if module is None:
        return
    names = vars(module)
    for private in (True, False):
        for name in list(names):
            is_private = name[:1] == "_" and name[1:2] != "_"
            if is_private is private and name != "__builtins__":
                names[name] = None


def write_files():
    """Writes what files hold that something older than the code still refers to."""
    for thing in gc.get_objects():
        if isinstance(thing, (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)):
            try:
                thing.flush()
            except Exception:
                pass


become_warm(sys.argv[1:]).run()
