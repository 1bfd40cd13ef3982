/* Storage slots, deadlines and the ledger, with the real dummy driver and foreign drivers made here.
 * Called by: make check.  Calls: xapi/storage. */
#include "tests/unit/unit.h"

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/subproc.h"
#include "xapi/storage/storage.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

struct fixture {
    char root[64];
    char *drivers;
    struct storage *storage;
    struct arena *arena;
    int sessions;                  /* of foreign drivers, open now */
};

static int shell(const char *text)
{
    const char *argv[] = { "sh", "-c", text, NULL };
    struct subproc_command cmd = { .argv = argv };
    struct subproc_limits limits = { .timeout_ms = 30000 };
    _cleanup_subproc_result_ struct subproc_result r = { .code = -1 };

    return subproc_run(&cmd, NULL, 0, &limits, &r) == 0 && subproc_ok(&r) ? 0 : -1;
}

static void write_script(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    assert_int_equal(chmod(path, 0755), 0);
}

/* A foreign driver: a shell script that answers sr_get_driver_info and does what a file beside it says
 * otherwise. */
static const char foreign[] =
    "#!/bin/sh\n"
    "here=$(dirname \"$0\")\n"
    "case \"$1\" in\n"
    "*sr_get_driver_info*) cat <<END\n"
    "<?xml version='1.0'?><methodResponse><params><param><value><struct>"
    "<member><name>name</name><value>Foreign</value></member>"
    "<member><name>capabilities</name><value><array><data><value>VDI_ATTACH</value>"
    "<value>VDI_RESET_ON_BOOT/2</value></data></array></value></member>"
    "</struct></value></param></params></methodResponse>\n"
    "END\n"
    ";;\n"
    "*) echo \"$1\" >\"$here/request\"; . \"$here/behaviour\" ;;\n"
    "esac\n";

static void behave(struct fixture *x, const char *text)
{
    _cleanup_free_ char *path = xasprintf("%s/foreign/behaviour", x->root);

    write_script(path, text);
}

/* Sessions are "session of SR". */
static int session_opened(void *arg, const struct storage_sr *sr, char **ret_session, struct xerr *err)
{
    struct fixture *x = arg;

    (void)err;
    x->sessions++;
    *ret_session = xasprintf("session of %s", REF_STR(sr->ref));
    return 0;
}

static void session_closed(void *arg, const char *session)
{
    struct fixture *x = arg;

    assert_true(has_prefix(session, "session of OpaqueRef:"));
    x->sessions--;
}

static void open_storage(struct fixture *x)
{
    struct xerr err = XERR_INIT;
    const struct storage_config config = { .root = x->root, .driver_dirs = x->drivers, .session_open = session_opened,
                                           .session_close = session_closed, .arg = x };

    assert_int_equal(storage_open(&config, &x->storage, &err), 0);
}

static int setup(void **state)
{
    struct fixture *x = xcalloc(1, sizeof(*x));
    const char *build = getenv("XAPI_BUILD");

    strcpy(x->root, "/tmp/test-storage-XXXXXX");
    assert_non_null(mkdtemp(x->root));
    _cleanup_free_ char *dir = xasprintf("%s/foreign", x->root), *script = xasprintf("%s/FOREIGNSR", dir);
    assert_int_equal(mkdir(dir, 0700), 0);
    write_script(script, foreign);
    x->drivers = xasprintf("%s/sm:%s", build ? build : ".", dir);
    x->arena = arena_new();
    log_configure("stderr", "error");
    open_storage(x);
    *state = x;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *x = *state;
    _cleanup_free_ char *cmd = xasprintf("rm -rf %s", x->root);

    storage_close(x->storage);
    arena_free(x->arena);
    shell(cmd);
    free(x->drivers);
    free(x);
    return 0;
}

/* A dummy SR whose commands take this long. */
static struct storage_sr dummy_sr(struct fixture *x, const char *uuid, int sleep_ms)
{
    struct value_builder b = value_builder(x->arena);
    struct value *config = arena_alloc(x->arena, sizeof(*config));

