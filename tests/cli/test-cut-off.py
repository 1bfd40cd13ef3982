#!/usr/bin/python3
"""Every command that streams, cut off in the middle of its bytes: the server is killed, xe is killed. Each time xe says so with status 1,
leaves no half file, and the server has done nothing by halves: no task goes on, what it had stays as it was.

What the bytes go through stops in their middle, so that nothing depends on how fast anybody is."""
import os
import select
import signal
import subprocess
import tempfile
import threading

from harness import BUILD, PASSWORD, USER, Agent, check, done, wait_until
from relay import Relay

XE = os.path.join(BUILD, 'xe', 'xe')
MIB = 1 << 20


class Middle(Relay):
    """Lets calls through, and of a transfer's body one byte: in the direction in which it goes."""

    def __init__(self, port):
        super().__init__(('127.0.0.1', 0), ('127.0.0.1', port))
        self.port = self.listener.getsockname()[1]
        self.begun = threading.Event()
        self.stop = threading.Event()

    def carry(self, client, server):
        head = self.read_head(client)
        if head.startswith(b'PUT '):
            threading.Thread(target=self.pump, args=(server, client), daemon=True).start()
            self.one_byte(head, client, server)
        elif head.startswith(b'GET '):
            server.sendall(head)
            self.one_byte(self.read_head(server), server, client)
        else:
            server.sendall(head)
            super().carry(client, server)

    def read_head(self, source):
        head = b''
        while b'\r\n\r\n' not in head:
            more = source.recv(65536)
            if not more:
                raise OSError('no head')
            head += more
        return head

    def one_byte(self, head, source, sink):
        """And no more, until who gets it is gone or the test has seen enough."""
        at = head.index(b'\r\n\r\n') + 4
        sink.sendall(head[:at])
        if head.startswith(b'HTTP/') and b' 200 ' not in head.split(b'\r\n')[0]:
            sink.sendall(head[at:])
            return self.pump(source, sink)
        body = head[at:] or source.recv(1)
        sink.sendall(body[:1])
        if body:
            self.begun.set()
        # Not until the source is gone: a server that is through with a body without a length says so by closing, and passing that on
        # would be the whole answer.
        ends = select.poll()
        ends.register(sink, select.POLLRDHUP)
        while not self.stop.is_set() and not ends.poll(50):
            pass


def login(port):
    return ['-s', '127.0.0.1', '-p', str(port), '-u', USER, '-pw', PASSWORD]


def xe(agent, *args):
    r = subprocess.run([XE, *args], env=dict(os.environ, XAPI_SOCKET=agent.socket), capture_output=True, text=True, timeout=60)
    assert r.returncode == 0, (args, r.stderr)
    return r.stdout.strip()


def prepare(agent, folder):
    """Something for every command. {name: its arguments}"""
    data = os.path.join(folder, 'data')
    with open(data, 'wb') as f:
        f.write(os.urandom(2 * MIB))
    sr = xe(agent, 'sr-list', 'name-label=Local storage', '--minimal')
    vdi = xe(agent, 'vdi-create', 'sr-uuid=' + sr, 'name-label=d', 'virtual-size=%d' % (2 * MIB))
    xe(agent, 'vdi-import', 'uuid=' + vdi, 'filename=' + data)
    vm = xe(agent, 'vm-install', 'template=Other install media', 'new-name-label=guest')
    xe(agent, 'vbd-create', 'vm-uuid=' + vm, 'vdi-uuid=' + vdi, 'device=0')
    snapshot = xe(agent, 'vm-snapshot', 'vm=guest', 'new-name-label=then')
    template = xe(agent, 'vm-clone', 'vm=guest', 'new-name-label=mould')
    xe(agent, 'vm-param-set', 'uuid=' + template, 'is-a-template=true')
    blob = xe(agent, 'blob-create', 'vm-uuid=' + vm, 'name=note')
    xe(agent, 'blob-put', 'uuid=' + blob, 'filename=' + data)
    for name, words in (('xva', ['vm-export', 'vm=guest']), ('dump', ['pool-dump-database']), ('backup', ['host-backup'])):
        key = 'file-name' if name != 'xva' else 'filename'
        xe(agent, *words, '%s=%s' % (key, os.path.join(folder, name)))
    out, given = os.path.join(folder, 'out'), lambda name: os.path.join(folder, name)
    return {
        'vm-export': ['vm=guest', 'filename=' + out],
        'template-export': ['template-uuid=' + template, 'filename=' + out],
        'snapshot-export-to-template': ['snapshot-uuid=' + snapshot, 'filename=' + out],
        'vdi-export': ['uuid=' + vdi, 'filename=' + out],
        'vdi-export format=vhd': ['uuid=' + vdi, 'filename=' + out, 'format=vhd'],
        'pool-dump-database': ['file-name=' + out],
        'host-backup': ['file-name=' + out],
        'blob-get': ['uuid=' + blob, 'filename=' + out],
        'audit-log-get': ['filename=' + out],
        'host-logs-download': ['file-name=' + out],
        'host-get-system-status': ['filename=' + out, 'output=tar', 'entries=version-info'],
        'vm-import': ['filename=' + given('xva')],
        'vdi-import': ['uuid=' + vdi, 'filename=' + data],
        'vdi-import format=vhd': ['uuid=' + vdi, 'filename=' + data, 'format=vhd'],
        'blob-put': ['uuid=' + blob, 'filename=' + given('xva')],
        'host-restore': ['file-name=' + given('backup')],
        'pool-restore-database': ['file-name=' + given('dump'), '--force'],
    }


