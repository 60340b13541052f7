# name: host-socket
# area: files
# about: Connects to a unix socket file of the host, such as the one of a container engine.
# expect: blocked
# canary: ATTACK_HOST_SOCKET
# control: host

import os
import socket
import sys

bait = os.environ.get("ATTACK_HOST_SOCKET") or sys.exit(2)
paths = [bait, "/proc/1/root" + bait, "/proc/self/root" + bait, "/workspace/.." + bait,
         "/run/docker.sock", "/var/run/docker.sock", "/run/containerd/containerd.sock",
         "/run/dbus/system_bus_socket", "/run/systemd/private", "/run/systemd/notify",
         "/run/systemd/journal/socket", "/run/systemd/journal/stdout", "/dev/log",
         "/run/podman/podman.sock", "/run/crio/crio.sock", "/run/snapd.socket",
         "/run/postgresql/.s.PGSQL.5432", "/var/run/postgresql/.s.PGSQL.5432",
         "/tmp/.X11-unix/X0", "/run/sandkeep/control.sock", "/var/lib/libvirt/libvirt-sock"]
for path in paths:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
        with socket.socket(socket.AF_UNIX, kind) as attempt:
            try:
                attempt.connect(path)
                print(f"ESCAPED connected to {path}")
                sys.exit(0)
            except OSError as error:
                last = error
                if error.errno in (91, 111):  # Wrong type, or nobody listens: it is there.
                    print(f"ESCAPED {path} is a socket of the host ({error.strerror})")
                    sys.exit(0)
print(f"BLOCKED {len(paths)} socket files, last: {last}")
