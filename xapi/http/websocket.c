/* WebSocket (RFC 6455), server side.
 * Called by: console.c.  Calls: stream, OpenSSL. */
#include "xapi/http/websocket.h"

#include <errno.h>
#include <openssl/sha.h>
#include <poll.h>

#include "lib/base64.h"

enum { CHUNK = 16 * 1024, KEY_MAX = 128, CONTROL_MAX = 125, FRAME_HEAD_MAX = 4, PENDING_MAX = 2 * CHUNK,
       LAST_WORD_MS = 60000 };
enum opcode { OP_CONTINUE = 0, OP_TEXT = 1, OP_BINARY = 2, OP_CLOSE = 8, OP_PING = 9, OP_PONG = 10 };

/* ---- handshake --------------------------------------------------------------------------------------------------- */

bool websocket_wanted(const struct http_request *req)
{
    const char *upgrade = http_header(&req->head, "Upgrade"), *key = http_header(&req->head, "Sec-WebSocket-Key");
    const char *version = http_header(&req->head, "Sec-WebSocket-Version");

    return upgrade && http_has_token(upgrade, "websocket") && key && *key && strlen(key) <= KEY_MAX && version &&
           streq(version, "13");
}

const char *websocket_headers(struct http_request *req)
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    const char *text = arena_printf(req->arena, "%s%s", http_header(&req->head, "Sec-WebSocket-Key"), guid);
    const char *protocol = http_header(&req->head, "Sec-WebSocket-Protocol");
    _cleanup_strbuf_ struct strbuf accept = STRBUF_INIT;
    unsigned char digest[SHA_DIGEST_LENGTH];

    SHA1((const unsigned char *)text, strlen(text), digest);
    base64_encode(digest, sizeof(digest), &accept);
    return arena_printf(req->arena, "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n%s",
                        strbuf_cstr(&accept),
                        protocol && http_has_token(protocol, "binary") ? "Sec-WebSocket-Protocol: binary\r\n" : "");
}

/* ---- frames ------------------------------------------------------------------------------------------------------ */

/* Where we are in the client's stream of frames. */
struct reader {
    unsigned char head[14];
    size_t have, need;          /* bytes of the head so far, and of the whole head (2 until its length is known) */
    uint64_t left;              /* payload bytes still to come of this frame */
    uint64_t at;                /* payload bytes seen, for the mask */
    enum opcode op;
    unsigned char control[CONTROL_MAX];
    size_t n_control;
    bool closed;
};

static int protocol_error(void)
{
    errno = EPROTO;
    return -1;
}

/* What waits to be written to one side. */
struct outgoing {
    unsigned char bytes[PENDING_MAX];
    size_t at, len;
};

static void put(struct outgoing *out, const void *p, size_t n)
{
    if (!out->len) out->at = 0;
    memcpy(out->bytes + out->at + out->len, p, n);
    out->len += n;
}

static bool fits(const struct outgoing *out, size_t n)
{
    return n <= sizeof(out->bytes) - (out->len ? out->at + out->len : 0);
}

/* Writes what the other side takes now. 1 = something, 0 = nothing, -1 + errno. */
static int flush(struct outgoing *out, struct stream *to)
{
    if (!out->len) return 0;
    ssize_t sent = stream_write_some(to, out->bytes + out->at, out->len);
    if (sent < 0) return -1;
    out->at += (size_t)sent;
    out->len -= (size_t)sent;
    return sent > 0;
}

static void put_frame(struct outgoing *out, enum opcode op, const void *payload, size_t n)
{
    unsigned char head[FRAME_HEAD_MAX] = { (unsigned char)(0x80 | op) };
    size_t len = 2;

    if (n < 126) {
        head[1] = (unsigned char)n;
    } else {
        head[1] = 126;
        head[2] = (unsigned char)(n >> 8);
        head[3] = (unsigned char)n;
        len = 4;
    }
    put(out, head, len);
    put(out, payload, n);
}

/* The head is whole: what follows. */
static int begin_frame(struct reader *r)
{
    unsigned length = r->head[1] & 0x7f;
    size_t at = 2;

    bool last = r->head[0] & 0x80;
    r->op = (enum opcode)(r->head[0] & 0x0f);
    r->left = length;
    if (length == 126) {
        r->left = (uint64_t)r->head[2] << 8 | r->head[3];
        at = 4;
    } else if (length == 127) {
        r->left = 0;
        for (at = 2; at < 10; at++) r->left = r->left << 8 | r->head[at];
    }
    memmove(r->head, r->head + at, 4);   /* the mask */
    r->at = 0;
    r->n_control = 0;
    bool control = r->op >= OP_CLOSE;
    if (r->left > INT64_MAX || (control && (r->left > CONTROL_MAX || !last))) return protocol_error();
    return r->op > OP_PONG || (!control && r->op > OP_BINARY) ? protocol_error() : 0;
}

/* One more byte of a head; begins the frame when it is the last. */
static int take_head(struct reader *r, unsigned char byte)
{
    r->head[r->have++] = byte;
    if (r->have == 2) {
        unsigned length = byte & 0x7f;
        if (!(byte & 0x80) || r->head[0] & 0x70) return protocol_error();   /* a client masks and uses no extension */
        r->need = 2 + (length == 126 ? 2u : length == 127 ? 8u : 0u) + 4;
    }
    if (r->have < r->need) return 0;
    return begin_frame(r);
}

