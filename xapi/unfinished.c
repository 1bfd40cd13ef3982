/* Disks and VMs that belong to nobody yet: unfinished.h.
 * Called by: class files that make something in several steps, startup.  Calls: db/, the gates. */
#define LOG_MODULE "vm"
#include "xapi/unfinished.h"

#include "gen/methods.h"
#include "lib/log.h"
#include "xapi/sr.h"
#include "xapi/vm.h"

static field_id field_of(enum class_id cls)
{
    return cls == CLASS_VM ? F_VM_other_config : cls == CLASS_SR ? F_SR_other_config : F_VDI_sm_config;
}

const char *unfinished_text(struct call *c)
{
    const char *vm = c->unfinished ? c->unfinished : "";

    return arena_printf(c->arena, "%s%s%s", REF_STR(c->agent->host), *vm ? " " : "", vm);
}

void unfinished_mark(struct call *c, struct txn *t, struct ref vdi)
{
    if (snap_get(txn_snap(t), CLASS_VDI, vdi)) txn_map_put_str(t, vdi, F_VDI_sm_config, UNFINISHED_KEY, unfinished_text(c));
}

void unfinished_end(struct txn *t, enum class_id cls, struct ref object)
{
    const struct row *row = snap_get(txn_snap(t), cls, object);

    if (!row || !row_map_str(row, field_of(cls), UNFINISHED_KEY, NULL)) return;
    const bool introduced = row_map_str(row, field_of(cls), UNFINISHED_CALL_KEY, NULL);
    txn_map_remove(t, object, field_of(cls), UNFINISHED_KEY);
    if (introduced) txn_map_remove(t, object, field_of(cls), UNFINISHED_CALL_KEY);
}

int unfinished_end_now(struct call *c, struct ref vdi, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);

    unfinished_end(t, CLASS_VDI, vdi);
    return db_commit(t, err);
}

/* ---- disks that a foreign driver introduces while it makes one -------------------------------------------------------- */

const char *unfinished_making(struct call *c, const char *disk)
{
    const char *vm = c->unfinished ? c->unfinished : "";

    return arena_printf(c->arena, "%s%s%s", disk, *vm ? " " : "", vm);
}

static size_t list_introduced(struct call *c, const char *disk, struct ref **ret_list)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    struct ref *list = arena_new_array(c->arena, struct ref, snap_count(s, CLASS_VDI) + 1);
    size_t n = 0;

    SNAP_EACH (s, CLASS_VDI, row)
        if (streq(row_map_str(row, F_VDI_sm_config, UNFINISHED_CALL_KEY, ""), disk)) list[n++] = row_ref_of(row);
    *ret_list = list;
    return n;
}

void unfinished_failed(struct call *c, const struct storage_sr *sr, const char *disk)
{
    const struct storage_driver *d = storage_driver_need(c->agent->storage, sr->type, NULL);
    struct ref *vdis;

    if (!d || !d->foreign) return;
    const size_t n = list_introduced(c, disk, &vdis);
    for (size_t i = 0; i < n; i++) {
        _cleanup_xerr_ struct xerr err = XERR_INIT;
        struct disk_ids ids;
        if (vdi_for_driver(c, vdis[i], &ids, &err) == 0) driver_undo(c, &ids.sr, &ids.vdi, "vdi_delete");
        struct txn *t = db_begin(c->agent->db);
        vdi_drop_row(t, vdis[i]);
        if (db_commit(t, &err)) log_warn("disk %s, whose making failed, stays: %s", REF_STR(vdis[i]), err.code);
    }
}

/* ---- what an agent left ------------------------------------------------------------------------------------------------ */

/* By a VM that the mark does not name. */
static bool is_used(const struct snap *s, const struct row *vdi)
{
    const char *space = strchr(row_map_str(vdi, F_VDI_sm_config, UNFINISHED_KEY, ""), ' '), *whose = space ? space + 1 : "";
    const struct refset *vbds = row_refs(vdi, F_VDI_VBDs);

    for (size_t i = 0; i < vbds->n; i++) {
        const struct row *vbd = snap_get(s, CLASS_VBD, vbds->refs[i]);
        if (!vbd) continue;
        if (row_bool(vbd, F_VBD_currently_attached)) return true;
        if (!streq(whose, UNFINISHED_DYING) && !streq(REF_STR(row_ref(vbd, F_VBD_VM)), whose)) return true;
    }
    return false;
}

