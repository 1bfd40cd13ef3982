/* Which disk is attached on this host, for whom: the ledger, and the driver calls around it.
 * Called by: class files.  Calls: slot.
 *
 * One small file for each owner under root/storage/attached/<vdi uuid>.<owner>: it must outlive this
 * process, not the host, so it is neither synced nor believed after a boot. */
#define LOG_MODULE "storage"
#include "xapi/storage/slots.h"

#include "gen/errors.h"
#include "lib/log.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

enum { RECORD_LIMIT = 16384 };
#define BOOT_ID "/proc/sys/kernel/random/boot_id"

/* ---- entries ------------------------------------------------------------------------------- */

static struct entry *entry_get(struct storage *s, const char *sr_uuid, const char *vdi_uuid)
{
    struct entry *e = map_get(s->entries, vdi_uuid);

    if (!e) {
        e = xcalloc(1, sizeof(*e));
        e->sr_uuid = xstrdup(sr_uuid);
        e->vdi_uuid = xstrdup(vdi_uuid);
        pthread_cond_init(&e->freed, NULL);
        map_put(s->entries, vdi_uuid, e);
    }
    return e;
}

static void entry_free(struct entry *e)
{
    for (size_t i = 0; i < e->n_owners; i++) free(e->owners[i].name);
    free(e->owners);
    free(e->sr_uuid);
    free(e->vdi_uuid);
    free(e->path);
    free(e->format);
    free(e->alert);
    pthread_cond_destroy(&e->freed);
    free(e);
}

/* Forgets an entry that nobody has and nobody waits for. */
static void entry_put(struct storage *s, struct entry *e)
{
    if (e->n_owners || e->busy || e->waiting) return;
    map_remove(s->entries, e->vdi_uuid);
    entry_free(e);
}

static struct owner *find_owner(const struct entry *e, const char *name)
{
    for (size_t i = 0; i < e->n_owners; i++)
        if (streq(e->owners[i].name, name)) return &e->owners[i];
    return NULL;
}

static void add_owner(struct entry *e, const char *name, bool writable)
{
    e->owners = xrealloc(e->owners, (e->n_owners + 1) * sizeof(*e->owners));
    e->owners[e->n_owners++] = (struct owner){ .name = xstrdup(name), .writable = writable };
}

static void remove_owner(struct entry *e, struct owner *o)
{
    free(o->name);
    *o = e->owners[--e->n_owners];
}

static bool may_own(const struct entry *e, bool writable, bool sharable)
{
    if (sharable || e->n_owners == 0) return true;
    if (writable) return false;
    for (size_t i = 0; i < e->n_owners; i++)
        if (e->owners[i].writable) return false;
    return true;
}

/* With the lock held: waits until nobody works on the disk and makes it ours to work on. */
static struct entry *entry_take(struct storage *s, const char *sr_uuid, const char *vdi_uuid)
{
    struct entry *e = entry_get(s, sr_uuid, vdi_uuid);

    e->waiting++;
    while (e->busy) pthread_cond_wait(&e->freed, &s->lock);
    e->waiting--;
    e->busy = true;
    return e;
}

static void entry_give(struct storage *s, struct entry *e)
{
    e->busy = false;
    pthread_cond_signal(&e->freed);
    entry_put(s, e);
}

/* ---- records ------------------------------------------------------------------------------- */

static char *record_path(const struct storage *s, const char *vdi_uuid, const char *owner)
{
    return xasprintf("%s/%s.%s", s->attached_dir, vdi_uuid, owner);
}

static int write_record(struct storage *s, const struct entry *e, const char *owner, bool writable,
                        struct xerr *err)
{
    _cleanup_free_ char *path = record_path(s, e->vdi_uuid, owner),
                        *tmp = xasprintf("%s/tmp.%s", s->attached_dir, owner);
    FILE *f = fopen(tmp, "we");

    if (!f) return xerr_internal(err, "cannot write %s: %s", tmp, strerror(errno));
    fprintf(f, "%s\n%s\n%s\n%s\n%s\n%s\n", e->sr_uuid, writable ? "rw" : "ro", e->writable ? "rw" : "ro",
            e->block ? "block" : "file", e->format, e->path);
    if (fclose(f) || rename(tmp, path)) {
        xerr_internal(err, "cannot write %s: %s", path, strerror(errno));
        unlink(tmp);
        return -1;
    }
    return 0;
}

static void drop_record(struct storage *s, const struct entry *e, const char *owner)
{
    _cleanup_free_ char *path = record_path(s, e->vdi_uuid, owner);

    unlink(path);
}

static char *next_line(char **at)
{
    return *at ? strsep(at, "\n") : NULL;
}

