#!/usr/bin/env python3
"""A running guest under QEMU moves between two agents of different pools, each with a libvirtd and a network of its own, its disk in a
repository that both see: it goes on where it stood, writes its disk and answers on the network; and back. Refused, cancelled, cut, agents
and engines killed at every stage: exactly one of the two has it, running. LEVEL=full: all stages."""
import ctypes
import os
import re
import signal
import subprocess
import tempfile
import threading
import time

from harness import LEVEL, Failure, QemuAgent, check, done, fails, guest_files, own_network, remove_root, wait_until

MIB, GUEST, ADDRESS = 1 << 20, '10.98.0.9', {0: '10.98.0.1', 1: '10.98.0.2'}
CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)
kernel, initramfs = guest_files()       # before: a first time it is fetched
own_network()


class Place(QemuAgent):
    """An agent in a network namespace: the test's own, or one of its own with a cable to the test's."""

    def __init__(self, number):
        super().__init__('--https', '0.0.0.0:4433', faults=True)      # the same after a restart: who asks finds it
        self.number, self.home = number, open('/proc/self/ns/net')
        if number:
            self.inside(lambda: None, CLONE_NEWNET)
        else:
            self.net_ns = self.home

    def inside(self, fn, new=0):
        """fn() in its namespace; new: made now."""
        if new:
            assert libc.unshare(new) == 0
            self.net_ns = open('/proc/thread-self/ns/net')
            self.run('ip', 'link', 'set', 'lo', 'up')
        else:
            assert libc.setns(self.net_ns.fileno(), CLONE_NEWNET) == 0
        try:
            return fn()
        finally:
            assert libc.setns(self.home.fileno(), CLONE_NEWNET) == 0

    @staticmethod
    def run(*argv):
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout

    def start(self, wait=True):
        self.inside(lambda: super(Place, self).start(wait))
        self.s = self.login()
        return self

    def back(self):
        self.process.wait()
        self.start()

    def network(self):
        """The cable's: guests of both hosts are on it."""
        return next(self.s.PIF.get_network(p) for p in self.s.PIF.get_all() if self.s.PIF.get_device(p) == 'cable%d' % self.number)

    def reaches(self):
        ping = ['busybox', 'ping', '-q', '-c', '1', '-W', '2', GUEST]
        return wait_until(lambda: not self.inside(lambda: subprocess.run(ping, capture_output=True).returncode), 60)

    def find(self, uuid):
        """(VM, power state, operations), or None."""
        try:
            vm = self.s.VM.get_by_uuid(uuid)
            return vm, self.s.VM.get_power_state(vm), self.s.VM.get_current_operations(vm)
        except Failure as e:
            if e.details[0] not in ('UUID_INVALID', 'HANDLE_INVALID'):
                raise
            return None

    def left_over(self):
        """Notes of moves, the class's and the driver's, and FIFOs."""
        found = []
        for folder, what in (('migrate', ''), ('hv/libvirt/moves', ''), ('run/hv/g', '.m')):
            path = os.path.join(self.root, folder)
            found += [n for n in (os.listdir(path) if os.path.exists(path) else []) if n.endswith(what)]
        return found

    def ticks(self, uuid):
        return [int(n) for n in re.findall(r'tick (\d+)\r?\n', self.console_log(uuid))]

    def lives(self, uuid):
        before = self.ticks(uuid)[-1:]
        return wait_until(lambda: self.ticks(uuid)[-1:] > before, 60)

    def writes(self, uuid):
        """The guest comes through to its disk, which the record says it has."""
        def written():
            return len(re.findall(r'load \d+\r?\n', self.console_log(uuid)))
        before = written()
        plugged = all(self.s.VBD.get_currently_attached(b) for b in self.s.VM.get_VBDs(self.s.VM.get_by_uuid(uuid)))
        return plugged and wait_until(lambda: written() > before, 60)


