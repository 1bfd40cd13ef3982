#!/usr/bin/env python3
"""Forty domains of ours at the same time, PV and PVH in turn, each with a disk and a card: two of a small Linux, which answer on their
cards, and others that count and sleep (small.c). All tick, the agent is killed and finds them all again, then all are gone with nothing
left. LEVEL=full only."""
import os
import re
import sys
import time

from harness import LEVEL, check, done
from guests import Guests, Rig, wait_until
from walk import free_mib, holds, ports

if LEVEL != 'full':
    print('# forty guests on an emulated machine: LEVEL=full')
    sys.exit(77)
GUESTS = int(os.environ.get('FORTY_GUESTS', 40))
LINUX = (0, 1)
BOOT_S = 1200


def address(n):
    return '10.9.0.%d' % (n + 10)


class Forty:
    def __init__(self, g, card):
        self.g, self.s = g, g.s
        self.vms = []
        for n in range(GUESTS):
            kind, name = 'pvh' if n % 2 else 'pv', 'small%d' % n
            if n in LINUX:
                vm = g.vm(name, kind, 'ip=%s/24' % address(n))
            else:
                vm = g.small(name, kind)
            g.vbd(vm, g.disk(name, 1))
            g.vif(vm, card)
            self.vms.append(vm)
        self.uuids = [self.s.VM.get_uuid(vm) for vm in self.vms]

    def ticks(self):
        """How often each has ticked."""
        text = self.g.rig.must('cd %s/hv/xen/console; for u in %s; do echo "$u $(grep -ac "tick [0-9]" $u.log 2>/dev/null)"; done' % (
            self.g.agent.root, ' '.join(self.uuids)), 120)
        found = dict(re.findall(r'^(\S+) (\d+)', text, re.M))
        return [int(found.get(u, 0)) for u in self.uuids]

    def silent(self, seconds):
        """Those whose ticks do not go on by two."""
        first = self.ticks()
        late = lambda: [n for n, (a, b) in enumerate(zip(first, self.ticks())) if b < a + 2]
        wait_until(lambda: not late(), seconds, 5)
        return late()

    def deaf(self):
        """Those of Linux that do not answer on their cards."""
        one = lambda n: self.g.rig.run('for i in 1 2 3 4 5 6; do ping -q -c 1 -W 10 %s && exit 0; done; exit 1' % address(n), 120)[0]
        return [n for n in LINUX if one(n) != 0]

    def running(self):
        """{its number among ours: its domain} of all that the API says to run."""
        records = self.s.VM.get_all_records()
        return {n: int(records[vm]['domid']) for n, vm in enumerate(self.vms) if records[vm]['power_state'] == 'Running'}

    def all_at_once(self, method, numbers):
        """What failed of one call to each of them, all at the same time."""
        s, tasks = self.s, {}
        for n in numbers:
            tasks[s.call('Async.' + method, self.vms[n])] = n
        states = lambda: {task: s.task.get_status(task) for task in tasks}
        wait_until(lambda: 'pending' not in states().values(), BOOT_S, 2)
        return ['%d: %s %s' % (tasks[task], state, s.task.get_error_info(task)) for task, state in states().items() if state != 'success']


def live(f):
    g, s = f.g, f.s
    for n in LINUX:
        g.start(f.vms[n])
    check(all(g.lives(f.vms[n], BOOT_S) for n in LINUX), 'a PV and a PVH Linux run')
    took = []
    for vm in f.vms[len(LINUX):]:
        began = time.monotonic()
        g.start(vm)
        took.append(time.monotonic() - began)
    part = max(1, len(took) // 6)
    middle = lambda times: sorted(times)[len(times) // 2]
    print('# VM.start beside all that run: the first %d %.2f s, the last %d %.2f s' % (part, middle(took[:part]), part, middle(took[-part:])))
    wait_until(lambda: all(f.ticks()), BOOT_S, 5)
    check(all(f.ticks()), '%d guests have come to tick: %s' % (GUESTS, f.ticks()))
    right = g.rig.must('cd %s/hv/xen/console; for u in %s; do grep -ao "userland: small[0-9]*" $u.log | tail -n 1; done' % (
        g.agent.root, ' '.join(f.uuids)), 120).splitlines()
    check(right == ['userland: small%d' % n for n in range(GUESTS)], 'each with what is its own: %s' % right)
    before = f.running()
    check(sorted(before.values()) == sorted(g.domains()) and len(before) == GUESTS, 'each is a domain, and no other is there: %s' % before)
    check(not f.silent(600), 'all go on ticking')
    g.rig.must('ip address replace 10.9.0.1/24 dev xenbr9')
    check(not f.deaf(), 'those of Linux answer on their cards')
    f.s = g.again()
    check(f.running() == before, 'a killed agent finds all of them again, as the same domains')
    check(not f.silent(600), 'and reads all their consoles')


def end(f):
    g = f.g
    failed = f.all_at_once('VM.clean_shutdown', LINUX)
    check(not failed, 'those of Linux shut down as they agree to: %s' % failed)
    rest = list(range(len(LINUX), GUESTS))
    check(sorted(f.running()) == rest, 'while the others run')
    failed = f.all_at_once('VM.hard_shutdown', rest)
    check(not failed and not f.running(), 'which are ended, all at once: %s' % failed[:3])
    for vm in f.vms:
        disks = [f.s.VBD.get_VDI(b) for b in f.s.VM.get_VBDs(vm)]
        f.s.VM.destroy(vm)
        for vdi in disks:
            f.s.VDI.destroy(vdi)


with Rig('xen') as rig:
    rig.install()
    agent = rig.start_agent('--log-level', 'debug', timeout_s=300)
    guests = Guests(rig, agent)
    net = guests.network('xenbr9')
    try:
        # One guest before: its bridge and the standing builder are no leak.
        for kind in ('pv', 'pvh'):
            one = guests.vm('first ' + kind, kind)
            guests.vif(one, net)
            guests.start(one, paused=True)
            guests.s.VM.hard_shutdown(one)
            guests.s.VM.destroy(one)
        guests.clean()
        at_first = holds(rig, agent.root), free_mib(rig), ports(rig)
        forty = Forty(guests, net)
        live(forty)
        end(forty)
        check(guests.clean(60) == '', 'nothing is left of any of them: %s' % guests.leftovers())
        left = lambda: sorted(set(holds(rig, agent.root)) ^ set(at_first[0]))
        check(wait_until(lambda: not left(), 60, 1), 'no domain, node of xenstore, backend, process, interface or file either: %s' % left()[:20])
        check(wait_until(lambda: free_mib(rig) >= at_first[1], 60, 1), "the hypervisor's free memory is what it was: %d MiB, %d before" % (
            free_mib(rig), at_first[1]))
        check(wait_until(lambda: ports(rig) <= at_first[2], 60, 1), 'so are the event channels of dom0: %d, %d before' % (ports(rig), at_first[2]))
    except BaseException:
        print(''.join('# agent: %s\n' % l for l in agent.tail(60).splitlines()))
        raise
done()
