#!/usr/bin/env python3
"""Repositories and disks over the wire: SR, PBD, VDI, VBD, SM against the real drivers, guests simulated."""
import os
import subprocess
import threading
import time
import uuid

from harness import Agent, check, done, fails, wait_until

MIB = 1 << 20


def vdi_record(sr, name='disk', size=64 * MIB, **more):
    """The eight fields that Xen Orchestra sends."""
    record = {'name_label': name, 'name_description': '', 'SR': sr, 'virtual_size': str(size), 'type': 'user', 'sharable': False,
              'read_only': False, 'other_config': {}}
    record.update(more)
    return record


def vbd_record(vm, vdi, **more):
    record = {'VM': vm, 'VDI': vdi, 'userdevice': 'autodetect', 'bootable': False, 'mode': 'RW', 'type': 'Disk', 'empty': False,
              'other_config': {}, 'qos_algorithm_type': '', 'qos_algorithm_params': {}}
    record.update(more)
    return record


def qemu_io(path, command):
    out = subprocess.run(['qemu-io', '-f', 'qcow2', '-c', command, path], capture_output=True, text=True).stdout
    return 'failed' not in out and 'bytes at offset' in out


def first_start(agent, s):
    pool, host = s.pool.get_all()[0], s.session.get_this_host(s._ref)
    types = sorted(r['type'] for r in s.SM.get_all_records().values())
    check(types == ['dummy', 'ext', 'file', 'iscsi', 'iso', 'lvm', 'lvmohba', 'lvmoiscsi', 'nfs', 'smb', 'udev'], 'a driver record for each driver: %s' % types)
    sm = [r for r in s.SM.get_all_records().values() if r['type'] == 'file'][0]
    check('VDI_SNAPSHOT' in sm['capabilities'] and sm['features']['VDI_SNAPSHOT'] == '1', 'features are the driver\'s')
    check('location' in sm['configuration'] and 'qcow2' in sm['supported_image_formats'], 'so are configuration and formats')
    check(sorted(s.SR.get_supported_types()) == types, 'SR.get_supported_types')
    sr = s.pool.get_default_SR(pool)
    record = s.SR.get_record(sr)
    check(record['name_label'] == 'Local storage' and record['type'] == 'file' and not record['shared'], 'a default repository')
    check(s.PBD.get_currently_attached(record['PBDs'][0]), 'which is plugged')
    check(s.PBD.get_host(record['PBDs'][0]) == host, 'into this host')
    check(int(record['physical_size']) > int(record['physical_utilisation']) > 0, 'and knows its size')
    check([r['content_type'] for r in s.SR.get_all_records().values() if r['is_tools_sr']] == ['iso'], 'a repository for tools')
    return host, sr


