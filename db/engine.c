/* Opening and closing, the two heads, group commit.
 * Called by: main.c (open, close), everyone (snapshots), transactions.  Calls: store, snap.
 *
 * Order of commit = order of publication. The pending head runs ahead of the durable one by the groups in
 * the queue; when a group fails, so does everything built on it, and the pending head falls back to the
 * durable one. */
#include "db/engine.h"

#include <assert.h>
#include <errno.h>
#include <time.h>

#define LOG_MODULE "db"
#include "lib/clock.h"
#include "lib/log.h"

enum { COMPANY = 4, COMPANY_NS = 2000000 };

/* ---- loading ---- */

/* Rows of one class as they come. */
struct batch {
    struct keyed *rows;
    size_t n, cap;
};

/* "self refers to a target", collected while rows are read; sorted by target. */
struct link { field_id back; struct ref self; };

struct loading {
    struct db *db;
    const struct load_hooks *hooks;
    struct snap *s;
    struct batch *batches;         /* by class */
    struct link *links;
    struct keyed *targets;         /* of each link; what: the link's place + 1 */
    size_t n, cap;
};

static void add_link(struct loading *l, field_id back, struct ref target, struct ref self)
{
    if (ref_is_null(target)) return;
    if (l->n == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 256;
        l->links = xrealloc(l->links, l->cap * sizeof(*l->links));
        l->targets = xrealloc(l->targets, l->cap * sizeof(*l->targets));
    }
    l->links[l->n] = (struct link){ back, self };
    l->targets[l->n] = (struct keyed){ target, (void *)(uintptr_t)(l->n + 1) };
    l->n++;
}

static void add_links(struct loading *l, const struct row *row, unsigned field)
{
    union cell c = row_cell(row, field);
    field_id back = row->kind->inverse[field];

    if (row->kind->cls->fields[field].cell == CELL_REF) {
        add_link(l, back, c.ref, row->leaf.key);
        return;
    }
    const struct refset *set = cell_refs(&c);
    for (size_t i = 0; i < set->n; i++) add_link(l, back, set->refs[i], row->leaf.key);
}

static int load_row(void *arg, struct row *row, struct xerr *err _unused_)
{
    struct loading *l = arg;
    struct batch *b = &l->batches[row->kind->cls->id];

    if (row->serial > l->db->next_serial) l->db->next_serial = row->serial;
    for (unsigned h = 0; h < row->kind->n_heap; h++) {
        unsigned field = row->kind->heap[h];
        row_put(row, field, intern_cell(&l->db->intern, row, field, row_cell(row, field)));
    }
    if (b->n == b->cap) {
        b->cap = b->cap ? b->cap * 2 : 64;
        b->rows = xrealloc(b->rows, b->cap * sizeof(*b->rows));
    }
    b->rows[b->n++] = (struct keyed){ row->leaf.key, row };
    return 0;
}

/* The first of its reference stays. */
static int drop_double(struct loading *l, struct row *row, struct xerr *err)
{
    int rc = 0;

    if (l->hooks->duplicate) {
        l->hooks->duplicate(l->hooks->arg, row);
        return 0;
    }
    if (!err->code)
        rc = xerr_internal(err, "the database has %s %s twice; run xapi --repair-db", row->kind->cls->name,
                           REF_STR(row->leaf.key));
    row_unref(row);
    return rc;
}

/* A class's rows become its table. The rows pass, also on failure. */
static int make_table(struct loading *l, unsigned cls, struct batch *b, struct xerr *err)
{
    size_t kept = 0;

    keyed_sort(b->rows, b->n);
    for (size_t i = 0; i < b->n; i++) {
        if (kept && ref_eq(b->rows[kept - 1].key, b->rows[i].key)) drop_double(l, b->rows[i].what, err);
        else b->rows[kept++] = b->rows[i];
    }
    b->n = 0;
    snap_fill_table(l->s, cls, b->rows, kept);
    for (size_t i = 0; i < kept; i++) {
        const struct row *row = b->rows[i].what;
        for (unsigned f = 0; f < row->kind->n_forward; f++) add_links(l, row, row->kind->forward[f]);
    }
    return err->code ? -1 : 0;
}

static int make_tables(struct loading *l, struct xerr *err)
{
    for (unsigned cls = 0; cls < l->db->kinds->n; cls++)
        if (l->batches[cls].n && make_table(l, cls, &l->batches[cls], err)) return -1;
    return 0;
}

