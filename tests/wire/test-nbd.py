#!/usr/bin/env python3
"""Disks over NBD as backup products read them: TLS with the host's certificate, real clients, sessions, limits; and a whole
backup: snapshot, list of changed blocks, reading those, destroyed data, restored and compared."""
import base64
import hashlib
import os
import random
import re
import socket
import ssl
import struct
import subprocess
import tempfile
import urllib.parse

from harness import VHD_PLUGIN, Agent, check, done, fails, vhd_opens, wait_until

MIB = 1 << 20
SIZE = 24 * MIB
BLOCK = 65536
work = tempfile.mkdtemp(prefix='nbd-')
certificates = os.path.join(work, 'certificates')
os.mkdir(certificates)
OPTION = struct.pack('>Q', 0x49484156454f5054)


def record(sr, name='disk', size=SIZE, **more):
    r = {'name_label': name, 'name_description': '', 'SR': sr, 'virtual_size': str(size), 'type': 'user', 'sharable': False,
         'read_only': False, 'other_config': {}}
    r.update(more)
    return r


def run(*argv, timeout=60):
    return subprocess.run(argv, capture_output=True, text=True, timeout=timeout)


def uri(info, name=None, scheme='nbds'):
    extra = '?tls-certificates=' + certificates if scheme == 'nbds' else ''
    return '%s://%s:%s/%s%s' % (scheme, info['address'], info['port'], urllib.parse.quote(name or info['exportname'], safe=''), extra)


def qemu(info, *argv):
    """qemu-img or qemu-io on the export, with the server's certificate checked."""
    creds = 'tls-creds-x509,id=t,endpoint=client,verify-peer=on,sanity-check=off,dir=' + certificates
    source = 'driver=nbd,host=%s,port=%s,export=%s,tls-creds=t,tls-hostname=%s' % (
        info['address'], info['port'], info['exportname'].replace(',', ',,'), info['subject'])
    return run(*[a.replace('CREDS', creds).replace('SOURCE', source) for a in argv])


