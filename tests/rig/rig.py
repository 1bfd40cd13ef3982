#!/usr/bin/python3
"""Machines for tests: Xen with a dom0, or plain Linux, emulated by QEMU and restored from a saved state in about a second.

Called by: tests/xen, tests/storage, tests/network; ./run-rig. Calls: make-root.sh, tests/qemu/guest.sh, qemu-system-x86_64.

    with Rig('xen') as rig:
        rc, text = rig.run('xl list')

README.md in this folder says what is in the machines and how to use them.
"""
import argparse
import ctypes
import fcntl
import hashlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.dirname(os.path.dirname(HERE))
BUILD = os.environ.get('XAPI_BUILD', os.getcwd())
HEAD = struct.Struct('>IBI')
CHUNK = 1 << 16
MEMORY_MIB = {'xen': 4096, 'linux': 2048}
DISKS, DISK_BYTES = 4, 4 << 30          # the machine's empty disks vdb...
NICS = 3                                # eth0..: in one machine on one hub, in two machines cables between them
PR_SET_PDEATHSIG = 1
QEMU = 'qemu-system-x86_64'
_libc = ctypes.CDLL(None)


class RigError(Exception):
    pass


# ---- the image: built once

def _inputs():
    """What the root image depends on."""
    mine = [os.path.join(HERE, n) for n in ('packages', 'modules', 'make-root.sh', 'machine-init.sh', 'rigd.py', 'lio.py')]
    mine += [os.path.join(SOURCE, 'tests', 'qemu', n) for n in ('guest.sh', 'mkinitramfs.sh')]
    digest = hashlib.sha256()
    for path in mine:
        digest.update(open(path, 'rb').read())
    # the daemon's Xen module must meet the library that it was linked with
    digest.update(subprocess.run(['dpkg-query', '-W', '-f', '${Version}', 'libxenmisc4.17'], capture_output=True, check=False).stdout)
    return digest.hexdigest()[:16]


def _state(kind):
    """Name of the saved state of kind: it fits one QEMU and one list of devices only."""
    words = Rig(kind, _folder='', _cold=True).command() + [subprocess.run([QEMU, '--version'], capture_output=True, check=True,
                                                                           text=True).stdout]
    return kind + '-' + hashlib.sha256('\n'.join(words).encode()).hexdigest()[:8]


