/* The libvirt driver with real guests under QEMU: one guest is led through everything a class file may ask.
 * Called by: test-hv-libvirt.sh.  Calls: xapi/hv.
 *
 * XAPI_BUILD names the build folder: guest/ (guest.sh) and .libs/hv_libvirt.so. VERBOSE=1: events and the
 * log. */
#include "../unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <pwd.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "xapi/hv/hv.h"

#define U1 "c0ffee00-0000-4000-8000-000000000001"
#define U2 "c0ffee00-0000-4000-8000-000000000002"
#define U3 "c0ffee00-0000-4000-8000-000000000003"

static const int64_t MIB = 1 << 20;
enum { BOOT_S = 120, MAX_EVENTS = 4096 };

static struct world {
    const char *program, *root, *kernel, *initrd, *modules;
    struct hv *hv;
    struct arena *arena;
    bool child;
    int64_t domid;              /* of U1 */
    pthread_mutex_t lock;
    pthread_cond_t cond;
    size_t n;
    struct {
        enum hv_event_kind kind;
        char uuid[UUID_TEXT];
        enum hv_stop_reason reason;
        char device[16];
        int64_t memory;
    } e[MAX_EVENTS];
} w = { .lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER };

static const struct hv_id id1 = { .uuid = U1 }, id2 = { .uuid = U2 }, id3 = { .uuid = U3 };

static void on_event(void *arg, const struct hv_event *event)
{
    (void)arg;
    pthread_mutex_lock(&w.lock);
    if (w.n < MAX_EVENTS) {
        w.e[w.n].kind = event->kind;
        w.e[w.n].reason = event->reason;
        w.e[w.n].memory = event->memory_bytes;
        snprintf(w.e[w.n].uuid, UUID_TEXT, "%s", event->uuid);
        snprintf(w.e[w.n].device, 16, "%s", event->device);
        w.n++;
    }
    pthread_cond_broadcast(&w.cond);
    pthread_mutex_unlock(&w.lock);
    if (getenv("VERBOSE") && !w.child)
        print_message("# event %d %s %s\n", (int)event->kind, event->uuid, event->device);
}

static size_t events_now(void)
{
    pthread_mutex_lock(&w.lock);
    size_t n = w.n;
    pthread_mutex_unlock(&w.lock);
    return n;
}

static size_t wait_event(size_t from, enum hv_event_kind kind, const char *uuid, int seconds)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += seconds;
    pthread_mutex_lock(&w.lock);
    for (size_t i = from;;) {
        for (; i < w.n; i++) {
            if (w.e[i].kind != kind || !streq(w.e[i].uuid, uuid)) continue;
            pthread_mutex_unlock(&w.lock);
            return i;
        }
        if (pthread_cond_timedwait(&w.cond, &w.lock, &until) == ETIMEDOUT) break;
    }
    pthread_mutex_unlock(&w.lock);
    fail_msg("no event %d for %s in %d s", (int)kind, uuid, seconds);
    return 0;
}

/* rc is 0, or the test fails with the error's text. */
static void must(int rc, struct xerr *err)
{
    if (rc == 0) return;
    _cleanup_free_ char *text = xerr_text(err);
    xerr_clear(err);
    fail_msg("%s", text);
}

static void assert_error(int rc, struct xerr *err, const char *code)
{
    assert_int_equal(rc, -1);
    assert_string_equal(err->code, code);
    xerr_clear(err);
}

static struct hv *open_hv(void)
{
    struct hv_config config = { .root = w.root, .module_dir = w.modules,
                                .accel = getenv("ACCEL") ? HV_ACCEL_AUTO : HV_ACCEL_TCG };
    struct xerr err = XERR_INIT;
    struct hv *hv = NULL;

    must(hv_open("libvirt", &config, on_event, NULL, &hv, &err), &err);
    return hv;
}

static struct hv_domain query(struct hv_id id)
{
    struct xerr err = XERR_INIT;
    struct hv_domain dom;

    must(hv_query(w.hv, id, w.arena, &dom, &err), &err);
    return dom;
}

static const char *tail(struct hv_id id)
{
    struct xerr err = XERR_INIT;
    const char *text;

    must(hv_console_tail(w.hv, id, 100000, w.arena, &text, &err), &err);
    return text;
}

/* Waits until the console has printed this so often in all. */
static void wait_console(struct hv_id id, const char *text, int times, int seconds)
{
    int64_t until = clock_deadline_ns((int64_t)seconds * 1000);

    for (;;) {
        int n = 0;
        const char *all = tail(id);
        for (const char *p = all; (p = strstr(p, text)); p++) n++;
        if (n >= times) return;
        if (clock_boottime_ns() > until)
            fail_msg("the console did not print '%s' %d times:\n%s", text, times, all);
        usleep(200000);
    }
}

