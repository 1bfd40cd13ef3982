#!/usr/bin/env python3
"""Copies of a VM whose guest writes to three disks all the while: snapshot, checkpoint, clone and revert hold what the disks held at
one moment; an agent that is killed in the middle leaves the old state or the new one, and a guest that writes on. LEVEL=full: killed at
each step of them (ONLY=regex: of some; FROM=20 EVERY=3: from the twentieth on, at every third)."""
import hashlib
import http.client
import itertools
import os
import re
import urllib.request
import xmlrpc.client

from harness import LEVEL, QemuAgent, check, done, guest_files, own_network, wait_until

MIB = 1 << 20
SIZE = 9 * MIB
PAGE, LINES = 4096, 2000
NULL = 'OpaqueRef:NULL'
GONE = (OSError, http.client.HTTPException, xmlrpc.client.ProtocolError)      # the agent was killed under the call
kernel, initramfs = guest_files()       # before: a first time it is fetched
own_network()


def number(line):
    text = line.strip(b'\0\n ')
    return int(text) if text else 0


def numbers(data):
    """The number that the disk says, when all lines up to it are there and none that is later than the next; or what is wrong."""
    last = number(data[:PAGE])
    line = {n: number(data[PAGE * (1 + n % LINES):PAGE * (2 + n % LINES)]) for n in range(max(1, last - LINES + 2), last + 2)}
    missing = [n for n in line if n <= last and line[n] != n]
    if missing:
        return 'line %d of %d is not there' % (missing[0], last)
    return last if line[last + 1] <= last + 1 else 'line %d after %d' % (line[last + 1], last)


class Scene:
    """An agent, and a guest that writes to three disks."""

    def __init__(self, agent):
        self.agent, self.s = agent, agent.login()
        s = self.s
        self.kept = self.managed()
        self.vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'load')
        s.VM.provision(self.vm)
        s.VM.set_memory_limits(self.vm, str(64 * MIB), str(192 * MIB), str(192 * MIB), str(192 * MIB))
        s.VM.set_domain_type(self.vm, 'pvh')
        s.VM.set_PV_kernel(self.vm, kernel)
        s.VM.set_PV_ramdisk(self.vm, initramfs)
        s.VM.set_PV_args(self.vm, 'console=ttyS0 mitigations=off load=1 nonce=load')
        self.uuid = s.VM.get_uuid(self.vm)
        sr = s.pool.get_default_SR(s.pool.get_all()[0])
        for n in range(3):
            vdi = s.VDI.create({'name_label': 'disk %d' % n, 'name_description': '', 'SR': sr, 'virtual_size': str(SIZE), 'type': 'user',
                                'sharable': False, 'read_only': False, 'other_config': {}})
            s.VBD.create({'VM': self.vm, 'VDI': vdi, 'userdevice': str(n), 'bootable': not n, 'mode': 'RW', 'type': 'Disk', 'empty': False,
                          'other_config': {}, 'qos_algorithm_type': '', 'qos_algorithm_params': {}})

    def managed(self):
        return {v for v in self.s.VDI.get_all() if self.s.VDI.get_managed(v)}

    def said(self):
        """All numbers that the guest has said."""
        return [int(n) for n in re.findall(r'^load (\d+)\r?$', self.agent.console_log(self.uuid), re.M)]

    def grows(self, by=4):
        before = len(self.said())
        return wait_until(lambda: len(self.said()) >= before + by, 240)

    def disks(self, vm):
        vbds = [self.s.VBD.get_record(b) for b in self.s.VM.get_VBDs(vm)]
        return [b['VDI'] for b in sorted(vbds, key=lambda b: int(b['userdevice'])) if b['type'] == 'Disk']

    def contents(self, vm):
        url = 'http://127.0.0.1:%d/export_raw_vdi?session_id=%s&vdi=%s'
        return [urllib.request.urlopen(url % (self.agent.http_port, self.s._ref, vdi), timeout=60).read() for vdi in self.disks(vm)]

    def digests(self, vm):
        return [hashlib.sha256(data).hexdigest() for data in self.contents(vm)]

    def strange(self, vm, before):
        """What is wrong with its disks as those of one moment, after the guest had said `before`; nothing when all is well."""
        found = [numbers(data) for data in self.contents(vm)]
        if not all(isinstance(n, int) for n in found):
            return found
        a, b, c = found
        # The guest writes them in this order, each when the one before is on its disk.
        return [] if a >= b >= c >= a - 1 and before <= c and a <= self.said()[-1] + 1 else ['%s, after %d' % (found, before)]

    def of_moment(self, vm, before, what):
        wrong = self.strange(vm, before)
        check(not wrong, '%s: its disks are of one moment, after %d: %s' % (what, before, wrong or 'all lines are there'))

    def destroy(self, vm):
        disks = self.disks(vm)
        self.s.VM.destroy(vm)
        for vdi in disks:
            self.s.VDI.destroy(vdi)

    def unowned(self):
        """What is wrong with disks: some are nobody's."""
        def look():
            owned = set(self.kept)
            for vm, r in self.s.VM.get_all_records().items():
                owned |= set(self.disks(vm)) | {r['suspend_VDI']}
            return self.managed() - owned
        return [] if wait_until(lambda: not look(), 20, 0.3) else ['disks of nobody: %d' % len(look())]

    def runs(self, state='Running'):
        """The VM comes to this state, and no operation is left."""
        return wait_until(lambda: self.s.VM.get_power_state(self.vm) == state and not self.s.VM.get_current_operations(self.vm), 120)

    def killed(self, run, where):
        """run() with the agent killed at a fault point (lib/fault.h: 'POINT' or 'POINT NTH'). Whether it came there; the agent is there
        again in any case."""
        point, _, nth = where.partition(' ')
        self.agent.arm(('%s kill %s' % (point, nth)).strip())
        try:
            run()
        except GONE:
            pass
        self.agent.arm(point + ' off')
        try:
            self.s.pool.get_all()
            return False
        except GONE:
            pass
        self.agent.process.wait()
        self.agent.start()
        self.s = self.agent.login()
        return True


