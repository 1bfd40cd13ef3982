/* Children: what they get, what comes back, how they are ended, and who takes their exit status.
 * Called by: make check.  Calls: lib/subproc. */
#include "tests/unit/unit.h"

#include "lib/clock.h"
#include "lib/subproc.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/wait.h>

static const struct subproc_limits ten_seconds = { .timeout_ms = 10000 };

static struct subproc_result run_limited(const struct subproc_limits *limits, const char *input,
                                         const char *script)
{
    const char *argv[] = { "sh", "-c", script, NULL };
    struct subproc_command cmd = { .argv = argv };
    struct subproc_result r;

    if (subproc_run(&cmd, input, strlen(input), limits, &r)) fail_msg("%s: %s", script, strerror(errno));
    return r;
}

static struct subproc_result run(const char *input, const char *script)
{
    return run_limited(&ten_seconds, input, script);
}

static void check_output(const char *input, const char *script, const char *expected)
{
    _cleanup_subproc_result_ struct subproc_result r = run(input, script);

    assert_true(subproc_ok(&r));
    assert_string_equal(strbuf_cstr(&r.out), expected);
}

static double seconds_since(int64_t ns) { return (double)(clock_monotonic_ns() - ns) / 1e9; }

/* ---- what goes in and out ---- */

static void input_output_and_errors_are_carried(void **state _unused_)
{
    _cleanup_subproc_result_ struct subproc_result r = run("some input", "cat; echo oops >&2; exit 3");

    assert_int_equal(r.end, SUBPROC_EXITED);
    assert_int_equal(r.code, 3);
    assert_false(subproc_ok(&r));
    assert_string_equal(strbuf_cstr(&r.out), "some input");
    assert_string_equal(strbuf_cstr(&r.err), "oops\n");
    _cleanup_free_ char *text = subproc_describe(&r);
    assert_string_equal(text, "exit code 3: oops");
}

static void no_input_is_an_empty_one(void **state _unused_)
{
    check_output("", "wc -c", "0\n");
}

static void arguments_are_not_interpreted(void **state _unused_)
{
    const char *argv[] = { "printf", "%s|", "a b", "$HOME", "`id`", "*", "", NULL };
    struct subproc_command cmd = { .argv = argv };
    _cleanup_subproc_result_ struct subproc_result r = { .end = SUBPROC_LOST };

    assert_int_equal(subproc_run(&cmd, NULL, 0, &ten_seconds, &r), 0);
    assert_string_equal(strbuf_cstr(&r.out), "a b|$HOME|`id`|*||");
}

static void a_missing_program_is_an_error_at_once(void **state _unused_)
{
    const char *argv[] = { "/nonexistent/program", NULL };
    struct subproc_command cmd = { .argv = argv };
    struct subproc_result r;

    SKIP_EMULATED("posix_spawn() does not tell that the program is missing");
    assert_int_equal(subproc_run(&cmd, NULL, 0, &ten_seconds, &r), -1);
    assert_int_equal(errno, ENOENT);
}

static void no_room_is_recognised(void **state _unused_)
{
    static const struct {
        int why;
        bool full;
    } cases[] = { { ENOSPC, true }, { EDQUOT, true }, { EIO, false }, { EFBIG, false } };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_free_ char *said = xasprintf("qemu-img: error while writing at byte 9: %s\n", strerror(cases[i].why));
        assert_int_equal(subproc_said_full(said, strlen(said)), cases[i].full);
    }
}

static void environment_and_folder_are_the_given_ones(void **state _unused_)
{
    const char *argv[] = { "/bin/sh", "-c", "pwd; /usr/bin/env | /usr/bin/sort | /bin/grep -v '^[_OP]'",
                           NULL };
    const char *env[] = { "A=1", "B=two words", NULL };
    struct subproc_command cmd = { .argv = argv, .env = env, .cwd = "/" };
    _cleanup_subproc_result_ struct subproc_result r = { .end = SUBPROC_LOST };

    assert_int_equal(subproc_run(&cmd, NULL, 0, &ten_seconds, &r), 0);
    assert_string_equal(strbuf_cstr(&r.out), "/\nA=1\nB=two words\n");
}

