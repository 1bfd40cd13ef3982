#!/usr/bin/env python3
"""Repositories on LUNs of an adapter (lvmohba, by the kernel's own target on this machine), of devices as they are (udev), and on a disk
that is formatted (ext)."""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.environ['XAPI_SOURCE'], 'tests', 'rig'))
from harness import Failure, check, done, fails  # noqa: E402
from rig import Rig  # noqa: E402
from blockrig import MIB, Disks  # noqa: E402


def choice(code, what, fn, *args):
    """The XML of an error that is a choice."""
    try:
        fn(*args)
        check(False, what)
    except Failure as e:
        check(e.details[0] == code, '%s: %s' % (what, e.details[:3]))
        return e.details[3]
    return ''


def hba(d):
    s = d.s
    d.rig.must('/usr/lib/rig/lio.py naa.5001405000000001 /dev/vdb /dev/vdc; udevadm settle', 300)
    xml = choice('SR_BACKEND_FAILURE_107', 'a probe lists the disks of adapters', s.SR.probe, d.host, {}, 'lvmohba', {})
    ids = re.findall(r'<SCSIid>\s*(\S+)\s*</SCSIid>', xml)
    check(len(ids) == 2 and '<hba>' in xml and 'LIO' in xml and '<Adapter>' in xml, 'both LUNs: %s' % ids)
    fails('SR_BACKEND_FAILURE_19', 'a LUN that is not there', d.create, 'lvmohba', {'SCSIid': '3600'})
    config = {'SCSIid': ids[0]}
    sr = d.create('lvmohba', config)
    vdi = d.vdi(sr, 8 * MIB)
    data = d.random(8 * MIB)
    d.write(vdi, data)
    check(d.same(vdi, data), 'lvmohba: reads what was written')
    uuid = s.SR.get_uuid(sr)
    d.unplug(sr)
    check(uuid in s.SR.probe(d.host, config, 'lvmohba', {}), 'lvmohba: a probe finds it')
    s.PBD.plug(s.SR.get_PBDs(sr)[0])
    check(d.same(vdi, data), 'lvmohba: plugged again')
    d.destroy(vdi)
    d.unplug(sr)
    s.SR.destroy(sr)


def devices(d):
    s, rig = d.s, d.rig
    fails('SR_BACKEND_FAILURE_94', 'udev: a location is needed', d.create, 'udev', {})
    rig.must('mkdir /root/links; vgcreate -q -y mine /dev/vdd; lvcreate -q -y -L 8m -n vol mine; ln -s /dev/mine/vol /root/links/vol\n'
             'ln -s /dev/vde /root/links/whole; ln -s /dev/null /root/links/none; touch /root/links/file\n'
             'head -c 8M /dev/urandom >/dev/mine/vol')
    sr = d.create('udev', {'location': '/root/links'})
    vdis = {s.VDI.get_name_label(v): v for v in s.SR.get_VDIs(sr)}
    check(set(vdis) == {'vol', 'whole'}, 'udev: a volume and a whole disk: %s' % sorted(vdis))
    check(d.read(vdis['vol']) == rig.get('/dev/mine/vol'), 'udev: with what is on them')
    data = d.random(8 * MIB)
    d.write(vdis['vol'], data)
    check(rig.get('/dev/mine/vol') == bytes(data), 'udev: written through')
    rig.must('mke2fs -q -F /dev/vde; mkdir -p /mnt; mount /dev/vde /mnt')
    fails('SR_BACKEND_FAILURE_24', 'udev: what is mounted here is nobody else\'s', d.vm, vdis['whole'])
    rig.must('umount /mnt; rm /root/links/whole')
    s.SR.scan(sr)
    check([s.VDI.get_name_label(v) for v in s.SR.get_VDIs(sr)] == ['vol'], 'udev: what is taken away is gone')
    d.unplug(sr)
    s.SR.destroy(sr)


def formatted(d):
    s, rig, config = d.s, d.rig, {'device': '/dev/vde'}
    fails('SR_BACKEND_FAILURE_90', 'ext: a device is needed', d.create, 'ext', {})
    fails('SR_BACKEND_FAILURE_91', 'ext: one that is none', d.create, 'ext', {'device': '/dev/null'})
    rig.must('mount /dev/vde /mnt')
    fails('SR_DEVICE_IN_USE', 'ext: not one that is mounted', d.create, 'ext', config)
    rig.must('umount /mnt')
    sr = d.create('ext', config)
    uuid = s.SR.get_uuid(sr)
    where = rig.must("awk '$1 == \"/dev/vde\" {print $2, $3}' /proc/mounts").split()
    check(where[1:] == ['ext4'] and where[0].endswith(uuid), 'ext: mounted by its uuid: %s' % where)
    check(int(rig.must('blockdev --getsize64 /dev/vde')) * 0.9 < int(s.SR.get_physical_size(sr)), 'ext: its size: %s' % s.SR.get_physical_size(sr))
    made = {}
    for fmt in ('qcow2', 'vhd', 'raw'):
        vdi, data = d.vdi(sr, 16 * MIB, fmt, **{'image-format': fmt}), d.random(16 * MIB)
        data[4 * MIB:8 * MIB] = d.rng.randbytes(4 * MIB)        # for which there is no room below
        d.write(vdi, data)
        made[fmt] = data
    snap = s.VDI.snapshot(next(v for v in d.managed(sr) if s.VDI.get_name_label(v) == 'qcow2'), {})
    check(d.same(snap, made['qcow2']), 'ext: a snapshot')
    rig.must('fallocate -l $(($(stat -f -c "%%a * %%S" %s) - (1 << 20))) %s/other' % (where[0], where[0]))
    fails('SR_BACKEND_FAILURE_44', 'ext: no room: named', s.VDI.copy, snap, sr)
    check(len(d.managed(sr)) == 4, 'ext: and nothing is left of it')
    rig.must('rm %s/other' % where[0])
    d.unplug(sr)
    check(rig.must('grep -c /dev/vde /proc/mounts || true').strip() == '0', 'ext: unplugged it is not mounted')
    check(uuid in s.SR.probe(d.host, config, 'ext', {}), 'ext: a probe finds it')
    s.SR.forget(sr)
    fails('SR_BACKEND_FAILURE_47', "ext: another repository's is not mounted", d.plug, '11111111-2222-4333-8444-555555555555', 'ext', config)
    sr = d.plug(uuid, 'ext', config)
    held = sorted(d.read(v) for v in d.managed(sr))     # a directory knows no names
    check(held == sorted(bytes(b) for b in (*made.values(), made['qcow2'])), 'ext: introduced again it has everything, its snapshot, too')
    for v in d.managed(sr):
        d.destroy(v)
    d.unplug(sr)
    s.SR.destroy(sr)
    check(rig.must('blkid -p /dev/vde || true').strip() == '', 'ext: destroyed, the disk holds no file system')


with Rig('linux') as rig:
    rig.install()
    agent = rig.start_agent('--coalesce-interval', '1h')
    s = agent.login()
    d = Disks(rig, agent, s)
    hba(d)
    devices(d)
    formatted(d)
done()
