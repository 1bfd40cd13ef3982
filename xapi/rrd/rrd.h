/* One object's metrics: data sources, and ring-buffer archives of what they were, from five seconds to a year back.
 * Called by: rrd_store.c, rrd_write.c, tests.  Calls: lib.
 *
 * Time is wall-clock microseconds and always given by the caller. An interval between two updates has one value a
 * source; it is spread over primary points of five seconds, and those are consolidated into rows of every archive. Rows
 * end at whole multiples of their length since the epoch, so a row's slot in its ring follows from its time alone and all
 * objects' rows line up. NaN is "not known". Not thread-safe: the owner locks. */
#ifndef XAPI_RRD_RRD_H
#define XAPI_RRD_RRD_H

#include "lib/strbuf.h"

enum {
    RRD_STEP_S = 5,
    RRD_HEARTBEAT_S = 300,         /* a longer silence is not bridged */
    RRD_ARCHIVES = 4,
    RRD_NAME_MAX = 128,
    RRD_FORGOTTEN_S = 7 * 86400,   /* a source that says nothing for so long goes */
};
#define RRD_LAST_S_MAX INT64_C(253402300799)   /* the end of the year 9999: no later time is believed */

enum rrd_type {
    RRD_GAUGE,      /* the value itself */
    RRD_DERIVE,     /* a counter: its rate a second; a counter that went back is not known */
    RRD_ABSOLUTE,   /* what happened since the last update: its rate a second */
};
enum rrd_cf { RRD_AVERAGE, RRD_MIN, RRD_MAX, RRD_CFS };

extern const char *const rrd_type_name[];   /* "GAUGE", ... */
extern const char *const rrd_cf_name[];     /* "AVERAGE", ... */

struct rrd_archive {
    unsigned pdp_per_row, rows;
};
extern const struct rrd_archive rrd_archives[RRD_ARCHIVES];
static inline int64_t rrd_row_s(unsigned archive) { return (int64_t)rrd_archives[archive].pdp_per_row * RRD_STEP_S; }

/* One reading. description and units are literals: they are kept, not copied. */
struct rrd_sample {
    const char *name, *units, *description;
    enum rrd_type type;
    double value;
    double min, max;               /* below min is not known; above max is max */
};

/* A row under way. */
struct rrd_prep {
    double value;                  /* sum, least or greatest of the known points */
    unsigned unknown;              /* points that are not known */
    unsigned unused;               /* 0; no hole: rrd_encode() writes it as it is in memory */
};

struct rrd_source {
    char *name;
    const char *units, *description;   /* "" until the first sample after a restart */
    enum rrd_type type;
    bool enabled;                  /* recorded */
    double min, max;
    double last;                   /* the last reading, NaN = none */
    double current;                /* the last value: for a counter its rate */
    double pdp_value;              /* value x seconds of the point under way */
    double pdp_unknown_s;
    int64_t seen_us;               /* of the last reading */
    float *rows;                   /* [cf][archive][row], NULL when not enabled; seven digits are enough */
    struct rrd_prep *prep;         /* [cf][archive] */
};

struct rrd {
    int64_t last_us;               /* of the last update */
    unsigned n_cfs;                /* 1 = AVERAGE only, 3 = MIN and MAX too */
    size_t n, cap;
    struct rrd_source *sources;
};

struct rrd *rrd_new(unsigned n_cfs, int64_t now_us);
void rrd_free(struct rrd *r);      /* NULL is fine */
struct rrd *rrd_copy(const struct rrd *r);

/* The readings of one moment. Sources not among them are not known since the last update; new ones are added. A moment
 * that is not after the last one is ignored, unless the clock went back by more than an hour: then history, which lies in
 * the future, is dropped. */
void rrd_update(struct rrd *r, int64_t now_us, const struct rrd_sample *samples, size_t n);

struct rrd_source *rrd_find(const struct rrd *r, const char *name);   /* NULL when there is none */
/* Recording begins anew, or ends and its history is dropped. Idempotent. */
void rrd_enable(struct rrd *r, struct rrd_source *s, bool enabled);

/* AVERAGE only (1) or all (RRD_CFS); what is new begins as not known. */
void rrd_set_cfs(struct rrd *r, unsigned n_cfs);

/* For history that was read: a source that is recorded, nothing known of it yet. NULL when there are too many. */
struct rrd_source *rrd_add(struct rrd *r, const char *name, enum rrd_type type);
/* What one row is; outside the ring nothing happens. */
void rrd_set_row(struct rrd *r, struct rrd_source *s, enum rrd_cf cf, unsigned archive, int64_t row, double value);

/* The index of the last whole row at the time of the last update; row i ends at i x rrd_row_s(). */
int64_t rrd_last_row(const struct rrd *r, unsigned archive);
/* NaN outside the ring. */
double rrd_row(const struct rrd *r, const struct rrd_source *s, enum rrd_cf cf, unsigned archive, int64_t row);
/* The finest archive with rows of at least interval_s that reaches back to start_s, else the one that reaches farthest. */
unsigned rrd_pick(int64_t last_us, int64_t start_s, int64_t interval_s);

/* State as bytes for a file, and back. rrd_decode: NULL when the bytes are not a whole state of this form. */
void rrd_encode(const struct rrd *r, struct strbuf *out);
struct rrd *rrd_decode(const char *bytes, size_t len);

#endif
