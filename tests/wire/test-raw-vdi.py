#!/usr/bin/env python3
"""The content of disks over HTTP: PUT /import_raw_vdi, GET /export_raw_vdi, and what clients do before, during and after."""
import hashlib
import http.client
import io
import os
import random
import socket
import struct
import subprocess
import tarfile
import uuid
import xmlrpc.client

from harness import Agent, check, done, wait_until

MIB = 1 << 20
SIZE = 24 * MIB
UNKNOWN = 1 << 50                      # what Xen Orchestra announces when it does not know


def make_content(seed, size=SIZE):
    """Random data between holes of all sizes."""
    rnd, out = random.Random(seed), bytearray(size)
    for at in (0, 3 * MIB + 4096, 3 * MIB + 70000, 9 * MIB - 100, size - 5000):
        n = min(rnd.randrange(1, 2 * MIB), size - at)
        out[at:at + n] = rnd.randbytes(n)
    return bytes(out)


def make_vdi(s, sr, size=SIZE):
    return s.VDI.create({'name_label': 'disk', 'name_description': '', 'SR': sr, 'virtual_size': str(size), 'type': 'user',
                         'sharable': False, 'read_only': False, 'other_config': {}})


class Upload:
    """A PUT in steps: head, status, body, end."""

    def __init__(self, agent, s, query, length, task=None):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(agent.socket)
        query += '&session_id=' + s._ref + ('&task_id=' + task if task else '')
        self.sock.sendall(('PUT /import_raw_vdi?%s HTTP/1.1\r\nHost: h\r\ncontent-length: %d\r\n\r\n' % (query, length)).encode())
        self.head = b''
        while b'\r\n\r\n' not in self.head:
            piece = self.sock.recv(65536)
            if not piece:
                break
            self.head += piece
        self.status = int(self.head.split()[1])

    def send(self, data):
        self.sock.sendall(data)
        return self

    def end(self):
        """Waits for the server's end of the connection; what came behind the head."""
        rest = self.head.split(b'\r\n\r\n', 1)[1]
        while True:
            piece = self.sock.recv(65536)
            if not piece:
                self.sock.close()
                return rest
            rest += piece

    def cut(self):
        self.sock.shutdown(socket.SHUT_WR)
        return self.end()


def make_task(s):
    return s.task.create('upload', '')


def outcome(s, task):
    """Status and result or error of a task that has ended."""
    wait_until(lambda: s.task.get_status(task) != 'pending')
    r = s.task.get_record(task)
    if r['status'] == 'success':
        return 'success', xmlrpc.client.loads('<params><param>%s</param></params>' % r['result'])[0][0] if r['result'] else ''
    return r['status'], r['error_info']


def download(agent, s, query):
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(60)
    sock.connect(agent.socket)
    sock.sendall(('GET /export_raw_vdi?%s&session_id=%s HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n' % (query, s._ref)).encode())
    data = b''
    while True:
        piece = sock.recv(1 << 20)
        if not piece:
            break
        data += piece
    head, body = data.split(b'\r\n\r\n', 1)
    return int(head.split()[1]), head.decode().lower(), body


def sha(data):
    return hashlib.sha256(data).hexdigest()


def convert(agent, data, source, target, *options):
    """One image format to another by qemu-img."""
    a, b = os.path.join(agent.root, 'in.img'), os.path.join(agent.root, 'out.img')
    with open(a, 'wb') as f:
        f.write(data)
    subprocess.run(['qemu-img', 'convert', '-f', source, '-O', target, *options, a, b], check=True)
    with open(b, 'rb') as f:
        return f.read()


