/* The real clocks.
 * Called by: everyone.  Calls: libc. */
#include "lib/clock.h"

#include <time.h>

static int64_t now_ns(clockid_t id)
{
    struct timespec t;

    if (clock_gettime(id, &t)) abort();
    return t.tv_sec * NS_PER_S + t.tv_nsec;
}

int64_t clock_monotonic_ns(void) { return now_ns(CLOCK_MONOTONIC); }
int64_t clock_boottime_ns(void) { return now_ns(CLOCK_BOOTTIME); }
int64_t clock_wall_seconds(void) { return time(NULL); }
int64_t clock_wall_us(void) { return now_ns(CLOCK_REALTIME) / 1000; }

int64_t clock_deadline_ns(int64_t timeout_ms)
{
    int64_t now = clock_boottime_ns();

    if (timeout_ms < 0 || timeout_ms > (INT64_MAX - now) / NS_PER_MS) return INT64_MAX;
    return now + timeout_ms * NS_PER_MS;
}

int clock_poll_ms(int64_t deadline_ns, int cap_ms)
{
    int64_t left = deadline_ns - clock_boottime_ns();

    if (left <= 0) return 0;
    int64_t ms = (left - 1) / NS_PER_MS + 1;
    return ms > cap_ms ? cap_ms : (int)ms;
}

static int64_t system_boottime(void *arg _unused_) { return clock_boottime_ns(); }
static int64_t system_wall(void *arg _unused_) { return clock_wall_seconds(); }

const struct clock clock_system = { system_boottime, system_wall, NULL };
