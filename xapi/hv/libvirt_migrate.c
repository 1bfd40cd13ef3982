/* Migration of libvirt's guests through a connected socket, to another host's libvirtd.
 * Called by: hv.c through the vtable, libvirt.c (after a restart).
 * Calls: libvirt through jobs, libvirt_monitor.c, hv_words.c, libvirt_xml.c.
 *
 *   sender                                        receiver
 *   head, its XML, pieces of QEMU's stream   ->   a domain restored from a FIFO, paused; FAILED and why at any time
 *   an empty piece: QEMU has sent all        ->
 *                                            <-   READY: it could run; or FAILED and why
 *   GO: I have let go of the guest           ->   it runs
 *                                            <-   RUNS
 *   its domain ends
 *
 * libvirt's own ways want the sender to command the receiver's libvirtd, and thereby everything on that host. Here each agent speaks
 * to its own: QEMU is told to send its state to a socket of ours, and what arrives is a suspend image to the other libvirtd, one with
 * an end to come. What the receiver's domain is made of is said there (lv_xml_arriving()); of the sender's XML it takes what the
 * guest saw.
 *
 * Files in move_dir, named by the uuid, say to an agent that comes after a killed one: "in-": not ours yet, away with it; "out-": on
 * its way, it goes on here; "gone-": let go of, it never runs here again. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "lib/fault.h"
#include "lib/value.h"
#include "xapi/hv/libvirt_int.h"

#define LOG_MODULE "hv"
#include "lib/log.h"

enum {
    MAX_XML = 1 << 20, PIECE = 256 << 10, PIPE_BYTES = 1 << 20,
    LOOK_MS = 200, ROUNDS_MS = 500, ROUNDS = 30, CALL_MS = 20000, ANSWER_MS = 120000, GO_MS = 60000, WHY_MS = 5000, ENDED_MS = 5000,
    AGAIN_MS = 250, GO_ON_MS = 20000, SETTLE_MS = 3000,
};
static const char magic[16] = "libvirt's move 1";
struct head {
    char magic[sizeof magic];
    uint32_t xml_bytes;                     /* without the NUL; the host's order */
};

static int injected(const char *point, struct hv_failure *f)
{
    const int e = fault(point);

    return e ? hv_fail(f, HV_FAIL_ENGINE, "injected at %s: %s", point, strerror(e)) : 0;
}

/* ---- what is written down -------------------------------------------------------------------- */

static char *note_path(const struct lv *lv, const char *kind, const char *uuid) { return xasprintf("%s/%s-%s", lv->move_dir, kind, uuid); }

static int note(const struct lv *lv, const char *kind, const char *uuid, struct hv_failure *f)
{
    _cleanup_free_ char *path = note_path(lv, kind, uuid);
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    return fd < 0 ? hv_fail(f, HV_FAIL_ENGINE, "%s: %s", path, strerror(errno)) : 0;
}

static void drop_note(const struct lv *lv, const char *kind, const char *uuid)
{
    _cleanup_free_ char *path = note_path(lv, kind, uuid);

    if (unlink(path) < 0 && errno != ENOENT) log_error("libvirt: %s: %s", path, strerror(errno));
}

/* ---- calls for one guest --------------------------------------------------------------------- */

/* Its XML as it runs. */
static int run_describe(struct lv_job *job)
{
    virDomainPtr dom = lv_job_domain(job);
    int state, reason, rc = 0;

    if (!dom) return -1;
    if (virDomainGetState(dom, &state, &reason, 0) < 0) rc = lv_job_fail(job, HV_FAIL_ENGINE);
    job->f.actual = rc == 0 ? lv_state(state) : HV_STATE_NONE;
    if (rc == 0 && job->f.actual != HV_STATE_RUNNING) rc = hv_fail(&job->f, HV_FAIL_STATE, "it is not running");
    if (rc == 0) {
        job->out = virDomainGetXMLDesc(dom, 0);
        job->free_out = free;
        if (!job->out) rc = lv_job_fail(job, HV_FAIL_ENGINE);
    }
    virDomainFree(dom);
    return rc;
}

