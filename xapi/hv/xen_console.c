/* Text consoles of Xen guests: one thread reads every pty of xenconsoled, keeps a log, and serves whoever is connected.
 * Called by: hv.c through the vtable; xen.c, xen_create.c, xen_power.c.  Calls: xen_store, ptys.
 *
 * While the agent is away xenconsoled keeps what guests write, so that no log has a hole. It says in console/tty which pty
 * it is, anew after it was restarted. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "xapi/hv/xen_int.h"

#define LOG_MODULE "hv"
#include "lib/limits.h"
#include "lib/log.h"

enum {
    KEEP_LOG_BYTES = 256 << 10,
    MAX_LOG_BYTES = 4 << 20,
    CHUNK = 4096,
    RETRY_MS = 1000,
};

struct client {
    struct client *next;
    int fd;
    bool dead;
    struct strbuf out;             /* for the client */
    size_t sent;
};

/* A guest's console; the thread's alone. */
struct follow {
    struct follow *next;
    char uuid[UUID_TEXT];
    int64_t domid;
    char *tty;                     /* "/dev/pts/3"; NULL = not known yet */
    int pty, log;                  /* -1 = none */
    off_t log_size;
    struct client *clients;
    struct strbuf in;              /* for the guest */
};

enum order_kind { ORDER_FOLLOW, ORDER_FORGET, ORDER_CLIENT };
struct order {
    struct order *next;
    enum order_kind kind;
    char uuid[UUID_TEXT];
    int64_t domid;
    int fd;
};

struct xn_consoles {
    struct xn *xn;
    pthread_t thread;
    int wake_fd;
    pthread_mutex_t lock;
    struct order *orders, **orders_tail;      /* lock: lock */
    bool stopping;                            /* lock: lock */
    /* the thread's */
    struct follow *all;
    struct xst *store;
};

/* ---- orders ---------------------------------------------------------------------------------- */

static void wake(struct xn_consoles *c)
{
    const uint64_t one = 1;

    if (write(c->wake_fd, &one, sizeof one) < 0 && errno != EAGAIN) log_error("xen: eventfd: %s", strerror(errno));
}

static void give_order(struct xn_consoles *c, enum order_kind kind, const char *uuid, int64_t domid, int fd)
{
    struct order *o = xcalloc(1, sizeof *o);

    o->kind = kind;
    o->domid = domid;
    o->fd = fd;
    snprintf(o->uuid, sizeof o->uuid, "%s", uuid);
    pthread_mutex_lock(&c->lock);
    *c->orders_tail = o;
    c->orders_tail = &o->next;
    pthread_mutex_unlock(&c->lock);
    wake(c);
}

void xn_console_follow(struct xn *xn, const char *uuid, int64_t domid)
{
    give_order(xn->consoles, ORDER_FOLLOW, uuid, domid, -1);
}

void xn_console_forget(struct xn *xn, const char *uuid) { give_order(xn->consoles, ORDER_FORGET, uuid, -1, -1); }

/* ---- the log --------------------------------------------------------------------------------- */

static void trim_log(struct follow *w)
{
    _cleanup_free_ char *tail = xmalloc(KEEP_LOG_BYTES);
    ssize_t n = pread(w->log, tail, KEEP_LOG_BYTES, w->log_size - KEEP_LOG_BYTES);

    if (n <= 0 || ftruncate(w->log, 0) < 0) return;
    if (write(w->log, tail, (size_t)n) != n) log_warn("xen: console log of %s: %s", w->uuid, strerror(errno));
    w->log_size = n;
}

static void open_log(struct xn_consoles *c, struct follow *w)
{
    _cleanup_free_ char *path = xasprintf("%s/%s.log", c->xn->console_dir, w->uuid);
    struct stat st;

    w->log = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (w->log < 0 || fstat(w->log, &st) < 0) log_warn("xen: %s: %s", path, strerror(errno));
    else w->log_size = st.st_size;
}

static void add_to_log(struct follow *w, const char *bytes, size_t n)
{
    if (w->log < 0) return;
    ssize_t written = write(w->log, bytes, n);
    if (written > 0) w->log_size += written;
    if (w->log_size > MAX_LOG_BYTES) trim_log(w);
}

/* ---- bytes ----------------------------------------------------------------------------------- */

static void free_client(struct client *k)
{
    close(k->fd);
    strbuf_free(&k->out);
    free(k);
}

