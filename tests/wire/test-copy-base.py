#!/usr/bin/env python3
"""VDI.copy to a disk that holds a base already: what differs from the base is written, and nothing else, whether the driver knows
where that is or both are compared; sparse disks stay sparse."""
import os
import random
import subprocess
import urllib.request

from harness import Agent, check, done, fails, vhd_opens

MIB, UNIT = 1 << 20, 64 << 10
SIZE = 24 * MIB + 3 * 512
NULL = 'OpaqueRef:NULL'
rng = random.Random(9)


def content(agent, s, vdi):
    url = 'http://127.0.0.1:%d/export_raw_vdi?vdi=%s&format=raw&session_id=%s' % (agent.http_port, vdi, s._ref)
    with urllib.request.urlopen(url, timeout=60) as r:
        return bytearray(r.read())


def upload(agent, s, vdi, data):
    url = 'http://127.0.0.1:%d/import_raw_vdi?vdi=%s&format=raw&session_id=%s' % (agent.http_port, vdi, s._ref)
    with urllib.request.urlopen(urllib.request.Request(url, bytes(data), method='PUT'), timeout=60) as r:
        r.read()


def make(s, sr, name, fmt, size=SIZE):
    return s.VDI.create({'name_label': name, 'name_description': '', 'SR': sr, 'virtual_size': str(size), 'type': 'user', 'sharable': False,
                         'read_only': False, 'other_config': {}, 'sm_config': {'image-format': fmt}})


def write(path, changes):
    for at, data in changes:
        with open(path + '.piece', 'wb') as f:
            f.write(data)
        subprocess.run(['qemu-io', '-f', 'qcow2', '-c', 'write -s %s.piece %d %d' % (path, at, len(data)), path], check=True, stdout=subprocess.DEVNULL)
        os.unlink(path + '.piece')


def copies(agent, s, sr, other, fmt, into_fmt):
    """A base, a disk that has gone on since, a target that is as the base is but for a mark where the two are the same."""
    what = '%s to %s: ' % (fmt, into_fmt)
    vdi = make(s, sr, 'disk', fmt)
    old = bytearray(SIZE)
    for unit in range(0, 300, 3):
        old[unit * UNIT:(unit + 1) * UNIT] = rng.randbytes(UNIT)
    upload(agent, s, vdi, old)
    base = s.VDI.snapshot(vdi, {})
    new = bytearray(old)
    changes = ((0, rng.randbytes(5000)), (30 * UNIT, bytes(UNIT)), (7 * MIB - 700, rng.randbytes(2 * MIB)), (SIZE - 512, b'e' * 512))
    for at, data in changes:
        new[at:at + len(data)] = data
    if fmt == 'qcow2':      # only those blocks, so that the image itself tells
        write(os.path.join(agent.root, 'sr', s.VDI.get_uuid(vdi) + '.qcow2'), changes)
    else:
        upload(agent, s, vdi, new)
    elsewhere = s.VDI.copy(base, other)
    target = make(s, other, 'target', into_fmt, SIZE + 2 * MIB)
    for of, how in ((base, 'by the chain'), (elsewhere, 'by comparing')):
        marked = bytearray(old) + bytes(2 * MIB)
        marked[99 * UNIT + 7:99 * UNIT + 9] = b'<>'
        marked[SIZE + MIB:SIZE + MIB + 2] = b'<>'
        upload(agent, s, target, marked)
        check(s.VDI.copy(vdi, NULL, of, target) == target, what + how)
        got = content(agent, s, target)
        if fmt == 'qcow2' or of == elsewhere:
            check(got[99 * UNIT + 7:99 * UNIT + 9] == b'<>', what + how + ': what is the same in both is not written')
        got[99 * UNIT + 7:99 * UNIT + 9] = new[99 * UNIT + 7:99 * UNIT + 9]
        check(got[:SIZE] == new and got[SIZE:len(marked)] == marked[SIZE:], what + how + ': what differs is')
    whole = s.VDI.copy(vdi, other, base)
    check(content(agent, s, whole)[:SIZE] == new, what + 'a new disk gets all of it')
    small = make(s, other, 'small', into_fmt, MIB)
    fails('VDI_TOO_SMALL', what + 'no smaller one', s.VDI.copy, vdi, NULL, base, small)
    fails('HANDLE_INVALID', what + 'no base', s.VDI.copy, vdi, NULL, 'OpaqueRef:00000000-0000-0000-0000-000000000001', target)
    for v in (target, whole, small, elsewhere, base, vdi):
        s.VDI.destroy(v)


def sparse(agent, s, sr, fmt):
    vdi = make(s, sr, 'sparse', fmt, 2 << 30)
    upload(agent, s, vdi, rng.randbytes(3 * MIB))
    copy = s.VDI.copy(vdi, sr)
    used = int(s.VDI.get_physical_utilisation(copy))
    check(used <= 8 * MIB, '%s: a copy of 3 MiB in 2 GiB takes %d KiB' % (fmt, used >> 10))
    s.VDI.destroy(copy)
    s.VDI.destroy(vdi)


with Agent() as agent:
    s = agent.login()
    host = s.host.get_all()[0]
    sr = s.pool.get_default_SR(s.pool.get_all()[0])
    other = s.SR.create(host, {'location': os.path.join(agent.root, 'other')}, '0', 'other', '', 'file', '', False, {})
    vhd = vhd_opens()
    for fmt, into_fmt in (('qcow2', 'qcow2'),) + (('vhd', 'qcow2'), ('qcow2', 'vhd')) * vhd:
        copies(agent, s, sr, other, fmt, into_fmt)
    for fmt in ('qcow2', 'raw') + ('vhd',) * vhd:
        sparse(agent, s, sr, fmt)
done()
