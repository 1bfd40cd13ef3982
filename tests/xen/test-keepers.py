#!/usr/bin/env python3
"""Guests on real Xen through the API: HVM firmware, disks that QEMU serves, crashes, deaf guests; the agent and Xen's daemons killed."""
import re
import sys

from harness import LEVEL, check, done, fails
from guests import NEW_CONSOLED, NULL, Guests, Rig, wait_until

# Prints its text on the serial line, then sleeps for ever.
BOOT_SECTOR = (bytes.fromhex('fa31c08ed8be187cbaf803fcac84c07403eeebf8fbf4ebfc').ljust(0x18, b'\x90') +
               b'BOOTED FROM DISK\r\n\0').ljust(510, b'\0') + b'\x55\xaa'


def reboots_and_crashes(g):
    s = g.s
    vm = g.start(g.vm('again'))
    g.says(vm, 'tick ')
    before = s.VM.get_domid(vm)
    s.VM.clean_reboot(vm)
    check(s.VM.get_power_state(vm) == 'Running' and s.VM.get_domid(vm) != before and g.says(vm, 'userland: again', 2),
          'a clean reboot brings the guest up again')
    s.VM.hard_shutdown(vm)
    crashing = g.start(g.vm('fails', words='crash=1', actions_after_crash='restart'))
    before = s.VM.get_domid(crashing)
    check(wait_until(lambda: s.VM.get_domid(crashing) not in (before, '-1'), 120, 0.3), 'a guest that crashes is started again')
    s.VM.hard_shutdown(crashing)
    kept = g.start(g.vm('kept', words='crash=1', actions_after_crash='preserve'))
    number = s.VM.get_domid(kept)
    check(wait_until(lambda: '---sc-' in g.rig.run('xl list %s' % number)[1], 120, 0.5), 'a crashed guest is kept when so wished')
    s.VM.hard_shutdown(kept)
    check(g.clean() == '', 'nothing is left of them: %s' % g.leftovers())


def is_deaf(g):
    s = g.s
    vm = g.start(g.grub('deaf'))
    fails('VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT', 'a guest that does not listen is told from one that does', s.VM.clean_shutdown, vm)
    check(s.VM.get_power_state(vm) == 'Running', 'and runs on')
    g.rig.must('xl destroy %s' % s.VM.get_domid(vm))
    check(g.is_state(vm, 'Halted'), 'a domain destroyed by hand is noticed')
    big = g.grub('big', memory_static_max=str(64 << 30), memory_dynamic_max=str(64 << 30), memory_dynamic_min=str(64 << 30))
    fails('HOST_NOT_ENOUGH_FREE_MEMORY', 'a guest larger than the host is refused', s.VM.start, big, False, False)
    broken = g.vm('broken', kernel='/etc/passwd', ramdisk='')
    fails('DOMAIN_BUILDER_ERROR', 'what is no kernel is refused', s.VM.start, broken, False, False)
    check(g.clean() == '', 'nothing is left of them: %s' % g.leftovers())


def has_firmware(g, network):
    s = g.s
    vm = g.vm('hvm', 'hvm', mib=64, kernel='', ramdisk='', HVM_boot_policy='BIOS order', HVM_boot_params={'order': 'cd'},
              platform={'acpi': '1', 'apic': 'true', 'pae': 'true', 'vga': 'std', 'videoram': '8'})
    disk = g.disk('boot')
    g.vbd(vm, disk)
    g.vbd(vm, NULL, '3', 'CD', 'RO')
    g.vif(vm, network)
    g.rig.must('dd of=%s/sr/%s.raw conv=notrunc status=none' % (g.agent.root, s.VDI.get_uuid(disk)), 30, BOOT_SECTOR)
    g.rig.must('xl set-parameters guest_loglvl=all/all; xl dmesg -c >/dev/null')
    g.start(vm)
    check(g.says(vm, 'BOOTED FROM DISK'), 'HVM: its firmware boots from the disk')
    words = g.rig.must('xl dmesg | grep "(d[0-9]*)"')
    check('E820 table' in words and 'OVERLAP' not in words, 'HVM: its memory map has no range twice: %s' % re.findall(r'\[\d+\]: .*', words))
    hello = g.rig.run('timeout 5 socat -T 3 -u UNIX-CONNECT:%s/run/hv/%s.v -' % (g.agent.root, s.VM.get_uuid(vm)))[1]
    check(hello.startswith('RFB 003.'), 'HVM: it has a screen')
    s.VM.hard_shutdown(vm)
    check(g.clean() == '', 'HVM: nothing is left of it: %s' % g.leftovers())


