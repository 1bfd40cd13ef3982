#!/bin/bash
# A build for arm64 on another machine: configured, compiled, linked; and run, when QEMU can run its programs.
# The libraries come as Debian packages into a folder of the build (nothing is installed): BUILD/cross/sysroot.
build=${XAPI_BUILD:?} source=${XAPI_SOURCE:?}
triplet=aarch64-linux-gnu
dir=$build/cross sysroot=$build/cross/sysroot apt=$build/cross/apt
packages="libc6-dev libgcc-12-dev libcrypt-dev libxml2-dev libsqlite3-dev libssl-dev uuid-dev libyajl-dev libnl-route-3-dev
    libpam0g-dev libseccomp-dev libvirt-dev libcurl4-openssl-dev libxmlrpc-core-c3-dev libzstd-dev zlib1g-dev"
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

[ "$(uname -m)" != aarch64 ] || skip_all "this machine is arm64 itself"
command -v $triplet-gcc >/dev/null || skip_all "no $triplet-gcc (package gcc-aarch64-linux-gnu)"
command -v apt-get >/dev/null || skip_all "no apt-get to fetch the libraries with"

apt_get() {
    apt-get -qq -o Dir::State="$apt/state" -o Dir::State::status="$apt/status" -o Dir::Cache="$apt/cache" \
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
    rm -rf "$apt/cache" && touch "$dir/sysroot.done"
}
mkdir -p "$dir/arm64"
if [ ! -f "$dir/sysroot.done" ]; then
    make_sysroot >"$dir/sysroot.log" 2>&1 || { tail -5 "$dir/sysroot.log"; skip_all "the arm64 libraries cannot be fetched here"; }
fi
ok "the arm64 libraries are there"

export PKG_CONFIG_LIBDIR=$sysroot/usr/lib/$triplet/pkgconfig:$sysroot/usr/share/pkgconfig
export PKG_CONFIG_SYSROOT_DIR=$sysroot
unset MAKEFLAGS MAKELEVEL MFLAGS
cd "$dir/arm64" || exit 1
[ -f config.status ] || check "configure --host=$triplet --without-xen" configure.log \
    "$source/configure" --host=$triplet --without-xen --enable-werror CC="$triplet-gcc --sysroot=$sysroot" CFLAGS="-O1 -g0"
check "everything compiles and links" make.log make -s -j"$(nproc)" all

for f in xapi/xapi xe/xe sm/file $(cd "$build" && ls xapi/hv/.libs/hv_libvirt.so 2>/dev/null); do
    case $(od -An -tx2 -j18 -N2 "$f") in
        *00b7*) ok "$f is an arm64 program" ;;
        *) not_ok "$f is an arm64 program" ;;
    esac
done
qemu=$(command -v qemu-aarch64-static || command -v qemu-aarch64) || {
    n=$((n + 1)); echo "ok $n - it runs # SKIP no qemu-aarch64-static (package qemu-user-static)"; finish; }
run() { timeout 60 "$qemu" -L "$sysroot" "$@"; }
check "it runs" run.log run xapi/xapi --version
run xapi/xapi --coverage >coverage.arm64 2>&1
"$build/xapi/xapi" --coverage >coverage.here 2>&1
check "it has the same messages as the build for this machine" diff.log diff coverage.arm64 coverage.here

# The agent itself, with simulated guests: a login over its socket.
root=$(mktemp -d) || exit 1
XAPI_SM_DIR=$dir/arm64/sm run xapi/xapi --root "$root" --hv sim --net sim --socket "$root/s" --http none --https none \
    --auth file:/dev/null >agent.log 2>&1 &
pid=$!
for _ in $(seq 300); do [ -e "$root/ready" ] && break; sleep 0.1; done
body='<methodCall><methodName>session.login_with_password</methodName><params><param><value>root</value></param><param>
<value></value></param></params></methodCall>'
answer=$(curl -s -m 30 --unix-socket "$root/s" -d "$body" http://localhost/)
case $answer in
    *Success*OpaqueRef:*) ok "it serves: a login over its socket" ;;
    *) not_ok "it serves: a login over its socket"; { echo "$answer"; tail -20 agent.log; } | sed 's/^/# /' ;;
esac
# what runs in the background is a shell around it
kill -TERM "$(cut -d' ' -f1 "$root/ready" 2>/dev/null || echo $pid)" 2>/dev/null
wait $pid && ok "it ends cleanly" || not_ok "it ends cleanly"
rm -rf "$root"
finish
