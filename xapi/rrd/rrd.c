/* Data sources and archives: from readings to primary points to rows.
 * Called by: rrd_store.c, tests.  Calls: lib. */
#include "xapi/rrd/rrd.h"

#include "lib/limits.h"

#include <math.h>

#define US_PER_S INT64_C(1000000)
#define STEP_US (RRD_STEP_S * US_PER_S)
enum { CLOCK_BACK_S = 3600 };

const char *const rrd_type_name[] = { "GAUGE", "DERIVE", "ABSOLUTE" };
const char *const rrd_cf_name[] = { "AVERAGE", "MIN", "MAX" };
const struct rrd_archive rrd_archives[RRD_ARCHIVES] = { { 1, 120 }, { 12, 120 }, { 720, 168 }, { 17280, 366 } };

/* ---- memory ------------------------------------------------------------------------------------------------------ */

static size_t rows_per_cf(void)
{
    size_t n = 0;

    for (unsigned a = 0; a < RRD_ARCHIVES; a++) n += rrd_archives[a].rows;
    return n;
}

static float *ring(const struct rrd_source *s, unsigned cf, unsigned archive)
{
    float *at = s->rows + cf * rows_per_cf();

    for (unsigned a = 0; a < archive; a++) at += rrd_archives[a].rows;
    return at;
}

struct rrd *rrd_new(unsigned n_cfs, int64_t now_us)
{
    struct rrd *r = xcalloc(1, sizeof(*r));

    r->n_cfs = n_cfs;
    r->last_us = now_us;
    return r;
}

static void drop_history(struct rrd_source *s)
{
    free(s->rows);
    free(s->prep);
    s->rows = NULL;
    s->prep = NULL;
}

static void source_clear(struct rrd_source *s)
{
    drop_history(s);
    free(s->name);
}

void rrd_free(struct rrd *r)
{
    if (!r) return;
    for (size_t i = 0; i < r->n; i++) source_clear(&r->sources[i]);
    free(r->sources);
    free(r);
}

static void *duplicate(const void *p, size_t n)
{
    return memcpy(xmalloc(n), p, n);
}

struct rrd *rrd_copy(const struct rrd *r)
{
    struct rrd *copy = duplicate(r, sizeof(*r));

    copy->cap = r->n;
    copy->sources = r->n ? duplicate(r->sources, r->n * sizeof(*r->sources)) : NULL;
    for (size_t i = 0; i < r->n; i++) {
        struct rrd_source *s = &copy->sources[i];
        s->name = xstrdup(s->name);
        if (!s->enabled) continue;
        s->rows = duplicate(s->rows, r->n_cfs * rows_per_cf() * sizeof(*s->rows));
        s->prep = duplicate(s->prep, r->n_cfs * RRD_ARCHIVES * sizeof(*s->prep));
    }
    return copy;
}

/* ---- sources ----------------------------------------------------------------------------------------------------- */

/* Room for the rows of [from, to) consolidations: nothing is known up to now, neither of rows that ended nor of those
 * under way. */
static void begin_cfs(const struct rrd *r, struct rrd_source *s, unsigned from, unsigned to)
{
    int64_t point = r->last_us / STEP_US;
    size_t per_cf = rows_per_cf();

    s->rows = xrealloc(s->rows, to * per_cf * sizeof(*s->rows));
    s->prep = xrealloc(s->prep, to * RRD_ARCHIVES * sizeof(*s->prep));
    for (size_t i = from * per_cf; i < to * per_cf; i++) s->rows[i] = NAN;
    for (size_t i = from * RRD_ARCHIVES; i < to * RRD_ARCHIVES; i++)
        s->prep[i] = (struct rrd_prep){ .value = NAN, .unknown = (unsigned)(point % rrd_archives[i % RRD_ARCHIVES].pdp_per_row) };
}

void rrd_set_cfs(struct rrd *r, unsigned n_cfs)
{
    for (size_t i = 0; i < r->n; i++)
        if (r->sources[i].enabled && n_cfs != r->n_cfs) begin_cfs(r, &r->sources[i], r->n_cfs, n_cfs);
    r->n_cfs = n_cfs;
}

static void start_history(const struct rrd *r, struct rrd_source *s)
{
    begin_cfs(r, s, 0, r->n_cfs);
    s->pdp_value = 0;
    s->pdp_unknown_s = (double)(r->last_us % STEP_US) / (double)US_PER_S;
}

struct rrd_source *rrd_find(const struct rrd *r, const char *name)
{
    for (size_t i = 0; i < r->n; i++)
        if (streq(r->sources[i].name, name)) return &r->sources[i];
    return NULL;
}

