/* Calls to libvirt with a deadline, each on a thread and a connection of its own.
 * Called by: libvirt*.c.  Calls: libvirt.
 *
 * libvirt has no deadlines: a guest whose monitor hangs holds the caller for ever. So each call runs on a
 * thread; at the deadline it is left there, and undone should it ever succeed. A connection serves one call
 * at a time: several threads on one connection make libvirt's client use memory of a call that has ended
 * (CVE-2024-4418, in Debian 12), and so do keepalive messages, which these connections therefore do not send.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>

#include "xapi/hv/libvirt_int.h"

#define LOG_MODULE "hv"
#include "lib/log.h"

void lv_ref(struct lv *lv) { __atomic_add_fetch(&lv->refs, 1, __ATOMIC_RELAXED); }

struct lv_job *lv_job_new(struct lv *lv, const char *uuid, int (*fn)(struct lv_job *))
{
    struct lv_job *job = xcalloc(1, sizeof *job);

    job->lv = lv;
    lv_ref(lv);
    job->fn = fn;
    job->refs = 1;
    if (uuid) snprintf(job->uuid, sizeof job->uuid, "%s", uuid);
    return job;
}

void lv_job_unref(struct lv_job *job)
{
    if (__atomic_sub_fetch(&job->refs, 1, __ATOMIC_ACQ_REL)) return;
    if (job->out && job->free_out) job->free_out(job->out);
    free(job->xml);
    free(job->path);
    free(job->alias);
    lv_unref(job->lv);
    free(job);
}

/* ---- failures -------------------------------------------------------------------------------- */

enum hv_state lv_state(int vir_state)
{
    switch (vir_state) {
    case VIR_DOMAIN_PAUSED:
    case VIR_DOMAIN_PMSUSPENDED: return HV_STATE_PAUSED;
    case VIR_DOMAIN_SHUTDOWN: return HV_STATE_SHUTDOWN;
    case VIR_DOMAIN_CRASHED: return HV_STATE_CRASHED;
    case VIR_DOMAIN_SHUTOFF: return HV_STATE_NONE;
    default: return HV_STATE_RUNNING;
    }
}

static enum hv_fail_kind kind_of(const virError *e, enum hv_fail_kind other)
{
    const char *text = e->message ? e->message : "";

    switch (e->code) {
    case VIR_ERR_NO_DOMAIN: return HV_FAIL_NO_DOMAIN;
    case VIR_ERR_DOM_EXIST: return HV_FAIL_EXISTS;
    case VIR_ERR_OPERATION_INVALID: return HV_FAIL_STATE;
    case VIR_ERR_CONFIG_UNSUPPORTED:
    case VIR_ERR_XML_ERROR:
    case VIR_ERR_XML_DETAIL:
        return strstr(text, "No more available PCI slots") ? HV_FAIL_DEVICE_FULL : HV_FAIL_INCOMPATIBLE;
    case VIR_ERR_NO_SUPPORT:
    case VIR_ERR_OPERATION_UNSUPPORTED: return HV_FAIL_UNSUPPORTED;
    case VIR_ERR_OPERATION_TIMEOUT: return HV_FAIL_TIMEOUT;
    case VIR_ERR_OPERATION_ABORTED: return HV_FAIL_CANCELLED;
    case VIR_ERR_AGENT_UNRESPONSIVE:
    case VIR_ERR_AGENT_UNSYNCED: return HV_FAIL_GUEST_DEAF;
    case VIR_ERR_DEVICE_MISSING: return HV_FAIL_DEVICE_MISSING;
    case VIR_ERR_NO_MEMORY: return HV_FAIL_NO_MEMORY;
    case VIR_ERR_RPC:
    case VIR_ERR_NO_CONNECT: return HV_FAIL_UNREACHABLE;
    default:
        if (strstr(text, "Cannot allocate memory")) return HV_FAIL_NO_MEMORY;
        return other;
    }
}

int lv_job_fail(struct lv_job *job, enum hv_fail_kind other)
{
    const virError *e = virGetLastError();

    if (!e || !e->message) return hv_fail(&job->f, other, "libvirt gave no reason");
    job->f.code = e->code;
    hv_fail(&job->f, kind_of(e, other), "%s", e->message);
    /* This forgets the error. */
    if (job->conn && virConnectIsAlive(job->conn) != 1) job->f.kind = HV_FAIL_UNREACHABLE;
    return -1;
}

int lv_job_fail_domain(struct lv_job *job, virDomainPtr dom, enum hv_fail_kind other)
{
    int state, reason;

    lv_job_fail(job, other);
    if (job->f.kind != HV_FAIL_STATE) return -1;
    job->f.actual = HV_STATE_NONE;
    if (virDomainGetState(dom, &state, &reason, 0) == 0) job->f.actual = lv_state(state);
    return -1;
}

virDomainPtr lv_job_domain(struct lv_job *job)
{
    virDomainPtr dom = virDomainLookupByUUIDString(job->conn, job->uuid);

    if (!dom) lv_job_fail(job, HV_FAIL_ENGINE);
    /* A definition without a running guest (made by hand) is no guest. */
    if (dom && virDomainIsActive(dom) == 0) {
        virDomainFree(dom);
        dom = NULL;
        hv_fail(&job->f, HV_FAIL_NO_DOMAIN, "it does not run");
    }
    return dom;
}

