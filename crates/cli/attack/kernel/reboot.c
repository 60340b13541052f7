// name: reboot
// area: kernel
// about: Restarts, halts or suspends the machine.
// expect: blocked
// control: host

#include "attack.h"

#include <sys/reboot.h>

#define MAGIC1 0xfee1deadUL
#define MAGIC2 672274793UL

ATTACK(reboot)
{
    // An unknown command tells by EINVAL that permission was granted, without doing it.
    MUST_REFUSE("reboot, unknown command",
                syscall(SYS_reboot, MAGIC1, MAGIC2, 0x12345678UL, NULL));
    MUST_REFUSE("reboot, disable keys", syscall(SYS_reboot, MAGIC1, MAGIC2, RB_DISABLE_CAD, NULL));
    MUST_REFUSE("reboot, restart", syscall(SYS_reboot, MAGIC1, MAGIC2, RB_AUTOBOOT, NULL));
    MUST_REFUSE("reboot, halt", syscall(SYS_reboot, MAGIC1, MAGIC2, RB_HALT_SYSTEM, NULL));
    BLOCKED("reboot(2): %s", attack_tally());
}
