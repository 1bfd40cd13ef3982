/* Class blob: named binary data that clients keep with an object.
 * Called by: the generated thunks (schema/blob.xml and the owners'), startup, http/blob.c.  Calls: db/. */
#include "xapi/blob.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <time.h>

#define LOG_MODULE "blob"
#include "gen/methods.h"
#include "lib/limits.h"
#include "lib/log.h"

enum { MIME_MAX = 255 };

const char *blob_path(const struct agent *agent, struct arena *a, const char *uuid)
{
    return arena_printf(a, "%s/blobs/%s", agent->root, uuid);
}

/* ---- making -------------------------------------------------------------------------------------------- */

/* It becomes part of an HTTP head: type/subtype, parameters, no control characters. "" is
 * application/octet-stream. */
static bool good_mime(const char *type)
{
    if (strlen(type) > MIME_MAX || !strchr(type, '/')) return false;
    for (const char *p = type; *p; p++)
        if ((unsigned char)*p < 0x20 || (unsigned char)*p > 0x7e) return false;
    return true;
}

/* In a transaction: a new row. Errors (the transaction is then aborted): INVALID_VALUE, OUT_OF_SPACE. */
static int add(struct call *c, struct txn *t, const char *name, const char *mime_type, bool public,
               struct ref *ret_blob, struct xerr *err)
{
    if (!*mime_type) mime_type = "application/octet-stream";
    if (!good_mime(mime_type)) {
        db_abort(t);
        return xerr_invalid_value(err, "mime_type", mime_type);
    }
    if (snap_count(txn_snap(t), CLASS_blob) >= LIMIT_BLOBS) {
        db_abort(t);
        return xerr_out_of_space(err,
                                 arena_printf(c->arena, "%s/blobs: %d blobs", c->agent->root, LIMIT_BLOBS));
    }
    *ret_blob = ref_new();
    txn_create(t, CLASS_blob, *ret_blob);
    txn_set_str(t, *ret_blob, F_blob_name_label, name);
    txn_set_str(t, *ret_blob, F_blob_mime_type, mime_type);
    txn_set_bool(t, *ret_blob, F_blob_public, public);
    return 0;
}

int blob_create(struct call *c, const char *mime_type, bool public, struct ref *ret_result, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);
    struct ref blob;

    if (add(c, t, "", mime_type, public, &blob, err) || db_commit(t, err)) return -1;
    *ret_result = blob;
    return 0;
}

/* A blob under a name of its owner's map. Errors: HANDLE_INVALID, MAP_DUPLICATE_KEY. */
static int create_of(struct call *c, enum class_id cls, struct ref owner, field_id blobs, const char *name,
                     const char *mime_type, bool public, struct ref *ret_result, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);
    struct ref blob;

    if (!snap_need(txn_snap(t), cls, owner, err)) {
        db_abort(t);
        return -1;
    }
    if (add(c, t, name, mime_type, public, &blob, err)) return -1;
    const struct value v = value_ref(blob);
    txn_map_add(t, owner, blobs, name, &v);
    if (db_commit(t, err)) return -1;
    *ret_result = blob;
    return 0;
}

int host_create_new_blob(struct call *c, struct ref host, const char *name, const char *mime_type,
                         bool public, struct ref *ret_result, struct xerr *err)
{
    return create_of(c, CLASS_host, host, F_host_blobs, name, mime_type, public, ret_result, err);
}

int pool_create_new_blob(struct call *c, struct ref pool, const char *name, const char *mime_type,
                         bool public, struct ref *ret_result, struct xerr *err)
{
    return create_of(c, CLASS_pool, pool, F_pool_blobs, name, mime_type, public, ret_result, err);
}

int network_create_new_blob(struct call *c, struct ref network, const char *name, const char *mime_type,
                            bool public, struct ref *ret_result, struct xerr *err)
{
    return create_of(c, CLASS_network, network, F_network_blobs, name, mime_type, public, ret_result, err);
}

