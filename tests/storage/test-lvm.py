#!/usr/bin/env python3
"""Repositories of logical volumes (lvm) in a machine of the rig: VHD, qcow2 and bare disks with what is written to them, with LEVEL=full
thin ones and merges, snapshots of disks at rest and in use, at most one LVM command for a new disk and for a scan."""
import base64
import os
import sys

sys.path.insert(0, os.path.join(os.environ['XAPI_SOURCE'], 'tests', 'rig'))
from harness import LEVEL, check, done, fails, wait_until  # noqa: E402
from rig import Rig  # noqa: E402
from blockrig import COUNT_LVM, MIB, Disks  # noqa: E402

FREEZE = ['lvcreate', 'lvrename', 'lvrename']       # a new empty image takes the disk's name
SNAPSHOT = {    # LVM's commands: the old one is at hand, is marked where the format cannot say so itself, and keeps what it uses
    'vhd': ['lvchange', *FREEZE, 'lvresize', 'lvcreate'],
    'qcow2': ['lvchange', *FREEZE, 'lvchange', 'lvresize', 'lvcreate'],
    'raw': [*FREEZE, 'lvchange', 'lvcreate'],
}


def life(d, fmt, sr):
    s, size = d.s, 8 * MIB
    prefix = {'vhd': 'VHD-', 'qcow2': 'QCOW2-', 'raw': 'LV-'}[fmt]
    vdi, ran = d.lvm(d.vdi, sr, size, fmt, **{'image-format': fmt})
    uuid = s.VDI.get_uuid(vdi)
    check(ran == ['lvcreate'], '%s: one LVM command makes a disk: %s' % (fmt, ran))
    lv = d.volumes(sr)[prefix + uuid]
    check(lv['mib'] >= 8 and not lv['active'], '%s: its volume has all its room and is at rest: %s' % (fmt, lv))
    first = d.random(size)
    d.write(vdi, first)
    check(d.same(vdi, first), fmt + ': reads what was written')
    snap, ran = d.lvm(s.VDI.snapshot, vdi, {})
    # the agent looks at what has changed by itself, too
    check([c for c in ran if c != 'pvs'] == SNAPSHOT[fmt], '%s: its snapshot takes %s' % (fmt, ran))
    second = bytearray(first)
    second[MIB:3 * MIB] = d.rng.randbytes(2 * MIB)
    second[5 * MIB:5 * MIB + 4096] = bytes(4096)
    d.write(vdi, second)
    clone = s.VDI.clone(snap, {})
    for v, data, what in ((vdi, second, 'the disk'), (snap, first, 'its snapshot'), (clone, first, 'a clone')):
        check(d.same(v, data), '%s: %s' % (fmt, what))
    s.VDI.resize(clone, str(12 * MIB))
    check(int(s.VDI.get_virtual_size(clone)) == 12 * MIB and d.same(clone, first + bytes(4 * MIB)), fmt + ': grown')
    # The agent looks at what has changed by itself, too: what runs beside only ever adds.
    ran = min((d.lvm(s.SR.scan, sr)[1] for _ in range(3)), key=len)
    check(ran == ['pvs'], '%s: one LVM command scans: %s' % (fmt, ran))
    check(not [n for n, lv in d.volumes(sr).items() if lv['active'] and n != 'MGT'], fmt + ': no volume stays active')
    return vdi, second


