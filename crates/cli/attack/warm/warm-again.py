# name: warm-again
# area: warm
# about: Makes a warm interpreter of itself, with a socket of its own, to have forks made that stand outside of the walls.
# expect: contained
# profiles: strict
# users: user
# needs: warm

import array
import gc
import os
import socket
import sys

if gc.get_freeze_count() < 5000:
    print("this program is no fork")
    sys.exit(2)
# What a module's function is called on to serve is reached through the frame below this one.
outer = sys._getframe().f_back
names = {}
while outer is not None:
    names.update(outer.f_globals)
    names.update(outer.f_locals)
    outer = outer.f_back
fork = names.get("fork") or names.get("self")
module_loader = names.get("importlib")
print("reached", sorted(name for name in names if not name.startswith("__")))
try:
    loader = module_loader.machinery.ExtensionFileLoader("sandkeep_warm", "/proc/self/fd/5")
    spec = module_loader.util.spec_from_loader("sandkeep_warm", loader)
    again = module_loader.util.module_from_spec(spec)
    # What it finds at its number is a socket of ours. It may serve there as much as it likes: as this user, in this group.
    mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    os.dup2(its.fileno(), 4)
    if os.fork() == 0:
        loader.exec_module(again)
        os._exit(0)
    its.close()
    print("it serves", mine.recv(64))
    fds = [os.open("/dev/null", os.O_RDWR) for _ in range(6)]
    mine.sendmsg([bytes(6)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds[:5]))])
    print("and answers", mine.recv(64))
    with open("/proc/self/status") as file:
        print([line for line in file if line.startswith(("Uid", "CapEff", "NoNewPrivs", "Seccomp:"))])
except (ImportError, OSError, AttributeError) as error:
    print(error)
# An exit in the middle of everything.
fork.leave(0) if hasattr(fork, "leave") else os._exit(0)