void rrd_enable(struct rrd *r, struct rrd_source *s, bool enabled)
{
    if (s->enabled == enabled) return;
    s->enabled = enabled;
    if (enabled) start_history(r, s);
    else drop_history(s);
}

static struct rrd_source *add_source(struct rrd *r, const char *name)
{
    if (r->n == LIMIT_RRD_SOURCES || strlen(name) > RRD_NAME_MAX) return NULL;
    if (r->n == r->cap) {
        r->cap = r->cap ? 2 * r->cap : 16;
        r->sources = xrealloc(r->sources, r->cap * sizeof(*r->sources));
    }
    struct rrd_source *s = &r->sources[r->n++];
    *s = (struct rrd_source){ .name = xstrdup(name), .units = "", .description = "", .last = NAN, .current = NAN };
    rrd_enable(r, s, true);
    return s;
}

struct rrd_source *rrd_add(struct rrd *r, const char *name, enum rrd_type type)
{
    struct rrd_source *s = add_source(r, name);

    if (!s) return NULL;
    s->type = type;
    s->min = -INFINITY;
    s->max = INFINITY;
    s->seen_us = r->last_us;
    return s;
}

/* ---- consolidation ----------------------------------------------------------------------------------------------- */

static void accumulate(enum rrd_cf cf, struct rrd_prep *p, double value, unsigned n)
{
    if (isnan(value)) p->unknown += n;
    else if (isnan(p->value)) p->value = cf == RRD_AVERAGE ? value * n : value;
    else if (cf == RRD_AVERAGE) p->value += value * n;
    else if (cf == RRD_MIN) p->value = fmin(p->value, value);
    else p->value = fmax(p->value, value);
}

/* Half of a row's points may be missing. */
static double finish(enum rrd_cf cf, const struct rrd_prep *p, unsigned n)
{
    if (p->unknown * 2 > n || p->unknown >= n) return NAN;
    return cf == RRD_AVERAGE ? p->value / (n - p->unknown) : p->value;
}

/* n points of one value, the first of them the point number `point`, go into one archive. */
static void feed_archive(struct rrd_source *s, enum rrd_cf cf, unsigned archive, double value, int64_t point, int64_t n)
{
    const unsigned per_row = rrd_archives[archive].pdp_per_row, rows = rrd_archives[archive].rows;
    struct rrd_prep *p = &s->prep[cf * RRD_ARCHIVES + archive];
    float *slots = ring(s, cf, archive);
    int64_t lost = n / per_row - rows - 1;   /* rows that would be overwritten below */

    if (lost > 0) {
        point += lost * per_row;
        n -= lost * per_row;
    }
    while (n > 0) {
        unsigned in_row = (unsigned)(point % per_row);
        unsigned take = n < per_row - in_row ? (unsigned)n : per_row - in_row;
        if (!in_row) *p = (struct rrd_prep){ .value = NAN };
        accumulate(cf, p, value, take);
        point += take;
        n -= take;
        if (in_row + take == per_row) slots[point / per_row % rows] = (float)finish(cf, p, per_row);
    }
}

static void feed(const struct rrd *r, struct rrd_source *s, double value, int64_t point, int64_t n)
{
    for (unsigned cf = 0; cf < r->n_cfs; cf++)
        for (unsigned a = 0; a < RRD_ARCHIVES; a++) feed_archive(s, (enum rrd_cf)cf, a, value, point, n);
}

static void add_seconds(struct rrd_source *s, double value, int64_t us)
{
    double seconds = (double)us / (double)US_PER_S;

    if (isnan(value)) s->pdp_unknown_s += seconds;
    else s->pdp_value += value * seconds;
}

/* The source had this value from the last update until now. */
static void advance(const struct rrd *r, struct rrd_source *s, double value, int64_t now_us)
{
    int64_t first = r->last_us / STEP_US, last = now_us / STEP_US;

    if (first == last) {
        add_seconds(s, value, now_us - r->last_us);
        return;
    }
    add_seconds(s, value, (first + 1) * STEP_US - r->last_us);
    bool known = s->pdp_unknown_s * 2 <= RRD_STEP_S;
    feed(r, s, known ? s->pdp_value / (RRD_STEP_S - s->pdp_unknown_s) : NAN, first, 1);
    if (last > first + 1) feed(r, s, value, first + 1, last - first - 1);
    s->pdp_value = s->pdp_unknown_s = 0;
    add_seconds(s, value, now_us - last * STEP_US);
}

