/* Repositories whose disks are devices as they are, made and removed by others: what their drivers have in common.
 * Called by: iscsi.c, udev.c.  Calls: sm. */
#ifndef SM_RAW_H
#define SM_RAW_H

#include "sm/sm.h"

/* One device. */
struct raw_disk {
    const char *uuid;     /* NULL: the agent may choose, and keep it by location */
    const char *location, *name_label, *name_description;
    int64_t size;         /* bytes */
    bool read_only;
    const struct value *sm_config; /* more of it, a map; NULL = none */
};

/* As an answer shows it: virtual_size, sm_config and so on. */
void raw_put_disk(struct sm *sm, struct value_builder *b, const struct raw_disk *d);
/* All of the repository is in use: sum bytes. */
void raw_put_space(struct value_builder *b, int64_t sum);
/* What vdi_attach answers. */
int raw_answer_path(struct sm *sm, const char *path, struct value *ret_answer);
/* What sr_probe answers where a device holds no mark of a repository: device_config is complete, nothing was found. */
int raw_answer_probe(struct sm *sm, struct value *ret_answer);
int raw_nothing(struct sm *sm, struct value *ret_answer, struct xerr *err);
int raw_sr_content_type(struct sm *sm, struct value *ret_answer, struct xerr *err); /* "" */

extern const char *const raw_features[], *const raw_formats[];

/* A driver's table. update: also vdi_introduce. */
#define RAW_COMMANDS(create, attach, detach, probe, scan, update, vdi_update, vdi_attach, vdi_detach)        \
    { "sr_create", create, SM_NEEDS_SR },                                                                    \
    { "sr_delete", raw_nothing, SM_NEEDS_SR },                                                               \
    { "sr_attach", attach, SM_NEEDS_SR },                                                                    \
    { "sr_detach", detach, SM_NEEDS_SR },                                                                    \
    { "sr_probe", probe, 0 },                                                                                \
    { "sr_scan", scan, SM_NEEDS_SR },                                                                        \
    { "sr_update", update, SM_NEEDS_SR },                                                                    \
    { "sr_content_type", raw_sr_content_type, SM_NEEDS_SR },                                                 \
    { "vdi_introduce", vdi_update, SM_NEEDS_SR },                                                            \
    { "vdi_update", vdi_update, SM_NEEDS_SR | SM_NEEDS_VDI },                                                \
    { "vdi_forget", raw_nothing, SM_NEEDS_SR | SM_NEEDS_VDI },                                               \
    { "vdi_attach", vdi_attach, SM_NEEDS_SR | SM_NEEDS_VDI },                                                \
    { "vdi_detach", vdi_detach, SM_NEEDS_SR | SM_NEEDS_VDI },                                                \
    { NULL, NULL, 0 }

#endif
