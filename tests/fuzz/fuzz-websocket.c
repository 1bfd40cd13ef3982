/* Frames of a WebSocket client, arbitrary bytes: the relay ends, passes on no more than came, and answers with whole frames only.
 * Called by: libFuzzer, replay.c.  Calls: xapi/http/websocket. */
#include "tests/fuzz/fuzz.h"

#include "lib/stream.h"
#include "xapi/http/websocket.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

/* What is in the socket now. */
static size_t drain(int fd, unsigned char *buf, size_t size)
{
    size_t n = 0;
    ssize_t got;

    while (n < size && (got = recv(fd, buf + n, size - n, MSG_DONTWAIT)) > 0) n += (size_t)got;
    return n;
}

/* Frames to a client: unmasked, no reserved bits, a control frame at most 125 bytes. */
static void check_answers(const unsigned char *p, size_t n)
{
    while (n) {
        MUST(n >= 2 && (p[0] & 0x70) == 0 && !(p[1] & 0x80));
        size_t head = 2, len = p[1];
        if (len == 126) {
            MUST(n >= 4);
            head = 4;
            len = (size_t)p[2] << 8 | p[3];
        } else if (len == 127) {
            MUST(n >= 10);
            head = 10;
            len = 0;
            for (int i = 2; i < 10; i++) len = len << 8 | p[i];
        }
        MUST(!(p[0] & 8) || len <= 125);
        MUST(len <= n - head);
        p += head + len;
        n -= head + len;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static unsigned char out[256 << 10];
    struct stream client = STREAM_INIT, raw = STREAM_INIT;
    int ours[2], theirs[2];

    if (size > 32 << 10) return 0;     /* what sockets hold, so that this needs no second thread */
    MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ours) == 0);
    MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, theirs) == 0);
    MUST(size == 0 || send(ours[1], data, size, 0) == (ssize_t)size);
    shutdown(ours[1], SHUT_WR);
    client.fd = ours[0];
    raw.fd = theirs[0];
    errno = 0;
    int rc = websocket_relay(&client, &raw, 5000);
    MUST(rc == 0 || (errno && errno != ETIMEDOUT));
    MUST(drain(theirs[1], out, sizeof(out)) <= size);
    check_answers(out, drain(ours[1], out, sizeof(out)));
    stream_close(&client);
    stream_close(&raw);
    close(ours[1]);
    close(theirs[1]);
    return 0;
}