/* Types a command into the guest's shell and waits for a line of its answer. */
static void guest(struct hv_id id, const char *command, const char *answer)
{
    struct xerr err = XERR_INIT;
    int fd;
    char buf[8192] = "";
    size_t n = 0;

    must(hv_console_open(w.hv, id, HV_CONSOLE_TEXT, &fd, &err), &err);
    dprintf(fd, "\n%s\n", command);
    int64_t until = clock_deadline_ns(60000);
    while (!strstr(buf, answer) && clock_boottime_ns() < until && n < sizeof buf - 1) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        if (poll(&p, 1, 1000) <= 0) continue;
        ssize_t r = read(fd, buf + n, sizeof buf - 1 - n);
        if (r <= 0) break;
        n += (size_t)r;
        buf[n] = '\0';
    }
    close(fd);
    if (!strstr(buf, answer)) fail_msg("'%s' did not answer '%s' but:\n%s", command, answer, buf);
}

static char *path_in_root(const char *name) { return arena_printf(w.arena, "%s/%s", w.root, name); }

static void make_image(const char *path, const char *format)
{
    _cleanup_free_ char *command = xasprintf("qemu-img create -q -f %s '%s' 64M", format, path);
    int status = system(command);        /* a test's own path; nothing of a client is in it */

    assert_int_equal(status, 0);
}

static struct hv_vm vm_of(const char *uuid, const char *args)
{
    return (struct hv_vm){ .id = hv_id(uuid, REF_NULL),
                           .name = "a <guest> & \"more\"",
                           .domain_type = HV_DOMAIN_PV,
                           .memory_static_max_bytes = 256 * MIB,
                           .vcpus_max = 2,
                           .vcpus_at_startup = 1,
                           .kernel = w.kernel,
                           .ramdisk = w.initrd,
                           .args = args };
}

static struct hv_disk root_disk, cd_drive;
static struct hv_nic first_nic;

/* U1 with a disk, a CD drive and a NIC. */
static struct hv_vm first_vm(void)
{
    static struct hv_disk disks[2];
    struct hv_vm vm = vm_of(U1, "console=ttyS0 quiet mitigations=off tick=1 nonce=4711");

    root_disk = (struct hv_disk){ .device = "xvda", .source = HV_SOURCE_FILE, .format = HV_FORMAT_QCOW2,
                                  .path = path_in_root("a.qcow2"), .serial = "0123456789", .bootable = true };
    cd_drive = (struct hv_disk){ .device = "xvdd", .source = HV_SOURCE_EMPTY, .cdrom = true };
    first_nic = (struct hv_nic){ .device = 0, .mac = "02:16:3e:00:00:01" };
    disks[0] = root_disk;
    disks[1] = cd_drive;
    vm.disks = disks;
    vm.n_disks = 2;
    vm.nics = &first_nic;
    vm.n_nics = 1;
    return vm;
}

/* ---- the story ------------------------------------------------------------------------------- */

static void opens(void **state)
{
    struct xerr err = XERR_INIT;
    struct hv_host host;

    (void)state;
    int64_t begun = clock_monotonic_ns();
    w.hv = open_hv();
    print_message("# opened in %jd ms\n", (intmax_t)((clock_monotonic_ns() - begun) / NS_PER_MS));
    must(hv_get_host(w.hv, w.arena, &host, &err), &err);
    assert_string_equal(host.hypervisor, "QEMU");
    assert_true(host.cpu_count > 0);
    assert_true(host.memory_total_bytes > 0);
    assert_true(*host.cpu_vendor && *host.cpu_model_name && *host.cpu_flags);
    print_message("# QEMU %s, %s, %u cpus\n", host.version, host.accel, host.cpu_count);
}

static void boots(void **state)
{
    struct hv_vm vm = first_vm();
    struct xerr err = XERR_INIT;
    int64_t domid = -1;

    (void)state;
    make_image(root_disk.path, "qcow2");
    int64_t begun = clock_monotonic_ns();
    must(hv_start(w.hv, &vm, &w.domid, &err), &err);
    print_message("# started in %jd ms\n", (intmax_t)((clock_monotonic_ns() - begun) / NS_PER_MS));
    wait_event(0, HV_EVENT_STARTED, U1, 10);
    wait_console(id1, "userland: 4711", 1, BOOT_S);
    print_message("# userland after %jd ms\n", (intmax_t)((clock_monotonic_ns() - begun) / NS_PER_MS));
    struct hv_domain dom = query(id1);
    assert_int_equal(dom.state, HV_STATE_RUNNING);
    assert_int_equal(dom.domid, w.domid);
    assert_string_equal(dom.name, "a <guest> & \"more\"");
    assert_int_equal(dom.domain_type, HV_DOMAIN_PV);
    assert_int_equal(dom.vcpus, 1);
    assert_true(clock_wall_seconds() - dom.start_time < 300);
    assert_error(hv_start(w.hv, &vm, &domid, &err), &err, "DOMAIN_EXISTS");
}

