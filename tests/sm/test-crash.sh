#!/bin/sh
# kill -9 at every step of create, snapshot and delete: after a scan every disk reads as before and nothing is left over.
. "$(dirname "$0")/functions.sh"

sr=$(uuid)
loc=$work/images
file() { cmd=$1; shift; sm file "$cmd" sr_uuid=$sr "config.location=$loc" "$@"; }
killed_at() { step=$1; shift; SM_FAULT="sm.$step kill" file "$@" 2>/dev/null | grep -q 'exit=-9'; }
write() { qemu-io -f qcow2 -c "write -P $2 0 64k" "$loc/$1.qcow2" >/dev/null; }
reads() { qemu-io -r -f qcow2 -c "read -P $2 0 64k" "$loc/$1.qcow2" >"$work/io" && ! grep -q failed "$work/io"; }
names() { ls $loc | tr '\n' ' '; }

file sr_create args=0 >/dev/null

x=$(uuid)
ok "killed while it creates" killed_at image-written vdi_create vdi_uuid=$x args=1048576
is "a scan shows nothing of it" "$(field "$(file sr_scan)" vdis.n)" 0
is "and has removed it" "$(names)" ""
ok "killed after it created" killed_at image-named vdi_create vdi_uuid=$x args=1048576
is "the disk is there" "$(field "$(file sr_scan)" vdis.$x.virtual_size)" 1048576
write $x 1

for step in base-linked image-written; do
    ok "killed at $step of a snapshot" killed_at $step vdi_snapshot vdi_uuid=$x
    ok "the disk reads right before a scan" reads $x 1
    is "the scan shows one disk" "$(field "$(file sr_scan)" vdis.n)" 1
    is "and leaves one file" "$(names)" "$x.qcow2 "
    ok "which reads right" reads $x 1
done

ok "killed when the disk is frozen" killed_at image-named vdi_snapshot vdi_uuid=$x
a=$(file sr_scan)
is "the scan keeps disk and base" "$(field "$a" vdis.n)" 2
ok "the disk reads right" reads $x 1
s=$(field "$(file vdi_snapshot vdi_uuid=$x)" uuid)
is "the next snapshot uses the base that is there" "$(ls $loc | grep -c ^base-)" 1
write $x 2
s2=$(field "$(file vdi_snapshot vdi_uuid=$x)" uuid)
write $x 3

ok "killed when a deletion began" killed_at disk-dead vdi_delete vdi_uuid=$x
a=$(file sr_scan)
is "the disk is gone" "$(field "$a" vdis.$x.uuid)" ""
ok "its snapshot reads right" reads $s2 2
ok "the other too" reads $s 1
ok "killed with the last snapshot but one" killed_at base-removed vdi_delete vdi_uuid=$s2
ok "the first snapshot reads right" reads $s 1
file sr_scan >/dev/null
is "the scan finished the deletion" "$(ls $loc | grep -c dead-)" 0
ok "and the first snapshot still reads right" reads $s 1

# A chain of three bases under one disk: the deletion is cut after each base.
y=$(field "$(file vdi_create args=1048576)" uuid)
for i in 4 5 6; do write $y $i; t=$(field "$(file vdi_snapshot vdi_uuid=$y)" uuid); file vdi_delete vdi_uuid=$t >/dev/null; done
is "three bases" "$(ls $loc | grep -c ^base-)" 4
ok "the deletion is cut at the first base" killed_at base-removed vdi_delete vdi_uuid=$y
file sr_scan >/dev/null
is "the scan removed the other two" "$(ls $loc | grep -c ^base-)" 1
is "and only the first snapshot is left" "$(field "$(file sr_scan)" vdis.$s.managed)" True
ok "which is sound" qemu-img check -q -f qcow2 $loc/$s.qcow2

# The disk full, its quota used up, or failing, at each of those steps: the same, without a scan.
rm -f $loc/base-* $loc/*.qcow2
z=$(field "$(file vdi_create args=1048576)" uuid)
write $z 1
for full in base-linked:ENOSPC image-written:ENOSPC base-linked:EDQUOT image-written:EDQUOT; do
    is "no space at $full is said so" "$(SM_FAULT="sm.${full%:*} ${full#*:}" file vdi_snapshot vdi_uuid=$z | cut -d' ' -f1)" \
        error=SR_BACKEND_FAILURE_44
    is "and leaves nothing" "$(names)" "$z.qcow2 "
done
is "an I/O error when the disk is frozen is said so" \
    "$(SM_FAULT="sm.image-named EIO" file vdi_snapshot vdi_uuid=$z | cut -d' ' -f1)" error=SR_BACKEND_FAILURE_82
ok "and the disk reads right" reads $z 1

# A driver that is killed while a program it started still runs: the lock stays taken.
(flock 9; sleep 1) 9<$loc &
before=$(date +%s%N)
ok "a second driver waits for the lock of the directory" file sr_scan
took=$(( ($(date +%s%N) - before) / 1000000 ))
ok "as long as it is held ($took ms)" test $took -ge 700
wait
done_testing
