#!/bin/bash
# `make install DESTDIR=` puts everything where the manual pages say, and what is installed stands on its own.
build=${XAPI_BUILD:?} source=${XAPI_SOURCE:?}
n=0 bad=0
check() {   # check WHAT COMMAND...
    local what=$1 out
    shift
    n=$((n + 1))
    if out=$("$@" 2>&1); then echo "ok $n - $what"; else echo "not ok $n - $what"; echo "$out" | tail -20 | sed 's/^/# /'; bad=1; fi
}
dest=$(mktemp -d) || exit 1
trap 'rm -rf "$dest"' EXIT
unset MAKEFLAGS MAKELEVEL MFLAGS
mkdir -p "$dest/etc/pam.d" "$dest/etc/xapi"
echo '# mine' >"$dest/etc/pam.d/xapi"

check "make install ends well" make -s -C "$build" install DESTDIR="$dest"
dir() { make -s -C "$build" print-dirs | sed -n "s/^$1=//p"; }
sysconfdir=$(dir sysconfdir) libdir=$(dir pkglibdir) libexecdir=$(dir pkglibexecdir)
prefix=$(sed -n 's/^prefix = //p' "$build/Makefile")
check "the configuration is in /etc, state in /var" test "$sysconfdir $(dir localstatedir)" = "/etc /var"

check "sbin/xapi is installed and runs" env -i "$dest$prefix/sbin/xapi" --version
check "bin/xe is a program" test -x "$dest$prefix/bin/xe"
for f in xapi-helper xe-complete sm/file sm/ext sm/iso; do check "$f is a program" test -x "$dest$libexecdir/$f"; done
if grep -q '^[^#]*xe-xmlrpc' "$build/Makefile"; then
    check "xe-xmlrpc is a program" test -x "$dest$libexecdir/xe-xmlrpc"
fi
if grep -q '^[^#]*hv_libvirt\.la' "$build/Makefile"; then
    check "the libvirt driver is a module" test -f "$dest$libdir/hv_libvirt.so"
fi
check "an existing file of the administrator stays" grep -qx '# mine' "$dest/etc/pam.d/xapi"
conf=$dest/etc/xapi/xapi.conf
check "the sample configuration is valid" "$dest$prefix/sbin/xapi" --config "$conf" --check-config
uncommented=$(mktemp -p "$dest")
sed -n 's/^#\([a-z-]* =\)/\1/p' "$conf" >"$uncommented"
check "it has options" test "$(wc -l <"$uncommented")" -gt 20
check "and says the defaults" diff <(sed 's/ *$//' "$uncommented") \
    <("$dest$prefix/sbin/xapi" --config /dev/null --check-config | sed -n 's/^\([a-z][a-z-]* =.*\)/\1/p' | sed 's/ *$//')
check "the manual pages and the sample are those of the options" /usr/bin/python3 "$source/packaging/options.py" --build "$build" --check
unit=$dest$prefix/lib/systemd/system/xapi.service
check "the service starts the installed daemon" grep -qx "ExecStart=$prefix/sbin/xapi" "$unit"
for word in Type=notify KillMode=process 'ExecReload=/bin/kill -HUP $MAINPID'; do
    check "the service says $word" grep -qxF "$word" "$unit"
done
for f in locale/ja/LC_MESSAGES/xe.mo bash-completion/completions/xe zsh/vendor-completions/_xe fish/vendor_completions.d/xe.fish; do
    check "$f is there" test -s "$dest$prefix/share/$f"
done
check "xe-complete knows the commands" sh -c 'test "$("$1" xe vm-suspen | cut -f1)" = vm-suspend' sh "$dest$libexecdir/xe-complete"
for page in man8/xapi.8 man8/xe-reset-networking.8 man8/xe-switch-network-backend.8 man5/xapi.conf.5 man7/xapi-sm.7; do check "$page is there" test -s "$dest$prefix/share/man/$page"; done
check "nothing installed has an unfilled place" sh -c '! grep -rlE "@[a-z]+dir@" "$1" --include=xapi* 2>/dev/null | grep .' sh "$dest"
check "no script or unit names the source or build directory" sh -c '! grep -rlI -e "$2" -e "$3" "$1" | grep .' sh "$dest" "$build" "$source"
check "xe-reset-networking tells what it does" sh -c '"$1" --help | grep -q -- --netmask' sh "$dest$prefix/sbin/xe-reset-networking"
check "xe-switch-network-backend tells what it does" sh -c '"$1" --help | grep -q openvswitch' sh "$dest$prefix/sbin/xe-switch-network-backend"
check "the log rotation is valid for its file" grep -q '^/var/log/xapi.log {' "$dest/etc/logrotate.d/xapi"
echo "1..$n"
exit $bad
