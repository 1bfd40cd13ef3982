#!/bin/sh
# The file driver: life of an SR and its disks, snapshots and their content, what clients may get wrong.
. "$(dirname "$0")/functions.sh"

sr=$(uuid)
loc=$work/images
file() { cmd=$1; shift; sm file "$cmd" sr_uuid=$sr "config.location=$loc" "$@"; }
write() { qemu-io -f qcow2 -c "write -P $2 $3 64k" "$loc/$1.qcow2" >/dev/null; }
reads() { qemu-io -r -f qcow2 -c "read -P $2 $3 64k" "$loc/$1.qcow2" | grep -q 'bytes at offset' &&
    ! qemu-io -r -f qcow2 -c "read -P $2 $3 64k" "$loc/$1.qcow2" | grep -q 'verification failed'; }

a=$(sm file sr_get_driver_info)
is "it says who it is" "$(field "$a" name)" Directory
ok "it can take snapshots" sh -c "echo '$a' | grep -q =VDI_SNAPSHOT"

is "an SR needs a location" "$(sm file sr_create sr_uuid=$sr args=0 | cut -d' ' -f1)" error=SR_BACKEND_FAILURE_94
is "and a uuid" "$(sm file sr_create config.location=$loc | cut -d' ' -f1)" error=SR_BACKEND_FAILURE_143
is "a uuid is not a path" "$(sm file sr_create sr_uuid=../../etc config.location=$loc | cut -d' ' -f1)" \
    error=SR_BACKEND_FAILURE_143
ok "sr_create makes the directory" file sr_create args=0
is "a second sr_create finds it taken" "$(file sr_create args=0 | cut -d' ' -f1)" error=SR_BACKEND_FAILURE_42
ok "sr_attach" file sr_attach
is "another SR may not attach it" \
    "$(sm file sr_attach sr_uuid=$(uuid) config.location=$loc | cut -d' ' -f1)" error=SR_BACKEND_FAILURE_47
ok "a probe names the SR" sh -c "'$PYTHON' '$here/smcall.py' '$SM_DIR/file' file sr_probe config.location=$loc | grep -q $sr"
is "an unknown command is refused" "$(file sr_dance | cut -d' ' -f1)" error=SR_BACKEND_FAILURE_38

v=$(uuid)
a=$(file vdi_create vdi_uuid=$v args=1000000000)
is "vdi_create takes the uuid it is given" "$(field "$a" uuid)" "$v"
is "and rounds the size up to sectors" "$(field "$a" virtual_size)" 1000000000
is "qemu-img sees the same size" \
    "$(qemu-img info --output=json $loc/$v.qcow2 | grep -o '"virtual-size": [0-9]*')" '"virtual-size": 1000000000'
ok "qemu-img finds nothing wrong with it" qemu-img check -q -f qcow2 $loc/$v.qcow2
is "an odd size is rounded up" "$(field "$(file vdi_create args=513)" virtual_size)" 1024
is "size 0 is refused" "$(file vdi_create args=0 | cut -d' ' -f1)" error=SR_BACKEND_FAILURE_79
is "so is more than 64 TiB" "$(file vdi_create args=99999999999999 | cut -d' ' -f1)" error=SR_BACKEND_FAILURE_79
is "so is a format that we cannot make" \
    "$(file vdi_create args=1024 smconfig.type=vmdk | cut -d' ' -f1)" error=SR_BACKEND_FAILURE_66
is "the same uuid twice is refused" "$(file vdi_create vdi_uuid=$v args=1024 | cut -d' ' -f1)" error=SR_BACKEND_FAILURE_43
big=$(field "$(file vdi_create args=70368744177664)" uuid)
ok "64 TiB is a sound image" qemu-img check -q -f qcow2 $loc/$big.qcow2
ok "its last sector can be written" qemu-io -f qcow2 -c 'write -P 7 70368744177152 512' $loc/$big.qcow2
ok "and it is still sound" qemu-img check -q -f qcow2 $loc/$big.qcow2
r=$(field "$(file vdi_create args=1048576 smconfig.type=raw)" uuid)
is "type=raw makes a raw file" "$(stat -c %s $loc/$r.raw)" 1048576

is "vdi_attach says where and what" \
    "$(file vdi_attach vdi_uuid=$v args=true | tr '\n' ' ')" "format=qcow2 params=$loc/$v.qcow2 "
