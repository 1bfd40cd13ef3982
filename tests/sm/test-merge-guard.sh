#!/bin/sh
# While a snapshot of a disk in use is between "prepare" and "finish" the guest may write to the new base: it is merged into nothing.
. "$(dirname "$0")/functions.sh"

for format in qcow2 vhd; do
    sr=$(uuid)
    loc=$work/$format
    file() { cmd=$1; shift; sm file "$cmd" sr_uuid=$sr "config.location=$loc" "$@"; }
    merges() { field "$(file sr_gc_plan attached_list=$x)" merges.n; }

    file sr_create args=0 >/dev/null
    x=$(field "$(file vdi_create args=4194304 smconfig.image-format=$format)" uuid)
    file vdi_snapshot vdi_uuid=$x phase=freeze >/dev/null
    file vdi_attach vdi_uuid=$x args=true >/dev/null
    is "$format: a base with one child stays under it while that is in use" "$(merges)" 0
    a=$(file vdi_snapshot vdi_uuid=$x attached=rw phase=prepare)
    base=$(field "$a" base_uuid)
    is "$format: prepared: nothing is merged" "$(merges)" 0
    file sr_scan >/dev/null
    is "$format: nor after a scan" "$(merges)" 0
    b=$(file vdi_snapshot vdi_uuid=$x attached=rw phase=abort base_uuid=$base)
    is "$format: taken back: nothing to do" "$(merges)" 0
    a=$(file vdi_snapshot vdi_uuid=$x attached=rw phase=prepare)
    base=$(field "$a" base_uuid)
    s=$(field "$(file vdi_snapshot vdi_uuid=$x attached=rw phase=finish base_uuid=$base)" uuid)
    is "$format: finished: the base can go into the one below" "$(merges)" 1
    is "$format: it is that one" "$(file sr_gc_plan attached_list=$x | tr ' ' '\n' | grep "\.top=")" "merges.$base.top=$base"
    file vdi_detach vdi_uuid=$x >/dev/null
    file vdi_delete vdi_uuid=$s >/dev/null
    file vdi_delete vdi_uuid=$x >/dev/null
    is "$format: nothing is left" "$(ls $loc)" ""
done
done_testing