def image(kind, say=lambda text: None):
    """(folder with the root image and the kernels, name of the saved state in it); built when they are not there."""
    top = os.environ.get('XAPI_RIG_DIR', os.path.join(BUILD, 'rig'))
    name = os.path.join(top, _inputs())
    os.makedirs(top, exist_ok=True)
    with open(os.path.join(top, 'lock'), 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(os.path.join(name, 'root.img')):
            for old in os.listdir(top):         # images of earlier inputs: 1 GB each, but in a shared folder maybe another's
                if 'XAPI_RIG_DIR' not in os.environ and os.path.isdir(os.path.join(top, old)) and len(old) == 16:
                    shutil.rmtree(os.path.join(top, old))
            began = time.monotonic()
            part = name + '.part'
            shutil.rmtree(part, ignore_errors=True)
            os.makedirs(part)
            guest = os.path.join(BUILD, 'guest')
            subprocess.run([os.path.join(SOURCE, 'tests', 'qemu', 'guest.sh'), guest], check=True)
            subprocess.run([os.path.join(HERE, 'make-root.sh'), part, guest], check=True)
            os.rename(part, name)
            say('root image built in %.0f s' % (time.monotonic() - began))
        state = _state(kind)
        if not os.path.exists(os.path.join(name, state + '.state')):
            for old in os.listdir(name):
                if old.startswith(kind + '-'):
                    os.unlink(os.path.join(name, old))
            began = time.monotonic()
            _save(name, kind, state)
            say('%s booted and saved in %.0f s' % (kind, time.monotonic() - began))
    return name, state


def _save(name, kind, state):
    rig = Rig(kind, _folder=name, _cold=True)
    try:
        rig.start(timeout_s=300)
        rig.must('sync; echo 3 >/proc/sys/vm/drop_caches; sleep 1', 60)
        rig.qmp('stop')
        path = os.path.join(name, state)
        rig.qmp('migrate', uri='exec:cat > %s.part' % path)
        until = time.monotonic() + 60
        while True:
            status = rig.qmp('query-migrate').get('status')
            if status == 'completed':
                break
            if status == 'failed' or time.monotonic() > until:
                raise RigError('saving the state: %s' % status)
            time.sleep(0.05)
        rig.qmp('quit')
        rig.process.wait(30)
        shutil.move(rig.path('root.qcow2'), path + '.qcow2')
        os.rename(path + '.part', path + '.state')
    finally:
        rig.stop()


# ---- machines

def _runs_folder():
    """Where running machines keep their files; what a killed test left there is removed."""
    top = os.path.join(tempfile.gettempdir(), 'xapi-rig-%d' % os.getuid())
    os.makedirs(top, mode=0o700, exist_ok=True)
    for old in os.listdir(top):
        try:
            with open(os.path.join(top, old, 'lock')) as f:
                fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(os.path.join(top, old), ignore_errors=True)
        except OSError:
            pass
    return top


class Answer(str):
    """Output of a script, with its exit status."""
    rc = 0


class Rig:
    """One machine. kind: 'xen' (dom0 on Xen) or 'linux' (two CPUs, no hypervisor). nodes: memory nodes, one socket with one CPU each. links:
    {path without its first slash: where it leads} that are made before anything starts. A machine with either is booted, which takes
    half a minute."""

    def __init__(self, kind='xen', name='host1', index=1, peer=None, nodes=1, links=None, _folder=None, _cold=False):
        self.kind, self.name, self.index, self.peer, self.nodes, self.links = kind, name, index, peer, nodes, links
        self.folder, self.cold, self.state = _folder, _cold or nodes > 1 or bool(links), None
        self.process = self.control = self.monitor = None
        self.lock, self.sent = threading.Lock(), threading.Lock()
        self.runs, self.number = {}, 0
        self.console_mark = 0
        self.lock_file = None
        self.dir = None

    # -- life

    def start(self, timeout_s=120):
        """Restores the machine; afterwards its clock is right, its random numbers and MACs are its own."""
        self.prepare()
        return self.begin(timeout_s)

    def prepare(self):
        if self.folder is None:
            self.folder, self.state = image(self.kind, lambda text: print('# rig: ' + text, flush=True))
        self.dir = tempfile.mkdtemp(prefix='r', dir=_runs_folder())
        self.lock_file = open(os.path.join(self.dir, 'lock'), 'w')
        fcntl.flock(self.lock_file, fcntl.LOCK_EX)
        return self

    def path(self, name):
        return os.path.join(self.dir or '', name)

    def begin(self, timeout_s=120):
        base = 'root.img' if self.cold else self.state + '.qcow2'
        subprocess.run(['qemu-img', 'create', '-q', '-f', 'qcow2', '-F', 'raw' if self.cold else 'qcow2',
                        '-b', os.path.join(self.folder, base), self.path('root.qcow2')], check=True)
        for disk in range(DISKS):
            with open(self.path('disk%d.raw' % disk), 'wb') as f:
                f.truncate(DISK_BYTES)
        if self.links:
            self.make_initrd()
        parent = os.getpid()

        def end_with_the_test():
            _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)
        log = open(self.path('qemu.log'), 'wb')
        self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                        preexec_fn=end_with_the_test)
        log.close()
        self.until = time.monotonic() + timeout_s
        try:
            self.monitor = self._connect('qmp').makefile('rwb')
            self.monitor.readline()
            self.qmp('qmp_capabilities')
            self.control = self._connect('ctl')
            if not self.cold:
                while self.qmp('query-status')['status'] == 'inmigrate':
                    self._alive()
                    time.sleep(0.01)
                self.qmp('cont')
            threading.Thread(target=self._listen, daemon=True).start()
            self.hello(max(10, self.until - time.monotonic()))
        except BaseException:
            self.stop()
            raise
        return self

    def hello(self, timeout_s):
        macs = {'eth%d' % i: self.mac(i) for i in range(NICS)}
        macs['mgmt'] = self.mac(NICS)
        rc, text = self._run(b'H', {'time': time.time(), 'entropy': os.urandom(64).hex(), 'hostname': self.name, 'macs': macs},
                             timeout_s)
        if rc != 0:
            raise RigError('the machine did not wake up: %s\n%s' % (text, self.console()[-3000:]))

    def mac(self, nic):
        """The MAC of card nic (0...)."""
        return '52:54:00:00:%02x:%02x' % (self.index, nic)

    def make_initrd(self):
        """The initial ramdisk, with another init behind its own: of two files of one name the later one counts."""
        with open(os.path.join(self.folder, 'initrd.cpio'), 'rb') as f:
            first = f.read()
        init = subprocess.run(['cpio', '-i', '--quiet', '--to-stdout', 'init'], input=first, capture_output=True, check=True).stdout.decode()
        words = ''.join('/bin/busybox ln -sfn %s /root/%s\n' % (_quote(to), _quote(path)) for path, to in self.links.items())
        with open(self.path('init'), 'w') as f:
            f.write(init.replace('exec switch_root', words + 'exec switch_root'))
        os.chmod(self.path('init'), 0o755)
        last = subprocess.run(['cpio', '-o', '-H', 'newc', '--quiet', '-R', '0:0'], input=b'init\n', cwd=self.dir, capture_output=True, check=True)
        with open(self.path('initrd.cpio'), 'wb') as f:
            f.write(first + last.stdout)

    def processors(self):
        if self.nodes > 1:
            return '%d,sockets=%d' % (self.nodes, self.nodes)
        return '1' if self.kind == 'xen' else '2'

    def command(self):
        """The command line. The saved state fits only the same CPU, memory and list of devices."""
        argv = [QEMU, '-name', 'rig-' + self.name, '-accel', 'tcg,thread=multi,tb-size=512', '-machine', 'pc', '-display', 'none',
                '-nodefaults', '-no-reboot', '-m', str(MEMORY_MIB[self.kind]), '-smp', self.processors(),
                '-cpu', 'qemu64,+npt,+rdrand,+ssse3,+sse4.1,+sse4.2,+popcnt',
                '-chardev', 'file,id=con,path=' + self.path('console.log'), '-serial', 'chardev:con',
                '-qmp', 'unix:%s,server=on,wait=off' % self.path('qmp'),
                '-device', 'virtio-serial-pci,addr=3', '-chardev', 'socket,id=ctl,path=%s,server=on,wait=off' % self.path('ctl'),
                '-device', 'virtserialport,chardev=ctl,name=rig.ctl',
                '-drive', 'if=none,id=root,format=qcow2,cache=unsafe,file=' + self.path('root.qcow2'),
                '-device', 'virtio-blk-pci,drive=root,addr=4']
        for node in range(self.nodes if self.nodes > 1 else 0):
            argv += ['-object', 'memory-backend-ram,id=node%d,size=%dM' % (node, MEMORY_MIB[self.kind] // self.nodes),
                     '-numa', 'node,nodeid=%d,cpus=%d,memdev=node%d' % (node, node, node)]
        for disk in range(DISKS):
            argv += ['-drive', 'if=none,id=disk%d,format=raw,cache=unsafe,discard=unmap,file=%s' % (disk, self.path('disk%d.raw' % disk)),
                     '-device', 'virtio-blk-pci,drive=disk%d,serial=rig-disk%d,addr=%x' % (disk, disk, 5 + disk)]
        for nic in range(NICS):
            if self.peer is None:
                backend = 'hubport,id=net%d,hubid=0' % nic
            else:
                backend = 'dgram,id=net%d,local.type=unix,local.path=%s,remote.type=unix,remote.path=%s' % (
                    nic, self.path('nic%d' % nic), self.peer.path('nic%d' % nic))
            argv += ['-netdev', backend, '-device', 'virtio-net-pci,netdev=net%d,romfile=,addr=%x' % (nic, 16 + nic)]
        argv += ['-netdev', 'user,id=mgmt', '-device', 'virtio-net-pci,netdev=mgmt,romfile=,addr=%x' % (16 + NICS)]
        if not self.cold:
            return argv + ['-incoming', 'exec:cat ' + os.path.join(self.folder, self.state + '.state'), '-S']
        files = {n: os.path.join(self.folder, n) for n in ('xen', 'vmlinux', 'initrd.cpio')}
        if self.links:
            files['initrd.cpio'] = self.path('initrd.cpio')
        linux = 'quiet net.ifnames=0 mitigations=off'
        if self.kind == 'xen':
            return argv + ['-kernel', files['xen'], '-append', 'console=com1 com1=115200,8n1 dom0_mem=1024M,max:1024M loglvl=info '
                           'guest_loglvl=info bootscrub=0 spec-ctrl=off', '-initrd',
                           '%s console=hvc0 %s,%s' % (files['vmlinux'], linux, files['initrd.cpio'])]
        return argv + ['-kernel', files['vmlinux'], '-append', 'console=ttyS0 ' + linux, '-initrd', files['initrd.cpio']]

    def stop(self):
        """Ends the machine; nothing of it is kept."""
        if self.process:
            self.process.kill()
            self.process.wait()
        for thing in (self.monitor, self.control):
            if thing:
                try:
                    thing.close()
                except OSError:
                    pass
        self.monitor = self.control = None
        if self.dir:
            shutil.rmtree(self.dir, ignore_errors=True)
            self.lock_file.close()
            self.dir = None

    def __enter__(self):
        return self.start(300 if self.cold else 120)

    def __exit__(self, kind, value, trace):
        if kind and self.dir:
            print('\n'.join('# console: ' + l for l in self.console().splitlines()[-25:]), flush=True)
        self.stop()
        return False

    # -- talking to it

    def run(self, script, timeout_s=60, stdin=b'', output=None, merge=True):
        """Runs a bash script as root there: (exit status, text). A script past its time is killed: status -9, RigError when
        the machine itself does not answer. output(bytes) gets what it prints as it comes."""
        rc, data = self._run(b'R', {'script': script, 'timeout_s': timeout_s, 'merge': merge}, timeout_s + 30, stdin, output)
        return rc, data.decode('utf-8', 'replace')

    def must(self, script, timeout_s=60, stdin=b''):
        """As run(), but a failure is an exception; the text without its last newline."""
        rc, text = self.run(script, timeout_s, stdin)
        if rc != 0:
            raise RigError('%s: status %d\n%s' % (script, rc, text))
        return text.rstrip('\n')

    def put(self, files, timeout_s=120):
        """Files into it: {path there: bytes, or path here}. Modes are kept, folders made."""
        for where, what in files.items():
            mode = 0o644
            if isinstance(what, str):
                mode = os.stat(what).st_mode & 0o7777
                with open(what, 'rb') as f:
                    what = f.read()
            self.must('mkdir -p "$(dirname %s)" && cat >%s && chmod %o %s' % (_quote(where), _quote(where), mode, _quote(where)),
                      timeout_s, what)

    def put_tar(self, path, where='/', timeout_s=120):
        """Unpacks a tar (maybe compressed with zstd) of ours there."""
        with open(path, 'rb') as f:
            self.must('tar -x -C %s %s' % (_quote(where), '--zstd' if path.endswith('.zst') else ''), timeout_s, f.read())

    def get(self, path, timeout_s=120):
        """A file of it, as bytes."""
        rc, data = self._run(b'R', {'script': 'cat ' + _quote(path), 'timeout_s': timeout_s, 'merge': False}, timeout_s + 30)
        if rc != 0:
            raise RigError('%s: cannot be read there' % path)
        return data

    def install(self):
        """`make install` of this build into it."""
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(['make', '-s', '-C', BUILD, 'install-strip', 'DESTDIR=' + folder], stdout=subprocess.DEVNULL,
                           stderr=subprocess.PIPE, check=True)
            os.chmod(folder, 0o755)     # it becomes the machine's root folder
            packed = subprocess.run(['tar', '-c', '-C', folder, '.'], stdout=subprocess.PIPE, check=True).stdout
        self.must('tar -x -C / --no-same-owner --keep-directory-symlink && ldconfig', 120, packed)
        return self

    def start_agent(self, *options, hv=None, net='bridge', root='/var/lib/xapi-test', timeout_s=120):
        """Starts the installed daemon there, with its own root and a password; a RigAgent."""
        return RigAgent(self, options, hv or ('xen' if self.kind == 'xen' else 'sim'), net, root).start(timeout_s)

    def say_address(self):
        """QEMU's network goes on with the address of the card that it knew when the machine was saved, the first machine's, until the
        card says its own. A kernel gives up after three seconds without an answer, which a busy QEMU may take: it is asked again."""
        self.must('for i in 1 2 3 4 5 6 7 8; do ip neigh flush dev mgmt; ping -q -c 1 -W 10 10.0.2.2 && exit 0; done; exit 1', 120)

    def forward(self, port):
        """127.0.0.1:N here leads to a TCP port of its card mgmt; returns N."""
        self.say_address()
        with socket.socket() as probe:
            probe.bind(('127.0.0.1', 0))
            here = probe.getsockname()[1]
        answer = self.qmp('human-monitor-command', **{'command-line': 'hostfwd_add mgmt tcp:127.0.0.1:%d-10.0.2.15:%d' % (here, port)})
        if answer.strip():
            raise RigError(answer)
        return here

    def pull_cable(self, nic, out=True):
        """Link of ethN off (or on again)."""
        self.qmp('set_link', name='net%d' % nic, up=not out)

    def console(self):
        """What it wrote on its serial line (Xen's messages and dom0's) since it was restored."""
        try:
            return open(self.path('console.log'), errors='replace').read()
        except OSError:
            return ''

    def qmp(self, command, **arguments):
        message = {'execute': command}
        if arguments:
            message['arguments'] = arguments
        try:
            self.monitor.write(json.dumps(message).encode() + b'\n')
            self.monitor.flush()
            while True:
                line = self.monitor.readline()
                if not line:
                    raise RigError('QEMU has ended: ' + self._log())
                answer = json.loads(line)
                if 'error' in answer:
                    raise RigError('%s: %s' % (command, answer['error']['desc']))
                if 'return' in answer:
                    return answer['return']
        except OSError as e:
            raise RigError('QEMU has ended: %s %s' % (e, self._log()))

    # -- inside

    def _log(self):
        return open(self.path('qemu.log'), errors='replace').read()

    def _alive(self):
        if self.process.poll() is not None:
            raise RigError('QEMU ended with %d: %s' % (self.process.returncode, self._log()))
        if time.monotonic() > self.until:
            raise RigError('the machine does not start')

    def _connect(self, name):
        while True:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                sock.connect(self.path(name))
                return sock
            except OSError:
                sock.close()
                self._alive()
                time.sleep(0.01)

    def _send(self, number, kind, data):
        with self.sent:
            self.control.sendall(HEAD.pack(number, kind[0], len(data)) + data)

    def _run(self, kind, what, timeout_s, stdin=b'', output=None):
        with self.lock:
            self.number += 1
            number = self.number
        run = {'data': [], 'rc': None, 'done': threading.Event(), 'output': output}
        self.runs[number] = run
        try:
            self._send(number, kind, json.dumps(what).encode())
            for at in range(0, len(stdin), CHUNK):
                self._send(number, b'I', stdin[at:at + CHUNK])
            self._send(number, b'I', b'')
        except OSError as e:
            raise RigError('the machine has ended: %s\n%s' % (e, self.console()[-2000:]))
        if not run['done'].wait(timeout_s):
            raise RigError('the machine does not answer\n' + self.console()[-2000:])
        del self.runs[number]
        if run['rc'] is None:
            raise RigError('the machine has ended\n' + self.console()[-2000:])
        return run['rc'], b''.join(run['data'])

    def _listen(self):
        stream = self.control.makefile('rb')
        try:
            while True:
                head = stream.read(HEAD.size)
                if len(head) < HEAD.size:
                    break
                number, kind, size = HEAD.unpack(head)
                data = stream.read(size)
                run = self.runs.get(number)
                if run is None:
                    continue
                if kind == b'X'[0]:
                    run['rc'] = json.loads(data)['rc']
                    run['done'].set()
                elif run['output']:
                    run['output'](data)
                elif kind == b'O'[0]:
                    run['data'].append(data)
        except (OSError, ValueError):
            pass
        for run in list(self.runs.values()):
            run['done'].set()


class RigAgent:
    """A daemon in a machine, used from outside through its HTTP port."""

    def __init__(self, rig, options, hv, net, root):
        self.rig, self.root, self.log = rig, root, root + '/agent.log'
        self.faults = root + '/faults' if '--allow-faults' in options else None
        self.argv = ['xapi', '--root', root, '--hv', hv, '--net', net, '--socket', root + '/xapi.sock', '--http', '0.0.0.0:80', '--https',
                     '0.0.0.0:443', '--auth', 'file:' + root + '/passwd'] + list(options)
        self.port = self.tls_port = None
        self.pid = 0

    def start(self, timeout_s=120):
        """Returns when the daemon serves; also used again after kill() or stop()."""
        rig = self.rig
        rig.must('mkdir -p {0}; [ -e {0}/passwd ] || echo "root:$(openssl passwd -6 "correct horse")" >{0}/passwd; rm -f {0}/ready\n'
                 '[ -e {0}/server.pem ] || install -m 600 /usr/lib/rig/server.pem {0}/server.pem\n'
                 '{3}setsid {1} </dev/null >>{2} 2>&1 & pid=$!\n'
                 'until read -r ready rest 2>/dev/null <{0}/ready && [ "$ready" = $pid ]; do\n'
                 'kill -0 $pid 2>/dev/null || {{ tail -n 40 {2}; exit 1; }}; sleep 0.1; done\n'.format(
                     self.root, ' '.join(map(_quote, self.argv)), self.log,
                     'exec 9<>%s; >%s; export XAPI_FAULT_FD=9; ' % (self.faults, self.faults) if self.faults else ''), timeout_s)
        self.pid = int(rig.must('cut -d" " -f1 %s/ready' % self.root))
        if self.port is None:
            self.port, self.tls_port = rig.forward(80), rig.forward(443)
        return self

    def login(self, timeout_s=600):
        """A harness.Session over TCP."""
        sys.path.insert(0, os.path.dirname(HERE))
        import harness
        import xmlrpc.client

        class Transport(xmlrpc.client.Transport):
            def make_connection(self, host):
                connection = super().make_connection(host)
                connection.timeout = timeout_s
                return connection
        # QEMU's user network resets a connection while the machine has not answered its ARP, which it may be too busy for.
        until = time.monotonic() + 60
        while True:
            proxy = xmlrpc.client.ServerProxy('http://127.0.0.1:%d/' % self.port, transport=Transport(), allow_none=True)
            try:
                answer = proxy.session.login_with_password('root', 'correct horse', '2.21', 'test')
                return harness.Session(proxy, harness.unwrap(answer))
            except ConnectionError:
                if time.monotonic() > until:
                    raise
                self.rig.say_address()

    def arm(self, line):
        """`POINT ACTION [NTH]` of lib/fault.h, until the next start; for an agent with --allow-faults."""
        self.rig.must('echo %s >>%s' % (_quote(line), self.faults))

    def xe(self, words, timeout_s=120):
        return self.rig.must('XAPI_SOCKET=%s/xapi.sock xe %s' % (self.root, words), timeout_s)

    def kill(self):
        self.rig.must('kill -9 %d; while kill -0 %d 2>/dev/null; do sleep 0.05; done' % (self.pid, self.pid))

    def stop(self, timeout_s=60):
        """SIGTERM; true when it has ended in time."""
        return self.rig.run('kill %d; while kill -0 %d 2>/dev/null; do sleep 0.05; done' % (self.pid, self.pid), timeout_s)[0] == 0

    def tail(self, lines=60):
        return self.rig.run('tail -n %d %s' % (lines, self.log))[1]


def pair(kind='xen'):
    """Two machines whose cards are joined by cables, eth0 to eth0 and so on; not started yet: with-able, has .a and .b."""
    return Pair(kind)


class Pair:
    def __init__(self, kind):
        self.a, self.b = Rig(kind, 'host1', 1), Rig(kind, 'host2', 2)
        self.a.peer, self.b.peer = self.b, self.a

    def __enter__(self):
        self.a.prepare()
        self.b.prepare()
        try:
            self.a.begin()
            self.b.begin()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind, value, trace):
        self.a.__exit__(kind, value, trace)
        self.b.__exit__(kind, value, trace)
        return False


