/* The SQLite store's write-ahead log: written ahead, and copied into the database when it is full.
 * Called by: store_sqlite (opening), SQLite after each commit.  Calls: sqlite3.
 *
 * A sync of a file that has grown writes its inode too, which costs as much as the sync itself. So the log
 * is made longer in large steps, with zeros, before commits reach its end; a frame is valid by its checksum
 * and salt, hence SQLite does not look past the last one. Pages are copied back rarely: those that change
 * often are then copied once for many commits. */
#include "db/store_sqlite.h"

#define LOG_MODULE "db"
#include "lib/log.h"

enum {
    LOG_HEADER = 32, FRAME_HEADER = 24,
    COPY_FRAMES = 4000,                   /* copied back at this length; 16 MiB of the usual pages */
    LOG_STEP = 1 << 20,                   /* bytes added at a time */
    LOG_MARGIN = 256 << 10,               /* that a commit finds before it */
    LOG_LIMIT = 16 << 20,                 /* never longer ahead; what SQLite cuts it back to */
};

/* SQLite's own handle of the log: a second descriptor would be one more to keep in step. */
static sqlite3_file *log_file(struct sqlite_store *st)
{
    sqlite3_file *f = NULL;

    if (sqlite3_file_control(st->db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &f) != SQLITE_OK) return NULL;
    return f && f->pMethods ? f : NULL;
}

/* Without success nothing is lost: the log then grows with each commit. */
static void extend(struct sqlite_store *st, sqlite3_int64 used)
{
    static const char zeros[64 << 10];
    sqlite3_file *f = log_file(st);

    if (!f || f->pMethods->xFileSize(f, &st->log_bytes) != SQLITE_OK) return;
    sqlite3_int64 end = used + LOG_MARGIN + LOG_STEP;
    if (end > LOG_LIMIT) end = LOG_LIMIT;
    while (st->log_bytes < end) {
        sqlite3_int64 n = end - st->log_bytes;
        if (n > (sqlite3_int64)sizeof(zeros)) n = sizeof(zeros);
        if (f->pMethods->xWrite(f, zeros, (int)n, st->log_bytes) != SQLITE_OK) return;
        st->log_bytes += n;
    }
}

/* The commit is durable already, so that nothing here may make it fail. */
static int committed(void *arg, sqlite3 *db, const char *name, int frames)
{
    struct sqlite_store *st = arg;
    sqlite3_int64 used = LOG_HEADER + (sqlite3_int64)frames * (FRAME_HEADER + st->page_bytes);

    if (frames >= COPY_FRAMES) {
        if (sqlite3_wal_checkpoint_v2(db, name, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL) != SQLITE_OK)
            log_warn("database %s: copying the log of %d pages: %s", st->path, frames, sqlite3_errmsg(db));
    } else if (used + LOG_MARGIN > st->log_bytes && st->log_bytes < LOG_LIMIT) {
        extend(st, used);
    }
    return SQLITE_OK;
}

int store_log_open(struct sqlite_store *st, struct xerr *err)
{
    _cleanup_free_ char *limit = xasprintf("PRAGMA journal_size_limit = %d", (int)LOG_LIMIT);
    sqlite3_stmt *stmt = NULL;

    if (sqlite3_exec(st->db, limit, NULL, NULL, NULL) != SQLITE_OK)
        return sqlite_fail(st->db, st->path, limit, err);
    if (sqlite_prepare(st, "PRAGMA page_size", &stmt, err)) return -1;
    if (sqlite3_step(stmt) == SQLITE_ROW) st->page_bytes = sqlite3_column_int(stmt, 0);
    sqlite3_finalize(stmt);
    sqlite3_wal_hook(st->db, committed, st);
    return 0;
}
