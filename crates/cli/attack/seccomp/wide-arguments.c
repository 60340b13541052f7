// name: wide-arguments
// area: seccomp
// about: Hides refused arguments behind high bits that the kernel cuts off but a 64-bit comparison sees (CVE-2019-10063).
// expect: blocked
// control: host

#include "attack.h"

#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define HIGH (1UL << 32)

ATTACK(wide_arguments)
{
    long pid = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD | HIGH, NULL, NULL, NULL, 0);
    if (pid == 0)
        _exit(0);
    MUST_REFUSE("clone(NEWUSER | high bit)", pid);
    MUST_FAIL("socket(AF_PACKET | high bit)", syscall(SYS_socket, AF_PACKET | HIGH, SOCK_DGRAM, 0));
    MUST_FAIL("socket(AF_VSOCK | high bit)", syscall(SYS_socket, AF_VSOCK | HIGH, SOCK_STREAM, 0));
    MUST_FAIL("socket(NETLINK_GENERIC | high bit)",
              syscall(SYS_socket, AF_NETLINK, SOCK_RAW, 16UL | HIGH));
    MUST_REFUSE("personality(ADDR_NO_RANDOMIZE | high bit)",
                syscall(SYS_personality, 0x40000UL | HIGH));
    uint64_t limit[2];
    MUST_REFUSE("prlimit(1 | high bit)", syscall(SYS_prlimit64, 1 | HIGH, 0, NULL, limit));
    MUST_REFUSE("ioctl(TIOCSTI | high bit)", syscall(SYS_ioctl, 0, TIOCSTI | HIGH, "x"));
    BLOCKED("high bits: %s", attack_tally());
}
