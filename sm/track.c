/* Changed block tracking: logs begun, ended, kept in step with images, and read. Where logs and images lie is the business of
 * track.h's table.
 * Called by: dir*.c, lvhd*.c.  Calls: cbt, and through the table dir_cbt.c or lvhd_cbt.c.
 *
 * Nobody has to note what a guest writes: it writes into the disk's own image, which a snapshot left empty. What changed
 * since that snapshot is what the images above the base hold that the snapshot stands on, and the log names that base. The
 * bitmap takes over where images are about to lose it:
 *
 *   snapshot S of X: 1. S's log = X's bitmap and what X's images hold down to the base of the last snapshot; its child is X.
 *       2. X's log is empty, its parent S, its base the one that S stands on. 3. S's parent has S as child. Killed after 1:
 *       the scan mends the links; X's log then tells too much, never too little.
 *   merging image T into its parent P: before T goes, what T holds is noted in the logs whose base is P; logs whose base is
 *       T name P. A tracked disk's own image is not merged into its base: it would lose the edge.
 *   closing X: the bitmap gets everything, so that XenServer's tools find it complete. */
#include "sm/track.h"

#include "lib/base64.h"
#include "lib/map.h"

enum { MAX_ANSWER_BITMAP = 40 << 20 }; /* bytes: what an answer may hold in base64 */

/* ---- logs ---------------------------------------------------------------------------------- */

const char *track_log_name(struct sm *sm, const char *uuid) { return arena_printf(sm->arena, "%s" CBT_SUFFIX, uuid); }

bool track_is_log(const char *name, char ret_uuid[UUID_TEXT])
{
    struct ref bytes;

    if (strlen(name) != UUID_TEXT - 1 + strlen(CBT_SUFFIX) || !streq(name + UUID_TEXT - 1, CBT_SUFFIX)) return false;
    memcpy(ret_uuid, name, UUID_TEXT - 1);
    ret_uuid[UUID_TEXT - 1] = '\0';
    return uuid_from_text(ret_uuid, &bytes);
}

bool track_has(struct tracker t, const char *uuid) { return t.in->has(t.place, uuid); }

static const char *ref_name(struct tracker t, struct ref r) { return uuid_to_text(r, arena_alloc(t.sm->arena, UUID_TEXT)); }

/* False when there is none that can be read. */
static bool load(struct tracker t, const char *uuid, bool want_bits, struct cbt_log *ret_log)
{
    return t.in->load(t.place, uuid, want_bits, ret_log);
}

static bool load_ref(struct tracker t, struct ref uuid, bool want_bits, struct cbt_log *ret_log)
{
    return !ref_is_null(uuid) && load(t, ref_name(t, uuid), want_bits, ret_log);
}

static int store(struct tracker t, const char *uuid, const struct cbt_log *log, enum sm_error number, struct xerr *err)
{
    return t.in->store(t.place, uuid, log, number, err);
}

/* Another child or parent for a log that is there; nothing when it is not. */
static int relink(struct tracker t, struct ref uuid, const struct ref *parent, const struct ref *child, struct xerr *err)
{
    _cleanup_cbt_ struct cbt_log log = CBT_LOG_INIT;

    if (!load_ref(t, uuid, true, &log)) return 0;
    if (parent) log.parent = *parent;
    if (child) log.child = *child;
    return store(t, ref_name(t, uuid), &log, SM_IO, err);
}

/* ---- what images say ----------------------------------------------------------------------- */

static void mark_range(void *arg, int64_t at, int64_t len) { cbt_log_mark(arg, at, len); }

static int note_image(struct tracker t, const struct image *im, struct cbt_log *log, struct xerr *err)
{
    if (im->broken) return sm_fail(err, SM_VDI_LOAD, "%s: %s", im->name, im->broken);
    if (!im->format->own_ranges)
        return sm_fail(err, SM_VDI_LOAD, "%s: a %s image does not say what is in it", im->name, im->format->name);
    return t.in->own_ranges(t.place, im, mark_range, log, err);
}

