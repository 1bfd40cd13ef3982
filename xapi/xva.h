/* VMs as XVA files: a tar with ova.xml and the blocks of the disks.
 * Called by: http/xva.c.  Calls: storage/content, lib/tar, db/, the gates. */
#ifndef XAPI_XVA_H
#define XAPI_XVA_H

#include "xapi/xva_blocks.h"

/* What is in the way of exporting this VM. Errors: HANDLE_INVALID, VM_BAD_POWER_STATE,
 * OPERATION_NOT_ALLOWED. */
int xva_export_check(struct call *c, struct ref vm, struct xerr *err);
/* The whole file, with checksums of XXH64 or (sha1) the older ones; its disks are attached one after another. Errors: as VDI attach
 * and the writer's; VDI_IO_ERROR. */
int xva_export(struct call *c, struct ref vm, bool sha1, xva_write_fn write, void *arg, struct xerr *err);

/* The records of VMs without their disks: a file with ova.xml alone. */
enum { XVA_NO_VIFS = 1, XVA_NO_VBDS = 2 };
struct xva_metadata {
    const struct ref *vms;
    size_t n;
    bool snapshots;   /* theirs too */
    unsigned without; /* bits above: devices that are left out */
};
/* Errors: HANDLE_INVALID. */
int xva_metadata(struct call *c, const struct xva_metadata *what, struct strbuf *out, struct xerr *err);

struct xva_import {
    struct ref sr; /* where disks are made */
    bool restore;  /* VMs keep their uuid, cards their MAC */
    /* Records only: disks are those that are here, by uuid or by the map's old uuid -> new uuid (NULL = none). */
    bool metadata;
    bool force;    /* metadata: a disk that is not here is left out, instead of IMPORT_ERROR_FAILED_TO_FIND_OBJECT */
    bool dry_run;  /* metadata: whether it could be done; makes nothing, gives an empty set */
    const struct value *vdi_map;
    /* More of the (unpacked) file: >0 bytes, 0 the end, -1 an error. */
    ssize_t (*read)(void *arg, void *buf, size_t n);
    void *arg;
};
/* Makes the VMs of the file, halted. On failure nothing of them stays. ret_vms: a set of references.
 * Errors: IMPORT_ERROR... [..]; DUPLICATE_VM [existing]; what making VMs, disks, cards gives. */
int xva_import(struct call *c, const struct xva_import *what, struct value *ret_vms, struct xerr *err);

#endif
