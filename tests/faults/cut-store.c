/* Opens databases as the agent does and says what is in them: for each path on standard input the problems that the check
 * finds, every VM and every network, and a line with a dot.
 * Called by: tests/faults/test-store-cut.py.  Calls: db. */
#include <stdio.h>
#include <string.h>

#include "db/db.h"
#include "db/snap.h"
#include "db/store.h"

static void say(const struct snap *s)
{
    SNAP_EACH (s, CLASS_VM, vm) {
        const struct value *map = row_value(vm, F_VM_other_config);
        printf("VM %s\t%s", row_uuid(vm), row_str(vm, F_VM_name_description));
        for (size_t i = 0; i < map->map.n; i++) printf("\t%s", map->map.members[i].key);
        putchar('\n');
    }
    SNAP_EACH (s, CLASS_network, network) printf("network %s\n", row_str(network, F_network_name_label));
}

static int look(const char *path, struct xerr *err)
{
    _cleanup_strbuf_ struct strbuf report = STRBUF_INIT;
    struct store *store = NULL;
    struct db *db = NULL;

    if (store_open_sqlite(path, &store, err)) return -1;
    int problems = db_check(store, false, &report, err);
    store_close(store);
    if (problems) printf("problem %s\n", problems < 0 ? "the check failed" : strbuf_cstr(&report));
    if (problems < 0 || store_open_sqlite(path, &store, err) || db_open(store, &db, err)) return -1;
    struct snap *s = db_snap(db);
    say(s);
    snap_unref(s);
    db_close(db);
    return 0;
}

int main(void)
{
    char path[4096];

    while (fgets(path, sizeof(path), stdin)) {
        _cleanup_xerr_ struct xerr err = XERR_INIT;
        path[strcspn(path, "\n")] = '\0';
        if (look(path, &err)) {
            _cleanup_free_ char *why = xerr_text(&err);
            printf("problem %s\n", why);
        }
        puts(".");
        fflush(stdout);
    }
    return 0;
}
