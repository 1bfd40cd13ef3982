#!/bin/bash
# Runs tests under valgrind's memcheck, which sees what the sanitizers do not: the use of values that nobody set.
#
#   tests/valgrind.sh SOURCE BUILD [LEVEL...]       levels: unit and wire; ONLY=TEXT: those tests
#
# The daemon and the test programs run there, drivers and helpers do not: memcheck knows neither their seccomp filters nor all of their
# system calls. The first error ends a program with 99, and its test prints the program's log. What counts is in the last line, "memcheck:
# N errors": tests that look at seconds, at resident memory or at a daemon that starts itself anew may fail there for memcheck's sake.
set -euo pipefail
source_dir=${1:?usage: tests/valgrind.sh SOURCE BUILD [LEVEL...]}
build_dir=${2:?usage: tests/valgrind.sh SOURCE BUILD [LEVEL...]}
shift 2
[ $# -gt 0 ] || set -- unit wire
command -v valgrind >/dev/null || { echo "valgrind is not installed" >&2; exit 1; }

dir=$build_dir/valgrind
mkdir -p "$dir"
"${CC:-gcc}" -std=gnu11 -O1 -g -fPIC -shared -o "$dir/pidfd.so" "$source_dir/tests/valgrind-pidfd.c" -lpthread
cat >"$dir/under" <<EOF
#!/bin/sh
export LD_PRELOAD=$dir/pidfd.so
exec valgrind -q --leak-check=no --exit-on-first-error=yes --error-exitcode=99 --num-callers=24 --fair-sched=yes "\$@"
EOF
chmod 755 "$dir/under"
# tests that assert times allow for a program that is many times slower; a vfork() is a fork() there
XAPI_SLOW=20 XAPI_EMULATED=valgrind /usr/bin/python3 "$source_dir/tests/run" --build "$build_dir" --jobs 2 --patience 20 --under "$dir/under" \
    --only "${ONLY:-}" "$@" 2>&1 | tee "$dir/tests.log" || true
grep -qE '^[1-9][0-9]* passed' "$dir/tests.log" || { echo "nothing passed"; exit 1; }
errors=$(grep -c 'Exit program on first error' "$dir/tests.log" || true)
echo "memcheck: $errors errors"
[ "$errors" -eq 0 ]
