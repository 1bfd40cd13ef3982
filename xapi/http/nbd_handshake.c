/* The first words of an NBD client.
 * Called by: nbd_server.c, fuzz target.  Calls: lib/stream, lib/tls. */
#include "xapi/http/nbd_handshake.h"

#include <endian.h>
#include <errno.h>

#include "lib/tls.h"

static const uint64_t INIT_MAGIC = 0x4e42444d41474943, OPTION_MAGIC = 0x49484156454f5054, REPLY_MAGIC = 0x3e889045565a9;
enum { FIXED_NEWSTYLE = 1, NO_ZEROES = 2 };
enum option {
    OPT_EXPORT_NAME = 1,
    OPT_ABORT = 2,
    OPT_LIST = 3,
    OPT_STARTTLS = 5,
    OPT_INFO = 6,
    OPT_GO = 7,
    OPT_STRUCTURED_REPLY = 8,
    OPT_LIST_META_CONTEXT = 9,
    OPT_SET_META_CONTEXT = 10,
};
#define REP_ACK UINT32_C(1)
#define REP_ERROR UINT32_C(0x80000000)
enum rep_error { UNSUPPORTED = 1, POLICY = 2, INVALID = 3, TLS_REQUIRED = 5, UNKNOWN = 6 };
enum {
    MAX_OPTION = 64 << 10, /* bytes in an option of a client, and in a reply of a server */
    MAX_OPTIONS = 256,
    MAX_NAME = 4096,       /* the protocol's limit */
    SERVER_MS = 30000,
};

struct option_head {
    uint64_t magic;
    uint32_t option, len;
} __attribute__((packed));

struct reply_head {
    uint64_t magic;
    uint32_t option, type, len;
} __attribute__((packed));

struct greeting {
    uint64_t init, option;
    uint16_t flags;
} __attribute__((packed));

struct state {
    struct nbd_handshake *h;
    uint32_t client_flags;
    bool structured; /* the client has asked for structured replies */
    bool opened;
    char *name;      /* of the export that is open */
    char *data;      /* of the option: MAX_OPTION bytes and a NUL */
    uint32_t option, len;
};

/* ---- the client ---------------------------------------------------------------------------- */

static int reply(struct state *s, uint32_t type, const char *text)
{
    const size_t n = strlen(text);
    const struct reply_head head = { htobe64(REPLY_MAGIC), htobe32(s->option), htobe32(type), htobe32((uint32_t)n) };

    if (stream_write(s->h->client, &head, sizeof(head), s->h->timeout_ms)) return -1;
    return n ? stream_write(s->h->client, text, n, s->h->timeout_ms) : 0;
}

static int refuse(struct state *s, enum rep_error number, const char *text)
{
    return reply(s, REP_ERROR | (uint32_t)number, text);
}

static int greet(struct state *s)
{
    const struct greeting hello = { htobe64(INIT_MAGIC), htobe64(OPTION_MAGIC), htobe16(FIXED_NEWSTYLE | NO_ZEROES) };
    uint32_t flags;

    if (stream_write(s->h->client, &hello, sizeof(hello), s->h->timeout_ms)) return -1;
    if (stream_read_full(s->h->client, &flags, sizeof(flags), s->h->timeout_ms)) return -1;
    s->client_flags = be32toh(flags);
    return s->client_flags & FIXED_NEWSTYLE && !(s->client_flags & ~(uint32_t)(FIXED_NEWSTYLE | NO_ZEROES)) ? 0 : -1;
}

static int next_option(struct state *s)
{
    struct option_head head;

    if (stream_read_full(s->h->client, &head, sizeof(head), s->h->timeout_ms)) return -1;
    s->option = be32toh(head.option);
    s->len = be32toh(head.len);
    if (be64toh(head.magic) != OPTION_MAGIC || s->len > MAX_OPTION) return -1;
    s->data[s->len] = '\0';
    return s->len ? stream_read_full(s->h->client, s->data, s->len, s->h->timeout_ms) : 0;
}

static int start_tls(struct state *s)
{
    struct stream *c = s->h->client;

    if (!s->h->tls) return refuse(s, UNSUPPORTED, "");
    if (c->ssl || s->len) return refuse(s, INVALID, "");
    /* What came before the handshake, in the clear, counts no longer. */
    s->structured = false;
    if (s->opened) return -1;
    if (reply(s, REP_ACK, "")) return -1;
    c->ssl = tls_server_accept(s->h->tls, c->fd);
    return stream_handshake(c, s->h->timeout_ms);
}

/* ---- the disk's server --------------------------------------------------------------------- */

static int tell_server(struct state *s, uint32_t option, const void *data, size_t n)
{
    const struct option_head head = { htobe64(OPTION_MAGIC), htobe32(option), htobe32((uint32_t)n) };

    if (stream_write(&s->h->backend, &head, sizeof(head), SERVER_MS)) return -1;
    return n ? stream_write(&s->h->backend, data, n, SERVER_MS) : 0;
}

static int server_reply(struct state *s, struct reply_head *ret_head, char data[MAX_OPTION])
{
    struct reply_head head;

    if (stream_read_full(&s->h->backend, &head, sizeof(head), SERVER_MS)) return -1;
    if (be64toh(head.magic) != REPLY_MAGIC || be32toh(head.len) > MAX_OPTION) return -1;
    *ret_head = head;
    return head.len ? stream_read_full(&s->h->backend, data, be32toh(head.len), SERVER_MS) : 0;
}

