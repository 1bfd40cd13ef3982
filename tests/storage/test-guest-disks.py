#!/usr/bin/env python3
"""Disks of a real guest under QEMU: written from inside, snapshotted, grown, plugged and ejected while it runs; what was
written is checked on the images by qemu-io."""
import glob
import os
import subprocess
import time

from guest import MIB, Console, disk, drive, make_vm, write
from harness import QemuAgent, check, done, fails, guest_files, own_network, skip, wait_until

kernel, initramfs = guest_files()   # may download: before the network is our own
own_network()


def holds(path, pattern, at, length=65536):
    """Checks the image's content without taking its lock: the guest may have it open."""
    out = subprocess.run(['qemu-io', '-U', '-r', '-f', 'qcow2', '-c', 'read -P %d %d %d' % (pattern, at, length), path],
                         capture_output=True, text=True)
    return 'bytes at offset' in out.stdout and 'failed' not in out.stdout + out.stderr


agent = QemuAgent()
with agent:
    s = agent.login()
    host, sr = s.session.get_this_host(s._ref), s.pool.get_default_SR(s.pool.get_all()[0])
    folder = os.path.join(agent.root, 'sr')
    vm = make_vm(s, kernel, initramfs, 'disks')
    uuid = s.VM.get_uuid(vm)
    vdi, other = disk(s, sr, 'main'), disk(s, sr, 'other')
    path = '%s/%s.qcow2' % (folder, s.VDI.get_uuid(vdi))
    first = drive(s, vm, vdi, '0', bootable=True)
    second = drive(s, vm, other, '1', qos_algorithm_type='ratelimit', qos_algorithm_params={'kbps': '512'})
    s.VM.start(vm, False, False)
    log = os.path.join(agent.root, 'hv', 'libvirt', 'console', uuid + '.log')
    check(wait_until(lambda: os.path.exists(log) and 'userland: disks' in open(log, errors='replace').read(), 180), 'a guest boots')
    guest = Console(agent, uuid)
    check(guest.ok('grep -q vda /proc/partitions'), 'it sees its disk')
    check(write(guest, 1, 'vda', 0), 'it writes')
    check(wait_until(lambda: holds(path, 1, 0)), 'and the image has it')

    # Three snapshots with writes between, while it runs.
    check(write(guest, 9, 'vda', 5 * 1024), 'it writes what it will not write again')
    snaps = []
    for pattern in (2, 3, 4):
        snaps.append(s.VDI.snapshot(vdi, {}))
        check(write(guest, pattern, 'vda', 0), 'it writes %d after a snapshot' % pattern)
    check(holds(path, 4, 0), 'the disk has the last content')
    for snap, pattern in zip(snaps, (1, 2, 3)):
        check(holds('%s/%s.qcow2' % (folder, s.VDI.get_uuid(snap)), pattern, 0), 'snapshot %d has its own' % pattern)
    check(guest.ok("dd if=/dev/vda bs=1k count=64 2>/dev/null | tr -d '\\004' | wc -c | grep -qx 0"), 'the guest reads what it wrote')
    check(guest.ok("dd if=/dev/vda bs=1k count=64 skip=5120 iflag=direct 2>/dev/null | tr -d '\\011' | wc -c | grep -qx 0"),
          'and, past its cache, what is in the base of the first')
    p = fails('VDI_IN_USE', 'the other disk was not snapshotted along', s.VDI.destroy, other)
    check(len(glob.glob(folder + '/base-*')) == 3, 'one base a snapshot')
    s.VDI.destroy(snaps[1])
    check(holds(path, 4, 0) and holds('%s/%s.qcow2' % (folder, s.VDI.get_uuid(snaps[0])), 1, 0), 'destroying one harms nobody')

    # Growing.
    s.VDI.resize_online(vdi, str(96 * MIB))
    check(int(s.VDI.get_virtual_size(vdi)) == 96 * MIB, 'grown while it runs')
    check(wait_until(lambda: guest.ok('test $(cat /sys/block/vda/size) = %d' % (96 * 2048)), 20), 'the guest sees it')
    check(write(guest, 5, 'vda', 90 * 1024) and holds(path, 5, 90 * MIB), 'and writes there')

    # Plug and unplug.
    hot = disk(s, sr, 'hot')
    vbd = drive(s, vm, hot, '2')
    s.VBD.plug(vbd)
    check(wait_until(lambda: guest.ok('grep -q vdc /proc/partitions'), 20), 'a disk is plugged')
    check(write(guest, 6, 'vdc', 0), 'the guest writes to it')
    s.VBD.unplug(vbd)
    check(wait_until(lambda: not guest.ok('grep -q vdc /proc/partitions'), 20), 'and unplugged')
    check(holds('%s/%s.qcow2' % (folder, s.VDI.get_uuid(hot)), 6, 0), 'with what was written')

    # Limits: only the least time that they allow is known on a busy machine.
    def seconds(kib):
        began = time.monotonic()
        good = guest.ok('dd if=/dev/zero of=/dev/vdb bs=64k count=%d oflag=direct 2>/dev/null' % (kib // 64), 300)
        return time.monotonic() - began if good else 0
    took = seconds(2048)
    check(took > 3, 'limited to 512 KiB/s since it was started, 2 MiB take %.1f s' % took)
    s.VBD.set_qos_algorithm_params(second, {'iops': '8'})
    took = seconds(2048)
    check(took > 3, 'to 8 requests a second while it runs, 32 take %.1f s' % took)
    s.VBD.set_qos_algorithm_params(second, {'kbps': '8'})
    check(guest.ok('dd if=/dev/zero of=/dev/vdb bs=64k count=64 oflag=direct 2>/dev/null & true'), 'something that would take eight minutes')
    s.VBD.set_qos_algorithm_type(second, '')
    check(guest.ok('wait', 300), 'has its end when there is no limit any more')
    engine = agent.guests_left()[0]
    for urgent in 'none: prio 0', 'idle':       # one engine for both: it is as urgent as the more urgent one
        vbd = second if urgent != 'idle' else first
        s.VBD.set_qos_algorithm_params(vbd, {'sched': 'idle'})
        s.VBD.set_qos_algorithm_type(vbd, 'ionice')
        threads = os.listdir('/proc/%d/task' % engine)
        said = {subprocess.run(['ionice', '-p', t], capture_output=True, text=True).stdout.strip() for t in threads}
        check(said - {''} == {urgent}, 'its engine is as urgent as the most urgent disk: %s' % said)

    # A repository that is mounted after the guest's engine was started must be visible to it.
    image, loop = os.path.join(agent.root, 'ext.img'), ''
    with open(image, 'wb') as f:
        f.truncate(128 * MIB)
    try:
        loop = subprocess.run(['losetup', '--show', '-f', image], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        skip('an ext repository', 'no loop device')
    if loop:
        ext = s.SR.create(host, {'device': loop}, '0', 'ext', '', 'ext', 'user', False, {})
        u = s.SR.get_uuid(ext)
        check(os.path.ismount(os.path.join(agent.root, 'sr-mount', u)), 'an ext repository is mounted')
        fails('SR_DEVICE_IN_USE', 'its device is taken', s.SR.create, host, {'device': loop}, '0', 'x', '', 'ext', '', False, {})
        onext = disk(s, ext, 'on ext')
        vbd = drive(s, vm, onext, '3')
        s.VBD.plug(vbd)
        check(wait_until(lambda: guest.ok('grep -q vdc /proc/partitions'), 20), 'a disk of it is plugged')   # the next free name
        check(write(guest, 8, 'vdc', 0), 'the guest writes to it')
        fails('VDI_IN_USE', 'it is not unplugged meanwhile', s.PBD.unplug, s.SR.get_PBDs(ext)[0])
        s.VBD.unplug(vbd)
        there = os.path.join(agent.root, 'sr-mount', u, s.VDI.get_uuid(onext) + '.qcow2')
        check(wait_until(lambda: holds(there, 8, 0)), 'and finds its way to the disk')
        copy = s.VDI.copy(onext, sr)
        check(holds('%s/%s.qcow2' % (folder, s.VDI.get_uuid(copy)), 8, 0), 'copied to another repository it is the same')
        s.VDI.destroy(copy)
        s.PBD.unplug(s.SR.get_PBDs(ext)[0])
        s.PBD.plug(s.SR.get_PBDs(ext)[0])
        check(s.SR.get_VDIs(ext) == [onext], 'unplugged and plugged, the disk is known')
        s.VDI.destroy(onext)
        s.PBD.unplug(s.SR.get_PBDs(ext)[0])
        check(not os.path.exists(os.path.join(agent.root, 'sr-mount', u)), 'unmounted')
        s.SR.destroy(ext)
        subprocess.run(['losetup', '-d', loop])

    # The agent dies and comes back; then everything goes on.
    agent.kill()
    agent.start()
    s = agent.login()
    check(s.VM.get_power_state(vm) == 'Running', 'a new agent finds the guest')
    fails('VDI_IN_USE', 'and its disks in use', s.VDI.destroy, vdi)
    late = s.VDI.snapshot(vdi, {})
    check(write(guest, 7, 'vda', 0) and holds(path, 7, 0), 'a snapshot under the new agent')
    check(holds('%s/%s.qcow2' % (folder, s.VDI.get_uuid(late)), 4, 0), 'has the content of its time')

    s.VM.hard_shutdown(vm)
    images = glob.glob(folder + '/*.qcow2')
    bad = [i for i in images if subprocess.run(['qemu-img', 'check', '-q', '-f', 'qcow2', i]).returncode]
    check(bad == [], 'every image is sound')
    s.VM.start(vm, False, False)
    check(wait_until(lambda: open(log, errors='replace').read().count('userland: disks') >= 1
                     and s.VM.get_power_state(vm) == 'Running', 60), 'it starts from its snapshotted disk')
    time.sleep(1)
    s.VM.hard_shutdown(vm)
    for v in [vdi, other, hot, late, snaps[0], snaps[2]]:
        s.VDI.destroy(v)
    s.SR.scan(sr)
    check(glob.glob(folder + '/*.qcow2') == [] and s.SR.get_VDIs(sr) == [], 'nothing is left')
done()
