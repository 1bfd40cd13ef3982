/* Keeps N connections to a unix socket busy with XenAPI calls; prints what was served.
 * Called by: tests/bench/bench.py.  Calls: bench.
 *
 *     rpc-load SOCKET CONNECTIONS MILLISECONDS|COUNTx BODIES FIRST [any | every=MICROSECONDS]
 *
 * Runs for a time, or COUNT times. BODIES: templates (bench.h), taken in turn by all connections; requests that must
 * follow each other on one connection have '\1' between them and count as one. FIRST: the first number put into them.
 * With "any", replies need not be XenAPI successes; with "every", each connection begins a call at most so often. Prints "calls seconds p50_us p99_us next_number reply_bytes". */
#include "tests/bench/bench.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

enum { MAX_CONNECTIONS = 4096, MAX_SAMPLES = 1 << 20 };

struct load {
    const char *socket_path;
    struct templates templates;
    bool any;                       /* whatever the reply says */
    int64_t every_ns;               /* from one call's beginning to the next one's, 0: at once */
    unsigned long long stop_at;     /* number that is not sent any more */
    int64_t end_ns;                 /* set behind the barrier */
    pthread_barrier_t ready;
    atomic_ullong next;             /* number of the next request */
};

struct worker {
    pthread_t thread;
    struct load *load;
    double *latencies_us;
    size_t n, reply_bytes;
    int64_t last_ns;
};

/* The requests of one body, one after another. */
static void post_sequence(struct connection *c, const char *body, unsigned long long number, bool any)
{
    for (const char *next = body; next; body = next) {
        next = strchr(body, '\1');
        _cleanup_free_ char *one = next ? xstrndup(body, (size_t)(next++ - body)) : NULL;
        connection_post(c, one ? one : body, number);
        if (!any) connection_need_success(c);
    }
}

static void rest(int64_t until_ns)
{
    struct timespec until = { .tv_sec = until_ns / NS_PER_S, .tv_nsec = until_ns % NS_PER_S };

    if (until_ns > clock_monotonic_ns()) clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

static void *work(void *arg)
{
    struct worker *w = arg;
    struct load *load = w->load;
    struct connection c;

    connection_open(&c, load->socket_path);
    pthread_barrier_wait(&load->ready);    /* everyone is connected ... */
    pthread_barrier_wait(&load->ready);    /* ... and the clock runs */
    do {
        unsigned long long number = atomic_fetch_add(&load->next, 1);
        if (number >= load->stop_at) break;
        int64_t began = clock_monotonic_ns();
        post_sequence(&c, load->templates.bodies[number % load->templates.n], number, load->any);
        w->last_ns = clock_monotonic_ns();
        w->reply_bytes = c.in.len;
        if (w->n < MAX_SAMPLES) w->latencies_us[w->n] = (double)(w->last_ns - began) / 1e3;
        w->n++;
        rest(began + load->every_ns);
    } while (w->last_ns < load->end_ns);
    connection_close(&c);
    return NULL;
}

static void report(struct worker *workers, size_t n, int64_t began_ns, struct load *load)
{
    size_t calls = 0, kept = 0;
    int64_t last = began_ns;

    for (size_t i = 0; i < n; i++) {
        calls += workers[i].n;
        if (workers[i].last_ns > last) last = workers[i].last_ns;
    }
    double *all = xcalloc(calls, sizeof(*all));
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < workers[i].n && k < MAX_SAMPLES; k++) all[kept++] = workers[i].latencies_us[k];
    sort_doubles(all, kept);
    printf("%zu %.6f %.2f %.2f %llu %zu\n", calls, (double)(last - began_ns) / 1e9, at_share(all, kept, 0.5),
           at_share(all, kept, 0.99), (unsigned long long)atomic_load(&load->next), workers[0].reply_bytes);
    free(all);
}

int main(int argc, char **argv)
{
    if (argc < 6) die("usage: rpc-load SOCKET CONNECTIONS MILLISECONDS|COUNTx BODIES FIRST [any | every=MICROSECONDS]");
    struct load load = { .socket_path = argv[1] };
    if (argc > 6 && !strncmp(argv[6], "every=", 6))
        load.every_ns = need_number(argv[6] + 6) * 1000;
    else
        load.any = argc > 6;
    size_t n = (size_t)need_number(argv[2]), digits = strspn(argv[3], "0123456789");
    bool counted = streq(argv[3] + digits, "x");
    if (counted) argv[3][digits] = '\0';
    long limit = need_number(argv[3]);
    unsigned long long first = (unsigned long long)need_number(argv[5]);

    if (!n || n > MAX_CONNECTIONS) die("1 to %d connections", MAX_CONNECTIONS);
    templates_load(&load.templates, argv[4]);
    atomic_init(&load.next, first);
    load.stop_at = counted ? first + (unsigned long long)limit : ~0ULL;
    pthread_barrier_init(&load.ready, NULL, (unsigned)n + 1);
    struct worker *workers = xcalloc(n, sizeof(*workers));
    for (size_t i = 0; i < n; i++) {
        workers[i].load = &load;
        workers[i].latencies_us = xcalloc(MAX_SAMPLES, sizeof(double));
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i])) die("no thread");
    }
    pthread_barrier_wait(&load.ready);
    int64_t began = clock_monotonic_ns();
    load.end_ns = counted ? INT64_MAX : began + limit * NS_PER_MS;
    pthread_barrier_wait(&load.ready);
    for (size_t i = 0; i < n; i++) pthread_join(workers[i].thread, NULL);
    report(workers, n, began, &load);
    for (size_t i = 0; i < n; i++) free(workers[i].latencies_us);
    free(workers);
    templates_free(&load.templates);
    return 0;
}
