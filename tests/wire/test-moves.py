#!/usr/bin/env python3
"""A running VM moves between two pools, and back. A target that refuses; agents killed at every stage, the sender with nobody to ask
for a while: exactly one pool has the VM afterwards, and it is kept from being started while that is not known."""
import os
import re
import tempfile
import threading
import time

from harness import Agent, Failure, check, done, fails, own_network, wait_until

MIB = 1 << 20


class Pool:
    def __init__(self, agent):
        self.agent = agent
        self.login()

    def login(self):
        self.s = self.agent.login()

    def back(self):
        self.agent.process.wait()
        self.agent.start()
        self.login()

    def find(self, uuid):
        """(VM, power state, operations), or None."""
        try:
            vm = self.s.VM.get_by_uuid(uuid)
            return vm, self.s.VM.get_power_state(vm), self.s.VM.get_current_operations(vm)
        except Failure as e:
            if e.details[0] not in ('UUID_INVALID', 'HANDLE_INVALID'):
                raise
            return None

    def notes(self):
        folder = os.path.join(self.agent.root, 'migrate')
        return os.listdir(folder) if os.path.exists(folder) else []


class Traveller:
    def __init__(self, one, other):
        self.pools = [one, other]
        s = one.s
        vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'traveller')
        s.VM.provision(vm)
        s.VM.set_memory_limits(vm, str(64 * MIB), str(64 * MIB), str(64 * MIB), str(64 * MIB))
        s.VM.snapshot(vm, 'then')
        self.uuid = s.VM.get_uuid(vm)

    def home(self, running=True):
        """(pool that has it, the other one, VM): it runs, or is halted."""
        here, there = self.pools if self.pools[0].find(self.uuid) else reversed(self.pools)
        vm, state, _ = here.find(self.uuid)
        if running and state == 'Halted':
            here.s.VM.start(vm, False, False)
        if not running and state == 'Running':
            here.s.VM.hard_shutdown(vm)
        return here, there, vm

    def move(self, here, there, vm):
        """Its error, or None."""
        # The simulator's ports are chosen by the kernel.
        dest = {'host': there.s.host.get_all()[0], 'master': 'https://127.0.0.1:%d' % there.agent.https_port, 'session_id': there.s._ref}
        try:
            here.agent.login().VM.migrate_send(vm, dest, True, {}, {}, {})
            return None
        except (Failure, OSError) as e:
            return e

    def settled(self, what, owner, state):
        """Nothing works on it, one pool has it, nothing stays written down."""
        other = [p for p in self.pools if p is not owner][0]
        wait_until(lambda: not owner.notes() and not other.notes() and not (owner.find(self.uuid) or ('', '', 1))[2], 60)
        mine, its = owner.find(self.uuid), other.find(self.uuid)
        check(mine and mine[1] == state and not mine[2] and its is None, '%s: the %s has it, %s; the other has not: %s, %s' % (
            what, 'first' if owner is self.pools[0] else 'second', state, mine, its))
        snapshots = owner.s.VM.get_snapshots(mine[0])
        check(len(snapshots) == 1 and not other.s.VM.get_by_name_label('then'), what + ': with its snapshot')
        check(not owner.notes() and not other.notes(), what + ': nothing stays written down: %s %s' % (owner.notes(), other.notes()))


def moves(t):
    for there_and_back in range(2):
        here, there, vm = t.home()
        error = t.move(here, there, vm)
        t.settled('moved, %s' % error, there, 'Running')


def refused(t):
    here, there, vm = t.home()
    there.agent.poke('set host_memory_bytes %d' % (32 * MIB))
    error = t.move(here, there, vm)
    check('HOST_NOT_ENOUGH_FREE_MEMORY' in str(error), 'a host without room says so: %s' % error)
    t.settled('refused', here, 'Running')
    for rate in (0, 4 * MIB):
        here.agent.poke('set image_bytes %d' % (64 * MIB))
        here.agent.poke('set save_rate %d' % rate)
        began = time.monotonic()
        error = t.move(here, there, vm)
        check('HOST_NOT_ENOUGH_FREE_MEMORY' in str(error), 'and when much memory is on its way to it (%.1f s): %s' % (time.monotonic() - began, error))
        t.settled('refused on its way', here, 'Running')
    here.agent.poke('set image_bytes %d\nset save_rate 0' % (4 * MIB))
    there.agent.poke('set host_memory_bytes %d' % (4096 * MIB))
    there.agent.arm('hv.sim.receive EIO 1')
    error = t.move(here, there, vm)
    check('injected' in str(error), 'a failure over there after the guest was let go: %s' % error)
    t.settled('failed', here, 'Halted')


def killed(t, side, point, owner, state):
    here, there, vm = t.home()
    sides = {'sender': here, 'receiver': there}
    sides[side].agent.arm(point + ' kill 1')
    got = []
    thread = threading.Thread(target=lambda: got.append(t.move(here, there, vm)))
    thread.start()
    sides[side].back()
    thread.join()
    error = got[0]
    t.settled('%s killed at %s (%s)' % (side, point, str(error)[:60]), sides[owner], state)


