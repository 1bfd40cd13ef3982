/* Power: start, end, pause, suspend.
 * Called by: hv.c through the vtable.  Calls: libvirt through jobs. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "xapi/hv/libvirt_int.h"

#define LOG_MODULE "hv"
#include "lib/log.h"

enum { ABORT_MS = 15000, CHECK_MS = 15000, EVENT_MS = 1000, START_TRIES = 200, START_STEP_MS = 50 };

/* ---- start ----------------------------------------------------------------------------------- */

static int64_t memory_available(void)
{
    _cleanup_free_ char *text = NULL;
    const char *p;

    if (read_file("/proc/meminfo", 65536, &text, NULL) < 0 || !(p = strstr(text, "MemAvailable:"))) return 0;
    return strtoll(p + strlen("MemAvailable:"), NULL, 10) * 1024;
}

/* EXISTS with its domid when the guest runs already. */
static int check_absent(struct lv_job *job)
{
    virDomainPtr dom = virDomainLookupByUUIDString(job->conn, job->uuid);

    if (!dom) return 0;
    bool active = virDomainIsActive(dom) == 1;
    job->f.number = (int64_t)virDomainGetID(dom);
    virDomainFree(dom);
    return active ? hv_fail(&job->f, HV_FAIL_EXISTS, "it runs already") : 0;
}

static int fail_start(struct lv_job *job)
{
    lv_job_fail(job, HV_FAIL_BUILD);
    if (job->f.kind == HV_FAIL_NO_MEMORY) job->f.number = memory_available();
    /* These kinds would mean something else to the caller of a start. */
    if (job->f.kind == HV_FAIL_STATE || job->f.kind == HV_FAIL_UNSUPPORTED ||
        job->f.kind == HV_FAIL_NO_DOMAIN)
        job->f.kind = HV_FAIL_BUILD;
    return -1;
}

static void destroy_late(struct lv_job *job)
{
    virDomainPtr dom = virDomainLookupByUUIDString(job->conn, job->uuid);

    if (!dom) return;
    if ((int64_t)virDomainGetID(dom) == job->out_number) virDomainDestroy(dom);
    virDomainFree(dom);
}

static int run_start(struct lv_job *job)
{
    if (check_absent(job) < 0) return -1;
    virDomainPtr dom = virDomainCreateXML(job->conn, job->xml, job->flags);
    if (!dom) return fail_start(job);
    job->out_number = (int64_t)virDomainGetID(dom);
    virDomainFree(dom);
    return 0;
}

int lv_start(void *d, const struct hv_vm *vm, int64_t deadline_ms, int64_t *ret_domid, struct hv_failure *f)
{
    struct lv *lv = d;
    _cleanup_job_ struct lv_job *job = lv_job_new(lv, vm->id.uuid, run_start);

    job->xml = lv_xml_domain(lv, vm, f);
    if (!job->xml) return -1;
    job->flags = vm->start_paused ? VIR_DOMAIN_START_PAUSED : VIR_DOMAIN_NONE;
    job->late = destroy_late;
    lv_give_files(lv, vm);
    if (lv_put_nvram(lv, vm, f) < 0 || lv_put_tpm(lv, vm, f) < 0) return -1;
    if (lv_job_run(job, deadline_ms, f) < 0) return -1;
    *ret_domid = job->out_number;
    return 0;
}

/* ---- one call, one guest --------------------------------------------------------------------- */

/* One that is just being started by somebody (an agent that was killed meanwhile) can be ended when it runs,
 * not before. Waits for that, or for its disappearance. */
static void wait_started(virDomainPtr dom)
{
    for (int i = 0; i < START_TRIES && virDomainIsActive(dom) == 0 && virDomainIsPersistent(dom) == 0; i++)
        usleep(START_STEP_MS * 1000);
}

