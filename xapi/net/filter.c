/* Rules of nftables, one table an interface.
 * Called by: bridge.c, ovs.c.  Calls: libnl (messages), the kernel's nf_tables. */
#include "xapi/net/filter.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/socket.h>
#include <poll.h>
#include <sys/socket.h>

#include "lib/fault.h"
#include "lib/strbuf.h"

/* ---- a transaction of the kernel's nf_tables ---------------------------------------------------------------------- */

enum { OFFSET_TYPE = 12, OFFSET_TAG = 14 };   /* in the Ethernet header; a tagged frame shows its tag there */
enum { ANSWER_BYTES = 8192, ANSWER_MS = 5000 };
#define SLB "xapi-slb-"                       /* and the bond: the table of balance-slb's rules */

struct batch {
    struct strbuf out;
    size_t last;             /* where its last message begins */
    uint32_t seq;
    const char *table;
};

static void put(struct batch *b, struct nl_msg *msg)
{
    struct nlmsghdr *head = nlmsg_hdr(msg);

    head->nlmsg_seq = ++b->seq;
    b->last = b->out.len;
    strbuf_add(&b->out, head, NLMSG_ALIGN(head->nlmsg_len));
    nlmsg_free(msg);
}

static struct nl_msg *message(int type, int flags)
{
    bool edge = type == NFNL_MSG_BATCH_BEGIN || type == NFNL_MSG_BATCH_END;
    struct nl_msg *msg = nlmsg_alloc_simple(edge ? type : NFNL_SUBSYS_NFTABLES << 8 | type, NLM_F_REQUEST | flags);
    struct nfgenmsg head = { .nfgen_family = edge ? AF_UNSPEC : NFPROTO_NETDEV, .version = NFNETLINK_V0 };

    if (edge) head.res_id = htons(NFNL_SUBSYS_NFTABLES);
    nlmsg_append(msg, &head, sizeof(head), NLMSG_ALIGNTO);
    return msg;
}

static void batch_begin(struct batch *b, const char *table)
{
    *b = (struct batch){ .out = STRBUF_INIT, .table = table };
    put(b, message(NFNL_MSG_BATCH_BEGIN, 0));
}

static void table_message(struct batch *b, int type, int flags)
{
    struct nl_msg *msg = message(type, flags);

    nla_put_string(msg, NFTA_TABLE_NAME, b->table);
    put(b, msg);
}

/* Bytes of an answer, or -1 with errno. */
static ssize_t receive(int fd, char *answer, size_t size)
{
    struct pollfd ready = { .fd = fd, .events = POLLIN };
    ssize_t n = poll(&ready, 1, ANSWER_MS) == 1 ? recv(fd, answer, size, 0) : 0;

    if (!n) errno = ETIMEDOUT;
    return n > 0 ? n : -1;
}

/* 1: acknowledged, 0: more is to come, -1 with errno. `fine`: an errno that is no failure. */
static int read_answer(int fd, int fine)
{
    char answer[ANSWER_BYTES] __attribute__((aligned(8)));
    ssize_t n = receive(fd, answer, sizeof(answer));
    int left = (int)n, rc = 0;

    if (n < 0) return -1;
    for (struct nlmsghdr *h = (void *)answer; nlmsg_ok(h, left); h = nlmsg_next(h, &left)) {
        const struct nlmsgerr *error = nlmsg_data(h);
        if (h->nlmsg_type != NLMSG_ERROR) continue;
        if (error->error && -error->error != fine) {
            errno = -error->error;
            return -1;
        }
        rc = 1;
    }
    return rc;
}

/* Sends everything; the kernel takes all of it or nothing. 0, or -1 with errno. */
static int batch_send(struct batch *b, int fine)
{
    _cleanup_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
    int rc = 0;

    /* Kernels before 6.10 acknowledge no end of a batch: the last message before it is to be. Errors of others come first. */
    ((struct nlmsghdr *)(void *)(b->out.ptr + b->last))->nlmsg_flags |= NLM_F_ACK;
    put(b, message(NFNL_MSG_BATCH_END, 0));
    errno = fd < 0 ? errno : fault("net.nftables");
    if (errno || send(fd, b->out.ptr, b->out.len, 0) < 0) rc = -1;
    while (!rc) rc = read_answer(fd, fine);
    strbuf_free(&b->out);
    return rc < 0 ? -1 : 0;
}