def _quote(text):
    return "'" + text.replace("'", "'\\''") + "'"


def _hold(rig):
    """Serves `run-rig --in`: one line of JSON in, output and then a line of JSON with the status out."""
    def serve(sock):
        with sock, sock.makefile('rb') as stream:
            asked = json.loads(stream.readline())
            say = lambda data: sock.sendall(HEAD.pack(0, b'O'[0], len(data)) + data)
            try:
                if asked['install']:
                    rig.install()
                for port in asked['forward']:
                    say(b'127.0.0.1:%d -> %d\n' % (rig.forward(port), port))
                rc = rig.run(asked['script'], asked['timeout'], stream.read(asked['stdin']), say)[0] if asked['script'] else 0
            except (RigError, OSError, subprocess.SubprocessError) as e:
                rc = 255
                say(('%s\n' % e).encode())
            sock.sendall(HEAD.pack(0, b'X'[0], 0) + json.dumps(rc).encode() + b'\n')
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(rig.path('hold'))
        door.listen()
        door.settimeout(1)
        print('%s is up: ./run-rig --in %s COMMAND...; its console: %s; end it with ^C' % (
            rig.kind, rig.dir, rig.path('console.log')), flush=True)
        while rig.process.poll() is None:
            try:
                sock = door.accept()[0]
            except TimeoutError:
                continue
            sock.settimeout(None)
            threading.Thread(target=serve, args=(sock,), daemon=True).start()
    raise RigError('the machine has ended\n' + rig.console()[-2000:])


