/* Dynamic memory: guests give memory back when another needs it, and get it again when it is free.
 * Called by: vm_power.c, jobs/jobs.c.  Calls: hv/, db/. */
#include "xapi/vm_balloon.h"

#include <time.h>

#include "lib/clock.h"
#include "lib/num.h"
#include "xapi/vbd.h"

#define LOG_MODULE "vm"
#include "lib/log.h"

enum {
    STEP_MS = 100,
    STUCK_MS = 15000,                /* guests that give nothing back for so long give nothing */
    LIMIT_MS = 300000,
    ATTEMPTS = 3,                    /* of starts that take each other's memory */
    WORTH_BYTES = 4 << 20,           /* smaller steps are not worth a guest's trouble */
};
/* For the page tables and grants of guests that run. */
static const int64_t RESERVE_BYTES = 16 << 20;

/* ---- the plan -------------------------------------------------------------------------------- */

bool balloon_plan(struct balloon *all, size_t n, int64_t room_bytes)
{
    enum { PAGE = 4096 };
    int64_t least = 0, range = 0;

    for (size_t i = 0; i < n; i++) {
        least += all[i].min_bytes;
        range += all[i].max_bytes - all[i].min_bytes;
        all[i].target_bytes = all[i].min_bytes;
    }
    if (room_bytes < least) return false;
    const int64_t spare = room_bytes - least;
    for (size_t i = 0; i < n; i++) {
        int64_t mine = all[i].max_bytes - all[i].min_bytes;
        if (spare < range) mine = (int64_t)((__int128)mine * spare / range) / PAGE * PAGE;
        all[i].target_bytes += mine;
    }
    return true;
}

/* ---- the guests ------------------------------------------------------------------------------ */

struct guest {
    struct ref vm;
    char uuid[UUID_TEXT];
    int64_t actual_bytes, target_bytes;      /* as the hypervisor has them */
};
struct guests {
    struct guest *all;
    struct balloon *balloons;                /* of the same numbers; one more at the end for a guest that is to start */
    size_t n;
};

static const struct hv_domain *domain_of(const struct hv_domain *domains, size_t n, const char *uuid)
{
    for (size_t i = 0; i < n; i++)
        if (streq(domains[i].uuid, uuid)) return &domains[i];
    return NULL;
}

static void take_guest(const struct row *vm, const struct hv_domain *domain, struct guests *g)
{
    const int64_t min = row_int(vm, F_VM_memory_dynamic_min), max = row_int(vm, F_VM_memory_dynamic_max);

    if (!domain || domain->state != HV_STATE_RUNNING || min >= max) return;
    struct guest *one = &g->all[g->n];
    *one = (struct guest){ .vm = row_ref_of(vm), .actual_bytes = domain->memory_actual_bytes,
                           .target_bytes = domain->memory_target_bytes };
    memcpy(one->uuid, row_uuid(vm), sizeof one->uuid - 1);
    g->balloons[g->n++] = (struct balloon){ .min_bytes = min, .max_bytes = max };
}

/* Those that run here and whose memory may move. */
static int list_guests(struct call *c, struct guests *ret, struct xerr *err)
{
    const struct hv_domain *domains;
    size_t n;

    if (hv_list(c->agent->hv, c->arena, &domains, &n, err)) return -1;
    *ret = (struct guests){ arena_new_array(c->arena, struct guest, n + 1), arena_new_array(c->arena, struct balloon, n + 2), 0 };
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    for (size_t i = 0; i < n; i++) {
        const struct row *vm = snap_by_uuid(s, CLASS_VM, domains[i].uuid);
        if (vm && row_enum(vm, F_VM_power_state) == vm_power_state_Running)
            take_guest(vm, domain_of(domains, n, domains[i].uuid), ret);
    }
    return 0;
}

static int64_t sum_actual(const struct guests *g)
{
    int64_t all = 0;

    for (size_t i = 0; i < g->n; i++) all += g->all[i].actual_bytes;
    return all;
}

static void set_target(struct call *c, const struct guest *g, int64_t bytes)
{
    _cleanup_xerr_ struct xerr why = XERR_INIT;

    if (!hv_set_memory_target(c->agent->hv, hv_id(g->uuid, g->vm), bytes, &why)) return;
    _cleanup_free_ char *text = xerr_text(&why);
    log_warn("memory of VM %s: %s", g->uuid, text);
}

/* ---- making room ----------------------------------------------------------------------------- */