static int run_destroy(struct lv_job *job)
{
    virDomainPtr dom = virDomainLookupByUUIDString(job->conn, job->uuid);

    if (!dom) return lv_job_fail(job, HV_FAIL_ENGINE);
    wait_started(dom);
    int rc = virDomainDestroy(dom);
    if (rc < 0) lv_job_fail(job, HV_FAIL_ENGINE);
    /* It ended by itself in between. */
    if (rc < 0 && job->f.kind == HV_FAIL_STATE) job->f.kind = HV_FAIL_NO_DOMAIN;
    virDomainFree(dom);
    return rc;
}

/* A guest that is paused or has crashed hears nothing. */
static int need_running(struct lv_job *job, virDomainPtr dom)
{
    int state, reason;

    if (virDomainGetState(dom, &state, &reason, 0) < 0) return lv_job_fail(job, HV_FAIL_ENGINE);
    job->f.actual = lv_state(state);
    return job->f.actual == HV_STATE_RUNNING ? 0 : hv_fail(&job->f, HV_FAIL_STATE, "it is not running");
}

static int run_shutdown(struct lv_job *job)
{
    virDomainPtr dom = lv_job_domain(job);

    if (!dom) return -1;
    int rc = need_running(job, dom);
    if (rc == 0 && virDomainShutdown(dom) < 0) rc = lv_job_fail_domain(job, dom, HV_FAIL_GUEST_DEAF);
    virDomainFree(dom);
    return rc;
}

static int run_reboot(struct lv_job *job)
{
    virDomainPtr dom = lv_job_domain(job);

    if (!dom) return -1;
    int rc = need_running(job, dom);
    if (rc == 0 && virDomainReboot(dom, 0) < 0) rc = lv_job_fail_domain(job, dom, HV_FAIL_GUEST_DEAF);
    virDomainFree(dom);
    return rc;
}

static int run_reset(struct lv_job *job)
{
    virDomainPtr dom = lv_job_domain(job);

    if (!dom) return -1;
    int rc = virDomainReset(dom, 0);
    if (rc < 0) lv_job_fail_domain(job, dom, HV_FAIL_ENGINE);
    virDomainFree(dom);
    return rc;
}

static int run_pause(struct lv_job *job)
{
    virDomainPtr dom = lv_job_domain(job);

    if (!dom) return -1;
    int rc = need_running(job, dom);
    if (rc == 0 && virDomainSuspend(dom) < 0) rc = lv_job_fail_domain(job, dom, HV_FAIL_ENGINE);
    virDomainFree(dom);
    return rc;
}

static int run_unpause(struct lv_job *job)
{
    virDomainPtr dom = lv_job_domain(job);
    int state, reason, rc = 0;

    if (!dom) return -1;
    if (virDomainGetState(dom, &state, &reason, 0) < 0) rc = lv_job_fail(job, HV_FAIL_ENGINE);
    if (rc == 0 && state != VIR_DOMAIN_PAUSED) {
        job->f.actual = lv_state(state);
        rc = hv_fail(&job->f, HV_FAIL_STATE, "it is not paused");
    }
    if (rc == 0 && virDomainResume(dom) < 0) rc = lv_job_fail_domain(job, dom, HV_FAIL_ENGINE);
    virDomainFree(dom);
    return rc;
}

static int run_abort(struct lv_job *job)
{
    virDomainPtr dom = lv_job_domain(job);

    if (!dom) return -1;
    int rc = virDomainAbortJob(dom);
    if (rc < 0) lv_job_fail(job, HV_FAIL_ENGINE);
    virDomainFree(dom);
    return rc;
}

static int simple(void *d, const char *uuid, int (*fn)(struct lv_job *), int64_t deadline_ms,
                  struct hv_failure *f) {
    _cleanup_job_ struct lv_job *job = lv_job_new(d, uuid, fn);

    return lv_job_run(job, deadline_ms, f);
}

/* libvirt says nothing when a guest is ended that was still being started (by an agent that was killed
 * meanwhile). Then we do. */
