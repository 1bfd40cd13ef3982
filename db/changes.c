/* The stream of changes: tokens, and what changed after one.
 * Called by: events (through db.h).  Calls: snap.
 *
 * Within one boot epoch the stamp orders everything, volatile or not. A token of an older epoch is
 * compared by store revision, and every row that has volatile fields counts as changed. */
#include "db/snap.h"

#include "gen/errors.h"

#include <stdio.h>

const char *token_text(struct token t, char buf[TOKEN_TEXT])
{
    snprintf(buf, TOKEN_TEXT, "%020llu,%020llu", (unsigned long long)t.revision, (unsigned long long)t.stamp);
    return buf;
}

/* 1 to 20 digits that fit; the place behind them, or NULL. */
static const char *parse_number(const char *s, uint64_t *ret_number)
{
    const char *from = s;
    uint64_t n = 0;

    for (; *s >= '0' && *s <= '9'; s++)
        if (s - from >= 20 || __builtin_mul_overflow(n, 10u, &n) ||
            __builtin_add_overflow(n, (unsigned)(*s - '0'), &n))
            return NULL;
    *ret_number = n;
    return s > from ? s : NULL;
}

bool token_parse(const char *s, struct token *ret_token)
{
    struct token t = { 0, 0 };

    if (*s) {
        s = parse_number(s, &t.revision);
        if (!s || *s++ != ',') return false;
        s = parse_number(s, &t.stamp);
        if (!s || *s) return false;
    }
    *ret_token = t;
    return true;
}

struct token snap_token(const struct snap *s)
{
    return s->token;
}

struct walk {
    const struct snap *s;
    struct token since;
    const bool *wanted;
    change_fn fn;
    void *arg;
};

static bool is_wanted(const struct walk *w, unsigned cls)
{
    return model.classes[cls].evented && (!w->wanted || w->wanted[cls]);
}

static void tell(const struct walk *w, enum change_op op, const struct row *row)
{
    w->fn(w->arg, &(struct change){ .op = op, .cls = row_class(row), .ref = row->leaf.key, .row = row,
                                    .order = atomic_load_explicit(&row->stamp, memory_order_relaxed) });
}

/* The same epoch: the index has the rows changed since. */
static void tell_indexed(const struct walk *w, enum change_op op)
{
    const struct pleaf *leaf;
    struct ref at = { w->since.stamp, UINT64_MAX };

    while ((leaf = ptrie_next(&w->s->stamps, at))) {
        at = leaf->key;
        if (!is_wanted(w, leaf->tag)) continue;
        const struct row *row = snap_get_row(w->s, leaf->tag, ((const struct entry *)leaf)->ref);
        if (row && (row->created > w->since.revision) == (op == CHANGE_ADD)) tell(w, op, row);
    }
}

/* Every row is looked at: the same epoch, but more has changed since than the index has. */
static void tell_stamped(const struct walk *w, enum change_op op)
{
    for (unsigned cls = 0; cls < w->s->kinds->n; cls++) {
        if (!is_wanted(w, cls)) continue;
        SNAP_EACH(w->s, (enum class_id)cls, row) {
            if (atomic_load_explicit(&row->stamp, memory_order_relaxed) <= w->since.stamp) continue;
            if ((row->created > w->since.revision) == (op == CHANGE_ADD)) tell(w, op, row);
        }
    }
}

/* Another epoch, or from the beginning: every row is looked at. */
static void tell_scanned(const struct walk *w, enum change_op op, uint64_t epoch_start)
{
    for (unsigned cls = 0; cls < w->s->kinds->n; cls++) {
        if (!is_wanted(w, cls)) continue;
        bool all = w->s->kinds->kinds[cls].has_volatile;
        SNAP_EACH(w->s, (enum class_id)cls, row) {
            bool added = row->created > w->since.revision;
            bool changed = all || row->revision > w->since.revision ||
                           atomic_load_explicit(&row->stamp, memory_order_relaxed) > epoch_start;
            if (op == CHANGE_ADD ? added : !added && changed) tell(w, op, row);
        }
    }
}

static void tell_destroyed(const struct walk *w)
{
    const struct tombs *tombs = w->s->tombs;
    size_t end = w->s->tombs_last;

    for (size_t b = tombs ? tombs->n : 0; b-- > 0; end = TOMB_BLOCK) {
        for (size_t i = end; i-- > 0;) {
            const struct tomb *tomb = &tombs->blocks[b]->items[i];
            if (tomb->revision <= w->since.revision) return;
            /* Not for what came and went since, nor for what has come back. */
            if (tomb->created > w->since.revision || !is_wanted(w, tomb->cls)) continue;
            if (snap_get_row(w->s, tomb->cls, tomb->ref)) continue;
            w->fn(w->arg, &(struct change){ .op = CHANGE_DEL,
                                            .cls = (enum class_id)tomb->cls,
                                            .ref = tomb->ref,
                                            .order = w->s->token.stamp });
        }
    }
}

int snap_changes(const struct snap *s, struct token since, const bool *wanted, change_fn fn, void *arg,
                 struct xerr *err)
{
    struct walk w = { s, since, wanted, fn, arg };
    uint64_t epoch_start = s->token.stamp & EPOCH_MASK;

    if (!since.revision && !since.stamp) {
        for (unsigned cls = 0; cls < s->kinds->n; cls++)
            if (is_wanted(&w, cls))
                SNAP_EACH(s, (enum class_id)cls, row) tell(&w, CHANGE_ADD, row);
        return 0;
    }
    /* A token from a future that a restored database does not know is as useless as one too old. */
    if (since.revision > s->token.revision || since.stamp > s->token.stamp) return xerr_events_lost(err);
    if (s->tombs && since.revision < s->tombs->floor) return xerr_events_lost(err);
    if (since.stamp >= epoch_start && since.stamp < s->stamps_after) {
        tell_stamped(&w, CHANGE_ADD);
        tell_stamped(&w, CHANGE_MOD);
    } else if (since.stamp >= epoch_start) {
        tell_indexed(&w, CHANGE_ADD);
        tell_indexed(&w, CHANGE_MOD);
    } else {
        tell_scanned(&w, CHANGE_ADD, epoch_start);
        tell_scanned(&w, CHANGE_MOD, epoch_start);
    }
    tell_destroyed(&w);
    return 0;
}