static void loading_end(struct loading *l)
{
    for (unsigned cls = 0; cls < l->db->kinds->n; cls++) {
        for (size_t i = 0; i < l->batches[cls].n; i++) row_unref(l->batches[cls].rows[i].what);
        free(l->batches[cls].rows);
    }
    free(l->batches);
    free(l->links);
    free(l->targets);
    snap_unrefp(&l->s);
}

static void load_bad_cell(void *arg, const struct row *row, unsigned field, const char *why)
{
    struct loading *l = arg;

    l->hooks->bad_cell(l->hooks->arg, row, field, why);
}

static void load_tomb(void *arg, const struct tomb *tomb)
{
    struct loading *l = arg;

    snap_add_tomb(l->s, tomb);
}

static const struct link *link_at(const struct loading *l, size_t i)
{
    return &l->links[(uintptr_t)l->targets[i].what - 1];
}

/* One field of one object: those of the links from..to that feed it. Moves the others to the front and
 * returns how many. */
static size_t give_back(struct loading *l, size_t from, size_t to, struct ref *members)
{
    field_id back = link_at(l, from)->back;
    size_t n = 0, left = from;

    for (size_t i = from; i < to; i++) {
        if (link_at(l, i)->back == back) members[n++] = link_at(l, i)->self;
        else l->targets[left++] = l->targets[i];
    }
    struct row *row = snap_get_row(l->s, field_class(back), l->targets[from].key);
    if (row) row_replace(row, field_index(back), cell_set(members, n));
    return left - from;
}

/* Back-references are not stored: each target gets the set of those who refer to it. */
static void build_back_references(struct loading *l)
{
    struct ref *members = xmalloc(l->n * sizeof(*members));

    keyed_sort(l->targets, l->n);
    for (size_t i = 0, to; i < l->n; i = to) {
        for (to = i + 1; to < l->n && ref_eq(l->targets[to].key, l->targets[i].key); to++) continue;
        for (size_t left = to - i; left;) left = give_back(l, i, i + left, members);
    }
    free(members);
}

/* Every row stands at the start of this boot's epoch: older tokens see it, this boot's do not. */
static void stamp_rows(struct snap *s)
{
    for (unsigned cls = 0; cls < s->kinds->n; cls++)
        SNAP_EACH(s, (enum class_id)cls, row)
            atomic_store_explicit(&((struct row *)row)->stamp, s->token.stamp, memory_order_relaxed);
}

static void set_tomb_floor(struct snap *s, uint64_t floor)
{
    if (!floor) return;
    snap_reserve_tombs(s);
    if (s->tombs->floor < floor) s->tombs->floor = floor;
}

static int load(struct db *db, const struct load_hooks *hooks, bool raise_epoch, struct xerr *err)
{
    struct loading l = {
        .db = db, .hooks = hooks, .s = snap_new_empty(db->kinds, &db->live_snaps),
        .batches = xcalloc(db->kinds->n, sizeof(struct batch)),
    };
    const struct store_sink sink = {
        .arg = &l, .row = load_row, .tomb = load_tomb, .bad_cell = load_bad_cell
    };
    struct store_state state = { 0, 0 };
    uint64_t epoch = 0;
    int rc = -1;

    if (db->store->ops->load(db->store, db->kinds, &sink, &state, err) || make_tables(&l, err)) goto out;
    if (raise_epoch && db->store->ops->raise_epoch(db->store, &epoch, err)) goto out;
    l.s->token = (struct token){ state.revision, epoch << EPOCH_SHIFT };
    set_tomb_floor(l.s, state.tomb_floor);
    build_back_references(&l);
    stamp_rows(l.s);
    db->pending = snap_ref(l.s);
    db->durable = take_ptr(l.s);
    rc = 0;
out:
    loading_end(&l);
    return rc;
}

/* ---- life ---- */

int engine_open(struct store *store, const struct load_hooks *hooks, bool raise_epoch, struct db **ret_db,
                struct xerr *err)
{
    struct db *db = xcalloc(1, sizeof(*db));

    db->store = store;
    pthread_mutex_init(&db->writer, NULL);
    pthread_mutex_init(&db->commit, NULL);
    pthread_mutex_init(&db->head, NULL);
    if (kinds_new(&db->kinds, err) || load(db, hooks, raise_epoch, err)) {
        engine_close(db);
        return -1;
    }
    *ret_db = db;
    return 0;
}

