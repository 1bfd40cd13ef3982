/* libvirt's events as ours, and what we remember of guests between them.
 * Called by: libvirt.c; libvirt's event loop.  Calls: libvirt. */
#include <stdio.h>

#include "lib/clock.h"
#include "xapi/hv/libvirt_int.h"

#define LOG_MODULE "hv"
#include "lib/log.h"

/* A machine's reset line is pulled several times in one reboot (firmware, kernel). */
enum { SAME_REBOOT_MS = 2000 };

/* ---- guests ---------------------------------------------------------------------------------- */

struct lv_guest *lv_guest_find(struct lv *lv, const char *uuid)
{
    for (size_t i = 0; i < lv->n_guests; i++)
        if (streq(lv->guests[i].uuid, uuid)) return &lv->guests[i];
    return NULL;
}

struct lv_guest *lv_guest_add(struct lv *lv, const char *uuid, int64_t domid)
{
    struct lv_guest *g = lv_guest_find(lv, uuid);

    if (g && g->domid == domid) return g;
    if (!g) {
        if (lv->n_guests == lv->cap_guests) {
            lv->cap_guests = lv->cap_guests ? 2 * lv->cap_guests : 32;
            lv->guests = xrealloc(lv->guests, lv->cap_guests * sizeof *lv->guests);
        }
        g = &lv->guests[lv->n_guests++];
    }
    *g = (struct lv_guest){ .domid = domid };
    snprintf(g->uuid, sizeof g->uuid, "%s", uuid);
    return g;
}

void lv_guest_remove(struct lv *lv, const char *uuid)
{
    struct lv_guest *g = lv_guest_find(lv, uuid);

    if (g) *g = lv->guests[--lv->n_guests];
}

/* ---- events ---------------------------------------------------------------------------------- */

void lv_emit(struct lv *lv, const struct hv_event *event)
{
    struct hv_event e = *event;

    if (!e.device) e.device = "";
    pthread_mutex_lock(&lv->emit_lock);
    pthread_mutex_lock(&lv->lock);
    bool closed = lv->closed;
    pthread_mutex_unlock(&lv->lock);
    if (!closed) lv->on_event(lv->arg, &e);
    pthread_mutex_unlock(&lv->emit_lock);
}

/* The event's uuid, and the domid that we know (libvirt's is -1 once the guest has ended). */
static int64_t identify(struct lv *lv, virDomainPtr dom, char uuid[UUID_TEXT])
{
    unsigned id = virDomainGetID(dom);
    int64_t domid = id == (unsigned)-1 ? -1 : (int64_t)id;

    uuid[0] = '\0';
    virDomainGetUUIDString(dom, uuid);
    pthread_mutex_lock(&lv->lock);
    const struct lv_guest *g = lv_guest_find(lv, uuid);
    if (domid < 0 && g) domid = g->domid;
    pthread_mutex_unlock(&lv->lock);
    return domid;
}

static enum hv_stop_reason reason_of(int detail)
{
    switch (detail) {
    case VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN: return HV_STOP_POWEROFF;
    case VIR_DOMAIN_EVENT_STOPPED_SAVED: return HV_STOP_SUSPENDED;
    case VIR_DOMAIN_EVENT_STOPPED_CRASHED:
    case VIR_DOMAIN_EVENT_STOPPED_FAILED: return HV_STOP_CRASH;
    default: return HV_STOP_DESTROYED;
    }
}

static void sockets_gone(const struct lv *lv, const char *uuid)
{
    _cleanup_free_ char *serial = xasprintf("%s/%s.s", lv->socket_dir, uuid);
    _cleanup_free_ char *vnc = xasprintf("%s/%s.v", lv->socket_dir, uuid);

    unlink(serial);
    unlink(vnc);
}

/* Does a pause or its end concern anybody? */
static bool is_told(struct lv *lv, const char *uuid)
{
    pthread_mutex_lock(&lv->lock);
    const struct lv_guest *g = lv_guest_find(lv, uuid);
    bool told = g && !g->saving;
    pthread_mutex_unlock(&lv->lock);
    return told;
}