static void load_record(struct storage *s, const char *name)
{
    _cleanup_free_ char *path = xasprintf("%s/%s", s->attached_dir, name), *text = NULL, *vdi = xstrdup(name);
    char *dot = strchr(vdi, '.'), *at, *sr, *mode, *disk_mode, *kind, *format, *disk_path;
    struct ref bytes;

    if (!dot || read_file(path, RECORD_LIMIT, &text, NULL)) return;
    *dot = '\0';
    at = text;
    sr = next_line(&at);
    mode = next_line(&at);
    disk_mode = next_line(&at);
    kind = next_line(&at);
    format = next_line(&at);
    disk_path = next_line(&at);
    if (!uuid_from_text(vdi, &bytes) || !disk_path || !*disk_path) {
        log_warn("%s is no record of an attached disk; removed", path);
        unlink(path);
        return;
    }
    struct entry *e = entry_get(s, sr, vdi);
    add_owner(e, dot + 1, streq(mode, "rw"));
    if (e->path) return;
    e->writable = streq(disk_mode, "rw");
    e->block = streq(kind, "block");
    e->format = xstrdup(format);
    e->path = xstrdup(disk_path);
}

/* True when the host was booted since the ledger was written: nothing in it is attached any more. */
static bool host_was_booted(struct storage *s)
{
    _cleanup_free_ char *path = xasprintf("%s/boot-id", s->attached_dir), *old = NULL, *now = NULL;

    if (read_file(BOOT_ID, 256, &now, NULL)) return false;
    if (read_file(path, 256, &old, NULL) == 0 && streq(old, now)) return false;
    if (write_file_atomic(path, now, strlen(now), 0600))
        log_warn("cannot write %s: %s", path, strerror(errno));
    return true;
}

/* The agent has just started: nobody else knows the entries. */
static void adopt_servers(struct storage *s)
{
    const char *key;
    void *e;

    for (size_t at = 0; map_next(s->entries, &at, &key, &e);)
        if (serve_needed(((struct entry *)e)->format)) serve_adopt(s, e);
}

static void drop_note(struct storage *s, const char *name)
{
    _cleanup_free_ char *path = xasprintf("%s/%s", s->attached_dir, name);

    if (!streq(name, "boot-id")) unlink(path);
}

static void load_note(struct storage *s, const char *name)
{
    if (has_prefix(name, "tmp.")) drop_note(s, name);
    else if (!streq(name, "boot-id")) load_record(s, name);
}

int ledger_load(struct storage *s, struct xerr *err)
{
    if (notes_each(s, s->attached_dir, host_was_booted(s) ? drop_note : load_note, err)) return -1;
    adopt_servers(s);
    return 0;
}

void ledger_free(struct storage *s)
{
    const char *key;
    void *e;

    for (size_t at = 0; map_next(s->entries, &at, &key, &e);) entry_free(e);
}

/* ---- attach -------------------------------------------------------------------------------- */

/* "params" of the answer is the path; foreign drivers leave the format out: their raw devices are raw,
 * the rest is known by its name. */
static int take_path(struct entry *e, const struct value *answer, bool writable,
                     const struct storage_driver *d, struct xerr *err)
{
    const char *path = answer->kind == VALUE_STRING ? answer->s : value_get_str(answer, "params", "");
    const char *dot = strrchr(path, '.'), *guess = "raw";
    struct stat st;

    if (dot && streq(dot, ".vhd")) guess = "vhd";
    if (dot && streq(dot, ".qcow2")) guess = "qcow2";
    if (*path != '/' || strchr(path, '\n') || stat(path, &st)) {
        log_warn("%s: vdi_attach answered with no usable path: '%s'", d->type, path);
        return xerr_sm_plugin_communication_failure(err, d->type);
    }
    e->path = xstrdup(path);
    e->format = xstrdup(value_get_str(answer, "format", guess));
    e->block = S_ISBLK(st.st_mode);
    e->writable = writable;
    free(e->alert);
    e->alert = xstrdup(answer->kind == VALUE_MAP ? value_get_str(answer, "cbt_alert", "") : "");
    return 0;
}

static void undo_attach(struct storage *s, const struct storage_sr *sr, const struct storage_vdi *vdi,
                        const char *command)
{
    _cleanup_arena_ struct arena *a = arena_new();
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    struct value ignored;

    if (storage_call(s, sr, vdi, command, NULL, 0, NULL, 0, a, &ignored, &err)) {
        _cleanup_free_ char *why = xerr_text(&err);
        log_warn("%s of %s after a failure: %s", command, vdi->uuid, why);
    }
}

static int start_server(struct storage *s, const struct entry *e, struct xerr *err)
{
    const char *const vdis[] = { e->vdi_uuid };
    _cleanup_opening_ struct storage_opening opening;

    storage_opening_begin(s, vdis, ARRAY_SIZE(vdis), &opening);
    return serve_start(s, e, err);
}