void engine_close(struct db *db)
{
    assert(!db->first);
    snap_unrefp(&db->pending);
    snap_unrefp(&db->durable);
    assert(
        !atomic_load_explicit(&db->live_snaps, memory_order_acquire)); /* a snapshot outlived its database */
    intern_clear(&db->intern);
    kinds_free(db->kinds);
    pthread_mutex_destroy(&db->writer);
    pthread_mutex_destroy(&db->commit);
    pthread_mutex_destroy(&db->head);
    free(db);
}

static void log_bad_cell(void *arg _unused_, const struct row *row, unsigned field, const char *why)
{
    log_warn("%s %s: field %s has its default: %s", row->kind->cls->name, REF_STR(row->leaf.key),
             row->kind->cls->fields[field].name, why);
}

int db_open(struct store *store, struct db **ret_db, struct xerr *err)
{
    const struct load_hooks hooks = { .bad_cell = log_bad_cell };

    if (engine_open(store, &hooks, true, ret_db, err) == 0) return 0;
    store_close(store);
    return -1;
}

void db_close(struct db *db)
{
    if (!db) return;
    struct store *store = db->store;
    engine_close(db);
    store_close(store);
}

void db_fill_bits(struct db *db, field_id f, fill_fn fn, void *arg)
{
    const struct snap *s = db->durable;

    assert(!db->next_txn && model_field(f)->cell == CELL_BITS && !model_field(f)->persistent);
    SNAP_EACH(s, (enum class_id)field_class(f), row)
        row_put((struct row *)(uintptr_t)row, field_index(f), (union cell){ .bits = fn(arg, s, row) });
}

struct snap *db_snap(struct db *db)
{
    pthread_mutex_lock(&db->head);
    struct snap *s = snap_ref(db->durable);
    pthread_mutex_unlock(&db->head);
    return s;
}

void db_on_publish(struct db *db, publish_fn fn, void *arg)
{
    atomic_store_explicit(&db->publish_arg, arg, memory_order_relaxed);
    atomic_store_explicit(&db->publish, fn, memory_order_release);
}

void db_on_wait(struct db *db, wait_fn fn, void *arg)
{
    atomic_store_explicit(&db->wait_arg, arg, memory_order_relaxed);
    atomic_store_explicit(&db->wait, fn, memory_order_release);
}

static void tell_wait(struct db *db, bool waits)
{
    wait_fn fn = atomic_load_explicit(&db->wait, memory_order_acquire);

    if (fn) fn(atomic_load_explicit(&db->wait_arg, memory_order_relaxed), waits);
}

uint64_t db_failures(const struct db *db) { return atomic_load(&((struct db *)(uintptr_t)db)->failures); }

/* ---- groups ---- */

static struct group *group_new(void)
{
    struct group *g = xcalloc(1, sizeof(*g));
    pthread_condattr_t attr;

    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&g->turn, &attr);
    pthread_condattr_destroy(&attr);
    return g;
}

static void group_free(struct group *g)
{
    snap_unrefp(&g->head);
    xerr_clear(&g->why);
    pthread_cond_destroy(&g->turn);
    free(g->touches);
    free(g);
}

/* Lock: commit. */
static struct group *group_to_join(struct db *db, const struct txn *t)
{
    struct group *g = db->last;

    if (g && !g->closed && g->n + t->n <= GROUP_OPS && g->bytes + t->bytes <= GROUP_BYTES) return g;
    if (g && g->awaits_company) {
        g->awaits_company = false;     /* it is full */
        pthread_cond_signal(&g->turn);
    }
    g = group_new();
    if (db->last) db->last->next = g;
    else db->first = g;
    return db->last = g;
}

/* Lock: writer, commit. The first has no seat. */
static void group_join(struct group *g, struct txn *t, struct seat *seat)
{
    if (!g->n) {
        g->touches = take_ptr(t->touches);
        g->cap = t->cap;
    } else if (t->n) {
        if (g->n + t->n > g->cap) {
            g->cap = g->n + t->n > GROUP_OPS ? g->n + t->n : GROUP_OPS;
            g->touches = xrealloc(g->touches, g->cap * sizeof(*g->touches));
        }
        memcpy(g->touches + g->n, t->touches, t->n * sizeof(*t->touches));
    }
    g->n += t->n;
    g->bytes += t->bytes;
    if (seat) {
        seat->next = g->seats;
        g->seats = seat;
    }
    if (g->members++ == 0) {
        g->awaits_company = t->awaits_company;
    } else if (g->awaits_company && (!t->awaits_company || g->members == COMPANY)) {
        g->awaits_company = false;
        pthread_cond_signal(&g->turn);
    }
    snap_unrefp(&g->head);
    g->head = snap_ref(t->work);
    snap_unref(t->db->pending);
    t->db->pending = take_ptr(t->work);
}

