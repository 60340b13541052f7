// name: tiocsti
// area: devices
// about: Types into a terminal by TIOCSTI and TIOCLINUX, also with high bits that a filter may overlook.
// expect: blocked
// control: host

#include "attack.h"

#include <sys/ioctl.h>

#define HIGH (1UL << 32)

ATTACK(tiocsti)
{
    char byte = 'x', paste[2] = {3, 0};
    int master = posix_openpt(O_RDWR | O_NOCTTY), slave = -1;
    if (master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0)
        slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    if (slave >= 0 && fork() == 0) {
        // A leader of a new session may take the terminal and so type into it.
        setsid();
        ioctl(slave, TIOCSCTTY, 0);
        _exit(ioctl(slave, TIOCSTI, &byte) == 0 ? 1
              : syscall(SYS_ioctl, slave, TIOCSTI | HIGH, &byte) == 0 ? 2
                                                                     : 0);
    }
    int status = 0;
    if (slave >= 0 && wait(&status) > 0 && WIFEXITED(status) && WEXITSTATUS(status) > 0)
        ESCAPED("TIOCSTI typed into a terminal%s",
                WEXITSTATUS(status) == 2 ? " by high bits of the command" : "");
    int tty = open("/dev/tty", O_RDWR | O_NOCTTY);
    int targets[] = {slave, tty, 0, 1, 2};
    for (unsigned i = 0; i < 5; i++) {
        if (targets[i] < 0)
            continue;
        MUST_REFUSE("TIOCSTI", syscall(SYS_ioctl, targets[i], (long)TIOCSTI, &byte));
        MUST_REFUSE("TIOCSTI with high bits", syscall(SYS_ioctl, targets[i], TIOCSTI | HIGH, &byte));
        MUST_REFUSE("TIOCLINUX paste", syscall(SYS_ioctl, targets[i], (long)TIOCLINUX, paste));
        MUST_REFUSE("TIOCLINUX with high bits",
                    syscall(SYS_ioctl, targets[i], TIOCLINUX | HIGH, paste));
    }
    BLOCKED("terminal input: %s", attack_tally());
}
