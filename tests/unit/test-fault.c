/* Fault points: how they are armed, what they do, when they are refused. Each test is a process of its own.
 * Called by: make check.  Calls: lib/fault. */
#include "tests/unit/unit.h"

#include "lib/clock.h"
#include "lib/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

/* A statement that must hold in the child; its line number is the child's exit status otherwise. */
#define HOLDS(x) do { if (!(x)) _exit(__LINE__ & 0xff ? __LINE__ & 0xff : 1); } while (0)

static int child_status(void (*body)(void))
{
    int status;

    fflush(NULL);
    pid_t pid = fork();
    if (!pid) {
        body();
        _exit(0);
    }
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void check_child(void (*body)(void))
{
    int status = child_status(body);

    if (!WIFEXITED(status) || WEXITSTATUS(status)) fail_msg("the child failed: line %d (mod 256), signal %d",
                                                            WIFEXITED(status) ? WEXITSTATUS(status) : 0,
                                                            WIFSIGNALED(status) ? WTERMSIG(status) : 0);
}

/* A memfd with these lines, named in the environment. Returns it, for more lines. */
static int armed_file(const char *lines)
{
    char number[16];
    int fd = memfd_create("faults", 0);

    HOLDS(write(fd, lines, strlen(lines)) == (ssize_t)strlen(lines));
    snprintf(number, sizeof(number), "%d", fd);
    setenv("XAPI_FAULT_FD", number, 1);
    return fd;
}

static void start(const char *lines)
{
    const char *error;

    armed_file(lines);
    HOLDS(fault_start(true, &error) == 0);
}

static void unarmed(void)
{
    const char *error = NULL;

    unsetenv("XAPI_FAULT_FD");
    HOLDS(fault_start(true, &error) == 0 && !error);
    HOLDS(!fault_armed);
    HOLDS(fault("db.commit") == 0);
}

static void not_allowed(void)
{
    const char *error = NULL;

    armed_file("db.commit EIO\n");
    HOLDS(fault_start(false, &error) == -1 && strstr(error, "not allowed"));
    HOLDS(!fault_armed && fault("db.commit") == 0);
}

static void wrong_descriptors(void)
{
    static const char *const wrong[] = { "", "x", "-1", "999", "1", "3x" };
    const char *error;

    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        setenv("XAPI_FAULT_FD", wrong[i], 1);
        error = NULL;
        HOLDS(fault_start(true, &error) == -1 && error);
    }
}

static void every_time(void)
{
    start("db.commit ENOSPC\n");
    HOLDS(fault_armed);
    HOLDS(!getenv("XAPI_FAULT_FD"));
    HOLDS(fault("db.other") == 0);
    for (int i = 0; i < 3; i++) HOLDS(fault("db.commit") == ENOSPC);
}

static void only_the_nth(void)
{
    start("a EIO 3\nb EIO 2+\n");
    int a[5], b[5];
    for (int i = 0; i < 5; i++) a[i] = fault("a"), b[i] = fault("b");
    HOLDS(!a[0] && !a[1] && a[2] == EIO && !a[3] && !a[4]);
    HOLDS(!b[0] && b[1] == EIO && b[2] == EIO && b[3] == EIO && b[4] == EIO);
}

static void more_lines_later(void)
{
    const char *error;
    int fd = armed_file("a EIO\n");

    HOLDS(fault_start(true, &error) == 0);
    HOLDS(fault("a") == EIO && fault("b") == 0);
    HOLDS(write(fd, "b EBU", 5) == 5);
    HOLDS(fault("b") == 0);
    HOLDS(write(fd, "SY 2\na off\n", 11) == 11);
    HOLDS(fault("b") == 0 && fault("b") == EBUSY && fault("b") == 0);
    HOLDS(fault("a") == 0);
}

static void through_a_pipe(void)
{
    const char *error;
    char number[16];
    int fds[2];

    HOLDS(pipe(fds) == 0);
    HOLDS(write(fds[1], "a EIO\n", 6) == 6);
    snprintf(number, sizeof(number), "%d", fds[0]);
    setenv("XAPI_FAULT_FD", number, 1);
    HOLDS(fault_start(true, &error) == 0);
    HOLDS(fault("a") == EIO);
    HOLDS(write(fds[1], "a EROFS\n", 8) == 8);
    HOLDS(fault("a") == EROFS);
    close(fds[1]);
    HOLDS(fault("a") == EROFS);
    HOLDS(fcntl(fds[0], F_GETFD) & FD_CLOEXEC);
}

static void sleeping(void)
{
    start("a sleep:60 1\n");
    int64_t before = clock_monotonic_ns();
    HOLDS(fault("a") == 0);
    HOLDS(clock_monotonic_ns() - before >= 60 * NS_PER_MS);
}

static void killing(void)
{
    start("a kill 2\n");
    fault("a");
    fault("a");
}

static void misunderstood(void)
{
    freopen("/dev/null", "w", stderr);
    start("a EWHAT\n");
}

#define TEST_CHILD(name, body) static void name(void **state _unused_) { check_child(body); }

TEST_CHILD(nothing_is_armed_without_the_variable, unarmed)
TEST_CHILD(arming_is_refused_unless_allowed, not_allowed)
TEST_CHILD(wrong_descriptors_are_refused, wrong_descriptors)
TEST_CHILD(a_point_fails_every_time, every_time)
TEST_CHILD(a_point_fails_the_nth_time_or_from_it_on, only_the_nth)
TEST_CHILD(lines_written_later_count, more_lines_later)
TEST_CHILD(a_pipe_serves_as_well, through_a_pipe)
TEST_CHILD(a_point_can_sleep, sleeping)

static void a_point_can_kill(void **state _unused_)
{
    int status = child_status(killing);

    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void a_line_that_makes_no_sense_is_never_ignored(void **state _unused_)
{
    int status = child_status(misunderstood);

    assert_true(!WIFEXITED(status) || WEXITSTATUS(status) != 0);
}

UNIT_MAIN(
    cmocka_unit_test(nothing_is_armed_without_the_variable),
    cmocka_unit_test(arming_is_refused_unless_allowed),
    cmocka_unit_test(wrong_descriptors_are_refused),
    cmocka_unit_test(a_point_fails_every_time),
    cmocka_unit_test(a_point_fails_the_nth_time_or_from_it_on),
    cmocka_unit_test(lines_written_later_count),
    cmocka_unit_test(a_pipe_serves_as_well),
    cmocka_unit_test(a_point_can_sleep),
    cmocka_unit_test(a_point_can_kill),
    cmocka_unit_test(a_line_that_makes_no_sense_is_never_ignored),
)
