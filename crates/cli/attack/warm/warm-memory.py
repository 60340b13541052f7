# name: warm-memory
# area: warm
# about: Reads, writes and traces the interpreter that this program was forked from, and whatever other execution there is.
# expect: blocked
# profiles: strict
# users: user
# needs: x86-64 warm

import ctypes
import gc
import os
import sys

if gc.get_freeze_count() < 5000:
    print("this program is no fork")
    sys.exit(2)
libc = ctypes.CDLL(None, use_errno=True)
tries = 0


def escaped(what):
    print("ESCAPED", what)
    sys.stdout.flush()
    os._exit(0)


def others():
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            yield int(name)


for pid in others():
    for name, flags in (("mem", os.O_RDONLY), ("mem", os.O_RDWR), ("environ", os.O_RDONLY), ("auxv", os.O_RDONLY),
                        ("maps", os.O_RDONLY), ("smaps", os.O_RDONLY), ("pagemap", os.O_RDONLY), ("syscall", os.O_RDONLY),
                        ("stack", os.O_RDONLY), ("clear_refs", os.O_WRONLY), ("attr/current", os.O_WRONLY),
                        ("coredump_filter", os.O_WRONLY), ("oom_score_adj", os.O_WRONLY), ("comm", os.O_WRONLY),
                        ("uid_map", os.O_WRONLY), ("timerslack_ns", os.O_RDWR)):
        tries += 1
        try:
            file = os.open(f"/proc/{pid}/{name}", flags)
        except OSError:
            continue
        try:
            if name == "mem":
                escaped(f"opened the memory of {pid}")
            if flags == os.O_RDONLY:
                if os.read(file, 64):
                    escaped(f"read {name} of {pid}")
            else:
                os.write(file, b"1")
                escaped(f"wrote {name} of {pid}")
        except OSError:
            pass
        finally:
            os.close(file)
    for name in ("root", "cwd", "exe", "fd/4", "fd/0", "map_files", "ns/user"):
        tries += 1
        try:
            escaped(f"followed {name} of {pid} to {os.readlink(f'/proc/{pid}/{name}')}")
        except OSError:
            pass
    PTRACE_ATTACH, PTRACE_SEIZE = 16, 0x4206
    for request in (PTRACE_ATTACH, PTRACE_SEIZE):
        tries += 1
        if libc.ptrace(request, pid, None, None) == 0:
            escaped(f"traced {pid}")
    local = ctypes.create_string_buffer(64)

    class Vector(ctypes.Structure):
        _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]

    here, there = Vector(ctypes.addressof(local), 64), Vector(id(gc), 64)
    for call in (libc.process_vm_readv, libc.process_vm_writev):
        tries += 1
        if call(pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0) > 0:
            escaped(f"{call.__name__} of {pid}, at an address of this interpreter")
    KCMP = 312
    tries += 1
    if libc.syscall(KCMP, os.getpid(), pid, 0, 0, 0) >= 0:
        escaped(f"compared descriptors with {pid}")
print(f"BLOCKED {tries} tries at what is not this program")
