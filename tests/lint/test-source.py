#!/usr/bin/env python3
"""House rules that a regular expression can hold: each row is a pattern, where it may not stand, and what to use instead."""
import os
import re
import sys

SOURCE = os.environ.get('XAPI_SOURCE') or os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
RULES = [
    (r'\b(strcpy|strcat|sprintf|vsprintf|strtok|gets)\s*\(', 'strbuf, arena_printf or snprintf'),
    (r'\b(system|popen)\s*\(', 'lib/subproc.h: a shell reads what it should not'),
    (r'\b(T' 'ODO|F' 'IXME|X' 'XX)\b', 'finish it, or file an issue'),
    (r'\bsetlocale\s*\(\s*LC_(ALL|NUMERIC)\s*,\s*""', 'numbers on the wire need LC_NUMERIC=C'),
    (r'[ \t]+$', 'no blanks at the end of a line'),
]
HEAD = re.compile(r'\A/\*.*?Called by:.*?Calls:', re.S)

bad = []
for top in ('lib', 'db', 'schema', 'sm', 'xe', 'xapi'):
    for folder, _, files in os.walk(os.path.join(SOURCE, top)):
        for name in sorted(files):
            if not name.endswith(('.c', '.h')):
                continue
            path = os.path.join(folder, name)
            text = open(path).read()
            shown = os.path.relpath(path, SOURCE)
            for number, line in enumerate(text.split('\n'), 1):
                if len(line) > 140:
                    bad.append('%s:%d: longer than 140 columns' % (shown, number))
                for pattern, instead in RULES:
                    if re.search(pattern, line):
                        bad.append('%s:%d: %s: %s' % (shown, number, line.strip()[:60], instead))
            if not HEAD.search(text[:3000]):
                bad.append('%s:1: a file begins with what it is, who calls it, what it calls' % shown)

print('\n'.join('# ' + b for b in bad))
print('%s 1 - the house rules hold' % ('not ok' if bad else 'ok'))
print('1..1')
sys.exit(1 if bad else 0)