static int batch_commit(struct batch *b, char **ret_why)
{
    if (!batch_send(b, 0)) return 0;
    *ret_why = xasprintf("nftables, %s: %s", b->table, strerror(errno));
    return -1;
}

static void chain(struct batch *b, const char *name, const char *device, bool egress, bool drops)
{
    struct nl_msg *msg = message(NFT_MSG_NEWCHAIN, NLM_F_CREATE);

    nla_put_string(msg, NFTA_CHAIN_TABLE, b->table);
    nla_put_string(msg, NFTA_CHAIN_NAME, name);
    struct nlattr *hook = nla_nest_start(msg, NFTA_CHAIN_HOOK);
    nla_put_u32(msg, NFTA_HOOK_HOOKNUM, htonl(egress ? 1 : NF_NETDEV_INGRESS));
    nla_put_u32(msg, NFTA_HOOK_PRIORITY, 0);
    nla_put_string(msg, NFTA_HOOK_DEV, device);
    nla_nest_end(msg, hook);
    nla_put_string(msg, NFTA_CHAIN_TYPE, "filter");
    nla_put_u32(msg, NFTA_CHAIN_POLICY, htonl(drops ? NF_DROP : NF_ACCEPT));
    put(b, msg);
}

/* ---- rules --------------------------------------------------------------------------------------------------------- */

/* A condition: bytes of the link, network or transport header. */
enum { BASE_META = 100 };                /* no header: what the kernel knows of the packet; offset is which */
struct condition {
    unsigned base;
    unsigned offset;
    const char *bytes;
    size_t n;
    bool unequal;
    const char *mask;        /* NULL = all of it counts */
};

struct rule {
    struct nl_msg *msg;
    struct nlattr *expressions;
};

static struct rule rule_begin(struct batch *b, const char *in)
{
    struct rule r = { .msg = message(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND) };

    nla_put_string(r.msg, NFTA_RULE_TABLE, b->table);
    nla_put_string(r.msg, NFTA_RULE_CHAIN, in);
    r.expressions = nla_nest_start(r.msg, NFTA_RULE_EXPRESSIONS);
    return r;
}

static void rule_end(struct batch *b, struct rule *r)
{
    nla_nest_end(r->msg, r->expressions);
    put(b, r->msg);
}

struct expression { struct nlattr *element, *data; };

static struct expression expression_begin(struct rule *r, const char *name)
{
    struct expression e = { .element = nla_nest_start(r->msg, NFTA_LIST_ELEM) };

    nla_put_string(r->msg, NFTA_EXPR_NAME, name);
    e.data = nla_nest_start(r->msg, NFTA_EXPR_DATA);
    return e;
}

static void expression_end(struct rule *r, struct expression e)
{
    nla_nest_end(r->msg, e.data);
    nla_nest_end(r->msg, e.element);
}

static void compare(struct rule *r, bool equal, const void *data, size_t n)
{
    struct expression e = expression_begin(r, "cmp");

    nla_put_u32(r->msg, NFTA_CMP_SREG, htonl(NFT_REG_1));
    nla_put_u32(r->msg, NFTA_CMP_OP, htonl(equal ? NFT_CMP_EQ : NFT_CMP_NEQ));
    struct nlattr *value = nla_nest_start(r->msg, NFTA_CMP_DATA);
    nla_put(r->msg, NFTA_DATA_VALUE, (int)n, data);
    nla_nest_end(r->msg, value);
    expression_end(r, e);
}

