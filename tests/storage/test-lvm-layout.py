#!/usr/bin/env python3
"""A repository as XenServer leaves it, made by lvcreate and an independent writer of VHDs, is introduced and scanned without a
write, and its chains read right. Then: half-finished work of a killed driver is ended by a scan."""
import os
import sys
import tempfile
import uuid

sys.path[:0] = [os.path.join(os.environ['XAPI_SOURCE'], 'tests', n) for n in ('rig', 'sm')]
from harness import check, done  # noqa: E402
from rig import Rig  # noqa: E402
from vhdmodel import Image  # noqa: E402
from blockrig import MIB, Disks  # noqa: E402

SIZE = 8 * MIB
NAMES = {n: str(uuid.uuid4()) for n in ('base', 'disk', 'snap', 'bare', 'onbare', 'sr')}


def sector(text):
    assert len(text) <= 512
    return text.ljust(512).encode()


def notes(vdis):
    """The management volume, as XenServer 8 writes it."""
    body = b''
    for name, managed, snapshot_of in vdis:
        body += sector('<vdi><name_label>%s &amp; co</name_label><name_description>made elsewhere</name_description>' % name)
        body += sector('<uuid>%s</uuid><is_a_snapshot>%d</is_a_snapshot><snapshot_of>%s</snapshot_of><snapshot_time></snapshot_time>'
                       '<type>user</type><vdi_type>vhd</vdi_type><read_only>0</read_only><managed>%d</managed>'
                       '<metadata_of_pool></metadata_of_pool><deleted>0</deleted></vdi>'
                       % (NAMES[name], bool(snapshot_of), NAMES.get(snapshot_of, ''), managed))
    length = 4 * 512 + len(body)
    return (sector('XSSM:%-10d:1:2' % length) + sector('<?xml version="1.0" ?><uuid>%s</uuid><allocation>thick</allocation>' % NAMES['sr']) +
            sector('<name_label>old</name_label>') + sector('<name_description></name_description>') + body)


def written(rig):
    return int(rig.must("awk '{print $7}' /sys/block/vdb/stat"))


def images(d):
    base = Image(SIZE)
    base.write(0, d.rng.randbytes(3 * MIB))
    base.hidden = True
    vg = 'VG_XenStorage-' + NAMES['sr']
    # both ways in which XenServer's tools write a parent's name
    disk = Image(SIZE, parent=base, parent_name='VHD-' + NAMES['base'])
    disk.write(2 * MIB, d.rng.randbytes(2 * MIB))
    snap = Image(SIZE, parent=base, parent_name='%s-VHD--%s' % (vg.replace('-', '--'), NAMES['base'].replace('-', '--')))
    bare = bytes(d.rng.randbytes(SIZE))
    onbare = Image(SIZE, raw_parent=bare, parent_name='LV-' + NAMES['bare'])
    onbare.write(MIB, b'x' * 4096)
    return {'base': base, 'disk': disk, 'snap': snap, 'onbare': onbare}, bare


with Rig('linux') as rig:
    rig.install()
    agent = rig.start_agent('--coalesce-interval', '1h')
    s = agent.login()
    d = Disks(rig, agent, s)
    vhds, bare = images(d)
    vg = 'VG_XenStorage-' + NAMES['sr']
    rig.must('vgcreate -q -y --metadatasize 10m %s /dev/vdb' % vg)
    with tempfile.TemporaryDirectory() as work:
        volumes = {'MGT': notes([('base', 0, ''), ('disk', 1, ''), ('snap', 1, 'disk'), ('bare', 0, ''), ('onbare', 1, '')]),
                   'LV-' + NAMES['bare']: bare}
        for name, image in vhds.items():
            path = os.path.join(work, name)
            image.save(path)
            with open(path, 'rb') as f:
                volumes['VHD-' + NAMES[name]] = f.read()
    for name, data in volumes.items():
        vhd = name.startswith('VHD-')
        size = (len(data) + 4 * MIB - 1) // (4 * MIB) * 4 * MIB + (4 * MIB if vhd else 0)
        if name.startswith('LV-'):
            size = SIZE
        rig.must('lvcreate -q -y -Wn -Zn -L %db -n %s %s%s' % (size, name, vg, ' --addtag hidden' if name.startswith('LV-') else ''))
        # on a volume the last footer stands at its end
        whole = data[:-512] + bytes(size - len(data)) + data[-512:] if vhd else data
        rig.must('cat >/root/x; dd if=/root/x of=/dev/%s/%s bs=1M conv=fsync 2>/dev/null' % (vg, name), 60, whole)
    rig.must('vgchange -q -an %s; rm /root/x; sync' % vg)

    before = written(rig)
    sr = d.plug(NAMES['sr'], 'lvm', {'device': '/dev/vdb'})
    s.SR.scan(sr)
    check(written(rig) == before, 'introduced and scanned without a write: %d sectors' % (written(rig) - before))
    by_uuid = {s.VDI.get_uuid(v): v for v in s.SR.get_VDIs(sr)}
    check(set(by_uuid) == {NAMES[n] for n in ('base', 'disk', 'snap', 'bare', 'onbare')}, 'all disks are known')
    vdi = {n: by_uuid.get(u) for n, u in NAMES.items()}
    check({n for n in vdi if vdi[n] and s.VDI.get_managed(vdi[n])} == {'disk', 'snap', 'onbare'}, 'bases are hidden')
    check(s.VDI.get_name_label(vdi['disk']) == 'disk & co' and s.VDI.get_name_description(vdi['disk']) == 'made elsewhere', 'with their names')
    check(s.VDI.get_snapshot_of(vdi['snap']) == vdi['disk'], 'and whose snapshot is whose')
    check(s.VDI.get_sm_config(vdi['snap']).get('vhd-parent') == NAMES['base'], 'a parent in device-mapper\'s spelling')
    check(s.VDI.get_sm_config(vdi['onbare']).get('vhd-parent') == NAMES['bare'], 'a parent that is bare')
    for name in ('disk', 'snap', 'onbare'):
        check(d.same(vdi[name], vhds[name].content()), name + ': reads right')
    disk = bytearray(vhds['disk'].content())
    disk[:4096] = b'n' * 4096
    d.write(vdi['disk'], disk)
    check(d.same(vdi['disk'], disk) and d.same(vdi['snap'], vhds['snap'].content()), 'written to, only it changes')

    # what a driver leaves that is killed between the steps of a snapshot (sm/lvhd.h)
    names = set(d.volumes(sr))
    tmp, leaf = 'tmp-VHD-' + NAMES['disk'], 'VHD-' + NAMES['disk']
    rig.must('lvcreate -q -y -Wn -Zn -L 8m -n %s %s --addtag xapi_id_%s' % (tmp, vg, uuid.uuid4()))
    half = str(uuid.uuid4())
    rig.must('lvcreate -q -y -Wn -Zn -L 8m -n VHD-%s %s --addtag xapi_id_%s' % (half, vg, half))
    s.SR.scan(sr)
    check(set(d.volumes(sr)) == names, 'a half-made image and a half-made disk go')
    snapshot = s.VDI.snapshot(vdi['disk'], {})
    rig.must('lvrename -q %s %s %s' % (vg, leaf, tmp))
    s.SR.scan(sr)
    found = d.volumes(sr)
    check(leaf in found, 'an image that has no name yet gets it: %s' % sorted(found))
    check(d.same(vdi['disk'], disk), 'and is the disk')
    check(d.same(snapshot, disk), 'whose snapshot is as it was')
    check(not s.VDI.get_missing(vdi['disk']), 'its record is as it was')
done()
