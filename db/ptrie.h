/* A persistent map from 128-bit keys to reference-counted leaves: a path-compressed radix trie, 16
 * children a node.
 * Called by: db/ only.  Calls: ref.
 *
 * A copy of a trie costs one reference; a change copies only the nodes on its path that somebody else
 * still sees. Nodes nobody else sees are changed in place, so the second change in one transaction is
 * cheap. A trie that is shared between threads is never changed: its owner copies it first. */
#ifndef DB_PTRIE_H
#define DB_PTRIE_H

#include "db/keyed.h"

#include <stdatomic.h>

/* What a trie holds: the first member of a larger struct. */
struct pleaf {
    _Atomic uint32_t refs;
    uint32_t tag;          /* the holder's own use */
    struct ref key;        /* immutable */
};

/* Releases one reference to a leaf. */
typedef void (*pleaf_unref_fn)(struct pleaf *leaf);

struct ptrie {
    uintptr_t root;        /* 0 = empty; low bit set = a leaf, else a node */
};

/* The leaf with this key, borrowed, or NULL. */
struct pleaf *ptrie_get(const struct ptrie *t, struct ref key);
/* The leaf with the smallest key above `after`, borrowed, or NULL. */
struct pleaf *ptrie_next(const struct ptrie *t, struct ref after);
/* As ptrie_next for a walk over a trie that does not change meanwhile: `after` is the key that the last
 * call gave, and *hint, NULL at first, is this function's own. */
struct pleaf *ptrie_step(const struct ptrie *t, struct ref after, const void **hint);
/* The leaf with the smallest key, borrowed, or NULL. */
struct pleaf *ptrie_first(const struct ptrie *t);

/* Puts a leaf in place of any other with the same key. The caller's reference passes to the trie.
 * True when the key is new. */
bool ptrie_put(struct ptrie *t, struct pleaf *leaf, pleaf_unref_fn unref);
/* False when there was no such key. */
bool ptrie_remove(struct ptrie *t, struct ref key, pleaf_unref_fn unref);

/* Fills an empty trie at once: keys ascending, none twice; `what` of each is its leaf, whose reference passes.
 * Cheaper than one by one, and leaves no holes in the heap. */
void ptrie_build(struct ptrie *t, const struct keyed *leaves, size_t n);

/* Another trie with the same content. */
struct ptrie ptrie_copy(const struct ptrie *t);
/* Drops the content; the trie is empty afterwards. */
void ptrie_clear(struct ptrie *t, pleaf_unref_fn unref);

#endif
