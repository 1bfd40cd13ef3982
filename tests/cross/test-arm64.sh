#!/bin/bash
# A build for arm64 on another machine: everything configured, compiled and linked, then run by QEMU's emulator of programs:
# unit tests and the fuzz corpora, the agent with simulated guests and real clients, the libvirt module against arm64's libvirt.
# LEVEL=full: nearly every test there is, real guests through the module, and an arm64 libvirtd with its QEMU driver.
#
# The libraries come as Debian packages into a folder of the build (nothing is installed): BUILD/cross/sysroot.
build=${XAPI_BUILD:?} source=${XAPI_SOURCE:?} level=${LEVEL:-ci}
triplet=aarch64-linux-gnu
dir=$build/cross arm64=$build/cross/arm64 emulated=$build/cross/emulated sysroot=$build/cross/sysroot apt=$build/cross/apt
packages="libc6-dev libgcc-12-dev libcrypt-dev libxml2-dev libsqlite3-dev libssl-dev libyajl-dev libnl-route-3-dev libjpeg62-turbo-dev
    libext2fs-dev comerr-dev
    libpam0g-dev libseccomp-dev libvirt-dev libcurl4-openssl-dev libxmlrpc-core-c3-dev libzstd-dev zlib1g-dev
    libcmocka-dev nbdkit-plugin-dev"
[ "$level" != full ] || packages="$packages libvirt-daemon libvirt-daemon-driver-qemu"

# What runs at LEVEL=ci.
ci_tests="fuzz/ wire/test-hv-uri wire/test-rpc-values wire/test-http.py wire/test-tasks wire/test-storage clients/test-xenapi-py
    unit/test-auth unit/test-base64 unit/test-cli unit/test-db-commit unit/test-db-filter unit/test-db-txn unit/test-hv-sim
    unit/test-http unit/test-iso8601 unit/test-jsonrpc unit/test-map unit/test-model unit/test-rpc unit/test-rrd
    unit/test-storage unit/test-subproc unit/test-thunks unit/test-util unit/test-value"

n=0 bad=0
ok() { n=$((n + 1)); echo "ok $n - $1"; }
not_ok() { n=$((n + 1)) bad=1; echo "not ok $n - $1"; }
finish() { echo "1..$n"; exit $bad; }
# check WHAT LOG COMMAND...
check() {
    local what=$1 log=$2
    shift 2
    if "$@" >"$log" 2>&1; then ok "$what"; else not_ok "$what"; tail -25 "$log" | sed 's/^/# /'; finish; fi
}
skip_all() { echo "$1"; exit 77; }
need() { command -v "$1" >/dev/null || { not_ok "$1 is here (package $2)"; finish; }; }

[ "$(uname -m)" != aarch64 ] || skip_all "this machine is arm64 itself"
need $triplet-gcc gcc-aarch64-linux-gnu
need qemu-aarch64-static qemu-user-static
command -v apt-get >/dev/null || skip_all "no apt-get to fetch the libraries with"
qemu=$(command -v qemu-aarch64-static)

