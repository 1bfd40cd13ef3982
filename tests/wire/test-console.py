#!/usr/bin/env python3
"""Consoles over HTTP: raw after CONNECT, framed as WebSocket; a client that breaks the protocol or takes nothing harms nobody."""
import base64
import hashlib
import os
import socket
import struct

from harness import Agent, check, done, wait_until

MASK = b'\x11\x22\x33\x44'
KEY = base64.b64encode(b'0123456789abcdef').decode()


def frame(op, payload=b'', fin=0x80, masked=True):
    n, bit = len(payload), 0x80 if masked else 0
    head = bytes([fin | op]) + (bytes([bit | n]) if n < 126 else bytes([bit | 126]) + struct.pack('>H', n) if n < 65536
                                else bytes([bit | 127]) + struct.pack('>Q', n))
    if not masked:
        return head + payload
    return head + MASK + bytes(b ^ MASK[i & 3] for i, b in enumerate(payload))


class Client:
    def __init__(self, agent, head):
        self.sock = socket.create_connection(('127.0.0.1', agent.http_port), 20)
        self.sock.sendall(head)
        self.buf = b''

    def need(self, n):
        while len(self.buf) < n:
            got = self.sock.recv(65536)
            if not got:
                return None
            self.buf += got
        out, self.buf = self.buf[:n], self.buf[n:]
        return out

    def head(self):
        while b'\r\n\r\n' not in self.buf:
            got = self.sock.recv(65536)
            if not got:
                break
            self.buf += got
        out, _, self.buf = self.buf.partition(b'\r\n\r\n')
        return out.decode()

    def frame(self):
        """(op, payload), or None at the end."""
        try:
            head = self.need(2)
            if not head:
                return None
            n = head[1] & 0x7f
            if n == 126:
                n = struct.unpack('>H', self.need(2))[0]
            return head[0] & 0x0f, self.need(n)
        except ConnectionResetError:
            return None


def request(method, target, session, more=''):
    return ('%s /console?%s&session_id=%s HTTP/1.1\r\nHost: x\r\n%s\r\n' % (method, target, session, more)).encode()


UPGRADE = ('Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n'
           'Sec-WebSocket-Protocol: binary\r\n' % KEY)


