#!/bin/bash
# Builds what the rig's machines boot from, out of Debian packages that the machine's own apt fetches. Nothing is installed,
# mounted or run as another system: packages are unpacked into a folder, which becomes an ext4 image.
#
#   make-root.sh DIR GUEST      afterwards DIR has root.img, initrd.cpio, vmlinux, xen
#                               GUEST: the folder that tests/qemu/guest.sh filled
#
# Called by: rig.py. Needs: apt, openssl, dpkg-deb, mke2fs (e2fsprogs), depmod (kmod), busybox-static, cpio, xz, ldconfig; root.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ $# -eq 2 ] || { echo "usage: $0 DIR GUEST" >&2; exit 2; }
[ "$(id -u)" -eq 0 ] || { echo "$0: files of the root image belong to root: run it as root" >&2; exit 1; }
dir=$1 guest=$2
root=$dir/root
rm -rf "$root" "$dir/debs"
mkdir -p "$dir/debs/partial" "$root"
words() { sed -n "s/#.*//; $1" "$here/packages" | tr '\n' ' '; }

# 1. Fetch: the whole dependency tree, as for a machine that has nothing yet. One try more with fresh lists.
: >"$dir/debs/status"
chmod -R a+rwX "$dir/debs"
fetch() {
    # shellcheck disable=SC2046
    apt-get -qq -y -o Acquire::Retries=5 --no-install-recommends -o Dir::State::status="$dir/debs/status" -o Dir::Cache::archives="$dir/debs" \
        -o APT::Sandbox::User=root -o Debug::NoLocking=1 --download-only install $(words '/^[a-z]*:/!p') >"$dir/fetch.log" 2>&1 &&
    (cd "$dir/debs" && apt-get -qq -o Acquire::Retries=5 -o APT::Sandbox::User=root download $(words 's/^alone: //p') >>"$dir/fetch.log" 2>&1)
}
fetch || { apt-get -qq -o Acquire::Retries=5 update && fetch; } || { tail -n 20 "$dir/fetch.log" >&2; exit 1; }

# 2. Unpack, with /bin and its like as links into /usr. Texts that nobody reads in a test stay out.
for name in bin sbin lib lib64; do
    mkdir -p "$root/usr/$name"
    ln -s "usr/$name" "$root/$name"
done
never=" $(words 's/^never: //p')"
for deb in "$dir"/debs/*.deb; do
    name=${deb##*/}
    case $never in *" ${name%%_*} "*) continue ;; esac
    echo "$deb"
done | xargs -n 1 sh -c 'dpkg-deb --fsys-tarfile "$1" | tar -x -C "$0" --keep-directory-symlink --exclude="./usr/share/doc/*" \
    --exclude="./usr/share/man/*" --exclude="./usr/share/locale/*" --exclude="./usr/share/info/*" --exclude="./usr/share/lintian/*" \
    --exclude="./usr/share/perl*" --exclude="./usr/lib/debug/*"' "$root"
mkdir -p "$root"/usr/lib/python3/dist-packages
mv "$root"/usr/lib/python3/dist-packages/os_xenapi/client/XenAPI.py "$root"/usr/lib/python3/dist-packages/XenAPI.py
rm -rf "$root"/usr/lib/python3/dist-packages/os_xenapi* "$root"/usr/lib/python3/dist-packages/oslo*

# 3. What the packages' own scripts would have done, as far as a test needs it.
cp "$root/usr/share/base-passwd/passwd.master" "$root/etc/passwd"
cp "$root/usr/share/base-passwd/group.master" "$root/etc/group"
cat >>"$root/etc/passwd" <<'PASSWD'
_rpc:x:100:65534::/run/rpcbind:/usr/sbin/nologin
statd:x:101:65534::/var/lib/nfs:/usr/sbin/nologin
openvswitch:x:102:102::/nonexistent:/usr/sbin/nologin
dnsmasq:x:103:65534::/var/lib/misc:/usr/sbin/nologin
radvd:x:104:65534::/run/radvd:/usr/sbin/nologin
messagebus:x:105:65534::/nonexistent:/usr/sbin/nologin
libvirt-qemu:x:106:106::/var/lib/libvirt:/usr/sbin/nologin
PASSWD
printf 'openvswitch:x:102:\nkvm:x:106:\n' >>"$root/etc/group"
sed -i 's/^root:[^:]*:/root:x:/' "$root/etc/passwd"
password=$(openssl passwd -6 -salt rig 'correct horse')
echo "root:$password:19000:0:99999:7:::" >"$root/etc/shadow"
chmod 600 "$root/etc/shadow"
for kind in auth account session password; do
    echo "$kind required pam_unix.so" >"$root/etc/pam.d/common-$kind"
