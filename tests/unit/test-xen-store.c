/* The client of xenstored against a small xenstored of our own that can also be slow, silent or mad.
 * Called by: make check.  Calls: xapi/hv/xen_store. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "lib/map.h"
#include "xapi/hv/xen_store.h"

enum { DIRECTORY = 1, READ = 2, WATCH = 4, WRITE = 11, MKDIR = 12, RM = 13, PERMS = 14, EVENT = 15, ERROR = 16, PART = 20 };
enum { PAYLOAD = 4096, SOON_MS = 20000, SLOW_MS = 100 };

enum mood {
    SANE,
    TRICKLE,         /* every byte by itself */
    SILENT,          /* reads, never answers */
    LEAVES,          /* closes after the first request */
    TOO_LONG,        /* announces more than may be */
    WRONG_ID,
    CHATTY,          /* an event before every answer */
    SLOW,            /* SLOW_MS before every answer */
    STOPS,           /* answers the first three requests; after that there are events alone */
};

struct head { uint32_t type, id, transaction, len; };

static struct server {
    char path[64];
    int listener, fd;
    enum mood mood;
    pthread_t thread;
    struct map *nodes;
} server;

static void send_all(const void *bytes, size_t n)
{
    const char *p = bytes;
    size_t step = server.mood == TRICKLE ? 1 : n;

    for (size_t at = 0; at < n; at += step)
        if (send(server.fd, p + at, step < n - at ? step : n - at, MSG_NOSIGNAL) < 0) return;
}

static void answer(uint32_t type, uint32_t id, const void *body, size_t len)
{
    struct head head = { .type = type, .id = id + (server.mood == WRONG_ID),
                         .len = server.mood == TOO_LONG ? PAYLOAD + 1 : (uint32_t)len };

    send_all(&head, sizeof head);
    send_all(body, len);
}

static void refuse(uint32_t id, const char *why) { answer(ERROR, id, why, strlen(why) + 1); }

/* Names below a path, each with its NUL. */
static void children(const char *path, struct strbuf *out)
{
    const char *key;
    void *value;

    for (size_t at = 0; map_next(server.nodes, &at, &key, &value);) {
        size_t n = strlen(path);
        if (strncmp(key, path, n) != 0 || key[n] != '/' || strchr(key + n + 1, '/')) continue;
        strbuf_add(out, key + n + 1, strlen(key + n + 1) + 1);
    }
}

static void serve_part(uint32_t id, const char *path, const char *offset)
{
    _cleanup_strbuf_ struct strbuf all = STRBUF_INIT, body = STRBUF_INIT;
    size_t at = strtoul(offset, NULL, 10), n;

    children(path, &all);
    strbuf_add(&body, "7", 2);
    n = all.len - at < PAYLOAD - 8 ? all.len - at : PAYLOAD - 8;
    strbuf_add(&body, all.ptr + at, n);
    if (at + n == all.len) strbuf_char(&body, '\0');
    answer(PART, id, body.ptr, body.len);
}

static void serve_one(const struct head *h, char *body)
{
    const char *second = body + strlen(body) + 1;
    _cleanup_strbuf_ struct strbuf names = STRBUF_INIT;

    if (server.mood == CHATTY) answer(EVENT, 0, "/a\0token", 9);
    switch (h->type) {
    case WRITE:
        if (has_prefix(body, "/forbidden")) {
            refuse(h->id, "EACCES");
            return;
        }
        free(map_put(server.nodes, body, xstrndup(second, (size_t)(body + h->len - second))));
        break;
    case MKDIR: free(map_put(server.nodes, body, xstrdup(""))); break;
    case RM:
    case READ:
        if (!map_get(server.nodes, body)) {
            refuse(h->id, "ENOENT");
            return;
        }
        if (h->type == READ) {
            const char *value = map_get(server.nodes, body);
            answer(READ, h->id, value, strlen(value));
            return;
        }
        free(map_remove(server.nodes, body));
        break;
    case DIRECTORY:
        children(body, &names);
        if (names.len > PAYLOAD) refuse(h->id, "E2BIG");
        else answer(DIRECTORY, h->id, names.ptr, names.len);
        return;
    case PART: serve_part(h->id, body, second); return;
    case WATCH:
        answer(WATCH, h->id, "OK", 3);
        {
            _cleanup_strbuf_ struct strbuf event = STRBUF_INIT;
            strbuf_add(&event, body, h->len);
            answer(EVENT, 0, event.ptr, event.len);
        }
        return;
    default: break;
    }
    answer(h->type, h->id, "OK", 3);
}

