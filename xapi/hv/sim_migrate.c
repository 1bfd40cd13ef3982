/* The simulator's migration: a guest goes through a socket to another table, or to a new domain of the same.
 * Called by: hv.c through the vtable in sim.c.  Calls: sim_run.
 *
 * The sender: a line of its own size, its "memory"; the receiver: READY; the sender lets its guest go: GO; the receiver
 * begins it: DONE. REFUSED instead of READY or DONE: no more follows. Nobody has the guest between GO and DONE, and never do two. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/socket.h>

#include "xapi/hv/sim_run.h"

enum { HEAD_BYTES = 64, BLOCK = 4096, SLICE_MS = 20 };
static const char READY = 'r', GO = 'g', DONE = 'd', REFUSED = 'x';

static int lost(struct hv_failure *f)
{
    return hv_fail(f, HV_FAIL_ENGINE, "the other side has gone: %s", strerror(errno));
}

static int wait_for(int fd, short events, int64_t deadline_ms, struct hv_failure *f)
{
    for (;;) {
        struct pollfd p = { .fd = fd, .events = events };
        int64_t left_ms = deadline_ms - hv_now_ms();
        int n = left_ms <= 0 ? 0 : poll(&p, 1, left_ms > INT32_MAX ? INT32_MAX : (int)left_ms);

        if (n > 0) return 0;
        if (n == 0) return hv_fail(f, HV_FAIL_TIMEOUT, "the other side is slow");
        if (errno != EINTR) return lost(f);
    }
}

static int put(int fd, const void *bytes, size_t n, int64_t deadline_ms, struct hv_failure *f)
{
    for (const char *p = bytes; n;) {
        ssize_t done = send(fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (done >= 0) {
            p += done;
            n -= (size_t)done;
        } else if (errno == EAGAIN) {
            if (wait_for(fd, POLLOUT, deadline_ms, f) < 0) return -1;
        } else if (errno != EINTR) {
            return lost(f);
        }
    }
    return 0;
}

static int get(int fd, void *bytes, size_t n, int64_t deadline_ms, struct hv_failure *f)
{
    for (char *p = bytes; n;) {
        ssize_t done = recv(fd, p, n, MSG_DONTWAIT);

        if (done > 0) {
            p += done;
            n -= (size_t)done;
        } else if (done == 0) {
            errno = EPIPE;
            return lost(f);
        } else if (errno == EAGAIN) {
            if (wait_for(fd, POLLIN, deadline_ms, f) < 0) return -1;
        } else if (errno != EINTR) {
            return lost(f);
        }
    }
    return 0;
}

static int expect(int fd, char word, int64_t deadline_ms, struct hv_failure *f)
{
    char said;

    if (get(fd, &said, 1, deadline_ms, f) < 0) return -1;
    if (said == REFUSED) return hv_fail(f, HV_FAIL_ENGINE, "the other side refuses");
    return said == word ? 0 : hv_fail(f, HV_FAIL_ENGINE, "the other side is no simulator");
}

/* What is said before our own failure, or when nothing can be done about it that it is not heard. */
static void mention(int fd, char word, int64_t deadline_ms)
{
    struct hv_failure ignored;

    (void)put(fd, &word, 1, deadline_ms, &ignored);
}

