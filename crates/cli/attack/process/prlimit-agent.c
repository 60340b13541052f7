// name: prlimit-agent
// area: process
// about: Kills PID 1 by giving it one second of CPU time with prlimit(2).
// expect: blocked
// control: host

#include "attack.h"

#include <sys/resource.h>

ATTACK(prlimit_agent)
{
    pid_t targets[] = {1, getppid()};
    struct rlimit limit;
    for (unsigned i = 0; i < 2; i++) {
        if (targets[i] <= 0)
            continue;
        // A read needs the same permission as a write and harms nobody where it is granted.
        for (int resource = 0; resource < RLIM_NLIMITS; resource++)
            MUST_REFUSE("prlimit read of another process",
                        syscall(SYS_prlimit64, targets[i], resource, NULL, &limit));
        limit = (struct rlimit){1, 1};
        MUST_REFUSE("prlimit RLIMIT_CPU",
                    syscall(SYS_prlimit64, targets[i], RLIMIT_CPU, &limit, NULL));
        limit = (struct rlimit){0, 0};
        MUST_REFUSE("prlimit RLIMIT_NOFILE",
                    syscall(SYS_prlimit64, targets[i], RLIMIT_NOFILE, &limit, NULL));
    }
    BLOCKED("prlimit on PID 1 and the parent: %s", attack_tally());
}