static int run_stop(struct lv_job *job)
{
    virDomainPtr dom = lv_job_domain(job);
    int state, reason, rc = 0;

    if (!dom) return -1;
    if (virDomainGetState(dom, &state, &reason, 0) == 0 && state != VIR_DOMAIN_PAUSED && virDomainSuspend(dom) < 0)
        rc = lv_job_fail_domain(job, dom, HV_FAIL_ENGINE);
    virDomainFree(dom);
    return rc;
}

/* Success: it runs. */
static int run_go_on(struct lv_job *job)
{
    virDomainPtr dom = lv_job_domain(job);
    int state, reason, rc = 0;

    if (!dom) return -1;
    if (virDomainGetState(dom, &state, &reason, 0) < 0) rc = lv_job_fail(job, HV_FAIL_ENGINE);
    else if (state == VIR_DOMAIN_PAUSED && virDomainResume(dom) < 0) rc = lv_job_fail_domain(job, dom, HV_FAIL_ENGINE);
    virDomainFree(dom);
    return rc;
}

static int call(struct lv *lv, const char *uuid, int (*fn)(struct lv_job *), struct hv_failure *f)
{
    _cleanup_job_ struct lv_job *job = lv_job_new(lv, uuid, fn);

    return lv_job_run(job, hv_now_ms() + CALL_MS, f);
}

/* The guest goes on here. The other side's QEMU may have its images still. */
static int go_on(struct lv *lv, const char *uuid, int64_t within_ms, struct hv_failure *f)
{
    const int64_t until_ms = hv_now_ms() + within_ms;

    while (call(lv, uuid, run_go_on, f) < 0) {
        if (f->kind == HV_FAIL_NO_DOMAIN || hv_now_ms() >= until_ms) return -1;
        usleep(AGAIN_MS * 1000);
    }
    return 0;
}

/* ---- the sender ------------------------------------------------------------------------------ */

struct sending {
    struct lv *lv;
    const char *uuid;
    int fd, qemu, theirs;                   /* to the other side; the two ends of what QEMU writes to */
    int64_t deadline_ms;
    bool live;
    bool over;                              /* atomic: QEMU has closed its end, or nobody reads it any more */
    int rc;                                 /* of the thread that commands QEMU */
    struct hv_failure f;
};

/* false: somebody sends it already, or it has gone. */
static bool set_sending(struct lv *lv, const char *uuid, bool on)
{
    pthread_mutex_lock(&lv->lock);
    struct lv_guest *g = lv_guest_find(lv, uuid);
    const bool ok = g && g->sending != on;
    if (ok) {
        g->sending = g->saving = on;
        g->cancel = false;
    }
    pthread_mutex_unlock(&lv->lock);
    return ok;
}

bool lv_migrate_cancel(struct lv *lv, const char *uuid)
{
    pthread_mutex_lock(&lv->lock);
    struct lv_guest *g = lv_guest_find(lv, uuid);
    const bool sends = g && g->sending;
    if (sends) g->cancel = true;
    pthread_mutex_unlock(&lv->lock);
    return sends;
}

/* It is to be ended, or has ended, or nobody wants the move any more. */
static bool hurry(void *arg)
{
    const struct sending *s = arg;

    pthread_mutex_lock(&s->lv->lock);
    const struct lv_guest *g = lv_guest_find(s->lv, s->uuid);
    const bool yes = !g || g->cancel;
    pthread_mutex_unlock(&s->lv->lock);
    return yes;
}

