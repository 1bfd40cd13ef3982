/* What XML-RPC and JSON share. Readers: the stack of half-built containers, its limits, duplicate members.
 * Writers: the fixed text of records.
 * Called by: xmlrpc, json, db/.  Calls: arena, map. */
#ifndef LIB_WIRE_H
#define LIB_WIRE_H

#include "lib/strbuf.h"
#include "lib/value.h"

#include <stdint.h>

enum {
    WIRE_MAX_ITEMS = 20000000,       /* values in a reply or a file, whose size the reader has limited */
};

/* Values wait here until their container ends and is copied, exactly sized, into the arena. */
struct wire_stack {
    struct arena *arena;
    struct member *members;   /* a set's items have no key */
    size_t n, cap;
    size_t items, max_items;  /* values seen so far */
};

void wire_stack_init(struct wire_stack *s, struct arena *a, size_t max_items);
void wire_stack_free(struct wire_stack *s);
/* Counts one more value; false when it is one too many. */
bool wire_count(struct wire_stack *s);
void wire_push(struct wire_stack *s, const char *key, struct value v);
/* Takes everything from base up off the stack as a set, or as a map in which the last of equal keys has won.
 * */
struct value wire_pop_set(struct wire_stack *s, size_t base);
struct value wire_pop_map(struct wire_stack *s, size_t base);

/* What stands around the values of a record with these names, the same for all of them: piece i comes before
 * value i, the last piece behind the last value. */
struct wire_frame {
    size_t n;              /* values */
    char *text;            /* all pieces, and WIRE_FRAME_SLACK bytes that may be read */
    uint32_t *at;          /* n + 2: where each piece starts; the last one's end */
};
enum { WIRE_FRAME_SLACK = 32 };

/* Of text that is complete but for the slack; at passes. */
struct wire_frame wire_frame_take(struct strbuf *text, size_t n, uint32_t *at);
void wire_frame_clear(struct wire_frame *f);

#endif
