#!/bin/bash
# What the generator makes of tests/schema/sample/ is what tests/schema/golden/ holds, and compiles without a warning.
# REGENERATE=1 rewrites the golden files.
here=$(cd "$(dirname "$0")" && pwd)
source=$here/../..
generator=${XAPI_BUILD:?}/schema/xapi-gen
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
n=0
ok() { n=$((n + 1)); echo "ok $n - $1"; }
not_ok() { n=$((n + 1)); echo "not ok $n - $1"; }

"$generator" --dtd "$source/schema/schema.dtd" "$here/sample" "$work" || { echo "not ok 1 - the sample is accepted"; exit 1; }
if [ -n "$REGENERATE" ]; then
    rm -rf "$here/golden" && cp -r "$work" "$here/golden"
fi
for file in $(cd "$here/golden" && find . -type f | sort); do
    if diff -u "$here/golden/$file" "$work/$file" >"$work/diff" 2>&1; then
        ok "${file#./}"
    else
        not_ok "${file#./}"
        sed 's/^/# /' "$work/diff" | head -40
    fi
done
rm -f "$work/diff"
if diff <(cd "$here/golden" && find . -type f | sort) <(cd "$work" && find . -type f | sort) >/dev/null; then
    ok "no other files"
else
    not_ok "no other files"
fi

# A second run leaves every file alone, so that make rebuilds nothing.
find "$work" -type f -exec touch -d 2001-01-01 {} +
"$generator" --dtd "$source/schema/schema.dtd" "$here/sample" "$work"
if [ -z "$(find "$work" -type f -newermt 2002-01-01)" ]; then
    ok "unchanged files keep their time"
else
    not_ok "unchanged files keep their time"
fi

cc=${CC:-cc}
for file in "$work"/gen/*.c; do
    if ! command -v "$cc" >/dev/null; then
        n=$((n + 1)); echo "ok $n - $(basename "$file") compiles # SKIP no $cc"
    elif $cc -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Wshadow -Wconversion -Wmissing-prototypes -Werror -fsyntax-only \
        -I"$work" -I"$source" "$file"; then
        ok "$(basename "$file") compiles"
    else
        not_ok "$(basename "$file") compiles"
    fi
done
echo "1..$n"