static void consoles_work(void **state)
{
    struct xerr err = XERR_INIT;
    char hello[13] = "";
    int fd;

    (void)state;
    guest(id1, "echo answer $((6*7))", "answer 42");
    guest(id1, "ip addr show eth0 | grep -c 02:16:3e:00:00:01 | sed s/^/eth0=/", "eth0=1");
    must(hv_console_open(w.hv, id1, HV_CONSOLE_VNC, &fd, &err), &err);
    struct pollfd p = { .fd = fd, .events = POLLIN };
    assert_int_equal(poll(&p, 1, 10000), 1);
    assert_int_equal(read(fd, hello, 12), 12);
    assert_memory_equal(hello, "RFB 003.00", 10);
    close(fd);
}

static void pauses(void **state)
{
    struct xerr err = XERR_INIT;
    size_t from = events_now();

    (void)state;
    must(hv_pause(w.hv, id1, &err), &err);
    wait_event(from, HV_EVENT_PAUSED, U1, 10);
    assert_int_equal(query(id1).state, HV_STATE_PAUSED);
    assert_error(hv_pause(w.hv, id1, &err), &err, "VM_BAD_POWER_STATE");
    assert_error(hv_shutdown(w.hv, id1, &err), &err, "VM_BAD_POWER_STATE");
    uint64_t cpu = query(id1).cpu_time_ns;
    sleep(1);
    assert_true(query(id1).cpu_time_ns - cpu < 300 * 1000000);
    must(hv_unpause(w.hv, id1, &err), &err);
    wait_event(from, HV_EVENT_RESUMED, U1, 10);
    assert_error(hv_unpause(w.hv, id1, &err), &err, "VM_BAD_POWER_STATE");
    guest(id1, "echo awake $((1+1))", "awake 2");
}

static void counts(void **state)
{
    struct xerr err = XERR_INIT;
    const struct hv_stats *st;
    size_t n;

    (void)state;
    guest(id1, "dd if=/dev/zero of=/dev/vda bs=64k count=16 && sync && echo written $((3*3))", "written 9");
    must(hv_get_stats(w.hv, w.arena, &st, &n, &err), &err);
    assert_int_equal(n, 1);
    assert_string_equal(st[0].uuid, U1);
    assert_true(st[0].n_vcpus >= 1);
    assert_true(st[0].vcpu_time_ns[0] > 0);
    assert_int_equal(st[0].memory_actual_bytes, 256 * MIB);
    const struct hv_disk_stats *disk = NULL;
    for (size_t i = 0; i < st[0].n_disks; i++)
        if (streq(st[0].disks[i].device, "xvda")) disk = &st[0].disks[i];
    assert_non_null(disk);
    assert_true(disk->write_bytes >= 1 << 20);
    assert_int_equal(st[0].n_nics, 1);
    assert_int_equal(st[0].nics[0].device, 0);
}

static void plugs_disks(void **state)
{
    struct xerr err = XERR_INIT;
    struct ref vbd = ref_new();
    struct hv_disk disk = { .ref = vbd, .device = "xvdb", .source = HV_SOURCE_FILE, .format = HV_FORMAT_RAW,
                            .path = path_in_root("b.raw") };
    size_t from = events_now();

    (void)state;
    make_image(disk.path, "raw");
    must(hv_disk_attach(w.hv, id1, &disk, &err), &err);
    assert_string_equal(w.e[wait_event(from, HV_EVENT_DEVICE_ADDED, U1, 20)].device, "xvdb");
    guest(id1, "until blockdev --getsize64 /dev/vdb; do sleep 1; done", "67108864");
    assert_error(hv_disk_attach(w.hv, id1, &disk, &err), &err, "DEVICE_ALREADY_ATTACHED");
    must(hv_disk_resize(w.hv, id1, &disk, 128 * MIB, &err), &err);
    guest(id1, "until blockdev --getsize64 /dev/vdb | grep 13421; do sleep 1; done", "134217728");
    must(hv_disk_detach(w.hv, id1, &disk, 0, &err), &err);
    assert_string_equal(w.e[wait_event(from, HV_EVENT_DEVICE_REMOVED, U1, 20)].device, "xvdb");
    guest(id1, "while [ -b /dev/vdb ]; do sleep 1; done; echo gone $((5*5))", "gone 25");
    assert_error(hv_disk_detach(w.hv, id1, &disk, 0, &err), &err, "DEVICE_ALREADY_DETACHED");
}

static pid_t qemu_pid(const char *uuid)
{
    _cleanup_free_ char *text = NULL;
    char *path = arena_printf(w.arena, "%s/hv/libvirt/run/qemu/%s.pid", w.root, uuid);

    assert_int_equal(read_file(path, 64, &text, NULL), 0);
    return atoi(text);
}

