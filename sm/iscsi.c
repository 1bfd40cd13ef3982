/* Storage repository "iscsi": each LUN of an iSCSI target is a disk as it is.
 * Called by: the agent's storage slots.  Calls: target, raw.
 *
 * The LUNs are made and removed by whoever runs the target; a scan finds them. A disk's uuid comes from its LUN's SCSI id,
 * so that it is the same everywhere and for ever. */
#include "lib/map.h"
#include "sm/raw.h"
#include "sm/target.h"

static const char *uuid_of(struct sm *sm, const struct lun *l)
{
    static const uint64_t keys[2][2] = { { 0x78617069, 0x69736373 }, { 0x6c756e73, 0x75756964 } };
    struct ref r = { map_siphash(l->scsi_id, strlen(l->scsi_id), keys[0]),
                     map_siphash(l->scsi_id, strlen(l->scsi_id), keys[1]) };

    return uuid_to_text(r, arena_alloc(sm->arena, UUID_TEXT));
}

static bool is_disk(const struct luns *luns, const struct lun *l, const struct target *t)
{
    return streq(l->iqn, t->iqn) && *l->scsi_id && scsi_find(luns, l->scsi_id, t->iqn) == l;
}

static void put_space(const struct luns *luns, const struct target *t, struct value_builder *b)
{
    int64_t sum = 0;

    for (size_t i = 0; i < luns->n; i++)
        if (is_disk(luns, &luns->list[i], t)) sum += luns->list[i].size;
    raw_put_space(b, sum);
}

static void put_lun(struct sm *sm, struct value_builder *b, const struct lun *l)
{
    const char *number = arena_printf(sm->arena, "%lld", (long long)l->number);
    struct value_builder config = value_builder(sm->arena);

    value_put(&config, "LUNid", value_string(number));
    value_put(&config, "SCSIid", value_string(l->scsi_id));
    const struct value more = value_built_map(&config);
    const struct raw_disk d = { .uuid = uuid_of(sm, l),
                                .location = uuid_of(sm, l),
                                .name_label = arena_printf(sm->arena, "LUN %s", number),
                                .size = l->size,
                                .sm_config = &more };
    raw_put_disk(sm, b, &d);
}

/* The target, and the disks it shows. The repository is plugged. */
static int look(struct sm *sm, struct target *ret_target, struct luns *ret_luns, struct xerr *err)
{
    if (target_config(sm, ret_target, err)) return -1;
    if (!target_is_used_by(sm, ret_target, sm->sr_uuid))
        return sm_fail(err, SM_SR_UNAVAILABLE, "no session with %s", ret_target->iqn);
    scsi_list(sm, ret_luns);
    return 0;
}

/* The LUN that the request names. */
static int find_lun(struct sm *sm, const struct luns *luns, const struct target *t,
                    const struct lun **ret_lun, struct xerr *err)
{
    const char *uuid = *sm->vdi_uuid       ? sm->vdi_uuid
                       : *sm->vdi_location ? sm->vdi_location
                                           : sm_param(sm, "new_uuid", "");

    for (size_t i = 0; i < luns->n; i++) {
        const struct lun *l = &luns->list[i];
        if (!is_disk(luns, l, t)) continue;
        if (!streq(uuid_of(sm, l), uuid) &&
            !streq(value_get_str(sm_map(sm, "vdi_sm_config"), "SCSIid", ""), l->scsi_id))
            continue;
        *ret_lun = l;
        return 0;
    }
    return sm_fail_missing(sm, err);
}

/* ---- the repository ------------------------------------------------------------------------ */

static int sr_create(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    struct target t;

    *ret_answer = value_void();
    if (target_config(sm, &t, err) || target_login(sm, &t, sm->sr_uuid, err)) return -1;
    target_logout(sm, &t, sm->sr_uuid);
    return 0;
}

static int sr_update(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    struct value_builder b = value_builder(sm->arena);
    struct target t;
    struct luns luns;

    if (look(sm, &t, &luns, err)) return -1;
    target_list_luns(sm, &t, &luns);
    put_space(&luns, &t, &b);
    *ret_answer = value_built_map(&b);
    return 0;
}

static int sr_attach(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    struct target t;

    if (target_config(sm, &t, err) || target_login(sm, &t, sm->sr_uuid, err)) return -1;
    return sr_update(sm, ret_answer, err);
}

static int sr_detach(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    struct target t;

    *ret_answer = value_void();
    if (target_config(sm, &t, err)) return -1;
    target_logout(sm, &t, sm->sr_uuid);
    return 0;
}

/* A target holds no mark of a repository: there is none to find. Without a target, the choice of targets is the error. */
static int sr_probe(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    struct target t;

    if (target_config(sm, &t, err) || target_login(sm, &t, "probe", err)) return -1;
    target_logout(sm, &t, "probe");
    return raw_answer_probe(sm, ret_answer);
}

static int sr_scan(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    struct value_builder b = value_builder(sm->arena), vdis = b;
    struct target t;
    struct luns luns;

    if (look(sm, &t, &luns, err)) return -1;
    target_list_luns(sm, &t, &luns);
    for (size_t i = 0; i < luns.n; i++) {
        struct value_builder vdi = value_builder(sm->arena);
        if (!is_disk(&luns, &luns.list[i], &t)) continue;
        put_lun(sm, &vdi, &luns.list[i]);
        value_push(&vdis, value_built_map(&vdi));
    }
    value_put(&b, "vdis", value_built_set(&vdis));
    put_space(&luns, &t, &b);
    *ret_answer = value_built_map(&b);
    return 0;
}

/* ---- disks --------------------------------------------------------------------------------- */

static int vdi_update(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    struct value_builder b = value_builder(sm->arena);
    const struct lun *l = NULL;
    struct target t;
    struct luns luns;

    if (look(sm, &t, &luns, err) || find_lun(sm, &luns, &t, &l, err)) return -1;
    put_lun(sm, &b, l);
    put_space(&luns, &t, &b);
    *ret_answer = value_built_map(&b);
    return 0;
}

static int vdi_attach(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    const struct lun *l = NULL;
    struct target t;
    struct luns luns;

    if (look(sm, &t, &luns, err) || find_lun(sm, &luns, &t, &l, err) || scsi_map(sm, l->scsi_id, t.iqn, err)) return -1;
    scsi_list(sm, &luns);
    return raw_answer_path(sm, scsi_path(sm, scsi_find(&luns, l->scsi_id, t.iqn)), ret_answer);
}

static int vdi_detach(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    _cleanup_xerr_ struct xerr ignored = XERR_INIT;
    const struct lun *l = NULL;
    struct target t;
    struct luns luns;

    (void)err;
    *ret_answer = value_void();
    if (look(sm, &t, &luns, &ignored) || find_lun(sm, &luns, &t, &l, &ignored)) return 0;
    scsi_unmap(sm, l->scsi_id);
    return 0;
}

static const struct sm_key configuration[] = { TARGET_KEYS, { NULL, NULL } };
static const struct sm_command commands[] = { RAW_COMMANDS(sr_create, sr_attach, sr_detach, sr_probe, sr_scan,
                                                           sr_update, vdi_update, vdi_attach, vdi_detach) };

static const struct sm_driver driver = {
    .type = "iscsi",
    .name = "Raw LUNs over iSCSI",
    .description = "Each LUN of an iSCSI target is a disk as it is",
    .configuration = configuration,
    .features = raw_features,
    .formats = raw_formats,
    .commands = commands,
};

int main(int argc, char **argv) { return sm_main(&driver, argc, argv); }
