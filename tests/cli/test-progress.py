#!/usr/bin/python3
"""Long operations: the bar on a terminal (and nothing elsewhere), Ctrl-C with and without somebody to ask, what is left behind."""
import os
import re
import shlex
import signal
import socket
import struct
import subprocess
import threading
import time

from harness import BUILD, PASSWORD, USER, Agent, check, done, wait_until
from terminal import Terminal
from thinserver import DEBUG, EXIT, FAILED, FOLDER, GET, HELLO, PRINT, STDERR, Peer, both, command, thin

XE = os.path.join(BUILD, 'xe', 'xe')
MIB = 1 << 20


def environment(agent):
    return {'PATH': os.path.dirname(XE) + ':' + os.environ['PATH'], 'XAPI_SOCKET': agent.socket, 'HOME': agent.root}


def start(agent, *args, **named):
    return subprocess.Popen([XE, *args], env=environment(agent), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, **named)


def interrupt(p, number=signal.SIGINT):
    """Signals it; exit status, output, errors, seconds it took."""
    began = time.monotonic()
    p.send_signal(number)
    out, err = p.communicate(timeout=60)
    return p.returncode, out, err, time.monotonic() - began


def pending(s):
    return [r for r in s.task.get_all_records().values() if r['status'] in ('pending', 'cancelling')]


# ---- the protocol: who does not ask is told nothing

def talk(agent, wants, *args):
    """What the server says: [(tag, text)]."""
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(agent.socket)
    peer = Peer(sock)
    body = '\n'.join(args + ('username=root', 'password='))
    sock.sendall(('POST /cli HTTP/1.0\r\n%scontent-length: %d\r\n\r\n%s' % (wants, len(body), body)).encode())
    assert peer.read(35) == HELLO
    sock.sendall(HELLO)
    said = []
    while not said or said[-1][0] != EXIT:
        m = peer.message()
        tag = struct.unpack('<i', m[4:8])[0]
        said.append((tag, m[12:].decode() if tag in (PRINT, STDERR, DEBUG) else m[8:]))
    sock.close()
    return said


def protocol(agent, s, vm):
    uuid = s.VM.get_uuid(vm)
    said = talk(agent, '', 'vm-start', 'uuid=' + uuid)
    check([tag for tag, _ in said] == [EXIT], 'a client that does not ask for it hears nothing of tasks')
    said = talk(agent, 'X-Xe-Wants: other, task\r\n', 'vm-shutdown', 'uuid=' + uuid, 'force=true')
    check(said[0][1] == 'xe-task soon' and re.match(r'xe-task begin OpaqueRef:\S+ OpaqueRef:\S+$', said[1][1]) and
          said[-2][1] == 'xe-task end' and {tag for tag, _ in said[:-1]} == {DEBUG}, 'one that does hears of the task, and nothing else is different')
    said = talk(agent, 'X-Xe-Wants: task\r\n', 'vm-start', 'uuid=' + uuid, '--progress')
    bar = [text for tag, text in said if tag == STDERR]
    check([text.split()[1] for tag, text in said if tag == DEBUG] == ['soon', 'shown', 'end'] and bar and bar[0].startswith('\r '),
          'with --progress it is the bar that it always was, and the client knows whom to cancel')
    s.VM.hard_shutdown(vm)
    for task in s.task.get_all():
        s.task.destroy(task)
    r = subprocess.run([XE, 'vm-start', 'uuid=' + uuid], env=environment(agent), capture_output=True, text=True, timeout=60)
    check((r.returncode, r.stdout, r.stderr) == (0, '', '') and not s.task.get_all(), 'no terminal, no bar; and no task is left')


# ---- Ctrl-C where nobody can be asked

def without_terminal(agent, s, vm):
    uuid = s.VM.get_uuid(vm)
    agent.poke('deaf ' + uuid)
    for way in ([], ['--xmlrpc'], ['-s', 'localhost', '-p', str(agent.https_port), '-u', USER, '-pw', PASSWORD]):
        p = start(agent, 'vm-shutdown', 'uuid=' + uuid, *way)
        wait_until(lambda: s.VM.get_current_operations(vm))
        wait_until(lambda: pending(s))
        time.sleep(0.3)                # it hears of its task
        code, out, err, took = interrupt(p)
        check(code == 130 and out == '' and 'cancelled' in err and took < 10 and not pending(s) and not s.VM.get_current_operations(vm),
              'Ctrl-C cancels the task and waits for its end: 130 %s' % ' '.join(way[:1]))
        check(s.VM.get_power_state(vm) == 'Running', 'the VM runs on')
    p = start(agent, 'vm-list', '--watch')
    p.stdout.readline()
    check(interrupt(p)[0] == 130, 'where nothing can be cancelled xe just ends')