static void send_to_client(struct client *k)
{
    while (!k->dead && k->sent < k->out.len) {
        ssize_t n = send(k->fd, k->out.ptr + k->sent, k->out.len - k->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return;
        if (n < 0) k->dead = true;
        else k->sent += (size_t)n;
    }
    strbuf_clear(&k->out);
    k->sent = 0;
}

static void hand_out(struct follow *w, const char *bytes, size_t n)
{
    add_to_log(w, bytes, n);
    for (struct client *k = w->clients; k; k = k->next) {
        strbuf_add(&k->out, bytes, n);
        if (k->out.len - k->sent > LIMIT_CONSOLE_BACKLOG) k->dead = true;
        send_to_client(k);
    }
}

static void close_pty(struct follow *w)
{
    if (w->pty >= 0) close(w->pty);
    w->pty = -1;
}

/* At most so many bytes at a time, so that one talkative guest starves nobody. */
static void read_pty(struct follow *w)
{
    char bytes[CHUNK];

    for (int i = 0; i < 16 && w->pty >= 0; i++) {
        ssize_t n = read(w->pty, bytes, sizeof bytes);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return;
        if (n <= 0) close_pty(w);                /* xenconsoled ended; it will name another */
        else hand_out(w, bytes, (size_t)n);
    }
}

static void write_pty(struct follow *w)
{
    while (w->pty >= 0 && w->in.len) {
        ssize_t n = write(w->pty, w->in.ptr, w->in.len);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return;
        memmove(w->in.ptr, w->in.ptr + n, w->in.len - (size_t)n);
        w->in.len -= (size_t)n;
    }
}

static void read_client(struct follow *w, struct client *k)
{
    char bytes[CHUNK];
    ssize_t n = recv(k->fd, bytes, sizeof bytes, MSG_DONTWAIT);

    if (n < 0 && (errno == EINTR || errno == EAGAIN)) return;
    if (n <= 0) {
        k->dead = true;
        return;
    }
    strbuf_add(&w->in, bytes, (size_t)n);
    write_pty(w);
}

static void bury_clients(struct follow *w)
{
    for (struct client **link = &w->clients; *link;) {
        struct client *k = *link;
        if (!k->dead) {
            link = &k->next;
            continue;
        }
        *link = k->next;
        free_client(k);
    }
}

/* ---- guests come and go ---------------------------------------------------------------------- */

static struct follow *find(struct xn_consoles *c, const char *uuid)
{
    for (struct follow *w = c->all; w; w = w->next)
        if (streq(w->uuid, uuid)) return w;
    return NULL;
}

static void open_pty(struct follow *w, const char *tty)
{
    if (w->pty >= 0 && w->tty && streq(w->tty, tty)) return;
    close_pty(w);
    free(w->tty);
    w->tty = xstrdup(tty);
    if (!has_prefix(tty, "/dev/pts/") && !has_prefix(tty, "/dev/pty")) return;
    w->pty = open(tty, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (w->pty < 0) log_warn("xen: console of %s: %s: %s", w->uuid, tty, strerror(errno));
    write_pty(w);
}

static void lose_store(struct xn_consoles *c, const struct hv_failure *f)
{
    log_debug("xen: consoles: %s", f->why);
    xst_close(c->store);
    c->store = NULL;
}

/* Watches one guest's tty; the watch fires at once. */
static void watch_tty(struct xn_consoles *c, const struct follow *w, bool on)
{
    _cleanup_batch_ struct xst_batch b = XST_BATCH_INIT;
    struct hv_failure f = { .kind = HV_FAIL_NONE };

    if (!c->store) return;
    if (on) xst_watch(&b, XN_P(w->domid, "console/tty"), w->uuid);
    else xst_unwatch(&b, XN_P(w->domid, "console/tty"), w->uuid);
    if (xst_run(c->store, &b, hv_now_ms() + XN_STORE_MS, &f) < 0 && xst_is_broken(c->store)) lose_store(c, &f);
}

static void look_for_tty(struct xn_consoles *c, struct follow *w)
{
    _cleanup_arena_ struct arena *a = arena_new();
    struct hv_failure f = { .kind = HV_FAIL_NONE };
    const char *tty = NULL;

    if (xst_get(c->store, XN_P(w->domid, "console/tty"), a, &tty, hv_now_ms() + XN_STORE_MS, &f) < 0) {
        if (xst_is_broken(c->store)) lose_store(c, &f);
        return;
    }
    if (tty && *tty) open_pty(w, tty);
}

static void free_follow(struct follow *w)
{
    read_pty(w);                          /* the guest's last words */
    for (struct client *k = w->clients; k; k = k->next) k->dead = true;
    bury_clients(w);
    close_pty(w);
    if (w->log >= 0) close(w->log);
    strbuf_free(&w->in);
    free(w->tty);
    free(w);
}

static void forget(struct xn_consoles *c, const char *uuid)
{
    for (struct follow **link = &c->all; *link; link = &(*link)->next) {
        struct follow *w = *link;
        if (!streq(w->uuid, uuid)) continue;
        *link = w->next;
        watch_tty(c, w, false);
        free_follow(w);
        return;
    }
}

static void follow(struct xn_consoles *c, const struct order *o)
{
    struct follow *w = xcalloc(1, sizeof *w);

    forget(c, o->uuid);
    memcpy(w->uuid, o->uuid, sizeof w->uuid);
    w->domid = o->domid;
    w->pty = w->log = -1;
    open_log(c, w);
    w->next = c->all;
    c->all = w;
    watch_tty(c, w, true);
}

static void add_client(struct xn_consoles *c, const struct order *o)
{
    struct follow *w = find(c, o->uuid);
    size_t n = 0;

    for (const struct client *k = w ? w->clients : NULL; k; k = k->next) n++;
    if (!w || n >= LIMIT_CONSOLE_CLIENTS) {
        close(o->fd);
        return;
    }
    struct client *k = xcalloc(1, sizeof *k);
    k->fd = o->fd;
    k->next = w->clients;
    w->clients = k;
}

static void take_orders(struct xn_consoles *c)
{
    pthread_mutex_lock(&c->lock);
    struct order *o = take_ptr(c->orders);
    c->orders_tail = &c->orders;
    pthread_mutex_unlock(&c->lock);
    while (o) {
        struct order *next = o->next;
        if (o->kind == ORDER_FOLLOW) follow(c, o);
        else if (o->kind == ORDER_FORGET) forget(c, o->uuid);
        else add_client(c, o);
        free(o);
        o = next;
    }
}

/* ---- the thread ------------------------------------------------------------------------------ */

static void connect_store(struct xn_consoles *c)
{
    struct hv_failure f = { .kind = HV_FAIL_NONE };

    if (c->store || xst_open(c->xn->store_path, XN_PATIENCE_MS, hv_now_ms() + XN_STORE_MS, &c->store, &f) < 0) return;
    for (const struct follow *w = c->all; w && c->store; w = w->next) watch_tty(c, w, true);
}

static void take_events(struct xn_consoles *c)
{
    struct hv_failure f = { .kind = HV_FAIL_NONE };

    if (!c->store) return;
    if (xst_fill(c->store, &f) < 0) {
        lose_store(c, &f);
        return;
    }
    while (c->store) {
        struct xst_event *e = xst_take_event(c->store);
        if (!e) break;
        struct follow *w = find(c, e->token);
        free(e);
        if (w) look_for_tty(c, w);
    }
}

/* Fills in what to wait for; the first two are the wake-up and xenstored. */
static size_t list_fds(struct xn_consoles *c, struct pollfd **fds, size_t *cap)
{
    size_t n = 2;

    for (const struct follow *w = c->all; w; w = w->next) {
        n++;
        for (const struct client *k = w->clients; k; k = k->next) n++;
    }
    if (n > *cap) *fds = xrealloc(*fds, (*cap = 2 * n) * sizeof **fds);
    (*fds)[0] = (struct pollfd){ .fd = c->wake_fd, .events = POLLIN };
    (*fds)[1] = (struct pollfd){ .fd = c->store ? xst_fd(c->store) : -1, .events = POLLIN };
    n = 2;
    for (struct follow *w = c->all; w; w = w->next) {
        (*fds)[n++] = (struct pollfd){ .fd = w->pty, .events = (short)(POLLIN | (w->in.len ? POLLOUT : 0)) };
        for (const struct client *k = w->clients; k; k = k->next)
            (*fds)[n++] = (struct pollfd){ .fd = k->fd, .events = (short)((w->in.len < LIMIT_CONSOLE_BACKLOG ? POLLIN : 0) |
                                                                          (k->out.len ? POLLOUT : 0)) };
    }
    return n;
}

/* In the order of list_fds(). */
static void serve(struct xn_consoles *c, const struct pollfd *fds)
{
    size_t n = 2;

    for (struct follow *w = c->all; w; w = w->next) {
        const struct pollfd *p = &fds[n++];
        if (p->revents & (POLLIN | POLLHUP | POLLERR)) read_pty(w);
        if (p->revents & POLLOUT) write_pty(w);
        for (struct client *k = w->clients; k; k = k->next) {
            const struct pollfd *q = &fds[n++];
            if (q->revents & (POLLIN | POLLHUP | POLLERR)) read_client(w, k);
            if (q->revents & POLLOUT) send_to_client(k);
        }
        bury_clients(w);
    }
}

static void *run(void *arg)
{
    struct xn_consoles *c = arg;
    struct pollfd *fds = NULL;
    size_t cap = 0;
    uint64_t count;

    for (;;) {
        connect_store(c);
        take_orders(c);
        take_events(c);                  /* those that came with an answer */
        size_t n = list_fds(c, &fds, &cap);
        int rc = poll(fds, n, c->store ? -1 : RETRY_MS);
        pthread_mutex_lock(&c->lock);
        bool stop = c->stopping;
        pthread_mutex_unlock(&c->lock);
        if (stop) break;
        if (rc <= 0) continue;
        if (fds[0].revents && read(c->wake_fd, &count, sizeof count) < 0 && errno != EAGAIN)
            log_error("xen: eventfd: %s", strerror(errno));
        serve(c, fds);
    }
    free(fds);
    return NULL;
}

int xn_consoles_start(struct xn *xn, struct hv_failure *f)
{
    struct xn_consoles *c = xcalloc(1, sizeof *c);

    c->xn = xn;
    c->orders_tail = &c->orders;
    c->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&c->lock, NULL);
    int rc = c->wake_fd < 0 ? errno : pthread_create(&c->thread, NULL, run, c);
    if (rc) {
        if (c->wake_fd >= 0) close(c->wake_fd);
        pthread_mutex_destroy(&c->lock);
        free(c);
        return hv_fail(f, HV_FAIL_ENGINE, "thread: %s", strerror(rc));
    }
    pthread_setname_np(c->thread, "hv-xen-console");
    xn->consoles = c;
    return 0;
}

void xn_consoles_stop(struct xn *xn)
{
    struct xn_consoles *c = take_ptr(xn->consoles);

    pthread_mutex_lock(&c->lock);
    c->stopping = true;
    pthread_mutex_unlock(&c->lock);
    wake(c);
    pthread_join(c->thread, NULL);
    take_orders(c);
    while (c->all) forget(c, c->all->uuid);
    xst_close(c->store);
    close(c->wake_fd);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

/* ---- verbs ----------------------------------------------------------------------------------- */

/* A socket of the guest's QEMU: 'v' its screen, 's' its serial line. */
static int connect_qemu(struct xn *xn, const char *run_name, char which, int *ret_fd, struct hv_failure *f)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    struct timeval tv = { .tv_sec = 5 };
    int n = snprintf(addr.sun_path, sizeof addr.sun_path, "%s/%s.%c", xn->run, run_name, which);

    if (n < 0 || (size_t)n >= sizeof addr.sun_path) return hv_fail(f, HV_FAIL_ENGINE, "the socket's name is too long");
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return hv_fail(f, HV_FAIL_ENGINE, "socket: %s", strerror(errno));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);      /* a full backlog would block */
    if (connect(fd, (const struct sockaddr *)&addr, sizeof addr) < 0)
        return hv_fail(f, errno == ENOENT || errno == ECONNREFUSED ? HV_FAIL_UNSUPPORTED : HV_FAIL_ENGINE,
                       "the guest has none: %s: %s", addr.sun_path, strerror(errno));
    tv.tv_sec = 0;
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
    *ret_fd = take_fd(fd);
    return 0;
}

