/* The pool database: immutable snapshots for readers, transactions against the pending head for writers,
 * group commit to a store, and the stream of changes that events are made of.
 * Called by: everything above layer 1.  Calls: lib, gen, store.h.
 *
 * Readers take a snapshot of the *durable* head: one reference, never a wait. A writer opens a
 * transaction, which takes the writer lock and sees the *pending* head (everything committed before it,
 * durable or not); it changes fields and commits. db_commit() returns when the change is on disk and
 * visible to db_snap() of this process.
 *
 * Locks: the writer lock (rank: see HACKING.md) is held from db_begin() to db_commit()/db_abort():
 * microseconds, no I/O, no other module. A snapshot must not be held over I/O or a park. */
#ifndef DB_DB_H
#define DB_DB_H

#include "gen/model.h"
#include "lib/strbuf.h"

struct db;
struct snap;
struct row;
struct txn;
struct store;

/* ---- life ---------------------------------------------------------------------------------------------- */

/* Opens (creates) the database in the store and loads every row; raises the boot epoch. Ownership of the
 * store passes, also on failure. Errors: INTERNAL_ERROR with the file's name. */
int db_open(struct store *store, struct db **ret_db, struct xerr *err);
/* Gives a volatile field of every row of its class a content, in place: no version, no event. Only while
 * nobody else has the database: between db_open() and the first transaction (asserted). fn returns what the
 * row shall hold. */
typedef uint64_t (*fill_fn)(void *arg, const struct snap *s, const struct row *row);
void db_fill_bits(struct db *db, field_id f, fill_fn fn, void *arg);
/* Closes the store. No transaction may be open and no snapshot held (asserted). NULL is fine. */
void db_close(struct db *db);

/* ---- reading ------------------------------------------------------------------------------------------- */

/* The durable head. Never blocks. Unref when done; everything borrowed from it dies with it. */
struct snap *db_snap(struct db *db);
struct snap *snap_ref(struct snap *s);
void snap_unref(struct snap *s);
static inline void snap_unrefp(struct snap **s) { if (*s) snap_unref(*s); }
#define _cleanup_snap_ _cleanup_(snap_unrefp)

/* Row of this class with this reference, or NULL. Borrowed from the snapshot. */
const struct row *snap_get(const struct snap *s, enum class_id cls, struct ref ref);
/* As snap_get, but sets HANDLE_INVALID [class, ref] and returns NULL when there is none. */
const struct row *snap_need(const struct snap *s, enum class_id cls, struct ref ref, struct xerr *err);
/* By uuid text; NULL when there is none. */
const struct row *snap_by_uuid(const struct snap *s, enum class_id cls, const char *uuid);
size_t snap_count(const struct snap *s, enum class_id cls);
/* Any class: the row with this reference whatever its class, or NULL. */
const struct row *snap_find(const struct snap *s, struct ref ref);

/* Every row of a class, in reference order:
 *     SNAP_EACH(s, CLASS_VM, vm) { ... row_str(vm, F_VM_name_label) ... }
 * Over a transaction's root too, whose rows may be changed, created and destroyed under way. */
