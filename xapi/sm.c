/* Class SM: the storage drivers as clients see them; and storage at the start of the agent.
 * Called by: startup.c.  Calls: storage/, sr.h, db/. */
#define LOG_MODULE "sm"
#include "xapi/sm.h"

#include "gen/methods.h"
#include "lib/log.h"
#include "xapi/sr.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>

enum { PLUG_MS = 60000, START_WAIT_S = 2 };

/* ---- driver records ------------------------------------------------------------------------ */

static uint64_t format_bits(const struct storage_driver *d)
{
    const struct enum_desc *e = model_field(F_SM_supported_image_formats)->type->elem->e;
    uint64_t bits = 0;

    for (size_t i = 0; i < d->image_formats.set.n; i++) {
        const struct value *v = &d->image_formats.set.items[i];
        int bit = v->kind == VALUE_STRING ? enum_index(e, v->s) : -1;
        if (bit >= 0) bits |= UINT64_C(1) << bit;
    }
    return bits;
}

static void put_driver(struct txn *t, struct ref sm, const struct storage_driver *d)
{
    txn_set_str(t, sm, F_SM_type, d->type);
    txn_set_str(t, sm, F_SM_name_label, d->name);
    txn_set_str(t, sm, F_SM_name_description, d->description);
    txn_set_str(t, sm, F_SM_vendor, d->vendor);
    txn_set_str(t, sm, F_SM_copyright, d->copyright);
    txn_set_str(t, sm, F_SM_version, d->version);
    txn_set_str(t, sm, F_SM_required_api_version, d->required_api_version);
    txn_set_str(t, sm, F_SM_driver_filename, d->program);
    txn_set_value(t, sm, F_SM_configuration, &d->configuration);
    txn_set_value(t, sm, F_SM_capabilities, &d->capabilities);
    txn_set_value(t, sm, F_SM_features, &d->features);
    txn_set_bits(t, sm, F_SM_supported_image_formats, format_bits(d));
}

static struct ref find_record(const struct snap *s, const char *type)
{
    SNAP_EACH (s, CLASS_SM, sm) {
        if (streq(row_str(sm, F_SM_type), type)) return row_ref_of(sm);
    }
    return REF_NULL;
}

/* The first record without a driver, null when every one has its own. */
static struct ref find_orphan(const struct snap *s, struct storage *storage)
{
    SNAP_EACH (s, CLASS_SM, sm) {
        if (!storage_driver_need(storage, row_str(sm, F_SM_type), NULL)) return row_ref_of(sm);
    }
    return REF_NULL;
}

/* The records as the drivers are. *ret_changed: what some driver can do is not what it was. */
static int sync_drivers(struct agent *agent, bool *ret_changed, struct xerr *err)
{
    struct txn *t = db_begin(agent->db);
    bool changed = false;
    struct ref orphan;

    for (size_t i = 0; i < storage_driver_count(agent->storage); i++) {
        const struct storage_driver *d = storage_driver_at(agent->storage, i);
        struct ref sm = find_record(txn_snap(t), d->type);
        if (ref_is_null(sm)) {
            sm = ref_new();
            txn_create(t, CLASS_SM, sm);
        }
        const struct row *row = snap_get(txn_snap(t), CLASS_SM, sm);
        changed |= row && !value_eq(row_value(row, F_SM_features), &d->features);
        put_driver(t, sm, d);
    }
    while (!txn_failed(t) && !ref_is_null(orphan = find_orphan(txn_snap(t), agent->storage))) {
        txn_destroy(t, CLASS_SM, orphan);
        changed = true;
    }
    *ret_changed = changed;
    return db_commit(t, err);
}

static int sm_startup(struct call *c, struct xerr *err)
{
    struct ref *srs;
    size_t n = 0;
    bool changed;

    if (sync_drivers(c->agent, &changed, err)) return -1;
    if (!changed) return 0;
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        srs = arena_new_array(c->arena, struct ref, snap_count(s, CLASS_SR));
        SNAP_EACH (s, CLASS_SR, sr) srs[n++] = row_ref_of(sr);
    }
    for (size_t i = 0; i < n; i++)
        if (sr_refresh_operations(c, srs[i], err)) return -1;
    return 0;
}

/* ---- plugging at start --------------------------------------------------------------------- */

