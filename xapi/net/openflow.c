/* Flows of a card's port, by OpenFlow 1.3.
 * Called by: ovs.c.  Calls: ovsdb.c (the socket), lib/stream. */
#include "xapi/net/openflow.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>

#include "lib/fault.h"
#include "lib/strbuf.h"
#include "xapi/net/ovsdb.h"

enum { VERSION = 4, ANSWER_MS = 10000, MESSAGE_MAX_BYTES = 65536, HEAD_BYTES = 8 };
enum { HELLO = 0, ERROR = 1, ECHO_REQUEST = 2, ECHO_REPLY = 3, FLOW_MOD = 14, BARRIER_REQUEST = 20, BARRIER_REPLY = 21, METER_MOD = 29 };
enum { FLOW_ADD = 0, FLOW_DELETE = 3, METER_ADD = 0, METER_MODIFY = 1, METER_DELETE = 2 };
enum { FIELD_IN_PORT = 0, FIELD_ETH_SRC = 4, FIELD_ETH_TYPE = 5, FIELD_VLAN = 6, FIELD_IP_PROTO = 10, FIELD_IPV4_SRC = 11,
       FIELD_IPV4_DST = 12, FIELD_UDP_SRC = 15, FIELD_UDP_DST = 16, FIELD_ARP_SPA = 22, FIELD_ARP_TPA = 23, FIELD_ARP_SHA = 24,
       FIELD_IPV6_SRC = 26, FIELD_ICMPV6_TYPE = 29, FIELD_ND_TARGET = 31 };
/* The first that matches counts: what is never allowed, what depends on more than the source, sources, the rest. */
enum { PRIORITY_NEVER = 240, PRIORITY_CLAIM = 230, PRIORITY_NO_CLAIM = 220, PRIORITY_SOURCE = 210,
       PRIORITY_REST = 200, PRIORITY_OPEN = 100 };
enum { NORMAL_PORT = 0xfffffffa, ANY = 0xffffffff, TABLE_FIRST = 0, BURST_PER_S = 4 };

/* What flows are for: in their cookies. */
enum { FOR_RULES = 1, FOR_REST = 2, FOR_RATE = 3 };
static const uint64_t cookie_base = UINT64_C(0x5841504900000000);

struct switch_ {
    struct stream stream;
    struct strbuf out;
    const char *bridge;
    uint32_t xid, port;
    bool metered;
    const unsigned char *mac;
};

/* ---- messages ------------------------------------------------------------------------------------------------------------ */

static void put8(struct strbuf *b, unsigned v) { strbuf_char(b, (char)v); }
static void put16(struct strbuf *b, unsigned v) { put8(b, v >> 8); put8(b, v); }
static void put32(struct strbuf *b, uint32_t v) { put16(b, v >> 16); put16(b, v & 0xffff); }
static void put64(struct strbuf *b, uint64_t v) { put32(b, (uint32_t)(v >> 32)); put32(b, (uint32_t)v); }
static void put_zeros(struct strbuf *b, size_t n) { for (size_t i = 0; i < n; i++) put8(b, 0); }

static size_t begin(struct switch_ *s, unsigned type)
{
    size_t at = s->out.len;

    put8(&s->out, VERSION);
    put8(&s->out, type);
    put16(&s->out, 0);
    put32(&s->out, ++s->xid);
    return at;
}

static void set_length(struct strbuf *b, size_t at, size_t length)
{
    b->ptr[at] = (char)(length >> 8);
    b->ptr[at + 1] = (char)length;
}

static void end(struct switch_ *s, size_t at) { set_length(&s->out, at + 2, s->out.len - at); }

static int fail(const struct switch_ *s, char **ret_why, const char *what)
{
    *ret_why = xasprintf("flows of %s: %s", s->bridge, what);
    return -1;
}

