// name: i386-calls
// area: seccomp
// about: Makes system calls by the 32-bit entry (int 0x80), whose numbers mean something else.
// expect: blocked
// needs: x86-64
// control: host

#include "attack.h"

#ifdef __x86_64__
static long call32(long number, long first)
{
    long result;
    __asm__ volatile("int $0x80"
                     : "=a"(result)
                     : "a"(number), "b"(first)
                     : "memory", "r8", "r9", "r10", "r11", "cc");
    return (int)result;
}

// 1: the entry works. 2: it even makes a namespace. 0: it gave an error.
static int enter(void *unused)
{
    (void)unused;
    if (call32(310, 0x10000000) == 0) // unshare(CLONE_NEWUSER)
        return 2;
    return call32(20, 0) == getpid() ? 1 : 0; // getpid
}
#endif

ATTACK(i386_calls)
{
#ifdef __x86_64__
    int how = attack_in_child(enter, NULL);
    if (how > 0)
        ESCAPED("%s through int 0x80", how == 2 ? "unshare worked" : "getpid answered");
    if (how < 0)
        BLOCKED("int 0x80 ends the process with signal %d", -how);
    BLOCKED("int 0x80 gives an error");
#else
    attack_give_up("written for x86-64 only");
#endif
}