struct plug {
    struct agent *agent;
    struct ref pbd;
    struct plugging *all;
    bool done, plugged;            /* lock: of all */
    bool late;                     /* lock: of all; the record says unplugged meanwhile */
};

/* Lives until the last thread and the starter have let go. */
struct plugging {
    pthread_mutex_t lock;
    pthread_cond_t changed;        /* with lock */
    unsigned left;                 /* lock: threads that have not ended */
    bool abandoned;                /* lock: the starter has let go */
    struct plug *plugs;
    size_t n;                      /* immutable */
};

static void plugging_free(struct plugging *all)
{
    pthread_mutex_destroy(&all->lock);
    pthread_cond_destroy(&all->changed);
    free(all->plugs);
    free(all);
}

/* As an operation: by now others may work on the repository. */
static void first_scan(struct call *c, struct ref pbd)
{
    struct storage_sr ids;
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    struct ref sr;

    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *row = snap_get(s, CLASS_PBD, pbd);
        sr = row ? row_ref(row, F_PBD_SR) : REF_NULL;
    }
    if (sr_for_driver(c, sr, true, &ids, &err) || !sr_has_feature(c, &ids, "SR_SCAN")) return;
    if (!call_message(c, "SR.scan", ARGS(value_ref(sr)), NULL, &err)) return;
    _cleanup_free_ char *text = xerr_text(&err);
    log_warn("SR %s is plugged but cannot be scanned: %s", ids.uuid, text);
}

static void mark(struct call *c, const struct plug *p, bool plugged)
{
    _cleanup_xerr_ struct xerr err = XERR_INIT;

    if (pbd_mark(c, p->pbd, plugged, &err)) log_error("PBD %s: %s", REF_STR(p->pbd), err.code);
}

/* Until the driver has answered the record says what the last agent knew: nearly always it is true, and nothing acts on
 * it before the agent is ready. A repository that does not answer is left unplugged; neither its neighbours nor the start
 * wait for it. */
static void plug_one(struct plug *p)
{
    struct call *c = call_new_internal(p->agent, "plug storage");
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    bool plugged = !pbd_connect(c, p->pbd, PLUG_MS, &err);

    if (!plugged) {
        _cleanup_free_ char *text = xerr_text(&err);
        log_error("PBD %s stays unplugged: %s", REF_STR(p->pbd), text);
        mark(c, p, false);
    }
    pthread_mutex_lock(&p->all->lock);
    p->done = true;
    p->plugged = plugged;
    bool late = p->late;
    pthread_mutex_unlock(&p->all->lock);
    if (plugged && late) mark(c, p, true);
    if (plugged) first_scan(c, p->pbd);
    call_free_internal(c);
}

/* One that has not answered in time. It may do so at any moment: then either we see that, or its thread sees us. */
static void give_up(struct call *c, struct plug *p)
{
    mark(c, p, false);
    pthread_mutex_lock(&p->all->lock);
    p->late = true;
    bool after_all = p->done && p->plugged;
    pthread_mutex_unlock(&p->all->lock);
    if (after_all) mark(c, p, true);
}

static void *plug_thread(void *arg)
{
    struct plug *p = arg;
    struct plugging *all = p->all;
    struct storage *storage = p->agent->storage;

    plug_one(p);
    pthread_mutex_lock(&all->lock);
    bool last = --all->left == 0 && all->abandoned;
    pthread_cond_signal(&all->changed);
    pthread_mutex_unlock(&all->lock);
    if (last) plugging_free(all);
    storage_use_end(storage);
    return NULL;
}

static void list_own_pbds(struct call *c, struct plugging *all)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);

    all->plugs = xcalloc(snap_count(s, CLASS_PBD), sizeof(*all->plugs));
    SNAP_EACH (s, CLASS_PBD, pbd) {
        if (ref_eq(row_ref(pbd, F_PBD_host), c->agent->host))
            all->plugs[all->n++] = (struct plug){ .agent = c->agent, .pbd = row_ref_of(pbd), .all = all };
    }
}

static void start_thread(struct call *c, struct plug *p)
{
    pthread_attr_t attr;
    pthread_t thread;

    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    storage_use_begin(c->agent->storage);
    if (pthread_create(&thread, &attr, plug_thread, p)) plug_thread(p);
    pthread_attr_destroy(&attr);
}

