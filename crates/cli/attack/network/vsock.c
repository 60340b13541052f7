// name: vsock
// area: network
// about: Reaches the hypervisor by vsock, which network namespaces do not separate.
// expect: blocked
// control: host

#include "attack.h"

#include <sys/socket.h>

ATTACK(vsock)
{
    MUST_FAIL("AF_VSOCK stream", socket(AF_VSOCK, SOCK_STREAM, 0));
    MUST_FAIL("AF_VSOCK datagram", socket(AF_VSOCK, SOCK_DGRAM, 0));
    MUST_FAIL("AF_VSOCK packets", socket(AF_VSOCK, SOCK_SEQPACKET, 0));
    MUST_FAIL("/dev/vsock", open("/dev/vsock", O_RDWR));
    BLOCKED("vsock: %s", attack_tally());
}
