/* What the drivers of real networks share: steps of a plan, taps and what a guest's card may do.
 * Called by: bridge.c, ovs.c.  Calls: diff.c, kernel.c, kernel_tc.c, filter.c, /dev/net/tun. */
#include "xapi/net/net_driver.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if_tun.h>
#include <linux/netlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define LOG_MODULE "net"
#include "lib/fault.h"
#include "lib/log.h"
#include "xapi/net/filter.h"
#include "xapi/net/kernel.h"

/* ---- steps ----------------------------------------------------------------------------------------------------------- */

static int take_step(struct nl_sock *sk, uint32_t mark, const struct net_step *step, char **ret_why)
{
    const struct net_link *link = step->link;
    const char *name = link->name;

    switch (step->kind) {
    case NET_STEP_DELETE: return kernel_link_delete(sk, name, ret_why);
    case NET_STEP_CREATE: return kernel_link_create(sk, mark, link, ret_why);
    case NET_STEP_DOWN: return kernel_link_change(sk, name, KERNEL_CHANGE(.up = KERNEL_OFF), ret_why);
    case NET_STEP_UP: return kernel_link_change(sk, name, KERNEL_CHANGE(.up = KERNEL_ON), ret_why);
    case NET_STEP_MTU: return kernel_link_change(sk, name, KERNEL_CHANGE(.mtu = link->mtu), ret_why);
    case NET_STEP_MAC: return kernel_link_change(sk, name, KERNEL_CHANGE(.mac = link->mac), ret_why);
    case NET_STEP_MASTER: return kernel_link_change(sk, name, KERNEL_CHANGE(.master = step->text), ret_why);
    case NET_STEP_PROMISC: return kernel_link_change(sk, name, KERNEL_CHANGE(.promiscuous = kernel_switch(link->promiscuous)), ret_why);
    case NET_STEP_BOND: return kernel_link_change(sk, name, KERNEL_CHANGE(.bond = &link->bond), ret_why);
    case NET_STEP_ADDRESS_ADD: return kernel_address(sk, name, step->text, true, ret_why);
    case NET_STEP_ADDRESS_REMOVE: return kernel_address(sk, name, step->text, false, ret_why);
    case NET_STEP_GATEWAY: return kernel_gateway(sk, name, step->text, true, ret_why);
    case NET_STEP_GATEWAY_REMOVE: return kernel_gateway(sk, name, step->text, false, ret_why);
    }
    return 0;
}

int real_steps(struct nl_sock *sk, uint32_t mark, const struct net_plan *plan, struct arena *a, const struct net_have **ret_had,
               size_t *ret_n, char **ret_why)
{
    const struct net_step *steps;
    size_t n_steps;

    if (kernel_read(sk, mark, a, ret_had, ret_n, ret_why)) return -1;
    net_diff(plan, *ret_had, *ret_n, a, &steps, &n_steps);
    for (size_t i = 0; i < n_steps; i++) {
        _cleanup_free_ char *why = NULL;
        log_info("%s", net_step_text(&steps[i], a));
        if (!take_step(sk, mark, &steps[i], &why)) continue;
        *ret_why = xasprintf("%s: %s", net_step_text(&steps[i], a), why);
        return -1;
    }
    return 0;
}

/* ---- taps ------------------------------------------------------------------------------------------------------------- */

static int fail_errno(char **ret_why, const char *what)
{
    *ret_why = xasprintf("%s: %s", what, strerror(errno));
    return -1;
}

int real_tap_make(struct nl_sock *sk, uint32_t mark, const struct net_tap *tap, char **ret_why)
{
    _cleanup_close_ int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    struct ifreq request = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };

    if (fd < 0) return fail_errno(ret_why, "/dev/net/tun");
    memcpy(request.ifr_name, tap->name, strlen(tap->name));
    if (ioctl(fd, TUNSETIFF, &request)) return errno == EBUSY ? 0 : fail_errno(ret_why, "TUNSETIFF");
    kernel_ipv6_set(tap->name, "disable_ipv6", "1");      /* the guest's wire, not a host of its own */
    if (kernel_link_change(sk, tap->name, KERNEL_CHANGE(.group = mark), ret_why)) return -1;
    if (tap->owner_uid >= 0 && ioctl(fd, TUNSETOWNER, tap->owner_uid)) return fail_errno(ret_why, "TUNSETOWNER");
    errno = fault_step("net.tap");
    /* Only now does it outlive the descriptor: killed before, it is gone; killed after, it bears our mark. */
    return errno || ioctl(fd, TUNSETPERSIST, 1) ? fail_errno(ret_why, "TUNSETPERSIST") : 0;
}

/* ---- a card's settings -------------------------------------------------------------------------------------------------- */

static int set_offload(const char *name, const struct net_setting *setting, char **ret_why)
{
    static const struct { const char *name; unsigned command; } offloads[] = {
        { "rx", ETHTOOL_SRXCSUM }, { "tx", ETHTOOL_STXCSUM }, { "sg", ETHTOOL_SSG }, { "tso", ETHTOOL_STSO },
        { "ufo", ETHTOOL_SUFO }, { "gso", ETHTOOL_SGSO }, { "gro", ETHTOOL_SGRO },
    };
    _cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ethtool_value value = { .data = setting->on };
    struct ifreq request = { .ifr_data = (void *)&value };

    for (size_t i = 0; i < ARRAY_SIZE(offloads); i++)
        if (streq(setting->name, offloads[i].name)) value.cmd = offloads[i].command;
    memcpy(request.ifr_name, name, strlen(name));
    if (fd >= 0 && value.cmd && !ioctl(fd, SIOCETHTOOL, &request)) return 0;
    /* A card that cannot switch something off is as it is: the reference says no more either. */
    if (value.cmd && (errno == EOPNOTSUPP || errno == EINVAL)) return 0;
    _cleanup_free_ char *what = xasprintf("%s: ethtool %s", name, setting->name);
    return fail_errno(ret_why, what);
}

