#!/usr/bin/env python3
"""Thirty snapshots of a running guest that writes all the time, on a qcow2 and a VHD: random ones are destroyed, what they leave
is merged meanwhile, the agent is killed in the middle, the VM is reverted, and every disk that is left is compared with a model."""
import glob
import os
import random
import subprocess
import urllib.request

from guest import MIB, Console, disk, drive, make_vm
from harness import LEVEL, QemuAgent, check, done, guest_files, own_network, wait_until

kernel, initramfs = guest_files()   # may download: before the network is our own
own_network()
SIZE, KEPT, SLOTS, SLOT = 32 * MIB, 24 * MIB, 64, 64 << 10      # what the model knows byte by byte, then the slots of a writer
ROUNDS, EACH = (3, 10) if LEVEL == 'ci' else (6, 20)
NAMES = 'vda', 'vdb'
rng = random.Random(os.environ.get('SEED', '7'))


def content(agent, s, vdi):
    url = 'http://127.0.0.1:%d/export_raw_vdi?vdi=%s&format=raw&session_id=%s' % (agent.http_port, vdi, s._ref)
    with urllib.request.urlopen(url, timeout=120) as r:
        return r.read()


def last_write(data):
    """The writer's slots as one moment: the number of its last write, None when they fit no moment."""
    found = [int(data[KEPT + j * SLOT:][:12].split(b'\n')[0].strip(b'\0') or 0) for j in range(SLOTS)]
    k = max(found)
    expected = [0] * SLOTS
    for n in range(max(1, k - SLOTS + 1), k + 1):
        expected[n * 7 % SLOTS] = n
    return k if found == expected else None


