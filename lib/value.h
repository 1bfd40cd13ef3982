/* Values as they cross the wire and as set and map fields hold them: an immutable tree.
 * Called by: everyone.  Calls: arena.
 *
 * A value never owns what it points to: the tree lives in one arena (a call's arguments and results)
 * or in one heap block of the database (a field of a row, borrowed as long as its snapshot). */
#ifndef LIB_VALUE_H
#define LIB_VALUE_H

#include "lib/arena.h"
#include "lib/ref.h"

enum value_kind {
    VALUE_VOID,        /* no result; nil */
    VALUE_STRING,
    VALUE_INT,
    VALUE_INT32,       /* an int that must be <i4> on the wire (event.from's valid_ref_counts) */
    VALUE_BOOL,
    VALUE_FLOAT,
    VALUE_DATETIME,    /* i = seconds since the epoch, UTC */
    VALUE_LOCALTIME,   /* like DATETIME, encoded without the Z */
    VALUE_REF,
    VALUE_SET,
    VALUE_MAP,         /* maps and records; keys are text ("OpaqueRef:..." and "42" for ref and int keys) */
};

struct member;

struct value {
    enum value_kind kind;
    union {
        struct {
            const char *s;   /* NUL-terminated, may contain no NUL */
            size_t len;
        };
        int64_t i;
        bool b;
        double d;
        struct ref ref;
        struct {
            const struct value *items;
            size_t n;
        } set;
        struct {
            const struct member *members;
            size_t n;
        } map;
    };
};

struct member {
    const char *key;
    struct value value;
};

/* Constructors. The string is borrowed, not copied. */
static inline struct value value_void(void) { return (struct value){ .kind = VALUE_VOID }; }
static inline struct value value_string(const char *s)
{
    return (struct value){ .kind = VALUE_STRING, .s = s, .len = strlen(s) };
}
static inline struct value value_int(int64_t i) { return (struct value){ .kind = VALUE_INT, .i = i }; }
static inline struct value value_bool(bool b) { return (struct value){ .kind = VALUE_BOOL, .b = b }; }
static inline struct value value_float(double d) { return (struct value){ .kind = VALUE_FLOAT, .d = d }; }
static inline struct value value_datetime(int64_t t) { return (struct value){ .kind = VALUE_DATETIME, .i = t }; }
static inline struct value value_ref(struct ref r) { return (struct value){ .kind = VALUE_REF, .ref = r }; }
static inline struct value value_set(const struct value *items, size_t n)
{
    return (struct value){ .kind = VALUE_SET, .set = { items, n } };
}
static inline struct value value_map(const struct member *members, size_t n)
{
    return (struct value){ .kind = VALUE_MAP, .map = { members, n } };
}

/* The member's value, or NULL. On anything but a map: NULL. */
const struct value *value_get(const struct value *map, const char *key);
/* The member as text, or fallback when it is missing or not a string. */
const char *value_get_str(const struct value *map, const char *key, const char *fallback);
/* True when a set holds this string. */
bool value_has(const struct value *set, const char *item);
/* Same kind and content; maps compare without regard to order. */
bool value_eq(const struct value *a, const struct value *b);
/* Deep copy into an arena. */
struct value value_copy(struct arena *a, const struct value *v);

/* Building sets and maps piece by piece, in an arena. */
struct value_builder {
    struct arena *arena;
    void *items;         /* struct value[] or struct member[] */
    size_t n, cap;
};

static inline struct value_builder value_builder(struct arena *a)
{
    return (struct value_builder){ a, NULL, 0, 0 };
}
void value_push(struct value_builder *b, struct value item);                    /* for a set */
void value_put(struct value_builder *b, const char *key, struct value item);    /* for a map; key borrowed; replaces an equal key */
void value_put_new(struct value_builder *b, const char *key, struct value item); /* the caller knows the key is new: O(1) */
struct value value_built_set(const struct value_builder *b);
struct value value_built_map(const struct value_builder *b);

#endif
