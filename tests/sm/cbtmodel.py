"""Changed block tracking against a model of contents: random histories, what is refused, kill -9 at every step. What a list says
changed must be all that differs, and no more than was written.

Called by: tests/sm/test-cbt.py (images in files), tests/storage/lvmcbt.py (in volumes, in a machine of the rig). Calls: a driver
as the agent's slot would (smcall.py), nbdkit, qemu-io.
"""
import base64
import os
import random
import struct
import subprocess
import uuid

import smcall

MIB, BLOCK = 1 << 20, 65536
SIZE = 6 * MIB
NULL = uuid.UUID(int=0)


class Log:
    """A log as XenServer's cbt-util reads it: struct {parent, child, int consistent, uint64 size} and the bitmap."""

    def __init__(self, data):
        parent, child, self.consistent, self.size = struct.unpack_from('<16s16si4xq', data)
        self.parent, self.child = uuid.UUID(bytes=parent), uuid.UUID(bytes=child)
        self.bits = data[48:48 + (-(-self.size // BLOCK) + 7) // 8]

    @staticmethod
    def write(size, blocks=(), parent=NULL, child=NULL, consistent=1):
        bits = bytearray((-(-size // BLOCK) + 7) // 8)
        for b in blocks:
            bits[b // 8] |= 1 << b % 8
        return struct.pack('<16s16si4xq', parent.bytes, child.bytes, consistent, size) + bits


class Repository:
    """Of one format. A place of images has: driver (a program), config (words of each call), tools (image-merge, the nbdkit plugin),
    read_log(uuid), write_log(uuid, data), logs() (uuids), half_made() (names)."""

    def __init__(self, fmt, work, seed=None):
        self.fmt, self.work, self.sr = fmt, work, str(uuid.uuid4())
        self.rng = random.Random(len(fmt) if seed is None else seed)
        self.disks, self.written, self.paths = {}, {}, {}      # uuid: content; uuid: blocks written since its last snapshot

    def call(self, command, *members, fault=None):
        return smcall.call(self.driver, command, 'sr_uuid=' + self.sr, *self.config, 'smconfig.image-format=' + self.fmt, *members,
                           fault=fault)

    def log(self, vdi):
        return Log(self.read_log(vdi))

    def create(self):
        vdi = self.call('vdi_create', 'args=%d' % SIZE)['uuid']
        self.disks[vdi], self.written[vdi] = bytearray(SIZE), set()
        return vdi

    def attach(self, vdi):
        got = self.call('vdi_attach', 'vdi_uuid=' + vdi, 'args=true')
        self.paths[vdi] = got.get('params')
        return got

    def io(self, vdi, command):
        """On a disk that is attached."""
        path = self.paths[vdi]
        if self.fmt == 'vhd':
            argv = ['nbdkit', '-U', '-', self.plugin, 'image=' + path, '--run', 'qemu-io -f raw %s -c flush "$uri"' % command]
        else:
            argv = ['sh', '-c', 'qemu-io -f qcow2 %s -c flush %s' % (command, path)]
        got = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert got.returncode == 0 and 'fail' not in got.stdout, got.stdout

    def write(self, vdi, at=None, data=None, attach=True):
        if at is None:
            at = self.rng.randrange(SIZE // 4096) * 4096
            data = self.rng.randbytes(min(self.rng.choice([4096, 65536, 300 * 1024]), SIZE - at))
            if not self.rng.randrange(4):
                data = bytes(len(data))
        with open(os.path.join(self.work, 'piece'), 'wb') as f:
            f.write(data)
        if attach:
            self.attach(vdi)
        self.io(vdi, '-c "write -s %s/piece %d %d"' % (self.work, at, len(data)))
        if attach:
            self.call('vdi_detach', 'vdi_uuid=' + vdi)
        self.disks[vdi][at:at + len(data)] = data
        self.written[vdi] |= set(range(at // BLOCK, (at + len(data) - 1) // BLOCK + 1))

    def snapshot(self, vdi):
        a = self.call('vdi_snapshot', 'vdi_uuid=' + vdi)
        if 'uuid' in a:
            self.disks[a['uuid']] = bytearray(self.disks[vdi])
        return a.get('uuid')

    def changed(self, old, new):
        a = self.call('vdi_list_changed_blocks', 'vdi_uuid=' + old, 'args=' + new)
        if 'value' not in a:
            return a
        bits = base64.b64decode(a['value'])
        return {n for n in range(len(bits) * 8) if bits[n // 8] >> (7 - n % 8) & 1}

    def differ(self, old, new):
        """What an older, shorter disk lacks reads as zeros."""
        b = self.disks[new]
        a = self.disks[old].ljust(len(b), b'\0')
        return {n for n in range(-(-len(b) // BLOCK)) if a[n * BLOCK:(n + 1) * BLOCK] != b[n * BLOCK:(n + 1) * BLOCK]}

    def settle(self):
        merges = 0
        while True:
            got = self.call('sr_gc_plan', 'attached_list=')
            tops = sorted({k.split('.')[1] for k in got if k.startswith('merges.') and k != 'merges.n'})
            if not tops:
                return merges
            m = {f: got['merges.%s.%s' % (tops[0], f)] for f in ('top', 'base', 'format', 'top_path', 'base_path', 'stamp')}
            if got.get('prepare') == 'True':
                assert 'error' not in self.call('sr_gc_prepare', 'args=%s,%s' % (m['top'], m['base']), 'attached_list=')
            subprocess.run([self.merger, m['format'], m['top_path'], m['base_path']], check=True, capture_output=True)
            got = self.call('sr_gc_finish', 'args=%s,%s,%s' % (m['top'], m['base'], m['stamp']), 'attached_list=')
            assert 'error' not in got, got
            merges += 1


def history(r, check, rounds=12):
    """Snapshots, clones, deletions, destroyed data and merges of one tracked disk."""
    fmt = r.fmt
    x = r.create()
    r.write(x)
    check(r.call('vdi_enable_cbt', 'vdi_uuid=' + x).get('cbt_enabled') == 'True', '%s: tracking begins' % fmt)
    check('error' not in r.call('vdi_enable_cbt', 'vdi_uuid=' + x), 'twice is fine')
    snaps, since, data_gone, right, exact = [], [], set(), True, True
    merges = 0
    for i in range(rounds):
        for _ in range(r.rng.randrange(3)):
            r.write(x)
        what = r.rng.randrange(6)
        if what < 3 or len(snaps) < 2:
            snaps.append(r.snapshot(x))
            since.append(set(r.written[x]))
            r.written[x] = set()
        elif what == 3:
            r.call('vdi_clone', 'vdi_uuid=' + x)
        elif what == 4:
            gone = r.rng.choice(snaps)
            right &= 'error' not in r.call('vdi_data_destroy', 'vdi_uuid=' + gone)
            data_gone.add(gone)
        else:
            n = r.rng.randrange(len(snaps))
            r.call('vdi_delete', 'vdi_uuid=' + snaps[n])
            if n + 1 < len(snaps):
                since[n + 1] |= since[n]
            else:
                r.written[x] |= since[n]
            del snaps[n], since[n]
        if not r.rng.randrange(3):
            merges += r.settle()
        for a in range(len(snaps)):
            now = set(r.written[x])
            for b in range(len(snaps) - 1, a, -1):
                told = r.changed(snaps[a], snaps[b])
                wrote = set().union(*since[a + 1:b + 1])
                right &= isinstance(told, set) and r.differ(snaps[a], snaps[b]) <= told
                exact &= told == wrote
            told = r.changed(snaps[a], x)
            wrote = now.union(*since[a + 1:])
            right &= isinstance(told, set) and r.differ(snaps[a], x) <= told
            exact &= told == wrote
    for n in range(3):          # whatever chance has brought: one merge at least
        r.write(x)
        snaps.append(r.snapshot(x))
        since.append(set(r.written[x]))
        r.written[x] = set()
    since[-1] |= since[-2]
    r.call('vdi_delete', 'vdi_uuid=' + snaps[-2])
    del snaps[-2], since[-2]
    merges += r.settle()
    exact &= r.changed(snaps[-2], snaps[-1]) == since[-1]
    check(merges, '%s: bases were merged meanwhile: %d' % (fmt, merges))
    check(right, '%s: a list holds every block that differs' % fmt)
    check(exact, '%s: and none that was not written' % fmt)
    got = r.call('sr_scan')
    check(all(got['vdis.%s.cbt_enabled' % v] == 'True' for v in snaps + [x]), 'a scan shows what is tracked')
    check({v for v in snaps if got.get('vdis.%s.type' % v) == 'cbt_metadata'} == data_gone & set(snaps), 'and which data are gone')
    chain = [r.log(v) for v in snaps + [x]]
    check([l.parent for l in chain] == [NULL] + [uuid.UUID(v) for v in snaps] and
          [l.child for l in chain] == [uuid.UUID(v) for v in snaps[1:] + [x]] + [NULL], 'the logs are linked as XenServer links them')
    check(all(l.consistent == 1 and l.size == SIZE for l in chain), 'and consistent, since nobody has the disk')
    mine = {n for n in range(SIZE // BLOCK) if chain[-1].bits[n // 8] >> n % 8 & 1}
    check(mine == r.written[x], 'the bitmap on disk is complete: another toolstack may go on')
    r.call('vdi_resize', 'vdi_uuid=' + x, 'args=%d' % (SIZE + 2 * MIB))
    r.disks[x] += bytes(2 * MIB)
    r.write(x, SIZE + MIB, b'x' * 4096)
    last = snaps[-1]
    check(r.changed(last, x) == r.written[x] and r.log(x).size == SIZE + 2 * MIB, 'a grown disk: its new blocks are told when written')
    return x, snaps


def errors(r, check, x, snaps):
    code = lambda a: a.get('error', '').split(' ')[0]
    other = r.create()
    check(code(r.changed(x, x)) == 'SR_BACKEND_FAILURE_460', 'a disk and itself')
    check(code(r.changed(snaps[0], other)) == 'SR_BACKEND_FAILURE_460', 'disks that have nothing to do with each other')
    check(code(r.changed(x, snaps[0])) == 'SR_BACKEND_FAILURE_460', 'the newer one first')
    check(code(r.call('vdi_list_changed_blocks', 'vdi_uuid=' + snaps[0], 'args=x')) == 'SR_BACKEND_FAILURE_143', 'no uuid')
    raw = r.call('vdi_create', 'args=%d' % MIB, 'smconfig.image-format=raw')['uuid']
    check(code(r.call('vdi_enable_cbt', 'vdi_uuid=' + raw)) == 'SR_BACKEND_FAILURE_66', 'a raw image is not tracked')
    check(code(r.call('vdi_data_destroy', 'vdi_uuid=' + other)) == 'SR_BACKEND_FAILURE_66', 'data of what is not tracked stay')
    check(code(r.call('vdi_enable_cbt', 'vdi_uuid=' + str(uuid.uuid4()))) == 'VDI_MISSING', 'no such disk')
    check(r.call('vdi_disable_cbt', 'vdi_uuid=' + x).get('cbt_enabled') == 'False', 'tracking ends')
    check(r.log(snaps[-1]).child == NULL and code(r.changed(snaps[-1], x)) == 'SR_BACKEND_FAILURE_460', 'the list ends at the last snapshot')
    for v in snaps:
        check('error' not in r.call('vdi_delete', 'vdi_uuid=' + v), 'a snapshot goes with its log')
    check(not r.logs(), 'no log is left')
