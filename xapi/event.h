/* Events: what a client subscribes to, the batch it gets, and the waiters that a commit wakes.
 * Called by: event.c, rpc/, http/post_rpc.  Calls: db/, codecs.
 *
 * A waiter is a struct filed under the classes and objects it subscribes to: never a thread. Waiters with the same
 * subscription, token and form make one group, whose answer is encoded once and shared. One thread of the hub builds
 * answers and watches deadlines; a commit only marks the groups that match.
 *
 * Lock: the hub's mutex, held for moments, never while encoding or calling a waiter. */
#ifndef XAPI_EVENT_H
#define XAPI_EVENT_H

#include "xapi/call/call.h"

/* ---- subscriptions ---- */

struct event_sub;   /* immutable, reference-counted */

/* From event.from's classes: "*", "class", "class/ref", classes in any case. Errors:
 * EVENT_SUBSCRIPTION_PARSE_FAILURE [text]. */
int event_sub_parse(const struct value *classes, struct event_sub **ret_sub, struct xerr *err);
struct event_sub *event_sub_ref(struct event_sub *sub);
void event_sub_unref(struct event_sub *sub);

/* ---- answers ---- */

enum event_form {
    EVENT_BATCH_XML, EVENT_BATCH_JSON,   /* event.from: {events, valid_ref_counts, token}, encoded */
    EVENT_LIST_XML, EVENT_LIST_JSON,     /* event.next: the events only */
    EVENT_WAKE,                          /* no text: the waiter looks for itself */
};

/* An encoded answer, shared by all it is for. */
struct event_text {
    atomic_uint refs;
    char *ptr;
    size_t len;
};
struct event_text *event_text_ref(struct event_text *text);
void event_text_unref(struct event_text *text);

struct event_hub;

/* The changes since a token as text. *ret_text is NULL when there were none and even_empty is false. *ret_until is the
 * token to go on from. The hub keeps what it encoded last, for who asks with another token. Errors: EVENTS_LOST. */
int event_encode(struct event_hub *hub, const struct event_sub *sub, struct token since, enum event_form form,
                 bool even_empty, struct event_text **ret_text, struct token *ret_until, struct xerr *err);

/* ---- waiting ---- */

struct event_group;

struct event_waiter {
    /* Filled by the owner. */
    struct event_sub *sub;         /* borrowed while waiting; NULL: only a delay */
    struct token since;
    enum event_form form;
    int64_t deadline_ns;           /* CLOCK_BOOTTIME */
    struct ref legacy;             /* event.next: the session whose place in the stream moves on; else null */
    struct ref session;            /* with its end comes SESSION_INVALID; null: not bound to one */
    struct ref handle;             /* how the client names that session */
    /* Called once, from the hub's thread, without locks; the owner may free the waiter in it. text is borrowed, NULL
     * for a delay, a wake and an error; why is NULL or the error. */
    void (*answer)(struct event_waiter *w, struct event_text *text, const struct xerr *why);
    /* The hub's own. */
    int state;
    struct event_group *group;
    struct event_waiter *prev, *next;
    struct event_waiter *session_prev, *session_next;
    size_t heap_at;
};

struct event_hub *event_hub_new(struct db *db);
/* Answers every waiter with what there is and ends the thread. */
void event_hub_stop(struct event_hub *hub);
bool event_hub_stopping(struct event_hub *hub);
void event_hub_free(struct event_hub *hub);

/* Files the waiter; it may be answered before this returns. False when event_wait_cancel() came first: the waiter is the
 * caller's to free. */
bool event_wait(struct event_hub *hub, struct event_waiter *w);
/* Withdraws it. */
enum event_cancel {
    EVENT_WITHDRAWN,               /* it will not be answered and belongs to the owner */
    EVENT_NOT_FILED,               /* it was not filed yet: event_wait() will return false, to whoever calls it */
    EVENT_ANSWERING,               /* too late: its answer is on the way */
};
enum event_cancel event_wait_cancel(struct event_hub *hub, struct event_waiter *w);
size_t event_hub_waiters(struct event_hub *hub);
/* True while somebody waits in this session. */
bool event_hub_has_session(struct event_hub *hub, struct ref session);

/* ---- the legacy registrations: one a session, in memory ---- */

void event_legacy_register(struct event_hub *hub, struct db *db, struct ref session, struct event_sub *sub);
void event_legacy_unregister(struct event_hub *hub, struct ref session, struct event_sub *sub);
/* A reference to the subscription and the place in the stream. False when the session is not registered. */
bool event_legacy_get(struct event_hub *hub, struct ref session, struct event_sub **ret_sub,
                      struct token *ret_since);
void event_legacy_advance(struct event_hub *hub, struct ref session, struct token until);

/* ---- what event.from and event.next ask for, from checked arguments ---- */

struct event_request {
    struct event_sub *sub;         /* owned */
    struct token since;
    int64_t deadline_ns;
    struct ref legacy;
};
int event_request_from(const struct value *classes, const char *token, double timeout, struct event_request *ret,
                       struct xerr *err);
/* Errors: SESSION_NOT_REGISTERED [session]. */
int event_request_next(struct call *c, struct event_request *ret, struct xerr *err);

#endif
