/* Classes SR and VDI: the pool's database in a disk, where another pool finds it.
 * Called by: the generated thunks (schema/sr.xml, vdi.xml), jobs/.  Calls: pool_db, session_db, storage/, db/.
 *
 * SR.enable_database_replication makes a bare disk and writes the database into it; a job writes it again when something has
 * changed. The disk has two halves, written by turns: a header of one block, then the dump (pool_db.h). The header comes last, and
 * names length and SHA-256 of the dump: whenever the writer dies, one half holds all of a database. */
#define LOG_MODULE "vdi"
#include "xapi/vdi_metadata.h"

#include <openssl/evp.h>
#include <stdio.h>

#include "gen/methods.h"
#include "lib/clock.h"
#include "lib/iso8601.h"
#include "lib/limits.h"
#include "lib/log.h"
#include "lib/num.h"
#include "xapi/pool_db.h"
#include "xapi/session_db.h"
#include "xapi/sr.h"
#include "xapi/storage/content.h"

enum {
    DISK_BYTES = 256 << 20,
    HEADER_BYTES = 4096,
    PIECE_BYTES = 4 << 20,
    HASH_TEXT = 2 * 32 + 1,
    BUSY_MS = 60000,
    BUSY_POLL_MS = 20,
    PRIORITY_BROKEN = 3,
    PRIORITY_HEALTHY = 4,
};
#define MAGIC "XAPI-POOL-DATABASE 1\n"

struct half {
    int64_t generation; /* 0 = nothing is there */
    int64_t length;
    char sha256[HASH_TEXT];
    char pool[UUID_TEXT];
};

/* ---- one at a time ------------------------------------------------------------------------- */

/* The job, and calls, attach such disks by turns. */
static int take_turn(struct call *c, struct ref vdi, struct xerr *err)
{
    const int64_t until_ns = clock_deadline_ns(BUSY_MS);

    while (atomic_exchange(&c->agent->now->replicating, true)) {
        if (call_cancelled(c) || !clock_poll_ms(until_ns, BUSY_POLL_MS)) return xerr_vdi_in_use(err, REF_STR(vdi), "database");
        usleep(BUSY_POLL_MS * 1000);
    }
    return 0;
}

static void end_turn(struct call *c) { atomic_store(&c->agent->now->replicating, false); }

static const char *owner_of(struct call *c, struct ref vdi)
{
    return arena_printf(c->arena, "database-%s", REF_STR(vdi));
}

/* ---- the halves ---------------------------------------------------------------------------- */

static void hash(const char *text, size_t len, char ret_hex[HASH_TEXT])
{
    unsigned char md[EVP_MAX_MD_SIZE];
    unsigned n = 0;

    EVP_Digest(text, len, md, &n, EVP_sha256(), NULL);
    for (unsigned i = 0; i < n; i++) snprintf(ret_hex + 2 * i, 3, "%02x", md[i]);
}

static int64_t half_bytes(const struct content *k) { return content_size(k) / 2 / HEADER_BYTES * HEADER_BYTES; }

/* "key=value\n" of a header, "" when there is none. */
static const char *line_of(struct arena *a, const char *header, const char *key)
{
    const char *at = strstr(header, arena_printf(a, "\n%s=", key));

    if (!at) return "";
    at += strlen(key) + 2;
    return arena_strndup(a, at, strcspn(at, "\n"));
}

static int read_half(struct call *c, struct content *k, int i, struct half *ret_half, struct xerr *err)
{
    char header[HEADER_BYTES + 1] = "";
    struct half h = { .generation = 0 };
    struct ref bytes;

    *ret_half = h;
    if (half_bytes(k) < HEADER_BYTES) return 0;
    if (content_read(k, header, HEADER_BYTES, i * half_bytes(k), err)) return -1;
    const char *pool = line_of(c->arena, header, "pool"), *sha256 = line_of(c->arena, header, "sha256");
    if (!has_prefix(header, MAGIC) || !num_parse_int(line_of(c->arena, header, "generation"), &h.generation) ||
        !num_parse_int(line_of(c->arena, header, "length"), &h.length) || h.length <= 0 || h.length > LIMIT_POOL_DUMP ||
        h.length > half_bytes(k) - HEADER_BYTES || !uuid_from_text(pool, &bytes) || strlen(sha256) != HASH_TEXT - 1)
        return 0;
    snprintf(h.pool, sizeof(h.pool), "%s", pool);
    snprintf(h.sha256, sizeof(h.sha256), "%s", sha256);
    if (h.generation > 0) *ret_half = h;
    return 0;
}