static void load(struct rule *r, unsigned base, unsigned offset, size_t n)
{
    struct expression e = expression_begin(r, base == BASE_META ? "meta" : "payload");

    if (base == BASE_META) {
        nla_put_u32(r->msg, NFTA_META_DREG, htonl(NFT_REG_1));
        nla_put_u32(r->msg, NFTA_META_KEY, htonl(offset));
        expression_end(r, e);
        return;
    }
    nla_put_u32(r->msg, NFTA_PAYLOAD_DREG, htonl(NFT_REG_1));
    nla_put_u32(r->msg, NFTA_PAYLOAD_BASE, htonl(base));
    nla_put_u32(r->msg, NFTA_PAYLOAD_OFFSET, htonl(offset));
    nla_put_u32(r->msg, NFTA_PAYLOAD_LEN, htonl((uint32_t)n));
    expression_end(r, e);
}

static void mask_loaded(struct rule *r, const char *mask, size_t n)
{
    static const char none[4];
    struct expression e = expression_begin(r, "bitwise");

    nla_put_u32(r->msg, NFTA_BITWISE_SREG, htonl(NFT_REG_1));
    nla_put_u32(r->msg, NFTA_BITWISE_DREG, htonl(NFT_REG_1));
    nla_put_u32(r->msg, NFTA_BITWISE_LEN, htonl((uint32_t)n));
    struct nlattr *and = nla_nest_start(r->msg, NFTA_BITWISE_MASK);
    nla_put(r->msg, NFTA_DATA_VALUE, (int)n, mask);
    nla_nest_end(r->msg, and);
    struct nlattr *xor = nla_nest_start(r->msg, NFTA_BITWISE_XOR);
    nla_put(r->msg, NFTA_DATA_VALUE, (int)n, none);
    nla_nest_end(r->msg, xor);
    expression_end(r, e);
}

static void match(struct rule *r, const struct condition *c)
{
    load(r, c->base, c->offset, c->n);
    if (c->mask) mask_loaded(r, c->mask, c->n);
    compare(r, !c->unequal, c->bytes, c->n);
}

static void verdict(struct rule *r, int code)
{
    struct expression e = expression_begin(r, "immediate");

    nla_put_u32(r->msg, NFTA_IMMEDIATE_DREG, htonl(NFT_REG_VERDICT));
    struct nlattr *data = nla_nest_start(r->msg, NFTA_IMMEDIATE_DATA), *v = nla_nest_start(r->msg, NFTA_DATA_VERDICT);
    nla_put_u32(r->msg, NFTA_VERDICT_CODE, htonl((uint32_t)code));
    nla_nest_end(r->msg, v);
    nla_nest_end(r->msg, data);
    expression_end(r, e);
}

#define LINK(o, b, l) { NFT_PAYLOAD_LL_HEADER, o, b, l, false, NULL }
#define NETWORK(o, b, l) { NFT_PAYLOAD_NETWORK_HEADER, o, b, l, false, NULL }
#define TRANSPORT(o, b, l) { NFT_PAYLOAD_TRANSPORT_HEADER, o, b, l, false, NULL }
#define IS_ARP LINK(OFFSET_TYPE, "\x08\x06", 2)
#define IS_IPV4 LINK(OFFSET_TYPE, "\x08\x00", 2)
#define IS_IPV6 LINK(OFFSET_TYPE, "\x86\xdd", 2)
/* Behind whatever extension headers there are. */
#define IS_ICMPV6 { BASE_META, NFT_META_L4PROTO, "\x3a", 1, false, NULL }
#define IS_TAGGED LINK(OFFSET_TYPE, "\x81\x00", 2)
#define IS_TAGGED_TWICE LINK(OFFSET_TYPE, "\x88\xa8", 2)

static void rule(struct batch *b, const char *in, const struct condition *conditions, size_t n, int code)
{
    struct rule r = rule_begin(b, in);

    for (size_t i = 0; i < n; i++) match(&r, &conditions[i]);
    verdict(&r, code);
    rule_end(b, &r);
}
#define RULE_IN(b, in, code, ...) \
    rule(b, in, (const struct condition[]){ __VA_ARGS__ }, ARRAY_SIZE(((const struct condition[]){ __VA_ARGS__ })), code)
#define RULE(b, code, ...) RULE_IN(b, "in", code, __VA_ARGS__)

