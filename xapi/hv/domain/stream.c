/* `xapi-domain save` and `xapi-domain restore`: a guest's memory, nodes and device model through one stream (proto.h).
 * Called by: domain/main.c.  Calls: libxenguest, libxenctrl. */
#include "xapi/hv/domain/domain.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>

enum { COPY_BYTES = 1 << 16 };

struct stream {
    xc_interface *xch;
    uint32_t domid;
    bool missing_cpuid;                  /* restore: the stream of an old sender */
    struct domain_event event;           /* the last one sent */
    struct domain_reply reply;
};

/* ---- the driver ------------------------------------------------------------------------------ */

/* libxenguest cannot be interrupted: when the driver has gone, everything ends here. */
static void *watch_driver(void *arg)
{
    struct pollfd p = { .fd = DOMAIN_FD, .events = 0 };

    (void)arg;
    while (poll(&p, 1, -1) < 0 && errno == EINTR) continue;
    kill(getpid(), SIGKILL);
    return NULL;
}

static int watch(void)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, watch_driver, NULL)) return -1;
    pthread_detach(thread);
    return 0;
}

static int receive(void *message, size_t size)
{
    ssize_t n;

    do n = recv(DOMAIN_FD, message, size, 0);
    while (n < 0 && errno == EINTR);
    uint32_t said = 0;
    if (n == (ssize_t)size) memcpy(&said, message, sizeof said);
    return said == size ? 0 : -1;
}

static int tell(struct stream *s, enum domain_event_kind kind)
{
    s->event.size = sizeof s->event;
    s->event.kind = kind;
    return send(DOMAIN_FD, &s->event, sizeof s->event, MSG_NOSIGNAL) == (ssize_t)sizeof s->event ? 0 : -1;
}

/* Tells and waits for the answer: 0 = go on. */
static int ask(struct stream *s, enum domain_event_kind kind)
{
    if (tell(s, kind) < 0 || receive(&s->reply, sizeof s->reply) < 0) return -1;
    s->reply.text[sizeof s->reply.text - 1] = '\0';
    return s->reply.rc;
}

static int fail(struct stream *s, const char *what)
{
    int e = errno;

    s->event.rc = -1;
    s->event.code = e;
    snprintf(s->event.why, sizeof s->event.why, "%s: %s%s%s", what, strerror(e), *domain_last_error() ? ": " : "",
             domain_last_error());
    return -1;
}

/* The stream says something that no sender writes. */
static int damaged(struct stream *s, const char *why)
{
    s->event.rc = -1;
    s->event.code = EPROTO;
    snprintf(s->event.why, sizeof s->event.why, "%s", why);
    return -1;
}

/* ---- bytes ----------------------------------------------------------------------------------- */

static int write_all(int fd, const void *bytes, size_t n)
{
    const char *p = bytes;

    while (n) {
        ssize_t done = write(fd, p, n);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return -1;
        p += done;
        n -= (size_t)done;
    }
    return 0;
}

static int read_all(int fd, void *bytes, size_t n)
{
    char *p = bytes;

    while (n) {
        ssize_t done = read(fd, p, n);
        if (done < 0 && errno == EINTR) continue;
        if (done == 0) errno = EPIPE;
        if (done <= 0) return -1;
        p += done;
        n -= (size_t)done;
    }
    return 0;
}

static int copy(int from, int to, uint64_t n)
{
    static char buf[COPY_BYTES];

    while (n) {
        size_t part = n < sizeof buf ? (size_t)n : sizeof buf;
        if (read_all(from, buf, part) < 0 || write_all(to, buf, part) < 0) return -1;
        n -= part;
    }
    return 0;
}

/* ---- save ------------------------------------------------------------------------------------ */

static int put_record(uint32_t kind, const void *bytes, size_t n)
{
    const struct stream_record r = { .kind = kind, .bytes = n };

    if (write_all(DOMAIN_STREAM_FD, &r, sizeof r) < 0) return -1;
    return n ? write_all(DOMAIN_STREAM_FD, bytes, n) : 0;
}

static int put_devices(const char *path)
{
    struct stat st;
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || fstat(fd, &st) < 0) return -1;
    if (st.st_size > STREAM_DEVICES_MAX) {
        errno = EFBIG;
        return -1;
    }
    const struct stream_record r = { .kind = STREAM_DEVICES, .bytes = (uint64_t)st.st_size };
    if (write_all(DOMAIN_STREAM_FD, &r, sizeof r) < 0) return -1;
    return copy(fd, DOMAIN_STREAM_FD, (uint64_t)st.st_size);
}

/* In an image the magic comes last, on disk too: what a power cut or a kill leaves is none. */
static int put_head(const struct domain_save *q)
{
    struct stream_head head = { .version = STREAM_VERSION, .text_bytes = (uint32_t)strlen(q->text) };

    if (!q->file) memcpy(head.magic, STREAM_MAGIC, sizeof head.magic);
    else if (lseek(DOMAIN_STREAM_FD, 0, SEEK_SET) != 0) return -1;
    if (write_all(DOMAIN_STREAM_FD, &head, sizeof head) < 0) return -1;
    return write_all(DOMAIN_STREAM_FD, q->text, head.text_bytes);
}

static int seal(void)
{
    if (fdatasync(DOMAIN_STREAM_FD) < 0) return -1;
    if (pwrite(DOMAIN_STREAM_FD, STREAM_MAGIC, STREAM_MAGIC_BYTES, 0) != STREAM_MAGIC_BYTES) return -1;
    return fdatasync(DOMAIN_STREAM_FD);
}