def on_the_way(t, side):
    """Killed while the memory is on its way."""
    here, there, vm = t.home()
    here.agent.poke('set save_rate %d' % (MIB // 2))
    got = []
    thread = threading.Thread(target=lambda: got.append(t.move(here, there, vm)))
    thread.start()
    check(wait_until(lambda: (there.find(t.uuid) or ('', '', {}))[2], 60), 'it is announced over there')
    fails('OTHER_OPERATION_IN_PROGRESS', 'nobody starts there what is on its way', there.s.VM.start, there.find(t.uuid)[0], False, False)
    killed_one = here if side == 'sender' else there
    killed_one.agent.kill()
    thread.join()
    killed_one.back()
    t.settled('%s killed on the way' % side, here, 'Running')
    here.agent.poke('set save_rate 0')


def gone(t):
    """The sender dies when the receiver has the guest, and says so to nobody."""
    here, there, vm = t.home()
    here.agent.arm('hv.sim.gone sleep:60000 1')
    thread = threading.Thread(target=lambda: t.move(here, there, vm))
    thread.start()
    check(wait_until(lambda: (there.find(t.uuid) or ('', ''))[1] == 'Running', 60), 'the guest is over there')
    here.agent.kill()
    thread.join()
    return here, there


def sender_gone(t):
    here, there = gone(t)
    here.back()
    t.settled('sender killed when it had let go', there, 'Running')


def nobody_to_ask(t):
    """The receiver is away as well when the sender comes back."""
    here, there = gone(t)
    there.agent.kill()
    here.back()
    found = here.find(t.uuid)
    check(found and found[1] == 'Halted' and 'migrate_send' in found[2].values(), 'not known whose it is: %s' % (found,))
    fails('OTHER_OPERATION_IN_PROGRESS', 'it is not to be started', here.s.VM.start, found[0], False, False)
    there.back()
    t.settled('asked again', there, 'Running')


def disks(t):
    """Its disk lies in a repository that changes hands; without that the move ends with the reason, and the guest goes on."""
    here, there, vm = t.home(False)
    folder = tempfile.mkdtemp()
    config = {'location': folder}
    s, other = here.s, there.s
    sr = s.SR.create(s.host.get_all()[0], config, '0', 'shared', '', 'file', 'user', True, {})
    vdi = s.VDI.create({'name_label': 'd', 'name_description': '', 'SR': sr, 'virtual_size': str(4 * MIB), 'type': 'user', 'sharable': False,
                        'read_only': False, 'other_config': {}})
    s.VBD.create({'VM': vm, 'VDI': vdi, 'userdevice': '0', 'bootable': True, 'mode': 'RW', 'type': 'Disk', 'empty': False, 'other_config': {},
                  'qos_algorithm_type': '', 'qos_algorithm_params': {}})
    s.VM.start(vm, False, False)
    error = t.move(here, there, vm)
    check('IMPORT_ERROR_FAILED_TO_FIND_OBJECT' in str(error) and s.VDI.get_uuid(vdi) in str(error), 'a disk that nobody knows there: %s' % error)
    t.settled('no such disk', here, 'Running')
    theirs = other.SR.introduce(s.SR.get_uuid(sr), 'shared', '', 'file', 'user', True, {})
    host = other.host.get_all()[0]
    pbd = other.PBD.create({'host': host, 'SR': theirs, 'device_config': config, 'other_config': {}})
    said = fails('SR_BACKEND_FAILURE_16', "another pool's repository is not plugged", other.PBD.plug, pbd)
    take = re.search(r'take_from=(\S+) takes it over', said[1])
    check(take, 'and what to do is said: %s' % said)
    other.PBD.destroy(pbd)
    pbd = other.PBD.create({'host': host, 'SR': theirs, 'device_config': dict(config, take_from=take.group(1)), 'other_config': {}})
    other.PBD.plug(pbd)
    other.SR.scan(theirs)
    other.PBD.unplug(pbd)
    error = t.move(here, there, vm)
    check(isinstance(error, Failure) and error.details == ['SR_HAS_NO_PBDS', theirs], 'a repository that is not plugged there: %s' % error)
    t.settled('not plugged', here, 'Running')
    other.PBD.plug(pbd)
    error = t.move(here, there, vm)
    t.settled('with its disk, %s' % error, there, 'Running')


def halted(t):
    here, there, vm = t.home(False)
    error = t.move(here, there, vm)
    t.settled('halted, %s' % error, there, 'Halted')


# Ports of their own, also after a restart: the sender asks where it sent to.
own_network()
with Agent('--https', '127.0.0.1:8441', faults=True) as a, Agent('--https', '127.0.0.1:8442', faults=True) as b:
    t = Traveller(Pool(a), Pool(b))
    for p in t.pools:
        p.agent.poke('set image_bytes %d' % (4 * MIB))
    moves(t)
    refused(t)
    on_the_way(t, 'receiver')
    on_the_way(t, 'sender')
    for side, point, owner, state in (('receiver', 'hv.sim.ready', 'sender', 'Running'), ('sender', 'hv.sim.handover', 'sender', 'Running'),
                                      ('receiver', 'hv.sim.taken', 'sender', 'Halted'),
                                      ('receiver', 'hv.sim.receive.late', 'receiver', 'Running')):
        killed(t, side, point, owner, state)
    sender_gone(t)
    nobody_to_ask(t)
    halted(t)
    disks(t)
done()