/* What the guests have given back since `before`. */
static int64_t given_back(struct call *c, const struct guests *before, struct xerr *err)
{
    _cleanup_arena_ struct arena *a = arena_new();
    const struct hv_domain *domains;
    int64_t bytes = 0;
    size_t n;

    if (hv_list(c->agent->hv, a, &domains, &n, err)) return -1;
    for (size_t i = 0; i < before->n; i++) {
        const struct hv_domain *d = domain_of(domains, n, before->all[i].uuid);
        bytes += before->all[i].actual_bytes - (d ? d->memory_actual_bytes : 0);
    }
    return bytes;
}

/* Waits until so much has come back, or no more comes. The bytes, -1 = cancelled or worse. */
static int64_t await_memory(struct call *c, const struct guests *g, int64_t wanted_bytes, struct xerr *err)
{
    const int64_t began_ms = clock_boottime_ns() / NS_PER_MS;
    int64_t best = 0, moved_ms = began_ms;

    for (;;) {
        int64_t now_ms = clock_boottime_ns() / NS_PER_MS, bytes = given_back(c, g, err);
        if (bytes < 0 && err->code) return -1;
        if (bytes > best) {
            best = bytes;
            moved_ms = now_ms;
        }
        if (best >= wanted_bytes || now_ms - moved_ms > STUCK_MS || now_ms - began_ms > LIMIT_MS) return best;
        if (call_check_cancel(c, err)) return -1;
        nanosleep(&(struct timespec){ 0, STEP_MS * 1000000L }, NULL);
    }
}

static void shrink(struct call *c, const struct guests *g)
{
    for (size_t i = 0; i < g->n; i++)
        if (g->balloons[i].target_bytes < g->all[i].target_bytes) set_target(c, &g->all[i], g->balloons[i].target_bytes);
}

static void restore(struct call *c, const struct guests *g)
{
    for (size_t i = 0; i < g->n; i++)
        if (g->balloons[i].target_bytes < g->all[i].target_bytes) set_target(c, &g->all[i], g->all[i].target_bytes);
}

/* Guests that have not come near to their target in all the time keep what they have: the others have to give it. Whether there
 * were any that nobody knew of. */
static bool leave_out_deaf(struct call *c, const struct guests *g)
{
    _cleanup_xerr_ struct xerr ignored = XERR_INIT;
    const struct hv_domain *domains;
    bool any = false;
    size_t n;

    if (hv_list(c->agent->hv, c->arena, &domains, &n, &ignored)) return false;
    for (size_t i = 0; i < g->n; i++) {
        struct balloon *b = &g->balloons[i];
        const struct hv_domain *d = domain_of(domains, n, g->all[i].uuid);
        if (!d || b->min_bytes == b->max_bytes || d->memory_actual_bytes < b->target_bytes + WORTH_BYTES) continue;
        log_info("VM %s does not follow its target", g->all[i].uuid);
        b->min_bytes = b->max_bytes = d->memory_actual_bytes;
        any = true;
        if (b->target_bytes < g->all[i].target_bytes) set_target(c, &g->all[i], g->all[i].target_bytes);
    }
    return any;
}

/* 0 when the guest, with the target that is now in its description, should fit; 1 when it cannot; -1 with the error. */
static int make_room(struct call *c, struct hv_vm *description, struct balloon limits, int64_t available_bytes, struct xerr *err)
{
    struct guests g;
    int64_t given;

    if (list_guests(c, &g, err)) return -1;
    struct balloon *mine = &g.balloons[g.n];
    *mine = limits;
    if (!balloon_plan(g.balloons, g.n + 1, available_bytes + sum_actual(&g))) return 1;
    do {
        const int64_t wanted = mine->target_bytes - available_bytes;
        log_info("VM %s: %zu guests are asked for %jd MiB", description->id.uuid, g.n, (intmax_t)(wanted >> 20));
        shrink(c, &g);
        given = wanted > 0 ? await_memory(c, &g, wanted, err) : 0;
        if (given >= 0 && available_bytes + given >= mine->min_bytes) {
            int64_t target = available_bytes + given;
            description->memory_target_bytes = target < mine->target_bytes ? target : mine->target_bytes;
            return 0;
        }
    } while (given >= 0 && leave_out_deaf(c, &g) && balloon_plan(g.balloons, g.n + 1, available_bytes + sum_actual(&g)));
    restore(c, &g);
    return given < 0 ? -1 : 1;
}

