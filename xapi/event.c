/* Class event: the stream of changes for clients.
 * Called by: rpc/ (which parks event.from and event.next of HTTP clients itself).  Calls: event_hub, event_sub, db/. */
#include "xapi/event.h"

#include <pthread.h>

#include "gen/methods.h"
#include "lib/clock.h"
#include "lib/limits.h"
#include "xapi/event_sub.h"

enum { NEXT_WAIT_MS = 600 * 1000 };

int event_request_from(const struct value *classes, const char *token, double timeout, struct event_request *ret,
                       struct xerr *err)
{
    struct token since = { 0, 0 };
    struct event_sub *sub;

    if (*token && !token_parse(token, &since)) return xerr_event_from_token_parse_failure(err, token);
    if (event_sub_parse(classes, &sub, err)) return -1;
    if (!(timeout > 0)) timeout = 0;
    if (timeout > LIMIT_EVENT_WAIT) timeout = LIMIT_EVENT_WAIT;
    *ret = (struct event_request){ sub, since, clock_deadline_ns((int64_t)(timeout * 1000 + 0.5)), REF_NULL };
    return 0;
}

int event_request_next(struct call *c, struct event_request *ret, struct xerr *err)
{
    struct event_sub *sub;
    struct token since;

    if (!event_legacy_get(c->agent->events, c->session, &sub, &since))
        return xerr_session_not_registered(err, REF_STR(c->session));
    *ret = (struct event_request){ sub, since, clock_deadline_ns(NEXT_WAIT_MS), c->session };
    return 0;
}

/* ---- waiting on this thread: for calls that do not come from an HTTP client ---- */

struct blocked {
    struct event_waiter waiter;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool answered;                 /* lock: lock */
    struct xerr why;               /* the session has ended */
};

static void unblock(struct event_waiter *w, struct event_text *text, const struct xerr *why)
{
    struct blocked *b = (struct blocked *)w;

    (void)text;
    pthread_mutex_lock(&b->lock);
    if (why) xerr_set(&b->why, why->code, why->n, (const char *const *)why->params);
    b->answered = true;
    pthread_cond_signal(&b->wake);
    pthread_mutex_unlock(&b->lock);
}

static int block(struct call *c, const struct event_request *r, struct token since, struct xerr *err)
{
    struct blocked b = {
        .waiter = { .sub = r->sub, .since = since, .form = EVENT_WAKE, .deadline_ns = r->deadline_ns,
                    .session = c->session, .handle = c->handle, .answer = unblock },
        .why = XERR_INIT,
    };

    pthread_mutex_init(&b.lock, NULL);
    pthread_cond_init(&b.wake, NULL);
    event_wait(c->agent->events, &b.waiter);
    pthread_mutex_lock(&b.lock);
    while (!b.answered) pthread_cond_wait(&b.wake, &b.lock);
    pthread_mutex_unlock(&b.lock);
    pthread_cond_destroy(&b.wake);
    pthread_mutex_destroy(&b.lock);
    return b.why.code ? xerr_move(err, &b.why) : 0;
}

struct collector {
    const struct event_sub *sub;
    struct arena *arena;
    struct value_builder events;
};

static void collect(void *arg, const struct change *ch)
{
    static const char *const ops[] = { [CHANGE_ADD] = "add", [CHANGE_MOD] = "mod", [CHANGE_DEL] = "del" };
    struct collector *k = arg;
    struct value_builder b = value_builder(k->arena);

    if (!event_sub_wants(k->sub, ch->cls, ch->ref)) return;
    value_put_new(&b, "id", value_string(arena_printf(k->arena, "%llu", (unsigned long long)ch->order)));
    value_put_new(&b, "timestamp", value_string("0.0"));
    value_put_new(&b, "class", value_string(model.classes[ch->cls].event_name));
    value_put_new(&b, "operation", value_string(ops[ch->op]));
    value_put_new(&b, "ref", value_ref(ch->ref));
    if (ch->row) {
        struct value record = row_record(ch->row, k->arena);
        value_put_new(&b, "snapshot", value_copy(k->arena, &record));
    }
    value_push(&k->events, value_built_map(&b));
}