/* Events, until the client has had enough. */
static void nag(void)
{
    static const char event[] = "/a\0token";
    const struct head head = { .type = EVENT, .len = sizeof event };

    while (send(server.fd, &head, sizeof head, MSG_NOSIGNAL) > 0 && send(server.fd, event, sizeof event, MSG_NOSIGNAL) > 0)
        poll(NULL, 0, SLOW_MS);
}

static bool receive_all(void *bytes, size_t n)
{
    return n == 0 || recv(server.fd, bytes, n, MSG_WAITALL) == (ssize_t)n;
}

static void *run_server(void *arg)
{
    static char body[PAYLOAD + 1];
    struct head h;

    (void)arg;
    while ((server.fd = accept(server.listener, NULL, NULL)) >= 0) {
        while (receive_all(&h, sizeof h) && receive_all(body, h.len)) {
            body[h.len] = '\0';
            if (server.mood == LEAVES) break;
            if (server.mood == SLOW) poll(NULL, 0, SLOW_MS);
            if (server.mood != SILENT && !(server.mood == STOPS && h.id >= 3)) serve_one(&h, body);
            else if (server.mood == STOPS) nag();
        }
        close(server.fd);
    }
    return NULL;
}

static int begin(void **state)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };

    (void)state;
    server = (struct server){ .nodes = map_new() };
    snprintf(server.path, sizeof server.path, "/tmp/test-xen-store.%d", (int)getpid());
    snprintf(addr.sun_path, sizeof addr.sun_path, "%s", server.path);
    unlink(server.path);
    server.listener = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(server.listener, (const struct sockaddr *)&addr, sizeof addr) < 0 || listen(server.listener, 4) < 0) return -1;
    return pthread_create(&server.thread, NULL, run_server, NULL);
}

static int end(void **state)
{
    const char *key;
    void *value;

    (void)state;
    shutdown(server.listener, SHUT_RDWR);
    pthread_join(server.thread, NULL);
    close(server.listener);
    unlink(server.path);
    for (size_t at = 0; map_next(server.nodes, &at, &key, &value);) free(value);
    map_free(server.nodes);
    return 0;
}

static struct xst *open_store_for(int64_t patience_ms)
{
    struct hv_failure f = { .kind = HV_FAIL_NONE };
    struct xst *s = NULL;

    assert_int_equal(xst_open(server.path, patience_ms, hv_now_ms() + SOON_MS, &s, &f), 0);
    return s;
}

static struct xst *open_store(void) { return open_store_for(SOON_MS); }

static void must_run(struct xst *s, struct xst_batch *b)
{
    struct hv_failure f = { .kind = HV_FAIL_NONE };

    if (xst_run(s, b, hv_now_ms() + SOON_MS, &f) < 0) fail_msg("%s", f.why);
}

/* A batch larger than a socket takes at once, in every mood that keeps to the protocol. */
static void a_large_batch_is_written_and_read_back(void **state _unused_)
{
    static const enum mood moods[] = { SANE, CHATTY, TRICKLE };
    enum { N = 400 };

    for (size_t m = 0; m < ARRAY_SIZE(moods); m++) {
        const size_t n = moods[m] == TRICKLE ? 20 : N;
        _cleanup_batch_ struct xst_batch write = XST_BATCH_INIT, read = XST_BATCH_INIT;
        char long_value[2000];
        server.mood = moods[m];
        struct xst *s = open_store();
        memset(long_value, 'x', sizeof long_value - 1);
        long_value[sizeof long_value - 1] = '\0';
        for (size_t i = 0; i < n; i++) {
            _cleanup_free_ char *path = xasprintf("/n/%zu", i);
            if (i % 2) xst_write(&write, path, long_value);
            else xst_writef(&write, path, "%zu", i);
            xst_read(&read, path);
        }
        xst_read(&read, "/n/missing");
        must_run(s, &write);
        must_run(s, &read);
        for (size_t i = 0; i < n; i++) {
            if (i % 2) assert_string_equal(xst_value(&read, i), long_value);
            else assert_int_equal(xst_value_int(&read, i, -1), i);
        }
        assert_null(xst_value(&read, n));
        assert_int_equal(xst_value_int(&read, n, 42), 42);
        must_run(s, &read);      /* again */
        assert_int_equal(xst_value_int(&read, 2, -1), 2);
        xst_close(s);
    }
}