    value_put(&b, "sleep_ms", value_string(arena_printf(x->arena, "%d", sleep_ms)));
    *config = value_built_map(&b);
    return (struct storage_sr){ .ref = ref_new(), .uuid = uuid, .type = "dummy", .device_config = config };
}

static struct storage_sr new_dummy(struct fixture *x, int sleep_ms)
{
    struct storage_sr sr = dummy_sr(x, uuid_new(arena_alloc(x->arena, UUID_TEXT)), 0);
    struct xerr err = XERR_INIT;
    struct value answer;

    assert_int_equal(
        storage_call(x->storage, &sr, NULL, "sr_create", NULL, 0, NULL, 0, x->arena, &answer, &err), 0);
    return dummy_sr(x, sr.uuid, sleep_ms);
}

static struct storage_sr foreign_sr(struct fixture *x)
{
    return (struct storage_sr){ .ref = ref_new(), .uuid = uuid_new(arena_alloc(x->arena, UUID_TEXT)),
                                .type = "foreign" };
}

static int call(struct fixture *x, const struct storage_sr *sr, const char *command, int deadline_ms,
                struct xerr *err)
{
    struct value answer;

    return storage_call(x->storage, sr, NULL, command, NULL, 0, NULL, deadline_ms, x->arena, &answer, err);
}

static int64_t ms_since(int64_t began_ns)
{
    return (clock_boottime_ns() - began_ns) / NS_PER_MS;
}

/* ---- drivers ------------------------------------------------------------------------------- */

static void test_drivers_say_what_they_can(void **state)
{
    struct fixture *x = *state;
    const struct storage_driver *d = storage_driver_need(x->storage, "file", NULL);
    _cleanup_xerr_ struct xerr err = XERR_INIT;

    assert_non_null(d);
    assert_true(storage_driver_has(d, "VDI_SNAPSHOT"));
    assert_int_equal(value_get(&d->features, "VDI_RESET_ON_BOOT")->i, 2);
    assert_non_null(value_get(&d->configuration, "location"));
    assert_false(d->foreign);
    d = storage_driver_need(x->storage, "foreign", NULL);
    assert_non_null(d);
    assert_true(d->foreign);
    assert_string_equal(d->name, "Foreign");
    assert_true(storage_driver_has(d, "VDI_ATTACH"));
    assert_null(storage_driver_need(x->storage, "nothing", &err));
    assert_string_equal(err.code, "SR_UNKNOWN_DRIVER");
}

static void test_a_command_that_is_missing_is_not_supported(void **state)
{
    struct fixture *x = *state;
    struct storage_sr sr = new_dummy(x, 0);
    _cleanup_xerr_ struct xerr err = XERR_INIT;

    assert_int_equal(call(x, &sr, "sr_dance", 0, &err), -1);
    assert_string_equal(err.code, "SR_OPERATION_NOT_SUPPORTED");
    assert_string_equal(err.params[0], REF_STR(sr.ref));
}

/* ---- foreign drivers ----------------------------------------------------------------------- */

static void test_a_fault_becomes_a_numbered_error(void **state)
{
    struct fixture *x = *state;
    struct storage_sr sr = foreign_sr(x);
    _cleanup_xerr_ struct xerr err = XERR_INIT;

    behave(x, "echo \"<methodResponse><fault><value><struct>"
              "<member><name>faultCode</name><value><int>46</int></value></member>"
              "<member><name>faultString</name><value>gone fishing</value></member>"
              "</struct></value></fault></methodResponse>\"");
    assert_int_equal(call(x, &sr, "sr_attach", 0, &err), -1);
    assert_string_equal(err.code, "SR_BACKEND_FAILURE_46");
    assert_string_equal(err.params[1], "gone fishing");
    _cleanup_free_ char *path = xasprintf("%s/foreign/request", x->root), *request = NULL;
    assert_int_equal(read_file(path, 65536, &request, NULL), 0);
    assert_non_null(strstr(request, "<methodName>sr_attach</methodName>"));
    assert_non_null(strstr(request, sr.uuid));
    _cleanup_free_ char *session = xasprintf("session of %s", REF_STR(sr.ref));
    assert_non_null(strstr(request, session));
    assert_int_equal(x->sessions, 0);
    assert_false(storage_driver_runs(x->storage, sr.uuid));
}