/* What the image called `from` and those below it hold, down to the log's base. */
static int note_chain(struct tracker t, const struct image *from, struct cbt_log *log, struct xerr *err)
{
    const char *base = log->has_base && !ref_is_null(log->base) ? ref_name(t, log->base) : "";
    struct image im = *from;

    if (!log->has_base) return 0;
    for (int depth = 0; depth < TRACK_MAX_CHAIN; depth++) {
        if (streq(im.uuid, base)) return 0;
        if (note_image(t, &im, log, err)) return -1;
        if (!*im.parent) {
            if (*base) cbt_log_mark_all(log); /* nobody knows where the edge is */
            return 0;
        }
        char parent[UUID_TEXT];
        memcpy(parent, im.parent, sizeof(parent));
        if (!t.in->find_base(t.place, parent, &im)) return sm_fail(err, SM_VDI_LOAD, "base %s is missing", parent);
    }
    return sm_fail(err, SM_CHAIN_TOO_LONG, "%s stands on too many images", from->uuid);
}

/* The log of a disk with everything it should say. The disk's image may be gone, when only its log is left. */
static int load_complete(struct tracker t, const char *uuid, struct cbt_log *ret_log, struct xerr *err)
{
    _cleanup_cbt_ struct cbt_log log = CBT_LOG_INIT;
    _cleanup_xerr_ struct xerr missing = XERR_INIT;
    struct image leaf;

    if (!load(t, uuid, true, &log)) return sm_fail(err, SM_CBT_LIST, "%s has no readable log of changed blocks", uuid);
    if (!log.consistent && !log.has_base)
        return sm_fail(err, SM_CBT_INCONSISTENT, "the log of changed blocks of %s is in an inconsistent state", uuid);
    /* What a snapshot's log says is final. */
    if (ref_is_null(log.child) && t.in->find(t.place, uuid, &leaf, &missing) == 0) {
        if (leaf.size > log.size) cbt_log_grow(&log, leaf.size);
        if (note_chain(t, &leaf, &log, err)) return -1;
    }
    *ret_log = log;
    log.bits = NULL;
    return 0;
}

/* ---- on and off ---------------------------------------------------------------------------- */

static struct ref parent_ref(const struct image *im)
{
    struct ref r = REF_NULL;

    if (*im->parent) uuid_from_text(im->parent, &r);
    return r;
}

/* A snapshot is known by its log's child or by the agent, who does not ask for one. */
int track_enable(struct tracker t, const struct image *im, struct xerr *err)
{
    _cleanup_cbt_ struct cbt_log log = CBT_LOG_INIT;

    if (!im->format->own_ranges)
        return sm_fail(err, SM_VDI_TYPE, "%s is a %s image, whose changes cannot be tracked", im->uuid, im->format->name);
    if (track_has(t, im->uuid)) return 0;
    cbt_log_new(&log, im->size);
    log.consistent = !*sm_param(t.sm, "attached", "");
    log.has_base = true;
    log.base = parent_ref(im);
    return store(t, im->uuid, &log, SM_CBT_ENABLE, err);
}

/* The disk is tracked no more; the log before it ends the list. */
int track_end(struct tracker t, const char *uuid, struct xerr *err)
{
    _cleanup_cbt_ struct cbt_log log = CBT_LOG_INIT, before = CBT_LOG_INIT;
    const struct ref none = REF_NULL;
    struct ref self;

    uuid_from_text(uuid, &self);
    if (load(t, uuid, false, &log) && load_ref(t, log.parent, false, &before) && ref_eq(before.child, self) &&
        relink(t, log.parent, NULL, &none, err))
        return -1;
    return t.in->remove(t.place, uuid, SM_CBT_DISABLE, err);
}

/* Order: 1. the child knows what this log knew, and its new parent; 2. the parent knows its new child; 3. the log goes.
 * Killed after 1 or 2: the disk's log is still there, and so is its record: deleting it goes on. */