apt_get() {
    apt-get -qq -o Acquire::Retries=5 -o Dir::State="$apt/state" -o Dir::State::status="$apt/status" -o Dir::Cache="$apt/cache" \
        -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Sandbox::User=root -o Debug::NoLocking=1 "$@"
}
# An absolute link would leave the folder.
relative_links() {
    find "$sysroot" -type l -lname '/*' | while read -r link; do
        ln -sfr "$sysroot$(readlink "$link")" "$link"
    done
}
make_sysroot() {
    rm -rf "$sysroot" && mkdir -p "$apt/state/lists/partial" "$apt/cache/archives/partial" "$sysroot" && : >"$apt/status"
    apt_get update || return 1
    # shellcheck disable=SC2086
    apt_get install -y --download-only --no-install-recommends $packages || return 1
    for deb in "$apt"/cache/archives/*.deb; do dpkg-deb -x "$deb" "$sysroot" || return 1; done
    relative_links
    rm -rf "$apt/cache" && echo "$packages" >"$dir/sysroot.done"
}
mkdir -p "$arm64"
if [ "$(cat "$dir/sysroot.done" 2>/dev/null)" != "$packages" ]; then
    check "the arm64 libraries come" "$dir/sysroot.log" make_sysroot
fi

export PKG_CONFIG_LIBDIR=$sysroot/usr/lib/$triplet/pkgconfig:$sysroot/usr/share/pkgconfig
export PKG_CONFIG_SYSROOT_DIR=$sysroot
unset MAKEFLAGS MAKELEVEL MFLAGS
cd "$arm64" || exit 1
[ -f config.status ] || check "configure --host=$triplet --without-xen" configure.log \
    "$source/configure" --host=$triplet --without-xen --enable-werror CC="$triplet-gcc --sysroot=$sysroot" CFLAGS="-O1 -g0"
check "everything compiles and links" make.log make -s -j"$(nproc)" all
check "the tests too" make.log make -s -j"$(nproc)" check-programs

# A folder like that of a build, where each program is a line that has the emulator run the arm64 one. The kernel cannot run
# them itself (no binfmt_misc here), and the agent starts its helpers by their paths.
is_arm64() { [ "$(od -An -tx2 -j18 -N2 "$1")" = " 00b7" ]; }
emulate() {
    mkdir -p "$(dirname "$emulated/$1")"
    printf '#!/bin/sh\nexec %s -L %s -0 "$0" %s "$@"\n' "$qemu" "$sysroot" "$arm64/$1" >"$emulated/$1"
    chmod +x "$emulated/$1"
}
rm -rf "$emulated" && mkdir -p "$emulated/.libs" && cp .libs/hv_libvirt.so "$emulated/.libs/"
ln -s "$arm64/gen" "$arm64/doc" "$emulated/"
[ ! -d "$build/guest" ] || ln -s "$build/guest" "$emulated/"
sed "s|^builddir=.*|builddir='$emulated'|" run >"$emulated/run" && chmod +x "$emulated/run"
programs=0
while read -r f; do
    f=./${f#./}
    is_arm64 "$f" || { not_ok "$f is an arm64 program"; continue; }
    emulate "${f#./}" && programs=$((programs + 1))
done < <(find . -type f -perm -u+x ! -path '*/.libs/*' ! -name '*-native' ! -name '*.sh' ! -name config.status ! -name libtool ! -name 'run*')
is_arm64 .libs/hv_libvirt.so && [ $programs -gt 50 ] && [ -x "$emulated/xapi-hv-keeper" ] && [ -x "$emulated/sm/file" ] &&
    ok "$programs arm64 programs and the libvirt module" || not_ok "all programs and the libvirt module are for arm64"

cd "$emulated" || exit 1
export XAPI_BUILD=$emulated XAPI_EMULATED=qemu-user
check "it runs" "$dir/run.log" ./run xapi --version
./run xapi --coverage >"$dir/coverage.arm64" 2>&1
"$build/xapi/xapi" --coverage >"$dir/coverage.here" 2>&1
check "it has the same messages as the build for this machine" "$dir/diff.log" diff "$dir/coverage.arm64" "$dir/coverage.here"

# tests LOG LEVEL... [OPTION...]: each test file is one line here.
tests() {
    local log=$dir/$1.log verdict name rest
    shift
    /usr/bin/python3 "$source/tests/run" --build "$emulated" --jobs "$(nproc)" --patience 5 "$@" >"$log" 2>&1
    while read -r verdict name rest; do
        case $verdict in
            ok) ok "$name $rest" ;;
            FAIL) not_ok "$name $rest" ;;
        esac
    done < <(grep -E '^(ok|FAIL) ' "$log")
    grep -E '^ +(not ok:|\|)' "$log" | sed 's/^/# /'
    grep -qE '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$log" || { not_ok "the tests came to their end"; tail -5 "$log"; }
}
# arm64_libvirtd DIR: one with state in DIR, in a mount namespace of its own, as xapi/hv/libvirt_daemon.c sets its own up.
# libvirtd looks for its drivers with faccessat(), which qemu-user does not lead into the sysroot.
arm64_libvirtd() {
    mkdir -p "$1"/etc "$1"/run "$1"/state "$1"/lib "$1"/cache "$1"/log
    printf '%s\n' "unix_sock_dir = \"$1/run\"" 'auth_unix_rw = "none"' 'unix_sock_rw_perms = "0700"' \
        "log_outputs = \"3:file:$1/log/libvirtd.log\"" "host_uuid = \"$(cat /proc/sys/kernel/random/uuid)\"" >"$1/libvirtd.conf"
    printf '%s\n' 'user = "root"' 'group = "root"' 'dynamic_ownership = 0' 'remember_owner = 0' 'security_driver = "none"' \
        'namespaces = []' 'cgroup_controllers = []' 'stdio_handler = "file"' >"$1/etc/qemu.conf"
    mkdir -p /etc/libvirt /run/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt
    LIBVIRT_DRIVER_DIR=$sysroot/usr/lib/$triplet/libvirt/connection-driver \
        unshare -m --propagation slave bash -c 'for p in /etc/libvirt:etc /run/libvirt:state /var/lib/libvirt:lib \
            /var/cache/libvirt:cache /var/log/libvirt:log; do mount --bind "$1/${p#*:}" "${p%%:*}" || exit 1; done
            exec "$2" -L "$3" "$3/usr/sbin/libvirtd" -f "$1/libvirtd.conf" -p "$1/libvirtd.pid"' - "$1" "$qemu" "$sysroot" &
    libvirtd=$!
    for _ in $(seq 300); do [ -S "$1/run/libvirt-sock" ] && return; sleep 0.1; done
}
if [ "$level" = full ]; then
    root=$(mktemp -d) || exit 1
    arm64_libvirtd "$root" >"$dir/libvirtd.log" 2>&1
    export HV_URI="qemu+unix:///system?socket=$root/run/libvirt-sock"
    tests engine wire --only hv-uri
    unset HV_URI
    kill $libvirtd && wait $libvirtd
    rm -rf "$root"
    tests all unit fuzz cli sm wire
    tests clients clients --only xenapi-py
    # qemu-user knows no PR_SET_CHILD_SUBREAPER: libvirtd's parent, and libvirtd itself, are this machine's own. The module, and
    # the library with which it talks to them, are arm64's.
    cp "$build/xapi-hv-keeper" "$emulated/xapi-hv-keeper"
    LEVEL=ci tests guests qemu --only hv-libvirt
else
    only=()
    for name in $ci_tests; do only+=(--only "/$name"); done
    tests some unit fuzz wire clients "${only[@]}"
fi
finish