static void the_first_refusal_is_the_failure_and_the_rest_is_done(void **state _unused_)
{
    _cleanup_batch_ struct xst_batch b = XST_BATCH_INIT, read = XST_BATCH_INIT;
    struct hv_failure f = { .kind = HV_FAIL_NONE };
    struct xst *s = open_store();

    xst_rm(&b, "/nothing");
    xst_write(&b, "/forbidden/one", "1");
    xst_write(&b, "/after", "2");
    assert_int_equal(xst_run(s, &b, hv_now_ms() + SOON_MS, &f), -1);
    assert_int_equal(f.kind, HV_FAIL_ENGINE);
    assert_int_equal(f.code, EACCES);
    assert_string_equal(f.why, "xenstore /forbidden/one: Permission denied");
    assert_false(xst_is_broken(s));
    xst_read(&read, "/after");
    must_run(s, &read);
    assert_string_equal(xst_value(&read, 0), "2");
    xst_close(s);
}

static void a_value_too_long_is_cut(void **state _unused_)
{
    _cleanup_batch_ struct xst_batch b = XST_BATCH_INIT;
    _cleanup_arena_ struct arena *a = arena_new();
    struct hv_failure f = { .kind = HV_FAIL_NONE };
    char *value = xcalloc(10001, 1);
    const char *got;
    struct xst *s = open_store();

    memset(value, 'v', 10000);
    xst_write(&b, "/long", value);
    must_run(s, &b);
    assert_int_equal(xst_get(s, "/long", a, &got, hv_now_ms() + SOON_MS, &f), 0);
    assert_int_equal(strlen(got), PAYLOAD - strlen("/long") - 1);
    free(value);
    xst_close(s);
}

static void a_directory_comes_whole_even_in_parts(void **state _unused_)
{
    static const size_t sizes[] = { 0, 3, 900 };

    for (size_t k = 0; k < ARRAY_SIZE(sizes); k++) {
        _cleanup_batch_ struct xst_batch b = XST_BATCH_INIT;
        _cleanup_arena_ struct arena *a = arena_new();
        struct hv_failure f = { .kind = HV_FAIL_NONE };
        const char *const *names;
        _cleanup_free_ char *top = xasprintf("/d%zu", k);
        struct xst *s = open_store();
        size_t n;
        for (size_t i = 0; i < sizes[k]; i++) {
            _cleanup_free_ char *path = xasprintf("%s/child-%04zu", top, i);
            xst_mkdir(&b, path);
        }
        must_run(s, &b);
        assert_int_equal(xst_list(s, top, a, 10000, &names, &n, hv_now_ms() + SOON_MS, &f), 0);
        assert_int_equal(n, sizes[k]);
        bool seen[900] = { false };
        for (size_t i = 0; i < n; i++) {
            assert_true(has_prefix(names[i], "child-"));
            seen[strtoul(names[i] + 6, NULL, 10)] = true;
        }
        for (size_t i = 0; i < n; i++) assert_true(seen[i]);
        assert_int_equal(xst_list(s, top, a, 2, &names, &n, hv_now_ms() + SOON_MS, &f), 0);
        assert_true(n <= 2);
        xst_close(s);
    }
}

static void watches_fire(void **state _unused_)
{
    _cleanup_batch_ struct xst_batch b = XST_BATCH_INIT;
    struct hv_failure f = { .kind = HV_FAIL_NONE };
    struct xst *s = open_store();
    struct xst_event *e = NULL;

    xst_watch(&b, "/w", "mine");
    must_run(s, &b);
    int64_t until = hv_now_ms() + SOON_MS;
    while (!(e = xst_take_event(s)) && hv_now_ms() < until) {
        struct pollfd p = { .fd = xst_fd(s), .events = POLLIN };
        poll(&p, 1, 100);
        assert_int_equal(xst_fill(s, &f), 0);
    }
    assert_non_null(e);
    assert_string_equal(e->path, "/w");
    assert_string_equal(e->token, "mine");
    free(e);
    assert_int_equal(xst_wait(s, hv_now_ms() + 50, &f), 0);
    must_run(s, &b);
    assert_int_equal(xst_wait(s, hv_now_ms() + SOON_MS, &f), 1);
    xst_close(s);
}

