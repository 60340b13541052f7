// name: setuid-range
// area: privilege
// about: Inside-root leaves its range of ids: ids beyond 65,535 and groups that are not its own.
// expect: blocked
// profiles: dev
// users: root
// control: host

#include "attack.h"

#include <grp.h>

static int become(void *argument)
{
    uid_t id = *(uid_t *)argument;
    return setresuid(id, id, id) == 0;
}

static int join(void *argument)
{
    gid_t id = *(gid_t *)argument;
    return setgroups(1, &id) == 0;
}

ATTACK(setuid_range)
{
    uid_t outside[] = {65536, 65537, 100000, 165536, 1879048192, 1879113728, 4294967294U};
    for (unsigned i = 0; i < sizeof outside / sizeof outside[0]; i++) {
        if (attack_in_child(become, &outside[i]) != 0)
            ESCAPED("became user %u, which no sandbox may map", outside[i]);
        if (attack_in_child(join, &outside[i]) != 0)
            ESCAPED("joined group %u, which no sandbox may map", outside[i]);
    }
    BLOCKED("7 users and groups outside the range refused");
}