/* QEMU runs as the user that is there for it, not as root. */
static void qemu_has_its_own_user(void **state)
{
    const struct passwd *pw = getpwnam("libvirt-qemu");
    char *proc = arena_printf(w.arena, "/proc/%d", (int)qemu_pid(U1));
    struct stat st;

    (void)state;
    assert_non_null(pw);
    assert_int_equal(stat(proc, &st), 0);
    assert_int_equal(st.st_uid, pw->pw_uid);
}

/* An SR that is mounted while libvirtd runs is there for its guests. */
static void later_mounts_reach_guests(void **state)
{
    struct xerr err = XERR_INIT;
    char *dir = path_in_root("sr-mount/late");
    struct hv_disk disk = { .device = "xvdc",
                            .source = HV_SOURCE_FILE,
                            .path = arena_printf(w.arena, "%s/c.raw", dir) };

    (void)state;
    assert_int_equal(mkdir(dir, 0711), 0);
    assert_int_equal(mount("late", dir, "tmpfs", 0, "mode=0711"), 0);
    make_image(disk.path, "raw");
    int rc = hv_disk_attach(w.hv, id1, &disk, &err);
    if (rc == 0) rc = hv_disk_detach(w.hv, id1, &disk, 0, &err);
    umount2(dir, MNT_DETACH);
    must(rc, &err);
}

static void plugs_nics(void **state)
{
    struct xerr err = XERR_INIT;
    struct hv_nic nic = { .device = 3, .mac = "02:16:3e:00:00:04" };
    const struct hv_stats *st;
    size_t n;

    (void)state;
    must(hv_nic_attach(w.hv, id1, &nic, &err), &err);
    guest(id1, "until sed s/^/mac=/ /sys/class/net/eth1/address; do sleep 1; done", "mac=02:16:3e:00:00:04");
    must(hv_get_stats(w.hv, w.arena, &st, &n, &err), &err);
    assert_int_equal(st[0].n_nics, 2);
    assert_int_equal(st[0].nics[1].device, 3);
    assert_error(hv_nic_attach(w.hv, id1, &nic, &err), &err, "DEVICE_ALREADY_ATTACHED");
    must(hv_nic_detach(w.hv, id1, &nic, 0, &err), &err);
    guest(id1, "while [ -e /sys/class/net/eth1 ]; do sleep 1; done; echo gone $((7*7))", "gone 49");
}

static void changes_cds(void **state)
{
    struct xerr err = XERR_INIT;
    struct hv_disk cd = cd_drive;

    (void)state;
    cd.source = HV_SOURCE_FILE;
    cd.path = path_in_root("cd.iso");
    make_image(cd.path, "raw");
    must(hv_cd_change(w.hv, id1, &cd, &err), &err);
    /* The first read after a change of media tells the guest of the change: that is how the drive works. */
    guest(id1, "for i in 1 2 3 4 5; do sleep 1; dd if=/dev/sr0 bs=2048 count=4 of=/tmp/x && break; done",
          "4+0 records out");
    must(hv_cd_change(w.hv, id1, &cd_drive, &err), &err);
    guest(id1, "sleep 2; dd if=/dev/sr0 bs=2048 count=1 of=/tmp/y 2>/dev/null || echo empty $((8*8))",
          "empty 64");
    cd.device = "xvda";
    assert_error(hv_cd_change(w.hv, id1, &cd, &err), &err, "VBD_NOT_REMOVABLE_MEDIA");
}

static void balloons(void **state)
{
    struct xerr err = XERR_INIT;
    size_t from = events_now();

    (void)state;
    must(hv_set_memory_target(w.hv, id1, 192 * MIB, &err), &err);
    wait_event(from, HV_EVENT_MEMORY, U1, 30);
    for (int i = 0; query(id1).memory_actual_bytes > 193 * MIB && i < 100; i++) usleep(100000);
    assert_in_range((uintmax_t)query(id1).memory_actual_bytes, (uintmax_t)(191 * MIB),
                    (uintmax_t)(193 * MIB));
    must(hv_set_memory_target(w.hv, id1, 256 * MIB, &err), &err);
    must(hv_set_vcpus(w.hv, id1, 2, &err), &err);
    assert_int_equal(query(id1).vcpus, 2);
    guest(id1, "until echo 1 >/sys/devices/system/cpu/cpu1/online; do sleep 1; done; nproc | sed s/^/cpus=/",
          "cpus=2");
}

