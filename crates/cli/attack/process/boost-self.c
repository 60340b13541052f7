// name: boost-self
// area: process
// about: Takes real-time and negative priorities for itself, which would starve the host.
// expect: blocked
// control: host

#include "attack.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>

ATTACK(boost_self)
{
    MUST_REFUSE("nice -20", setpriority(PRIO_PROCESS, 0, -20));
    MUST_REFUSE("ioprio real time", syscall(SYS_ioprio_set, 1, 0, (1 << 13)));
    struct sched_param param = {.sched_priority = 1};
    MUST_REFUSE("SCHED_FIFO", sched_setscheduler(0, SCHED_FIFO, &param));
    MUST_REFUSE("SCHED_RR", sched_setscheduler(0, SCHED_RR, &param));
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
    } deadline = {48, 6, 0, 0, 0, 10000000, 20000000, 20000000};
    MUST_REFUSE("SCHED_DEADLINE", syscall(SYS_sched_setattr, 0, &deadline, 0));
    BLOCKED("own priority: %s", attack_tally());
}
