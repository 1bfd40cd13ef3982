/* The guard and the simulated hypervisor: what class code may rely on.
 * Called by: make check.  Calls: xapi/hv. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "lib/clock.h"
#include "lib/fault.h"
#include "lib/log.h"
#include "xapi/hv/hv.h"
#include "xapi/hv/hv_driver.h"

#define U1 "11111111-2222-3333-4444-555555555501"
#define U2 "11111111-2222-3333-4444-555555555502"

static const int64_t MIB = 1 << 20;

/* Every event so far, as "kind uuid reason". */
struct seen {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    size_t n;
    struct { enum hv_event_kind kind; char uuid[UUID_TEXT]; enum hv_stop_reason reason; int64_t memory_bytes;
             char device[16]; } e[4096];
};

struct world {
    char root[64];
    struct hv *hv;
    struct seen seen;
    struct arena *arena;
};

static void on_event(void *arg, const struct hv_event *event)
{
    struct seen *s = arg;

    pthread_mutex_lock(&s->lock);
    if (s->n < 4096) {
        s->e[s->n].kind = event->kind;
        s->e[s->n].reason = event->reason;
        s->e[s->n].memory_bytes = event->memory_bytes;
        snprintf(s->e[s->n].uuid, UUID_TEXT, "%s", event->uuid);
        snprintf(s->e[s->n].device, 16, "%s", event->device);
        s->n++;
    }
    pthread_cond_broadcast(&s->cond);
    pthread_mutex_unlock(&s->lock);
}

/* Waits for an event of this kind for this guest after the first `from`; returns its index, fails after 10 s.
 */
static size_t wait_event(struct world *w, size_t from, enum hv_event_kind kind, const char *uuid)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 10;
    pthread_mutex_lock(&w->seen.lock);
    for (size_t i = from;; ) {
        for (; i < w->seen.n; i++) {
            if (w->seen.e[i].kind != kind || !streq(w->seen.e[i].uuid, uuid)) continue;
            pthread_mutex_unlock(&w->seen.lock);
            return i;
        }
        if (pthread_cond_timedwait(&w->seen.cond, &w->seen.lock, &until) == ETIMEDOUT) break;
    }
    pthread_mutex_unlock(&w->seen.lock);
    fail_msg("no event %d for %s", (int)kind, uuid);
    return 0;
}

static struct hv *open_sim(struct world *w)
{
    struct hv_config config = { .root = w->root };
    struct xerr err = XERR_INIT;
    struct hv *hv = NULL;

    if (hv_open("sim", &config, on_event, &w->seen, &hv, &err) < 0)
        fail_msg("%s: %s", err.code, err.params[0]);
    return hv;
}