def disks(agent, s, sr):
    folder = os.path.join(agent.root, 'sr')
    before = int(s.SR.get_virtual_allocation(sr))
    vdi = s.VDI.create(vdi_record(sr, 'one', tags=['a', 'b']))
    r = s.VDI.get_record(vdi)
    check(r['name_label'] == 'one' and r['SR'] == sr and r['managed'] and not r['missing'], 'a new disk')
    check(r['location'] == r['uuid'] and os.path.exists('%s/%s.qcow2' % (folder, r['uuid'])), 'is a file of that name')
    check(int(r['virtual_size']) == 64 * MIB and 0 < int(r['physical_utilisation']) < MIB, 'sparse, of that size')
    check(sorted(r['tags']) == ['a', 'b'], 'with its tags')
    check(vdi in s.SR.get_VDIs(sr) and int(s.SR.get_virtual_allocation(sr)) == before + 64 * MIB, 'counted in its repository')
    check('snapshot' in r['allowed_operations'] and 'data_destroy' not in r['allowed_operations'], 'allowed: what the driver can')
    fails('SR_BACKEND_FAILURE_79', 'a disk of size 0', s.VDI.create, vdi_record(sr, size=0))
    fails('HANDLE_INVALID', 'a disk in no repository', s.VDI.create, vdi_record('OpaqueRef:' + str(uuid.uuid4())))

    s.VDI.resize(vdi, str(128 * MIB))
    check(int(s.VDI.get_virtual_size(vdi)) == 128 * MIB, 'resize')
    fails('SR_BACKEND_FAILURE_79', 'shrinking', s.VDI.resize, vdi, str(MIB))

    path = '%s/%s.qcow2' % (folder, r['uuid'])
    check(qemu_io(path, 'write -P 1 0 64k'), '(content is written)')
    snap = s.VDI.snapshot(vdi, {})
    q = s.VDI.get_record(snap)
    check(q['is_a_snapshot'] and q['snapshot_of'] == vdi and snap in s.VDI.get_snapshots(vdi), 'a snapshot knows its disk')
    check(q['name_label'] == 'one' and q['snapshot_time'] != r['snapshot_time'], 'its name and time')
    check(q['sm_config'].get('vhd-parent') == s.VDI.get_sm_config(vdi).get('vhd-parent') != None, 'both stand on one base')
    check(qemu_io(path, 'write -P 2 0 64k') and qemu_io('%s/%s.qcow2' % (folder, q['uuid']), 'read -P 1 0 64k'), 'it keeps the content')
    clone = s.VDI.clone(snap, {})
    check(not s.VDI.get_is_a_snapshot(clone), 'a clone is no snapshot')
    check(qemu_io('%s/%s.qcow2' % (folder, s.VDI.get_uuid(clone)), 'read -P 1 0 64k'), 'but has its content')
    copy = s.VDI.copy(vdi, sr)
    check(qemu_io('%s/%s.qcow2' % (folder, s.VDI.get_uuid(copy)), 'read -P 2 0 64k'), 'a copy has the content')
    check('vhd-parent' not in s.VDI.get_sm_config(copy), 'and stands alone')
    small = s.VDI.create(vdi_record(sr, 'small', size=MIB))
    fails('VDI_TOO_SMALL', 'copying into a smaller disk', s.VDI.copy, vdi, 'OpaqueRef:NULL', 'OpaqueRef:NULL', small)

    s.SR.scan(sr)
    bases = [v for v in s.SR.get_VDIs(sr) if not s.VDI.get_managed(v)]
    check(len(bases) == 1 and s.VDI.get_name_label(bases[0]) == 'base copy', 'a scan shows the base, unmanaged')
    fails('VDI_NOT_MANAGED', 'which nobody destroys', s.VDI.destroy, bases[0])
    for v in (snap, clone, copy, small, vdi):
        s.VDI.destroy(v)
    s.SR.scan(sr)
    check([f for f in os.listdir(folder) if not f.startswith('.')] == [], 'no file is left when all are destroyed')
    check(s.SR.get_VDIs(sr) == [] and int(s.SR.get_virtual_allocation(sr)) == 0, 'no record either')
    fails('HANDLE_INVALID', 'destroying twice', s.VDI.destroy, vdi)


