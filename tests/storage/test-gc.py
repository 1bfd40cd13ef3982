#!/usr/bin/env python3
"""Merging what deleted snapshots leave, for each format of images: random trees against a model, kill -9 at every step, and
a disk that is read and written meanwhile."""
import os
import random
import shutil
import subprocess
import tempfile

from harness import LEVEL, VHD_PLUGIN, check, done
from repository import Repository

MIB = 1 << 20
SIZE = 8 * MIB
work = tempfile.mkdtemp(prefix='gc-')


def story(fmt):
    rng = random.Random(11)
    r = Repository(fmt, work)
    disks = {r.call('vdi_create', 'args=%d' % SIZE)['uuid']: bytearray(SIZE)}
    main = next(iter(disks))

    def scribble(vdi, n=2):
        for _ in range(n):
            at = rng.randrange(SIZE // 4096) * 4096
            data = rng.randbytes(min(rng.choice([4096, 65536, 600 * 1024]), SIZE - at))
            if not rng.randrange(4):
                data = bytes(len(data))         # zeros hide what lies below, too
            r.write(vdi, at, data)
            disks[vdi][at:at + len(data)] = data

    def right():
        return all(r.read(v) == bytes(d) for v, d in disks.items())

    def settle():
        merges = 0
        while True:
            plan = r.plan()
            if not plan:
                return merges
            m = rng.choice(plan)
            got = r.merge(m)
            assert got.returncode == 0, got.stderr
            if not right():
                return -1
            got = r.finish(m)
            if 'error' in got or not right():
                return -2
            merges += 1

    scribble(main, 4)
    for _ in range(30 if LEVEL == 'full' else 9):
        v = rng.choice(list(disks))
        disks[r.call('vdi_snapshot', 'vdi_uuid=' + v)['uuid']] = bytearray(disks[v])
        scribble(v, 1)
        if len(disks) > 3 and rng.randrange(2):
            gone = rng.choice([d for d in disks if d != main])
            r.call('vdi_delete', 'vdi_uuid=' + gone)
            del disks[gone]
    check(right(), fmt + ': a tree of snapshots, some of them deleted')
    n = settle()
    check(n > 0, fmt + ': %d merges, and after each step every disk reads as before' % n)
    check('error' not in r.call('sr_scan') and right(), fmt + ': a scan agrees')
    for v in [d for d in disks if d != main]:
        r.call('vdi_delete', 'vdi_uuid=' + v)
        del disks[v]
    check(settle() >= 0 and right() and len(r.files()) == 1, fmt + ': without snapshots a disk is one file again: %s' % r.files())

    # kill -9 in every step of an inner merge, then of a leaf's.
    for step, nth in ('merge-noted', 1), ('merge-relinked', 1), ('merge-relinked', 2), ('merge-removed', 1):
        a = r.call('vdi_snapshot', 'vdi_uuid=' + main)['uuid']      # main, a on B1
        disks[a] = bytearray(disks[main])
        scribble(main)
        b = r.call('vdi_snapshot', 'vdi_uuid=' + main)['uuid']      # main, b on B2 on B1
        disks[b] = bytearray(disks[main])
        scribble(main)
        r.call('vdi_delete', 'vdi_uuid=' + a)
        del disks[a]
        m = [m for m in r.plan() if m['leaf'] == 'False']
        check(len(m) == 1 and r.merge(m[0]).returncode == 0, fmt + ': one inner merge to do')
        got = r.finish(m[0], fault='sm.%s kill %d' % (step, nth))
        check(got.get('exit') == '-9' and right(), '%s: killed at %s (%d): disks read right' % (fmt, step, nth))
        r.call('sr_scan')
        check(right() and not [n for n in r.files() if n.startswith('merged-')], fmt + ': a scan goes on to the end')
        check(len(r.files()) == 3, fmt + ': and nothing is left over: %s' % r.files())
        r.call('vdi_delete', 'vdi_uuid=' + b)
        del disks[b]
        m = r.plan()
        check(len(m) == 1 and m[0]['leaf'] == 'True' and r.merge(m[0]).returncode == 0, fmt + ': then one leaf merge')
        if step == 'merge-noted':
            scribble(main, 1)
            check(r.finish(m[0]).get('error', '').startswith('SR_BACKEND_FAILURE_24') and right(),
                  fmt + ': a leaf that was written to meanwhile stays')
            m = r.plan()
            r.merge(m[0])
        check(r.finish(m[0], main).get('error', '').startswith('SR_BACKEND_FAILURE_24'), fmt + ': so does one that is attached')
        check(not r.plan(main), fmt + ': which is not even planned')
        if fmt == 'vhd':
            check(r.finish(m[0], fault='sm.merge-shown kill').get('exit') == '-9' and right(), 'vhd: killed before it takes the name')
            r.call('sr_scan')
        check('error' not in r.finish(m[0]) and right() and len(r.files()) == 1, fmt + ': the base takes its name')

    # A guest that reads and writes all the while.
    snaps = []
    for _ in range(3):
        snaps.append(r.call('vdi_snapshot', 'vdi_uuid=' + main)['uuid'])
        scribble(main)
    for s in snaps:
        r.call('vdi_delete', 'vdi_uuid=' + s)
    sock = os.path.join(work, fmt + '.sock')
    if fmt == 'vhd':
        argv = ['nbdkit', '-f', '-U', sock, VHD_PLUGIN, 'image=' + r.path(main)]
    else:
        argv = ['qemu-nbd', '--persistent', '--shared=4', '-k', sock, '-f', 'qcow2', r.path(main)]
    server = subprocess.Popen(argv)
    while not os.path.exists(sock):
        subprocess.run(['sleep', '0.05'])
    guest = subprocess.Popen(['qemu-io', '-f', 'raw', 'nbd+unix:///?socket=' + sock], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, text=True)

    def io(command):
        guest.stdin.write(command + '\n')
        guest.stdin.flush()
        text = ''
        while 'ops' not in text and 'ailed' not in text:
            line = guest.stdout.readline()
            assert line, text
            text += line
        return 'ailed' not in text

    def guest_write(pattern, at, n):
        assert io('write -P %d %d %d' % (pattern, at, n))
        disks[main][at:at + n] = bytes([pattern]) * n

    def guest_right():
        out = os.path.join(work, 'live.raw')
        subprocess.run(['qemu-img', 'convert', '-f', 'raw', '-O', 'raw', 'nbd+unix:///?socket=' + sock, out], check=True)
        with open(out, 'rb') as f:
            return f.read() == bytes(disks[main])

    guest_write(1, 0, MIB)
    merges, fine = 0, True
    while True:
        plan = r.plan(main)
        if not plan:
            break
        m = plan[0]
        guest_write(2 + merges, MIB * merges, 70000)
        fine = fine and r.merge(m).returncode == 0
        guest_write(12 + merges, MIB * merges + 90112, 70000)
        fine = fine and 'error' not in r.finish(m, main) and guest_right()
        guest_write(22 + merges, 4 * MIB + 200 * 1024 * merges, 300000)
        merges += 1
    check(merges == 2 and fine and guest_right(), fmt + ': under a guest the inner images merge, and it sees nothing')
    guest.stdin.close()
    guest.wait(30)
    server.terminate()
    server.wait(30)
    check(right(), fmt + ': afterwards the disk has everything')
    check(settle() == 1 and right() and len(r.files()) == 1, fmt + ': and becomes one file')
    if fmt == 'qcow2':
        bad = subprocess.run(['qemu-img', 'check', '-q', '-f', 'qcow2', r.path(main)], capture_output=True, text=True)
        check(bad.returncode == 0, 'qcow2: which is sound %s' % bad.stdout)


try:
    for name in 'qcow2', 'vhd':
        story(name)
finally:
    shutil.rmtree(work)
done()
