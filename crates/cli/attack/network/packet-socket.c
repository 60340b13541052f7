// name: packet-socket
// area: network
// about: Opens packet sockets, which see and forge whole frames.
// expect: blocked
// control: host

#include "attack.h"

#include <sys/socket.h>

ATTACK(packet_socket)
{
    MUST_FAIL("AF_PACKET raw", socket(AF_PACKET, SOCK_RAW, 0x0300));
    MUST_FAIL("AF_PACKET datagram", socket(AF_PACKET, SOCK_DGRAM, 0));
    MUST_FAIL("SOCK_PACKET", socket(AF_INET, 10, 0x0300));
    int pair[2];
    MUST_FAIL("AF_PACKET pair", socketpair(AF_PACKET, SOCK_DGRAM, 0, pair));
    BLOCKED("packet sockets: %s", attack_tally());
}