/* Sends what has been put together and waits until the switch has done it. *ret_error: type and code of what it refused. */
static int flush(struct switch_ *s, uint32_t *ret_error, char **ret_why)
{
    unsigned char head[HEAD_BYTES];
    _cleanup_free_ char *space = xcalloc(1, MESSAGE_MAX_BYTES);
    unsigned char *body = (unsigned char *)space;
    size_t at = begin(s, BARRIER_REQUEST);
    int e = fault("net.openflow");

    end(s, at);
    *ret_error = 0;
    if (e) return fail(s, ret_why, strerror(e));
    if (stream_write(&s->stream, s->out.ptr, s->out.len, ANSWER_MS)) return fail(s, ret_why, strerror(errno));
    strbuf_clear(&s->out);
    for (;;) {
        if (stream_read_full(&s->stream, head, sizeof(head), ANSWER_MS)) return fail(s, ret_why, strerror(errno));
        size_t n = (size_t)head[2] << 8 | head[3];
        if (n < sizeof(head)) return fail(s, ret_why, "an answer that is none");
        if (n > sizeof(head) && stream_read_full(&s->stream, body, n - sizeof(head), ANSWER_MS)) return fail(s, ret_why, strerror(errno));
        if (head[1] == BARRIER_REPLY) return 0;
        if (head[1] == ERROR && n >= sizeof(head) + 4)
            *ret_error = (uint32_t)body[0] << 24 | (uint32_t)body[1] << 16 | (uint32_t)body[2] << 8 | body[3];
        if (head[1] != ECHO_REQUEST) continue;
        head[1] = ECHO_REPLY;
        if (stream_write(&s->stream, head, sizeof(head), ANSWER_MS) || stream_write(&s->stream, body, n - sizeof(head), ANSWER_MS))
            return fail(s, ret_why, strerror(errno));
    }
}

static int flush_all(struct switch_ *s, char **ret_why)
{
    uint32_t error;

    if (flush(s, &error, ret_why)) return -1;
    if (!error) return 0;
    _cleanup_free_ char *text = xasprintf("refused with error %u, %u", error >> 16, error & 0xffff);
    return fail(s, ret_why, text);
}

/* ---- flows --------------------------------------------------------------------------------------------------------------- */

/* A field of the packet that has this value. */
struct field { unsigned what; const void *bytes; size_t n; };
#define FIELD(w, b, l) { FIELD_##w, b, l }
#define IS_ARP FIELD(ETH_TYPE, "\x08\x06", 2)
#define IS_IPV4 FIELD(ETH_TYPE, "\x08\x00", 2)
#define IS_IPV6 FIELD(ETH_TYPE, "\x86\xdd", 2)
#define IS_ICMPV6 IS_IPV6, FIELD(IP_PROTO, "\x3a", 1)
#define UNTAGGED FIELD(VLAN, "\0\0", 2)

static void put_field(struct strbuf *b, unsigned what, const void *bytes, size_t n)
{
    put16(b, 0x8000);
    put8(b, what << 1);
    put8(b, (unsigned)n);
    strbuf_add(b, bytes, n);
}

static void put_match(struct switch_ *s, const struct field *fields, size_t n)
{
    size_t at = s->out.len;
    uint32_t port = htonl(s->port);

    put16(&s->out, 1);
    put16(&s->out, 0);
    put_field(&s->out, FIELD_IN_PORT, &port, sizeof(port));
    for (size_t i = 0; i < n; i++) put_field(&s->out, fields[i].what, fields[i].bytes, fields[i].n);
    set_length(&s->out, at + 2, s->out.len - at);
    put_zeros(&s->out, (8 - (s->out.len - at) % 8) % 8);
}

static void put_flow_head(struct switch_ *s, unsigned command, unsigned priority, unsigned what, uint64_t mask)
{
    put64(&s->out, cookie_base | what);
    put64(&s->out, mask);
    put8(&s->out, TABLE_FIRST);
    put8(&s->out, command);
    put32(&s->out, 0);                   /* no timeouts */
    put16(&s->out, priority);
    put32(&s->out, ANY);                 /* no buffer */
    put32(&s->out, ANY);
    put32(&s->out, ANY);
    put32(&s->out, 0);
}

