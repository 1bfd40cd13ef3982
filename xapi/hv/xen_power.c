/* Power, memory and vcpus of Xen domains, and their end.
 * Called by: hv.c through the vtable; xen_watch.c, xen_create.c.  Calls: libxenctrl, xen_store, xen_device. */
#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "xapi/hv/xen_int.h"

#define LOG_MODULE "hv"
#include "lib/log.h"

enum { DESTROY_STEP_MS = 10 };

/* ---- the end --------------------------------------------------------------------------------- */

/* Whose domain has this number now? */
enum owner { NOBODYS, OURS, FOREIGN };
static enum owner owner_of_number(struct xn *xn, const struct xn_guest *g)
{
    xc_domaininfo_t info;
    struct ref bytes = REF_NULL;
    bool same = true;

    if (g->domid < 0 || xc_domain_getinfolist(xn->xch, (uint32_t)g->domid, 1, &info) != 1 || info.domain != g->domid)
        return NOBODYS;
    uuid_from_text(g->vm, &bytes);
    for (unsigned i = 0; i < 8; i++)
        same = same && info.handle[i] == (uint8_t)(bytes.hi >> (56 - 8 * i)) &&
               info.handle[i + 8] == (uint8_t)(bytes.lo >> (56 - 8 * i));
    return same ? OURS : FOREIGN;
}

static void destroy_domain(struct xn *xn, const struct xn_guest *g, int64_t deadline_ms)
{
    while (xc_domain_destroy(xn->xch, (uint32_t)g->domid) < 0) {
        if (errno == ESRCH) return;
        if ((errno != EAGAIN && errno != EINTR) || hv_now_ms() >= deadline_ms) {
            log_error("xen: destroying domain %jd (%s): %s", (intmax_t)g->domid, g->uuid, strerror(errno));
            return;
        }
        nanosleep(&(struct timespec){ .tv_nsec = DESTROY_STEP_MS * 1000000 }, NULL);
    }
}

static void forget_nodes(struct xn *xn, const struct xn_guest *g)
{
    _cleanup_batch_ struct xst_batch b = XST_BATCH_INIT;
    struct hv_failure f = { .kind = HV_FAIL_NONE };

    xn_layout_forget(&b, g->domid, g->uuid);
    if (xn_store_run(xn, &b, hv_now_ms() + XN_STORE_MS, &f) < 0)
        log_warn("xen: forgetting domain %jd (%s): %s", (intmax_t)g->domid, g->uuid, f.why);
}

void xn_clear_away(struct xn *xn, struct xn_guest *g, int64_t deadline_ms)
{
    pthread_mutex_lock(&xn->lock);
    g->phase = XN_ENDING;
    pthread_mutex_unlock(&xn->lock);
    const enum owner owner = owner_of_number(xn, g);
    if (owner == OURS) {
        xn_nvram_take(xn, g);
        destroy_domain(xn, g, deadline_ms);
    }
    xn_qemu_end(xn, g);
    if (g->domid >= 0 && owner != FOREIGN) {
        xn_devices_clear(xn, g, deadline_ms);
        forget_nodes(xn, g);
    }
    xn_console_forget(xn, g->uuid);
    xn_record_remove(xn, g->uuid);
    xn_guest_drop(xn, g);
}

/* Whoever waited for the turn of one that ended the domain may find the next domain of the same VM: that is not meant, unless it
 * is the meant one, moved. */
static bool is_meant(struct xn *xn, const struct xn_guest *meant, const struct xn_guest *g, const char *uuid)
{
    pthread_mutex_lock(&xn->lock);
    bool yes = g->phase != XN_ENDING && (g == meant || !streq(meant->uuid, uuid));
    pthread_mutex_unlock(&xn->lock);
    return yes;
}

