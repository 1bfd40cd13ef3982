#!/usr/bin/env python3
"""Copies of a VM whose guest writes to three disks all the while: snapshot, checkpoint, clone and revert hold what the disks held at
one moment; an agent that is killed in the middle leaves the old state or the new one, and a guest that writes on. LEVEL=full: killed at
each step of them, each with an agent and a VM of its own (ONLY=regex: of some; FROM=20 EVERY=3: from the twentieth on, at every third);
revert's are test-load-revert.py's."""
import itertools
import os
import re
import time

from harness import LEVEL, QemuAgent, check, done, own_network, wait_until
from writing_guest import NULL, Scene, numbers

own_network()


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
    w.deepest = max(w.deepest, w.depth())
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


def all_cuts(w, name):
    first, every = int(os.environ.get('FROM', '1')), int(os.environ.get('EVERY', '1'))
    began = time.monotonic()
    states = [state for state in itertools.takewhile(bool, (cut(w, name, 'agent.step %d' % n) for n in range(first, 200, every)))]
    check('old' in states and 'new' in states and states == sorted(states, reverse=True),
          '%s: old states, then new ones: %s' % (name, ' '.join(states)))
    # Two snapshots are kept, and what may be merged into neither.
    check(wait_until(lambda: w.depth() <= 5, 120, 1),
          '%s: what was left is merged, %d images deep at most in %d s, in the end %d' % (name, w.deepest, time.monotonic() - began, w.depth()))


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


wanted = os.environ.get('ONLY', 'snapshot|checkpoint|clone')
for what in [n for n in OPERATIONS if re.search(wanted, n)] if LEVEL == 'full' else ['a few']:
    with QemuAgent(faults=True) as agent:
        world = Scene(agent)
        whole(world)
        if LEVEL == 'full':
            all_cuts(world, what)
        else:
            few_cuts(world)
        back(world)
done()
