"""Guests on Xen for tests: a record with the small Linux of tests/qemu, and what it says on its console.

    with Machine() as m:
        guest = m.guest('a', 'pvh', 'ip=10.9.0.2/24')
        m.s.VM.start(guest.ref, False, False)
        check(guest.lives(), 'it ticks')
"""
import os
import re
import sys
import time

sys.path.insert(0, os.path.join(os.environ['XAPI_SOURCE'], 'tests', 'rig'))
from harness import check, wait_until       # noqa: E402
from rig import Rig                         # noqa: E402

MIB = 1 << 20
BOOT_S = 400            # an emulator on a busy machine
WORDS = 'console=hvc0 quiet mitigations=off'


class Guest:
    def __init__(self, machine, name, ref):
        self.m, self.name, self.ref = machine, name, ref
        self.uuid = machine.s.VM.get_uuid(ref)

    def console(self):
        """All that it wrote, as xenconsoled kept it: of every domain that it has been."""
        return self.m.rig.run('cat /var/log/xen/console/guest-%s*.log %s/hv/xen/console/%s.log 2>/dev/null' % (
            self.name, self.m.agent.root, self.uuid))[1]

    def tick(self):
        """The number of its last tick; 0 before the first."""
        found = re.findall(r'tick (\d+)', self.console())
        return int(found[-1]) if found else 0

    def said(self, text, seconds=BOOT_S, times=1):
        return wait_until(lambda: self.console().count(text) >= times, seconds, 1)

    def lives(self, seconds=BOOT_S):
        """Its ticks go on: the timers of a guest are what a wrong domain lacks first."""
        first = self.tick()
        return wait_until(lambda: self.tick() not in (first, first + 1), seconds, 1)

    def domid(self):
        return int(self.m.s.VM.get_domid(self.ref))

    def state(self):
        return self.m.s.VM.get_power_state(self.ref)


class Machine:
    """A dom0 with this build's daemon; s is a session. What the test leaves running ends with the machine."""

    def __init__(self, *options, rig=None):
        self.rig, self.options = rig or Rig('xen'), options

    def __enter__(self):
        self.rig.start()
        try:
            self.rig.install()
            self.agent = self.rig.start_agent('--log-level', 'debug', *self.options)
            self.s = self.agent.login()
        except BaseException:
            self.rig.stop()
            raise
        return self

    def __exit__(self, kind, value, trace):
        if kind and kind is not SystemExit:
            text = self.rig.run("grep -vE 'debug (hv: xen get-|net: list)' %s | tail -n 100" % self.agent.log)[1]
            print('\n'.join('# ' + line for line in text.splitlines()), flush=True)
        return self.rig.__exit__(kind, value, trace)

    def restart(self):
        self.agent.start()
        self.s = self.agent.login()

    def guest(self, name, kind='pv', words='', memory=128 * MIB, disk=True, vif=True, tick=True):
        s = self.s
        vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], name)
        s.VM.provision(vm)
        s.VM.set_memory_limits(vm, str(32 * MIB), str(memory), str(memory), str(memory))
        s.VM.set_domain_type(vm, kind)
        s.VM.set_PV_kernel(vm, '/boot/vmlinuz' if kind == 'hvm' else '/boot/vmlinux')
        s.VM.set_PV_ramdisk(vm, '/boot/initramfs.gz')
        s.VM.set_PV_args(vm, '%s nonce=%s %s %s' % (WORDS, name, 'tick=1' if tick else '', words))
        guest = Guest(self, name, vm)
        guest.vdi = guest.vif = None
        if disk:
            guest.vdi = self.disk(name)
            self.plug_disk(guest, guest.vdi, '0')
        if vif:
            guest.vif = self.card(guest, '0')
        return guest

    def disk(self, name, size=16 * MIB, raw=True):
        s = self.s
        sr = s.pool.get_default_SR(s.pool.get_all()[0])
        return s.VDI.create({'name_label': name, 'name_description': '', 'SR': sr, 'virtual_size': str(size), 'type': 'user',
                             'sharable': False, 'read_only': False, 'other_config': {}, 'sm_config': {'type': 'raw'} if raw else {}})

    def plug_disk(self, guest, vdi, device, mode='RW'):
        """The VBD record; a running guest gets it by VBD.plug."""
        return self.s.VBD.create({'VM': guest.ref, 'VDI': vdi, 'userdevice': device, 'bootable': device == '0', 'mode': mode,
                                  'type': 'Disk', 'empty': False, 'other_config': {}, 'qos_algorithm_type': '',
                                  'qos_algorithm_params': {}})

    def card(self, guest, device, network=None):
        return self.s.VIF.create({'VM': guest.ref, 'network': network or self.network(), 'device': device, 'MAC': '', 'MTU': '1500',
                                  'other_config': {}, 'qos_algorithm_type': '', 'qos_algorithm_params': {}})

    def network(self):
        """A host-internal network, made at the first use; 10.9.0.1 is dom0's address in it."""
        s = self.s
        found = s.network.get_by_name_label('test')
        if found:
            return found[0]
        return s.network.create({'name_label': 'test', 'name_description': '', 'MTU': '1500', 'other_config': {}, 'bridge': '',
                                 'managed': True, 'tags': []})

    def address(self):
        """Gives dom0 its address in network(); the bridge must be there: a card is plugged."""
        self.rig.must('ip address replace 10.9.0.1/24 dev %s' % self.s.network.get_bridge(self.network()))

    def left(self):
        """What is there of guests, as text, '' when nothing is: domains, xenstore nodes, interfaces, loop devices."""
        return self.rig.must(
            'xl list | sed 1,2d; xenstore-ls /local/domain | grep -E "^[1-9]"; xenstore-ls /local/domain/0/backend 2>/dev/null |'
            ' grep -E "^ [0-9]+ "; ip -o link | grep -oE "(vif|tap)[0-9][^:@]*"; losetup -a | grep -v "^$"; true')
