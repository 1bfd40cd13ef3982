#!/bin/bash
# The libvirt driver alone, with real guests: power, devices, suspend, crashes of the agent and of libvirtd.
set -u
: "${XAPI_BUILD:=$PWD}"
export XAPI_BUILD
source_dir=$(cd "$(dirname "$0")/../.." && pwd)
[ "$(id -u)" -eq 0 ] || { echo "needs root"; exit 77; }
command -v libvirtd >/dev/null && command -v qemu-system-x86_64 >/dev/null || { echo "needs libvirtd and QEMU"; exit 77; }
[ -x "$XAPI_BUILD/tests/qemu/hv-libvirt" ] || { echo "built without libvirt"; exit 77; }
"$source_dir/tests/qemu/guest.sh" "$XAPI_BUILD/guest" || { echo "no kernel for a guest"; exit 77; }
exec "$XAPI_BUILD/tests/qemu/hv-libvirt"
