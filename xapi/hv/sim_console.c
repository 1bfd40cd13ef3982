/* Screens and text consoles of simulated guests: a black RFB framebuffer, and a console that echoes lines.
 * Called by: sim.c, sim_run.c.  Calls: sim_run. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>

#include "lib/strbuf.h"
#include "xapi/hv/sim_run.h"

enum { WIDTH = 640, HEIGHT = 400, MAX_IN = 4096, MAX_OUT = 8 << 20 };

enum rfb { RFB_VERSION, RFB_SECURITY, RFB_INIT, RFB_READY };

struct sim_client {
    struct sim_client *next;
    int fd;
    enum hv_console which;
    enum rfb rfb;
    int minor;                    /* of the client's RFB version 3.x */
    bool dead;
    unsigned bytes_per_pixel;
    size_t skip;                  /* bytes of a long message still to be ignored */
    char uuid[UUID_TEXT];
    size_t n_in;
    unsigned char in[MAX_IN];
    struct strbuf out;
    size_t sent;
};

static void client_free(struct sim_client *c)
{
    close(c->fd);
    strbuf_free(&c->out);
    free(c);
}

int sim_console_open(struct sim *s, const char *uuid, enum hv_console which, int *ret_fd,
                     struct hv_failure *f) {
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        return hv_fail(f, HV_FAIL_ENGINE, "socketpair: %s", strerror(errno));
    struct sim_client *c = xcalloc(1, sizeof *c);
    c->fd = fds[1];
    c->which = which;
    c->bytes_per_pixel = 4;
    snprintf(c->uuid, sizeof c->uuid, "%s", uuid);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    strbuf_str(&c->out, which == HV_CONSOLE_VNC ? "RFB 003.008\n" : "simulated console\r\n# ");
    pthread_mutex_lock(&s->queue_lock);
    c->next = s->new_clients;
    s->new_clients = c;
    pthread_mutex_unlock(&s->queue_lock);
    sim_wake(s);
    *ret_fd = fds[0];
    return 0;
}

static void take_new(struct sim *s)
{
    pthread_mutex_lock(&s->queue_lock);
    struct sim_client *c = take_ptr(s->new_clients);
    pthread_mutex_unlock(&s->queue_lock);
    while (c) {
        struct sim_client *next = c->next;
        if (s->n_clients == SIM_MAX_CLIENTS) {
            client_free(c);
        } else {
            c->next = s->clients;
            s->clients = c;
            s->n_clients++;
        }
        c = next;
    }
}

size_t sim_console_poll(struct sim *s, struct pollfd *fds)
{
    size_t n = 0;

    take_new(s);
    for (struct sim_client *c = s->clients; c; c = c->next) {
        short events = c->out.len > c->sent ? POLLIN | POLLOUT : POLLIN;
        fds[n++] = (struct pollfd){ .fd = c->fd, .events = events };
    }
    return n;
}

/* ---- the screen ------------------------------------------------------------------------------ */

static unsigned get16(const unsigned char *p) { return (unsigned)p[0] << 8 | p[1]; }
static uint32_t get32(const unsigned char *p) { return (uint32_t)get16(p) << 16 | get16(p + 2); }

static void put16(struct strbuf *b, unsigned v)
{
    unsigned char bytes[2] = { (unsigned char)(v >> 8), (unsigned char)v };

    strbuf_add(b, bytes, 2);
}

static void put32(struct strbuf *b, uint32_t v)
{
    put16(b, v >> 16);
    put16(b, v & 0xffff);
}

static void rfb_server_init(struct sim_client *c)
{
    static const unsigned char format[16] = { 32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0 };

    put16(&c->out, WIDTH);
    put16(&c->out, HEIGHT);
    strbuf_add(&c->out, format, sizeof format);
    put32(&c->out, (uint32_t)strlen(c->uuid));
    strbuf_str(&c->out, c->uuid);
}

/* The whole asked part, raw and black. Nothing ever changes, so incremental requests wait for ever. */
static void rfb_update(struct sim_client *c, const unsigned char *m)
{
    unsigned x = get16(m + 2), y = get16(m + 4), w = get16(m + 6), h = get16(m + 8);

    if (m[1] || x >= WIDTH || y >= HEIGHT) return;
    if (w > WIDTH - x) w = WIDTH - x;
    if (h > HEIGHT - y) h = HEIGHT - y;
    put16(&c->out, 0);
    put16(&c->out, 1);
    put16(&c->out, x);
    put16(&c->out, y);
    put16(&c->out, w);
    put16(&c->out, h);
    put32(&c->out, 0);
    size_t n = (size_t)w * h * c->bytes_per_pixel;
    strbuf_reserve(&c->out, n);
    memset(c->out.ptr + c->out.len, 0, n + 1);
    c->out.len += n;
}

