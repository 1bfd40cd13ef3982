#!/usr/bin/env python3
"""Copies of a VM whose guest writes to three disks all the while: snapshot, checkpoint, clone and revert hold what the disks held at
that moment; an agent that is killed in the middle of a revert leaves the old state or the new one."""
import hashlib
import re
import urllib.request

from harness import QemuAgent, check, done, guest_files, own_network, wait_until

MIB = 1 << 20
SIZE = 9 * MIB
PAGE = 4096
own_network()
kernel, initramfs = guest_files()


def make_vm(s):
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'load')
    s.VM.provision(vm)
    s.VM.set_memory_limits(vm, str(64 * MIB), str(192 * MIB), str(192 * MIB), str(192 * MIB))
    s.VM.set_domain_type(vm, 'pvh')
    s.VM.set_PV_kernel(vm, kernel)
    s.VM.set_PV_ramdisk(vm, initramfs)
    s.VM.set_PV_args(vm, 'console=ttyS0 mitigations=off load=1 nonce=load')
    for n in range(3):
        vdi = s.VDI.create({'name_label': 'disk %d' % n, 'name_description': '', 'SR': s.pool.get_default_SR(s.pool.get_all()[0]),
                            'virtual_size': str(SIZE), 'type': 'user', 'sharable': False, 'read_only': False, 'other_config': {}})
        s.VBD.create({'VM': vm, 'VDI': vdi, 'userdevice': str(n), 'bootable': not n, 'mode': 'RW', 'type': 'Disk', 'empty': False,
                      'other_config': {}, 'qos_algorithm_type': '', 'qos_algorithm_params': {}})
    return vm


def written(agent, uuid):
    """The last number that the guest has said."""
    said = re.findall(r'^load (\d+)\r?$', agent.console_log(uuid), re.M)
    return int(said[-1]) if said else 0


def disks(s, vm):
    vbds = [s.VBD.get_record(b) for b in s.VM.get_VBDs(vm)]
    return [b['VDI'] for b in sorted(vbds, key=lambda b: int(b['userdevice'])) if b['type'] == 'Disk']


def contents(agent, s, vm):
    url = 'http://127.0.0.1:%d/export_raw_vdi?session_id=%s&vdi=%s'
    return [urllib.request.urlopen(url % (agent.http_port, s._ref, vdi), timeout=60).read() for vdi in disks(s, vm)]


def digests(agent, s, vm):
    return [hashlib.sha256(data).hexdigest() for data in contents(agent, s, vm)]


def number(line):
    text = line.strip(b'\0\n ')
    return int(text) if text else 0


def numbers(data):
    """The number that the disk says, when all lines up to it are there and none that is later than the next."""
    last = number(data[:PAGE])
    lines = {number(data[PAGE * (1 + n % 2000):PAGE * (2 + n % 2000)]): n for n in range(1, last + 2)}
    for n in range(1, last + 1):
        if lines.get(n) != n:
            return 'line %d of %d is not there' % (n, last)
    later = [n for n in lines if n > last + 1]
    return 'line %d after %d' % (later[0], last) if later else last


def managed(s):
    return len([v for v in s.VDI.get_all() if s.VDI.get_managed(v)])


def of_moment(agent, s, copy, before, after, what):
    found = [numbers(data) for data in contents(agent, s, copy)]
    check(all(isinstance(n, int) and before <= n <= after + 1 for n in found),
          '%s: its disks are of a moment between %d and %d: %s' % (what, before, after, found))
    return found


def grows(agent, uuid):
    now = written(agent, uuid)
    return wait_until(lambda: written(agent, uuid) > now + 3, 120)


with QemuAgent(faults=True) as agent:
    s = agent.login()
    vm = make_vm(s)
    uuid = s.VM.get_uuid(vm)
    s.VM.start(vm, False, False)
    check(wait_until(lambda: written(agent, uuid) > 5, 240), 'a guest writes to three disks')
    before = written(agent, uuid)
    snapshot = s.VM.snapshot(vm, 'snapshot')
    check(grows(agent, uuid), 'and goes on behind a snapshot')
    of_moment(agent, s, snapshot, before, written(agent, uuid), 'the snapshot')
    before = written(agent, uuid)
    checkpoint = s.VM.checkpoint(vm, 'checkpoint')
    check(grows(agent, uuid), 'it goes on behind a checkpoint')
    a, b, c = of_moment(agent, s, checkpoint, before, written(agent, uuid), 'the checkpoint')
    check(a >= b >= c >= a - 1, 'its disks are of the same moment: the guest stood still')

    s.VM.hard_shutdown(vm)
    clone = s.VM.clone(snapshot, 'clone')
    wanted, last = digests(agent, s, snapshot), digests(agent, s, vm)
    check(digests(agent, s, clone) == wanted and last != wanted, 'a clone of the snapshot holds what it holds')
    spare = disks(s, clone)
    s.VM.destroy(clone)
    for vdi in spare:
        s.VDI.destroy(vdi)

    # A revert that is cut off: before the new disks are the VM's, when they are, and anywhere.
    count = managed(s)
    for point, wanted_now in (('vm.copy.disks', last), ('vm.revert.swapped', wanted), (None, wanted)):
        if point:
            agent.arm(point + ' kill')
        s.Async.VM.revert(snapshot)
        if point:
            wait_until(lambda: agent.process.poll() is not None, 60)
        agent.kill()
        agent.start()
        s = agent.login()
        now = digests(agent, s, vm)
        check(now == wanted_now if point else now in (last, wanted), 'an agent killed %s leaves the %s state' %
              ('at ' + point if point else 'anywhere', 'old' if now == last else 'new'))
        check(s.VM.get_power_state(vm) == 'Halted' and (not point or managed(s) == count), 'and no disk more than there were')
    s.VM.revert(snapshot)
    check(digests(agent, s, vm) == wanted, 'a revert brings back what the disks held')
    s.VM.revert(checkpoint)
    check(s.VM.get_power_state(vm) == 'Suspended', 'that to a checkpoint its memory too')
    s.VM.resume(vm, False, False)
    check(grows(agent, uuid), 'and the guest writes on from there')
    s.VM.hard_shutdown(vm)
done()
