/* Class pool: the one pool this host is in.
 * Called by: startup, the generated thunks (schema/pool.xml).  Calls: db/. */
#include "gen/methods.h"
#include "xapi/call/lifecycle.h"
#include "xapi/features.h"
#include "xapi/startup.h"

int pool_startup(struct agent *agent, struct xerr *err)
{
    struct txn *t = db_begin(agent->db);
    struct snap_iter it = snap_iter(txn_snap(t), CLASS_pool);
    const struct row *row = snap_next(txn_snap(t), &it);

    agent->pool = row ? row_ref_of(row) : ref_new();
    if (!row) {
        txn_create(t, CLASS_pool, agent->pool);
        txn_set_ref(t, agent->pool, F_pool_master, agent->host);
    }
    features_write(t, agent->pool, F_pool_restrictions);
    lifecycle_refresh(t, CLASS_pool, agent->pool);
    return db_commit(t, err);
}

int pool_sync_database(struct call *c, struct xerr *err)
{
    /* Every acknowledged write is on disk already; an empty commit waits for those in flight. */
    return db_commit(db_begin(c->agent->db), err);
}
