#!/usr/bin/env python3
"""Repositories on LUNs of an adapter (lvmohba, by the kernel's own target on this machine) and of devices as they are (udev); and
whose a LUN is: two agents of two pools on one, a takeover, the old owner stopped in the middle."""
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
    return sr, config


def owners(d, sr, config):
    """Another agent, with a database of its own, on the same LUN."""
    s, uuid, rig = d.s, d.s.SR.get_uuid(sr), d.rig
    rig.must(r'''mkdir -p /var/lib/xapi-other; cp /var/lib/xapi-test/passwd /var/lib/xapi-test/server.pem /var/lib/xapi-other/
        setsid xapi --root /var/lib/xapi-other --hv sim --net bridge --socket /var/lib/xapi-other/xapi.sock --http 127.0.0.1:8080 \
            --https 127.0.0.1:8443 --auth file:/var/lib/xapi-other/passwd </dev/null >/root/other.log 2>&1 &
        for i in $(seq 600); do [ -e /var/lib/xapi-other/ready ] && break; sleep 0.1; done''', 100)

    def xe(words):
        rc, out = rig.run('XAPI_SOCKET=/var/lib/xapi-other/xapi.sock xe ' + words, 120)
        return rc, out.strip()
    mine, theirs = s.pool.get_uuid(s.pool.get_all()[0]), xe('pool-list --minimal')[1]
    host = xe('host-list --minimal')[1]
    xe('sr-introduce uuid=%s type=lvmohba name-label=theirs content-type=user shared=true' % uuid)
    pbd = xe('pbd-create sr-uuid=%s host-uuid=%s device-config:SCSIid=%s' % (uuid, host, config['SCSIid']))[1]
    rc, out = xe('pbd-plug uuid=' + pbd)
    check(rc != 0 and mine in out and 'epoch 1' in out, 'another pool is told whose it is: %s' % out.replace('\n', ' ')[:200])
    xe('pbd-param-set uuid=%s device-config:take_from=%s:7' % (pbd, mine))
    check(xe('pbd-plug uuid=' + pbd)[0] != 0, 'nor does it get it with another epoch')
    xe('pbd-destroy uuid=' + pbd)
    pbd = xe('pbd-create sr-uuid=%s host-uuid=%s device-config:SCSIid=%s device-config:take_from=%s:1' % (uuid, host, config['SCSIid'], mine))[1]

    # the owner is stopped while the other takes over
    rig.must('kill -STOP %d' % d.agent.pid)
    rc, out = xe('pbd-plug uuid=' + pbd)
    check(rc == 0, 'told whose and which, it takes over: %s' % out[:200])
    rig.must('kill -CONT %d' % d.agent.pid)
    for what, fn, args in (('a new disk', d.vdi, (sr, 4 * MIB)), ('a snapshot', s.VDI.snapshot, (d.managed(sr)[0], {})),
                           ('a disk destroyed', s.VDI.destroy, (d.managed(sr)[0],))):
        try:
            fn(*args)
            check(False, 'the old owner: %s' % what)
        except Failure as e:
            check(e.details[0] == 'SR_BACKEND_FAILURE_16' and theirs in e.details[2], 'the old owner cannot make %s: %s' % (what, e.details[:3]))
    rc, vdi = xe('vdi-create sr-uuid=%s name-label=n virtual-size=4MiB type=user' % uuid)
    check(rc == 0, 'the new one can: %s' % vdi)
    check(xe('vdi-destroy uuid=' + vdi)[0] == 0 and xe('pbd-unplug uuid=' + pbd)[0] == 0, 'and ends its work')


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
    sr, config = hba(d)
    owners(d, sr, config)
    devices(d)
done()
