#!/usr/bin/python3
"""Changed block tracking of disks in volumes, in a machine of the rig: cbtmodel.py's histories and errors, XenServer's logs in volumes,
the driver ended by kill -9 at its steps.

Called by: blockrig.py. Calls: the driver lvm (cbtmodel.py), LVM.

lvmcbt.py DEVICE ROUNDS KILLS [FORMAT...]: of a history; 0 = none, and none of what else is looked at without kills. Prints a line
"ok WHAT" or "not ok WHAT" for each fact.
"""
import os
import subprocess
import sys
import uuid

from cbtmodel import MIB, SIZE, Log, Repository, errors, history

device, rounds, kills = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
failures = 0


def check(good, what):
    global failures
    failures += not good
    print('%s %s' % ('ok' if good else 'not ok', what), flush=True)


def lvm(*words):
    return subprocess.run(['lvm', words[0], '--devices', device, *words[1:]], stdout=subprocess.PIPE, check=True, text=True).stdout


class Volumes(Repository):
    driver, merger = '/usr/local/libexec/xapi/sm/lvm', '/usr/local/libexec/xapi/sm/image-merge'
    plugin = '/usr/local/lib/xapi/nbdkit-vhd.so'
    config = ['config.device=' + device, 'pool_uuid=' + str(uuid.uuid4())]

    def __init__(self, fmt):
        super().__init__(fmt, '/root')
        self.group = 'VG_XenStorage-' + self.sr
        assert 'error' not in self.call('sr_create', 'args=0') and 'error' not in self.call('sr_attach')

    def end(self):
        scan = self.call('sr_scan')     # clones and bare disks, too
        for v in [k.split('.')[1] for k in scan if k.startswith('vdis.') and k.endswith('.managed') and scan[k] == 'True']:
            self.call('vdi_delete', 'vdi_uuid=' + v)
        self.call('sr_scan')
        left = self.names()
        check(left == ['MGT'], '%s: deleted, nothing is left: %s' % (self.fmt, left))
        check(not {'error', 'exit'} & set(self.call('sr_detach')) and 'error' not in self.call('sr_delete'), 'the repository goes')

    def names(self):
        return sorted(lvm('lvs', '--noheadings', '-o', 'lv_name', self.group).split())

    def active(self):
        return [n for n in os.listdir('/dev/' + self.group) if n != 'MGT']

    def _with(self, vdi, fn):
        name = '%s/%s.cbtlog' % (self.group, vdi)
        lvm('lvchange', '-ay', name)
        try:
            return fn('/dev/' + name)
        finally:
            subprocess.run(['sync'], check=True)
            lvm('lvchange', '-an', name)

    def read_log(self, vdi):
        def read(path):
            with open(path, 'rb') as f:
                return f.read(1 << 20)
        return self._with(vdi, read)

    def write_log(self, vdi, data):
        """As XenServer makes it: a volume of one extent, with a tag."""
        if vdi not in self.logs():
            lvm('lvcreate', '-qy', '-Wn', '-Zn', '-L4m', '-n', vdi + '.cbtlog', '--addtag', 'cbtlog', self.group)

        def write(path):
            with open(path, 'r+b') as f:
                f.write(data)
        self._with(vdi, write)

    def logs(self):
        return [n.partition('.')[0] for n in self.names() if n.endswith('.cbtlog') and not n.startswith(('tmp-', 'dead-'))]

    def half_made(self):
        return [n for n in self.names() if n.startswith(('tmp-', 'dead-'))]


def busy(r, x):
    """The log that a killed driver left active, and that udev's blkid has open when the scan comes, since it was written to."""
    name = x + '.cbtlog'
    lvm('lvchange', '-ay', '%s/%s' % (r.group, name))
    with subprocess.Popen(['sh', '-c', 'exec </dev/%s/%s; echo; exec sleep 1' % (r.group, name)], stdout=subprocess.PIPE) as looks:
        looks.stdout.readline()
        r.call('sr_scan')
        check(not r.active(), '%s: a log that somebody looks at is let go when he has: %s' % (r.fmt, r.active()))


