#!/usr/bin/env python3
"""doc/drivers.md: what each hypervisor driver can do, as the program says it. DOC_UPDATE=1 writes it anew."""
import os
import subprocess

from harness import BUILD, SOURCE, Agent, check, done, fails

DOC = os.path.join(SOURCE, 'doc', 'drivers.md')
HEAD = '''# What each hypervisor driver can do

Made from `xapi --drivers` by `tests/wire/test-drivers-doc.py` (`DOC_UPDATE=1` writes it anew): ● the driver has it, · a message
that needs it is refused: `NOT_IMPLEMENTED ["hv.DRIVER.VERB"]` where it has no error of its own.

| | messages | libvirt | xen | simulator |
|---|---|---|---|---|
'''
MARK = {'yes': '●', 'no': '·'}

out = subprocess.run([os.path.join(BUILD, 'run'), 'xapi', '--drivers'], capture_output=True, text=True, check=True).stdout
rows = [line.split('\t') for line in out.splitlines()]
check(rows[0] == ['what', 'messages', 'libvirt', 'xen', 'sim'] and all(len(r) == 5 for r in rows) and len(rows) > 20, '%d abilities' % (len(rows) - 1))
if os.environ.get('DOC_UPDATE'):
    assert '?' not in [cell for r in rows for cell in r[2:]], 'build with both drivers'
    with open(DOC, 'w') as f:
        f.write(HEAD + ''.join('| %s | %s | %s |\n' % (r[0], r[1], ' | '.join(MARK[c] for c in r[2:])) for r in rows[1:]))
with open(DOC) as f:
    text = f.read()
check(text.startswith(HEAD), 'the page begins as it should')
told = [[cell.strip() for cell in line.strip('|').split(' | ')] for line in text[len(HEAD):].splitlines()]
# A driver that this build does not have says nothing against the page.
wrong = [(a, b) for a, b in zip(rows[1:], told) if a[:2] != b[:2] or any(x != '?' and MARK[x] != y for x, y in zip(a[2:], b[2:]))]
check(len(told) == len(rows) - 1 and not wrong, 'doc/drivers.md says what the drivers say: %s' % wrong)
check(any(r[4] == 'no' for r in rows) and all(r[4] != '?' for r in rows[1:]), 'the simulator lacks something')

with Agent() as agent:
    s = agent.login()
    lacks = [r[1] for r in rows[1:] if r[4] == 'no']
    check('host.send_debug_keys' in lacks, 'among others the keys of an engine: %s' % lacks)
    fails('OPERATION_NOT_ALLOWED', 'which the message refuses', s.host.send_debug_keys, s.host.get_all()[0], 'h')
done()
