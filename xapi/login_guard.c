/* Guessing of passwords, held back by address.
 * Called by: session.c, rpc/rpc.c.  Calls: lib/map (its hash), lib/log. */
#include "xapi/login_guard.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>

#define LOG_MODULE "auth"
#include "lib/log.h"
#include "lib/map.h"
#include "lib/strbuf.h"

enum { ADDRESSES = 256, KNOWN = 256, KEY_TEXT = 64 };

/* An address from which a wrong password came. */
struct suspect {
    char key[KEY_TEXT];
    double left;                   /* of its stock, as of then */
    int64_t then_ms;
    unsigned pending;              /* passwords that are being checked */
    bool told;                     /* the log has been, since it was empty */
};

struct login_guard {
    pthread_mutex_t lock;
    pthread_cond_t result;
    uint64_t secret[2];            /* immutable */
    /* lock: lock, all of the following */
    struct suspect suspects[ADDRESSES];
    size_t n;
    uint64_t known[KNOWN];         /* logins that succeeded; the oldest is overwritten */
    size_t next_known;
};

struct login_guard *login_guard_new(void)
{
    struct login_guard *g = xcalloc(1, sizeof(*g));

    pthread_mutex_init(&g->lock, NULL);
    pthread_cond_init(&g->result, NULL);
    map_random_key(g->secret);
    return g;
}

void login_guard_free(struct login_guard *g)
{
    if (!g) return;
    pthread_cond_destroy(&g->result);
    pthread_mutex_destroy(&g->lock);
    free(g);
}

/* One customer has a whole /64 of IPv6 addresses. */
static void key_of(const char *address, char key[KEY_TEXT])
{
    unsigned char raw[16];

    if (inet_pton(AF_INET6, address, raw) == 1)
        memset(raw + 8, 0, 8), inet_ntop(AF_INET6, raw, key, KEY_TEXT);
    else
        snprintf(key, KEY_TEXT, "%s", address);
}

/* Of a keyed hash that never leaves this process. */
static uint64_t tag_of(const struct login_guard *g, const char *key, const struct login_attempt *a)
{
    struct strbuf b = STRBUF_INIT;

    strbuf_add(&b, key, strlen(key) + 1);
    strbuf_add(&b, a->user, strlen(a->user) + 1);
    strbuf_add(&b, a->password, strlen(a->password) + 1);
    uint64_t tag = map_siphash(b.ptr, b.len, g->secret);
    explicit_bzero(b.ptr, b.len);
    strbuf_free(&b);
    return tag;
}

/* Lock held. */
static bool is_known(const struct login_guard *g, uint64_t tag)
{
    for (size_t i = 0; i < KNOWN; i++)
        if (g->known[i] == tag) return true;
    return false;
}

/* Lock held. With its stock as of now; NULL = nothing is held against it. */
static struct suspect *find(struct login_guard *g, const char *key, const struct login_attempt *a)
{
    for (size_t i = 0; i < g->n; i++) {
        struct suspect *s = &g->suspects[i];
        if (!streq(s->key, key)) continue;
        int64_t passed_ms = a->now_ms > s->then_ms ? a->now_ms - s->then_ms : 0;
        s->left += (double)passed_ms / (double)(a->interval_ms > 0 ? a->interval_ms : 1);
        if (s->left > (double)a->stock) s->left = (double)a->stock;
        s->then_ms = a->now_ms;
        return s;
    }
    return NULL;
}

/* Lock held. The one not heard of for longest makes room; none while its passwords are being checked, of which there are
 * fewer at a time than places. */
static struct suspect *add(struct login_guard *g, const char *key, const struct login_attempt *a)
{
    struct suspect *s = &g->suspects[0];

    if (g->n < ADDRESSES) {
        s = &g->suspects[g->n++];
    } else {
        for (size_t i = 1; i < g->n; i++) {
            struct suspect *other = &g->suspects[i];
            if (!other->pending && (s->pending || other->then_ms < s->then_ms)) s = other;
        }
    }
    *s = (struct suspect){ .left = (double)a->stock, .then_ms = a->now_ms };
    memcpy(s->key, key, KEY_TEXT);
    return s;
}

bool login_guard_admits(struct login_guard *g, const struct login_attempt *a)
{
    char key[KEY_TEXT] = "";

    if (a->stock <= 0) return true;
    key_of(a->address, key);
    uint64_t tag = tag_of(g, key, a);
    pthread_mutex_lock(&g->lock);
    struct suspect *s;
    bool known;
    for (;;) {
        s = find(g, key, a);
        if (!s) s = add(g, key, a);
        known = is_known(g, tag);
        if (known || s->left < 1 || s->left - s->pending >= 1) break;
        pthread_cond_wait(&g->result, &g->lock);
    }
    bool empty = s->left < 1, tell = empty && !s->told, admits = known || !empty;
    if (admits) s->pending++;
    s->told = empty;
    pthread_mutex_unlock(&g->lock);
    if (tell) log_warn("%s: too many wrong passwords; its logins are held back", a->address);
    return admits;
}

void login_guard_result(struct login_guard *g, const struct login_attempt *a, enum login_result result)
{
    char key[KEY_TEXT] = "";

    if (a->stock <= 0) return;
    key_of(a->address, key);
    uint64_t tag = tag_of(g, key, a);
    pthread_mutex_lock(&g->lock);
    struct suspect *s = find(g, key, a);
    if (s && s->pending) s->pending--;
    if (s && result == LOGIN_WRONG) s->left = s->left > 1 ? s->left - 1 : 0;
    if (result == LOGIN_GOOD && !is_known(g, tag)) g->known[g->next_known++ % KNOWN] = tag;
    pthread_cond_broadcast(&g->result);
    pthread_mutex_unlock(&g->lock);
}