static int put(struct sending *s, const void *bytes, size_t n, struct hv_failure *f)
{
    const char *p = bytes;

    while (n) {
        struct pollfd wait = { .fd = s->fd, .events = POLLOUT };
        if (hurry(s)) return hv_fail(f, HV_FAIL_CANCELLED, "something more urgent came");
        if (hv_now_ms() >= s->deadline_ms) return hv_fail(f, HV_FAIL_TIMEOUT, "the other side takes too long");
        if (poll(&wait, 1, LOOK_MS) <= 0) continue;
        const ssize_t done = send(s->fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (done < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (done < 0) return hv_fail(f, HV_FAIL_ENGINE, "the other side has gone: %s", strerror(errno));
        p += done;
        n -= (size_t)done;
    }
    return 0;
}

static int put_piece(struct sending *s, const void *bytes, uint32_t n, struct hv_failure *f)
{
    return put(s, &n, sizeof n, f) < 0 || put(s, bytes, n, f) < 0 ? -1 : 0;
}

/* The memory did not get through: the other side may have said why, and knows best. */
static void hear_why(struct sending *s, struct hv_failure *f)
{
    struct hv_failure said = { .kind = HV_FAIL_NONE };
    struct pollfd p = { .fd = s->fd, .events = POLLIN };

    if (poll(&p, 1, 0) > 0 && hv_expect(s->fd, HV_WORD_READY, hv_now_ms() + WHY_MS, NULL, NULL, &said) == HV_SAID_NO) *f = said;
}

static bool is_over(const struct sending *s) { return __atomic_load_n(&s->over, __ATOMIC_RELAXED); }

/* Has it sent its memory so often that it will not come to an end? */
static bool goes_round(struct sending *s)
{
    _cleanup_arena_ struct arena *a = arena_new();
    struct hv_failure ignored = { .kind = HV_FAIL_NONE };
    const struct value *answer;

    if (lv_monitor(s->lv, s->uuid, "{\"execute\":\"query-migrate\"}", -1, a, &answer, &ignored) < 0) return false;
    const struct value *ram = value_get(answer, "ram"), *rounds = ram ? value_get(ram, "dirty-sync-count") : NULL;
    return rounds && rounds->kind == VALUE_INT && rounds->i >= ROUNDS;
}

static int begin_stream(struct sending *s, struct hv_failure *f)
{
    static const char *const orders[] = {
        "{\"execute\":\"migrate-set-parameters\",\"arguments\":{\"max-bandwidth\":1099511627776}}",
        "{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"xapi-move\"}}",
        "{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"fd:xapi-move\"}}",
    };
    _cleanup_arena_ struct arena *a = arena_new();
    const struct value *answer;

    if (!s->live && call(s->lv, s->uuid, run_stop, f) < 0) return -1;
    for (size_t i = 0; i < ARRAY_SIZE(orders); i++)
        if (lv_monitor(s->lv, s->uuid, orders[i], i == 1 ? s->theirs : -1, a, &answer, f) < 0) return -1;
    return 0;
}

/* QEMU answers to nobody while it writes the end of its state: who commands it must not be who reads that. */
static void *command(void *arg)
{
    struct sending *s = arg;
    bool stopped = !s->live;

    lv_block_sigpipe();
    s->rc = begin_stream(s, &s->f);
    close(s->theirs);                       /* QEMU's alone, or the reader finds the end */
    for (int64_t next_ms = hv_now_ms(); s->rc == 0 && !stopped && !is_over(s);) {
        struct hv_failure why = { .kind = HV_FAIL_NONE };
        usleep(LOOK_MS * 1000);
        if (hv_now_ms() < next_ms) continue;
        next_ms = hv_now_ms() + ROUNDS_MS;
        if (!goes_round(s) || is_over(s)) continue;
        log_info("libvirt: %s writes faster than it moves: it stands still for the rest", s->uuid);
        stopped = true;
        if (call(s->lv, s->uuid, run_stop, &why) < 0) log_warn("libvirt: %s: %s", s->uuid, why.why);
    }
    return NULL;
}

/* QEMU has closed its end. 0: it has sent everything. */
static int check_sent(struct sending *s, struct hv_failure *f)
{
    _cleanup_arena_ struct arena *a = arena_new();
    const int64_t until_ms = hv_now_ms() + ENDED_MS;
    const struct value *answer;

    do {
        if (lv_monitor(s->lv, s->uuid, "{\"execute\":\"query-migrate\"}", -1, a, &answer, f) < 0) return -1;
        const char *status = value_get_str(answer, "status", "");
        if (streq(status, "completed")) return 0;
        if (streq(status, "failed") || streq(status, "cancelled"))
            return hv_fail(f, HV_FAIL_ENGINE, "QEMU: %s", value_get_str(answer, "error-desc", status));
        usleep(AGAIN_MS * 1000);
    } while (hv_now_ms() < until_ms);
    return hv_fail(f, HV_FAIL_TIMEOUT, "QEMU does not say that it has sent all");
}

static int relay(struct sending *s, struct hv_failure *f)
{
    _cleanup_free_ char *piece = xmalloc(PIECE);

    for (;;) {
        struct pollfd both[] = { { .fd = s->qemu, .events = POLLIN }, { .fd = s->fd, .events = POLLIN | POLLRDHUP } };
        if (hurry(s)) return hv_fail(f, HV_FAIL_CANCELLED, "something more urgent came");
        if (hv_now_ms() >= s->deadline_ms) return hv_fail(f, HV_FAIL_TIMEOUT, "it takes too long");
        if (poll(both, ARRAY_SIZE(both), LOOK_MS) <= 0) continue;
        if (both[1].revents) return hv_fail(f, HV_FAIL_ENGINE, "the other side has gone");
        if (!both[0].revents) continue;
        const ssize_t n = recv(s->qemu, piece, PIECE, MSG_DONTWAIT);
        if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (n <= 0) return 0;
        if (injected("hv.libvirt.piece", f) < 0 || put_piece(s, piece, (uint32_t)n, f) < 0) return -1;
    }
}

/* What QEMU writes to a socket of ours, to its end. */
static int send_stream(struct sending *s, struct hv_failure *f)
{
    pthread_t thread;
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) return hv_fail(f, HV_FAIL_ENGINE, "socketpair: %s", strerror(errno));
    s->qemu = fds[0];
    s->theirs = fds[1];
    int rc = pthread_create(&thread, NULL, command, s);
    if (rc) {
        close(s->theirs);
        return hv_fail(f, HV_FAIL_ENGINE, "thread: %s", strerror(rc));
    }
    rc = relay(s, f);
    __atomic_store_n(&s->over, true, __ATOMIC_RELAXED);
    if (rc < 0) shutdown(s->qemu, SHUT_RDWR);           /* QEMU's own attempt ends with it */
    pthread_join(thread, NULL);
    if (rc == 0 && s->rc < 0) {
        *f = s->f;
        return -1;
    }
    return rc < 0 || check_sent(s, f) < 0 || put_piece(s, NULL, 0, f) < 0 ? -1 : 0;
}

static int send_guest(struct sending *s, const char *xml, struct hv_failure *f)
{
    struct head head = { .xml_bytes = (uint32_t)strlen(xml) };

    memcpy(head.magic, magic, sizeof magic);
    if (put(s, &head, sizeof head, f) < 0 || put(s, xml, head.xml_bytes, f) < 0) return -1;
    return send_stream(s, f);
}

/* The guest stands still here, and could run there. 0: it is the other side's. */
static int let_go(struct sending *s, struct hv_failure *f)
{
    struct hv_failure late = { .kind = HV_FAIL_NONE };

    if (hv_expect(s->fd, HV_WORD_READY, hv_now_ms() + ANSWER_MS, hurry, s, f) < 0 || injected("hv.libvirt.handover", f) < 0) return -1;
    /* A killed agent must not wake it up any more. */
    if (note(s->lv, "gone", s->uuid, f) < 0) return -1;
    /* A word that was not sent whole is none. */
    int rc = hv_say(s->fd, HV_WORD_GO, "", &late) < 0 ? HV_SAID_NO : injected("hv.libvirt.gone", &late);
    if (rc == 0) rc = hv_expect(s->fd, HV_WORD_RUNS, hv_now_ms() + ANSWER_MS, NULL, NULL, &late);
    if (rc == HV_SAID_NO) {
        drop_note(s->lv, "gone", s->uuid);
        *f = late;
        return -1;
    }
    if (rc < 0) log_error("libvirt: %s has been handed over; whether it runs there is not known: %s", s->uuid, late.why);
    return 0;
}

static void set_left(struct lv *lv, const char *uuid)
{
    pthread_mutex_lock(&lv->lock);
    struct lv_guest *g = lv_guest_find(lv, uuid);
    if (g) g->left = true;
    pthread_mutex_unlock(&lv->lock);
}

/* Its domain is of no use any more. */
static int end_here(struct lv *lv, const char *uuid, struct hv_failure *f)
{
    if (lv_destroy(lv, uuid, hv_now_ms() + CALL_MS, f) < 0 && f->kind != HV_FAIL_NO_DOMAIN) return -1;
    drop_note(lv, "gone", uuid);
    drop_note(lv, "out", uuid);
    return 0;
}

static void fail_back(struct sending *s)
{
    struct hv_failure why = { .kind = HV_FAIL_NONE };

    if (go_on(s->lv, s->uuid, GO_ON_MS, &why) < 0 && why.kind != HV_FAIL_NO_DOMAIN)
        log_error("libvirt: %s, which did not move, stands still: %s", s->uuid, why.why);
    else drop_note(s->lv, "out", s->uuid);
}

int lv_migrate_send(void *d, const char *uuid, int fd, bool live, int64_t deadline_ms, struct hv_failure *f)
{
    struct lv *lv = d;
    _cleanup_job_ struct lv_job *job = lv_job_new(lv, uuid, run_describe);
    struct sending s = { .lv = lv, .uuid = uuid, .fd = fd, .qemu = -1, .deadline_ms = deadline_ms, .live = live,
                         .f = { .kind = HV_FAIL_NONE } };
    struct hv_failure late = { .kind = HV_FAIL_NONE };

    if (lv->is_test) return hv_fail(f, HV_FAIL_UNSUPPORTED, "libvirt's test driver moves nothing");
    if (lv_job_run(job, hv_now_ms() + CALL_MS, f) < 0) return -1;
    if (!set_sending(lv, uuid, true)) return hv_fail(f, HV_FAIL_ENGINE, "it is on its way already");
    int rc = note(lv, "out", uuid, f);
    if (rc == 0) {
        rc = send_guest(&s, job->out, f);
        if (rc < 0) hear_why(&s, f);
        if (rc == 0) rc = let_go(&s, f);
        if (rc < 0) fail_back(&s);
        else set_left(lv, uuid);
        if (rc == 0 && end_here(lv, uuid, &late) < 0) log_error("libvirt: %s, which has moved, does not end here: %s", uuid, late.why);
    }
    if (s.qemu >= 0) close(s.qemu);
    set_sending(lv, uuid, false);
    return rc < 0 ? -1 : 0;
}

/* ---- the receiver ---------------------------------------------------------------------------- */

struct arriving {
    int fd, fifo;
    int64_t deadline_ms;
    bool stop;                              /* atomic: nobody reads the FIFO any more */
    int rc;
    struct hv_failure f;
};

static bool told_to_stop(void *arg) { return __atomic_load_n(&((struct arriving *)arg)->stop, __ATOMIC_RELAXED); }

static int fill(struct arriving *in, const char *p, size_t n)
{
    while (n) {
        struct pollfd wait = { .fd = in->fifo, .events = POLLOUT };
        if (told_to_stop(in)) return hv_fail(&in->f, HV_FAIL_CANCELLED, "its domain has ended");
        if (hv_now_ms() >= in->deadline_ms) return hv_fail(&in->f, HV_FAIL_TIMEOUT, "it takes too long");
        if (poll(&wait, 1, LOOK_MS) <= 0) continue;
        const ssize_t done = write(in->fifo, p, n);
        if (done < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (done < 0) return hv_fail(&in->f, HV_FAIL_ENGINE, "its domain reads no more: %s", strerror(errno));
        p += done;
        n -= (size_t)done;
    }
    return 0;
}

static int fill_piece(struct arriving *in, char *piece, size_t n)
{
    return hv_read(in->fd, piece, n, in->deadline_ms, told_to_stop, in, &in->f) < 0 ? -1 : fill(in, piece, n);
}

/* From the socket into the FIFO until the empty piece. Then, or when it fails, the FIFO has its end. */
static void *feed(void *arg)
{
    struct arriving *in = arg;
    _cleanup_free_ char *piece = xmalloc(PIECE);
    uint32_t n;

    lv_block_sigpipe();
    for (in->rc = -1; in->rc < 0;) {
        if (hv_read(in->fd, &n, sizeof n, in->deadline_ms, told_to_stop, in, &in->f) < 0) break;
        if (n > PIECE) {
            hv_fail(&in->f, HV_FAIL_ENGINE, "the other side says something strange");
            break;
        }
        if (n == 0) in->rc = 0;
        else if (injected("hv.libvirt.fill", &in->f) < 0 || fill_piece(in, piece, n) < 0) break;
    }
    close(in->fifo);
    return NULL;
}

static int run_restore(struct lv_job *job)
{
    virDomainPtr dom;

    if (virDomainRestoreFlags(job->conn, job->path, NULL, VIR_DOMAIN_SAVE_PAUSED) < 0) return lv_job_fail(job, HV_FAIL_BUILD);
    dom = virDomainLookupByUUIDString(job->conn, job->uuid);
    if (!dom) return hv_fail(&job->f, HV_FAIL_BUILD, "it ended at once");
    job->out_number = (int64_t)virDomainGetID(dom);
    virDomainFree(dom);
    return 0;
}

static void end_late(struct lv_job *job)
{
    virDomainPtr dom = virDomainLookupByUUIDString(job->conn, job->uuid);

    if (dom && (int64_t)virDomainGetID(dom) == job->out_number) virDomainDestroy(dom);
    if (dom) virDomainFree(dom);
}

/* NoDomain is what is wanted. */
static int check_absent(struct lv *lv, const char *uuid, struct hv_failure *f)
{
    struct hv_failure why = { .kind = HV_FAIL_NONE };
    _cleanup_job_ struct lv_job *job = lv_job_new(lv, uuid, run_describe);
    const int rc = lv_job_run(job, hv_now_ms() + CALL_MS, &why);

    if (rc < 0 && why.kind == HV_FAIL_NO_DOMAIN) return 0;
    if (rc == 0 || why.kind == HV_FAIL_STATE) return hv_fail(f, HV_FAIL_INCOMPATIBLE, "it runs here already");
    *f = why;
    return -1;
}

/* The description that the sender's guest goes on with; malloc'd. */
static char *take_description(struct lv *lv, const struct hv_vm *vm, int fd, int64_t deadline_ms, struct hv_failure *f)
{
    struct head head;

    if (hv_read(fd, &head, sizeof head, deadline_ms, NULL, NULL, f) < 0) return NULL;
    if (memcmp(head.magic, magic, sizeof magic) != 0 || head.xml_bytes > MAX_XML) {
        hv_fail(f, HV_FAIL_INCOMPATIBLE, "what arrives is no guest of libvirt's");
        return NULL;
    }
    _cleanup_free_ char *theirs = xcalloc(1, (size_t)head.xml_bytes + 1);
    if (hv_read(fd, theirs, head.xml_bytes, deadline_ms, NULL, NULL, f) < 0) return NULL;
    _cleanup_free_ char *ours = lv_xml_domain(lv, vm, f);
    return ours ? lv_xml_arriving(theirs, ours, f) : NULL;
}

/* A FIFO with the head of a suspend image in it; *ret_fd: to write the rest. */
static int make_fifo(const char *path, const char *xml, int *ret_fd, struct hv_failure *f)
{
    _cleanup_strbuf_ struct strbuf head = STRBUF_INIT;
    struct arriving in = { .deadline_ms = hv_now_ms() + CALL_MS, .f = { .kind = HV_FAIL_NONE } };

    lv_image_head(xml, &head);
    unlink(path);
    if (mkfifo(path, 0600) < 0) return hv_fail(f, HV_FAIL_ENGINE, "%s: %s", path, strerror(errno));
    /* For both ways: so it has a writer before libvirtd opens it, and loses none with a reader that goes. */
    _cleanup_close_ int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fcntl(fd, F_SETPIPE_SZ, PIPE_BYTES) < (int)head.len)
        return hv_fail(f, HV_FAIL_ENGINE, "%s: %s", path, strerror(errno));
    in.fifo = fd;
    if (fill(&in, head.ptr, head.len) < 0) {
        *f = in.f;
        return -1;
    }
    *ret_fd = take_fd(fd);
    return 0;
}

/* Everything up to a domain that stands still. */
static int fill_domain(struct lv *lv, const struct hv_vm *vm, int fd, const char *fifo, const char *xml, int64_t deadline_ms,
                       int64_t *ret_domid, struct hv_failure *f)
{
    _cleanup_job_ struct lv_job *job = lv_job_new(lv, vm->id.uuid, run_restore);
    struct arriving in = { .fd = fd, .fifo = -1, .deadline_ms = deadline_ms, .rc = -1, .f = { .kind = HV_FAIL_NONE } };
    pthread_t thread;

    if (make_fifo(fifo, xml, &in.fifo, f) < 0) return -1;
    int rc = pthread_create(&thread, NULL, feed, &in);
    if (rc) {
        close(in.fifo);
        return hv_fail(f, HV_FAIL_ENGINE, "thread: %s", strerror(rc));
    }
    job->path = xstrdup(fifo);
    job->late = end_late;
    rc = lv_job_run(job, deadline_ms, f);
    if (rc < 0) __atomic_store_n(&in.stop, true, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    if (in.rc < 0 && in.f.kind != HV_FAIL_CANCELLED) {
        *f = in.f;                          /* the cause of what libvirt says */
        return -1;
    }
    if (rc < 0) return -1;
    *ret_domid = job->out_number;
    return 0;
}

static int take_over(struct lv *lv, const struct hv_vm *vm, int fd, struct hv_failure *f)
{
    if (injected("hv.libvirt.ready", f) < 0 || hv_say(fd, HV_WORD_READY, "", f) < 0) return -1;
    if (hv_expect(fd, HV_WORD_GO, hv_now_ms() + GO_MS, NULL, NULL, f) < 0) return -1;
    /* Now it is ours, whatever happens to this agent. */
    drop_note(lv, "in", vm->id.uuid);
    if (injected("hv.libvirt.taken", f) < 0) return -1;
    return vm->start_paused ? 0 : go_on(lv, vm->id.uuid, GO_ON_MS, f);
}

int lv_migrate_receive(void *d, const struct hv_vm *vm, int fd, int64_t deadline_ms, int64_t *ret_domid, struct hv_failure *f)
{
    struct lv *lv = d;
    const char *uuid = vm->id.uuid;
    _cleanup_free_ char *fifo = xasprintf("%s/%s.m", lv->socket_dir, uuid), *xml = NULL;
    struct hv_failure ignored = { .kind = HV_FAIL_NONE };
    bool begun = false;
    int rc = lv->is_test ? hv_fail(f, HV_FAIL_UNSUPPORTED, "libvirt's test driver moves nothing") : check_absent(lv, uuid, f);

    if (rc == 0) {
        xml = take_description(lv, vm, fd, deadline_ms, f);
        rc = xml ? 0 : -1;
    }
    if (rc == 0) {
        lv_give_files(lv, vm);
        rc = lv_put_nvram(lv, vm, f) < 0 || lv_put_tpm(lv, vm, f) < 0 || note(lv, "in", uuid, f) < 0 ? -1 : 0;
        begun = rc == 0;
    }
    if (rc == 0) rc = fill_domain(lv, vm, fd, fifo, xml, deadline_ms, ret_domid, f);
    unlink(fifo);
    if (rc == 0) rc = take_over(lv, vm, fd, f);
    if (rc < 0 && begun && lv_destroy(lv, uuid, hv_now_ms() + CALL_MS, &ignored) < 0 && ignored.kind != HV_FAIL_NO_DOMAIN)
        log_error("libvirt: %s, which did not arrive, does not end: %s", uuid, ignored.why);
    else if (begun) drop_note(lv, "in", uuid);
    /* Last: the sender wakes its own guest up. */
    hv_say(fd, rc < 0 ? HV_WORD_FAILED : HV_WORD_RUNS, rc < 0 ? f->why : "", &ignored);
    return rc < 0 ? -1 : 0;
}

/* ---- after a restart ------------------------------------------------------------------------- */

static int settle(struct lv *lv, const char *kind, const char *uuid, int64_t within_ms, struct hv_failure *f)
{
    if (streq(kind, "out")) {
        if (go_on(lv, uuid, within_ms, f) < 0 && f->kind != HV_FAIL_NO_DOMAIN) return -1;
        log_info("libvirt: %s did not move", uuid);
        drop_note(lv, "out", uuid);
        return 0;
    }
    if (end_here(lv, uuid, f) < 0) return -1;
    log_info("libvirt: %s ends here: it %s", uuid, streq(kind, "in") ? "had not arrived" : "has moved");
    drop_note(lv, kind, uuid);
    return 0;
}

void lv_migrate_settle(struct lv *lv)
{
    static const char *const kinds[] = { "gone", "in", "out" };     /* gone- before out-: it has both */

    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        DIR *dir = opendir(lv->move_dir);
        for (const struct dirent *e; dir && (e = readdir(dir));) {
            struct hv_failure f = { .kind = HV_FAIL_NONE };
            const size_t n = strlen(kinds[i]);
            struct ref ignored;
            if (strncmp(e->d_name, kinds[i], n) != 0 || e->d_name[n] != '-' || !uuid_from_text(e->d_name + n + 1, &ignored)) continue;
            _cleanup_free_ char *uuid = xstrdup(e->d_name + n + 1), *fifo = xasprintf("%s/%s.m", lv->socket_dir, uuid);
            unlink(fifo);
            if (settle(lv, kinds[i], uuid, SETTLE_MS, &f) < 0) log_error("libvirt: %s, which was on the move: %s", uuid, f.why);
        }
        if (dir) closedir(dir);
    }
}

/* Who stands still because the other side's QEMU had its images for long. */
void lv_migrate_retry(struct lv *lv)
{
    DIR *dir = opendir(lv->move_dir);

    for (const struct dirent *e; dir && (e = readdir(dir));) {
        struct hv_failure f = { .kind = HV_FAIL_NONE };
        struct ref ignored;
        if (!has_prefix(e->d_name, "out-") || !uuid_from_text(e->d_name + strlen("out-"), &ignored)) continue;
        const char *uuid = e->d_name + strlen("out-");
        pthread_mutex_lock(&lv->lock);
        const struct lv_guest *g = lv_guest_find(lv, uuid);
        const bool idle = g && !g->sending && !g->left;
        pthread_mutex_unlock(&lv->lock);
        if (idle && settle(lv, "out", uuid, 0, &f) < 0) log_error("libvirt: %s, which did not move, stands still: %s", uuid, f.why);
    }
    if (dir) closedir(dir);
}