done
cp "$root/usr/share/libc-bin/nsswitch.conf" "$root/etc/nsswitch.conf"
echo "127.0.0.1 localhost" >"$root/etc/hosts"
ln -sf dash "$root/usr/bin/sh"
ln -sf mawk "$root/usr/bin/awk"
ln -sf nc.openbsd "$root/usr/bin/nc"
[ -e "$root/usr/sbin/ovs-vswitchd" ] || ln -s ../lib/openvswitch-switch/ovs-vswitchd "$root/usr/sbin/ovs-vswitchd"
mkdir -p "$root"/{proc,sys,dev,run,tmp,mnt,root} "$root"/var/{log,tmp,lib/nfs/v4recovery,lib/nfs/sm,lib/nfs/rpc_pipefs,lib/xen,lib/openvswitch}
chmod 1777 "$root/tmp" "$root/var/tmp"
rm -rf "$root/var/run" "$root/var/lock"
ln -s /run "$root/var/run"
ln -s /run/lock "$root/var/lock"
: >"$root/etc/machine-id"
: >"$root/var/lib/nfs/etab"
: >"$root/var/lib/nfs/rmtab"
ldconfig -r "$root"

# 4. Kernel and modules. The kernel without its compression: Xen takes 8 s to undo it in an emulator.
kernel=$(echo "$guest"/kernel/lib/modules/*)
version=${kernel##*/}
mkdir -p "$root/usr/lib/modules/$version/kernel"
# The folders and files that are listed, and what those need: "FILE: NEEDED..." are the lines of modules.dep.
(cd "$kernel" && depmod -b "$guest/kernel" -n "$version" 2>/dev/null | sed -n 's/^\(kernel[^ ]*\.ko\):/\1/p' |
    awk 'NR == FNR { if (!/^#/) for (i = 1; i <= NF; i++) want[++n] = "kernel/" $i; next }
        { for (i = 1; i <= n; i++)
            if ($1 == want[i] || index($1, want[i] "/") == 1) { for (j = 1; j <= NF; j++) print $j; break } }' "$here/modules" - |
    sort -u | tar -c -T -) | tar -x -C "$root/usr/lib/modules/$version"
cp "$kernel"/modules.{order,builtin,builtin.modinfo} "$root/usr/lib/modules/$version/"
rm -f "$root/usr/lib/modules/$version/kernel/drivers/block/floppy.ko"      # looking for one takes seconds
depmod -b "$root" -a "$version"
python3 - "$guest/vmlinuz" "$dir/vmlinux" <<'PY'
import lzma, sys
data = open(sys.argv[1], 'rb').read()
at = data.index(b'\xfd7zXZ\0')
elf = lzma.LZMADecompressor().decompress(data[at:])
assert elf[:4] == b'\x7fELF'
open(sys.argv[2], 'wb').write(elf)
PY
mkdir -p "$root/boot"
cp "$dir/vmlinux" "$guest/vmlinuz" "$guest/initramfs.gz" "$root/boot/"
case $(echo "$root"/boot/xen-4*) in
*.gz) gzip -dc "$root"/boot/xen-4*.gz >"$dir/xen"; rm "$root"/boot/xen-4*.gz ;;
*) mv "$(echo "$root"/boot/xen-4*)" "$dir/xen" ;;
esac

# 5. Our own files, and the initramfs that finds the root.
mkdir -p "$root/usr/lib/rig"
cp "$here/machine-init.sh" "$here/rigd.py" "$here/lio.py" "$root/usr/lib/rig/"
openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=rig -days 3650 -keyout "$dir/key.pem" -out "$dir/cert.pem" 2>"$dir/fetch.log"
cat "$dir/key.pem" "$dir/cert.pem" >"$root/usr/lib/rig/server.pem"     # making one takes the machine five seconds
rm "$dir/key.pem" "$dir/cert.pem"
small=$dir/small
rm -rf "$small"
mkdir -p "$small"/{bin,dev,proc,sys,root,modules}
cp /bin/busybox "$small/bin/busybox"
for applet in sh mount insmod switch_root mknod sleep; do ln -s busybox "$small/bin/$applet"; done
modprobe -d "$root" -S "$version" -a --show-depends virtio_pci virtio_blk ext4 crc32c_generic | awk '$1 == "insmod" { print $2 }' |
    awk '!seen[$0]++' | while read -r file; do
    cp "$file" "$small/modules/"
    echo "${file##*/}" >>"$small/modules/order"
done
cat >"$small/init" <<'INIT'
#!/bin/sh
export PATH=/bin
mount -t devtmpfs dev /dev
while read -r module; do insmod "/modules/$module"; done </modules/order
mount -t ext4 /dev/vda /root || exec sh
mount -o move /dev /root/dev 2>/dev/null || mount --move /dev /root/dev
exec switch_root /root /usr/lib/rig/machine-init.sh
INIT
chmod 755 "$small/init"
(cd "$small" && find . | LC_ALL=C sort | cpio -o -H newc --quiet -R 0:0) >"$dir/initrd.cpio"

# 6. The image.
rm -f "$dir/root.img"
mke2fs -F -q -t ext4 -L rig -O '^has_journal,^metadata_csum' -E lazy_itable_init=1 -d "$root" "$dir/root.img" 3G >/dev/null
rm -rf "$root" "$small" "$dir/debs" "$dir/fetch.log"
