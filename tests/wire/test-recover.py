#!/usr/bin/env python3
"""Disaster recovery: the database of a pool that is gone is read from its disk, and VMs, with snapshots, disks and an appliance, come
into another pool."""
import os
import shutil
import sys
import tempfile
import urllib.request

from harness import Agent, check, done, fails, wait_until

MIB = 1 << 20
work = tempfile.mkdtemp()
folder, second = os.path.join(work, 'sr'), os.path.join(work, 'second')


def disk(s, sr, name):
    return s.VDI.create({'name_label': name, 'name_description': 'of a test', 'SR': sr, 'virtual_size': str(4 * MIB), 'type': 'user',
                         'sharable': False, 'read_only': False, 'other_config': {}})


def make(s, name, *vdis):
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], name)
    s.VM.provision(vm)
    for n, vdi in enumerate(vdis):
        s.VBD.create({'VM': vm, 'VDI': vdi, 'userdevice': str(n), 'bootable': True, 'mode': 'RW', 'type': 'Disk', 'empty': False,
                      'other_config': {}, 'qos_algorithm_type': '', 'qos_algorithm_params': {}})
    return vm


def raw(agent, s, vdi, data=None):
    url = 'http://127.0.0.1:%d/%s_raw_vdi?vdi=%s&format=raw&session_id=%s' % (agent.http_port, 'import' if data else 'export', vdi, s._ref)
    with urllib.request.urlopen(urllib.request.Request(url, data, method='PUT' if data else 'GET'), timeout=60) as r:
        return r.read()


def plug(t, uuid, pool, where):
    sr = t.SR.introduce(uuid, 'theirs', '', 'file', '', True, {})
    t.PBD.plug(t.PBD.create({'host': t.host.get_all()[0], 'SR': sr, 'device_config': {'location': where, 'take_from': pool + ':1'},
                             'other_config': {}}))
    t.SR.scan(sr)
    return sr


