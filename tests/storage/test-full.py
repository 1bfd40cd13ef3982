#!/usr/bin/env python3
"""A repository that gets full: what is asked of it fails by name and leaves nothing half made; a guest that writes is paused, with
an alert, and goes on where it was when there is room again; a qcow2 and a VHD."""
import glob
import os
import subprocess
import tempfile
import urllib.request

from guest import MIB, Console, disk, drive, make_vm
from harness import Failure, QemuAgent, check, done, fails, guest_files, own_network, skip, wait_until

kernel, initramfs = guest_files()   # may download: before the network is our own
own_network()
SIZE, BLOCK, BLOCKS = 64 * MIB, 4 * MIB, 12


def content(agent, s, vdi):
    url = 'http://127.0.0.1:%d/export_raw_vdi?vdi=%s&format=raw&session_id=%s' % (agent.http_port, vdi, s._ref)
    with urllib.request.urlopen(url, timeout=120) as r:
        return r.read()


def free(folder):
    st = os.statvfs(folder)
    return st.f_bavail * st.f_frsize


def fill(folder, leave):
    """Takes all room but this, in a file that is none of the repository's."""
    piece, size = 64 * MIB, 0
    with tempfile.NamedTemporaryFile(prefix='ballast', dir=folder, delete=False) as f:
        while piece >= 1024:
            try:
                if free(folder) - piece >= leave:
                    os.posix_fallocate(f.fileno(), size, piece)
                    size += piece
                    continue
            except OSError:
                pass
            piece //= 2


def make_room(folder):
    for name in glob.glob(os.path.join(folder, 'ballast*')):
        os.unlink(name)


def refused(what, fn, *args):
    try:
        fn(*args)
        check(False, what + ': succeeded')
    except Failure as e:
        check(e.details[0] == 'SR_BACKEND_FAILURE_44', '%s: %s' % (what, e.details[0] if e.details[0].endswith('_44') else e.details))


def asked(s, sr, folder):
    """At rest."""
    for fmt in ('qcow2', 'vhd'):
        vdi = disk(s, sr, fmt, SIZE, sm_config={'image-format': fmt})
        fill(folder, 0)
        before = sorted(os.listdir(folder))
        refused(fmt + ': a new disk', disk, s, sr, 'no', SIZE)
        refused(fmt + ': a clone', s.VDI.clone, vdi, {})
        refused(fmt + ': a snapshot', s.VDI.snapshot, vdi, {})
        check(sorted(os.listdir(folder)) == before, fmt + ': nothing half made is left: %s' % set(os.listdir(folder)).difference(before))
        check(s.SR.get_VDIs(sr) == [vdi], fmt + ': nor a record')
        make_room(folder)
        s.SR.scan(sr)
        s.VDI.destroy(s.VDI.snapshot(vdi, {}))
        s.VDI.destroy(vdi)
        check(wait_until(lambda: s.SR.get_VDIs(sr) == []), fmt + ': with room it works again')


def copied(s, sr, folder, agent):
    """Half a copy goes."""
    default = s.pool.get_default_SR(s.pool.get_all()[0])
    vdi = disk(s, default, 'source', SIZE)
    path = '%s/sr/%s.qcow2' % (agent.root, s.VDI.get_uuid(vdi))
    subprocess.run(['qemu-io', '-f', 'qcow2', '-c', 'write -P 5 0 64M', path], check=True, stdout=subprocess.DEVNULL)
    fill(folder, 8 * MIB)
    before = sorted(os.listdir(folder))
    fails('SR_BACKEND_FAILURE_44', 'a copy for which there is no room', s.VDI.copy, vdi, sr)
    check(s.SR.get_VDIs(sr) == [] and sorted(os.listdir(folder)) == before, 'half of it goes again')
    make_room(folder)
    copy = s.VDI.copy(vdi, sr)
    check(content(agent, s, copy) == b'\5' * SIZE, 'with room it works')
    s.VDI.destroy(copy)
    s.VDI.destroy(vdi)


