// name: setpriority-agent
// area: process
// about: Lowers the priority of PID 1, by process, by group and by user id.
// expect: blocked
// control: host

#include "attack.h"

#include <sys/resource.h>

ATTACK(setpriority_agent)
{
    int before = getpriority(PRIO_PROCESS, 1);
    MUST_REFUSE("setpriority(PRIO_PROCESS, 1)", setpriority(PRIO_PROCESS, 1, before));
    MUST_REFUSE("setpriority(PRIO_PROCESS, 1, 19)", setpriority(PRIO_PROCESS, 1, 19));
    // By user or group these return 0 as soon as one process was changed, so what counts
    // is whether PID 1 is among them (it is, where it shares the only mapped id).
    setpriority(PRIO_USER, (id_t)attack_uid_of(1), 19);
    setpriority(PRIO_USER, 0, 19);
    pid_t group = getpgid(1);
    setpriority(PRIO_PGRP, (id_t)(group > 0 ? group : 1), 19);
    int after = getpriority(PRIO_PROCESS, 1);
    if (after != before)
        ESCAPED("the priority of PID 1 went from %d to %d", before, after);
    BLOCKED("priority of PID 1 still %d: %s", after, attack_tally());
}
