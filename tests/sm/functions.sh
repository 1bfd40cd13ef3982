# Shell helpers of the driver tests: TAP output and one call of a driver.
# Called by: tests/sm/test-*.sh.  Calls: smcall.py.
#
# SM_DIR is the directory of the built drivers (default: ./sm, where make check runs).

here=$(cd "$(dirname "$0")" && pwd)
SM_DIR=${SM_DIR:-$(pwd)/sm}
n=0
failures=0

skip_all() { echo "1..0 # SKIP $*"; echo "skipped: $*" >&2; exit 77; }
[ -x "$SM_DIR/file" ] || skip_all "drivers are not built in $SM_DIR"
command -v qemu-img >/dev/null || skip_all "qemu-img is missing"
[ "$(id -u)" = 0 ] || skip_all "needs root"
PYTHON=/usr/bin/python3

work=$(mktemp -d)
export XAPI_SM_STATE_DIR=$work/state XAPI_SM_MOUNT_DIR=$work/sr-mount
cleanups=
cleanup() { for f in $cleanups; do $f; done; rm -rf "$work"; }
trap cleanup EXIT

# ok WHAT COMMAND...: one test point, true when the command is
ok() {
    what=$1; shift; n=$((n + 1))
    if "$@" >"$work/ok.log" 2>&1; then echo "ok $n - $what"; else
        echo "not ok $n - $what"; failures=$((failures + 1)); sed 's/^/# /' "$work/ok.log"
    fi
}
is() { what=$1; n=$((n + 1))
    if [ "$2" = "$3" ]; then echo "ok $n - $what"; else
        echo "not ok $n - $what"; echo "# got:      $2"; echo "# expected: $3"; failures=$((failures + 1)); fi
}
not() { if "$@"; then return 1; else return 0; fi; }
done_testing() { echo "1..$n"; [ "$failures" = 0 ]; exit $?; }

# sm DRIVER COMMAND [member=value | config.key=value | args=a,b | smconfig.key=value]... : prints the answer as
# "name=value" lines, sorted; on failure "error=CODE p1|p2" and status 1.
sm() { "$PYTHON" "$here/smcall.py" "$SM_DIR/$1" "$@"; }
# field ANSWER NAME
field() { echo "$1" | sed -n "s/^$2=//p" | head -1; }
uuid() { cat /proc/sys/kernel/random/uuid; }
