/* WebSocket (RFC 6455), server side.
 * Called by: console.c.  Calls: stream, OpenSSL. */
#include "xapi/http/websocket.h"

#include <errno.h>
#include <openssl/sha.h>
#include <poll.h>

#include "lib/base64.h"

enum { CHUNK = 16 * 1024, KEY_MAX = 128, CONTROL_MAX = 125, WRITE_MS = 60000 };
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

static int send_frame(struct stream *client, enum opcode op, const void *payload, size_t n)
{
    unsigned char head[4] = { (unsigned char)(0x80 | op) };
    size_t len = 2;

    if (n < 126) {
        head[1] = (unsigned char)n;
    } else {
        head[1] = 126;
        head[2] = (unsigned char)(n >> 8);
        head[3] = (unsigned char)n;
        len = 4;
    }
    return stream_write(client, head, len, WRITE_MS) || stream_write(client, payload, n, WRITE_MS) ? -1 : 0;
}

/* The head is whole: what follows. */
static int begin_frame(struct reader *r)
{
    unsigned length = r->head[1] & 0x7f;
    size_t at = 2;

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
    if (r->left > INT64_MAX || (control && r->left > CONTROL_MAX)) return protocol_error();
    if (!control && r->op != OP_CONTINUE && r->op != OP_TEXT && r->op != OP_BINARY) return protocol_error();
    return 0;
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

static int end_frame(struct reader *r, struct stream *client)
{
    r->have = 0;
    r->need = 2;
    if (r->op == OP_PING) return send_frame(client, OP_PONG, r->control, r->n_control);
    if (r->op != OP_CLOSE) return 0;
    r->closed = true;
    return send_frame(client, OP_CLOSE, r->control, r->n_control < 2 ? r->n_control : 2);
}

static bool in_head(const struct reader *r) { return r->have < r->need; }

/* Bytes from the client: unmasked payload goes to raw, control frames are obeyed. */
static int take_bytes(struct reader *r, unsigned char *p, size_t n, struct stream *client, struct stream *raw)
{
    while (n && !r->closed) {
        if (in_head(r)) {
            if (take_head(r, *p)) return -1;
            p++;
            n--;
            if (!in_head(r) && !r->left && end_frame(r, client)) return -1;
            continue;
        }
        size_t piece = r->left < n ? (size_t)r->left : n;
        for (size_t i = 0; i < piece; i++) p[i] ^= r->head[(r->at + i) & 3];
        if (r->op >= OP_CLOSE) {
            memcpy(r->control + r->n_control, p, piece);
            r->n_control += piece;
        } else if (stream_write(raw, p, piece, WRITE_MS)) {
            return -1;
        }
        r->at += piece;
        r->left -= piece;
        p += piece;
        n -= piece;
        if (!r->left && end_frame(r, client)) return -1;
    }
    return 0;
}

int websocket_relay(struct stream *client, struct stream *raw, int idle_ms)
{
    _cleanup_free_ char *buf = xmalloc(CHUNK);
    struct reader r = { .need = 2 };

    while (!r.closed) {
        struct pollfd p[2] = { { .fd = client->fd, .events = POLLIN }, { .fd = raw->fd, .events = POLLIN } };
        int n = poll(p, 2, stream_pending(client) ? 0 : idle_ms);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return -1;
        if (!n && !stream_pending(client)) {
            errno = ETIMEDOUT;
            return -1;
        }
        if (p[0].revents || stream_pending(client)) {
            ssize_t got = stream_read(client, buf, CHUNK, 0);
            if (got == 0) return 0;
            if (got < 0 && errno != ETIMEDOUT) return -1;
            if (got > 0 && take_bytes(&r, (unsigned char *)buf, (size_t)got, client, raw)) return -1;
        }
        if (p[1].revents) {
            ssize_t got = stream_read(raw, buf, CHUNK, 0);
            if (got == 0) return send_frame(client, OP_CLOSE, "\x03\xe8", 2);   /* 1000: it ended as it should */
            if (got < 0 && errno != ETIMEDOUT) return -1;
            if (got > 0 && send_frame(client, OP_BINARY, buf, (size_t)got)) return -1;
        }
    }
    return 0;
}