static int setup(void **state)
{
    struct world *w = xcalloc(1, sizeof *w);

    pthread_mutex_init(&w->seen.lock, NULL);
    pthread_cond_init(&w->seen.cond, NULL);
    snprintf(w->root, sizeof w->root, "/tmp/test-hv-XXXXXX");
    assert_non_null(mkdtemp(w->root));
    w->arena = arena_new();
    w->hv = open_sim(w);
    *state = w;
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static int teardown(void **state)
{
    struct world *w = *state;

    hv_close(w->hv);
    arena_free(w->arena);
    nftw(w->root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(w);
    return 0;
}

/* Does to guests from outside; returns when the agent has done it. */
static void poke(struct world *w, const char *commands)
{
    _cleanup_free_ char *path = xasprintf("%s/hv/sim/poke/1", w->root);
    _cleanup_free_ char *failed = xasprintf("%s.failed", path);
    FILE *f = fopen(path, "we");

    assert_non_null(f);
    fprintf(f, "%s\n", commands);
    fclose(f);
    for (int i = 0; w->hv && access(path, F_OK) == 0; i++) {
        assert_true(i < 5000);
        usleep(1000);
    }
    if (access(failed, F_OK) == 0) fail_msg("poke failed: %s", commands);
}

static const struct hv_disk two_disks[] = {
    { .device = "xvda",
      .source = HV_SOURCE_FILE,
      .path = "/images/a.qcow2",
      .format = HV_FORMAT_QCOW2,
      .bootable = true },
    { .device = "xvdd", .source = HV_SOURCE_EMPTY, .cdrom = true, .readonly = true },
};
static const struct hv_nic one_nic[] = { { .device = 0, .mac = "02:00:00:00:00:01", .tap = "tap1.0" } };

static struct hv_vm vm_of(const char *uuid)
{
    return (struct hv_vm){ .id = hv_id(uuid, REF_NULL),
                           .name = "guest",
                           .memory_static_max_bytes = 256 * MIB,
                           .vcpus_max = 4,
                           .vcpus_at_startup = 2,
                           .disks = two_disks,
                           .n_disks = 2,
                           .nics = one_nic,
                           .n_nics = 1 };
}

static int64_t start(struct world *w, const struct hv_vm *vm)
{
    struct xerr err = XERR_INIT;
    int64_t domid = -1;

    if (hv_start(w->hv, vm, &domid, &err) < 0) fail_msg("%s: %s", err.code, err.n ? err.params[0] : "");
    return domid;
}

static struct hv_domain query(struct world *w, const char *uuid)
{
    struct xerr err = XERR_INIT;
    struct hv_domain dom;

    if (hv_query(w->hv, hv_id(uuid, REF_NULL), w->arena, &dom, &err) < 0) fail_msg("%s", err.code);
    return dom;
}

/* rc is a failure with this code and first parameters (NULL ends). */
static void assert_error(int rc, struct xerr *err, const char *code, const char *p1, const char *p2,
                         const char *p3) {
    const char *want[] = { p1, p2, p3 };

    assert_int_equal(rc, -1);
    assert_non_null(err->code);
    assert_string_equal(err->code, code);
    for (size_t i = 0; i < 3 && want[i]; i++) {
        assert_true(err->n > i);
        assert_string_equal(err->params[i], want[i]);
    }
    xerr_clear(err);
}

static const struct hv_id id1 = { .uuid = U1 };

static void started_guest_is_listed(void **state)
{
    struct world *w = *state;
    struct hv_vm vm = vm_of(U1);
    struct xerr err = XERR_INIT;
    const struct hv_domain *list;
    size_t n;

    int64_t domid = start(w, &vm);
    wait_event(w, 0, HV_EVENT_STARTED, U1);
    assert_int_equal(hv_list(w->hv, w->arena, &list, &n, &err), 0);
    assert_int_equal(n, 1);
    assert_string_equal(list[0].uuid, U1);
    assert_string_equal(list[0].name, "guest");
    assert_int_equal(list[0].domid, domid);
    assert_int_equal(list[0].state, HV_STATE_RUNNING);
    assert_int_equal(list[0].vcpus, 2);
    assert_int_equal(list[0].memory_actual_bytes, 256 * MIB);
    assert_true(clock_wall_seconds() - list[0].start_time < 60);

    assert_error(hv_start(w->hv, &vm, &domid, &err), &err, "DOMAIN_EXISTS", U1, "1", NULL);
}

static void upper_case_uuid_is_the_same_guest(void **state)
{
    struct world *w = *state;
    struct hv_vm vm = vm_of("ABCDEF11-2222-3333-4444-555555555501");

    start(w, &vm);
    assert_int_equal(query(w, "abcdef11-2222-3333-4444-555555555501").state, HV_STATE_RUNNING);
}

static void pause_and_unpause_check_the_state(void **state)
{
    struct world *w = *state;
    struct hv_vm vm = vm_of(U1);
    struct ref ref = ref_new();
    struct hv_id named = hv_id(U1, ref);
    struct xerr err = XERR_INIT;

    assert_error(hv_pause(w->hv, named, &err), &err, "VM_BAD_POWER_STATE", REF_STR(ref), "running", "halted");
    vm.start_paused = true;
    start(w, &vm);
    assert_int_equal(query(w, U1).state, HV_STATE_PAUSED);
    assert_error(hv_pause(w->hv, named, &err), &err, "VM_BAD_POWER_STATE", REF_STR(ref), "running", "paused");
    assert_int_equal(hv_unpause(w->hv, named, &err), 0);
    wait_event(w, 0, HV_EVENT_RESUMED, U1);
    assert_error(hv_unpause(w->hv, named, &err), &err, "VM_BAD_POWER_STATE", REF_STR(ref), "paused",
                 "running");
    assert_int_equal(hv_pause(w->hv, named, &err), 0);
    wait_event(w, 0, HV_EVENT_PAUSED, U1);
    uint64_t cpu = query(w, U1).cpu_time_ns;
    usleep(20000);
    assert_true(query(w, U1).cpu_time_ns == cpu);       /* a paused guest burns nothing */
}

static void clean_shutdown_ends_the_domain(void **state)
{
    struct world *w = *state;
    struct hv_vm vm = vm_of(U1);
    struct xerr err = XERR_INIT;

    start(w, &vm);
    poke(w, "set shutdown_ms 50");
    assert_int_equal(hv_shutdown(w->hv, id1, &err), 0);
    assert_int_equal(query(w, U1).state, HV_STATE_RUNNING);      /* it takes its time */
    size_t i = wait_event(w, 0, HV_EVENT_STOPPED, U1);
    assert_int_equal(w->seen.e[i].reason, HV_STOP_POWEROFF);
    assert_int_equal(query(w, U1).state, HV_STATE_NONE);
}

static void deaf_guest_stays_until_destroyed(void **state)
{
    struct world *w = *state;
    struct hv_vm vm = vm_of(U1);
    struct xerr err = XERR_INIT;

    start(w, &vm);
    poke(w, "deaf " U1);
    assert_int_equal(hv_shutdown(w->hv, id1, &err), 0);
    usleep(50000);
    assert_int_equal(query(w, U1).state, HV_STATE_RUNNING);
    assert_int_equal(hv_destroy(w->hv, id1, &err), 0);
    size_t i = wait_event(w, 0, HV_EVENT_STOPPED, U1);
    assert_int_equal(w->seen.e[i].reason, HV_STOP_DESTROYED);
    assert_int_equal(hv_destroy(w->hv, id1, &err), 0);           /* again: the wish is fulfilled already */
}

static void reboot_keeps_the_domain(void **state)
{
    struct world *w = *state;
    struct hv_vm vm = vm_of(U1);
    struct xerr err = XERR_INIT;

    int64_t domid = start(w, &vm);
    assert_int_equal(hv_reboot(w->hv, id1, &err), 0);
    wait_event(w, 0, HV_EVENT_REBOOTED, U1);
    assert_int_equal(query(w, U1).domid, domid);
    assert_int_equal(hv_destroy(w->hv, id1, &err), 0);
    vm.stop_on_reboot = true;
    size_t from = wait_event(w, 0, HV_EVENT_STOPPED, U1) + 1;
    start(w, &vm);
    poke(w, "reboot " U1);
    assert_int_equal(w->seen.e[wait_event(w, from, HV_EVENT_STOPPED, U1)].reason, HV_STOP_REBOOT);
}

static void crash_keeps_a_dead_domain(void **state)
{
    struct world *w = *state;
    struct hv_vm vm = vm_of(U1);
    struct xerr err = XERR_INIT;

    start(w, &vm);
    poke(w, "crash " U1);
    wait_event(w, 0, HV_EVENT_CRASHED, U1);
    assert_int_equal(query(w, U1).state, HV_STATE_CRASHED);
    assert_error(hv_shutdown(w->hv, id1, &err), &err, "VM_BAD_POWER_STATE", U1, "running", "crashed");
    assert_int_equal(hv_destroy(w->hv, id1, &err), 0);
    assert_int_equal(query(w, U1).state, HV_STATE_NONE);
}

static void suspend_and_resume(void **state)
{
    struct world *w = *state;
    struct hv_vm vm = vm_of(U1);
    struct xerr err = XERR_INIT;
    _cleanup_free_ char *image = xasprintf("%s/image", w->root), *wrong = xasprintf("%s/wrong", w->root);
    int64_t domid = start(w, &vm), again = -1;

    assert_int_equal(hv_suspend(w->hv, id1, image, 0, &err), 0);
    assert_int_equal(w->seen.e[wait_event(w, 0, HV_EVENT_STOPPED, U1)].reason, HV_STOP_SUSPENDED);
    assert_int_equal(query(w, U1).state, HV_STATE_NONE);

    assert_int_equal(hv_resume(w->hv, &vm, image, &again, &err), 0);
    assert_true(again > domid);
    assert_int_equal(access(image, F_OK), 0);
    assert_int_equal(hv_destroy(w->hv, id1, &err), 0);

    assert_int_equal(hv_resume(w->hv, &vm, wrong, &again, &err), -1);
    assert_string_equal(err.code, "SUSPEND_IMAGE_NOT_ACCESSIBLE");
    xerr_clear(&err);
    assert_int_equal(write_file_atomic(wrong, "not an image at all", strlen("not an image at all"), 0600), 0);
    assert_int_equal(hv_resume(w->hv, &vm, wrong, &again, &err), -1);
    assert_string_equal(err.code, "SUSPEND_IMAGE_NOT_ACCESSIBLE");
    xerr_clear(&err);
    assert_int_equal(query(w, U1).state, HV_STATE_NONE);
}

static void failed_suspend_leaves_the_guest(void **state)
{
    struct world *w = *state;
    struct hv_vm vm = vm_of(U1);
    struct xerr err = XERR_INIT;
    _cleanup_free_ char *image = xasprintf("%s/image", w->root);

    start(w, &vm);
    poke(w, "set suspend_ms 5000");
    assert_error(hv_suspend(w->hv, id1, image, 50, &err), &err, "VM_SUSPEND_TIMEOUT", U1, NULL, NULL);
    assert_int_equal(query(w, U1).state, HV_STATE_RUNNING);
    assert_int_equal(access(image, F_OK), -1);
}

struct aborter { struct world *w; int rc; };

static void *abort_soon(void *arg)
{
    struct aborter *a = arg;
    struct xerr err = XERR_INIT;

    usleep(50000);
    a->rc = hv_abort(a->w->hv, id1, &err);
    return NULL;
}

static void suspend_can_be_aborted(void **state)
{
    struct world *w = *state;
    struct hv_vm vm = vm_of(U1);
    struct xerr err = XERR_INIT;
    _cleanup_free_ char *image = xasprintf("%s/image", w->root);
    struct aborter a = { w, -1 };
    pthread_t thread;

    start(w, &vm);
    poke(w, "set suspend_ms 20000");
    pthread_create(&thread, NULL, abort_soon, &a);
    int64_t begun = clock_boottime_ns();
    assert_int_equal(hv_suspend(w->hv, id1, image, 0, &err), -1);
    assert_true(clock_boottime_ns() - begun < 5 * NS_PER_S);
    assert_string_equal(err.code, "INTERNAL_ERROR");
    assert_non_null(strstr(err.params[0], "cancelled"));
    xerr_clear(&err);
    pthread_join(thread, NULL);
    assert_int_equal(a.rc, 0);
    assert_int_equal(query(w, U1).state, HV_STATE_RUNNING);
}

static void devices_come_and_go(void **state)
{
    struct world *w = *state;
    struct hv_vm vm = vm_of(U1);
    struct ref vbd = ref_new(), vif = ref_new();
    struct hv_disk disk = { .ref = vbd, .device = "xvdb", .source = HV_SOURCE_FILE, .path = "/images/b.raw" };
    struct hv_disk cd = { .ref = vbd, .device = "xvdd", .source = HV_SOURCE_FILE, .path = "/images/cd.iso",
                          .cdrom = true, .readonly = true };
    struct hv_nic nic = { .ref = vif, .device = 1, .mac = "02:00:00:00:00:02", .tap = "tap1.1" };
    struct xerr err = XERR_INIT;

    start(w, &vm);
    assert_int_equal(hv_disk_attach(w->hv, id1, &disk, &err), 0);
    assert_string_equal(w->seen.e[wait_event(w, 0, HV_EVENT_DEVICE_ADDED, U1)].device, "xvdb");
    assert_error(hv_disk_attach(w->hv, id1, &disk, &err), &err, "DEVICE_ALREADY_ATTACHED", "xvdb", NULL,
                 NULL);
    poke(w, "clutch " U1);
    assert_error(hv_disk_detach(w->hv, id1, &disk, 0, &err), &err, "DEVICE_DETACH_REJECTED", "VBD",
                 REF_STR(vbd), NULL);
    assert_error(hv_cd_change(w->hv, id1, &cd, &err), &err, "VBD_TRAY_LOCKED", REF_STR(vbd), NULL, NULL);
    poke(w, "release " U1);
    assert_int_equal(hv_disk_detach(w->hv, id1, &disk, 0, &err), 0);
    assert_error(hv_disk_detach(w->hv, id1, &disk, 0, &err), &err, "DEVICE_ALREADY_DETACHED", "xvdb", NULL,
                 NULL);
    assert_int_equal(hv_cd_change(w->hv, id1, &cd, &err), 0);
    disk.cdrom = true;
    disk.device = "xvda";
    assert_error(hv_cd_change(w->hv, id1, &disk, &err), &err, "VBD_NOT_REMOVABLE_MEDIA", REF_STR(vbd), NULL,
                 NULL);

    assert_int_equal(hv_nic_attach(w->hv, id1, &nic, &err), 0);
    assert_error(hv_nic_attach(w->hv, id1, &nic, &err), &err, "DEVICE_ALREADY_ATTACHED", "1", NULL, NULL);
    poke(w, "set detach_ms 5000");
    assert_error(hv_nic_detach(w->hv, id1, &nic, 40, &err), &err, "DEVICE_DETACH_TIMEOUT", "VIF",
                 REF_STR(vif), NULL);
    poke(w, "set detach_ms 0");
    assert_int_equal(hv_nic_detach(w->hv, id1, &nic, 0, &err), 0);
}

static void balloon_moves(void **state)
{
    struct world *w = *state;
    struct hv_vm vm = vm_of(U1);
    struct xerr err = XERR_INIT;

    start(w, &vm);
    poke(w, "set balloon_ms 20");
    assert_int_equal(hv_set_memory_target(w->hv, id1, 128 * MIB, &err), 0);
    assert_int_equal(query(w, U1).memory_target_bytes, 128 * MIB);
    size_t i = wait_event(w, 0, HV_EVENT_MEMORY, U1);
    assert_int_equal(w->seen.e[i].memory_bytes, 128 * MIB);
    assert_int_equal(query(w, U1).memory_actual_bytes, 128 * MIB);
    assert_int_equal(hv_set_vcpus(w->hv, id1, 4, &err), 0);
    assert_int_equal(query(w, U1).vcpus, 4);
    assert_int_equal(hv_set_vcpus(w->hv, id1, 5, &err), -1);
    xerr_clear(&err);
    assert_error(hv_set_vcpus(w->hv, id1, 0, &err), &err, "VM_NO_VCPUS", U1, NULL, NULL);
}

static void host_memory_is_limited(void **state)
{
    struct world *w = *state;
    struct hv_vm one = vm_of(U1), two = vm_of(U2);
    struct xerr err = XERR_INIT;
    struct hv_host host;
    int64_t domid;

    poke(w, "set host_memory_bytes 402653184");            /* 384 MiB */
    start(w, &one);
    assert_error(hv_start(w->hv, &two, &domid, &err), &err, "HOST_NOT_ENOUGH_FREE_MEMORY", "268435456",
                 "134217728", NULL);
    assert_int_equal(hv_get_host(w->hv, w->arena, &host, &err), 0);
    assert_int_equal(host.memory_free_bytes, 128 * MIB);
    assert_int_equal(hv_destroy(w->hv, id1, &err), 0);
    start(w, &two);
}

static void bad_descriptions_are_refused(void **state)
{
    struct world *w = *state;
    struct xerr err = XERR_INIT;
    int64_t domid;
    struct hv_vm vm;
    struct hv_disk disks[2];
    struct hv_nic nic;

    vm = vm_of("no-uuid");
    assert_error(hv_start(w->hv, &vm, &domid, &err), &err, "UUID_INVALID", "VM", "no-uuid", NULL);
    vm = vm_of(U1);
    vm.vcpus_max = 0;
    assert_error(hv_start(w->hv, &vm, &domid, &err), &err, "VM_NO_VCPUS", U1, NULL, NULL);
    vm.vcpus_max = 100000;
    assert_error(hv_start(w->hv, &vm, &domid, &err), &err, "VM_TOO_MANY_VCPUS", U1, NULL, NULL);
    vm = vm_of(U1);
    vm.memory_static_max_bytes = -5;
    assert_error(hv_start(w->hv, &vm, &domid, &err), &err, "MEMORY_CONSTRAINT_VIOLATION", NULL, NULL, NULL);
    vm = vm_of(U1);
    vm.memory_dynamic_max_bytes = 512 * MIB;
    assert_error(hv_start(w->hv, &vm, &domid, &err), &err, "MEMORY_CONSTRAINT_VIOLATION", NULL, NULL, NULL);
    vm = vm_of(U1);
    vm.boot_order = "cx";
    assert_error(hv_start(w->hv, &vm, &domid, &err), &err, "INVALID_VALUE", "HVM_boot_params.order", "cx",
                 NULL);
    vm = vm_of(U1);
    vm.kernel = "relative/vmlinuz";
    assert_error(hv_start(w->hv, &vm, &domid, &err), &err, "INTERNAL_ERROR", NULL, NULL, NULL);

    vm = vm_of(U1);
    memcpy(disks, two_disks, sizeof disks);
    vm.disks = disks;
    disks[1].device = "hda";
    assert_error(hv_start(w->hv, &vm, &domid, &err), &err, "DEVICE_ALREADY_EXISTS", "hda", NULL, NULL);
    disks[1].device = "floppy";
    assert_error(hv_start(w->hv, &vm, &domid, &err), &err, "INVALID_DEVICE", "floppy", NULL, NULL);

    vm = vm_of(U1);
    vm.nics = &nic;
    const char *macs[] = { "",
                           "02:00:00:00:00",
                           "02:00:00:00:00:0g",
                           "02-00-00-00-00-01",
                           "01:00:00:00:00:01",
                           "02:00:00:00:00:01:02" };
    for (size_t i = 0; i < ARRAY_SIZE(macs); i++) {
        nic = (struct hv_nic){ .device = 0, .mac = macs[i] };
        assert_error(hv_start(w->hv, &vm, &domid, &err), &err, "MAC_INVALID", macs[i], NULL, NULL);
    }
    assert_int_equal(query(w, U1).state, HV_STATE_NONE);
}

static void lost_hypervisor_fails_and_comes_back(void **state)
{
    struct world *w = *state;
    struct hv_vm vm = vm_of(U1);
    struct xerr err = XERR_INIT;
    struct hv_domain dom;

    start(w, &vm);
    poke(w, "lose");
    size_t i = wait_event(w, 0, HV_EVENT_DRIVER_LOST, "");
    assert_int_equal(hv_query(w->hv, id1, w->arena, &dom, &err), -1);
    assert_string_equal(err.code, "INTERNAL_ERROR");
    assert_non_null(strstr(err.params[0], "away"));
    xerr_clear(&err);
    poke(w, "regain");
    wait_event(w, i, HV_EVENT_DRIVER_REGAINED, "");
    assert_int_equal(query(w, U1).state, HV_STATE_RUNNING);
}

static void guests_outlive_the_agent(void **state)
{
    struct world *w = *state;
    struct hv_vm one = vm_of(U1), two = vm_of(U2);
    int64_t domid = start(w, &one);

    start(w, &two);
    hv_close(w->hv);
    w->hv = NULL;
    size_t before = w->seen.n;
    poke(w, "poweroff " U2 "\nset host_cpus 6");     /* while nobody looks */
    w->hv = open_sim(w);
    assert_int_equal(w->seen.n, before);              /* and nobody is told */
    assert_int_equal(query(w, U1).state, HV_STATE_RUNNING);
    assert_int_equal(query(w, U1).domid, domid);
    assert_int_equal(query(w, U2).state, HV_STATE_NONE);
    struct hv_host host;
    struct xerr err = XERR_INIT;
    assert_int_equal(hv_get_host(w->hv, w->arena, &host, &err), 0);
    assert_int_equal(host.cpu_count, 6);
}

static void shutdown_goes_on_after_the_agent_died(void **state)
{
    struct world *w = *state;
    struct hv_vm vm = vm_of(U1);
    struct xerr err = XERR_INIT;

    start(w, &vm);
    poke(w, "set shutdown_ms 200");
    assert_int_equal(hv_shutdown(w->hv, id1, &err), 0);
    hv_close(w->hv);
    size_t from = w->seen.n;
    w->hv = open_sim(w);
    size_t i = wait_event(w, from, HV_EVENT_STOPPED, U1);
    assert_int_equal(w->seen.e[i].reason, HV_STOP_POWEROFF);
}

/* Agents that are killed at any moment leave a table that the next one can use. */
static void killed_agents_do_no_harm(void **state)
{
    struct world *w = *state;
    struct xerr err = XERR_INIT;

    SKIP_EMULATED("no set_robust_list(): a lock whose owner was killed stays locked");
    for (int round = 0; round < 12; round++) {
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            struct hv_config config = { .root = w->root };
            struct hv *hv;
            if (hv_open("sim", &config, NULL, NULL, &hv, &err) < 0) _exit(1);
            for (unsigned i = 0;; i++) {
                char uuid[UUID_TEXT];
                snprintf(uuid, sizeof uuid, "aaaaaaaa-0000-0000-0000-%012x", i % 40);
                struct hv_vm vm = vm_of(uuid);
                int64_t domid;
                if (hv_start(hv, &vm, &domid, &err) < 0) xerr_clear(&err);
                if (i % 3 && hv_destroy(hv, hv_id(uuid, REF_NULL), &err) < 0) _exit(2);
            }
        }
        usleep(3000 + 2000 * (useconds_t)round);
        kill(pid, SIGKILL);
        int status;
        waitpid(pid, &status, 0);
        assert_true(WIFSIGNALED(status));

        const struct hv_domain *list;
        size_t n;
        int64_t sum = 0;
        assert_int_equal(hv_list(w->hv, w->arena, &list, &n, &err), 0);
        assert_true(n <= 40);
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(query(w, list[i].uuid).domid, list[i].domid);
            sum += list[i].memory_actual_bytes;
        }
        struct hv_host host;
        assert_int_equal(hv_get_host(w->hv, w->arena, &host, &err), 0);
        assert_int_equal(host.memory_total_bytes - host.memory_free_bytes, sum);
    }
}

