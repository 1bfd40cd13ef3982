#!/bin/bash
# Every description in tests/schema/bad/ is refused with exactly the complaints that its "expect" lines name.
# A case is one file, or a folder of files, put beside the sample's errors.xml and roles.xml.
here=$(cd "$(dirname "$0")" && pwd)
generator=${XAPI_BUILD:?}/schema/xapi-gen
grammar=$here/../../schema/schema.dtd
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
n=0

check_case() {
    local name=$1 status=0
    n=$((n + 1))
    sed -n 's/^<!-- expect \(.*\) -->$/.\/\1/p' "${@:2}" >"$work/want"
    [ -s "$work/want" ] || echo "no expect line" >"$work/want"
    (cd "$work/in" && "$generator" --dtd "$grammar" . "$work/out") >"$work/got" 2>&1 || status=$?
    if [ $status -eq 1 ] && cmp -s "$work/want" "$work/got"; then
        echo "ok $n - $name"
    else
        echo "not ok $n - $name (exit status $status)"
        diff "$work/want" "$work/got" | sed 's/^/# /'
    fi
}

for case in "$here"/bad/*; do
    rm -rf "$work/in" "$work/out" && mkdir "$work/in"
    cp "$here"/sample/errors.xml "$here"/sample/roles.xml "$work/in"
    if [ -d "$case" ]; then
        cp "$case"/*.xml "$work/in"
        check_case "$(basename "$case")" "$case"/*.xml
    else
        target=$(sed -n 's/^<!-- expect \([a-z_]*\.xml\):.*/\1/p' "$case" | head -1)
        cp "$case" "$work/in/$target"
        check_case "$(basename "$case" .xml)" "$case"
    fi
done
echo "1..$n"
