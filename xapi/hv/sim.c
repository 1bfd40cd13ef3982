/* The simulator's verbs.
 * Called by: hv.c through the vtable.  Calls: sim_table, sim_run, sim_poke, sim_console. */
#include "xapi/hv/sim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#include "lib/clock.h"
#include "lib/fault.h"
#include "xapi/hv/sim_run.h"

enum { IMAGE_HEAD = 4096, SLICE_MS = 10 };
static const char image_magic[] = "simulated guest 1\n", unfinished[] = "simulated guest 0\n";

/* ---- help ------------------------------------------------------------------------------------ */

/* A fault point that a test armed. */
int sim_injected(const char *point, struct hv_failure *f)
{
    int e = fault(point);

    return e ? hv_fail(f, HV_FAIL_ENGINE, "injected at %s: %s", point, strerror(e)) : 0;
}

/* Lets simulated time pass; stops early at the deadline (a failure) or, with cancel, when the guest's flag is
 * set. */
static int pass_time(struct sim *s, int64_t simulated_ms, int64_t deadline_ms, const uint8_t *cancel,
                     struct hv_failure *f)
{
    int64_t end_ms = hv_now_ms() + sim_real_ms(s, simulated_ms);

    if (simulated_ms <= 0) return 0;
    for (int64_t now; (now = hv_now_ms()) < end_ms;) {
        if (now >= deadline_ms) return hv_fail(f, HV_FAIL_TIMEOUT, "the simulator is slow on purpose");
        if (cancel && __atomic_load_n(cancel, __ATOMIC_RELAXED))
            return hv_fail(f, HV_FAIL_CANCELLED, "aborted");
        int64_t ms = end_ms - now < SLICE_MS ? end_ms - now : SLICE_MS;
        nanosleep(&(struct timespec){ .tv_nsec = ms * 1000000 }, NULL);
    }
    return 0;
}

/* Takes the lock. Fails, without it, when the hypervisor is "away". */
static int enter(struct sim *s, const char *point, struct hv_failure *f)
{
    if (sim_injected(point, f) < 0) return -1;
    sim_lock(&s->table);
    if (!s->table.head->lost) return 0;
    sim_unlock(&s->table);
    return hv_fail(f, HV_FAIL_UNREACHABLE, "simulated loss");
}

/* enter() and the guest; NULL and no lock when there is none. */
static struct sim_domain *enter_guest(struct sim *s, const char *point, const char *uuid,
                                      struct hv_failure *f) {
    if (enter(s, point, f) < 0) return NULL;
    struct sim_domain *dom = sim_find(&s->table, uuid);
    if (dom) return dom;
    sim_unlock(&s->table);
    hv_fail(f, HV_FAIL_NO_DOMAIN, "no such domain");
    return NULL;
}

/* As enter_guest() for a guest that must run (or, with paused_too, may be paused). */
struct sim_domain *sim_enter_running(struct sim *s, const char *point, const char *uuid, bool paused_too,
                                        struct hv_failure *f)
{
    struct sim_domain *dom = enter_guest(s, point, uuid, f);

    if (!dom || dom->state == HV_STATE_RUNNING || (paused_too && dom->state == HV_STATE_PAUSED)) return dom;
    f->actual = dom->state;
    sim_unlock(&s->table);
    hv_fail(f, HV_FAIL_STATE, "wrong state");
    return NULL;
}

/* Leaves the lock with success, unless the late fault point fires. */
static int leave(struct sim *s, const char *late_point, struct hv_failure *f)
{
    sim_unlock(&s->table);
    return sim_injected(late_point, f);
}

/* ---- life ------------------------------------------------------------------------------------ */

static void sim_free(struct sim *s)
{
    if (s->inotify_fd >= 0) close(s->inotify_fd);
    if (s->wake_fd >= 0) close(s->wake_fd);
    sim_table_close(&s->table);
    pthread_mutex_destroy(&s->queue_lock);
    free(s->dir);
    free(s->console_dir);
    free(s->poke_dir);
    free(s);
}

/* What the last agent left half done goes on. */
static void adopt(struct sim *s)
{
    sim_lock(&s->table);
    for (uint32_t i = 0; i < s->table.head->n_slots; i++) {
        struct sim_domain *dom = sim_at(&s->table, i);
        if (dom->state == HV_STATE_NONE) continue;
        dom->cancel = 0;
        if (dom->due != SIM_DUE_NONE) sim_schedule(s, dom, dom->due, dom->due_ms - hv_now_ms());
    }
    sim_unlock(&s->table);
}

static int sim_open(const struct hv_open_args *args, void **ret_d, struct hv_failure *f)
{
    const struct hv_config *config = args->config;
    struct sim *s = xcalloc(1, sizeof *s);

    s->on_event = args->on_event;
    s->arg = args->arg;
    s->wake_fd = s->inotify_fd = s->table.fd = -1;
    s->queue_tail = &s->queue_head;
    pthread_mutex_init(&s->queue_lock, NULL);
    s->dir = config->uri[0] == '/' ? xstrdup(config->uri) : xasprintf("%s/hv/sim", config->root);
    s->console_dir = xasprintf("%s/console", s->dir);
    s->poke_dir = xasprintf("%s/poke", s->dir);
    if (make_dirs(s->console_dir, 0700) < 0 || make_dirs(s->poke_dir, 0700) < 0) {
        hv_fail(f, HV_FAIL_ENGINE, "%s: %s", s->dir, strerror(errno));
        goto fail;
    }
    if (sim_table_open(&s->table, s->dir, f) < 0) goto fail;
    s->silent = true;
    if (sim_poke_open(s, f) < 0) goto fail;
    s->silent = false;
    if (sim_run_start(s, f) < 0) goto fail;
    adopt(s);
    *ret_d = s;
    return 0;

fail:
    sim_free(s);
    return -1;
}

static void sim_close(void *d, bool end_engine)
{
    struct sim *s = d;

    (void)end_engine;        /* the engine is a file */
    sim_run_stop(s);
    sim_free(s);
}

/* ---- power ----------------------------------------------------------------------------------- */

