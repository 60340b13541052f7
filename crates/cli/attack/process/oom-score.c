// name: oom-score
// area: process
// about: Marks PID 1 as the first to die when memory runs out, and itself as the last.
// expect: blocked
// control: host

#include "attack.h"

ATTACK(oom_score)
{
    MUST_FAIL("/proc/1/oom_score_adj", open("/proc/1/oom_score_adj", O_WRONLY));
    MUST_FAIL("/proc/1/oom_adj", open("/proc/1/oom_adj", O_WRONLY));
    int own = open("/proc/self/oom_score_adj", O_WRONLY);
    if (own >= 0)
        MUST_FAIL("oom_score_adj -1000", write(own, "-1000", 5));
    BLOCKED("order of the memory killer: %s", attack_tally());
}