one = Agent().start()
try:
    s = one.login()
    pool = s.pool.get_uuid(s.pool.get_all()[0])
    srs = [s.SR.create(s.host.get_all()[0], {'location': f}, '0', 'sr', '', 'file', '', True, {}) for f in (folder, second)]
    uuids = [s.SR.get_uuid(sr) for sr in srs]
    data = os.urandom(4 * MIB)
    vdi = disk(s, srs[0], 'a disk')
    raw(one, s, vdi, data)
    web, db = make(s, 'web', vdi), make(s, 'db', disk(s, srs[0], 'b'), disk(s, srs[1], 'c'))
    s.VM.snapshot(web, 'of web', [])
    s.VIF.create({'VM': web, 'network': s.network.get_all()[0], 'device': '0', 'MAC': '02:00:00:00:00:17', 'MTU': '1500', 'other_config': {},
                  'qos_algorithm_type': '', 'qos_algorithm_params': {}})
    parts = [make(s, 'part%d' % n, disk(s, srs[1], 'p%d' % n)) for n in range(2)]
    appliance = s.VM_appliance.create({'name_label': 'shop', 'name_description': 'both parts'})
    for vm in parts:
        s.VM.set_appliance(vm, appliance)
    s.VM.start(web, False, False)
    was = {n: s.VM.get_uuid(s.VM.get_by_name_label(n)[0]) for n in ('web', 'db', 'part0', 'part1')}
    vdi_uuid, shop = s.VDI.get_uuid(vdi), s.VM_appliance.get_uuid(appliance)
    s.SR.enable_database_replication(srs[0])
    dump = next(s.VDI.get_uuid(v) for v in s.SR.get_VDIs(srs[0]) if s.VDI.get_type(v) == 'metadata')
    one.kill()

    with Agent() as two:
        t = two.login()
        sr = plug(t, uuids[0], pool, folder)
        secret = t.VDI.open_database(t.VDI.get_by_uuid(dump))
        d = two.login()
        d._ref = secret
        there = {n: d.VM.get_by_uuid(u) for n, u in was.items()}
        fails('VM_REQUIRES_SR', 'a disk whose repository is not here', d.VM.assert_can_be_recovered, there['db'], t._ref)
        needs = d.VM.get_SRs_required_for_recovery(there['db'], t._ref)
        check([d.SR.get_uuid(x) for x in needs] == [uuids[1]], 'it is named')
        fails('VM_REQUIRES_SR', 'the VM does not come without it', d.VM.recover, there['db'], t._ref, False)
        check(t.VM.get_by_name_label('db') == [], 'nothing of it does')
        fails('SESSION_INVALID', 'a session that is none', d.VM.recover, there['web'], 'OpaqueRef:00000000-0000-0000-0000-000000000001', False)
        fails('SESSION_INVALID', 'a session that reads only', d.VM.recover, there['web'], secret, False)

        d.VM.assert_can_be_recovered(there['web'], t._ref)
        check(d.VM.get_SRs_required_for_recovery(there['web'], t._ref) == [], 'what needs nothing more')
        d.VM.recover(there['web'], t._ref, False)
        web = t.VM.get_by_uuid(was['web'])
        r = t.VM.get_record(web)
        check(r['power_state'] == 'Halted' and r['name_label'] == 'web' and r['version'] == '1', 'comes, halted: %s' % r['version'])
        here = t.VDI.get_by_uuid(vdi_uuid)
        check([t.VBD.get_VDI(b) for b in r['VBDs'] if t.VBD.get_type(b) == 'Disk'] == [here] and t.VDI.get_name_label(here) == 'a disk',
              'with its disk, and the name of that')
        check(raw(two, t, here) == data, 'and what is on it')
        check(len(r['snapshots']) == 1 and t.VM.get_name_label(r['snapshots'][0]) == 'of web', 'with its snapshot')
        check([t.VIF.get_MAC(v) for v in r['VIFs']] == ['02:00:00:00:00:17'], 'with its card')
        t.VM.start(web, False, False)
        check(t.VM.get_power_state(web) == 'Running', 'it starts')
        p = fails('VM_TO_IMPORT_IS_NOT_NEWER_VERSION', 'not twice', d.VM.recover, there['web'], t._ref, False)
        check(p == [web, '1', '0'], 'named: %s' % p)
        fails('VM_BAD_POWER_STATE', 'nor by force while it runs', d.VM.recover, there['web'], t._ref, True)
        t.VM.hard_shutdown(web)
        d.VM.recover(there['web'], t._ref, True)
        check(raw(two, t, here) == data and t.VM.get_by_uuid(was['web']) != web, 'by force it is replaced, its disk stays')

        theirs = d.VM_appliance.get_by_uuid(shop)
        p = fails('VM_IS_PART_OF_AN_APPLIANCE', 'a VM of an appliance comes with it', d.VM.assert_can_be_recovered, there['part0'], t._ref)
        check(p == [there['part0'], theirs], 'which is named')
        fails('VM_REQUIRES_SR', 'an appliance without its repository', d.VM_appliance.assert_can_be_recovered, theirs, t._ref)
        check([d.SR.get_uuid(x) for x in d.VM_appliance.get_SRs_required_for_recovery(theirs, t._ref)] == [uuids[1]], 'named')
        plug(t, uuids[1], pool, second)
        d.VM_appliance.assert_can_be_recovered(theirs, t._ref)
        d.VM_appliance.recover(theirs, t._ref, False)
        mine = t.VM_appliance.get_by_uuid(shop)
        check(t.VM_appliance.get_name_label(mine) == 'shop' and
              sorted(t.VM.get_uuid(v) for v in t.VM_appliance.get_VMs(mine)) == sorted([was['part0'], was['part1']]), 'with it all of it comes')
        d.VM.recover(there['db'], t._ref, False)
        check(len(t.VM.get_VBDs(t.VM.get_by_uuid(was['db']))) >= 2, 'and the VM with disks in both')
        fails('RBAC_PERMISSION_DENIED', 'a session on a dump changes nothing', d.VM.destroy, there['web'])
finally:
    if one.process.poll() is None:
        one.kill()
    shutil.rmtree(work)
    shutil.rmtree(one.root, ignore_errors=True)
done()
