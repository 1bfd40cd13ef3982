/* Suspend and resume of Xen guests. The guest stops itself and waits to wake up in another domain, or in this one again.
 * Called by: hv.c through the vtable; xen_migrate.c, xen_watch.c, xen.c.  Calls: xen_stream, xen_power, xen_qemu, libxenctrl. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <xenctrl.h>             /* before all others of Xen: it says that we are tools */
#include <xen/hvm/params.h>
#include <xenguest.h>

#include "xapi/hv/domain/proto.h"
#include "xapi/hv/xen_int.h"

#define LOG_MODULE "hv"
#include "lib/log.h"

enum { ACKNOWLEDGE_MS = 60000, STOP_MS = 60000, QEMU_MS = 60000, LOOK_MS = 500 };

/* ---- the guest stops itself ------------------------------------------------------------------ */

static void set_suspending(struct xn *xn, struct xn_guest *g, bool on)
{
    pthread_mutex_lock(&xn->lock);
    g->suspending = on;
    pthread_mutex_unlock(&xn->lock);
}

static int64_t sooner(int64_t deadline_ms, int64_t from_now_ms)
{
    int64_t soon_ms = hv_now_ms() + from_now_ms;

    return deadline_ms < soon_ms ? deadline_ms : soon_ms;
}

/* Its shutdown is told by a watch of `store`. */
static int await_stop(struct xn *xn, struct xst *store, const struct xn_guest *g, int64_t deadline_ms, struct hv_failure *f)
{
    xc_domaininfo_t info;

    for (;;) {
        if (!xn_dominfo(xn, g, &info)) return hv_fail(f, HV_FAIL_ENGINE, "the domain ended while it was being suspended");
        if (info.flags & XEN_DOMINF_shutdown) break;
        if (hv_now_ms() >= deadline_ms) return hv_fail(f, HV_FAIL_TIMEOUT, "the guest agreed to a suspend, but does not stop");
        if (xn_hurry(xn, g)) return hv_fail(f, HV_FAIL_CANCELLED, "something more urgent came");
        if (xst_wait(store, sooner(deadline_ms, LOOK_MS), f) < 0) return -1;
    }
    if (xn_shutdown_code(&info) == SHUTDOWN_suspend) return 0;
    return hv_fail(f, HV_FAIL_ENGINE, "the guest shut down or crashed while it was being suspended");
}

/* An HVM guest without drivers cannot be asked, and need not be. */
static bool has_no_drivers(struct xn *xn, const struct xn_guest *g)
{
    uint64_t irq = 0, s_state = 0;

    if (g->type != HV_DOMAIN_HVM) return false;
    xc_hvm_param_get(xn->xch, (uint32_t)g->domid, HVM_PARAM_CALLBACK_IRQ, &irq);
    xc_hvm_param_get(xn->xch, (uint32_t)g->domid, HVM_PARAM_ACPI_S_STATE, &s_state);
    return !irq || s_state;
}

static int stop_guest(struct xn *xn, struct xn_guest *g, int64_t deadline_ms, struct hv_failure *f)
{
    _cleanup_batch_ struct xst_batch b = XST_BATCH_INIT;
    struct xst *store;
    int rc;

    if (xn_store(xn, deadline_ms, &store, f) < 0) return -1;
    set_suspending(xn, g, true);
    xst_watch(&b, "@releaseDomain", "stopped");
    rc = xst_run(store, &b, deadline_ms, f);
    if (rc == 0 && has_no_drivers(xn, g)) {
        rc = xc_domain_shutdown(xn->xch, (uint32_t)g->domid, SHUTDOWN_suspend);
        if (rc < 0) xn_fail_xc("xc_domain_shutdown", f);
    } else if (rc == 0) {
        rc = xn_ask_guest(xn, store, g, "suspend", sooner(deadline_ms, ACKNOWLEDGE_MS), f);
        if (rc < 0 && f->kind == HV_FAIL_GUEST_DEAF) f->kind = HV_FAIL_SUSPEND_DEAF;
    }
    if (rc == 0) rc = await_stop(xn, store, g, sooner(deadline_ms, STOP_MS), f);
    xn_store_done(xn, store, true);
    return rc;
}

/* ---- and goes on ----------------------------------------------------------------------------- */

int xn_resume_in_place(struct xn *xn, struct xn_guest *g)
{
    _cleanup_batch_ struct xst_batch b = XST_BATCH_INIT;
    struct hv_failure f = { .kind = HV_FAIL_NONE };
    xc_domaininfo_t info;
    int rc = 0;

    if (xn_dominfo(xn, g, &info) && (info.flags & XEN_DOMINF_shutdown) && xn_shutdown_code(&info) == SHUTDOWN_suspend) {
        if (xn_qemu_continue(xn, g, hv_now_ms() + QEMU_MS, &f) < 0)
            log_error("xen: domain %jd (%s): %s", (intmax_t)g->domid, g->vm, f.why);
        rc = xc_domain_resume(xn->xch, (uint32_t)g->domid, 1);
        if (rc < 0) log_error("xen: domain %jd (%s) does not go on: %s", (intmax_t)g->domid, g->vm, strerror(errno));
        xst_resume(&b, g->domid);
        if (xn_store_run(xn, &b, hv_now_ms() + XN_STORE_MS, &f) < 0)
            log_error("xen: domain %jd (%s): %s", (intmax_t)g->domid, g->vm, f.why);
        log_info("xen: domain %jd (%s) goes on after a suspend that came to nothing", (intmax_t)g->domid, g->vm);
    }
    set_suspending(xn, g, false);
    xn_watch_wake(xn);
    return rc;
}