static void ensure_stopped_event(struct lv *lv, const char *uuid)
{
    int64_t until_ms = hv_now_ms() + EVENT_MS;
    const struct lv_guest *g;

    pthread_mutex_lock(&lv->lock);
    while ((g = lv_guest_find(lv, uuid)) && lv_wait_until(lv, until_ms)) ;
    struct hv_event e = {
        .kind = HV_EVENT_STOPPED, .uuid = uuid, .reason = g && g->left ? HV_STOP_MIGRATED : HV_STOP_DESTROYED, .domid = g ? g->domid : -1
    };
    if (g) lv_guest_remove(lv, uuid);
    pthread_mutex_unlock(&lv->lock);
    if (g) lv_emit(lv, &e);
}

int lv_destroy(void *d, const char *uuid, int64_t deadline_ms, struct hv_failure *f)
{
    int rc = simple(d, uuid, run_destroy, deadline_ms, f);

    if (rc == 0 || f->kind == HV_FAIL_NO_DOMAIN) ensure_stopped_event(d, uuid);
    return rc;
}

int lv_shutdown(void *d, const char *uuid, int64_t deadline_ms, struct hv_failure *f)
{
    return simple(d, uuid, run_shutdown, deadline_ms, f);
}

int lv_reboot(void *d, const char *uuid, int64_t deadline_ms, struct hv_failure *f)
{
    return simple(d, uuid, run_reboot, deadline_ms, f);
}

int lv_reset(void *d, const char *uuid, int64_t deadline_ms, struct hv_failure *f)
{
    return simple(d, uuid, run_reset, deadline_ms, f);
}

int lv_pause(void *d, const char *uuid, int64_t deadline_ms, struct hv_failure *f)
{
    return simple(d, uuid, run_pause, deadline_ms, f);
}

int lv_unpause(void *d, const char *uuid, int64_t deadline_ms, struct hv_failure *f)
{
    return simple(d, uuid, run_unpause, deadline_ms, f);
}

int lv_abort(void *d, const char *uuid, int64_t deadline_ms, struct hv_failure *f)
{
    if (lv_migrate_cancel(d, uuid)) return 0;
    return simple(d, uuid, run_abort, deadline_ms, f);
}

/* ---- suspend and resume ---------------------------------------------------------------------- */

static void mark_saving(struct lv *lv, const char *uuid, bool saving)
{
    pthread_mutex_lock(&lv->lock);
    struct lv_guest *g = lv_guest_find(lv, uuid);
    if (g) g->saving = saving;
    pthread_mutex_unlock(&lv->lock);
}

static int run_suspend(struct lv_job *job)
{
    virDomainPtr dom = lv_job_domain(job);

    if (!dom) return -1;
    mark_saving(job->lv, job->uuid, true);
    int rc = virDomainSaveFlags(dom, job->path, NULL, 0);
    if (rc < 0) lv_job_fail_domain(job, dom, HV_FAIL_ENGINE);
    mark_saving(job->lv, job->uuid, false);
    virDomainFree(dom);
    return rc;
}

/* The deadline has passed: libvirt is to stop saving, remove its file and let the guest run on. True when it
 * had saved by then after all. */
static bool abort_save(struct lv_job *job)
{
    struct lv *lv = job->lv;
    struct hv_failure ignored = { .kind = HV_FAIL_NONE };
    const int64_t grace_ms = hv_now_ms() + ABORT_MS;

    lv_abort(lv, job->uuid, grace_ms, &ignored);
    pthread_mutex_lock(&lv->lock);
    while (!job->done && lv_wait_until(lv, grace_ms)) ;
    bool saved = job->done && job->rc == 0;
    pthread_mutex_unlock(&lv->lock);
    return saved;
}

