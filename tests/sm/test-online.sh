#!/bin/sh
# A snapshot of a disk that a process has open: prepare, switch, finish; and abort.
. "$(dirname "$0")/functions.sh"

sr=$(uuid)
loc=$work/images
file() { cmd=$1; shift; sm file "$cmd" sr_uuid=$sr "config.location=$loc" "$@"; }
reads() { qemu-io -r -U -f qcow2 -c "read -P $2 $3 64k" "$loc/$1.qcow2" >"$work/io" 2>&1 && ! grep -q failed "$work/io"; }
command -v qemu-storage-daemon >/dev/null || skip_all "qemu-storage-daemon is missing"

file sr_create args=0 >/dev/null
x=$(field "$(file vdi_create args=1048576)" uuid)
qemu-io -f qcow2 -c 'write -P 1 0 64k' $loc/$x.qcow2 >/dev/null

is "a disk in use wants the phases" "$(file vdi_snapshot vdi_uuid=$x attached=rw | cut -d' ' -f1)" \
    error=SR_BACKEND_FAILURE_24

# The guest: a storage daemon that has the disk open, told over QMP.
mkfifo $work/qmp.in
qemu-storage-daemon --chardev stdio,id=m --monitor chardev=m \
    --blockdev driver=file,node-name=f0,filename=$loc/$x.qcow2 --blockdev driver=qcow2,node-name=d0,file=f0 \
    --nbd-server addr.type=unix,addr.path=$work/nbd --export type=nbd,id=e,node-name=d0,name=d,writable=on \
    <$work/qmp.in >$work/qmp.out 2>&1 &
daemon=$!
stop_daemon() { kill $daemon 2>/dev/null; }
cleanups=stop_daemon
exec 8>$work/qmp.in
qmp() { echo "$1" >&8; }
guest() { qemu-io -f raw -c "$1" "nbd+unix:///d?socket=$work/nbd"; }
qmp '{"execute":"qmp_capabilities"}'
for i in 1 2 3 4 5 6 7 8 9 10; do [ -S $work/nbd ] && guest 'read 0 512' >/dev/null 2>&1 && break; sleep 0.2; done
ok "the guest writes" guest 'write -P 2 64k 64k'

# First a guest that does not follow.
a=$(file vdi_snapshot vdi_uuid=$x attached=rw phase=prepare)
base=$(field "$a" base_uuid)
is "prepare names a path of the new image's own" "$(field "$a" params)" $loc/live-$x-$base.qcow2
ok "the guest writes on" guest 'write -P 3 128k 64k'
ok "abort" file vdi_snapshot vdi_uuid=$x attached=rw phase=abort base_uuid=$base
is "leaves one file" "$(ls $loc)" $x.qcow2
ok "and the guest is still in it" guest 'read -P 3 128k 64k'

# Now one that does.
a=$(file vdi_snapshot vdi_uuid=$x attached=rw phase=prepare)
base=$(field "$a" base_uuid)
qmp '{"execute":"blockdev-add","arguments":{"driver":"qcow2","node-name":"d1","backing":null,"file":{"driver":"file","filename":"'$loc/$x.qcow2'"}}}'
qmp '{"execute":"blockdev-snapshot","arguments":{"node":"d0","overlay":"d1"}}'
sleep 0.5
s=$(field "$(file vdi_snapshot vdi_uuid=$x attached=rw phase=finish base_uuid=$base)" uuid)
ok "finish gives a snapshot" test -f $loc/$s.qcow2
ok "the guest writes over what it had" guest 'write -P 9 0 64k'
ok "the snapshot has the old content" reads $s 1 0
ok "all of it" reads $s 3 131072
exec 8>&-
kill $daemon; wait $daemon 2>/dev/null
ok "the disk has the new content" reads $x 9 0
ok "on top of the old" reads $x 2 65536
ok "it is sound" qemu-img check -q -f qcow2 $loc/$x.qcow2
is "its backing file is the base" \
    "$(qemu-img info --output=json -f qcow2 $loc/$x.qcow2 | grep -o '"backing-filename": "base-[^"]*"')" \
    "\"backing-filename\": \"base-$base.qcow2\""
is "prepare, finish and a rescan agree" "$(field "$(file sr_scan)" vdis.n)" 3
done_testing