static void big_output_in_both_directions_does_not_block(void **state _unused_)
{
    _cleanup_free_ char *input = xmalloc(3000001);

    memset(input, 'x', 3000000);
    input[3000000] = '\0';
    struct subproc_limits limits = { .timeout_ms = 10000, .out_bytes = 4000000 };
    _cleanup_subproc_result_ struct subproc_result r = run_limited(&limits, input, "cat");
    assert_true(subproc_ok(&r));
    assert_int_equal(r.out.len, 3000000);
    assert_false(r.out_truncated);
}

static void output_beyond_the_limit_is_dropped_but_read(void **state _unused_)
{
    struct subproc_limits limits = { .timeout_ms = 10000, .out_bytes = 1000, .err_bytes = 10 };
    _cleanup_subproc_result_ struct subproc_result r = run_limited(&limits, "",
        "head -c 2000000 /dev/zero | tr '\\0' x; echo 0123456789abc >&2");

    assert_true(subproc_ok(&r));
    assert_true(r.out.len == 1000 && r.out_truncated);
    assert_true(r.err.len == 10 && r.err_truncated);
}

/* ---- what it inherits ---- */

static void nothing_is_inherited_but_what_is_given(void **state _unused_)
{
    int leaked = open("/dev/null", O_RDONLY), pipefd[2];   /* without close-on-exec */

    assert_true(leaked >= 0 && pipe(pipefd) == 0);
    /* ls itself opens one: the folder */
    check_output("", "ls /proc/self/fd | wc -l", "4\n");
    close(leaked);
    close(pipefd[0]);
    close(pipefd[1]);
}

static void descriptors_are_passed_under_their_numbers(void **state _unused_)
{
    int a[2], b[2];
    const char *argv[] = { "sh", "-c",
                           "echo three >&3; echo five >&5; test ! -e /proc/self/fd/4 && echo no four", NULL };

    assert_true(pipe2(a, O_CLOEXEC) == 0 && pipe2(b, O_CLOEXEC) == 0);
    /* crossing on purpose: ours may well be 3, 4, 5, 6 */
    struct subproc_fd fds[] = { { a[1], 5 }, { b[1], 3 } };
    struct subproc_command cmd = { .argv = argv, .fds = fds, .n_fds = 2 };
    _cleanup_subproc_result_ struct subproc_result r = { .end = SUBPROC_LOST };
    char buf[16];

    assert_int_equal(subproc_run(&cmd, NULL, 0, &ten_seconds, &r), 0);
    assert_string_equal(strbuf_cstr(&r.out), "no four\n");
    close(a[1]);
    close(b[1]);
    assert_int_equal(read(a[0], buf, sizeof(buf)), 5);
    assert_memory_equal(buf, "five\n", 5);
    assert_int_equal(read(b[0], buf, sizeof(buf)), 6);
    assert_memory_equal(buf, "three\n", 6);
    close(a[0]);
    close(b[0]);
}

static void signals_are_reset_and_the_session_is_new(void **state _unused_)
{
    sigset_t block, old;

    SKIP_EMULATED("the C library's own signals have other numbers outside");
    sigemptyset(&block);
    sigaddset(&block, SIGTERM);
    sigaddset(&block, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &block, &old);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    /* 32 and 33 are the C library's own, which posix_spawn leaves ignored */
    _cleanup_subproc_result_ struct subproc_result r = run("",
            "grep SigBlk: /proc/self/status; grep SigIgn: /proc/self/status");
    unsigned long long blocked = 1, ignored = 1;
    assert_int_equal(sscanf(strbuf_cstr(&r.out), "SigBlk: %llx SigIgn: %llx", &blocked, &ignored), 2);
    assert_true(blocked == 0);
    assert_true((ignored & ~0x180000000ull) == 0);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    signal(SIGPIPE, SIG_DFL);
    signal(SIGHUP, SIG_DFL);
    check_output("", "set -- $(cat /proc/$$/stat); test $1 = $5 && test $1 = $6 && echo leader", "leader\n");
}

