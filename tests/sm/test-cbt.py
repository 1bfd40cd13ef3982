#!/usr/bin/env python3
"""Changed block tracking of image files: random histories against a model of contents (cbtmodel.py), XenServer's log layout read and
written, kill -9 at every step."""
import os
import shutil
import struct
import tempfile
import uuid

from cbtmodel import BLOCK, MIB, SIZE, Log, Repository, errors, history
from harness import BUILD, LEVEL, check, done

work = tempfile.mkdtemp(prefix='cbt-')
os.environ.update(XAPI_SM_STATE_DIR=os.path.join(work, 'state'), XAPI_SM_MOUNT_DIR=os.path.join(work, 'mnt'))


class Files(Repository):
    driver, merger = os.path.join(BUILD, 'sm/file'), os.path.join(BUILD, 'sm/image-merge')
    plugin = next(p for p in (os.path.join(BUILD, '.libs/nbdkit-vhd.so'), os.path.join(BUILD, 'nbdkit-vhd.so')) if os.path.exists(p))

    def __init__(self, fmt):
        super().__init__(fmt, work)
        self.loc = os.path.join(work, 'sr-' + fmt)
        self.config = ['config.location=' + self.loc]
        self.call('sr_create', 'args=0')

    def _path(self, vdi):
        return '%s/%s.cbtlog' % (self.loc, vdi)

    def read_log(self, vdi):
        with open(self._path(vdi), 'rb') as f:
            return f.read()

    def write_log(self, vdi, data):
        with open(self._path(vdi), 'wb') as f:
            f.write(data)

    def logs(self):
        return [n.partition('.')[0] for n in os.listdir(self.loc) if n.endswith('.cbtlog') and not n.startswith('tmp-')]

    def half_made(self):
        return [n for n in os.listdir(self.loc) if n.startswith('tmp-')]


def crashes(fmt):
    r = Files(fmt)
    x = r.create()
    r.call('vdi_enable_cbt', 'vdi_uuid=' + x)
    r.write(x)
    old = r.snapshot(x)
    for step in 'image-written', 'base-linked', 'image-named', 'image-named kill 2', 'cbt-written', 'cbt-snapshot', 'cbt-written kill 2':
        r.write(x)
        r.call('vdi_snapshot', 'vdi_uuid=' + x, fault='sm.' + (step if 'kill' in step else step + ' kill'))
        r.call('sr_scan')
        told = r.changed(old, x)
        check(isinstance(told, set) and r.differ(old, x) <= told, '%s: killed at %s: nothing is lost' % (fmt, step))
        check(not r.half_made(), 'and nothing half-made left')
        s = r.snapshot(x)
        told = r.changed(old, s)
        check(isinstance(told, set) and r.differ(old, s) <= told, 'the next snapshot knows it, too')
        old = s
    for step in 'cbt-written', 'cbt-handed-on', 'cbt-dropped', 'disk-dead':
        a = old
        r.write(x)
        b = r.snapshot(x)
        r.write(x)
        r.call('vdi_delete', 'vdi_uuid=' + b, fault='sm.%s kill' % step)
        r.call('sr_scan')
        told = r.changed(a, x)
        check(isinstance(told, set) and r.differ(a, x) <= told, '%s: a deletion killed at %s loses nothing' % (fmt, step))
        r.call('vdi_delete', 'vdi_uuid=' + b)
        check(b not in r.logs() and r.differ(a, x) <= r.changed(a, x), 'and can be ended')
    # A host that dies while the disk is open: nothing is closed.
    r.attach(x)
    check(r.log(x).consistent == 0, 'an open disk has an inconsistent log, for others to see')
    for _ in range(3):
        r.write(x, attach=False)
    check(r.differ(old, x) <= r.changed(old, x), 'a host that dies loses nothing')
    a = r.attach(x)
    check('cbt_alert' not in a, 'and tracking goes on')


def foreign():
    """An SR of XenServer: VHDs and logs that its tools wrote."""
    r = Files('vhd')
    x = r.create()
    r.write(x)
    s = r.snapshot(x)
    size = SIZE
    r.write_log(s, Log.write(size, [1, 2], child=uuid.UUID(x)))
    r.write_log(x, Log.write(size, [0, 9, 17], parent=uuid.UUID(s)))
    check(r.changed(s, x) == {0, 9, 17}, 'logs of XenServer are read')
    r.written[x] = set()
    r.write(x, 5 * MIB, b'y' * 4096)
    check(r.changed(s, x) == {0, 9, 17, 5 * MIB // BLOCK}, 'and go on')
    # As one of its hosts leaves it that died.
    r.write_log(x, Log.write(size, [0], parent=uuid.UUID(s), consistent=0))
    check(r.changed(s, x).get('error', '').startswith('SR_BACKEND_FAILURE_459'), 'its inconsistent log is not believed')
    a = r.attach(x)
    check(a.get('cbt_alert') == 'VDI_CBT_METADATA_INCONSISTENT', 'the next one to open the disk says so')
    check(x not in r.logs(), 'and tracking ends')
    for bad in b'', b'\0' * 47, struct.pack('<16s16si4xq', x.encode()[:16], b'\0' * 16, 1, -1), os.urandom(4096):
        r.write_log(x, bad)
        check('error' in r.changed(s, x) and 'error' not in r.call('sr_scan'), 'a damaged log of %d bytes is named' % len(bad))
        check('error' not in r.call('vdi_disable_cbt', 'vdi_uuid=' + x), 'and can be dropped')


try:
    for f in 'qcow2', 'vhd':
        files = Files(f)
        errors(files, check, *history(files, check, 40 if LEVEL == 'full' else 12))
        crashes(f)
    foreign()
finally:
    shutil.rmtree(work)
done()