static void test_a_bare_value_is_an_answer(void **state)
{
    struct fixture *x = *state;
    struct storage_sr sr = foreign_sr(x);
    struct xerr err = XERR_INIT;
    struct value answer;

    behave(x, "echo '<methodResponse><params><param><value>hello</value></param></params></methodResponse>'");
    assert_int_equal(
        storage_call(x->storage, &sr, NULL, "sr_probe", NULL, 0, NULL, 0, x->arena, &answer, &err), 0);
    assert_string_equal(answer.s, "hello");
}

static void test_a_death_without_answer_tells_what_was_said(void **state)
{
    struct fixture *x = *state;
    struct storage_sr sr = foreign_sr(x);
    _cleanup_xerr_ struct xerr err = XERR_INIT;

    behave(x, "echo some; echo trouble >&2; exit 3");
    assert_int_equal(call(x, &sr, "sr_attach", 0, &err), -1);
    assert_string_equal(err.code, "SR_BACKEND_FAILURE");
    assert_string_equal(err.params[0], "exit 3");
    assert_string_equal(err.params[1], "some\n");
    assert_string_equal(err.params[2], "trouble\n");
}

static void test_rubbish_is_a_communication_failure(void **state)
{
    struct fixture *x = *state;
    struct storage_sr sr = foreign_sr(x);
    _cleanup_xerr_ struct xerr err = XERR_INIT;

    behave(x, "echo rubbish");
    assert_int_equal(call(x, &sr, "sr_attach", 0, &err), -1);
    assert_string_equal(err.code, "SM_PLUGIN_COMMUNICATION_FAILURE");
}

static void test_endless_output_is_bounded(void **state)
{
    struct fixture *x = *state;
    struct storage_sr sr = foreign_sr(x);
    _cleanup_xerr_ struct xerr err = XERR_INIT;

    behave(x, "cat /dev/zero");
    assert_int_equal(call(x, &sr, "sr_attach", 30000, &err), -1);
    assert_true(xerr_is(&err, "SR_BACKEND_FAILURE") || xerr_is(&err, "SM_PLUGIN_COMMUNICATION_FAILURE"));
}

static void test_a_driver_says_that_it_cannot_reach_its_storage(void **state)
{
    struct fixture *x = *state;
    struct storage_sr sr = foreign_sr(x);
    _cleanup_xerr_ struct xerr err = XERR_INIT;

    for (int code = 46; code < 48; code++) {
        _cleanup_free_ char *answer = xasprintf("echo '<methodResponse><fault><value><struct><member><name>faultCode</name><value><int>%d</int></value>"
                                                "</member><member><name>faultString</name><value>gone</value></member></struct></value></fault>"
                                                "</methodResponse>'", code);
        behave(x, answer);
        assert_int_equal(call(x, &sr, "sr_scan", 0, &err), -1);
        assert_true(has_prefix(err.code, "SR_BACKEND_FAILURE_4"));
        assert_int_equal(storage_sr_silent(x->storage, sr.uuid), code == 47);
        xerr_clear(&err);
    }
    behave(x, "echo '<methodResponse><params><param><value>ok</value></param></params></methodResponse>'");
    assert_int_equal(call(x, &sr, "sr_scan", 0, &err), 0);
    assert_false(storage_sr_silent(x->storage, sr.uuid));
}

/* ---- deadlines ----------------------------------------------------------------------------- */

