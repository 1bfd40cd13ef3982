#!/bin/sh
# The ext driver on a loop device: format, mount, use, unmount; and the disks it must refuse.
. "$(dirname "$0")/functions.sh"

command -v losetup >/dev/null && command -v mkfs.ext4 >/dev/null || skip_all "losetup or mkfs.ext4 is missing"
truncate -s 64M $work/disk $work/other
loop=$(losetup --show -f $work/disk 2>/dev/null) || skip_all "no loop device can be set up here"
umount_all() { for m in $XAPI_SM_MOUNT_DIR/*; do umount "$m" 2>/dev/null; done; }
drop_loop() { losetup -d $loop; }
cleanups="umount_all drop_loop"

sr=$(uuid)
ext() { cmd=$1; shift; sm ext "$cmd" sr_uuid=$sr config.device=$loop "$@"; }
mnt=$XAPI_SM_MOUNT_DIR/$sr

is "an SR needs a device" "$(sm ext sr_create sr_uuid=$sr args=0 | cut -d' ' -f1)" error=SR_BACKEND_FAILURE_90
is "which exists" "$(sm ext sr_create sr_uuid=$sr config.device=/dev/nonesuch | cut -d' ' -f1)" error=SR_BACKEND_FAILURE_91
is "and is a device" "$(sm ext sr_create sr_uuid=$sr config.device=$work/disk | cut -d' ' -f1)" error=SR_BACKEND_FAILURE_91
is "an unformatted disk is not attached" "$(ext sr_attach | cut -d' ' -f1)" error=SR_BACKEND_FAILURE_47
ok "sr_create formats it" ext sr_create args=0
ok "and leaves it unmounted" not mountpoint -q $mnt
is "a probe finds the SR" "$(ext sr_probe | grep -c "results.0.sr.uuid=$sr\|results.$sr.sr.uuid=$sr\|sr.uuid=$sr")" 1
is "another SR's uuid is refused" \
    "$(sm ext sr_attach sr_uuid=$(uuid) config.device=$loop | cut -d' ' -f1)" error=SR_BACKEND_FAILURE_47
a=$(ext sr_attach)
ok "sr_attach mounts it" mountpoint -q $mnt
ok "and knows its size" test "$(field "$a" sr_physical_size)" -gt 40000000
ok "attaching twice is fine" ext sr_attach
is "a mounted disk is not formatted again" \
    "$(sm ext sr_create sr_uuid=$(uuid) config.device=$loop args=0)" "error=SR_DEVICE_IN_USE "
v=$(field "$(ext vdi_create args=1048576)" uuid)
is "disks are files on it" "$(ls $mnt | grep qcow2)" $v.qcow2
# In a subshell that stands in the directory the mount is busy.
(cd $mnt && sleep 5) & sleeper=$!
sleep 0.3
is "a busy SR is not detached" "$(ext sr_detach)" "error=SR_DEVICE_IN_USE "
kill $sleeper; wait $sleeper 2>/dev/null
for i in 1 2 3 4 5 6 7 8 9 10; do ext sr_detach >/dev/null && break; sleep 0.6; done
ok "sr_detach unmounts" not mountpoint -q $mnt
ok "detaching twice is fine" ext sr_detach
ext sr_attach >/dev/null
is "the disk is still there" "$(field "$(ext sr_scan)" vdis.$v.virtual_size)" 1048576
a=$(ext vdi_create args=268435456 smconfig.type=raw)
big=$(field "$a" uuid)
dd if=/dev/zero of=$mnt/filler bs=4k 2>/dev/null
is "a full disk is called full" "$(ext vdi_create args=1048576 | cut -d' ' -f1)" error=SR_BACKEND_FAILURE_44
is "and nothing half-made stays" "$(ls $mnt | grep -c tmp-)" 0
rm $mnt/filler
ext sr_detach >/dev/null
is "an SR with disks is not deleted" "$(ext sr_delete | cut -d' ' -f1)" error=SR_BACKEND_FAILURE_39
ext sr_attach >/dev/null; ext vdi_delete vdi_uuid=$v >/dev/null; ext vdi_delete vdi_uuid=$big >/dev/null; ext sr_detach >/dev/null
ok "an empty one is" ext sr_delete
is "and the disk is blank again" "$(ext sr_attach | cut -d' ' -f1)" error=SR_BACKEND_FAILURE_47
done_testing