static bool is_marked(struct call *c, enum class_id cls, struct ref object)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_get(s, cls, object);

    return row && row_map_str(row, field_of(cls), UNFINISHED_KEY, NULL);
}

/* A mark must not outlive the attempt: whoever finds the object may use it from then on. */
static void unmark(struct call *c, enum class_id cls, struct ref object)
{
    _cleanup_xerr_ struct xerr err = XERR_INIT;

    if (!is_marked(c, cls, object)) return;
    struct txn *t = db_begin(c->agent->db);
    unfinished_end(t, cls, object);
    if (db_commit(t, &err)) log_warn("%s keeps the mark of work that was cut off: %s", REF_STR(object), err.code);
}

void unfinished_destroy(struct call *c, struct ref vdi)
{
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    bool used;
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *row = snap_get(s, CLASS_VDI, vdi);
        if (!row) return;
        used = is_used(s, row);
    }
    if (!used && call_message(c, "VDI.destroy", ARGS(value_ref(vdi)), NULL, &err)) {
        _cleanup_free_ char *why = xerr_text(&err);
        log_warn("disk %s, which nobody has, stays: %s", REF_STR(vdi), why);
        if (xerr_is(&err, "SR_HAS_NO_PBDS") || xerr_is(&err, "SR_NOT_ATTACHED")) return;
    }
    unmark(c, CLASS_VDI, vdi);
}

/* One that somebody has started since is his. */
static void destroy_vm(struct call *c, struct ref vm)
{
    _cleanup_xerr_ struct xerr err = XERR_INIT;

    if (call_message(c, "VM.destroy", ARGS(value_ref(vm)), NULL, &err)) {
        _cleanup_free_ char *why = xerr_text(&err);
        log_warn("VM %s, whose making was cut off, stays: %s", REF_STR(vm), why);
    }
    unmark(c, CLASS_VM, vm);
}

/* Marks of another kind say how a VM runs again, and since which boot of the host. */
static const char *rerun_of(const char *mark)
{
    const char *space = strchr(mark, ' ');

    return space ? space + 1 : NULL;
}

size_t unfinished_list(struct call *c, enum class_id cls, struct ref sr, struct ref **ret_list)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    struct ref *list = arena_new_array(c->arena, struct ref, snap_count(s, cls) + 1);
    char host[REF_TEXT];
    size_t n = 0;

    ref_text(c->agent->host, host);
    SNAP_EACH (s, cls, row)
        if (has_prefix(row_map_str(row, field_of(cls), UNFINISHED_KEY, ""), host) &&
            (cls != CLASS_VM || !rerun_of(row_map_str(row, F_VM_other_config, UNFINISHED_KEY, ""))) &&
            (ref_is_null(sr) || ref_eq(row_ref(row, F_VDI_SR), sr)))
            list[n++] = row_ref_of(row);
    *ret_list = list;
    return n;
}

static size_t destroy_disks(struct call *c, struct ref sr)
{
    struct ref *vdis;
    const size_t n = unfinished_list(c, CLASS_VDI, sr, &vdis);

    for (size_t i = 0; i < n; i++) unfinished_destroy(c, vdis[i]);
    return n;
}

int unfinished_startup(struct call *c, struct xerr *err)
{
    struct ref *vms;
    const size_t n_vms = unfinished_list(c, CLASS_VM, REF_NULL, &vms);

    (void)err;
    for (size_t i = 0; i < n_vms; i++) destroy_vm(c, vms[i]);
    const size_t n_vdis = destroy_disks(c, REF_NULL);
    if (n_vms + n_vdis) log_info("work that was cut off: %zu VMs and %zu disks of it", n_vms, n_vdis);
    return 0;
}

void unfinished_plugged(struct call *c, struct ref sr)
{
    const size_t n = destroy_disks(c, sr);

    if (n) log_info("work that was cut off: %zu disks of it", n);
}

/* ---- VMs that are to run again ---------------------------------------------------------------------------------------- */

#define BOOT_ID "/proc/sys/kernel/random/boot_id"

