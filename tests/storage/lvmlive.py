#!/usr/bin/python3
"""Snapshots and merges of a qcow2 in a volume while somebody writes to it, in a machine of the rig.

Called by: test-lvm-live.py. Calls: the driver lvm as the agent's slot would (smcall.py), QEMU without a machine as the guest's
engine, qemu-io.

QEMU opens the disk by the name that guests get, and is told to go on in another image as libvirt tells QEMU. A thread
writes all the time; only for the moment of a snapshot it waits, and what it has written so far is what the snapshot must hold.
Prints a line "ok WHAT" or "not ok WHAT" for each fact.
"""
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
import uuid

import smcall

MIB = 1 << 20
UNIT = 64 << 10
QEMU = '/usr/libexec/xen-qemu-system-i386'
SIZE = 16 * MIB
LIB = '/usr/local/libexec/xapi/sm/'
device = sys.argv[1]
sr, pool = str(uuid.uuid4()), str(uuid.uuid4())
folder = '/dev/VG_XenStorage-' + sr
allocation = 'thick'
rng = random.Random(11)
failures = 0


def say(good, what):
    global failures
    failures += not good
    print('%s %s' % ('ok' if good else 'not ok', what), flush=True)


def call(command, *words):
    return smcall.call(LIB + 'lvm', command, 'sr_uuid=' + sr, 'pool_uuid=' + pool, 'config.device=' + device, 'config.allocation=' + allocation,
                       *words)


def must(command, *words):
    got = call(command, *words)
    if 'error' in got or 'exit' in got:
        raise SystemExit('not ok %s %s: %s' % (command, words, got))
    return got


class Engine:
    """Has the disk open, as a guest's QEMU does."""

    def __init__(self, path):
        self.process = subprocess.Popen([QEMU, '-machine', 'none', '-accel', 'qtest', '-nodefaults', '-display', 'none', '-qmp', 'unix:/root/qmp,server=on,wait=off',
                                         '-blockdev', json.dumps(self.node('n0', path))])
        until = time.monotonic() + 60
        while not os.path.exists('/root/qmp'):
            if self.process.poll() is not None or time.monotonic() > until:
                raise SystemExit('not ok the engine starts')
            time.sleep(0.1)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect('/root/qmp')
        self.lines = self.socket.makefile('rw')
        self.lines.readline()
        self.qmp('qmp_capabilities')
        self.qmp('nbd-server-start', addr={'type': 'unix', 'data': {'path': '/root/nbd'}})
        self.top, self.n = 'n0', 0
        self.export()

    def export(self):
        self.qmp('block-export-add', type='nbd', id='e', **{'node-name': self.top, 'name': 'disk', 'writable': True})

    def grow(self, size):
        """Whoever reads and writes through NBD comes back afterwards: that server lets nobody grow its disk, as a guest does."""
        self.qmp('block-export-del', id='e')
        until = time.monotonic() + 60
        while self.qmp('query-block-exports') and time.monotonic() < until:
            time.sleep(0.05)
        self.qmp('block_resize', size=size, **{'node-name': self.top})
        self.export()

    @staticmethod
    def node(name, path):
        return {'driver': 'qcow2', 'node-name': name, 'cache': {'direct': True},
                'file': {'driver': 'host_device', 'filename': path, 'cache': {'direct': True}}}

    def qmp(self, command, **arguments):
        self.lines.write(json.dumps({'execute': command, 'arguments': arguments}) + '\n')
        self.lines.flush()
        while True:
            got = json.loads(self.lines.readline())
            if 'error' in got:
                raise SystemExit('not ok %s: %s' % (command, got))
            if 'return' in got:
                return got['return']

    def add(self, path):
        self.n += 1
        name = 'n%d' % self.n
        self.qmp('blockdev-add', **dict(self.node(name, path), backing=None))
        return name

    def go_on(self, name):
        self.qmp('blockdev-snapshot', node=self.top, overlay=name)
        self.top = name

    def end(self):
        self.qmp('quit')
        self.process.wait(60)