/* The dump that a half names; NULL when it is not what the header says. Freed by the caller. */
static int read_dump(struct content *k, int i, const struct half *h, char **ret_text, struct xerr *err)
{
    _cleanup_free_ char *text = xmalloc((size_t)h->length + 1);
    char sha256[HASH_TEXT];

    for (int64_t at = 0; at < h->length; at += PIECE_BYTES) {
        size_t n = h->length - at < PIECE_BYTES ? (size_t)(h->length - at) : PIECE_BYTES;
        if (content_read(k, text + at, n, i * half_bytes(k) + HEADER_BYTES + at, err)) return -1;
    }
    text[h->length] = '\0';
    hash(text, (size_t)h->length, sha256);
    *ret_text = streq(sha256, h->sha256) ? take_ptr(text) : NULL;
    return 0;
}

/* The newest database of the disk, and whose. */
static int read_newest(struct call *c, struct content *k, struct half *ret_half, char **ret_text, struct xerr *err)
{
    struct half h[2];

    if (read_half(c, k, 0, &h[0], err) || read_half(c, k, 1, &h[1], err)) return -1;
    const int newer = h[1].generation > h[0].generation;
    for (int n = 0; n < 2; n++) {
        const int i = n ? !newer : newer;
        if (!h[i].generation) continue;
        if (read_dump(k, i, &h[i], ret_text, err)) return -1;
        if (!*ret_text) continue;
        *ret_half = h[i];
        return 0;
    }
    return xerr_could_not_import_database(err, "The disk holds no database of a pool");
}

static int write_next(struct call *c, struct content *k, const char *pool, const struct strbuf *dump, struct xerr *err)
{
    char header[HEADER_BYTES] = "", sha256[HASH_TEXT], when[ISO8601_TEXT];
    struct half h[2];

    if (read_half(c, k, 0, &h[0], err) || read_half(c, k, 1, &h[1], err)) return -1;
    const int i = h[1].generation < h[0].generation;
    if ((int64_t)dump->len > half_bytes(k) - HEADER_BYTES)
        return content_error(err, arena_printf(c->arena, "a database of %zu bytes is too large for the disk", dump->len));
    for (size_t at = 0; at < dump->len; at += PIECE_BYTES) {
        size_t n = dump->len - at < PIECE_BYTES ? dump->len - at : PIECE_BYTES;
        if (content_write(k, dump->ptr + at, n, i * half_bytes(k) + HEADER_BYTES + (int64_t)at, false, err)) return -1;
    }
    if (content_flush(k, err)) return -1;
    hash(dump->ptr, dump->len, sha256);
    snprintf(header, sizeof(header), MAGIC "generation=%lld\nlength=%zu\nsha256=%s\npool=%s\nwritten=%s\n",
             (long long)h[!i].generation + 1, dump->len, sha256, pool, iso8601_text(clock_wall_seconds(), when));
    return content_write(k, header, sizeof(header), i * half_bytes(k), false, err) || content_flush(k, err) ? -1 : 0;
}

/* ---- the disk ------------------------------------------------------------------------------ */