def scans(agent, s, sr):
    folder = os.path.join(agent.root, 'sr')
    vdi = s.VDI.create(vdi_record(sr, 'precious', name_description='do not lose me'))
    u = s.VDI.get_uuid(vdi)
    found = str(uuid.uuid4())
    subprocess.run(['qemu-img', 'create', '-q', '-f', 'qcow2', '%s/%s.qcow2' % (folder, found), '5M'], check=True)
    os.rename('%s/%s.qcow2' % (folder, u), '%s/away' % folder)
    s.SR.scan(sr)
    check(s.VDI.get_missing(vdi) and s.VDI.get_name_label(vdi) == 'precious', 'a disk whose file is gone is missing, not lost')
    new = s.VDI.get_by_uuid(found)
    check(int(s.VDI.get_virtual_size(new)) == 5 * MIB and s.VDI.get_managed(new), 'a file that appeared is a disk')
    os.rename('%s/away' % folder, '%s/%s.qcow2' % (folder, u))
    s.SR.scan(sr)
    check(not s.VDI.get_missing(vdi) and s.VDI.get_name_description(vdi) == 'do not lose me', 'a disk that came back is as it was')
    s.VDI.forget(new)
    fails('UUID_INVALID', 'a forgotten disk', s.VDI.get_by_uuid, found)
    check(os.path.exists('%s/%s.qcow2' % (folder, found)), 'keeps its file')
    new = s.VDI.introduce(found, 'again', '', sr, 'user', False, False, {}, found, {}, {}, True, '0', '0', 'OpaqueRef:NULL', False,
                          '19700101T00:00:00Z', 'OpaqueRef:NULL')
    check(s.VDI.get_uuid(new) == found and int(s.VDI.get_virtual_size(new)) == 5 * MIB, 'and is introduced again')
    os.unlink('%s/%s.qcow2' % (folder, found))
    s.VDI.destroy(new)
    check(True, 'a disk whose file is gone can be destroyed')
    s.VDI.destroy(vdi)


def repositories(agent, s, host):
    where = os.path.join(agent.root, 'second')
    fails('SR_UNKNOWN_DRIVER', 'a type without driver', s.SR.create, host, {}, '0', 'x', '', 'floppy', '', False, {})
    fails('SR_BACKEND_FAILURE_94', 'a file repository without location', s.SR.create, host, {}, '0', 'x', '', 'file', '', False, {})
    check(not [r for r in s.SR.get_all_records().values() if r['name_label'] == 'x'], 'leaves no record')
    sr = s.SR.create(host, {'location': where}, '0', 'second', 'more', 'file', 'user', False, {})
    u, pbd = s.SR.get_uuid(sr), s.SR.get_PBDs(sr)[0]
    vdi = s.VDI.create(vdi_record(sr))
    check(u in s.SR.probe(host, {'location': where}, 'file', {}), 'a probe names it')
    ext = s.SR.probe_ext(host, {'location': where}, 'file', {})
    check(ext[0]['sr']['uuid'] == u and ext[0]['complete'] and ext[0]['configuration']['location'] == where, 'probe_ext too')
    fails('SR_HAS_PBD', 'destroying a plugged repository', s.SR.destroy, sr)
    fails('SR_HAS_PBD', 'forgetting one', s.SR.forget, sr)
    fails('OPERATION_NOT_ALLOWED', 'destroying a plugged PBD', s.PBD.destroy, pbd)
    s.PBD.unplug(pbd)
    s.PBD.unplug(pbd)
    check(not s.PBD.get_currently_attached(pbd), 'unplug, twice')
    fails('SR_HAS_NO_PBDS', 'a disk in an unplugged repository', s.VDI.create, vdi_record(sr))
    fails('SR_HAS_NO_PBDS', 'scanning one', s.SR.scan, sr)
    fails('SR_NOT_EMPTY', 'destroying a repository with disks', s.SR.destroy, sr)
    s.SR.forget(sr)
    fails('HANDLE_INVALID', 'a forgotten repository', s.SR.get_uuid, sr)
    fails('HANDLE_INVALID', 'its PBD', s.PBD.get_uuid, pbd)
    sr = s.SR.introduce(u, 'second again', '', 'file', 'user', False, {})
    fails('SR_UUID_EXISTS', 'introducing twice', s.SR.introduce, u, 'x', '', 'file', 'user', False, {})
    fails('SR_HAS_NO_PBDS', 'an introduced one has no PBD', s.SR.scan, sr)
    pbd = s.PBD.create({'host': host, 'SR': sr, 'device_config': {'location': where}})
    fails('PBD_EXISTS', 'a second PBD', s.PBD.create, {'host': host, 'SR': sr, 'device_config': {}})
    s.PBD.plug(pbd)
    s.PBD.plug(pbd)
    check(len(s.SR.get_VDIs(sr)) == 1, 'plugging finds the disk again')
    other = s.SR.introduce('', 'thief', '', 'file', 'user', False, {})
    thief = s.PBD.create({'host': host, 'SR': other, 'device_config': {'location': where}})
    fails('SR_BACKEND_FAILURE_47', 'another repository in the same directory', s.PBD.plug, thief)
    s.PBD.destroy(thief)
    s.SR.forget(other)
    s.VDI.destroy(s.SR.get_VDIs(sr)[0])
    s.PBD.unplug(pbd)
    s.SR.destroy(sr)
    check(not os.path.exists(where), 'an empty repository is destroyed with its directory')

    sr = s.SR.create(host, {'location': os.path.join(agent.root, 'third'), 'password': 'very secret'}, '0', 't', '', 'file', '', False, {})
    pbd = s.SR.get_PBDs(sr)[0]
    config = s.PBD.get_device_config(pbd)
    check('password' not in config and s.secret.get_value(s.secret.get_by_uuid(config['password_secret'])) == 'very secret',
          'a password becomes a secret')
    check('very secret' not in open(os.path.join(agent.root, 'agent.log')).read(), 'and is not in the log')
    s.PBD.unplug(pbd)
    s.SR.destroy(sr)
    fails('UUID_INVALID', 'the secret goes with the PBD', s.secret.get_by_uuid, config['password_secret'])