/* The driver's part. The entry is busy, so only we touch it. */
static int attach_by_driver(struct storage *s, const struct storage_sr *sr, const struct storage_vdi *vdi,
                            struct entry *e, bool writable, struct xerr *err)
{
    const struct storage_driver *d = storage_driver_need(s, sr->type, err);
    _cleanup_arena_ struct arena *a = arena_new();
    struct value mode = value_string(writable ? "true" : "false"), answer, ignored;

    if (!d || storage_call(s, sr, vdi, "vdi_attach", &mode, 1, NULL, 0, a, &answer, err)) return -1;
    if (storage_driver_has(d, "VDI_ACTIVATE") &&
        storage_call(s, sr, vdi, "vdi_activate", &mode, 1, NULL, 0, a, &ignored, err)) {
        undo_attach(s, sr, vdi, "vdi_detach");
        return -1;
    }
    if (e->format && serve_needed(e->format)) serve_stop(s, e->vdi_uuid);
    free(take_ptr(e->path));
    free(take_ptr(e->format));
    if (take_path(e, &answer, writable, d, err) == 0 &&
        (!serve_needed(e->format) || start_server(s, e, err) == 0))
        return 0;
    if (storage_driver_has(d, "VDI_ACTIVATE")) undo_attach(s, sr, vdi, "vdi_deactivate");
    undo_attach(s, sr, vdi, "vdi_detach");
    return -1;
}

/* Drivers give a qcow2 that is written to a second name beside the first (sm/dir.h, sm/lvhd.h). */
static const char *guest_path(const struct entry *e, struct arena *a)
{
    const char *slash = strrchr(e->path, '/');
    struct stat one, other;

    if (!slash) return NULL;
    const char *live = arena_printf(a, "%.*s/live-%s", (int)(slash - e->path), e->path, slash + 1);
    bool same = stat(live, &other) == 0 && stat(e->path, &one) == 0 &&
                (e->block ? one.st_rdev == other.st_rdev : one.st_ino == other.st_ino && one.st_dev == other.st_dev);
    return same ? live : NULL;
}

static void describe(const struct storage *s, const struct entry *e, bool writable, const char *guest, struct arena *a,
                     struct storage_disk *ret_disk)
{
    _cleanup_free_ char *socket = serve_needed(e->format) ? serve_socket(s, e->vdi_uuid) : NULL;

    *ret_disk = (struct storage_disk){
        .path = arena_strdup(a, e->path),
        .guest_path = guest,
        .format = arena_strdup(a, e->format),
        .socket = socket ? arena_strdup(a, socket) : NULL,
        .block = e->block,
        .writable = writable,
        .alert = "",
    };
}

/* With the entry busy and the lock not held. */
static int attach_busy(struct storage *s, const struct storage_sr *sr, const struct storage_vdi *vdi,
                       struct entry *e, const char *owner, bool writable, struct xerr *err)
{
    const struct owner *has = find_owner(e, owner);

    if (has && has->writable == writable) return 0;
    if (has || !may_own(e, writable, vdi->sharable)) return xerr_vdi_in_use(err, REF_STR(vdi->ref), "attach");
    if ((e->n_owners == 0 || (writable && !e->writable)) && attach_by_driver(s, sr, vdi, e, writable, err))
        return -1;
    if (write_record(s, e, owner, writable, err)) {
        if (e->n_owners == 0) undo_attach(s, sr, vdi, "vdi_detach");
        return -1;
    }
    return 0;
}

int storage_attach(struct storage *s, const struct storage_sr *sr, const struct storage_vdi *vdi,
                   const char *owner, bool writable, struct arena *a, struct storage_disk *ret_disk,
                   struct xerr *err)
{
    assert(*owner && !strchr(owner, '/'));
    if (writable && vdi->read_only) return xerr_vdi_readonly(err, REF_STR(vdi->ref));
    pthread_mutex_lock(&s->lock);
    struct entry *e = entry_take(s, sr->uuid, vdi->uuid);
    pthread_mutex_unlock(&s->lock);

    int rc = attach_busy(s, sr, vdi, e, owner, writable, err);
    const char *guest = rc == 0 && writable ? guest_path(e, a) : NULL;

    pthread_mutex_lock(&s->lock);
    if (rc == 0) {
        if (!find_owner(e, owner)) add_owner(e, owner, writable);
        find_owner(e, owner)->left = false;
        describe(s, e, writable, guest, a, ret_disk);
        if (e->alert) ret_disk->alert = arena_strdup(a, e->alert);
        free(take_ptr(e->alert));
    }
    entry_give(s, e);
    pthread_mutex_unlock(&s->lock);
    return rc;
}

/* ---- detach -------------------------------------------------------------------------------- */

