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
from harness import QemuAgent, check, done, own_network, wait_until

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


def forward(listener, port, query):
    """What XenCenter does for its viewer: a local connection goes through CONNECT."""
    while True:
        near, _ = listener.accept()
        head, far = ask(port, 'CONNECT /console?%s HTTP/1.0' % query)
        if ' 200 ' not in head:
            near.close()
            continue
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


def drawn(take):
    """The size and colours of take()'s picture. While a firmware begins, its screen is black."""
    seen = []
    wait_until(lambda: seen.append(colours(take())) or seen[-1][2] > 1, step=0.2)
    return seen[-1]


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
    metrics = s.VM.get_metrics(vm)
    began = s.VM_metrics.get_start_time(metrics)
    picture = os.path.join(agent.root, 'page.png')
    with subprocess.Popen(['node', os.path.join(node_client.HERE, 'novnc.mjs'), 'wss://127.0.0.1:%d/console?%s' % (port, query), picture],
                          cwd=npm, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as viewer:
        late = threading.Timer(400, viewer.kill)
        late.start()
        steps = 0
        for line in viewer.stdout:
            if line.startswith('#'):
                again = wait_until(lambda: s.VM_metrics.get_start_time(metrics) != began)
                check(again, 'its Ctrl-Alt-Del reaches the guest: it begins again')
                viewer.stdin.write('go on\n')
                viewer.stdin.flush()
            elif line.startswith(('ok ', 'not ok ')):
                steps += 1
                check(line.startswith('ok '), line.strip().split(' - ', 1)[1])
        late.cancel()
    check(viewer.returncode == 0 and steps == 4, 'noVNC went through its steps')

    listener = socket.create_server(('127.0.0.1', 0))
    threading.Thread(target=forward, args=(listener, port, query), daemon=True).start()
    taken = os.path.join(agent.root, 'taken.jpg')
    local = listener.getsockname()[1]

    def theirs():
        # display numbers count from port 5900
        subprocess.run(['vncsnapshot', '-quiet', '127.0.0.1:%d' % (local - 5900), taken], check=True, timeout=120)
        with open(taken, 'rb') as f:
            return f.read()

    def ours():
        head, sock = ask(port, 'GET /vncsnapshot?uuid=%s&session_id=%s HTTP/1.0' % (s.VM.get_uuid(vm), s._ref))
        assert ' 200 ' in head.splitlines()[0] and 'image/jpeg' in head, head
        return read_all(sock)

    size = drawn(theirs)
    check(size[2] > 1, 'vncsnapshot through CONNECT takes a picture of what is on the screen: %d x %d, %d colours' % size)
    mine = drawn(ours)
    check(mine[:2] == size[:2] and mine[2] > 1, 'GET /vncsnapshot by the uuid of a VM gives a JPEG of it: %d x %d, %d colours' % mine)

    head, _ = ask(port, 'GET /vncsnapshot?ref=%s HTTP/1.0' % console)
    check(' 401 ' in head.splitlines()[0], 'not without a session')
    s.VM.hard_shutdown(vm)
    head, _ = ask(port, 'GET /vncsnapshot?uuid=%s&session_id=%s HTTP/1.0' % (s.VM.get_uuid(vm), s._ref))
    check(' 503 ' in head.splitlines()[0], 'nor of a VM that is halted: 503')
done()