/* ---- save ------------------------------------------------------------------------------------ */

struct saving {
    struct xn *xn;
    struct xn_guest *g;
    bool file, live;
    int64_t deadline_ms;
    struct hv_failure *f;
    struct domain_event event;
    struct domain_reply reply;
    struct domain_save request;
};

static int stop_all(struct saving *s)
{
    s->g->stopped_ms = hv_now_ms();
    if (xn_fault("hv.xen.suspend", s->f) < 0 || stop_guest(s->xn, s->g, s->deadline_ms, s->f) < 0) return -1;
    return xn_qemu_save(s->xn, s->g, !s->file, sooner(s->deadline_ms, QEMU_MS), s->f);
}

static int answer(struct saving *s, struct xn_stream *stream)
{
    int rc = 0;

    s->reply = (struct domain_reply){ .size = sizeof s->reply };
    if (s->event.kind == DOMAIN_SUSPEND) {
        rc = stop_all(s);
        _cleanup_free_ char *nodes = rc == 0 ? xn_nodes_read(s->xn, s->g, sizeof s->reply.text) : xstrdup("");
        snprintf(s->reply.text, sizeof s->reply.text, "%s", nodes);
    } else {
        rc = xn_qemu_dirty_log(s->xn, s->g, s->event.on, sooner(s->deadline_ms, QEMU_MS), s->f);
    }
    if (rc < 0) return -1;       /* the process is ended; no word of it is worth waiting for */
    return xn_stream_send(stream, &s->reply, sizeof s->reply, s->f);
}

static int run_stream(struct saving *s, struct xn_stream *stream)
{
    for (;;) {
        if (xn_stream_next(s->xn, s->g, stream, s->deadline_ms, &s->event, s->f) < 0) return -1;
        if (s->event.kind == DOMAIN_DONE) break;
        if (answer(s, stream) < 0) return -1;
    }
    if (s->event.rc == 0) return 0;
    s->f->code = s->event.code;
    return hv_fail(s->f, HV_FAIL_ENGINE, "%s", s->event.why);
}

static void dirty_log_off(struct xn *xn, struct xn_guest *g)
{
    struct hv_failure f = { .kind = HV_FAIL_NONE };

    xc_shadow_control(xn->xch, (uint32_t)g->domid, XEN_DOMCTL_SHADOW_OP_OFF, NULL, 0);
    if (xn_qemu_dirty_log(xn, g, false, hv_now_ms() + XN_PATIENCE_MS, &f) < 0)
        log_warn("xen: domain %jd (%s): %s", (intmax_t)g->domid, g->vm, f.why);
}

static int note_streaming(struct xn *xn, struct xn_guest *g, bool on, struct hv_failure *f)
{
    g->streaming = on;
    return xn_record_write(xn, g, f);
}

static void undo(struct saving *s)
{
    struct hv_failure f = { .kind = HV_FAIL_NONE };

    if (s->live) dirty_log_off(s->xn, s->g);
    xn_resume_in_place(s->xn, s->g);
    if (note_streaming(s->xn, s->g, false, &f) < 0) log_warn("xen: domain %jd (%s): %s", (intmax_t)s->g->domid, s->g->vm, f.why);
}

int xn_save(struct xn *xn, struct xn_guest *g, int fd, bool file, bool live, int64_t deadline_ms, struct hv_failure *f)
{
    struct saving *s = xcalloc(1, sizeof *s);
    _cleanup_free_ char *head = xn_head_text(xn, g), *state = xn_qemu_state(xn, g);
    struct xn_stream stream = { .fd = -1, .peer_fd = -1 };
    int rc = -1;

    *s = (struct saving){ .xn = xn, .g = g, .file = file, .live = live, .deadline_ms = deadline_ms, .f = f };
    s->request = (struct domain_save){ .size = sizeof s->request, .domid = (uint32_t)g->domid, .live = live, .file = file };
    snprintf(s->request.text, sizeof s->request.text, "%s", head);
    if (g->type == HV_DOMAIN_HVM) snprintf(s->request.devices, sizeof s->request.devices, "%s", state);
    pthread_mutex_lock(&xn->lock);
    g->cancel = false;
    pthread_mutex_unlock(&xn->lock);
    if (note_streaming(xn, g, true, f) < 0) goto out;
    if (xn_stream_begin(xn, "save", fd, &stream, f) == 0 && xn_stream_send(&stream, &s->request, sizeof s->request, f) == 0) {
        if (!file) stream.peer_fd = fd;
        rc = run_stream(s, &stream);
    }
    xn_stream_end(&stream);
    unlink(state);
    if (rc < 0) undo(s);
out:
    free(s);
    return rc;
}