static void read_exactly(int fd, void *buf, size_t n)
{
    for (size_t got = 0; got < n;) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        assert_int_equal(poll(&p, 1, 5000), 1);
        ssize_t r = read(fd, (char *)buf + got, n - got);
        assert_true(r > 0);
        got += (size_t)r;
    }
}

static void screen_speaks_rfb(void **state)
{
    struct world *w = *state;
    struct hv_vm vm = vm_of(U1);
    struct xerr err = XERR_INIT;
    unsigned char buf[64];
    int fd;

    start(w, &vm);
    assert_int_equal(hv_console_open(w->hv, id1, HV_CONSOLE_VNC, &fd, &err), 0);
    read_exactly(fd, buf, 12);
    assert_memory_equal(buf, "RFB 003.008\n", 12);
    assert_int_equal(write(fd, "RFB 003.008\n", 12), 12);
    read_exactly(fd, buf, 2);
    assert_memory_equal(buf, "\1\1", 2);
    assert_int_equal(write(fd, "\1", 1), 1);
    read_exactly(fd, buf, 4);
    assert_memory_equal(buf, "\0\0\0\0", 4);
    assert_int_equal(write(fd, "\1", 1), 1);
    read_exactly(fd, buf, 24);
    unsigned width = (unsigned)buf[0] << 8 | buf[1];
    read_exactly(fd, buf, buf[23]);
    assert_true(width > 0);
    assert_int_equal(write(fd, "\3\0\0\0\0\0\0\2\0\2", 10), 10);      /* 2 x 2 pixels */
    read_exactly(fd, buf, 16 + 16);
    assert_memory_equal(buf, "\0\0\0\1\0\0\0\0\0\2\0\2\0\0\0\0", 16);
    assert_int_equal(hv_destroy(w->hv, id1, &err), 0);
    struct pollfd p = { .fd = fd, .events = POLLIN };
    assert_int_equal(poll(&p, 1, 5000), 1);
    assert_int_equal(read(fd, buf, 1), 0);                             /* hung up */
    close(fd);
}