/* So many bytes at the table's rate. Ends early when the other side has gone, or the guest's flag is set. */
static int send_memory(struct sim *s, int fd, const uint8_t *cancel, int64_t deadline_ms, struct hv_failure *f)
{
    int64_t bytes = SIM_SETTING(s, image_bytes), rate = SIM_SETTING(s, save_rate), begun_ms = hv_now_ms();
    char block[BLOCK] = { 0 };

    snprintf(block, HEAD_BYTES, "simulated guest, bytes %" PRId64 "\n", bytes);
    if (put(fd, block, HEAD_BYTES, deadline_ms, f) < 0) return -1;
    memset(block, 0x5a, sizeof block);
    for (int64_t sent = 0; sent < bytes;) {
        size_t n = bytes - sent < BLOCK ? (size_t)(bytes - sent) : BLOCK;
        struct pollfd gone = { .fd = fd, .events = POLLRDHUP };

        if (__atomic_load_n(cancel, __ATOMIC_RELAXED)) return hv_fail(f, HV_FAIL_CANCELLED, "aborted");
        if (rate > 0 && sim_real_ms(s, sent * 1000 / rate) > hv_now_ms() - begun_ms) {
            if (hv_now_ms() >= deadline_ms) return hv_fail(f, HV_FAIL_TIMEOUT, "the simulator is slow on purpose");
            if (poll(&gone, 1, SLICE_MS) > 0) return lost(f);
            continue;
        }
        if (put(fd, block, n, deadline_ms, f) < 0) return -1;
        sent += (int64_t)n;
    }
    return 0;
}

int sim_migrate_send(void *d, const char *uuid, int fd, bool live, int64_t deadline_ms, struct hv_failure *f)
{
    struct sim *s = d;
    struct sim_domain *dom = sim_enter_running(s, "hv.sim.migrate-send", uuid, false, f);

    (void)live;
    if (!dom) return -1;
    int64_t domid = dom->domid;
    dom->cancel = 0;
    sim_unlock(&s->table);
    if (send_memory(s, fd, &dom->cancel, deadline_ms, f) < 0 || expect(fd, READY, deadline_ms, f) < 0) return -1;

    sim_lock(&s->table);
    dom = sim_find(&s->table, uuid);
    bool same = dom && dom->domid == domid;
    if (same) sim_stop(s, dom, HV_STOP_MIGRATED);
    sim_unlock(&s->table);
    if (!same) return hv_fail(f, HV_FAIL_NO_DOMAIN, "it ended meanwhile");
    if (put(fd, &GO, 1, deadline_ms, f) < 0 || expect(fd, DONE, deadline_ms, f) < 0) return -1;
    return sim_injected("hv.sim.migrate-send.late", f);
}

/* What can be refused is refused while the sender still has the guest. */
static int check_room(struct sim *s, const struct hv_vm *vm, struct hv_failure *f)
{
    sim_lock(&s->table);
    bool here = sim_find(&s->table, vm->id.uuid) != NULL;       /* it makes room for itself */
    f->number = SIM_SETTING(s, host_memory_bytes) - s->table.head->memory_used_bytes;
    sim_unlock(&s->table);
    return here || vm->memory_target_bytes <= f->number ? 0 : hv_fail(f, HV_FAIL_NO_MEMORY, "not enough memory");
}

int sim_migrate_receive(void *d, const struct hv_vm *vm, int fd, int64_t deadline_ms, int64_t *ret_domid,
                        struct hv_failure *f)
{
    struct sim *s = d;
    char block[BLOCK];
    int64_t bytes;

    if (sim_injected("hv.sim.migrate-receive", f) < 0 || get(fd, block, HEAD_BYTES, deadline_ms, f) < 0) return -1;
    block[HEAD_BYTES - 1] = '\0';
    if (sscanf(block, "simulated guest, bytes %" SCNd64 "\n", &bytes) != 1 || bytes < 0)
        return hv_fail(f, HV_FAIL_ENGINE, "the other side is no simulator");
    for (size_t n; bytes; bytes -= (int64_t)n) {
        n = bytes < BLOCK ? (size_t)bytes : BLOCK;
        if (get(fd, block, n, deadline_ms, f) < 0) return -1;
    }
    if (check_room(s, vm, f) < 0) {
        mention(fd, REFUSED, deadline_ms);
        return -1;
    }
    if (put(fd, &READY, 1, deadline_ms, f) < 0 || expect(fd, GO, deadline_ms, f) < 0) return -1;
    int rc = sim_begin(s, "hv.sim.migrate-receive.begin", "hv.sim.migrate-receive.late", vm, SIM_SETTING(s, resume_ms), deadline_ms,
                       ret_domid, f);
    mention(fd, rc < 0 ? REFUSED : DONE, deadline_ms);
    return rc;
}
