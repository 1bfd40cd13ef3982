/* Storage repository "lvm": disk images in logical volumes on local block devices.
 * Called by: the agent's storage slots.  Calls: lvhd, block. */
#include "sm/block.h"
#include "sm/lvhd.h"

static const struct sm_key configuration[] = {
    { "device", "path of the local block device, for example /dev/sdb; several with commas between" },
    LVHD_KEYS,
};

LVHD_MAIN("lvm", "Local disk (LVM)",
          "Disk images as VHD, qcow2 or bare in logical volumes on local disks", block_devices,
          lvhd_sr_create, lvhd_sr_delete, lvhd_sr_attach, lvhd_sr_detach, lvhd_sr_probe)
