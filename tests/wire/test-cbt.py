#!/usr/bin/env python3
"""Changed block tracking over the wire: what is allowed when, what records say, alerts, a restart between."""
import base64
import os
import struct
import subprocess

from harness import Agent, check, done, fails

MIB = 1 << 20


def record(sr, name='disk', size=8 * MIB, **more):
    r = {'name_label': name, 'name_description': '', 'SR': sr, 'virtual_size': str(size), 'type': 'user', 'sharable': False,
         'read_only': False, 'other_config': {}}
    r.update(more)
    return r


def write(path, at, length=4096):
    got = subprocess.run(['qemu-io', '-f', 'qcow2', '-c', 'write -P 7 %d %d' % (at, length), path], capture_output=True, text=True)
    assert got.returncode == 0, got.stderr


def blocks(text):
    bits = base64.b64decode(text)
    return [n for n in range(len(bits) * 8) if bits[n // 8] >> (7 - n % 8) & 1]


with Agent() as agent:
    s = agent.login()
    sr = s.pool.get_default_SR(s.pool.get_all()[0])
    folder = os.path.join(agent.root, 'sr')
    path = lambda v: '%s/%s' % (folder, s.VDI.get_uuid(v))
    vdi = s.VDI.create(record(sr))
    check(not s.VDI.get_cbt_enabled(vdi), 'a new disk is not tracked')
    check({'enable_cbt', 'disable_cbt', 'list_changed_blocks'} <= set(s.VDI.get_allowed_operations(vdi)) and
          'data_destroy' not in s.VDI.get_allowed_operations(vdi), 'allowed: on, off, list')
    untracked = s.VDI.snapshot(vdi, {})
    s.VDI.enable_cbt(vdi)
    s.VDI.enable_cbt(vdi)
    check(s.VDI.get_cbt_enabled(vdi) and os.path.exists(path(vdi) + '.cbtlog'), 'tracked, with a log beside the image')
    first = s.VDI.snapshot(vdi, {})
    check(s.VDI.get_cbt_enabled(first) and not s.VDI.get_cbt_enabled(untracked), 'a snapshot of a tracked disk has its log')
    write(path(vdi) + '.qcow2', MIB)
    write(path(vdi) + '.qcow2', 3 * MIB + 5, 2 * 65536)
    second = s.VDI.snapshot(vdi, {})
    check(blocks(s.VDI.list_changed_blocks(first, second)) == [16, 48, 49, 50], 'what changed between two snapshots')
    write(path(vdi) + '.qcow2', 0)
    check(blocks(s.VDI.list_changed_blocks(first, vdi)) == [0, 16, 48, 49, 50], 'and up to the disk itself')
    check(blocks(s.VDI.list_changed_blocks(second, vdi)) == [0], 'from the second on')

    fails('OPERATION_NOT_ALLOWED', 'a snapshot is not switched on', s.VDI.enable_cbt, first)
    fails('OPERATION_NOT_ALLOWED', 'nor off', s.VDI.disable_cbt, first)
    fails('OPERATION_NOT_ALLOWED', 'data of a disk that is no snapshot stay', s.VDI.data_destroy, vdi)
    p = fails('VDI_NO_CBT_METADATA', 'data of an untracked snapshot stay', s.VDI.data_destroy, untracked)
    check(p == [untracked], 'which is named')
    p = fails('VDI_CBT_ENABLED', 'a tracked disk is not reset on boot', s.VDI.set_on_boot, vdi, 'reset')
    check(p == [vdi], 'the disk is named')
    reset = s.VDI.create(record(sr, 'reset'))
    s.VDI.set_on_boot(reset, 'reset')
    fails('VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION', 'and a disk that is reset is not tracked', s.VDI.enable_cbt, reset)
    suspend = s.VDI.create(record(sr, 'suspend', type='suspend'))
    check(fails('VDI_INCOMPATIBLE_TYPE', 'a suspend image is not tracked', s.VDI.enable_cbt, suspend) == [suspend, 'suspend'], 'named')
    fails('SR_BACKEND_FAILURE_460', 'disks that are not related', s.VDI.list_changed_blocks, first, reset)
    fails('HANDLE_INVALID', 'no disk', s.VDI.list_changed_blocks, first, 'OpaqueRef:NULL')

    # A disk in use; a snapshot that a VM has.
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'vm')
    s.VM.provision(vm)
    vbd = s.VBD.create({'VM': vm, 'VDI': vdi, 'userdevice': '0', 'bootable': False, 'mode': 'RW', 'type': 'Disk', 'empty': False,
                        'other_config': {}, 'qos_algorithm_type': '', 'qos_algorithm_params': {}})
    s.VM.start(vm, False, False)
    check(fails('VDI_IN_USE', 'a disk that is written to has no list', s.VDI.list_changed_blocks, second, vdi)[0] == vdi, 'named')
    s.VDI.disable_cbt(vdi)
    s.VDI.enable_cbt(vdi)
    third = s.VDI.snapshot(vdi, {})
    check(s.VDI.get_cbt_enabled(third), 'tracking can be switched while the VM runs')
    fails('SR_BACKEND_FAILURE_460', 'but begins anew', s.VDI.list_changed_blocks, second, third)
    snap_vm = s.VM.snapshot(vm, 'snap', [])
    of_vm = [s.VBD.get_VDI(b) for b in s.VM.get_VBDs(snap_vm)][0]
    check(fails('VDI_IN_USE', 'data that a VM snapshot has stay', s.VDI.data_destroy, of_vm) == [of_vm, 'data_destroy'], 'named')
    for b in s.VM.get_VBDs(snap_vm):
        s.VBD.destroy(b)

    # Destroyed data.
    before = int(s.SR.get_virtual_allocation(sr))
    s.VDI.data_destroy(of_vm)
    r = s.VDI.get_record(of_vm)
    check(r['type'] == 'cbt_metadata' and r['cbt_enabled'] and r['is_a_snapshot'], 'data destroyed: the log stays')
    check(not os.path.exists(path(of_vm) + '.qcow2') and os.path.exists(path(of_vm) + '.cbtlog'), 'on disk, too')
    check(int(s.SR.get_virtual_allocation(sr)) == before - 8 * MIB, 'it takes no room')
    s.VDI.data_destroy(of_vm)
    check(fails('VDI_INCOMPATIBLE_TYPE', 'it cannot be copied', s.VDI.copy, of_vm, sr) == [of_vm, 'cbt_metadata'], 'named')
    fails('VDI_INCOMPATIBLE_TYPE', 'nor cloned', s.VDI.clone, of_vm, {})
    s.VM.hard_shutdown(vm)
    check(blocks(s.VDI.list_changed_blocks(third, of_vm)) == [] and blocks(s.VDI.list_changed_blocks(of_vm, vdi)) == [],
          'its list can still be read, from it and to it')
    s.SR.scan(sr)
    check(s.VDI.get_record(of_vm)['type'] == 'cbt_metadata' and not s.VDI.get_missing(of_vm), 'a scan keeps it')

    agent.kill()
    agent.start()
    s = agent.login()
    check(s.VDI.get_cbt_enabled(vdi) and s.VDI.get_type(of_vm) == 'cbt_metadata', 'after kill -9 of the agent all is as it was')
    write(path(vdi) + '.qcow2', 5 * MIB)
    check(blocks(s.VDI.list_changed_blocks(third, vdi)) == [80], 'and goes on')

    # What a dead host of XenServer leaves: the disk opens, tracking ends, an alert says so.
    with open(path(vdi) + '.cbtlog', 'wb') as f:
        f.write(struct.pack('<16s16si4xq', b'\0' * 16, b'\0' * 16, 0, 8 * MIB) + b'\0' * 16)
    s.VM.start(vm, False, False)
    check(not s.VDI.get_cbt_enabled(vdi), 'an inconsistent log ends tracking')
    alerts = [m for m in s.message.get_all_records().values() if m['name'] == 'VDI_CBT_METADATA_INCONSISTENT']
    check(len(alerts) == 1 and alerts[0]['obj_uuid'] == s.VDI.get_uuid(vdi) and alerts[0]['cls'] == 'VDI', 'and an alert names the disk')
    s.VM.hard_shutdown(vm)

    s.VDI.destroy(of_vm)
    forgotten = s.VDI.get_uuid(second)
    s.VDI.data_destroy(second)
    s.VDI.forget(second)
    s.SR.scan(sr)
    found = s.VDI.get_by_uuid(forgotten)
    check(s.VDI.get_type(found) == 'cbt_metadata' and s.VDI.get_is_a_snapshot(found), 'a scan finds a log without data')
    for v in first, third, found, vdi:
        s.VDI.destroy(v)
    check(not [n for n in os.listdir(folder) if n.endswith('.cbtlog')], 'logs go with their disks')
done()
