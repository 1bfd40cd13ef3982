/* Changed block tracking for the disks of a directory: logs begun, ended, kept in step with images, and read.
 * Called by: dir_vdi.c, dir_snapshot.c, dir_gc.c, file.c and its like through dir.h.  Calls: dir.c, cbt.
 *
 * Nobody has to note what a guest writes: it writes into the disk's own image, which a snapshot left empty. What changed
 * since that snapshot is what the images above the base hold that the snapshot stands on, and the log names that base. The
 * bitmap takes over where images are about to lose it:
 *
 *   snapshot S of X: 1. S.cbtlog = X's bitmap and what X's images hold down to the base of the last snapshot; its child is X.
 *       2. X.cbtlog is empty, its parent S, its base the one that S stands on. 3. S's parent has S as child. Killed after 1:
 *       the scan mends the links; X's log then tells too much, never too little.
 *   merging image T into its parent P: before T goes, what T holds is noted in the logs whose base is P; logs whose base is
 *       T name P. A tracked disk's own image is not merged into its base: it would lose the edge.
 *   closing X: the bitmap gets everything, so that XenServer's tools find it complete.
 *
 * Each log is replaced as a whole, by a rename. */
#include "sm/dir_private.h"

#include "lib/base64.h"
#include "lib/map.h"
#include "sm/cbt.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

enum { MAX_ANSWER_BITMAP = 40 << 20 }; /* bytes: what an answer may hold in base64 */

/* ---- logs ---------------------------------------------------------------------------------- */

static const char *log_name(struct dir *d, const char *uuid)
{
    return arena_printf(d->sm->arena, "%s" CBT_SUFFIX, uuid);
}

static const char *ref_name(struct dir *d, struct ref r)
{
    return uuid_to_text(r, arena_alloc(d->sm->arena, UUID_TEXT));
}

bool dir_cbt_name(const char *name, char ret_uuid[UUID_TEXT])
{
    struct ref bytes;

    if (strlen(name) != UUID_TEXT - 1 + strlen(CBT_SUFFIX) || !streq(name + UUID_TEXT - 1, CBT_SUFFIX)) return false;
    memcpy(ret_uuid, name, UUID_TEXT - 1);
    ret_uuid[UUID_TEXT - 1] = '\0';
    return uuid_from_text(ret_uuid, &bytes);
}

