// name: unshare-each
// area: namespaces
// about: Makes each other kind of namespace by unshare, clone and clone3.
// expect: blocked
// control: host

#include "attack.h"

#include <sched.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

ATTACK(unshare_each)
{
    struct {
        const char *name;
        unsigned long flag;
    } kinds[] = {
        {"mount", CLONE_NEWNS}, {"pid", CLONE_NEWPID},       {"net", CLONE_NEWNET},
        {"ipc", CLONE_NEWIPC},  {"uts", CLONE_NEWUTS},       {"cgroup", CLONE_NEWCGROUP},
        {"time", CLONE_NEWTIME},
    };
    for (unsigned i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        MUST_REFUSE(kinds[i].name, unshare((int)kinds[i].flag));
        if (kinds[i].flag == CLONE_NEWTIME)
            continue; // In clone(2) this bit belongs to the exit signal.
        long pid = syscall(SYS_clone, kinds[i].flag | SIGCHLD, NULL, NULL, NULL, 0);
        if (pid == 0)
            _exit(0);
        MUST_REFUSE(kinds[i].name, pid);
        uint64_t arguments[11] = {kinds[i].flag, 0, 0, 0, SIGCHLD};
        pid = syscall(SYS_clone3, arguments, sizeof arguments);
        if (pid == 0)
            _exit(0);
        MUST_REFUSE(kinds[i].name, pid);
    }
    BLOCKED("new namespaces: %s", attack_tally());
}
