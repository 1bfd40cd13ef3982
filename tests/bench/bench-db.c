/* What the database costs by itself: lookups, transactions without a disk, durable commits beside bare
 * SQLite, loading.
 * Called by: people (tests/bench/bench-db [FOLDER]); the folder is where the disk is to be measured.
 * Calls: db, sqlite3.
 *
 * Comparisons are interleaved in one run; a ratio above 1 means that ours is faster. */
#include "tests/unit/db-fixture.h"

#include <malloc.h>
#include <sqlite3.h>
#include <time.h>

enum { VMS = 1000, DISKS = 16, LOOKUPS = 2000000, TXNS = 200000, ROUNDS = 20, COMMITS = 300, WRITERS = 64 };

static double now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void die(struct xerr *err)
{
    char *text = xerr_text(err);

    fprintf(stderr, "bench-db: %s\n", text);
    exit(1);
}

static void commit(struct txn *t)
{
    struct xerr err = XERR_INIT;

    if (db_commit(t, &err)) die(&err);
}

static struct db *open_at(const char *path)
{
    struct xerr err = XERR_INIT;
    struct store *store;
    struct db *db;

    if (store_open_sqlite(path, &store, &err) || db_open(store, &db, &err)) die(&err);
    return db;
}

static void fill(struct db *db, struct ref vms[VMS])
{
    struct ref sr = ref_new();
    struct txn *t = db_begin(db);

    txn_create(t, CLASS_SR, sr);
    commit(t);
    for (int v = 0; v < VMS; v++) {
        char name[64];
        snprintf(name, sizeof(name), "virtual machine number %d", v);
        t = db_begin(db);
        txn_create(t, CLASS_VM, vms[v] = ref_new());
        txn_set_str(t, vms[v], F_VM_name_label, name);
        txn_set_int(t, vms[v], F_VM_memory_static_max, 1 << 30);
        txn_map_put_str(t, vms[v], F_VM_other_config, "base_template_name", "Debian Bookworm 12");
        txn_map_put_str(t, vms[v], F_VM_other_config, "install-methods", "cdrom,nfs,http,ftp");
        txn_map_put_str(t, vms[v], F_VM_platform, "acpi", "1");
        txn_map_put_str(t, vms[v], F_VM_platform, "videoram", "8");
        for (int d = 0; d < DISKS; d++) {
            struct ref vdi = ref_new(), vbd = ref_new();
            txn_create(t, CLASS_VDI, vdi);
            txn_set_ref(t, vdi, F_VDI_SR, sr);
            txn_set_str(t, vdi, F_VDI_name_label, name);
            txn_set_int(t, vdi, F_VDI_virtual_size, 8LL << 30);
            txn_create(t, CLASS_VBD, vbd);
            txn_set_ref(t, vbd, F_VBD_VM, vms[v]);
            txn_set_ref(t, vbd, F_VBD_VDI, vdi);
            txn_set_str(t, vbd, F_VBD_device, "xvda");
        }
        commit(t);
    }
}

static void bench_lookup(struct db *db, const struct ref vms[VMS])
{
    double began = now_s();
    int64_t sum = 0;

    for (int i = 0; i < LOOKUPS; i++) {
        struct snap *s = db_snap(db);
        sum += row_enum(snap_get(s, CLASS_VM, vms[(unsigned)i * 2654435761u % VMS]), F_VM_power_state);
        snap_unref(s);
    }
    printf("snapshot + lookup: %.0f ns%s\n", (now_s() - began) / LOOKUPS * 1e9, sum ? "" : " ");
    struct snap *s = db_snap(db);
    began = now_s();
    for (int i = 0; i < 20; i++)
        SNAP_EACH(s, CLASS_VDI, vdi) sum += row_int(vdi, F_VDI_virtual_size);
    printf("walk: %.0f ns a row%s\n", (now_s() - began) / 20 / (VMS * DISKS) * 1e9, sum ? "" : " ");
    snap_unref(s);
}

static void bench_txn(struct db *db, const struct ref vms[VMS], const char *what, field_id f)
{
    double began = now_s();

    for (int i = 0; i < TXNS; i++) {
        struct ref vm = vms[(unsigned)i * 2654435761u % VMS];
        struct txn *t = db_begin(db);
        if (f == F_VM_allowed_operations) txn_set_bits(t, vm, f, (uint64_t)i + 1);
        else txn_set_int(t, vm, f, i);
        commit(t);
    }
    printf("%s, %u fields: %.2f us\n", what, model.classes[CLASS_VM].n_fields,
           (now_s() - began) / TXNS * 1e6);
}

struct bare { sqlite3 *db; sqlite3_stmt *begin, *update, *end; };

static void exec(sqlite3 *db, const char *sql)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK) return;
    fprintf(stderr, "bench-db: %s: %s\n", sql, sqlite3_errmsg(db));
    exit(1);
}

static struct bare bare_open(const char *path)
{
    struct bare b = { NULL };

    sqlite3_open(path, &b.db);
    exec(b.db, "PRAGMA journal_mode=WAL");
    exec(b.db, "PRAGMA synchronous=FULL");
    exec(b.db, "CREATE TABLE t (id INTEGER PRIMARY KEY, pad TEXT, n INTEGER)");
    exec(b.db, "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<1000) "
         "INSERT INTO t SELECT x, hex(randomblob(500)), 0 FROM c");
    sqlite3_prepare_v2(b.db, "BEGIN IMMEDIATE", -1, &b.begin, NULL);
    sqlite3_prepare_v2(b.db, "UPDATE t SET n=?2 WHERE id=?1", -1, &b.update, NULL);
    sqlite3_prepare_v2(b.db, "COMMIT", -1, &b.end, NULL);
    return b;
}

