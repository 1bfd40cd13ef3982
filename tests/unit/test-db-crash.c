/* kill -9 in the middle of commits, again and again: every acknowledged write is there after the next
 * start, and so is everything that was written in the same transaction.
 * Called by: make check.  Calls: db. */
#include "tests/unit/db-fixture.h"

#include "lib/fault.h"

#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

enum { ROUNDS = 24, WRITERS = 4, KILL_AFTER_MS = 30, FIRST_WRITE_MS = 10000 };

/* What one acknowledged transaction did: key "writer.n" in the map of its VM, and a VBD with that name. */
struct ack { uint32_t writer, n; };

struct writer {
    struct db *db;
    struct ref vm;
    uint32_t id, first;
    int out;
};

static void *write_on(void *arg)
{
    struct writer *w = arg;

    for (uint32_t n = w->first;; n++) {
        char key[32];
        snprintf(key, sizeof(key), "%u.%u", w->id, n);
        struct ref vbd = ref_new();
        struct txn *t = db_begin(w->db);
        txn_map_put_str(t, w->vm, F_VM_other_config, key, "1");
        txn_create(t, CLASS_VBD, vbd);
        txn_set_ref(t, vbd, F_VBD_VM, w->vm);
        txn_set_str(t, vbd, F_VBD_userdevice, key);
        struct xerr err = XERR_INIT;
        if (db_commit(t, &err)) _exit(3);
        struct ack ack = { w->id, n };
        if (write(w->out, &ack, sizeof(ack)) != sizeof(ack)) _exit(4);
    }
    return NULL;
}

static void child(const char *path, const struct ref vms[WRITERS], const uint32_t first[WRITERS], int out)
{
    struct xerr err = XERR_INIT;
    struct store *store;
    struct db *db;
    static struct writer writers[WRITERS];

    if (store_open_sqlite(path, &store, &err) || db_open(store, &db, &err)) _exit(2);
    for (uint32_t i = 0; i < WRITERS; i++) {
        pthread_t thread;
        writers[i] = (struct writer){ db, vms[i], i, first[i], out };
        pthread_create(&thread, NULL, write_on, &writers[i]);
    }
    for (;;) pause();
}

/* Acknowledgments until the pipe ends; the highest of each writer. */
static void collect(int in, uint32_t last[WRITERS])
{
    struct ack ack;

    while (read(in, &ack, sizeof(ack)) == sizeof(ack)) {
        assert_true(ack.writer < WRITERS && ack.n == last[ack.writer] + 1);
        last[ack.writer] = ack.n;
    }
}

static void check_vm(const struct snap *s, struct ref vm, uint32_t writer, uint32_t acknowledged)
{
    const struct row *row = snap_get(s, CLASS_VM, vm);
    const struct value *map = row_value(row, F_VM_other_config);
    const struct refset *vbds = row_refs(row, F_VM_VBDs);

    for (uint32_t n = 1; n <= acknowledged; n++) {
        char key[32];
        snprintf(key, sizeof(key), "%u.%u", writer, n);
        if (!value_get(map, key)) fail_msg("acknowledged write %s is lost", key);
    }
    /* All of a transaction or nothing: as many disks as keys, each with its name. */
    assert_int_equal(vbds->n, map->map.n);
    for (size_t i = 0; i < vbds->n; i++)
        assert_non_null(value_get(map, row_str(snap_get(s, CLASS_VBD, vbds->refs[i]), F_VBD_userdevice)));
}

static void no_acknowledged_write_is_lost(void **state _unused_)
{
    char *folder = folder_new(), *path = xasprintf("%s/state.db", folder);
    struct ref vms[WRITERS];
    uint32_t acknowledged[WRITERS] = { 0 }, present[WRITERS] = { 0 };
    uint64_t total = 0, revision = 0;
    struct db *db = open_sqlite(path);

    for (int i = 0; i < WRITERS; i++) vms[i] = make(db, CLASS_VM);
    db_close(db);
    for (int round = 0; round < ROUNDS; round++) {
        int pipes[2];
        uint32_t first[WRITERS];
        assert_int_equal(pipe(pipes), 0);
        for (int i = 0; i < WRITERS; i++) first[i] = present[i] + 1;
        memcpy(acknowledged, present, sizeof(acknowledged));
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            close(pipes[0]);
            child(path, vms, first, pipes[1]);
        }
        close(pipes[1]);
        /* Every other round strikes while the database is being opened; the rest when it works, however
         * slow we are. */
        if (round % 2) poll(&(struct pollfd){ .fd = pipes[0], .events = POLLIN }, 1, FIRST_WRITE_MS);
        struct timespec wait = { .tv_nsec = (KILL_AFTER_MS + 7 * (round % 10)) * 1000000L };
        nanosleep(&wait, NULL);
        assert_int_equal(kill(pid, SIGKILL), 0);
        collect(pipes[0], acknowledged);
        close(pipes[0]);
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);

        db = open_sqlite(path);
        struct snap *s = db_snap(db);
        assert_true(snap_token(s).revision >= revision);
        revision = snap_token(s).revision;
        for (uint32_t i = 0; i < WRITERS; i++) {
            check_vm(s, vms[i], i, acknowledged[i]);
            total += acknowledged[i] - present[i];
            present[i] = (uint32_t)row_value(snap_get(s, CLASS_VM, vms[i]), F_VM_other_config)->map.n;
            assert_true(present[i] >= acknowledged[i]);
        }
        snap_unref(s);
        db_close(db);
    }
    print_message("%llu acknowledged writes over %d kills\n", (unsigned long long)total, ROUNDS);
    assert_true(total > ROUNDS);   /* the kills did come in the middle of work */
    free(path);
    folder_free(folder);
}