/* ---- how it ends ---- */

static void a_signal_is_told(void **state _unused_)
{
    _cleanup_subproc_result_ struct subproc_result r = run("", "kill -9 $$");
    _cleanup_free_ char *text = subproc_describe(&r);

    assert_int_equal(r.end, SUBPROC_SIGNALED);
    assert_int_equal(r.code, SIGKILL);
    assert_string_equal(text, "killed by signal 9");
}

static void a_deadline_ends_it(void **state _unused_)
{
    struct subproc_limits limits = { .timeout_ms = 200 };
    int64_t before = clock_monotonic_ns();
    _cleanup_subproc_result_ struct subproc_result r = run_limited(&limits, "", "echo begun; sleep 60");
    _cleanup_free_ char *text = subproc_describe(&r);

    assert_int_equal(r.end, SUBPROC_TIMED_OUT);
    assert_string_equal(strbuf_cstr(&r.out), "begun\n");
    assert_string_equal(text, "timed out");
    assert_int_equal(r.stuck_pid, 0);
    assert_true(seconds_since(before) < 2);
}

static void one_that_ignores_sigterm_is_killed_with_its_descendants(void **state _unused_)
{
    struct subproc_limits limits = { .timeout_ms = 200, .grace_ms = 200 };
    int64_t before = clock_monotonic_ns();
    _cleanup_subproc_result_ struct subproc_result r = run_limited(&limits, "",
        "trap '' TERM; (trap '' TERM; while :; do sleep 1; done) & echo $!; while :; do sleep 1; done");

    assert_int_equal(r.end, SUBPROC_TIMED_OUT);
    assert_true(seconds_since(before) < 5);
    pid_t grandchild = atoi(strbuf_cstr(&r.out));
    assert_true(grandchild > 1);
    uint64_t start;
    for (int i = 0; i < 100 && !subproc_start_time(grandchild, &start); i++, usleep(20000))
        if (!subproc_alive(grandchild, start)) break;
    assert_true(subproc_start_time(grandchild, &start) || !subproc_alive(grandchild, start));
}

static void an_endless_writer_does_not_hold_up_its_deadline(void **state _unused_)
{
    struct subproc_limits limits = { .timeout_ms = 300, .out_bytes = 100 };
    int64_t before = clock_monotonic_ns();
    _cleanup_subproc_result_ struct subproc_result r = run_limited(&limits, "", "exec yes");

    assert_int_equal(r.end, SUBPROC_TIMED_OUT);
    assert_true(r.out.len == 100 && r.out_truncated);
    assert_true(seconds_since(before) < 5);
}

static bool is_set(void *flag) { return atomic_load((_Atomic bool *)flag); }

static void *set_soon(void *flag)
{
    usleep(200000);
    atomic_store((_Atomic bool *)flag, true);
    return NULL;
}

static void a_caller_can_cancel(void **state _unused_)
{
    _Atomic bool flag = false;
    struct subproc_limits limits = { .timeout_ms = 60000, .cancelled = is_set, .cancelled_arg = &flag };
    int64_t before = clock_monotonic_ns();
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, set_soon, &flag), 0);
    _cleanup_subproc_result_ struct subproc_result r = run_limited(&limits, "", "sleep 60");
    pthread_join(thread, NULL);
    assert_int_equal(r.end, SUBPROC_CANCELLED);
    assert_true(seconds_since(before) < 5);
}