static const char *boot_id(struct call *c)
{
    _cleanup_free_ char *text = NULL;

    return read_file(BOOT_ID, 256, &text, NULL) ? "" : arena_strndup(c->arena, text, strcspn(text, "\n"));
}

int unfinished_rerun(struct call *c, struct ref vm, const char *how, struct xerr *err)
{
    const char *mark = arena_printf(c->arena, "%s %s %s", REF_STR(c->agent->host), how, boot_id(c));
    struct txn *t = db_begin(c->agent->db);

    txn_map_put_str(t, vm, F_VM_other_config, UNFINISHED_KEY, mark);
    return db_commit(t, err);
}

void unfinished_rerun_end(struct call *c, struct ref vm, uint64_t failures)
{
    if (db_failures(c->agent->db) == failures) unmark(c, CLASS_VM, vm);
}

/* What can be written down; the state that the VM is still in when nobody has done it. */
static const struct way {
    const char *how;
    enum vm_power_state from;
    const char *message;
    bool paused;
} ways[] = {
    { "start", vm_power_state_Halted, "VM.start", false },
    { "resume", vm_power_state_Suspended, "VM.resume", false },
    { "resume-paused", vm_power_state_Suspended, "VM.resume", true },
    { "unpause", vm_power_state_Paused, "VM.unpause", false },
};

struct rerun {
    struct ref vm;
    const struct way *way;         /* NULL: it is not to run any more */
};

static const struct way *way_of(const char *how, size_t n)
{
    for (size_t i = 0; i < ARRAY_SIZE(ways); i++)
        if (strlen(ways[i].how) == n && memcmp(ways[i].how, how, n) == 0) return &ways[i];
    return NULL;
}

static size_t list_reruns(struct call *c, struct rerun **ret_list)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    struct rerun *list = arena_new_array(c->arena, struct rerun, snap_count(s, CLASS_VM) + 1);
    size_t n = 0;

    SNAP_EACH (s, CLASS_VM, row) {
        const char *mark = row_map_str(row, F_VM_other_config, UNFINISHED_KEY, ""), *how = rerun_of(mark);
        if (!how || !has_prefix(mark, REF_STR(c->agent->host))) continue;
        const char *end = strchr(how, ' ');
        const bool same_boot = end && streq(end + 1, boot_id(c));
        list[n++] = (struct rerun){ row_ref_of(row), same_boot ? way_of(how, (size_t)(end - how)) : NULL };
    }
    *ret_list = list;
    return n;
}

bool unfinished_rerun_due(struct agent *agent)
{
    struct call *c = call_new_internal(agent, "VMs that are to run again");
    struct rerun *list;
    const size_t n = list_reruns(c, &list);

    call_free_internal(c);
    return n;
}

/* One that runs, or that somebody has put into another state, is left as it is. */
static void run_again(struct call *c, const struct rerun *r)
{
    const struct value args[] = { value_ref(r->vm), value_bool(r->way && r->way->paused), value_bool(true) };
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    int state;
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *row = snap_get(s, CLASS_VM, r->vm);
        state = row ? row_enum(row, F_VM_power_state) : -1;
    }
    if (r->way && state == (int)r->way->from) {
        const size_t n = r->way->from == vm_power_state_Paused ? 1 : ARRAY_SIZE(args);
        int rc = call_message(c, r->way->message, args, n, NULL, &err);
        _cleanup_free_ char *why = rc ? xerr_text(&err) : NULL;
        if (rc) log_error("VM %s was to run again and does not: %s", REF_STR(r->vm), why);
        else log_info("VM %s runs again: what it stood still for was cut off", REF_STR(r->vm));
    }
    unmark(c, CLASS_VM, r->vm);
}

void unfinished_rerun_one(struct call *c, struct ref vm)
{
    struct rerun *list;
    const size_t n = list_reruns(c, &list);

    for (size_t i = 0; i < n; i++)
        if (ref_eq(list[i].vm, vm)) run_again(c, &list[i]);
}

void unfinished_rerun_run(struct agent *agent)
{
    struct call *c = call_new_internal(agent, "VMs that are to run again");
    struct rerun *list;
    const size_t n = list_reruns(c, &list);

    for (size_t i = 0; i < n; i++) run_again(c, &list[i]);
    call_free_internal(c);
}