static int on_lifecycle(virConnectPtr conn, virDomainPtr dom, int event, int detail, void *arg)
{
    struct lv *lv = arg;
    char uuid[UUID_TEXT];
    struct hv_event e = { .uuid = uuid, .domid = identify(lv, dom, uuid) };

    (void)conn;
    log_debug("libvirt: lifecycle %s: event %d, detail %d", uuid, event, detail);
    switch (event) {
    case VIR_DOMAIN_EVENT_STARTED:
        e.kind = HV_EVENT_STARTED;
        pthread_mutex_lock(&lv->lock);
        lv_guest_add(lv, uuid, e.domid);
        pthread_mutex_unlock(&lv->lock);
        break;
    case VIR_DOMAIN_EVENT_SUSPENDED:
    case VIR_DOMAIN_EVENT_RESUMED:
        /* A guest that starts "resumes" before it is told to have started; one that is saved is paused for
         * it. */
        if (!is_told(lv, uuid)) return 0;
        e.kind = event == VIR_DOMAIN_EVENT_SUSPENDED ? HV_EVENT_PAUSED : HV_EVENT_RESUMED;
        /* Other errors go to the guest: see error_policy in libvirt_xml.c. */
        e.no_space = event == VIR_DOMAIN_EVENT_SUSPENDED && detail == VIR_DOMAIN_EVENT_SUSPENDED_IOERROR;
        break;
    case VIR_DOMAIN_EVENT_SHUTDOWN:
        if (detail == VIR_DOMAIN_EVENT_SHUTDOWN_HOST) return 0;      /* QEMU is being ended, not the guest */
        e.kind = HV_EVENT_SHUTTING_DOWN;
        break;
    case VIR_DOMAIN_EVENT_CRASHED:
        e.kind = HV_EVENT_CRASHED;
        break;
    case VIR_DOMAIN_EVENT_STOPPED:
        e.kind = HV_EVENT_STOPPED;
        e.reason = reason_of(detail);
        pthread_mutex_lock(&lv->lock);
        const struct lv_guest *gone = lv_guest_find(lv, uuid);
        if (gone && gone->left) e.reason = HV_STOP_MIGRATED;
        lv_guest_remove(lv, uuid);
        pthread_cond_broadcast(&lv->changed);
        pthread_mutex_unlock(&lv->lock);
        sockets_gone(lv, uuid);
        break;
    default:
        return 0;      /* definitions come and go without a guest */
    }
    lv_emit(lv, &e);
    return 0;
}

static void on_reboot(virConnectPtr conn, virDomainPtr dom, void *arg)
{
    struct lv *lv = arg;
    char uuid[UUID_TEXT];
    struct hv_event e = { .kind = HV_EVENT_REBOOTED, .uuid = uuid, .domid = identify(lv, dom, uuid) };

    (void)conn;
    pthread_mutex_lock(&lv->lock);
    struct lv_guest *g = lv_guest_find(lv, uuid);
    bool again = g && g->rebooted_ms && hv_now_ms() - g->rebooted_ms < SAME_REBOOT_MS;
    if (g && !again) g->start_time = clock_wall_seconds();
    if (g) g->rebooted_ms = hv_now_ms();
    pthread_mutex_unlock(&lv->lock);
    if (!again) lv_emit(lv, &e);
}

/* Tells whoever waits for this device, and forgets what we knew of the guest's devices. */
static void device_changed(struct lv *lv, const char *uuid, const char *alias, enum lv_wait state)
{
    pthread_mutex_lock(&lv->lock);
    for (struct lv_waiter *w = lv->waiters; w; w = w->next)
        if (state != LV_WAITING && streq(w->uuid, uuid) && streq(w->alias, alias)) w->state = state;
    struct lv_guest *g = lv_guest_find(lv, uuid);
    if (g) g->described = false;
    pthread_cond_broadcast(&lv->changed);
    pthread_mutex_unlock(&lv->lock);
}