static void suspends(void **state)
{
    struct xerr err = XERR_INIT;
    struct hv_vm vm = first_vm();
    char *image = path_in_root("image");
    size_t from = events_now();

    (void)state;
    guest(id1, "remembered=$((11*11)); echo noted $remembered", "noted 121");
    int64_t begun = clock_monotonic_ns();
    must(hv_suspend(w.hv, id1, image, 0, &err), &err);
    print_message("# suspended in %jd ms\n", (intmax_t)((clock_monotonic_ns() - begun) / NS_PER_MS));
    assert_int_equal(w.e[wait_event(from, HV_EVENT_STOPPED, U1, 10)].reason, HV_STOP_SUSPENDED);
    assert_int_equal(query(id1).state, HV_STATE_NONE);

    /* Its disk lies elsewhere by now. */
    struct hv_disk disks[2] = { vm.disks[0], vm.disks[1] };
    disks[0].path = path_in_root("moved.qcow2");
    assert_int_equal(rename(vm.disks[0].path, disks[0].path), 0);
    vm.disks = disks;
    begun = clock_monotonic_ns();
    must(hv_resume(w.hv, &vm, image, &w.domid, &err), &err);
    print_message("# resumed in %jd ms\n", (intmax_t)((clock_monotonic_ns() - begun) / NS_PER_MS));
    assert_int_equal(access(image, F_OK), 0);
    assert_int_equal(query(id1).state, HV_STATE_RUNNING);
    assert_int_equal(query(id1).domid, w.domid);
    guest(id1, "echo still $remembered", "still 121");
    guest(id1, "dd if=/dev/vda bs=4k count=1 2>/dev/null | wc -c | sed s/^/disk=/", "disk=4096");

    vm.id = id2;
    int64_t other;
    assert_int_equal(hv_resume(w.hv, &vm, path_in_root("none"), &other, &err), -1);
    assert_string_equal(err.code, "SUSPEND_IMAGE_NOT_ACCESSIBLE");
    xerr_clear(&err);
    assert_int_equal(hv_resume(w.hv, &vm, path_in_root("b.raw"), &other, &err), -1);
    assert_string_equal(err.code, "SUSPEND_IMAGE_NOT_ACCESSIBLE");
    xerr_clear(&err);
}

static void suspend_that_fails_leaves_the_guest(void **state)
{
    struct xerr err = XERR_INIT;

    (void)state;
    assert_int_equal(hv_suspend(w.hv, id1, "/nonexistent/image", 0, &err), -1);
    xerr_clear(&err);
    guest(id1, "echo fine $((2*3))", "fine 6");
}

static pid_t daemon_pid(void)
{
    _cleanup_free_ char *text = NULL;

    assert_int_equal(read_file(path_in_root("hv/libvirt/daemon"), 256, &text, NULL), 0);
    return atoi(text);
}

static void survives_a_killed_libvirtd(void **state)
{
    struct xerr err = XERR_INIT;
    size_t from = events_now();
    pid_t pid = daemon_pid();

    (void)state;
    int64_t begun = clock_monotonic_ns();
    assert_int_equal(kill(pid, SIGKILL), 0);
    wait_event(from, HV_EVENT_DRIVER_LOST, "", 30);
    wait_event(from, HV_EVENT_DRIVER_REGAINED, "", 60);
    print_message("# regained after %jd ms\n", (intmax_t)((clock_monotonic_ns() - begun) / NS_PER_MS));
    assert_int_not_equal(daemon_pid(), pid);
    assert_int_equal(query(id1).state, HV_STATE_RUNNING);
    assert_int_equal(query(id1).domid, w.domid);
    guest(id1, "echo unhurt $remembered", "unhurt 121");
    from = events_now();
    must(hv_pause(w.hv, id1, &err), &err);
    wait_event(from, HV_EVENT_PAUSED, U1, 10);
    must(hv_unpause(w.hv, id1, &err), &err);

    /* A call in the gap just takes a little longer. */
    from = events_now();
    assert_int_equal(kill(daemon_pid(), SIGKILL), 0);
    usleep(50000);
    struct hv_domain dom;
    int rc = hv_query(w.hv, id1, w.arena, &dom, &err);
    if (rc < 0) xerr_clear(&err);      /* it may also have been under way at the wrong moment */
    else assert_int_equal(dom.state, HV_STATE_RUNNING);
    wait_event(from, HV_EVENT_DRIVER_REGAINED, "", 60);
}

/* The other agent: starts U2 and waits to be killed. It writes a byte before (early) or after that. */
static int child_main(const char *root, bool early)
{
    struct hv_vm vm = vm_of(U2, "console=ttyS0 quiet mitigations=off nonce=2");
    struct xerr err = XERR_INIT;
    int64_t domid;

    w.child = true;
    w.root = root;
    w.hv = open_hv();
    vm.start_paused = true;
    if (early && write(1, "+", 1) != 1) return 1;
    if (hv_start(w.hv, &vm, &domid, &err) < 0) return 1;
    if (!early && write(1, "+", 1) != 1) return 1;
    for (;;) pause();
}

/* Lets another agent start U2 and kills it, so many microseconds after it said so. Ours is open again
 * afterwards. */