def _inside(folder, asked, stdin):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(os.path.join(folder, 'hold'))
        sock.sendall(json.dumps(asked).encode() + b'\n' + stdin)
        stream = sock.makefile('rb')
        while True:
            _, kind, size = HEAD.unpack(stream.read(HEAD.size))
            if kind == b'X'[0]:
                return json.loads(stream.readline())
            sys.stdout.buffer.write(stream.read(size))
            sys.stdout.flush()


def main():
    p = argparse.ArgumentParser(prog='run-rig', description='Runs a command in a fresh machine: dom0 on Xen, or plain Linux.')
    p.add_argument('--linux', action='store_true', help='a plain Linux machine')
    p.add_argument('--install', action='store_true', help='install this build there first')
    p.add_argument('--forward', type=int, action='append', default=[], metavar='PORT', help='lead a port of 127.0.0.1 there')
    p.add_argument('--stdin', action='store_true', help='the command reads our standard input')
    p.add_argument('--timeout', type=float, default=600, metavar='SECONDS')
    p.add_argument('--hold', action='store_true', help='start a machine and keep it until ^C')
    p.add_argument('--in', dest='folder', metavar='DIR', help='use the machine that --hold keeps there')
    p.add_argument('command', nargs=argparse.REMAINDER)
    args = p.parse_args()
    script = ' '.join(args.command)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    stdin = sys.stdin.buffer.read() if args.stdin else b''
    if args.folder:
        return _inside(args.folder, {'script': script, 'timeout': args.timeout, 'install': args.install, 'forward': args.forward,
                                     'stdin': len(stdin)}, stdin)
    try:
        with Rig('linux' if args.linux else 'xen') as rig:
            if args.install:
                rig.install()
            for port in args.forward:
                print('127.0.0.1:%d -> %d' % (rig.forward(port), port), flush=True)
            rc = 0
            if script:
                rc, _ = rig.run(script, args.timeout, stdin, lambda data: (sys.stdout.buffer.write(data), sys.stdout.flush()))
            if args.hold:
                _hold(rig)
    except KeyboardInterrupt:
        return 130
    return rc


if __name__ == '__main__':
    sys.exit(main())