/* ---- at an exact place ---- */

/* A child that writes names 1, 2, 3, ... with a fault armed; exits when one fails. Its last words: how
 * many were acknowledged, and the error's text. */
struct report { int acknowledged, after_failure; char error[256]; };

static void faulty_child(const char *path, struct ref vm, const char *fault, int out)
{
    struct report r = { 0, 0, "" };
    struct xerr err = XERR_INIT;
    struct store *store;
    struct db *db;
    const char *why;
    int fd = memfd_create("faults", 0);
    char number[16];

    if (fd < 0 || write(fd, fault, strlen(fault)) < 0 || lseek(fd, 0, SEEK_SET) < 0) _exit(2);
    snprintf(number, sizeof(number), "%d", fd);
    setenv("XAPI_FAULT_FD", number, 1);
    if (fault_start(true, &why) || store_open_sqlite(path, &store, &err) || db_open(store, &db, &err))
        _exit(2);
    for (int i = 1; i <= 8; i++) {
        char name[16];
        snprintf(name, sizeof(name), "%d", i);
        struct txn *t = db_begin(db);
        txn_set_str(t, vm, F_VM_name_label, name);
        if (db_commit(t, &err) == 0) {
            if (*r.error) r.after_failure++;
            else r.acknowledged = i;
            if (write(out, &r, sizeof(r)) < 0) _exit(2);
            continue;
        }
        snprintf(r.error, sizeof(r.error), "%s", err.params[0]);
        xerr_clear(&err);
        struct snap *s = db_snap(db);   /* what failed is not to be seen */
        if (streq(row_str(snap_get(s, CLASS_VM, vm), F_VM_name_label), name)) _exit(5);
        snap_unref(s);
    }
    if (write(out, &r, sizeof(r)) < 0) _exit(2);
    db_close(db);
    _exit(0);
}

/* The child's last report; *ret_name what the database says afterwards. */
static struct report run_faulty(const char *path, struct ref vm, const char *fault, int want_status,
                                char ret_name[16])
{
    struct report r = { 0, 0, "" }, next;
    int pipes[2], status;

    assert_int_equal(pipe(pipes), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) faulty_child(path, vm, fault, pipes[1]);
    close(pipes[1]);
    while (read(pipes[0], &next, sizeof(next)) == sizeof(next)) r = next;
    close(pipes[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, want_status);
    struct db *db = open_sqlite(path);
    struct snap *s = db_snap(db);
    snprintf(ret_name, 16, "%s", row_str(snap_get(s, CLASS_VM, vm), F_VM_name_label));
    snap_unref(s);
    db_close(db);
    return r;
}

static void before_the_commit_nothing_after_it_everything(void **state _unused_)
{
    char *folder = folder_new(), *path = xasprintf("%s/state.db", folder), name[16];
    struct db *db = open_sqlite(path);
    struct ref vm = make(db, CLASS_VM);

    db_close(db);
    struct report r = run_faulty(path, vm, "db.commit kill 5\n", SIGKILL, name);
    assert_int_equal(r.acknowledged, 4);
    assert_string_equal(name, "4");
    r = run_faulty(path, vm, "db.committed kill 5\n", SIGKILL, name);
    assert_int_equal(r.acknowledged, 4);
    assert_string_equal(name, "5");   /* durable, though nobody was told */
    free(path);
    folder_free(folder);
}

static void a_full_disk_fails_the_commit_and_nothing_else(void **state _unused_)
{
    char *folder = folder_new(), *path = xasprintf("%s/state.db", folder), name[16];
    struct db *db = open_sqlite(path);
    struct ref vm = make(db, CLASS_VM);

    db_close(db);
    struct report r = run_faulty(path, vm, "db.commit ENOSPC 3\n", 0, name);
    assert_int_equal(r.acknowledged, 2);
    assert_non_null(strstr(r.error, path));
    assert_non_null(strstr(r.error, "No space left"));
    assert_int_equal(r.after_failure, 5);   /* the third failed, 4 to 8 did not */
    assert_string_equal(name, "8");
    free(path);
    folder_free(folder);
}

UNIT_MAIN(cmocka_unit_test(no_acknowledged_write_is_lost),
          cmocka_unit_test(before_the_commit_nothing_after_it_everything),
          cmocka_unit_test(a_full_disk_fails_the_commit_and_nothing_else))