static void console_log_has_a_tail(void **state)
{
    struct world *w = *state;
    struct hv_vm vm = vm_of(U1);
    struct xerr err = XERR_INIT;
    const char *tail;

    vm.kernel = "/boot/vmlinuz";
    vm.args = "quiet nonce=4711";
    start(w, &vm);
    poke(w, "print " U1 " hello world");
    assert_int_equal(hv_console_tail(w->hv, id1, 1000, w->arena, &tail, &err), 0);
    assert_non_null(strstr(tail, "nonce=4711"));
    assert_non_null(strstr(tail, "hello world"));
    assert_int_equal(hv_console_tail(w->hv, id1, 7, w->arena, &tail, &err), 0);
    assert_string_equal(tail, "world\r\n");
    assert_int_equal(hv_destroy(w->hv, id1, &err), 0);
    assert_int_equal(hv_console_tail(w->hv, id1, 7, w->arena, &tail, &err), 0);
    assert_string_equal(tail, "world\r\n");
}

static void statistics_grow(void **state)
{
    struct world *w = *state;
    struct hv_vm vm = vm_of(U1);
    struct xerr err = XERR_INIT;
    const struct hv_stats *st;
    size_t n;

    start(w, &vm);
    poke(w, "set clock_rate 1000000");
    usleep(20000);
    assert_int_equal(hv_get_stats(w->hv, w->arena, &st, &n, &err), 0);
    assert_int_equal(n, 1);
    assert_int_equal(st[0].n_vcpus, 2);
    assert_int_equal(st[0].n_disks, 1);                 /* the empty drive has none */
    assert_string_equal(st[0].disks[0].device, "xvda");
    assert_int_equal(st[0].n_nics, 1);
    uint64_t cpu = st[0].vcpu_time_ns[0], bytes = st[0].disks[0].read_bytes;
    usleep(20000);
    assert_int_equal(hv_get_stats(w->hv, w->arena, &st, &n, &err), 0);
    assert_true(st[0].vcpu_time_ns[0] > cpu);
    assert_true(st[0].disks[0].read_bytes > bytes);
}

