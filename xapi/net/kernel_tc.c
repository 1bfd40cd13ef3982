/* Traffic control: token buckets, and what a link receives sent through one.
 * Called by: bridge.c, ovs.c.  Calls: libnl-route-3 (qdiscs, classifiers, actions). */
#include "xapi/net/kernel.h"

#include <errno.h>
#include <limits.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/tc_act/tc_mirred.h>
#include <net/if.h>
#include <netlink/errno.h>
#include <netlink/route/act/mirred.h>
#include <netlink/route/action.h>
#include <netlink/route/classifier.h>
#include <netlink/route/cls/u32.h>
#include <netlink/route/qdisc.h>
#include <netlink/route/qdisc/tbf.h>
#include <netlink/route/tc.h>
#include <netlink/socket.h>

#include "lib/fault.h"

enum { BURST_MIN_BYTES = 64 * 1024, LATENCY_US = 100000, PREFERENCE = 1 };
/* Nothing of the kernel's wakes oftener than this: a bucket must hold what may flow meanwhile. */
enum { WAKES_PER_S = 100 };

static int fail_nl(char **ret_why, const char *link, const char *what, int rc)
{
    *ret_why = xasprintf("%s: %s: %s", link, what, nl_geterror(rc));
    return -1;
}

static int index_or_fail(const char *link, char **ret_why)
{
    int index = (int)if_nametoindex(link), e = fault("net.netlink");

    if (!index || e) *ret_why = xasprintf("%s: %s", link, e ? strerror(e) : "there is no such interface");
    return e ? 0 : index;
}

static bool is_gone(int rc) { return rc == -NLE_OBJ_NOTFOUND || rc == -NLE_NODEV || rc == -NLE_INVAL; }

int kernel_rate(struct nl_sock *sk, const char *link, uint64_t bytes_per_second, char **ret_why)
{
    int index = index_or_fail(link, ret_why);

    if (!index) return -1;
    struct rtnl_qdisc *q = rtnl_qdisc_alloc();
    rtnl_tc_set_ifindex(TC_CAST(q), index);
    rtnl_tc_set_parent(TC_CAST(q), TC_H_ROOT);
    rtnl_tc_set_kind(TC_CAST(q), "tbf");
    int rc;
    if (bytes_per_second) {
        int rate = bytes_per_second < INT_MAX ? (int)bytes_per_second : INT_MAX, burst = rate / WAKES_PER_S;
        rtnl_qdisc_tbf_set_rate(q, rate, burst > BURST_MIN_BYTES ? burst : BURST_MIN_BYTES, 0);
        rtnl_qdisc_tbf_set_limit_by_latency(q, LATENCY_US);
        rc = rtnl_qdisc_add(sk, q, NLM_F_CREATE | NLM_F_REPLACE);
    } else {
        rc = rtnl_qdisc_delete(sk, q);
        if (is_gone(rc)) rc = 0;
    }
    rtnl_qdisc_put(q);
    return rc ? fail_nl(ret_why, link, "rate limit", rc) : 0;
}

static struct rtnl_qdisc *ingress(int index)
{
    struct rtnl_qdisc *q = rtnl_qdisc_alloc();

    rtnl_tc_set_ifindex(TC_CAST(q), index);
    rtnl_tc_set_parent(TC_CAST(q), TC_H_INGRESS);
    rtnl_tc_set_handle(TC_CAST(q), TC_H_MAKE(TC_H_INGRESS, 0));
    rtnl_tc_set_kind(TC_CAST(q), "ingress");
    return q;
}

static int add_redirect(struct nl_sock *sk, int index, int to)
{
    struct rtnl_cls *cls = rtnl_cls_alloc();
    struct rtnl_act *act = rtnl_act_alloc();

    rtnl_tc_set_ifindex(TC_CAST(cls), index);
    rtnl_tc_set_parent(TC_CAST(cls), TC_H_MAKE(TC_H_INGRESS, 0));
    rtnl_tc_set_kind(TC_CAST(cls), "u32");
    rtnl_cls_set_protocol(cls, 0x0003);                  /* ETH_P_ALL */
    rtnl_cls_set_prio(cls, PREFERENCE);
    rtnl_u32_add_key_uint32(cls, 0, 0, 0, 0);            /* whatever comes */
    rtnl_u32_set_cls_terminal(cls);
    rtnl_tc_set_kind(TC_CAST(act), "mirred");
    rtnl_mirred_set_action(act, TCA_EGRESS_REDIR);
    rtnl_mirred_set_policy(act, TC_ACT_STOLEN);
    rtnl_mirred_set_ifindex(act, (uint32_t)to);
    int rc = rtnl_u32_add_action(cls, act);
    if (!rc) rc = rtnl_cls_add(sk, cls, NLM_F_CREATE | NLM_F_EXCL);
    rtnl_cls_put(cls);
    rtnl_act_put(act);
    return rc;
}

int kernel_redirect(struct nl_sock *sk, const char *link, const char *to, char **ret_why)
{
    int index = index_or_fail(link, ret_why), target = to && index ? index_or_fail(to, ret_why) : 0;

    if (!index || (to && !target)) return -1;
    struct rtnl_qdisc *q = ingress(index);
    int rc = rtnl_qdisc_delete(sk, q);                   /* with whatever filters an earlier try left */
    if (is_gone(rc)) rc = 0;
    if (!rc && to) rc = rtnl_qdisc_add(sk, q, NLM_F_CREATE | NLM_F_EXCL);
    rtnl_qdisc_put(q);
    if (!rc && to) rc = add_redirect(sk, index, target);
    return rc ? fail_nl(ret_why, link, "limit of what is received", rc) : 0;
}