int track_drop(struct tracker t, const char *uuid, struct xerr *err)
{
    _cleanup_cbt_ struct cbt_log log = CBT_LOG_INIT, child = CBT_LOG_INIT, parent = CBT_LOG_INIT;
    struct ref self;

    if (!track_has(t, uuid)) return 0;
    uuid_from_text(uuid, &self);
    if (!load(t, uuid, true, &log)) return track_end(t, uuid, err);
    if (load_ref(t, log.child, true, &child)) {
        cbt_log_add(&child, &log);
        if (ref_eq(child.parent, self)) child.parent = log.parent;
        if (store(t, ref_name(t, log.child), &child, SM_IO, err)) return -1;
    }
    if (sm_step("sm.cbt-handed-on")) return sm_fail_errno(err, SM_IO, "%s", uuid);
    if (load_ref(t, log.parent, false, &parent) && ref_eq(parent.child, self) &&
        relink(t, log.parent, NULL, &log.child, err))
        return -1;
    if (t.in->remove(t.place, uuid, SM_IO, err)) return -1;
    return sm_step("sm.cbt-dropped") ? sm_fail_errno(err, SM_IO, "%s", uuid) : 0;
}

/* ---- beside the images ---------------------------------------------------------------------- */

static int track_snapshot(struct tracker t, const char *uuid, const char *snapshot, const struct image *base, struct xerr *err)
{
    _cleanup_cbt_ struct cbt_log log = CBT_LOG_INIT, fresh = CBT_LOG_INIT, before = CBT_LOG_INIT;
    struct ref self, snap, at;

    uuid_from_text(uuid, &self);
    uuid_from_text(snapshot, &snap);
    uuid_from_text(base->uuid, &at);
    if (!load(t, uuid, true, &log)) return sm_fail(err, SM_CBT_LIST, "the log of changed blocks of %s cannot be read", uuid);
    if (!ref_is_null(log.child)) return 0; /* of a snapshot: its log is final and stays its own */
    if (!log.consistent && !log.has_base)
        return sm_fail(err, SM_CBT_INCONSISTENT, "the log of changed blocks of %s is in an inconsistent state", uuid);
    if (base->size > log.size) cbt_log_grow(&log, base->size);
    if (note_chain(t, base, &log, err)) return -1;
    cbt_log_new(&fresh, log.size);
    fresh.parent = snap;
    fresh.consistent = log.consistent;
    fresh.has_base = true;
    fresh.base = at;
    log.child = self;
    log.consistent = true;
    if (store(t, snapshot, &log, SM_IO, err)) return -1;
    if (sm_step("sm.cbt-snapshot")) return sm_fail_errno(err, SM_IO, "%s", snapshot);
    if (store(t, uuid, &fresh, SM_IO, err)) return -1;
    if (load_ref(t, log.parent, false, &before) && ref_eq(before.child, self)) return relink(t, log.parent, NULL, &snap, err);
    return 0;
}

static int resize(struct tracker t, const struct image *im, struct xerr *err)
{
    _cleanup_cbt_ struct cbt_log log = CBT_LOG_INIT;

    if (!track_has(t, im->uuid)) return 0;
    if (!load(t, im->uuid, true, &log)) return sm_fail(err, SM_CBT_LIST, "%s: an unreadable log", im->uuid);
    if (log.size >= im->size) return 0;
    cbt_log_grow(&log, im->size);
    return store(t, im->uuid, &log, SM_IO, err);
}

void track_made(struct tracker t, const char *uuid, const char *snapshot, const struct image *base, struct value_builder *b)
{
    _cleanup_xerr_ struct xerr why = XERR_INIT, ignored = XERR_INIT;

    if (!streq(t.sm->command, "vdi_snapshot") || !track_has(t, uuid) || !track_snapshot(t, uuid, snapshot, base, &why)) return;
    track_end(t, uuid, &ignored);
    value_put(b, "cbt_alert", value_string("VDI_CBT_SNAPSHOT_FAILED"));
}