static void wrong_pokes_are_told(void **state)
{
    struct world *w = *state;
    _cleanup_free_ char *path = xasprintf("%s/hv/sim/poke/x", w->root),
                        *failed = xasprintf("%s.failed", path), *why = NULL;

    static const char commands[] = "explode " U1 "\nset nonsense 3\n";
    assert_int_equal(write_file_atomic(path, commands, sizeof commands - 1, 0600), 0);
    for (int i = 0; access(path, F_OK) == 0 || access(failed, F_OK) < 0; i++) {
        assert_true(i < 5000);
        usleep(1000);
    }
    assert_int_equal(read_file(failed, 4096, &why, NULL), 0);
    assert_non_null(strstr(why, "no such guest"));
    assert_non_null(strstr(why, "no such setting"));
}

static void missing_modules_are_named(void **state)
{
    struct world *w = *state;
    struct hv_config config = { .root = w->root, .module_dir = "/nonexistent" };
    struct xerr err = XERR_INIT;
    struct hv *hv;

    assert_int_equal(hv_open("xen", &config, NULL, NULL, &hv, &err), -1);
    assert_non_null(strstr(err.params[0], "the xen driver is not installed (no /nonexistent/hv_xen.so)"));
    xerr_clear(&err);
    assert_int_equal(hv_open("vmware", &config, NULL, NULL, &hv, &err), -1);
    assert_non_null(strstr(err.params[0], "'vmware'"));
    xerr_clear(&err);
}

