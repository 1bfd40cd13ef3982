#!/usr/bin/env python3
"""A repository of VHD files: disks, snapshots, clones and deletions against a model, kill -9 at every step, and the
layout that XenServer leaves, which is read without a write."""
import hashlib
import os
import random
import shutil
import subprocess
import tempfile
import uuid

from harness import BUILD, SOURCE, check, done
from vhdmodel import BLOCK, Image

MIB = 1 << 20
work = tempfile.mkdtemp(prefix='vhdsr-')
loc = os.path.join(work, 'images')
sr = str(uuid.uuid4())
plugin = next(p for p in (os.path.join(BUILD, '.libs/nbdkit-vhd.so'), os.path.join(BUILD, 'nbdkit-vhd.so')) if os.path.exists(p))
env = dict(os.environ, XAPI_SM_STATE_DIR=os.path.join(work, 'state'), XAPI_SM_MOUNT_DIR=os.path.join(work, 'mnt'))


def sm(command, *members, fault=None, sr_uuid=sr, where=loc):
    """The answer as {name: text}; 'error' or 'exit' in it when it failed."""
    e = dict(env, SM_FAULT=fault) if fault else env
    out = subprocess.run(['/usr/bin/python3', os.path.join(SOURCE, 'tests/sm/smcall.py'), os.path.join(BUILD, 'sm/file'), 'file',
                          command, 'sr_uuid=' + sr_uuid, 'config.location=' + where, *members], capture_output=True, text=True, env=e)
    return dict(line.split('=', 1) for line in out.stdout.splitlines() if '=' in line)


def serve(vdi, command, *options, where=loc):
    return subprocess.run(['nbdkit', '-U', '-', *options, plugin, 'image=%s/%s.vhd' % (where, vdi), '--run', command],
                          capture_output=True, text=True, timeout=100)


def content(vdi, where=loc):
    out = os.path.join(work, 'out.raw')
    got = serve(vdi, 'qemu-img convert -f raw -O raw "$uri" ' + out, '-r', where=where)
    if got.returncode:
        return got.stderr
    with open(out, 'rb') as f:
        return f.read()


rng = random.Random(3)


