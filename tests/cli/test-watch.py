#!/usr/bin/python3
"""xe ...-list --watch: what is there, then each change as a line, an object or a new screen; and its ends."""
import json
import os
import pty
import queue
import re
import signal
import struct
import subprocess
import termios
import threading
import time
import fcntl

from harness import BUILD, PASSWORD, USER, Agent, check, done, wait_until

XE = os.path.join(BUILD, 'xe', 'xe')


class Watch:
    """A running xe, line by line."""

    def __init__(self, agent, *args, way=()):
        self.process = subprocess.Popen([XE, *way, *args], env=dict(os.environ, XAPI_SOCKET=agent.socket), stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.lines = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.lines.put(line.rstrip('\n'))
        self.lines.put(None)

    def next(self, seconds=20):
        try:
            return self.lines.get(timeout=seconds)
        except queue.Empty:
            return 'nothing'

    def quiet(self, seconds=0.5):
        try:
            return self.lines.get(timeout=seconds)
        except queue.Empty:
            return None

    def end(self, how=signal.SIGINT):
        self.process.send_signal(how)
        return self.process.wait(20)


def xe(agent, *args, code=0):
    r = subprocess.run([XE, *args], env=dict(os.environ, XAPI_SOCKET=agent.socket), capture_output=True, text=True, timeout=60)
    assert r.returncode == code, (args, r.stdout, r.stderr)
    return r.stdout.strip()


def lines(agent, way, name):
    vm = xe(agent, 'vm-install', 'template=Other install media', 'new-name-label=a b')
    w = Watch(agent, 'vm-list', '--watch', 'is-control-domain=false', 'params=name-label,power-state', way=way)
    check(w.next() == 'list uuid=%s name-label="a b" power-state=halted' % vm, name + ': what is there')
    xe(agent, 'vm-start', 'uuid=' + vm)
    check(w.next() == 'mod uuid=%s power-state=running' % vm, name + ': a change shows what has changed')
    xe(agent, 'vm-param-set', 'uuid=' + vm, 'name-description=not a column')
    check(w.quiet() is None, name + ': a change of another field is none')
    two = xe(agent, 'vm-install', 'template=Other install media', 'new-name-label=two')
    got = [w.next()]
    while 'name-label=two' not in got[-1] and 'nothing' not in got[-1]:
        got.append(w.next())           # it was a copy of a template first
    check(got[-1].split()[:2][-1] == 'uuid=' + two, name + ': a new one')
    xe(agent, 'vm-uninstall', 'uuid=' + two, '--force')
    check(w.next() == 'del uuid=%s name-label=two power-state=halted' % two, name + ': one that is gone')
    xe(agent, 'vm-shutdown', 'uuid=' + vm, '--force')
    check(w.next() == 'mod uuid=%s power-state=halted' % vm, name + ': and on')
    check(w.end() == 130 and w.process.stderr.read() == '', name + ': Ctrl-C ends it with 130 and no word')
    w = Watch(agent, 'vm-list', '--watch', 'power-state=running', 'uuid=' + vm, 'params=uuid', way=way)
    check(w.quiet() is None, name + ': a filter')
    xe(agent, 'vm-start', 'uuid=' + vm)
    check(w.next() == 'add uuid=' + vm, name + ': what begins to match is new')
    xe(agent, 'vm-shutdown', 'uuid=' + vm, '--force')
    check(w.next() == 'del uuid=' + vm, name + ': what ceases to match is gone')
    check(w.end(signal.SIGTERM) == 143, name + ': SIGTERM')
    xe(agent, 'vm-uninstall', 'uuid=' + vm, '--force')


def objects(agent, way, name):
    sr = xe(agent, 'sr-list', 'name-label=Local storage', '--minimal')
    vdi = xe(agent, 'vdi-create', 'sr-uuid=' + sr, 'name-label=d', 'virtual-size=1MiB')
    w = Watch(agent, 'vdi-list', '--watch', '--json', 'uuid=' + vdi, 'params=name-label,sr-name-label,virtual-size,tags', way=way)
    first = json.loads(w.next())
    check(first == {'event': 'list', 'object': {'name-label': 'd', 'sr-name-label': 'Local storage', 'virtual-size': 1 << 20, 'tags': []}},
          name + ': JSON: what is there')
    xe(agent, 'vdi-param-add', 'uuid=' + vdi, 'param-name=tags', 'param-key=t')
    change = json.loads(w.next())
    check(change['event'] == 'mod' and change['changed'] == ['tags'] and change['object']['tags'] == ['t'], name + ': JSON: a change')
    xe(agent, 'sr-param-set', 'uuid=' + sr, 'name-label=Renamed')
    change = json.loads(w.next())
    check(change['changed'] == ['sr-name-label'] and change['object']['sr-name-label'] == 'Renamed', name + ': a column of another class')
    xe(agent, 'sr-param-set', 'uuid=' + sr, 'name-label=Local storage')
    check(json.loads(w.next())['object']['sr-name-label'] == 'Local storage', name + ': and back')
    xe(agent, 'vdi-destroy', 'uuid=' + vdi)
    check(json.loads(w.next()) == {'event': 'del', 'object': {'name-label': 'd', 'sr-name-label': 'Local storage', 'virtual-size': 1 << 20, 'tags': ['t']}},
          name + ': JSON: gone')
    w.end()


def nobody_reads(agent, way, name):
    """The reader goes: xe ends, though nothing happens."""
    r, w = os.pipe()
    p = subprocess.Popen([XE, *way, 'vm-list', '--watch'], env=dict(os.environ, XAPI_SOCKET=agent.socket), stdout=w, stderr=subprocess.PIPE, text=True)
    os.close(w)
    check(os.read(r, 5) == b'list ', name + ': it runs')
    os.close(r)
    check(p.wait(20) == 1 and 'Broken pipe' in p.stderr.read(), name + ': ends when nobody reads, with a sentence and 1')


def screen(agent):
    vm = xe(agent, 'vm-install', 'template=Other install media', 'new-name-label=\u4e16\u754c\x1b[31m')
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack('HHHH', 12, 60, 0, 0))
    p = subprocess.Popen([XE, 'vm-list', '--watch', 'is-control-domain=false'], env=dict(os.environ, XAPI_SOCKET=agent.socket), stdin=slave,
                         stdout=slave, stderr=subprocess.PIPE, text=True)
    os.close(slave)
    seen = bytearray()
    threading.Thread(target=lambda: follow(master, seen), daemon=True).start()
    check(wait_until(lambda: b'halted' in seen), 'terminal: a table')
    text = seen.decode()
    rows = text.replace('\r', '').split('\x1b[K')
    check(text.startswith('\x1b[2J\x1b[H') and rows[0].endswith('vm-list: 1') and rows[1].split() == ['name-label', 'power-state', 'uuid'],
          'terminal: cleared, a head, the names of the columns')
    check('\u4e16\u754c?[31m' in rows[2] and rows[2].count('\x1b') == 0, 'terminal: names cannot send commands to it')
    check(all(width(row) <= 60 for row in rows[1:3]) and vm[:8] in rows[2], 'terminal: no line is longer than it')
    seen.clear()
    xe(agent, 'vm-start', 'uuid=' + vm)
    check(wait_until(lambda: b'running' in seen), 'terminal: drawn anew after a change')
    check(seen.startswith(b'\x1b[H') and seen.endswith(b'\x1b[J\r\n'), 'terminal: over the old')
    for i in range(12):
        xe(agent, 'vm-clone', 'uuid=' + xe(agent, 'template-list', '--minimal').split(',')[0], 'new-name-label=more')
    seen.clear()
    xe(agent, 'template-list', '--minimal')
    xe(agent, 'vm-param-set', 'uuid=' + vm, 'name-label=z')
    wait_until(lambda: seen.endswith(b'\x1b[J\r\n'))
    check(seen.count(b'\n') <= 11, 'terminal: no more lines than it has')
    p.send_signal(signal.SIGINT)
    check(p.wait(20) == 130, 'terminal: Ctrl-C')
    os.close(master)


