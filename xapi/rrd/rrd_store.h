/* The metrics of every object of this host, in memory while they are fed, in a file each when not and across restarts.
 * Called by: jobs/metrics.c (the only one that feeds and saves), http/metrics.c, data_source.c.  Calls: rrd.c.
 *
 * One lock (rank 50), held while sources are fed or copied, never across I/O. What readers get is theirs. */
#ifndef XAPI_RRD_RRD_STORE_H
#define XAPI_RRD_RRD_STORE_H

#include "lib/arena.h"
#include "xapi/rrd/rrd.h"

enum rrd_kind { RRD_HOST, RRD_VM, RRD_SR, RRD_KINDS };
extern const char *const rrd_kind_name[];   /* "host", "vm", "sr" */

struct rrd_store;

/* folder: where the files are, made when needed. */
struct rrd_store *rrd_store_new(const char *folder, bool min_max);
void rrd_store_free(struct rrd_store *st);      /* saves nothing. NULL is fine */

/* ---- the one who feeds ------------------------------------------------------------------------------------------ */

void rrd_store_feed(struct rrd_store *st, enum rrd_kind kind, const char *uuid, int64_t now_us,
                    const struct rrd_sample *samples, size_t n);
/* After every round: writes what was not written for five minutes, and what was not fed for one, which then leaves
 * memory. */
void rrd_store_settle(struct rrd_store *st, int64_t now_us);
/* Writes everything. */
void rrd_store_save(struct rrd_store *st);
/* Drops objects, and files of objects, that are not wanted any more. */
void rrd_store_prune(struct rrd_store *st, bool (*wanted)(void *arg, enum rrd_kind kind, const char *uuid), void *arg);

/* ---- any thread -------------------------------------------------------------------------------------------------- */

/* Everything that is known now is on disk; asked of the one who feeds, who comes every five seconds. False when he has not
 * come within timeout_ms, or when stop(arg) is true meanwhile (asked a few times a second). */
bool rrd_store_flush(struct rrd_store *st, int timeout_ms, bool (*stop)(void *arg), void *arg);
/* History from elsewhere takes the place of what is known of the object; r is taken. */
void rrd_store_put(struct rrd_store *st, enum rrd_kind kind, const char *uuid, struct rrd *r);
/* How many consolidations are kept: 1 or RRD_CFS. */
unsigned rrd_store_cfs(const struct rrd_store *st);

/* ---- readers, any thread ----------------------------------------------------------------------------------------- */

/* The caller's own copy, from memory or else from the file; NULL when nothing is known of the object. */
struct rrd *rrd_store_get(struct rrd_store *st, enum rrd_kind kind, const char *uuid);
/* -1: the object is not fed, or has no such source. */
int rrd_store_enable(struct rrd_store *st, enum rrd_kind kind, const char *uuid, const char *source, bool enabled);

/* Which objects a query is about. */
struct rrd_choice {
    bool all;
    size_t n;
    const char *const *uuids;
};
struct rrd_query {
    int64_t start_s;               /* rows that end after it */
    int64_t interval_s;            /* rows at least so long */
    bool all_cfs;
    enum rrd_cf cf;                /* when not all */
    struct rrd_choice choice[RRD_KINDS];
};
/* Rows that end at end_s, end_s - step_s, ...; a column for every consolidation of every source. From the arena. */
struct rrd_table {
    int64_t step_s, start_s, end_s;    /* ends of the oldest and of the newest row */
    size_t rows, columns;
    const char **legend;               /* "AVERAGE:vm:<uuid>:cpu0" */
    float *values;                     /* [column][row], newest first */
};
void rrd_store_query(struct rrd_store *st, const struct rrd_query *q, struct arena *a, struct rrd_table *ret_table);

/* The last value of every source of every object in memory, from the arena. */
struct rrd_value {
    enum rrd_kind kind;
    const char *uuid, *name, *description;
    double value;
};
size_t rrd_store_values(struct rrd_store *st, struct arena *a, struct rrd_value **ret_values);

#endif
