#!/usr/bin/env python3
"""Repositories on iSCSI: a LIO target with CHAP in one machine of the rig, open-iscsi in the other, where the agent is. Volumes
on a LUN (lvmoiscsi), LUNs as disks (iscsi), two paths one of which is cut while a disk is written."""
import os
import re
import sys
import threading

sys.path.insert(0, os.path.join(os.environ['XAPI_SOURCE'], 'tests', 'rig'))
from harness import Failure, check, done, fails  # noqa: E402
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
    uuid, pbd = s.SR.get_uuid(sr), d.unplug(sr)
    check(sessions(rig) == 0, 'unplugged there is none')
    check(uuid in probe(**config) and sessions(rig) == 0, 'a probe finds it')
    return sr, pbd, vdi, data


def two_paths(d, two, sr, pbd, vdi, data):
    s, rig = d.s, d.rig
    s.host.set_multipathing(d.host, True)
    s.PBD.plug(pbd)
    check(sessions(rig) == 2, 'with multipathing there is a session over each portal')
    active = r"multipath -ll 2>/dev/null | grep -c 'active ready' || true"
    rig.must("for i in $(seq 300); do [ \"$(%s)\" != 2 ] || break; sleep 0.1; done" % active)
    pv = rig.must('pvs --noheadings -o pv_name').strip()
    check(pv.startswith('/dev/mapper/') and rig.must(active).strip() == '2', 'and the volumes are on both: %s' % pv)
    check(d.same(vdi, data), 'the disk is as it was')
    big = d.vdi(sr, 48 * MIB, 'big')
    content = d.rng.randbytes(48 * MIB)
    failed = []

    def write():
        try:
            d.write(big, content)
        except Exception as e:      # noqa: BLE001
            failed.append(e)
    sectors = "awk '{print $7}' /sys/block/$(basename $(readlink -f %s))/stat" % pv
    began = int(rig.must(sectors))
    writer = threading.Thread(target=write)
    writer.start()
    rig.must("until [ $(%s) -gt %d ]; do sleep 0.05; done" % (sectors, began + 4096), 300)
    two.a.pull_cable(1)
    check(writer.is_alive(), 'a cable is pulled while it is written')
    writer.join(600)
    check(not writer.is_alive() and not failed, 'the writing ends well over the other path: %s' % failed)
    check(d.read(big) == content, 'nothing of it is lost')
    check(rig.run("for i in $(seq 300); do multipath -ll 2>&1 | grep -q ' failed ' && exit 0; sleep 0.2; done; exit 1", 90)[0] == 0,
          'one path is known to have failed')
    two.a.pull_cable(1, False)
    for v in d.managed(sr):
        d.destroy(v)
    d.unused(s.PBD.unplug, pbd)
    check(sessions(rig) == 0 and rig.must('multipath -ll 2>/dev/null || true') == '', 'unplugged no session and no map is left')
    s.host.set_multipathing(d.host, False)
    s.SR.destroy(sr)
    check(sessions(rig) == 0, 'destroyed, none either')


def luns(d):
    s, rig = d.s, d.rig
    sr = d.create('iscsi', HERE)
    vdis = {s.VDI.get_sm_config(v)['LUNid']: v for v in s.SR.get_VDIs(sr)}
    check(set(vdis) == {'0', '1'} and int(s.VDI.get_virtual_size(vdis['1'])) == 4 << 30, 'each LUN is a disk')
    vm = d.vm(vdis['1'])
    path = rig.must("ls -l /var/lib/xapi-test/storage/attached/ >/dev/null; sed -n 6p /var/lib/xapi-test/storage/attached/%s.*"
                    % s.VDI.get_uuid(vdis['1']))
    rig.must('head -c 4M /dev/urandom >/root/r; dd if=/root/r of=%s bs=1M oflag=direct 2>/dev/null' % path)
    fails('VDI_IN_USE', 'a LUN that a VM has is no other\'s', d.vm, vdis['1'])
    s.VM.hard_shutdown(vm)
    uuids = {k: s.VDI.get_uuid(v) for k, v in vdis.items()}
    d.unplug(sr)
    check(sessions(rig) == 0, 'unplugged, no session')
    s.PBD.plug(s.SR.get_PBDs(sr)[0])
    check({s.VDI.get_sm_config(v)['LUNid']: s.VDI.get_uuid(v) for v in s.SR.get_VDIs(sr)} == uuids, 'plugged again they are the same')
    vm = d.vm(vdis['1'])
    path = rig.must("sed -n 6p /var/lib/xapi-test/storage/attached/%s.*" % uuids['1'])
    check(rig.run('cmp -n 4194304 /root/r ' + path)[0] == 0, 'with what was written')
    s.VM.hard_shutdown(vm)
    d.unplug(sr)
    s.SR.destroy(sr)


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
    sr, pbd, vdi, data = alone(d)
    two.a.must('multipathd')
    two_paths(d, two, sr, pbd, vdi, data)
    two.a.must('multipathd shutdown; true')
    luns(d)
done()
