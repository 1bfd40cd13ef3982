/* The persistent radix trie.
 * Called by: snapshots, transactions.  Calls: libc.
 *
 * A node branches on one nibble, `at`; every key below it has the same nibbles before that one as
 * `prefix`. A child is a tagged pointer. Invariant: a node has at least two children, `at` grows on the
 * way down. */
#include "db/ptrie.h"

#include <assert.h>

struct pnode {
    _Atomic uint32_t refs;
    uint16_t present;      /* bit i = there is a child for nibble i */
    uint8_t at;            /* which of the 32 nibbles this node branches on */
    struct ref prefix;
    uintptr_t child[];
};

enum { KEY_NIBBLES = 32 };

static bool is_leaf(uintptr_t p) { return p & 1; }
static struct pleaf *as_leaf(uintptr_t p) { return (struct pleaf *)(p & ~(uintptr_t)1); }
static struct pnode *as_node(uintptr_t p) { return (struct pnode *)p; }
static uintptr_t from_leaf(struct pleaf *l) { return (uintptr_t)l | 1; }

static unsigned nibble(struct ref key, unsigned at)
{
    uint64_t half = at < 16 ? key.hi : key.lo;

    return (unsigned)(half >> (60 - 4 * (at & 15))) & 15;
}

/* The first nibble in which two keys differ; KEY_NIBBLES when they are equal. */
static unsigned divergence(struct ref a, struct ref b)
{
    if (a.hi != b.hi) return (unsigned)__builtin_clzll(a.hi ^ b.hi) / 4;
    if (a.lo != b.lo) return 16 + (unsigned)__builtin_clzll(a.lo ^ b.lo) / 4;
    return KEY_NIBBLES;
}

/* Bits that are set in 16; the compiler's own is a call on a plain x86-64. */
static unsigned count_bits(unsigned x)
{
    x -= x >> 1 & 0x5555;
    x = (x & 0x3333) + (x >> 2 & 0x3333);
    x = (x + (x >> 4)) & 0x0f0f;
    return (x + (x >> 8)) & 0x1f;
}

static unsigned n_children(const struct pnode *n) { return count_bits(n->present); }
static bool has_child(const struct pnode *n, unsigned nib) { return n->present >> nib & 1; }
/* The place of a nibble's child, or where it would go. */
static unsigned child_at(const struct pnode *n, unsigned nib)
{
    return count_bits(n->present & ((1u << nib) - 1));
}

static size_t node_size(unsigned children)
{
    return sizeof(struct pnode) + children * sizeof(uintptr_t);
}

static void retain(uintptr_t p)
{
    _Atomic uint32_t *refs = is_leaf(p) ? &as_leaf(p)->refs : &as_node(p)->refs;

    atomic_fetch_add_explicit(refs, 1, memory_order_relaxed);
}

static void release(uintptr_t p, pleaf_unref_fn unref)
{
    if (is_leaf(p)) {
        unref(as_leaf(p));
        return;
    }
    struct pnode *n = as_node(p);
    if (atomic_fetch_sub_explicit(&n->refs, 1, memory_order_acq_rel) != 1) return;
    for (unsigned i = 0, count = n_children(n); i < count; i++) release(n->child[i], unref);
    free(n);
}

struct pleaf *ptrie_get(const struct ptrie *t, struct ref key)
{
    uintptr_t p = t->root;

    while (p && !is_leaf(p)) {
        const struct pnode *n = as_node(p);
        unsigned nib = nibble(key, n->at);
        if (!has_child(n, nib)) return NULL;
        p = n->child[child_at(n, nib)];
    }
    return p && ref_eq(as_leaf(p)->key, key) ? as_leaf(p) : NULL;
}

static struct pleaf *smallest(uintptr_t p)
{
    while (!is_leaf(p)) p = as_node(p)->child[0];
    return as_leaf(p);
}

struct pleaf *ptrie_first(const struct ptrie *t)
{
    return t->root ? smallest(t->root) : NULL;
}

struct pleaf *ptrie_next(const struct ptrie *t, struct ref after)
{
    uintptr_t p = t->root, above = 0;   /* above: the nearest subtree wholly greater than the key */

    if (!p) return NULL;
    while (!is_leaf(p)) {
        const struct pnode *n = as_node(p);
        unsigned d = divergence(after, n->prefix);
        if (d < n->at) {
            if (nibble(n->prefix, d) > nibble(after, d)) return smallest(p);
            return above ? smallest(above) : NULL;
        }
        unsigned nib = nibble(after, n->at), i = child_at(n, nib);
        unsigned greater = has_child(n, nib) ? i + 1 : i;
        if (greater < n_children(n)) above = n->child[greater];
        if (!has_child(n, nib)) return above ? smallest(above) : NULL;
        p = n->child[i];
    }
    if (ref_cmp(as_leaf(p)->key, after) > 0) return as_leaf(p);
    return above ? smallest(above) : NULL;
}

/* The leaf at the start of a subtree, and the node that holds it. */
static struct pleaf *smallest_in(uintptr_t p, const struct pnode **ret_node)
{
    while (!is_leaf(p)) {
        *ret_node = as_node(p);
        p = (*ret_node)->child[0];
    }
    return as_leaf(p);
}

struct pleaf *ptrie_step(const struct ptrie *t, struct ref after, const void **hint)
{
    const struct pnode *n = *hint;
    struct pleaf *leaf;