static void device_names(void **state)
{
    char buf[HV_DEVICE_TEXT];

    (void)state;
    assert_int_equal(hv_slot("xvda"), 0);
    assert_int_equal(hv_slot("xvdz"), 25);
    assert_int_equal(hv_slot("xvdaa"), 26);
    assert_int_equal(hv_slot("hdd"), 3);
    assert_int_equal(hv_slot("sdb"), 1);
    assert_int_equal(hv_slot("17"), 17);
    assert_int_equal(hv_slot("255"), 255);
    const char *bad[] = { "",           "xvd", "xvdA", "256", "99999999999999999999", "xvdzzzzzzzzzzzz",
                          "autodetect", "-1" };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) assert_int_equal(hv_slot(bad[i]), -1);
    for (unsigned slot = 0; slot < 256; slot++)
        assert_int_equal(hv_slot(hv_slot_name("xvd", slot, buf)), slot);
}

/* A failure at any point of a start, also after the guest was made, leaves no guest. */
static void failed_start_leaves_nothing(void **state)
{
    struct world *w = *state;
    struct hv_vm vm = vm_of(U1);
    struct xerr err = XERR_INIT;
    const char *const points[] = { "hv.sim.start", "hv.sim.start.late" };
    char number[16];
    const char *why;
    int64_t domid;

    int fd = memfd_create("faults", MFD_CLOEXEC);
    assert_true(fd >= 0);
    snprintf(number, sizeof number, "%d", dup(fd));
    setenv("XAPI_FAULT_FD", number, 1);
    assert_int_equal(fault_start(true, &why), 0);
    for (size_t i = 0; i < ARRAY_SIZE(points); i++) {
        _cleanup_free_ char *arm = xasprintf("%s EIO\n", points[i]), *off = xasprintf("%s off\n", points[i]);
        assert_true(write(fd, arm, strlen(arm)) > 0);
        assert_int_equal(hv_start(w->hv, &vm, &domid, &err), -1);
        assert_string_equal(err.code, "INTERNAL_ERROR");
        assert_non_null(strstr(err.params[0], points[i]));
        xerr_clear(&err);
        assert_int_equal(query(w, U1).state, HV_STATE_NONE);
        assert_true(write(fd, off, strlen(off)) > 0);
        assert_int_equal(hv_start(w->hv, &vm, &domid, &err), 0);
        assert_int_equal(hv_destroy(w->hv, id1, &err), 0);
    }
    close(fd);
}

