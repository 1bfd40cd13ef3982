#!/usr/bin/env python3
"""The daemon has the capabilities that doc/security.md names and no more, on every thread; a plug-in it runs has all of root's."""
import os
import re

from harness import SOURCE, Agent, check, done, skip

LAST_CAP = int(open('/proc/sys/kernel/cap_last_cap').read())
HEADER = '/usr/include/linux/capability.h'

if os.geteuid():
    skip('capabilities', 'only root has some to give up')
    done()


def names(mask, all_names):
    return {all_names.get(n, 'CAP_%d' % n) for n in range(64) if mask >> n & 1}


def masks(status):
    return {key: int(value, 16) for key, value in re.findall(r'^(Cap\w+):\s*(\w+)$', status, re.M)}


numbers = {int(n): name for name, n in re.findall(r'#define (CAP_\w+)\s+(\d+)$', open(HEADER).read(), re.M) if int(n) <= LAST_CAP}
text = open(os.path.join(SOURCE, 'doc', 'security.md')).read()
documented = set(re.findall(r'`(CAP_\w+)`', text[text.index('| kept | for |'):text.index('`xapi-helper` confines')]))
own = masks(open('/proc/self/status').read())

plugins = os.path.join(os.environ.get('TMPDIR', '/tmp'), 'xapi-privileges-%d' % os.getpid())
os.mkdir(plugins)
with open(os.path.join(plugins, 'show'), 'w') as f:
    f.write('''#!/bin/sh
printf '<?xml version="1.0"?><methodResponse><params><param><value><struct><member><name>Status</name><value>Success</value></member>'
printf '<member><name>Value</name><value><string>'
cat /proc/self/status
printf '</string></value></member></struct></value></param></params></methodResponse>'
''')
os.chmod(f.name, 0o755)

with Agent('--plugin-dir', plugins) as agent:
    s = agent.login()
    threads = '/proc/%d/task' % agent.process.pid
    seen = [masks(open('%s/%s/status' % (threads, t)).read()) for t in os.listdir(threads)]
    check(len(seen) > 4, 'it has threads: %d' % len(seen))
    for kind in ('CapEff', 'CapPrm'):
        expected = names(own[kind], numbers) & documented
        check(all(names(m[kind], numbers) == expected for m in seen), '%s of each of them is what is documented: %s' %
              (kind, sorted(names(seen[0][kind], numbers) ^ expected) or 'so it is'))
    check(names(own['CapEff'], numbers) - documented, 'and that is less than root has here')
    plugin = masks(s.host.call_plugin(s.host.get_all()[0], 'show', 'main', {}))
    check(plugin['CapEff'] == own['CapBnd'], 'a plug-in runs with all that root may have here: %x' % plugin['CapEff'])
os.unlink(f.name)
os.rmdir(plugins)
done()
