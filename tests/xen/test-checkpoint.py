#!/usr/bin/env python3
"""Checkpoints of running guests on real Xen: memory and disk of then come back by VM.revert, and go on. PV with a disk that QEMU
serves, PVH with one of the kernel's, HVM with drivers of its own and a device model. Arguments: which. LEVEL=full only (minutes)."""
import re
import sys

from harness import LEVEL, check, done
from guests import Guests, Rig, wait_until

ADDRESS = '10.9.0.2'


def types(g, vm, text):
    """At the guest's console, where a shell listens."""
    g.rig.must("printf '%%s\\n' '%s' >$(xenstore-read /local/domain/%s/console/tty)" % (text, g.s.VM.get_domid(vm)))


def answers(g, vm, command, word, seconds=60):
    """The command's first line of output, past word: typed with a break in it, so that its echo is not taken for the answer."""
    before = len(re.findall(word + r': (\S*)', g.log(vm)))
    types(g, vm, 'echo "%s: $(%s)"' % (word[:2] + '""' + word[2:], command))
    wait_until(lambda: len(re.findall(word + r': (\S*)', g.log(vm))) > before, seconds, 0.5)
    found = re.findall(word + r': (\S*)', g.log(vm))
    return found[-1] if len(found) > before else ''


READ = 'dd if=/dev/xvda bs=4096 count=1 iflag=direct 2>/dev/null | head -n 1'


def writes(g, vm, text):
    g.says(vm, 'built-in shell', 1, 120)
    types(g, vm, 'echo %s >/tmp/word; echo %s | dd of=/dev/xvda bs=4096 conv=sync,notrunc oflag=direct 2>/dev/null' % (text, text))
    return answers(g, vm, READ, 'disk') == text and answers(g, vm, 'cat /tmp/word', 'memory') == text


def goes_back(g, card, kind, raw):
    s = g.s
    vm = g.linux_hvm(kind, 'ip=%s/24' % ADDRESS) if kind == 'hvm' else g.vm(kind, kind, 'ip=%s/24' % ADDRESS)
    g.vbd(vm, g.disk(kind, raw=raw))
    g.vif(vm, card)
    g.start(vm)
    check(g.says(vm, 'userland: ' + kind, 1, 600) and g.lives(vm) and writes(g, vm, 'then'), '%s: ticks, and writes memory and disk' % kind)
    g.rig.must('ip address replace 10.9.0.1/24 dev %s' % s.network.get_bridge(card))
    snapshot = s.VM.checkpoint(vm, 'point')
    check(s.VM.get_power_state(snapshot) == 'Suspended' and s.VM.get_power_state(vm) == 'Running', '%s: a checkpoint, and it runs on' % kind)
    check(g.lives(vm) and writes(g, vm, 'now'), '%s: and writes others' % kind)
    for time in ('once', 'again'):
        s.VM.revert(snapshot)
        check(s.VM.get_power_state(vm) == 'Suspended' and g.domains() == [], '%s: reverted %s it is suspended' % (kind, time))
        s.VM.resume(vm, False, False)
        check(g.lives(vm) and answers(g, vm, 'cat /tmp/word', 'memory') == 'then' and answers(g, vm, READ, 'disk') == 'then',
              '%s: its memory and disk are those of then' % kind)
        check(wait_until(lambda: g.rig.run('ping -q -c 2 -i 0.5 -W 5 ' + ADDRESS)[0] == 0, 60, 0.5) and g.log(vm).count('userland: ' + kind) == 1,
              '%s: its card works, and it has not booted' % kind)
        if time == 'once':
            check(writes(g, vm, 'later'), '%s: it writes again' % kind)
    s.VM.suspend(vm)
    s.VM.resume(vm, False, False)
    check(g.lives(vm) and answers(g, vm, 'cat /tmp/word', 'memory') == 'then', '%s: suspended and resumed after it' % kind)
    if kind == 'hvm':
        s.VM.pool_migrate(vm, s.host.get_all()[0], {'live': 'true'})
        check(g.lives(vm) and answers(g, vm, 'cat /tmp/word', 'memory') == 'then' and answers(g, vm, READ, 'disk') == 'then',
              '%s: moved while it ran, with its memory and its disk' % kind)
    s.VM.hard_shutdown(vm)
    s.VM.destroy(snapshot)
    check(g.clean() == '' and not [v for v in s.VDI.get_all() if s.VDI.get_type(v) == 'suspend'], '%s: nothing is left: %s' % (kind, g.leftovers()))


if LEVEL != 'full' and not sys.argv[1:]:
    print('# it takes minutes: LEVEL=full')
    sys.exit(77)
with Rig('xen') as rig:
    rig.install()
    g = Guests(rig, rig.start_agent('--log-level', 'debug'))
    net = g.network('xenbr9')
    try:
        for name in sys.argv[1:] or ('pvh', 'pv', 'hvm'):
            goes_back(g, net, name, name == 'pvh')
    except BaseException:
        print(''.join('# agent: %s\n' % l for l in g.rig.run('grep -vE "get-|list" %s | tail -n 40' % g.agent.log)[1].splitlines()))
        raise
done()