/* What a reading says about the time since the last one. */
static double value_of(const struct rrd_source *s, const struct rrd_sample *sample, int64_t now_us)
{
    double seconds = (double)(now_us - s->seen_us) / (double)US_PER_S, value = sample->value;

    if (sample->type != RRD_GAUGE && (!s->seen_us || seconds <= 0 || seconds > RRD_HEARTBEAT_S)) return NAN;
    if (sample->type == RRD_DERIVE) value = (value - s->last) / seconds;
    if (sample->type == RRD_ABSOLUTE) value /= seconds;
    if (!isfinite(value) || value < sample->min) return NAN;
    return value > sample->max ? sample->max : value;
}

static void take_reading(struct rrd_source *s, const struct rrd_sample *sample, int64_t now_us)
{
    s->current = value_of(s, sample, now_us);
    s->last = sample->value;
    s->type = sample->type;
    s->min = sample->min;
    s->max = sample->max;
    s->units = sample->units;
    s->description = sample->description;
    s->seen_us = now_us;
}

/* Samples come in the same order from one time to the next: looking begins behind the last one found. */
static struct rrd_source *match(struct rrd *r, const char *name, size_t *at)
{
    for (size_t i = 0; i < r->n; i++) {
        size_t k = (*at + i) % r->n;
        if (!streq(r->sources[k].name, name)) continue;
        *at = k + 1;
        return &r->sources[k];
    }
    return NULL;
}

static void forget_old(struct rrd *r, int64_t now_us)
{
    size_t kept = 0;

    for (size_t i = 0; i < r->n; i++) {
        if (now_us - r->sources[i].seen_us > RRD_FORGOTTEN_S * US_PER_S) source_clear(&r->sources[i]);
        else r->sources[kept++] = r->sources[i];
    }
    r->n = kept;
}

/* False: this moment is not taken. */
static bool clock_goes_on(struct rrd *r, int64_t now_us)
{
    if (now_us > r->last_us) return true;
    if (r->last_us - now_us <= CLOCK_BACK_S * US_PER_S) return false;
    for (size_t i = 0; i < r->n; i++) source_clear(&r->sources[i]);
    r->n = 0;
    r->last_us = now_us - 1;
    return true;
}