def writing(s, sr, folder, agent, fmt):
    vdi = disk(s, sr, fmt, SIZE, sm_config={'image-format': fmt})
    vm = make_vm(s, kernel, initramfs, 'full' + fmt)
    uuid = s.VM.get_uuid(vm)
    drive(s, vm, vdi, '0', bootable=True)
    s.VM.start(vm, True, False)
    guest = Console(agent, uuid)
    s.VM.unpause(vm)
    check(guest.says('userland: full' + fmt, 300) and guest.ok('grep -q vda /proc/partitions', 120), fmt + ': a guest boots')
    fill(folder, 16 * MIB)
    guest.sock.sendall(('i=0; while [ $i -lt %d ] && tr "\\0" "\\1$((i/8))$((i%%8))" </dev/zero | dd of=/dev/vda bs=%dk count=1 seek=$i '
                        'iflag=fullblock conv=fsync 2>/dev/null; do i=$((i+1)); done; echo WRITTEN $i blocks\n'
                        % (BLOCKS, BLOCK >> 10)).encode())
    check(wait_until(lambda: s.VM.get_power_state(vm) == 'Paused', 300, 0.2), fmt + ': when its repository is full the guest is paused')
    alerts = lambda: [m for m in s.message.get_all_records().values()  # noqa: E731
                      if m['name'] == 'VM_PAUSED_NO_SPACE' and m['obj_uuid'] == uuid]
    check(wait_until(alerts, 60), fmt + ': and an alert says so')
    check(wait_until(lambda: s.SR.update(sr) == '' and int(s.SR.get_physical_size(sr)) - int(s.SR.get_physical_utilisation(sr)) < 16 * MIB, 30),
          fmt + ': its record shows that it is full')
    fill(folder, 0)      # a small cluster may have been left
    refused(fmt + ': a snapshot of it meanwhile', s.VDI.snapshot, vdi, {})
    s.VM.unpause(vm)
    check(wait_until(lambda: s.VM.get_power_state(vm) == 'Paused', 120, 0.1), fmt + ': unpaused without room, it is paused again')
    make_room(folder)
    check(guest.says('WRITTEN %d blocks' % BLOCKS, 300), fmt + ': with room it goes on by itself, and no write failed')
    check(wait_until(lambda: 'paused-no-space' not in s.VM.get_other_config(vm), 60), fmt + ': and nothing says any more that it waits')
    check(s.VM.get_power_state(vm) == 'Running', fmt + ': it runs')
    s.VM.hard_shutdown(vm)
    data = content(agent, s, vdi)
    found = [data[i * BLOCK] for i in range(BLOCKS) if len(set(data[i * BLOCK:(i + 1) * BLOCK])) == 1]
    check(found == [64 + i for i in range(BLOCKS)], fmt + ': everything it wrote is there: %s' % found)
    left = [n for n in os.listdir(folder) if n.startswith(('tmp-', 'base-', 'live-'))]
    check(left == [], fmt + ': nothing half made is left: %s' % left)
    if fmt == 'qcow2':
        image = os.path.join(folder, s.VDI.get_uuid(vdi) + '.qcow2')
        check(subprocess.run(['qemu-img', 'check', '-q', '-f', 'qcow2', image]).returncode == 0, 'the qcow2 is sound')
    s.VDI.destroy(vdi)


agent, loop = QemuAgent(), ''
image = os.path.join(agent.root, 'small.img')
with open(image, 'wb') as f:
    f.truncate(160 * MIB)
try:
    loop = subprocess.run(['losetup', '--show', '-f', image], capture_output=True, text=True, check=True).stdout.strip()
except (OSError, subprocess.CalledProcessError):
    skip('a small file system', 'no loop device')
    done()
try:
    with agent:
        s = agent.login()
        sr = s.SR.create(s.session.get_this_host(s._ref), {'device': loop}, '0', 'small', '', 'ext', 'user', False, {})
        folder = os.path.join(agent.root, 'sr-mount', s.SR.get_uuid(sr))
        asked(s, sr, folder)
        copied(s, sr, folder, agent)
        for name in ('qcow2', 'vhd'):
            writing(s, sr, folder, agent, name)
        s.PBD.unplug(s.SR.get_PBDs(sr)[0])
        s.SR.destroy(sr)
finally:
    subprocess.run(['losetup', '-d', loop])
done()