static int detach_by_driver(struct storage *s, const struct storage_sr *sr, const struct storage_vdi *vdi,
                            struct xerr *err)
{
    const struct storage_driver *d = storage_driver_need(s, sr->type, err);
    _cleanup_arena_ struct arena *a = arena_new();
    struct value ignored;

    if (!d) return -1;
    if (storage_driver_has(d, "VDI_DEACTIVATE") &&
        storage_call(s, sr, vdi, "vdi_deactivate", NULL, 0, NULL, 0, a, &ignored, err))
        return -1;
    if (!storage_driver_has(d, "VDI_DETACH")) return 0;
    return storage_call(s, sr, vdi, "vdi_detach", NULL, 0, NULL, 0, a, &ignored, err);
}

int storage_detach(struct storage *s, const struct storage_sr *sr, const struct storage_vdi *vdi,
                   const char *owner, struct xerr *err)
{
    pthread_mutex_lock(&s->lock);
    struct entry *e = entry_take(s, sr->uuid, vdi->uuid);
    bool has = find_owner(e, owner) != NULL, last = has && e->n_owners == 1;
    pthread_mutex_unlock(&s->lock);

    if (last && e->format && serve_needed(e->format)) serve_stop(s, e->vdi_uuid);
    int rc = last ? detach_by_driver(s, sr, vdi, err) : 0;

    if (has && rc == 0) drop_record(s, e, owner);
    pthread_mutex_lock(&s->lock);
    if (has && rc == 0) remove_owner(e, find_owner(e, owner));
    else if (has) find_owner(e, owner)->left = true;
    entry_give(s, e);
    pthread_mutex_unlock(&s->lock);
    return rc;
}

/* ---- hold ---------------------------------------------------------------------------------- */

void storage_hold(struct storage *s, const char *sr_uuid, const char *vdi_uuid, struct storage_hold *ret_hold)
{
    HOLD(&s->lock);
    struct entry *e = entry_take(s, sr_uuid, vdi_uuid);
    struct storage_hold hold = { .owners = e->n_owners, .storage = s, .entry = e };

    for (size_t i = 0; i < e->n_owners; i++) {
        if (hold.writable) break;
        hold.writable = e->owners[i].writable;
        hold.owner = e->owners[i].name;
    }
    *ret_hold = hold;
}

void storage_release(struct storage_hold *hold)
{
    HOLD(&hold->storage->lock);
    entry_give(hold->storage, hold->entry);
    hold->entry = NULL;
}

int storage_switch(struct storage *s, const char *vdi_uuid, struct xerr *err)
{
    bool served;

    pthread_mutex_lock(&s->lock);
    const struct entry *e = map_get(s->entries, vdi_uuid);
    served = e && e->n_owners && e->format && serve_needed(e->format);
    pthread_mutex_unlock(&s->lock);
    return served ? serve_look(s, vdi_uuid, err) : 0;
}

/* ---- looking ------------------------------------------------------------------------------- */

struct found {
    struct arena *arena;
    struct storage_attachment *list;
    size_t n, cap;
};

static void put_found(const struct storage *s, struct found *f, const struct entry *e)
{
    for (size_t i = 0; e->path && i < e->n_owners; i++) {
        if (f->n == f->cap) {
            f->cap = f->cap ? f->cap * 2 : 16;
            f->list = xrealloc(f->list, f->cap * sizeof(*f->list));
        }
        struct storage_attachment *at = &f->list[f->n++];
        at->sr_uuid = arena_strdup(f->arena, e->sr_uuid);
        at->vdi_uuid = arena_strdup(f->arena, e->vdi_uuid);
        at->owner = arena_strdup(f->arena, e->owners[i].name);
        at->left = e->owners[i].left;
        describe(s, e, e->owners[i].writable, NULL, f->arena, &at->disk);
    }
}

size_t storage_attachments(struct storage *s, const char *sr_uuid, const char *vdi_uuid, struct arena *a,
                           const struct storage_attachment **ret_list)
{
    struct found f = { .arena = a };
    const char *key;
    void *e;

    pthread_mutex_lock(&s->lock);
    if (vdi_uuid) {
        e = map_get(s->entries, vdi_uuid);
        if (e) put_found(s, &f, e);
    } else {
        for (size_t at = 0; map_next(s->entries, &at, &key, &e);)
            if (!sr_uuid || streq(((struct entry *)e)->sr_uuid, sr_uuid)) put_found(s, &f, e);
    }
    pthread_mutex_unlock(&s->lock);
    struct storage_attachment *copy = arena_new_array(a, struct storage_attachment, f.n);
    if (f.n) memcpy(copy, f.list, f.n * sizeof(*copy));
    free(f.list);
    *ret_list = copy;
    return f.n;
}