class World:
    def __init__(self):
        self.a, self.b = Place(0), Place(1)
        self.b.run('ip', 'link', 'add', 'cable0', 'type', 'veth', 'peer', 'name', 'cable1')
        subprocess.run(['ip', 'address', 'add', ADDRESS[0] + '/24', 'dev', 'cable0'], check=True)
        # The namespace has no process of its own yet: the cable's end goes there by a helper that lives in it.
        helper = self.b.inside(lambda: subprocess.Popen(['sleep', '600']))
        subprocess.run(['ip', 'link', 'set', 'cable1', 'netns', str(helper.pid)], check=True)
        subprocess.run(['ip', 'link', 'set', 'cable0', 'up'], check=True)
        self.b.inside(lambda: (self.b.run('ip', 'address', 'add', ADDRESS[1] + '/24', 'dev', 'cable1'), self.b.run('ip', 'link', 'set', 'cable1', 'up')))
        helper.kill()
        helper.wait()
        for place in (self.a, self.b):
            place.start()
        self.folder = tempfile.mkdtemp(prefix='xapi-shared-')     # below neither root: QEMUs are told apart by these
        s = self.a.s
        self.sr = s.SR.create(s.host.get_all()[0], {'location': self.folder}, '0', 'shared', '', 'file', 'user', True, {})
        self.b.s.SR.introduce(s.SR.get_uuid(self.sr), 'shared', '', 'file', 'user', True, {})
        self.sr_uuid = s.SR.get_uuid(self.sr)

    def guest(self):
        s = self.a.s
        vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'traveller')
        s.VM.provision(vm)
        s.VM.set_memory_limits(vm, str(64 * MIB), str(128 * MIB), str(128 * MIB), str(128 * MIB))
        s.VM.set_domain_type(vm, 'pvh')
        s.VM.set_PV_kernel(vm, kernel)
        s.VM.set_PV_ramdisk(vm, initramfs)
        s.VM.set_PV_args(vm, 'console=ttyS0 mitigations=off tick=1 load=1 nonce=traveller ip=%s/24' % GUEST)
        vdi = s.VDI.create({'name_label': 'disk', 'name_description': '', 'SR': self.sr, 'virtual_size': str(16 * MIB), 'type': 'user',
                            'sharable': False, 'read_only': False, 'other_config': {}})
        s.VBD.create({'VM': vm, 'VDI': vdi, 'userdevice': '0', 'bootable': True, 'mode': 'RW', 'type': 'Disk', 'empty': False,
                      'other_config': {}, 'qos_algorithm_type': '', 'qos_algorithm_params': {}})
        s.VIF.create({'VM': vm, 'network': self.a.network(), 'device': '0', 'MAC': '', 'MTU': '1500', 'other_config': {},
                      'qos_algorithm_type': '', 'qos_algorithm_params': {}})
        self.uuid = s.VM.get_uuid(vm)
        s.VM.start(vm, False, False)
        check(wait_until(lambda: self.a.ticks(self.uuid), 180) and self.a.reaches(), 'the guest ticks and is reached')

    def takes(self, place):
        """The repository becomes this pool's; guests that run elsewhere go on."""
        s = place.s
        owners = subprocess.run(['find', self.folder, '-name', '.xapi-owner', '-exec', 'cat', '{}', '+'], capture_output=True, text=True).stdout
        owner, epoch = owners.strip().split('_')
        if owner == s.pool.get_uuid(s.pool.get_all()[0]):
            return
        sr = s.SR.get_by_uuid(self.sr_uuid)
        for pbd in s.SR.get_PBDs(sr):
            if s.PBD.get_currently_attached(pbd):
                s.PBD.unplug(pbd)
            s.PBD.destroy(pbd)
        config = {'location': self.folder, 'take_from': '%s:%s' % (owner, epoch)}
        s.PBD.plug(s.PBD.create({'host': s.host.get_all()[0], 'SR': sr, 'device_config': config, 'other_config': {}}))
        s.SR.scan(sr)

    def where(self):
        """(who has it, the other one, the VM)"""
        here, there = (self.a, self.b) if self.a.find(self.uuid) else (self.b, self.a)
        return here, there, here.find(self.uuid)[0]

    def arguments(self, here, there, vm):
        dest = {'host': there.s.host.get_all()[0], 'master': 'https://%s:%d' % (ADDRESS[there.number], there.https_port), 'session_id': there.s._ref}
        network = there.network()
        return vm, dest, True, {}, {v: network for v in here.s.VM.get_VIFs(vm)}, {}

    def move(self):
        """Its error, or None."""
        here, there, vm = self.where()
        self.takes(there)
        try:
            here.login().VM.migrate_send(*self.arguments(here, there, vm))
            return None
        except (Failure, OSError) as e:
            return e

    def settled(self, what, owner):
        """One pool has it, in which it runs on; of the other nothing stays."""
        other = self.b if owner is self.a else self.a
        wait_until(lambda: not owner.left_over() and not other.left_over() and not (owner.find(self.uuid) or ('', '', 1))[2], 90)
        mine, its = owner.find(self.uuid), other.find(self.uuid)
        check(mine and mine[1] == 'Running' and not mine[2] and its is None, '%s: the %s has it: %s, %s' % (
            what, 'first' if owner is self.a else 'second', mine, its))
        check(len(owner.guests_left()) == 1 and not other.guests_left(), what + ': one QEMU, there')
        check(not owner.left_over() and not other.left_over(), what + ': nothing stays written down: %s %s' % (owner.left_over(), other.left_over()))
        check(owner.lives(self.uuid), what + ': it ticks')
        check(owner.writes(self.uuid), what + ': it writes its disk')
        taps = other.inside(lambda: subprocess.run(['ip', '-o', 'link'], capture_output=True, text=True).stdout)
        check(' vif' not in taps, what + ': no tap stays at the other: %s' % re.findall(r' vif\S+', taps))