/* Made, dropped, made anew: in one transaction this replaces whatever there is. */
static void fresh_table(struct batch *b, const char *table)
{
    batch_begin(b, table);
    table_message(b, NFT_MSG_NEWTABLE, NLM_F_CREATE);
    table_message(b, NFT_MSG_DELTABLE, 0);
    table_message(b, NFT_MSG_NEWTABLE, NLM_F_CREATE);
}

/* ---- a locked card --------------------------------------------------------------------------------------------------- */

static void allow_ipv4(struct batch *b, const char *address)
{
    char ip[4];

    if (inet_pton(AF_INET, address, ip) != 1) return;
    RULE(b, NF_ACCEPT, IS_IPV4, NETWORK(12, ip, 4));
    RULE(b, NF_ACCEPT, IS_ARP, NETWORK(14, ip, 4));                                 /* the sender's address */
    RULE(b, NF_ACCEPT, IS_ARP, NETWORK(14, "\0\0\0\0", 4), NETWORK(24, ip, 4));     /* "has nobody else mine?" */
}

static void allow_ipv6(struct batch *b, const char ip[16])
{
    /* Solicitations: of anybody's address from ours; of ours while we do not have it yet. */
    RULE(b, NF_ACCEPT, IS_IPV6, IS_ICMPV6, NETWORK(8, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16), TRANSPORT(0, "\x87", 1),
         TRANSPORT(8, ip, 16));
    RULE(b, NF_ACCEPT, IS_IPV6, IS_ICMPV6, TRANSPORT(0, "\x88", 1), TRANSPORT(8, ip, 16));
}

/* fe80:: with the MAC in its lower half, as hosts make it by themselves. */
static void link_local(const unsigned char mac[6], char ip[16])
{
    const unsigned char low[8] = { mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5] };

    memset(ip, 0, 16);
    memcpy(ip, "\xfe\x80", 2);
    memcpy(ip + 8, low, sizeof(low));
}

int filter_lock(const char *interface, const struct net_lock *lock, char **ret_why)
{
    _cleanup_free_ char *table = xasprintf("xapi-%s", interface);
    unsigned m[6] = { 0 };
    unsigned char mac[6];
    char ip[16];
    struct batch b;

    if (sscanf(lock->mac, "%2x:%2x:%2x:%2x:%2x:%2x", &m[0], &m[1], &m[2], &m[3], &m[4], &m[5]) != 6) {
        *ret_why = xasprintf("%s is no MAC address", lock->mac);
        return -1;
    }
    for (int i = 0; i < 6; i++) mac[i] = (unsigned char)m[i];
    fresh_table(&b, table);
    chain(&b, "in", interface, false, true);
    RULE(&b, NF_DROP, { NFT_PAYLOAD_LL_HEADER, 6, (const char *)mac, 6, true, NULL });
    RULE(&b, NF_DROP, IS_ARP, { NFT_PAYLOAD_NETWORK_HEADER, 8, (const char *)mac, 6, true, NULL });
    for (size_t i = 0; i < lock->n_ipv4; i++) allow_ipv4(&b, lock->ipv4[i]);
    if (lock->n_ipv4)
        RULE(&b, NF_ACCEPT, IS_IPV4, NETWORK(9, "\x11", 1), NETWORK(12, "\0\0\0\0\xff\xff\xff\xff", 8),
             TRANSPORT(0, "\0\x44\0\x43", 4));
    if (lock->n_ipv6) {
        link_local(mac, ip);
        allow_ipv6(&b, ip);
    }
    for (size_t i = 0; i < lock->n_ipv6; i++)
        if (inet_pton(AF_INET6, lock->ipv6[i], ip) == 1) allow_ipv6(&b, ip);
    /* No router, no redirecting, and no claim of any other address; the rest by its source. */
    RULE(&b, NF_DROP, IS_IPV6, IS_ICMPV6, TRANSPORT(0, "\x86", 1));
    RULE(&b, NF_DROP, IS_IPV6, IS_ICMPV6, TRANSPORT(0, "\x89", 1));
    RULE(&b, NF_DROP, IS_IPV6, IS_ICMPV6, TRANSPORT(0, "\x88", 1));
    if (lock->n_ipv6) {
        link_local(mac, ip);
        RULE(&b, NF_ACCEPT, IS_IPV6, NETWORK(8, ip, 16));
    }
    for (size_t i = 0; i < lock->n_ipv6; i++)
        if (inet_pton(AF_INET6, lock->ipv6[i], ip) == 1) RULE(&b, NF_ACCEPT, IS_IPV6, NETWORK(8, ip, 16));
    return batch_commit(&b, ret_why);
}