static int on_suspend(void *data) { return ask(data, DOMAIN_SUSPEND) == 0; }

static int on_dirty_log(uint32_t domid, unsigned enable, void *data)
{
    struct stream *s = data;

    (void)domid;
    s->event.on = enable != 0;
    return ask(s, DOMAIN_DIRTY_LOG);
}

static int save(struct stream *s, const struct domain_save *q)
{
    struct save_callbacks callbacks = { .suspend = on_suspend, .switch_qemu_logdirty = on_dirty_log, .data = s };

    if (put_head(q) < 0) return fail(s, "the stream");
    errno = 0;
    if (xc_domain_save(s->xch, DOMAIN_STREAM_FD, q->domid, q->live ? XCFLAGS_LIVE : 0, &callbacks, XC_STREAM_PLAIN, -1))
        return fail(s, "xc_domain_save");
    if (put_record(STREAM_NODES, s->reply.text, strlen(s->reply.text)) < 0) return fail(s, "the stream");
    if (*q->devices && put_devices(q->devices) < 0) return fail(s, "the device model's state");
    if (put_record(STREAM_END, NULL, 0) < 0 || (q->file && seal() < 0)) return fail(s, "the stream");
    return 0;
}

int domain_save_main(void)
{
    static struct domain_save q;
    static struct stream s;

    if (watch() < 0 || receive(&q, sizeof q) < 0 || !memchr(q.devices, '\0', sizeof q.devices) || !memchr(q.text, '\0', sizeof q.text))
        return 2;
    s.domid = q.domid;
    s.xch = xc_interface_open(domain_logger(), domain_logger(), 0);
    if (!s.xch) fail(&s, "xc_interface_open");
    else save(&s, &q);
    return tell(&s, DOMAIN_DONE) < 0;
}

/* ---- restore --------------------------------------------------------------------------------- */

static int get_head(struct stream *s)
{
    struct stream_head head;

    if (read_all(DOMAIN_STREAM_FD, &head, sizeof head) < 0) return fail(s, "the stream");
    if (memcmp(head.magic, STREAM_MAGIC, sizeof head.magic) != 0) return damaged(s, "it is no whole image of a guest");
    if (head.version != STREAM_VERSION) return damaged(s, "it was written by another version");
    if (head.text_bytes >= sizeof s->event.text) return damaged(s, "its head is too long");
    if (read_all(DOMAIN_STREAM_FD, s->event.text, head.text_bytes) < 0) return fail(s, "the stream");
    s->event.text[head.text_bytes] = '\0';
    return 0;
}

static int get_nodes(struct stream *s, uint64_t bytes)
{
    if (bytes >= sizeof s->event.text) return damaged(s, "the guest's nodes are too many");
    if (read_all(DOMAIN_STREAM_FD, s->event.text, (size_t)bytes) < 0) return fail(s, "the stream");
    s->event.text[bytes] = '\0';
    return 0;
}

static int get_devices(struct stream *s, const char *path, uint64_t bytes)
{
    _cleanup_close_ int fd = -1;

    if (bytes > STREAM_DEVICES_MAX) return damaged(s, "the device model's state is too large");
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0 || copy(DOMAIN_STREAM_FD, fd, bytes) < 0) return fail(s, path);
    s->event.devices = true;
    return 0;
}

static int get_records(struct stream *s, const char *devices)
{
    for (;;) {
        struct stream_record r;
        if (read_all(DOMAIN_STREAM_FD, &r, sizeof r) < 0) return fail(s, "the stream");
        int rc = 0;
        if (r.kind == STREAM_NODES) rc = get_nodes(s, r.bytes);
        else if (r.kind == STREAM_DEVICES) rc = get_devices(s, devices, r.bytes);
        else if (r.kind == STREAM_END) return 0;
        else rc = damaged(s, "it has a part of an unknown kind");
        if (rc < 0) return -1;
    }
}

static int on_static_data(unsigned missing, void *data)
{
    struct stream *s = data;

    if (!(missing & XGR_SDD_MISSING_CPUID)) return 0;
    return xc_cpuid_apply_policy(s->xch, s->domid, true, NULL, 0, true, false, false, NULL, NULL);
}

static int restore(struct stream *s, const struct domain_restore *q)
{
    struct restore_callbacks callbacks = { .static_data_done = on_static_data, .data = s };
    unsigned long store = 0, console = 0;

    errno = 0;
    if (xc_domain_restore(s->xch, DOMAIN_STREAM_FD, q->domid, q->store_port, &store, 0, q->console_port, &console, 0,
                          XC_STREAM_PLAIN, &callbacks, -1))
        return fail(s, "xc_domain_restore");
    s->event.store_frame = store;
    s->event.console_frame = console;
    return get_records(s, q->devices);
}

int domain_restore_main(void)
{
    static struct domain_restore q;
    static struct stream s;

    if (watch() < 0) return 2;
    s.xch = xc_interface_open(domain_logger(), domain_logger(), 0);
    if (!s.xch) fail(&s, "xc_interface_open");
    else get_head(&s);
    if (s.event.rc < 0) return tell(&s, DOMAIN_DONE) < 0;
    if (tell(&s, DOMAIN_HEAD) < 0 || receive(&q, sizeof q) < 0 || !memchr(q.devices, '\0', sizeof q.devices)) return 2;
    s.event.text[0] = '\0';
    s.domid = q.domid;
    restore(&s, &q);
    return tell(&s, DOMAIN_DONE) < 0;
}
