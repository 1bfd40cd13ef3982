#!/usr/bin/python3
"""The rig's hand inside a machine: runs scripts and moves bytes for rig.py over one virtio-serial port.

Called by: machine-init.sh, as the first process. Calls: bash.

Frames in both directions: number of the run (4 bytes), kind (1), length (4), that many bytes.
  to the machine:   R {script, timeout_s, merge} start a run; I bytes for its stdin, an empty one ends it; K signal it;
                    H {time, entropy, hostname, macs} the first thing a restored machine hears
  from the machine: O its stdout, E its stderr (when not merged), X {rc}: the script has ended; children that it left may
                    run on, but have lost stdout
"""
import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

HEAD = struct.Struct('>IBI')
CHUNK = 1 << 16
RNDADDENTROPY, RNDRESEEDCRNG = 0x40085203, 0x5207


class Run:
    def __init__(self, door, number, script, timeout_s, merge):
        self.door, self.number = door, number
        self.process = subprocess.Popen(['/bin/bash', '-c', script], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT if merge else subprocess.PIPE, start_new_session=True, cwd='/root')
        self.input, self.timeout_s, self.timed_out = [], timeout_s, False
        self.wake = threading.Condition()
        for target in (self.feed, self.watch):
            threading.Thread(target=target, daemon=True).start()

    def give(self, data):
        with self.wake:
            self.input.append(data)
            self.wake.notify()

    def feed(self):
        pipe = self.process.stdin
        try:
            while True:
                with self.wake:
                    while not self.input:
                        self.wake.wait()
                    data = self.input.pop(0)
                if not data:
                    break
                pipe.write(data)
                pipe.flush()
        except OSError:
            pass
        try:
            pipe.close()
        except OSError:
            pass

    def drain(self, pipe, kind):
        while True:
            try:
                data = os.read(pipe.fileno(), CHUNK)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if not data:
                return False
            self.door.send(self.number, kind, data)

    def pump(self, pipe, kind):
        while self.drain(pipe, kind):
            pass

    def kill(self, number=signal.SIGKILL):
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass

    def expire(self):
        self.timed_out = True
        self.kill()

    def watch(self):
        pipes = [(self.process.stdout, b'O'), (self.process.stderr, b'E')]
        pumps = [threading.Thread(target=self.pump, args=p, daemon=True) for p in pipes if p[0]]
        for pump in pumps:
            pump.start()
        timer = threading.Timer(self.timeout_s, self.expire)
        timer.start()
        rc = self.process.wait()
        timer.cancel()
        # What it wrote is all in the pipe by now; a child that it left behind may hold the pipe open for ever.
        for pump in pumps:
            pump.join(0.05)
        for pipe, _ in pipes:
            if pipe:
                os.set_blocking(pipe.fileno(), False)
        for pump in pumps:
            pump.join(0.5)
        self.door.send(self.number, b'X', json.dumps({'rc': rc, 'timed_out': self.timed_out}).encode())
        self.door.runs.pop(self.number, None)
        self.give(b'')


class Door:
    def __init__(self, path):
        self.fd = os.open(path, os.O_RDWR)
        self.lock = threading.Lock()
        self.runs = {}

    def send(self, number, kind, data):
        view = memoryview(HEAD.pack(number, kind[0], len(data)) + data)
        with self.lock:
            while view:
                view = view[os.write(self.fd, view):]

    def read(self, size):
        parts = []
        while size:
            data = os.read(self.fd, min(size, CHUNK))
            if not data:        # nobody is connected outside
                time.sleep(0.02)
                continue
            parts.append(data)
            size -= len(data)
        return b''.join(parts)

    def hello(self, number, said):
        entropy = bytes.fromhex(said['entropy'])
        with open('/dev/urandom', 'wb') as f:
            fcntl.ioctl(f, RNDADDENTROPY, struct.pack('ii', len(entropy) * 8, len(entropy)) + entropy)
            fcntl.ioctl(f, RNDRESEEDCRNG)
        time.clock_settime(time.CLOCK_REALTIME, said['time'])
        socket.sethostname(said['hostname'])
        links = ''.join('link set dev %s address %s up\n' % pair for pair in said['macs'].items())
        self.runs[number] = Run(self, number, 'exec ip -batch -', 30, True)
        self.runs[number].give(links.encode())

    def serve(self):
        while True:
            number, kind, size = HEAD.unpack(self.read(HEAD.size))
            data = self.read(size)
            kind = bytes([kind])
            if kind == b'R':
                self.runs[number] = Run(self, number, **json.loads(data))
            elif kind == b'H':
                self.hello(number, json.loads(data))
            elif number in self.runs:
                run = self.runs[number]
                run.give(data) if kind == b'I' else run.kill(int(data))


def port(name):
    while True:
        for entry in os.listdir('/sys/class/virtio-ports'):
            try:
                if open('/sys/class/virtio-ports/%s/name' % entry).read().strip() == name:
                    return '/dev/' + entry
            except OSError:
                pass
        time.sleep(0.1)


def main():
    # The first process only buries the dead.
    if os.fork():
        while True:
            try:
                os.wait()
            except ChildProcessError:
                break
        sys.exit(1)
    os.setsid()
    Door(port('rig.ctl')).serve()


main()
