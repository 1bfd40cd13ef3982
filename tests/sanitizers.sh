#!/bin/bash
# Builds everything again under sanitizers and runs tests there:  tests/sanitizers.sh SOURCE BUILD
#
#   address,undefined   all of it; levels unit, fuzz and wire
#   thread              lib/, db/ and the unit tests of the database (LEVEL=full: all of it; levels unit and wire)
#
# The builds are BUILD/sanitizers/*, kept for the next run. The last line is "N passed, N failed, N skipped".
set -uo pipefail
source_dir=${1:?usage: tests/sanitizers.sh SOURCE BUILD}
build_dir=${2:?usage: tests/sanitizers.sh SOURCE BUILD}
level=${LEVEL:-ci}
# a build, the tests of a level: longer than this and something hangs
build_limit_s=900 test_limit_s=1200
passed=0 failed=0 skipped=0

export ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1:abort_on_error=1:handle_abort=0
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1
# tests that assert times allow for a program that is many times slower
export XAPI_SLOW=10

broken() {
    echo "$1"
    failed=$((failed + 1))
}

# configure_build NAME SANITIZERS
configure_build() {
    local dir=$build_dir/sanitizers/$1
    mkdir -p "$dir" || return 1
    [ -f "$dir/config.status" ] && return 0
    (cd "$dir" && "$source_dir/configure" -q --enable-sanitizers="$2" CFLAGS="-O1 -g" >configure.log 2>&1) ||
        { tail -20 "$dir/configure.log"; rm -f "$dir/config.status"; return 1; }
}

# build NAME TARGET...
build() {
    local dir=$build_dir/sanitizers/$1
    shift
    timeout $build_limit_s make -s -C "$dir" -j"$(nproc)" "$@" >"$dir/make.log" 2>&1 || { tail -30 "$dir/make.log"; return 1; }
}

# run_levels NAME ONLY LEVEL...: adds the last line up
run_levels() {
    local dir=$build_dir/sanitizers/$1 only=$2 line
    shift 2
    timeout $test_limit_s /usr/bin/python3 "$source_dir/tests/run" --build "$dir" --jobs 2 --only "$only" "$@" 2>&1 |
        tee "$dir/tests.log"
    line=$(grep -E '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$dir/tests.log" | tail -1)
    [ -n "$line" ] || { broken "the tests did not end"; return; }
    # shellcheck disable=SC2086
    set -- ${line//,/}
    passed=$((passed + $1)) failed=$((failed + $3)) skipped=$((skipped + $5))
}

echo "== address, undefined"
if configure_build address address,undefined && build address all && build address check-programs; then
    run_levels address "" unit fuzz wire
else
    broken "the build under the address sanitizer failed"
fi
echo "== thread (${SECONDS} s)"
if [ "$level" = full ]; then
    if configure_build thread thread && build thread all && build thread check-programs; then
        run_levels thread "" unit wire
    else
        broken "the build under the thread sanitizer failed"
    fi
else
    # Only what the tests of the database need: the daemon's archive stays empty.
    dir=$build_dir/sanitizers/thread
    targets=$(cd "$source_dir" && ls tests/unit/test-db-*.c | sed 's/\.c$//')
    if configure_build thread thread && mkdir -p "$dir/xapi" && { [ -f "$dir/xapi/libdaemon.a" ] || ar rc "$dir/xapi/libdaemon.a"; } &&
        build thread gen/stamp && build thread -o xapi/libdaemon.a $targets; then
        run_levels thread test-db- unit
    else
        broken "the build under the thread sanitizer failed"
    fi
fi
echo "== ${SECONDS} s"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
