/* Whose a volume group is: the tag of its devices.
 * Called by: lvhd*.c.  Calls: epoch, vg. */
#include "sm/owner.h"

#include "sm/epoch.h"

#define TAG "xapi_owner_"

const char *owner_tag(struct sm *sm)
{
    const char *mark = epoch_note(sm);

    return *mark ? arena_printf(sm->arena, TAG "%s", mark) : "";
}

void owner_forget(struct sm *sm) { epoch_forget(sm); }

/* The new tag in the place of the old one, in one change of LVM's records. */
static int put(const struct epoch *e, const char *mark, struct xerr *err)
{
    const struct vg *vg = e->arg;
    const char *argv[24] = { "pvchange", "--quiet", "--addtag", arena_printf(e->sm->arena, TAG "%s", mark) };
    size_t n = 4;

    if (e->found) {
        argv[n++] = "--deltag";
        argv[n++] = arena_printf(e->sm->arena, TAG "%s", e->found);
    }
    for (size_t i = 0; vg->devices[i] && n + 1 < ARRAY_SIZE(argv); i++) argv[n++] = vg->devices[i];
    return vg_lvm(e->sm, vg->devices, argv, NULL, SM_SR_UNAVAILABLE, err);
}

static struct epoch of(struct vg *vg)
{
    return (struct epoch){
        .sm = vg->sm,
        .name = vg->name,
        .found = vg->n_pvs ? vg_tag_value(vg->sm, vg->pvs[0].tags, TAG) : NULL,
        .put = put,
        .arg = vg,
    };
}

int owner_attach(struct vg *vg, struct xerr *err)
{
    const struct epoch e = of(vg);

    return epoch_attach(&e, err);
}

int owner_check(struct vg *vg, struct xerr *err)
{
    const struct epoch e = of(vg);

    return epoch_check(&e, err);
}

int owner_claim(struct vg *vg, struct xerr *err)
{
    const struct epoch e = of(vg);

    return epoch_claim(&e, err);
}
