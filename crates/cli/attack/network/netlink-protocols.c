// name: netlink-protocols
// area: network
// about: Opens every netlink protocol but ROUTE: netfilter, audit, uevents, generic, xfrm, crypto.
// expect: blocked
// control: host

#include "attack.h"

#include <sys/socket.h>

ATTACK(netlink_protocols)
{
    for (int protocol = 1; protocol < 32; protocol++) {
        char what[48];
        snprintf(what, sizeof what, "netlink protocol %d", protocol);
        MUST_FAIL(what, socket(AF_NETLINK, SOCK_RAW, protocol));
        MUST_FAIL(what, socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, protocol));
    }
    int pair[2];
    MUST_FAIL("netlink pair", socketpair(AF_NETLINK, SOCK_RAW, 16, pair));
    BLOCKED("netlink protocols: %s", attack_tally());
}
