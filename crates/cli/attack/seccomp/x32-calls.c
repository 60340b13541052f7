// name: x32-calls
// area: seccomp
// about: Makes system calls with the x32 bit, which a filter on plain numbers would let through.
// expect: blocked
// needs: x86-64

#include "attack.h"

#include <sched.h>

#ifdef __x86_64__
#define X32 0x40000000L

static int enter(void *unused)
{
    (void)unused;
    if (syscall(SYS_unshare | X32, CLONE_NEWUSER) == 0)
        return 2;
    return syscall(SYS_getpid | X32) == getpid() ? 1 : 0;
}
#endif

ATTACK(x32_calls)
{
#ifdef __x86_64__
    int how = attack_in_child(enter, NULL);
    if (how > 0)
        ESCAPED("%s with the x32 bit", how == 2 ? "unshare worked" : "getpid answered");
    if (how < 0)
        BLOCKED("the x32 bit ends the process with signal %d", -how);
    BLOCKED("calls with the x32 bit give an error");
#else
    attack_give_up("written for x86-64 only");
#endif
}