static int touch_order(const void *a, const void *b)
{
    const struct touch *x = a, *y = b;

    return x->cls != y->cls ? (x->cls < y->cls ? -1 : 1) : ref_cmp(x->ref, y->ref);
}

/* One entry a row, with all the fields that the group's transactions set. */
static void merge_touches(struct group *g)
{
    size_t kept = 0;

    if (g->n < 2) return;
    qsort(g->touches, g->n, sizeof(*g->touches), touch_order);
    for (size_t i = 1; i < g->n; i++) {
        struct touch *last = &g->touches[kept], *next = &g->touches[i];
        if (touch_order(last, next)) {
            g->touches[++kept] = *next;
            continue;
        }
        for (size_t w = 0; w < ARRAY_SIZE(last->fields.words); w++)
            last->fields.words[w] |= next->fields.words[w];
    }
    g->n = kept + 1;
}

/* What the group means to the store. A row that was destroyed and made anew is two changes. */
static size_t store_changes(const struct group *g, const struct snap *old, struct store_change *changes)
{
    size_t n = 0;

    for (size_t i = 0; i < g->n; i++) {
        const struct touch *t = &g->touches[i];
        const struct row *was = snap_get_row(old, t->cls, t->ref),
                         *is = snap_get_row(g->head, t->cls, t->ref);
        bool same = was && is && was->serial == is->serial;
        if (!kind_is_stored(&old->kinds->kinds[t->cls])) continue;
        if (was && !same) changes[n++] = (struct store_change){ .op = STORE_DELETE, .row = was };
        if (is && !same) changes[n++] = (struct store_change){ .op = STORE_INSERT, .row = is };
        if (same && !field_set_empty(&t->fields))
            changes[n++] =
                (struct store_change){ .op = STORE_UPDATE, .row = is, .was = was, .fields = &t->fields };
    }
    return n;
}

static int group_store(struct db *db, const struct group *g, uint64_t *ret_revision, struct xerr *err)
{
    const struct snap *old = db->durable;
    struct store_change few[8],
        *changes = g->n * 2 <= ARRAY_SIZE(few) ? few : xcalloc(g->n * 2, sizeof(*changes));
    size_t n = store_changes(g, old, changes);
    uint64_t revision = old->token.revision;
    int rc = 0;

    if (n) {
        rc =
            db->store->ops->commit(db->store, changes, n, old->tombs ? old->tombs->floor : 0, &revision, err);
        assert(rc || revision > old->token.revision);
    }
    if (changes != few) free(changes);
    if (rc == 0) *ret_revision = revision;
    return rc;
}

/* Gives the group's rows their place in the stream and makes its root the durable head. */
static void group_publish(struct db *db, struct group *g, uint64_t revision)
{
    struct snap *old = db->durable, *s = g->head;
    uint64_t stamp = old->token.stamp + 1;

    snap_take_stamps(s, old);
    snap_take_tombs(s, old);
    for (size_t i = 0; i < g->n; i++) {
        const struct touch *t = &g->touches[i];
        const struct row *was = snap_get_row(old, t->cls, t->ref);
        struct row *is = snap_get_row(s, t->cls, t->ref);
        if (was) {
            uint64_t before = atomic_load_explicit(&was->stamp, memory_order_relaxed);
            snap_drop_stamp(s, (struct ref){ before, was->serial });
        }
        if (is) {
            bool stored = !was || was->serial != is->serial || !field_set_empty(&t->fields);
            is->created = was ? was->created : revision;
            is->revision = stored ? revision : was->revision;
            atomic_store_explicit(&is->stamp, stamp, memory_order_release);
            snap_add_stamp(s, (struct ref){ stamp, is->serial }, t->cls, t->ref);
        } else if (was && was->kind->cls->evented) {
            snap_add_tomb(s, &(struct tomb){ revision, was->created, t->ref, t->cls });
        }
    }
    s->token = (struct token){ revision, stamp };
    pthread_mutex_lock(&db->head);
    db->durable = snap_ref(s);
    pthread_mutex_unlock(&db->head);
    snap_unref(old);
}

