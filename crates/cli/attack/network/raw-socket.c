// name: raw-socket
// area: network
// about: Opens raw IPv4 and IPv6 sockets.
// expect: blocked
// control: host

#include "attack.h"

#include <netinet/in.h>
#include <sys/socket.h>

ATTACK(raw_socket)
{
    int protocols[] = {IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_RAW};
    for (unsigned i = 0; i < 4; i++) {
        MUST_FAIL("raw IPv4 socket", socket(AF_INET, SOCK_RAW, protocols[i]));
        MUST_FAIL("raw IPv6 socket", socket(AF_INET6, SOCK_RAW, protocols[i]));
    }
    BLOCKED("raw sockets: %s", attack_tally());
}
