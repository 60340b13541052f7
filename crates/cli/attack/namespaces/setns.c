// name: setns
// area: namespaces
// about: Enters the namespaces of PID 1, the parent and itself through /proc/PID/ns and through a pidfd.
// expect: blocked
// control: host

#include "attack.h"

#include <sched.h>

static const char *const kinds[] = {"uts", "ipc", "net", "pid", "mnt", "cgroup", "user", "time"};

ATTACK(setns)
{
    char owners[3][16] = {"self", "1", ""};
    snprintf(owners[2], sizeof owners[2], "%d", getppid());
    for (unsigned i = 0; i < 3; i++) {
        for (unsigned j = 0; j < sizeof kinds / sizeof kinds[0]; j++) {
            char path[64];
            snprintf(path, sizeof path, "/proc/%s/ns/%s", owners[i], kinds[j]);
            int fd = open(path, O_RDONLY | O_CLOEXEC);
            if (fd < 0)
                continue;
            MUST_REFUSE(path, setns(fd, 0));
            close(fd);
        }
    }
    int pidfd = (int)syscall(SYS_pidfd_open, 1, 0);
    if (pidfd >= 0) {
        MUST_REFUSE("setns(pidfd of 1)", setns(pidfd, CLONE_NEWUTS));
        MUST_REFUSE("setns(pidfd of 1)", setns(pidfd, CLONE_NEWNS | CLONE_NEWUSER));
    }
    MUST_REFUSE("setns(-1)", setns(-1, 0));
    BLOCKED("entering namespaces: %s", attack_tally());
}
