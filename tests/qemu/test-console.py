#!/usr/bin/env python3
"""A guest's consoles through the API: text by CONNECT, both ways; the screen as RFB by CONNECT and by WebSocket; and xe vm-console
in a real terminal."""
import base64
import hashlib
import os
import socket
import ssl
import struct
import time

from harness import BUILD, QemuAgent, check, done, guest_files, own_network, wait_until
from terminal import Terminal

MIB = 1 << 20

own_network()
kernel, initramfs = guest_files()


def make_vm(s, name, domain_type):
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], name)
    s.VM.provision(vm)
    s.VM.set_memory_limits(vm, str(64 * MIB), str(192 * MIB), str(192 * MIB), str(192 * MIB))
    s.VM.set_domain_type(vm, domain_type)
    s.VM.set_PV_kernel(vm, kernel)
    s.VM.set_PV_ramdisk(vm, initramfs)
    s.VM.set_PV_args(vm, 'console=ttyS0 mitigations=off nonce=' + name)
    return vm


def connect(port):
    """A TLS connection, as console clients make."""
    raw = socket.create_connection(('127.0.0.1', port), timeout=30)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(raw)


def read_head(sock):
    head = b''
    while not head.endswith(b'\r\n\r\n'):
        piece = sock.recv(1)
        if not piece:
            break
        head += piece
    return head.decode()


def read_until(sock, mark, seconds=60):
    got, until = b'', time.monotonic() + seconds
    sock.settimeout(2)
    while mark not in got and time.monotonic() < until:
        try:
            piece = sock.recv(4096)
        except (TimeoutError, socket.timeout):
            continue
        if not piece:
            break
        got += piece
    return got


def frame(payload, op=2):
    mask = os.urandom(4)
    assert len(payload) < 126
    return bytes([0x80 | op, 0x80 | len(payload)]) + mask + bytes(b ^ mask[i & 3] for i, b in enumerate(payload))


def read_frame(sock):
    head = sock.recv(2)
    size = head[1]
    if size == 126:
        size = struct.unpack('>H', sock.recv(2))[0]
    body = b''
    while len(body) < size:
        body += sock.recv(size - len(body))
    return head[0] & 15, body


with QemuAgent() as agent:
    s = agent.login()
    text, screen = make_vm(s, 'text', 'pvh'), make_vm(s, 'screen', 'hvm')
    s.VM.add_to_other_config(text, 'cloud-init-user-data', '#cloud-config\n# %s of it\n' % ('word-' * 3))
    s.VM.add_to_platform(screen, 'hvm_serial', 'pty')
    for vm in (text, screen):
        s.VM.start(vm, False, False)
    consoles = [s.VM.get_consoles(vm) for vm in (text, screen)]
    check([[s.console.get_protocol(c) for c in list_of] for list_of in consoles] == [['vt100'], ['rfb', 'vt100']],
          'text for a guest without a screen, RFB for one with it, and its serial line too when it has one')
    location = s.console.get_location(consoles[1][0])
    check(location.startswith('https://') and '/console?ref=OpaqueRef:' in location, 'an absolute URL: ' + location)

    session = s._ref   # over the unix socket: good for TLS too
    sock = connect(agent.https_port)
    sock.sendall(('CONNECT /console?ref=%s HTTP/1.0\r\nHost: x\r\nCookie: session_id=%s\r\n\r\n' % (consoles[0][0], session)).encode())
    check(' 200 ' in read_head(sock).splitlines()[0], 'CONNECT with a session cookie is answered 200')
    wait_until(lambda: 'userland: text' in agent.console_log(s.VM.get_uuid(text)), 180)
    sock.sendall(b'\necho $((6*7))-answer\n')
    check(b'42-answer' in read_until(sock, b'42-answer'), 'what is typed is run by the guest, and its answer comes back')
    sock.sendall(b'head -c 32814 /dev/vda | tail -c 6; mount -r -t iso9660 /dev/vda /mnt && cat /mnt/user-data /mnt/meta-data; echo $((6*7))-read\n')
    read = read_until(sock, b'42-read')
    check(b'cidata' in read.split(b'\n', 1)[1] and b'word-word-word- of it' in read and s.VM.get_uuid(text).encode() in read,
          'it reads its cloud-init disk: %s' % read)
    sock.close()

    sock = connect(agent.https_port)
    sock.sendall(('CONNECT /console?uuid=%s&session_id=%s HTTP/1.0\r\n\r\n' % (s.VM.get_uuid(screen), session)).encode())
    check(' 200 ' in read_head(sock).splitlines()[0] and read_until(sock, b'\n', 20).startswith(b'RFB 003.'),
          'the screen by the uuid of its VM: RFB')
    sock.close()

    sock = connect(agent.https_port)
    sock.sendall(('CONNECT /console?ref=%s&session_id=%s HTTP/1.0\r\n\r\n' % (consoles[1][1], session)).encode())
    sock.settimeout(2)
    check(' 200 ' in read_head(sock).splitlines()[0] and b'RFB' not in read_until(sock, b'RFB', 2), 'its serial line beside it: text')
    sock.close()

    sock = connect(agent.https_port)
    key = base64.b64encode(os.urandom(16)).decode()
    sock.sendall(('GET /console?ref=%s&session_id=%s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
                  'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\nSec-WebSocket-Protocol: binary\r\n\r\n' %
                  (consoles[1][0], session, key)).encode())
    head = read_head(sock)
    accept = base64.b64encode(hashlib.sha1((key + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').encode()).digest()).decode()
    check(' 101 ' in head.splitlines()[0] and accept in head and 'Sec-WebSocket-Protocol: binary' in head, 'WebSocket handshake')
    op, body = read_frame(sock)
    check(op == 2 and body.startswith(b'RFB 003.'), 'its first binary frame is the RFB greeting')
    sock.sendall(frame(b'RFB 003.008\n'))
    op, body = read_frame(sock)
    check(op == 2 and body[0] >= 1, 'the handshake of RFB goes on through frames')
    sock.sendall(frame(b'hello', 9))
    op, body = read_frame(sock)
    check(op == 10 and body == b'hello', 'a ping is answered')
    sock.sendall(frame(b'\x03\xe8', 8))
    check(read_frame(sock)[0] == 8, 'and a close')
    sock.close()

    for path, status, what in (('/console?ref=%s' % consoles[0][0], '401', 'without a session'),
                               ('/console?session_id=%s' % session, '400', 'without a name'),
                               ('/console?ref=OpaqueRef:NULL&session_id=%s' % session, '404', 'of nothing')):
        sock = connect(agent.https_port)
        sock.sendall(('CONNECT %s HTTP/1.0\r\n\r\n' % path).encode())
        check(' %s ' % status in read_head(sock).splitlines()[0], 'a console %s is refused: %s' % (what, status))
        sock.close()

    env = {'PATH': os.path.join(BUILD, 'xe') + ':' + os.environ['PATH'], 'XAPI_SOCKET': agent.socket, 'HOME': agent.root}
    with Terminal(env) as t:
        for name in ('text', 'screen'):
            t.run('xe vm-console vm=%s' % name)
            check(t.wait('to quit.'), 'xe vm-console: the serial line of the guest "%s"' % name)
            if name == 'text':     # the other has no disk to boot from: its line is silent
                t.keys('Enter')
                t.type('echo $((6*7))-typed')
                t.keys('Enter')
                check(t.wait('\n42-typed', 60), 'a line typed there is run by the guest')
            t.keys('C-]')
            check(t.wait_prompt() and t.status() == 0, 'Ctrl-] leaves')
    for vm in (text, screen):
        s.VM.hard_shutdown(vm)
done()
