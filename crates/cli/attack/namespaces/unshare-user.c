// name: unshare-user
// area: namespaces
// about: Makes a user namespace, where it would hold every capability, by unshare, clone and clone3.
// expect: blocked
// control: host

#include "attack.h"

#include <sched.h>

static long raw_clone(unsigned long flags)
{
    long pid = syscall(SYS_clone, flags | SIGCHLD, NULL, NULL, NULL, 0);
    if (pid == 0)
        _exit(0);
    return pid;
}

static long raw_clone3(uint64_t flags)
{
    uint64_t arguments[11] = {flags, 0, 0, 0, SIGCHLD};
    long pid = syscall(SYS_clone3, arguments, sizeof arguments);
    if (pid == 0)
        _exit(0);
    return pid;
}

ATTACK(unshare_user)
{
    MUST_REFUSE("unshare(NEWUSER)", unshare(CLONE_NEWUSER));
    MUST_REFUSE("unshare(NEWUSER|NEWNS)", unshare(CLONE_NEWUSER | CLONE_NEWNS));
    MUST_REFUSE("clone(NEWUSER)", raw_clone(CLONE_NEWUSER));
    MUST_REFUSE("clone(NEWUSER|NEWNET|NEWNS)",
                raw_clone(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWNS));
    MUST_REFUSE("clone3(NEWUSER)", raw_clone3(CLONE_NEWUSER));
    BLOCKED("new user namespaces: %s", attack_tally());
}