void xn_recover_streams(struct xn *xn)
{
    struct hv_failure f = { .kind = HV_FAIL_NONE };

    /* At the start nobody else has the table. */
    for (struct xn_guest *g = xn->guests; g; g = g->next) {
        if (g->phase != XN_THERE || !g->streaming) continue;
        dirty_log_off(xn, g);
        xn_resume_in_place(xn, g);
        if (note_streaming(xn, g, false, &f) < 0) log_warn("xen: %s: %s", g->vm, f.why);
    }
}

/* ---- the verbs ------------------------------------------------------------------------------- */

int xn_suspend(void *d, const char *uuid, const char *image, int64_t deadline_ms, struct hv_failure *f)
{
    struct xn *xn = d;
    struct xn_guest *g = xn_turn_running(xn, uuid, true, deadline_ms, f);
    int rc = -1;

    if (!g) return -1;
    const bool paused = f->actual == HV_STATE_PAUSED;
    const bool made = access(image, F_OK) < 0;
    _cleanup_close_ int fd = open(image, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        hv_fail(f, HV_FAIL_ENGINE, "%s: %s", image, strerror(errno));
        goto out;
    }
    /* It has to run in order to stop itself. */
    if (paused && xc_domain_unpause(xn->xch, (uint32_t)g->domid) < 0) {
        xn_fail_xc("xc_domain_unpause", f);
        goto out;
    }
    rc = xn_save(xn, g, fd, true, false, deadline_ms, f);
    if (rc == 0) {
        xn_clear_away(xn, g, hv_now_ms() + XN_LET_GO_MS);
        xn_emit(xn, &(struct hv_event){ .kind = HV_EVENT_STOPPED, .uuid = uuid, .domid = g->domid, .reason = HV_STOP_SUSPENDED });
    } else if (paused) {
        xc_domain_pause(xn->xch, (uint32_t)g->domid);
    }
out:
    if (rc < 0 && made && fd >= 0) unlink(image);
    xn_turn_end(xn, g);
    return rc;
}

int xn_resume(void *d, const struct hv_vm *vm, const char *image, int64_t deadline_ms, int64_t *ret_domid, struct hv_failure *f)
{
    struct xn *xn = d;
    struct xn_incoming in;
    struct xn_guest *g;
    _cleanup_close_ int fd = open(image, O_RDONLY | O_CLOEXEC);

    if (fd < 0) return hv_fail(f, HV_FAIL_NO_IMAGE, "%s: %s", image, strerror(errno));
    if (xn_incoming_begin(xn, vm, fd, deadline_ms, &in, f) < 0) return -1;
    int rc = xn_make(xn, &in.vm, &in, deadline_ms, &g, f);
    if (rc == 0) {
        rc = xn_go(xn, g, vm->start_paused, f);
        if (rc == 0) *ret_domid = g->domid;
        else xn_clear_away(xn, g, hv_now_ms() + XN_LET_GO_MS);
        xn_turn_end(xn, g);
    }
    xn_incoming_end(&in);
    return rc;
}

int xn_check_image(void *d, const char *uuid, const char *image, struct hv_failure *f)
{
    _cleanup_close_ int fd = open(image, O_RDONLY | O_CLOEXEC);
    struct { struct stream_head head; char text[4096]; } image_head;

    (void)d;
    if (fd < 0) return hv_fail(f, HV_FAIL_NO_IMAGE, "%s: %s", image, strerror(errno));
    ssize_t n = pread(fd, &image_head, sizeof image_head, 0);
    if (n < (ssize_t)sizeof image_head.head || memcmp(image_head.head.magic, STREAM_MAGIC, STREAM_MAGIC_BYTES) != 0)
        return hv_fail(f, HV_FAIL_NO_IMAGE, "%s: it is no whole image of a guest", image);
    if (!memmem(image_head.text, (size_t)n - sizeof image_head.head, uuid, strlen(uuid)))
        return hv_fail(f, HV_FAIL_NO_IMAGE, "%s: it is the image of another guest", image);
    return 0;
}

int xn_abort(void *d, const char *uuid, int64_t deadline_ms, struct hv_failure *f)
{
    struct xn *xn = d;
    bool found = false;

    (void)deadline_ms;
    pthread_mutex_lock(&xn->lock);
    for (struct xn_guest *g = xn->guests; g; g = g->next) {
        if (!streq(g->uuid, uuid) || g->phase != XN_THERE) continue;
        found = true;
        g->cancel = g->busy;     /* whoever has no turn has nothing to end */
    }
    pthread_cond_broadcast(&xn->changed);
    pthread_mutex_unlock(&xn->lock);
    return found ? 0 : hv_fail(f, HV_FAIL_NO_DOMAIN, "no such domain");
}
