/* The peers of P8: SQLite in WAL mode with synchronous=FULL, one commit for each write.
 * Called by: tests/bench/bench.py.  Calls: sqlite3, bench.
 *
 *     sqlite-peer loop DB BYTES GROW ROWS MS           updates one row after another; prints "commits seconds"
 *     sqlite-peer serve DB BYTES GROW ROWS SOCKET      a trivial HTTP server: every request is one commit
 *
 * Both first fill a table with ROWS rows of BYTES bytes; each update makes its row GROW bytes longer. */
#include "tests/bench/bench.h"

#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

/* The same bytes as the daemon's answer to a void call. */
static const char reply[] =
    "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: 199\r\n\r\n"
    "<?xml version=\"1.0\"?><methodResponse><params><param><value><struct><member><name>Status</name><value>Success"
    "</value></member><member><name>Value</name><value></value></member></struct></value></param></params>"
    "</methodResponse>";

struct table {
    sqlite3 *db;
    sqlite3_stmt *update;
    char *grow;                 /* what is added to a row */
    long rows;
    unsigned long long n;       /* commits */
};

static void must(const struct table *t, int rc, const char *what)
{
    if (rc != SQLITE_OK && rc != SQLITE_DONE) die("%s: %s", what, sqlite3_errmsg(t->db));
}

static void run_sql(const struct table *t, const char *sql)
{
    must(t, sqlite3_exec(t->db, sql, NULL, NULL, NULL), sql);
}

static void open_table(struct table *t, const char *path, long bytes, long grow, long rows)
{
    t->rows = rows;
    t->grow = xcalloc((size_t)grow + 1, 1);
    memset(t->grow, 'y', (size_t)grow);
    must(t, sqlite3_open(path, &t->db), path);
    run_sql(t, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
               "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT); BEGIN");
    _cleanup_free_ char *fill = xasprintf("WITH RECURSIVE c(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM c WHERE i < %ld) "
                                          "INSERT INTO t SELECT i, printf('%%.*c', %d, 'x') FROM c", rows - 1, (int)bytes);
    run_sql(t, fill);
    run_sql(t, "COMMIT");
    must(t, sqlite3_prepare_v2(t->db, "UPDATE t SET v = v || ?1 WHERE id = ?2", -1, &t->update, NULL), "preparing");
}

/* One durable write: outside of BEGIN, a statement is a transaction. */
static void commit_one(struct table *t)
{
    sqlite3_bind_text(t->update, 1, t->grow, -1, SQLITE_STATIC);
    sqlite3_bind_int64(t->update, 2, (sqlite3_int64)(t->n % (unsigned long long)t->rows));
    must(t, sqlite3_step(t->update), "updating");
    sqlite3_reset(t->update);
    t->n++;
}

static void loop(struct table *t, long ms)
{
    int64_t began = clock_monotonic_ns(), now;

    do {
        commit_one(t);
        now = clock_monotonic_ns();
    } while (now < began + ms * NS_PER_MS);
    printf("%llu %.6f\n", t->n, (double)(now - began) / 1e9);
}

/* Reads one request; false at the end of the stream. */
static bool read_request(int fd, char *buf, size_t size)
{
    size_t n = 0;

    for (;;) {
        ssize_t got = recv(fd, buf + n, size - 1 - n, 0);
        if (got <= 0) return false;
        n += (size_t)got;
        buf[n] = '\0';
        const char *end = strstr(buf, "\r\n\r\n"), *length = strcasestr(buf, "\r\ncontent-length:");
        if (end && length && n >= (size_t)(end + 4 - buf) + strtoul(length + 17, NULL, 10)) return true;
        if (n + 1 >= size) return false;
    }
}

static void serve_connection(struct table *t, int fd)
{
    char buf[16384];

    while (read_request(fd, buf, sizeof(buf))) {
        commit_one(t);
        if (send(fd, reply, sizeof(reply) - 1, MSG_NOSIGNAL) < 0) break;
    }
    close(fd);
}

/* One connection at a time: the bench it serves has one writer. */
static void serve(struct table *t, const char *path)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (strlen(path) >= sizeof(a.sun_path)) die("%s: too long for a socket", path);
    memcpy(a.sun_path, path, strlen(path));
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) || listen(fd, 16)) die("%s: %s", path, strerror(errno));
    puts("ready");
    fflush(stdout);
    for (;;) {
        int conn = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
        if (conn >= 0) serve_connection(t, conn);
    }
}

int main(int argc, char **argv)
{
    struct table t = { 0 };

    if (argc != 7) die("usage: sqlite-peer loop|serve DB BYTES GROW ROWS MS|SOCKET");
    open_table(&t, argv[2], need_number(argv[3]), need_number(argv[4]), need_number(argv[5]));
    if (streq(argv[1], "serve")) serve(&t, argv[6]);
    loop(&t, need_number(argv[6]));
    sqlite3_finalize(t.update);
    sqlite3_close(t.db);
    free(t.grow);
    return 0;
}
