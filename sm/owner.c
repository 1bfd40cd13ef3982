/* Whose a volume group is.
 * Called by: lvhd*.c.  Calls: vg. */
#include "sm/owner.h"

#include "lib/num.h"

#include <errno.h>

#define TAG "xapi_owner_"
enum { LIMIT = 256 };

static const char *pool_of(const struct sm *sm) { return sm_param(sm, "pool_uuid", ""); }

static const char *note_path(struct sm *sm)
{
    return arena_printf(sm->arena, "%s/owner-%s", sm->state_dir, sm->sr_uuid);
}

const char *owner_tag(struct sm *sm)
{
    _cleanup_free_ char *text = NULL;

    if (!*pool_of(sm) || read_file(note_path(sm), LIMIT, &text, NULL)) return "";
    return arena_strdup(sm->arena, text);
}

static int note(struct sm *sm, const char *tag, struct xerr *err)
{
    if (streq(owner_tag(sm), tag)) return 0;
    if (write_file_atomic(note_path(sm), tag, strlen(tag), 0600))
        return sm_fail_errno(err, SM_LOCK, "cannot write %s", note_path(sm));
    return 0;
}

void owner_forget(struct sm *sm) { unlink(note_path(sm)); }

/* "<pool uuid>_<epoch>" of the group, NULL = nobody's. */
static const char *found(struct vg *vg) { return vg_tag_value(vg->sm, vg->pvs[0].tags, TAG); }

static bool is_pools(const char *owner, const char *pool)
{
    const size_t n = strlen(pool);

    return strncmp(owner, pool, n) == 0 && owner[n] == '_';
}

static int64_t epoch_of(const char *owner)
{
    const char *at = strrchr(owner, '_');
    int64_t epoch = 0;

    return at && num_parse_int(at + 1, &epoch) && epoch > 0 ? epoch : 0;
}

static int fail_owned(struct vg *vg, const char *owner, struct xerr *err)
{
    const char *bar = strrchr(owner, '_');

    return sm_fail(err, SM_SR_IN_USE,
                   "%s belongs to pool %.*s, epoch %lld; device_config take_from=%.*s:%lld takes it over",
                   vg->name, (int)(bar ? bar - owner : 0), owner, (long long)epoch_of(owner),
                   (int)(bar ? bar - owner : 0), owner, (long long)epoch_of(owner));
}

/* The new tag in the place of the old one, in one change of LVM's records. */
static int take(struct vg *vg, const char *old, int64_t epoch, struct xerr *err)
{
    struct sm *sm = vg->sm;
    const char *tag = arena_printf(sm->arena, TAG "%s_%lld", pool_of(sm), (long long)epoch);
    const char *argv[24] = { "pvchange", "--quiet", "--addtag", tag };
    size_t n = 4;

    if (old) {
        argv[n++] = "--deltag";
        argv[n++] = arena_printf(sm->arena, TAG "%s", old);
    }
    for (size_t i = 0; vg->devices[i] && n + 1 < ARRAY_SIZE(argv); i++) argv[n++] = vg->devices[i];
    return vg_lvm(sm, vg->devices, argv, NULL, SM_SR_UNAVAILABLE, err) ? -1 : note(sm, tag, err);
}

static bool may_take(struct sm *sm, const char *owner)
{
    const char *from = sm_config(sm, "take_from", ""), *colon = strchr(from, ':');
    int64_t epoch;

    if (!colon || !num_parse_int(colon + 1, &epoch) || epoch != epoch_of(owner)) return false;
    return is_pools(owner, arena_strndup(sm->arena, from, (size_t)(colon - from)));
}

int owner_attach(struct vg *vg, struct xerr *err)
{
    const char *owner = found(vg);

    if (!*pool_of(vg->sm) || !owner) return 0;
    if (is_pools(owner, pool_of(vg->sm)))
        return note(vg->sm, arena_printf(vg->sm->arena, TAG "%s", owner), err);
    if (!may_take(vg->sm, owner)) return fail_owned(vg, owner, err);
    return take(vg, owner, epoch_of(owner) + 1, err);
}

int owner_check(struct vg *vg, struct xerr *err)
{
    const char *owner = found(vg), *ours = owner_tag(vg->sm);

    if (!*pool_of(vg->sm)) return 0;
    if (!owner)
        return *ours ? sm_fail(err, SM_SR_IN_USE, "%s has lost its owner", vg->name) : take(vg, NULL, 1, err);
    if (*ours ? streq(ours + strlen(TAG), owner) : is_pools(owner, pool_of(vg->sm))) return 0;
    return fail_owned(vg, owner, err);
}

int owner_claim(struct vg *vg, struct xerr *err) { return *pool_of(vg->sm) ? take(vg, NULL, 1, err) : 0; }
