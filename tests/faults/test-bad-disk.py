#!/usr/bin/env python3
"""A disk that fails under the agent: every read or write of an image is an I/O error for a while. Copies and transfers say so and leave nothing,
and the same call succeeds when the disk is well again. LEVEL=full: under a real guest too, which goes on.

The image's file lies below a FUSE file of nbdkit's, which fails while another file exists."""
import contextlib
import os
import signal
import subprocess

from harness import LEVEL, QemuAgent, Agent, Failure, check, done, guest_files, own_network, skip, upload, wait_until

MIB = 1 << 20
if not os.path.exists('/dev/fuse'):
    skip('a failing disk', 'there is no /dev/fuse')
    done()
if LEVEL == 'full':
    own_network()


def mounted(path):
    with open('/proc/self/mountinfo') as f:
        return any(line.split()[4] == path for line in f)


@contextlib.contextmanager
def bad(path, now):
    """While this lasts the image goes through a file system that fails whenever the file `now` is there."""
    real = os.path.join(os.path.dirname(now), 'real-' + os.path.basename(path))
    os.link(path, real)
    argv = ['nbdfuse', '-o', 'allow_other', path, '--command', 'nbdkit', '-s', '--exit-with-parent', '--filter=error', 'file',
            real, 'error=EIO']
    for what in ('pread', 'pwrite', 'zero', 'trim'):
        argv += ['error-%s-rate=100%%' % what, 'error-%s-file=%s' % (what, now)]
    server = subprocess.Popen(argv, stderr=subprocess.DEVNULL)
    try:
        if not wait_until(lambda: mounted(path) or server.poll() is not None, 20) or server.poll() is not None:
            raise RuntimeError('nbdfuse does not mount %s' % path)
        yield
    finally:
        if os.path.exists(now):
            os.unlink(now)
        unmounted = wait_until(lambda: subprocess.run(['umount', path], capture_output=True).returncode == 0, 20)
        check(unmounted, 'nobody holds the image any more')
        if not unmounted:
            subprocess.run(['umount', '-l', path], check=False)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.send_signal(signal.SIGKILL)
            server.wait()
        os.unlink(real)


def set_bad(now, is_so):
    if is_so:
        open(now, 'w').close()
    elif os.path.exists(now):
        os.unlink(now)


def everything(s):
    return sorted((r['SR'], r['name_label'], r['virtual_size']) for r in s.VDI.get_all_records().values() if r['managed'])


def attached(agent):
    return [n for n in os.listdir(os.path.join(agent.root, 'storage/attached')) if n != 'boot-id']


def raw_disk(s, sr):
    return s.VDI.create({'name_label': 'bad', 'name_description': '', 'SR': sr, 'virtual_size': str(8 * MIB), 'type': 'user', 'sharable': False,
                         'read_only': False, 'other_config': {}, 'sm_config': {'type': 'raw'}})


def image_of(agent, s, vdi):
    name = s.VDI.get_uuid(vdi)
    folder = os.path.join(agent.root, 'sr')
    return os.path.join(folder, next(f for f in os.listdir(folder) if f.startswith(name)))


def at_rest(agent):
    s = agent.login()
    sr = s.pool.get_default_SR(s.pool.get_all()[0])
    second = s.SR.create(s.host.get_all()[0], {'location': os.path.join(agent.root, 'second')}, '0', 'second', '', 'file', 'user', False, {})
    vdi = raw_disk(s, sr)
    path, now = image_of(agent, s, vdi), os.path.join(agent.root, 'bad-now')
    with open(path, 'r+b') as f:
        f.write(b'content' * 1000)
    with bad(path, now):
        before = everything(s)

        def fails_now(what, fn):
            set_bad(now, True)
            try:
                fn()
                check(False, '%s from a failing disk: succeeded' % what)
            except Failure as e:
                check(e.details[0] not in ('SESSION_INVALID', 'HANDLE_INVALID'), '%s a failing disk is refused: %s' % (what, e.details[:3]))
            set_bad(now, False)
            check(wait_until(lambda: everything(s) == before and not attached(agent), 20), '... and leaves nothing: %s' % attached(agent))

        def put():
            r = upload(agent, s, '/import_raw_vdi?vdi=' + s.VDI.get_uuid(vdi), b'new' * MIB)
            if r['status'] != 'success':
                raise Failure(r['error_info'])

        fails_now('VDI.copy from', lambda: s.VDI.copy(vdi, second))
        fails_now('an import into', put)
        copy = s.VDI.copy(vdi, second)
        check(s.VDI.get_SR(copy) == second, 'the copy is made when the disk is well again')
        put()
        check(True, 'and so is the import')
        s.VDI.destroy(copy)
    check(open(path, 'rb').read(6) == b'newnew', 'what was imported is there')


def ticks(agent, uuid):
    return agent.console_log(uuid).count('tick ')


def under_a_guest(agent):
    kernel, initramfs = guest_files()
    s = agent.login()
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'guest')
    s.VM.provision(vm)
    s.VM.set_memory_limits(vm, str(64 * MIB), str(192 * MIB), str(192 * MIB), str(192 * MIB))
    s.VM.set_domain_type(vm, 'pvh')
    s.VM.set_PV_kernel(vm, kernel)
    s.VM.set_PV_ramdisk(vm, initramfs)
    s.VM.set_PV_args(vm, 'console=ttyS0 mitigations=off tick=1 nonce=bad')
    vdi = raw_disk(s, s.pool.get_default_SR(s.pool.get_all()[0]))
    s.VBD.create({'VM': vm, 'VDI': vdi, 'userdevice': '0', 'bootable': True, 'mode': 'RW', 'type': 'Disk', 'empty': False, 'other_config': {},
                  'qos_algorithm_type': '', 'qos_algorithm_params': {}})
    uuid, now = s.VM.get_uuid(vm), os.path.join(agent.root, 'bad-now')
    with bad(image_of(agent, s, vdi), now):
        s.VM.start(vm, False, False)
        check(wait_until(lambda: ticks(agent, uuid) > 2, 300), 'a guest boots')
        set_bad(now, True)
        before = ticks(agent, uuid)
        check(wait_until(lambda: ticks(agent, uuid) > before + 5, 120), 'it goes on while its disk fails')
        check(s.VM.get_power_state(vm) == 'Running', 'and the record says so')
        set_bad(now, False)
        before = ticks(agent, uuid)
        check(wait_until(lambda: ticks(agent, uuid) > before + 2, 120), 'and when the disk is well again')
        s.VM.hard_shutdown(vm)
        check(not attached(agent) and s.VM.get_power_state(vm) == 'Halted', 'it ends, and nothing is left')


with Agent() as agent:
    at_rest(agent)
if LEVEL == 'full':
    with QemuAgent() as agent:
        under_a_guest(agent)
done()
