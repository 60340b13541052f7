// name: quotactl
// area: kernel
// about: Reads and switches disk quotas of the host's file systems.
// expect: blocked
// control: host

#include "attack.h"

#include <sys/quota.h>

ATTACK(quotactl)
{
    int root = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    MUST_REFUSE("quotactl(Q_SYNC)", syscall(SYS_quotactl, QCMD(Q_SYNC, USRQUOTA), NULL, 0, NULL));
    MUST_REFUSE("quotactl_fd(Q_QUOTAOFF)",
                syscall(SYS_quotactl_fd, root, QCMD(Q_QUOTAOFF, USRQUOTA), 0, NULL));
    BLOCKED("quotactl: %s", attack_tally());
}