class Writer(threading.Thread):
    def __init__(self):
        super().__init__(daemon=True)
        self.model, self.lock, self.count, self.stop = bytearray(SIZE), threading.Lock(), 0, False
        self.io = subprocess.Popen(['qemu-io', '-f', 'raw', 'nbd+unix:///disk?socket=/root/nbd'], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.failed = ''

    def run(self):
        while not self.stop:
            with self.lock:
                unit, pattern = rng.randrange(SIZE // UNIT), rng.randrange(1, 256)
                self.io.stdin.write('write -P %d %d %d\n' % (pattern, unit * UNIT, UNIT))
                self.io.stdin.flush()
                line = self.io.stdout.readline()
                while 'wrote' not in line and 'fail' not in line and line:
                    line = self.io.stdout.readline()
                if 'wrote' not in line:
                    self.failed = line or 'qemu-io has gone'
                    return
                self.io.stdout.readline()
                self.model[unit * UNIT:(unit + 1) * UNIT] = bytes([pattern]) * UNIT
                self.count += 1
            time.sleep(0.002)

    def more(self, n):
        """Until so many more are written."""
        goal, until = self.count + n, time.monotonic() + 300
        while self.count < goal:
            if self.failed or time.monotonic() > until:
                raise SystemExit('not ok the writer goes on: %s' % self.failed)
            time.sleep(0.05)

    def end(self):
        self.stop = True
        self.join()
        self.io.communicate('flush\nquit\n', 60)


def snapshot(engine, writer, vdi):
    """Its uuid, and what it must hold."""
    words = 'vdi_uuid=' + vdi, 'attached=rw'
    prepared = must('vdi_snapshot', 'phase=prepare', *words)
    writer.more(5)
    node = engine.add(prepared['params'])
    with writer.lock:
        engine.go_on(node)
        held = bytes(writer.model)
    writer.more(5)
    made = must('vdi_snapshot', 'phase=finish', 'base_uuid=' + prepared['base_uuid'], *words)['uuid']
    writer.more(5)
    return made, held


def merge(vdi):
    """Every merge there is under a disk in use."""
    n = 0
    while True:
        got = must('sr_gc_plan', 'attached_list=' + vdi)
        tops = sorted({k.split('.')[1] for k in got if k.startswith('merges.') and k != 'merges.n'})
        if not tops:
            return n
        m = {f: got['merges.%s.%s' % (tops[0], f)] for f in ('top', 'base', 'format', 'top_path', 'base_path', 'stamp')}
        must('sr_gc_prepare', 'attached_list=' + vdi, 'args=%s,%s' % (m['top'], m['base']))
        subprocess.run([LIB + 'image-merge', m['format'], m['top_path'], m['base_path']], check=True, stdout=subprocess.DEVNULL)
        must('sr_gc_finish', 'attached_list=' + vdi, 'args=%s,%s,%s' % (m['top'], m['base'], m['stamp']))
        n += 1


def holds(vdi, data, what):
    got = must('vdi_attach', 'vdi_uuid=' + vdi, 'args=false')
    subprocess.run(['qemu-img', 'convert', '-f', got['format'], '-O', 'raw', got['params'], '/root/raw'], check=True)
    with open('/root/raw', 'rb') as f:
        is_now = f.read()
    wrong = [n for n in range(SIZE // UNIT) if is_now[n * UNIT:(n + 1) * UNIT] != data[n * UNIT:(n + 1) * UNIT]]
    say(not wrong and len(is_now) == len(data), '%s holds what was written: %s' % (what, wrong[:8]))
    sound = subprocess.run(['qemu-img', 'check', '-q', '-f', 'qcow2', got['params']]).returncode
    say(sound == 0, what + ' is sound')
    must('vdi_detach', 'vdi_uuid=' + vdi)


must('sr_create', 'args=0')
must('sr_attach')
vdi = must('vdi_create', 'args=%d,a name' % SIZE, 'smconfig.image-format=qcow2')['uuid']
path = must('vdi_attach', 'vdi_uuid=' + vdi, 'args=true')['params']
live = '%s/live-%s' % (os.path.dirname(path), os.path.basename(path))
say(os.path.exists(live) and os.stat(live).st_rdev == os.stat(path).st_rdev, 'an attached qcow2 has a name for guests')
engine = Engine(live)
writer = Writer()
writer.start()
writer.more(50)
snaps = [snapshot(engine, writer, vdi) for _ in range(4)]
say(True, 'four snapshots while %d writes' % writer.count)

prepared = must('vdi_snapshot', 'phase=prepare', 'vdi_uuid=' + vdi, 'attached=rw')
writer.more(5)
must('vdi_snapshot', 'phase=abort', 'base_uuid=' + prepared['base_uuid'], 'vdi_uuid=' + vdi, 'attached=rw')
writer.more(20)
say(True, 'one that the engine does not follow is taken back')

for k in 2, 1:
    must('vdi_delete', 'vdi_uuid=' + snaps.pop(k)[0])
writer.more(5)
merged = merge(vdi)
say(merged == 2, 'what they leave is merged meanwhile: %d' % merged)
writer.more(20)
snaps.append(snapshot(engine, writer, vdi))
must('sr_scan')
writer.more(20)
writer.end()
engine.end()
must('vdi_detach', 'vdi_uuid=' + vdi)
must('sr_scan')     # what was merged could not go while the engine had it open
say(not writer.failed and writer.count > 100, '%d writes, none failed: %s' % (writer.count, writer.failed))
left = [n for n in os.listdir(folder) if n != 'MGT']
say(not left, 'at rest no name and no volume is left: %s' % left)
holds(vdi, writer.model, 'the disk')
for n, (snap, data) in enumerate(snaps):
    holds(snap, data, 'snapshot %d' % n)
for v in [vdi] + [snap for snap, _ in snaps]:
    must('vdi_delete', 'vdi_uuid=' + v)
must('sr_scan')
out = subprocess.run(['lvm', 'lvs', '--noheadings', '-o', 'lv_name', '--devices', device], stdout=subprocess.PIPE, text=True, check=True).stdout
say(out.split() == ['MGT'], 'deleted, nothing is left: %s' % out.split())
must('sr_detach')
say(not os.path.isdir(folder), 'nor the folder')
must('sr_attach')
must('sr_delete')

# Thin: a volume has little room at rest, and all that its disk can ever need before anybody writes to it.
allocation = 'thin'
must('sr_create', 'args=0')
must('sr_attach')


def mib():
    out = subprocess.run(['lvm', 'lvs', '--noheadings', '--nosuffix', '--units', 'm', '-o', 'lv_name,lv_size', '--devices', device],
                         stdout=subprocess.PIPE, text=True, check=True).stdout
    return {line.split()[0]: float(line.split()[1]) for line in out.splitlines()}


vdi = must('vdi_create', 'args=%d,a name' % (256 * MIB), 'smconfig.image-format=qcow2')['uuid']
name = 'QCOW2-' + vdi
say(mib()[name] < 32, 'thin: %d MiB for a new disk of 256' % mib()[name])
path = must('vdi_attach', 'vdi_uuid=' + vdi, 'args=true')['params']
say(mib()[name] > 256, 'thin: %d while somebody may write' % mib()[name])
for left in '/root/qmp', '/root/nbd':
    if os.path.exists(left):
        os.unlink(left)
engine = Engine('%s/live-%s' % (folder, name))
wrote = subprocess.run(['qemu-io', '-f', 'raw', '-c', 'write -P 1 0 128M', 'nbd+unix:///disk?socket=/root/nbd'], stdout=subprocess.PIPE, text=True).stdout
prepared = must('vdi_snapshot', 'phase=prepare', 'vdi_uuid=' + vdi, 'attached=rw')
engine.go_on(engine.add(prepared['params']))
snap = must('vdi_snapshot', 'phase=finish', 'base_uuid=' + prepared['base_uuid'], 'vdi_uuid=' + vdi, 'attached=rw')['uuid']
wrote += subprocess.run(['qemu-io', '-f', 'raw', '-c', 'write -P 2 0 256M', '-c', 'flush', 'nbd+unix:///disk?socket=/root/nbd'],
                        stdout=subprocess.PIPE, text=True).stdout
say(wrote.count('wrote') == 2 and 'fail' not in wrote, 'thin: every byte is written, before a snapshot and after it')
grown = must('vdi_resize_online', 'vdi_uuid=' + vdi, 'args=%d' % (384 * MIB))
say(int(grown['virtual_size']) == 256 * MIB and mib()[name] > 384, 'thin: room for 384 MiB in %d before the image grows' % mib()[name])
engine.grow(384 * MIB)
grown = must('vdi_update', 'vdi_uuid=' + vdi)
say(int(grown['virtual_size']) == 384 * MIB, 'thin: grown while somebody has it')
wrote = subprocess.run(['qemu-io', '-f', 'raw', '-c', 'write -P 3 256M 128M', '-c', 'flush', 'nbd+unix:///disk?socket=/root/nbd'],
                       stdout=subprocess.PIPE, text=True).stdout
say('wrote' in wrote and 'fail' not in wrote, 'thin: and all of it is written: %s' % wrote.strip())
engine.end()
must('vdi_detach', 'vdi_uuid=' + vdi)
got = must('vdi_attach', 'vdi_uuid=' + vdi, 'args=false')
out = subprocess.run(['qemu-io', '-U', '-r', '-f', 'qcow2', '-c', 'read -P 3 256M 128M', got['params']], stdout=subprocess.PIPE, text=True).stdout
say('bytes at offset' in out and 'fail' not in out, 'thin: what is behind its old end is there: %s' % out.strip())
must('vdi_detach', 'vdi_uuid=' + vdi)
raw = must('vdi_create', 'args=%d,a name' % (16 * MIB), 'smconfig.type=raw')['uuid']
path = must('vdi_attach', 'vdi_uuid=' + raw, 'args=true')['params']
with open(path, 'rb') as has:
    grown = must('vdi_resize_online', 'vdi_uuid=' + raw, 'args=%d' % (22 * MIB))
    say(int(grown['virtual_size']) == 24 * MIB == has.seek(0, 2), 'a raw volume is longer for who has it open: %s' % grown['virtual_size'])
must('vdi_detach', 'vdi_uuid=' + raw)
must('vdi_delete', 'vdi_uuid=' + raw)
old = must('vdi_create', 'args=%d,a name' % (16 * MIB), 'smconfig.image-format=vhd')['uuid']
got = call('vdi_resize_online', 'vdi_uuid=' + old, 'args=%d' % (32 * MIB))
say(got.get('error', '').startswith('SR_BACKEND_FAILURE_24 '), 'a VHD grows at rest only: %s' % got)
must('vdi_delete', 'vdi_uuid=' + old)
for v, first, second in (vdi, 2, 2), (snap, 1, 0):
    got = must('vdi_attach', 'vdi_uuid=' + v, 'args=false')
    out = subprocess.run(['qemu-io', '-U', '-r', '-f', 'qcow2', '-c', 'read -P %d 0 128M' % first, '-c', 'read -P %d 128M 128M' % second,
                          got['params']], stdout=subprocess.PIPE, text=True).stdout
    sound = subprocess.run(['qemu-img', 'check', '-q', '-f', 'qcow2', got['params']]).returncode == 0
    say(out.count('bytes at offset') == 2 and 'fail' not in out and sound, 'thin: %s is what was written, and sound' % (
        'the disk' if v == vdi else 'its snapshot'))
    must('vdi_detach', 'vdi_uuid=' + v)
small = must('vdi_create', 'args=%d,a name' % (256 * MIB), 'smconfig.image-format=qcow2')['uuid']
must('vdi_attach', 'vdi_uuid=' + small, 'args=true')
must('vdi_detach', 'vdi_uuid=' + small)
say(mib()['QCOW2-' + small] < 32, 'thin: room that was not used comes back: %d MiB' % mib()['QCOW2-' + small])
big = must('vdi_create', 'args=%d,a name' % (8192 * MIB), 'smconfig.image-format=qcow2')['uuid']
got = call('vdi_attach', 'vdi_uuid=' + big, 'args=true')
say(got.get('error', '').startswith('SR_BACKEND_FAILURE_44 '), 'thin: a disk that has no room is not attached, by name: %s' % got)
say(mib()['QCOW2-' + big] < 32 and [n for n in os.listdir(folder) if n != 'MGT'] == [], 'thin: and nothing of it stays')
for v in vdi, snap, small, big:
    must('vdi_delete', 'vdi_uuid=' + v)
must('sr_scan')
say(list(mib()) == ['MGT'], 'thin: deleted, nothing is left')
sys.exit(failures != 0)