/* The error's numbers of bytes: what the guest needs, and what is free for it. */
static bool is_shortage(const struct xerr *err, int64_t *ret_needed, int64_t *ret_available)
{
    return xerr_is(err, "HOST_NOT_ENOUGH_FREE_MEMORY") && err->n == 2 && num_parse_int(err->params[0], ret_needed) &&
           num_parse_int(err->params[1], ret_available);
}

static int run(struct call *c, const struct hv_vm *description, const char *image, int64_t *ret_domid, struct xerr *err)
{
    _cleanup_opening_ struct storage_opening opening;

    vbd_opening_begin(c, description->disks, description->n_disks, &opening);
    return image ? hv_resume(c->agent->hv, description, image, ret_domid, err) : hv_start(c->agent->hv, description, ret_domid, err);
}

static int start_with_room(struct call *c, struct hv_vm *description, const char *image, int64_t *ret_domid, struct xerr *err)
{
    int64_t needed, available;

    for (int attempt = 1;; attempt++) {
        struct xerr shortage = XERR_INIT;
        if (!run(c, description, image, ret_domid, &shortage)) return 0;
        if (!is_shortage(&shortage, &needed, &available) || attempt == ATTEMPTS) return xerr_move(err, &shortage);
        const struct balloon limits = { .min_bytes = image ? needed : description->memory_dynamic_min_bytes,
                                        .max_bytes = image ? needed : description->memory_dynamic_max_bytes };
        int rc = make_room(c, description, limits, available, err);
        if (rc > 0) return xerr_move(err, &shortage);
        xerr_clear(&shortage);
        if (rc < 0) return -1;
    }
}

int vm_balloon_start(struct call *c, struct hv_vm *description, const char *image, int64_t *ret_domid, struct xerr *err)
{
    atomic_fetch_add(&c->agent->now->starting, 1);
    int rc = start_with_room(c, description, image, ret_domid, err);
    if (rc == 0) vbd_qos_begun(c, description->id, true);
    atomic_fetch_sub(&c->agent->now->starting, 1);
    return rc;
}

/* ---- giving it back -------------------------------------------------------------------------- */

/* Is there any guest whose memory may move? Mostly not, and then the hypervisor need not be asked. */
static bool any_moves(struct call *c)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);

    SNAP_EACH(s, CLASS_VM, vm)
        if (row_enum(vm, F_VM_power_state) == vm_power_state_Running &&
            row_int(vm, F_VM_memory_dynamic_min) < row_int(vm, F_VM_memory_dynamic_max))
            return true;
    return false;
}

static int return_memory(struct call *c, struct xerr *err)
{
    struct hv_host host;
    struct guests g;

    /* What guests have just given up for one that starts is not theirs to get back. */
    if (atomic_load(&c->agent->now->starting) || !any_moves(c)) return 0;
    if (list_guests(c, &g, err)) return -1;
    bool any = false;
    int64_t promised = 0, all = 0;
    for (size_t i = 0; i < g.n; i++) {
        const struct guest *one = &g.all[i];
        any |= one->target_bytes < g.balloons[i].max_bytes;
        if (one->target_bytes > one->actual_bytes) promised += one->target_bytes - one->actual_bytes;
        /* Nobody is asked for anything here: what each has, or was promised, is its least. */
        if (g.balloons[i].max_bytes < one->target_bytes) g.balloons[i].max_bytes = one->target_bytes;
        g.balloons[i].min_bytes = one->target_bytes;
        all += one->target_bytes;
    }
    if (!any) return 0;
    if (hv_get_host(c->agent->hv, c->arena, &host, err)) return -1;
    if (!balloon_plan(g.balloons, g.n, host.memory_free_bytes - RESERVE_BYTES - promised + all)) return 0;
    for (size_t i = 0; i < g.n; i++)
        if (g.balloons[i].target_bytes >= g.all[i].target_bytes + WORTH_BYTES || (g.balloons[i].target_bytes == g.balloons[i].max_bytes &&
                                                                                  g.all[i].target_bytes < g.balloons[i].max_bytes))
            set_target(c, &g.all[i], g.balloons[i].target_bytes);
    return 0;
}

void vm_balloon_return(struct agent *agent)
{
    struct call *c = call_new_internal(agent, "memory of guests");
    _cleanup_xerr_ struct xerr err = XERR_INIT;

    if (return_memory(c, &err)) {
        _cleanup_free_ char *why = xerr_text(&err);
        log_warn("memory of guests: %s", why);
    }
    call_free_internal(c);
}
