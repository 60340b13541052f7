"""Becomes a warm interpreter: `python3 -u -c THIS MODULE...` imports the modules and waits to be forked.

What comes back from the import of sandkeep_warm is a fork, behind all walls, that may run foreign code. It has to become the
interpreter that `python3 -u FILE ARGUMENTS...` would be: it sets right what differs, runs FILE as __main__, and ends as
an interpreter ends, but for taking apart what was here before the fork, which would copy every page of it.

Whenever something would not come out the same, the fork executes the interpreter anew: nothing of the code has run by then.

A fork pays for every page that it writes to, and to look at an object is to write to it: what can be known before the fork is
found out before it, and afterwards nothing goes through all of what was there.
"""
import sys

if sys.implementation.name != "cpython" or set("td") & set(sys.abiflags) or hasattr(sys, "getobjects"):
    # Its objects are not as the module takes them to be.
    sys.exit(1)
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
import types
import warnings
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
# What code can take away or exchange, and the end needs.
MODULES = sys.modules
ANYTHING, EXIT, INTERRUPT = BaseException, SystemExit, KeyboardInterrupt
run_exit_functions, running_threads = atexit._run_exitfuncs, _thread._count
count_collections, collect_garbage, tracked_objects = gc.get_count, gc.collect, gc.get_objects
# Of what the collector tracks, what has nothing to say at its end: containers, what the interpreter itself makes of code, and
# what an import leaves.
LIVELY = {types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType, types.SimpleNamespace}
PLAIN = {kind for kind in vars(types).values() if isinstance(kind, type)} - LIVELY
PLAIN |= {dict, list, tuple, set, frozenset, type, property, staticmethod, classmethod, weakref.ref}
PLAIN |= {type(threading.Lock()), type(threading.RLock()), importlib.machinery.ModuleSpec}
PLAIN |= {kind for name, kind in vars(importlib.machinery).items() if name.endswith(("Loader", "Finder"))}
PLAIN |= {type(found) for found in sys.path_importer_cache.values()}
# Of modules that may be here. What a handler for logs holds is written by `logging.shutdown`.
KNOWN_PLAIN = {"re": ["Pattern"], "_struct": ["Struct"], "logging": ["StreamHandler", "Formatter", "PercentStyle"]}
PACKAGES = "/.local/lib/python%d.%d/site-packages" % sys.version_info[:2]


def become_warm(names):
    """Imports `names` and what is needed to end; returns in forks alone, with what is known of all of them."""
    for name in names:
        try:
            importlib.import_module(name)
        except Exception:
            # Code that needs it hears of it when it imports it itself.
            pass
    for module, kinds in KNOWN_PLAIN.items():
        if module in MODULES:
            PLAIN.update(getattr(MODULES[module], kind) for kind in kinds)
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
        self.set_times()
        # Nothing here holds the code's names, so that they go when the code's module does.
        status, interrupted = run_main(code, self.set_main(path))
        try:
            self.end(status, interrupted)
        except ANYTHING:
            # Code has changed what that needs. The interpreter itself needs nothing of it.
            pass
        if interrupted:
            # That it is said already is all that the interpreter is not to do.
            sys.excepthook = lambda *told: None
            raise INTERRUPT
        raise EXIT(status)

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

    def set_times(self):
        """What was noted when the interpreter began, and is of the fork."""
        logging = MODULES.get("logging")
        if hasattr(logging, "_startTime"):
            now = time.time_ns() if isinstance(logging._startTime, int) else time.time()
            logging._startTime = now
        main = threading.main_thread()
        if hasattr(main, "_set_native_id"):
            main._set_native_id()

    def is_usual(self):
        """Whether an interpreter that starts with this environment would be as this one is."""
        if "HOME" not in self.env or os.path.exists(self.env["HOME"] + PACKAGES):
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
                # What can be read once only is the interpreter's to read.
                source = file.readall() if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b"PK"
            if source.startswith(b"PK"):
                return None
            with warnings.catch_warnings():
                # Whoever says it has to say it once.
                warnings.simplefilter("error")
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
        self.lively = count_lively()
        return namespace

    def end(self, status, interrupted):
        """As Py_FinalizeEx does, in its order. Comes back where that had better be left to Py_FinalizeEx."""
        sys.settrace(None)
        sys.setprofile(None)
        if running_threads() or getattr(threading, "_threading_atexits", True):
            return
        try:
            run_exit_functions()
        except ANYTHING:
            # Before Python 3.10 it raises what it has told of.
            pass
        if running_threads() or not flush():
            return
        self.let_go()
        if not flush() or count_lively() > self.lively:
            return
        if interrupted:
            _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
            os.kill(os.getpid(), _signal.SIGINT)
        self.module.leave(status)

    def let_go(self):
        """Drops what the code has made, so that its objects are finalized and its files are written."""
        sys.stdin, sys.stdout, sys.stderr = sys.__stdin__, sys.__stdout__, sys.__stderr__
        for names, count in self.counts:
            # New names stand behind the old ones.
            for name in list_of_last(names, len(names) - count):
                del names[name]
        own = []
        for name in reversed(MODULES):
            if name in self.known:
                break
            own.append(name)
        own.append("__main__")
        left = [weakref.ref(module) for name in own if isinstance(module := MODULES.get(name), type(sys))]
        module = None
        for name in own:
            MODULES.pop(name, None)
        collect()
        if any(module() is not None for module in left):
            for module in left:
                clear(module())
            collect()


def list_of_last(names, count):
    """The last `count` keys of a dictionary."""
    last = reversed(names)
    return [next(last) for _ in range(count)]


def collect():
    """Finalizes what is only held by itself: without what is older than the code, and that cheaply while all is young."""
    young = count_collections()[1:] == (0, 0)
    collect_garbage(0 if young else 2)


def hides_known(directory, known):
    """Whether an import by a name of `known` would find something in `directory`."""
    try:
        with os.scandir(directory) as entries:
            for count, entry in enumerate(entries):
                name = entry.name.split(".", 1)[0]
                if count > MOST_NAMES or name in known or name in ("sitecustomize", "usercustomize"):
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


def count_lively():
    """How many of the objects since the fork may have something to say or to write at their end."""
    kinds = map(type, tracked_objects())
    return sum(1 for kind in kinds if kind not in PLAIN and not issubclass(kind, type))


become_warm(sys.argv[1:]).run()