static void step(sqlite3_stmt *s)
{
    if (sqlite3_step(s) != SQLITE_DONE) exit(1);
    sqlite3_reset(s);
}

static double bare_commits(const struct bare *b, int round)
{
    double began = now_s();

    for (int i = 0; i < COMMITS; i++) {
        step(b->begin);
        sqlite3_bind_int64(b->update, 1, i * 7 % 1000 + 1);
        sqlite3_bind_int64(b->update, 2, round * COMMITS + i + 1);
        step(b->update);
        step(b->end);
    }
    return now_s() - began;
}

static double our_commits(struct db *db, const struct ref vms[VMS], int round)
{
    double began = now_s();

    for (int i = 0; i < COMMITS; i++) {
        struct txn *t = db_begin(db);
        txn_set_int(t, vms[i * 7 % 1000], F_VM_memory_static_min, round * COMMITS + i + 1);
        commit(t);
    }
    return now_s() - began;
}

/* Ever new keys of one map, as clients do to other_config. */
static void bench_map(struct db *db, struct ref vm)
{
    enum { KEYS = 3000, TAIL = 300 };
    struct value v = value_string("a value of some length");
    double began = now_s(), tail = 0;

    for (int i = 0; i < KEYS; i++) {
        char key[32];
        snprintf(key, sizeof(key), "key%d", i);
        if (i == KEYS - TAIL) tail = now_s();
        struct txn *t = db_begin(db);
        txn_map_add(t, vm, F_VM_other_config, key, &v);
        commit(t);
    }
    printf("durable new key of one map: %.1f us, of the last %d of %d: %.1f us\n",
           (now_s() - began) / KEYS * 1e6, TAIL, KEYS, (now_s() - tail) / TAIL * 1e6);
}

struct writer { struct db *db; const struct ref *vms; unsigned id; int round; };

static void *write_many(void *arg)
{
    struct writer *w = arg;

    for (int i = 0; i < COMMITS; i++) {
        struct txn *t = db_begin(w->db);
        txn_set_int(t, w->vms[w->id], F_VM_memory_dynamic_min, w->round * COMMITS + i + 1);
        commit(t);
    }
    return NULL;
}

static double many_commits(struct db *db, const struct ref vms[VMS], int round)
{
    pthread_t threads[WRITERS];
    struct writer writers[WRITERS];
    double began = now_s();

    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){ db, vms, i, round };
        pthread_create(&threads[i], NULL, write_many, &writers[i]);
    }
    for (unsigned i = 0; i < WRITERS; i++) pthread_join(threads[i], NULL);
    return now_s() - began;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static double median(double *xs, size_t n)
{
    qsort(xs, n, sizeof(*xs), by_size);
    return xs[n / 2];
}

static void bench_commit(struct db *db, const struct ref vms[VMS], const char *folder)
{
    _cleanup_free_ char *path = xasprintf("%s/bare.db", folder);
    struct bare b = bare_open(path);
    double bare[ROUNDS], ours[ROUNDS], many[ROUNDS];

    for (int r = 0; r < ROUNDS; r++) {
        bare[r] = bare_commits(&b, r) / COMMITS;
        ours[r] = our_commits(db, vms, r) / COMMITS;
        many[r] = many_commits(db, vms, r) / COMMITS / WRITERS;
    }
    double x = median(bare, ROUNDS), y = median(ours, ROUNDS), z = median(many, ROUNDS);
    printf(
        "durable commit: bare SQLite %.1f us, one writer %.1f us ratio=%.2f, %d writers %.1f us ratio=%.2f\n",
        x * 1e6, y * 1e6, x / y, WRITERS, z * 1e6, x / z);
    sqlite3_finalize(b.begin);
    sqlite3_finalize(b.update);
    sqlite3_finalize(b.end);
    sqlite3_close(b.db);
}

int main(int argc, char **argv)
{
    if (argc > 1) setenv("TMPDIR", argv[1], 1);
    char *folder = folder_new(), *path = xasprintf("%s/state.db", folder);
    static struct ref vms[VMS];
    struct fake_store *store = fake_store_new();
    struct xerr err = XERR_INIT;
    struct db *db;

    if (db_open(&store->base, &db, &err)) die(&err);
    fill(db, vms);
    bench_lookup(db, vms);
    bench_txn(db, vms, "volatile transaction", F_VM_allowed_operations);
    bench_txn(db, vms, "transaction, store without a disk", F_VM_memory_static_min);
    db_close(db);

    db = open_at(path);
    fill(db, vms);
    bench_commit(db, vms, folder);
    bench_map(db, vms[0]);
    db_close(db);
    malloc_trim(0);
    struct mallinfo2 before = mallinfo2();
    double began = now_s();
    db = open_at(path);
    struct mallinfo2 after = mallinfo2();
    printf("load of %d VMs with %d disks each: %.0f ms, %.1f MiB\n", VMS, DISKS, (now_s() - began) * 1e3,
           (double)(after.uordblks + after.hblkhd - before.uordblks - before.hblkhd) / (1 << 20));
    db_close(db);
    free(path);
    folder_free(folder);
    return 0;
}
