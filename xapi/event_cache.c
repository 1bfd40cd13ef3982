/* Encoded events, shared by those who watch the same rows with tokens of their own.
 * Called by: event_sub.c, event_hub.c.  Calls: event.h.
 *
 * What many wait for is what has just changed: a table of some last ones is enough. A row that is there under another key is
 * pushed out by the one that comes, and what is held stays below HELD_BYTES. */
#include "xapi/event_sub.h"

#include <pthread.h>

enum { SLOTS = 256, LONGEST = 16 << 10, HELD_BYTES = 512 << 10 };

struct slot {
    struct event_key key;
    struct event_text *text;       /* NULL: empty */
};

struct event_cache {
    pthread_mutex_t lock;
    /* lock: lock, all of the following */
    size_t held_bytes, hand;
    struct slot slots[SLOTS];
};

struct event_cache *event_cache_new(void)
{
    struct event_cache *c = xcalloc(1, sizeof(*c));

    pthread_mutex_init(&c->lock, NULL);
    return c;
}

void event_cache_free(struct event_cache *c)
{
    if (!c) return;
    for (size_t i = 0; i < SLOTS; i++) event_text_unref(c->slots[i].text);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

static struct slot *slot_of(struct event_cache *c, const struct event_key *k)
{
    const uint64_t odd = 0x9e3779b97f4a7c15u;
    uint64_t h = ((k->ref.hi * odd + k->ref.lo) * odd + k->order) * odd + k->what;

    h *= odd;
    return &c->slots[(h >> 32) % SLOTS];
}

static bool same(const struct event_key *a, const struct event_key *b)
{
    return a->order == b->order && a->what == b->what && ref_cmp(a->ref, b->ref) == 0;
}

static void empty(struct event_cache *c, struct slot *s)
{
    if (!s->text) return;
    c->held_bytes -= s->text->len;
    event_text_unref(s->text);
    s->text = NULL;
}

bool event_cache_get(struct event_cache *c, const struct event_key *key, struct strbuf *out)
{
    pthread_mutex_lock(&c->lock);
    const struct slot *s = slot_of(c, key);
    struct event_text *text = s->text && same(&s->key, key) ? event_text_ref(s->text) : NULL;
    pthread_mutex_unlock(&c->lock);
    if (!text) return false;
    strbuf_add(out, text->ptr, text->len);
    event_text_unref(text);
    return true;
}

void event_cache_put(struct event_cache *c, const struct event_key *key, const char *ptr, size_t len)
{
    if (len > LONGEST) return;
    struct event_text *text = event_text_new(xstrndup(ptr, len), len);
    pthread_mutex_lock(&c->lock);
    struct slot *s = slot_of(c, key);
    empty(c, s);
    while (c->held_bytes + len > HELD_BYTES) empty(c, &c->slots[c->hand++ % SLOTS]);
    *s = (struct slot){ *key, text };
    c->held_bytes += len;
    pthread_mutex_unlock(&c->lock);
}
