/* The background work that merges what deleted snapshots leave in repositories.
 * Called by: main.c.  Calls: sr.h. */
#include "xapi/jobs/gc.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <time.h>

#define LOG_MODULE "gc"
#include "gen/methods.h"
#include "lib/clock.h"
#include "lib/conf.h"
#include "lib/fault.h"
#include "lib/log.h"
#include "lib/map.h"
#include "xapi/sr.h"

#define STAMP "coalesced" /* in the agent's root */

enum {
    RETRY_S = 300,      /* after failures that changes do not explain, and for what nothing tells of */
    ALERT_FAILURES = 3, /* one after the other */
    ALERT_LEFT = 30,    /* merges to do */
    PRIORITY = 3,
};

/* What is remembered of one SR. */
struct watched {
    struct ref sr;
    uint64_t seen;    /* what its disks looked like when there was nothing left to do; 0 = never */
    int64_t retry_ns; /* not before */
    int64_t again_ns; /* then also if nothing changed; 0 = only if it did */
    int64_t failing_ns; /* since when steps fail; 0 = the last one did not */
    unsigned failures;
    bool alerted;
    bool begun;
};

struct gc {
    struct agent *agent;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    atomic_bool stop;
    struct refmap *srs;   /* only the thread: struct watched by reference */
    pthread_t thread;
};

/* ---- which SRs ------------------------------------------------------------------------------ */

static uint64_t mix(uint64_t h, uint64_t v)
{
    h ^= v;
    return h * UINT64_C(0x100000001b3);
}

/* Changes whenever a disk comes, goes, gets another parent, is plugged or unplugged. Never 0. */
static uint64_t look_of(const struct snap *s, const struct row *sr, bool *ret_has_bases)
{
    const struct refset *vdis = row_refs(sr, F_SR_VDIs);
    uint64_t h = UINT64_C(0xcbf29ce484222325);

    *ret_has_bases = false;
    for (size_t i = 0; i < vdis->n; i++) {
        const struct row *vdi = snap_get(s, CLASS_VDI, vdis->refs[i]);
        if (!vdi) continue;
        h = mix(h, vdis->refs[i].hi);
        h = mix(h, vdis->refs[i].lo);
        for (const char *p = value_get_str(row_value(vdi, F_VDI_sm_config), "vhd-parent", ""); *p; p++)
            h = mix(h, (unsigned char)*p);
        const struct refset *vbds = row_refs(vdi, F_VDI_VBDs);
        for (size_t k = 0; k < vbds->n; k++) {
            const struct row *vbd = snap_get(s, CLASS_VBD, vbds->refs[k]);
            h = mix(h, vbd && row_bool(vbd, F_VBD_currently_attached) ? 2 : 1);
        }
        if (*value_get_str(row_value(vdi, F_VDI_sm_config), "vhd-parent", "")) *ret_has_bases = true;
    }
    return h ? h : 1;
}

/* 0: the SR is gone. */
static uint64_t look_now(const struct gc *gc, struct ref sr)
{
    _cleanup_snap_ struct snap *s = db_snap(gc->agent->db);
    const struct row *row = snap_get(s, CLASS_SR, sr);
    bool ignored;

    return row ? look_of(s, row, &ignored) : 0;
}

static bool plugged_here(const struct agent *agent, const struct snap *s, const struct row *sr)
{
    const struct refset *pbds = row_refs(sr, F_SR_PBDs);

    for (size_t i = 0; i < pbds->n; i++) {
        const struct row *pbd = snap_get(s, CLASS_PBD, pbds->refs[i]);
        if (pbd && ref_eq(row_ref(pbd, F_PBD_host), agent->host) && row_bool(pbd, F_PBD_currently_attached))
            return true;
    }
    return false;
}

static struct watched *watched(struct gc *gc, struct ref sr)
{
    struct watched *w = refmap_get(gc->srs, sr);

    if (w) return w;
    w = xcalloc(1, sizeof(*w));
    w->sr = sr;
    refmap_put(gc->srs, sr, w);
    return w;
}

