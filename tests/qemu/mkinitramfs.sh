#!/bin/sh
# Builds the small guest that the tests and quickstart boot: busybox, a few modules, one init script.
#
#   mkinitramfs.sh MODULES OUT      MODULES: a directory lib/modules/VERSION (of the running system or unpacked)
#
# The guest prints "userland: NONCE" on its serial console (nonce=NONCE on the kernel command line), brings up eth0
# (ip=ADDRESS/BITS gives it an address, ip=dhcp asks for one), powers off when the ACPI power button is pressed, and
# runs a shell on ttyS0. tick=1: one line "tick N" a second. agent=1: a guest agent that knows a few commands; agent=real: QEMU's
# own, which tests/qemu/test-agent.py adds; agent=hostile: one that lies without bounds.
# disk=DEV: says "disk DEV: " and the first line of that disk, and writes "written by NONCE" to its second 4 KiB.
# crash=N: the kernel panics N seconds after the start. stubborn=1: asked to power off or to reboot it does nothing.
# tpm=write: puts "xapi-tpm" into its TPM for good, and says "tpm NONCE: written"; tpm=read: says "tpm NONCE: " and what is there.
# load=1: writes ever higher numbers, one after the other, to the ends of its disks vda, vdb and vdc, each when the one before is on
# its disk: line N of 4 KiB says N, and the first line is the last number. Says "load N" when all have it. Started anew it goes on there.
# ping=A,B: says in each round "reach N: " and which of these addresses have answered.
# watch=1: says "devices: NAMES cpus: N memory: KIB" whenever that has changed.
# Needs: busybox (static), modinfo, cpio, gzip.
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
pvpanic-mmio e1000 ahci ata_piix sd_mod sr_mod isofs xen-blkfront xen-netfront"

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root/bin" "$root/sbin" "$root/dev" "$root/proc" "$root/sys" "$root/tmp" "$root/mnt" "$root/modules" \
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

# The kernel runs these when the toolstack of a Xen host asks for it.
for word in poweroff reboot; do
    cat >"$root/sbin/$word" <<END
#!/bin/sh
grep -q stubborn=1 /proc/cmdline && { echo "$word: no" >/dev/console; exit 0; }
echo "$word: yes" >/dev/console
exec /bin/$word -f
END
    chmod 755 "$root/sbin/$word"
done

# Speaks the QEMU guest agent's protocol as far as a toolstack asks: a line of JSON in, a line of JSON out.
# Answers what it is asked with names, numbers and lists that no toolstack wants to see.
cat >"$root/bin/hostile-agent" <<'END'
#!/bin/sh
for port in /sys/class/virtio-ports/*; do
    [ "$(cat "$port/name")" = org.qemu.guest_agent.0 ] && exec 3<>"/dev/${port##*/}" && break
done
long=$(head -c 60000 /dev/zero | tr '\0' x)
bad='<&]]>\u0001\u001b[2J\ufffe|'
say() { echo "{\"return\":$1}" >&3; }
while :; do
    read -r line <&3 || { sleep 1; continue; }
    case $line in
    *'"guest-sync'*) id=${line##*\"id\":}; say "${id%%[!0-9]*}" ;;
    *'"guest-ping"'*) say '{}' ;;
    *'"guest-get-osinfo"'*) echo "agent: asked" >/dev/console; say "{\"id\":\"$long\",\"pretty-name\":\"$bad\",\"version-id\":\"$bad$long\"}" ;;
    *'"guest-get-host-name"'*) say "{\"host-name\":\"$long\"}" ;;
    *'"guest-network-get-interfaces"'*)
        list=; n=0
        while [ $n -lt 200 ]; do
            n=$((n + 1))
            list="$list${list:+,}{\"name\":\"eth0\",\"hardware-address\":\"$1\",\"ip-addresses\":[{\"ip-address\":\"10.0.0.$n\",\"ip-address-type\":\"ipv4\",\"prefix\":-1}]}"
        done
        say "[$list]" ;;
    *'"guest-shutdown"'*) say '[[[[[[[[[[' ;;
    *) echo '{"error":{"class":"CommandNotFound","desc":"not known here"}}' >&3 ;;
    esac
done
END
chmod 755 "$root/bin/hostile-agent"

