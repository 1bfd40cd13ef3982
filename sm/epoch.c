/* Whose a repository is.
 * Called by: owner.c, dir_owner.c.  Calls: lib. */
#include "sm/epoch.h"

#include "lib/num.h"

#include <stdio.h>

enum { LIMIT = 256 };

static const char *pool_of(const struct sm *sm) { return sm_param(sm, "pool_uuid", ""); }

static const char *note_path(struct sm *sm)
{
    return arena_printf(sm->arena, "%s/owner-%s", sm->state_dir, sm->sr_uuid);
}

const char *epoch_note(struct sm *sm)
{
    _cleanup_free_ char *text = NULL;

    if (!*pool_of(sm) || read_file(note_path(sm), LIMIT, &text, NULL)) return "";
    return arena_strdup(sm->arena, text);
}

static int note(struct sm *sm, const char *mark, struct xerr *err)
{
    if (streq(epoch_note(sm), mark)) return 0;
    if (write_file_atomic(note_path(sm), mark, strlen(mark), 0600))
        return sm_fail_errno(err, SM_LOCK, "cannot write %s", note_path(sm));
    return 0;
}

void epoch_forget(struct sm *sm) { unlink(note_path(sm)); }

static bool is_pools(const char *mark, const char *pool)
{
    const size_t n = strlen(pool);

    return strncmp(mark, pool, n) == 0 && mark[n] == '_';
}

static int64_t number_of(const char *mark)
{
    const char *at = strrchr(mark, '_');
    int64_t epoch = 0;

    return at && num_parse_int(at + 1, &epoch) && epoch > 0 ? epoch : 0;
}

static int fail_owned(const struct epoch *e, struct xerr *err)
{
    const char *bar = strrchr(e->found, '_');
    const int n = (int)(bar ? bar - e->found : 0);

    return sm_fail(err, SM_SR_IN_USE,
                   "%s belongs to pool %.*s, epoch %lld, and one pool at a time may change it: "
                   "a PBD with device_config take_from=%.*s:%lld takes it over", e->name,
                   n, e->found, (long long)number_of(e->found), n, e->found, (long long)number_of(e->found));
}

static int take(const struct epoch *e, int64_t epoch, struct xerr *err)
{
    const char *mark = arena_printf(e->sm->arena, "%s_%lld", pool_of(e->sm), (long long)epoch);

    return e->put(e, mark, err) ? -1 : note(e->sm, mark, err);
}

static bool may_take(const struct epoch *e)
{
    const char *from = sm_config(e->sm, "take_from", ""), *colon = strchr(from, ':');
    int64_t epoch;

    if (!colon || !num_parse_int(colon + 1, &epoch) || epoch != number_of(e->found)) return false;
    return is_pools(e->found, arena_strndup(e->sm->arena, from, (size_t)(colon - from)));
}

int epoch_attach(const struct epoch *e, struct xerr *err)
{
    if (!*pool_of(e->sm)) return 0;
    if (!e->found) {
        epoch_forget(e->sm);
        return 0;
    }
    if (is_pools(e->found, pool_of(e->sm))) return note(e->sm, e->found, err);
    return may_take(e) ? take(e, number_of(e->found) + 1, err) : fail_owned(e, err);
}

int epoch_look(const struct epoch *e, struct xerr *err)
{
    const char *ours = epoch_note(e->sm);

    if (!*pool_of(e->sm)) return 0;
    if (!e->found) return *ours ? sm_fail(err, SM_SR_IN_USE, "%s has lost its owner", e->name) : 0;
    if (*ours ? streq(ours, e->found) : is_pools(e->found, pool_of(e->sm))) return 0;
    return fail_owned(e, err);
}

int epoch_check(const struct epoch *e, struct xerr *err)
{
    if (epoch_look(e, err)) return -1;
    return e->found || !*pool_of(e->sm) ? 0 : take(e, 1, err);
}

int epoch_claim(const struct epoch *e, struct xerr *err) { return *pool_of(e->sm) ? take(e, 1, err) : 0; }
