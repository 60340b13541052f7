// name: socket-families
// area: network
// about: Opens a socket of every address family but the four allowed ones.
// expect: blocked
// control: host

#include "attack.h"

#include <sys/socket.h>

ATTACK(socket_families)
{
    int types[] = {SOCK_RAW, SOCK_DGRAM, SOCK_STREAM, SOCK_SEQPACKET};
    // From the top: packet, alg and vsock come before families that would load a module.
    int first[] = {AF_PACKET, AF_ALG, AF_VSOCK, AF_KEY, 44 /* XDP */};
    for (unsigned i = 0; i < 5; i++)
        for (unsigned j = 0; j < 4; j++)
            MUST_FAIL("a socket of a refused family", socket(first[i], types[j], 0));
    for (int family = 0; family < 64; family++) {
        if (family == AF_UNIX || family == AF_INET || family == AF_INET6 || family == AF_NETLINK)
            continue;
        for (unsigned j = 0; j < 4; j++) {
            char what[48];
            snprintf(what, sizeof what, "socket(%d, %d)", family, types[j]);
            MUST_FAIL(what, socket(family, types[j], 0));
        }
    }
    BLOCKED("address families: %s", attack_tally());
}