void track_resized(struct tracker t, const struct image *im, struct value_builder *b)
{
    _cleanup_xerr_ struct xerr why = XERR_INIT, ignored = XERR_INIT;

    if (!resize(t, im, &why)) return;
    track_end(t, im->uuid, &ignored);
    value_put(b, "cbt_alert", value_string("VDI_CBT_RESIZE_FAILED"));
}

/* The disk is about to be written to. False when what was written before is not known: tracking has ended then. */
bool track_open(struct tracker t, const struct image *im)
{
    _cleanup_cbt_ struct cbt_log log = CBT_LOG_INIT;
    _cleanup_xerr_ struct xerr err = XERR_INIT;

    if (!track_has(t, im->uuid)) return true;
    if (!load(t, im->uuid, true, &log) || (!log.consistent && !log.has_base)) {
        track_end(t, im->uuid, &err);
        return false;
    }
    if (!log.consistent) return true;
    log.consistent = false;
    if (!log.has_base) log.base = parent_ref(im);
    log.has_base = true;
    if (store(t, im->uuid, &log, SM_IO, &err) == 0) return true;
    track_end(t, im->uuid, &err);
    return false;
}

/* What is left out here the base in the log still tells. */
void track_close(struct tracker t, const char *uuid)
{
    _cleanup_cbt_ struct cbt_log log = CBT_LOG_INIT;
    _cleanup_xerr_ struct xerr err = XERR_INIT;

    if (!track_has(t, uuid) || !load(t, uuid, false, &log) || log.consistent) return;
    if (load_complete(t, uuid, &log, &err)) return;
    log.consistent = true;
    store(t, uuid, &log, SM_IO, &err);
}

struct merge {
    const struct image *top, *base;
    struct ref top_id, base_id;
};

static int note_merge(struct tracker t, const char *uuid, void *arg, struct xerr *err)
{
    _cleanup_cbt_ struct cbt_log log = CBT_LOG_INIT, full = CBT_LOG_INIT;
    const struct merge *m = arg;

    if (!load(t, uuid, false, &log) || !log.has_base || !ref_is_null(log.child)) return 0;
    if (!ref_eq(log.base, m->top_id) && !ref_eq(log.base, m->base_id)) return 0;
    if (!load(t, uuid, true, &full)) return 0;
    full.base = m->base_id;
    if (ref_eq(log.base, m->base_id) && note_image(t, m->top, &full, err)) return -1;
    return store(t, uuid, &full, SM_IO, err);
}

int track_merge(struct tracker t, const struct image *top, const struct image *base, struct xerr *err)
{
    struct merge m = { .top = top, .base = base };

    uuid_from_text(top->uuid, &m.top_id);
    uuid_from_text(base->uuid, &m.base_id);
    return t.in->each(t.place, note_merge, &m, err);
}

/* ---- scan ---------------------------------------------------------------------------------- */

/* A snapshot whose log was made but not linked. */
static int mend(struct tracker t, const char *uuid, void *arg, struct xerr *err)
{
    _cleanup_cbt_ struct cbt_log log = CBT_LOG_INIT, child = CBT_LOG_INIT, before = CBT_LOG_INIT;
    struct ref self;

    (void)arg;
    uuid_from_text(uuid, &self);
    if (!load(t, uuid, false, &log) || !load_ref(t, log.child, false, &child)) return 0;
    if (!ref_eq(child.parent, self) && ref_eq(child.parent, log.parent) && relink(t, log.child, &self, NULL, err)) return -1;
    if (load_ref(t, log.parent, false, &before) && ref_eq(before.child, log.child))
        return relink(t, log.parent, NULL, &self, err);
    return 0;
}

int track_repair(struct tracker t, struct xerr *err) { return t.in->each(t.place, mend, NULL, err); }

struct listing {
    const struct map *images;
    struct value_builder *vdis;
};