def raw_round(agent, s, sr):
    vdi, content, task = make_vdi(s, sr), make_content(1), make_task(s)
    up = Upload(agent, s, 'vdi=%s&format=raw' % vdi, SIZE, task)
    check(up.status == 200, '200 comes before the body')
    check(up.send(content).end() == b'', 'and nothing behind it')
    check(outcome(s, task) == ('success', vdi), 'the task gives the disk')
    status, head, body = download(agent, s, 'vdi=' + s.VDI.get_uuid(vdi))
    check(status == 200 and sha(body) == sha(content), 'what comes back is what went in')
    check('content-type: application/octet-stream' in head and s.VDI.get_uuid(vdi) + '.raw' in head, 'with type and name')
    used = int(s.VDI.get_physical_utilisation(vdi))
    check(MIB < used < SIZE, 'holes stay holes, and the record knows the size: %d' % used)

    other = bytes(SIZE // 2) + make_content(2)[SIZE // 2:]
    check(Upload(agent, s, 'vdi=' + vdi, SIZE).send(other).end() == b'', 'again, without a task')
    check(sha(download(agent, s, 'vdi=' + vdi)[2]) == sha(other), 'zeros replace what was there')
    Upload(agent, s, 'vdi=' + vdi, MIB).send(b'\1' * MIB).end()
    check(sha(download(agent, s, 'vdi=' + vdi)[2]) == sha(b'\1' * MIB + other[MIB:]), 'a short body leaves the rest')

    task = make_task(s)
    chunks = b''.join(struct.pack('<qi', at, 5000) + bytes([n]) * 5000 for n, at in ((7, 0), (8, 3 * MIB + 1)))
    Upload(agent, s, 'vdi=%s&chunked=true' % vdi, len(chunks) + 12, task).send(chunks + struct.pack('<qi', 0, 0)).end()
    body = download(agent, s, 'vdi=' + vdi)[2]
    check(outcome(s, task)[0] == 'success' and body[:5000] == b'\7' * 5000 and body[3 * MIB + 1:3 * MIB + 5001] == b'\10' * 5000,
          'chunks go where they say')
    task = make_task(s)
    Upload(agent, s, 'vdi=%s&chunked=true' % vdi, 112, task).send(struct.pack('<qi', SIZE - 50, 100) + bytes(100)).end()
    check(outcome(s, task)[1][:1] == ['VDI_TOO_SMALL'], 'but not beyond the end')
    return vdi, content


def probes(agent, s, sr, vdi):
    before, disks = sha(download(agent, s, 'vdi=' + vdi)[2]), len(s.VDI.get_all())
    for query in ('vdi=' + vdi, 'sr_id=' + sr, 'vdi=%s&format=vhd' % vdi):
        check(Upload(agent, s, query, 0).status == 200, 'a probe without a body: 200')
        up = Upload(agent, s, query, UNKNOWN)
        check(up.status == 200, 'one that announces 1 PiB: 200 at once')
        up.cut()
    check(sha(download(agent, s, 'vdi=' + vdi)[2]) == before and len(s.VDI.get_all()) == disks, 'they change nothing')

    task, content = make_task(s), make_content(3)
    Upload(agent, s, 'vdi=' + vdi, UNKNOWN, task).send(content).cut()
    check(outcome(s, task) == ('success', vdi), '1 PiB announced, cut after the last byte: that was all')
    check(sha(download(agent, s, 'vdi=' + vdi)[2]) == sha(content), 'and it is there')
    task = make_task(s)
    Upload(agent, s, 'vdi=' + vdi, UNKNOWN, task).send(content[:MIB]).cut()
    check(outcome(s, task)[1][:1] == ['VDI_IO_ERROR'], 'cut before the last byte: an error')


def new_disks(agent, s, sr):
    task, content = make_task(s), make_content(4, 10 * MIB)
    Upload(agent, s, 'sr_uuid=' + s.SR.get_uuid(sr), len(content), task).send(content).end()
    status, vdi = outcome(s, task)
    check(status == 'success' and s.VDI.get_name_label(vdi) == 'Imported VDI', 'a repository instead of a disk: a new disk')
    check(s.VDI.get_SR(vdi) == sr and sha(download(agent, s, 'vdi=' + vdi)[2]) == sha(content), 'there, with the content')
    before, task = sorted(s.VDI.get_all()), make_task(s)
    Upload(agent, s, 'sr_id=' + sr, SIZE, task).send(make_content(5)[:5 * MIB]).cut()
    check(outcome(s, task)[1][:1] == ['VDI_IO_ERROR'], 'a client that leaves half way')
    check(sorted(s.VDI.get_all()) == before, 'leaves no half disk')
    files = [f for f in os.listdir(os.path.join(agent.root, 'sr')) if f.endswith('.qcow2')]
    check(len(files) == len([v for v in before if s.VDI.get_SR(v) == sr]), 'nor its file')
    task = make_task(s)
    Upload(agent, s, 'sr_id=' + sr, UNKNOWN, task).send(b'x' * MIB).cut()
    check(outcome(s, task)[1][:1] == ['IMPORT_ERROR'], 'a new disk needs a length')


def mistakes(agent, s, sr, vdi):
    for what, query, status, code in (
            ('an unknown format', 'format=vmdk&vdi=' + vdi, 404, 'INVALID_VALUE'),
            ('an unknown disk', 'vdi=OpaqueRef:' + str(uuid.uuid4()), 400, 'HANDLE_INVALID'),
            ('no disk', 'format=raw', 400, 'HANDLE_INVALID'),
            ('an unknown repository', 'sr_id=nonsense', 400, 'HANDLE_INVALID')):
        task = make_task(s)
        check(Upload(agent, s, query, SIZE, task).status == status, '%s: %d' % (what, status))
        check(outcome(s, task)[1][:1] == [code], 'and the task fails with ' + code)
        check('sr_id' in query or download(agent, s, query)[0] == status, 'the same for a download')
    check(download(agent, s, 'vdi=%s&base=%s' % (vdi, vdi))[0] == 400, 'a difference is not served as if it were all')
    task = make_task(s)
    Upload(agent, s, 'vdi=' + vdi, SIZE + MIB, task).send(make_content(6) + b'y' * MIB).end()
    check(outcome(s, task)[1][:1] == ['VDI_TOO_SMALL'], 'more than the disk holds')

    up = Upload(agent, s, 'vdi=' + vdi, SIZE).send(make_content(1)[:2 * MIB])
    check(wait_until(lambda: download(agent, s, 'vdi=' + vdi)[0] == 400), 'no reading while somebody writes')
    try:
        s.VDI.destroy(vdi)
        check(False, 'destroying it meanwhile fails')
    except Exception as e:
        check(e.details[0] == 'VDI_IN_USE', 'destroying it meanwhile: %s' % e.details[0])
    up.cut()
    task = make_task(s)
    up = Upload(agent, s, 'vdi=' + vdi, SIZE, task).send(make_content(1)[:2 * MIB])
    s.task.cancel(task)
    up.send(make_content(1)[2 * MIB:4 * MIB]).cut()
    check(outcome(s, task)[0] == 'cancelled', 'cancelled: %s' % (outcome(s, task),))


def at_once(agent, s, sr):
    """Whoever has the last byte by the announced length has a disk that nobody holds any more."""
    vdi = make_vdi(s, sr, 4 * MIB)
    for n, fmt in enumerate(('raw', 'vhd', 'qcow2') * 4):
        c = http.client.HTTPConnection('127.0.0.1', agent.http_port, timeout=60)
        c.request('GET', '/export_raw_vdi?vdi=%s&format=%s&session_id=%s' % (vdi, fmt, s._ref))
        r = c.getresponse()
        r.read(int(r.headers['content-length']))
        s.VDI.resize(vdi, str((5 + n) * MIB))
        c.close()
    s.VDI.destroy(vdi)
    check(vdi not in s.VDI.get_all(), 'what was read to its end is free: 12 times grown, then destroyed')


def images(agent, s, sr):
    content = make_content(7)
    for name, qemu, options in (('qcow2', 'qcow2', ()), ('vhd', 'vpc', ('-o', 'subformat=dynamic,force_size=on'))):
        vdi, task, image = make_vdi(s, sr), make_task(s), convert(agent, content, 'raw', qemu, *options)
        Upload(agent, s, 'vdi=%s&format=%s' % (vdi, name), len(image), task).send(image).end()
        check(outcome(s, task) == ('success', vdi), '%s in: %s' % (name, outcome(s, task)))
        check(sha(download(agent, s, 'vdi=' + vdi)[2]) == sha(content), 'is the same disk')
        status, head, body = download(agent, s, 'vdi=%s&format=%s' % (vdi, name))
        check(status == 200 and sha(convert(agent, body, qemu, 'raw')) == sha(content), '%s out: too' % name)
        task = make_task(s)
        Upload(agent, s, 'vdi=%s&format=%s' % (vdi, name), UNKNOWN, task).send(image).cut()
        check(outcome(s, task)[0] == 'success', '%s of unknown length ends with the connection' % name)
        task = make_task(s)
        Upload(agent, s, 'vdi=%s&format=%s' % (vdi, name), UNKNOWN, task).send(image[:len(image) // 2]).cut()
        check(outcome(s, task)[1][:1] == ['VDI_IO_ERROR'], 'half of one is none')
    evil = bytearray(convert(agent, content, 'raw', 'qcow2'))
    evil[8:20] = struct.pack('>qi', 512, 11)
    evil[512:523] = b'/etc/passwd'
    task = make_task(s)
    Upload(agent, s, 'vdi=%s&format=qcow2' % vdi, len(evil), task).send(bytes(evil)).end()
    check(outcome(s, task)[1][:1] == ['VDI_IO_ERROR'], 'an image that names a file of this host is refused')


def xxh64(data):
    """By the algorithm's published description."""
    m, p = (1 << 64) - 1, (11400714785074694791, 14029467366897019727, 1609587929392839161, 9650029242287828579, 2870177450012600261)

    def rol(x, n):
        return (x << n | x >> 64 - n) & m

    def mix(acc, x):
        return rol(acc + x * p[1] & m, 31) * p[0] & m

    at = 0
    h = p[4]
    if len(data) >= 32:
        lanes = [p[0] + p[1] & m, p[1], 0, -p[0] & m]
        words = struct.unpack('<%dQ' % (len(data) // 32 * 4), data[:len(data) // 32 * 32])
        for i, x in enumerate(words):
            lanes[i % 4] = mix(lanes[i % 4], x)
        at = len(words) * 8
        h = sum(rol(v, n) for v, n in zip(lanes, (1, 7, 12, 18))) & m
        for v in lanes:
            h = ((h ^ mix(0, v)) * p[0] + p[3]) & m
    h = h + len(data) & m
    while at + 8 <= len(data):
        h = (rol(h ^ mix(0, struct.unpack_from('<Q', data, at)[0]), 27) * p[0] + p[3]) & m
        at += 8
    if at + 4 <= len(data):
        h = (rol(h ^ struct.unpack_from('<I', data, at)[0] * p[0] & m, 23) * p[1] + p[2]) & m
        at += 4
    for b in data[at:]:
        h = rol(h ^ b * p[4] & m, 11) * p[0] & m
    h = (h ^ h >> 33) * p[1] & m
    h = (h ^ h >> 29) * p[2] & m
    return h ^ h >> 32


def pack(files):
    """A tar of (name, content)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode='w', format=tarfile.USTAR_FORMAT) as t:
        for name, data in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            t.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def blocks(content, numbers=None):
    """The files of a disk: all its blocks that are not zero and the first and the last, or these."""
    last, files = (len(content) - 1) // MIB, []
    for n in range(last + 1) if numbers is None else numbers:
        data = content[n * MIB:(n + 1) * MIB]
        if numbers is not None or n in (0, last) or any(data):
            files += [('vdi/%08d' % n, data), ('vdi/%08d.xxhash' % n, b'%016X' % xxh64(data))]
    return files


def archives(agent, s, sr):
    """format=tar: the blocks of an XVA."""
    size = SIZE + 512 * 3
    content = bytes(MIB) + make_content(8, SIZE)[MIB:] + b'tail' * 384
    vdi, task = make_vdi(s, sr, size), make_task(s)
    check(Upload(agent, s, 'format=tar&vdi=' + vdi, 0).status == 200, 'a probe for a tar: 200')
    up = Upload(agent, s, 'format=tar&vdi=' + vdi, UNKNOWN)
    check(up.status == 200 and up.cut() == b'', 'one that announces 1 PiB: 200 at once')
    image = pack(blocks(content))
    Upload(agent, s, 'format=tar&vdi=' + vdi, len(image), task).send(image).end()
    check(outcome(s, task) == ('success', vdi), 'tar in: %s' % (outcome(s, task),))
    check(sha(download(agent, s, 'vdi=' + vdi)[2]) == sha(content), 'is the same disk')
    status, head, body = download(agent, s, 'format=tar&vdi=' + vdi)
    check(status == 200 and 'content-type: application/x-tar' in head and s.VDI.get_uuid(vdi) + '.tar' in head and 'content-length' not in head,
          'tar out: with type and name, to the end of the connection')
    with tarfile.open(fileobj=io.BytesIO(body)) as t:
        names, expected = t.getnames(), blocks(content)
        check(names == [n for n, _ in expected] and [t.extractfile(n).read() for n in names] == [d for _, d in expected],
              'the blocks that are not zero, the first and the last, each with its checksum: %d files' % len(names))
    used = make_vdi(s, sr, size)
    Upload(agent, s, 'vdi=' + used, size).send(b'\7' * size).end()
    task = make_task(s)
    Upload(agent, s, 'format=tar&vdi=' + used, UNKNOWN, task).send(body).cut()
    check(outcome(s, task) == ('success', used), 'what came out goes in again, of unknown length')
    check(sha(download(agent, s, 'vdi=' + used)[2]) == sha(content), 'and leaves nothing of what was there')
    small = random.Random(9).randbytes(3 * MIB)
    task, image = make_task(s), pack([('vdi/00000000', small[:MIB]), ('vdi/00000000.checksum', hashlib.sha1(small[:MIB]).hexdigest().encode()), ('vdi/00000001', b'')] +
                                     [('vdi/00000001.xxhash', b'%016X' % xxh64(b''))] + blocks(small, [2]))
    Upload(agent, s, 'format=tar&vdi=' + used, len(image), task).send(image).end()
    wanted = small[:MIB] + bytes(MIB) + small[2 * MIB:] + bytes(size - 3 * MIB)
    check(outcome(s, task) == ('success', used) and sha(download(agent, s, 'vdi=' + used)[2]) == sha(wanted),
          'an archive of a smaller disk, with an old checksum and a sign of life')

    good = blocks(content)
    for what, data, code in (
            ('a block that was changed', pack([(n, b'\1' + d[1:] if n == 'vdi/00000003' else d) for n, d in good]), 'IMPORT_ERROR_SOME_CHECKSUMS_FAILED'),
            ('a block without checksum', pack(good[:1] + good[2:]), 'IMPORT_ERROR_UNEXPECTED_FILE'),
            ('a whole XVA', pack([('ova.xml', b'<value/>')]), 'IMPORT_ERROR_UNEXPECTED_FILE'),
            ('another folder', pack([('Ref:3/00000000', bytes(MIB))]), 'IMPORT_ERROR_UNEXPECTED_FILE'),
            ('a block beyond the end', pack(blocks(content + bytes(2 * MIB), [26])), 'VDI_TOO_SMALL'),
            ('blocks out of order', pack(blocks(content, [3, 1])), 'IMPORT_ERROR'),
            ('rubbish', b'x' * 5000, 'IMPORT_ERROR'),
            ('half of one', body[:len(body) // 2], 'IMPORT_ERROR_PREMATURE_EOF')):
        task = make_task(s)
        try:
            Upload(agent, s, 'format=tar&vdi=' + used, UNKNOWN, task).send(data).cut()
        except OSError:
            pass                       # refused before all of it was sent
        check(outcome(s, task)[1][:1] == [code], '%s: %s' % (what, outcome(s, task)[1]))
    task = make_task(s)
    Upload(agent, s, 'format=tar&vdi=' + used, UNKNOWN, task).cut()
    check(outcome(s, task)[1] == ['IMPORT_ERROR_PREMATURE_EOF'], 'a task and no archive')
    check(Upload(agent, s, 'format=tar&sr_id=' + sr, size).status == 400, 'a tar does not say how large a new disk would be')
    s.VDI.destroy(vdi)
    s.VDI.destroy(used)


def left_by_a_killed_agent(agent, s, sr):
    """A disk's server whose agent was killed before the two had come to speak waits for good, with the image: the next agent ends it."""
    vdi = s.VDI.create({'name_label': 'served', 'SR': sr, 'virtual_size': str(MIB), 'type': 'user', 'sharable': False, 'read_only': False,
                        'other_config': {}})
    image = os.path.join(agent.root, 'sr', s.VDI.get_uuid(vdi) + '.qcow2')
    servers = []
    for root in (agent.root, '/nobody'):
        at = os.path.join(agent.root, 'left%d' % len(servers))
        servers.append(subprocess.Popen(['qemu-nbd', '--socket', at, '--format', 'qcow2', '--read-only', '--', image],
                                        env={'PATH': os.environ['PATH'], 'XAPI_DISK_SERVER_OF': root + '/storage/locks'}))
        check(wait_until(lambda: os.path.exists(at)), 'a server that nobody speaks to')
    agent.kill()
    agent.start()
    check(servers[0].wait(30) == 0, 'the next agent has ended it')
    check(servers[1].poll() is None, 'and no other agent\'s')
    servers[1].terminate()
    check(servers[1].wait(30) == 0, 'which ends like any')
    agent.login().VDI.destroy(vdi)


with Agent() as agent:
    s = agent.login()
    sr = s.pool.get_default_SR(s.pool.get_all()[0])
    vdi, _ = raw_round(agent, s, sr)
    probes(agent, s, sr, vdi)
    new_disks(agent, s, sr)
    mistakes(agent, s, sr, vdi)
    images(agent, s, sr)
    archives(agent, s, sr)
    at_once(agent, s, sr)
    left_by_a_killed_agent(agent, s, sr)
    tmp = os.path.join(agent.root, 'tmp')
    check(not os.path.isdir(tmp) or os.listdir(tmp) == [], 'nothing stays below tmp')
    check(os.listdir(os.path.join(agent.root, 'storage', 'attached')) == ['boot-id'], 'nothing stays attached')
done()
