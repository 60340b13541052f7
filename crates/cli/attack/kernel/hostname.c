// name: hostname
// area: kernel
// about: Renames the host and its domain.
// expect: blocked
// control: host

#include "attack.h"

ATTACK(hostname)
{
    char name[256] = "";
    gethostname(name, sizeof name - 1);
    MUST_REFUSE("sethostname", sethostname(name, strlen(name)));
    if (getdomainname(name, sizeof name - 1) == 0)
        MUST_REFUSE("setdomainname", setdomainname(name, strlen(name)));
    BLOCKED("names: %s", attack_tally());
}