/* A disk whose data were destroyed: only its log is there. */
static int list_log(struct tracker t, const char *uuid, void *arg, struct xerr *err)
{
    _cleanup_cbt_ struct cbt_log log = CBT_LOG_INIT;
    struct value_builder b = value_builder(t.sm->arena);
    const struct listing *l = arg;

    (void)err;
    if (map_get(l->images, uuid) || !load(t, uuid, false, &log)) return 0;
    uuid = arena_strdup(t.sm->arena, uuid);
    value_put(&b, "uuid", value_string(uuid));
    value_put(&b, "location", value_string(uuid));
    value_put(&b, "type", value_string("cbt_metadata"));
    value_put(&b, "virtual_size", value_int(log.size));
    value_put(&b, "physical_utilisation", value_int(t.in->used(t.place, uuid)));
    value_put(&b, "managed", value_bool(true));
    value_put(&b, "read_only", value_bool(true));
    value_put(&b, "cbt_enabled", value_bool(true));
    value_push(l->vdis, value_built_map(&b));
    return 0;
}

int track_list(struct tracker t, const struct images *all, struct value_builder *vdis, struct xerr *err)
{
    _cleanup_map_ struct map *images = map_new();
    struct listing l = { images, vdis };

    for (size_t i = 0; i < all->n; i++) map_put(images, all->list[i].uuid, &all->list[i]);
    return t.in->each(t.place, list_log, &l, err);
}

/* ---- changed blocks ------------------------------------------------------------------------- */

static int add_next(struct tracker t, const char *uuid, bool last, struct cbt_log *sum, struct xerr *err)
{
    _cleanup_cbt_ struct cbt_log log = CBT_LOG_INIT;

    if (last ? load_complete(t, uuid, &log, err) : !load(t, uuid, true, &log))
        return err->code ? -1 : sm_fail(err, SM_CBT_LIST, "the log of changed blocks of %s cannot be read", uuid);
    if (!log.consistent && !log.has_base)
        return sm_fail(err, SM_CBT_INCONSISTENT, "the log of changed blocks of %s is in an inconsistent state", uuid);
    if (!sum->bits) {
        *sum = log;
        log.bits = NULL;
        return 0;
    }
    if (log.size < sum->size) return sm_fail(err, SM_CBT_INCONSISTENT, "%s is smaller than what was before it", uuid);
    cbt_log_grow(sum, log.size);
    cbt_log_add(sum, &log);
    return 0;
}

/* The wire's bitmap begins with the highest bit of the first byte. */
static const char *encode(struct sm *sm, const struct cbt_log *log)
{
    _cleanup_strbuf_ struct strbuf text = STRBUF_INIT;
    const size_t n = cbt_bytes(log->size);

    for (size_t i = 0; i < n; i++) {
        unsigned b = log->bits[i], turned = 0;
        for (unsigned bit = 0; bit < 8; bit++) turned |= (b >> bit & 1u) << (7 - bit);
        log->bits[i] = (unsigned char)turned;
    }
    base64_encode(log->bits, n, &text);
    return arena_strdup(sm->arena, strbuf_cstr(&text));
}

static int answer_bitmap(struct sm *sm, const struct cbt_log *log, struct value *ret_answer, struct xerr *err)
{
    if (cbt_bytes(log->size) > MAX_ANSWER_BITMAP)
        return sm_fail(err, SM_CBT_LIST, "%lld bytes are more than a bitmap can tell of", (long long)log->size);
    *ret_answer = value_string(encode(sm, log));
    return 0;
}

/* *ret_found: the older disk has a log, and a list leads from it to the newer one. */
static int sum_logs(struct tracker t, const char *from, const char *to, struct cbt_log *sum, bool *ret_found, struct xerr *err)
{
    _cleanup_cbt_ struct cbt_log at = CBT_LOG_INIT;
    const char *next = from;

    /* Links may be damaged: no list is longer than there are disks. */
    for (int n = 0; n < 100000 && load(t, next, false, &at) && !ref_is_null(at.child); n++) {
        next = ref_name(t, at.child);
        if (!track_has(t, next)) break;
        if (add_next(t, next, streq(next, to), sum, err)) return -1;
        if (!streq(next, to)) continue;
        *ret_found = true;
        break;
    }
    return 0;
}