static bool is_due(const struct watched *w, uint64_t look)
{
    const int64_t now_ns = clock_monotonic_ns();

    return now_ns >= w->retry_ns && (w->seen != look || (w->again_ns && now_ns >= w->again_ns));
}

/* SRs whose disks changed since there was nothing to do. In the arena. */
static size_t find_due(struct gc *gc, struct arena *a, struct ref **ret_srs)
{
    _cleanup_snap_ struct snap *s = db_snap(gc->agent->db);
    size_t n = 0;

    *ret_srs = arena_new_array(a, struct ref, snap_count(s, CLASS_SR));
    SNAP_EACH (s, CLASS_SR, sr) {
        struct ref ref = row_ref_of(sr);
        bool has_bases;
        uint64_t look = look_of(s, sr, &has_bases);
        struct watched *w = refmap_get(gc->srs, ref);
        if (!has_bases || !plugged_here(gc->agent, s, sr)) continue;
        if (w && !is_due(w, look)) continue;
        (*ret_srs)[n++] = ref;
    }
    return n;
}

/* ---- one SR --------------------------------------------------------------------------------- */

static void raise_alert(struct call *c, struct ref sr, const char *text)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_get(s, CLASS_SR, sr);
    const char *uuid = row ? arena_strdup(c->arena, row_uuid(row)) : NULL;
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    struct ref message;

    snap_unref(take_ptr(s));
    if (!uuid || message_create(c, "SR_COALESCE_BEHIND", PRIORITY, cls_SR, uuid, text, &message, &err) == 0)
        return;
    _cleanup_free_ char *why = xerr_text(&err);
    log_warn("no alert for SR %s: %s", uuid, why);
}

/* A snapshot that is destroyed or a VM that is started takes away what a merge was planned for: the next round plans
 * anew. So it does after a first failure, for the row of a disk goes after its file; and where changes explain failures for
 * long, these count. */
static bool moot(const struct gc *gc, struct watched *w, uint64_t look)
{
    int64_t now_ns = clock_monotonic_ns();
    bool first = !w->failing_ns;

    if (first) w->failing_ns = now_ns;
    return first || (look_now(gc, w->sr) != look && now_ns - w->failing_ns < RETRY_S * NS_PER_S);
}

static void note_failure(struct gc *gc, struct call *c, struct watched *w, uint64_t look, const struct xerr *err)
{
    _cleanup_free_ char *why = xerr_text(err);
    bool cancelled = err->code && streq(err->code, "TASK_CANCELLED");

    if (!cancelled && moot(gc, w, look)) return;
    w->retry_ns = clock_monotonic_ns() + RETRY_S * NS_PER_S;
    if (cancelled) return;
    log_warn("SR %s: %s", REF_STR(w->sr), why);
    if (++w->failures < ALERT_FAILURES || w->alerted) return;
    w->alerted = true;
    raise_alert(c, w->sr, arena_printf(c->arena, "Disks are not merged: %s", why));
}

/* look: of the SR, taken before. Says whether to go on with this SR. */
static bool step(struct gc *gc, struct watched *w, uint64_t look)
{
    struct call *c = call_new_internal(gc->agent, "coalesce");
    const int64_t rate = conf_bytes(gc->agent->conf, "coalesce-rate");
    struct xerr err = XERR_INIT;
    size_t left = 0;
    bool waiting = false;

    int rc = w->begun ? 0 : sr_gc_begin(c, w->sr, &err);
    w->begun |= !rc;
    if (!rc) rc = sr_gc_step(c, w->sr, rate, &gc->stop, &left, &waiting, &err);
    const bool stop = atomic_load(&gc->stop);
    if (rc) {
        if (!stop) note_failure(gc, c, w, look, &err);
    } else {
        w->failures = 0;
        w->failing_ns = 0;
        w->again_ns = waiting ? clock_monotonic_ns() + RETRY_S * NS_PER_S : 0;
        if (left > ALERT_LEFT && !w->alerted) {
            w->alerted = true;
            raise_alert(c, w->sr, arena_printf(c->arena, "%zu merges are still to do", left));
        }
        if (left == 0) w->alerted = false;
    }
    xerr_clear(&err);
    call_free_internal(c);
    return !rc && !stop && left > 0;
}

