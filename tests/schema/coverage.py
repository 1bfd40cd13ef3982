#!/usr/bin/env python3
"""Writes tests/schema/coverage.tsv anew: which messages have behaviour, and which tests have seen it.

    coverage.py --build DIR                  the column yes/no from DIR/xapi/xapi --coverage; the column seen stays
    coverage.py --build DIR --logs FOLDER    both; FOLDER holds the audit logs that tests leave in $COVERAGE_DIR
    coverage.py --build DIR --logs F --add   the same after some of the tests: what others have seen stays
    coverage.py --build DIR --check          changes nothing; lists what differs in the column yes/no

`make coverage-table` runs the script tests with COVERAGE_DIR set and then this.
"""
import argparse
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TABLE = os.path.join(HERE, 'coverage.tsv')
HEAD = """\
# Every message of the data model: class, message, behaviour, seen; separated by tabs.
# behaviour: yes when calling it does what it says (the linker found its function, or the tables serve it), no when it
#   answers NOT_IMPLEMENTED. From `xapi --coverage`; `make check` fails when the build's differs.
# seen: the tests (level/name, in alphabetical order, separated by commas) whose audit logs have a successful call of it,
#   followed in the same log, when it changes something, by a successful read of what it may have changed: a read of the
#   same class, one that names an object of the call, or an event. Made by `make coverage-table`; do not edit.
"""
READ = re.compile(r'^(get_|event\.(from|next)$|([a-z]+_)?list$)')
REF = re.compile(r'OpaqueRef:[0-9a-f-]{36}')


def build_view(build):
    """[(class, message, yes|no)] in the order of the model."""
    program = os.path.join(build, 'xapi', 'xapi')
    out = subprocess.run([program, '--coverage'], capture_output=True, text=True, check=True).stdout
    return [tuple(line.split('\t')) for line in out.splitlines()]


def read_table():
    """{(class, message): (yes|no, seen)}"""
    rows = {}
    if os.path.exists(TABLE):
        for line in open(TABLE):
            if not line.startswith('#'):
                cls, message, has, seen = line.rstrip('\n').split('\t')
                rows[cls, message] = has, seen
    return rows


def is_read(method):
    return READ.match(method) or READ.match(method.split('.', 1)[-1])


def seen_in(path):
    """The methods that one audit log shows at work."""
    calls = []
    for line in open(path, errors='replace'):
        parts = line.rstrip('\n').split('|', 5)
        if len(parts) == 6 and parts[1] == 'ok':
            method = parts[4][6:] if parts[4].startswith('Async.') else parts[4]
            calls.append((method, parts[5]))
    seen, read_classes, read_refs, any_event = set(), set(), set(), False
    for method, arguments in reversed(calls):      # what was read later is known when a change comes up
        cls, refs = method.split('.', 1)[0], set(REF.findall(arguments))
        if is_read(method):
            seen.add(method)
            read_classes.add(cls)
            read_refs |= refs
            any_event |= cls == 'event'
        elif any_event or cls in read_classes or refs & read_refs:
            seen.add(method)
    return seen


def seen_by_method(folder):
    """{method: {test}}; a log's name is LEVEL--TEST--ANYTHING."""
    tests = {}
    for name in sorted(os.listdir(folder)):
        parts = name.split('--')
        if len(parts) != 3:
            continue
        for method in seen_in(os.path.join(folder, name)):
            tests.setdefault(method, set()).add('%s/%s' % (parts[0], parts[1]))
    return tests


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--build', required=True)
    p.add_argument('--logs')
    p.add_argument('--add', action='store_true')
    p.add_argument('--check', action='store_true')
    args = p.parse_args()
    view, table = build_view(args.build), read_table()
    if args.check:
        now, then = {(c, m): h for c, m, h in view}, {k: v[0] for k, v in table.items()}
        differing = sorted(k for k in now.keys() | then.keys() if now.get(k) != then.get(k))
        for k in differing:
            print('# %s.%s: the table says %s, the build %s' % (*k, then.get(k, 'nothing'), now.get(k, 'nothing')))
        if differing:
            print('# `make coverage-yes` writes that column anew, `make coverage-table` runs the tests for both')
        sys.exit(1 if differing else 0)
    tests = seen_by_method(args.logs) if args.logs else None
    run = {'/'.join(name.split('--')[:2]) for name in os.listdir(args.logs)} if args.logs and args.add else None
    with open(TABLE, 'w') as f:
        f.write(HEAD)
        for cls, message, has in view:
            if tests is None:
                seen = table.get((cls, message), ('', ''))[1]
            else:
                now = tests.get('%s.%s' % (cls, message), set())
                if run is not None:
                    now = now | {t for t in table.get((cls, message), ('', ''))[1].split(',') if t and t not in run}
                seen = ','.join(sorted(now))
            f.write('%s\t%s\t%s\t%s\n' % (cls, message, has, seen))
    rows = read_table()
    print('%d messages, %d with behaviour, %d seen at work' %
          (len(rows), sum(r[0] == 'yes' for r in rows.values()), sum(bool(r[1]) for r in rows.values())))


main()