static void group_announce(struct db *db, const struct group *g)
{
    publish_fn fn = atomic_load_explicit(&db->publish, memory_order_acquire);

    if (!fn) return;
    struct touched few[16], *rows = g->n <= ARRAY_SIZE(few) ? few : xcalloc(g->n, sizeof(*rows));
    for (size_t i = 0; i < g->n; i++)
        rows[i] = (struct touched){ (enum class_id)g->touches[i].cls, g->touches[i].ref };
    fn(atomic_load_explicit(&db->publish_arg, memory_order_relaxed), rows, g->n);
    if (rows != few) free(rows);
}

/* Lock: commit. */
static void group_end(struct group *g, const struct xerr *why)
{
    if (why) {
        xerr_set_dynamic(&g->why, why->code, why->n, (const char *const *)why->params);
        g->failed = true;
    }
    g->closed = g->done = true;
    pthread_cond_signal(&g->turn);
}

/* The group is done: its leader tells the others. */
static void group_tell(struct group *g)
{
    for (struct seat *seat = g->seats, *next; seat; seat = next) {
        next = seat->next;
        sem_post(&seat->end);
    }
}

/* Members leave in any order. */
static void group_leave(struct group *g)
{
    if (atomic_fetch_sub(&g->members, 1) == 1) group_free(g);
}

/* The store refused a group: it and all that was built on it are gone. */
static void fail_queue(struct db *db, const struct xerr *why)
{
    atomic_fetch_add(&db->failures, 1);
    /* Under the writer lock no transaction is open, so that none can still join what failed. */
    pthread_mutex_lock(&db->writer);
    pthread_mutex_lock(&db->commit);
    for (struct group *g = db->first, *next; g; g = next) {
        next = g->next;
        group_end(g, why);
    }
    db->first = db->last = NULL;
    snap_unref(db->pending);
    db->pending = db_snap(db);
    pthread_mutex_unlock(&db->commit);
    pthread_mutex_unlock(&db->writer);
}

/* Lock: commit. */
static void await_company(struct db *db, struct group *g)
{
    int64_t until_ns = clock_monotonic_ns() + COMPANY_NS;
    const struct timespec until = { .tv_sec = until_ns / NS_PER_S, .tv_nsec = until_ns % NS_PER_S };

    while (g->awaits_company && pthread_cond_timedwait(&g->turn, &db->commit, &until) != ETIMEDOUT) {}
}

/* Lock: commit on entry and return, not in between. */
static void lead(struct db *db, struct group *g)
{
    _cleanup_xerr_ struct xerr why = XERR_INIT;
    uint64_t revision = 0;

    while (db->first != g && !g->done) pthread_cond_wait(&g->turn, &db->commit);
    if (g->awaits_company) await_company(db, g);
    if (g->done) return;
    g->closed = true;
    pthread_mutex_unlock(&db->commit);

    merge_touches(g);
    int rc = group_store(db, g, &revision, &why);
    if (rc == 0) {
        group_publish(db, g, revision);
        group_announce(db, g);
    } else {
        fail_queue(db, &why);
    }

    pthread_mutex_lock(&db->commit);
    if (rc) return;
    db->first = g->next;
    if (!db->first) db->last = NULL;
    else pthread_cond_signal(&db->first->turn);
    group_end(g, NULL);
}

int engine_commit(struct txn *t, struct xerr *err)
{
    struct db *db = t->db;
    int rc = 0;

    /* What changed nothing still waits for what it has read. */
    pthread_mutex_lock(&db->commit);
    if (!t->n && !db->first) {
        pthread_mutex_unlock(&db->commit);
        pthread_mutex_unlock(&db->writer);
        return 0;
    }
    struct group *g = group_to_join(db, t);
    bool leader = g->members == 0;
    struct seat seat;
    if (!leader) sem_init(&seat.end, 0, 0);
    group_join(g, t, leader ? NULL : &seat);
    pthread_mutex_unlock(&db->writer);
    pthread_mutex_unlock(&db->commit);
    tell_wait(db, true);

    if (leader) {
        pthread_mutex_lock(&db->commit);
        lead(db, g);
        pthread_mutex_unlock(&db->commit);
        group_tell(g);
    } else {
        while (sem_wait(&seat.end)) {}
        sem_destroy(&seat.end);
    }
    if (g->failed) rc = xerr_set_dynamic(err, g->why.code, g->why.n, (const char *const *)g->why.params);
    tell_wait(db, false);
    group_leave(g);
    return rc;
}