def new_vdi(s, sr, size, name):
    return s.VDI.create({'name_label': name, 'name_description': '', 'SR': sr, 'virtual_size': str(size), 'type': 'user', 'sharable': False,
                         'read_only': False, 'other_config': {}, 'xenstore_data': {}, 'sm_config': {}, 'tags': []})


def transfers(agent, s, sr):
    vdi = new_vdi(s, sr, 64 * MIB, 'disk')
    uuid = s.VDI.get_uuid(vdi)
    fifo = os.path.join(agent.root, 'fifo')
    os.mkfifo(fifo)
    for number, name in ((signal.SIGINT, 'Ctrl-C'), (signal.SIGTERM, 'SIGTERM')):
        p = start(agent, 'vdi-import', 'uuid=' + uuid, 'filename=' + fifo)
        with open(fifo, 'wb', buffering=0) as f:
            f.write(b'x' * (4 * MIB))
            wait_until(lambda: pending(s))
            code, _, err, took = interrupt(p, number)
        check(code == 128 + number and took < 10 and 'broke off' not in err, 'an upload that waits for its pipe hears %s' % name)
        check(wait_until(lambda: not pending(s) and not s.VDI.get_current_operations(vdi)), 'its task has ended, the disk is free')
    os.unlink(fifo)
    big = os.path.join(agent.root, 'big')
    with open(big, 'wb') as f:
        f.write(os.urandom(MIB) * 64)
    subprocess.run([XE, 'vdi-import', 'uuid=' + uuid, 'filename=' + big], env=environment(agent), check=True, timeout=60)
    read, write = os.pipe()
    p = subprocess.Popen([XE, 'vdi-export', 'uuid=' + uuid, 'filename='], env=environment(agent), stdin=subprocess.DEVNULL, stdout=write,
                         stderr=subprocess.PIPE, text=True)
    os.close(write)
    os.read(read, 1)                   # then nobody reads on
    code, _, err, took = interrupt(p)
    os.close(read)
    check(code == 130 and took < 10 and 'cancelled' in err, 'a download whose reader sleeps hears it: %d, %.1f s, %r' % (code, took, err))
    check(wait_until(lambda: not pending(s)), 'its task has ended')
    out = os.path.join(agent.root, 'out')
    r = subprocess.run([XE, 'vdi-export', 'uuid=' + uuid, 'filename=' + out], env=environment(agent), timeout=60)
    check(r.returncode == 0 and open(out, 'rb').read() == open(big, 'rb').read(), 'one that nobody disturbs is whole')


# ---- a server of our own making: what takes long stays so until the test says

class Slow:
    """Conversations that begin a task, say how far it is, and end when the test lets them."""

    def __init__(self, done='0.42', exit=1):
        self.go, self.cancelled, self.exit = threading.Event(), threading.Event(), exit
        self.first = [command(DEBUG, 'xe-task begin OpaqueRef:s OpaqueRef:t'), command(DEBUG, 'xe-task progress ' + done)]

    def __call__(self, peer, server):
        peer.send(*self.first)
        self.go.wait(30)
        peer.send(command(DEBUG, 'xe-task end'), command(PRINT, 'the end'), command(EXIT, self.exit))

    def cancel(self, peer, server):
        head, body = peer.request()
        server.seen += [head, body]
        self.cancelled.set()
        self.answer(peer)

    def answer(self, peer):
        peer.send(b'HTTP/1.1 200 OK\r\n\r\n<value>Success</value>')
        self.go.set()