static void a_daemon_it_leaves_behind_does_not_hold_it_up(void **state _unused_)
{
    int64_t before = clock_monotonic_ns();
    _cleanup_subproc_result_ struct subproc_result r = run("", "sleep 60 & echo $!");

    assert_true(subproc_ok(&r));
    assert_true(seconds_since(before) < 5);
    pid_t left = atoi(strbuf_cstr(&r.out));
    assert_int_equal(kill(left, 0), 0);   /* it lives on, as the child wished */
    kill(left, SIGKILL);
}

/* ---- start and look after ---- */

static struct subproc spawn(const char *script)
{
    const char *argv[] = { "sh", "-c", script, NULL };
    struct subproc_command cmd = { .argv = argv };
    struct subproc child = SUBPROC_INIT;

    assert_int_equal(subproc_spawn(&cmd, -1, -1, -1, &child), 0);
    assert_true(child.pid > 0 && child.pidfd >= 0);
    return child;
}

static void a_spawned_child_is_waited_for(void **state _unused_)
{
    struct subproc child = spawn("exec sleep 60");
    int status = 0;

    assert_int_equal(subproc_wait(&child, 0, &status), 1);
    assert_int_equal(subproc_wait(&child, 100, &status), 1);
    assert_true(subproc_alive(child.pid, child.start_time));
    assert_false(subproc_alive(child.pid, child.start_time + 1));
    pid_t pid = child.pid;
    uint64_t start = child.start_time;
    assert_int_equal(subproc_kill(&child, SIGINT), 0);
    assert_int_equal(subproc_wait(&child, 5000, &status), 0);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
    assert_int_equal(child.pid, 0);
    assert_int_equal(child.pidfd, -1);
    assert_false(subproc_alive(pid, start));
    errno = 0;
    assert_int_equal(subproc_kill(&child, SIGINT), -1);
    assert_int_equal(errno, ESRCH);
}

static void start_times_are_those_of_proc(void **state _unused_)
{
    uint64_t mine, again;

    assert_int_equal(subproc_start_time(getpid(), &mine), 0);
    assert_int_equal(subproc_start_time(getpid(), &again), 0);
    assert_true(mine == again && mine > 0);
    assert_true(subproc_alive(getpid(), mine));
    assert_int_equal(subproc_start_time(0x3fffffff, &mine), -1);
    assert_int_equal(errno, ESRCH);
}