static void end_frame(struct reader *r, struct outgoing *client)
{
    r->have = 0;
    r->need = 2;
    if (r->op == OP_PING) put_frame(client, OP_PONG, r->control, r->n_control);
    if (r->op != OP_CLOSE) return;
    r->closed = true;
    put_frame(client, OP_CLOSE, r->control, r->n_control < 2 ? r->n_control : 2);
}

static bool in_head(const struct reader *r) { return r->have < r->need; }

/* Bytes from the client: unmasked payload goes to raw, control frames are obeyed. Stops where an answer or the payload
 * would not fit. Bytes taken, or -1 + errno. */
static ssize_t take_bytes(struct reader *r, unsigned char *bytes, size_t n, struct outgoing *client, struct outgoing *raw)
{
    size_t at = 0;

    while (at < n && !r->closed && fits(client, FRAME_HEAD_MAX + CONTROL_MAX)) {
        if (in_head(r)) {
            if (take_head(r, bytes[at++])) return -1;
            if (!in_head(r) && !r->left) end_frame(r, client);
            continue;
        }
        unsigned char *p = bytes + at;
        bool control = r->op >= OP_CLOSE;
        size_t piece = r->left < n - at ? (size_t)r->left : n - at;
        if (!control && !fits(raw, piece)) break;
        for (size_t i = 0; i < piece; i++) p[i] ^= r->head[(r->at + i) & 3];
        if (control) {
            memcpy(r->control + r->n_control, p, piece);
            r->n_control += piece;
        } else {
            put(raw, p, piece);
        }
        r->at += piece;
        r->left -= piece;
        at += piece;
        if (!r->left) end_frame(r, client);
    }
    return (ssize_t)at;
}

/* ---- relay ------------------------------------------------------------------------------------------------------- */

struct relay {
    struct stream *client, *raw;
    struct reader reader;
    unsigned char in[CHUNK];         /* from the client, not taken yet */
    size_t in_at, in_len;
    struct outgoing to_client, to_raw;
    bool client_ended, raw_ended;
};

/* Both steps: 1 = something moved, 0 = not now, -1 + errno. Neither waits, so that a side that takes nothing holds up
 * only what is meant for it. */
static int from_client(struct relay *w)
{
    int moved = flush(&w->to_raw, w->raw);

    if (moved < 0) return -1;
    if (!w->in_len && !w->client_ended) {
        ssize_t got = stream_read(w->client, w->in, CHUNK, 0);
        if (got < 0 && errno != ETIMEDOUT) return -1;
        w->client_ended = got == 0;
        w->in_at = 0;
        w->in_len = got > 0 ? (size_t)got : 0;
        moved |= got >= 0;
    }
    ssize_t taken = take_bytes(&w->reader, w->in + w->in_at, w->in_len, &w->to_client, &w->to_raw);
    if (taken < 0) return -1;
    w->in_at += (size_t)taken;
    w->in_len -= (size_t)taken;
    return moved || taken;
}

static bool wants_raw(const struct relay *w)
{
    return !w->raw_ended && !w->reader.closed && !w->to_client.len;
}

static int from_raw(struct relay *w)
{
    unsigned char buf[CHUNK];
    int moved = flush(&w->to_client, w->client);

    if (moved < 0 || !wants_raw(w)) return moved;
    ssize_t got = stream_read(w->raw, buf, sizeof(buf), 0);
    if (got < 0) return errno == ETIMEDOUT ? moved : -1;
    w->raw_ended = got == 0;
    if (got) put_frame(&w->to_client, OP_BINARY, buf, (size_t)got);
    else put_frame(&w->to_client, OP_CLOSE, "\x03\xe8", 2);   /* 1000: it ended as it should */
    return 1;
}

static bool relay_over(const struct relay *w)
{
    if (w->reader.closed || w->raw_ended) return !w->to_client.len;
    return w->client_ended && !w->in_len && !w->to_raw.len;
}

static int relay_wait(const struct relay *w, int idle_ms)
{
    struct pollfd p[2] = {
        { .fd = w->client->fd, .events = (short)((w->in_len || w->client_ended ? 0 : POLLIN) | (w->to_client.len ? POLLOUT : 0)) },
        { .fd = w->raw->fd, .events = (short)((wants_raw(w) ? POLLIN : 0) | (w->to_raw.len ? POLLOUT : 0)) },
    };

    for (int i = 0; i < 2; i++)
        if (!p[i].events) p[i].fd = -1;   /* nothing to wait for: it would only report its hang-up again and again */
    int n = poll(p, 2, idle_ms);
    if (n < 0 && errno != EINTR) return -1;
    if (n) return 0;
    errno = ETIMEDOUT;
    return -1;
}

int websocket_relay(struct stream *client, struct stream *raw, int idle_ms)
{
    struct relay *w = xcalloc(1, sizeof(*w));
    int rc = 0;

    w->client = client;
    w->raw = raw;
    w->reader.need = 2;
    while (!rc && !relay_over(w)) {
        int there = from_client(w), back = there < 0 ? -1 : from_raw(w);
        if (there < 0 || back < 0) rc = -1;
        else if (!there && !back) rc = relay_wait(w, w->client_ended || w->reader.closed || w->raw_ended ? LAST_WORD_MS : idle_ms);
    }
    free(w);
    return rc;
}