static void work_on(struct gc *gc, struct ref sr)
{
    struct watched *w = watched(gc, sr);
    uint64_t look;

    do look = look_now(gc, sr);
    while (step(gc, w, look));
    /* What changed after that look is seen by the next round. */
    if (!w->failures && !w->failing_ns && clock_monotonic_ns() >= w->retry_ns) w->seen = look;
}

static void run_round(struct gc *gc)
{
    _cleanup_arena_ struct arena *a = arena_new();
    struct ref *due;
    size_t n = find_due(gc, a, &due);

    for (size_t i = 0; i < n; i++) work_on(gc, due[i]);
}

/* ---- the thread ----------------------------------------------------------------------------- */

/* When rounds end is kept as the time of a file, for the next agent: one that does not live for an interval, again and again,
 * merges all the same, and one that was killed in the middle of a round has its next one at once. */
static void note_round(const struct gc *gc)
{
    _cleanup_free_ char *path = xasprintf("%s/" STAMP, gc->agent->root);
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0 || futimens(fd, NULL)) log_warn("%s: %s", path, strerror(errno));
}

static int64_t interval_ns(const struct gc *gc)
{
    return conf_ms(gc->agent->conf, "coalesce-interval") * (NS_PER_S / 1000);
}

/* Until the first round of this agent. */
static int64_t first_wait_ns(const struct gc *gc)
{
    const int64_t interval = interval_ns(gc);
    _cleanup_free_ char *path = xasprintf("%s/" STAMP, gc->agent->root);
    struct stat st;

    if (stat(path, &st)) {
        note_round(gc);
        return interval;
    }
    int64_t ago_ns = (clock_wall_us() - st.st_mtim.tv_sec * INT64_C(1000000)) * 1000 - st.st_mtim.tv_nsec;
    /* Later than now: the clock was set back. */
    return ago_ns < 0 || ago_ns >= interval ? 0 : interval - ago_ns;
}

static void *gc_main(void *arg)
{
    struct gc *gc = arg;
    int64_t wait_ns = first_wait_ns(gc);

    fault_step_aside = true;
    pthread_mutex_lock(&gc->lock);
    while (!atomic_load(&gc->stop)) {
        int64_t due_ns = clock_monotonic_ns() + wait_ns;
        struct timespec until = { due_ns / NS_PER_S, due_ns % NS_PER_S };
        while (!atomic_load(&gc->stop) && clock_monotonic_ns() < due_ns)
            pthread_cond_timedwait(&gc->cond, &gc->lock, &until);
        if (atomic_load(&gc->stop)) break;
        pthread_mutex_unlock(&gc->lock);
        run_round(gc);
        if (!atomic_load(&gc->stop)) note_round(gc);
        wait_ns = interval_ns(gc);
        pthread_mutex_lock(&gc->lock);
    }
    pthread_mutex_unlock(&gc->lock);
    return NULL;
}

struct gc *gc_start(struct agent *agent)
{
    struct gc *gc = xcalloc(1, sizeof(*gc));
    pthread_condattr_t monotonic;

    gc->agent = agent;
    gc->srs = refmap_new();
    pthread_mutex_init(&gc->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&gc->cond, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (pthread_create(&gc->thread, NULL, gc_main, gc)) abort();
    return gc;
}

void gc_stop(struct gc *gc)
{
    struct ref key;
    void *w;

    if (!gc) return;
    pthread_mutex_lock(&gc->lock);
    atomic_store(&gc->stop, true);
    pthread_cond_broadcast(&gc->cond);
    pthread_mutex_unlock(&gc->lock);
    pthread_join(gc->thread, NULL);
    for (size_t at = 0; refmap_next(gc->srs, &at, &key, &w);) free(w);
    refmap_free(gc->srs);
    pthread_cond_destroy(&gc->cond);
    pthread_mutex_destroy(&gc->lock);
    free(gc);
}