def qcow2_is_served(g):
    s = g.s
    vm = g.vm('qcow2', words='disk=xvda watch=1')
    first = g.vbd(vm, g.disk('qcow2', raw=False))
    check(s.VBD.get_qos_supported_algorithms(first) == ['ionice'], 'what may be asked for a drive: urgency')
    why = fails('VALUE_NOT_SUPPORTED', 'not a limit', s.VBD.set_qos_algorithm_type, first, 'ratelimit')
    check(why[1:2] == ['ratelimit'] and 'hypervisor' in why[2], 'which this hypervisor has not: %s' % why)
    s.VBD.set_qos_algorithm_params(first, {'sched': 'idle'})
    s.VBD.set_qos_algorithm_type(first, 'ionice')
    g.start(vm)
    check(g.lives(vm) and 'disk xvda: written' in g.log(vm), 'a qcow2 disk is served')
    urgency = lambda: g.rig.must('ionice -p $(pgrep -f -- "[-]xen-domid")').split(':')[0]
    check(urgency() == 'idle', 'by a QEMU that waits for others: %s' % urgency())
    s.VBD.set_qos_algorithm_params(first, {'sched': 'best-effort', 'class': '2'})
    check(urgency() == 'best-effort', 'until it is to be urgent: %s' % urgency())
    second = g.disk('qcow2 second', 32, raw=False)
    vbd = g.vbd(vm, second, '1')
    s.VBD.plug(vbd)
    check(g.says(vm, 'xvdb', 1, 60), 'another one is plugged')
    s.VDI.snapshot(second, {})
    s.VBD.unplug(vbd)
    check(g.lives(vm), 'snapshotted and unplugged while the guest runs')
    s.VM.clean_shutdown(vm)
    check(g.clean() == '', 'nothing is left of it: %s' % g.leftovers())


def outlives_its_keepers(g):
    """Guests stay when the agent, xenconsoled or xenstored go."""
    vm = g.start(g.vm('stays', words='watch=1'))
    check(g.lives(vm), 'a guest ticks')
    number = g.s.VM.get_domid(vm)
    s = g.again()
    check(s.VM.get_power_state(vm) == 'Running' and s.VM.get_domid(vm) == number, 'a killed agent finds its guest again')
    check(g.lives(vm), 'whose console it goes on reading')
    s.VM.pause(vm)
    s.VM.unpause(vm)

    g.rig.must(NEW_CONSOLED)
    check(g.lives(vm), 'a new xenconsoled: the console goes on')

    g.agent.kill()
    g.rig.must('xl shutdown -w %s || true; sleep 1' % number, 120)
    g.agent.start()
    s = g.login()
    check(g.is_state(vm, 'Halted'), 'a guest that ended while nobody watched is Halted')
    check(g.clean() == '', 'and all of it is cleared away: %s' % g.leftovers())

    vm = g.start(g.vm('returns'))
    g.lives(vm)
    number = s.VM.get_domid(vm)
    g.agent.kill()
    g.rig.must('xl reboot %s; for i in $(seq 100); do xl list %s | grep -q -- "---s" && break; sleep 0.2; done' % (number, number), 120)
    g.agent.start()
    s = g.login()
    check(wait_until(lambda: s.VM.get_power_state(vm) == 'Running' and s.VM.get_domid(vm) != number, 60, 0.3),
          'one that rebooted meanwhile is started again')
    s.VM.hard_shutdown(vm)


with Rig('xen') as rig:
    rig.install()
    agent = rig.start_agent('--log-level', 'debug')
    guests = Guests(rig, agent)
    card = guests.network('xenbr9')
    stories = {
        'hvm': lambda: has_firmware(guests, card), 'power': lambda: reboots_and_crashes(guests), 'deaf': lambda: is_deaf(guests),
        'qcow2': lambda: qcow2_is_served(guests), 'stays': lambda: outlives_its_keepers(guests)}
    try:
        for name in sys.argv[1:] or (stories if LEVEL == 'full' else ('hvm', 'deaf')):
            stories[name]()
    except BaseException:
        print(''.join('# agent: %s\n' % l for l in agent.tail(40).splitlines()))
        raise
done()
