/* Dumps of databases over arbitrary bytes: what is taken makes a database, and its dump makes the same one.
 * Called by: libFuzzer, replay.c.  Calls: xapi/pool_db, db/. */
#include "tests/fuzz/fuzz.h"

#include "lib/log.h"
#include "lib/strbuf.h"
#include "xapi/pool_db.h"

static int load(const struct agent *agent, const char *xml, size_t len, struct db **ret_db)
{
    _cleanup_arena_ struct arena *a = arena_new();
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    struct call c = { .magic = CALL_MAGIC, .agent = (struct agent *)(uintptr_t)agent, .arena = a };
    const int rc = pool_db_load(&c, xml, len, ret_db, &err);

    MUST(rc ? err.code != NULL : err.code == NULL);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_strbuf_ struct strbuf first = STRBUF_INIT, second = STRBUF_INIT;
    const struct agent nobody = { .host = { UINT64_C(1) << 32, 0 } };   /* the seeds' host */
    struct agent loaded = nobody;

    log_configure("stderr", "error");
    if (load(&nobody, (const char *)data, size, &loaded.db)) return 0;
    pool_db_dump(&loaded, false, &first);
    db_close(loaded.db);
    /* Another host than the one that the dump is said to be of. */
    if (load(&nobody, first.ptr, first.len, &loaded.db)) return 0;
    pool_db_dump(&loaded, false, &second);
    db_close(loaded.db);
    MUST(first.len == second.len && memcmp(first.ptr, second.ptr, first.len) == 0);
    return 0;
}
