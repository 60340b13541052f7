// name: vfork-wait
// area: endurance
// about: Waits uninterruptibly for a child that shares its memory (vfork) and never ends.
// expect: timeout
// limits: timeout=2s

#include "attack.h"

ATTACK(vfork_wait)
{
    alarm(60);
    pid_t child = vfork();
    if (child == 0) {
        struct timespec minute = {60, 0};
        syscall(SYS_nanosleep, &minute, NULL);
        syscall(SYS_exit, 0);
    }
    ESCAPED("the child ended by itself");
}