def cds(agent, s, host):
    where = os.path.join(agent.root, 'cds')
    os.mkdir(where)
    for name in ('debian.iso', 'other.iso'):
        with open(os.path.join(where, name), 'wb') as f:
            f.write(b'\0' * 4096)
    sr = s.SR.create(host, {'location': where, 'legacy_mode': 'true'}, '0', 'CDs', '', 'iso', '', True, {})
    check(s.SR.get_content_type(sr) == 'iso', 'content type comes from the driver')
    isos = {s.VDI.get_location(v): v for v in s.SR.get_VDIs(sr)}
    check(sorted(isos) == ['debian.iso', 'other.iso'], 'CDs are found')
    iso = isos['debian.iso']
    check(s.VDI.get_read_only(iso) and s.VDI.get_name_label(iso) == 'debian.iso', 'read-only, called like the file')
    fails('SR_OPERATION_NOT_SUPPORTED', 'a disk among CDs', s.VDI.create, vdi_record(sr))
    fails('SR_OPERATION_NOT_SUPPORTED', 'destroying a CD', s.VDI.destroy, iso)
    old = s.VDI.get_uuid(iso)
    os.unlink(os.path.join(where, 'other.iso'))
    s.SR.scan(sr)
    check([s.VDI.get_uuid(v) for v in s.SR.get_VDIs(sr)] == [old], 'a scan keeps who is there and drops who has gone')
    return iso


