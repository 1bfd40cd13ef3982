/* Sorting by 128-bit keys, for what is read from the disk all at once.
 * Called by: db/ only.  Calls: ref. */
#ifndef DB_KEYED_H
#define DB_KEYED_H

#include "lib/ref.h"

struct keyed {
    struct ref key;
    void *what;
};

/* In the order of their keys; what has the same key keeps its order. */
void keyed_sort(struct keyed *items, size_t n);

#endif
