// name: netlink-route-write
// area: network
// about: Adds an interface, an address and a default route by NETLINK_ROUTE, which may be opened.
// expect: blocked
// control: namespace

#include "attack.h"

#include <arpa/inet.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

struct request {
    struct nlmsghdr head;
    char body[256];
};

static void append(struct request *request, const void *data, size_t length)
{
    memcpy((char *)request + request->head.nlmsg_len, data, length);
    request->head.nlmsg_len += NLMSG_ALIGN((unsigned)length);
}

static void attribute(struct request *request, unsigned short type, const void *data, size_t length)
{
    struct rtattr head = {(unsigned short)(sizeof head + length), type};
    append(request, &head, sizeof head);
    append(request, data, length);
}

// Sends the request; returns 0 when the kernel did it, else -1 with errno.
static int ask(int socket_fd, struct request *request)
{
    struct {
        struct nlmsghdr head;
        struct nlmsgerr error;
        char rest[512];
    } answer;
    request->head.nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
    if (send(socket_fd, request, request->head.nlmsg_len, 0) < 0)
        return -1;
    if (recv(socket_fd, &answer, sizeof answer, 0) < (ssize_t)NLMSG_LENGTH(sizeof answer.error))
        attack_give_up("short answer from the kernel");
    errno = -answer.error.error;
    return answer.error.error == 0 ? 0 : -1;
}

ATTACK(netlink_route_write)
{
    int route = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
    if (route < 0)
        BLOCKED("NETLINK_ROUTE: %s", strerror(errno));
    uint32_t target = inet_addr("10.99.99.99");

    struct request address = {.head = {NLMSG_HDRLEN, RTM_NEWADDR, NLM_F_CREATE, 1, 0}};
    struct ifaddrmsg on_lo = {AF_INET, 32, 0, RT_SCOPE_HOST, 1};
    append(&address, &on_lo, sizeof on_lo);
    attribute(&address, IFA_LOCAL, &target, sizeof target);
    MUST_REFUSE("a new address on lo", ask(route, &address));

    struct request down = {.head = {NLMSG_HDRLEN, RTM_NEWLINK, 0, 2, 0}};
    struct ifinfomsg lo = {.ifi_family = AF_UNSPEC, .ifi_index = 1, .ifi_change = 1};
    append(&down, &lo, sizeof lo);
    MUST_REFUSE("lo set down", ask(route, &down));

    struct request gateway = {.head = {NLMSG_HDRLEN, RTM_NEWROUTE, NLM_F_CREATE, 3, 0}};
    struct rtmsg local = {.rtm_family = AF_INET, .rtm_table = RT_TABLE_MAIN,
                          .rtm_protocol = RTPROT_STATIC, .rtm_type = RTN_UNICAST};
    uint32_t out = 1;
    append(&gateway, &local, sizeof local);
    attribute(&gateway, RTA_OIF, &out, sizeof out);
    MUST_REFUSE("a default route", ask(route, &gateway));
    BLOCKED("changes by NETLINK_ROUTE: %s", attack_tally());
}