# What is run, and what is there afterwards: (state in words, what is wrong).

def copy_state(w, take, before):
    """After a snapshot or a checkpoint: with one more of them, or none."""
    new = set(w.s.VM.get_snapshots(w.vm)) - w.known
    wrong = [] if w.runs() and w.grows() else ['the guest does not write on: %s' % w.s.VM.get_power_state(w.vm)]
    wrong += ['%d snapshots' % len(new)] if len(new) > 1 else []
    for vm in new:
        wrong += w.strange(vm, before)
        if take == 'checkpoint' and w.s.VM.get_suspend_VDI(vm) == NULL:
            wrong.append('no memory')
    wrong += w.unowned()
    for vm in new:
        w.destroy(vm)
    return 'new' if new else 'old', wrong


def clone_state(w, *_):
    """After a clone of the snapshot beside the guest that writes on."""
    new = w.s.VM.get_by_name_label('twin')
    wrong = [] if w.runs() and w.grows() else ['the guest does not write on']
    wrong += ['%d clones' % len(new)] if len(new) > 1 else []
    wrong += ['another content'] if any(w.digests(vm) != w.wanted for vm in new) else []
    wrong += w.unowned()
    for vm in new:
        w.destroy(vm)
    return 'new' if new else 'old', wrong


def revert_state(w, disks, before):
    """After a revert of the running VM: it runs on with its own disks, or is halted with the snapshot's."""
    if w.disks(w.vm) == disks:
        wrong = [] if w.runs() and w.grows() else ['the guest does not write on: %s' % w.s.VM.get_power_state(w.vm)]
        now = w.s.VM.snapshot(w.vm, 'now', [])
        wrong += w.strange(now, before)
        w.destroy(now)
        return 'old', wrong + w.unowned()
    wrong = [] if w.runs('Halted') else ['it is not halted']
    wrong += ['another content'] if w.digests(w.vm) != w.wanted else []
    wrong += w.unowned()
    w.s.VM.start(w.vm, False, False)
    return 'new', wrong + ([] if w.grows() else ['it does not start'])


