#!/bin/bash
# The small Linux that real guests of the tests and of quickstart boot: Debian's kernel, unpacked and not installed, and the
# initramfs of mkinitramfs.sh. Cached: a second call is free.
#
#   guest.sh DIR        afterwards DIR/vmlinuz and DIR/initramfs.gz
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ $# -eq 1 ] || { echo "usage: $0 DIR" >&2; exit 2; }
mkdir -p "$1"
dir=$(cd "$1" && pwd)
exec 9>"$dir/lock"
flock 9
if [ -s "$dir/vmlinuz" ] && [ "$dir/initramfs.gz" -nt "$here/mkinitramfs.sh" ]; then exit 0; fi

if ! ls "$dir"/kernel/boot/vmlinuz-* >/dev/null 2>&1; then
    package=$(apt-cache depends linux-image-amd64 | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | head -1)
    [ -n "$package" ] || { apt-get update -qq -o Acquire::Retries=5
        package=$(apt-cache depends linux-image-amd64 | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | head -1); }
    [ -n "$package" ] || { echo "$0: no kernel package to be found" >&2; exit 1; }
    rm -rf "$dir/kernel" "$dir/download"
    mkdir -p "$dir/download"
    chmod 777 "$dir/download"
    (cd "$dir/download" && apt-get download -qq -o Acquire::Retries=5 "$package" >/dev/null)
    dpkg-deb -x "$dir"/download/*.deb "$dir/kernel.part"
    mv "$dir/kernel.part" "$dir/kernel"
    rm -rf "$dir/download"
fi
cp "$dir"/kernel/boot/vmlinuz-* "$dir/vmlinuz"
sh "$here/mkinitramfs.sh" "$(echo "$dir"/kernel/lib/modules/*)" "$dir/initramfs.gz"
