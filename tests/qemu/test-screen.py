#!/usr/bin/env python3
"""A guest's screen (of the firmware, which finds nothing to boot) as people see it: noVNC in headless Chromium over WebSocket, Debian's vncsnapshot through CONNECT, and
GET /vncsnapshot."""
import os
import socket
import ssl
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'clients'))
import node_client
from harness import QemuAgent, check, done, own_network

MIB = 1 << 20


def tls(port):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(socket.create_connection(('127.0.0.1', port), timeout=60))


def ask(port, head):
    """The status line and headers of the answer, and the connection behind them."""
    sock = tls(port)
    sock.sendall(head.encode() + b'\r\n\r\n')
    got = b''
    while not got.endswith(b'\r\n\r\n'):
        piece = sock.recv(1)
        if not piece:
            break
        got += piece
    return got.decode(), sock


def read_all(sock):
    out = b''
    while True:
        piece = sock.recv(65536)
        if not piece:
            return out
        out += piece


def pump(source, target):
    try:
        while True:
            piece = source.recv(65536)
            if not piece:
                break
            target.sendall(piece)
    except OSError:
        pass
    try:
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def forward_once(listener, port, query):
    """What XenCenter does for its viewer: a local connection goes through CONNECT."""
    near, _ = listener.accept()
    head, far = ask(port, 'CONNECT /console?%s HTTP/1.0' % query)
    if ' 200 ' not in head:
        near.close()
        return
    back = threading.Thread(target=pump, args=(far, near))
    back.start()
    pump(near, far)
    back.join()


def colours(jpeg):
    """Size of a picture, and how many different colours it has: by libjpeg's own program."""
    ppm = subprocess.run(['djpeg', '-ppm'], input=jpeg, capture_output=True, check=True).stdout
    kind, size, most, pixels = ppm.split(b'\n', 3)
    assert kind == b'P6' and most == b'255'
    width, height = map(int, size.split())
    return width, height, len({pixels[i:i + 3] for i in range(0, len(pixels), 3)})


npm = node_client.install()     # needs the machine's network
own_network()
with QemuAgent() as agent:
    s = agent.login()
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'screen')
    s.VM.provision(vm)
    s.VM.set_memory_limits(vm, str(64 * MIB), str(192 * MIB), str(192 * MIB), str(192 * MIB))
    s.VM.set_domain_type(vm, 'hvm')
    s.VM.start(vm, False, False)
    console, = s.VM.get_consoles(vm)
    port, query = agent.https_port, 'ref=%s&session_id=%s' % (console, s._ref)
    check(s.console.get_protocol(console) == 'rfb', 'a console with a screen')
    picture = os.path.join(agent.root, 'page.png')
    out = subprocess.run(['node', os.path.join(node_client.HERE, 'novnc.mjs'), 'wss://127.0.0.1:%d/console?%s' % (port, query),
                          picture], cwd=npm, capture_output=True, text=True, timeout=400)
    lines = [line for line in out.stdout.splitlines() if line.startswith(('ok ', 'not ok '))]
    for line in lines:
        check(line.startswith('ok '), line.split(' - ', 1)[1])
    check(out.returncode == 0 and len(lines) == 5, 'noVNC went through its steps' + ('' if out.returncode == 0 else ': ' + out.stderr[-2000:]))

    listener = socket.create_server(('127.0.0.1', 0))
    threading.Thread(target=forward_once, args=(listener, port, query), daemon=True).start()
    taken = os.path.join(agent.root, 'taken.jpg')
    local = listener.getsockname()[1]
    # display numbers count from port 5900
    viewer = subprocess.run(['vncsnapshot', '-quiet', '127.0.0.1:%d' % (local - 5900), taken], capture_output=True, text=True,
                            timeout=120)
    check(viewer.returncode == 0, 'vncsnapshot takes a picture through CONNECT' + (': ' + viewer.stderr if viewer.returncode else ''))
    theirs = colours(open(taken, 'rb').read())
    check(theirs[2] > 1, 'of what is on the screen: %d x %d, %d colours' % theirs)

    head, sock = ask(port, 'GET /vncsnapshot?uuid=%s&session_id=%s HTTP/1.0' % (s.VM.get_uuid(vm), s._ref))
    check(' 200 ' in head.splitlines()[0] and 'image/jpeg' in head, 'GET /vncsnapshot by the uuid of a VM gives a JPEG')
    ours = colours(read_all(sock))
    check(ours[:2] == theirs[:2] and ours[2] > 1, 'of the same size, and not of one colour: %d x %d, %d colours' % ours)

    head, _ = ask(port, 'GET /vncsnapshot?ref=%s HTTP/1.0' % console)
    check(' 401 ' in head.splitlines()[0], 'not without a session')
    s.VM.hard_shutdown(vm)
    head, _ = ask(port, 'GET /vncsnapshot?uuid=%s&session_id=%s HTTP/1.0' % (s.VM.get_uuid(vm), s._ref))
    check(' 503 ' in head.splitlines()[0], 'nor of a VM that is halted: 503')
done()