def state(agent):
    """What a command that was cut off must not have changed."""
    s = agent.login()
    blobs = s.blob.get_all_records()
    return {'vm': sorted(v['uuid'] + v['name_label'] for v in s.VM.get_all_records().values()),
            'vdi': sorted(v['uuid'] + v['virtual_size'] for v in s.VDI.get_all_records().values() if v['managed']),
            'sr': sorted(v['uuid'] for v in s.SR.get_all_records().values()),
            'blob': sorted(v['uuid'] + v['size'] + v['mime_type'] for v in blobs.values())}


def tasks_end(agent, what):
    s = agent.login()
    check(wait_until(lambda: all(t['status'] != 'pending' for t in s.task.get_all_records().values()), 60), what + ': no task goes on')


def begin(agent, way, name, args):
    relay = Middle(agent.http_port).__enter__()
    p = subprocess.Popen([XE, *(['--xmlrpc'] if way == 'xmlrpc' else []), *login(relay.port), name.split()[0], *args], stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if not check(relay.begun.wait(60), '%s, %s: its bytes go' % (name, way)):
        p.kill()
        print('# %r' % (p.communicate(),))
    return relay, p


def leave(relay):
    relay.stop.set()
    relay.__exit__()


def gone(folder):
    return not os.path.exists(os.path.join(folder, 'out'))


def server_killed(agent, way, name, args, folder):
    relay, p = begin(agent, way, name, args)
    agent.kill()
    leave(relay)
    try:
        out, err = p.communicate(timeout=60)
        check(p.returncode == 1 and err.strip(), '%s, %s: the server is killed: 1, %s' % (name, way, err.strip().split('\n')[0]))
    except subprocess.TimeoutExpired:
        p.kill()
        check(False, '%s, %s: xe ends with its server: %r' % (name, way, p.communicate()))
    check(gone(folder), '%s, %s: no half file' % (name, way))
    agent.start()


def client_ended(agent, way, name, args, folder, sig):
    relay, p = begin(agent, way, name, args)
    p.send_signal(sig)
    p.communicate(timeout=60)
    check(p.returncode in (-sig, 128 + sig), '%s, %s: %s: %s' % (name, way, sig.name, p.returncode))
    if sig != signal.SIGKILL:
        check(gone(folder), '%s, %s: %s: no half file' % (name, way, sig.name))
    elif not gone(folder):
        os.unlink(os.path.join(folder, 'out'))
    leave(relay)
    tasks_end(agent, '%s, %s, %s' % (name, way, sig.name))


with tempfile.TemporaryDirectory(prefix='xapi-test-') as root, tempfile.TemporaryDirectory() as folder, Agent(root=root) as agent:
    commands = prepare(agent, folder)
    before = state(agent)
    for i, (name, args) in enumerate(commands.items()):
        # Each way every second time, and the killed server after it: enough to meet every handler with all of them.
        ways = ('thin', 'xmlrpc') if i % 2 else ('xmlrpc', 'thin')
        client_ended(agent, ways[0], name, args, folder, signal.SIGTERM)
        client_ended(agent, ways[1], name, args, folder, signal.SIGKILL)
        server_killed(agent, ways[0], name, args, folder)
        tasks_end(agent, name + ', after a new start')
    after = state(agent)
    for cls in before:
        if not check(before[cls] == after[cls], 'nothing has changed: ' + cls):
            print('# %s\n# %s' % (before[cls], after[cls]))
done()