static void add_flow(struct switch_ *s, unsigned what, unsigned priority, bool passes, const struct field *fields, size_t n)
{
    size_t at = begin(s, FLOW_MOD);

    put_flow_head(s, FLOW_ADD, priority, what, 0);
    put_match(s, fields, n);
    if (passes && s->metered) {
        put16(&s->out, 6);
        put16(&s->out, 8);
        put32(&s->out, s->port);
    }
    if (passes) {
        put16(&s->out, 4);               /* apply actions: as any switch would send it on */
        put16(&s->out, 24);
        put32(&s->out, 0);
        put16(&s->out, 0);
        put16(&s->out, 16);
        put32(&s->out, NORMAL_PORT);
        put64(&s->out, 0);
    }
    end(s, at);
}
#define ADD(s, priority, passes, ...) \
    add_flow(s, FOR_RULES, priority, passes, (const struct field[]){ __VA_ARGS__ }, \
             ARRAY_SIZE(((const struct field[]){ __VA_ARGS__ })))

static void delete_flows(struct switch_ *s, unsigned what)
{
    size_t at = begin(s, FLOW_MOD);

    put_flow_head(s, FLOW_DELETE, 0, what, UINT64_MAX);
    put_match(s, NULL, 0);
    end(s, at);
}

/* ---- a locked card: as filter_lock() has it --------------------------------------------------------------------------------- */

#define FROM_IT FIELD(ETH_SRC, s->mac, 6), UNTAGGED
static const unsigned char zeros[16];

static void allow_ipv4(struct switch_ *s, const char *address)
{
    char ip[4];

    if (inet_pton(AF_INET, address, ip) != 1) return;
    ADD(s, PRIORITY_SOURCE, true, FROM_IT, IS_IPV4, FIELD(IPV4_SRC, ip, 4));
    ADD(s, PRIORITY_SOURCE, true, FROM_IT, IS_ARP, FIELD(ARP_SPA, ip, 4), FIELD(ARP_SHA, s->mac, 6));
    ADD(s, PRIORITY_SOURCE, true, FROM_IT, IS_ARP, FIELD(ARP_SPA, zeros, 4), FIELD(ARP_TPA, ip, 4), FIELD(ARP_SHA, s->mac, 6));
}

static void allow_ipv6(struct switch_ *s, const char ip[16])
{
    ADD(s, PRIORITY_CLAIM, true, FROM_IT, IS_ICMPV6, FIELD(IPV6_SRC, zeros, 16), FIELD(ICMPV6_TYPE, "\x87", 1), FIELD(ND_TARGET, ip, 16));
    ADD(s, PRIORITY_CLAIM, true, FROM_IT, IS_ICMPV6, FIELD(ICMPV6_TYPE, "\x88", 1), FIELD(ND_TARGET, ip, 16));
    ADD(s, PRIORITY_SOURCE, true, FROM_IT, IS_IPV6, FIELD(IPV6_SRC, ip, 16));
}

static void put_rules(struct switch_ *s, const struct net_lock *lock)
{
    const unsigned char *m = s->mac;
    const unsigned char own[8] = { m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5] };
    char ip[16] = "\xfe\x80";

    for (size_t i = 0; i < lock->n_ipv4; i++) allow_ipv4(s, lock->ipv4[i]);
    if (lock->n_ipv4)
        ADD(s, PRIORITY_SOURCE, true, FROM_IT, IS_IPV4, FIELD(IP_PROTO, "\x11", 1), FIELD(IPV4_SRC, zeros, 4),
            FIELD(IPV4_DST, "\xff\xff\xff\xff", 4), FIELD(UDP_SRC, "\0\x44", 2), FIELD(UDP_DST, "\0\x43", 2));
    ADD(s, PRIORITY_NEVER, false, IS_ICMPV6, FIELD(ICMPV6_TYPE, "\x86", 1));
    ADD(s, PRIORITY_NEVER, false, IS_ICMPV6, FIELD(ICMPV6_TYPE, "\x89", 1));
    ADD(s, PRIORITY_NO_CLAIM, false, IS_ICMPV6, FIELD(ICMPV6_TYPE, "\x88", 1));
    memcpy(ip + 8, own, sizeof(own));
    if (lock->n_ipv6) allow_ipv6(s, ip);
    for (size_t i = 0; i < lock->n_ipv6; i++)
        if (inet_pton(AF_INET6, lock->ipv6[i], ip) == 1) allow_ipv6(s, ip);
}

