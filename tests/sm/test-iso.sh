#!/bin/sh
# The iso driver: lists CD images, attaches them read-only, and does not leave its directory.
. "$(dirname "$0")/functions.sh"

sr=$(uuid)
loc=$work/iso
mkdir $loc
iso() { cmd=$1; shift; sm iso "$cmd" sr_uuid=$sr "config.location=$loc" "$@"; }
head -c 4096 /dev/zero >"$loc/Debian 12.iso"
head -c 2048 /dev/zero >"$loc/b.ISO"
echo no >$loc/readme.txt; echo no >$loc/.hidden.iso; mkdir $loc/folder.iso
ln -s /nowhere $loc/dangling.iso

is "an SR needs a location" "$(sm iso sr_create sr_uuid=$sr | cut -d' ' -f1)" error=SR_BACKEND_FAILURE_220
is "a directory" "$(sm iso sr_create sr_uuid=$sr config.location=$loc/b.ISO | cut -d' ' -f1)" error=SR_BACKEND_FAILURE_226
is "of this host" "$(sm iso sr_create sr_uuid=$sr config.location=some/where | cut -d' ' -f1)" error=SR_BACKEND_FAILURE_226
ok "sr_create" iso sr_create config.legacy_mode=true args=0
ok "sr_attach" iso sr_attach
is "its content type is iso" "$(field "$(iso sr_content_type)" value)" iso
a=$(iso sr_scan)
is "a scan shows CDs only" "$(field "$a" vdis.n)" 2
ok "by name" sh -c "echo '$a' | grep -q 'location=Debian 12.iso'"
ok "with their size" sh -c "echo '$a' | grep -q 'virtual_size=4096'"
is "a CD is attached by its name" \
    "$(iso vdi_attach "vdi_location=Debian 12.iso" args=false | tr '\n' ' ')" "format=raw params=$loc/Debian 12.iso "
is "not for writing" "$(iso vdi_attach "vdi_location=b.ISO" args=true vdi_ref=OpaqueRef:v)" "error=VDI_READONLY OpaqueRef:v"
is "what is gone is VDI_MISSING" "$(iso vdi_attach vdi_location=c.iso args=false | cut -d' ' -f1)" error=VDI_MISSING
is "other folders are out of reach" \
    "$(iso vdi_attach vdi_location=../iso/b.ISO args=false | cut -d' ' -f1)" error=VDI_MISSING
is "only CD images are introduced" "$(iso vdi_introduce vdi_location=readme.txt | cut -d' ' -f1)" error=SR_BACKEND_FAILURE_221
is "nothing is created" "$(iso vdi_create args=1024 | cut -d' ' -f1)" error=SR_BACKEND_FAILURE_38
ok "sr_detach" iso sr_detach
done_testing
