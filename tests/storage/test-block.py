#!/usr/bin/env python3
"""Repositories on LUNs of an adapter (lvmohba, by the kernel's own target on this machine) and of devices as they are (udev)."""
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


with Rig('linux') as rig:
    rig.install()
    agent = rig.start_agent('--coalesce-interval', '1h')
    s = agent.login()
    d = Disks(rig, agent, s)
    hba(d)
    devices(d)
done()
