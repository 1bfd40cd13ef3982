#!/usr/bin/env python3
"""A folder is a layer: #include only points down, as tests/lint/layers.txt says. main.c sees everything."""
import os
import re
import sys

SOURCE = os.environ.get('XAPI_SOURCE') or os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
rules = {}
for line in open(os.path.join(SOURCE, 'tests/lint/layers.txt')):
    line = line.split('#')[0].strip()
    if line:
        folder, _, allowed = line.partition(':')
        rules[folder.strip()] = set(allowed.split())

bad, seen = [], 0
for top in ('lib', 'db', 'schema', 'sm', 'xe', 'xapi'):
    for folder, _, files in os.walk(os.path.join(SOURCE, top)):
        layer = os.path.relpath(folder, SOURCE)
        while layer and layer not in rules:
            layer = os.path.dirname(layer)
        for name in files:
            if not name.endswith(('.c', '.h')) or os.path.join(layer, name) == 'xapi/main.c':
                continue
            path = os.path.join(folder, name)
            for number, text in enumerate(open(path), 1):
                m = re.match(r'\s*#\s*include\s+"([^"]+)"', text)
                if not m:
                    continue
                seen += 1
                target = os.path.dirname(m.group(1))
                while target and target not in rules:
                    target = os.path.dirname(target)
                if target not in rules[layer] | {layer} and m.group(1) != 'config.h':
                    bad.append('%s:%d: %s may not include %s' % (os.path.relpath(path, SOURCE), number, layer, m.group(1)))

print('\n'.join('# ' + b for b in bad))
print('%s 1 - %d includes point down' % ('not ok' if bad or seen < 100 else 'ok', seen))
print('1..1')
sys.exit(1 if bad else 0)
