#!/usr/bin/env python3
"""The power goes while a repository of files creates, writes, snapshots, clones, resizes, destroys and merges disks: whatever the
disk kept of what was not synced yet, after the next scan every disk whose call was answered is there with its content, none that
was destroyed is, and what is left can be merged (powercut.py says what a disk may keep)."""
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time

from harness import BUILD, LEVEL, SOURCE, check, done
from powercut import MEMORY, Disk, Record

sys.path.insert(0, os.path.join(SOURCE, 'tests', 'storage'))
from repository import Repository  # noqa: E402

MIB = 1 << 20
SIZE = 2 * MIB
STEPS, CUTS = (14, 25) if LEVEL == 'ci' else (60, 1000)
MOST = 5            # disks at a time


class Moments:
    """What was there after each call, and when it was sent and answered."""

    def __init__(self):
        self.sent, self.acked, self.states = [], [], [{}]

    def did(self, work, change):
        """change: of {uuid: content}, given the answer."""
        self.sent.append(time.monotonic_ns())
        answer = work()
        self.acked.append(time.monotonic_ns())
        state = dict(self.states[-1])
        change(state, answer)
        self.states.append(state)
        return answer

    def around(self, t_ns, later_ns):
        """The states that may be there after a cut between two moments: everything answered before, nothing sent after."""
        low, high = sum(t < t_ns for t in self.acked), sum(t < later_ns for t in self.sent)
        return self.states[low:high + 1]


def work_on(r, rng, moments):
    """Calls, one after the other, as an agent makes them."""
    def uuids():
        return sorted(moments.states[-1])

    def create():
        moments.did(lambda: r.call('vdi_create', 'args=%d' % SIZE)['uuid'], lambda state, vdi: state.__setitem__(vdi, bytes(SIZE)))

    def write():
        vdi, data = rng.choice(uuids()), rng.randbytes(rng.choice((4096, 65536, 300 * 1024)))
        at = rng.randrange((SIZE - len(data)) // 512) * 512
        def changed(state, _):
            state[vdi] = state[vdi][:at] + data + state[vdi][at + len(data):]
        moments.did(lambda: r.write(vdi, at, data), changed)

    def snapshot():
        vdi = rng.choice(uuids())
        moments.did(lambda: r.call(rng.choice(('vdi_snapshot', 'vdi_clone')), 'vdi_uuid=' + vdi)['uuid'],
                    lambda state, new: state.__setitem__(new, state[vdi]))

    def destroy():
        vdi = rng.choice(uuids())
        moments.did(lambda: r.call('vdi_delete', 'vdi_uuid=' + vdi), lambda state, _: state.pop(vdi))

    def resize():
        vdi = rng.choice(uuids())
        size = len(moments.states[-1][vdi]) + 2 * MIB
        moments.did(lambda: r.call('vdi_resize', 'vdi_uuid=' + vdi, 'args=%d' % size),
                    lambda state, _: state.__setitem__(vdi, state[vdi] + bytes(2 * MIB)))

    def merge():
        for m in r.plan()[:1]:
            if r.merge(m).returncode == 0:
                r.finish(m)

    create()
    write()
    for _ in range(STEPS):
        n = len(uuids())
        ways = [write, write, snapshot, merge, resize] if n else []
        rng.choice(ways + [create] * (n < 2) + [destroy] * (2 * (n > 2)) if n < MOST else [destroy, merge, write])()
    merge()


def explained(data, contents):
    """Each sector is one of the contents that the disk had meanwhile."""
    if isinstance(data, str) or len(data) not in map(len, contents):
        return False
    return data in contents or all(any(c[i:i + 512] == data[i:i + 512] for c in contents) for i in range(0, len(data), 512))


def wrong(r, states):
    """What is not as it must be after the cut, when one of these states was there."""
    bad = []
    got = r.call('sr_scan')
    if 'error' in got or 'vdis.n' not in got:
        return ['the scan: %s' % got]
    there = {k.split('.')[1] for k in got if k.startswith('vdis.') and k.endswith('.managed') and got[k] == 'True'}
    may = set().union(*states)
    must = may.intersection(*states)
    for vdi in sorted(must):
        if vdi not in there:
            bad.append('%s is lost: %s' % (vdi, r.files()))
            continue
        data = r.read(vdi)
        if not explained(data, [s[vdi] for s in states]):
            bad.append('%s has other bytes: %s' % (vdi, data if isinstance(data, str) else ''))
    if there - may:
        bad.append('disks that were never there, or destroyed: %s' % (there - may))
    for vdi in there & may:
        if r.fmt == 'qcow2' and subprocess.run(['qemu-img', 'check', '-q', '-f', 'qcow2', r.path(vdi)], stdout=subprocess.DEVNULL,
                                               stderr=subprocess.DEVNULL).returncode not in (0, 3):
            bad.append('%s is corrupt' % vdi)
    return bad


def merged(r, state):
    """Merges all that can be; what then is not as it must be."""
    for _ in range(40):
        plan = r.plan()
        if not plan:
            return [v for v, content in state.items() if r.read(v) != content]
        got = r.merge(plan[0])
        if got.returncode:
            return [got.stderr]
        got = r.finish(plan[0])
        if 'error' in got:
            return [got['error']]
    return ['merging never ends']


def story(fmt):
    rng = random.Random(int(os.environ.get('SEED', '5')))
    work = tempfile.mkdtemp(prefix='cut-', dir=MEMORY)
    record = Record(os.path.join(work, fmt), os.path.join(BUILD, 'tests/faults/record.so'))
    moments, began = Moments(), time.monotonic()
    r = Repository(fmt, work, record.env)
    ready = time.monotonic_ns()
    work_on(r, rng, moments)
    r.env = {k: v for k, v in r.env.items() if k not in record.env}
    ops = list(record.ops())
    check(all(r.read(v) == content for v, content in moments.states[-1].items()), '%s: %d calls, %d disks are left' % (fmt, len(moments.acked), len(moments.states[-1])))
    final = os.path.join(work, 'final')
    os.rename(r.loc, final)

    whole = Disk(record.prefix)
    for op in ops:
        whole.take(op)
    whole.build(work)
    same = subprocess.run(['diff', '-r', final, r.loc], capture_output=True, text=True)
    check(same.returncode == 0, '%s: the record is whole: %d ops, %d syncs %s' % (fmt, len(ops), whole.syncs, same.stdout[:300]))

    disk, at, failures, cuts = Disk(record.prefix), 0, 0, 0
    first = next(i for i, op in enumerate(ops) if op.t_ns > ready)
    for point in sorted(rng.randrange(first, len(ops)) for _ in range(CUTS)):
        for op in ops[at:point]:
            disk.take(op)
        at = point
        shutil.rmtree(r.loc)
        disk.build(work, rng)
        states = moments.around(ops[point].t_ns, ops[min(point + 1, len(ops) - 1)].t_ns)
        bad = wrong(r, states)
        if not bad and cuts % 5 == 0:
            bad = merged(r, {v: c for v, c in states[0].items() if all(s.get(v) == c for s in states)})
        cuts += 1
        if bad:
            failures += 1
            print('# cut before op %d, %r: %s' % (point, ops[point], bad[:3]))
            if failures >= 5:
                break
    check(cuts == CUTS and not failures, '%s: %d power cuts, %d of them with losses, %.0f s' % (fmt, cuts, failures, time.monotonic() - began))
    shutil.rmtree(work)


story('qcow2')
story('vhd')
done()
