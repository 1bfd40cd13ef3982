#!/usr/bin/env python3
"""Repositories on iSCSI: a LIO target with CHAP in one machine of the rig, open-iscsi in the other, where the agent is. Volumes
on a LUN (lvmoiscsi)."""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.environ['XAPI_SOURCE'], 'tests', 'rig'))
from harness import Failure, check, done  # noqa: E402
from rig import Pair  # noqa: E402
from blockrig import MIB, Disks  # noqa: E402

IQN = 'iqn.2024-01.test.rig:a'
HERE = {'target': '10.7.0.2', 'chapuser': 'joe', 'chappassword': 'secretsecret', 'targetIQN': IQN}


def choice(code, what, fn, *args):
    try:
        fn(*args)
        check(False, what)
    except Failure as e:
        check(e.details[0] == code, '%s: %s' % (what, e.details[:3]))
        return e.details[3] if len(e.details) > 3 else ''
    return ''


def sessions(rig):
    return rig.run('iscsiadm -m session', 30)[1].count(IQN)


def alone(d):
    s, rig = d.s, d.rig

    def probe(**config):
        return s.SR.probe(d.host, config, 'lvmoiscsi', {})
    choice('SR_BACKEND_FAILURE_95', 'a target is needed', probe)
    choice('SR_BACKEND_FAILURE_142', 'a port that is none', lambda: probe(target='10.7.0.2', port='x'))
    choice('SR_BACKEND_FAILURE_141', 'a target that does not answer', lambda: probe(target='127.0.0.1', port='9'))
    xml = choice('SR_BACKEND_FAILURE_96', 'a probe without an IQN lists them', lambda: probe(target='10.7.0.2'))
    found = [(a.strip(), i.strip()) for a, i in re.findall(r'<IPAddress>([^<]*)</IPAddress>.*?<TargetIQN>([^<]*)</TargetIQN>', xml, re.S)]
    check(('10.7.0.2', IQN) in found and found[-1] == ('10.7.0.2', '*'), 'as XML: %s' % found)
    choice('SR_BACKEND_FAILURE_68', 'another password is refused', lambda: probe(**dict(HERE, chappassword='wrongwrongwrong')))
    check(sessions(rig) == 0 and rig.run('ls /etc/iscsi/nodes/' + IQN)[0] != 0, 'and leaves no session and no record')
    xml = choice('SR_BACKEND_FAILURE_107', 'a probe without a LUN lists them', lambda: probe(**HERE))
    luns = [{k: v.strip() for k, v in re.findall(r'<(\w+)>([^<]*)</\1>', lun)} for lun in re.findall(r'<LUN>(.*?)</LUN>', xml, re.S)]
    check(len(luns) == 2 and all(set(x) == {'vendor', 'serial', 'LUNid', 'size', 'SCSIid'} for x in luns) and luns[0]['size'] == str(4 << 30),
          'as XML: %s' % luns)
    check(sessions(rig) == 0 and rig.run('ls /etc/iscsi/nodes/' + IQN)[0] != 0, 'a probe logs out, and no record with the password is left')

    config = dict(HERE, SCSIid=next(x['SCSIid'] for x in luns if x['LUNid'] == '0'))
    sr = d.create('lvmoiscsi', config)
    check(sessions(rig) == 1, 'plugged there is a session')
    shown = s.PBD.get_device_config(s.SR.get_PBDs(sr)[0])
    check('chappassword' not in shown and 'secretsecret' not in str(shown), 'the password is a secret: %s' % sorted(shown))
    vdi = d.vdi(sr, 8 * MIB)
    data = d.random(8 * MIB)
    d.write(vdi, data)
    snap = s.VDI.snapshot(vdi, {})
    check(d.same(vdi, data) and d.same(snap, data), 'a disk and its snapshot hold what was written')
    uuid = s.SR.get_uuid(sr)
    d.unplug(sr)
    check(sessions(rig) == 0, 'unplugged there is none')
    check(uuid in probe(**config) and sessions(rig) == 0, 'a probe finds it')


with Pair('linux') as two:
    for host, m in ((1, two.a), (2, two.b)):
        m.must('ip link set lo up; ip address add 10.7.0.%d/24 dev eth0; ip address add 10.7.1.%d/24 dev eth1' % (host, host))
    two.b.must('/usr/lib/rig/lio.py %s --chap joe:secretsecret --portal 10.7.0.2 --portal 10.7.1.2 /dev/vdb /dev/vdc' % IQN, 300)
    two.a.must(r'''mkdir -p /run/lock/iscsi
        echo InitiatorName=iqn.2024-01.test.rig:me >/etc/iscsi/initiatorname.iscsi
        iscsid
        printf 'defaults {\n  find_multipaths no\n}\nblacklist {\n  devnode "^vd"\n}\n' >/etc/multipath.conf
        modprobe dm_multipath''', 200)
    two.a.install()
    agent = two.a.start_agent('--coalesce-interval', '1h')
    d = Disks(two.a, agent, agent.login())
    alone(d)
done()
