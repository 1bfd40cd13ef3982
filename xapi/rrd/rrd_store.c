/* All objects' metrics: the map of those that are fed, and their files.
 * Called by: jobs/metrics.c, http/metrics.c, data_source.c.  Calls: rrd.c. */
#include "xapi/rrd/rrd_store.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>

#define LOG_MODULE "rrd"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/map.h"

#define US_PER_S INT64_C(1000000)
enum { SAVE_EVERY_S = 300, IDLE_S = 60, FILE_MAX = 64 << 20 };

const char *const rrd_kind_name[] = { "host", "vm", "sr" };

struct entry {
    enum rrd_kind kind;
    char uuid[UUID_TEXT];
    struct rrd *rrd;               /* lock */
    int64_t saved_us;              /* only the one who feeds */
};

struct rrd_store {
    pthread_mutex_t lock;
    char *folder;
    unsigned n_cfs;
    size_t n, cap;                 /* lock */
    struct entry **entries;        /* lock; in the order in which they came */
    struct map *index;             /* lock: "vm-<uuid>" -> entry */
    unsigned asked, flushed;       /* lock: how often everything was to be written, and was */
    pthread_cond_t done;           /* with lock: flushed has grown */
};

/* ---- life -------------------------------------------------------------------------------------------------------- */

struct rrd_store *rrd_store_new(const char *folder, bool min_max)
{
    struct rrd_store *st = xcalloc(1, sizeof(*st));

    pthread_condattr_t monotonic;

    pthread_mutex_init(&st->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&st->done, &monotonic);
    pthread_condattr_destroy(&monotonic);
    st->folder = xstrdup(folder);
    st->n_cfs = min_max ? RRD_CFS : 1;
    st->index = map_new();
    if (make_dirs(folder, 0700)) log_error("%s: %s", folder, strerror(errno));
    return st;
}

static void entry_free(struct entry *e)
{
    rrd_free(e->rrd);
    free(e);
}

void rrd_store_free(struct rrd_store *st)
{
    if (!st) return;
    for (size_t i = 0; i < st->n; i++) entry_free(st->entries[i]);
    free(st->entries);
    map_free(st->index);
    free(st->folder);
    pthread_cond_destroy(&st->done);
    pthread_mutex_destroy(&st->lock);
    free(st);
}

enum { KEY_TEXT = 8 + UUID_TEXT };

