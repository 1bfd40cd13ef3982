/* What the bench programs share: clocks, an HTTP connection over a unix socket, requests made from templates.
 * Called by: the programs of tests/bench.  Calls: lib/util, lib/clock, lib/strbuf. */
#ifndef TESTS_BENCH_BENCH_H
#define TESTS_BENCH_BENCH_H

#include "lib/clock.h"
#include "lib/strbuf.h"

/* Prints "bench: ..." to stderr and ends the program. */
void die(const char *fmt, ...) _printf_(1, 2) _noreturn_;

/* A number from the command line; dies unless it is one. */
long need_number(const char *text);

/* The value at a share (0..1) of n sorted samples. */
double at_share(const double *sorted, size_t n, double share);
void sort_doubles(double *v, size_t n);

/* Bodies of requests, '\0' between them in a file; a run of '@' in one becomes a number that never repeats. */
struct templates {
    char *text;
    char **bodies;
    size_t n;
};

void templates_load(struct templates *t, const char *path);
void templates_free(struct templates *t);

/* One keep-alive connection. */
struct connection {
    int fd;
    struct strbuf out, in;      /* the last request; the last reply, head and body */
    size_t body_at, total;      /* of the reply: where its body begins, how long all of it is */
};

void connection_open(struct connection *c, const char *socket_path);
void connection_close(struct connection *c);
/* POSTs a body made from the template (JSON-RPC when it begins with a brace) and reads the reply whole. */
void connection_post(struct connection *c, const char *template, unsigned long long number);
/* The two halves of it. */
void connection_send(struct connection *c, const char *template, unsigned long long number);
void connection_receive(struct connection *c);
/* True when `in` holds a whole reply (and body_at is set); or, with bytes, a Redis message of that many. */
bool connection_complete(struct connection *c, size_t redis_bytes);
/* Dies with the reply when it is not a XenAPI success. */
void connection_need_success(const struct connection *c);

#endif