/* Side by side; the start goes on when all are plugged and scanned, or after a while without those that hang. */
static void plug_all(struct call *c)
{
    struct plugging *all = xcalloc(1, sizeof(*all));
    pthread_condattr_t attr;
    struct timespec until;

    list_own_pbds(c, all);
    pthread_mutex_init(&all->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&all->changed, &attr);
    pthread_condattr_destroy(&attr);
    all->left = (unsigned)all->n;
    for (size_t i = 0; i < all->n; i++) start_thread(c, &all->plugs[i]);
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += START_WAIT_S;
    pthread_mutex_lock(&all->lock);
    while (all->left && pthread_cond_timedwait(&all->changed, &all->lock, &until) != ETIMEDOUT) {}
    if (all->left) log_warn("%u storage repositories are still being plugged or scanned", all->left);
    for (size_t i = 0; all->left && i < all->n; i++) {
        if (all->plugs[i].done) continue;
        pthread_mutex_unlock(&all->lock);
        give_up(c, &all->plugs[i]);
        pthread_mutex_lock(&all->lock);
    }
    bool last = all->left == 0;
    all->abandoned = true;
    pthread_mutex_unlock(&all->lock);
    if (last) plugging_free(all);
}

/* ---- attachments that nobody stands behind ------------------------------------------------- */

static bool is_used(const struct snap *s, const struct storage_attachment *at)
{
    const struct row *vbd = snap_by_uuid(s, CLASS_VBD, at->owner);

    return vbd && row_bool(vbd, F_VBD_currently_attached);
}

/* The guest may have the disk: vm_resync() takes it from him first. One that an earlier agent was moving here (vm_moves_mark()) may be
 * there though no record says so yet. */
static bool may_be_in_guest(const struct snap *s, const struct storage_attachment *at)
{
    const struct row *vbd = snap_by_uuid(s, CLASS_VBD, at->owner), *vm = vbd ? snap_get(s, CLASS_VM, row_ref(vbd, F_VBD_VM)) : NULL;
    const int state = vm && !row_bool(vm, F_VM_is_control_domain) ? row_enum(vm, F_VM_power_state) : vm_power_state_Halted;

    return state == vm_power_state_Running || state == vm_power_state_Paused || (vm && row_value(vm, F_VM_current_operations)->map.n);
}

static void drop_one(struct call *c, const struct storage_attachment *at)
{
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    struct ref vdi;
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *row = snap_by_uuid(s, CLASS_VDI, at->vdi_uuid);
        if (is_used(s, at) || !row) return;
        vdi = row_ref_of(row);
    }
    if (vdi_detach(c, vdi, at->owner, &err)) {
        _cleanup_free_ char *why = xerr_text(&err);
        log_warn("disk %s stays attached for %s: %s", at->vdi_uuid, at->owner, why);
    } else {
        log_info("disk %s was attached for %s, which is gone: detached", at->vdi_uuid, at->owner);
    }
}

/* Copies, suspends and starts that died with the last agent. */
static void drop_stale(struct call *c)
{
    const struct storage_attachment *list;
    size_t n = storage_attachments(c->agent->storage, NULL, NULL, c->arena, &list);

    for (size_t i = 0; i < n; i++) {
        bool in_guest;
        {
            _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
            in_guest = may_be_in_guest(s, &list[i]);
        }
        if (!in_guest) drop_one(c, &list[i]);
    }
}

/* A drive's whose VM has ended, or that is gone itself, and nobody works on: its detaching failed then. A transfer's of which it failed. */
static bool was_left(const struct snap *s, const struct storage_attachment *at)
{
    const struct row *vbd = snap_by_uuid(s, CLASS_VBD, at->owner), *vm = vbd ? snap_get(s, CLASS_VM, row_ref(vbd, F_VBD_VM)) : NULL;
    struct ref bytes;

    if (!uuid_from_text(at->owner, &bytes)) return at->left;
    if (!vbd) return true;
    return !row_bool(vbd, F_VBD_currently_attached) && !row_value(vbd, F_VBD_current_operations)->map.n &&
           !(vm && row_value(vm, F_VM_current_operations)->map.n);
}

