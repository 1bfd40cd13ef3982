#!/usr/bin/env python3
"""Disks as VHD streams: whole ones, what changed since a snapshot (backups), and both back into disks; against an independent
model of the format."""
import http.client
import os
import random
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.environ['XAPI_SOURCE'], 'tests', 'sm'))
from harness import Agent, check, done, wait_until  # noqa: E402
from vhdmodel import BLOCK, Image  # noqa: E402

MIB = 1 << 20
SIZE = 10 * MIB + 3 * 512
rng = random.Random(5)


def get(agent, s, query):
    c = http.client.HTTPConnection('127.0.0.1', agent.http_port, timeout=60)
    c.request('GET', '/export_raw_vdi?%s&session_id=%s' % (query, s._ref))
    r = c.getresponse()
    return r.status, r.read()


def put(agent, s, query, data):
    task = s.task.create('import', '')
    c = http.client.HTTPConnection('127.0.0.1', agent.http_port, timeout=60)
    c.request('PUT', '/import_raw_vdi?%s&session_id=%s&task_id=%s' % (query, s._ref, task), data)
    try:
        c.getresponse().read()
    except http.client.HTTPException:
        pass
    wait_until(lambda: s.task.get_status(task) != 'pending')
    return s.task.get_status(task), s.task.get_error_info(task)