int xn_destroy(void *d, const char *uuid, int64_t deadline_ms, struct hv_failure *f)
{
    struct xn *xn = d;

    if (xn_fault("hv.xen.destroy", f) < 0) return -1;
    struct xn_guest *meant = xn_guest_ref(xn, uuid);
    if (!meant) return hv_fail(f, HV_FAIL_NO_DOMAIN, "no such domain");
    pthread_mutex_lock(&xn->lock);
    meant->destroy_wanted = true;
    pthread_cond_broadcast(&xn->changed);
    pthread_mutex_unlock(&xn->lock);
    struct xn_guest *g = xn_turn(xn, uuid, deadline_ms, f);
    bool there = g && is_meant(xn, meant, g, uuid);
    xn_guest_unref(xn, meant);
    if (!g) return -1;
    if (there) {
        xn_clear_away(xn, g, deadline_ms);
        xn_emit(xn, &(struct hv_event){ .kind = HV_EVENT_STOPPED, .uuid = uuid, .domid = g->domid,
                                        .reason = HV_STOP_DESTROYED });
    }
    xn_turn_end(xn, g);
    return there ? 0 : hv_fail(f, HV_FAIL_NO_DOMAIN, "no such domain");
}

/* ---- asking the guest ------------------------------------------------------------------------ */

bool xn_hurry(struct xn *xn, const struct xn_guest *g)
{
    pthread_mutex_lock(&xn->lock);
    bool yes = g->cancel || g->destroy_wanted;
    pthread_mutex_unlock(&xn->lock);
    return yes;
}

int xn_ask_guest(struct xn *xn, struct xst *store, const struct xn_guest *g, const char *request, int64_t deadline_ms,
                 struct hv_failure *f)
{
    enum { LOOK_MS = 500 };
    const char *path = XN_P(g->domid, "control/shutdown");
    _cleanup_batch_ struct xst_batch ask = XST_BATCH_INIT, withdraw = XST_BATCH_INIT;
    xc_domaininfo_t info;
    bool hurry = false;

    xst_write(&ask, path, request);
    xst_watch(&ask, path, "ack");
    if (xst_run(store, &ask, deadline_ms, f) < 0) return -1;
    while (!(hurry = xn_hurry(xn, g)) && hv_now_ms() < deadline_ms) {
        _cleanup_arena_ struct arena *a = arena_new();
        const char *value;
        if (xst_get(store, path, a, &value, deadline_ms, f) < 0) return -1;
        if (!value || !streq(value, request)) return 0;
        if (!xn_dominfo(xn, g, &info) || xn_state(&info) == HV_STATE_SHUTDOWN) return 0;
        int64_t soon_ms = hv_now_ms() + LOOK_MS;
        if (xst_wait(store, soon_ms < deadline_ms ? soon_ms : deadline_ms, f) < 0) return -1;
    }
    xst_write(&withdraw, path, "");
    xst_run(store, &withdraw, hv_now_ms() + XN_STORE_MS, f);
    return hurry ? hv_fail(f, HV_FAIL_CANCELLED, "something more urgent came") : hv_fail(f, HV_FAIL_GUEST_DEAF, "the guest does not react");
}

/* Have the guest's drivers ever said that they listen? */
static bool has_drivers(struct xn *xn, const struct xn_guest *g, int64_t deadline_ms)
{
    _cleanup_batch_ struct xst_batch b = XST_BATCH_INIT;
    struct hv_failure ignored = { .kind = HV_FAIL_NONE };
    size_t poweroff = xst_read(&b, XN_P(g->domid, "control/feature-poweroff"));
    size_t shutdown = xst_read(&b, XN_P(g->domid, "control/feature-shutdown"));
    size_t updated = xst_read(&b, XN_P(g->domid, "data/updated"));

    if (xn_store_run(xn, &b, deadline_ms, &ignored) < 0) return false;
    return xst_value(&b, poweroff) || xst_value(&b, shutdown) || xst_value(&b, updated);
}

static int ask_guest(struct xn *xn, const char *uuid, const char *request, int64_t deadline_ms, struct hv_failure *f)
{
    enum { MARGIN_MS = 1000 };
    struct xn_guest *g = xn_turn_running(xn, uuid, false, deadline_ms, f);
    struct xst *store;
    int rc = -1;

    if (!g) return -1;
    /* Without drivers an HVM guest still has a power button. */
    if (g->type == HV_DOMAIN_HVM && streq(request, "poweroff") && !has_drivers(xn, g, deadline_ms)) {
        rc = xc_domain_send_trigger(xn->xch, (uint32_t)g->domid, XEN_DOMCTL_SENDTRIGGER_POWER, 0);
        if (rc < 0) xn_fail_xc("xc_domain_send_trigger", f);
    } else if (xn_store(xn, deadline_ms, &store, f) == 0) {
        rc = xn_ask_guest(xn, store, g, request, deadline_ms - MARGIN_MS, f);
        xn_store_done(xn, store, true);
    }
    xn_turn_end(xn, g);
    return rc;
}

