/* Class session: create_from_db_file, and the dumps that such sessions read.
 * Called by: rpc/, session.c, vdi_metadata.c.  Calls: pool_db, db/. */
#include "xapi/session_db.h"

#include <errno.h>
#include <pthread.h>

#define LOG_MODULE "session"
#include "gen/methods.h"
#include "lib/limits.h"
#include "lib/log.h"
#include "xapi/pool_db.h"
#include "xapi/session.h"

struct slot {
    struct ref session;
    struct db *db;                 /* NULL = free */
    unsigned users;                /* calls that read it now */
};

struct session_dbs {
    pthread_mutex_t lock;
    struct slot slots[LIMIT_DUMP_SESSIONS];    /* lock: lock */
};

struct session_dbs *session_dbs_new(void)
{
    struct session_dbs *d = xcalloc(1, sizeof(*d));

    pthread_mutex_init(&d->lock, NULL);
    return d;
}

void session_dbs_free(struct session_dbs *d)
{
    if (!d) return;
    for (size_t i = 0; i < LIMIT_DUMP_SESSIONS; i++) db_close(d->slots[i].db);
    pthread_mutex_destroy(&d->lock);
    free(d);
}

/* Under the lock. session null: a free one. */
static struct slot *find(struct session_dbs *d, struct ref session)
{
    for (size_t i = 0; i < LIMIT_DUMP_SESSIONS; i++) {
        struct slot *s = &d->slots[i];
        if (ref_is_null(session) ? !s->db : s->db && ref_eq(s->session, session)) return s;
    }
    return NULL;
}

struct db *session_db_use(struct agent *agent, struct ref session)
{
    struct session_dbs *d = agent->session_dbs;

    pthread_mutex_lock(&d->lock);
    struct slot *s = find(d, session);
    if (s) s->users++;
    struct db *db = s ? s->db : NULL;
    pthread_mutex_unlock(&d->lock);
    return db;
}

void session_db_done(struct agent *agent, struct ref session)
{
    struct session_dbs *d = agent->session_dbs;

    pthread_mutex_lock(&d->lock);
    find(d, session)->users--;
    pthread_mutex_unlock(&d->lock);
}

bool session_db_is_open(struct agent *agent, struct ref session)
{
    struct session_dbs *d = agent->session_dbs;

    pthread_mutex_lock(&d->lock);
    bool open = find(d, session) != NULL;
    pthread_mutex_unlock(&d->lock);
    return open;
}

void session_dbs_tidy(struct agent *agent)
{
    struct session_dbs *d = agent->session_dbs;
    struct db *gone[LIMIT_DUMP_SESSIONS];
    size_t n = 0;

    {
        _cleanup_snap_ struct snap *s = db_snap(agent->db);
        pthread_mutex_lock(&d->lock);
        for (size_t i = 0; i < LIMIT_DUMP_SESSIONS; i++) {
            struct slot *slot = &d->slots[i];
            if (!slot->db || slot->users || snap_get(s, CLASS_session, slot->session)) continue;
            gone[n++] = take_ptr(slot->db);
        }
        pthread_mutex_unlock(&d->lock);
    }
    for (size_t i = 0; i < n; i++) db_close(gone[i]);
}

/* ---- opening ---- */

/* 1. the dump; 2. the session; 3. both together. A session that comes without its dump is of no use and goes. */
int session_db_open(struct call *c, const char *text, size_t len, const char *what, struct ref *ret_secret,
                    struct xerr *err)
{
    struct session_dbs *d = c->agent->session_dbs;
    struct db *db = NULL;
    struct ref secret, session;

    session_dbs_tidy(c->agent);
    if (pool_db_load(c, text, len, &db, err)) return -1;
    if (session_open_database(c, &secret, &session, err)) {
        db_close(db);
        return -1;
    }
    pthread_mutex_lock(&d->lock);
    struct slot *s = find(d, REF_NULL);
    if (s) *s = (struct slot){ .session = session, .db = take_ptr(db) };
    pthread_mutex_unlock(&d->lock);
    if (db) {
        db_close(db);
        session_close(c->agent, session);
        return xerr_too_many_pending_tasks(err);
    }
    log_info("a session reads %s", what);
    *ret_secret = secret;
    return 0;
}

int session_create_from_db_file(struct call *c, const char *filename, struct ref *ret_result, struct xerr *err)
{
    _cleanup_free_ char *text = NULL;
    size_t len;

    if (*filename != '/') return xerr_invalid_value(err, "filename", filename);
    if (read_file(filename, LIMIT_POOL_DUMP, &text, &len))
        return xerr_import_error(err, arena_printf(c->arena, "%s: %s", filename, strerror(errno)));
    return session_db_open(c, text, len, filename, ret_result, err);
}