cat >"$root/bin/guest-agent" <<'END'
#!/bin/sh
for port in /sys/class/virtio-ports/*; do
    [ "$(cat "$port/name")" = org.qemu.guest_agent.0 ] && exec 3<>"/dev/${port##*/}" && break
done
say() { echo "{\"return\":$1}" >&3; }
while :; do
    # At the end of the file: nobody has opened the other side.
    read -r line <&3 || { sleep 1; continue; }
    case $line in
    *'"guest-sync'*) id=${line##*\"id\":}; say "${id%%[!0-9]*}" ;;
    *'"guest-ping"'*) say '{}' ;;
    *'"guest-get-osinfo"'*)
        say '{"id":"tiny","name":"Tiny","pretty-name":"Tiny Linux 1","version-id":"1","kernel-release":"'"$(uname -r)"'"}' ;;
    *'"guest-get-host-name"'*) say '{"host-name":"'"$(hostname)"'"}' ;;
    *'"guest-get-timezone"'*) say '{"zone":"UTC","offset":0}' ;;
    *'"guest-network-get-interfaces"'*)
        list=
        for nic in /sys/class/net/*; do
            name=${nic##*/} ips=
            for ip in $(ip -o addr show dev "$name" | sed -n 's/.* inet\(6\{0,1\}\) \([^ ]*\)\/\([0-9]*\) .*/\1,\2,\3/p'); do
                case $ip in 6,*) type=ipv6 ;; *) type=ipv4 ;; esac
                bits=${ip##*,} address=${ip#*,} address=${address%,*}
                ips="$ips${ips:+,}{\"ip-address\":\"$address\",\"ip-address-type\":\"$type\",\"prefix\":$bits}"
            done
            list="$list${list:+,}{\"name\":\"$name\",\"hardware-address\":\"$(cat "$nic/address")\",\"ip-addresses\":[$ips]}"
        done
        say "[$list]" ;;
    *'"guest-shutdown"'*)
        echo "agent: shutdown" >/dev/console
        case $line in *reboot*) reboot -f ;; *) poweroff -f ;; esac ;;
    *) echo '{"error":{"class":"CommandNotFound","desc":"not known here"}}' >&3 ;;
    esac
done
END
chmod 755 "$root/bin/guest-agent"

# One command of TPM 2.0, its bytes as printf has them; the answer goes to /tmp/answer.
cat >"$root/bin/tpm-run" <<'END'
#!/bin/sh
exec 4<>/dev/tpm0 || exit 1
printf "$1" >/tmp/command
dd if=/tmp/command bs=4096 count=1 >&4 2>/dev/null
dd of=/tmp/answer bs=4096 count=1 <&4 2>/dev/null
[ "$(dd if=/tmp/answer bs=1 skip=6 count=4 2>/dev/null | od -An -tx1 | tr -d ' \n')" = 00000000 ]
END
# NV_DefineSpace by the owner, NV_Write and NV_Read of 8 bytes at index 0x01500001, all with the empty password.
cat >"$root/bin/tpm-keep" <<'END'
#!/bin/sh
session='\0\0\0\x09\x40\0\0\x09\0\0\0\0\0' index='\x01\x50\0\x01'
[ -e /dev/tpm0 ] || { echo none; exit; }
case $1 in
write)
    tpm-run "\x80\x02\0\0\0\x2d\0\0\x01\x2a\x40\0\0\x01$session\0\0\0\x0e$index\0\x0b\x02\x06\0\x06\0\0\0\x08" &&
        tpm-run "\x80\x02\0\0\0\x2b\0\0\x01\x37$index$index$session\0\x08xapi-tpm\0\0" && echo written || echo failed ;;
*)
    tpm-run "\x80\x02\0\0\0\x23\0\0\x01\x4e$index$index$session\0\x08\0\0" || { echo empty; exit; }
    dd if=/tmp/answer bs=1 skip=16 count=8 2>/dev/null; echo ;;
esac
END
chmod 755 "$root/bin/tpm-run" "$root/bin/tpm-keep"

