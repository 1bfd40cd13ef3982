/* Class VBD: how much may be read and written in a drive, and how urgently.
 * Called by: the generated thunks (schema/vbd.xml), vbd*.c, vm_balloon.c, vm_migrate.c.  Calls: hv/, storage/, db/, message.h.
 *
 *   ratelimit   kbps (KiB a second) and iops (requests a second), reads and writes together; 0 = no limit: the engine slows the
 *               guest down
 *   ionice      sched (rt, best-effort, idle) and class (highest, high, normal, low, lowest, or 0 to 7): how urgent requests are to
 *               the host's kernel. It knows processes only: disks of one guest that one process serves are as urgent as the most
 *               urgent of them. */
#define LOG_MODULE "vbd"
#include "xapi/vbd.h"

#include "gen/methods.h"
#include "lib/ioprio.h"
#include "lib/log.h"
#include "lib/num.h"
#include "xapi/message.h"

enum { ALERT_PRIORITY = 3, NORMAL = 4 };

/* ---- the record ---------------------------------------------------------------------------- */

struct named { const char *name; int value; };
static const struct named scheds[] = { { "rt", IOPRIO_RT }, { "best-effort", IOPRIO_BE }, { "idle", IOPRIO_IDLE }, { NULL, 0 } };
static const struct named levels[] = { { "highest", 0 }, { "high", 2 }, { "normal", NORMAL }, { "low", 5 }, { "lowest", 7 }, { NULL, 0 } };

static bool find_named(const struct named *all, const char *text, int *ret)
{
    for (; all->name; all++) {
        if (!streq(all->name, text)) continue;
        *ret = all->value;
        return true;
    }
    return false;
}

static bool parse_level(const char *text, int *ret)
{
    int64_t n;

    if (find_named(levels, text, ret)) return true;
    if (!num_parse_int(text, &n) || n < 0 || n > 7) return false;
    *ret = (int)n;
    return true;
}

static bool parse_rate(const char *text, int64_t unit, int64_t *ret)
{
    int64_t n;

    if (!num_parse_int(text, &n) || n < 0 || n > INT64_MAX / unit) return false;
    *ret = n * unit;
    return true;
}

/* Keys that are none of ours are whoever's who reads them. */
static int check_param(const char *key, const char *value, struct xerr *err)
{
    int64_t rate;
    int n;

    if (streq(key, "kbps") ? parse_rate(value, 1024, &rate) : streq(key, "iops") ? parse_rate(value, 1, &rate)
        : streq(key, "sched") ? find_named(scheds, value, &n) : streq(key, "class") ? parse_level(value, &n) : true)
        return 0;
    _cleanup_free_ char *what = xasprintf("qos_algorithm_params:%s", key);
    return xerr_invalid_value(err, what, value);
}

static int check_params(const struct value *params, struct xerr *err)
{
    for (size_t i = 0; params && params->kind == VALUE_MAP && i < params->map.n; i++)
        if (check_param(params->map.members[i].key, params->map.members[i].value.s, err)) return -1;
    return 0;
}

static int check_type(struct call *c, const char *type, struct xerr *err)
{
    if (!*type) return 0;
    if (streq(type, "ratelimit")) {
        if (hv_can(c->agent->hv, HV_CAN_DISK_LIMIT)) return 0;
        return xerr_value_not_supported(err, "qos_algorithm_type", type, "this hypervisor cannot limit disks");
    }
    return streq(type, "ionice") ? 0 : xerr_invalid_value(err, "qos_algorithm_type", type);
}

int vbd_qos_check(struct call *c, const char *type, const struct value *params, struct xerr *err)
{
    return check_type(c, type, err) || check_params(params, err) ? -1 : 0;
}

void vbd_qos_supported(struct call *c, struct txn *t, struct ref vbd)
{
    struct value names[2];
    size_t n = 0;

    if (hv_can(c->agent->hv, HV_CAN_IO_PRIORITY)) names[n++] = value_string("ionice");
    if (hv_can(c->agent->hv, HV_CAN_DISK_LIMIT)) names[n++] = value_string("ratelimit");
    const struct value set = value_set(names, n);
    txn_set_value(t, vbd, F_VBD_qos_supported_algorithms, &set);
}

void vbd_qos_limits(const struct row *vbd, struct hv_disk *disk)
{
    if (!streq(row_str(vbd, F_VBD_qos_algorithm_type), "ratelimit")) return;
    parse_rate(row_map_str(vbd, F_VBD_qos_algorithm_params, "kbps", "0"), 1024, &disk->limit_bytes);
    parse_rate(row_map_str(vbd, F_VBD_qos_algorithm_params, "iops", "0"), 1, &disk->limit_requests);
}

/* 0 = nothing is said. */
static int priority_of(const struct row *vbd)
{
    int class = IOPRIO_BE, level = NORMAL;

    if (!streq(row_str(vbd, F_VBD_qos_algorithm_type), "ionice")) return 0;
    find_named(scheds, row_map_str(vbd, F_VBD_qos_algorithm_params, "sched", "best-effort"), &class);
    parse_level(row_map_str(vbd, F_VBD_qos_algorithm_params, "class", "normal"), &level);
    return IOPRIO(class, class == IOPRIO_IDLE ? 0 : level);
}

/* ---- ionice -------------------------------------------------------------------------------- */

/* A drive of the guest, with what serves it. */
struct urgent { const char *vdi_uuid; int priority; };