static void test_a_driver_of_ours_is_ended_at_its_deadline(void **state)
{
    struct fixture *x = *state;
    struct storage_sr sr = new_dummy(x, 60000), awake = dummy_sr(x, sr.uuid, 0);
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    int64_t began = clock_boottime_ns();

    assert_int_equal(call(x, &sr, "sr_scan", 300, &err), -1);
    assert_string_equal(err.code, "SM_PLUGIN_COMMUNICATION_FAILURE");
    assert_in_range(ms_since(began), 300, 2500);
    assert_true(storage_sr_silent(x->storage, sr.uuid));
    xerr_clear(&err);
    assert_int_equal(call(x, &awake, "sr_scan", 0, &err), 0);
    assert_false(storage_sr_silent(x->storage, sr.uuid));
}

static void test_a_foreign_driver_past_its_deadline_blocks_its_sr_only(void **state)
{
    struct fixture *x = *state;
    struct storage_sr sr = foreign_sr(x), other = new_dummy(x, 0);
    _cleanup_xerr_ struct xerr err = XERR_INIT;

    behave(x, "exec sleep 2");
    assert_int_equal(call(x, &sr, "sr_attach", 200, &err), -1);
    assert_true(storage_sr_silent(x->storage, sr.uuid));
    /* It works on, and so does its session. */
    assert_true(storage_driver_runs(x->storage, sr.uuid));
    assert_int_equal(x->sessions, 1);
    xerr_clear(&err);
    int64_t began = clock_boottime_ns();
    assert_int_equal(call(x, &sr, "sr_attach", 30000, &err), -1);
    assert_string_equal(err.code, "SM_PLUGIN_COMMUNICATION_FAILURE");
    assert_true(ms_since(began) < 100);
    xerr_clear(&err);
    assert_int_equal(call(x, &other, "sr_scan", 0, &err), 0);
    for (int i = 0; i < 100 && storage_driver_runs(x->storage, sr.uuid); i++) usleep(50000);
    assert_false(storage_driver_runs(x->storage, sr.uuid));
    assert_true(storage_sr_silent(x->storage, sr.uuid));
    behave(x, "echo '<methodResponse><params><param><value>ok</value></param></params></methodResponse>'");
    assert_int_equal(call(x, &sr, "sr_attach", 0, &err), 0);
    assert_false(storage_sr_silent(x->storage, sr.uuid));
}

struct caller {
    pthread_t thread;
    struct fixture *x;
    struct storage_sr sr;
    int rc;
    int64_t ms;
};

static void *scan_thread(void *arg)
{
    struct caller *k = arg;
    _cleanup_arena_ struct arena *a = arena_new();
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    int64_t began = clock_boottime_ns();
    struct value answer;

    k->rc = storage_call(k->x->storage, &k->sr, NULL, "sr_scan", NULL, 0, NULL, 0, a, &answer, &err);
    k->ms = ms_since(began);
    return NULL;
}

static void test_one_process_at_a_time_for_an_sr(void **state)
{
    struct fixture *x = *state;
    struct storage_sr slow = new_dummy(x, 300), quick = new_dummy(x, 0);
    struct caller k[4];

    for (int i = 0; i < 4; i++) {
        k[i] = (struct caller){ .x = x, .sr = i < 3 ? slow : quick };
        pthread_create(&k[i].thread, NULL, scan_thread, &k[i]);
    }
    int64_t longest = 0;
    for (int i = 0; i < 4; i++) {
        pthread_join(k[i].thread, NULL);
        assert_int_equal(k[i].rc, 0);
        if (i < 3 && k[i].ms > longest) longest = k[i].ms;
    }
    assert_true(longest >= 900);
    assert_true(k[3].ms < 600);
}

/* ---- processes that an earlier agent left -------------------------------------------------- */

/* What the foreign driver wrote down of when it began and ended, "" before it did. */
static char *story(const struct fixture *x)
{
    _cleanup_free_ char *path = xasprintf("%s/story", x->root);
    char *text = NULL;
    size_t n;

    return read_file(path, 1 << 10, &text, &n) ? xstrdup("") : text;
}