static void fill_disk(struct sim_disk *to, const struct hv_disk *from)
{
    memset(to, 0, sizeof *to);
    to->slot = (uint8_t)hv_slot(from->device);
    to->cdrom = from->cdrom;
    to->readonly = from->readonly;
    to->empty = from->source == HV_SOURCE_EMPTY;
    snprintf(to->path, sizeof to->path, "%s", from->path ? from->path : "");
    to->used = 1;
}

static void fill_addresses(struct sim_nic *to, const struct hv_nic *from)
{
    snprintf(to->ipv4, sizeof to->ipv4, "%s", from->ipv4.fixed ? from->ipv4.address : "");
    snprintf(to->ipv6, sizeof to->ipv6, "%s", from->ipv6.fixed ? from->ipv6.address : "");
}

static void fill_nic(struct sim_nic *to, const struct hv_nic *from)
{
    memset(to, 0, sizeof *to);
    to->device = from->device;
    snprintf(to->mac, sizeof to->mac, "%s", from->mac);
    snprintf(to->tap, sizeof to->tap, "%s", from->tap);
    fill_addresses(to, from);
    to->used = 1;
}

static void fill(struct sim *s, struct sim_domain *dom, const struct hv_vm *vm)
{
    snprintf(dom->uuid, sizeof dom->uuid, "%s", vm->id.uuid);
    snprintf(dom->name, sizeof dom->name, "%s", vm->name);
    dom->domid = s->table.head->next_domid++;
    dom->start_time = clock_wall_seconds();
    dom->memory_max_bytes = vm->memory_static_max_bytes;
    dom->memory_target_bytes = dom->memory_actual_bytes = vm->memory_target_bytes;
    dom->vcpus_max = vm->vcpus_max;
    dom->vcpus = vm->vcpus_at_startup;
    dom->domain_type = vm->domain_type;
    dom->agent = SIM_SETTING(s, agents) != 0;
    dom->stop_on_reboot = vm->stop_on_reboot;
    dom->run_since_ms = vm->start_paused ? 0 : hv_now_ms();
    dom->n_disks = (uint32_t)vm->n_disks;
    for (size_t i = 0; i < vm->n_disks; i++) fill_disk(&dom->disks[i], &vm->disks[i]);
    for (size_t i = 0; i < vm->n_nics; i++) fill_nic(&dom->nics[i], &vm->nics[i]);
}

/* Under the lock: a new domain, or the reason why not. */
static int make_domain(struct sim *s, const struct hv_vm *vm, struct hv_failure *f)
{
    struct sim_head *h = s->table.head;
    struct sim_domain *dom = sim_find(&s->table, vm->id.uuid);

    if (dom) {
        f->number = dom->domid;
        return hv_fail(f, HV_FAIL_EXISTS, "it exists already");
    }
    f->number = SIM_SETTING(s, host_memory_bytes) - h->memory_used_bytes;
    if (vm->memory_target_bytes > f->number) return hv_fail(f, HV_FAIL_NO_MEMORY, "not enough memory");
    if (vm->n_nics > SIM_MAX_NICS) return hv_fail(f, HV_FAIL_DEVICE_FULL, "at most %d nics", SIM_MAX_NICS);
    dom = sim_alloc(&s->table, vm->n_disks, f);
    if (!dom) return -1;
    fill(s, dom, vm);
    sim_publish(&s->table, dom, vm->start_paused ? HV_STATE_PAUSED : HV_STATE_RUNNING);
    sim_event_of(s, dom, HV_EVENT_STARTED);
    return 0;
}

/* After `late` a caller may kill the whole agent: what a half-done start leaves is then a running domain. */
int sim_begin(struct sim *s, const char *point, const char *late, const struct hv_vm *vm, int64_t delay_ms,
                 int64_t deadline_ms, int64_t *ret_domid, struct hv_failure *f)
{
    if (pass_time(s, delay_ms, deadline_ms, NULL, f) < 0 || enter(s, point, f) < 0) return -1;
    int rc = make_domain(s, vm, f);
    int64_t domid = rc == 0 ? s->table.head->next_domid - 1 : -1;
    sim_unlock(&s->table);
    if (rc < 0) return -1;
    if (sim_injected(late, f) < 0) {
        sim_lock(&s->table);                   /* a failed start leaves nothing behind */
        struct sim_domain *dom = sim_find(&s->table, vm->id.uuid);
        if (dom && dom->domid == domid) sim_stop(s, dom, HV_STOP_DESTROYED);
        sim_unlock(&s->table);
        return -1;
    }
    if (*vm->args) {
        _cleanup_free_ char *line = xasprintf("simulated guest %s: %s", vm->id.uuid, vm->args);
        sim_print(s, vm->id.uuid, line);
    }
    *ret_domid = domid;
    return 0;
}

static int do_start(void *d, const struct hv_vm *vm, int64_t deadline_ms, int64_t *ret_domid,
                    struct hv_failure *f) {
    struct sim *s = d;

    return sim_begin(s, "hv.sim.start", "hv.sim.start.late", vm, SIM_SETTING(s, start_ms), deadline_ms, ret_domid,
                 f);
}

static int do_destroy(void *d, const char *uuid, int64_t deadline_ms, struct hv_failure *f)
{
    struct sim *s = d;

    if (pass_time(s, SIM_SETTING(s, stop_ms), deadline_ms, NULL, f) < 0) return -1;
    struct sim_domain *dom = enter_guest(s, "hv.sim.destroy", uuid, f);
    if (!dom) return -1;
    sim_stop(s, dom, HV_STOP_DESTROYED);
    return leave(s, "hv.sim.destroy.late", f);
}

static int do_shutdown(void *d, const char *uuid, int64_t deadline_ms, struct hv_failure *f)
{
    struct sim *s = d;
    struct sim_domain *dom = sim_enter_running(s, "hv.sim.shutdown", uuid, false, f);

    (void)deadline_ms;
    if (!dom) return -1;
    if (!dom->deaf) {
        sim_event_of(s, dom, HV_EVENT_SHUTTING_DOWN);
        sim_schedule(s, dom, SIM_DUE_POWEROFF, SIM_SETTING(s, shutdown_ms));
    }
    return leave(s, "hv.sim.shutdown.late", f);
}