/* Whatever it does, we come back in time and with the right kind. */
static void a_mad_store_is_a_failure_in_time(void **state _unused_)
{
    static const struct { enum mood mood; enum hv_fail_kind kind; } all[] = {
        { SILENT, HV_FAIL_TIMEOUT },
        { LEAVES, HV_FAIL_UNREACHABLE },
        { TOO_LONG, HV_FAIL_ENGINE },
        { WRONG_ID, HV_FAIL_ENGINE },
    };

    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        _cleanup_batch_ struct xst_batch b = XST_BATCH_INIT;
        struct hv_failure f = { .kind = HV_FAIL_NONE };
        server.mood = all[i].mood;
        struct xst *s = open_store();
        int64_t began = hv_now_ms();
        xst_write(&b, "/a", "b");
        assert_int_equal(xst_run(s, &b, began + 300, &f), -1);
        assert_int_equal(f.kind, all[i].kind);
        assert_true(hv_now_ms() - began < 5000);
        assert_true(xst_is_broken(s));
        assert_int_equal(xst_run(s, &b, began + 300, &f), -1);
        assert_int_equal(f.kind, HV_FAIL_UNREACHABLE);
        xst_close(s);
    }
}

/* A batch takes longer than any silence may: what ends it is a silence, or the deadline. */
static void a_slow_store_is_waited_for_and_a_silent_one_is_not(void **state _unused_)
{
    enum { N = 25, PATIENCE_MS = 1500 };
    _cleanup_batch_ struct xst_batch b = XST_BATCH_INIT;
    struct hv_failure f = { .kind = HV_FAIL_NONE };

    for (size_t i = 0; i < N; i++) {
        _cleanup_free_ char *path = xasprintf("/s/%zu", i);
        xst_write(&b, path, "x");
    }
    server.mood = SLOW;
    struct xst *s = open_store_for(PATIENCE_MS);
    int64_t began = hv_now_ms();
    must_run(s, &b);
    assert_true(hv_now_ms() - began > PATIENCE_MS);
    began = hv_now_ms();
    assert_int_equal(xst_run(s, &b, began + 500, &f), -1);
    assert_int_equal(f.kind, HV_FAIL_TIMEOUT);
    assert_true(hv_now_ms() - began < N * SLOW_MS);
    xst_close(s);

    server.mood = STOPS;
    s = open_store_for(PATIENCE_MS);
    began = hv_now_ms();
    assert_int_equal(xst_run(s, &b, began + SOON_MS, &f), -1);
    assert_int_equal(f.kind, HV_FAIL_TIMEOUT);
    assert_non_null(strstr(f.why, "to request 4 of 25, for /s/3"));
    assert_true(hv_now_ms() - began >= PATIENCE_MS && hv_now_ms() - began < SOON_MS / 2);
    assert_true(xst_is_broken(s));
    xst_close(s);
}

static void no_store_is_unreachable(void **state _unused_)
{
    struct hv_failure f = { .kind = HV_FAIL_NONE };
    struct xst *s = NULL;

    assert_int_equal(xst_open("/nowhere/socket", SOON_MS, hv_now_ms() + SOON_MS, &s, &f), -1);
    assert_int_equal(f.kind, HV_FAIL_UNREACHABLE);
    assert_null(s);
}

#define STORE_TEST(fn) cmocka_unit_test_setup_teardown(fn, begin, end)
UNIT_MAIN(STORE_TEST(a_large_batch_is_written_and_read_back),
          STORE_TEST(the_first_refusal_is_the_failure_and_the_rest_is_done), STORE_TEST(a_value_too_long_is_cut),
          STORE_TEST(a_directory_comes_whole_even_in_parts), STORE_TEST(watches_fire),
          STORE_TEST(a_mad_store_is_a_failure_in_time),
          STORE_TEST(a_slow_store_is_waited_for_and_a_silent_one_is_not), cmocka_unit_test(no_store_is_unreachable))