def parse(data):
    """Footer's type and uuid, the parent's uuid and name, and {sector: bytes} of a VHD stream."""
    assert data[:8] == b'conectix' and data[-512:] == data[:512] and data[512:520] == b'cxsparse'
    size, kind = struct.unpack('>Q', data[48:56])[0], struct.unpack('>I', data[60:64])[0]
    table_at, entries = struct.unpack('>Q', data[528:536])[0], struct.unpack('>I', data[540:544])[0]
    sectors, end = {}, table_at + (entries * 4 + 511) // 512 * 512
    for n, at in enumerate(struct.unpack('>%dI' % entries, data[table_at:table_at + entries * 4])):
        if at == 0xffffffff:
            continue
        assert at * 512 == end, 'blocks lie one behind the other'
        bits, block = data[at * 512:at * 512 + 512], data[at * 512 + 512:at * 512 + 512 + BLOCK]
        for i in range(4096):
            if bits[i // 8] & (0x80 >> i % 8):
                sectors[n * 4096 + i] = block[i * 512:i * 512 + 512]
        end = at * 512 + 512 + BLOCK
    assert end + 512 == len(data)
    name = data[576:576 + 512].decode('utf-16-be').rstrip('\0')
    return {'type': kind, 'size': size, 'uuid': data[68:84].hex(), 'parent': data[552:568].hex(), 'name': name, 'sectors': sectors}


def scribble(path, content, n):
    for _ in range(n):
        at = rng.randrange(SIZE // 512 - 8) * 512
        piece = rng.randbytes(rng.choice([512, 4096, 700 * 512]))[:SIZE - at]
        with open(path + '.piece', 'wb') as f:
            f.write(piece)
        got = subprocess.run(['qemu-io', '-f', 'qcow2', '-c', 'write -s %s.piece %d %d' % (path, at, len(piece)), path], capture_output=True)
        assert got.returncode == 0
        content[at:at + len(piece)] = piece
    os.unlink(path + '.piece')


with Agent() as agent:
    s = agent.login()
    sr = s.pool.get_default_SR(s.pool.get_all()[0])

    def disk(size=SIZE, **more):
        record = {'name_label': 'disk', 'name_description': '', 'SR': sr, 'virtual_size': str(size), 'type': 'user',
                  'sharable': False, 'read_only': False, 'other_config': {}}
        record.update(more)
        return s.VDI.create(record)

    def content(vdi):
        return get(agent, s, 'format=raw&vdi=' + vdi)[1]

    vdi = disk()
    path = '%s/sr/%s.qcow2' % (agent.root, s.VDI.get_uuid(vdi))
    now = bytearray(SIZE)
    scribble(path, now, 4)
    a = s.VDI.snapshot(vdi, {})
    at_a = bytes(now)
    scribble(path, now, 3)
    b = s.VDI.snapshot(vdi, {})
    at_b = bytes(now)

    status, full = get(agent, s, 'format=vhd&vdi=' + a)
    p = parse(full)
    check(status == 200 and p['type'] == 3 and p['size'] == SIZE, 'a whole disk is a dynamic VHD')
    check(p['uuid'] == s.VDI.get_uuid(a).replace('-', ''), 'with the uuid of its VDI')
    with open(agent.root + '/full.vhd', 'wb') as f:
        f.write(full)
    got = subprocess.run(['qemu-img', 'convert', '-f', 'vpc', '-O', 'raw', agent.root + '/full.vhd', agent.root + '/full.raw'])
    with open(agent.root + '/full.raw', 'rb') as f:
        check(got.returncode == 0 and f.read() == at_a, 'which qemu-img reads')

    status, delta = get(agent, s, 'format=vhd&vdi=%s&base=%s' % (b, a))
    p = parse(delta)
    check(status == 200 and p['type'] == 4, 'what changed since a snapshot is a differencing one')
    check(p['parent'] == s.VDI.get_uuid(a).replace('-', '') and p['name'] == s.VDI.get_uuid(a) + '.vhd', 'that names its parent')
    differ = {n for n in range(SIZE // 512) if at_a[n * 512:n * 512 + 512] != at_b[n * 512:n * 512 + 512]}
    units = {n // 128 for n in differ}
    check(differ <= set(p['sectors']), 'with the sectors that differ')
    check({n // 128 for n in p['sectors']} <= units, 'and none of a 64 KiB in which nothing does')
    check(all(p['sectors'][n] == at_b[n * 512:n * 512 + 512] for n in differ), 'and their new content')
    p = parse(get(agent, s, 'format=vhd&vdi=%s&base=%s' % (b, b))[1])
    check(p['sectors'] == {}, 'nothing changed since itself')
    check(get(agent, s, 'format=raw&vdi=%s&base=%s' % (b, a))[0] >= 400, 'a base is for VHDs')
    check(get(agent, s, 'format=vhd&vdi=%s&base=OpaqueRef:gone' % b)[0] >= 400, 'a base that is gone is refused')

    # Without a common image contents are compared, sector by sector.
    alone = disk()
    put(agent, s, 'format=raw&vdi=' + alone, bytes(at_a))
    p = parse(get(agent, s, 'format=vhd&vdi=%s&base=%s' % (b, alone))[1])
    check({n for n in p['sectors'] if n < SIZE // 512} == differ, 'a base that is not related: exactly the sectors that differ')
    # By the logs of changed blocks, also when the base's data are gone.
    s.VDI.enable_cbt(vdi)
    first = s.VDI.snapshot(vdi, {})
    scribble(path, now, 2)
    second = s.VDI.snapshot(vdi, {})
    differ = {n for n in range(SIZE // 512) if at_b[n * 512:n * 512 + 512] != now[n * 512:n * 512 + 512]}
    s.VDI.data_destroy(first)
    status, body = get(agent, s, 'format=vhd&vdi=%s&base=%s' % (second, first))
    p = parse(body)
    check(status == 200 and p['type'] == 4 and p['parent'] == s.VDI.get_uuid(first).replace('-', ''), 'a base whose data were destroyed')
    check(differ <= set(p['sectors']) and {n // 128 for n in p['sectors']} <= {n // 128 for n in differ}, 'its log says what changed')
    check(get(agent, s, 'format=vhd&vdi=%s&base=%s' % (alone, first))[0] >= 400, 'a disk that is not related to it is refused')
    s.VDI.destroy(alone)
    s.VDI.destroy(second)
    s.VDI.destroy(first)

    # Back: the whole into a new disk, then the change into a clone of it.
    restored = disk()
    check(put(agent, s, 'format=vhd&vdi=' + restored, full)[0] == 'success' and content(restored) == at_a, 'a whole one restores a disk')
    check(put(agent, s, 'format=vhd&vdi=' + restored, delta)[0] == 'success', 'the change is applied to it')
    check(content(restored) == at_b, 'and makes it the later one')
    used = disk()
    put(agent, s, 'format=raw&vdi=' + used, bytes([7]) * SIZE)
    check(put(agent, s, 'format=vhd&vdi=' + used, full)[0] == 'success' and content(used) == at_a, 'a whole one leaves nothing of what was')

    # From others: blocks in any order, a fixed image, a VHD repository.
    model = Image(8 * MIB)
    for at in (0, 3 * MIB, 7 * MIB):
        model.write(at, rng.randbytes(300 * 512))
    model.save(agent.root + '/model.vhd', order=lambda numbers: sorted(numbers, reverse=True))
    # nbdkit cannot load a plug-in that was built with a sanitizer: there the disk is a qcow2.
    other = disk(8 * MIB, sm_config={'image-format': 'qcow2' if os.environ.get('XAPI_SLOW') else 'vhd'})
    with open(agent.root + '/model.vhd', 'rb') as f:
        data = f.read()
    check(put(agent, s, 'format=vhd&vdi=' + other, data)[0] == 'success' and content(other) == model.content(), 'another tool\'s image')
    fixed = Image(8 * MIB, fixed=True)
    fixed.write(MIB, rng.randbytes(MIB))
    fixed.save(agent.root + '/fixed.vhd')
    with open(agent.root + '/fixed.vhd', 'rb') as f:
        check(put(agent, s, 'format=vhd&vdi=' + other, f.read())[0] == 'success' and content(other) == fixed.content(), 'a fixed one')

    # What is no VHD changes nothing that counts and says why.
    before = content(other)
    for what, bad in (('rubbish', b'x' * 70000), ('a truncated image', data[:5000]), ('nothing but a footer', data[:512])):
        status, error = put(agent, s, 'format=vhd&vdi=' + other, bad)
        check(status == 'failure' and error[0] == 'VDI_IO_ERROR', '%s: %s' % (what, error[:2]))
    big = Image(64 * MIB)
    big.save(agent.root + '/big.vhd')
    with open(agent.root + '/big.vhd', 'rb') as f:
        check(put(agent, s, 'format=vhd&vdi=' + other, f.read())[0] == 'failure', 'a larger image does not fit')
    check(content(other) == before, 'the disk is as it was')
    check(os.listdir(agent.root + '/tmp') == [], 'and nothing is left over')
done()