static void a_status_that_the_reaper_took_reaches_its_waiter(void **state _unused_)
{
    struct subproc child = spawn("exit 7");
    int status;

    for (int i = 0; i < 200 && subproc_alive(child.pid, child.start_time); i++) usleep(10000);
    subproc_reap();
    assert_int_equal(waitpid(child.pid, &status, WNOHANG), -1);   /* it is gone from the kernel's table */
    assert_int_equal(subproc_kill(&child, SIGKILL), -1);          /* so its number is nobody's to signal */
    assert_int_equal(subproc_wait(&child, 1000, &status), 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

static void a_forgotten_child_is_reaped(void **state _unused_)
{
    struct subproc child = spawn("exit 0");
    pid_t pid = child.pid;
    uint64_t start;

    subproc_forget(&child);
    assert_int_equal(child.pid, 0);
    for (int i = 0; i < 200 && !subproc_start_time(pid, &start); i++, usleep(10000)) subproc_reap();
    assert_int_equal(subproc_start_time(pid, &start), -1);
}

static void a_stolen_status_is_reported_as_such(void **state _unused_)
{
    struct subproc child = spawn("exit 0");
    int status;

    assert_int_equal(waitpid(child.pid, NULL, 0), child.pid);
    assert_int_equal(subproc_wait(&child, 1000, &status), -1);
    assert_int_equal(errno, ECHILD);
}

/* ---- everything at once ---- */

struct crowd {
    _Atomic bool stop;
    _Atomic int wrong;
};

static void *reap_all_the_time(void *arg)
{
    struct crowd *c = arg;

    while (!atomic_load(&c->stop)) {
        subproc_reap();
        usleep(500);
    }
    return NULL;
}

static void *run_many(void *arg)
{
    struct crowd *c = arg;

    for (int i = 0; i < 40; i++) {
        char script[64], expected[32];
        snprintf(script, sizeof(script), "(sleep 0.0%d &) ; echo %d; exit %d", i % 5, i, i % 7);
        snprintf(expected, sizeof(expected), "%d\n", i);
        const char *argv[] = { "sh", "-c", script, NULL };
        struct subproc_command cmd = { .argv = argv };
        struct subproc_result r = { .end = SUBPROC_LOST };
        if (subproc_run(&cmd, NULL, 0, &ten_seconds, &r)) c->wrong++;
        else if (r.end != SUBPROC_EXITED || r.code != i % 7 || strcmp(strbuf_cstr(&r.out), expected) != 0)
            c->wrong++;
        subproc_result_free(&r);
    }
    return NULL;
}

static void a_subreaper_loop_and_many_threads_agree(void **state _unused_)
{
    struct crowd c = { .stop = false };
    pthread_t reaper, runners[4];

    SKIP_EMULATED("no PR_SET_CHILD_SUBREAPER");
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    assert_int_equal(pthread_create(&reaper, NULL, reap_all_the_time, &c), 0);
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&runners[i], NULL, run_many, &c), 0);
    for (int i = 0; i < 4; i++) pthread_join(runners[i], NULL);
    atomic_store(&c.stop, true);
    pthread_join(reaper, NULL);
    prctl(PR_SET_CHILD_SUBREAPER, 0);
    assert_int_equal(c.wrong, 0);
    /* The last ones' sleeping children end in a moment; then nobody is left. */
    for (int i = 0; i < 2000 && waitid(P_ALL, 0, &(siginfo_t){ .si_pid = 0 }, WEXITED | WNOHANG | WNOWAIT) == 0; i++) {
        usleep(10000);
        subproc_reap();
    }
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

static void no_descriptor_leaks(void **state _unused_)
{
    int before = dup(0);
    close(before);

    for (int i = 0; i < 20; i++) {
        _cleanup_subproc_result_ struct subproc_result r = run("x", "cat");
        assert_true(subproc_ok(&r));
    }
    int after = dup(0);
    close(after);
    assert_int_equal(before, after);
}

UNIT_MAIN(
    cmocka_unit_test(input_output_and_errors_are_carried),
    cmocka_unit_test(no_input_is_an_empty_one),
    cmocka_unit_test(arguments_are_not_interpreted),
    cmocka_unit_test(a_missing_program_is_an_error_at_once),
    cmocka_unit_test(no_room_is_recognised),
    cmocka_unit_test(environment_and_folder_are_the_given_ones),
    cmocka_unit_test(big_output_in_both_directions_does_not_block),
    cmocka_unit_test(output_beyond_the_limit_is_dropped_but_read),
    cmocka_unit_test(nothing_is_inherited_but_what_is_given),
    cmocka_unit_test(descriptors_are_passed_under_their_numbers),
    cmocka_unit_test(signals_are_reset_and_the_session_is_new),
    cmocka_unit_test(a_signal_is_told),
    cmocka_unit_test(a_deadline_ends_it),
    cmocka_unit_test(one_that_ignores_sigterm_is_killed_with_its_descendants),
    cmocka_unit_test(an_endless_writer_does_not_hold_up_its_deadline),
    cmocka_unit_test(a_caller_can_cancel),
    cmocka_unit_test(a_daemon_it_leaves_behind_does_not_hold_it_up),
    cmocka_unit_test(a_spawned_child_is_waited_for),
    cmocka_unit_test(start_times_are_those_of_proc),
    cmocka_unit_test(a_status_that_the_reaper_took_reaches_its_waiter),
    cmocka_unit_test(a_forgotten_child_is_reaped),
    cmocka_unit_test(a_stolen_status_is_reported_as_such),
    cmocka_unit_test(a_subreaper_loop_and_many_threads_agree),
    cmocka_unit_test(no_descriptor_leaks),
)
