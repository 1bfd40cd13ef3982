/* What the tests of the gates share: an agent with a database, a pool, a VM and the gates, and no hypervisor.
 * Called by: test-rpc*.c, test-events.c.  Calls: rpc, db. */
#ifndef TESTS_UNIT_RPC_FIXTURE_H
#define TESTS_UNIT_RPC_FIXTURE_H

#include "tests/unit/db-fixture.h"

#include "xapi/call/live_task.h"
#include "xapi/rpc/rpc.h"

struct fixture {
    char *folder;
    struct agent agent;
    struct rpc *rpc;
    struct ref vm;
};

static inline void fixture_rows(struct fixture *f)
{
    struct xerr err = XERR_INIT;
    struct txn *t = db_begin(f->agent.db);

    f->agent.pool = ref_new();
    f->agent.host = ref_new();
    f->vm = ref_new();
    txn_create(t, CLASS_host, f->agent.host);
    txn_create(t, CLASS_pool, f->agent.pool);
    txn_set_ref(t, f->agent.pool, F_pool_master, f->agent.host);
    txn_create(t, CLASS_VM, f->vm);
    txn_set_str(t, f->vm, F_VM_name_label, "one");
    assert_ok(db_commit(t, &err), &err);
}

static inline struct fixture *fixture_new(const struct rpc_config *more)
{
    struct fixture *f = xcalloc(1, sizeof(*f));
    struct xerr err = XERR_INIT;

    f->folder = folder_new();
    f->agent.root = f->folder;
    char *path = xasprintf("%s/state.db", f->folder);
    f->agent.db = open_sqlite(path);
    free(path);
    f->agent.tasks = live_tasks_new();
    fixture_rows(f);
    char *accounts = xasprintf("%s/passwd", f->folder), *source = xasprintf("file:%s", accounts);
    assert_int_equal(write_file_atomic(accounts, "", 0, 0600), 0);
    struct rpc_config config = more ? *more : (struct rpc_config){ 0 };
    config.auth = (struct auth_config){ .source = source, .helper = "/nonexistent" };
    assert_ok(rpc_init(&f->agent, &config, &f->rpc, &err), &err);
    free(accounts);
    free(source);
    return f;
}

static inline void fixture_free(struct fixture *f)
{
    rpc_free(f->rpc);
    db_close(f->agent.db);
    live_tasks_free(f->agent.tasks);
    folder_free(f->folder);
    free(f);
}

#endif
