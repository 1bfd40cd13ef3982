#!/usr/bin/env python3
"""Repositories on iSCSI: a LIO target with CHAP in one machine of the rig, open-iscsi in the other, where the agent is. Volumes
on a LUN (lvmoiscsi). With LEVEL=full also whose they are: two hosts of two pools on one LUN, the owner is stopped or dies, the
other takes over."""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.environ['XAPI_SOURCE'], 'tests', 'rig'))
from harness import LEVEL, Failure, check, done  # noqa: E402
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
    return sr, config, vdi, data


def changes(d, sr, what, owner):
    """The host is not the owner: none of the changes is made."""
    s = d.s
    vdi = d.managed(sr)[0]
    before = d.volumes(sr)
    for name, fn, args in (('no new disk', d.vdi, (sr, 4 * MIB)), ('no snapshot', s.VDI.snapshot, (vdi, {})), ('no clone', s.VDI.clone, (vdi, {})),
                           ('no resize', s.VDI.resize, (vdi, str(64 * MIB))), ('nothing destroyed', s.VDI.destroy, (vdi,))):
        try:
            fn(*args)
            check(False, '%s: %s' % (what, name))
        except Failure as e:
            check(e.details[0] == 'SR_BACKEND_FAILURE_16' and owner in e.details[2], '%s: %s: %s' % (what, name, e.details[:3]))
    check(set(d.volumes(sr)) == set(before), '%s: the volumes are as they were' % what)


def plug(d, sr, config):
    """A PBD with this configuration, plugged: '' or why not."""
    s = d.s
    pbd = s.PBD.create({'host': d.host, 'SR': sr, 'device_config': config})
    try:
        s.PBD.plug(pbd)
        return pbd, ''
    except Failure as e:
        s.PBD.destroy(pbd)
        return None, ' '.join(e.details)


def owners(a, b, sr, config, vdi, data):
    """a, b: Disks of two pools' hosts. sr: a's repository."""
    uuid = a.s.SR.get_uuid(sr)
    pools = {d: d.s.pool.get_uuid(d.s.pool.get_all()[0]) for d in (a, b)}
    pbd = a.s.SR.get_PBDs(sr)[0]
    a.s.PBD.plug(pbd)
    theirs = b.s.SR.introduce(uuid, 'theirs', '', 'lvmoiscsi', 'user', True, {})
    got, why = plug(b, theirs, config)
    check(not got and pools[a] in why and 'epoch 1' in why, 'another pool is told whose it is: %s' % why)
    got, why = plug(b, theirs, dict(config, take_from='%s:7' % pools[a]))
    check(not got and 'SR_BACKEND_FAILURE_16' in why, 'nor does it get it with another epoch')
    a.destroy(a.vdi(sr, 4 * MIB))

    a.rig.must('kill -STOP %d' % a.agent.pid)
    got, why = plug(b, theirs, dict(config, take_from='%s:1' % pools[a]))
    check(got, 'the owner is stopped; told whose and which, the other takes over: %s' % why)
    a.rig.must('kill -CONT %d' % a.agent.pid)
    changes(a, sr, 'the old owner goes on', pools[b])
    b.s.SR.scan(theirs)
    mine = next(v for v in b.managed(theirs) if b.s.VDI.get_uuid(v) == a.s.VDI.get_uuid(vdi))
    check(b.same(mine, data), 'the new owner has its disk')
    b.destroy(b.vdi(theirs, 4 * MIB))
    b.s.VDI.snapshot(mine, {})

    b.agent.kill()
    a.s.PBD.unplug(pbd)
    a.s.PBD.destroy(pbd)
    got, why = plug(a, sr, config)
    check(not got and pools[b] in why and 'epoch 2' in why, 'the new owner is dead: the repository is its all the same: %s' % why)
    got, why = plug(a, sr, dict(config, take_from='%s:2' % pools[b]))
    check(got, 'taken back: %s' % why)
    a.s.SR.scan(sr)
    check(a.same(vdi, data) and len(a.managed(sr)) == 3, 'with its disk, and the snapshot that was made there')
    a.destroy(a.vdi(sr, 4 * MIB))
    b.agent.start()
    b.s = b.agent.login()
    lost = b.s.SR.get_PBDs(theirs)[0]
    check(not b.s.PBD.get_currently_attached(lost), 'the other comes back: it is not plugged')
    try:
        b.s.PBD.plug(lost)
        check(False, 'nor can it be')
    except Failure as e:
        check(pools[a] in ' '.join(e.details) and 'epoch 3' in ' '.join(e.details), 'and told whose it is: %s' % e.details)
    for v in a.managed(sr):
        a.destroy(v)
    a.unplug(sr)
    a.s.SR.destroy(sr)
    check(sessions(a.rig) == 0 and sessions(b.rig) == 0, 'no session is left')


with Pair('linux') as two:
    for host, m in ((1, two.a), (2, two.b)):
        m.must('ip link set lo up; ip address add 10.7.0.%d/24 dev eth0; ip address add 10.7.1.%d/24 dev eth1' % (host, host))
    two.b.must('/usr/lib/rig/lio.py %s --chap joe:secretsecret --portal 10.7.0.2 --portal 10.7.1.2 /dev/vdb /dev/vdc' % IQN, 300)
    hosts = []
    for name, m in (('me', two.a), ('other', two.b))[:2 if LEVEL == 'full' else 1]:
        m.must(r'''mkdir -p /run/lock/iscsi
            echo InitiatorName=iqn.2024-01.test.rig:%s >/etc/iscsi/initiatorname.iscsi
            iscsid
            printf 'defaults {\n  find_multipaths no\n}\nblacklist {\n  devnode "^vd"\n}\n' >/etc/multipath.conf
            modprobe dm_multipath''' % name, 200)
        m.install()
        agent = m.start_agent('--coalesce-interval', '1h')
        hosts.append(Disks(m, agent, agent.login()))
    made = alone(hosts[0])
    if LEVEL == 'full':
        owners(*hosts, *made)
done()