int xn_shutdown(void *d, const char *uuid, int64_t deadline_ms, struct hv_failure *f)
{
    return ask_guest(d, uuid, "poweroff", deadline_ms, f);
}

int xn_reboot(void *d, const char *uuid, int64_t deadline_ms, struct hv_failure *f)
{
    return ask_guest(d, uuid, "reboot", deadline_ms, f);
}

/* ---- pulling strings ------------------------------------------------------------------------- */

int xn_reset(void *d, const char *uuid, int64_t deadline_ms, struct hv_failure *f)
{
    struct xn *xn = d;
    struct xn_guest *g = xn_turn_running(xn, uuid, true, deadline_ms, f);

    if (!g) return -1;
    int rc = xc_domain_shutdown(xn->xch, (uint32_t)g->domid, SHUTDOWN_reboot);
    if (rc < 0) xn_fail_xc("xc_domain_shutdown", f);
    xn_turn_end(xn, g);
    return rc;
}

int xn_pause(void *d, const char *uuid, int64_t deadline_ms, struct hv_failure *f)
{
    struct xn *xn = d;
    struct xn_guest *g = xn_turn_running(xn, uuid, false, deadline_ms, f);

    if (!g) return -1;
    int rc = xc_domain_pause(xn->xch, (uint32_t)g->domid);
    if (rc < 0) xn_fail_xc("xc_domain_pause", f);
    else xn_emit(xn, &(struct hv_event){ .kind = HV_EVENT_PAUSED, .uuid = uuid, .domid = g->domid });
    xn_turn_end(xn, g);
    return rc;
}

int xn_unpause(void *d, const char *uuid, int64_t deadline_ms, struct hv_failure *f)
{
    struct xn *xn = d;
    struct xn_guest *g = xn_turn_running(xn, uuid, true, deadline_ms, f);
    int rc;

    if (!g) return -1;
    if (f->actual != HV_STATE_PAUSED) {
        rc = hv_fail(f, HV_FAIL_STATE, "not paused");
    } else {
        rc = xc_domain_unpause(xn->xch, (uint32_t)g->domid);
        if (rc < 0) xn_fail_xc("xc_domain_unpause", f);
        else xn_emit(xn, &(struct hv_event){ .kind = HV_EVENT_RESUMED, .uuid = uuid, .domid = g->domid });
    }
    xn_turn_end(xn, g);
    return rc;
}

/* A word to the guest by a key of its own tree. */
static int tell(struct xn *xn, const char *uuid, const char *key, const char *word, int64_t deadline_ms, struct hv_failure *f)
{
    _cleanup_batch_ struct xst_batch b = XST_BATCH_INIT;
    struct xn_guest *g = xn_turn_running(xn, uuid, false, deadline_ms, f);

    if (!g) return -1;
    xst_write(&b, XN_P(g->domid, "control/%s", key), word);
    int rc = xn_store_run(xn, &b, deadline_ms, f);
    xn_turn_end(xn, g);
    return rc;
}

int xn_send_sysrq(void *d, const char *uuid, char key, int64_t deadline_ms, struct hv_failure *f)
{
    return tell(d, uuid, "sysrq", (const char[]){ key, '\0' }, deadline_ms, f);
}

int xn_guest_rdp(void *d, const char *uuid, bool on, int64_t deadline_ms, struct hv_failure *f)
{
    return tell(d, uuid, "ts", on ? "1" : "0", deadline_ms, f);
}