static void with_killed_agent(const char *how, useconds_t delay_us)
{
    int fds[2], status;
    char byte;

    hv_close(w.hv);
    w.hv = NULL;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(fds[1], 1);
        execl(w.program, w.program, how, w.root, (char *)NULL);
        _exit(1);
    }
    close(fds[1]);
    assert_int_equal(read(fds[0], &byte, 1), 1);
    close(fds[0]);
    usleep(delay_us);
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    assert_true(WIFSIGNALED(status));
    int64_t begun = clock_monotonic_ns();
    w.hv = open_hv();
    print_message("# adopted in %jd ms\n", (intmax_t)((clock_monotonic_ns() - begun) / NS_PER_MS));
}

static void survives_a_killed_agent(void **state)
{
    const struct hv_domain *list;
    struct xerr err = XERR_INIT;
    size_t n;

    (void)state;
    pid_t libvirtd = daemon_pid();
    with_killed_agent("child", 0);
    assert_int_equal(daemon_pid(), libvirtd);
    must(hv_list(w.hv, w.arena, &list, &n, &err), &err);
    assert_int_equal(n, 2);
    assert_int_equal(query(id2).state, HV_STATE_PAUSED);
    assert_int_equal(query(id1).domid, w.domid);
    assert_int_equal(query(id1).domain_type, HV_DOMAIN_PV);
    guest(id1, "echo adopted $remembered", "adopted 121");
}

static void ends_what_a_killed_agent_began(void **state)
{
    struct xerr err = XERR_INIT;

    (void)state;
    for (useconds_t delay_us = 50000; delay_us <= 350000; delay_us += 100000) {
        with_killed_agent("early", delay_us);
        size_t from = events_now();
        bool there = query(id2).state != HV_STATE_NONE;
        must(hv_destroy(w.hv, id2, &err), &err);
        if (there) wait_event(from, HV_EVENT_STOPPED, U2, 5);
        assert_int_equal(query(id2).state, HV_STATE_NONE);
    }
}

static void destroys_at_once(void **state)
{
    struct xerr err = XERR_INIT;
    size_t from = events_now();

    (void)state;
    int64_t begun = clock_monotonic_ns();
    must(hv_destroy(w.hv, id2, &err), &err);
    int64_t ms = (clock_monotonic_ns() - begun) / NS_PER_MS;
    print_message("# destroyed in %jd ms\n", (intmax_t)ms);
    assert_true(ms < 1500);
    assert_int_equal(w.e[wait_event(from, HV_EVENT_STOPPED, U2, 10)].reason, HV_STOP_DESTROYED);
    assert_int_equal(query(id2).state, HV_STATE_NONE);
    must(hv_destroy(w.hv, id2, &err), &err);
}

static void reboots_cleanly(void **state)
{
    struct xerr err = XERR_INIT;
    size_t from = events_now();

    (void)state;
    must(hv_reboot(w.hv, id1, &err), &err);
    wait_event(from, HV_EVENT_REBOOTED, U1, BOOT_S);
    wait_console(id1, "userland: 4711", 2, BOOT_S);
    assert_int_equal(query(id1).domid, w.domid);
    must(hv_reset(w.hv, id1, &err), &err);
    wait_console(id1, "userland: 4711", 3, BOOT_S);
}

static void shuts_down_cleanly(void **state)
{
    struct xerr err = XERR_INIT;
    size_t from = events_now();

    (void)state;
    must(hv_shutdown(w.hv, id1, &err), &err);
    assert_int_equal(w.e[wait_event(from, HV_EVENT_STOPPED, U1, 60)].reason, HV_STOP_POWEROFF);
    assert_int_equal(query(id1).state, HV_STATE_NONE);
    wait_console(id1, "power button", 2, 1);      /* once for the reboot */
    assert_error(hv_pause(w.hv, id1, &err), &err, "VM_BAD_POWER_STATE");
}

/* Another kind of machine: PCI Express, and devices that Windows drives out of the box. It has a guest agent.
 */
static void other_machine_boots(void **state)
{
    static const struct hv_pair platform[] = { { "machine", "q35" }, { "device_id", "0002" } };
    static const struct hv_pair bios[] = { { "bios-vendor", "Acme & Sons" },
                                           { "system-product-name", "Box" } };
    struct hv_vm vm = vm_of(U3, "console=ttyS0 quiet mitigations=off agent=1 ip=192.0.2.7/24 nonce=3");
    struct hv_disk disks[] = {
        { .device = "xvda", .source = HV_SOURCE_FILE, .path = path_in_root("d.raw"), .bootable = true },
        { .device = "xvdd", .source = HV_SOURCE_EMPTY, .cdrom = true },
    };
    struct hv_nic nic = { .device = 0, .mac = "02:16:3e:00:00:03" };
    struct hv_disk more = { .device = "xvdb", .source = HV_SOURCE_FILE, .path = path_in_root("e.raw") };
    struct xerr err = XERR_INIT;
    int64_t domid;

    (void)state;
    make_image(disks[0].path, "raw");
    make_image(more.path, "raw");
    vm.domain_type = HV_DOMAIN_HVM;
    vm.platform = platform;
    vm.n_platform = ARRAY_SIZE(platform);
    vm.bios_strings = bios;
    vm.n_bios_strings = ARRAY_SIZE(bios);
    vm.disks = disks;
    vm.n_disks = 2;
    vm.nics = &nic;
    vm.n_nics = 1;
    must(hv_start(w.hv, &vm, &domid, &err), &err);
    wait_console(id3, "userland: 3", 1, BOOT_S);
    guest(id3, "until blockdev --getsize64 /dev/sda; do sleep 1; done", "67108864");
    guest(id3, "ls -l /sys/class/net/eth0/device/driver", "drivers/e1000");
    guest(id3, "cat /sys/class/dmi/id/bios_vendor", "Acme & Sons");
    must(hv_disk_attach(w.hv, id3, &more, &err), &err);
    guest(id3, "until blockdev --getsize64 /dev/vda; do sleep 1; done", "67108864");
    must(hv_disk_detach(w.hv, id3, &more, 60000, &err), &err);
}