def fake_signals():
    env = {'HOME': FOLDER, 'PATH': os.environ['PATH']}
    slow = Slow()
    s = both(thin(then=slow), slow.cancel)
    p = subprocess.Popen([XE, 'vm-copy'], env=dict(env, XAPI_SOCKET=s.path), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True)
    wait_until(lambda: len(s.seen) > 2)
    time.sleep(0.5)
    code, out, err, took = interrupt(p)
    check(code == 130 and out == 'the end\n' and err == '', 'a cancelled operation is waited for')
    check(b'<methodName>task.cancel</methodName>' in s.seen[-1] and b'OpaqueRef:s<' in s.seen[-1] and b'OpaqueRef:t<' in s.seen[-1],
          'task.cancel is called with the session and the task')
    check(b'x-xe-wants: task' in s.seen[0].lower(), 'xe asks to be told')

    for early in (True, False):        # before the task has a name, which the server says it will have
        slow = Slow()
        named = threading.Event()

        def nameless(peer, server):
            peer.send(command(DEBUG, 'xe-task soon'))
            named.wait(30)
            if early:
                slow(peer, server)
            else:
                peer.send(command(DEBUG, 'xe-task end'), command(EXIT, 1))
        s = both(thin(then=nameless), slow.cancel)
        p = subprocess.Popen([XE, 'vm-copy'], env=dict(env, XAPI_SOCKET=s.path), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True)
        wait_until(lambda: len(s.seen) > 1)
        time.sleep(0.5)
        p.send_signal(signal.SIGINT)
        time.sleep(0.3)
        check(p.poll() is None, 'Ctrl-C before the task has a name waits for it')
        named.set()
        out, err = p.communicate(timeout=30)
        check(p.returncode == 130, 'then 130')
        check(not early or slow.cancelled.is_set(), 'and a task that then has a name is cancelled')
    s = both(thin(then=lambda peer, server: (peer.send(command(DEBUG, 'xe-task soon')), peer.s.recv(1))))
    p = subprocess.Popen([XE, 'vm-copy'], env=dict(env, XAPI_SOCKET=s.path), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True)
    wait_until(lambda: len(s.seen) > 1)
    time.sleep(0.5)
    p.send_signal(signal.SIGINT)
    time.sleep(0.2)
    check(interrupt(p)[0] == 130, 'a second one leaves at once')

    slow = Slow(exit=0)
    s = both(thin(then=slow), slow.cancel)
    p = subprocess.Popen([XE, 'vm-copy'], env=dict(env, XAPI_SOCKET=s.path), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True)
    wait_until(lambda: len(s.seen) > 2)
    time.sleep(0.5)
    check(interrupt(p)[0] == 0, 'what could not be stopped any more has succeeded')

    slow = Slow()
    slow.answer = lambda peer: peer.s.recv(1)      # the server thinks
    s = both(thin(then=slow), slow.cancel)
    p = subprocess.Popen([XE, 'vm-copy'], env=dict(env, XAPI_SOCKET=s.path), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True)
    wait_until(lambda: len(s.seen) > 2)
    time.sleep(0.5)
    p.send_signal(signal.SIGINT)
    slow.cancelled.wait(10)
    code, out, err, took = interrupt(p)
    check(code == 130 and took < 2, 'a second Ctrl-C leaves at once')
    slow.go.set()


def fake_download(t):
    """A transfer of a server that says nothing of tasks: the URL names the task."""
    out = os.path.join(FOLDER, 'half')
    slow = Slow()

    def get(peer, server):
        peer.send(command(GET, out, '/export?session_id=OpaqueRef:s&task_id=OpaqueRef:t'))
        server.answer = peer.message()
        peer.send(command(EXIT, 1))

    def data(peer, server):
        head = b''
        while b'\r\n\r\n' not in head:
            head += peer.read(1)
        peer.send(b'HTTP/1.0 200 OK\r\n\r\n' + b'x' * 3 * MIB)
        slow.go.wait(30)
    s = both(thin(then=get), data, slow.cancel)
    t.run('XAPI_SOCKET=%s xe vm-export filename=%s' % (s.path, out))
    check(t.wait(re.compile(r'vm-export  3\.0 MiB  \S+ \S+iB/s  0:0\d')), 'a download shows bytes and bytes a second')
    check(os.path.getsize(out) == 3 * MIB, 'while the file grows')
    t.keys('C-c')
    check(t.wait('Cancel the task? [y/N]'), 'Ctrl-C asks')
    t.type('y')
    t.keys('Enter')
    check(t.wait_prompt() and t.status() == 130, 'yes: 130')
    check(s.answer == FAILED and not os.path.exists(out), 'the server is told, and no half file is left')