cat >"$root/init" <<'END'
#!/bin/sh
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
# A paravirtual guest of Xen has no PCI devices: there is nothing for the other drivers, and each costs time.
[ -e /sys/bus/pci/devices/0000:00:00.0 ] && drivers= || drivers=xen
while read -r module; do
    case $module in "$drivers"*) insmod "/modules/$module.ko" 2>/dev/null ;; esac
done </modules/order
nonce= ip= tick= agent= disk= crash= watch= tpm= load= ping=
for word in $(cat /proc/cmdline); do
    case $word in
    nonce=*) nonce=${word#nonce=} ;;
    ip=*) ip=${word#ip=} ;;
    tick=*) tick=${word#tick=} ;;
    agent=*) agent=${word#agent=} ;;
    disk=*) disk=${word#disk=} ;;
    crash=*) crash=${word#crash=} ;;
    watch=*) watch=${word#watch=} ;;
    tpm=*) tpm=${word#tpm=} ;;
    load=*) load=${word#load=} ;;
    ping=*) ping=${word#ping=} ;;
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
# It opens the button when it is in the background already: who has seen "userland" may press it. Without one it would not start.
if [ -e /dev/input/event0 ]; then
    acpid -l /dev/null
    for _ in $(seq 100); do ls -l "/proc/$(pidof acpid)/fd" 2>/dev/null | grep -q /dev/input/ && break; sleep 0.1; done
fi
case $agent in
'') ;;
real) real-agent 2>/dev/console & ;;
hostile) hostile-agent "$(cat /sys/class/net/eth0/address)" 2>/dev/null & ;;
*) guest-agent 2>/dev/null & ;;
esac
echo "userland: $nonce"
[ -z "$tpm" ] || echo "tpm $nonce: $(tpm-keep "$tpm")"
if [ -n "$disk" ]; then
    for _ in $(seq 100); do [ -b "/dev/$disk" ] && break; sleep 0.1; done
    echo "disk $disk: $(head -n 1 "/dev/$disk" | head -c 200)"
    printf 'written by %s\n' "$nonce" | dd of="/dev/$disk" bs=4096 seek=1 conv=sync,fsync 2>/dev/null && echo "disk $disk: written"
fi
# A line is written before the number that says so: whatever stands there later, lines 1 to that number are whole.
# A guest that was cut off goes on with the line that may be on some disks only.
write_on() {
    for _ in $(seq 100); do [ -b /dev/vda ] && break; sleep 0.1; done
    n=$(head -c 4096 /dev/vda | tr -d '\0 \n')
    n=$((${n:-1} - 1))
    while :; do
        n=$((n + 1))
        for disk in vda vdb vdc; do
            printf '%4095s\n%4095s\n' "$n" "$n" >/tmp/line
            dd if=/tmp/line of=/dev/$disk bs=4096 count=1 seek=$((1 + n % 2000)) conv=fsync 2>/dev/null
            dd if=/tmp/line of=/dev/$disk bs=4096 count=1 conv=fsync 2>/dev/null
        done
        echo "load $n"
    done
}
[ -z "$load" ] || write_on &
reach() {
    n=0
    while :; do
        n=$((n + 1)) reached=
        for address in $(echo "$ping" | tr , ' '); do
            ping -q -c 1 -W 3 "$address" >/dev/null 2>&1 && reached="$reached $address"
        done
        echo "reach $n:$reached"
        sleep 1
    done
}
[ -z "$ping" ] || reach &
facts() {
    echo "devices: $(cd /sys/block && echo *) $(cd /sys/class/net && echo *)" \
        "cpus: $(grep -c ^processor /proc/cpuinfo) memory: $(awk '/^MemTotal/ { print $2 }' /proc/meminfo)"
}
[ -z "$watch" ] || (old=; while :; do new=$(facts); [ "$new" = "$old" ] || echo "$new"; old=$new; sleep 1; done) &
[ -z "$crash" ] || (sleep "$crash"; echo c >/proc/sysrq-trigger) &
[ -z "$tick" ] || (n=0; while :; do n=$((n + 1)); echo "tick $n"; sleep 1; done) &
cd /tmp
while :; do setsid cttyhack sh; done
END
chmod 755 "$root/init"

(cd "$root" && find . | LC_ALL=C sort | cpio -o -H newc --quiet -R 0:0 | gzip -9) >"$out.part"
mv "$out.part" "$out"