/* The request's disk is the older one; args: uuid of the newer one. */
int track_list_changed_blocks(struct tracker t, struct value *ret_answer, struct xerr *err)
{
    _cleanup_cbt_ struct cbt_log sum = CBT_LOG_INIT;
    const char *to = sm_arg(t.sm, 0), *from = t.sm->vdi_uuid;
    bool found = false;
    struct ref bytes;

    if (!uuid_from_text(to, &bytes)) return sm_fail(err, SM_BAD_REQUEST, "no disk to compare with: '%s'", to);
    if (streq(to, from)) return sm_fail(err, SM_CBT_LIST, "Source and target VDI are same");
    if (sum_logs(t, from, to, &sum, &found, err)) return -1;
    if (!found) return sm_fail(err, SM_CBT_LIST, "Source and target VDI are unrelated");
    return answer_bitmap(t.sm, &sum, ret_answer, err);
}

/* ---- differences of any two disks ------------------------------------------------------------ */

/* The disk's own image and those below it. */
static int load_chain(struct tracker t, const char *uuid, struct image chain[TRACK_MAX_CHAIN], size_t *ret_n, struct xerr *err)
{
    size_t n = 1;

    if (t.in->find(t.place, uuid, &chain[0], err)) return -1;
    for (; *chain[n - 1].parent; n++) {
        if (n == TRACK_MAX_CHAIN) return sm_fail(err, SM_CHAIN_TOO_LONG, "%s stands on too many images", uuid);
        if (!t.in->find_base(t.place, chain[n - 1].parent, &chain[n]))
            return sm_fail(err, SM_VDI_LOAD, "base %s is missing", chain[n - 1].parent);
    }
    *ret_n = n;
    return 0;
}

/* What two disks have above the image that both stand on. */
static int sum_chains(struct tracker t, const char *a, const char *b, struct cbt_log *sum, struct xerr *err)
{
    struct image *left = arena_new_array(t.sm->arena, struct image, TRACK_MAX_CHAIN),
                 *right = arena_new_array(t.sm->arena, struct image, TRACK_MAX_CHAIN);
    size_t n_left, n_right;

    if (load_chain(t, a, left, &n_left, err) || load_chain(t, b, right, &n_right, err)) return -1;
    if (!left->format->own_ranges || !streq(left[n_left - 1].uuid, right[n_right - 1].uuid))
        return sm_fail(err, SM_CBT_LIST, "%s and %s have nothing in common", a, b);
    while (n_left && n_right && streq(left[n_left - 1].uuid, right[n_right - 1].uuid)) {
        n_left--;
        n_right--;
    }
    cbt_log_new(sum, right->size);
    for (size_t i = 0; i < n_left; i++)
        if (note_image(t, &left[i], sum, err)) return -1;
    for (size_t i = 0; i < n_right; i++)
        if (note_image(t, &right[i], sum, err)) return -1;
    /* What the other one does not have reads as zeros here, or not. */
    if (left->size < right->size) cbt_log_mark(sum, left->size / CBT_BLOCK * CBT_BLOCK, right->size - left->size + CBT_BLOCK);
    return 0;
}

/* Blocks in which the disk may differ from another one, by their logs or by what they stand on; args: uuid of the other. */
int track_compare(struct tracker t, struct value *ret_answer, struct xerr *err)
{
    _cleanup_cbt_ struct cbt_log sum = CBT_LOG_INIT;
    _cleanup_xerr_ struct xerr unreadable = XERR_INIT;
    const char *other = sm_arg(t.sm, 0), *uuid = t.sm->vdi_uuid;
    bool found = false;
    struct ref bytes;

    if (!uuid_from_text(other, &bytes)) return sm_fail(err, SM_BAD_REQUEST, "no disk to compare with: '%s'", other);
    if (sum_logs(t, other, uuid, &sum, &found, &unreadable) || !found) {
        cbt_log_clear(&sum);
        if (sum_chains(t, other, uuid, &sum, err)) return -1;
    }
    return answer_bitmap(t.sm, &sum, ret_answer, err);
}