def main(agent):
    s = agent.login()
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'screen')
    s.VM.provision(vm)
    c = Client(agent, request('CONNECT', 'ref=' + vm, s._ref))
    check(' 503 ' in c.head(), 'a VM that is off has no console')
    s.VM.start(vm, False, False)
    console = s.VM.get_consoles(vm)[0]
    c = Client(agent, request('CONNECT', 'ref=' + console, 'OpaqueRef:00000000-0000-4000-8000-00000000dead'))
    check(' 401 ' in c.head(), 'without a session: refused')
    c = Client(agent, request('CONNECT', 'ref=' + console, s._ref))
    check(' 200 ' in c.head() and c.need(12) == b'RFB 003.008\n', 'CONNECT: the screen greets')
    c.sock.close()
    c = Client(agent, request('GET', 'ref=' + console, s._ref))
    check(' 400 ' in c.head(), 'GET that is no WebSocket request')

    def web():
        w = Client(agent, request('GET', 'uuid=' + s.VM.get_uuid(vm), s._ref, UPGRADE))
        return w, w.head()

    w, head = web()
    accept = base64.b64encode(hashlib.sha1((KEY + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').encode()).digest()).decode()
    check(' 101 ' in head and accept in head and 'Sec-WebSocket-Protocol: binary' in head, 'WebSocket: the handshake')
    check(w.frame() == (2, b'RFB 003.008\n'), 'the greeting in a binary frame')
    for byte in frame(9, b'are you there'):
        w.sock.sendall(bytes([byte]))
    check(w.frame() == (10, b'are you there'), 'a ping, byte by byte, gets its pong')
    # A message in two fragments with a ping between them.
    w.sock.sendall(frame(2, b'RFB 003', fin=0) + frame(9, b'!') + frame(0, b'.008\n'))
    got = [w.frame(), w.frame()]
    check((10, b'!') in got and any(op == 2 and payload.startswith(b'\x01') for op, payload in got), 'fragments arrive whole: %r' % got)
    w.sock.sendall(frame(8, b'\x03\xe8bye'))
    check(w.frame() == (8, b'\x03\xe8') and w.frame() is None, 'close is answered, then the connection ends')

    for what, bad in (('an unmasked frame', frame(2, b'x', masked=False)), ('a reserved opcode', frame(11, b'x')),
                      ('reserved bits', frame(2, b'x', fin=0xc0)), ('a long ping', frame(9, b'x' * 126)),
                      ('a ping in fragments', frame(9, b'x', fin=0)), ('an endless length', b'\x82\xff' + b'\xff' * 8 + MASK)):
        w, _ = web()
        w.frame()
        w.sock.sendall(bad)
        last = w.frame()
        check(last is None or last[0] == 8, '%s ends the connection' % what)

    # A client that sends and reads nothing is held back, not served without end; one that goes leaves nothing.
    w, _ = web()
    w.sock.settimeout(2)
    try:
        for _ in range(2000):
            w.sock.sendall(frame(9, os.urandom(125)) * 100)
        held = False
    except socket.timeout:
        held = True
    check(held, 'pings whose pongs nobody reads are not taken without end')
    w.sock.close()
    w, _ = web()
    w.frame()
    s.VM.hard_shutdown(vm, )
    check((w.frame() or (8, b''))[0] == 8, 'the end of the guest closes its console')


def kinds(agent):
    """Which consoles a guest shows, and that each leads where it says."""
    s = agent.login()
    for domain_type, platform, shown in (('hvm', {}, ['rfb']), ('hvm', {'hvm_serial': 'none'}, ['rfb']),
                                         ('hvm', {'hvm_serial': 'pty'}, ['rfb', 'vt100']), ('pvh', {}, ['vt100']),
                                         ('pvh', {'framebuffer': 'true'}, ['rfb', 'vt100']), ('pvh', {'framebuffer': 'false'}, ['vt100'])):
        vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'kinds')
        s.VM.provision(vm)
        s.VM.set_domain_type(vm, domain_type)
        s.VM.set_platform(vm, platform)
        s.VM.start(vm, False, False)
        consoles = s.VM.get_consoles(vm)
        check([s.console.get_protocol(c) for c in consoles] == shown, '%s %s: %s, in this order' % (domain_type, platform, shown))
        clients = [Client(agent, request('CONNECT', s.console.get_location(c).partition('?')[2], s._ref)) for c in consoles]
        for c, protocol in zip(clients, shown):
            check(' 200 ' in c.head() and c.need(4) == (b'RFB ' if protocol == 'rfb' else b'simu'), 'its location leads to the ' + protocol)
        by_vm = Client(agent, request('CONNECT', 'ref=' + vm, s._ref))
        check(' 200 ' in by_vm.head(), 'the VM by itself: the first of them')
        s.VM.hard_shutdown(vm)
        check(s.VM.get_consoles(vm) == [] and all(c.need(1 << 20) is None for c in clients), 'both go with the guest')
        s.VM.destroy(vm)
    check(s.console.get_all_records_where('field "protocol" = "rfb"') == {}, 'no console is left')


def of_host(agent):
    """The control domain's: a program on a terminal of its own for each viewer, which ends with him; for administrators only."""
    s = agent.login()
    dom0 = next(iter(s.VM.get_all_records_where('field "is_control_domain" = "true"')))
    console, = s.VM.get_consoles(dom0)
    check(s.console.get_protocol(console) == 'vt100' and s.console.get_location(console).endswith('/console?ref=' + console), 'a text console')

    def here():
        found = []
        for pid in filter(str.isdigit, os.listdir('/proc')):
            try:
                words = open('/proc/%s/cmdline' % pid, 'rb').read()
                if agent.mark in words and b'--host-console' not in words:
                    found.append(pid)
            except OSError:
                pass
        return found
    one, two = (Client(agent, request('CONNECT', 'ref=' + name, s._ref)) for name in (console, dom0))
    check(all(' 200 ' in c.head() for c in (one, two)), 'two viewers')
    terminals = set()
    for c in (one, two):
        said = b''
        while not said.endswith(b'\n'):
            said += c.need(1)
        terminals.add(said.strip())
    check(len(terminals) == 2 and all(t.startswith(b'/dev/pts/') for t in terminals), 'each on a terminal of his own: %s' % terminals)
    one.sock.sendall(b'6x7\r')
    check(one.need(10) == b'6x7\r\n6x7\r\n', 'what is typed is shown, and goes to the program')
    check(here() != [], 'which runs')
    one.sock.close()
    own = agent.login()
    three = Client(agent, request('CONNECT', 'ref=' + console, own._ref))
    check(' 200 ' in three.head() and three.need(1), 'a third, in a session of his own')
    own.session.logout()
    check(three.need(1 << 20) is None, 'ends with his session')
    two.sock.close()
    check(wait_until(lambda: here() == []), 'nothing runs any more: %s' % here())
    c = Client(agent, request('CONNECT', 'protocol=rfb&ref=' + console, s._ref))
    check(' 503 ' in c.head(), 'it has no screen')
    agent.stop()
    agent.options = ['--host-console', 'none']
    agent.start()
    s = agent.login()
    check(s.VM.get_consoles(dom0) == [], 'an administrator may have none')
    c = Client(agent, request('CONNECT', 'ref=' + dom0, s._ref))
    check(' 503 ' in c.head(), 'nor is one served')


with Agent() as agent:
    main(agent)
    kinds(agent)
with Agent() as agent:
    agent.mark = ('mark=%d' % os.getpid()).encode()
    agent.stop()
    agent.options = ['--host-console', 'tty; exec env %s cat' % agent.mark.decode()]
    agent.start()
    of_host(agent)
done()
