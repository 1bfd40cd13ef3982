/* Class pool: how many logins are checked at a time, and which are remembered.
 * Called by: the generated thunks (schema/pool.xml).  Calls: auth, login_cache, db/. */
#include "gen/methods.h"
#include "lib/limits.h"
#include "xapi/auth.h"
#include "xapi/host.h"
#include "xapi/login_cache.h"

enum { MOST_THREADS = 64, MOST_SECONDS = 7 * 24 * 3600 };

/* A number of the pool's record, from least to most. */
static int store(struct call *c, struct ref self, field_id field, int64_t value, int64_t least, int64_t most, struct xerr *err)
{
    if (pool_need_self(c, self, err)) return -1;
    if (value < least || value > most)
        return xerr_invalid_value(err, model_field(field)->name, arena_printf(c->arena, "%lld", (long long)value));
    struct txn *t = db_begin(c->agent->db);
    txn_set_int(t, self, field, value);
    return db_commit(t, err);
}

int pool_set_local_auth_max_threads(struct call *c, struct ref self, int64_t value, struct xerr *err)
{
    if (store(c, self, F_pool_local_auth_max_threads, value, 1, MOST_THREADS, err)) return -1;
    auth_limit_checks(c->agent->auth, value);
    return 0;
}

int pool_set_ext_auth_max_threads(struct call *c, struct ref self, int64_t value, struct xerr *err)
{
    if (store(c, self, F_pool_ext_auth_max_threads, value, 1, MOST_THREADS, err)) return -1;
    turns_set(login_cache_turns(c->agent->directory_logins), value);
    return 0;
}

int pool_set_ext_auth_cache_size(struct call *c, struct ref self, int64_t value, struct xerr *err)
{
    return store(c, self, F_pool_ext_auth_cache_size, value, 1, LIMIT_LOGIN_CACHE, err);
}

int pool_set_ext_auth_cache_expiry(struct call *c, struct ref self, int64_t value, struct xerr *err)
{
    return store(c, self, F_pool_ext_auth_cache_expiry, value, 1, MOST_SECONDS, err);
}

/* Without it nothing stays that it had. */
int pool_set_ext_auth_cache_enabled(struct call *c, struct ref self, bool value, struct xerr *err)
{
    if (pool_need_self(c, self, err)) return -1;
    struct txn *t = db_begin(c->agent->db);
    txn_set_bool(t, self, F_pool_ext_auth_cache_enabled, value);
    if (db_commit(t, err)) return -1;
    if (!value) login_cache_forget(c->agent->directory_logins, NULL);
    return 0;
}
