#!/usr/bin/env python3
"""A real guest on VHD disks: it writes, is snapshotted while it does, outlives the agent, and its disks move between
formats and over HTTP."""
import hashlib
import os
import subprocess
import urllib.request

from guest import MIB, Console, disk, drive, make_vm, write
from harness import QemuAgent, check, done, fails, guest_files, own_network, wait_until

kernel, initramfs = guest_files()   # may download: before the network is our own
own_network()
VHD = {'sm_config': {'image-format': 'vhd'}}
SIZE = 64 * MIB


def content(s, vdi):
    """SHA-256 of a disk as GET /export_raw_vdi gives it."""
    url = 'http://127.0.0.1:%d/export_raw_vdi?vdi=%s&format=raw&session_id=%s' % (agent.http_port, vdi, s._ref)
    with urllib.request.urlopen(url, timeout=60) as r:
        data = r.read()
    return data


def patterns(data, *at_kib):
    return [data[k << 10] if len(set(data[k << 10:(k + 64) << 10])) == 1 else None for k in at_kib]


agent = QemuAgent()
with agent:
    s = agent.login()
    sr = s.pool.get_default_SR(s.pool.get_all()[0])
    vm = make_vm(s, kernel, initramfs, 'vhd')
    uuid = s.VM.get_uuid(vm)
    vdi = disk(s, sr, 'main', SIZE, **VHD)
    check(os.path.exists('%s/sr/%s.vhd' % (agent.root, s.VDI.get_uuid(vdi))), 'a disk is a VHD file')
    drive(s, vm, vdi, '0', bootable=True)
    s.VM.start(vm, False, False)
    log = os.path.join(agent.root, 'hv', 'libvirt', 'console', uuid + '.log')
    check(wait_until(lambda: os.path.exists(log) and 'userland: vhd' in open(log, errors='replace').read(), 180), 'a guest boots')
    guest = Console(agent, uuid)
    check(write(guest, 1, 'vda', 0) and write(guest, 2, 'vda', 30 * 1024), 'it writes')

    snaps = []
    for pattern in (3, 4, 5):
        snaps.append(s.VDI.snapshot(vdi, {}))
        check(write(guest, pattern, 'vda', 0), 'it writes %d after a snapshot' % pattern)
    for snap, pattern in zip(snaps, (1, 3, 4)):
        check(patterns(content(s, snap), 0, 30 * 1024) == [pattern, 2], 'the snapshot has %d' % pattern)
    check(guest.ok("dd if=/dev/vda bs=1k count=64 2>/dev/null | tr -d '\\005' | wc -c | grep -qx 0"), 'the guest reads what it wrote')
    fails('VDI_IN_USE', 'a VHD does not grow in use', s.VDI.resize_online, vdi, str(2 * SIZE))

    agent.kill()
    check(write(guest, 6, 'vda', 0), 'without an agent the guest writes on')
    agent.start()
    s = agent.login()
    check(s.VM.get_power_state(vm) == 'Running' and write(guest, 7, 'vda', 1024), 'and under the next one')
    late = s.VDI.snapshot(vdi, {})
    check(write(guest, 8, 'vda', 1024), 'which can snapshot it')
    check(patterns(content(s, late), 0, 1024, 30 * 1024) == [6, 7, 2], 'the snapshot has its moment')

    hot = disk(s, sr, 'hot', SIZE, **VHD)
    vbd = drive(s, vm, hot, '1')
    s.VBD.plug(vbd)
    check(wait_until(lambda: guest.ok('grep -q vdb /proc/partitions'), 20) and write(guest, 9, 'vdb', 0), 'a VHD is plugged')
    s.VBD.unplug(vbd)
    check(wait_until(lambda: os.listdir(agent.root + '/nbd') == [s.VDI.get_uuid(vdi), s.VDI.get_uuid(vdi) + '.pid']
                     or sorted(os.listdir(agent.root + '/nbd')) == sorted([s.VDI.get_uuid(vdi), s.VDI.get_uuid(vdi) + '.pid']), 20),
          'unplugged, its server ends')
    check(patterns(content(s, hot), 0) == [9], 'and what was written is there')

    s.VM.hard_shutdown(vm)
    check(os.listdir(agent.root + '/nbd') == [], 'with the VM its server ends')
    data = content(s, vdi)
    check(patterns(data, 0, 1024, 30 * 1024) == [6, 8, 2], 'the disk has the last of everything')
    copy = s.VDI.copy(vdi, sr)
    check(content(s, copy) == data, 'a copy is the same')
    s.VDI.resize(vdi, str(2 * SIZE))
    check(content(s, vdi) == data + bytes(SIZE), 'it grows at rest')
    clone = s.VDI.clone(late, {})
    check(patterns(content(s, clone), 0, 1024) == [6, 7], 'a clone of a snapshot')

    # As a stream: what we send, qemu-img reads; what qemu-img made, we take.
    with urllib.request.urlopen('http://127.0.0.1:%d/export_raw_vdi?vdi=%s&format=vhd&session_id=%s' % (agent.http_port, copy, s._ref), timeout=60) as r:
        with open(agent.root + '/out.vhd', 'wb') as f:
            f.write(r.read())
    subprocess.run(['qemu-img', 'convert', '-f', 'vpc', '-O', 'raw', agent.root + '/out.vhd', agent.root + '/out.raw'], check=True)
    with open(agent.root + '/out.raw', 'rb') as f:
        check(f.read() == data, 'exported as a VHD')

    for v in [vdi, hot, late, copy, clone] + snaps:
        s.VDI.destroy(v)
    s.SR.scan(sr)
    check(s.SR.get_VDIs(sr) == [] and not [n for n in os.listdir(agent.root + '/sr') if n.endswith('.vhd')], 'nothing is left')
done()
