/* Checks of what callers hand to the guard, so that drivers need not.
 * Called by: hv.c.  Calls: lib, gen/errors.h. */
#ifndef XAPI_HV_HV_CHECK_H
#define XAPI_HV_HV_CHECK_H

#include "xapi/hv/hv_driver.h"

/* A description made fit for a driver: texts never NULL, defaults filled in, uuid in lower case. It borrows
 * from the caller's and owns the arrays and the uuid. */
struct hv_vm_checked {
    struct hv_vm vm;
    char uuid[UUID_TEXT];
    struct hv_disk *disks;
    struct hv_nic *nics;
};
/* Errors: those of hv_start(). `who` is what errors name. Free also after a failure. */
int hv_check_vm(const struct hv_vm *vm, const char *who, struct hv_vm_checked *ret, struct xerr *err);
void hv_vm_checked_free(struct hv_vm_checked *c);

/* A device alone, normalized into *ret. */
int hv_check_disk(const struct hv_disk *disk, struct hv_disk *ret, struct xerr *err);
int hv_check_nic(const struct hv_nic *nic, struct hv_nic *ret, struct xerr *err);
/* Lower-case uuid into ret. UUID_INVALID ["VM", uuid]. */
int hv_check_uuid(const char *uuid, char ret[UUID_TEXT], struct xerr *err);
/* An absolute path that is no longer than a kernel takes. INTERNAL_ERROR naming `what`. */
int hv_check_path(const char *what, const char *path, struct xerr *err);

#endif