def width(row):
    return sum(2 if ord(c) > 0x2e80 else 1 for c in re.sub('\x1b\\[[0-9;]*[A-Za-z]', '', row).strip('\n'))


def follow(fd, seen):
    try:
        while True:
            seen.extend(os.read(fd, 65536))
    except OSError:
        pass


def mistakes(agent):
    for args, sentence in ((('vm-list', '--watch', '--minimal'), '--watch and --minimal exclude each other'),
                           (('vm-start', '--watch', 'uuid=x'), '--watch: only lists of a class can be watched, and vm-start is none'),
                           (('vm-param-list', '--watch', 'uuid=x'), 'can be watched'),
                           (('vm-list', 'watch=perhaps'), "Failed to parse parameter 'watch'"),
                           (('vm-list', 'watch=0x0'), "Failed to parse parameter 'watch'"),
                           (('vm-list', '--watch', 'no-such=1'), "Unknown field 'no-such'")):
        r = subprocess.run([XE, *args], env=dict(os.environ, XAPI_SOCKET=agent.socket), capture_output=True, text=True, timeout=60)
        check(r.returncode == 1 and sentence in r.stderr and not r.stdout, ' '.join(args) + ': ' + sentence)


agent = Agent().start()
ways = {'thin': (), 'xmlrpc': ('--xmlrpc', '-s', 'localhost', '-p', str(agent.https_port), '-u', USER, '-pw', PASSWORD)}
for name, way in ways.items():
    lines(agent, way, name)
    objects(agent, way, name)
    nobody_reads(agent, way, name)
screen(agent)
mistakes(agent)
idle = [Watch(agent, 'host-list', '--watch', way=way) for way in ways.values()]
for w in idle:
    w.next()
began = time.monotonic()
check(agent.stop() == 0 and time.monotonic() - began < 10, 'watchers do not hold up the agent (%.1f s)' % (time.monotonic() - began))
for name, w in zip(ways, idle):
    check(w.process.wait(20) == 1, name + ': the server goes: 1')
    text = w.process.stderr.read()
    check(text.count('\n') == 1, name + ': and a sentence: ' + text.strip())
done()
