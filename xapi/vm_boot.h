/* A boot loader's work for paravirtual guests: PV_bootloader of the record.
 * Called by: vm_power.c, startup.c.  Calls: xapi-helper, storage/content. */
#ifndef XAPI_VM_BOOT_H
#define XAPI_VM_BOOT_H

#include "xapi/vm.h"

/* Copies of the guest's kernel and ramdisk; paths, owned, NULL = none was made. */
struct vm_boot { char *kernel, *ramdisk; };

/* Where the record names a boot loader, sets kernel, ramdisk and arguments of the description, whose disks are attached:
 *   pygrub   (any path that ends so) from the first bootable disk: its file systems ext2 to ext4, in partitions (MBR, GPT) or
 *            without; grub.cfg, menu.lst, extlinux.conf or entries of the Boot Loader Specification. PV_bootloader_args:
 *            --kernel= --ramdisk= --args= --entry=; PV_args are added to what the disk says, PV_legacy_args are used with
 *            --kernel where there is no --args
 *   pvgrub   GRUB itself, as the guest's kernel
 * Errors: BOOTLOADER_FAILED [vm, why]; UNKNOWN_BOOTLOADER [vm, name]; VDI_IO_ERROR. Blocks up to 80 s; ends when the call is
 * cancelled. ret_boot is to be given to vm_boot_done() when the domain is built or will not be. */
int vm_boot_find(struct call *c, struct ref vm, struct hv_vm *vm_described, struct vm_boot *ret_boot, struct xerr *err);
/* Removes the copies. Fine twice. */
void vm_boot_done(struct vm_boot *b);
/* Removes copies that a killed agent left. At the start. */
int vm_boot_sweep(struct call *c, struct xerr *err);

#endif