int xn_console_open(void *d, const char *uuid, enum hv_console which, int64_t deadline_ms, int *ret_fd,
                    struct hv_failure *f)
{
    struct xn *xn = d;
    struct xn_guest *g = xn_guest_ref(xn, uuid);
    int fds[2];

    (void)deadline_ms;
    if (!g) return hv_fail(f, HV_FAIL_NO_DOMAIN, "no such domain");
    bool emulated = g->type == HV_DOMAIN_HVM;
    char run_name[UUID_TEXT];
    memcpy(run_name, g->run_name, sizeof run_name);
    xn_guest_unref(xn, g);
    if (which == HV_CONSOLE_VNC) return connect_qemu(xn, run_name, 'v', ret_fd, f);
    if (emulated) return connect_qemu(xn, run_name, 's', ret_fd, f);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        return hv_fail(f, HV_FAIL_ENGINE, "socketpair: %s", strerror(errno));
    give_order(xn->consoles, ORDER_CLIENT, uuid, -1, fds[1]);
    *ret_fd = fds[0];
    return 0;
}

int xn_console_log(void *d, const char *uuid, struct arena *arena, const char **ret_path, struct hv_failure *f)
{
    const struct xn *xn = d;

    (void)f;
    *ret_path = arena_printf(arena, "%s/%s.log", xn->console_dir, uuid);
    return 0;
}
