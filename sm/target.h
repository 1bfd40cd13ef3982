/* Sessions with iSCSI targets, by open-iscsi.
 * Called by: lvmoiscsi.c, iscsi.c.  Calls: iscsiadm(8), scsi.
 *
 * A target's session is shared by the repositories on it: each notes its use in STATE_DIR/iscsi-<iqn>, and the last one
 * logs out. CHAP passwords go into open-iscsi's record of the node, which only root reads, never on a command line. */
#ifndef SM_TARGET_H
#define SM_TARGET_H

#include "sm/scsi.h"

#define TARGET_KEYS                                                                                          \
    { "target", "name or address of the iSCSI target" },                                                     \
    { "targetIQN", "its IQN; without it a probe lists them" },                                               \
    { "port", "its port, 3260 by default" },                                                                 \
    { "chapuser", "the name we log in by" },                                                                 \
    { "chappassword", "its password; kept as a secret" },                                                    \
    { "incoming_chapuser", "the name the target shows us in return" },                                       \
    { "incoming_chappassword", "its password; kept as a secret" },                                           \
    { "multihomed", "true: a session over each of the target's portals, joined by multipath" }

struct target {
    const char *address, *iqn;
    int64_t port;
};

/* device_config's. Errors: TARGET_MISSING, ISCSI_PORT, INVALID_ARGUMENT; IQN_MISSING with the targets there are. */
int target_config(struct sm *sm, struct target *ret_target, struct xerr *err);
/* Logs in, if nobody has, and notes the use by `user`. Errors: ISCSI_TARGET, ISCSI_DISCOVERY, ISCSI_LOGIN. */
int target_login(struct sm *sm, const struct target *t, const char *user, struct xerr *err);
/* The use ends; the last one logs out. */
void target_logout(struct sm *sm, const struct target *t, const char *user);
bool target_is_used_by(struct sm *sm, const struct target *t, const char *user);
/* Looks for what is new on the target: all disks of this host, and all that there are on the target. The session is there. */
void target_list_luns(struct sm *sm, const struct target *t, struct luns *ret_luns);
/* SCSIID with the target's LUNs, for a client that is to choose. Always -1. */
int target_fail_luns(struct sm *sm, const struct target *t, struct xerr *err);

#endif
