#!/usr/bin/python3
"""Transfers that break off: the server is killed in the middle of a download or an upload, the disk is full, the reader goes, xe is
interrupted. Each time a sentence, an exit status that is not 0, and no half file; by the thin protocol and over XML-RPC."""
import os
import resource
import shutil
import signal
import subprocess
import tempfile

from harness import BUILD, PASSWORD, USER, Agent, check, done, wait_until

XE = os.path.join(BUILD, 'xe', 'xe')
SIZE = 192 << 20                       # takes a moment over TLS


def command(agent, way, *args):
    if way == 'socket':
        return [XE, '--socket', agent.socket, *args]
    login = ['-s', 'localhost', '-p', str(agent.https_port), '-u', USER, '-pw', PASSWORD]
    return [XE, *(['--xmlrpc'] if way == 'xmlrpc' else []), *login, *args]


def xe(agent, *args):
    r = subprocess.run([XE, *args], env=dict(os.environ, XAPI_SOCKET=agent.socket), capture_output=True, text=True, timeout=60)
    assert r.returncode == 0, (args, r.stderr)
    return r.stdout.strip()


def disk(agent):
    return xe(agent, 'vdi-create', 'sr-uuid=' + xe(agent, 'sr-list', 'name-label=Local storage', '--minimal'), 'name-label=d', 'virtual-size=%d' % SIZE)


def start(argv, **named):
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **named)


def ended(what, process, status=1):
    """It ends by itself, says why and how badly."""
    try:
        out, err = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return check(False, what + ': xe ends')
    if not check(process.returncode == status and bool(err.strip()) == (status == 1), '%s: status %d: %s' % (what, process.returncode, err.split('\n')[0])):
        print('# %r %r' % (out, err))


def growing(path, least=1 << 20):
    return wait_until(lambda: os.path.exists(path) and os.path.getsize(path) > least, 30, 0.002)


def server_gone(way):
    for direction in ('download', 'upload', 'export'):
        with tempfile.TemporaryDirectory() as folder:
            agent = Agent().start()
            vdi, path = disk(agent), os.path.join(folder, 'disk.raw')
            if direction == 'upload':
                os.mkfifo(path)        # the test says when there is more
                p = start(command(agent, way, 'vdi-import', 'uuid=' + vdi, 'filename=' + path))
                with open(path, 'wb') as f:
                    f.write(bytes(4 << 20))
                    f.flush()
                    agent.kill()
                    feed(f)
            else:                      # an export has no length: its end could be that of the server
                if direction == 'export':
                    fill(agent, folder, vdi)
                args = ['vdi-export', 'uuid=' + vdi] if direction == 'download' else ['vm-export', 'vm=guest']
                p = start(command(agent, way, *args, 'filename=' + path))
                begun = growing(path)
                agent.kill()
                check(begun, '%s: the %s has begun' % (way, direction))
            ended('%s: the server is killed during the %s' % (way, direction), p)
            if direction != 'upload':
                check(not os.path.exists(path), '%s: no half file is left of a %s' % (way, direction))
            shutil.rmtree(agent.root, ignore_errors=True)      # a driver of its may still be at work


def fill(agent, folder, vdi):
    """A VM whose disk is not empty: zeros are left out of an export."""
    data = os.path.join(folder, 'data')
    with open(data, 'wb') as f:
        f.write(os.urandom(1 << 20) * (SIZE >> 20))
    xe(agent, 'vdi-import', 'uuid=' + vdi, 'filename=' + data)
    os.unlink(data)
    vm = xe(agent, 'vm-install', 'template=Other install media', 'new-name-label=guest')
    xe(agent, 'vbd-create', 'vm-uuid=' + vm, 'vdi-uuid=' + vdi, 'device=0')


def feed(f):
    try:
        for _ in range(64):
            f.write(bytes(1 << 20))
            f.flush()
    except BrokenPipeError:
        pass


def disk_full(agent, way, vdi):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'disk.raw')

        def limit():                   # a write behind this fails as on a full disk
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, 2 << 20))

        p = start(command(agent, way, 'vdi-export', 'uuid=' + vdi, 'filename=' + path), preexec_fn=limit)
        ended(way + ': the disk is full', p)
        check(not os.path.exists(path), way + ': no half file is left on a full disk')


def interrupted(agent, way, vdi):
    for sig in (signal.SIGTERM, signal.SIGHUP):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, 'disk.raw')
            p = start(command(agent, way, 'vdi-export', 'uuid=' + vdi, 'filename=' + path))
            check(growing(path), '%s: a download before %s' % (way, sig.name))
            p.send_signal(sig)
            ended('%s: %s' % (way, sig.name), p, 128 + sig)
            check(not os.path.exists(path), '%s: %s leaves no half file' % (way, sig.name))


def nobody_reads(agent, way, vdi):
    """A download to standard output whose reader goes."""
    p = start(command(agent, way, 'vdi-export', 'uuid=' + vdi, 'filename='))
    os.read(p.stdout.fileno(), 65536)
    p.stdout.close()
    err = p.stderr.read()
    check(p.wait(60) == 1 and 'Broken pipe' in err, way + ': the reader of a download goes: ' + err.split('\n')[0])


def output_full(agent, way):
    with open('/dev/full', 'w') as full:
        p = subprocess.run(command(agent, way, 'template-list', 'params=all'), stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    check(p.returncode == 1 and 'No space left' in p.stderr, way + ': a list to a full disk: ' + p.stderr.split('\n')[0])


for way in ('socket', 'thin', 'xmlrpc'):
    server_gone(way)
with Agent() as agent:
    vdi = disk(agent)
    for way in ('thin', 'xmlrpc'):
        disk_full(agent, way, vdi)
        interrupted(agent, way, vdi)
        nobody_reads(agent, way, vdi)
        output_full(agent, way)
    s = agent.login()
    check(wait_until(lambda: all(t['status'] != 'pending' for t in s.task.get_all_records().values())), 'every task has ended')
    check(s.VDI.get_current_operations(s.VDI.get_by_uuid(vdi)) == {}, 'and the disk is free')
    xe(agent, 'vdi-destroy', 'uuid=' + vdi)
done()
