"""What the tests on real Xen share: guests made through the API, and what is left of them in the machine.

Guests makes them with the agent of a machine; Machine is a machine with its agent, for a `with`, and makes Guest objects:

    with Machine() as m:
        guest = m.guest('a', 'pvh', 'ip=10.9.0.2/24')
        m.s.VM.start(guest.ref, False, False)
        check(guest.lives(), 'it ticks')

Called by: tests/xen/test-*.py. Calls: tests/rig, tests/harness.py.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.environ['XAPI_SOURCE'], 'tests', 'rig'))

from harness import Failure, wait_until
from rig import Rig  # noqa: F401  (the tests take it from here)

MIB = 1 << 20
NULL = 'OpaqueRef:NULL'
# Reads the disk's second sector (a text) and prints it with a number, about twice a second, by the firmware's means alone.
TICKER = bytes.fromhex(
    '31c08ed88ec08ed0bc007cfbbafb0331ffb80102b90200ba8000bb0080cd13720dbe0080ac84c0740ae83a00ebf6b021e833004789f8bb1027b9050031'
    'd2f7f30430e821005289d831d2bb0a00f7f389c358e2e8b00de80d00b00ae80800b90900f4e2fdebab5250bafd03eca82074fb58baf803ee5ac3')
GRUB = '/usr/lib/grub-xen/grub-x86_64-xen.bin'      # a small PV kernel that boots in no time and listens to nobody
PVH_GRUB = '/usr/lib/grub-xen/grub-i386-xen_pvh.bin'
BOOT_S = 400            # an emulator on a busy machine
NEW_CONSOLED = ('kill -9 $(cat /run/xen/xenconsoled.pid); sleep 0.2\n'
                'xenconsoled --log=guest --log-dir=/var/log/xen/console --pid-file=/run/xen/xenconsoled.pid')
SMALL_CC = ['cc', '-O1', '-Wall', '-Wextra', '-Werror', '-ffreestanding', '-fno-pic', '-no-pie', '-fno-stack-protector',
            '-fno-asynchronous-unwind-tables', '-mgeneral-regs-only', '-nostdlib', '-static',
            '-Wl,--build-id=none,-Ttext-segment=0x100000,-z,noexecstack,-e,start']
WORDS = 'console=hvc0 quiet mitigations=off'


def new_disk(s, sr, name, size, raw):
    return s.VDI.create({'name_label': name, 'name_description': '', 'SR': sr, 'virtual_size': str(size), 'type': 'user',
                         'sharable': False, 'read_only': False, 'other_config': {}, 'sm_config': {'type': 'raw'} if raw else {}})


def new_drive(s, vm, vdi, device, kind, mode, bootable):
    return s.VBD.create({'VM': vm, 'VDI': vdi, 'userdevice': device, 'bootable': bootable, 'mode': mode, 'type': kind, 'unpluggable': True,
                         'empty': vdi == NULL, 'other_config': {}, 'qos_algorithm_type': '', 'qos_algorithm_params': {}})


class Guests:
    """Makes guests with the agent of a machine and looks after them."""

    def __init__(self, rig, agent):
        self.rig, self.agent, self.small_there = rig, agent, False
        self.login()

    def login(self):
        self.s = self.agent.login()
        self.sr = [r for r in self.s.SR.get_all() if self.s.SR.get_type(r) == 'file'][0]
        return self.s

    def vm(self, name, kind='pv', words='', mib=128, kernel='/boot/vmlinux', ramdisk='/boot/initramfs.gz', vcpus=1, vcpus_max=None,
           **more):
        record = {
            'name_label': name, 'name_description': '', 'user_version': '0', 'is_a_template': False, 'affinity': NULL,
            'memory_static_max': str(mib * MIB), 'memory_static_min': '0', 'memory_dynamic_max': str(mib * MIB),
            'memory_dynamic_min': str(mib * MIB), 'VCPUs_params': {}, 'VCPUs_max': str(vcpus_max or vcpus),
            'VCPUs_at_startup': str(vcpus), 'actions_after_shutdown': 'destroy', 'actions_after_reboot': 'restart',
            'actions_after_crash': 'destroy', 'PV_bootloader': '', 'PV_kernel': kernel, 'PV_ramdisk': ramdisk,
            'PV_args': 'console=hvc0 quiet mitigations=off tick=1 nonce=%s %s' % (name, words), 'PV_bootloader_args': '',
            'PV_legacy_args': '', 'HVM_boot_policy': '', 'HVM_boot_params': {}, 'HVM_shadow_multiplier': 1.0, 'platform': {},
            'PCI_bus': '', 'other_config': {}, 'recommendations': '', 'xenstore_data': {}, 'ha_always_run': False,
            'ha_restart_priority': '', 'tags': [], 'blocked_operations': {}, 'protection_policy': NULL, 'domain_type': kind}
        record.update(more)
        return self.s.VM.create(record)

    def grub(self, name, **more):
        return self.vm(name, mib=32, kernel=GRUB, ramdisk='', **more)

    def small(self, name, kind, **more):
        """A PV or PVH guest that says its name, counts seconds and costs nothing: small.c."""
        if not self.small_there:
            with tempfile.TemporaryDirectory() as folder:
                for bits, of in (('-m64', 'pv'), ('-m32', 'pvh')):
                    subprocess.run(SMALL_CC + [bits, '-o', '%s/small-%s' % (folder, of), os.path.join(os.environ['XAPI_SOURCE'], 'tests/xen/small.c')],
                                   check=True)
                    self.rig.put({'/boot/small-' + of: '%s/small-%s' % (folder, of)})
            self.small_there = True
        return self.vm(name, kind, mib=16, kernel='/boot/small-' + kind, ramdisk='', PV_args=name, **more)

    def ticker(self, name, network):
        """An HVM guest that counts by its firmware's means alone, with its disk's second sector in front: the TICKER."""
        vm = self.vm(name, 'hvm', mib=64, kernel='', ramdisk='', HVM_boot_policy='BIOS order', HVM_boot_params={'order': 'c'},
                     platform={'acpi': '1', 'apic': 'true', 'pae': 'true', 'vga': 'std', 'videoram': '8'})
        disk = self.disk(name)
        self.vbd(vm, disk)
        self.vif(vm, network)
        self.rig.must('dd of=$(find %s/sr /srv -name %s.raw 2>/dev/null | head -n 1) conv=notrunc status=none' % (
            self.agent.root, self.s.VDI.get_uuid(disk)), 30, TICKER.ljust(510, b'\0') + b'\x55\xaa' + b'SECTOR \0'.ljust(512, b'\0'))
        return vm

    def linux_hvm(self, name, words=''):
        """The small Linux as an HVM guest, which its firmware boots from a CD."""
        with tempfile.TemporaryDirectory() as folder:
            cd = os.path.join(folder, 'cd')
            os.mkdir(cd)
            for file in ('/usr/lib/ISOLINUX/isolinux.bin', '/usr/lib/syslinux/modules/bios/ldlinux.c32'):
                shutil.copy(file, cd)
            config = ('default linux\nprompt 0\nlabel linux\nkernel vmlinuz\nappend initrd=initrd console=hvc0 quiet mitigations=off tick=1 '
                      'nonce=%s %s\n' % (name, words))
            for file, data in (('vmlinuz', self.rig.get('/boot/vmlinuz')), ('initrd', self.rig.get('/boot/initramfs.gz')),
                               ('isolinux.cfg', config.encode())):
                with open(os.path.join(cd, file), 'wb') as f:
                    f.write(data)
            subprocess.run(['genisoimage', '-quiet', '-o', folder + '/iso', '-b', 'isolinux.bin', '-c', 'boot.cat', '-no-emul-boot',
                            '-boot-load-size', '4', '-boot-info-table', cd], check=True)
            self.rig.must('mkdir -p /root/iso')
            self.rig.put({'/root/iso/%s.iso' % name: folder + '/iso'})
        vm = self.vm(name, 'hvm', kernel='', ramdisk='', HVM_boot_policy='BIOS order', HVM_boot_params={'order': 'd'},
                     platform={'acpi': '1', 'apic': 'true', 'pae': 'true', 'vga': 'std', 'videoram': '8'})
        isos = self.s.SR.create(self.s.host.get_all()[0], {'location': '/root/iso', 'legacy_mode': 'true'}, '0', 'iso', '', 'iso', 'iso',
                                False, {})
        self.vbd(vm, self.s.SR.get_VDIs(isos)[0], '3', 'CD', 'RO')
        return vm

    def counts(self, vm, seconds=120):
        """The ticker's last number; waits until it has gone on by three. 0 = it does not."""
        last = lambda: int((re.findall(r'^SECTOR (\d+)\r*\n', self.log(vm), re.M) or ['0'])[-1])
        before = last()
        return last() if wait_until(lambda: last() >= before + 3, seconds, 0.5) else 0

    def disk(self, name, mib=64, raw=True):
        return new_disk(self.s, self.sr, name, mib * MIB, raw)

    def vbd(self, vm, vdi, device='0', kind='Disk', mode='RW'):
        return new_drive(self.s, vm, vdi, device, kind, mode, False)

    def vif(self, vm, network, device='0', mac=''):
        return self.s.VIF.create({'VM': vm, 'network': network, 'device': device, 'MAC': mac, 'MTU': '1500', 'other_config': {},
                                  'qos_algorithm_type': '', 'qos_algorithm_params': {}, 'locking_mode': 'network_default',
                                  'ipv4_allowed': [], 'ipv6_allowed': []})

    def network(self, bridge):
        return self.s.network.create({'name_label': bridge, 'name_description': '', 'MTU': '1500', 'other_config': {},
                                      'bridge': bridge, 'managed': True, 'tags': []})

    def start(self, vm, paused=False):
        self.s.VM.start(vm, paused, False)
        return vm

    def log(self, vm):
        """Everything that its text console has shown."""
        path = '%s/hv/xen/console/%s.log' % (self.agent.root, self.s.VM.get_uuid(vm))
        return self.rig.run('cat %s 2>/dev/null' % path)[1]

    def says(self, vm, text, times=1, seconds=180):
        """Waits until its console has shown the text so often."""
        return wait_until(lambda: self.log(vm).count(text) >= times, seconds, 0.5)

    def lives(self, vm, seconds=120):
        """It ticks, and goes on ticking. It is one script that waits: a new one for each look would take the processor from the guest."""
        path = '%s/hv/xen/console/%s.log' % (self.agent.root, self.s.VM.get_uuid(vm))
        return self.rig.run('ticks() {{ [ ! -e {0} ] || grep -c "tick " {0}; }}\nbefore=$(ticks)\nfor i in $(seq {1}); do sleep 1\n'
                            '[ $(($(ticks) + 0)) -lt $((before + 2)) ] || exit 0\ndone; exit 1'.format(path, int(seconds)), 4 * seconds + 60)[0] == 0

    def is_state(self, vm, state, seconds=60):
        return wait_until(lambda: self.s.VM.get_power_state(vm) == state, seconds, 0.2)

    def again(self):
        """kill -9 of the agent and a new one."""
        self.agent.kill()
        self.agent.start(300)
        return self.login()

    # -- what the machine knows of guests

    def domains(self):
        """Numbers of the domains, without dom0."""
        return [int(l) for l in self.rig.must('xl list | awk \'NR > 1 && $2 != "0" { print $(NF-4) }\'').split()]

    def leftovers(self):
        """All that a guest has outside itself. Nothing may be left when none runs."""
        return self.rig.must(
            'xl list | tail -n +3; find {0}/hv/xen/guest {0}/run/hv -mindepth 1; ls /sys/bus/xen-backend/devices; losetup -n -O NAME,BACK-FILE;\n'
            'pgrep -a -f -- "[-]xen-domid"; ip -br link | grep -o "^vif[^ @]*"; xenstore-list /local/domain | grep -v "^0$";\n'
            'for k in vbd vif qdisk vfb vkbd; do xenstore-list /local/domain/0/backend/$k 2>/dev/null | sed "s/^/backend $k /"; done;\n'
            'xenstore-list /vm 2>/dev/null | grep -v 00000000-0000; true'.format(self.agent.root)).replace('{}', '').strip()

    def clean(self, seconds=20):
        """'' when nothing is left within some seconds, else what is."""
        wait_until(lambda: not self.leftovers(), seconds, 0.5)
        return self.leftovers()


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
        self.rig.__enter__()
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
        return new_disk(s, sr, name, size, raw)

    def plug_disk(self, guest, vdi, device, mode='RW'):
        """The VBD record; a running guest gets it by VBD.plug."""
        return new_drive(self.s, guest.ref, vdi, device, 'Disk', mode, device == '0')

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


__all__ = ['Rig', 'Guests', 'Guest', 'Machine', 'Failure', 'wait_until', 'MIB', 'NULL', 'GRUB', 'PVH_GRUB', 'BOOT_S', 'NEW_CONSOLED', 'WORDS']