static void test_a_leftover_is_awaited(void **state)
{
    struct fixture *x = *state;
    struct storage_sr sr = foreign_sr(x);
    _cleanup_free_ char *hold = xasprintf("%s/hold", x->root), *text = NULL;
    _cleanup_free_ char *works = xasprintf("echo begin >>%s/story; while [ -e %s ]; do sleep 0.02; done; echo end >>%s/story; "
                                           "echo '<methodResponse><params><param><value>ok</value></param></params></methodResponse>'",
                                           x->root, hold, x->root);

    behave(x, works);
    assert_int_equal(write_file_atomic(hold, "", 0, 0600), 0);
    pid_t agent = fork();
    assert_true(agent >= 0);
    if (agent == 0) {   /* an agent that dies while its driver works */
        struct xerr err = XERR_INIT;
        call(x, &sr, "sr_attach", 0, &err);
        _exit(0);
    }
    for (int i = 0; i < 6000; i++, free(take_ptr(text)), usleep(10000))
        if (text = story(x), streq(text, "begin\n")) break;
    kill(agent, SIGKILL);
    assert_int_equal(waitpid(agent, NULL, 0), agent);
    storage_close(x->storage);
    open_storage(x);
    struct caller next = { .x = x, .sr = sr };
    pthread_create(&next.thread, NULL, scan_thread, &next);
    usleep(200000);
    free(text);
    text = story(x);
    assert_string_equal(text, "begin\n");
    assert_int_equal(unlink(hold), 0);
    pthread_join(next.thread, NULL);
    assert_int_equal(next.rc, 0);
    free(text);
    text = story(x);
    assert_string_equal(text, "begin\nend\nbegin\nend\n");
}

/* ---- the ledger ---------------------------------------------------------------------------- */

static struct storage_vdi new_vdi(struct fixture *x, const struct storage_sr *sr)
{
    struct storage_vdi vdi = { .ref = ref_new(), .uuid = uuid_new(arena_alloc(x->arena, UUID_TEXT)) };
    struct value size = value_string("1048576"), answer;
    struct xerr err = XERR_INIT;

    assert_int_equal(
        storage_call(x->storage, sr, &vdi, "vdi_create", &size, 1, NULL, 0, x->arena, &answer, &err), 0);
    return vdi;
}

static void test_a_disk_has_one_writer(void **state)
{
    struct fixture *x = *state;
    struct storage_sr sr = new_dummy(x, 0);
    struct storage_vdi vdi = new_vdi(x, &sr);
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    struct storage_disk disk;

    assert_int_equal(storage_attach(x->storage, &sr, &vdi, "a", true, x->arena, &disk, &err), 0);
    assert_string_equal(disk.format, "qcow2");
    assert_int_equal(access(disk.path, F_OK), 0);
    assert_int_equal(storage_attach(x->storage, &sr, &vdi, "a", true, x->arena, &disk, &err), 0);
    assert_int_equal(storage_attach(x->storage, &sr, &vdi, "b", false, x->arena, &disk, &err), -1);
    assert_string_equal(err.code, "VDI_IN_USE");
    assert_string_equal(err.params[0], REF_STR(vdi.ref));
    xerr_clear(&err);
    assert_int_equal(storage_detach(x->storage, &sr, &vdi, "b", &err), 0);
    assert_int_equal(storage_detach(x->storage, &sr, &vdi, "a", &err), 0);
    assert_int_equal(storage_attach(x->storage, &sr, &vdi, "b", false, x->arena, &disk, &err), 0);
    assert_int_equal(storage_attach(x->storage, &sr, &vdi, "c", false, x->arena, &disk, &err), 0);
    assert_int_equal(storage_attach(x->storage, &sr, &vdi, "d", true, x->arena, &disk, &err), -1);
    xerr_clear(&err);
    vdi.sharable = true;
    assert_int_equal(storage_attach(x->storage, &sr, &vdi, "d", true, x->arena, &disk, &err), 0);
    vdi.read_only = true;
    assert_int_equal(storage_attach(x->storage, &sr, &vdi, "e", true, x->arena, &disk, &err), -1);
    assert_string_equal(err.code, "VDI_READONLY");
}

