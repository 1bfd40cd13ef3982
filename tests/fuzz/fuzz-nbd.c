/* The first words of an NBD client and of a disk's server, both arbitrary bytes: the handshake ends, and nothing is taken
 * for an agreement that was none.
 * Called by: libFuzzer, replay.c.  Calls: xapi/http/nbd_handshake. */
#include "tests/fuzz/fuzz.h"

#include "xapi/http/nbd_handshake.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>

/* The other end of a connection that has said all it will. */
static int speaker(const uint8_t *data, size_t size, int *ret_other)
{
    int pair[2], room = 1 << 20;

    MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
    setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
    if (size) MUST(write(pair[1], data, size) == (ssize_t)size);
    shutdown(pair[1], SHUT_WR);
    *ret_other = pair[1];
    return pair[0];
}

struct server {
    const uint8_t *data;
    size_t size;
    int other;
    unsigned opened;
};

static int open_export(void *arg, const char *name, int *ret_fd, const char **ret_why)
{
    struct server *s = arg;

    MUST(*name && strlen(name) <= 4096 && s->opened == 0);
    *ret_why = "no";
    if (*name == '!') return -1;
    s->opened++;
    *ret_fd = speaker(s->data, s->size, &s->other);
    return 0;
}

/* Two bytes say how long the client speaks; the rest is the server's. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > 60000) return 0;
    size_t n = (size_t)data[0] << 8 | data[1];
    if (n > size - 2) n = size - 2;
    struct server server = { data + 2 + n, size - 2 - n, -1, 0 };
    int other;
    struct stream client = { .fd = speaker(data + 2, n, &other) };
    struct nbd_handshake h = { .client = &client, .open = open_export, .arg = &server, .timeout_ms = 1000 };

    signal(SIGPIPE, SIG_IGN);
    if (nbd_handshake(&h) == 0) MUST(server.opened == 1 && h.backend.fd >= 0);
    stream_close(&h.backend);
    stream_close(&client);
    close(other);
    if (server.other >= 0) close(server.other);
    return 0;
}
