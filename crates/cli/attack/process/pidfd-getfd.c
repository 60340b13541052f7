// name: pidfd-getfd
// area: process
// about: Takes the descriptors of PID 1 and the parent out of them with pidfd_getfd.
// expect: blocked
// control: host

#include "attack.h"

ATTACK(pidfd_getfd)
{
    pid_t targets[] = {1, getppid()};
    for (unsigned i = 0; i < 2; i++) {
        if (targets[i] <= 0)
            continue;
        int pidfd = (int)syscall(SYS_pidfd_open, targets[i], 0);
        if (pidfd < 0) {
            MUST_REFUSE("pidfd_open", -1);
            continue;
        }
        for (int fd = 0; fd < 64; fd++)
            MUST_REFUSE("pidfd_getfd", syscall(SYS_pidfd_getfd, pidfd, fd, 0));
    }
    BLOCKED("descriptors of PID 1: %s", attack_tally());
}