static int do_reboot(void *d, const char *uuid, int64_t deadline_ms, struct hv_failure *f)
{
    struct sim *s = d;
    struct sim_domain *dom = sim_enter_running(s, "hv.sim.reboot", uuid, false, f);

    (void)deadline_ms;
    if (!dom) return -1;
    if (!dom->deaf) sim_schedule(s, dom, SIM_DUE_REBOOT, SIM_SETTING(s, reboot_ms));
    return leave(s, "hv.sim.reboot.late", f);
}

static int do_reset(void *d, const char *uuid, int64_t deadline_ms, struct hv_failure *f)
{
    struct sim *s = d;
    struct sim_domain *dom = enter_guest(s, "hv.sim.reset", uuid, f);

    (void)deadline_ms;
    if (!dom) return -1;
    sim_restart(s, dom);
    return leave(s, "hv.sim.reset.late", f);
}

static int do_pause(void *d, const char *uuid, int64_t deadline_ms, struct hv_failure *f)
{
    struct sim *s = d;

    if (pass_time(s, SIM_SETTING(s, pause_ms), deadline_ms, NULL, f) < 0) return -1;
    struct sim_domain *dom = sim_enter_running(s, "hv.sim.pause", uuid, false, f);
    if (!dom) return -1;
    sim_pause(s, dom);
    return leave(s, "hv.sim.pause.late", f);
}

static int do_unpause(void *d, const char *uuid, int64_t deadline_ms, struct hv_failure *f)
{
    struct sim *s = d;
    struct sim_domain *dom = enter_guest(s, "hv.sim.unpause", uuid, f);

    (void)deadline_ms;
    if (!dom) return -1;
    if (dom->state != HV_STATE_PAUSED) {
        f->actual = dom->state;
        sim_unlock(&s->table);
        return hv_fail(f, HV_FAIL_STATE, "not paused");
    }
    sim_unpause(s, dom);
    return leave(s, "hv.sim.unpause.late", f);
}

static int do_abort(void *d, const char *uuid, int64_t deadline_ms, struct hv_failure *f)
{
    struct sim *s = d;
    struct sim_domain *dom = enter_guest(s, "hv.sim.abort", uuid, f);

    (void)deadline_ms;
    if (!dom) return -1;
    __atomic_store_n(&dom->cancel, 1, __ATOMIC_RELAXED);
    sim_unlock(&s->table);
    return 0;
}

/* ---- suspend and resume ---------------------------------------------------------------------- */

static int write_all(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t w = write(fd, p, n);
        if (w < 0 && errno == EINTR) continue;
        if (w < 0) return -1;
        p += w;
        n -= (size_t)w;
    }
    return 0;
}

static int write_image(struct sim *s, int fd, const char *uuid, const char *path, int64_t deadline_ms,
                       const uint8_t *cancel, struct hv_failure *f)
{
    char block[IMAGE_HEAD] = { 0 };
    int64_t bytes = SIM_SETTING(s, image_bytes), rate = SIM_SETTING(s, save_rate);

    snprintf(block, sizeof block, "%suuid %s\nbytes %jd\n", unfinished, uuid, (intmax_t)bytes);
    if (write_all(fd, block, sizeof block) < 0)
        return hv_fail(f, HV_FAIL_ENGINE, "%s: %s", path, strerror(errno));
    if (rate > 0 && pass_time(s, bytes * 1000 / rate, deadline_ms, cancel, f) < 0) return -1;
    memset(block, 0x5a, sizeof block);
    for (; bytes > 0; bytes -= (int64_t)sizeof block) {
        if (__atomic_load_n(cancel, __ATOMIC_RELAXED)) return hv_fail(f, HV_FAIL_CANCELLED, "aborted");
        size_t n = bytes < (int64_t)sizeof block ? (size_t)bytes : sizeof block;
        if (write_all(fd, block, n) < 0) return hv_fail(f, HV_FAIL_ENGINE, "%s: %s", path, strerror(errno));
    }
    if (pwrite(fd, image_magic, sizeof image_magic - 1, 0) < 0 || (fdatasync(fd) < 0 && errno != EINVAL))
        return hv_fail(f, HV_FAIL_ENGINE, "%s: %s", path, strerror(errno));
    return 0;
}

static int do_check_image(void *d, const char *uuid, const char *image, struct hv_failure *f)
{
    char head[IMAGE_HEAD + 1] = { 0 };
    _cleanup_close_ int fd = open(image, O_RDONLY | O_CLOEXEC);

    (void)d;
    if (fd < 0) return hv_fail(f, HV_FAIL_NO_IMAGE, "%s: %s", image, strerror(errno));
    if (pread(fd, head, IMAGE_HEAD, 0) < 0 || !has_prefix(head, image_magic))
        return hv_fail(f, HV_FAIL_NO_IMAGE, "%s: it is no whole image of a guest", image);
    if (!strstr(head, uuid)) return hv_fail(f, HV_FAIL_NO_IMAGE, "%s: it is the image of another guest", image);
    return 0;
}