int sr_create_new_blob(struct call *c, struct ref sr, const char *name, const char *mime_type, bool public,
                       struct ref *ret_result, struct xerr *err)
{
    return create_of(c, CLASS_SR, sr, F_SR_blobs, name, mime_type, public, ret_result, err);
}

int vm_create_new_blob(struct call *c, struct ref vm, const char *name, const char *mime_type, bool public,
                       struct ref *ret_result, struct xerr *err)
{
    return create_of(c, CLASS_VM, vm, F_VM_blobs, name, mime_type, public, ret_result, err);
}

/* ---- destroying ---------------------------------------------------------------------------------------- */

/* In a transaction: the owners' maps forget it. */
static void forget(struct txn *t, struct arena *a, enum class_id cls, field_id blobs, struct ref blob)
{
    SNAP_EACH (txn_snap(t), cls, owner) {
        const struct value map = value_copy(a, row_value(owner, blobs));
        for (size_t i = 0; i < map.map.n; i++)
            if (ref_eq(map.map.members[i].value.ref, blob))
                txn_map_remove(t, row_ref_of(owner), blobs, map.map.members[i].key);
    }
}

int blob_destroy(struct call *c, struct ref self, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);
    const struct row *row = snap_need(txn_snap(t), CLASS_blob, self, err);

    if (!row) {
        db_abort(t);
        return -1;
    }
    const char *path = blob_path(c->agent, c->arena, row_uuid(row));
    forget(t, c->arena, CLASS_host, F_host_blobs, self);
    forget(t, c->arena, CLASS_pool, F_pool_blobs, self);
    forget(t, c->arena, CLASS_network, F_network_blobs, self);
    forget(t, c->arena, CLASS_SR, F_SR_blobs, self);
    forget(t, c->arena, CLASS_VM, F_VM_blobs, self);
    txn_destroy(t, CLASS_blob, self);
    if (db_commit(t, err)) return -1;
    if (unlink(path) && errno != ENOENT) log_warn("%s: %s", path, strerror(errno));
    return 0;
}

/* ---- bytes --------------------------------------------------------------------------------------------- */

int blob_replace(struct call *c, struct ref blob, const char *temporary, int64_t size, struct xerr *err)
{
    const char *path;
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *row = snap_need(s, CLASS_blob, blob, err);
        if (!row) goto drop;
        path = blob_path(c->agent, c->arena, row_uuid(row));
    }
    if (rename(temporary, path) || sync_folder_of(path)) {
        xerr_internal(err, "%s: %s", path, strerror(errno));
        goto drop;
    }
    struct txn *t = db_begin(c->agent->db);
    txn_set_int(t, blob, F_blob_size, size);
    txn_set_time(t, blob, F_blob_last_updated, time(NULL));
    if (!db_commit(t, err)) return 0;
    /* Destroyed meanwhile: the file has nobody either. */
    unlink(path);
    return -1;
drop:
    unlink(temporary);
    return -1;
}

static bool has_record(const struct agent *agent, const char *uuid)
{
    _cleanup_snap_ struct snap *s = db_snap(agent->db);

    return snap_by_uuid(s, CLASS_blob, uuid) != NULL;
}

int blobs_sweep(struct call *c, struct xerr *err)
{
    const char *folder = arena_printf(c->arena, "%s/blobs", c->agent->root);

    if (make_dirs(folder, 0700)) return xerr_internal(err, "%s: %s", folder, strerror(errno));
    DIR *dir = opendir(folder);
    if (!dir) return xerr_internal(err, "%s: %s", folder, strerror(errno));
    for (const struct dirent *e; (e = readdir(dir));) {
        if (streq(e->d_name, ".") || streq(e->d_name, "..")) continue;
        if (!has_record(c->agent, e->d_name)) unlinkat(dirfd(dir), e->d_name, 0);
    }
    closedir(dir);
    return 0;
}
