# The Debian packages that building, running and testing need; sourced by ./check and ./quickstart.
build_packages="gcc make autoconf automake libtool pkg-config gettext libxml2-dev libsqlite3-dev libssl-dev libyajl-dev
    libnl-route-3-dev libjpeg62-turbo-dev zlib1g-dev libpam0g-dev libseccomp-dev libext2fs-dev libvirt-dev libxen-dev
    libxmlrpc-core-c3-dev nbdkit-plugin-dev"
run_packages="libvirt-daemon libvirt-daemon-driver-qemu qemu-system-x86 qemu-utils qemu-system-common ipxe-qemu seabios ovmf
    nbdkit iproute2 udhcpc dhcpcd-base e2fsprogs util-linux mount openssl bzip2 zip zstd"
test_packages="libcmocka-dev python3 python3-os-xenapi clang libclang-rt-14-dev busybox-static cpio kmod curl sqlite3 procps
    libxml2-utils mandoc tmux zsh fish ansible libnbd-bin nftables iperf3 openvswitch-switch dnsmasq-base
    libjpeg-turbo-progs vncsnapshot chromium
    swtpm swtpm-tools xva-img qemu-guest-agent isolinux syslinux-common genisoimage
    samba samba-ad-provision samba-dsdb-modules samba-vfs-modules winbind"
# for `make check-cross`; the libraries for arm64 come into the build folder, about 240 MB
cross_packages="gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static"
# for `make fuzz ENGINE=afl`
fuzz_packages="afl++"
# for `make check-valgrind`
valgrind_packages="valgrind"
# for `make bench`
bench_packages="libvirt-clients redis-server strace"
guest_packages="busybox-static cpio kmod"

# install_packages NAME...: those that are missing, with one apt-get run.
install_packages() {
    local missing=() name
    for name in "$@"; do
        dpkg-query -W -f='${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || missing+=("$name")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    [ "$(id -u)" -eq 0 ] || { echo "missing packages, and not root to install them: ${missing[*]}" >&2; return 1; }
    echo "== installing ${missing[*]}"
    apt-get update -qq -o Acquire::Retries=5
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq -o Acquire::Retries=5 --no-install-recommends "${missing[@]}" >/dev/null
}

# make_accounts: QEMU's own user, its group for images, and a group that libvirtd insists on; the user that passwords are
# checked by. As packaging/xapi.sysusers has them for systemd.
make_accounts() {
    local group
    for group in kvm libvirt-qemu; do
        getent group $group >/dev/null || groupadd --system $group
    done
    getent passwd libvirt-qemu >/dev/null ||
        useradd --system --no-create-home --home-dir /var/lib/libvirt --gid kvm --shell /usr/sbin/nologin libvirt-qemu
    getent passwd xapi-helper >/dev/null ||
        useradd --system --no-create-home --home-dir /nonexistent --user-group --shell /usr/sbin/nologin xapi-helper
}