static int drop_table(const char *table, char **ret_why)
{
    struct batch b;

    batch_begin(&b, table);
    table_message(&b, NFT_MSG_DELTABLE, 0);
    /* A kernel without nftables has no rules either. */
    if (!batch_send(&b, ENOENT) || errno == EPROTONOSUPPORT || errno == EOPNOTSUPP) return 0;
    *ret_why = xasprintf("nftables, %s: %s", table, strerror(errno));
    return -1;
}

int filter_unlock(const char *interface, char **ret_why)
{
    _cleanup_free_ char *table = xasprintf("xapi-%s", interface);

    return drop_table(table, ret_why);
}

/* ---- a card with some VLANs --------------------------------------------------------------------------------------------------- */

int filter_trunks(const char *interface, const uint16_t *tags, size_t n, char **ret_why)
{
    static const char *const directions[] = { "in", "out" };
    _cleanup_free_ char *table = xasprintf("xapi-%s", interface);
    struct batch b;

    fresh_table(&b, table);
    for (size_t i = 0; i < ARRAY_SIZE(directions); i++) {
        chain(&b, directions[i], interface, i == 1, false);
        for (size_t k = 0; k < n; k++) {
            const uint16_t tag = htons(tags[k]);
            RULE_IN(&b, directions[i], NF_ACCEPT, IS_TAGGED,
                    { NFT_PAYLOAD_LL_HEADER, OFFSET_TAG, (const char *)&tag, 2, false, "\x0f\xff" });
        }
        RULE_IN(&b, directions[i], NF_DROP, IS_TAGGED);
        RULE_IN(&b, directions[i], NF_DROP, IS_TAGGED_TWICE);
    }
    return batch_commit(&b, ret_why);
}

/* ---- a bond that spreads by source -------------------------------------------------------------------------------------- */

enum { SEEN_MS = 5000, SET_ID = 1, KEY_TYPE_MAC = 9 };

/* Addresses that sent through the bond lately. */
static void source_set(struct batch *b)
{
    struct nl_msg *msg = message(NFT_MSG_NEWSET, NLM_F_CREATE);

    nla_put_string(msg, NFTA_SET_TABLE, b->table);
    nla_put_string(msg, NFTA_SET_NAME, "sent");
    nla_put_u32(msg, NFTA_SET_FLAGS, htonl(NFT_SET_EVAL | NFT_SET_TIMEOUT));
    nla_put_u32(msg, NFTA_SET_KEY_TYPE, htonl(KEY_TYPE_MAC));
    nla_put_u32(msg, NFTA_SET_KEY_LEN, htonl(6));
    nla_put_u32(msg, NFTA_SET_ID, htonl(SET_ID));
    nla_put_u64(msg, NFTA_SET_TIMEOUT, htobe64(SEEN_MS));
    put(b, msg);
}

static void remember_source(struct batch *b)
{
    struct rule r = rule_begin(b, "out");

    load(&r, NFT_PAYLOAD_LL_HEADER, 6, 6);
    struct expression e = expression_begin(&r, "dynset");
    nla_put_string(r.msg, NFTA_DYNSET_SET_NAME, "sent");
    nla_put_u32(r.msg, NFTA_DYNSET_SET_ID, htonl(SET_ID));
    nla_put_u32(r.msg, NFTA_DYNSET_OP, htonl(NFT_DYNSET_OP_UPDATE));
    nla_put_u32(r.msg, NFTA_DYNSET_SREG_KEY, htonl(NFT_REG_1));
    nla_put_u64(r.msg, NFTA_DYNSET_TIMEOUT, htobe64(SEEN_MS));
    expression_end(&r, e);
    rule_end(b, &r);
}