def drives(agent, s, sr, iso):
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'drives')
    s.VM.provision(vm)
    vdi = s.VDI.create(vdi_record(sr))
    vbd = s.VBD.create(vbd_record(vm, vdi))
    check(s.VBD.get_userdevice(vbd) == '0' and s.VBD.get_device(vbd) == '', 'the first free device')
    p = fails('DEVICE_ALREADY_EXISTS', 'a device twice', s.VBD.create, vbd_record(vm, vdi, userdevice='0'))
    check(p == ['0'], 'is named')
    fails('INVALID_DEVICE', 'a device that is none', s.VBD.create, vbd_record(vm, vdi, userdevice='first'))
    fails('HANDLE_INVALID', 'no disk', s.VBD.create, vbd_record(vm, 'OpaqueRef:' + str(uuid.uuid4())))
    fails('VBD_CDS_MUST_BE_READONLY', 'a writable CD', s.VBD.create, vbd_record(vm, iso, type='CD'))
    fails('VDI_IS_NOT_ISO', 'a disk as CD', s.VBD.create, vbd_record(vm, vdi, type='CD', mode='RO'))
    ro = s.VDI.create(vdi_record(sr, read_only=True))
    fails('VDI_READONLY', 'a read-only disk for writing', s.VBD.create, vbd_record(vm, ro))
    s.VDI.destroy(ro)
    cd = s.VBD.create(vbd_record(vm, 'OpaqueRef:NULL', type='CD', mode='RO', empty=True, userdevice='3'))
    fails('VBD_IS_EMPTY', 'ejecting nothing', s.VBD.eject, cd)
    fails('VBD_NOT_REMOVABLE_MEDIA', 'ejecting a disk', s.VBD.eject, vbd)
    s.VBD.insert(cd, iso)
    check(s.VBD.get_VDI(cd) == iso and not s.VBD.get_empty(cd), 'insert while halted')
    fails('VBD_NOT_EMPTY', 'insert into a full drive', s.VBD.insert, cd, iso)
    s.VBD.set_userdevice(vbd, '5')
    check(s.VBD.get_userdevice(vbd) == '5', 'a drive moves')
    fails('DEVICE_ALREADY_EXISTS', 'but not onto another', s.VBD.set_userdevice, vbd, '3')
    s.VBD.set_userdevice(vbd, '0')

    s.VM.start(vm, False, False)
    check(s.VBD.get_currently_attached(vbd) and s.VBD.get_device(vbd) == 'xvda', 'attached with the VM, as xvda')
    check(s.VBD.get_currently_attached(cd) and s.VBD.get_device(cd) == 'xvdd', 'so is the CD')
    for what, fn, *args in (('destroy', s.VDI.destroy, vdi), ('resize', s.VDI.resize, vdi, str(99 * MIB)),
                            ('forget', s.VDI.forget, vdi)):
        fails('VDI_IN_USE', '%s of a disk in use' % what, fn, *args)
    fails('OPERATION_NOT_ALLOWED', 'destroying an attached VBD', s.VBD.destroy, vbd)
    fails('VDI_IN_USE', 'copying a disk that changes', s.VDI.copy, vdi, sr)
    fails('VDI_IN_USE', 'unplugging its repository', s.PBD.unplug, s.SR.get_PBDs(sr)[0])
    second = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'second')
    s.VM.provision(second)
    rival = s.VBD.create(vbd_record(second, vdi))
    fails('VDI_IN_USE', 'asking whether a rival may attach it', s.VBD.assert_attachable, rival)
    fails('VDI_IN_USE', 'a second VM with the same disk', s.VM.start, second, False, False)
    check(s.VM.get_power_state(second) == 'Halted', 'stays halted')
    s.VBD.destroy(rival)
    s.VDI.resize_online(vdi, str(96 * MIB))
    s.VBD.eject(cd)
    check(s.VBD.get_empty(cd), 'eject while running')
    s.VBD.insert(cd, iso)
    check(s.VBD.get_VDI(cd) == iso, 'insert while running')

    snap = s.VDI.snapshot(vdi, {})
    check(s.VDI.get_snapshot_of(snap) == vdi, 'a snapshot while it runs')
    hot = s.VDI.create(vdi_record(sr, 'hot'))
    plug = s.VBD.create(vbd_record(vm, hot))
    s.VBD.plug(plug)
    check(s.VBD.get_currently_attached(plug) and s.VBD.get_device(plug) == 'xvdb', 'hot plug')
    fails('DEVICE_ALREADY_ATTACHED', 'hot plug twice', s.VBD.plug, plug)
    s.VBD.unplug(plug)
    check(not s.VBD.get_currently_attached(plug), 'hot unplug')
    fails('DEVICE_ALREADY_DETACHED', 'hot unplug twice', s.VBD.unplug, plug)
    s.VDI.destroy(hot)
    fails('HANDLE_INVALID', 'a drive goes with its disk', s.VBD.get_uuid, plug)
    s.VM.hard_shutdown(vm)
    check(not s.VBD.get_currently_attached(vbd), 'detached with the VM')

    s.VDI.set_on_boot(vdi, 'reset')
    path = '%s/sr/%s.qcow2' % (agent.root, s.VDI.get_uuid(vdi))
    qemu_io(path, 'write -P 7 0 64k')
    s.VM.start(vm, False, False)
    s.VM.hard_shutdown(vm)
    check(qemu_io(path, 'read -P 0 0 64k'), 'on_boot reset: what was written is gone')
    s.VM.destroy(vm)
    s.VM.destroy(second)
    s.VDI.destroy(snap)
    s.VDI.destroy(vdi)


