// name: raise-limits
// area: process
// about: Raises its own hard resource limits, and prints those that are missing.
// expect: blocked

#include "attack.h"

#include <sys/resource.h>

ATTACK(raise_limits)
{
    unsigned finite = 0;
    for (int resource = 0; resource < RLIM_NLIMITS; resource++) {
        struct rlimit limit;
        if (getrlimit(resource, &limit) != 0 || limit.rlim_max == RLIM_INFINITY)
            continue;
        finite++;
        struct rlimit higher = {limit.rlim_cur, limit.rlim_max + 1};
        MUST_REFUSE("raising a hard limit by one", setrlimit(resource, &higher));
        higher.rlim_max = RLIM_INFINITY;
        MUST_REFUSE("lifting a hard limit", setrlimit(resource, &higher));
    }
    if (finite == 0)
        ESCAPED("no hard limit is set at all");
    BLOCKED("%u finite hard limits stay: %s", finite, attack_tally());
}
