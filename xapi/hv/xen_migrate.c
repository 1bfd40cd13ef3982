/* Migration of Xen guests through a connected socket: to another host, or to another domain of this one.
 * Called by: hv.c through the vtable.  Calls: xen_suspend (the stream), xen_create, xen_guest (who is the VM now).
 *
 *   sender                                   receiver
 *   the stream (domain/proto.h)         ->   an empty domain, filled; FAILED and why at any time
 *                                       <-   READY: it could run; or FAILED and why
 *   GO: I have let go of the guest      ->   it runs
 *                                       <-   RUNS
 *   its domain ends
 *
 * Before GO the sender's guest is the VM and goes on when anything fails. From GO on it never runs again, whatever happens:
 * a guest that stood still for good is better than two that write to one disk. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>

#include "xapi/hv/xen_int.h"

#define LOG_MODULE "hv"
#include "lib/log.h"

enum word { WORD_READY = 1, WORD_FAILED, WORD_GO, WORD_RUNS };
enum { MAGIC = 0x314d5831, LOOK_MS = 200, ANSWER_MS = 120000, GO_MS = 60000, WHY_MS = 5000 };
struct message {
    uint32_t magic, word;
    int64_t number;
    char why[240];
};

/* ---- words ----------------------------------------------------------------------------------- */

static int say(int fd, enum word word, int64_t number, const char *why, struct hv_failure *f)
{
    struct message m = { .magic = MAGIC, .word = word, .number = number };

    snprintf(m.why, sizeof m.why, "%s", why);
    if (send(fd, &m, sizeof m, MSG_NOSIGNAL) == (ssize_t)sizeof m) return 0;
    return hv_fail(f, HV_FAIL_ENGINE, "the other side has gone: %s", strerror(errno));
}

/* g (may be NULL): gives up when it is to be destroyed. */
static int listen_for(struct xn *xn, const struct xn_guest *g, int fd, int64_t deadline_ms, struct message *ret_m, struct hv_failure *f)
{
    size_t got = 0;

    while (got < sizeof *ret_m) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        if (g && xn_hurry(xn, g)) return hv_fail(f, HV_FAIL_CANCELLED, "something more urgent came");
        if (hv_now_ms() >= deadline_ms) return hv_fail(f, HV_FAIL_TIMEOUT, "the other side does not answer");
        if (poll(&p, 1, LOOK_MS) <= 0) continue;
        ssize_t n = recv(fd, (char *)ret_m + got, sizeof *ret_m - got, MSG_DONTWAIT);
        if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (n <= 0) return hv_fail(f, HV_FAIL_ENGINE, "the other side has gone");
        got += (size_t)n;
    }
    ret_m->why[sizeof ret_m->why - 1] = '\0';
    return ret_m->magic == MAGIC ? 0 : hv_fail(f, HV_FAIL_ENGINE, "the other side says something strange");
}

static int expect(struct xn *xn, const struct xn_guest *g, int fd, enum word word, int64_t wait_ms, struct hv_failure *f)
{
    struct message m;

    if (listen_for(xn, g, fd, hv_now_ms() + wait_ms, &m, f) < 0) return -1;
    if (m.word == (uint32_t)word) return 0;
    return hv_fail(f, HV_FAIL_ENGINE, "the other side: %s", m.word == WORD_FAILED ? m.why : "an unexpected word");
}

bool xn_has_given_up(int fd)
{
    struct message m;
    const ssize_t n = recv(fd, &m, sizeof m, MSG_PEEK | MSG_DONTWAIT);

    if (n < 0) return errno != EAGAIN && errno != EINTR;
    return n < (ssize_t)sizeof m || m.magic != MAGIC || m.word == WORD_FAILED;
}

/* ---- the sender ------------------------------------------------------------------------------ */

static void set_sending(struct xn *xn, struct xn_guest *g, bool on)
{
    pthread_mutex_lock(&xn->lock);
    g->sending = on;
    pthread_mutex_unlock(&xn->lock);
}

/* The memory did not get through: the other side may have said why, and knows best. */
static void hear_why(struct xn *xn, int fd, struct hv_failure *f)
{
    struct hv_failure said = { .kind = HV_FAIL_NONE };
    struct message m;

    if (!xn_has_given_up(fd) || listen_for(xn, NULL, fd, hv_now_ms() + WHY_MS, &m, &said) < 0 || m.word != WORD_FAILED) return;
    hv_fail(f, HV_FAIL_ENGINE, "the other side: %s", m.why);
}

/* PV guests' pages are logged by shadow paging, which many hypervisors are built without. */
static int check_live(struct xn *xn, const struct xn_guest *g, struct hv_failure *f)
{
    xc_physinfo_t phys = { 0 };

    if (g->type != HV_DOMAIN_PV) return 0;
    if (xc_physinfo(xn->xch, &phys) < 0) return xn_fail_xc("xc_physinfo", f);
    if (phys.capabilities & XEN_SYSCTL_PHYSCAP_shadow) return 0;
    return hv_fail(f, HV_FAIL_INCOMPATIBLE, "a PV guest cannot move while it runs: this hypervisor has no shadow paging");
}

static void set_phase(struct xn *xn, struct xn_guest *g, enum xn_phase phase)
{
    pthread_mutex_lock(&xn->lock);
    g->phase = phase;
    pthread_mutex_unlock(&xn->lock);
}

/* Does the guest become another domain of this host? Then the records change in one step, at the receiver's. */
static bool stays_here(struct xn *xn, const struct xn_guest *g)
{
    bool yes = false;

    pthread_mutex_lock(&xn->lock);
    for (const struct xn_guest *other = xn->guests; other; other = other->next) yes |= other != g && streq(other->vm, g->vm);
    pthread_mutex_unlock(&xn->lock);
    return yes;
}