int real_finish(const struct net_plan *plan, char **ret_why)
{
    for (size_t i = 0; i < plan->n; i++) {
        const struct net_link *l = &plan->links[i];
        const struct net_setting gro = { "gro", !l->no_gro };
        if (l->kind == NET_NIC && *l->master && if_nametoindex(l->name) && set_offload(l->name, &gro, ret_why)) return -1;
        if (l->kind != NET_BRIDGE || l->optional || l->ip6.source == NET_IP_LEAVE) continue;
        bool own = l->ip6.source == NET_IP_AUTOCONF, learns = own || l->ip6.source == NET_IP_DHCP;
        /* 2: also where something else made this host a router. DHCPv6 gives an address, the way out is still the routers' word. */
        kernel_ipv6_set(l->name, "accept_ra", learns ? "2" : "0");
        kernel_ipv6_set(l->name, "autoconf", own ? "1" : "0");
        kernel_ipv6_set(l->name, "addr_gen_mode", "0");     /* a client of DHCPv6 may have changed it */
        kernel_ipv6_set(l->name, "disable_ipv6", l->ip6.source == NET_IP_NONE ? "1" : "0");
    }
    return 0;
}

/* "vif1a2b3c4d.0" -> "ifb1a2b3c4d.0", "tap.." alike: an interface that what the guest sends is led through. */
static char *limiter_name(const char *name)
{
    return xasprintf("ifb%s", strlen(name) > 3 ? name + 3 : name);
}

static int limit(struct nl_sock *sk, uint32_t mark, const struct net_tap *card, char **ret_why)
{
    _cleanup_free_ char *through = limiter_name(card->name);
    uint64_t rate = card->rate_kbytes > 0 ? (uint64_t)card->rate_kbytes * 1024 : 0;
    const struct net_link ifb = { .kind = NET_IFB, .name = through, .mac = "", .mtu = card->mtu };
    bool limited = rate && !card->engine_limits, there = if_nametoindex(through);

    if (!rate && !there && !card->engine_limits) return 0;
    if (kernel_rate(sk, card->name, rate, ret_why)) return -1;
    if (!limited) {
        if (there && kernel_redirect(sk, card->name, NULL, ret_why)) return -1;
        return kernel_link_delete(sk, through, ret_why);
    }
    if (!there && kernel_link_create(sk, mark, &ifb, ret_why)) return -1;
    if (kernel_link_change(sk, through, KERNEL_CHANGE(.up = KERNEL_ON), ret_why) || kernel_rate(sk, through, rate, ret_why)) return -1;
    return kernel_redirect(sk, card->name, through, ret_why);
}

int real_card_set(struct nl_sock *sk, uint32_t mark, const struct net_tap *card, char **ret_why)
{
    /* The lock comes before the interface is up: nothing slips through in between. */
    if (card->lock ? filter_lock(card->name, card->lock, ret_why)
                   : card->n_trunks ? filter_trunks(card->name, card->trunks, card->n_trunks, ret_why)
                                    : filter_unlock(card->name, ret_why))
        return -1;
    if (kernel_link_change(sk, card->name, KERNEL_CHANGE(.mtu = card->mtu, .up = kernel_switch(card->up),
                                                      .promiscuous = kernel_switch(card->promiscuous)), ret_why))
        return -1;
    for (size_t i = 0; i < card->n_settings; i++)
        if (set_offload(card->name, &card->settings[i], ret_why)) return -1;
    return limit(sk, mark, card, ret_why);
}

int real_card_remove(struct nl_sock *sk, uint32_t mark, const char *name, char **ret_why)
{
    _cleanup_free_ char *through = limiter_name(name);

    (void)mark;
    if (kernel_link_delete(sk, name, ret_why) || kernel_link_delete(sk, through, ret_why)) return -1;
    return filter_unlock(name, ret_why);
}

bool real_is_kept(const char *name, const char *const *keep, size_t n_keep)
{
    for (size_t i = 0; i < n_keep; i++)
        if (streq(keep[i], name)) return true;
    return false;
}

int real_sweep(struct nl_sock *sk, uint32_t mark, const char *const *keep, size_t n_keep, char **ret_why)
{
    _cleanup_arena_ struct arena *a = arena_new();
    const struct net_have *have;
    size_t n;

    if (kernel_read(sk, mark, a, &have, &n, ret_why)) return -1;
    for (size_t i = 0; i < n; i++) {
        const char *name = have[i].link.name, *card = name;
        if (!have[i].owned || (have[i].link.kind != NET_TAP && have[i].link.kind != NET_IFB)) continue;
        if (have[i].link.kind == NET_IFB) card = arena_printf(a, "vif%s", name + 3);
        if (!real_is_kept(card, keep, n_keep) && real_card_remove(sk, mark, name, ret_why)) return -1;
    }
    return 0;
}

int real_neighbour_answers(void *state, const char *link, const char *address, int timeout_ms, char **ret_why)
{
    _cleanup_kernel_ struct nl_sock *sk = NULL;

    (void)state;
    if (kernel_connect(NETLINK_ROUTE, &sk, ret_why)) return -1;
    return kernel_neighbour_answers(sk, link, address, timeout_ms, ret_why);
}
