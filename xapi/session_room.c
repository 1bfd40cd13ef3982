/* Room for one more session: which one goes.
 * Called by: session.c.  Calls: db/.
 *
 * A program that never logs out makes room at every login: the oldest of its sessions are remembered, so that one walk over
 * all sessions serves many logins. What is remembered is guarded by the database's writer lock. */
#include "xapi/session_room.h"

#include <stdatomic.h>

#include "gen/methods.h"
#include "lib/limits.h"

enum { REMEMBERED = 64 };

struct old { struct ref session; int64_t last_active; uint64_t serial; };

struct session_room {
    char *originator;              /* of those remembered; NULL: nothing is */
    size_t total;                  /* sessions there are then, of everybody: any other number, and somebody logged out */
    struct old old[REMEMBERED];    /* the least recently used first, from `at` on */
    size_t at, n;
    _Atomic bool stale;
};

struct session_room *session_room_new(void)
{
    return xcalloc(1, sizeof(struct session_room));
}

void session_room_free(struct session_room *r)
{
    if (!r) return;
    free(r->originator);
    free(r);
}

void session_room_forget(struct session_room *r)
{
    atomic_store(&r->stale, true);
}

/* last_active counts seconds; of those of one second the one goes first that came first. */
static bool is_older(const struct old *a, const struct old *b)
{
    return a->last_active < b->last_active || (a->last_active == b->last_active && a->serial < b->serial);
}

/* The n oldest so far, in order; one that is younger than a full list does not matter. */
static size_t insert(struct old *old, size_t n, size_t most, const struct row *row)
{
    struct old new = { row_ref_of(row), row_time(row, F_session_last_active), row_serial(row) };
    size_t at = n;

    while (at && is_older(&new, &old[at - 1])) at--;
    if (at == most) return n;
    if (n < most) n++;
    memmove(old + at + 1, old + at, (n - at - 1) * sizeof(*old));
    old[at] = new;
    return n;
}

/* The one that goes, by what is remembered: it is as it was, and nobody came or went but through here. Null: ask them all. */
static struct ref remembered(struct session_room *r, const struct snap *s, const char *originator)
{
    if (atomic_exchange(&r->stale, false)) free(take_ptr(r->originator));
    if (!r->originator || !streq(r->originator, originator) || snap_count(s, CLASS_session) != r->total) return REF_NULL;
    while (r->at < r->n) {
        const struct old *old = &r->old[r->at++];
        const struct row *row = snap_get(s, CLASS_session, old->session);
        if (row && row_time(row, F_session_last_active) == old->last_active) return old->session;
    }
    return REF_NULL;
}

static void destroy(struct txn *t, struct ref session)
{
    if (!ref_is_null(session)) txn_destroy(t, CLASS_session, session);
}

void session_room_make(struct session_room *r, struct txn *t, const char *originator, const char *sid)
{
    const struct snap *s = txn_snap(t);
    size_t total = snap_count(s, CLASS_session), count[2] = { 0, 0 }, n_by_sid = 0;
    struct old by_sid;

    if (total < LIMIT_SESSIONS) {
        free(take_ptr(r->originator));
        return;
    }
    struct ref known = *sid ? REF_NULL : remembered(r, s, originator);
    if (!ref_is_null(known)) {
        destroy(t, known);
        return;
    }
    r->at = r->n = 0;
    struct snap_iter it = snap_iter_still(s, CLASS_session);
    for (const struct row *row; (row = snap_next(s, &it));) {
        if (streq(row_str(row, F_session_originator), originator)) {
            count[0]++;
            r->n = insert(r->old, r->n, REMEMBERED, row);
        }
        if (*sid && streq(row_str(row, F_session_auth_user_sid), sid)) {
            count[1]++;
            n_by_sid = insert(&by_sid, n_by_sid, 1, row);
        }
    }
    struct ref first = count[0] >= LIMIT_SESSIONS ? r->old[r->at++].session : REF_NULL;
    struct ref second = count[1] >= LIMIT_SESSIONS ? by_sid.session : REF_NULL;
    destroy(t, first);
    if (!ref_eq(first, second)) destroy(t, second);
    /* Only one that is full, and that this login leaves so, can be gone on with. */
    bool full = count[0] == LIMIT_SESSIONS && ref_is_null(second);
    free(r->originator);
    r->originator = full ? xstrdup(originator) : NULL;
    r->total = total;
}
