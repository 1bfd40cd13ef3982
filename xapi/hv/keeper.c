/* xapi-hv-keeper: the parent of a private libvirtd and of its QEMUs.
 * Called by: libvirt_daemon.c (subproc), once for each start of libvirtd.  Calls: libc, the kernel.
 *
 *   xapi-hv-keeper RECORD LOG CPU [SOURCE:TARGET]... -- PROGRAM ARGUMENT...
 *
 * It exists because of three things that a large program with threads and children of its own does badly:
 * - State paths are compiled into libvirtd. PROGRAM runs in a mount namespace where each TARGET is bound to
 * SOURCE; mounts made outside later arrive (propagation slave), none of ours leaves.
 * - A QEMU becomes nobody's child when libvirtd has started it. The keeper is the subreaper that takes it,
 * and reaps everything at once, also after the daemon was killed: without that, ending a guest takes two
 * seconds, since libvirtd polls for a process that a slow pid 1 has not buried yet.
 * - libvirtd forgets its capability cache when the CPU it starts on reports another CPUID; so it starts on
 * one CPU (CPU, -1 = any). The daemon widens the mask when probing is over.
 *
 * The process that was started exits 0 as soon as RECORD is written: "PID START KEEPER-PID START" (start
 * times in clock ticks since boot: with the pid an identity). The program runs only after that, so there is
 * never one that no record names. LOG takes what it prints. The keeper ends when it has no child left. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "lib/util.h"

enum { EXIT_USAGE = 2, EXIT_FAILED = 1 };

static _noreturn_ void die(const char *what)
{
    dprintf(2, "hv-keeper: %s: %s\n", what, strerror(errno));
    _exit(EXIT_FAILED);
}

/* Field 22 of /proc/PID/stat. The name in field 2 may hold anything, so count from the last parenthesis. */
static unsigned long long start_time(pid_t pid)
{
    _cleanup_free_ char *path = xasprintf("/proc/%d/stat", (int)pid), *text = NULL;
    char *p;

    if (read_file(path, 65536, &text, NULL) < 0 || !(p = strrchr(text, ')'))) die(path);
    for (int field = 2; field < 22 && p; field++) p = strchr(p + 1, ' ');
    return p ? strtoull(p + 1, NULL, 10) : 0;
}

static void bind_all(char **pairs, size_t n)
{
    if (unshare(CLONE_NEWNS) < 0) die("new mount namespace");
    if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0) die("mount propagation");
    for (size_t i = 0; i < n; i++) {
        char *colon = strchr(pairs[i], ':');
        *colon = '\0';
        if (mount(pairs[i], colon + 1, NULL, MS_BIND, NULL) < 0) die(colon + 1);
    }
}

/* The program's process. It waits until the record is there; when the keeper died before that, so does it. */
static _noreturn_ void run_program(int go_fd, int cpu, char **pairs, size_t n, char **argv)
{
    char byte;

    if (read(go_fd, &byte, 1) != 1) _exit(EXIT_FAILED);
    bind_all(pairs, n);
    if (cpu >= 0 && cpu < CPU_SETSIZE) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET((size_t)cpu, &set);
        if (sched_setaffinity(0, sizeof set, &set) < 0) die("affinity");
    }
    unsetenv("TMPDIR");         /* one that only we may use: swtpm_setup runs as another user */
    execv(argv[0], argv);
    die(argv[0]);
}

static void keep(const char *record, int ready_fd, int cpu, char **pairs, size_t n, char **argv)
{
    int go[2];

    if (setsid() < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1L, 0L, 0L, 0L) < 0 || pipe2(go, O_CLOEXEC) < 0)
        die("keeper");
    pid_t pid = fork();
    if (pid < 0) die("fork");
    if (pid == 0) {
        close(go[1]);
        close(ready_fd);
        run_program(go[0], cpu, pairs, n, argv);
    }
    _cleanup_free_ char *text = xasprintf("%d %llu %d %llu\n", (int)pid, start_time(pid), (int)getpid(),
                                          start_time(getpid()));
    if (write_file_atomic(record, text, strlen(text), 0600) < 0) die(record);
    if (write(ready_fd, "+", 1) != 1 || write(go[1], "+", 1) != 1) die("pipe");
    close(ready_fd);
    close(go[0]);
    close(go[1]);
    for (;;)
        if (waitpid(-1, NULL, 0) < 0 && errno != EINTR) return;
}

int main(int argc, char **argv)
{
    size_t n = 0;
    int ready[2];
    char byte;

    if (argc < 6) goto usage;
    char **pairs = argv + 4;
    while (pairs[n] && strcmp(pairs[n], "--") != 0) {
        if (!strchr(pairs[n], ':')) goto usage;
        n++;
    }
    if (!pairs[n] || !pairs[n + 1]) goto usage;

    int log = open(argv[2], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (log < 0) die(argv[2]);
    if (null < 0 || pipe2(ready, O_CLOEXEC) < 0) die("descriptors");
    pid_t pid = fork();
    if (pid < 0) die("fork");
    if (pid == 0) {
        close(ready[0]);
        if (chdir("/") < 0 || dup2(null, 0) < 0 || dup2(log, 1) < 0 || dup2(log, 2) < 0) die("descriptors");
        signal(SIGPIPE, SIG_IGN);
        keep(argv[1], ready[1], atoi(argv[3]), pairs, n, pairs + n + 1);
        return 0;
    }
    close(ready[1]);
    return read(ready[0], &byte, 1) == 1 ? 0 : EXIT_FAILED;

usage:
    dprintf(2, "usage: xapi-hv-keeper RECORD LOG CPU [SOURCE:TARGET]... -- PROGRAM ARGUMENT...\n");
    return EXIT_USAGE;
}
