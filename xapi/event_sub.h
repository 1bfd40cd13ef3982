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
/* Equal texts = equal answers. Malloc'd. */
char *event_sub_key(const struct event_sub *sub, struct token since, enum event_form form);

#endif