static int do_suspend(void *d, const char *uuid, const char *image, int64_t deadline_ms, struct hv_failure *f)
{
    struct sim *s = d;
    struct sim_domain *dom = sim_enter_running(s, "hv.sim.suspend", uuid, true, f);
    struct stat st;

    if (!dom) return -1;
    int64_t domid = dom->domid, delay_ms = SIM_SETTING(s, suspend_ms);
    dom->cancel = 0;
    sim_unlock(&s->table);

    bool made = stat(image, &st) < 0 && errno == ENOENT;
    int fd = open(image, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return hv_fail(f, HV_FAIL_ENGINE, "%s: %s", image, strerror(errno));
    int rc = pass_time(s, delay_ms, deadline_ms, &dom->cancel, f);
    if (rc == 0) rc = write_image(s, fd, uuid, image, deadline_ms, &dom->cancel, f);
    close(fd);

    sim_lock(&s->table);
    dom = sim_find(&s->table, uuid);
    if (rc == 0 && (!dom || dom->domid != domid)) rc = hv_fail(f, HV_FAIL_NO_DOMAIN, "it ended meanwhile");
    if (rc == 0) sim_stop(s, dom, HV_STOP_SUSPENDED);
    sim_unlock(&s->table);
    if (rc < 0 && made) unlink(image);
    return rc < 0 ? -1 : sim_injected("hv.sim.suspend.late", f);
}

static int do_resume(void *d, const struct hv_vm *vm, const char *image, int64_t deadline_ms,
                     int64_t *ret_domid, struct hv_failure *f) {
    struct sim *s = d;
    char head[sizeof image_magic - 1];
    _cleanup_close_ int fd = open(image, O_RDONLY | O_CLOEXEC);

    if (fd < 0) return hv_fail(f, HV_FAIL_NO_IMAGE, "%s: %s", image, strerror(errno));
    if (pread(fd, head, sizeof head, 0) != (ssize_t)sizeof head ||
        memcmp(head, image_magic, sizeof head) != 0)
        return hv_fail(f, HV_FAIL_NO_IMAGE, "%s: not a suspend image", image);
    return sim_begin(s, "hv.sim.resume", "hv.sim.resume.late", vm, SIM_SETTING(s, resume_ms), deadline_ms,
                 ret_domid, f);
}

/* ---- devices --------------------------------------------------------------------------------- */

static struct sim_disk *find_disk(struct sim_domain *dom, const char *device)
{
    int slot = hv_slot(device);

    for (uint32_t i = 0; i < dom->n_disks; i++)
        if (dom->disks[i].used && dom->disks[i].slot == slot) return &dom->disks[i];
    return NULL;
}

static struct sim_nic *find_nic(struct sim_domain *dom, unsigned device)
{
    for (size_t i = 0; i < SIM_MAX_NICS; i++)
        if (dom->nics[i].used && dom->nics[i].device == device) return &dom->nics[i];
    return NULL;
}

static void device_event(struct sim *s, const struct sim_domain *dom, enum hv_event_kind kind,
                         const char *device) {
    sim_emit(s, &(struct hv_event){ .kind = kind, .uuid = dom->uuid, .domid = dom->domid, .device = device });
}

static int add_disk(struct sim *s, struct sim_domain *dom, const struct hv_disk *disk, struct hv_failure *f)
{
    uint32_t i = 0;
    char name[HV_DEVICE_TEXT];

    if (find_disk(dom, disk->device)) return hv_fail(f, HV_FAIL_DEVICE_EXISTS, "it is there already");
    while (i < dom->n_disks && dom->disks[i].used) i++;
    if (i == SIM_MAX_DISKS) return hv_fail(f, HV_FAIL_DEVICE_FULL, "at most %d disks", SIM_MAX_DISKS);
    if (sim_reserve_disks(&s->table, dom, i + 1, f) < 0) return -1;
    fill_disk(&dom->disks[i], disk);
    if (i == dom->n_disks) dom->n_disks = i + 1;
    device_event(s, dom, HV_EVENT_DEVICE_ADDED, hv_slot_name("xvd", dom->disks[i].slot, name));
    return 0;
}

static int do_disk_attach(void *d, const char *uuid, const struct hv_disk *disk, int64_t deadline_ms,
                          struct hv_failure *f)
{
    struct sim *s = d;

    if (pass_time(s, SIM_SETTING(s, attach_ms), deadline_ms, NULL, f) < 0) return -1;
    struct sim_domain *dom = sim_enter_running(s, "hv.sim.disk-attach", uuid, true, f);
    if (!dom) return -1;
    if (add_disk(s, dom, disk, f) == 0) return leave(s, "hv.sim.disk-attach.late", f);
    sim_unlock(&s->table);
    return -1;
}

static int do_disk_detach(void *d, const char *uuid, const struct hv_disk *disk, int64_t deadline_ms,
                          struct hv_failure *f)
{
    struct sim *s = d;
    char name[HV_DEVICE_TEXT];

    if (pass_time(s, SIM_SETTING(s, detach_ms), deadline_ms, NULL, f) < 0) return -1;
    struct sim_domain *dom = sim_enter_running(s, "hv.sim.disk-detach", uuid, true, f);
    if (!dom) return -1;
    struct sim_disk *found = find_disk(dom, disk->device);
    if (!found || dom->clutch) {
        bool clutch = found != NULL;
        sim_unlock(&s->table);
        if (clutch) return hv_fail(f, HV_FAIL_DEVICE_REJECTED, "the guest holds on to it");
        return hv_fail(f, HV_FAIL_DEVICE_MISSING, "no such disk");
    }
    found->used = 0;
    device_event(s, dom, HV_EVENT_DEVICE_REMOVED, hv_slot_name("xvd", found->slot, name));
    return leave(s, "hv.sim.disk-detach.late", f);
}

static int do_cd_change(void *d, const char *uuid, const struct hv_disk *disk, int64_t deadline_ms,
                        struct hv_failure *f)
{
    struct sim *s = d;
    struct sim_domain *dom = sim_enter_running(s, "hv.sim.cd-change", uuid, true, f);

    (void)deadline_ms;
    if (!dom) return -1;
    struct sim_disk *found = find_disk(dom, disk->device);
    int rc = !found         ? hv_fail(f, HV_FAIL_DEVICE_MISSING, "no such disk")
             : !found->cdrom ? hv_fail(f, HV_FAIL_NOT_REMOVABLE, "not a CD drive")
             : dom->clutch   ? hv_fail(f, HV_FAIL_TRAY_LOCKED, "the guest locked the tray")
                             : 0;
    if (rc < 0) {
        sim_unlock(&s->table);
        return -1;
    }
    fill_disk(found, disk);
    return leave(s, "hv.sim.cd-change.late", f);
}

static int do_disk_snapshot(void *d, const char *uuid, const struct hv_disk *disk, int64_t deadline_ms,
                            struct hv_failure *f)
{
    struct sim *s = d;
    struct sim_domain *dom = sim_enter_running(s, "hv.sim.disk-snapshot", uuid, true, f);
    struct sim_disk *found = dom ? find_disk(dom, disk->device) : NULL;

    (void)deadline_ms;
    if (!dom) return -1;
    if (!found) {
        sim_unlock(&s->table);
        return hv_fail(f, HV_FAIL_DEVICE_MISSING, "no such disk");
    }
    fill_disk(found, disk);
    return leave(s, "hv.sim.disk-snapshot.late", f);
}

static int do_disk_reopen(void *d, const char *uuid, const struct hv_disk *disk, int64_t deadline_ms, struct hv_failure *f)
{
    struct sim *s = d;
    struct sim_domain *dom = sim_enter_running(s, "hv.sim.disk-reopen", uuid, true, f);

    (void)deadline_ms;
    if (!dom) return -1;
    if (!find_disk(dom, disk->device)) {
        sim_unlock(&s->table);
        return hv_fail(f, HV_FAIL_DEVICE_MISSING, "no such disk");
    }
    return leave(s, "hv.sim.disk-reopen.late", f);
}

static int do_disk_resize(void *d, const char *uuid, const struct hv_disk *disk, int64_t size_bytes,
                          int64_t deadline_ms, struct hv_failure *f)
{
    struct sim *s = d;
    struct sim_domain *dom = sim_enter_running(s, "hv.sim.disk-resize", uuid, true, f);

    (void)deadline_ms;
    (void)size_bytes;        /* a simulated guest does not know how large its disks are */
    if (!dom) return -1;
    if (find_disk(dom, disk->device)) return leave(s, "hv.sim.disk-resize.late", f);
    sim_unlock(&s->table);
    return hv_fail(f, HV_FAIL_DEVICE_MISSING, "no such disk");
}

/* Simulated guests read and write nothing. */
static int do_disk_limit(void *d, const char *uuid, const struct hv_disk *disk, int64_t deadline_ms, struct hv_failure *f)
{
    struct sim *s = d;
    struct sim_domain *dom = sim_enter_running(s, "hv.sim.disk-limit", uuid, true, f);

    (void)deadline_ms;
    if (!dom) return -1;
    if (find_disk(dom, disk->device)) return leave(s, "hv.sim.disk-limit.late", f);
    sim_unlock(&s->table);
    return hv_fail(f, HV_FAIL_DEVICE_MISSING, "no such disk");
}

static int do_set_io_priority(void *d, const char *uuid, int priority, int64_t deadline_ms, struct hv_failure *f)
{
    struct sim *s = d;

    (void)deadline_ms, (void)priority;
    return sim_enter_running(s, "hv.sim.set-io-priority", uuid, true, f) ? leave(s, "hv.sim.set-io-priority.late", f) : -1;
}

static int add_nic(struct sim *s, struct sim_domain *dom, const struct hv_nic *nic, struct hv_failure *f)
{
    size_t i = 0;
    char name[HV_DEVICE_TEXT];

    if (find_nic(dom, nic->device)) return hv_fail(f, HV_FAIL_DEVICE_EXISTS, "it is there already");
    while (i < SIM_MAX_NICS && dom->nics[i].used) i++;
    if (i == SIM_MAX_NICS) return hv_fail(f, HV_FAIL_DEVICE_FULL, "at most %d nics", SIM_MAX_NICS);
    fill_nic(&dom->nics[i], nic);
    snprintf(name, sizeof name, "vif%u", nic->device);
    device_event(s, dom, HV_EVENT_DEVICE_ADDED, name);
    return 0;
}

static int do_nic_attach(void *d, const char *uuid, const struct hv_nic *nic, int64_t deadline_ms,
                         struct hv_failure *f) {
    struct sim *s = d;

    if (pass_time(s, SIM_SETTING(s, attach_ms), deadline_ms, NULL, f) < 0) return -1;
    struct sim_domain *dom = sim_enter_running(s, "hv.sim.nic-attach", uuid, true, f);
    if (!dom) return -1;
    if (add_nic(s, dom, nic, f) == 0) return leave(s, "hv.sim.nic-attach.late", f);
    sim_unlock(&s->table);
    return -1;
}

static int do_nic_detach(void *d, const char *uuid, const struct hv_nic *nic, int64_t deadline_ms,
                         struct hv_failure *f) {
    struct sim *s = d;
    char name[HV_DEVICE_TEXT];

    if (pass_time(s, SIM_SETTING(s, detach_ms), deadline_ms, NULL, f) < 0) return -1;
    struct sim_domain *dom = sim_enter_running(s, "hv.sim.nic-detach", uuid, true, f);
    if (!dom) return -1;
    struct sim_nic *found = find_nic(dom, nic->device);
    if (!found || dom->clutch) {
        bool clutch = found != NULL;
        sim_unlock(&s->table);
        if (clutch) return hv_fail(f, HV_FAIL_DEVICE_REJECTED, "the guest holds on to it");
        return hv_fail(f, HV_FAIL_DEVICE_MISSING, "no such nic");
    }
    found->used = 0;
    snprintf(name, sizeof name, "vif%u", nic->device);
    device_event(s, dom, HV_EVENT_DEVICE_REMOVED, name);
    return leave(s, "hv.sim.nic-detach.late", f);
}

static int do_nic_address(void *d, const char *uuid, const struct hv_nic *nic, int64_t deadline_ms, struct hv_failure *f)
{
    struct sim *s = d;
    struct sim_domain *dom = sim_enter_running(s, "hv.sim.nic-address", uuid, true, f);

    (void)deadline_ms;
    if (!dom) return -1;
    struct sim_nic *found = find_nic(dom, nic->device);
    if (!found) {
        sim_unlock(&s->table);
        return hv_fail(f, HV_FAIL_DEVICE_MISSING, "no such nic");
    }
    fill_addresses(found, nic);
    if (dom->agent) sim_event_of(s, dom, HV_EVENT_AGENT);
    return leave(s, "hv.sim.nic-address.late", f);
}

static int do_set_memory_target(void *d, const char *uuid, int64_t bytes, int64_t deadline_ms,
                                struct hv_failure *f) {
    struct sim *s = d;
    struct sim_domain *dom = sim_enter_running(s, "hv.sim.set-memory-target", uuid, true, f);
    struct sim_head *h = s->table.head;

    (void)deadline_ms;
    if (!dom) return -1;
    f->number = SIM_SETTING(s, host_memory_bytes) - h->memory_used_bytes;
    if (bytes - dom->memory_actual_bytes > f->number) {
        sim_unlock(&s->table);
        return hv_fail(f, HV_FAIL_NO_MEMORY, "not enough memory");
    }
    dom->memory_target_bytes = bytes < dom->memory_max_bytes ? bytes : dom->memory_max_bytes;
    if (dom->due == SIM_DUE_NONE || dom->due == SIM_DUE_BALLOON)
        sim_schedule(s, dom, SIM_DUE_BALLOON, SIM_SETTING(s, balloon_ms));
    return leave(s, "hv.sim.set-memory-target.late", f);
}

static int do_set_vcpus(void *d, const char *uuid, unsigned vcpus, int64_t deadline_ms, struct hv_failure *f)
{
    struct sim *s = d;
    struct sim_domain *dom = sim_enter_running(s, "hv.sim.set-vcpus", uuid, true, f);

    (void)deadline_ms;
    if (!dom) return -1;
    if (vcpus > dom->vcpus_max) {
        unsigned max = dom->vcpus_max;
        sim_unlock(&s->table);
        return hv_fail(f, HV_FAIL_ENGINE, "at most %u vcpus", max);
    }
    dom->cpu_ns = sim_cpu_ns(s, dom);
    if (dom->run_since_ms) dom->run_since_ms = hv_now_ms();
    dom->vcpus = vcpus;
    return leave(s, "hv.sim.set-vcpus.late", f);
}

/* Its guests know neither processors nor page tables: who looks (tests) finds what was last said. */
static int do_set_vcpu_params(void *d, const char *uuid, const struct hv_vcpu_params *params, int64_t deadline_ms,
                              struct hv_failure *f) {
    struct sim *s = d;
    struct sim_domain *dom = sim_enter_running(s, "hv.sim.set-vcpu-params", uuid, true, f);

    (void)deadline_ms;
    if (!dom) return -1;
    if (params->weight) dom->weight = params->weight;
    if (params->cap) dom->cap = params->cap > 0 ? (unsigned)params->cap : 0;
    return leave(s, "hv.sim.set-vcpu-params.late", f);
}

static int do_set_shadow(void *d, const char *uuid, double multiplier, int64_t deadline_ms, struct hv_failure *f)
{
    struct sim *s = d;
    struct sim_domain *dom = sim_enter_running(s, "hv.sim.set-shadow", uuid, true, f);

    (void)deadline_ms;
    if (!dom) return -1;
    dom->shadow_percent = (uint32_t)(multiplier < 1000 ? multiplier * 100 : 100000);
    return leave(s, "hv.sim.set-shadow.late", f);
}

static int do_send_sysrq(void *d, const char *uuid, char key, int64_t deadline_ms, struct hv_failure *f)
{
    struct sim *s = d;
    struct sim_domain *dom = sim_enter_running(s, "hv.sim.send-sysrq", uuid, false, f);

    (void)deadline_ms;
    if (!dom) return -1;
    if (key == 'c') sim_crash(s, dom);
    else if (key == 'o') sim_stop(s, dom, HV_STOP_POWEROFF);
    else if (key == 'b') sim_restart(s, dom);
    int rc = leave(s, "hv.sim.send-sysrq.late", f);
    _cleanup_free_ char *line = xasprintf("sysrq: %c", key);
    sim_print(s, uuid, line);
    return rc;
}

static int do_send_trigger(void *d, const char *uuid, const char *trigger, int64_t deadline_ms,
                           struct hv_failure *f) {
    struct sim *s = d;

    if (streq(trigger, "power")) return do_shutdown(d, uuid, deadline_ms, f);
    if (streq(trigger, "reset")) return do_reset(d, uuid, deadline_ms, f);
    struct sim_domain *dom = sim_enter_running(s, "hv.sim.send-trigger", uuid, true, f);
    if (!dom) return -1;
    int rc = leave(s, "hv.sim.send-trigger.late", f);
    sim_print(s, uuid, "NMI received");
    return rc;
}

/* ---- looking --------------------------------------------------------------------------------- */

static void describe(const struct sim *s, const struct sim_domain *dom, struct arena *a,
                     struct hv_domain *ret) {
    *ret = (struct hv_domain){
        .uuid = arena_strdup(a, dom->uuid),
        .name = arena_strdup(a, dom->name),
        .domid = dom->domid,
        .state = dom->state,
        .start_time = dom->start_time,
        .domain_type = dom->domain_type,
        .memory_actual_bytes = dom->memory_actual_bytes,
        .memory_target_bytes = dom->memory_target_bytes,
        .vcpus = dom->vcpus,
        .cpu_time_ns = sim_cpu_ns(s, dom),
        .vnc_socket = "",
        .console_socket = "",
        .console_log = arena_printf(a, "%s/%s.log", s->console_dir, dom->uuid),
        .agent = dom->agent,
    };
}

/* Under the lock: how many there are. */
static size_t count(const struct sim *s)
{
    size_t n = 0;

    for (uint32_t i = 0; i < s->table.head->n_slots; i++) n += sim_at(&s->table, i)->state != HV_STATE_NONE;
    return n;
}

static int do_list(void *d, struct arena *arena, int64_t deadline_ms, const struct hv_domain **ret_domains,
                   size_t *ret_n, struct hv_failure *f)
{
    struct sim *s = d;

    (void)deadline_ms;
    if (enter(s, "hv.sim.list", f) < 0) return -1;
    size_t max = count(s), n = 0;
    struct hv_domain *all = arena_new_array(arena, struct hv_domain, max + 1);
    for (uint32_t i = 0; i < s->table.head->n_slots && n < max; i++) {
        const struct sim_domain *dom = sim_at(&s->table, i);
        if (dom->state != HV_STATE_NONE) describe(s, dom, arena, &all[n++]);
    }
    sim_unlock(&s->table);
    *ret_domains = all;
    *ret_n = n;
    return 0;
}

static int do_query(void *d, const char *uuid, struct arena *arena, int64_t deadline_ms,
                    struct hv_domain *ret_domain, struct hv_failure *f) {
    struct sim *s = d;
    struct sim_domain *dom = enter_guest(s, "hv.sim.query", uuid, f);

    (void)deadline_ms;
    if (!dom) return -1;
    describe(s, dom, arena, ret_domain);
    sim_unlock(&s->table);
    return 0;
}

/* Devices are a little busy: so much a second of running, the same at every look. */
static void describe_devices(const struct sim_domain *dom, uint64_t ms, struct arena *a, struct hv_stats *st)
{
    struct hv_disk_stats *disks = arena_new_array(a, struct hv_disk_stats, dom->n_disks + 1);
    struct hv_nic_stats *nics = arena_new_array(a, struct hv_nic_stats, SIM_MAX_NICS);
    char name[HV_DEVICE_TEXT];

    for (uint32_t i = 0; i < dom->n_disks; i++) {
        if (!dom->disks[i].used || dom->disks[i].empty) continue;
        disks[st->n_disks++] = (struct hv_disk_stats){
            .device = arena_strdup(a, hv_slot_name("xvd", dom->disks[i].slot, name)),
            .read_bytes = ms * 64, .read_requests = ms / 64, .read_ns = ms * 1000,
            .write_bytes = ms * 32, .write_requests = ms / 128, .write_ns = ms * 2000,
        };
    }
    for (size_t i = 0; i < SIM_MAX_NICS; i++) {
        if (!dom->nics[i].used) continue;
        nics[st->n_nics++] = (struct hv_nic_stats){
            .device = dom->nics[i].device, .rx_bytes = ms * 16, .rx_packets = ms / 64,
            .tx_bytes = ms * 8, .tx_packets = ms / 128,
        };
    }
    st->disks = disks;
    st->nics = nics;
}

static void describe_stats(const struct sim *s, const struct sim_domain *dom, struct arena *a,
                           struct hv_stats *st) {
    uint64_t cpu_ns = sim_cpu_ns(s, dom);
    uint64_t *vcpus = arena_new_array(a, uint64_t, dom->vcpus + 1);

    for (uint32_t i = 0; i < dom->vcpus; i++) vcpus[i] = cpu_ns / (dom->vcpus ? dom->vcpus : 1);
    *st = (struct hv_stats){
        .uuid = arena_strdup(a, dom->uuid),
        .domid = dom->domid,
        .state = dom->state,
        .n_vcpus = dom->vcpus,
        .vcpu_time_ns = vcpus,
        .memory_actual_bytes = dom->memory_actual_bytes,
        .memory_target_bytes = dom->memory_target_bytes,
        .memory_free_bytes = dom->agent ? dom->memory_actual_bytes / 2 : -1,
    };
    describe_devices(dom, cpu_ns / 100000 / (dom->vcpus ? dom->vcpus : 1), a, st);
}

static int do_get_stats(void *d, struct arena *arena, int64_t deadline_ms, const struct hv_stats **ret_stats,
                        size_t *ret_n, struct hv_failure *f)
{
    struct sim *s = d;

    (void)deadline_ms;
    if (enter(s, "hv.sim.get-stats", f) < 0) return -1;
    size_t max = count(s), n = 0;
    struct hv_stats *all = arena_new_array(arena, struct hv_stats, max + 1);
    for (uint32_t i = 0; i < s->table.head->n_slots && n < max; i++) {
        const struct sim_domain *dom = sim_at(&s->table, i);
        if (dom->state != HV_STATE_NONE) describe_stats(s, dom, arena, &all[n++]);
    }
    sim_unlock(&s->table);
    *ret_stats = all;
    *ret_n = n;
    return 0;
}

static int do_get_host(void *d, struct arena *arena, int64_t deadline_ms, struct hv_host *ret_host,
                       struct hv_failure *f)
{
    static const char *const capabilities[] = { "xen-3.0-x86_64", "hvm-3.0-x86_32", "hvm-3.0-x86_32p",
                                                "hvm-3.0-x86_64", NULL };
    struct sim *s = d;
    struct sim_head *h = s->table.head;

    (void)deadline_ms;
    if (enter(s, "hv.sim.get-host", f) < 0) return -1;
    unsigned cpus = SIM_SETTING(s, host_cpus) > 0 ? (unsigned)SIM_SETTING(s, host_cpus) : 1;
    bool even = cpus % 2 == 0;
    *ret_host = (struct hv_host){
        .hypervisor = "simulator",
        .version = "1",
        .accel = "sim",
        .capabilities = capabilities,
        .cpu_count = cpus,
        .sockets = even ? 2 : 1,
        .cores_per_socket = even ? cpus / 2 : cpus,
        .threads_per_core = 1,
        .nodes = 1,
        .cpu_mhz = 2400,
        .cpu_vendor = "GenuineIntel",
        .cpu_model_name = arena_printf(arena, "Simulated CPU @ 2.40GHz"),
        .cpu_flags = "fpu de tsc msr pae mce cx8 apic sep mtrr mca cmov pat clflush mmx fxsr sse sse2 ht "
                     "syscall nx lm",
        .cpu_family = 6,
        .cpu_model = 85,
        .cpu_stepping = 7,
        .memory_total_bytes = SIM_SETTING(s, host_memory_bytes),
        .memory_free_bytes = SIM_SETTING(s, host_memory_bytes) - h->memory_used_bytes,
        .hvm = true,
        .pv = true,
        .pvh = true,
    };
    sim_unlock(&s->table);
    return 0;
}

/* A simulated guest's addresses: what its tools were told, else one made of the card's MAC. */
static const char *const *addresses_of(const struct sim_nic *nic, const unsigned m[3], struct arena *a)
{
    const char **ips = arena_new_array(a, const char *, 3);
    size_t n = 0;

    ips[n++] = *nic->ipv4 ? arena_strndup(a, nic->ipv4, strcspn(nic->ipv4, "/")) : arena_printf(a, "10.%u.%u.%u", m[0], m[1], m[2]);
    if (*nic->ipv6) ips[n++] = arena_strndup(a, nic->ipv6, strcspn(nic->ipv6, "/"));
    return ips;
}

static int do_get_guest_info(void *d, const char *uuid, struct arena *arena, int64_t deadline_ms,
                             struct hv_guest_info *ret_info, struct hv_failure *f)
{
    static const struct hv_pair features[] = { { "feature-static-ip-setting", "1" } };
    struct sim *s = d;
    struct sim_domain *dom = enter_guest(s, "hv.sim.get-guest-info", uuid, f);

    (void)deadline_ms;
    if (!dom) return -1;
    *ret_info = (struct hv_guest_info){ .os_id = "", .os_name = "", .os_version = "", .os_kernel = "",
                                        .hostname = "", .timezone = "" };
    if (dom->agent && dom->state == HV_STATE_RUNNING) {
        struct hv_guest_nic *nics = arena_new_array(arena, struct hv_guest_nic, SIM_MAX_NICS);
        *ret_info = (struct hv_guest_info){ .agent = true, .os_id = "linux", .os_name = "Simulated Linux",
                                            .os_version = "1.0", .os_kernel = "6.1.0",
                                            .hostname = arena_printf(arena, "guest-%.8s", dom->uuid),
                                            .timezone = "UTC", .nics = nics, .other = features, .n_other = ARRAY_SIZE(features) };
        for (size_t i = 0; i < SIM_MAX_NICS; i++) {
            const struct sim_nic *nic = &dom->nics[i];
            unsigned m[3] = { 0 };
            if (!nic->used || sscanf(nic->mac, "%*x:%*x:%*x:%x:%x:%x", &m[0], &m[1], &m[2]) != 3) continue;
            nics[ret_info->n_nics++] = (struct hv_guest_nic){ arena_printf(arena, "eth%u", nic->device), arena_strdup(arena, nic->mac),
                                                              (int)nic->device, addresses_of(nic, m, arena) };
        }
    }
    sim_unlock(&s->table);
    return 0;
}

/* Its guests know three words: "exit N" ends with that code, "wait" never ends, anything else is said back. */
static int do_guest_run(void *d, const char *uuid, const char *script, bool (*stop)(void *arg), void *arg, struct arena *arena,
                        int64_t deadline_ms, struct hv_ran *ret_ran, struct hv_failure *f)
{
    struct sim *s = d;
    struct sim_domain *dom = sim_enter_running(s, "hv.sim.guest-run", uuid, false, f);
    int code = 0;

    if (!dom) return -1;
    const bool hears = dom->agent && !dom->deaf;
    if (leave(s, "hv.sim.guest-run.late", f)) return -1;
    if (!hears) return hv_fail(f, HV_FAIL_GUEST_DEAF, "no agent answers in the guest");
    while (streq(script, "wait")) {
        if (stop(arg)) return hv_fail(f, HV_FAIL_CANCELLED, "it waits on");
        if (pass_time(s, SLICE_MS, deadline_ms, NULL, f)) return -1;
    }
    const bool exits = sscanf(script, "exit %d", &code) == 1;
    *ret_ran = (struct hv_ran){ code, exits ? "" : arena_strdup(arena, script), exits ? "ended as told" : "" };
    return 0;
}

static int do_console_open(void *d, const char *uuid, enum hv_console which, int64_t deadline_ms, int *ret_fd,
                           struct hv_failure *f)
{
    struct sim *s = d;

    (void)deadline_ms;
    if (!enter_guest(s, "hv.sim.console-open", uuid, f)) return -1;
    sim_unlock(&s->table);
    return sim_console_open(s, uuid, which, ret_fd, f);
}

static int do_console_log(void *d, const char *uuid, struct arena *arena, const char **ret_path,
                          struct hv_failure *f) {
    struct sim *s = d;

    (void)f;
    *ret_path = arena_printf(arena, "%s/%s.log", s->console_dir, uuid);
    return 0;
}

/* A TPM that never changes: what a guest was given stays the last word. */
static int do_check_tpm(void *d, struct hv_failure *f)
{
    (void)d;
    return sim_injected("hv.sim.check-tpm", f);
}

static int do_get_tpm(void *d, const char *uuid, struct arena *arena, int64_t deadline_ms, const void **ret_bytes, size_t *ret_len,
                      struct hv_failure *f)
{
    (void)d, (void)uuid, (void)arena, (void)deadline_ms, (void)ret_bytes, (void)f;
    *ret_len = 0;
    return 0;
}

const struct hv_driver hv_sim_driver = {
    .abi = HV_DRIVER_ABI,
    .name = "sim",
    .open = sim_open,
    .close = sim_close,
    .start = do_start,
    .destroy = do_destroy,
    .shutdown = do_shutdown,
    .reboot = do_reboot,
    .reset = do_reset,
    .pause = do_pause,
    .unpause = do_unpause,
    .suspend = do_suspend,
    .check_image = do_check_image,
    .resume = do_resume,
    .abort = do_abort,
    .moves_here = true,
    .migrate_send = sim_migrate_send,
    .migrate_receive = sim_migrate_receive,
    .disk_attach = do_disk_attach,
    .disk_detach = do_disk_detach,
    .cd_change = do_cd_change,
    .disk_snapshot = do_disk_snapshot,
    .disk_reopen = do_disk_reopen,
    .disk_resize = do_disk_resize,
    .disk_limit = do_disk_limit,
    .set_io_priority = do_set_io_priority,
    .nic_attach = do_nic_attach,
    .nic_detach = do_nic_detach,
    .nic_address = do_nic_address,
    .set_memory_target = do_set_memory_target,
    .set_vcpus = do_set_vcpus,
    .set_vcpu_params = do_set_vcpu_params,
    .set_shadow = do_set_shadow,
    .send_sysrq = do_send_sysrq,
    .send_trigger = do_send_trigger,
    .list = do_list,
    .query = do_query,
    .get_stats = do_get_stats,
    .get_host = do_get_host,
    .get_guest_info = do_get_guest_info,
    .guest_run = do_guest_run,
    .check_tpm = do_check_tpm,
    .get_tpm = do_get_tpm,
    .console_open = do_console_open,
    .console_log = do_console_log,
};
