/* The inside of a subscription, for the event files only.
 * Called by: event.c, event_sub.c, event_hub.c.  Calls: event.h. */
#ifndef XAPI_EVENT_SUB_H
#define XAPI_EVENT_SUB_H

#include "xapi/event.h"

struct event_object {
    enum class_id cls;
    struct ref ref;
};

struct event_sub {
    atomic_uint refs;
    bool *wanted;                  /* by class id: every object of the class */
    bool *scan;                    /* wanted, or some object of it is; but never class message */
    bool messages;                 /* that of class message */
    size_t n;                      /* objects of classes that are not wanted whole, sorted */
    struct event_object objects[];
};

/* snap_changes() of what the subscription looks at, alerts first, as on the reference. */
int event_changes(const struct snap *s, const struct event_sub *sub, struct token since, change_fn fn, void *arg,
                  struct xerr *err);
bool event_sub_wants(const struct event_sub *sub, enum class_id cls, struct ref ref);
bool event_sub_empty(const struct event_sub *sub);
/* What either wants; what a wants and b does not. New. */
struct event_sub *event_sub_merge(const struct event_sub *a, const struct event_sub *b);
struct event_sub *event_sub_without(const struct event_sub *a, const struct event_sub *b);
/* Takes over ptr, malloc'd. */
struct event_text *event_text_new(char *ptr, size_t len);

/* ---- encoded events that others may want, too ---- */

struct event_cache;

/* A version of a row has one order; so has the end of a batch, with the token for its reference. */
struct event_key {
    struct ref ref;
    uint64_t order;
    unsigned what;                 /* form and operation */
};
struct event_cache *event_cache_new(void);
void event_cache_free(struct event_cache *c);
/* Adds the text to out; false: it is not there. */
bool event_cache_get(struct event_cache *c, const struct event_key *key, struct strbuf *out);
/* Keeps a copy, for a while. */
void event_cache_put(struct event_cache *c, const struct event_key *key, const char *ptr, size_t len);

/* event_encode() with what it needs. */
int event_sub_encode(struct db *db, struct event_cache *cache, const struct event_sub *sub, struct token since,
                     enum event_form form, bool even_empty, struct event_text **ret_text, struct token *ret_until,
                     struct xerr *err);

/* Equal texts = equal answers. Malloc'd. */
char *event_sub_key(const struct event_sub *sub, struct token since, enum event_form form);

#endif
