#!/usr/bin/env python3
"""An iSCSI target with two portals on this machine: a path is cut while a disk is written, and comes back (lvmoiscsi with
multipathing); LUNs as disks (iscsi). LEVEL=full."""
import os
import sys
import threading

sys.path.insert(0, os.path.join(os.environ['XAPI_SOURCE'], 'tests', 'rig'))
from harness import LEVEL, check, done, fails, wait_until  # noqa: E402
from rig import Rig  # noqa: E402
from blockrig import MIB, Disks  # noqa: E402

if LEVEL != 'full':
    print('# three minutes: LEVEL=full')
    sys.exit(77)
IQN = 'iqn.2024-01.test.rig:m'
HERE = {'target': '10.8.0.1', 'targetIQN': IQN}
CUT = 'nft add table inet cut; nft add chain inet cut in "{ type filter hook input priority 0; }"; nft add rule inet cut in ip daddr 10.8.1.1 drop'


def sessions(rig):
    return rig.run('iscsiadm -m session', 30)[1].count(IQN)


def paths(rig, how):
    """Of our LUN; multipathd makes a map of the other one as well."""
    return rig.run("multipath -ll %s 2>/dev/null | grep -c '%s'" % (scsi_id, how), 60)[1].strip()


def counts(d, pbd):
    """What clients look at: paths that work, and those there were."""
    other = d.s.PBD.get_other_config(pbd)
    return other.get('multipathed'), [v for k, v in sorted(other.items()) if k.startswith('mpath-')]


def alerts(d):
    return [m for m in d.s.message.get_all_records().values() if m['name'] == 'MULTIPATH_PERIODIC_ALERT']


def ours(d, pbd):
    """Nobody but the driver makes the map: no daemon that would add what it left out."""
    s, rig = d.s, d.rig
    s.host.set_multipathing(d.host, True)
    for n in range(3):
        s.PBD.plug(pbd)
        check(sessions(rig) == 2 and paths(rig, '[0-9]:[0-9]:[0-9]:') == '2', 'without multipathd: each session is a path of the map')
        s.PBD.unplug(pbd)
        check(sessions(rig) == 0 and paths(rig, '.') == '0', 'without multipathd: unplugged, nothing is left')
    rig.must(CUT)
    s.PBD.plug(pbd)
    check(sessions(rig) == 1 and paths(rig, '[0-9]:[0-9]:[0-9]:') == '1', 'plugged while a portal does not answer: over the other one')
    rig.must('nft delete table inet cut')
    s.PBD.plug(pbd)
    check(sessions(rig) == 1, 'plugged it stays plugged')
    s.SR.probe(d.host, dict(HERE, SCSIid=scsi_id), 'lvmoiscsi', {})
    check(sessions(rig) == 2 and paths(rig, '[0-9]:[0-9]:[0-9]:') == '2', 'what looks at the target next adds the path that is back')
    s.PBD.unplug(pbd)
    check(sessions(rig) == 0, 'unplugged, no session')


def two_paths(d, sr, pbd, vdi, data):
    s, rig = d.s, d.rig
    s.PBD.plug(pbd)
    check(sessions(rig) == 2, 'with multipathing there is a session over each portal')
    check(wait_until(lambda: paths(rig, 'active ready') == '2', 120), 'two paths work')
    pv = rig.must('pvs --noheadings -o pv_name 2>/dev/null').strip()
    check(pv.startswith('/dev/mapper/'), 'and the volumes are on both: %s' % pv)
    check(d.same(vdi, data), 'the disk is as it was')
    check(wait_until(lambda: counts(d, pbd) == ('true', ['[2, 2]']), 120), 'the PBD says so: %s' % (counts(d, pbd),))

    big = d.vdi(sr, 32 * MIB, 'big')
    content = d.rng.randbytes(32 * MIB)
    failed = []

    def write():
        try:
            for _ in range(100):        # until the cut is behind us
                d.write(big, content)
                if cut.is_set():
                    break
            d.write(big, content)
        except Exception as e:      # noqa: BLE001
            failed.append(e)
    cut = threading.Event()
    sectors = "awk '{print $7}' /sys/block/$(basename $(readlink -f %s))/stat" % pv
    began = int(rig.must(sectors))
    writer = threading.Thread(target=write)
    writer.start()
    check(wait_until(lambda: int(rig.must(sectors)) > began + 4096, 300), 'a disk is being written')
    rig.must(CUT)
    check(writer.is_alive(), 'a path is cut meanwhile')
    check(wait_until(lambda: paths(rig, 'failed faulty') == '1', 180), 'one path is known to have failed')
    cut.set()
    writer.join(600)
    check(not writer.is_alive() and not failed, 'the writing ends well over the other path: %s' % failed)
    check(d.read(big) == content, 'nothing of it is lost')
    check(wait_until(lambda: counts(d, pbd)[1] == ['[1, 2]'], 120), 'the PBD says so: %s' % (counts(d, pbd),))
    check(wait_until(lambda: alerts(d), 60), 'and an alert')
    found = alerts(d)[-1]
    check(found['cls'] == 'Host' and found['obj_uuid'] == s.host.get_uuid(d.host) and 'current=1; max=2' in found['body'], 'that names it: %s' % found['body'])

    rig.must('nft delete table inet cut')
    check(wait_until(lambda: paths(rig, 'active ready') == '2', 180), 'the path comes back')
    check(wait_until(lambda: counts(d, pbd)[1] == ['[2, 2]'], 120), 'which the PBD says, too: %s' % (counts(d, pbd),))
    check(d.read(big) == content, 'and the disk is whole')
    for v in d.managed(sr):
        d.destroy(v)
    s.PBD.unplug(pbd)
    check(sessions(rig) == 0 and paths(rig, '.') == '0', 'unplugged no session and no map is left')
    check(wait_until(lambda: counts(d, pbd)[1] == [], 120), 'nor a count: %s' % (counts(d, pbd),))
    rig.must('multipathd shutdown')
    s.host.set_multipathing(d.host, False)
    s.SR.destroy(sr)
    check(sessions(rig) == 0, 'destroyed, none either')