/* Its greeting, and what the client has agreed on with us. */
static int greet_server(struct state *s, char answer[MAX_OPTION])
{
    const uint32_t flags = htobe32(s->client_flags);
    struct greeting hello;
    struct reply_head head;

    if (stream_read_full(&s->h->backend, &hello, sizeof(hello), SERVER_MS)) return -1;
    if (be64toh(hello.init) != INIT_MAGIC || be64toh(hello.option) != OPTION_MAGIC) return -1;
    if (s->client_flags & ~(uint32_t)be16toh(hello.flags)) return -1;
    if (stream_write(&s->h->backend, &flags, sizeof(flags), SERVER_MS)) return -1;
    if (!s->structured) return 0;
    if (tell_server(s, OPT_STRUCTURED_REPLY, NULL, 0) || server_reply(s, &head, answer)) return -1;
    return be32toh(head.type) == REP_ACK ? 0 : -1;
}

/* 0 = open; 1 = refused, and the client was told when it can be told; -1 = over. */
static int open_export(struct state *s, const char *name, size_t n)
{
    _cleanup_free_ char *answer = NULL;
    const char *why = "no such export";

    if (n == 0 || n > MAX_NAME || strlen(name) < n) return s->option == OPT_EXPORT_NAME || refuse(s, UNKNOWN, why) ? -1 : 1;
    _cleanup_free_ char *copy = xstrndup(name, n);
    if (s->opened && streq(copy, s->name)) return 0;
    if (s->opened) return s->option == OPT_EXPORT_NAME || refuse(s, INVALID, "one export a connection") ? -1 : 1;
    s->h->backend = (struct stream)STREAM_INIT;
    if (s->h->open(s->h->arg, copy, &s->h->backend.fd, &why)) {
        s->h->backend.fd = -1;
        return s->option == OPT_EXPORT_NAME || refuse(s, UNKNOWN, why) ? -1 : 1;
    }
    s->opened = true;
    s->name = take_ptr(copy);
    answer = xmalloc(MAX_OPTION);
    return greet_server(s, answer);
}

/* Everything the server says to one option. *ret_ack: it agreed. */
static int relay_replies(struct state *s, bool *ret_ack)
{
    _cleanup_free_ char *data = xmalloc(MAX_OPTION);
    struct reply_head head;

    for (;;) {
        if (server_reply(s, &head, data)) return -1;
        if (stream_write(s->h->client, &head, sizeof(head), s->h->timeout_ms)) return -1;
        if (head.len && stream_write(s->h->client, data, be32toh(head.len), s->h->timeout_ms)) return -1;
        *ret_ack = be32toh(head.type) == REP_ACK;
        if (*ret_ack || be32toh(head.type) & REP_ERROR) return 0;
    }
}

/* Options that begin with the name's length and the name. 0 = go on, 1 = transmission, -1 = over. */
static int named_option(struct state *s)
{
    uint32_t n;
    bool ack;

    if (s->len < sizeof(n)) return refuse(s, INVALID, "");
    memcpy(&n, s->data, sizeof(n));
    n = be32toh(n);
    if (n > s->len - sizeof(n)) return refuse(s, INVALID, "");
    int rc = open_export(s, s->data + sizeof(n), n);
    if (rc) return rc < 0 ? -1 : 0;
    /* The same without the name. */
    memset(s->data + n, 0, sizeof(n));
    if (tell_server(s, s->option, s->data + n, s->len - n) || relay_replies(s, &ack)) return -1;
    return ack && s->option == OPT_GO ? 1 : 0;
}

static int structured_replies(struct state *s)
{
    bool ack;

    if (s->len) return refuse(s, INVALID, "");
    if (!s->opened) {
        s->structured = true;
        return reply(s, REP_ACK, "");
    }
    return tell_server(s, OPT_STRUCTURED_REPLY, NULL, 0) || relay_replies(s, &ack) ? -1 : 0;
}

/* 0 = go on, 1 = transmission, -1 = over. */
static int take_option(struct state *s)
{
    if (s->h->tls_required && !s->h->client->ssl && s->option != OPT_STARTTLS && s->option != OPT_ABORT)
        return s->option == OPT_EXPORT_NAME ? -1 : refuse(s, TLS_REQUIRED, "");
    switch ((enum option)s->option) {
    case OPT_STARTTLS: return start_tls(s);
    case OPT_ABORT: return reply(s, REP_ACK, "") ? -1 : -1;
    case OPT_LIST: return refuse(s, POLICY, "exports are not listed");
    case OPT_STRUCTURED_REPLY: return structured_replies(s);
    case OPT_EXPORT_NAME:
        /* The server's answer is raw, and the relay's. */
        return open_export(s, s->data, s->len) || tell_server(s, OPT_EXPORT_NAME, NULL, 0) ? -1 : 1;
    case OPT_INFO:
    case OPT_GO:
    case OPT_LIST_META_CONTEXT:
    case OPT_SET_META_CONTEXT: return named_option(s);
    }
    return refuse(s, UNSUPPORTED, "");
}

int nbd_handshake(struct nbd_handshake *h)
{
    struct state s = { .h = h };
    int rc;

    h->backend = (struct stream)STREAM_INIT;
    rc = greet(&s);
    s.data = xmalloc(MAX_OPTION + 1);
    for (int n = 0; rc == 0 && n < MAX_OPTIONS; n++) rc = next_option(&s) ? -1 : take_option(&s);
    free(s.data);
    free(s.name);
    return rc == 1 ? 0 : -1;
}
