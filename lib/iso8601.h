/* Dates as XenAPI writes and reads them.
 * Called by: xmlrpc, json, rpc/, log.  Calls: libc. */
#ifndef LIB_ISO8601_H
#define LIB_ISO8601_H

#include "lib/util.h"

enum { ISO8601_TEXT = 24 };

/* "20260821T02:00:23Z". Times outside the years 0 to 9999 are clamped. Returns buf. */
const char *iso8601_text(int64_t seconds, char buf[ISO8601_TEXT]);
/* The same without the Z: seconds are already local time. Returns buf. */
const char *iso8601_local_text(int64_t seconds, char buf[ISO8601_TEXT]);

/* Seconds since the epoch. The date with or without dashes, the time with or without colons, seconds
 * optional, a fraction of a second is dropped, then nothing or Z (both UTC) or an offset +hh, +hhmm, +hh:mm;
 * a date alone is its midnight. False, *ret_seconds untouched, for anything else. */
bool iso8601_parse(const char *s, int64_t *ret_seconds);

#endif
