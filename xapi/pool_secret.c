/* The pool secret: made, read, compared, renewed.
 * Called by: session.c, http_auth, rpc_init.  Calls: OpenSSL, db/. */
#include "xapi/pool_secret.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <pthread.h>

#define LOG_MODULE "auth"
#include "gen/methods.h"
#include "lib/log.h"
#include "lib/ref.h"
#include "xapi/call/call.h"

enum { PARTS = 3, LEN = PARTS * UUID_TEXT - 1, FILE_LIMIT = 4096 };

struct pool_secret {
    char *path;                        /* immutable */
    pthread_mutex_t lock;
    char text[LEN + 1];                /* lock: lock */
};

static void make_text(char text[LEN + 1])
{
    char uuid[UUID_TEXT];

    text[0] = '\0';
    for (int i = 0; i < PARTS; i++) {
        size_t at = (size_t)i * UUID_TEXT;
        uuid_new(uuid);
        memcpy(text + at, uuid, UUID_TEXT - 1);
        text[at + UUID_TEXT - 1] = i + 1 < PARTS ? '/' : '\0';
    }
}

static int store(const struct pool_secret *s, const char *text, struct xerr *err)
{
    if (!write_file_atomic(s->path, text, strlen(text), 0600)) return 0;
    return xerr_internal(err, "cannot write %s: %s", s->path, strerror(errno));
}

/* What is in the file; -1 when that is no secret. */
static int load(struct pool_secret *s, struct xerr *err)
{
    _cleanup_free_ char *text = NULL;

    if (read_file(s->path, FILE_LIMIT, &text, NULL))
        return xerr_internal(err, "cannot read %s: %s", s->path, strerror(errno));
    text[strcspn(text, "\r\n")] = '\0';
    if (strlen(text) != LEN) return xerr_internal(err, "%s does not hold a pool secret: %d characters", s->path, LEN);
    memcpy(s->text, text, LEN + 1);
    explicit_bzero(text, strlen(text));
    return 0;
}

int pool_secret_open(const char *root, struct pool_secret **ret_secret, struct xerr *err)
{
    struct pool_secret *s = xcalloc(1, sizeof(*s));

    s->path = xasprintf("%s/pool-secret", root);
    pthread_mutex_init(&s->lock, NULL);
    bool there = !access(s->path, F_OK);
    if (!there) make_text(s->text);
    if (there ? load(s, err) : store(s, s->text, err)) {
        pool_secret_free(s);
        return -1;
    }
    *ret_secret = s;
    return 0;
}

void pool_secret_free(struct pool_secret *s)
{
    if (!s) return;
    explicit_bzero(s->text, sizeof(s->text));
    pthread_mutex_destroy(&s->lock);
    free(s->path);
    free(s);
}

bool pool_secret_is(struct pool_secret *s, const char *text)
{
    if (!text || strlen(text) != LEN) return false;
    pthread_mutex_lock(&s->lock);
    bool same = CRYPTO_memcmp(s->text, text, LEN) == 0;
    pthread_mutex_unlock(&s->lock);
    return same;
}

int pool_secret_renew(struct pool_secret *s, struct xerr *err)
{
    char text[LEN + 1];

    make_text(text);
    int rc = store(s, text, err);
    if (!rc) {
        pthread_mutex_lock(&s->lock);
        memcpy(s->text, text, sizeof(text));
        pthread_mutex_unlock(&s->lock);
    }
    explicit_bzero(text, sizeof(text));
    return rc;
}

/* ---- the message ---- */

/* 1. the new secret; 2. whoever logged in with the old one is logged out. */
int pool_rotate_secret(struct call *c, struct xerr *err)
{
    if (pool_secret_renew(c->agent->pool_secret, err)) return -1;
    log_info("the pool secret was renewed");
    struct txn *t = db_begin(c->agent->db);
    struct ref *gone = arena_new_array(c->arena, struct ref, snap_count(txn_snap(t), CLASS_session) + 1);
    size_t n = 0;

    SNAP_EACH(txn_snap(t), CLASS_session, row)
        if (row_bool(row, F_session_pool) && !ref_eq(row_ref_of(row), c->session)) gone[n++] = row_ref_of(row);
    for (size_t i = 0; i < n; i++) txn_destroy(t, CLASS_session, gone[i]);
    return db_commit(t, err);
}