def crashes(r):
    """One after another at a step by chance: snapshots, deletions, sizes, closings. A scan heals; no block that differs is lost."""
    code = lambda a: a.get('error', '').split(' ')[0]
    x = r.create()
    r.call('vdi_enable_cbt', 'vdi_uuid=' + x, fault='sm.step kill 3')
    r.call('sr_scan')
    check(not r.half_made() and not r.active(), '%s: tracking that had half begun leaves nothing: %s' % (r.fmt, r.names()))
    r.call('vdi_enable_cbt', 'vdi_uuid=' + x)
    r.write(x)
    busy(r, x)
    old, wrong, died = r.snapshot(x), [], 0
    for n in range(kills):
        what, step = ('snapshot', 'delete', 'resize', 'detach')[n % 4], 1 + r.rng.randrange(14 if n % 4 < 2 else 6)
        if what != 'detach':        # which writes itself
            r.write(x)
        fault = 'sm.step kill %d' % step
        mid = None
        if what == 'snapshot':
            got = r.call('vdi_snapshot', 'vdi_uuid=' + x, fault=fault)
        elif what == 'delete':
            mid = r.snapshot(x)
            r.write(x)
            got = r.call('vdi_delete', 'vdi_uuid=' + mid, fault=fault)
        elif what == 'resize':
            size = len(r.disks[x]) + 2 * MIB
            got = r.call('vdi_resize', 'vdi_uuid=' + x, 'args=%d' % size, fault=fault)
        else:
            r.attach(x)
            r.write(x, attach=False)
            got = r.call('vdi_detach', 'vdi_uuid=' + x, fault=fault)
            r.call('vdi_detach', 'vdi_uuid=' + x)
        died += 'exit' in got
        scan = r.call('sr_scan')
        now = int(scan.get('vdis.%s.virtual_size' % x, len(r.disks[x])))
        r.disks[x] += bytes(now - len(r.disks[x]))
        told = r.changed(old, x)
        if not isinstance(told, set) or not r.differ(old, x) <= told:
            wrong.append('%s killed at %d: %s' % (what, step, told if not isinstance(told, set) else sorted(r.differ(old, x) - told)))
        if r.half_made() or r.active():
            wrong.append('%s killed at %d leaves %s, %s' % (what, step, r.half_made(), r.active()))
        gone = [k.split('.')[1] for k in scan if k.startswith('vdis.') and k.endswith('.managed') and scan[k] == 'True']
        gone = [v for v in gone if v not in (x, old)]
        for v in gone:
            r.call('vdi_delete', 'vdi_uuid=' + v)
            r.disks.pop(v, None)
        told = r.changed(old, x) if gone else told
        if not isinstance(told, set) or not r.differ(old, x) <= told:
            wrong.append('%s killed at %d, and then deleted: %s' % (what, step, told))
        if n % 8 == 7:
            fresh = r.snapshot(x)
            r.call('vdi_delete', 'vdi_uuid=' + old)
            r.disks.pop(old)
            old = fresh
            r.settle()
        if code(scan):
            wrong.append('%s killed at %d: %s' % (what, step, scan))
    check(not wrong and died, '%s: ended by kill -9 %d times, nothing is lost: %s' % (r.fmt, died, wrong))


def foreign(r):
    """Logs of XenServer, in volumes."""
    x = r.create()
    r.write(x)
    s = r.snapshot(x)
    r.write_log(s, Log.write(SIZE, [1, 2], child=uuid.UUID(x)))
    r.write_log(x, Log.write(SIZE, [0, 9, 17], parent=uuid.UUID(s)))
    check(r.changed(s, x) == {0, 9, 17}, 'logs of XenServer are read')
    r.write(x, 5 * MIB, b'y' * 4096)
    check(r.changed(s, x) == {0, 9, 17, 80}, 'and go on')
    r.write_log(x, Log.write(SIZE, [0], parent=uuid.UUID(s), consistent=0) + bytes(24))
    check(r.changed(s, x).get('error', '').startswith('SR_BACKEND_FAILURE_459'), 'an inconsistent one is not believed')
    a = r.attach(x)
    check(a.get('cbt_alert') == 'VDI_CBT_METADATA_INCONSISTENT' and x not in r.logs(), 'the next one to open the disk says so, and tracking ends')
    r.call('vdi_detach', 'vdi_uuid=' + x)
    r.write_log(x, os.urandom(4096))
    check('error' in r.changed(s, x) and 'error' not in r.call('sr_scan'), 'a damaged one is named')
    check('error' not in r.call('vdi_disable_cbt', 'vdi_uuid=' + x), 'and can be dropped')


for fmt in sys.argv[4:] or ['qcow2', 'vhd']:
    repository = Volumes(fmt)
    if rounds:
        disk, snapshots = history(repository, check, rounds)
        check(not repository.active(), '%s: no volume stays active: %s' % (fmt, repository.active()))
        errors(repository, check, disk, snapshots)
        if fmt == 'vhd':
            foreign(repository)
    if kills:
        crashes(repository)
    repository.end()
sys.exit(failures != 0)