static void on_device_added(virConnectPtr conn, virDomainPtr dom, const char *alias, void *arg)
{
    struct lv *lv = arg;
    char uuid[UUID_TEXT], device[HV_DEVICE_TEXT];
    struct hv_event e = { .kind = HV_EVENT_DEVICE_ADDED, .uuid = uuid, .domid = identify(lv, dom, uuid),
                          .device = lv_alias_device(alias, device) };

    (void)conn;
    device_changed(lv, uuid, alias, LV_WAITING);
    if (*device) lv_emit(lv, &e);
}

static void on_device_removed(virConnectPtr conn, virDomainPtr dom, const char *alias, void *arg)
{
    struct lv *lv = arg;
    char uuid[UUID_TEXT], device[HV_DEVICE_TEXT];
    struct hv_event e = { .kind = HV_EVENT_DEVICE_REMOVED, .uuid = uuid, .domid = identify(lv, dom, uuid),
                          .device = lv_alias_device(alias, device) };

    (void)conn;
    device_changed(lv, uuid, alias, LV_REMOVED);
    if (*device) lv_emit(lv, &e);
}

static void on_removal_failed(virConnectPtr conn, virDomainPtr dom, const char *alias, void *arg)
{
    struct lv *lv = arg;
    char uuid[UUID_TEXT];

    (void)conn;
    identify(lv, dom, uuid);
    device_changed(lv, uuid, alias, LV_REFUSED);
}

static void on_balloon(virConnectPtr conn, virDomainPtr dom, unsigned long long actual_kib, void *arg)
{
    struct lv *lv = arg;
    char uuid[UUID_TEXT];
    struct hv_event e = { .kind = HV_EVENT_MEMORY, .uuid = uuid, .domid = identify(lv, dom, uuid),
                          .memory_bytes = (int64_t)actual_kib * 1024 };

    (void)conn;
    lv_emit(lv, &e);
}

static void on_agent(virConnectPtr conn, virDomainPtr dom, int state, int reason, void *arg)
{
    struct lv *lv = arg;
    char uuid[UUID_TEXT];
    bool there = state == VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_CONNECTED;
    struct hv_event e = {
        .kind = HV_EVENT_AGENT, .uuid = uuid, .domid = identify(lv, dom, uuid), .agent = there
    };

    (void)conn;
    (void)reason;
    pthread_mutex_lock(&lv->lock);
    struct lv_guest *g = lv_guest_find(lv, uuid);
    if (g) g->agent = there;
    pthread_mutex_unlock(&lv->lock);
    lv_emit(lv, &e);
}

static void release(void *arg) { lv_unref(arg); }

int lv_events_register(struct lv *lv, struct lv_link *link)
{
    const struct {
        int id;
        virConnectDomainEventGenericCallback fn;
    } all[] = {
        { VIR_DOMAIN_EVENT_ID_LIFECYCLE, VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle) },
        { VIR_DOMAIN_EVENT_ID_REBOOT, on_reboot },
        { VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, VIR_DOMAIN_EVENT_CALLBACK(on_device_added) },
        { VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, VIR_DOMAIN_EVENT_CALLBACK(on_device_removed) },
        { VIR_DOMAIN_EVENT_ID_DEVICE_REMOVAL_FAILED, VIR_DOMAIN_EVENT_CALLBACK(on_removal_failed) },
        { VIR_DOMAIN_EVENT_ID_BALLOON_CHANGE, VIR_DOMAIN_EVENT_CALLBACK(on_balloon) },
        { VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE, VIR_DOMAIN_EVENT_CALLBACK(on_agent) },
    };

    _Static_assert(ARRAY_SIZE(all) <= ARRAY_SIZE(link->events), "room for all events");
    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        lv_ref(lv);
        int id = virConnectDomainEventRegisterAny(link->conn, NULL, all[i].id, all[i].fn, lv, release);
        if (id >= 0) {
            link->events[link->n_events++] = id;
            continue;
        }
        lv_unref(lv);
        if (all[i].id == VIR_DOMAIN_EVENT_ID_LIFECYCLE) return -1; /* others may be missing (test driver) */
    }
    return 0;
}

void lv_events_deregister(struct lv_link *link)
{
    while (link->n_events) virConnectDomainEventDeregisterAny(link->conn, link->events[--link->n_events]);
}