def moves(w):
    for name in ('there', 'and back'):
        here, there, _ = w.where()
        last, before = here.ticks(w.uuid)[-1], len(there.console_log(w.uuid))
        began = time.monotonic()
        error = w.move()
        print('# the move took %.1f s' % (time.monotonic() - began))
        w.settled('moved %s (%s)' % (name, error), there)
        text = there.console_log(w.uuid)[before:]
        ticks = [int(n) for n in re.findall(r'tick (\d+)\r?\n', text)]
        check('userland' not in text and ticks and last <= ticks[0] <= last + 120, '%s: it goes on counting: %s, then %s' % (name, last, ticks[:1]))
        check(there.reaches() and here.reaches(), name + ': both hosts reach it')


def same_host(w):
    here, _, vm = w.where()
    fails('VM_INCOMPATIBLE_WITH_THIS_HOST', 'a move to the same host is refused by name', here.s.VM.pool_migrate, vm, here.s.host.get_all()[0], {})
    w.settled('refused', here)


def refused(w):
    here, there, vm = w.where()
    there.arm('hv.libvirt.ready EIO 1')
    error = w.move()
    check('injected at hv.libvirt.ready' in str(error), 'a failure over there is named: %s' % error)
    w.settled('refused', here)


def killed(w, side, point, moved):
    here, there, vm = w.where()
    victim = here if side == 'sender' else there
    w.takes(there)
    victim.arm(point.replace(' ', ' kill ') if ' ' in point else point + ' kill 1')
    got = []
    thread = threading.Thread(target=lambda: got.append(w.move()))
    thread.start()
    victim.back()
    thread.join()
    w.settled('%s killed at %s (%s)' % (side, point, str(got[0])[:60]), there if moved else here)


def gone(w):
    """The sender dies when the receiver has the guest, and has heard nothing of that."""
    here, there, vm = w.where()
    w.takes(there)
    here.arm('hv.libvirt.gone sleep:60000 1')
    got = []
    thread = threading.Thread(target=lambda: got.append(w.move()))
    thread.start()
    check(wait_until(lambda: (there.find(w.uuid) or ('', ''))[1] == 'Running', 60), 'the guest is over there: %s' % got)
    here.kill()
    thread.join()
    here.start()
    w.settled('sender killed after it let go', there)


def cancelled(w):
    here, there, vm = w.where()
    w.takes(there)
    here.arm('hv.libvirt.piece sleep:100 5+')
    task = here.s.Async.VM.migrate_send(*w.arguments(here, there, vm))
    check(wait_until(lambda: (there.find(w.uuid) or ('', '', {}))[2], 60), 'it is on its way')
    time.sleep(1)
    here.s.task.cancel(task)
    wait_until(lambda: here.s.task.get_status(task) not in ('pending', 'cancelling'), 60)
    here.arm('hv.libvirt.piece off')
    check(here.s.task.get_status(task) == 'cancelled', 'cancelled: %s %s' % (here.s.task.get_status(task), here.s.task.get_error_info(task)))
    w.settled('cancelled', here)


def engine_killed(w, side):
    """libvirtd dies while the memory is on its way. QEMU goes on by itself: the guest may arrive or not, but is one."""
    here, there, vm = w.where()
    w.takes(there)
    here.arm('hv.libvirt.piece sleep:100 5+')
    got = []
    thread = threading.Thread(target=lambda: got.append(w.move()))
    thread.start()
    wait_until(lambda: (there.find(w.uuid) or ('', '', {}))[2], 60)
    time.sleep(1)
    os.kill((here if side == 'sender' else there).engine_pid(), signal.SIGKILL)
    here.arm('hv.libvirt.piece off')
    thread.join()
    w.settled("%s's libvirtd killed (%s)" % (side, str(got[0])[:60]), there if got[0] is None else here)


KILLS = [('sender', 'hv.libvirt.piece 20', False), ('receiver', 'hv.libvirt.taken', True), ('receiver', 'hv.libvirt.fill 20', False),
         ('receiver', 'hv.libvirt.ready', False), ('sender', 'hv.libvirt.handover', False), ('receiver', 'hv.libvirt.taken', True)]
world = World()
try:
    world.guest()
    moves(world)
    same_host(world)
    refused(world)
    cancelled(world)
    for kill in KILLS if LEVEL == 'full' else KILLS[:2]:
        killed(world, *kill)
    if LEVEL == 'full':
        gone(world)
        for side in ('sender', 'receiver'):
            engine_killed(world, side)
finally:
    for place in (world.b, world.a):
        place.__exit__(None, None, None)
    remove_root(world.folder)
done()