/* The events since a token as a value; *ret_s is the snapshot they were read from. */
static int changes(struct call *c, const struct event_sub *sub, struct token since, struct value *ret_events,
                   struct snap **ret_s, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    struct collector k = { sub, c->arena, value_builder(c->arena) };

    if (event_changes(s, sub, since, collect, &k, err)) return -1;
    *ret_events = value_built_set(&k.events);
    *ret_s = take_ptr(s);
    return 0;
}

static int wait_for_changes(struct call *c, const struct event_request *r, struct value *ret_events,
                            struct snap **ret_s, struct xerr *err)
{
    struct token since = r->since;

    for (;;) {
        if (changes(c, r->sub, since, ret_events, ret_s, err)) return -1;
        if (ret_events->set.n || clock_boottime_ns() >= r->deadline_ns || call_cancelled(c)) return 0;
        if (event_hub_stopping(c->agent->events)) return 0;    /* nobody would wait any more */
        since = snap_token(*ret_s);
        snap_unref(take_ptr(*ret_s));
        if (block(c, r, since, err)) return -1;
    }
}

/* ---- messages ---- */

int event_from(struct call *c, const struct value *classes, const char *token, double timeout,
               struct value *ret_result, struct xerr *err)
{
    struct event_request r;
    struct value events;
    _cleanup_snap_ struct snap *s = NULL;
    char text[TOKEN_TEXT];

    if (event_request_from(classes, token, timeout, &r, err)) return -1;
    int rc = wait_for_changes(c, &r, &events, &s, err);
    event_sub_unref(r.sub);
    if (rc) return -1;

    struct value_builder counts = value_builder(c->arena), batch = value_builder(c->arena);
    for (unsigned i = 0; i < model.n_classes; i++) {
        if (!model.classes[i].evented) continue;
        struct value n = { .kind = VALUE_INT32, .i = (int64_t)snap_count(s, (enum class_id)i) };
        value_put_new(&counts, model.classes[i].event_name, n);
    }
    value_put_new(&batch, "events", events);
    value_put_new(&batch, "valid_ref_counts", value_built_map(&counts));
    value_put_new(&batch, "token", value_string(arena_strdup(c->arena, token_text(snap_token(s), text))));
    *ret_result = value_built_map(&batch);
    return 0;
}

int event_next(struct call *c, struct value *ret_result, struct xerr *err)
{
    struct event_request r;
    _cleanup_snap_ struct snap *s = NULL;

    if (event_request_next(c, &r, err)) return -1;
    int rc = wait_for_changes(c, &r, ret_result, &s, err);
    event_sub_unref(r.sub);
    if (!rc) event_legacy_advance(c->agent->events, c->session, snap_token(s));
    return rc;
}

int event_register(struct call *c, const struct value *classes, struct xerr *err)
{
    struct event_sub *sub;

    if (event_sub_parse(classes, &sub, err)) return -1;
    event_legacy_register(c->agent->events, c->agent->db, c->session, sub);
    event_sub_unref(sub);
    return 0;
}

int event_unregister(struct call *c, const struct value *classes, struct xerr *err)
{
    struct event_sub *sub;

    if (event_sub_parse(classes, &sub, err)) return -1;
    event_legacy_unregister(c->agent->events, c->session, sub);
    event_sub_unref(sub);
    return 0;
}

int event_get_current_id(struct call *c, int64_t *ret_result, struct xerr *err)
{
    (void)err;
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);

    *ret_result = (int64_t)snap_token(s).revision;
    return 0;
}

/* The token just before a touch of the object: a client that goes on from it sees the object come as `mod`. */
int event_inject(struct call *c, const char *class, const char *ref, const char **ret_result, struct xerr *err)
{
    const struct class_desc *cls = model_class_nocase(class);
    struct ref object;
    char text[TOKEN_TEXT];

    if (!cls || !cls->evented) return xerr_event_subscription_parse_failure(err, class);
    if (!ref_parse(ref, &object) || ref_is_null(object)) return xerr_handle_invalid(err, cls->name, ref);
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        if (!snap_need(s, (enum class_id)cls->id, object, err)) return -1;
        *ret_result = arena_strdup(c->arena, token_text(snap_token(s), text));
    }
    struct txn *t = db_begin(c->agent->db);
    txn_touch(t, (enum class_id)cls->id, object);
    return db_commit(t, err);
}
