/* Repositories that are folders of a share, called by their uuids: what nfs and smb have in common.
 * Called by: nfs.c, smb.c.  Calls: mount, dir.
 *
 * Such a driver has a function that makes a struct share of the request (struct sm_driver's share) and the commands below. */
#ifndef SM_SHARE_H
#define SM_SHARE_H

#include "sm/dir.h"
#include "sm/mount.h"

struct share {
    const char *type;   /* for mount(8) */
    const char *source; /* "server:/export" */
    const char *options;
    const char *secret; /* a file that the options name, removed after the mount; NULL = none */
    bool subfolder;     /* the repository is source/<sr uuid>, else source itself */
};

int share_sr_create(struct sm *sm, struct value *ret_answer, struct xerr *err);
int share_sr_delete(struct sm *sm, struct value *ret_answer, struct xerr *err);
int share_sr_attach(struct sm *sm, struct value *ret_answer, struct xerr *err);
int share_sr_detach(struct sm *sm, struct value *ret_answer, struct xerr *err);
int share_sr_probe(struct sm *sm, struct value *ret_answer, struct xerr *err);
#define SHARE_COMMANDS                                                           \
    { "sr_create", share_sr_create, SM_NEEDS_SR },                               \
    { "sr_delete", share_sr_delete, SM_NEEDS_SR },                               \
    { "sr_probe", share_sr_probe, 0 },                                           \
    { "sr_attach", share_sr_attach, SM_NEEDS_SR },                               \
    { "sr_detach", share_sr_detach, SM_NEEDS_SR },                               \
    DIR_OTHER_COMMANDS

/* What a type of shares says of itself: sm_driver's share. */
struct share_type {
    /* Errors: what is wrong with device_config, as the type's clients know it. */
    int (*make)(struct sm *sm, struct share *ret_share, struct xerr *err);
    enum sm_error mount_error, unmount_error, create_error;
};

/* A driver of shares: its type, name, description. Its struct share_type and its keys are in tables of the file, type and
 * configuration. */
#define SHARE_MAIN(type_, name_, description_)                                                               \
    static const struct sm_command commands[] = { SHARE_COMMANDS };                                          \
    static const struct sm_driver driver = {                                                                 \
        .type = type_, .name = name_, .description = description_, .configuration = configuration,           \
        .features = dir_features, .formats = dir_formats, .commands = commands, .locate = mount_point,       \
        .share = &type,                                                                                      \
    };                                                                                                       \
    int main(int argc, char **argv) { return sm_main(&driver, argc, argv); }

#endif