struct snap_iter { uint64_t opaque[4]; };
struct snap_iter snap_iter(const struct snap *s, enum class_id cls);
/* The same, quicker over a transaction's root: for a walk during which that transaction changes nothing. */
struct snap_iter snap_iter_still(const struct snap *s, enum class_id cls);
/* Only rows whose name_label is this text. */
struct snap_iter snap_iter_named(const struct snap *s, enum class_id cls, const char *name_label);
const struct row *snap_next(const struct snap *s, struct snap_iter *it);
#define SNAP_EACH(s, cls, var)                                                                               \
    for (struct snap_iter var##_iter = snap_iter(s, cls), *var##_once = &var##_iter; var##_once;             \
         var##_once = NULL)                                                                                  \
        for (const struct row *var; (var = snap_next(s, &var##_iter));)

/* Fields of a row. The field must be of the row's class and of the right cell kind (asserted). Borrowed. */
struct ref row_ref_of(const struct row *r);            /* the row's own reference */
uint64_t row_serial(const struct row *r);              /* an object made later has a larger one */
uint64_t row_version(const struct row *r);             /* another number after any change of it; not 0 */
enum class_id row_class(const struct row *r);
const char *row_uuid(const struct row *r);             /* "" for a class without uuid */
const char *row_str(const struct row *r, field_id f);
int64_t row_int(const struct row *r, field_id f);
bool row_bool(const struct row *r, field_id f);
double row_float(const struct row *r, field_id f);
int64_t row_time(const struct row *r, field_id f);
struct ref row_ref(const struct row *r, field_id f);
int row_enum(const struct row *r, field_id f);          /* the C enumerator */
uint64_t row_bits(const struct row *r, field_id f);
const struct value *row_value(const struct row *r, field_id f);   /* sets, maps */
struct refset { size_t n; struct ref refs[]; };        /* sorted, never NULL */
const struct refset *row_refs(const struct row *r, field_id f);
bool refset_has(const struct refset *set, struct ref ref);
/* Text of one key of a (string -> string) map, or fallback. */
const char *row_map_str(const struct row *r, field_id f, const char *key, const char *fallback);
/* Any field as a value (sets of refs, bits and enums become VALUE_SET / VALUE_STRING), in an arena. */
struct value row_field_value(const struct row *r, const struct field_desc *f, struct arena *a);
/* The whole record. */
struct value row_record(const struct row *r, struct arena *a);

/* The row's record as encoded text, appended to out. scratch is empty afterwards: one arena serves for any
 * number of rows. Nothing is kept: a row is the smallest form of its text, and quickly written. */
enum encoding { ENCODING_XML, ENCODING_JSON, N_ENCODINGS };
void row_encode(const struct row *r, enum encoding e, struct arena *scratch, struct strbuf *out);

/* ---- writing ------------------------------------------------------------------------------------------- */

/* Opens a transaction: takes the writer lock. */
struct txn *db_begin(struct db *db);
/* The pending head as this transaction sees it (its own changes included). Borrowed until commit or abort;
 * rows read before a change of the same row are stale afterwards. */
const struct snap *txn_snap(struct txn *t);

/* Changes. The first failure sticks: later changes do nothing and db_commit() fails with it, so code may be
 * written in a straight line. A missing row: HANDLE_INVALID [class, ref]. */

/* A new row with every field at the schema's default and a fresh uuid, which may be set afterwards.
 * DB_UNIQUENESS_CONSTRAINT_VIOLATION [class, "_ref", ref] when the reference exists. */
void txn_create(struct txn *t, enum class_id cls, struct ref ref);
/* References of other objects that have a back-reference here (VBD.VM -> VM.VBDs) become null; those
 * objects stay. */
void txn_destroy(struct txn *t, enum class_id cls, struct ref ref);
/* Setting what is there already is no change and no event. A uuid that another object of the class has:
 * DB_UNIQUENESS_CONSTRAINT_VIOLATION [class, "uuid", uuid]. */
void txn_set_str(struct txn *t, struct ref ref, field_id f, const char *s);
void txn_set_int(struct txn *t, struct ref ref, field_id f, int64_t i);
void txn_set_bool(struct txn *t, struct ref ref, field_id f, bool b);
void txn_set_float(struct txn *t, struct ref ref, field_id f, double d);
void txn_set_time(struct txn *t, struct ref ref, field_id f, int64_t seconds);
/* Back-references are the database's own: they follow this field and cannot be set. A field that feeds one
 * must point at an object that exists, or at none: HANDLE_INVALID [class, to]. */
void txn_set_ref(struct txn *t, struct ref ref, field_id f, struct ref to);
void txn_set_enum(struct txn *t, struct ref ref, field_id f, int value);
void txn_set_bits(struct txn *t, struct ref ref, field_id f, uint64_t bits);
void txn_set_refs(struct txn *t, struct ref ref, field_id f, const struct ref *refs, size_t n);
void txn_set_value(struct txn *t, struct ref ref, field_id f, const struct value *v);   /* copied */
/* Any field from a normalized value (what row_field_value gives and what the dispatcher makes of arguments).
 * FIELD_TYPE_ERROR [field] when it is not of the field's type. */
void txn_set_field(struct txn *t, struct ref ref, field_id f, const struct value *v);
/* Map: MAP_DUPLICATE_KEY [class, field, ref, key] when the key is there; removing a missing key is fine. */
void txn_map_add(struct txn *t, struct ref ref, field_id f, const char *key, const struct value *v);
/* Adds or replaces. */
void txn_map_put(struct txn *t, struct ref ref, field_id f, const char *key, const struct value *v);
void txn_map_put_str(struct txn *t, struct ref ref, field_id f, const char *key, const char *s);
void txn_map_remove(struct txn *t, struct ref ref, field_id f, const char *key);
/* Set of strings or refs: adding what is there, removing what is not, is fine. */
void txn_set_add(struct txn *t, struct ref ref, field_id f, const struct value *item);
void txn_set_remove(struct txn *t, struct ref ref, field_id f, const struct value *item);
/* A new version of the row without a change of content, so that it appears in the event stream. Does not
 * touch the disk. */
void txn_touch(struct txn *t, enum class_id cls, struct ref ref);
/* Others are about to be committed: this one waits for a few of them, 2 ms at most, so that one write to the disk does for all. For
 * who knows that every processor is busy with what ends in a transaction: it costs nobody time, and each write would. */
void txn_awaits_company(struct txn *t);
/* Marks the transaction failed with a precondition's error (moved). Returns -1. */
int txn_fail(struct txn *t, struct xerr *why);
/* True when a change has failed already. */
bool txn_failed(const struct txn *t);

/* Ends the transaction, releases the writer lock, waits until the change is durable and visible. A
 * transaction with only volatile changes goes not to the disk, but in its turn: it becomes visible after
 * what was committed before it, and waits for that. Errors: the first failed change's; a store failure is
 * INTERNAL_ERROR and names the file, and fails every later transaction that was built on this one too. */
int db_commit(struct txn *t, struct xerr *err);
/* Drops every change and releases the writer lock. NULL is fine. */
void db_abort(struct txn *t);

/* How many times the store has refused a group of transactions: when it is another number than before, something may have happened
 * that is not written down. */
uint64_t db_failures(const struct db *db);

/* One-change transactions. */
int db_set_field(struct db *db, struct ref ref, field_id f, const struct value *v, struct xerr *err);

/* ---- changes (what events are made of) ----------------------------------------------------------------- */

/* A point in the stream. Zero = from the beginning. */
struct token { uint64_t revision, stamp; };
enum { TOKEN_TEXT = 42 };
const char *token_text(struct token t, char buf[TOKEN_TEXT]);       /* "%020llu,%020llu" */
bool token_parse(const char *s, struct token *ret_token);
/* The point that a snapshot stands at. */
struct token snap_token(const struct snap *s);

enum change_op { CHANGE_ADD, CHANGE_MOD, CHANGE_DEL };
struct change {
    enum change_op op;
    enum class_id cls;
    struct ref ref;
    const struct row *row;      /* NULL for DEL; borrowed from the snapshot */
    uint64_t order;             /* for the event's numeric id */
};
/* Calls fn for every object of an evented class that was added, changed or destroyed after `since`, each
 * once, in its latest state: adds, mods, dels. What came and went since is not told. wanted: one bool a
 * class id, NULL = all. Zero token: every row as ADD. A token of an older boot epoch gets every row with
 * volatile fields (back-references are) as MOD. EVENTS_LOST when the tombstones do not reach back that
 * far, or the token is from a future that this database has not had. */
typedef void (*change_fn)(void *arg, const struct change *change);
int snap_changes(const struct snap *s, struct token since, const bool *wanted, change_fn fn, void *arg,
                 struct xerr *err);

/* Called after every publish of a new durable head, from the committing thread, without locks: which rows
 * changed. One listener (event parking); must be quick. */
struct touched { enum class_id cls; struct ref ref; };
typedef void (*publish_fn)(void *arg, const struct touched *rows, size_t n);
void db_on_publish(struct db *db, publish_fn fn, void *arg);
/* Called by a thread in db_commit() before it waits for the disk, and behind it; no db lock is held. NULL ends
 * it, once nobody commits any more. */
typedef void (*wait_fn)(void *arg, bool waits);
void db_on_wait(struct db *db, wait_fn fn, void *arg);

/* ---- queries, care ------------------------------------------------------------------------------------- */

/* get_all_records_where's expression: compiled once into the arena, evaluated per row. Errors:
 * INVALID_VALUE ["expr", "position N: what"]. At most 64 KiB and 64 levels. */
struct filter;
int filter_parse(const char *text, const struct class_desc *cls, struct arena *a,
                 const struct filter **ret_filter, struct xerr *err);
bool filter_match(const struct filter *f, const struct row *r);

/* Offline care of the schema's invariants: the file itself, unreadable fields, doubled rows and uuids,
 * references to nothing or to oneself, orphans. Each problem is one line in report that says what a repair
 * does about it; repair does it. The store stays the caller's (store_close). Returns the number of
 * problems, -1 on error. */
int db_check(struct store *store, bool repair, struct strbuf *report, struct xerr *err);

#endif
