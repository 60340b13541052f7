// name: descriptors-in-flight
// area: resources
// about: Parks descriptors inside unix sockets, where they count for no process.
// expect: contained
// limits: timeout=60s

#include "attack.h"

#include <sys/socket.h>

#define PER_MESSAGE 253
#define BOUND 200000

ATTACK(descriptors_in_flight)
{
    uint64_t limit = attack_env_number("ATTACK_LIMIT_OPEN_FILES", 65536);
    union {
        char bytes[CMSG_SPACE(sizeof(int) * PER_MESSAGE)];
        struct cmsghdr align;
    } control;
    char byte = 'x';
    struct iovec text = {&byte, 1};
    uint64_t parked = 0;
    int error = 0;
    while (parked < BOUND) {
        int ends[2];
        if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, ends)) {
            error = errno;
            break;
        }
        for (;;) {
            struct msghdr message = {.msg_iov = &text, .msg_iovlen = 1, .msg_control = control.bytes,
                                     .msg_controllen = sizeof control.bytes};
            struct cmsghdr *head = CMSG_FIRSTHDR(&message);
            head->cmsg_level = SOL_SOCKET;
            head->cmsg_type = SCM_RIGHTS;
            head->cmsg_len = CMSG_LEN(sizeof(int) * PER_MESSAGE);
            for (int i = 0; i < PER_MESSAGE; i++)
                memcpy(CMSG_DATA(head) + (size_t)i * sizeof(int), &ends[1], sizeof(int));
            if (sendmsg(ends[0], &message, 0) < 0) {
                error = errno;
                break;
            }
            parked += PER_MESSAGE;
        }
        if (error == ETOOMANYREFS)
            break;
    }
    // The kernel allows as many in flight as may be open, plus one message.
    if (parked > 2 * limit + PER_MESSAGE)
        ESCAPED("%llu descriptors in flight", (unsigned long long)parked);
    BLOCKED("%llu descriptors in flight, then %s", (unsigned long long)parked, strerror(error));
}