static void guest_tells_of_itself(void **state)
{
    struct xerr err = XERR_INIT;
    struct hv_guest_info info;

    (void)state;
    for (int i = 0; !query(id3).agent && i < 600; i++) usleep(100000);
    assert_true(query(id3).agent);
    must(hv_get_guest_info(w.hv, id3, w.arena, &info, &err), &err);
    assert_true(info.agent);
    assert_string_equal(info.os_id, "tiny");
    assert_string_equal(info.os_name, "Tiny Linux 1");
    assert_true(*info.os_kernel);
    bool found = false;
    for (size_t i = 0; i < info.n_nics; i++)
        if (streq(info.nics[i].mac, "02:16:3e:00:00:03"))
            for (const char *const *a = info.nics[i].addresses; *a; a++)
                found = found || streq(*a, "192.0.2.7");
    assert_true(found);
    must(hv_get_guest_info(w.hv, id1, w.arena, &info, &err), &err);      /* it has none */
    assert_false(info.agent);
}

/* A copy of a suspended VM goes on from a copy of its image. */
static void image_serves_a_copy(void **state)
{
    struct hv_vm vm = first_vm();
    struct xerr err = XERR_INIT;
    char *image = path_in_root("image-of-copy");
    struct hv_disk disks[2] = { vm.disks[0], vm.disks[1] };
    int64_t domid;

    (void)state;
    guest(id1, "inherited=$((13*13)); echo noted $inherited", "noted 169");
    must(hv_suspend(w.hv, id1, image, 0, &err), &err);
    disks[0].path = path_in_root("moved.qcow2");
    vm.disks = disks;
    vm.id = id2;
    must(hv_resume(w.hv, &vm, image, &domid, &err), &err);
    assert_int_equal(query(id1).state, HV_STATE_NONE);
    assert_int_equal(query(id2).domid, domid);
    guest(id2, "echo i have $inherited", "i have 169");
    must(hv_suspend(w.hv, id2, image, 0, &err), &err);
    vm.id = id1;
    must(hv_resume(w.hv, &vm, image, &w.domid, &err), &err);
    guest(id1, "echo back $inherited", "back 169");
}

static void keeps_a_crashed_guest(void **state)
{
    struct xerr err = XERR_INIT;
    size_t from = events_now();

    (void)state;
    must(hv_send_sysrq(w.hv, id3, 'c', &err), &err);
    wait_event(from, HV_EVENT_CRASHED, U3, 60);
    assert_int_equal(query(id3).state, HV_STATE_CRASHED);
    must(hv_destroy(w.hv, id3, &err), &err);
    assert_int_equal(query(id3).state, HV_STATE_NONE);
}

static void refuses_what_cannot_be(void **state)
{
    struct xerr err = XERR_INIT;
    struct hv_vm vm = vm_of(U3, "");
    int64_t domid;

    (void)state;
    vm.kernel = "/nonexistent/vmlinuz";
    vm.ramdisk = NULL;
    assert_error(hv_start(w.hv, &vm, &domid, &err), &err, "DOMAIN_BUILDER_ERROR");
    vm = vm_of(U3, "");
    vm.memory_static_max_bytes = INT64_C(1) << 46;
    assert_int_equal(hv_start(w.hv, &vm, &domid, &err), -1);
    print_message("# 64 TiB: %s %s\n", err.code, err.params[err.n - 1]);
    xerr_clear(&err);
    const struct hv_pair platform[] = { { "machine", "vax" } };
    vm = vm_of(U3, "");
    vm.platform = platform;
    vm.n_platform = 1;
    assert_error(hv_start(w.hv, &vm, &domid, &err), &err, "VM_INCOMPATIBLE_WITH_THIS_HOST");
    assert_int_equal(query(id3).state, HV_STATE_NONE);
}

