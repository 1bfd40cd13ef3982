#!/usr/bin/env python3
"""Guests on real Xen as streams: an HVM guest with its device model is suspended, resumed and moved to another domain of the host;
a PV guest moves while it stands still, and is refused to move while it runs; a guest that does not listen is not suspended."""
import re
import sys
import time

from harness import check, done, fails
from guests import Guests, Rig, wait_until

PVH_GRUB = '/usr/lib/grub-xen/grub-i386-xen_pvh.bin'     # listens to nobody


def no_images(g):
    return not [v for v in g.s.VDI.get_all() if g.s.VDI.get_type(v) == 'suspend']


def held(g):
    """(pages that the hypervisor has given to the only guest, pages that it may have)"""
    text = g.rig.must('xl dmesg -c >/dev/null; xl debug-keys q; xl dmesg')
    mine = text[text.index('General information for domain %d:' % g.domains()[0]):]
    return tuple(int(re.search(key + r'=(\d+)', mine).group(1)) for key in ('nr_pages', 'max_pages'))


def suspend_and_resume(g, vm, what, alive):
    began = time.monotonic()
    g.s.VM.suspend(vm)
    check(g.s.VM.get_power_state(vm) == 'Suspended' and g.clean() == '', '%s: suspended, and nothing of it is left in the machine: %s' % (
        what, g.leftovers()))
    between = time.monotonic()
    g.s.VM.resume(vm, False, False)
    check(alive() and no_images(g), '%s: goes on where it was (suspend %.1f s, resume %.1f s)' % (what, between - began,
                                                                                               time.monotonic() - between))


def is_deaf(g):
    s = g.s
    vm = g.start(g.vm('deaf', 'pvh', mib=32, kernel=PVH_GRUB, ramdisk=''))
    began = time.monotonic()
    fails('VM_FAILED_SUSPEND_ACKNOWLEDGMENT', 'a guest that does not listen is not suspended', s.VM.suspend, vm)
    check(s.VM.get_power_state(vm) == 'Running' and no_images(g), 'it runs on (%.0f s)' % (time.monotonic() - began))
    s.VM.hard_shutdown(vm)
    check(g.clean() == '' and no_images(g), 'nothing is left of it: %s' % g.leftovers())


def life_of_pv(g, card):
    """Debian's hypervisor has no shadow paging, without which nobody knows what a running PV guest writes to."""
    s, host = g.s, g.s.host.get_all()[0]
    vm = g.vm('pv', 'pv', 'ip=10.9.0.2/24')
    g.vif(vm, card)
    g.start(vm)
    check(g.lives(vm, 400), 'PV: ticks')
    before = s.VM.get_domid(vm)
    why = fails('VM_INCOMPATIBLE_WITH_THIS_HOST', 'PV: does not move while it runs', s.VM.pool_migrate, vm, host, {'live': 'true'})
    check('no shadow paging' in why[-1] and s.VM.get_domid(vm) == before and g.lives(vm), 'PV: says why, and goes on: %s' % why[-1:])
    s.VM.pool_migrate(vm, host, {'live': 'false'})
    check(s.VM.get_domid(vm) != before and len(g.domains()) == 1 and g.lives(vm), 'PV: standing still it moves, and ticks')
    g.rig.must('ip address replace 10.9.0.1/24 dev xenbr9')
    check(wait_until(lambda: g.rig.run('ping -q -c 1 -W 5 10.9.0.2')[0] == 0, 60, 0.5) and g.log(vm).count('userland: ') == 1,
          'PV: its card works, and it has not booted again')
    s.VM.hard_shutdown(vm)
    check(g.clean() == '' and no_images(g), 'PV: nothing is left of it: %s' % g.leftovers())


def life_of_hvm(g, card):
    s = g.s
    vm = g.start(g.ticker('hvm', card))
    n = g.counts(vm)
    check(n, 'HVM: a guest without drivers of ours ticks')
    memory = held(g)
    suspend_and_resume(g, vm, 'HVM', lambda: g.counts(vm) > n)
    check(held(g) == memory, 'HVM: resumed it holds, and may hold, as many pages as before: %s, %s' % (memory, held(g)))
    n = g.counts(vm)
    s.VM.pool_migrate(vm, s.host.get_all()[0], {'live': 'true'})
    m = g.counts(vm)
    check(m > n and len(g.domains()) == 1, 'HVM: moves while it runs, with its device model: %d, then %d' % (n, m))
    check(held(g) == memory, 'HVM: moved it does too: %s' % (held(g),))
    check(g.rig.run('timeout 5 socat -T 3 -u UNIX-CONNECT:$(ls %s/run/hv/*.v) -' % g.agent.root)[1].startswith('RFB 003.'), 'HVM: has its screen')
    s.VM.hard_shutdown(vm)
    check(g.clean() == '', 'HVM: nothing is left of it: %s' % g.leftovers())


with Rig('xen') as rig:
    rig.install()
    agent = rig.start_agent('--log-level', 'debug')
    guests = Guests(rig, agent)
    net = guests.network('xenbr9')

    stories = {'hvm': lambda: life_of_hvm(guests, net), 'pv': lambda: life_of_pv(guests, net), 'deaf': lambda: is_deaf(guests)}
    try:
        for story in sys.argv[1:] or stories:
            stories[story]()
    except BaseException:
        print(''.join('# agent: %s\n' % l for l in agent.tail(60).splitlines()))
        raise
done()