    if (n) {
        unsigned i = child_at(n, nibble(after, n->at)) + 1;
        if (i < n_children(n)) {
            leaf = smallest_in(n->child[i], &n);
            *hint = n;
            return leaf;
        }
    }
    leaf = ptrie_next(t, after);
    if (!leaf) return NULL;
    for (uintptr_t p = t->root; !is_leaf(p); p = n->child[child_at(n, nibble(leaf->key, n->at))])
        *hint = n = as_node(p);
    return leaf;
}

/* The node in a slot that we may write, as one that nobody else sees. */
static struct pnode *own(uintptr_t *slot, pleaf_unref_fn unref)
{
    struct pnode *n = as_node(*slot);

    if (atomic_load_explicit(&n->refs, memory_order_acquire) == 1) return n;
    unsigned count = n_children(n);
    struct pnode *copy = xmalloc(node_size(count));
    atomic_init(&copy->refs, 1);
    copy->present = n->present;
    copy->at = n->at;
    copy->prefix = n->prefix;
    for (unsigned i = 0; i < count; i++) {
        copy->child[i] = n->child[i];
        retain(copy->child[i]);
    }
    *slot = (uintptr_t)copy;
    release((uintptr_t)n, unref);
    return copy;
}

/* A node over two subtrees whose keys first differ in nibble `at`. */
static uintptr_t fork_node(unsigned at, struct ref key, uintptr_t p, struct ref other_key, uintptr_t other)
{
    struct pnode *n = xmalloc(node_size(2));
    unsigned a = nibble(key, at), b = nibble(other_key, at);

    assert(a != b);
    atomic_init(&n->refs, 1);
    n->present = (uint16_t)(1u << a | 1u << b);
    n->at = (uint8_t)at;
    n->prefix = key;
    n->child[a > b] = p;
    n->child[a < b] = other;
    return (uintptr_t)n;
}

bool ptrie_put(struct ptrie *t, struct pleaf *leaf, pleaf_unref_fn unref)
{
    struct ref key = leaf->key;
    uintptr_t *slot = &t->root;

    for (;;) {
        if (!*slot) {
            *slot = from_leaf(leaf);
            return true;
        }
        if (is_leaf(*slot)) {
            struct pleaf *old = as_leaf(*slot);
            unsigned d = divergence(key, old->key);
            if (d < KEY_NIBBLES) {
                *slot = fork_node(d, key, from_leaf(leaf), old->key, *slot);
                return true;
            }
            *slot = from_leaf(leaf);
            unref(old);
            return false;
        }
        unsigned d = divergence(key, as_node(*slot)->prefix);
        if (d < as_node(*slot)->at) {
            *slot = fork_node(d, key, from_leaf(leaf), as_node(*slot)->prefix, *slot);
            return true;
        }
        struct pnode *n = own(slot, unref);
        unsigned nib = nibble(key, n->at), i = child_at(n, nib);
        if (!has_child(n, nib)) {
            unsigned count = n_children(n);
            n = xrealloc(n, node_size(count + 1));
            memmove(&n->child[i + 1], &n->child[i], (count - i) * sizeof(n->child[0]));
            n->child[i] = from_leaf(leaf);
            n->present = (uint16_t)(n->present | 1u << nib);
            *slot = (uintptr_t)n;
            return true;
        }
        slot = &n->child[i];
    }
}

bool ptrie_remove(struct ptrie *t, struct ref key, pleaf_unref_fn unref)
{
    uintptr_t *slot = &t->root, *parent = NULL;

    if (!ptrie_get(t, key)) return false;
    while (!is_leaf(*slot)) {
        struct pnode *n = own(slot, unref);
        parent = slot;
        slot = &n->child[child_at(n, nibble(key, n->at))];
    }
    struct pleaf *gone = as_leaf(*slot);
    if (!parent) {
        t->root = 0;
        unref(gone);
        return true;
    }
    struct pnode *n = as_node(*parent);
    unsigned count = n_children(n), i = (unsigned)(slot - n->child);
    if (count == 2) {
        *parent = n->child[1 - i];
        free(n);
    } else {
        memmove(&n->child[i], &n->child[i + 1], (count - i - 1) * sizeof(n->child[0]));
        n->present = (uint16_t)(n->present & ~(1u << nibble(key, n->at)));
    }
    unref(gone);
    return true;
}

/* A subtree: sorted keys first differ where the first and the last do. */
static uintptr_t build(const struct keyed *leaves, size_t n)
{
    size_t starts[17], count = 0;

    if (n == 1) return from_leaf(leaves->what);
    unsigned at = divergence(leaves[0].key, leaves[n - 1].key), present = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned bit = 1u << nibble(leaves[i].key, at);
        if (present & bit) continue;
        present |= bit;
        starts[count++] = i;
    }
    starts[count] = n;
    struct pnode *node = xmalloc(node_size((unsigned)count));
    atomic_init(&node->refs, 1);
    node->present = (uint16_t)present;
    node->at = (uint8_t)at;
    node->prefix = leaves[0].key;
    for (size_t i = 0; i < count; i++) node->child[i] = build(leaves + starts[i], starts[i + 1] - starts[i]);
    return (uintptr_t)node;
}

void ptrie_build(struct ptrie *t, const struct keyed *leaves, size_t n)
{
    assert(!t->root);
    if (n) t->root = build(leaves, n);
}

struct ptrie ptrie_copy(const struct ptrie *t)
{
    if (t->root) retain(t->root);
    return *t;
}

void ptrie_clear(struct ptrie *t, pleaf_unref_fn unref)
{
    uintptr_t root = t->root;

    t->root = 0;
    if (root) release(root, unref);
}
