/* Storage repository "lvmoiscsi": disk images in logical volumes on an iSCSI LUN.
 * Called by: the agent's storage slots.  Calls: target, lvhd. */
#include "sm/lvhd.h"
#include "sm/target.h"

/* The LUN's device, which a session shows. */
static int devices(struct sm *sm, const char *const **ret_devices, struct xerr *err)
{
    return scsi_devices(sm, NULL, NULL, ret_devices, err);
}

/* A probe has no repository yet. */
static const char *user_of(const struct sm *sm) { return *sm->sr_uuid ? sm->sr_uuid : "probe"; }

/* Logs in, and the LUN is there; without SCSIid its choice is the error. */
static int connect_lun(struct sm *sm, struct target *ret_target, struct xerr *err)
{
    const char *scsi_id = sm_config(sm, "SCSIid", "");

    if (target_config(sm, ret_target, err) || target_login(sm, ret_target, user_of(sm), err)) return -1;
    if (*scsi_id && scsi_await(sm, scsi_id, ret_target->iqn, SM_ISCSI_DEVICE, err) == 0 &&
        scsi_map(sm, scsi_id, ret_target->iqn, err) == 0)
        return 0;
    if (!*scsi_id) target_fail_luns(sm, ret_target, err);
    target_logout(sm, ret_target, user_of(sm));
    return -1;
}

static void disconnect(struct sm *sm, const struct target *t)
{
    scsi_unmap(sm, sm_config(sm, "SCSIid", ""));
    target_logout(sm, t, user_of(sm));
}

/* For as long as fn runs, unless the repository is plugged anyway. */
static int while_connected(struct sm *sm,
                           int (*fn)(struct sm *sm, struct value *ret_answer, struct xerr *err),
                           struct value *ret_answer, struct xerr *err)
{
    struct target t;

    if (target_config(sm, &t, err)) return -1;
    const bool used = target_is_used_by(sm, &t, user_of(sm));
    if (connect_lun(sm, &t, err)) return -1;
    int rc = fn(sm, ret_answer, err);
    if (!used) {
        struct value ignored;
        _cleanup_xerr_ struct xerr none = XERR_INIT;
        if (*sm->sr_uuid && rc) lvhd_sr_detach(sm, &ignored, &none);
        disconnect(sm, &t);
    }
    return rc;
}

static int sr_create(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    return while_connected(sm, lvhd_sr_create, ret_answer, err);
}

static int sr_delete(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    return while_connected(sm, lvhd_sr_delete, ret_answer, err);
}

static int sr_probe(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    return while_connected(sm, lvhd_sr_probe, ret_answer, err);
}

static int sr_attach(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    _cleanup_xerr_ struct xerr why = XERR_INIT;
    struct target t;

    if (connect_lun(sm, &t, err)) return -1;
    if (lvhd_sr_attach(sm, ret_answer, err) == 0) return 0;
    /* What an agent that died left active goes first; a disk that a VM has still is not cut off. */
    if (lvhd_sr_detach(sm, ret_answer, &why) == 0 || !xerr_is(&why, "SR_DEVICE_IN_USE")) disconnect(sm, &t);
    return -1;
}

static int sr_detach(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    struct target t;

    *ret_answer = value_void();
    if (target_config(sm, &t, err)) return -1;
    if (!target_is_used_by(sm, &t, user_of(sm))) return 0;
    if (lvhd_sr_detach(sm, ret_answer, err)) return -1;
    disconnect(sm, &t);
    return 0;
}

static const struct sm_key configuration[] = {
    TARGET_KEYS,
    { "SCSIid", "which LUN of the target; without it a probe lists them" },
    LVHD_KEYS,
};

LVHD_MAIN("lvmoiscsi", "LVM over iSCSI",
          "Disk images as VHD, qcow2 or bare in logical volumes on an iSCSI LUN", devices,
          sr_create, sr_delete, sr_attach, sr_detach, sr_probe)