/* "vm-<uuid>": key of the map and name of the file. False when uuid is none. */
static bool make_key(enum rrd_kind kind, const char *uuid, char ret_key[KEY_TEXT])
{
    struct ref bytes;
    char text[UUID_TEXT];

    if (!uuid_from_text(uuid, &bytes)) return false;
    snprintf(ret_key, KEY_TEXT, "%s-%s", rrd_kind_name[kind], uuid_to_text(bytes, text));
    return true;
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

static struct rrd *load(const struct rrd_store *st, const char *key)
{
    _cleanup_free_ char *path = xasprintf("%s/%s", st->folder, key), *bytes = NULL;
    size_t len;

    if (read_file(path, FILE_MAX, &bytes, &len)) {
        if (errno != ENOENT) log_warn("%s: %s", path, strerror(errno));
        return NULL;
    }
    struct rrd *r = rrd_decode(bytes, len);
    if (r) rrd_set_cfs(r, st->n_cfs);
    else log_warn("%s: no metrics in a form that we know; history begins anew", path);
    return r;
}

/* The bytes are made under the lock, written without. */
static void save(struct rrd_store *st, const struct entry *e)
{
    _cleanup_strbuf_ struct strbuf bytes = STRBUF_INIT;
    _cleanup_free_ char *path = xasprintf("%s/%s-%s", st->folder, rrd_kind_name[e->kind], e->uuid);

    pthread_mutex_lock(&st->lock);
    rrd_encode(e->rrd, &bytes);
    pthread_mutex_unlock(&st->lock);
    if (write_file_atomic(path, bytes.ptr, bytes.len, 0600)) log_error("%s: %s", path, strerror(errno));
}

/* ---- feeding ----------------------------------------------------------------------------------------------------- */

static struct entry *find(struct rrd_store *st, const char *key)
{
    pthread_mutex_lock(&st->lock);
    struct entry *e = map_get(st->index, key);
    pthread_mutex_unlock(&st->lock);
    return e;
}

static struct entry *add(struct rrd_store *st, enum rrd_kind kind, const char *key, int64_t now_us)
{
    struct entry *e = xcalloc(1, sizeof(*e));

    e->kind = kind;
    memcpy(e->uuid, strchr(key, '-') + 1, sizeof(e->uuid));
    e->rrd = load(st, key);
    if (!e->rrd) e->rrd = rrd_new(st->n_cfs, now_us - 1);
    e->saved_us = now_us;
    pthread_mutex_lock(&st->lock);
    if (st->n == st->cap) {
        st->cap = st->cap ? 2 * st->cap : 16;
        st->entries = xrealloc(st->entries, st->cap * sizeof(struct entry *));
    }
    st->entries[st->n++] = e;
    map_put(st->index, key, e);
    pthread_mutex_unlock(&st->lock);
    return e;
}

void rrd_store_feed(struct rrd_store *st, enum rrd_kind kind, const char *uuid, int64_t now_us,
                    const struct rrd_sample *samples, size_t n)
{
    char key[KEY_TEXT];

    if (!make_key(kind, uuid, key)) return;
    struct entry *e = find(st, key);
    if (!e) e = add(st, kind, key, now_us);
    pthread_mutex_lock(&st->lock);
    rrd_update(e->rrd, now_us, samples, n);
    pthread_mutex_unlock(&st->lock);
}

static void leave(struct rrd_store *st, size_t i)
{
    struct entry *e = st->entries[i];
    char key[KEY_TEXT];

    pthread_mutex_lock(&st->lock);
    st->entries[i] = st->entries[--st->n];
    if (make_key(e->kind, e->uuid, key)) map_remove(st->index, key);
    pthread_mutex_unlock(&st->lock);
    entry_free(e);
}

void rrd_store_save(struct rrd_store *st)
{
    for (size_t i = 0; i < st->n; i++) save(st, st->entries[i]);
}

static void save_if_asked(struct rrd_store *st)
{
    pthread_mutex_lock(&st->lock);
    unsigned asked = st->asked;
    bool wanted = asked != st->flushed;
    pthread_mutex_unlock(&st->lock);
    if (!wanted) return;
    rrd_store_save(st);
    pthread_mutex_lock(&st->lock);
    st->flushed = asked;
    pthread_cond_broadcast(&st->done);
    pthread_mutex_unlock(&st->lock);
}

bool rrd_store_flush(struct rrd_store *st, int timeout_ms, bool (*stop)(void *arg), void *arg)
{
    enum { LOOK_MS = 200 };
    int64_t deadline_ns = clock_monotonic_ns() + timeout_ms * NS_PER_MS;

    pthread_mutex_lock(&st->lock);
    unsigned ticket = ++st->asked;
    bool done, given_up = false;
    while (!(done = (int)(st->flushed - ticket) >= 0) && clock_monotonic_ns() < deadline_ns && !given_up) {
        int64_t until_ns = clock_monotonic_ns() + LOOK_MS * NS_PER_MS;
        struct timespec until = { until_ns / NS_PER_S, until_ns % NS_PER_S };
        pthread_cond_timedwait(&st->done, &st->lock, &until);
        given_up = stop(arg);
    }
    pthread_mutex_unlock(&st->lock);
    return done;
}

void rrd_store_put(struct rrd_store *st, enum rrd_kind kind, const char *uuid, struct rrd *r)
{
    struct entry e = { .kind = kind, .rrd = r };
    char key[KEY_TEXT];

    if (!make_key(kind, uuid, key)) {
        rrd_free(r);
        return;
    }
    memcpy(e.uuid, strchr(key, '-') + 1, sizeof(e.uuid));
    save(st, &e);   /* whoever reads the file from here on has it */
    pthread_mutex_lock(&st->lock);
    struct entry *fed = map_get(st->index, key);
    if (fed) {
        struct rrd *old = fed->rrd;
        fed->rrd = r;
        r = old;
    }
    pthread_mutex_unlock(&st->lock);
    rrd_free(r);
}

unsigned rrd_store_cfs(const struct rrd_store *st) { return st->n_cfs; }

static int64_t last_update(struct rrd_store *st, const struct entry *e)
{
    pthread_mutex_lock(&st->lock);
    int64_t last_us = e->rrd->last_us;
    pthread_mutex_unlock(&st->lock);
    return last_us;
}

/* A share a round, so that a thousand objects are not a thousand files at once. */
void rrd_store_settle(struct rrd_store *st, int64_t now_us)
{
    size_t share = st->n / (SAVE_EVERY_S / RRD_STEP_S) + 1;

    save_if_asked(st);

    for (size_t i = st->n; i-- > 0;) {
        struct entry *e = st->entries[i];
        bool idle = now_us - last_update(st, e) > IDLE_S * US_PER_S;
        bool due = now_us - e->saved_us >= SAVE_EVERY_S * US_PER_S || e->saved_us > now_us;
        if (!idle && (!due || !share)) continue;
        save(st, e);
        e->saved_us = now_us;
        if (share) share--;
        if (idle) leave(st, i);
    }
}

/* Which object a file's name means. */
static bool split_key(const char *key, enum rrd_kind *ret_kind, const char **ret_uuid)
{
    struct ref bytes;

    for (int k = 0; k < RRD_KINDS; k++) {
        size_t n = strlen(rrd_kind_name[k]);
        if (strncmp(key, rrd_kind_name[k], n) || key[n] != '-' || !uuid_from_text(key + n + 1, &bytes)) continue;
        *ret_kind = (enum rrd_kind)k;
        *ret_uuid = key + n + 1;
        return true;
    }
    return false;
}

void rrd_store_prune(struct rrd_store *st, bool (*wanted)(void *arg, enum rrd_kind kind, const char *uuid), void *arg)
{
    for (size_t i = st->n; i-- > 0;)
        if (!wanted(arg, st->entries[i]->kind, st->entries[i]->uuid)) leave(st, i);
    DIR *d = opendir(st->folder);
    if (!d) return;
    for (struct dirent *entry; (entry = readdir(d));) {
        enum rrd_kind kind;
        const char *uuid;
        if (entry->d_name[0] == '.' || (split_key(entry->d_name, &kind, &uuid) && wanted(arg, kind, uuid))) continue;
        if (unlinkat(dirfd(d), entry->d_name, 0)) log_warn("%s/%s: %s", st->folder, entry->d_name, strerror(errno));
    }
    closedir(d);
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

struct rrd *rrd_store_get(struct rrd_store *st, enum rrd_kind kind, const char *uuid)
{
    char key[KEY_TEXT];

    if (!make_key(kind, uuid, key)) return NULL;
    pthread_mutex_lock(&st->lock);
    const struct entry *e = map_get(st->index, key);
    struct rrd *copy = e ? rrd_copy(e->rrd) : NULL;
    pthread_mutex_unlock(&st->lock);
    return copy ? copy : load(st, key);
}

int rrd_store_enable(struct rrd_store *st, enum rrd_kind kind, const char *uuid, const char *source, bool enabled)
{
    char key[KEY_TEXT];

    if (!make_key(kind, uuid, key)) return -1;
    pthread_mutex_lock(&st->lock);
    struct entry *e = map_get(st->index, key);
    struct rrd_source *s = e ? rrd_find(e->rrd, source) : NULL;
    if (s) rrd_enable(e->rrd, s, enabled);
    pthread_mutex_unlock(&st->lock);
    return s ? 0 : -1;
}

static bool chosen(const struct rrd_choice *c, const char *uuid)
{
    if (c->all) return true;
    for (size_t i = 0; i < c->n; i++)
        if (!strcasecmp(c->uuids[i], uuid)) return true;
    return false;
}

static void add_column(const struct entry *e, const struct rrd_source *s, enum rrd_cf cf, unsigned archive, int64_t newest,
                       struct arena *a, struct rrd_table *t)
{
    float *values = t->values + t->columns * t->rows;

    for (size_t i = 0; i < t->rows; i++) values[i] = (float)rrd_row(e->rrd, s, cf, archive, newest - (int64_t)i);
    t->legend[t->columns++] =
        arena_printf(a, "%s:%s:%s:%s", rrd_cf_name[cf], rrd_kind_name[e->kind], e->uuid, s->name);
}

/* How many columns there can be, and the newest update among the chosen. */
static size_t survey(const struct rrd_store *st, const struct rrd_query *q, int64_t *ret_last_us)
{
    size_t columns = 0;

    *ret_last_us = 0;
    for (size_t i = 0; i < st->n; i++) {
        const struct entry *e = st->entries[i];
        if (!chosen(&q->choice[e->kind], e->uuid)) continue;
        columns += e->rrd->n * (q->all_cfs ? e->rrd->n_cfs : 1);
        if (e->rrd->last_us > *ret_last_us) *ret_last_us = e->rrd->last_us;
    }
    return columns;
}

static void add_object(const struct entry *e, const struct rrd_query *q, unsigned archive, int64_t newest, struct arena *a,
                       struct rrd_table *t)
{
    for (unsigned cf = 0; cf < e->rrd->n_cfs; cf++) {
        if (!q->all_cfs && cf != (unsigned)q->cf) continue;
        for (size_t k = 0; k < e->rrd->n; k++)
            if (e->rrd->sources[k].enabled) add_column(e, &e->rrd->sources[k], (enum rrd_cf)cf, archive, newest, a, t);
    }
}

void rrd_store_query(struct rrd_store *st, const struct rrd_query *q, struct arena *a, struct rrd_table *ret_table)
{
    struct rrd_table t = { 0 };
    int64_t last_us;

    pthread_mutex_lock(&st->lock);
    size_t columns = survey(st, q, &last_us);
    unsigned archive = rrd_pick(last_us, q->start_s, q->interval_s);
    t.step_s = rrd_row_s(archive);
    int64_t newest = last_us / US_PER_S / t.step_s, oldest = newest - rrd_archives[archive].rows + 1;
    int64_t after = q->start_s < 0 ? 0 : q->start_s / t.step_s;
    if (oldest <= after) oldest = after + 1;
    t.rows = oldest > newest ? 0 : (size_t)(newest - oldest + 1);
    t.end_s = newest * t.step_s;
    t.start_s = t.rows ? oldest * t.step_s : t.end_s;
    t.legend = arena_new_array(a, const char *, columns + 1);
    t.values = arena_alloc(a, (columns * t.rows + 1) * sizeof(*t.values));
    for (int kind = 0; kind < RRD_KINDS; kind++)
        for (size_t i = 0; i < st->n; i++)
            if ((int)st->entries[i]->kind == kind && chosen(&q->choice[kind], st->entries[i]->uuid))
                add_object(st->entries[i], q, archive, newest, a, &t);
    pthread_mutex_unlock(&st->lock);
    *ret_table = t;
}

size_t rrd_store_values(struct rrd_store *st, struct arena *a, struct rrd_value **ret_values)
{
    size_t n = 0, max = 0;

    pthread_mutex_lock(&st->lock);
    for (size_t i = 0; i < st->n; i++) max += st->entries[i]->rrd->n;
    struct rrd_value *values = arena_new_array(a, struct rrd_value, max + 1);
    for (size_t i = 0; i < st->n; i++) {
        const struct entry *e = st->entries[i];
        const char *uuid = arena_strdup(a, e->uuid);
        for (size_t k = 0; k < e->rrd->n; k++) {
            const struct rrd_source *s = &e->rrd->sources[k];
            if (!isnan(s->current))
                values[n++] = (struct rrd_value){ e->kind, uuid, arena_strdup(a, s->name), s->description, s->current };
        }
    }
    pthread_mutex_unlock(&st->lock);
    *ret_values = values;
    return n;
}