OPERATIONS = {
    'snapshot': (lambda w: w.s.VM.snapshot(w.vm, 'cut', []), lambda w: ('snapshot', w.said()[-1]), copy_state),
    'checkpoint': (lambda w: w.s.VM.checkpoint(w.vm, 'cut'), lambda w: ('checkpoint', w.said()[-1]), copy_state),
    'clone': (lambda w: w.s.VM.clone(w.snapshot, 'twin'), lambda w: (), clone_state),
    'revert': (lambda w: w.s.VM.revert(w.snapshot), lambda w: (w.disks(w.vm), w.said()[-1]), revert_state),
}


def cut(w, name, where):
    """-> the state that it leaves, or None where the agent is not killed."""
    run, prepare, judge = OPERATIONS[name]
    before = prepare(w)
    killed = w.killed(lambda: run(w), where)
    state, wrong = judge(w, *before)
    how = 'killed' if killed else 'not killed'
    check(not wrong, '%s, %s at %s: the %s state%s' % (name, how, where, state, ''.join('; %s' % x for x in wrong)))
    return state if killed else None


def whole(w):
    """Without any accident."""
    w.s.VM.start(w.vm, False, False)
    check(w.grows(), 'a guest writes to three disks')
    before = w.said()[-1]
    w.snapshot = w.s.VM.snapshot(w.vm, 'snapshot')
    check(w.s.VM.get_power_state(w.vm) == 'Running' and w.grows(), 'and goes on behind a snapshot')
    w.of_moment(w.snapshot, before, 'the snapshot')
    before = w.said()[-1]
    w.checkpoint = w.s.VM.checkpoint(w.vm, 'checkpoint')
    check(w.grows(), 'it goes on behind a checkpoint')
    w.of_moment(w.checkpoint, before, 'the checkpoint')
    w.known = {w.snapshot, w.checkpoint}
    w.wanted = w.digests(w.snapshot)
    check(cut(w, 'clone', 'no.point') is None, 'a clone of the snapshot is made while it writes')


def few_cuts(w):
    """At the points between which the old state becomes the new one."""
    check(cut(w, 'snapshot', 'vm.copy.disks') == 'old', 'a snapshot whose disks are there, not its record, is none')
    check(cut(w, 'revert', 'vm.copy.disks') == 'old', 'a revert that has its disks, and no more, is none')
    check(cut(w, 'revert', 'vm.revert.swapped') == 'new', 'one whose record is there is one')


def all_cuts(w):
    first, every = int(os.environ.get('FROM', '1')), int(os.environ.get('EVERY', '1'))
    for name in OPERATIONS:
        if not re.search(os.environ.get('ONLY', ''), name):
            continue
        states = [state for state in itertools.takewhile(bool, (cut(w, name, 'agent.step %d' % n) for n in range(first, 200, every)))]
        check('old' in states and 'new' in states and states == sorted(states, reverse=True),
              '%s: old states, then new ones: %s' % (name, ' '.join(states)))


def back(w):
    """To the snapshot and to the checkpoint, whole."""
    w.s.VM.revert(w.snapshot)
    check(w.digests(w.vm) == w.wanted, 'a revert brings back what the disks held')
    held = w.digests(w.checkpoint)
    w.s.VM.revert(w.checkpoint)
    check(w.s.VM.get_power_state(w.vm) == 'Suspended' and w.digests(w.vm) == held, 'that to a checkpoint its memory too')
    at, before = numbers(w.contents(w.checkpoint)[0]), len(w.said())
    w.s.VM.resume(w.vm, False, False)
    check(w.grows(), 'and the guest writes on from there')
    text = w.said()[before:]
    w.s.VM.hard_shutdown(w.vm)
    # One number may have been half said when its memory was kept.
    check(any(at - 1 <= n <= at + 3 for n in text[:3]), 'with the number that it was at, %d: %s' % (at, text[:3]))
    check(not w.strange(w.vm, at - 1), 'and its disks are whole')


with QemuAgent(faults=True) as agent:
    world = Scene(agent)
    whole(world)
    (all_cuts if LEVEL == 'full' else few_cuts)(world)
    back(world)
done()
