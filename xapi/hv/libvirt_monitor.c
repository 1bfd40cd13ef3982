/* What libvirt has no call for: commands to a guest's QEMU itself.
 * Called by: libvirt_migrate.c, hv.c through the vtable.  Calls: libvirt through jobs, qemu_chain.c. */
#include <libvirt/libvirt-qemu.h>

#include "lib/json.h"
#include "xapi/hv/libvirt_int.h"
#include "xapi/hv/qemu_chain.h"

enum { CALL_MS = 20000 };

/* A command (job->xml) to its QEMU; job->number: a descriptor to go with it, -1 = none. */
static int run_monitor(struct lv_job *job)
{
    virDomainPtr dom = lv_job_domain(job);
    char *answer = NULL;
    int fd = (int)job->number;

    if (!dom) return -1;
    int rc = fd < 0 ? virDomainQemuMonitorCommand(dom, job->xml, &answer, 0)
                    : virDomainQemuMonitorCommandWithFiles(dom, job->xml, 1, &fd, NULL, NULL, &answer, 0);
    if (rc < 0) lv_job_fail_domain(job, dom, HV_FAIL_ENGINE);
    job->out = answer;
    job->free_out = free;
    virDomainFree(dom);
    return rc < 0 ? -1 : 0;
}

int lv_monitor(struct lv *lv, const char *uuid, const char *text, int fd, struct arena *a, const struct value **ret, struct hv_failure *f)
{
    _cleanup_job_ struct lv_job *job = lv_job_new(lv, uuid, run_monitor);
    struct value *answer = arena_alloc(a, sizeof *answer);
    const char *why;

    job->xml = xstrdup(text);
    job->number = fd;
    if (lv_job_run(job, hv_now_ms() + CALL_MS, f) < 0) return -1;
    if (json_decode(job->out, strlen(job->out), a, answer, &why) || answer->kind != VALUE_MAP)
        return hv_fail(f, HV_FAIL_ENGINE, "QEMU answers %s with no JSON", text);
    const struct value *error = value_get(answer, "error");
    if (error) return hv_fail(f, HV_FAIL_ENGINE, "QEMU: %s", value_get_str(error, "desc", "it refuses"));
    *ret = value_get(answer, "return");
    return *ret ? 0 : hv_fail(f, HV_FAIL_ENGINE, "QEMU answers %s with no result", text);
}

/* ---- what an image stands on ----------------------------------------------------------------- */

struct guest {
    struct lv *lv;
    const char *uuid;
};

static int ask(void *arg, const char *command, const char *arguments, struct arena *a, struct value *ret_value, struct hv_failure *f)
{
    const struct guest *g = arg;
    const struct value *returned;
    const char *text = arena_printf(a, "{\"execute\":\"%s\"%s%s}", command, arguments ? ",\"arguments\":" : "", arguments ? arguments : "");

    if (lv_monitor(g->lv, g->uuid, text, -1, a, &returned, f) < 0) return -1;
    *ret_value = *returned;
    return 0;
}

/* The node that the disk's requests go to; NULL + f. Not by query-block: that answers with a chain's images one inside the other. */
static const char *node_of(const struct qemu_way *q, const char *device, struct arena *a, struct hv_failure *f)
{
    struct value *drive = arena_alloc(a, sizeof *drive);
    char alias[24];

    lv_disk_alias(device, alias);
    const char *what = arena_printf(a, "{\"path\":\"/machine/peripheral/%s\",\"property\":\"drive\"}", alias);
    if (q->run(q->arg, "qom-get", what, a, drive, f) < 0) return NULL;
    if (drive->kind == VALUE_STRING && *drive->s) return drive->s;
    hv_fail(f, HV_FAIL_DEVICE_MISSING, "no such disk");
    return NULL;
}

int lv_disk_reopen(void *d, const char *uuid, const struct hv_disk *disk, int64_t deadline_ms _unused_, struct hv_failure *f)
{
    _cleanup_arena_ struct arena *a = arena_new();
    struct guest g = { .lv = d, .uuid = uuid };
    const struct qemu_way q = { .run = ask, .arg = &g };

    if (disk->format != HV_FORMAT_QCOW2) return hv_fail(f, HV_FAIL_UNSUPPORTED, "the image is not qcow2");
    const char *node = node_of(&q, disk->device, a, f);
    return node ? qemu_chain_reopen(&q, node, disk->path, f) : -1;
}

void lv_disk_sweep(struct lv *lv, const char *uuid)
{
    struct guest g = { .lv = lv, .uuid = uuid };
    const struct qemu_way q = { .run = ask, .arg = &g };

    qemu_chain_sweep(&q);
}
