#!/usr/bin/env python3
"""doc/locking.md has a row for every mutex of the source, and none that is not there."""
import os
import re
import sys

SOURCE = os.environ.get('XAPI_SOURCE') or os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DECLARED = re.compile(r'^\s*(?:static )?pthread_(?:mutex|rwlock)_t (\w+)(?: = [^;]*)?;', re.M)
declared = set()
for top in ('lib', 'db', 'sm', 'xe', 'xapi'):
    for folder, _, files in os.walk(os.path.join(SOURCE, top)):
        for name in files:
            if name.endswith(('.c', '.h')):
                path = os.path.join(folder, name)
                declared |= {(os.path.relpath(path, SOURCE), m) for m in DECLARED.findall(open(path).read())}
told = set(re.findall(r'^\| `([^`]+)` \| `(\w+)` \|', open(os.path.join(SOURCE, 'doc/locking.md')).read(), re.M))
for path, name in sorted(declared - told):
    print('# %s: %s has no row in doc/locking.md' % (path, name))
for path, name in sorted(told - declared):
    print('# doc/locking.md: there is no %s in %s' % (name, path))
print('%s 1 - all %d mutexes are told' % ('ok' if declared == told and len(told) > 10 else 'not ok', len(declared)))
print('1..1')
sys.exit(declared != told)