/* ---- running --------------------------------------------------------------------------------- */

/* A connection for the job: one that is idle, else a new one. -1 with job->f. */
static int take_conn(struct lv_job *job)
{
    struct lv *lv = job->lv;

    pthread_mutex_lock(&lv->lock);
    if (lv->n_idle) job->conn = lv->idle[--lv->n_idle];
    job->generation = lv->generation;
    pthread_mutex_unlock(&lv->lock);
    if (job->conn) return 0;
    job->conn = virConnectOpen(lv->uri);
    return job->conn ? 0 : lv_job_fail(job, HV_FAIL_UNREACHABLE);
}

/* Keeps the connection for another call, unless it has died or belongs to a libvirtd of the past. */
static void give_conn(struct lv_job *job)
{
    struct lv *lv = job->lv;
    virConnectPtr conn = take_ptr(job->conn);
    bool alive = conn && virConnectIsAlive(conn) == 1;

    pthread_mutex_lock(&lv->lock);
    if (alive && lv->link && !lv->lost && job->generation == lv->generation && lv->n_idle < LV_MAX_IDLE)
        lv->idle[lv->n_idle++] = take_ptr(conn);
    pthread_mutex_unlock(&lv->lock);
    if (conn) virConnectClose(conn);
}

void lv_block_sigpipe(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static void *run(void *arg)
{
    struct lv_job *job = arg;
    struct lv *lv = job->lv;

    lv_block_sigpipe();
    int rc = job->bare || take_conn(job) == 0 ? job->fn(job) : -1;
    pthread_mutex_lock(&lv->lock);
    job->rc = rc;
    job->done = true;
    bool abandoned = job->abandoned;
    if (abandoned) lv->n_stuck--;
    pthread_cond_broadcast(&lv->changed);
    pthread_mutex_unlock(&lv->lock);
    if (abandoned) {
        log_warn("libvirt: a call for %s came back after its deadline: %s", job->uuid,
                 rc == 0 ? "done" : job->f.why);
        if (rc == 0 && job->late) job->late(job);
    }
    give_conn(job);
    lv_job_unref(job);
    return NULL;
}

bool lv_wait_until(struct lv *lv, int64_t deadline_ms)
{
    struct timespec ts;
    int64_t left_ms = deadline_ms - hv_now_ms();

    if (left_ms <= 0) return false;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    ts.tv_sec += left_ms / 1000;
    ts.tv_nsec += left_ms % 1000 * 1000000;
    if (ts.tv_nsec >= 1000000000) {
        ts.tv_sec++;
        ts.tv_nsec -= 1000000000;
    }
    pthread_cond_timedwait(&lv->changed, &lv->lock, &ts);
    return true;
}

static int run_job(struct lv_job *job, int64_t deadline_ms, struct hv_failure *f)
{
    struct lv *lv = job->lv;
    pthread_t thread;

    pthread_mutex_lock(&lv->lock);
    bool too_many = lv->n_stuck >= LV_MAX_STUCK;
    pthread_mutex_unlock(&lv->lock);
    if (too_many) return hv_fail(f, HV_FAIL_UNREACHABLE, "%d calls hang already", LV_MAX_STUCK);
    __atomic_add_fetch(&job->refs, 1, __ATOMIC_RELAXED);
    int rc = pthread_create(&thread, NULL, run, job);
    if (rc) {
        lv_job_unref(job);
        return hv_fail(f, HV_FAIL_ENGINE, "thread: %s", strerror(rc));
    }
    pthread_detach(thread);
    pthread_mutex_lock(&lv->lock);
    while (!job->done && lv_wait_until(lv, deadline_ms)) ;
    bool done = job->done;
    if (!done) {
        job->abandoned = true;
        lv->n_stuck++;
    }
    pthread_mutex_unlock(&lv->lock);
    if (!done) return hv_fail(f, HV_FAIL_TIMEOUT, "libvirt does not answer");
    if (job->rc < 0) *f = job->f;
    return job->rc;
}

int lv_job_run_bare(struct lv_job *job, int64_t deadline_ms, struct hv_failure *f)
{
    job->bare = true;
    return run_job(job, deadline_ms, f);
}

int lv_job_run(struct lv_job *job, int64_t deadline_ms, struct hv_failure *f)
{
    struct lv *lv = job->lv;
    int64_t patience_ms = hv_now_ms() + LV_WAIT_UP_MS;

    /* A restart of libvirtd takes half a second: let it pass unnoticed. */
    pthread_mutex_lock(&lv->lock);
    while ((!lv->link || lv->lost) &&
           lv_wait_until(lv, patience_ms < deadline_ms ? patience_ms : deadline_ms))
        ;
    bool up = lv->link && !lv->lost;
    pthread_mutex_unlock(&lv->lock);
    if (!up) return hv_fail(f, HV_FAIL_UNREACHABLE, "no connection to libvirtd");
    return run_job(job, deadline_ms, f);
}
