#!/bin/sh
# Builds the small guest that the tests and quickstart boot: busybox, a few modules, one init script.
#
#   mkinitramfs.sh MODULES OUT      MODULES: a directory lib/modules/VERSION (of the running system or unpacked)
#
# The guest prints "userland: NONCE" on its serial console (nonce=NONCE on the kernel command line), brings up eth0
# (ip=ADDRESS/BITS gives it an address, ip=dhcp asks for one), powers off when the ACPI power button is pressed, and
# runs a shell on ttyS0. tick=1: one line "tick N" a second. Needs: busybox (static), modinfo, cpio, gzip.
set -eu

[ $# -eq 2 ] || { echo "usage: $0 MODULES OUT" >&2; exit 2; }
modules=$1 out=$2
[ -d "$modules/kernel" ] || { echo "$0: $modules: no kernel modules there" >&2; exit 1; }
for tool in modinfo cpio gzip; do
    command -v "$tool" >/dev/null || { echo "$0: $tool is missing" >&2; exit 1; }
done
busybox=
for candidate in /bin/busybox /usr/bin/busybox /usr/lib/busybox/busybox; do
    [ -x "$candidate" ] && busybox=$candidate && break
done
[ -n "$busybox" ] || { echo "$0: busybox is missing (package busybox-static)" >&2; exit 1; }

wanted="virtio_pci virtio_blk virtio_net virtio_balloon virtio_console virtio-rng evdev button pvpanic-pci
pvpanic-mmio e1000 ahci ata_piix sd_mod sr_mod isofs"

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root/bin" "$root/dev" "$root/proc" "$root/sys" "$root/tmp" "$root/mnt" "$root/modules" \
    "$root/etc/acpi/PWRF"
cp "$busybox" "$root/bin/busybox"
chmod 755 "$root/bin/busybox"
for applet in $("$busybox" --list); do
    [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
done

index=$root.index
trap 'rm -rf "$root" "$index"' EXIT
find "$modules/kernel" -name '*.ko' -o -name '*.ko.xz' -o -name '*.ko.gz' -o -name '*.ko.zst' >"$index"

# add MODULE: it and what it needs, in the order in which they must be loaded. A module that is built in or not there
# is left out.
add() {
    pattern=$(echo "$1" | sed 's/[-_]/[-_]/g')
    file=$(grep -m 1 -E "/$pattern\.ko(\.(xz|gz|zst))?\$" "$index") || return 0
    name=$(basename "$file" | sed 's/\.ko.*//')
    [ ! -e "$root/modules/$name.ko" ] || return 0
    depends=$(modinfo -F depends "$file" | tr , ' ')
    # A subshell keeps the variables of this level.
    for needed in $depends; do (add "$needed"); done
    case $file in
    *.xz) xz -dc "$file" >"$root/modules/$name.ko" ;;
    *.gz) gzip -dc "$file" >"$root/modules/$name.ko" ;;
    *.zst) zstd -qdc "$file" >"$root/modules/$name.ko" ;;
    *) cp "$file" "$root/modules/$name.ko" ;;
    esac
    echo "$name" >>"$root/modules/order"
}
for module in $wanted; do add "$module"; done

cat >"$root/etc/acpi/PWRF/00000080" <<'END'
#!/bin/sh
echo "power button" >/dev/console
sync
poweroff -f
END
chmod 755 "$root/etc/acpi/PWRF/00000080"

cat >"$root/init" <<'END'
#!/bin/sh
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while read -r module; do insmod "/modules/$module.ko" 2>/dev/null; done </modules/order
nonce= ip= tick=
for word in $(cat /proc/cmdline); do
    case $word in
    nonce=*) nonce=${word#nonce=} ;;
    ip=*) ip=${word#ip=} ;;
    tick=*) tick=${word#tick=} ;;
    esac
done
echo 1 >/proc/sys/kernel/sysrq
echo 5 >/proc/sys/kernel/panic_on_oops
ifconfig lo 127.0.0.1 up
if [ -e /sys/class/net/eth0 ]; then
    ip link set eth0 up
    case $ip in
    '') ;;
    dhcp) udhcpc -i eth0 -n -q -t 5 >/dev/null 2>&1 & ;;
    *) ip addr add "$ip" dev eth0 ;;
    esac
fi
acpid -l /dev/null
echo "userland: $nonce"
[ -z "$tick" ] || (n=0; while :; do n=$((n + 1)); echo "tick $n"; sleep 1; done) &
cd /tmp
while :; do setsid cttyhack sh; done
END
chmod 755 "$root/init"

(cd "$root" && find . | LC_ALL=C sort | cpio -o -H newc --quiet -R 0:0 | gzip -9) >"$out.part"
mv "$out.part" "$out"