class Client:
    """The handshake by hand."""

    def __init__(self, info):
        self.s = socket.create_connection((info['address'], int(info['port'])), timeout=20)
        magic, option, flags = struct.unpack('>QQH', self.take(18))
        assert (magic, option) == (0x4e42444d41474943, 0x49484156454f5054)
        self.s.sendall(struct.pack('>I', flags))

    def take(self, n):
        data = b''
        while len(data) < n:
            more = self.s.recv(n - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def option(self, number, data=b''):
        self.s.sendall(OPTION + struct.pack('>II', number, len(data)) + data)
        answers = []
        while True:
            _, _, kind, n = struct.unpack('>QIII', self.take(20))
            answers.append((kind, self.take(n)))
            if kind == 1 or kind & 1 << 31:
                return answers

    def tls(self):
        assert self.option(5)[0][0] == 1
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.s = context.wrap_socket(self.s)

    def go(self, name):
        name = name.encode()
        return self.option(7, struct.pack('>I', len(name)) + name + b'\0\0')

    def read(self, at, n):
        self.s.sendall(struct.pack('>IHHQQI', 0x25609513, 0, 0, 7, at, n))
        magic, error, _ = struct.unpack('>IIQ', self.take(16))
        assert magic == 0x67446698
        return error or self.take(n)

    def closed(self):
        try:
            self.s.settimeout(20)
            return self.s.recv(1) == b''
        except (ConnectionError, ssl.SSLError):
            return True


def code(answers):
    return answers[-1][0] & 0x7fffffff if answers[-1][0] & 1 << 31 else 0


def digest(path):
    with open(path, 'rb') as f:
        return hashlib.sha256(f.read()).hexdigest()


def clients(agent, s, vdi, raw):
    info = s.VDI.get_nbd_info(vdi)[0]
    check(re.fullmatch('/%s.session_id=OpaqueRef:[0-9a-f-]{36}' % s.VDI.get_uuid(vdi), info['exportname']) is not None,
          'the export is named as XenServer names it')
    check(info['cert'] == s.host.get_server_certificate(s.host.get_all()[0]) and info['subject'], 'with the host\'s certificate')
    with open(os.path.join(certificates, 'ca-cert.pem'), 'w') as f:
        f.write(info['cert'])
    out = os.path.join(work, 'out')
    got = qemu(info, 'qemu-img', 'convert', '--object', 'CREDS', '--image-opts', 'SOURCE', '-O', 'raw', out)
    check(got.returncode == 0 and digest(out) == digest(raw), 'qemu-img convert reads it: ' + got.stderr)
    check(os.stat(out).st_blocks * 512 < SIZE // 2, 'and sees its holes')
    got = run('nbdcopy', uri(info), out + '2')
    check(got.returncode == 0 and digest(out + '2') == digest(raw), 'nbdcopy, too: ' + got.stderr)
    got = run('nbdinfo', '--json', uri(info))
    check('"is_read_only": true' in got.stdout and '"TLS": true' in got.stdout, 'read-only, over TLS: ' + got.stderr)
    got = run('nbdinfo', '--map', uri(info))
    check(got.returncode == 0 and 'hole,zero' in got.stdout, 'the map of what is allocated')
    got = qemu(info, 'qemu-io', '--object', 'CREDS', '--image-opts', '-c', 'write 0 512', 'SOURCE')
    check('ermission' in got.stdout + got.stderr and 'wrote' not in got.stdout, 'nobody writes: ' + got.stdout + got.stderr)
    got = run('nbdinfo', uri(info, scheme='nbd'))
    check(got.returncode != 0, 'nothing without TLS')

    # By hand: every way to be refused.
    c = Client(info)
    check(code(c.option(3)) == 5 and code(c.go(info['exportname'])) == 5, 'TLS comes first')
    c.tls()
    check(code(c.option(3)) == 2, 'exports are not listed')
    check(code(c.option(99)) == 1, 'an option that is not known')
    check(code(c.option(7, b'\0\0\xff\xff')) == 3, 'a name that is longer than its option')
    bad = 'OpaqueRef:00000000-1111-2222-3333-444444444444'
    for name in '', '/', info['exportname'][:30], '/x?session_id=' + bad, '/%s?session_id=%s' % (s.VDI.get_uuid(vdi), bad), 'x' * 5000:
        check(code(c.go(name)) == 6, 'refused: ' + name[:60])
    check(code(c.go(info['exportname'])) == 0 and c.read(0, 512) == open(raw, 'rb').read(512), 'the right name still is good')
    check(c.read(SIZE, 512) != 0 and c.read(512, 512) is not None, 'a read beyond the end is an error, not the end')
    check(len([a for a in s.VDI.get_all_records().values() if a['uuid'] == s.VDI.get_uuid(vdi)]) == 1, 'the agent lives')
    p = fails('VDI_IN_USE', 'the disk is not destroyed meanwhile', s.VDI.destroy, vdi)
    check(p[0] == vdi, 'it is named')
    c.s.close()

    # Its session ends: so does the connection.
    other = agent.login()
    mine = other.VDI.get_nbd_info(vdi)[0]
    c = Client(mine)
    c.tls()
    check(code(c.go(mine['exportname'])) == 0, 'another session')
    other.session.logout()
    check(c.closed(), 'its end is the connection\'s')
    c = Client(mine)
    c.tls()
    check(code(c.go(mine['exportname'])) == 6, 'and the name is worth nothing any more')
    c.s.close()

    # Garbage, and clients that say nothing.
    silent = [socket.create_connection((info['address'], int(info['port']))) for _ in range(2)]
    for garbage in os.urandom(200), b'\0' * 4 + OPTION + b'\xff' * 8, b'GET / HTTP/1.0\r\n\r\n':
        x = socket.create_connection((info['address'], int(info['port'])))
        x.sendall(garbage)
        x.close()
    check(wait_until(lambda: run('nbdinfo', '--size', uri(info)).stdout.strip() == str(SIZE)), 'garbage harms nobody')
    for x in silent:
        x.close()
    check(wait_until(lambda: run('nbdinfo', '--size', uri(info)).stdout.strip() == str(SIZE)), 'nor do those who say nothing')


def limits(agent, s, vdi):
    info = s.VDI.get_nbd_info(vdi)[0]
    many = []
    for _ in range(4):
        c = Client(info)
        c.tls()
        assert code(c.go(info['exportname'])) == 0
        many.append(c)
    try:
        Client(info)
        check(False, 'a fifth client is sent away')
    except (EOFError, ConnectionError):
        check(True, 'a fifth client is sent away')
    check(all(len(c.read(0, 4096)) == 4096 for c in many), 'the others go on')
    for c in many:
        c.s.close()
    check(wait_until(lambda: run('nbdinfo', '--size', uri(info)).stdout.strip() == str(SIZE)), 'when they leave there is room')


def purposes(s, network, other, vdi):
    fails('NETWORK_INCOMPATIBLE_PURPOSES', 'secure and insecure are not mixed', s.network.add_purpose, other, 'insecure_nbd')
    check(fails('NETWORK_INCOMPATIBLE_PURPOSES', 'on one network neither', s.network.add_purpose, network, 'insecure_nbd') ==
          ['insecure_nbd', 'nbd'], 'both are named')
    old = s.VDI.get_nbd_info(vdi)[0]
    s.network.remove_purpose(network, 'nbd')
    check(s.VDI.get_nbd_info(vdi) == [], 'without a network there is nothing to connect to')
    try:
        socket.create_connection((old['address'], int(old['port'])), timeout=5)
        check(False, 'and the port is closed')
    except ConnectionError:
        check(True, 'and the port is closed')
    s.network.add_purpose(network, 'insecure_nbd')
    info = s.VDI.get_nbd_info(vdi)[0]
    got = run('nbdinfo', '--size', uri(info, scheme='nbd'))
    check(got.stdout.strip() == str(SIZE), 'insecure_nbd: without TLS: ' + got.stderr)
    check(run('nbdinfo', '--size', uri(info)).stdout.strip() == str(SIZE), 'or with it')
    s.network.remove_purpose(network, 'insecure_nbd')
    s.network.add_purpose(network, 'nbd')


class Backup:
    """What a backup product does: a full copy, then what changed, each time through a snapshot whose data then go."""

    def __init__(self, s, vdi):
        self.s, self.vdi, self.last, self.copy, self.moved = s, vdi, None, bytearray(SIZE), 0

    def read(self, snap, blocks):
        info = self.s.VDI.get_nbd_info(snap)[0]
        c = Client(info)
        c.tls()
        assert code(c.go(info['exportname'])) == 0
        for b in blocks:
            n = min(BLOCK, SIZE - b * BLOCK)
            self.copy[b * BLOCK:b * BLOCK + n] = c.read(b * BLOCK, n)
            self.moved += n
        c.s.sendall(struct.pack('>IHHQQI', 0x25609513, 0, 2, 0, 0, 0))
        c.s.close()

    def run(self):
        snap = self.s.VDI.snapshot(self.vdi, {})
        self.moved = 0
        if self.last:
            bits = base64.b64decode(self.s.VDI.list_changed_blocks(self.last, snap))
            blocks = [n for n in range(SIZE // BLOCK) if bits[n // 8] >> (7 - n % 8) & 1]
        else:
            blocks = range(SIZE // BLOCK)
        self.read(snap, blocks)
        self.s.VDI.data_destroy(snap)
        if self.last:
            self.s.VDI.destroy(self.last)
        self.last = snap


def backup(agent, s, sr, fmt, plugin):
    vdi = s.VDI.create(record(sr, 'to back up', sm_config={'type': fmt}))
    s.VDI.enable_cbt(vdi)
    path = os.path.join(agent.root, 'sr', s.VDI.get_uuid(vdi) + '.' + fmt)
    content, rng = bytearray(SIZE), random.Random(5)
    piece = os.path.join(work, 'piece')

    def write():
        at = rng.randrange(SIZE // 512) * 512
        data = rng.randbytes(min(rng.choice([512, 5000, 200000]), SIZE - at) // 512 * 512)
        content[at:at + len(data)] = data
        with open(piece, 'wb') as f:
            f.write(data)
        io = 'write -s %s %d %d' % (piece, at, len(data))
        got = (run('nbdkit', '-U', '-', plugin, 'image=' + path, '--run', 'qemu-io -f raw -c "%s" -c flush "$uri"' % io)
               if fmt == 'vhd' else run('qemu-io', '-f', fmt, '-c', io, path))
        assert got.returncode == 0, got.stderr

    b, right, little = Backup(s, vdi), True, True
    for n in range(4):
        for _ in range(3):
            write()
        b.run()
        right &= b.copy == content
        little &= n == 0 or b.moved <= 3 * (200000 + 2 * BLOCK)
    check(right, '%s: after each of four runs the copy is the disk' % fmt)
    check(little, 'and only what changed was read')
    restored = s.VDI.create(record(sr, 'restored'))
    raw = os.path.join(work, 'restore')
    with open(raw, 'wb') as f:
        f.write(b.copy)
    url = 'http://127.0.0.1:%d/import_raw_vdi?session_id=%s&vdi=%s' % (agent.http_port, s._ref, restored)
    got = run('curl', '-s', '-S', '-f', '-T', raw, url)
    check(got.returncode == 0, 'the copy is restored: ' + got.stderr)
    info = s.VDI.get_nbd_info(restored)[0]
    got = run('nbdcopy', uri(info), raw + '2')
    check(got.returncode == 0 and digest(raw + '2') == hashlib.sha256(content).hexdigest(), 'and reads as the disk: ' + got.stderr)
    for v in b.last, vdi, restored:
        s.VDI.destroy(v)


with Agent('--nbd-connections', '4') as agent:
    s = agent.login()
    sr = s.pool.get_default_SR(s.pool.get_all()[0])
    vdi = s.VDI.create(record(sr))
    path = os.path.join(agent.root, 'sr', s.VDI.get_uuid(vdi) + '.qcow2')
    run('qemu-io', '-f', 'qcow2', '-c', 'write -P 5 0 1M', '-c', 'write -P 6 %d 100k' % (20 * MIB), path)
    raw = os.path.join(work, 'raw')
    run('qemu-img', 'convert', '-f', 'qcow2', '-O', 'raw', path, raw)
    check(s.VDI.get_nbd_info(vdi) == [], 'nothing is served by default')
    network = s.PIF.get_network([p for p in s.PIF.get_all() if s.PIF.get_management(p)][0])
    other = [n for n in s.network.get_all() if n != network][0]
    s.network.add_purpose(network, 'nbd')
    s.network.add_purpose(network, 'nbd')
    check(s.network.get_purpose(network) == ['nbd'], 'a network serves NBD')
    clients(agent, s, vdi, raw)
    limits(agent, s, vdi)
    purposes(s, network, other, vdi)
    for fmt in ('qcow2', 'vhd') if vhd_opens() else ('qcow2',):
        backup(agent, s, sr, fmt, VHD_PLUGIN)

    # Kill -9 while a client reads, and again.
    info = s.VDI.get_nbd_info(vdi)[0]
    c = Client(info)
    c.tls()
    assert code(c.go(info['exportname'])) == 0
    agent.kill()
    agent.start()
    s = agent.login()
    info = s.VDI.get_nbd_info(vdi)[0]
    check(run('nbdinfo', '--size', uri(info)).stdout.strip() == str(SIZE), 'after kill -9 the server is there again')
    s.VDI.destroy(vdi)
    check(vdi not in s.VDI.get_all(), 'and nobody holds the disk: it can be destroyed')
done()