/* 0 = the guest is the other side's. */
static int let_go(struct xn *xn, struct xn_guest *g, int fd, struct hv_failure *f)
{
    struct hv_failure late = { .kind = HV_FAIL_NONE };
    struct message m;

    /* A killed agent must not wake it up any more. */
    if (!stays_here(xn, g) && xn_record_write(xn, g, f) < 0) return -1;
    if (say(fd, WORD_GO, 0, "", f) < 0 || xn_fault("hv.xen.gone", f) < 0) return -1;
    if (listen_for(xn, NULL, fd, hv_now_ms() + ANSWER_MS, &m, &late) < 0)
        log_error("xen: domain %jd (%s) has been handed over; whether it runs there is not known: %s", (intmax_t)g->domid, g->vm,
                  late.why);
    else if (m.word == WORD_FAILED)
        return hv_fail(f, HV_FAIL_ENGINE, "the other side: %s", m.why);
    else log_info("xen: domain %jd (%s) runs on over there; it stood still for %jd ms", (intmax_t)g->domid, g->vm,
                  (intmax_t)(hv_now_ms() - g->stopped_ms));
    return 0;
}

/* The stream is out; the guest stands still here. */
static int hand_over(struct xn *xn, struct xn_guest *g, int fd, struct hv_failure *f)
{
    if (expect(xn, g, fd, WORD_READY, ANSWER_MS, f) < 0 || xn_fault("hv.xen.handover", f) < 0) return -1;
    set_phase(xn, g, XN_MAKING);
    if (let_go(xn, g, fd, f) == 0) return 0;
    set_phase(xn, g, XN_THERE);
    return -1;
}

int xn_migrate_send(void *d, const char *uuid, int fd, bool live, int64_t deadline_ms, struct hv_failure *f)
{
    struct xn *xn = d;
    struct xn_guest *g = xn_turn_running(xn, uuid, false, deadline_ms, f);
    struct hv_failure ignored = { .kind = HV_FAIL_NONE };

    if (!g) return -1;
    set_sending(xn, g, true);
    int rc = live ? check_live(xn, g, f) : 0;
    if (rc == 0) {
        rc = xn_save(xn, g, fd, false, live, deadline_ms, f);
        if (rc < 0) hear_why(xn, fd, f);
    }
    if (rc == 0 && (rc = hand_over(xn, g, fd, f)) < 0) {
        xn_resume_in_place(xn, g);
        g->streaming = false;
        if (xn_record_write(xn, g, &ignored) < 0) log_warn("xen: %s: %s", g->vm, ignored.why);
    }
    set_sending(xn, g, false);
    if (rc == 0) {
        const bool elsewhere = streq(g->uuid, uuid);
        xn_clear_away(xn, g, hv_now_ms() + XN_LET_GO_MS);
        if (elsewhere)
            xn_emit(xn, &(struct hv_event){ .kind = HV_EVENT_STOPPED, .uuid = uuid, .domid = g->domid, .reason = HV_STOP_MIGRATED });
    }
    xn_turn_end(xn, g);
    return rc;
}

/* ---- the receiver ---------------------------------------------------------------------------- */

/* Is the guest on its way out of this very host? Then the newcomer has another name until it has gone. */
static bool leaves_here(struct xn *xn, const char *uuid)
{
    struct xn_guest *old = xn_guest_ref(xn, uuid);
    bool yes = false;

    if (!old) return false;
    pthread_mutex_lock(&xn->lock);
    yes = old->sending;
    pthread_mutex_unlock(&xn->lock);
    xn_guest_unref(xn, old);
    return yes;
}

static int take_over(struct xn *xn, struct xn_guest *g, int fd, bool start_paused, struct hv_failure *f)
{
    if (xn_fault("hv.xen.ready", f) < 0 || say(fd, WORD_READY, 0, "", f) < 0) return -1;
    if (expect(xn, g, fd, WORD_GO, GO_MS, f) < 0 || xn_fault("hv.xen.taken", f) < 0) return -1;
    /* Now it is the VM. */
    struct xn_guest *old = streq(g->uuid, g->vm) ? NULL : xn_guest_ref(xn, g->vm);
    int rc = xn_guest_succeed(xn, g, old, f);
    if (old) xn_guest_unref(xn, old);
    return rc < 0 ? -1 : xn_go(xn, g, start_paused, f);
}

int xn_migrate_receive(void *d, const struct hv_vm *vm, int fd, int64_t deadline_ms, int64_t *ret_domid, struct hv_failure *f)
{
    struct xn *xn = d;
    struct xn_incoming in = { .stream = { .fd = -1 } };
    struct hv_failure ignored = { .kind = HV_FAIL_NONE };
    struct xn_guest *g = NULL;
    int rc = xn_incoming_begin(xn, vm, fd, deadline_ms, &in, f);

    if (rc == 0) {
        if (leaves_here(xn, vm->id.uuid)) uuid_to_text(ref_new(), in.uuid);
        rc = xn_make(xn, &in.vm, &in, deadline_ms, &g, f);
    }
    if (rc == 0) rc = take_over(xn, g, fd, vm->start_paused, f);
    if (rc == 0) {
        *ret_domid = g->domid;
        say(fd, WORD_RUNS, g->domid, "", &ignored);
    } else {
        say(fd, WORD_FAILED, 0, f->why, &ignored);
        if (g) xn_clear_away(xn, g, hv_now_ms() + XN_LET_GO_MS);
    }
    if (g) xn_turn_end(xn, g);
    xn_incoming_end(&in);
    return rc;
}
