/* P3: the daemon's user CPU for one big reply, over memcpy of the same bytes, in turn.
 * Called by: tests/bench/bench.py.  Calls: bench.
 *
 *     records SOCKET PID READ CHANGES PER_ROUND ROUNDS FIRST
 *
 * Every round: PER_ROUND requests of CHANGES (taken in turn, not measured), one request READ, one memcpy of the reply.
 * The kernel knows a process's CPU time to the nanosecond but splits it into user and system by sampling at ticks, so
 * the split is taken over all rounds: user = exact time of the reads x share of their ticks that were user ticks.
 * Prints "user_ms system_ms memcpy_ms reply_bytes ticks next_number wall_p50_ms". */
#include "tests/bench/bench.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

/* CPU clocks of another process, as clock_getcpuclockid() makes them; the kernel's numbering. */
enum { CPU_PROF = 0, CPU_VIRT = 1, CPU_SCHED = 2 };

struct cpu {
    double total_ns, ticked_ns, user_ticked_ns;
};

static double read_clock(clockid_t id)
{
    struct timespec t;

    if (clock_gettime(id, &t)) die("CPU clock: %s", strerror(errno));
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static double process_clock(int pid, int kind)
{
    return read_clock((clockid_t)(~(unsigned)pid << 3 | (unsigned)kind));
}

static struct cpu cpu_of(int pid)
{
    return (struct cpu){ process_clock(pid, CPU_SCHED), process_clock(pid, CPU_PROF), process_clock(pid, CPU_VIRT) };
}

/* The daemon may still be in its last system call when the reply is here: wait until its clock stands still. */
static struct cpu settled_cpu(int pid)
{
    struct cpu before, after = cpu_of(pid);

    do {
        before = after;
        usleep(300);
        after = cpu_of(pid);
    } while (after.total_ns - before.total_ns > 20000);
    return after;
}

static double measure_memcpy(const struct strbuf *text, char *copy)
{
    double began = read_clock(CLOCK_THREAD_CPUTIME_ID);

    memcpy(copy, text->ptr, text->len);
    __asm__ volatile("" : : "r"(copy) : "memory");
    return read_clock(CLOCK_THREAD_CPUTIME_ID) - began;
}

int main(int argc, char **argv)
{
    struct templates reads, changes;
    struct connection c;
    struct cpu sum = { 0, 0, 0 };

    if (argc != 8) die("usage: records SOCKET PID READ CHANGES PER_ROUND ROUNDS FIRST");
    int pid = (int)need_number(argv[2]);
    long per_round = need_number(argv[5]), rounds = need_number(argv[6]);
    unsigned long long number = (unsigned long long)need_number(argv[7]);
    double *copies = xcalloc((size_t)rounds, sizeof(*copies)), *walls = xcalloc((size_t)rounds, sizeof(*walls));

    templates_load(&reads, argv[3]);
    templates_load(&changes, argv[4]);
    connection_open(&c, argv[1]);
    connection_post(&c, reads.bodies[0], 0);
    connection_need_success(&c);
    size_t room = c.in.len + (c.in.len >> 2);
    char *copy = xmalloc(room);
    memset(copy, 1, room);              /* its pages are there */
    for (long r = 0; r < rounds; r++) {
        for (long i = 0; i < per_round; i++, number++) {
            connection_post(&c, changes.bodies[number % changes.n], number);
            connection_need_success(&c);
        }
        struct cpu before = settled_cpu(pid);
        int64_t began = clock_monotonic_ns();
        connection_post(&c, reads.bodies[0], 0);
        walls[r] = (double)(clock_monotonic_ns() - began);
        struct cpu after = settled_cpu(pid);
        connection_need_success(&c);
        if (c.in.len > room) die("the reply has grown by a quarter");
        sum.total_ns += after.total_ns - before.total_ns;
        sum.ticked_ns += after.ticked_ns - before.ticked_ns;
        sum.user_ticked_ns += after.user_ticked_ns - before.user_ticked_ns;
        copies[r] = measure_memcpy(&c.in, copy);
    }
    double user = sum.ticked_ns > 0 ? sum.user_ticked_ns / sum.ticked_ns : 1;
    sort_doubles(copies, (size_t)rounds);
    sort_doubles(walls, (size_t)rounds);
    printf("%.4f %.4f %.4f %zu %.0f %llu %.4f\n", sum.total_ns * user / (double)rounds / 1e6,
           sum.total_ns * (1 - user) / (double)rounds / 1e6, at_share(copies, (size_t)rounds, 0.5) / 1e6, c.in.len,
           sum.ticked_ns / 1e6, number, at_share(walls, (size_t)rounds, 0.5) / 1e6);
    connection_close(&c);
    templates_free(&reads);
    templates_free(&changes);
    free(copy);
    free(copies);
    free(walls);
    return 0;
}