void rrd_update(struct rrd *r, int64_t now_us, const struct rrd_sample *samples, size_t n)
{
    size_t at = 0, old = r->n;

    if (now_us <= 0 || !clock_goes_on(r, now_us)) return;
    if (old > r->n) old = r->n;
    bool bridged = now_us - r->last_us <= RRD_HEARTBEAT_S * US_PER_S;
    /* 1. Known sources learn what they are now. */
    for (size_t i = 0; i < n; i++) {
        struct rrd_source *s = match(r, samples[i].name, &at);
        if (s) take_reading(s, &samples[i], now_us);
    }
    /* 2. The time that passed goes into the archives. */
    for (size_t i = 0; i < old; i++) {
        struct rrd_source *s = &r->sources[i];
        if (s->seen_us != now_us) s->current = NAN;
        if (s->enabled) advance(r, s, bridged ? s->current : NAN, now_us);
    }
    r->last_us = now_us;
    /* 3. New sources begin now. */
    at = 0;
    for (size_t i = 0; i < n; i++) {
        if (match(r, samples[i].name, &at)) continue;
        struct rrd_source *s = add_source(r, samples[i].name);
        if (s) take_reading(s, &samples[i], now_us);
    }
    forget_old(r, now_us);
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

int64_t rrd_last_row(const struct rrd *r, unsigned archive)
{
    return r->last_us / US_PER_S / rrd_row_s(archive);
}

double rrd_row(const struct rrd *r, const struct rrd_source *s, enum rrd_cf cf, unsigned archive, int64_t row)
{
    int64_t last = rrd_last_row(r, archive), rows = rrd_archives[archive].rows;

    if (!s->enabled || (unsigned)cf >= r->n_cfs || row > last || row <= last - rows || row < 0) return NAN;
    return (double)ring(s, cf, archive)[row % rows];
}

void rrd_set_row(struct rrd *r, struct rrd_source *s, enum rrd_cf cf, unsigned archive, int64_t row, double value)
{
    int64_t last = rrd_last_row(r, archive), rows = rrd_archives[archive].rows;

    if (!s->enabled || (unsigned)cf >= r->n_cfs || row > last || row <= last - rows || row < 0) return;
    ring(s, cf, archive)[row % rows] = (float)value;
}

unsigned rrd_pick(int64_t last_us, int64_t start_s, int64_t interval_s)
{
    enum { LATE_ROWS = 2 };   /* a client counts back from a time that has passed when we answer */
    unsigned a = 0;

    while (a + 1 < RRD_ARCHIVES && rrd_row_s(a) < interval_s) a++;
    for (; a + 1 < RRD_ARCHIVES; a++) {
        int64_t row_s = rrd_row_s(a), last = last_us / US_PER_S / row_s;
        if (start_s >= (last - rrd_archives[a].rows - LATE_ROWS) * row_s) break;
    }
    return a;
}

/* ---- state ------------------------------------------------------------------------------------------------------- */

/* The file is read by the machine that wrote it: numbers are in its own order, and a foreign one fails the checks. */
static const char state_magic[8] = "XRRD 01\n";

struct state_head {
    char magic[8];
    int64_t last_us;
    uint32_t n_cfs, n_sources, n_archives, rows;
};

struct state_source {
    uint32_t name_len, type, enabled, padding;
    double min, max, last, current, pdp_value, pdp_unknown_s;
    int64_t seen_us;
};

void rrd_encode(const struct rrd *r, struct strbuf *out)
{
    struct state_head head = { .last_us = r->last_us, .n_cfs = r->n_cfs, .n_sources = (uint32_t)r->n,
                               .n_archives = RRD_ARCHIVES, .rows = (uint32_t)rows_per_cf() };

    memcpy(head.magic, state_magic, sizeof(head.magic));
    strbuf_add(out, &head, sizeof(head));
    for (size_t i = 0; i < r->n; i++) {
        const struct rrd_source *s = &r->sources[i];
        struct state_source fixed = { .name_len = (uint32_t)strlen(s->name), .type = s->type, .enabled = s->enabled,
                                      .min = s->min, .max = s->max, .last = s->last, .current = s->current,
                                      .pdp_value = s->pdp_value, .pdp_unknown_s = s->pdp_unknown_s,
                                      .seen_us = s->seen_us };
        strbuf_add(out, &fixed, sizeof(fixed));
        strbuf_add(out, s->name, fixed.name_len);
        if (!s->enabled) continue;
        strbuf_add(out, s->prep, r->n_cfs * RRD_ARCHIVES * sizeof(*s->prep));
        strbuf_add(out, s->rows, r->n_cfs * rows_per_cf() * sizeof(*s->rows));
    }
}

struct reader {
    const char *p;
    size_t left;
};

static bool read_bytes(struct reader *in, void *to, size_t n)
{
    if (in->left < n) return false;
    memcpy(to, in->p, n);
    in->p += n;
    in->left -= n;
    return true;
}

static bool read_source(struct reader *in, struct rrd *r)
{
    struct state_source fixed;
    char name[RRD_NAME_MAX + 1] = "";

    if (!read_bytes(in, &fixed, sizeof(fixed)) || fixed.name_len > RRD_NAME_MAX || fixed.type > RRD_ABSOLUTE) return false;
    if (!read_bytes(in, name, fixed.name_len) || strlen(name) != fixed.name_len) return false;
    struct rrd_source *s = add_source(r, name);
    if (!s) return false;
    s->type = (enum rrd_type)fixed.type;
    s->min = fixed.min;
    s->max = fixed.max;
    s->last = fixed.last;
    s->current = fixed.current;
    s->seen_us = fixed.seen_us;
    rrd_enable(r, s, fixed.enabled);
    s->pdp_value = fixed.pdp_value;
    s->pdp_unknown_s = fixed.pdp_unknown_s;
    return !s->enabled || (read_bytes(in, s->prep, r->n_cfs * RRD_ARCHIVES * sizeof(*s->prep)) &&
                           read_bytes(in, s->rows, r->n_cfs * rows_per_cf() * sizeof(*s->rows)));
}

struct rrd *rrd_decode(const char *bytes, size_t len)
{
    struct reader in = { bytes, len };
    struct state_head head;

    if (!read_bytes(&in, &head, sizeof(head)) || memcmp(head.magic, state_magic, sizeof(head.magic)) || head.last_us <= 0 ||
        head.last_us / US_PER_S > RRD_LAST_S_MAX ||
        (head.n_cfs != 1 && head.n_cfs != RRD_CFS) || head.n_archives != RRD_ARCHIVES || head.rows != rows_per_cf())
        return NULL;
    struct rrd *r = rrd_new(head.n_cfs, head.last_us);
    bool good = true;
    for (uint32_t i = 0; good && i < head.n_sources; i++) good = read_source(&in, r);
    if (good && !in.left) return r;
    rrd_free(r);
    return NULL;
}