static void test_the_ledger_outlives_the_agent(void **state)
{
    struct fixture *x = *state;
    struct storage_sr sr = new_dummy(x, 0);
    struct storage_vdi vdi = new_vdi(x, &sr);
    const struct storage_attachment *list;
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    struct storage_disk disk;

    assert_int_equal(storage_attach(x->storage, &sr, &vdi, "owner-1", true, x->arena, &disk, &err), 0);
    storage_close(x->storage);
    open_storage(x);
    assert_int_equal(storage_attachments(x->storage, NULL, NULL, x->arena, &list), 1);
    assert_string_equal(list[0].owner, "owner-1");
    assert_string_equal(list[0].vdi_uuid, vdi.uuid);
    assert_string_equal(list[0].sr_uuid, sr.uuid);
    assert_string_equal(list[0].disk.path, disk.path);
    assert_true(list[0].disk.writable);
    assert_int_equal(storage_attach(x->storage, &sr, &vdi, "other", true, x->arena, &disk, &err), -1);
    xerr_clear(&err);
    assert_int_equal(storage_detach(x->storage, &sr, &vdi, "owner-1", &err), 0);
    assert_int_equal(storage_attachments(x->storage, NULL, NULL, x->arena, &list), 0);
}

static void test_the_ledger_ends_with_the_boot(void **state)
{
    struct fixture *x = *state;
    struct storage_sr sr = new_dummy(x, 0);
    struct storage_vdi vdi = new_vdi(x, &sr);
    const struct storage_attachment *list;
    struct xerr err = XERR_INIT;
    struct storage_disk disk;

    assert_int_equal(storage_attach(x->storage, &sr, &vdi, "owner-1", true, x->arena, &disk, &err), 0);
    storage_close(x->storage);
    _cleanup_free_ char *boot = xasprintf("%s/storage/attached/boot-id", x->root);
    assert_int_equal(write_file_atomic(boot, "another\n", 8, 0600), 0);
    open_storage(x);
    assert_int_equal(storage_attachments(x->storage, NULL, NULL, x->arena, &list), 0);
}

struct attacher {
    pthread_t thread;
    struct fixture *x;
    struct storage_sr sr;
    struct storage_vdi vdi;
    char owner[16];
    int rc;
};

static void *attach_thread(void *arg)
{
    struct attacher *k = arg;
    _cleanup_arena_ struct arena *a = arena_new();
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    struct storage_disk disk;

    k->rc = storage_attach(k->x->storage, &k->sr, &k->vdi, k->owner, true, a, &disk, &err);
    return NULL;
}

static void test_of_many_writers_one_wins(void **state)
{
    struct fixture *x = *state;
    struct storage_sr sr = new_dummy(x, 0);
    struct storage_vdi vdi = new_vdi(x, &sr);
    struct attacher k[8];
    int won = 0;

    for (int i = 0; i < 8; i++) {
        k[i] = (struct attacher){ .x = x, .sr = sr, .vdi = vdi };
        snprintf(k[i].owner, sizeof(k[i].owner), "owner-%d", i);
        pthread_create(&k[i].thread, NULL, attach_thread, &k[i]);
    }
    for (int i = 0; i < 8; i++) {
        pthread_join(k[i].thread, NULL);
        won += k[i].rc == 0;
    }
    assert_int_equal(won, 1);
}