/* Attached and open, for fn. With the turn taken. */
static int with_disk(struct call *c, struct ref vdi, bool writable,
                     int (*fn)(struct call *c, struct content *k, void *arg, struct xerr *err), void *arg, struct xerr *err)
{
    _cleanup_xerr_ struct xerr undo = XERR_INIT;
    const char *owner = owner_of(c, vdi);
    struct storage_disk disk;
    struct content *k = NULL;

    if (vdi_attach(c, vdi, owner, writable, &disk, err)) return -1;
    int rc = content_open(c->agent->storage, &disk, &k, err);
    if (rc == 0) rc = fn(c, k, arg, err);
    content_close(k);
    if (vdi_detach(c, vdi, owner, &undo)) {
        _cleanup_free_ char *why = xerr_text(&undo);
        log_warn("disk %s stays attached after its database was used: %s", REF_STR(vdi), why);
    }
    return rc;
}

static int do_write(struct call *c, struct content *k, void *arg, struct xerr *err)
{
    _cleanup_strbuf_ struct strbuf dump = STRBUF_INIT;

    pool_db_dump(c->agent, false, &dump);
    return write_next(c, k, arg, &dump, err);
}

struct found {
    struct half half;
    char *text;
};

static int do_read(struct call *c, struct content *k, void *arg, struct xerr *err)
{
    struct found *f = arg;

    return read_newest(c, k, &f->half, &f->text, err);
}

static const char *own_pool(struct call *c)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);

    return sr_pool_uuid(c, s);
}

static int write_database(struct call *c, struct ref vdi, struct xerr *err)
{
    const char *pool = own_pool(c);

    if (!pool) return xerr_internal(err, "no pool");
    return with_disk(c, vdi, true, do_write, (char *)(uintptr_t)pool, err);
}

static int read_database(struct call *c, struct ref vdi, struct found *ret_found, struct xerr *err)
{
    if (take_turn(c, vdi, err)) return -1;
    int rc = with_disk(c, vdi, false, do_read, ret_found, err);
    end_turn(c);
    return rc;
}

/* The disks that hold this pool's database, of one SR or (null) of all that are plugged here. In c->arena. */
static size_t own_disks(struct call *c, struct ref sr, bool only_latest, struct ref **ret_vdis)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    size_t n = 0;

    *ret_vdis = arena_new_array(c->arena, struct ref, snap_count(s, CLASS_VDI));
    SNAP_EACH (s, CLASS_VDI, row) {
        if (row_enum(row, F_VDI_type) != vdi_type_metadata || !ref_eq(row_ref(row, F_VDI_metadata_of_pool), c->agent->pool))
            continue;
        if (only_latest && !row_bool(row, F_VDI_metadata_latest)) continue;
        if (ref_is_null(sr) || ref_eq(row_ref(row, F_VDI_SR), sr)) (*ret_vdis)[n++] = row_ref_of(row);
    }
    return n;
}

static int mark(struct call *c, struct ref vdi, bool latest, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);

    if (!snap_need(txn_snap(t), CLASS_VDI, vdi, err)) {
        db_abort(t);
        return -1;
    }
    txn_set_ref(t, vdi, F_VDI_metadata_of_pool, c->agent->pool);
    txn_set_bool(t, vdi, F_VDI_metadata_latest, latest);
    return db_commit(t, err);
}

/* ---- messages ------------------------------------------------------------------------------ */

static int make_disk(struct call *c, struct ref sr, struct ref *ret_vdi, struct xerr *err)
{
    struct value_builder config = value_builder(c->arena);

    value_put(&config, "type", value_string("raw"));
    const struct value sm_config = value_built_map(&config);
    const struct vdi_new n = {
        .sr = sr,
        .name_label = "Metadata for DR",
        .name_description = "The pool's database, for disaster recovery",
        .virtual_size = DISK_BYTES,
        .type = vdi_type_metadata,
        .sm_config = &sm_config,
    };

    return vdi_create_internal(c, &n, ret_vdi, err);
}