is "a disk that is not there is VDI_MISSING" \
    "$(file vdi_attach vdi_uuid=$sr sr_ref=OpaqueRef:s vdi_ref=OpaqueRef:v)" "error=VDI_MISSING OpaqueRef:s|OpaqueRef:v"
is "resize grows" "$(field "$(file vdi_resize vdi_uuid=$v args=2000000000)" virtual_size)" 2000000000
is "it does not shrink" "$(file vdi_resize vdi_uuid=$v args=1000 | cut -d' ' -f1)" error=SR_BACKEND_FAILURE_79

# Content: v gets 1 before the snapshot, 2 after it.
write $v 1 0
s=$(uuid)
a=$(file vdi_snapshot vdi_uuid=$v new_uuid=$s)
is "the snapshot has the uuid it was given" "$(field "$a" uuid)" $s
is "and the size of its source" "$(field "$a" virtual_size)" 2000000000
base=$(field "$a" sm_config.vhd-parent)
ok "both stand on one hidden base" test -f $loc/base-$base.qcow2
write $v 2 0
ok "the disk has what was written after" reads $v 2 0
ok "the snapshot has what was there before" reads $s 1 0
c=$(field "$(file vdi_clone vdi_uuid=$s)" uuid)
is "a clone of an unchanged snapshot adds no base" "$(ls $loc | grep -c ^base-)" 1
ok "a clone reads as its source" reads $c 1 0
write $c 3 0
ok "and can be written" reads $c 3 0
ok "without its source noticing" reads $s 1 0
s2=$(field "$(file vdi_snapshot vdi_uuid=$v)" uuid)
is "a changed disk is frozen anew" "$(ls $loc | grep -c ^base-)" 2
ok "the second snapshot has the second content" reads $s2 2 0
for x in $v $s $c $s2; do ok "image $x is sound" qemu-img check -q -f qcow2 $loc/$x.qcow2; done

a=$(file sr_scan)
is "a scan lists disks and bases" "$(field "$a" vdis.n)" 9
is "a base is not managed" "$(field "$a" vdis.$base.managed)" False
is "a disk is" "$(field "$a" vdis.$v.managed)" True
is "a raw disk is known as such" "$(field "$a" vdis.$r.sm_config.type)" raw
cp /bin/ls $loc/$(uuid).qcow2; echo hello >$loc/notes.txt; ln -s /etc/passwd $loc/$(uuid).raw
is "foreign files are not shown" "$(field "$(file sr_scan)" vdis.n)" 9
is "nor removed" "$(ls $loc | grep -vc '^live-')" $((9 + 3))

ok "delete the disk" file vdi_delete vdi_uuid=$v
ok "the snapshots still read right" reads $s2 2 0
ok "all of them" reads $s 1 0
find $loc -name '*.txt' -delete; find $loc -type l -delete
grep -L QFI $loc/*.qcow2 | xargs rm
ok "delete a snapshot" file vdi_delete vdi_uuid=$s2
is "a base that only it needed goes too" "$(ls $loc | grep -c ^base-)" 1
ok "delete the other" file vdi_delete vdi_uuid=$s
ok "delete the clone" file vdi_delete vdi_uuid=$c
is "the last base goes with the last disk" "$(ls $loc | grep -c ^base-)" 0
is "deleting twice is VDI_MISSING" "$(file vdi_delete vdi_uuid=$c | cut -d' ' -f1)" error=VDI_MISSING

c=$(field "$(file vdi_clone vdi_uuid=$r)" uuid)
ok "a raw disk is cloned by copying" cmp $loc/$r.raw $loc/$c.raw

is "an SR with disks is not deleted" "$(file sr_delete | cut -d' ' -f1)" error=SR_BACKEND_FAILURE_39
for x in $(ls $loc | sed 's/\..*//'); do file vdi_delete vdi_uuid=$x >/dev/null; done
ok "an empty one is" file sr_delete
ok "and its directory goes" test ! -e $loc
ok "the request may come as argument" sm file sr_create --argv sr_uuid=$sr config.location=$loc args=0
is "rubbish on stdin is answered" "$(echo 'no xml' | $SM_DIR/file | grep -c SR_BACKEND_FAILURE_143)" 1
done_testing