static void test_a_held_disk_is_not_attached(void **state)
{
    struct fixture *x = *state;
    struct storage_sr sr = new_dummy(x, 0);
    struct attacher k = { .x = x, .sr = sr, .vdi = new_vdi(x, &sr), .owner = "late", .rc = 7 };
    struct storage_hold hold;

    storage_hold(x->storage, sr.uuid, k.vdi.uuid, &hold);
    assert_int_equal(hold.owners, 0);
    pthread_create(&k.thread, NULL, attach_thread, &k);
    usleep(150000);
    assert_int_equal(k.rc, 7);
    storage_release(&hold);
    pthread_join(k.thread, NULL);
    assert_int_equal(k.rc, 0);
    storage_hold(x->storage, sr.uuid, k.vdi.uuid, &hold);
    assert_int_equal(hold.owners, 1);
    assert_true(hold.writable);
    assert_string_equal(hold.owner, "late");
    storage_release(&hold);
}

/* ---- copying ------------------------------------------------------------------------------- */

static bool note_progress(void *arg, double fraction)
{
    *(double *)arg = fraction;
    return true;
}

static bool refuse(void *arg, double fraction)
{
    (void)arg, (void)fraction;
    return false;
}

static void test_a_copy_has_the_content(void **state)
{
    struct fixture *x = *state;
    struct storage_copy copy = { .target_is_zero = true, .progress = note_progress };
    _cleanup_free_ char *from = xasprintf("%s/from.raw", x->root), *to = xasprintf("%s/to.raw", x->root);
    _cleanup_free_ char *cmd =
        xasprintf("seq 100000 >%s; truncate -s 4M %s; truncate -s 8M %s", from, from, to);
    _cleanup_free_ char *compare = xasprintf("cmp -n 4194304 %s %s", from, to);
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    double seen = -1;

    assert_int_equal(shell(cmd), 0);
    copy.from = (struct storage_disk){ .path = from, .format = "raw" };
    copy.to = (struct storage_disk){ .path = to, .format = "raw", .writable = true };
    copy.arg = &seen;
    assert_int_equal(storage_copy(x->storage, &copy, &err), 0);
    assert_int_equal(shell(compare), 0);
    copy.to.path = "/nonexistent/file";
    assert_int_equal(storage_copy(x->storage, &copy, &err), -1);
    assert_string_equal(err.code, "VDI_COPY_FAILED");
    xerr_clear(&err);
    copy.to.path = to;
    copy.progress = refuse;
    assert_int_equal(storage_copy(x->storage, &copy, &err), -1);
    assert_string_equal(err.code, "TASK_CANCELLED");
}

#define STORAGE_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORAGE_TEST(test_drivers_say_what_they_can),
        STORAGE_TEST(test_a_command_that_is_missing_is_not_supported),
        STORAGE_TEST(test_a_fault_becomes_a_numbered_error),
        STORAGE_TEST(test_a_bare_value_is_an_answer),
        STORAGE_TEST(test_a_death_without_answer_tells_what_was_said),
        STORAGE_TEST(test_rubbish_is_a_communication_failure),
        STORAGE_TEST(test_endless_output_is_bounded),
        STORAGE_TEST(test_a_driver_of_ours_is_ended_at_its_deadline),
        STORAGE_TEST(test_a_driver_says_that_it_cannot_reach_its_storage),
        STORAGE_TEST(test_a_foreign_driver_past_its_deadline_blocks_its_sr_only),
        STORAGE_TEST(test_one_process_at_a_time_for_an_sr),
        STORAGE_TEST(test_a_leftover_is_awaited),
        STORAGE_TEST(test_a_disk_has_one_writer),
        STORAGE_TEST(test_the_ledger_outlives_the_agent),
        STORAGE_TEST(test_the_ledger_ends_with_the_boot),
        STORAGE_TEST(test_of_many_writers_one_wins),
        STORAGE_TEST(test_a_held_disk_is_not_attached),
        STORAGE_TEST(test_a_copy_has_the_content),
    };

    signal(SIGPIPE, SIG_IGN);
    if (!getenv("XAPI_BUILD") && access("sm/dummy", X_OK)) {
        printf("1..0 # SKIP the drivers are not built\n");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
