// name: mount
// area: mounts
// about: Mounts tmpfs, proc, sysfs, cgroups, devtmpfs, overlay and binds, and remounts what is read-only.
// expect: blocked
// control: namespace

#include "attack.h"

#include <sys/mount.h>

ATTACK(mount)
{
    const char *types[] = {"tmpfs",   "proc",      "sysfs",   "cgroup", "cgroup2",     "devtmpfs",
                           "devpts",  "mqueue",    "debugfs", "tracefs", "binfmt_misc", "overlay",
                           "ext4",    "securityfs", "bpf",    "fuse",    "9p",          "nfs"};
    for (unsigned i = 0; i < sizeof types / sizeof types[0]; i++)
        MUST_REFUSE(types[i], mount("none", "/tmp", types[i], 0, NULL));
    MUST_REFUSE("bind of /", mount("/", "/tmp", NULL, MS_BIND | MS_REC, NULL));
    MUST_REFUSE("bind of /proc/1/root", mount("/proc/1/root", "/tmp", NULL, MS_BIND, NULL));
    MUST_REFUSE("move of /proc", mount("/proc", "/tmp", NULL, MS_MOVE, NULL));
    const char *read_only[] = {"/", "/usr", "/proc/sys", "/proc/sysrq-trigger", "/proc", "/sys"};
    for (unsigned i = 0; i < sizeof read_only / sizeof read_only[0]; i++) {
        MUST_REFUSE("remount, bind",
                    mount(NULL, read_only[i], NULL, MS_REMOUNT | MS_BIND, NULL));
        MUST_REFUSE("remount", mount(NULL, read_only[i], NULL, MS_REMOUNT, NULL));
    }
    MUST_REFUSE("shared propagation", mount(NULL, "/", NULL, MS_SHARED | MS_REC, NULL));
    BLOCKED("mount(2): %s", attack_tally());
}
