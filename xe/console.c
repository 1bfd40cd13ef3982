/* The terminal as the console of a VM: bytes both ways until Ctrl-] or the end of either.
 * Called by: client.c.  Calls: web, terminal. */
#include "xe/client_inside.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>

enum { QUIT = 0x1d, RFB_GREETING = 8 };

static const char rfb[] = "RFB 003.";

/* What the console says, to the terminal. -1 at its end. */
static int console_output(const struct client *cl, struct web *web, char *buf, bool *first)
{
    ssize_t got = web_read_now(web, buf, CLIENT_BLOCK);

    if (got < 0 && errno == EAGAIN) return 0;
    if (got <= 0) return -1;
    if (*first && got >= RFB_GREETING && memcmp(buf, rfb, RFB_GREETING) == 0) {
        client_complain(cl, "Error: this console is a screen, which a terminal cannot show.");
        fputs("\r\n", stderr);
        return -1;
    }
    *first = false;
    return write_all(STDOUT_FILENO, buf, (size_t)got);
}

/* What is typed, to the console. -1: somebody wants to leave, or the console is gone. 0: there is no more, 1. */
static int console_input(struct web *web, char *buf)
{
    ssize_t got = read(STDIN_FILENO, buf, CLIENT_BLOCK);
    const char *quit = got > 0 ? memchr(buf, QUIT, (size_t)got) : NULL;

    if (got < 0 && (errno == EINTR || errno == EAGAIN)) return 1;
    if (got <= 0) return 0;
    if (quit) got = quit - buf;
    if (got > 0 && conn_write(web->conn, buf, (size_t)got) < 0) return -1;
    return quit ? -1 : 1;
}

static bool readable(int fd)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };

    return poll(&p, 1, 0) > 0;
}

static void relay(struct client *cl, struct web *web)
{
    _cleanup_free_ char *buf = xmalloc(CLIENT_BLOCK);
    bool input = true, first = true;

    do {
        bool early = web->len > web->body || conn_pending(web->conn);

        if (!early && conn_wait(web->conn, POLLIN, input ? STDIN_FILENO : -1) < 0) return;
        if (console_output(cl, web, buf, &first) < 0) return;
        if (input && readable(STDIN_FILENO)) {
            int rc = console_input(web, buf);

            if (rc < 0) return;
            input = rc;
        }
    } while (client_tick(cl) == 0);
}

static void say_refused(const struct client *cl, const struct web *web)
{
    _cleanup_free_ char *line = web_status_line(web);

    switch (web->status) {
    case 0:                            /* it did not even answer, which has been said */
        return;
    case 404:
        client_complain(cl, "Server replied with HTTP 404: the console is not available\n");
        return;
    case 503:
        client_complain(cl, "Error: the console cannot be opened now; does the VM still run?\n");
        return;
    default:
        client_complain(cl, "Server said: %s\n", line);
    }
}

int client_console(struct client *cl, const struct thin_msg *msg)
{
    struct web web = { .conn = NULL };
    bool ok;

    if (client_flush(cl) < 0) return -1;
    ok = web_begin(&cl->target, &web, "CONNECT", msg->url, "content-length: 0\r\n", "", cl->cfg->debug) == 0 &&
         web.status == 200;
    if (ok) {
        bool tty = isatty(STDIN_FILENO);

        client_transfer_begin(cl, NULL);
        terminal_raw(cl->cfg->term);
        relay(cl, &web);
        terminal_restore(cl->cfg->term);
        client_transfer_end(cl);
        if (tty) printf("\r\n");
    } else {
        say_refused(cl, &web);
    }
    web_close(&web);
    client_respond(cl, ok ? THIN_OK : THIN_FAILED);
    return 0;
}