class Guest:
    """The guest's disks as they must be."""

    def __init__(self, agent, uuid):
        self.console = Console(agent, uuid)      # of a VM that is paused: nothing that it says is missed
        self.model = {name: bytearray(KEPT) for name in NAMES}
        self.known = {name: 0 for name in NAMES}     # writes known to be finished

    def begin(self, first=None):
        for name in NAMES:
            self.console.run('n=%d; while n=$((n+1)); do sleep 0.05; echo $n | dd of=/dev/%s bs=512 seek=$((%d+n*7%%%d*%d)) conv=fsync 2>/dev/null; '
                             'echo $n >/tmp/.%s; mv /tmp/.%s /tmp/%s; done & echo started'
                             % (first[name] if first else 0, name, KEPT // 512, SLOTS, SLOT // 512, name, name, name))

    def written(self):
        """How many writes of each writer are finished."""
        out = self.console.run('echo "N"UMBERS: $(cat /tmp/vda || echo 0) $(cat /tmp/vdb || echo 0) 2>/dev/null', 120)
        self.known = dict(zip(NAMES, map(int, out[out.rindex('NUMBERS:') + 8:].split()[:2])))
        return self.known

    def scribble(self, n=2):
        work = []
        for name in NAMES:
            for _ in range(n):
                at, pattern = rng.randrange(KEPT // SLOT), rng.choice([0, rng.randrange(1, 256)])
                work.append("tr '\\0' '\\%03o' </dev/zero | dd of=/dev/%s bs=1k count=64 seek=%d iflag=fullblock conv=fsync 2>/dev/null"
                            % (pattern, name, at * 64))
                self.model[name][at * SLOT:(at + 1) * SLOT] = bytes([pattern]) * SLOT
        return self.console.ok(' && '.join(work), 120)


def disks_of(s, vm):
    """{'vda': VDI, ...} of a VM or a snapshot."""
    records = [s.VBD.get_record(v) for v in s.VM.get_VBDs(vm)]
    return {NAMES[int(r['userdevice'])]: r['VDI'] for r in records if r['type'] == 'Disk'}


class Kept:
    """A snapshot and what it must hold."""

    def __init__(self, s, guest, vm, i):
        self.model = {name: bytes(m) for name, m in guest.model.items()}
        low = guest.known
        self.ref = s.VM.snapshot(vm, 'snapshot %d' % i)
        high = guest.written()
        self.moment = {name: (low[name], high[name] + 1) for name in NAMES}
        self.disks = disks_of(s, self.ref)

    def right(self, agent, s, name):
        data = content(agent, s, self.disks[name])
        k, (low, high) = last_write(data), self.moment[name]
        same = len(data) == SIZE and data[:KEPT] == self.model[name]
        if not same or k is None or not low <= k <= high:
            print('# %s: bytes %s, last write %s of %d to %d' % (name, same, k, low, high))
            return False
        return True

    def destroy(self, s):
        s.VM.destroy(self.ref)
        for vdi in self.disks.values():
            s.VDI.destroy(vdi)


def left_to_merge(s):
    vdis = s.VDI.get_all_records().values()
    by_uuid = {v['uuid']: v for v in vdis}
    parents = [v['sm_config'].get('vhd-parent') for v in vdis]
    attached = {b['VDI'] for b in s.VBD.get_all_records().values() if b['currently_attached']}
    attached = {s.VDI.get_uuid(v) for v in attached if v != 'OpaqueRef:NULL'}
    return [v['uuid'] for v in vdis if v['sm_config'].get('vhd-parent') in by_uuid and parents.count(v['sm_config']['vhd-parent']) == 1
            and (not v['managed'] or v['uuid'] not in attached)]


agent = QemuAgent('--coalesce-interval', '1s', '--coalesce-rate', '4M')
with agent:
    s = agent.login()
    sr = s.pool.get_default_SR(s.pool.get_all()[0])
    folder = os.path.join(agent.root, 'sr')
    vm = make_vm(s, kernel, initramfs, 'chain')
    uuid = s.VM.get_uuid(vm)
    drive(s, vm, disk(s, sr, 'q', SIZE), '0', bootable=True)
    drive(s, vm, disk(s, sr, 'v', SIZE, sm_config={'image-format': 'vhd'}), '1')
    s.VM.start(vm, True, False)
    guest, kept, made = Guest(agent, uuid), [], 0
    s.VM.unpause(vm)
    check(guest.console.says('userland: chain', 300) and guest.console.ok('grep -q vdb /proc/partitions', 120), 'a guest boots')
    guest.begin()
    check(wait_until(lambda: min(guest.written().values()) > 3, 60, 0.5), 'it writes to both disks, one write after the other')

    for r in range(ROUNDS):
        for _ in range(EACH):
            fine = guest.scribble()
            kept.append(Kept(s, guest, vm, made))
            made += 1
            if len(kept) > 4 and rng.randrange(3):
                kept.pop(rng.randrange(len(kept))).destroy(s)
            if not fine:
                check(False, 'the guest writes after snapshot %d' % made)
        for _ in range(len(kept) // 2):
            kept.pop(rng.randrange(len(kept))).destroy(s)
        before = guest.written()
        if r == 1:
            check(wait_until(lambda: any(t['name_label'] == 'SR.coalesce' and t['status'] == 'pending'
                                         for t in s.task.get_all_records().values()) or not left_to_merge(s), 60, 0.01),
                  'a merge runs')
            agent.kill()
            agent.start()
            s = agent.login()
        some = rng.choice(kept)
        check(all(some.right(agent, s, n) for n in NAMES), 'round %d: while images are merged, a snapshot is as it was' % r)
        check(wait_until(lambda: not left_to_merge(s), 240, 0.5), 'everything that can be merged is: %s' % left_to_merge(s))
        for k in kept:
            check(all(k.right(agent, s, n) for n in NAMES), 'snapshot %s is as it was' % s.VM.get_name_label(k.ref))
        check(guest.scribble(), 'the guest writes on')
        after = guest.written()
        check(all(after[n] > before[n] for n in NAMES), 'and never stopped: %s, then %s' % (before, after))
        check(len(glob.glob(folder + '/base-*')) <= len(kept) + 1, 'no more bases than snapshots, and one: %d, %d'
              % (len(glob.glob(folder + '/base-*')), len(kept)))

        if r != ROUNDS - 2:
            continue
        # Back to one of them, at rest.
        s.VM.hard_shutdown(vm)
        back = rng.choice(kept)
        s.VM.revert(back.ref)
        now = disks_of(s, vm)
        data = {n: content(agent, s, now[n]) for n in NAMES}
        check(all(data[n] == content(agent, s, back.disks[n]) and data[n][:KEPT] == back.model[n] for n in NAMES), 'reverted')
        s.VM.start(vm, True, False)
        guest = Guest(agent, uuid)
        s.VM.unpause(vm)
        guest.model = {n: bytearray(back.model[n]) for n in NAMES}
        check(guest.console.says('userland: chain', 300) and guest.console.ok('grep -q vdb /proc/partitions', 120), 'it boots again')
        guest.begin({n: last_write(data[n]) for n in NAMES})
        check(wait_until(lambda: guest.console.ok('test -s /tmp/vda -a -s /tmp/vdb'), 60, 0.5), 'and it writes on from there')

    check(made == ROUNDS * EACH, '%d snapshots were made' % made)
    check(guest.console.ok('kill %1 %2; wait; sync'), 'the writers end')
    total = guest.written()
    s.VM.hard_shutdown(vm)
    for name, vdi in disks_of(s, vm).items():
        data = content(agent, s, vdi)
        k = last_write(data)
        check(data[:KEPT] == guest.model[name] and k is not None and total[name] <= k <= total[name] + 1, name + ' has everything')
    for k in kept:
        k.destroy(s)
    check(wait_until(lambda: not left_to_merge(s), 240, 0.5), 'at rest the disks are merged, too')
    images = sorted(n for n in os.listdir(folder) if n.endswith(('.qcow2', '.vhd', '.cbtlog')) or n.startswith(('tmp-', 'merged-', 'live-')))
    check(len(images) == 2, 'one file each: %s' % images)
    for name, vdi in disks_of(s, vm).items():
        check(content(agent, s, vdi)[:KEPT] == guest.model[name], name + ' is as it was')
    bad = [i for i in glob.glob(folder + '/*.qcow2') if subprocess.run(['qemu-img', 'check', '-q', '-f', 'qcow2', i]).returncode]
    check(bad == [], 'the qcow2 is sound and nothing in it is lost')
    for vdi in disks_of(s, vm).values():
        s.VDI.destroy(vdi)
    s.SR.scan(sr)
    check(s.SR.get_VDIs(sr) == [] and not [n for n in os.listdir(folder) if not n.startswith('.')], 'nothing is left')
done()