static void drop_returning(struct batch *b)
{
    struct rule r = rule_begin(b, "in");

    load(&r, NFT_PAYLOAD_LL_HEADER, 6, 6);
    struct expression e = expression_begin(&r, "lookup");
    nla_put_string(r.msg, NFTA_LOOKUP_SET, "sent");
    nla_put_u32(r.msg, NFTA_LOOKUP_SET_ID, htonl(SET_ID));
    nla_put_u32(r.msg, NFTA_LOOKUP_SREG, htonl(NFT_REG_1));
    expression_end(&r, e);
    verdict(&r, NF_DROP);
    rule_end(b, &r);
}

/* Group addresses (the lowest bit of the first byte) that come by a port which is not the first. */
static void drop_groups(struct batch *b, const char *port, unsigned number)
{
    _cleanup_free_ char *name = xasprintf("port%u", number);

    chain(b, name, port, false, false);
    RULE_IN(b, name, NF_DROP, { NFT_PAYLOAD_LL_HEADER, 0, "\1", 1, false, "\1" });
}

int filter_slb(const char *bond, const char *const *others, size_t n_others, char **ret_why)
{
    _cleanup_free_ char *table = xasprintf(SLB "%s", bond);
    struct batch b;

    fresh_table(&b, table);
    source_set(&b);
    chain(&b, "in", bond, false, false);
    chain(&b, "out", bond, true, false);
    remember_source(&b);
    drop_returning(&b);
    for (size_t i = 0; i < n_others; i++) drop_groups(&b, others[i], (unsigned)i);
    return batch_commit(&b, ret_why);
}

/* The names of the tables of this answer that begin so, each with its 0, to *names. 1: that was all, 0: more is to come, -1 + errno. */
static int read_tables(int fd, struct strbuf *names)
{
    char answer[4 * ANSWER_BYTES] __attribute__((aligned(8)));
    ssize_t n = receive(fd, answer, sizeof(answer));
    int left = (int)n;

    if (n < 0) return -1;
    for (struct nlmsghdr *h = (void *)answer; nlmsg_ok(h, left); h = nlmsg_next(h, &left)) {
        if (h->nlmsg_type == NLMSG_DONE) return 1;
        if (h->nlmsg_type == NLMSG_ERROR) {
            errno = -((const struct nlmsgerr *)nlmsg_data(h))->error;
            return -1;
        }
        struct nlattr *name = nlmsg_find_attr(h, sizeof(struct nfgenmsg), NFTA_TABLE_NAME);
        if (name && !strncmp(nla_get_string(name), SLB, strlen(SLB))) strbuf_add(names, nla_data(name), (size_t)nla_len(name));
    }
    return 0;
}

/* A kernel without nftables has none. */
static int slb_tables(struct strbuf *names, char **ret_why)
{
    _cleanup_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
    struct nl_msg *msg = message(NFT_MSG_GETTABLE, NLM_F_DUMP);
    int rc = fd < 0 || send(fd, nlmsg_hdr(msg), nlmsg_hdr(msg)->nlmsg_len, 0) < 0 ? -1 : 0;

    while (!rc) rc = read_tables(fd, names);
    nlmsg_free(msg);
    if (rc == 1 || errno == EPROTONOSUPPORT || errno == EOPNOTSUPP) return 0;
    *ret_why = xasprintf("nftables, which tables there are: %s", strerror(errno));
    return -1;
}

int filter_slb_only(const char *const *bonds, size_t n, char **ret_why)
{
    _cleanup_strbuf_ struct strbuf names = STRBUF_INIT;

    if (slb_tables(&names, ret_why)) return -1;
    for (const char *name = names.ptr; name && name < names.ptr + names.len; name += strlen(name) + 1) {
        bool wanted = false;
        for (size_t i = 0; i < n; i++) wanted |= streq(name + strlen(SLB), bonds[i]);
        if (!wanted && drop_table(name, ret_why)) return -1;
    }
    return 0;
}
