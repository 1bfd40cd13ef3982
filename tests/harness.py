"""What script tests share: an agent in a root of its own, a XenAPI proxy over its unix socket, TAP output.

    from harness import Agent, check, done
    with Agent() as agent:
        s = agent.login()
        check(s.VM.get_all() != [], 'there are VMs')
    done()
"""
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import xmlrpc.client

BUILD = os.environ.get('XAPI_BUILD', os.getcwd())
SOURCE = os.environ.get('XAPI_SOURCE', os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LEVEL = os.environ.get('LEVEL', 'ci')
COVERAGE_DIR = os.environ.get('COVERAGE_DIR')      # see tests/schema/coverage.py
UNDER = os.environ.get('XAPI_UNDER', '').split()    # the daemon runs under this program (tests/valgrind.sh)
# Programs speak English unless a test says otherwise.
for _name in ('LANGUAGE', 'LC_MESSAGES', 'LANG'):
    os.environ.pop(_name, None)
os.environ['LC_ALL'] = 'C.UTF-8'
USER, PASSWORD = 'root', 'correct horse'
_count, _lock = [0, 0], threading.Lock()


def check(fact, what):
    """One TAP line. Returns the fact."""
    with _lock:                        # some tests do several things at once
        _count[0] += 1
        if not fact:
            _count[1] += 1
        print('%s %d - %s' % ('ok' if fact else 'not ok', _count[0], what), flush=True)
    return fact


def skip(what, why):
    _count[0] += 1
    print('ok %d - %s # SKIP %s' % (_count[0], what, why), flush=True)


_errors = {}


def error_parameters(code):
    """The names of an error's parameters, as the model publishes them. None: free, or not the model's."""
    if not _errors:
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([os.path.join(BUILD, 'schema', 'xapi-gen'), '--facts', os.path.join(SOURCE, 'schema'), folder], check=True)
            for line in open(os.path.join(folder, 'errors.tsv')):
                name, params, documented = line.rstrip('\n').split('\t')
                _errors[name] = (params.split(',') if params else []) if documented == '1' else None
        _errors['SESSION_AUTHENTICATION_FAILED'] = ['user', 'reason']      # published without, sent with these everywhere
    return _errors.get(code)


def fails(code, what, fn, *args):
    """The call must fail with this XenAPI code, with as many parameters as the model says; returns them."""
    try:
        fn(*args)
    except Failure as e:
        names = error_parameters(e.details[0])
        if names is not None and len(names) != len(e.details) - 1:
            check(False, '%s: %s has the parameters %s, not %s' % (what, e.details[0], names, e.details[1:]))
        check(e.details[0] == code, '%s: %s' % (what, code if e.details[0] == code else e.details))
        return e.details[1:]
    check(False, '%s: succeeded, expected %s' % (what, code))
    return []


def done():
    print('1..%d' % _count[0], flush=True)
    sys.exit(1 if _count[1] else 0)


class Failure(Exception):
    def __init__(self, details):
        super().__init__(details)
        self.details = details


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__('localhost', timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class UnixTransport(xmlrpc.client.Transport):
    def __init__(self, path, timeout):
        super().__init__(use_builtin_types=False)
        self.path, self.timeout = path, timeout

    def make_connection(self, host):
        return _UnixConnection(self.path, self.timeout)


class Session:
    """session.VM.start(ref, False, False): the session is put in front, failures raise Failure."""

    def __init__(self, proxy, ref):
        self._proxy, self._ref = proxy, ref

    def call(self, method, *args):
        answer = getattr(self._proxy, method)(self._ref, *args)
        return unwrap(answer)

    def __getattr__(self, cls):
        return _Class(self, cls)


class _Class:
    def __init__(self, session, prefix):
        self._session, self._prefix = session, prefix

    def __getattr__(self, name):
        return _Class(self._session, self._prefix + '.' + name)

    def __call__(self, *args):
        return self._session.call(self._prefix, *args)


def unwrap(answer):
    if answer['Status'] == 'Success':
        return answer['Value']
    raise Failure(answer['ErrorDescription'])


def own_network():
    """Runs the rest of this test in a network namespace of its own, with a loopback: bridges and taps touch nobody's."""
    if os.environ.get('XAPI_OWN_NETWORK') != '1':
        os.environ['XAPI_OWN_NETWORK'] = '1'
        os.execvp('unshare', ['unshare', '-n', sys.executable] + sys.argv)
    subprocess.run(['ip', 'link', 'set', 'lo', 'up'], check=True)


VHD_PLUGIN = next((p for p in (os.path.join(BUILD, '.libs/nbdkit-vhd.so'), os.path.join(BUILD, 'nbdkit-vhd.so')) if os.path.exists(p)), None)


def vhd_opens():
    """Whether VHDs can be opened: nbdkit cannot load a plug-in that was built with a sanitizer."""
    if VHD_PLUGIN is None:
        return False
    with open(VHD_PLUGIN, 'rb') as f:
        program = f.read()
    return b'__asan_init' not in program and b'__tsan_init' not in program


def guest_files():
    """Kernel and initramfs of the small Linux that real guests boot (tests/qemu/guest.sh), made once a build."""
    folder = os.path.join(BUILD, 'guest')
    subprocess.run([os.path.join(SOURCE, 'tests', 'qemu', 'guest.sh'), folder], check=True)
    return os.path.join(folder, 'vmlinuz'), os.path.join(folder, 'initramfs.gz')


def _keep_audit(root):
    """For tests/schema/coverage.py: the audit log of a root goes to $COVERAGE_DIR under the test's name."""
    path, test = os.path.join(root, 'audit.log'), os.path.splitext(os.path.abspath(sys.argv[0]))[0]
    if COVERAGE_DIR and os.path.exists(path):
        name = '%s--%s--%s' % (os.path.basename(os.path.dirname(test)), os.path.basename(test), root.strip('/').replace('/', '_'))
        shutil.copy(path, os.path.join(COVERAGE_DIR, name))


def remove_root(root):
    """Removes an agent's folder with what is mounted below it, the inner ones first; guests and their engine have gone."""
    with open('/proc/self/mountinfo') as f:
        points = [line.split()[4] for line in f]
    for point in reversed([p for p in points if p.startswith(root + '/')]):
        subprocess.run(['umount', point], check=False)
    shutil.rmtree(root, ignore_errors=True)


class Agent:
    """A daemon on a fresh root (or on the root of an earlier one)."""

    def __init__(self, *options, hv='sim', net='sim', root=None, env=None, faults=False):
        """faults: arm() makes it fail or kill itself at its fault points; self.fault is armed before it begins."""
        self.fault = ''
        self.own_root, self.faults = root is None, faults
        self.root = root or tempfile.mkdtemp(prefix='xapi-test-')
        self.socket = os.path.join(self.root, 'xapi.sock')
        self.options, self.hv, self.net, self.env = list(options) + ['--allow-faults'] * faults, hv, net, env or {}
        if hv != 'sim' and '--machine' not in options:
            self.options += ['--machine', 'none', '--etc-dir', os.path.join(self.root, 'etc')]
        self.process = None
        password = os.path.join(self.root, 'passwd')
        if not os.path.exists(password):
            crypted = subprocess.run(['openssl', 'passwd', '-6', '-stdin'], input=PASSWORD, text=True, capture_output=True,
                                     check=True).stdout.strip()
            with open(password, 'w') as f:
                f.write('%s:%s\n' % (USER, crypted))

    def start(self, wait=True):
        self.log = open(os.path.join(self.root, 'agent.log'), 'ab')
        argv = [os.path.join(BUILD, 'run'), *UNDER, 'xapi', '--root', self.root, '--hv', self.hv, '--socket', self.socket,
                *(['--net', self.net] if self.net else []),
                '--http', '127.0.0.1:0', '--https', '127.0.0.1:0', '--nbd', '127.0.0.1:0',
                '--auth', 'file:' + os.path.join(self.root, 'passwd')]
        if COVERAGE_DIR:
            argv.append('--audit-reads')
        env, more = dict(os.environ, **self.env), {}
        if self.faults:         # each start begins without any but this
            with open(os.path.join(self.root, 'faults'), 'w+b') as faults:
                faults.write(self.fault.encode() + b'\n')
                faults.flush()
                more = {'pass_fds': (os.dup(faults.fileno()),)}
            env['XAPI_FAULT_FD'] = str(more['pass_fds'][0])
        self.process = subprocess.Popen(argv + self.options, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env=env, **more)
        for fd in more.get('pass_fds', ()):
            os.close(fd)
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self, seconds=120):
        """Ready when the file <root>/ready of this process is there: it says pid, http and https ports."""
        until = time.monotonic() + seconds
        path = os.path.join(self.root, 'ready')
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise RuntimeError('the agent ended with %s\n%s' % (self.process.returncode, self.tail()))
            try:
                pid, self.http_port, self.https_port = map(int, open(path).read().split())
                if pid == self.process.pid:
                    return
            except (OSError, ValueError):
                pass
            time.sleep(0.01)
        raise RuntimeError('the agent did not become ready\n' + self.tail())

    def tail(self, lines=60):
        with open(os.path.join(self.root, 'agent.log'), errors='replace') as f:
            return ''.join(f.readlines()[-lines:])

    def proxy(self, timeout=120):
        return xmlrpc.client.ServerProxy('http://localhost/', transport=UnixTransport(self.socket, timeout), allow_none=True)

    def login(self, timeout=120):
        proxy = self.proxy(timeout)
        return Session(proxy, unwrap(proxy.session.login_with_password('root', '', '2.21', 'test')))

    def arm(self, line):
        """'POINT ACTION [NTH]' (lib/fault.h), for this process only."""
        with open(os.path.join(self.root, 'faults'), 'ab') as f:
            f.write(line.encode() + b'\n')

    def poke(self, text):
        """Does something to simulated guests behind the agent's back, or sets how they behave (xapi/hv/sim.h)."""
        fd, path = tempfile.mkstemp(dir=self.root)
        with open(fd, 'w') as f:
            f.write(text + '\n')
        there = os.path.join(self.root, 'hv', 'sim', 'poke', os.path.basename(path))
        os.rename(path, there)
        if not wait_until(lambda: not os.path.exists(there)):     # it goes when it has been done
            raise RuntimeError('nobody looks at ' + there)

    def kill(self):
        self.process.kill()
        self.process.wait()
        _keep_audit(self.root)

    def stop(self, seconds=30):
        """SIGTERM; returns the exit status."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise RuntimeError('the agent did not stop\n' + self.tail())
            _keep_audit(self.root)
        return self.process.returncode if self.process else None

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, value, trace):
        if kind and kind is not SystemExit:
            traceback.print_exception(kind, value, trace)
            print(self.tail())
        status = self.stop()
        if not kind and not check(status == 0, 'the agent ends cleanly on SIGTERM'):
            print('it ended with %s\n%s' % (status, self.tail()))
        if self.own_root:
            remove_root(self.root)
        return False


class QemuAgent(Agent):
    """An agent with a private libvirtd and real networks; at the end the engine goes too, and the log's tail is shown."""

    def __init__(self, *options, **named):
        super().__init__('--accel', 'tcg', *options, hv='libvirt', net='bridge', **named)

    def engine_pid(self):
        """The private libvirtd's, or None."""
        try:
            return int(open(os.path.join(self.root, 'hv', 'libvirt', 'libvirtd.pid')).read())
        except (OSError, ValueError):
            return None

    def guests_left(self):
        """QEMU processes of this agent, known by its root on their command line."""
        left = []
        for pid in filter(str.isdigit, os.listdir('/proc')):
            try:
                words = open('/proc/%s/cmdline' % pid, 'rb').read()
            except OSError:
                continue
            if words.split(b'\0')[0].rpartition(b'/')[2].startswith(b'qemu-system') and self.root.encode() in words:
                left.append(int(pid))
        return left

    def console_log(self, uuid):
        """All that the guest's text console ever wrote."""
        try:
            return open(os.path.join(self.root, 'hv', 'libvirt', 'console', uuid + '.log'), errors='replace').read()
        except OSError:
            return ''

    def __exit__(self, kind, value, trace):
        print('# agent log:\n' + '\n'.join('# ' + line for line in self.tail(25).splitlines()))
        own, self.own_root = self.own_root, False
        super().__exit__(kind, value, trace)
        for pid in self.guests_left():
            print('# ended a guest that the test left: pid %d' % pid)
            os.kill(pid, signal.SIGKILL)
        if self.engine_pid():
            os.kill(self.engine_pid(), signal.SIGTERM)
        if own:
            remove_root(self.root)
        return False


def upload(agent, s, path, body, length=None):
    """PUT to an import endpoint (path with its query) over the unix socket, under a task of its own: the task's record when it has ended.
    length: what the head says, when that is not so. What a killed agent brings about is raised."""
    task = s.task.create('import', '')
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(60)
        sock.connect(agent.socket)
        sock.sendall(('PUT %s%ctask_id=%s&session_id=%s HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: %d\r\n\r\n'
                      % (path, '&' if '?' in path else '?', task, s._ref, len(body) if length is None else length)).encode())
        if b' 200 ' in sock.recv(65536):
            try:
                sock.sendall(body)
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(65536):
                    pass
            except OSError:
                pass        # it may be refused in the middle: the task says why
    wait_until(lambda: s.task.get_status(task) != 'pending', 60)
    return s.task.get_record(task)


def wait_until(fn, seconds=30, step=0.05):
    """Polls fn until it is true; returns its last value."""
    until = time.monotonic() + seconds
    while True:
        value = fn()
        if value or time.monotonic() > until:
            return value
        time.sleep(step)
