/* Moving a file's bytes between this machine and a URL of the server.
 * Called by: client.c.  Calls: web, client. */
#include "xe/client_inside.h"

#include "lib/strbuf.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>

int write_all(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t did = write(fd, p, n);

        if (did < 0 && errno == EINTR) continue;
        if (did < 0) return -1;
        p += did;
        n -= (size_t)did;
    }
    return 0;
}

/* Says what broke a transfer, when nobody wanted it to. */
static void say_broken(struct client *cl)
{
    int why = errno;

    if (why == ECANCELED && cl->op.cancelled) return;
    operation_hide(&cl->op);
    client_complain(cl, "Error: the transfer broke off: %s\n", strerror(why));
}

static bool ready(int fd, short events)
{
    struct pollfd p = { .fd = fd, .events = events };

    return poll(&p, 1, 0) > 0;
}

/* To a file, or to what may have to wait for its reader: then Ctrl-C is heard meanwhile. */
static int put_out(struct client *cl, int out, bool waits, const char *p, size_t n)
{
    while (waits && n) {
        struct pollfd polls[2] = { { .fd = out, .events = POLLOUT },
                                   { .fd = cl->waker.fd, .events = POLLIN } };
        ssize_t did;

        if (poll(polls, 2, cl->waker.every_ms) < 0 && errno != EINTR) return -1;
        if (client_tick(cl) < 0) {
            errno = ECANCELED;
            return -1;
        }
        if (!polls[0].revents) continue;
        did = write(out, p, n < PIPE_BUF ? n : PIPE_BUF);  /* so much goes without waiting */
        if (did < 0 && errno != EINTR && errno != EAGAIN) return -1;
        if (did < 0) continue;
        p += did;
        n -= (size_t)did;
    }
    return write_all(out, p, n);
}

static int copy_body(struct client *cl, struct web *web, int out)
{
    _cleanup_free_ char *buf = xmalloc(CLIENT_BLOCK);
    int64_t length = web_length(web);  /* before the body begins to be read: it moves */
    uint64_t bytes = 0;
    struct stat st;
    ssize_t got;
    bool waits = fstat(out, &st) == 0 && !S_ISREG(st.st_mode);

    while ((got = web_read(web, buf, CLIENT_BLOCK)) > 0) {
        if (put_out(cl, out, waits, buf, (size_t)got) < 0) return -1;
        bytes += (uint64_t)got;
        operation_bytes(&cl->op, bytes, 0);
        if (client_tick(cl) < 0) {
            errno = ECANCELED;
            return -1;
        }
    }
    if (got == 0 && length >= 0 && bytes != (uint64_t)length) {
        errno = EPIPE;                 /* the end came early */
        return -1;
    }
    return (int)got;
}

/* A download, whose head has come. Without a length its end may be that of the server: the file stays for good only when the
 * server goes on as if all were well. */
static bool save_body(struct client *cl, struct web *web, const char *file)
{
    _cleanup_close_ int out = -1;
    bool to_stdout = !*file, ok;

    out = to_stdout ? dup(STDOUT_FILENO) : terminal_create(cl->cfg->term, file);
    if (out < 0) {
        client_complain(cl, "Operation failed. Error: %s: %s\n", file, strerror(errno));
        cl->exit_code = 1;
        return false;
    }
    ok = copy_body(cl, web, out) == 0 && (to_stdout || fsync(out) == 0);
    if (!ok) {
        say_broken(cl);
        if (!to_stdout) unlink(file);
        terminal_writing(cl->cfg->term, NULL);
    } else if (!to_stdout) {
        cl->unconfirmed = xstrdup(file);
        terminal_writing(cl->cfg->term, cl->unconfirmed);
    }
    return ok;
}

int client_get(struct client *cl, const struct thin_msg *msg)
{
    struct web web = { .conn = NULL };
    bool ok = false;

    if (*msg->text && !client_permitted(cl, msg->text, true)) return -1;
    if (client_flush(cl) < 0) return -1;
    client_transfer_begin(cl, msg->url);
    if (web_begin(&cl->target, &web, "GET", msg->url, "", "", cl->cfg->debug) == 0 && web.status == 200)
        ok = save_body(cl, &web, msg->text);
    web_close(&web);
    client_transfer_end(cl);
    client_respond(cl, ok ? THIN_OK : THIN_FAILED);
    return 0;
}

/* From a file, or from what may have to wait for its writer. */
static ssize_t get_in(struct web *web, int in, bool waits, char *buf)
{
    ssize_t got;

    do {
        if (waits && conn_wait(web->conn, 0, in) < 0) return -1;
        if (waits && !ready(in, POLLIN)) {         /* it was the server that had something to say */
            errno = EPIPE;
            return -1;
        }
        got = read(in, buf, CLIENT_BLOCK);
    } while (got < 0 && (errno == EINTR || errno == EAGAIN));
    return got;
}

/* Sends the file, then waits until the server is done with it. */
static bool send_body(struct client *cl, struct web *web, int in, const struct stat *st)
{
    _cleanup_free_ char *buf = xmalloc(CLIENT_BLOCK);
    bool waits = !S_ISREG(st->st_mode);
    uint64_t bytes = 0, size = waits ? 0 : (uint64_t)st->st_size;
    ssize_t got;

    while ((got = get_in(web, in, waits, buf)) > 0) {
        if (conn_write(web->conn, buf, (size_t)got) < 0) return false;
        bytes += (uint64_t)got;
        operation_bytes(&cl->op, bytes, size);
        if (client_tick(cl) < 0) return false;
    }
    if (got < 0) return false;
    operation_bytes(&cl->op, bytes, 0);    /* what is left to do the server knows */
    conn_end(web->conn);
    while ((got = conn_read(web->conn, buf, CLIENT_BLOCK)) > 0)
        if (client_tick(cl) < 0) return false;
    return !cl->op.cancelled;
}

int client_put(struct client *cl, const struct thin_msg *msg)
{
    struct web web = { .conn = NULL };
    _cleanup_free_ char *length = NULL;
    _cleanup_close_ int in = -1;
    struct stat st;
    bool ok = false;

    if (!client_permitted(cl, msg->text, false)) return -1;
    in = open(msg->text, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (in < 0 || fstat(in, &st) < 0) {
        int why = errno;

        client_respond(cl, THIN_FAILED);
        if (why == ENOENT)
            client_complain(cl, "Operation failed. Error: file '%s' does not exist\n", msg->text);
        else
            client_complain(cl, "Operation failed. Error: %s: %s\n", msg->text, strerror(why));
        cl->exit_code = 1;
        return 0;
    }
    /* A pipe has no length: the end of the stream is the end of the file. */
    length = S_ISREG(st.st_mode) ? xasprintf("Content-Length: %lld\r\n", (long long)st.st_size) : xstrdup("");
    client_transfer_begin(cl, msg->url);
    if (web_begin(&cl->target, &web, "PUT", msg->url, length, "", cl->cfg->debug) == 0 && web.status == 200)
        ok = send_body(cl, &web, in, &st);
    web_close(&web);
    client_transfer_end(cl);
    client_respond(cl, ok ? THIN_OK : THIN_FAILED);
    return 0;
}
