/* VMs from archives of the Open Virtualization Format: a tar with a description, perhaps checksums, and disks of foreign formats.
 * Called by: xva_import.c.  Calls: xapi-helper, storage/content, the gates. */
#ifndef XAPI_OVA_H
#define XAPI_OVA_H

#include "xapi/xva.h"

/* The first file of an archive is named like such a description (any folder, any case): "NAME.ovf". */
bool ova_is_description(const char *name);
/* As xva_import(), from behind the head of the first file on. The description and the disks are read by confined processes;
 * disks go straight into new VDIs. Errors besides: IMPORT_ERROR_FAILED_TO_FIND_OBJECT [disk or file];
 * IMPORT_ERROR_SOME_CHECKSUMS_FAILED; IMPORT_ERROR_UNEXPECTED_FILE ["", name]. */
int ova_import(struct call *c, const struct xva_import *what, struct xva_in *in, const struct tar_entry *first,
               struct value *ret_vms, struct xerr *err);

/* ---- ova_check.c: the manifest ---- */

struct ova_check;

struct ova_check *ova_check_new(struct arena *a);
void ova_check_free(struct ova_check *k);
/* Lines of "SHA256(name)= hex": SHA1, SHA224, SHA256, SHA384, SHA512. False when it is none of that. */
bool ova_check_manifest(struct ova_check *k, const char *text);
/* A file begins; its bytes; its end. */
void ova_check_begin(struct ova_check *k, const char *name);
void ova_check_add(struct ova_check *k, const void *p, size_t n);
void ova_check_end(struct ova_check *k);
/* Every file that the manifest names was there and is what it says. */
bool ova_check_passed(const struct ova_check *k);

#endif