void storage_drop_left(struct call *c, const char *vdi_uuid)
{
    const struct storage_attachment *list;
    size_t n = storage_attachments(c->agent->storage, NULL, vdi_uuid, c->arena, &list);

    for (size_t i = 0; i < n; i++) {
        bool left;
        {
            _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
            left = was_left(s, &list[i]);
        }
        if (left) drop_one(c, &list[i]);
    }
}

/* ---- the first start ----------------------------------------------------------------------- */

struct first_sr {
    const char *name_label, *name_description, *type, *content_type, *folder, *i18n_key;
    bool shared, tools;
};

static int add_existing(struct call *c, const struct first_sr *f, const struct value *config,
                        const char *uuid, struct ref *ret_sr, struct xerr *err)
{
    const struct value empty = value_map(NULL, 0);
    struct ref pbd;

    if (sr_introduce(c, uuid, f->name_label, f->name_description, f->type, f->content_type, f->shared, &empty,
                     ret_sr, err))
        return -1;
    const struct member record[] = {
        { "host", value_ref(c->agent->host) }, { "SR", value_ref(*ret_sr) }, { "device_config", *config },
    };
    const struct value pbd_record = value_map(record, ARRAY_SIZE(record));
    return pbd_create(c, &pbd_record, &pbd, err) || pbd_attach(c, pbd, err) ? -1 : 0;
}

/* Makes it; or takes the one that an earlier database knew. */
static int make_first(struct call *c, const struct first_sr *f, struct ref *ret_sr, struct xerr *err)
{
    const char *path = arena_printf(c->arena, "%s/%s", c->agent->root, f->folder);
    const struct member location[] = { { "location", value_string(path) } };
    const struct value config = value_map(location, 1), empty = value_map(NULL, 0);
    struct storage_sr ids = { .uuid = "", .type = f->type, .host = c->agent->host, .device_config = &config };
    _cleanup_xerr_ struct xerr why = XERR_INIT;
    struct value answer;

    if (f->tools && make_dirs(path, 0755)) return xerr_internal(err, "cannot make %s", path);
    if (sr_create(c, c->agent->host, &config, 0, f->name_label, f->name_description, f->type, f->content_type,
                  f->shared, &empty, ret_sr, &why) == 0)
        return 0;
    if (driver_call(c, &ids, NULL, "sr_probe", NULL, 0, NULL, &answer, NULL) == 0) {
        const struct value *results = value_get(&answer, "results");
        const struct value *sr = results && results->kind == VALUE_SET && results->set.n
                                     ? value_get(&results->set.items[0], "sr") : NULL;
        const char *uuid = sr ? value_get_str(sr, "uuid", "") : "";
        if (*uuid) return add_existing(c, f, &config, uuid, ret_sr, err);
    }
    return xerr_move(err, &why);
}

static int finish_first(struct call *c, const struct first_sr *f, struct ref sr, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);

    txn_map_put_str(t, sr, F_SR_other_config, "i18n-key", f->i18n_key);
    txn_map_put_str(t, sr, F_SR_other_config, "i18n-original-value-name_label", f->name_label);
    if (f->tools) {
        txn_set_bool(t, sr, F_SR_is_tools_sr, true);
    } else {
        txn_set_ref(t, c->agent->pool, F_pool_default_SR, sr);
        txn_set_ref(t, c->agent->pool, F_pool_suspend_image_SR, sr);
        txn_set_ref(t, c->agent->pool, F_pool_crash_dump_SR, sr);
    }
    return db_commit(t, err);
}

static int first_start(struct call *c, struct xerr *err)
{
    static const struct first_sr list[] = {
        { "Local storage", "Disks of this host", "file", "user", "sr", "local-storage", false, false },
        { "Guest tools", "CD images with tools for guests", "iso", "iso", "tools", "xenserver-tools", true,
          true },
    };

    for (size_t i = 0; i < ARRAY_SIZE(list); i++) {
        struct ref sr;
        if (!storage_driver_need(c->agent->storage, list[i].type, NULL)) continue;
        if (make_first(c, &list[i], &sr, err) || finish_first(c, &list[i], sr, err)) return -1;
    }
    return 0;
}

int storage_startup(struct call *c, struct xerr *err)
{
    bool first;

    if (sm_startup(c, err)) return -1;
    sr_unfinished_startup(c);
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        first = snap_count(s, CLASS_SR) == 0;
    }
    plug_all(c);
    drop_stale(c);
    return first ? first_start(c, err) : 0;
}
