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
    bool *scan;                    /* wanted, or some object of it is */
    size_t n;                      /* objects of classes that are not wanted whole, sorted */
    struct event_object objects[];
};

bool event_sub_wants(const struct event_sub *sub, enum class_id cls, struct ref ref);
bool event_sub_empty(const struct event_sub *sub);
/* What either wants; what a wants and b does not. New. */
struct event_sub *event_sub_merge(const struct event_sub *a, const struct event_sub *b);
struct event_sub *event_sub_without(const struct event_sub *a, const struct event_sub *b);
/* Equal texts = equal answers. Malloc'd. */
char *event_sub_key(const struct event_sub *sub, struct token since, enum event_form form);

#endif
