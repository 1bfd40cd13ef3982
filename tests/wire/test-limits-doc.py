#!/usr/bin/env python3
"""doc/limits.md: the limits of what clients may send and leave behind, as the program says them (lib/limits.h); and that it is the code that
keeps them. DOC_UPDATE=1 writes the page anew."""
import os
import re
import subprocess

from harness import BUILD, SOURCE, Agent, check, done, fails

DOC = os.path.join(SOURCE, 'doc', 'limits.md')
HEAD = '''# Limits

Made from `xapi --limits` by `tests/wire/test-limits-doc.py` (`DOC_UPDATE=1` writes it anew); the numbers are those of `lib/limits.h`, which the code
reads. What an administrator may set is in xapi.conf(5) instead.
'''


def number(n, unit):
    if unit == 'bytes':
        for shift, name in ((20, 'MiB'), (10, 'KiB')):
            if n >> shift and n % (1 << shift) == 0:
                return '%d %s' % (n >> shift, name)
    return ('{:,} %s' % {'': '', 'bytes': 'bytes', 's': 's'}[unit]).format(n).strip()


lines = subprocess.run([os.path.join(BUILD, 'run'), 'xapi', '--limits'], capture_output=True, text=True, check=True).stdout.splitlines()
rows = [line.split('\t') for line in lines]
limits = {what: int(n) for n, _, what, _ in (r for r in rows if len(r) == 4)}
check(len(limits) > 50 and all(len(r) in (1, 4) for r in rows), '%d limits, each of something else' % len(limits))
page = HEAD
for row in rows:
    page += '\n## %s\n\n| at most | of what | more |\n|---|---|---|\n' % row[0] if len(row) == 1 else \
        '| %s | %s | %s |\n' % (number(int(row[0]), row[1]), row[2], re.sub(r'\b[A-Z]+(_[A-Z]+)+\b', r'`\g<0>`', row[3]))
if os.environ.get('DOC_UPDATE'):
    with open(DOC, 'w') as f:
        f.write(page)
with open(DOC) as f:
    check(f.read() == page, 'doc/limits.md says what the program says')

# Each limit is read by something.
used = subprocess.run(['grep', '-rhoE', r'\bLIMIT_[A-Z_]+', *(os.path.join(SOURCE, d) for d in ('xapi', 'lib', 'db'))], capture_output=True, text=True).stdout.split()
with open(os.path.join(SOURCE, 'lib', 'limits.h')) as f:
    names = re.findall(r'\bX\((\w+),', f.read())
idle = [n for n in names if 'LIMIT_' + n not in used]
check(len(names) == len(limits) and not idle, 'the code reads each of them: %s' % (idle or 'so it does'))

with Agent() as agent:
    s = agent.login()
    pool = s.pool.get_uuid(s.pool.get_all()[0])
    most = limits["of an alert's name"]
    s.message.create('n' * most, 5, 'Pool', pool, '')
    fails('VALUE_NOT_SUPPORTED', 'an alert whose name is a byte too long', s.message.create, 'n' * (most + 1), 5, 'Pool', pool, '')
    most = limits['classes and objects that an event.from names']
    from_ = lambda n: s.event.__getattr__('from')(['vm/OpaqueRef:%08x-0000-4000-8000-000000000000' % i for i in range(n)], '', 0.0)
    from_(most)
    fails('EVENT_SUBSCRIPTION_PARSE_FAILURE', 'a subscription too many', from_, most + 1)
done()
