/* Clocks: real ones, and one that tests turn by hand.
 * Called by: everyone.  Calls: libc. */
#ifndef LIB_CLOCK_H
#define LIB_CLOCK_H

#include "lib/util.h"

/* Nanoseconds; never jumps back. For measuring. */
int64_t clock_monotonic_ns(void);
/* Nanoseconds since boot, time asleep included. For deadlines. */
int64_t clock_boottime_ns(void);
/* Seconds since the epoch; may jump. For what is shown and stored. */
int64_t clock_wall_seconds(void);
/* Microseconds since the epoch, for the log. */
int64_t clock_wall_us(void);

#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S INT64_C(1000000000)

/* A deadline in boot time, timeout_ms from now; a negative timeout is no deadline (INT64_MAX). */
int64_t clock_deadline_ns(int64_t timeout_ms);
/* Milliseconds until then, rounded up, 0 when it has passed, never more than cap_ms: an argument for poll().
 * */
int clock_poll_ms(int64_t deadline_ns, int cap_ms);

/* The clock given to code that must run in simulated time. */
struct clock {
    int64_t (*boottime_ns)(void *arg);
    int64_t (*wall_seconds)(void *arg);
    void *arg;
};
extern const struct clock clock_system;

static inline int64_t clock_now_ns(const struct clock *k) { return k->boottime_ns(k->arg); }
static inline int64_t clock_now_wall(const struct clock *k) { return k->wall_seconds(k->arg); }

#endif