static int more_urgent(int a, int b)
{
    const int unsaid = IOPRIO(IOPRIO_BE, NORMAL);

    return (a ? a : unsaid) <= (b ? b : unsaid) ? a : b;
}

/* all: a guest that has just been made has every drive. *ret_said: some drive says something. */
static struct urgent *read_drives(struct call *c, struct ref vm, bool all, size_t *ret_n, bool *ret_said)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_get(s, CLASS_VM, vm);
    const struct refset *vbds = row ? row_refs(row, F_VM_VBDs) : NULL;
    struct urgent *list = arena_new_array(c->arena, struct urgent, (vbds ? vbds->n : 0) + 1);
    size_t n = 0;

    *ret_said = false;
    for (size_t i = 0; vbds && i < vbds->n; i++) {
        const struct row *vbd = snap_get(s, CLASS_VBD, vbds->refs[i]);
        const struct row *vdi = vbd ? snap_get(s, CLASS_VDI, row_ref(vbd, F_VBD_VDI)) : NULL;
        if (!vdi || (!all && !row_bool(vbd, F_VBD_currently_attached))) continue;
        list[n] = (struct urgent){ arena_strdup(c->arena, row_uuid(vdi)), priority_of(vbd) };
        *ret_said |= list[n++].priority != 0;
    }
    *ret_n = n;
    return list;
}

static int prioritize(struct call *c, struct hv_id id, const struct urgent *list, size_t n, struct xerr *err)
{
    int most = n ? list[0].priority : 0;

    for (size_t i = 0; i < n; i++) {
        most = more_urgent(list[i].priority, most);
        if (storage_set_priority(c->agent->storage, list[i].vdi_uuid, list[i].priority, err)) return -1;
    }
    return hv_set_io_priority(c->agent->hv, id, most, err);
}

/* A guest that runs is worth more than its disks' urgency. */
void vbd_qos_begun(struct call *c, struct hv_id id, bool all)
{
    _cleanup_xerr_ struct xerr why = XERR_INIT, ignored = XERR_INIT;
    struct ref message;
    bool said;
    size_t n;
    const struct urgent *list = read_drives(c, id.vm, all, &n, &said);

    if (!said || prioritize(c, id, list, n, &why) == 0) return;
    _cleanup_free_ char *text = xerr_text(&why);
    log_warn("disks of %s: %s", id.uuid, text);
    message_create(c, "VBD_QOS_FAILED", ALERT_PRIORITY, cls_VM, id.uuid, text, &message, &ignored);
}

/* ---- set while it runs ---------------------------------------------------------------------- */

struct live {
    bool attached;
    struct hv_id id;
    struct hv_disk disk;
};

static int look(struct call *c, struct ref vbd, struct live *ret, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_need(s, CLASS_VBD, vbd, err);
    const struct row *vm = row ? snap_get(s, CLASS_VM, row_ref(row, F_VBD_VM)) : NULL;

    if (!row) return -1;
    *ret = (struct live){ .attached = vm && row_bool(row, F_VBD_currently_attached) && !row_bool(row, F_VBD_empty) &&
                                      !row_bool(vm, F_VM_is_control_domain) && ref_eq(row_ref(vm, F_VM_resident_on), c->agent->host) };
    if (!ret->attached) return 0;
    ret->id = hv_id(arena_strdup(c->arena, row_uuid(vm)), row_ref_of(vm));
    ret->disk = (struct hv_disk){ .ref = vbd, .device = arena_strdup(c->arena, row_str(row, F_VBD_device)) };
    vbd_qos_limits(row, &ret->disk);
    return 0;
}

static int apply(struct call *c, struct ref vbd, struct xerr *err)
{
    struct live live;
    bool said;
    size_t n;

    if (look(c, vbd, &live, err) || !live.attached) return err->code ? -1 : 0;
    if (hv_can(c->agent->hv, HV_CAN_DISK_LIMIT) && hv_disk_limit(c->agent->hv, live.id, &live.disk, err)) return -1;
    const struct urgent *list = read_drives(c, live.id.vm, false, &n, &said);
    return hv_can(c->agent->hv, HV_CAN_IO_PRIORITY) ? prioritize(c, live.id, list, n, err) : 0;
}

int vbd_set_qos_algorithm_type(struct call *c, struct ref self, const char *value, struct xerr *err)
{
    const struct value v = value_string(value);

    if (check_type(c, value, err)) return -1;
    return db_set_field(c->agent->db, self, F_VBD_qos_algorithm_type, &v, err) ? -1 : apply(c, self, err);
}

int vbd_set_qos_algorithm_params(struct call *c, struct ref self, const struct value *value, struct xerr *err)
{
    if (check_params(value, err)) return -1;
    return db_set_field(c->agent->db, self, F_VBD_qos_algorithm_params, value, err) ? -1 : apply(c, self, err);
}

int vbd_add_to_qos_algorithm_params(struct call *c, struct ref self, const char *key, const char *value, struct xerr *err)
{
    const struct value v = value_string(value);

    if (check_param(key, value, err)) return -1;
    struct txn *t = db_begin(c->agent->db);
    txn_map_add(t, self, F_VBD_qos_algorithm_params, key, &v);
    return db_commit(t, err) ? -1 : apply(c, self, err);
}

int vbd_remove_from_qos_algorithm_params(struct call *c, struct ref self, const char *key, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);

    txn_map_remove(t, self, F_VBD_qos_algorithm_params, key);
    return db_commit(t, err) ? -1 : apply(c, self, err);
}