def slow(agent, s, host):
    sr = s.SR.create(host, {}, '0', 'slow', '', 'dummy', '', False, {})
    pbd = s.SR.get_PBDs(sr)[0]
    s.PBD.set_device_config(pbd, {'sleep_ms': '2000', 'sleep_commands': 'sr_update'})
    vm = s.VM.get_all()[0]

    def worst():
        times = []
        for _ in range(200):
            t = time.monotonic()
            s.VM.get_power_state(vm)
            times.append(time.monotonic() - t)
        return sorted(times)[-3]
    idle = worst()
    threads = [threading.Thread(target=lambda: agent.login().SR.update(sr)) for _ in range(2)]
    for t in threads:
        t.start()
    time.sleep(0.3)
    t = time.monotonic()
    other = s.VDI.create(vdi_record(s.pool.get_default_SR(s.pool.get_all()[0])))
    took = time.monotonic() - t
    busy = worst()
    check(took < 1, 'a disk in another repository is made meanwhile (%d ms)' % (took * 1000))
    check(busy < 2 * idle + 0.05, 'calls are as quick as before: %.1f ms, %.1f ms' % (idle * 1000, busy * 1000))
    for t in threads:
        t.join()
    s.VDI.destroy(other)
    s.PBD.set_device_config(pbd, {'fail_code': '44', 'fail_commands': 'vdi_create'})
    p = fails('SR_BACKEND_FAILURE_44', 'a driver\'s error comes through', s.VDI.create, vdi_record(sr))
    check(p[1] == 'vdi_create fails as asked', 'with its text')
    s.PBD.set_device_config(pbd, {'sleep_ms': '60000', 'sleep_commands': 'sr_attach'})
    return sr


with Agent() as agent:
    s = agent.login()
    host, sr = first_start(agent, s)
    disks(agent, s, sr)
    scans(agent, s, sr)
    repositories(agent, s, host)
    iso = cds(agent, s, host)
    drives(agent, s, sr, iso)
    slow_sr = slow(agent, s, host)

    # A new agent on the same root, while a VM runs and one repository hangs.
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'stays')
    s.VM.provision(vm)
    vdi = s.VDI.create(vdi_record(sr, 'kept'))
    vbd = s.VBD.create(vbd_record(vm, vdi))
    s.VM.start(vm, False, False)
    agent.kill()
    t = time.monotonic()
    agent.start()
    check(time.monotonic() - t < 10, 'an agent starts although a repository hangs (%d s)' % (time.monotonic() - t))
    s = agent.login()
    check(not s.PBD.get_currently_attached(s.SR.get_PBDs(slow_sr)[0]), 'which is left unplugged')
    check(s.PBD.get_currently_attached(s.SR.get_PBDs(sr)[0]), 'the others are plugged')
    check(s.VM.get_power_state(vm) == 'Running' and s.VBD.get_currently_attached(vbd), 'the VM runs on with its disk')
    fails('VDI_IN_USE', 'the disk is still in use', s.VDI.destroy, vdi)
    s.VM.hard_shutdown(vm)
    s.VDI.destroy(vdi)
    check(len(s.SR.get_all()) == 4, 'no repository was made twice')
done()