int xn_send_trigger(void *d, const char *uuid, const char *trigger, int64_t deadline_ms, struct hv_failure *f)
{
    struct xn *xn = d;

    if (streq(trigger, "reset")) return xn_reset(d, uuid, deadline_ms, f);
    struct xn_guest *g = xn_turn_running(xn, uuid, false, deadline_ms, f);
    if (!g) return -1;
    uint32_t what = streq(trigger, "nmi") ? XEN_DOMCTL_SENDTRIGGER_NMI : XEN_DOMCTL_SENDTRIGGER_POWER;
    int rc;
    if (what == XEN_DOMCTL_SENDTRIGGER_POWER && g->type != HV_DOMAIN_HVM) {
        rc = hv_fail(f, HV_FAIL_UNSUPPORTED, "a guest without emulated hardware has no power button");
    } else {
        rc = xc_domain_send_trigger(xn->xch, (uint32_t)g->domid, what, 0);
        if (rc < 0) xn_fail_xc("xc_domain_send_trigger", f);
    }
    xn_turn_end(xn, g);
    return rc;
}

/* ---- memory and vcpus ------------------------------------------------------------------------ */

/* The balloon's target, in the order that lets the guest reach it. */
static int set_target(struct xn *xn, struct xn_guest *g, int64_t bytes, int64_t deadline_ms, struct hv_failure *f)
{
    _cleanup_batch_ struct xst_batch b = XST_BATCH_INIT;
    int64_t visible = bytes - g->video_bytes;

    if (xn_limit_memory(xn, g, bytes, f) < 0) return -1;
    if (g->type != HV_DOMAIN_PV &&
        xc_domain_set_pod_target(xn->xch, (uint32_t)g->domid, (uint64_t)(visible >> XC_PAGE_SHIFT), NULL, NULL, NULL) < 0 &&
        errno != EINVAL)
        return xn_fail_xc("xc_domain_set_pod_target", f);
    xst_writef(&b, XN_P(g->domid, "memory/target"), "%jd", (intmax_t)(visible >> 10));
    return xn_store_run(xn, &b, deadline_ms, f);
}

int xn_set_memory_target(void *d, const char *uuid, int64_t bytes, int64_t deadline_ms, struct hv_failure *f)
{
    struct xn *xn = d;
    struct xn_guest *g = xn_turn_running(xn, uuid, true, deadline_ms, f);
    xc_domaininfo_t info;
    int rc = -1;

    if (!g) return -1;
    if (bytes > g->static_max_bytes) bytes = g->static_max_bytes;
    f->number = xn_free_bytes(xn);
    if (!xn_dominfo(xn, g, &info)) hv_fail(f, HV_FAIL_NO_DOMAIN, "no such domain");
    else if (bytes - ((int64_t)info.tot_pages << XC_PAGE_SHIFT) > f->number)
        hv_fail(f, HV_FAIL_NO_MEMORY, "not enough free memory");
    else rc = set_target(xn, g, bytes, deadline_ms, f);
    if (rc == 0) {
        pthread_mutex_lock(&xn->lock);
        g->target_bytes = bytes;
        g->watched_bytes = (int64_t)info.tot_pages << XC_PAGE_SHIFT;
        pthread_mutex_unlock(&xn->lock);
        rc = xn_record_write(xn, g, f);
        xn_watch_wake(xn);
    }
    xn_turn_end(xn, g);
    return rc;
}

int xn_set_vcpus(void *d, const char *uuid, unsigned vcpus, int64_t deadline_ms, struct hv_failure *f)
{
    struct xn *xn = d;
    _cleanup_batch_ struct xst_batch b = XST_BATCH_INIT;
    struct xn_guest *g = xn_turn_running(xn, uuid, true, deadline_ms, f);
    int rc;

    if (!g) return -1;
    if (vcpus > g->vcpus_max) {
        rc = hv_fail(f, HV_FAIL_ENGINE, "at most %u vcpus", g->vcpus_max);
    } else {
        for (unsigned i = 0; i < g->vcpus_max; i++) xn_layout_vcpu(&b, g->domid, i, i < vcpus);
        rc = xn_store_run(xn, &b, deadline_ms, f);
    }
    if (rc == 0) {
        g->vcpus = vcpus;
        rc = xn_record_write(xn, g, f);
    }
    xn_turn_end(xn, g);
    return rc;
}
