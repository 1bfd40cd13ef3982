/* News of links and addresses, read from rtnetlink's groups.
 * Called by: net.c.  Calls: libnl.
 *
 * With a thousand guests' cards a list of all links is a megabyte of netlink: whether something concerns the host's own is told
 * from the message, not from a look at everything. */
#include "xapi/net/news.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <sys/socket.h>

#include "lib/util.h"

/* A card that is plugged makes a dozen messages, each of which the kernel counts as some KiB: room for a hundred cards between two
 * looks. What is more is lost, and that is news too. */
enum { NEWS_BYTES = 32768, ROOM_BYTES = 4 << 20 };

struct net_news_socket {
    struct nl_sock *sk;
};

struct net_news_socket *news_open(void)
{
    struct nl_sock *sk = nl_socket_alloc();
    int room = ROOM_BYTES;

    nl_join_groups(sk, RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR);
    if (nl_connect(sk, NETLINK_ROUTE)) {
        nl_socket_free(sk);
        return NULL;
    }
    nl_socket_set_nonblocking(sk);
    setsockopt(nl_socket_get_fd(sk), SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
    struct net_news_socket *news = xcalloc(1, sizeof(*news));
    news->sk = sk;
    return news;
}

void news_close(struct net_news_socket *news)
{
    if (!news) return;
    nl_socket_free(news->sk);
    free(news);
}

/* Guests' cards, what leads their limits, and bridges, whose address follows the cards on them: of a bridge only its own addresses
 * count, and they are told of by themselves. Cards are taps; those of Xen have no kind, only a name. */
static bool is_guests(struct nlmsghdr *message)
{
    static const char *const prefixes[] = { "vif", "tap", "ifb" };
    struct nlattr *attrs[IFLA_MAX + 1], *info[IFLA_INFO_MAX + 1] = { 0 };
    const struct ifinfomsg *link = nlmsg_data(message);

    /* What a bridge says of its ports' state: their links say for themselves what counts here. */
    if (link->ifi_family == AF_BRIDGE) return true;
    if (nlmsg_parse(message, sizeof(*link), attrs, IFLA_MAX, NULL) || !attrs[IFLA_IFNAME]) return false;
    if (attrs[IFLA_LINKINFO] && nla_parse_nested(info, IFLA_INFO_MAX, attrs[IFLA_LINKINFO], NULL)) return false;
    const char *kind = info[IFLA_INFO_KIND] ? nla_get_string(info[IFLA_INFO_KIND]) : "";
    if (streq(kind, "bridge")) return true;
    if (*kind && !streq(kind, "tun") && !streq(kind, "ifb")) return false;
    for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++)
        if (has_prefix(nla_get_string(attrs[IFLA_IFNAME]), prefixes[i])) return true;
    return false;
}

static bool concerns_host(struct nlmsghdr *message)
{
    switch (message->nlmsg_type) {
    case RTM_NEWLINK:
    case RTM_DELLINK:
        return nlmsg_valid_hdr(message, sizeof(struct ifinfomsg)) && !is_guests(message);
    case RTM_NEWADDR:
    case RTM_DELADDR:
        return nlmsg_valid_hdr(message, sizeof(struct ifaddrmsg))
               && ((struct ifaddrmsg *)nlmsg_data(message))->ifa_scope != RT_SCOPE_LINK;
    default:
        return true;
    }
}

bool news_take(struct net_news_socket *news)
{
    _Alignas(struct nlmsghdr) char buffer[NEWS_BYTES];
    bool found = false;
    ssize_t n;

    /* After an overrun (-1, ENOBUFS) anything may have been lost. */
    while ((n = recv(nl_socket_get_fd(news->sk), buffer, sizeof(buffer), MSG_DONTWAIT)) > 0 || (n < 0 && errno == ENOBUFS)) {
        int left = (int)n;
        if (n < 0) found = true;
        for (struct nlmsghdr *m = (struct nlmsghdr *)buffer; !found && nlmsg_ok(m, left); m = nlmsg_next(m, &left))
            found = concerns_host(m);
    }
    return found;
}
