/* Migration of simulated guests: as much "memory" as the settings say, at their rate, then the words of every driver.
 * Called by: hv.c through the vtable.  Calls: sim_run, hv_words.c. */
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

#include "xapi/hv/sim_run.h"

#define LOG_MODULE "hv"
#include "lib/log.h"

enum { PIECE = 4096, SLICE_MS = 20, ANSWER_MS = 120000 };
static const char magic[] = "simulated move 1\n";
struct head {
    char magic[sizeof magic];
    int64_t bytes;
};

static int64_t sooner(int64_t deadline_ms, int64_t wait_ms)
{
    const int64_t soon_ms = hv_now_ms() + wait_ms;

    return deadline_ms < soon_ms ? deadline_ms : soon_ms;
}

static int put(int fd, const void *bytes, size_t n, struct hv_failure *f)
{
    const char *p = bytes;

    while (n) {
        ssize_t done = send(fd, p, n, MSG_NOSIGNAL);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return hv_fail(f, HV_FAIL_ENGINE, "the other side has gone: %s", strerror(errno));
        p += done;
        n -= (size_t)done;
    }
    return 0;
}

static bool aborted(void *cancel) { return __atomic_load_n((const uint8_t *)cancel, __ATOMIC_RELAXED); }

static int send_memory(struct sim *s, int fd, int64_t deadline_ms, const uint8_t *cancel, struct hv_failure *f)
{
    static const char piece[PIECE];
    struct head head = { .bytes = SIM_SETTING(s, image_bytes) };
    const int64_t rate = SIM_SETTING(s, save_rate), begun_ms = hv_now_ms();

    memcpy(head.magic, magic, sizeof magic);
    if (put(fd, &head, sizeof head, f) < 0) return -1;
    for (int64_t sent = 0; sent < head.bytes;) {
        struct pollfd gone = { .fd = fd, .events = POLLIN | POLLRDHUP };
        if (__atomic_load_n(cancel, __ATOMIC_RELAXED)) return hv_fail(f, HV_FAIL_CANCELLED, "aborted");
        if (rate > 0 && sim_real_ms(s, sent * 1000 / rate) > hv_now_ms() - begun_ms) {
            if (hv_now_ms() >= deadline_ms) return hv_fail(f, HV_FAIL_TIMEOUT, "the simulator is slow on purpose");
            if (poll(&gone, 1, SLICE_MS) > 0) return 0;      /* it gives up, and may say why: the caller listens */
            continue;
        }
        const int64_t left = head.bytes - sent;
        if (put(fd, piece, left < PIECE ? (size_t)left : PIECE, f) < 0) return -1;
        sent += PIECE;
    }
    return 0;
}

int sim_migrate_send(void *d, const char *uuid, int fd, bool live, int64_t deadline_ms, struct hv_failure *f)
{
    struct sim *s = d;
    struct sim_domain *dom = sim_enter_running(s, "hv.sim.migrate", uuid, false, f);
    struct hv_failure late = { .kind = HV_FAIL_NONE };

    (void)live;
    if (!dom) return -1;
    const int64_t domid = dom->domid;
    uint8_t *cancel = &dom->cancel;
    *cancel = 0;
    sim_unlock(&s->table);
    if (send_memory(s, fd, deadline_ms, cancel, f) < 0 ||
        hv_expect(fd, HV_WORD_READY, sooner(deadline_ms, ANSWER_MS), aborted, cancel, f) < 0 || sim_injected("hv.sim.handover", f) < 0)
        return -1;
    sim_lock(&s->table);
    dom = sim_find(&s->table, uuid);
    const bool there = dom && dom->domid == domid;
    if (there) sim_stop(s, dom, HV_STOP_MIGRATED);
    sim_unlock(&s->table);
    if (!there) return hv_fail(f, HV_FAIL_NO_DOMAIN, "it ended meanwhile");
    /* From here on it runs there, or nowhere. */
    if (hv_say(fd, HV_WORD_GO, "", &late) < 0 || sim_injected("hv.sim.gone", &late) < 0 ||
        hv_expect(fd, HV_WORD_RUNS, hv_now_ms() + ANSWER_MS, NULL, NULL, &late) < 0)
        log_error("sim: %s has been handed over; whether it runs there is not known: %s", uuid, late.why);
    return 0;
}

static int receive_memory(int fd, int64_t deadline_ms, struct hv_failure *f)
{
    struct head head;
    char piece[PIECE];

    if (hv_read(fd, &head, sizeof head, deadline_ms, NULL, NULL, f) < 0) return -1;
    if (memcmp(head.magic, magic, sizeof magic) != 0 || head.bytes < 0) return hv_fail(f, HV_FAIL_NO_IMAGE, "it is no guest");
    for (int64_t left = head.bytes; left > 0; left -= PIECE)
        if (hv_read(fd, piece, left < PIECE ? (size_t)left : PIECE, deadline_ms, NULL, NULL, f) < 0) return -1;
    return 0;
}

static int check_room(struct sim *s, const struct hv_vm *vm, struct hv_failure *f)
{
    sim_lock(&s->table);
    f->number = SIM_SETTING(s, host_memory_bytes) - s->table.head->memory_used_bytes;
    const bool here = sim_find(&s->table, vm->id.uuid);
    sim_unlock(&s->table);
    return here || vm->memory_target_bytes <= f->number ? 0 : hv_fail(f, HV_FAIL_NO_MEMORY, "not enough memory");
}

int sim_migrate_receive(void *d, const struct hv_vm *vm, int fd, int64_t deadline_ms, int64_t *ret_domid, struct hv_failure *f)
{
    struct sim *s = d;
    struct hv_failure ignored = { .kind = HV_FAIL_NONE };

    int rc = check_room(s, vm, f);
    if (rc == 0) rc = receive_memory(fd, deadline_ms, f);
    if (rc == 0) rc = sim_injected("hv.sim.ready", f);
    if (rc == 0) rc = hv_say(fd, HV_WORD_READY, "", f);
    if (rc == 0) rc = hv_expect(fd, HV_WORD_GO, sooner(deadline_ms, ANSWER_MS), NULL, NULL, f);
    if (rc == 0) rc = sim_injected("hv.sim.taken", f);
    if (rc == 0) rc = sim_begin(s, "hv.sim.receive", "hv.sim.receive.late", vm, SIM_SETTING(s, resume_ms), deadline_ms, ret_domid, f);
    hv_say(fd, rc ? HV_WORD_FAILED : HV_WORD_RUNS, rc ? f->why : "", &ignored);
    return rc ? -1 : 0;
}
