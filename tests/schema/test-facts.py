"""The model that schema/ describes and derives is the published one: same classes, fields, messages, enumerations and
errors, none missing and none more. Compared with the fact tables in $XAPI_FACTS or ../shared/xenapi."""
import collections
import os
import subprocess
import sys
import tempfile

SOURCE = os.environ.get('XAPI_SOURCE') or os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FACTS = os.environ.get('XAPI_FACTS') or os.path.join(SOURCE, '..', 'shared', 'xenapi')
GENERATOR = os.path.join(os.environ['XAPI_BUILD'], 'schema', 'xapi-gen')
count = 0


def read(folder, name, header):
    with open(os.path.join(folder, name), encoding='utf-8') as f:
        rows = [line.rstrip('\n').split('\t') for line in f]
    return rows[1:] if header else rows


def report(what, published, ours):
    """published, ours: row key -> row."""
    global count
    count += 1
    missing = sorted(set(published) - set(ours))
    more = sorted(set(ours) - set(published))
    other = sorted(k for k in set(ours) & set(published) if ours[k] != published[k])
    print('%s %d - %d %s as published' % ('not ok' if missing or more or other else 'ok', count, len(published), what))
    for key in missing:
        print('#   missing: %s' % (key,))
    for key in more:
        print('#   not published: %s' % (key,))
    for key in other:
        print('#   %s\n#     published: %s\n#     ours:      %s' % (key, published[key], ours[key]))


def pad(row, n):
    return tuple(cell.strip() for cell in row + [''] * (n - len(row)))


def default(row):
    """The tables spell some defaults in the syntax of another language."""
    row = list(row)
    kind, text = row[2], row[4]
    if text == 'Null':
        text = 'OpaqueRef:NULL'
    if kind == 'string' and text:
        text = '"%s"' % text.strip('"')
    if kind == 'float':
        text = text.rstrip('.')
    row[4] = text
    return tuple(row)


def table(rows, width, key):
    rows = [pad(r, width) for r in rows]
    return {r[:key]: r for r in rows}


def main():
    if not os.path.isfile(os.path.join(FACTS, 'messages.tsv')):
        print('no fact tables: set XAPI_FACTS to the folder that holds classes.tsv, fields.tsv, messages.tsv')
        return 77
    with tempfile.TemporaryDirectory() as out:
        subprocess.run([GENERATOR, '--facts', os.path.join(SOURCE, 'schema'), out], check=True)
        for name, width, key in (('classes', 5, 1), ('messages', 11, 2), ('errors', 3, 1)):
            report(name, table(read(FACTS, name + '.tsv', True), width, key), table(read(out, name + '.tsv', False), width, key))
        fields = [{k: default(r) for k, r in table(read(d, 'fields.tsv', h), 9, 2).items()} for d, h in ((FACTS, True), (out, False))]
        report('fields', *fields)

        # An enumeration is published once per class that uses it; ours has one place.
        published, ours = collections.OrderedDict(), collections.OrderedDict()
        for cls, enum, value in read(FACTS, 'enums.tsv', True):
            published.setdefault(enum, collections.OrderedDict()).setdefault(cls, []).append(value)
        for enum, value in read(out, 'enums.tsv', False):
            ours.setdefault(enum, []).append(value)
        report('enumerations', {e: list(c.values())[0] for e, c in published.items()}, ours)

        # The order of fields and messages is the published one too: clients' records and reference pages keep it.
        order = [[tuple(r[:2]) for r in read(d, 'fields.tsv', h)] for d, h in ((FACTS, True), (out, False))]
        classes = list(dict.fromkeys(c for c, _ in order[0]))
        report('classes with their fields in order', *[{c: [f for k, f in o if k == c] for c in classes} for o in order])
    print('1..%d' % count)
    return 0


sys.exit(main())