/* A thousand guests in a second, in and out: the budget of the whole daemon must not be spent here. */
static void thousand_guests(void **state)
{
    struct world *w = *state;
    struct xerr err = XERR_INIT;
    char uuid[UUID_TEXT];

    int64_t begun = clock_monotonic_ns();
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(uuid, sizeof uuid, "bbbbbbbb-0000-0000-0000-%012x", i);
        struct hv_vm vm = vm_of(uuid);
        start(w, &vm);
    }
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(uuid, sizeof uuid, "bbbbbbbb-0000-0000-0000-%012x", i);
        assert_int_equal(hv_shutdown(w->hv, hv_id(uuid, REF_NULL), &err), 0);
    }
    wait_event(w, 0, HV_EVENT_STOPPED, uuid);
    int64_t ms = (clock_monotonic_ns() - begun) / NS_PER_MS;
    print_message("# 1,000 guests started and shut down in %jd ms\n", (intmax_t)ms);
    assert_true(ms < 5000);
    const struct hv_domain *list;
    size_t n;
    assert_int_equal(hv_list(w->hv, w->arena, &list, &n, &err), 0);
    assert_int_equal(n, 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(started_guest_is_listed),
        T(upper_case_uuid_is_the_same_guest),
        T(pause_and_unpause_check_the_state),
        T(clean_shutdown_ends_the_domain),
        T(deaf_guest_stays_until_destroyed),
        T(reboot_keeps_the_domain),
        T(crash_keeps_a_dead_domain),
        T(suspend_and_resume),
        T(failed_suspend_leaves_the_guest),
        T(suspend_can_be_aborted),
        T(devices_come_and_go),
        T(balloon_moves),
        T(host_memory_is_limited),
        T(bad_descriptions_are_refused),
        T(lost_hypervisor_fails_and_comes_back),
        T(guests_outlive_the_agent),
        T(shutdown_goes_on_after_the_agent_died),
        T(killed_agents_do_no_harm),
        T(screen_speaks_rfb),
        T(console_log_has_a_tail),
        T(statistics_grow),
        T(wrong_pokes_are_told),
        T(missing_modules_are_named), T(failed_start_leaves_nothing),
        cmocka_unit_test(device_names),
        T(thousand_guests),
    };

    log_configure("stderr", "error");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