int lv_suspend(void *d, const char *uuid, const char *image, int64_t deadline_ms, struct hv_failure *f)
{
    struct lv *lv = d;
    _cleanup_job_ struct lv_job *job = lv_job_new(lv, uuid, run_suspend);
    struct stat st;
    bool made = lstat(image, &st) < 0 && errno == ENOENT;

    job->path = xstrdup(image);
    int rc = lv_job_run(job, deadline_ms, f);
    if (rc < 0 && f->kind == HV_FAIL_TIMEOUT && abort_save(job)) return 0;
    if (rc < 0 && made) unlink(image);
    return rc;
}

/* The image's XML; NULL with job->f. */
static char *image_xml(struct lv_job *job)
{
    char *xml = virDomainSaveImageGetXMLDesc(job->conn, job->path, VIR_DOMAIN_SAVE_IMAGE_XML_SECURE);

    if (xml) return xml;
    lv_job_fail(job, HV_FAIL_NO_IMAGE);
    if (job->f.kind != HV_FAIL_UNREACHABLE) job->f.kind = HV_FAIL_NO_IMAGE;
    return NULL;
}

/* libvirt marks an image whole when everything is in it, and gives no XML of another. */
static int run_check(struct lv_job *job)
{
    char uuid[UUID_TEXT];
    _cleanup_free_ char *xml = image_xml(job);

    if (!xml) return -1;
    if (lv_xml_uuid(xml, uuid) && streq(uuid, job->uuid)) return 0;
    return hv_fail(&job->f, HV_FAIL_NO_IMAGE, "%s: it is the image of another guest", job->path);
}

int lv_check_image(void *d, const char *uuid, const char *image, struct hv_failure *f)
{
    _cleanup_job_ struct lv_job *job = lv_job_new(d, uuid, run_check);

    job->path = xstrdup(image);
    return lv_job_run(job, hv_now_ms() + CHECK_MS, f);
}

static int run_resume(struct lv_job *job)
{
    char uuid[UUID_TEXT];

    if (check_absent(job) < 0) return -1;
    _cleanup_free_ char *old = image_xml(job);
    if (!old) return -1;
    if (lv_xml_uuid(old, uuid) && !streq(uuid, job->uuid)) {
        if (lv_image_adopt(job->path, uuid, job->uuid, &job->f) < 0) return -1;
        free(old);
        old = image_xml(job);
        if (!old) return -1;
    }
    _cleanup_free_ char *xml = lv_xml_resumed(old, job->xml, &job->f);
    if (!xml) return -1;
    if (virDomainRestoreFlags(job->conn, job->path, xml, job->flags) < 0) return fail_start(job);
    virDomainPtr dom = virDomainLookupByUUIDString(job->conn, job->uuid);
    if (!dom) return hv_fail(&job->f, HV_FAIL_BUILD, "it ended at once");
    job->out_number = (int64_t)virDomainGetID(dom);
    virDomainFree(dom);
    return 0;
}

int lv_resume(void *d, const struct hv_vm *vm, const char *image, int64_t deadline_ms, int64_t *ret_domid,
              struct hv_failure *f)
{
    struct lv *lv = d;
    _cleanup_job_ struct lv_job *job = lv_job_new(lv, vm->id.uuid, run_resume);

    if (access(image, R_OK) < 0) return hv_fail(f, HV_FAIL_NO_IMAGE, "%s: %s", image, strerror(errno));
    job->xml = lv_xml_domain(lv, vm, f);
    if (!job->xml) return -1;
    job->path = xstrdup(image);
    job->flags = vm->start_paused ? VIR_DOMAIN_SAVE_PAUSED : VIR_DOMAIN_SAVE_RUNNING;
    job->late = destroy_late;
    lv_give_files(lv, vm);
    if (lv_put_nvram(lv, vm, f) < 0 || lv_put_tpm(lv, vm, f) < 0) return -1;
    if (lv_job_run(job, deadline_ms, f) < 0) return -1;
    *ret_domid = job->out_number;
    return 0;
}
