#!/usr/bin/env python3
"""Disks of a real guest on real Xen in volumes that get their room when they are attached: VHD and qcow2, snapshotted, merged and (qcow2)
grown while the guest writes; what each image holds is compared with what the guest said it had written. LEVEL=full only. VOLUMES=vhd: one
format."""
import hashlib
import os
import re
import shlex
import sys

sys.path.insert(0, os.path.join(os.environ['XAPI_SOURCE'], 'tests', 'storage'))
from harness import LEVEL, check, done, fails
from guests import BOOT_S, MIB, Guests, Rig, wait_until
from blockrig import Disks

if LEVEL != 'full':
    print('# guests boot: LEVEL=full')
    sys.exit(77)
SIZE, GROWN, BLOCKS, PIECE = 48 * MIB, 64 * MIB, 8, 64 << 10
# Writes ever higher numbers, 64 KiB of each and a MiB apart, one after the other, each when the one before is on its disk. Only dd is a process.
WRITER = ('n=0; while [ ! -e /tmp/stop ]; do n=$((n+1)); printf "%%0%dd\\n" $n >/tmp/piece; '
          'dd if=/tmp/piece of=/dev/xvda bs=%d seek=$((n%%%d*%d)) conv=fsync 2>/dev/null || echo FAI""LED $n; echo wrote $n; done &'
          % (PIECE - 1, PIECE, BLOCKS, MIB // PIECE))


class Writing:
    """A guest, its console and its disk."""

    def __init__(self, g, d, sr, fmt):
        self.g, self.d, self.s, self.fmt = g, d, g.s, fmt
        self.vdi = d.vdi(sr, SIZE, fmt, **{'image-format': fmt})
        self.name = {'vhd': 'VHD-', 'qcow2': 'QCOW2-'}[fmt] + self.s.VDI.get_uuid(self.vdi)
        self.vm = g.vm(fmt)
        g.vbd(self.vm, self.vdi)

    def type(self, words):
        self.g.rig.must('printf "%%s\\n" %s >$(xenstore-read /local/domain/%s/console/tty)' % (shlex.quote(words), self.s.VM.get_domid(self.vm)))

    def wrote(self):
        """The last number that it says is on its disk."""
        return int((re.findall(r'wrote (\d+)', self.g.log(self.vm)) or ['0'])[-1])

    def more(self, n):
        goal = self.wrote() + n
        return wait_until(lambda: self.wrote() >= goal, BOOT_S, 1)

    def says(self, words, what, seconds=BOOT_S):
        """What a command in the guest says behind `what`."""
        self.type(words)
        wait_until(lambda: re.search('%s (.*)' % what, self.g.log(self.vm)), seconds, 1)
        found = re.findall('%s (.*)' % what, self.g.log(self.vm))
        return found[-1].strip() if found else None


def piece(n):
    return b'%0*d\n' % (PIECE - 1, n) if n else bytes(PIECE)


def last(k, b):
    """The number that block b holds when k is the last that was written; 0 = none yet."""
    return max(k - (k - b) % BLOCKS, 0)


def is_moment(data, first, until):
    """Whether data is what the disk held at one moment: when a number from first to until was the last that was written."""
    now = [data[b * MIB:b * MIB + PIECE] for b in range(BLOCKS)]
    if any(data[b * MIB + PIECE:(b + 1) * MIB].strip(b'\0') for b in range(BLOCKS)) or data[BLOCKS * MIB:].strip(b'\0'):
        return False
    for k in range(first, until + 1):
        wrong = [b for b in range(BLOCKS) if now[b] != piece(last(k, b))]
        if not wrong:
            return True
        if wrong != [(k + 1) % BLOCKS]:
            continue
        # the next one was being written: each sector is the old or the new one
        old, new = piece(last(k, wrong[0])), piece(k + 1)
        if all(now[wrong[0]][at:at + 512] in (old[at:at + 512], new[at:at + 512]) for at in range(0, PIECE, 512)):
            return True
    return False


def story(g, d, sr, fmt):
    s, w = g.s, Writing(g, d, sr, fmt)
    check(d.volumes(sr)[w.name]['mib'] < 32, '%s: little room at first: %s' % (fmt, d.volumes(sr)[w.name]))
    g.start(w.vm)
    check(d.volumes(sr)[w.name]['mib'] >= SIZE / MIB, '%s: all while a guest has it' % fmt)
    check(g.lives(w.vm, BOOT_S), fmt + ': the guest boots')
    w.type(WRITER)
    check(w.more(BLOCKS + 2), '%s: it writes every block: %d' % (fmt, w.wrote()))
    snaps = []
    for _ in range(3):
        first = w.wrote()
        snap = s.VDI.snapshot(w.vdi, {})
        snaps.append((snap, first, w.wrote() + 1))
        check(w.more(4), '%s: it writes on after a snapshot: %d' % (fmt, w.wrote()))
    grown = GROWN if fmt == 'qcow2' else SIZE
    if fmt == 'qcow2':
        s.VDI.resize_online(w.vdi, str(GROWN))
        check(w.more(2) and d.volumes(sr)[w.name]['mib'] >= GROWN / MIB, '%s: grown while it writes' % fmt)
    else:
        fails('VDI_IN_USE', fmt + ': it does not grow in use', s.VDI.resize_online, w.vdi, str(GROWN))
    size = w.says('echo SI""ZE $(cat /sys/block/xvda/size)', 'SIZE')
    check(size == str(grown // 512), '%s: the guest sees it: %s' % (fmt, size))
    for n, (snap, first, until) in enumerate(snaps):
        check(is_moment(d.read(snap), first, until), '%s: snapshot %d is one moment between %d and %d' % (fmt, n, first, until))

    before = len(d.volumes(sr))
    for snap, _, _ in snaps[:2]:
        s.VDI.destroy(snap)
    check(wait_until(lambda: len(d.volumes(sr)) <= before - 4, BOOT_S, 2), '%s: what two leave is merged, and gone, while it writes: %s' % (
        fmt, d.volumes(sr)))
    check(w.more(3), '%s: it writes on: %d' % (fmt, w.wrote()))
    snap, first, until = snaps[2]
    check(is_moment(d.read(snap), first, until), fmt + ': the third snapshot is what it was')
    w.type('touch /tmp/stop')
    said = w.says('wait; sync; echo 3 >/proc/sys/vm/drop_caches; echo SU""M $(md5sum </dev/xvda)', 'SUM')
    ended = w.wrote()
    s.VM.clean_shutdown(w.vm)
    check('FAILED' not in g.log(w.vm) and g.clean() == '', '%s: no write failed, and nothing is left of it: %s' % (fmt, g.leftovers()))
    data = d.read(w.vdi)
    check(len(data) == grown and is_moment(data, ended, ended), '%s: the disk holds all that was written: %d' % (fmt, ended))
    check(said and said.split()[0] == hashlib.md5(data).hexdigest(), '%s: as the guest read it: %s' % (fmt, said))
    s.VDI.destroy(snap)
    check(wait_until(lambda: not d.parent(w.vdi), BOOT_S, 2) and d.read(w.vdi) == data, fmt + ': at rest it takes its base in')
    lv = d.volumes(sr)[w.name]
    check(lv['mib'] < SIZE / MIB and not lv['active'], '%s: room that it does not use comes back: %s' % (fmt, lv))
    s.VDI.destroy(w.vdi)
    check(wait_until(lambda: set(d.volumes(sr)) == {'MGT'}, 60, 1), '%s: destroyed, nothing is left: %s' % (fmt, sorted(d.volumes(sr))))


with Rig('xen') as rig:
    rig.install()
    agent = rig.start_agent('--log-level', 'debug')
    g = Guests(rig, agent)
    d = Disks(rig, agent, g.s)
    sr = d.create('lvm', {'device': '/dev/vdb', 'allocation': 'thin'})
    for name in (os.environ.get('VOLUMES') or 'qcow2 vhd').split():
        story(g, d, sr, name)
    d.unplug(sr)
    g.s.SR.destroy(sr)
done()