/* ---- a limit -------------------------------------------------------------------------------------------------------------------- */

static void put_meter(struct switch_ *s, unsigned command, int64_t rate_kbytes)
{
    size_t at = begin(s, METER_MOD);
    int64_t kbits = rate_kbytes * 8 * 1024 / 1000;
    uint32_t rate = kbits < UINT32_MAX ? (uint32_t)kbits : UINT32_MAX;

    put16(&s->out, command);
    put16(&s->out, 1 | 4);                   /* kbit/s, with a burst */
    put32(&s->out, s->port);
    if (command != METER_DELETE) {
        put16(&s->out, 1);                   /* drop */
        put16(&s->out, 16);
        put32(&s->out, rate);
        put32(&s->out, rate / BURST_PER_S > 0 ? rate / BURST_PER_S : 1);
        put32(&s->out, 0);
    }
    end(s, at);
}

static int set_meter(struct switch_ *s, int64_t rate_kbytes, char **ret_why)
{
    uint32_t error;

    put_meter(s, METER_MODIFY, rate_kbytes);
    if (flush(s, &error, ret_why)) return -1;
    if (!error) return 0;
    put_meter(s, METER_ADD, rate_kbytes);    /* there was none */
    return flush_all(s, ret_why);
}

/* ---- a card ------------------------------------------------------------------------------------------------------------------------ */

static int set_card(struct switch_ *s, const struct net_lock *lock, int64_t rate_kbytes, char **ret_why)
{
    uint32_t ignored;

    if (s->metered && set_meter(s, rate_kbytes, ret_why)) return -1;
    /* A locked card is closed altogether before its rules change. */
    if (lock) add_flow(s, FOR_REST, PRIORITY_REST, false, NULL, 0);
    delete_flows(s, FOR_RULES);
    if (lock) put_rules(s, lock);
    else delete_flows(s, FOR_REST);
    if (s->metered) add_flow(s, FOR_RATE, PRIORITY_OPEN, true, NULL, 0);
    else delete_flows(s, FOR_RATE);
    if (flush_all(s, ret_why)) return -1;
    if (s->metered) return 0;
    put_meter(s, METER_DELETE, 0);           /* which takes the flows that name it along; a switch without meters has none */
    return flush(s, &ignored, ret_why);
}

int openflow_card(const char *bridge, uint32_t port, const struct net_lock *lock, int64_t rate_kbytes, char **ret_why)
{
    struct switch_ s = { .stream = STREAM_INIT, .bridge = bridge, .port = port, .metered = rate_kbytes > 0 };
    _cleanup_free_ char *socket = xasprintf("%s.mgmt", bridge);
    unsigned m[6] = { 0 };
    unsigned char mac[6];

    if (lock && sscanf(lock->mac, "%2x:%2x:%2x:%2x:%2x:%2x", &m[0], &m[1], &m[2], &m[3], &m[4], &m[5]) != 6) {
        *ret_why = xasprintf("%s is no MAC address", lock->mac);
        return -1;
    }
    for (int i = 0; i < 6; i++) mac[i] = (unsigned char)m[i];
    s.mac = mac;
    if (ovs_connect(socket, &s.stream, ret_why)) return -1;
    size_t at = begin(&s, HELLO);
    end(&s, at);
    int rc = set_card(&s, lock, rate_kbytes, ret_why);
    stream_close(&s.stream);
    strbuf_free(&s.out);
    return rc;
}