class Disk:
    def __init__(self, vdi, data):
        self.vdi, self.data = vdi, bytearray(data)

    def write(self):
        at, n = rng.randrange(len(self.data) // 512) * 512, rng.choice([512, 4096, 300 * 1024, 2 * MIB])
        piece = rng.randbytes(min(n, len(self.data) - at))
        self.data[at:at + len(piece)] = piece
        with open(os.path.join(work, 'piece'), 'wb') as f:
            f.write(piece)
        got = serve(self.vdi, 'qemu-io -f raw -c "write -s %s/piece %d %d" -c flush "$uri"' % (work, at, len(piece)))
        assert got.returncode == 0, got.stderr

    def right(self):
        return content(self.vdi) == bytes(self.data)


check('error' not in sm('sr_create', 'args=0', 'srconfig.image-format=vhd'), 'an SR is made')
a = sm('vdi_create', 'args=%d' % (7 * MIB + 5), 'smconfig.image-format=vhd')
check(a.get('virtual_size') == str(8 * MIB), 'a VHD is whole blocks of 2 MiB: %s' % a.get('virtual_size'))
x = Disk(a['uuid'], bytes(8 * MIB))
for _ in range(4):
    x.write()
check(x.right(), 'what is written is there')

disks = [x]
for i in range(10):         # a tree: snapshots of any disk, writes to any disk
    d = rng.choice(disks)
    a = sm(rng.choice(['vdi_snapshot', 'vdi_clone']), 'vdi_uuid=' + d.vdi)
    disks.append(Disk(a['uuid'], d.data))
    for _ in range(2):
        rng.choice(disks).write()
check(all(d.right() for d in disks), 'ten snapshots and clones hold what they should')
scan = sm('sr_scan')
managed = [k.split('.')[1] for k in scan if k.endswith('.managed') and scan[k] == 'True']
check(sorted(managed) == sorted(d.vdi for d in disks), 'a scan shows each disk, and bases as hidden')
check(all(scan['vdis.%s.format' % m] == 'vhd' for m in managed), 'all of them VHDs')
rng.shuffle(disks)
while len(disks) > 4:
    gone = disks.pop()
    check('error' not in sm('vdi_delete', 'vdi_uuid=' + gone.vdi) and all(d.right() for d in disks), 'one goes, the others stay')

grown = disks[0]
check('error' not in sm('vdi_resize', 'vdi_uuid=' + grown.vdi, 'args=%d' % (21 * MIB)), 'one grows')
grown.data += bytes(22 * MIB - len(grown.data))
check(grown.right(), 'and has zeros behind what it had')
grown.write()
check(grown.right(), 'which can be written')

base_name = next(k.split('.')[1] for k in scan if k.endswith('.managed') and scan[k] == 'False')
check(sm('vdi_delete', 'vdi_uuid=' + base_name).get('error', '').startswith(('SR_BACKEND_FAILURE_24', 'VDI_MISSING')),
      'a base is not deleted')

# kill -9 at every step.
for step in 'image-written', 'base-linked', 'image-named':
    d = disks[1]
    d.write()
    before = len(os.listdir(loc))
    r = sm('vdi_snapshot', 'vdi_uuid=' + d.vdi, fault='sm.%s kill' % step)
    check(r.get('exit') == '-9' and d.right(), 'killed at %s: the disk reads right' % step)
    scan = sm('sr_scan')
    left = [n for n in os.listdir(loc) if n.startswith(('tmp-', 'dead-'))]
    check(not left and all(d.right() for d in disks), 'a scan clears up: %s' % left)
    check(sorted(k.split('.')[1] for k in scan if k.endswith('.managed') and scan[k] == 'True') == sorted(d.vdi for d in disks),
          'and shows the disks that there were')
    if step != 'image-named':
        check(len(os.listdir(loc)) == before, 'with no file more')
gone = disks.pop()
check(sm('vdi_delete', 'vdi_uuid=' + gone.vdi, fault='sm.disk-dead kill').get('exit') == '-9', 'killed when a deletion began')
sm('sr_scan')
check(not [n for n in os.listdir(loc) if gone.vdi in n] and all(d.right() for d in disks), 'the scan ends it')

# A disk in use: the server goes on with the new image when somebody new looks.
d = disks[1]
sock = os.path.join(work, 'sock')
server = subprocess.Popen(['nbdkit', '-f', '-U', sock, plugin, 'image=%s/%s.vhd' % (loc, d.vdi)])
uri = 'nbd+unix:///?socket=' + sock
subprocess.run(['nbdinfo', '--size', uri], capture_output=True, timeout=20)
for _ in range(200):
    if os.path.exists(sock):
        break
    subprocess.run(['sleep', '0.02'])


class Guest:
    """One connection that stays: qemu-io with its commands on stdin."""

    def __init__(self):
        self.p = subprocess.Popen(['qemu-io', '-f', 'raw', uri], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def write(self, pattern, at, n):
        self.p.stdin.write('write -P %d %d %d\n' % (pattern, at, n))
        self.p.stdin.flush()
        line = ''
        while 'ops' not in line:
            line = self.p.stdout.readline()
            assert line, 'qemu-io ended'
        d.data[at:at + n] = bytes([pattern]) * n


guest = Guest()
guest.write(1, 0, 3 * MIB)
p = sm('vdi_snapshot', 'vdi_uuid=' + d.vdi, 'attached=rw', 'phase=prepare')
guest.write(2, MIB, 4096)           # still into what is the base now
frozen = bytes(d.data)
subprocess.run(['nbdinfo', '--size', uri], capture_output=True, timeout=20)
guest.write(3, 2 * MIB, 4096)
s = sm('vdi_snapshot', 'vdi_uuid=' + d.vdi, 'attached=rw', 'phase=finish', 'base_uuid=' + p.get('base_uuid', ''))
guest.write(4, 4 * MIB, 2 * MIB)
guest.p.stdin.close()
guest.p.wait(20)
server.terminate()
server.wait(20)
check('uuid' in s and content(s['uuid']) == frozen, 'a snapshot of a disk in use is the moment of the switch')
check(d.right(), 'and the disk has everything')

# As another toolstack leaves it: no mark, footers' uuids that are not the names, all parents hidden.
there = os.path.join(work, 'foreign')
os.mkdir(there)
names = [str(uuid.uuid4()) for _ in range(4)]
base = Image(8 * BLOCK)
base.hidden = True
base.write(0, rng.randbytes(3 * MIB))
mid = Image(8 * BLOCK, parent=base, parent_name=names[0] + '.vhd')
mid.hidden = True
mid.write(5 * MIB, rng.randbytes(MIB))
leaf = Image(8 * BLOCK, parent=mid, parent_name=names[1] + '.vhd')
leaf.write(512, rng.randbytes(1024))
snap = Image(8 * BLOCK, parent=mid, parent_name=names[1] + '.vhd')
for name, image in zip(names, (base, mid, leaf, snap)):
    image.save('%s/%s.vhd' % (there, name))


def sums():
    return {n: (hashlib.sha256(open(os.path.join(there, n), 'rb').read()).hexdigest(), os.stat(os.path.join(there, n)).st_mtime_ns)
            for n in sorted(os.listdir(there))}


before = sums()
other = str(uuid.uuid4())
check('error' not in sm('sr_attach', sr_uuid=other, where=there), 'a repository of XenServer is attached')
scan = sm('sr_scan', sr_uuid=other, where=there)
check([scan.get('vdis.%s.managed' % n) for n in names] == ['False', 'False', 'True', 'True'], 'its bases and disks are told apart')
check(scan.get('vdis.%s.sm_config.vhd-parent' % names[2]) == names[1], 'and its chain is read')
check(sums() == before, 'without a write')
check(content(names[2], there) == leaf.content() and content(names[3], there) == snap.content(), 'the disks read right')
a = sm('vdi_snapshot', 'vdi_uuid=' + names[2], sr_uuid=other, where=there)
check(content(a['uuid'], there) == leaf.content() == content(names[2], there), 'a snapshot of one reads as it does')
a = sm('vdi_create', 'args=%d' % MIB, sr_uuid=other, where=there)
check(a.get('format') == 'vhd', 'new disks there are VHDs')

shutil.rmtree(work)
done()
