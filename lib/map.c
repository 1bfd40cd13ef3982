/* Open addressing with linear probing; removal moves the rest of the cluster back, so there are no
 * tombstones.
 * Called by: everyone.  Calls: getrandom. */
#include "lib/map.h"

#include <assert.h>
#include <sys/random.h>

static inline uint64_t rotl(uint64_t x, int by) { return x << by | x >> (64 - by); }

struct sip { uint64_t v0, v1, v2, v3; };

static inline void sip_round(struct sip *s)
{
    s->v0 += s->v1; s->v1 = rotl(s->v1, 13); s->v1 ^= s->v0; s->v0 = rotl(s->v0, 32);
    s->v2 += s->v3; s->v3 = rotl(s->v3, 16); s->v3 ^= s->v2;
    s->v0 += s->v3; s->v3 = rotl(s->v3, 21); s->v3 ^= s->v0;
    s->v2 += s->v1; s->v1 = rotl(s->v1, 17); s->v1 ^= s->v2; s->v2 = rotl(s->v2, 32);
}

static inline void sip_word(struct sip *s, uint64_t word)
{
    s->v3 ^= word;
    sip_round(s);
    s->v0 ^= word;
}

uint64_t map_siphash(const void *bytes, size_t n, const uint64_t key[2])
{
    struct sip s = {
        key[0] ^ 0x736f6d6570736575, key[1] ^ 0x646f72616e646f6d,
        key[0] ^ 0x6c7967656e657261, key[1] ^ 0x7465646279746573,
    };
    const unsigned char *p = bytes;
    uint64_t last = (uint64_t)n << 56;

    for (; n >= 8; n -= 8, p += 8) {
        uint64_t word = 0;
        for (int i = 7; i >= 0; i--) word = word << 8 | p[i];
        sip_word(&s, word);
    }
    for (size_t i = 0; i < n; i++) last |= (uint64_t)p[i] << (8 * i);
    sip_word(&s, last);
    s.v2 ^= 0xff;
    sip_round(&s);
    sip_round(&s);
    sip_round(&s);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

void map_random_key(uint64_t ret_key[2])
{
    if (getrandom(ret_key, 2 * sizeof(*ret_key), 0) != 2 * sizeof(*ret_key)) abort();
}

/* One table serves both kinds: a slot holds either an owned text or a reference. */
struct slot {
    uint64_t hash;
    void *value;        /* NULL = free */
    union {
        char *text;
        struct ref ref;
    } key;
};

struct table {
    uint64_t secret[2];
    struct slot *slots;
    size_t cap, n;      /* cap: a power of two, or 0 */
};

typedef bool (*same_fn)(const struct slot *s, const void *key);

static size_t slot_find(const struct table *t, uint64_t hash, const void *key, same_fn same)
{
    size_t mask = t->cap - 1, at = hash & mask;

    while (t->slots[at].value && !(t->slots[at].hash == hash && same(&t->slots[at], key)))
        at = (at + 1) & mask;
    return at;
}

static void *table_get(const struct table *t, uint64_t hash, const void *key, same_fn same)
{
    return t->n ? t->slots[slot_find(t, hash, key, same)].value : NULL;
}

/* Doubles the table when it is more than three quarters full after one more. */
static void table_grow(struct table *t)
{
    if ((t->n + 1) * 4 <= t->cap * 3) return;
    size_t cap = t->cap ? t->cap * 2 : 16;
    struct slot *slots = xcalloc(cap, sizeof(*slots));
    for (size_t i = 0; i < t->cap; i++) {
        if (!t->slots[i].value) continue;
        size_t at = t->slots[i].hash & (cap - 1);
        while (slots[at].value) at = (at + 1) & (cap - 1);
        slots[at] = t->slots[i];
    }
    free(t->slots);
    t->slots = slots;
    t->cap = cap;
}

/* Empties slot `hole` and closes the gap: a later entry may move up when its home is not between the two. */
static void slot_close(struct table *t, size_t hole)
{
    size_t mask = t->cap - 1;

    for (size_t at = (hole + 1) & mask; t->slots[at].value; at = (at + 1) & mask) {
        size_t home = t->slots[at].hash & mask;
        if (((at - home) & mask) < ((at - hole) & mask)) continue;
        t->slots[hole] = t->slots[at];
        hole = at;
    }
    t->slots[hole].value = NULL;
    t->n--;
}

static const struct slot *table_next(const struct table *t, size_t *at)
{
    while (*at < t->cap) {
        const struct slot *s = &t->slots[(*at)++];
        if (s->value) return s;
    }
    return NULL;
}

struct map { struct table t; };
struct refmap { struct table t; };

static bool same_text(const struct slot *s, const void *key) { return streq(s->key.text, key); }
static bool same_ref(const struct slot *s, const void *key)
{
    return ref_eq(s->key.ref, *(const struct ref *)key);
}

static uint64_t hash_text(const struct map *m, const char *key)
{
    return map_siphash(key, strlen(key), m->t.secret);
}

static uint64_t hash_ref(const struct refmap *m, struct ref key)
{
    return map_siphash(&key, sizeof(key), m->t.secret);
}

struct map *map_new(void)
{
    struct map *m = xcalloc(1, sizeof(*m));

    map_random_key(m->t.secret);
    return m;
}

void map_free(struct map *m)
{
    if (!m) return;
    for (size_t i = 0; i < m->t.cap; i++)
        if (m->t.slots[i].value) free(m->t.slots[i].key.text);
    free(m->t.slots);
    free(m);
}

size_t map_count(const struct map *m) { return m->t.n; }

void *map_get(const struct map *m, const char *key)
{
    return table_get(&m->t, hash_text(m, key), key, same_text);
}

void *map_put(struct map *m, const char *key, void *value)
{
    uint64_t hash = hash_text(m, key);

    assert(value);
    table_grow(&m->t);
    struct slot *s = &m->t.slots[slot_find(&m->t, hash, key, same_text)];
    void *old = s->value;
    if (!old) {
        s->hash = hash;
        s->key.text = xstrdup(key);
        m->t.n++;
    }
    s->value = value;
    return old;
}

void *map_remove(struct map *m, const char *key)
{
    if (!m->t.n) return NULL;
    size_t at = slot_find(&m->t, hash_text(m, key), key, same_text);
    void *old = m->t.slots[at].value;
    if (!old) return NULL;
    free(m->t.slots[at].key.text);
    slot_close(&m->t, at);
    return old;
}

bool map_next(const struct map *m, size_t *at, const char **ret_key, void **ret_value)
{
    const struct slot *s = table_next(&m->t, at);

    if (!s) return false;
    *ret_key = s->key.text;
    *ret_value = s->value;
    return true;
}

struct refmap *refmap_new(void)
{
    struct refmap *m = xcalloc(1, sizeof(*m));

    map_random_key(m->t.secret);
    return m;
}

void refmap_free(struct refmap *m)
{
    if (!m) return;
    free(m->t.slots);
    free(m);
}

size_t refmap_count(const struct refmap *m) { return m->t.n; }

void *refmap_get(const struct refmap *m, struct ref key)
{
    return table_get(&m->t, hash_ref(m, key), &key, same_ref);
}

void *refmap_put(struct refmap *m, struct ref key, void *value)
{
    uint64_t hash = hash_ref(m, key);

    assert(value);
    table_grow(&m->t);
    struct slot *s = &m->t.slots[slot_find(&m->t, hash, &key, same_ref)];
    void *old = s->value;
    if (!old) m->t.n++;
    s->hash = hash;
    s->key.ref = key;
    s->value = value;
    return old;
}

void *refmap_remove(struct refmap *m, struct ref key)
{
    if (!m->t.n) return NULL;
    size_t at = slot_find(&m->t, hash_ref(m, key), &key, same_ref);
    void *old = m->t.slots[at].value;
    if (old) slot_close(&m->t, at);
    return old;
}

bool refmap_next(const struct refmap *m, size_t *at, struct ref *ret_key, void **ret_value)
{
    const struct slot *s = table_next(&m->t, at);

    if (!s) return false;
    *ret_key = s->key.ref;
    *ret_value = s->value;
    return true;
}
