/* So many at a time: others wait until it is their turn.
 * Called by: auth_source.c, login_cache.c.  Calls: pthread. */
#ifndef XAPI_TURNS_H
#define XAPI_TURNS_H

#include "lib/util.h"

struct turns;

struct turns *turns_new(int64_t max);
/* Nobody waits or is at it any more. NULL is fine. */
void turns_free(struct turns *t);

/* From now on max at a time, at least one; who waits learns of it, who is at it goes on. */
void turns_set(struct turns *t, int64_t max);
/* Waits until fewer are at it; false when that took longer than timeout_ms. If true, turns_end() follows. */
bool turns_begin(struct turns *t, int64_t timeout_ms);
void turns_end(struct turns *t);

#endif
