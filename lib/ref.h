/* Object references: 16 bytes in memory, "OpaqueRef:<uuid>" on the wire, all zero = OpaqueRef:NULL.
 * Called by: everyone.  Calls: getrandom. */
#ifndef LIB_REF_H
#define LIB_REF_H

#include "lib/util.h"

struct ref {
    uint64_t hi, lo;   /* the uuid's 16 bytes, big-endian halves, so that refs sort as their text does */
};

enum { UUID_TEXT = 37, REF_TEXT = 10 + UUID_TEXT };   /* buffer sizes with the NUL */

#define REF_NULL ((struct ref){ 0, 0 })

static inline bool ref_is_null(struct ref r) { return !(r.hi | r.lo); }
static inline bool ref_eq(struct ref a, struct ref b) { return a.hi == b.hi && a.lo == b.lo; }
static inline int ref_cmp(struct ref a, struct ref b)
{
    if (a.hi != b.hi) return a.hi < b.hi ? -1 : 1;
    return a.lo == b.lo ? 0 : a.lo < b.lo ? -1 : 1;
}

/* A fresh random reference. */
struct ref ref_new(void);
/* All 128 bits random (session ids). */
struct ref ref_new_secret(void);

/* "OpaqueRef:<uuid>" or "OpaqueRef:NULL" into buf; returns buf. */
const char *ref_text(struct ref r, char buf[REF_TEXT]);
/* Accepts "OpaqueRef:<uuid>", "OpaqueRef:NULL" and "" (null). False, *ret_ref untouched, when it is neither. */
bool ref_parse(const char *s, struct ref *ret_ref);

/* Lower-case text of a fresh random uuid into buf; returns buf. */
const char *uuid_new(char buf[UUID_TEXT]);
/* Exactly 36 characters, any case. */
bool uuid_from_text(const char *s, struct ref *ret_bytes);
const char *uuid_to_text(struct ref bytes, char buf[UUID_TEXT]);

#endif