/* QEMU that hangs, then libvirtd that does: calls end at their deadlines, and everything comes back. */
static void survives_what_hangs(void **state)
{
    struct hv_vm vm = vm_of(U2, "console=ttyS0 quiet nonce=2");
    struct xerr err = XERR_INIT;
    struct hv_domain dom;
    int64_t domid;

    (void)state;
    if (!getenv("LEVEL") || !streq(getenv("LEVEL"), "full")) skip();
    must(hv_start(w.hv, &vm, &domid, &err), &err);
    assert_int_equal(kill(qemu_pid(U2), SIGSTOP), 0);
    int64_t begun = clock_monotonic_ns();
    assert_int_equal(hv_pause(w.hv, id2, &err), -1);
    assert_non_null(strstr(err.params[0], "deadline"));
    xerr_clear(&err);
    assert_true(clock_monotonic_ns() - begun < 40 * NS_PER_S);
    must(hv_destroy(w.hv, id2, &err), &err);

    must(hv_start(w.hv, &vm, &domid, &err), &err);
    size_t from = events_now();
    pid_t pid = daemon_pid();
    assert_int_equal(kill(pid, SIGSTOP), 0);
    begun = clock_monotonic_ns();
    assert_int_equal(hv_query(w.hv, id2, w.arena, &dom, &err), -1);
    xerr_clear(&err);
    assert_true(clock_monotonic_ns() - begun < 20 * NS_PER_S);
    wait_event(from, HV_EVENT_DRIVER_LOST, "", 60);
    wait_event(from, HV_EVENT_DRIVER_REGAINED, "", 90);
    assert_int_not_equal(daemon_pid(), pid);
    assert_int_equal(query(id2).domid, domid);
    assert_int_equal(query(id2).state, HV_STATE_RUNNING);
    must(hv_destroy(w.hv, id2, &err), &err);
}

static void ends(void **state)
{
    (void)state;
    pid_t pid = daemon_pid();
    hv_close_engine(w.hv);
    w.hv = NULL;
    for (int i = 0; kill(pid, 0) == 0 && i < 100; i++) usleep(100000);
    assert_int_equal(kill(pid, 0), -1);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path) && 0;      /* what cannot be removed stays for whoever looks why */
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens),
        cmocka_unit_test(boots),
        cmocka_unit_test(consoles_work),
        cmocka_unit_test(pauses),
        cmocka_unit_test(counts),
        cmocka_unit_test(plugs_disks),
        cmocka_unit_test(qemu_has_its_own_user),
        cmocka_unit_test(later_mounts_reach_guests),
        cmocka_unit_test(plugs_nics),
        cmocka_unit_test(changes_cds),
        cmocka_unit_test(balloons),
        cmocka_unit_test(suspends),
        cmocka_unit_test(suspend_that_fails_leaves_the_guest),
        cmocka_unit_test(image_serves_a_copy),
        cmocka_unit_test(survives_a_killed_libvirtd),
        cmocka_unit_test(survives_a_killed_agent),
        cmocka_unit_test(destroys_at_once),
        cmocka_unit_test(ends_what_a_killed_agent_began),
        cmocka_unit_test(other_machine_boots),
        cmocka_unit_test(guest_tells_of_itself),
        cmocka_unit_test(keeps_a_crashed_guest),
        cmocka_unit_test(reboots_cleanly),
        cmocka_unit_test(shuts_down_cleanly),
        cmocka_unit_test(refuses_what_cannot_be),
        cmocka_unit_test(survives_what_hangs),
        cmocka_unit_test(ends),
    };

    log_configure("stderr", getenv("VERBOSE") ? "debug" : "error");
    w.arena = arena_new();
    const char *build = getenv("XAPI_BUILD");
    if (!build) {
        fprintf(stderr, "XAPI_BUILD is not set\n");
        return 77;
    }
    w.program = argv[0];
    w.kernel = arena_printf(w.arena, "%s/guest/vmlinuz", build);
    w.initrd = arena_printf(w.arena, "%s/guest/initramfs.gz", build);
    w.modules = arena_printf(w.arena, "%s/.libs", build);
    if (argc > 2) return child_main(argv[2], streq(argv[1], "early"));

    const char *tmp = getenv("TMPDIR");
    char *root = arena_printf(w.arena, "%s/hv-libvirt-XXXXXX", tmp ? tmp : "/tmp");
    w.root = mkdtemp(root);
    if (!w.root || chmod(root, 0711) < 0) return 1;
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    if (w.hv) {
        const char *const all[] = { U1, U2, U3 };
        for (size_t k = 0; k < ARRAY_SIZE(all); k++) hv_destroy(w.hv, hv_id(all[k], REF_NULL), NULL);
        hv_close_engine(w.hv);
    }
    char *mounted = path_in_root("sr-mount");
    umount2(mounted, MNT_DETACH);
    nftw(w.root, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
    arena_free(w.arena);
    return rc;
}
