/* Logins of external directories: how many at a time, and those that succeeded lately.
 * Called by: ext_auth.c, ext_auth_config.c, session.c, rpc/rpc.c.  Calls: turns, OpenSSL. */
#include "xapi/login_cache.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <pthread.h>

#include "lib/clock.h"
#include "lib/strbuf.h"

enum { DIGEST = 32 };

struct entry {
    unsigned char digest[DIGEST];  /* of type, user and password */
    int64_t at_ms;
    char **ids;                    /* NULL at the end */
};

struct login_cache {
    struct turns *turns;
    unsigned char key[DIGEST];     /* immutable */
    pthread_mutex_t lock;
    struct entry *entries;         /* lock: lock; the oldest first */
    size_t n, cap;
};

struct login_cache *login_cache_new(void)
{
    struct login_cache *k = xcalloc(1, sizeof(*k));

    k->turns = turns_new(1);
    if (RAND_bytes(k->key, DIGEST) != 1) abort();
    pthread_mutex_init(&k->lock, NULL);
    return k;
}

static void entry_clear(struct entry *e)
{
    for (char **id = e->ids; *id; id++) free(*id);
    free(e->ids);
}

void login_cache_free(struct login_cache *k)
{
    if (!k) return;
    for (size_t i = 0; i < k->n; i++) entry_clear(&k->entries[i]);
    free(k->entries);
    pthread_mutex_destroy(&k->lock);
    turns_free(k->turns);
    OPENSSL_cleanse(k->key, DIGEST);
    free(k);
}

struct turns *login_cache_turns(struct login_cache *k) { return k->turns; }

static void digest_of(const struct login_cache *k, const char *type, const char *user, const char *password, unsigned char out[DIGEST])
{
    struct strbuf b = STRBUF_INIT;

    strbuf_reserve(&b, strlen(type) + strlen(user) + strlen(password) + 3);
    strbuf_add(&b, type, strlen(type) + 1);
    strbuf_add(&b, user, strlen(user) + 1);
    strbuf_add(&b, password, strlen(password) + 1);
    if (!HMAC(EVP_sha256(), k->key, DIGEST, (const unsigned char *)b.ptr, b.len, out, NULL)) abort();
    explicit_bzero(b.ptr, b.len);
    strbuf_free(&b);
}

/* Lock held. */
static void drop(struct login_cache *k, size_t i)
{
    entry_clear(&k->entries[i]);
    memmove(&k->entries[i], &k->entries[i + 1], (--k->n - i) * sizeof(*k->entries));
}

/* Lock held. What is too old or too much goes. */
static void tidy(struct login_cache *k, const struct login_cache_limits *limits, int64_t now_ms)
{
    while (k->n && (now_ms - k->entries[0].at_ms >= limits->expiry_ms || (int64_t)k->n > limits->size)) drop(k, 0);
}

/* Lock held. */
static struct entry *find(struct login_cache *k, const unsigned char digest[DIGEST])
{
    for (size_t i = 0; i < k->n; i++)
        if (CRYPTO_memcmp(k->entries[i].digest, digest, DIGEST) == 0) return &k->entries[i];
    return NULL;
}

const char **login_cache_find(struct login_cache *k, const struct login_cache_limits *limits, const char *type, const char *user,
                              const char *password, struct arena *a)
{
    unsigned char digest[DIGEST];
    const char **ids = NULL;
    size_t n = 0;

    digest_of(k, type, user, password, digest);
    pthread_mutex_lock(&k->lock);
    tidy(k, limits, clock_boottime_ns() / NS_PER_MS);
    const struct entry *e = find(k, digest);
    if (e) {
        while (e->ids[n]) n++;
        ids = arena_new_array(a, const char *, n + 1);
        for (size_t i = 0; i < n; i++) ids[i] = arena_strdup(a, e->ids[i]);
        ids[n] = NULL;
    }
    pthread_mutex_unlock(&k->lock);
    return ids;
}

void login_cache_add(struct login_cache *k, const struct login_cache_limits *limits, const char *type, const char *user,
                     const char *password, const char *const *ids)
{
    struct entry e = { .at_ms = clock_boottime_ns() / NS_PER_MS };
    size_t n = 0;

    if (limits->size <= 0 || limits->expiry_ms <= 0) return;
    while (ids[n]) n++;
    e.ids = xcalloc(n + 1, sizeof(*e.ids));
    for (size_t i = 0; i < n; i++) e.ids[i] = xstrdup(ids[i]);
    digest_of(k, type, user, password, e.digest);
    pthread_mutex_lock(&k->lock);
    struct entry *old = find(k, e.digest);
    if (old) drop(k, (size_t)(old - k->entries));
    if (k->n == k->cap) {
        k->cap = k->cap ? 2 * k->cap : 64;
        k->entries = xrealloc(k->entries, k->cap * sizeof(*k->entries));
    }
    k->entries[k->n++] = e;
    tidy(k, limits, e.at_ms);
    pthread_mutex_unlock(&k->lock);
}

void login_cache_forget(struct login_cache *k, const char *id)
{
    pthread_mutex_lock(&k->lock);
    for (size_t i = k->n; i-- > 0;)
        if (!id || streq(k->entries[i].ids[0], id)) drop(k, i);
    pthread_mutex_unlock(&k->lock);
}
