#!/bin/sh
# The dummy driver: slow and failing as it is told, otherwise a repository like the file driver's.
. "$(dirname "$0")/functions.sh"

sr=$(uuid)
dummy() { cmd=$1; shift; sm dummy "$cmd" sr_uuid=$sr "$@"; }
ms() { t=$(date +%s%N); "$@" >/dev/null; echo $(( ($(date +%s%N) - t) / 1000000 )); }

ok "sr_create" dummy sr_create args=0
ok "sr_attach" dummy sr_attach
v=$(field "$(dummy vdi_create args=1048576)" uuid)
is "a scan finds its disk" "$(field "$(dummy sr_scan)" vdis.$v.virtual_size)" 1048576
ok "it sleeps as long as it is told" test $(ms dummy sr_scan config.sleep_ms=700) -ge 700
ok "only in the commands it is told" test $(ms dummy sr_scan config.sleep_ms=5000 config.sleep_commands=vdi_create) -lt 4000
is "it fails as it is told" \
    "$(dummy vdi_attach vdi_uuid=$v config.fail_code=46 config.fail_commands=vdi_attach)" \
    "error=SR_BACKEND_FAILURE_46 |vdi_attach fails as asked|"
ok "other commands do not" dummy sr_scan config.fail_code=46 config.fail_commands=vdi_attach
done_testing