def fake_nameless(t):
    """On a terminal the question is asked before the task has a name; it gets one while the question stands."""
    slow = Slow()
    asked = threading.Event()

    def nameless(peer, server):
        peer.send(command(DEBUG, 'xe-task soon'))
        asked.wait(30)
        slow(peer, server)
    s = both(thin(then=nameless), slow.cancel)
    t.run('XAPI_SOCKET=%s xe vm-copy' % s.path)
    wait_until(lambda: len(s.seen) > 1)
    time.sleep(0.3)
    t.keys('C-c')
    check(t.wait('Cancel the task? [y/N]'), 'Ctrl-C asks before the task has a name')
    asked.set()
    time.sleep(0.5)
    check('Cancel the task? [y/N]' in t.screen() and not slow.cancelled.is_set(), 'the question stays when it gets one')
    t.type('y')
    t.keys('Enter')
    check(t.wait_prompt() and t.status() == 130 and slow.cancelled.is_set(), 'yes cancels it then')


def on_terminal(agent, s, t, vm):
    slow = Slow(exit=0)
    s1 = both(thin(then=slow))
    t.run('XAPI_SOCKET=%s xe vm-copy' % s1.path)
    check(t.wait(re.compile(r'^vm-copy  42% \[#{16,17}-+\]  0:0\d$', re.M)), 'the bar: name, part done, time')
    t.resize(40, 20)
    check(t.wait(re.compile(r'^vm-copy  42%  0:0\d$', re.M)), 'in a narrow window what matters stays')
    t.resize(100, 30)
    slow.go.set()
    check(t.wait(re.compile(r'^the end$', re.M)) and t.wait_prompt() and 'vm-copy  42' not in t.screen(), 'at its end the bar is gone')
    t.run('XAPI_SOCKET=%s xe vm-copy 2>/dev/null' % agent.socket)
    t.wait_prompt()

    uuid = s.VM.get_uuid(vm)
    t.run('xe vm-shutdown uuid=%s' % uuid)
    check(t.wait(re.compile(r'^vm-shutdown  0:0\d$', re.M)), 'of what cannot tell how far it is: the time')
    t.keys('C-c')
    check(t.wait('Cancel the task? [y/N]'), 'Ctrl-C asks first')
    t.keys('Enter')
    check(t.wait(re.compile(r'\[y/N\] *\n.*vm-shutdown  0:\d\d$', re.M | re.S)), 'no is the answer of somebody who just presses Enter: it goes on')
    t.keys('C-c')
    t.wait(lambda text: text.count('Cancel the task?') == 2)
    t.keys('C-c')
    check(t.wait_prompt() and t.status() == 130, 'Ctrl-C at the question leaves at once')
    check(pending(s) and s.VM.get_current_operations(vm), 'and the task goes on without xe')
    for task in s.task.get_all():
        s.task.cancel(task)
    wait_until(lambda: not s.VM.get_current_operations(vm))
    t.run('xe vm-shutdown uuid=%s' % uuid)
    t.wait(re.compile(r'^vm-shutdown  0:0\d$', re.M))
    t.keys('C-c')
    t.wait('Cancel the task? [y/N]')
    t.type('yes')
    t.keys('Enter')
    check(t.wait('cancelled') and t.wait_prompt() and t.status() == 130, 'yes cancels it: 130')
    check(not pending(s) and not s.VM.get_current_operations(vm), 'and nothing is left of it')
    s.VM.hard_shutdown(vm)
    agent.poke('set start_ms 4000')
    t.run('xe vm-start uuid=%s' % uuid)
    t.wait(re.compile(r'^vm-start .*0:0\d$', re.M))
    t.keys('C-c')
    t.wait('Cancel the task? [y/N]')
    check(t.wait_prompt(), 'an operation that ends meanwhile answers the question itself')
    check(t.status() == 0, 'and has succeeded')


with Agent() as agent:
    s = agent.login()
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'guest')
    s.VM.provision(vm)
    folder = os.path.join(agent.root, 'disks')
    os.mkdir(folder)
    sr = s.SR.create(s.host.get_all()[0], {'location': folder}, '0', 'disks', '', 'file', 'user', False, {})
    protocol(agent, s, vm)
    without_terminal(agent, s, vm)
    transfers(agent, s, sr)
    fake_signals()
    with Terminal(environment(agent)) as t:
        fake_download(t)
        fake_nameless(t)
        on_terminal(agent, s, t, vm)
done()