bool dir_cbt_has(struct dir *d, const char *uuid)
{
    return faccessat(d->fd, log_name(d, uuid), F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* False when there is none that can be read. */
static bool load(struct dir *d, const char *uuid, bool want_bits, struct cbt_log *ret_log)
{
    _cleanup_close_ int fd = openat(d->fd, log_name(d, uuid), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    const char *why;

    return fd >= 0 && cbt_log_read(fd, want_bits, ret_log, &why) == 0;
}

static bool load_ref(struct dir *d, struct ref uuid, bool want_bits, struct cbt_log *ret_log)
{
    return !ref_is_null(uuid) && load(d, ref_name(d, uuid), want_bits, ret_log);
}

static int store(struct dir *d, const char *uuid, const struct cbt_log *log, enum sm_error number, struct xerr *err)
{
    const char *name = log_name(d, uuid), *tmp = arena_printf(d->sm->arena, TMP "%s", name);

    unlinkat(d->fd, tmp, 0);
    _cleanup_close_ int fd = openat(d->fd, tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) return sm_fail_errno(err, number, "cannot create %s/%s", d->path, tmp);
    if (cbt_log_write(fd, log) || fsync(fd) || sm_step("sm.cbt-written") || renameat(d->fd, tmp, d->fd, name)) {
        sm_fail_errno(err, number, "cannot write %s/%s", d->path, name);
        unlinkat(d->fd, tmp, 0);
        return -1;
    }
    return dir_sync(d, err);
}

/* Another child or parent for a log that is there; nothing when it is not. */
static int relink(struct dir *d, struct ref uuid, const struct ref *parent, const struct ref *child, struct xerr *err)
{
    _cleanup_cbt_ struct cbt_log log = CBT_LOG_INIT;

    if (!load_ref(d, uuid, true, &log)) return 0;
    if (parent) log.parent = *parent;
    if (child) log.child = *child;
    return store(d, ref_name(d, uuid), &log, SM_IO, err);
}

/* ---- what images say ----------------------------------------------------------------------- */

static void mark_range(void *arg, int64_t at, int64_t len) { cbt_log_mark(arg, at, len); }

static int note_image(struct dir *d, const struct image *im, struct cbt_log *log, struct xerr *err)
{
    _cleanup_close_ int fd = openat(d->fd, im->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    if (im->broken) return sm_fail(err, SM_VDI_LOAD, "%s/%s: %s", d->path, im->name, im->broken);
    if (!im->format->own_ranges || fd < 0 || im->format->own_ranges(fd, mark_range, log))
        return sm_fail_errno(err, SM_VDI_LOAD, "cannot read %s/%s", d->path, im->name);
    return 0;
}

/* What the image called `from` and those below it hold, down to the log's base. */
static int note_chain(struct dir *d, const struct image *from, struct cbt_log *log, struct xerr *err)
{
    const char *base = log->has_base && !ref_is_null(log->base) ? ref_name(d, log->base) : "";
    struct image im = *from;

    if (!log->has_base) return 0;
    for (int depth = 0; depth < DIR_MAX_CHAIN; depth++) {
        if (streq(im.uuid, base)) return 0;
        if (note_image(d, &im, log, err)) return -1;
        if (!*im.parent) {
            if (*base) cbt_log_mark_all(log); /* nobody knows where the edge is */
            return 0;
        }
        char parent[UUID_TEXT];
        memcpy(parent, im.parent, sizeof(parent));
        if (!dir_find_base(d, parent, &im)) return sm_fail(err, SM_VDI_LOAD, "base %s is missing", parent);
    }
    return sm_fail(err, SM_CHAIN_TOO_LONG, "%s stands on too many images", from->uuid);
}

/* The log of a disk with everything it should say. The disk's image may be gone, when only its log is left. */
static int load_complete(struct dir *d, const char *uuid, struct cbt_log *ret_log, struct xerr *err)
{
    _cleanup_cbt_ struct cbt_log log = CBT_LOG_INIT;
    _cleanup_xerr_ struct xerr missing = XERR_INIT;
    struct image leaf;

    if (!load(d, uuid, true, &log)) return sm_fail(err, SM_CBT_LIST, "%s has no readable log of changed blocks", uuid);
    if (!log.consistent && !log.has_base)
        return sm_fail(err, SM_CBT_INCONSISTENT, "the log of changed blocks of %s is in an inconsistent state", uuid);
    /* What a snapshot's log says is final. */
    if (ref_is_null(log.child) && dir_find_leaf(d, uuid, false, &leaf, &missing) == 0) {
        if (leaf.size > log.size) cbt_log_grow(&log, leaf.size);
        if (note_chain(d, &leaf, &log, err)) return -1;
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
int dir_vdi_enable_cbt(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    _cleanup_cbt_ struct cbt_log log = CBT_LOG_INIT;
    _cleanup_dir_ struct dir d = DIR_INIT;
    struct image im;

    if (dir_open_change(sm, &d, err) || dir_find_request(&d, false, &im, err)) return -1;
    if (!im.format->own_ranges)
        return sm_fail(err, SM_VDI_TYPE, "%s is a %s image, whose changes cannot be tracked", im.uuid, im.format->name);
    if (dir_cbt_has(&d, im.uuid)) return dir_answer_image(&d, im.uuid, ret_answer, err);
    cbt_log_new(&log, im.size);
    log.consistent = !*sm_param(sm, "attached", "");
    log.has_base = true;
    log.base = parent_ref(&im);
    return store(&d, im.uuid, &log, SM_CBT_ENABLE, err) || dir_answer_image(&d, im.uuid, ret_answer, err) ? -1 : 0;
}

int dir_vdi_disable_cbt(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    _cleanup_dir_ struct dir d = DIR_INIT;
    struct image im;

    if (dir_open_change(sm, &d, err) || dir_find_request(&d, false, &im, err)) return -1;
    return dir_cbt_end(&d, im.uuid, err) || dir_answer_image(&d, im.uuid, ret_answer, err) ? -1 : 0;
}

/* The disk is tracked no more; the log before it ends the list. */
int dir_cbt_end(struct dir *d, const char *uuid, struct xerr *err)
{
    _cleanup_cbt_ struct cbt_log log = CBT_LOG_INIT, before = CBT_LOG_INIT;
    const struct ref none = REF_NULL;
    struct ref self;

    uuid_from_text(uuid, &self);
    if (load(d, uuid, false, &log) && load_ref(d, log.parent, false, &before) && ref_eq(before.child, self) &&
        relink(d, log.parent, NULL, &none, err))
        return -1;
    if (unlinkat(d->fd, log_name(d, uuid), 0) && errno != ENOENT)
        return sm_fail_errno(err, SM_CBT_DISABLE, "cannot remove %s/%s", d->path, log_name(d, uuid));
    return dir_sync(d, err);
}

/* Order: 1. the child knows what this log knew, and its new parent; 2. the parent knows its new child; 3. the log goes.
 * Killed after 1 or 2: the disk's log is still there, and so is its record: deleting it goes on. */
int dir_cbt_drop(struct dir *d, const char *uuid, struct xerr *err)
{
    _cleanup_cbt_ struct cbt_log log = CBT_LOG_INIT, child = CBT_LOG_INIT, parent = CBT_LOG_INIT;
    struct ref self;

    if (!dir_cbt_has(d, uuid)) return 0;
    uuid_from_text(uuid, &self);
    if (!load(d, uuid, true, &log)) return dir_cbt_end(d, uuid, err);
    if (load_ref(d, log.child, true, &child)) {
        cbt_log_add(&child, &log);
        if (ref_eq(child.parent, self)) child.parent = log.parent;
        if (store(d, ref_name(d, log.child), &child, SM_IO, err)) return -1;
    }
    if (sm_step("sm.cbt-handed-on")) return sm_fail_errno(err, SM_IO, "%s", uuid);
    if (load_ref(d, log.parent, false, &parent) && ref_eq(parent.child, self) &&
        relink(d, log.parent, NULL, &log.child, err))
        return -1;
    if (unlinkat(d->fd, log_name(d, uuid), 0))
        return sm_fail_errno(err, SM_IO, "cannot remove %s/%s", d->path, log_name(d, uuid));
    return sm_step("sm.cbt-dropped") ? sm_fail_errno(err, SM_IO, "%s", uuid) : 0;
}

/* ---- beside the images ---------------------------------------------------------------------- */

int dir_cbt_snapshot(struct dir *d, const char *uuid, const char *snapshot, const struct image *base, struct xerr *err)
{
    _cleanup_cbt_ struct cbt_log log = CBT_LOG_INIT, fresh = CBT_LOG_INIT, before = CBT_LOG_INIT;
    struct ref self, snap, at;

    uuid_from_text(uuid, &self);
    uuid_from_text(snapshot, &snap);
    uuid_from_text(base->uuid, &at);
    if (!load(d, uuid, true, &log)) return sm_fail(err, SM_CBT_LIST, "the log of changed blocks of %s cannot be read", uuid);
    if (!ref_is_null(log.child)) return 0; /* of a snapshot: its log is final and stays its own */
    if (!log.consistent && !log.has_base)
        return sm_fail(err, SM_CBT_INCONSISTENT, "the log of changed blocks of %s is in an inconsistent state", uuid);
    if (base->size > log.size) cbt_log_grow(&log, base->size);
    if (note_chain(d, base, &log, err)) return -1;
    cbt_log_new(&fresh, log.size);
    fresh.parent = snap;
    fresh.consistent = log.consistent;
    fresh.has_base = true;
    fresh.base = at;
    log.child = self;
    log.consistent = true;
    if (store(d, snapshot, &log, SM_IO, err)) return -1;
    if (sm_step("sm.cbt-snapshot")) return sm_fail_errno(err, SM_IO, "%s", snapshot);
    if (store(d, uuid, &fresh, SM_IO, err)) return -1;
    if (load_ref(d, log.parent, false, &before) && ref_eq(before.child, self)) return relink(d, log.parent, NULL, &snap, err);
    return 0;
}

int dir_cbt_resize(struct dir *d, const struct image *im, struct xerr *err)
{
    _cleanup_cbt_ struct cbt_log log = CBT_LOG_INIT;

    if (!dir_cbt_has(d, im->uuid)) return 0;
    if (!load(d, im->uuid, true, &log)) return sm_fail(err, SM_CBT_LIST, "%s: an unreadable log", im->uuid);
    if (log.size >= im->size) return 0;
    cbt_log_grow(&log, im->size);
    return store(d, im->uuid, &log, SM_IO, err);
}

/* The disk is about to be written to. False when what was written before is not known: tracking has ended then. */
bool dir_cbt_open(struct dir *d, const struct image *im)
{
    _cleanup_cbt_ struct cbt_log log = CBT_LOG_INIT;
    _cleanup_xerr_ struct xerr err = XERR_INIT;

    if (!dir_cbt_has(d, im->uuid)) return true;
    if (!load(d, im->uuid, true, &log) || (!log.consistent && !log.has_base)) {
        dir_cbt_end(d, im->uuid, &err);
        return false;
    }
    if (!log.consistent) return true;
    log.consistent = false;
    if (!log.has_base) log.base = parent_ref(im);
    log.has_base = true;
    if (store(d, im->uuid, &log, SM_IO, &err) == 0) return true;
    dir_cbt_end(d, im->uuid, &err);
    return false;
}

/* What is left out here the base in the log still tells. */
void dir_cbt_close(struct dir *d, const char *uuid)
{
    _cleanup_cbt_ struct cbt_log log = CBT_LOG_INIT;
    _cleanup_xerr_ struct xerr err = XERR_INIT;

    if (!dir_cbt_has(d, uuid) || !load(d, uuid, false, &log) || log.consistent) return;
    if (load_complete(d, uuid, &log, &err)) return;
    log.consistent = true;
    store(d, uuid, &log, SM_IO, &err);
}

/* Calls fn for the uuid of every log. */
static int each_log(struct dir *d, int (*fn)(struct dir *d, const char *uuid, void *arg, struct xerr *err), void *arg,
                    struct xerr *err)
{
    int fd = openat(d->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *e;
    char uuid[UUID_TEXT];

    if (!dir) {
        close_fdp(&fd);
        return sm_fail_errno(err, SM_SR_SCAN, "cannot list %s", d->path);
    }
    while (!rc && (e = readdir(dir)))
        if (dir_cbt_name(e->d_name, uuid)) rc = fn(d, uuid, arg, err);
    closedir(dir);
    return rc;
}

struct merge {
    const struct image *top, *base;
    struct ref top_id, base_id;
};

static int note_merge(struct dir *d, const char *uuid, void *arg, struct xerr *err)
{
    _cleanup_cbt_ struct cbt_log log = CBT_LOG_INIT, full = CBT_LOG_INIT;
    const struct merge *m = arg;

    if (!load(d, uuid, false, &log) || !log.has_base || !ref_is_null(log.child)) return 0;
    if (!ref_eq(log.base, m->top_id) && !ref_eq(log.base, m->base_id)) return 0;
    if (!load(d, uuid, true, &full)) return 0;
    full.base = m->base_id;
    if (ref_eq(log.base, m->base_id) && note_image(d, m->top, &full, err)) return -1;
    return store(d, uuid, &full, SM_IO, err);
}

int dir_cbt_merge(struct dir *d, const struct image *top, const struct image *base, struct xerr *err)
{
    struct merge m = { .top = top, .base = base };

    uuid_from_text(top->uuid, &m.top_id);
    uuid_from_text(base->uuid, &m.base_id);
    return each_log(d, note_merge, &m, err);
}

/* ---- scan ---------------------------------------------------------------------------------- */

/* A snapshot whose log was made but not linked. */
static int mend(struct dir *d, const char *uuid, void *arg, struct xerr *err)
{
    _cleanup_cbt_ struct cbt_log log = CBT_LOG_INIT, child = CBT_LOG_INIT, before = CBT_LOG_INIT;
    struct ref self;

    (void)arg;
    uuid_from_text(uuid, &self);
    if (!load(d, uuid, false, &log) || !load_ref(d, log.child, false, &child)) return 0;
    if (!ref_eq(child.parent, self) && ref_eq(child.parent, log.parent) && relink(d, log.child, &self, NULL, err)) return -1;
    if (load_ref(d, log.parent, false, &before) && ref_eq(before.child, log.child))
        return relink(d, log.parent, NULL, &self, err);
    return 0;
}

int dir_cbt_repair(struct dir *d, struct xerr *err) { return each_log(d, mend, NULL, err); }

struct listing {
    const struct map *images;
    struct value_builder *vdis;
};

/* A disk whose data were destroyed: only its log is there. */
static int list_log(struct dir *d, const char *uuid, void *arg, struct xerr *err)
{
    _cleanup_cbt_ struct cbt_log log = CBT_LOG_INIT;
    struct value_builder b = value_builder(d->sm->arena);
    const struct listing *l = arg;
    struct stat st;

    (void)err;
    if (map_get(l->images, uuid) || !load(d, uuid, false, &log) ||
        fstatat(d->fd, log_name(d, uuid), &st, AT_SYMLINK_NOFOLLOW))
        return 0;
    uuid = arena_strdup(d->sm->arena, uuid);
    value_put(&b, "uuid", value_string(uuid));
    value_put(&b, "location", value_string(uuid));
    value_put(&b, "type", value_string("cbt_metadata"));
    value_put(&b, "virtual_size", value_int(log.size));
    value_put(&b, "physical_utilisation", value_int((int64_t)st.st_blocks * 512));
    value_put(&b, "managed", value_bool(true));
    value_put(&b, "read_only", value_bool(true));
    value_put(&b, "cbt_enabled", value_bool(true));
    value_push(l->vdis, value_built_map(&b));
    return 0;
}

int dir_cbt_list(struct dir *d, const struct images *all, struct value_builder *vdis, struct xerr *err)
{
    _cleanup_map_ struct map *images = map_new();
    struct listing l = { images, vdis };

    for (size_t i = 0; i < all->n; i++) map_put(images, all->list[i].uuid, &all->list[i]);
    return each_log(d, list_log, &l, err);
}

/* ---- changed blocks ------------------------------------------------------------------------- */

static int add_next(struct dir *d, const char *uuid, bool last, struct cbt_log *sum, struct xerr *err)
{
    _cleanup_cbt_ struct cbt_log log = CBT_LOG_INIT;

    if (last ? load_complete(d, uuid, &log, err) : !load(d, uuid, true, &log))
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
static int sum_logs(struct dir *d, const char *from, const char *to, struct cbt_log *sum, bool *ret_found, struct xerr *err)
{
    _cleanup_cbt_ struct cbt_log at = CBT_LOG_INIT;
    const char *next = from;

    /* Links may be damaged: no list is longer than there are disks. */
    for (int n = 0; n < 100000 && load(d, next, false, &at) && !ref_is_null(at.child); n++) {
        next = ref_name(d, at.child);
        if (!dir_cbt_has(d, next)) break;
        if (add_next(d, next, streq(next, to), sum, err)) return -1;
        if (!streq(next, to)) continue;
        *ret_found = true;
        break;
    }
    return 0;
}

/* The request's disk is the older one; args: uuid of the newer one. */
int dir_vdi_list_changed_blocks(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    _cleanup_cbt_ struct cbt_log sum = CBT_LOG_INIT;
    const char *to = sm_arg(sm, 0);
    _cleanup_dir_ struct dir d = DIR_INIT;
    bool found = false;
    struct ref bytes;

    if (!uuid_from_text(to, &bytes)) return sm_fail(err, SM_BAD_REQUEST, "no disk to compare with: '%s'", to);
    if (streq(to, sm->vdi_uuid)) return sm_fail(err, SM_CBT_LIST, "Source and target VDI are same");
    if (dir_open_ours(sm, &d, err) || sum_logs(&d, sm->vdi_uuid, to, &sum, &found, err)) return -1;
    if (!found) return sm_fail(err, SM_CBT_LIST, "Source and target VDI are unrelated");
    return answer_bitmap(sm, &sum, ret_answer, err);
}

/* ---- differences of any two disks ------------------------------------------------------------ */

/* The disk's own image and those below it. */
static int load_chain(struct dir *d, const char *uuid, struct image chain[DIR_MAX_CHAIN], size_t *ret_n, struct xerr *err)
{
    size_t n = 1;

    if (dir_find_leaf(d, uuid, false, &chain[0], err)) return -1;
    for (; *chain[n - 1].parent; n++) {
        if (n == DIR_MAX_CHAIN) return sm_fail(err, SM_CHAIN_TOO_LONG, "%s stands on too many images", uuid);
        if (!dir_find_base(d, chain[n - 1].parent, &chain[n]))
            return sm_fail(err, SM_VDI_LOAD, "base %s is missing", chain[n - 1].parent);
    }
    *ret_n = n;
    return 0;
}

/* What two disks have above the image that both stand on. */
static int sum_chains(struct dir *d, const char *a, const char *b, struct cbt_log *sum, struct xerr *err)
{
    struct image *left = arena_new_array(d->sm->arena, struct image, DIR_MAX_CHAIN),
                 *right = arena_new_array(d->sm->arena, struct image, DIR_MAX_CHAIN);
    size_t n_left, n_right;

    if (load_chain(d, a, left, &n_left, err) || load_chain(d, b, right, &n_right, err)) return -1;
    if (!left->format->own_ranges || !streq(left[n_left - 1].uuid, right[n_right - 1].uuid))
        return sm_fail(err, SM_CBT_LIST, "%s and %s have nothing in common", a, b);
    while (n_left && n_right && streq(left[n_left - 1].uuid, right[n_right - 1].uuid)) {
        n_left--;
        n_right--;
    }
    cbt_log_new(sum, right->size);
    for (size_t i = 0; i < n_left; i++)
        if (note_image(d, &left[i], sum, err)) return -1;
    for (size_t i = 0; i < n_right; i++)
        if (note_image(d, &right[i], sum, err)) return -1;
    /* What the other one does not have reads as zeros here, or not. */
    if (left->size < right->size) cbt_log_mark(sum, left->size / CBT_BLOCK * CBT_BLOCK, right->size - left->size + CBT_BLOCK);
    return 0;
}

/* Blocks in which the disk may differ from another one, by their logs or by what they stand on; args: uuid of the other. */
int dir_vdi_compare(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    _cleanup_cbt_ struct cbt_log sum = CBT_LOG_INIT;
    _cleanup_xerr_ struct xerr unreadable = XERR_INIT;
    _cleanup_dir_ struct dir d = DIR_INIT;
    bool found = false;
    struct ref bytes;

    if (!uuid_from_text(sm_arg(sm, 0), &bytes)) return sm_fail(err, SM_BAD_REQUEST, "no disk to compare with: '%s'", sm_arg(sm, 0));
    if (dir_open_ours(sm, &d, err)) return -1;
    if (sum_logs(&d, sm_arg(sm, 0), sm->vdi_uuid, &sum, &found, &unreadable) || !found) {
        cbt_log_clear(&sum);
        if (sum_chains(&d, sm_arg(sm, 0), sm->vdi_uuid, &sum, err)) return -1;
    }
    return answer_bitmap(sm, &sum, ret_answer, err);
}