def tracked(d, sr):
    """Changed blocks of a VHD in a volume, through the API."""
    s, size = d.s, 8 * MIB
    blocks = lambda text: {n for n in range(size >> 16) if base64.b64decode(text)[n // 8] >> (7 - n % 8) & 1}
    vdi = d.vdi(sr, size, 'tracked')
    first = d.random(size)
    d.write(vdi, first)
    s.VDI.enable_cbt(vdi)
    old = s.VDI.snapshot(vdi, {})
    check(s.VDI.get_cbt_enabled(vdi) and s.VDI.get_cbt_enabled(old) and s.VDI.list_changed_blocks(old, vdi) and
          not blocks(s.VDI.list_changed_blocks(old, vdi)), 'tracked: nothing has changed')
    vm = d.vm(vdi)
    d.io(vdi, 'write -P 7 1M 4k', 'write -P 8 6M 100k', 'flush')
    new = s.VDI.snapshot(vdi, {})
    d.io(vdi, 'write -P 9 3M 4k', 'flush')
    s.VM.hard_shutdown(vm)
    check(blocks(s.VDI.list_changed_blocks(old, new)) == {16, 96, 97}, 'tracked: what changed up to a snapshot in use')
    check(blocks(s.VDI.list_changed_blocks(old, vdi)) == {16, 48, 96, 97}, 'and since')
    logs = sorted(n for n in d.volumes(sr) if n.endswith('.cbtlog'))
    check(logs == sorted(s.VDI.get_uuid(v) + '.cbtlog' for v in (vdi, old, new)) and d.volumes(sr)[logs[0]]['tags'] == 'cbtlog' and
          not any(d.volumes(sr)[n]['active'] for n in logs), 'their logs are volumes as XenServer names them, at rest')
    s.VDI.data_destroy(old)
    check(s.VDI.get_type(old) == 'cbt_metadata' and 'VHD-' + s.VDI.get_uuid(old) not in d.volumes(sr), 'destroyed data leave the log')
    s.SR.scan(sr)
    check(s.VDI.get_type(old) == 'cbt_metadata' and blocks(s.VDI.list_changed_blocks(old, new)) == {16, 96, 97}, 'which tells as before')
    s.VDI.disable_cbt(vdi)
    fails('SR_BACKEND_FAILURE_460', 'tracking ends', s.VDI.list_changed_blocks, new, vdi)
    raw = d.vdi(sr, size, 'raw', **{'image-format': 'raw'})
    fails('SR_BACKEND_FAILURE_66', 'a raw disk is not tracked', s.VDI.enable_cbt, raw)
    for v in (raw, old, new, vdi):
        d.destroy(v)


def in_use(d, sr):
    """A VHD that a VM has: snapshots while it is written to, their merges, and what is left of it."""
    s, size = d.s, 16 * MIB
    vdi = d.vdi(sr, size)
    vm = d.vm(vdi)
    d.io(vdi, 'write -P 1 0 4M', 'flush')
    snap = s.VDI.snapshot(vdi, {})
    d.io(vdi, 'write -P 2 1M 1M', 'flush')
    again = s.VDI.snapshot(vdi, {})
    d.io(vdi, 'write -P 3 2M 64k', 'read -P 2 1M 1M', 'read -P 1 0 1M', 'flush')
    check(d.read(snap)[:4 * MIB] == b'\1' * (4 * MIB), 'in use: the first snapshot')
    check(d.read(again)[MIB:3 * MIB] == b'\2' * MIB + b'\1' * MIB, 'in use: the second')
    fails('VDI_IN_USE', 'in use: not destroyed', s.VDI.destroy, vdi)
    fails('VDI_IN_USE', 'in use: a VHD does not grow', s.VDI.resize_online, vdi, str(2 * size))
    volumes = len(d.volumes(sr))
    d.destroy(snap)
    if LEVEL == 'full':
        check(wait_until(lambda: len(d.volumes(sr)) == volumes - 2, 300, 1), 'in use: what only one image stands on takes that in')
    d.io(vdi, 'read -P 3 2M 64k', 'read -P 2 1M 1M', 'read -P 1 0 1M')
    check(d.read(again)[MIB:3 * MIB] == b'\2' * MIB + b'\1' * MIB, 'in use: the other snapshot is as it was')
    s.VM.hard_shutdown(vm)
    d.destroy(again)
    if LEVEL == 'full':
        check(wait_until(lambda: not d.parent(vdi), 300), 'at rest: the disk takes its base in')
    data = d.read(vdi)
    check(data[:MIB] == b'\1' * MIB and data[MIB:2 * MIB] == b'\2' * MIB and data[2 * MIB:2 * MIB + 65536] == b'\3' * 65536, 'with all of it')
    d.destroy(vdi)
    vdi = d.vdi(sr, size, 'qcow2', **{'image-format': 'qcow2'})
    vm = d.vm(vdi)
    snap = s.VDI.snapshot(vdi, {})
    names = d.rig.must('ls /dev/VG_XenStorage-' + s.SR.get_uuid(sr)).split()
    s.SR.scan(sr)
    check(d.parent(vdi) and d.parent(vdi) == d.parent(snap) and [n for n in names if n.startswith('live-')] != [], 'a qcow2 is snapshotted while a VM has it')
    s.VM.hard_shutdown(vm)
    names = d.rig.must('ls /dev/VG_XenStorage-' + s.SR.get_uuid(sr)).split()
    check([n for n in names if n.startswith('live-')] == [], 'afterwards its other names are gone: %s' % names)
    d.destroy(snap)
    d.destroy(vdi)
    if LEVEL == 'full':
        kept_open(d, sr)
    # a simulated guest's engine grows no image: what is shown of that is its room
    vdi, raw = d.vdi(sr, size, 'qcow2', **{'image-format': 'qcow2'}), d.vdi(sr, size, 'raw', **{'image-format': 'raw'})
    volume, vm = 'QCOW2-' + s.VDI.get_uuid(vdi), d.vm(vdi, raw)
    s.VDI.resize_online(vdi, str(4 * size))
    check(d.volumes(sr)[volume]['mib'] > 64 and s.VDI.get_virtual_size(vdi) == str(size), 'in use: room for a larger qcow2')
    s.VDI.resize_online(raw, str(size + 3 * MIB))
    length = d.rig.must('blockdev --getsize64 /dev/VG_XenStorage-%s/LV-%s' % (s.SR.get_uuid(sr), s.VDI.get_uuid(raw))).strip()
    check(length == s.VDI.get_virtual_size(raw) == str(20 * MIB), 'in use: a raw disk grows to whole extents: %s' % length)
    fails('VDI_TOO_SMALL', 'in use: not to what it has', s.VDI.resize_online, raw, str(20 * MIB))
    s.VM.hard_shutdown(vm)
    d.destroy(raw)
    d.destroy(vdi)


def kept_open(d, sr):
    """A guest's engine has an image open that was merged meanwhile, to its end: then the image goes, and the disk takes its base in."""
    s, size, group = d.s, 16 * MIB, '/dev/VG_XenStorage-%s/' % d.s.SR.get_uuid(sr)
    vdi = d.vdi(sr, size, 'qcow2', **{'image-format': 'qcow2'})
    volume, others = 'QCOW2-' + s.VDI.get_uuid(vdi), set(d.volumes(sr))
    vm = d.vm(vdi)

    def write(pattern, at):
        """As the engine does: a simulated guest's writes nothing."""
        d.rig.must("qemu-io -f qcow2 -c 'write -P %d %d 64k' -c flush %s" % (pattern, at, group + volume))
    snaps = []
    for n in range(2):
        write(n + 1, n * MIB)
        snaps.append(s.VDI.snapshot(vdi, {}))
    write(3, 2 * MIB)
    s.SR.scan(sr)       # makes the records of bases
    top = 'QCOW2-' + s.VDI.get_uuid(d.parent(vdi))
    d.rig.must('setsid sleep 3600 </dev/null 9<%s >/dev/null 2>&1 & echo $! >/root/engine' % (group + top))
    before = set(d.volumes(sr))
    d.destroy(snaps[0])
    check(wait_until(lambda: 'xapi_merged_' in d.volumes(sr)[top]['tags'], 300, 1), 'open: merged, and noted so')
    s.SR.scan(sr)
    left = set(d.volumes(sr))
    check(top in left and len(before - left) == 1, 'open: it stays as long as somebody has it: %s' % sorted(before - left))
    d.destroy(snaps[1])
    d.rig.must('kill $(cat /root/engine)')
    s.VM.hard_shutdown(vm)
    check(wait_until(lambda: not d.parent(vdi), 300, 1), 'open: at rest the disk takes its base in')
    check(set(d.volumes(sr)) == others, 'open: and nothing else is left: %s' % sorted(set(d.volumes(sr)) ^ others))
    data = d.read(vdi)
    check(all(data[n * MIB:n * MIB + 65536] == bytes([n + 1]) * 65536 for n in range(3)), 'open: with all of it')
    d.destroy(vdi)


def thin(d):
    """Disks that get their room when they are attached, on two devices."""
    s = d.s
    sr = d.create('lvm', {'device': '/dev/vdb,/dev/vdc', 'allocation': 'thin'})
    vdi = d.vdi(sr, 1 << 30)
    name = 'VHD-' + s.VDI.get_uuid(vdi)
    check(d.volumes(sr)[name]['mib'] <= 16, 'thin: little room at first')
    vm = d.vm(vdi)
    check(d.volumes(sr)[name]['mib'] > 1024, 'thin: all while it is attached')
    d.io(vdi, 'write -P 5 500M 20M', 'flush')
    s.VM.hard_shutdown(vm)
    lv = d.volumes(sr)[name]
    check(lv['mib'] < 64 and not lv['active'], 'thin: what it uses afterwards: %s' % lv)
    vm = d.vm(vdi)
    d.io(vdi, 'read -P 5 500M 20M', 'read -P 0 0 500M', 'read -P 0 520M 100M')
    s.VM.hard_shutdown(vm)
    check(d.volumes(sr)[name]['mib'] < 64, 'thin: and it is whole')
    health = lambda devices: s.SR.probe_ext(d.host, {'device': devices}, 'lvm', {})[0]['sr']['health']
    check(health('/dev/vdb,/dev/vdc') == 'healthy' and health('/dev/vdb') == 'unavailable', 'half of a repository is unavailable')
    d.destroy(vdi)
    d.unplug(sr)
    s.SR.destroy(sr)


with Rig('linux') as rig:
    rig.must(COUNT_LVM)
    rig.install()
    agent = rig.start_agent('--coalesce-interval', '1h')
    s = agent.login()
    d = Disks(rig, agent, s)

    config = {'device': '/dev/vdb'}
    fails('SR_BACKEND_FAILURE_90', 'a device is needed', d.create, 'lvm', {})
    fails('SR_BACKEND_FAILURE_91', 'one that is none', d.create, 'lvm', {'device': '/dev/none'})
    sr = d.create('lvm', config)
    uuid = s.SR.get_uuid(sr)
    out = rig.must('/root/real/lvm vgs --noheadings --units m --nosuffix -o vg_name,vg_mda_size,vg_extent_size VG_XenStorage-' + uuid).split()
    check(float(out[1]) >= 64, 'LVM has %s MiB for its records' % out[1])
    check('MGT' in d.volumes(sr), 'the management volume is there')
    fails('SR_DEVICE_IN_USE', 'a device in use is not taken', d.create, 'lvm', config)
    check(int(s.SR.get_physical_size(sr)) > 3 << 30, 'its size: %s' % s.SR.get_physical_size(sr))

    made = {}
    for fmt in ('vhd', 'qcow2', 'raw'):
        made[fmt] = life(d, fmt, sr)
    tracked(d, sr)
    copy = s.VDI.copy(made['vhd'][0], sr)
    check(d.same(copy, made['vhd'][1]), 'a copy')
    d.destroy(copy)
    used = int(s.SR.get_physical_utilisation(sr))
    s.SR.update(sr)
    check(int(s.SR.get_physical_utilisation(sr)) == used, 'what is in use was right without looking: %d' % used)
    fails('SR_BACKEND_FAILURE_44', 'no room: named', d.vdi, sr, 64 << 30)

    d.unplug(sr)
    check(not [n for n, lv in d.volumes(sr).items() if lv['active']], 'unplugged, nothing is active')
    fails('SR_BACKEND_FAILURE_42', 'nor one of another group', d.create, 'lvm', config)
    xml = s.SR.probe(d.host, config, 'lvm', {})
    check(uuid in xml and '/dev/vdb' in xml, 'a probe finds it')
    s.SR.forget(sr)
    sr = d.plug(uuid, 'lvm', config)
    names = sorted(s.VDI.get_name_label(v) for v in d.managed(sr))
    check(len(names) == 9 and {'vhd', 'qcow2', 'raw'} <= set(names), 'introduced again its disks have their names: %s' % names)
    for fmt, (was, second) in made.items():
        vdi = next(v for v in d.managed(sr) if s.VDI.get_name_label(v) == fmt)
        check(d.same(vdi, second), fmt + ': and what was in them')
    snaps = [v for v in d.managed(sr) if s.VDI.get_is_a_snapshot(v)]
    check(len(snaps) == 3 and all(s.VDI.get_snapshot_of(v) != 'OpaqueRef:NULL' for v in snaps), 'snapshots know of what they are one')
    agent.stop()
    if LEVEL == 'full':
        agent.argv += ['--coalesce-interval', '2s']
    agent.start()
    s = d.s = agent.login()
    check(wait_until(lambda: s.PBD.get_currently_attached(s.SR.get_PBDs(sr)[0]), 300), 'after a restart the repository is plugged')
    in_use(d, sr)
    for v in d.managed(sr):
        d.destroy(v)
    check(wait_until(lambda: set(d.volumes(sr)) == {'MGT'}, 120, 1), 'destroyed, only the notes are left: %s' % sorted(d.volumes(sr)))
    d.unplug(sr)
    s.SR.destroy(sr)
    check(rig.must('/root/real/lvm pvs --noheadings').strip() == '', 'and nothing of the repository')

    if LEVEL == 'full':
        thin(d)
done()