def device(d, vdi):
    """Where the attached disk is: what the agent has noted of it."""
    return d.rig.must("sed -n 6p %s/storage/attached/%s.*" % (d.agent.root, d.s.VDI.get_uuid(vdi)))


def luns(d):
    s, rig = d.s, d.rig
    sr = d.create('iscsi', HERE)
    vdis = {s.VDI.get_sm_config(v)['LUNid']: v for v in s.SR.get_VDIs(sr)}
    check(set(vdis) == {'0', '1'} and int(s.VDI.get_virtual_size(vdis['1'])) == 4 << 30, 'each LUN is a disk')
    check(int(s.SR.get_physical_size(sr)) == 8 << 30, 'the size of the repository')
    vm = d.vm(vdis['1'])
    rig.must('head -c 4M /dev/urandom >/root/r; dd if=/root/r of=%s bs=1M oflag=direct 2>/dev/null' % device(d, vdis['1']))
    fails('VDI_IN_USE', 'a LUN that a VM has is no other\'s', d.vm, vdis['1'])
    s.VM.hard_shutdown(vm)
    uuids = {k: s.VDI.get_uuid(v) for k, v in vdis.items()}
    d.unplug(sr)
    check(sessions(rig) == 0, 'unplugged, no session')
    s.PBD.plug(s.SR.get_PBDs(sr)[0])
    check({s.VDI.get_sm_config(v)['LUNid']: s.VDI.get_uuid(v) for v in s.SR.get_VDIs(sr)} == uuids, 'plugged again they are the same')
    vm = d.vm(vdis['1'])
    check(rig.run('cmp -n 4194304 /root/r ' + device(d, vdis['1']))[0] == 0, 'with what was written')
    s.VM.hard_shutdown(vm)
    d.unplug(sr)
    s.SR.destroy(sr)


with Rig('linux') as rig:
    rig.must('ip address add 10.8.0.1/32 dev lo; ip address add 10.8.1.1/32 dev lo; modprobe nf_tables')
    rig.must('/usr/lib/rig/lio.py %s --portal 10.8.0.1 --portal 10.8.1.1 /dev/vdb /dev/vdc' % IQN, 300)
    rig.must(r'''mkdir -p /run/lock/iscsi
        echo InitiatorName=iqn.2024-01.test.rig:me >/etc/iscsi/initiatorname.iscsi
        iscsid
        printf 'defaults {\n  find_multipaths no\n  polling_interval 2\n}\nblacklist {\n  devnode "^vd"\n}\n' >/etc/multipath.conf
        modprobe dm_multipath''', 200)
    rig.install()
    agent = rig.start_agent('--coalesce-interval', '1h')
    d = Disks(rig, agent, agent.login())
    s = d.s
    luns(d)
    xml = ''
    try:
        s.SR.probe(d.host, HERE, 'lvmoiscsi', {})
    except Exception as e:      # noqa: BLE001
        xml = e.details[3]
    scsi_id = xml.split('<SCSIid>')[1].split('</SCSIid>')[0].strip()
    sr = d.create('lvmoiscsi', dict(HERE, SCSIid=scsi_id))
    vdi = d.vdi(sr, 8 * MIB)
    data = d.random(8 * MIB)
    d.write(vdi, data)
    pbd = d.unplug(sr)
    ours(d, pbd)
    rig.must('multipathd')
    two_paths(d, sr, pbd, vdi, data)
done()