int sr_enable_database_replication(struct call *c, struct ref sr, struct xerr *err)
{
    struct ref vdi, *known;
    bool made = false;

    if (sr_assert_supports_database_replication(c, sr, err)) return -1;
    if (own_disks(c, sr, false, &known)) vdi = known[0];
    else if (make_disk(c, sr, &vdi, err)) return -1;
    else made = true;
    if (take_turn(c, vdi, err)) return -1;
    int rc = write_database(c, vdi, err) || mark(c, vdi, true, err) ? -1 : 0;
    end_turn(c);
    if (rc && made) {
        _cleanup_xerr_ struct xerr ignored = XERR_INIT;
        vdi_destroy(c, vdi, &ignored);
    }
    return rc;
}

int sr_disable_database_replication(struct call *c, struct ref sr, struct xerr *err)
{
    struct ref *known;
    size_t n = own_disks(c, sr, false, &known);

    for (size_t i = 0; i < n; i++) {
        if (take_turn(c, known[i], err)) return -1;
        /* What an agent that was killed had attached. */
        int rc = vdi_detach(c, known[i], owner_of(c, known[i]), err) || mark(c, known[i], false, err) ? -1 : 0;
        end_turn(c);
        if (rc || vdi_destroy(c, known[i], err)) return -1;
    }
    return 0;
}

int vdi_read_database_pool_uuid(struct call *c, struct ref self, const char **ret_result, struct xerr *err)
{
    struct found f = { .text = NULL };

    if (read_database(c, self, &f, err)) return -1;
    free(f.text);
    *ret_result = arena_strdup(c->arena, f.half.pool);
    return 0;
}

int vdi_open_database(struct call *c, struct ref self, struct ref *ret_result, struct xerr *err)
{
    struct found f = { .text = NULL };
    const char *pool = own_pool(c);

    if (read_database(c, self, &f, err)) return -1;
    _cleanup_free_ char *text = f.text;
    if (pool && streq(f.half.pool, pool))
        return xerr_vdi_contains_metadata_of_this_pool(err, REF_STR(self), REF_STR(c->agent->pool));
    return session_db_open(c, text, (size_t)f.half.length, REF_STR(self), ret_result, err);
}

/* ---- the job ------------------------------------------------------------------------------- */

static void tell(struct call *c, struct ref vdi, const char *name, int priority, const char *text)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_get(s, CLASS_VDI, vdi);
    const char *uuid = row ? arena_strdup(c->arena, row_uuid(row)) : NULL;
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    struct ref message;

    snap_unref(take_ptr(s));
    if (uuid && message_create(c, name, priority, cls_VDI, uuid, text, &message, &err))
        log_warn("no alert %s for disk %s", name, uuid);
}

static uint64_t revision_of(struct agent *agent)
{
    _cleanup_snap_ struct snap *s = db_snap(agent->db);

    return snap_token(s).revision;
}

bool vdi_metadata_due(struct agent *agent)
{
    return revision_of(agent) != atomic_load(&agent->now->replicated) && !atomic_load(&agent->now->replicating);
}

void vdi_metadata_write(struct agent *agent)
{
    struct call *c = call_new_internal(agent, "database replication");
    const uint64_t revision = revision_of(agent);
    const bool was_broken = atomic_load(&agent->now->replication_broken);
    struct ref *vdis;
    const size_t n = own_disks(c, REF_NULL, true, &vdis);
    bool broken = false;

    for (size_t i = 0; i < n; i++) {
        _cleanup_xerr_ struct xerr err = XERR_INIT;
        if (take_turn(c, vdis[i], &err)) break;
        int rc = write_database(c, vdis[i], &err);
        end_turn(c);
        if (rc == 0) continue;
        _cleanup_free_ char *why = xerr_text(&err);
        log_warn("the database does not reach disk %s: %s", REF_STR(vdis[i]), why);
        broken = true;
        if (!was_broken) tell(c, vdis[i], "METADATA_LUN_BROKEN", PRIORITY_BROKEN, why);
    }
    if (was_broken && !broken && n) tell(c, vdis[0], "METADATA_LUN_HEALTHY", PRIORITY_HEALTHY, "");
    atomic_store(&agent->now->replication_broken, broken);
    if (!broken) atomic_store(&agent->now->replicated, revision);
    call_free_internal(c);
}
