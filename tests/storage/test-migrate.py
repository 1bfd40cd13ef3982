#!/usr/bin/env python3
"""Disks of a running guest move to another repository while it writes; killed on the way; from one format to another."""
import os
import time
import urllib.request

from guest import MIB, Console, disk, drive, make_vm, write
from harness import QemuAgent, check, done, fails, guest_files, own_network, wait_until

kernel, initramfs = guest_files()   # may download: before the network is our own
own_network()
SIZE = 64 * MIB


def content(s, vdi):
    url = 'http://127.0.0.1:%d/export_raw_vdi?vdi=%s&format=raw&session_id=%s' % (agent.http_port, vdi, s._ref)
    with urllib.request.urlopen(url, timeout=60) as r:
        return r.read()


agent = QemuAgent()
with agent:
    s = agent.login()
    host, sr = s.session.get_this_host(s._ref), s.pool.get_default_SR(s.pool.get_all()[0])
    other = s.SR.create(host, {'location': os.path.join(agent.root, 'other')}, '0', 'other', '', 'file', 'user', False, {})
    vm = make_vm(s, kernel, initramfs, 'move')
    uuid = s.VM.get_uuid(vm)
    vdi = disk(s, sr, 'main', SIZE, tags=['keep'])
    vhd = disk(s, sr, 'second', SIZE, sm_config={'image-format': 'vhd'})
    vbd, vbd2 = drive(s, vm, vdi, '0', bootable=True), drive(s, vm, vhd, '1')
    check(fails('VDI_NEEDS_VM_FOR_MIGRATE', 'a disk without a running VM stays', s.VDI.pool_migrate, vdi, other, {}) == [vdi], 'named')
    s.VM.start(vm, False, False)
    log = os.path.join(agent.root, 'hv', 'libvirt', 'console', uuid + '.log')
    check(wait_until(lambda: os.path.exists(log) and 'userland: move' in open(log, errors='replace').read(), 180), 'a guest boots')
    guest = Console(agent, uuid)
    check(write(guest, 1, 'vda', 0) and write(guest, 2, 'vda', 30 * 1024), 'it writes')
    snap = s.VDI.snapshot(vdi, {})
    check(write(guest, 3, 'vda', 1024), 'and after a snapshot')

    s.VDI.enable_cbt(vdi)
    check(fails('VDI_CBT_ENABLED', 'a tracked disk stays', s.VDI.pool_migrate, vdi, other, {}) == [vdi], 'named')
    s.VDI.disable_cbt(vdi)

    # While it writes all the time.
    guest.run('while :; do echo $((n=n+1)) | dd of=/dev/vda bs=512 seek=100000 conv=fsync 2>/dev/null; done & echo started')
    moved = s.VDI.pool_migrate(vdi, other, {})
    r = s.VDI.get_record(moved)
    check(moved != vdi and r['SR'] == other and r['name_label'] == 'main' and r['tags'] == ['keep'], 'it moves while the guest writes')
    check(s.VBD.get_VDI(vbd) == moved and s.VDI.get_VBDs(moved) == [vbd], 'its VBD goes along')
    check(s.VDI.get_snapshot_of(snap) == moved and s.VDI.get_SR(snap) == sr, 'its snapshot knows it, and stays')
    check('mirror-of' not in r['sm_config'] and vdi not in s.VDI.get_all(), 'the old one is gone')
    old = [n for n in os.listdir(os.path.join(agent.root, 'sr')) if 'qcow2' in n and not n.startswith('base-')]
    check(old == [s.VDI.get_uuid(snap) + '.qcow2'], 'on disk, too: %s' % old)
    check(guest.ok('kill %1; wait; true') and write(guest, 4, 'vda', 2048), 'the guest goes on')
    check(guest.ok("dd if=/dev/vda bs=1k count=64 skip=1024 2>/dev/null | tr -d '\\003' | wc -c | grep -qx 0"), 'and reads what it wrote')

    # VHD to VHD, served by nbdkit on both ends.
    check(write(guest, 5, 'vdb', 0), 'a VHD')
    moved_vhd = s.VDI.pool_migrate(vhd, other, {})
    check(s.VDI.get_sm_config(moved_vhd)['image-format'] == 'vhd' and write(guest, 6, 'vdb', 1024), 'moves, too')

    # The agent is killed while the copy runs, and the guest goes on.
    big = disk(s, sr, 'big', 512 * MIB)
    vbd3 = drive(s, vm, big, '2')
    s.VBD.plug(vbd3)
    check(wait_until(lambda: guest.ok('grep -q vdc /proc/partitions'), 20), 'another disk')
    check(write(guest, 7, 'vdc', 0) and write(guest, 7, 'vdc', 500 * 1024) and
          guest.ok('dd if=/dev/urandom of=/dev/vdc bs=1M count=24 seek=8 conv=fsync 2>/dev/null', 120), 'with something on it')
    s.Async.VDI.pool_migrate(big, other, {})
    wait_until(lambda: any('mirror-of' in v['sm_config'] for v in s.VDI.get_all_records().values()), 20, 0.01)
    time.sleep(0.3)
    agent.kill()
    agent.start()
    s = agent.login()
    marked = [v for v in s.VDI.get_all_records().values() if 'mirror-of' in v['sm_config']]
    now = s.VBD.get_VDI(vbd3)
    check(not marked and s.VDI.get_name_label(now) == 'big', 'after kill -9: no half-made disk')
    check(len([v for v in s.VDI.get_all_records().values() if v['name_label'] == 'big']) == 1, 'and one disk, not two')
    guest = Console(agent, uuid)
    check(guest.ok("dd if=/dev/vdc bs=1k count=64 skip=512000 2>/dev/null | tr -d '\\007' | wc -c | grep -qx 0"), 'the guest has it all')
    task = s.Async.VDI.pool_migrate(now, other if s.VDI.get_SR(now) == sr else sr, {})
    s.task.cancel(task)
    check(wait_until(lambda: s.task.get_status(task) in ('cancelled', 'success'), 60), 'a move can be cancelled: ' + s.task.get_status(task))
    check(write(guest, 8, 'vdc', 0), 'the guest goes on')
    now = s.VBD.get_VDI(vbd3)

    s.VM.hard_shutdown(vm)
    data = content(s, moved)
    found = [data[at] for at in (0, 30 * MIB, MIB, 2 * MIB)]
    check(found == [1, 2, 3, 4], 'at rest all is there: %s' % found)
    data = content(s, moved_vhd)
    check(data[0] == 5 and data[MIB] == 6, 'in the VHD as well')
    data = content(s, now)
    check(data[0] == 8 and data[500 * MIB] == 7 and len(set(data[8 * MIB:9 * MIB])) == 256, 'and in the disk whose move was cancelled')
done()