/* Takes one message off m[0..n); returns its length, 0 when it is not all there. */
static size_t rfb_message(struct sim_client *c, const unsigned char *m, size_t n)
{
    switch (c->rfb) {
    case RFB_VERSION:
        if (n < 12) return 0;
        c->minor = memcmp(m, "RFB 003.00", 10) ? 3 : m[10] - '0';
        if (c->minor < 7) put32(&c->out, 1);      /* the server decides: no security */
        else strbuf_add(&c->out, "\1\1", 2);      /* one kind to choose from: none */
        c->rfb = c->minor < 7 ? RFB_INIT : RFB_SECURITY;
        return 12;
    case RFB_SECURITY:
        if (m[0] != 1) c->dead = true;
        if (c->minor >= 8) put32(&c->out, 0);
        c->rfb = RFB_INIT;
        return 1;
    case RFB_INIT:
        rfb_server_init(c);
        c->rfb = RFB_READY;
        return 1;
    case RFB_READY:
        break;
    }
    size_t need = m[0] == 0   ? 20
                  : m[0] == 2 ? 4
                  : m[0] == 3 ? 10
                  : m[0] == 4 ? 8
                  : m[0] == 5 ? 6
                  : m[0] == 6 ? 8
                              : 0;
    if (!need) {
        c->dead = true;
        return 0;
    }
    if (n < need) return 0;
    if (m[0] == 0 && (m[4] == 8 || m[4] == 16 || m[4] == 32)) c->bytes_per_pixel = m[4] / 8u;
    if (m[0] == 2) c->skip = 4u * get16(m + 2);
    if (m[0] == 3) rfb_update(c, m);
    if (m[0] == 6) c->skip = get32(m + 4);
    return need;
}

static void rfb_input(struct sim_client *c)
{
    size_t at = 0;

    while (at < c->n_in && !c->dead) {
        size_t used = c->skip < c->n_in - at ? c->skip : c->n_in - at;
        c->skip -= used;
        if (!used) used = rfb_message(c, c->in + at, c->n_in - at);
        if (!used) break;
        at += used;
    }
    c->n_in -= at;
    memmove(c->in, c->in + at, c->n_in);
}

/* ---- the text console ------------------------------------------------------------------------ */

static void text_input(struct sim *s, struct sim_client *c)
{
    size_t at = 0;

    for (size_t i = 0; i < c->n_in; i++) {
        if (c->in[i] != '\r' && c->in[i] != '\n' && i + 1 < MAX_IN) continue;
        _cleanup_free_ char *line = xstrndup((const char *)c->in + at, i - at);
        at = i + 1;
        if (has_prefix(line, "echo ")) strbuf_printf(&c->out, "\r\n%s\r\n# ", line + 5);
        else strbuf_str(&c->out, "\r\n# ");
        sim_print(s, c->uuid, line);
    }
    c->n_in -= at;
    memmove(c->in, c->in + at, c->n_in);
}

/* ---- bytes ----------------------------------------------------------------------------------- */

static void client_read(struct sim *s, struct sim_client *c)
{
    ssize_t n = read(c->fd, c->in + c->n_in, MAX_IN - c->n_in);

    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) c->dead = true;
    if (n <= 0) return;
    if (c->which == HV_CONSOLE_TEXT) strbuf_add(&c->out, c->in + c->n_in, (size_t)n);   /* echo */
    c->n_in += (size_t)n;
    if (c->which == HV_CONSOLE_TEXT) text_input(s, c);
    else rfb_input(c);
    if (c->n_in == MAX_IN || c->out.len - c->sent > MAX_OUT) c->dead = true;
}

static void client_write(struct sim_client *c)
{
    while (c->sent < c->out.len) {
        ssize_t n = send(c->fd, c->out.ptr + c->sent, c->out.len - c->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno != EAGAIN) c->dead = true;
        if (n <= 0) return;
        c->sent += (size_t)n;
    }
    strbuf_clear(&c->out);
    c->sent = 0;
}

static void bury(struct sim *s, const char *uuid)
{
    for (struct sim_client **link = &s->clients; *link;) {
        struct sim_client *c = *link;
        if (!c->dead && uuid && !streq(c->uuid, uuid)) {
            link = &c->next;
            continue;
        }
        *link = c->next;
        s->n_clients--;
        client_free(c);
    }
}

void sim_console_ready(struct sim *s, const struct pollfd *fds, size_t n)
{
    struct sim_client *c = s->clients;

    for (size_t i = 0; i < n && c; i++, c = c->next) {
        if (fds[i].revents & (POLLIN | POLLHUP | POLLERR)) client_read(s, c);
        if (!c->dead) client_write(c);
    }
    bury(s, "");
}

void sim_console_hang_up(struct sim *s, const char *uuid)
{
    take_new(s);
    bury(s, uuid);
}
