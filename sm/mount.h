/* Repositories in a mounted file system: mounting at <mount dir>/<sr uuid>, and what is mounted there.
 * Called by: ext.c, share.c, smb.c, iso.c.  Calls: mount(8), umount2(2). */
#ifndef SM_MOUNT_H
#define SM_MOUNT_H

#include "sm/sm.h"

/* <mount dir>/<sr uuid>: a driver's locate(). */
int mount_point(struct sm *sm, const char **ret_path, struct xerr *err);
/* What is mounted at path: a device, "server:/export", "//server/share"; "" = nothing. */
const char *mounted_source(struct sm *sm, const char *path);
/* mount -t type -o options source path; the folder is made. SM error `number` with what mount says. */
int mount_at(struct sm *sm, const char *type, const char *source, const char *path, const char *options,
             enum sm_error number, struct xerr *err);
/* The folder goes too. Not mounted is success. SR_DEVICE_IN_USE []; SM error `number`. err NULL: nobody is told. */
int unmount_at(const char *path, enum sm_error number, struct xerr *err);

/* "\\\\server\\share" or "//server/share" as mount.cifs has it; NULL = neither. */
const char *smb_share_name(struct sm *sm, const char *text);
/* device_config's username, password (or cifsusername, cifspassword: XenServer's clients mix them) and domain as a file
 * for mount.cifs, which the caller removes; NULL when it names nobody: a guest then. */
int smb_credentials(struct sm *sm, const char **ret_path, struct xerr *err);

#endif
