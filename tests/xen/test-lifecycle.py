#!/usr/bin/env python3
"""PV and PVH guests on Xen through the API: boot, disk, network, pause, hot plug, vcpus, memory, reboot, shutdown, crash.
Argument oxenstored: with that instead of xenstored (test-oxenstored.py)."""
import sys
import time

from harness import LEVEL, check, done, fails, wait_until
from guests import BOOT_S, MIB, Machine, Rig

LINKS = {'usr/lib/xen-4.17/bin/xenstored': 'oxenstored'} if sys.argv[1:] == ['oxenstored'] else None


def vif_there(m, name):
    return m.rig.run('ip -o link show dev ' + name)[0] == 0


def answers(rig, address):
    """One answer is enough: on a busy machine others are late."""
    return wait_until(lambda: rig.run('ping -q -c 1 -W 5 ' + address)[0] == 0, 60, 0.5)


def last(guest, word):
    """The last line with this word that the guest has printed."""
    lines = [line for line in guest.console().splitlines() if word in line]
    return lines[-1] if lines else ''


def changes(m, guest, kind):
    """Disks and cards come and go while it runs, its memory shrinks and grows."""
    s, rig = m.s, m.rig
    # hot plug
    second = m.disk(kind + '-2')
    vbd = m.plug_disk(guest, second, '1')
    s.VBD.plug(vbd)
    check(wait_until(lambda: 'xvdb' in last(guest, 'devices:'), 60, 1), 'a disk plugged while it runs is there')
    s.VBD.unplug(vbd)
    check(wait_until(lambda: 'xvdb' not in last(guest, 'devices:'), 60, 1), 'and gone when unplugged')
    s.VDI.destroy(second)
    vif = m.card(guest, '1')
    s.VIF.plug(vif)
    name = 'vif%d.1' % guest.domid()
    check(wait_until(lambda: 'eth1' in last(guest, 'devices:'), 60, 1) and vif_there(m, name), 'a card plugged while it runs is there')
    check(s.network.get_bridge(m.network()) in rig.must('ip -o link show dev ' + name), 'on the bridge of its network')
    s.VIF.unplug(vif)
    check(wait_until(lambda: 'eth1' not in last(guest, 'devices:'), 60, 1) and not vif_there(m, name), 'and gone when unplugged')
    s.VIF.destroy(vif)

    # memory
    before = int(last(guest, 'memory:').split()[-1])
    low = 96 * MIB
    s.VM.set_memory_dynamic_range(guest.ref, str(low), str(low))
    check(wait_until(lambda: int(last(guest, 'memory:').split()[-1]) < before - 20000, 60, 1), 'its balloon follows a lower target: %s'
          % last(guest, 'memory:'))
    s.VM.set_memory_dynamic_range(guest.ref, str(128 * MIB), str(128 * MIB))
    check(wait_until(lambda: int(last(guest, 'memory:').split()[-1]) > before - 5000, 60, 1), 'and a higher one')


def boots(m, kind, address):
    """A guest that has started, reads and writes its disk, and answers on its card."""
    s, rig = m.s, m.rig
    guest = m.guest(kind, kind, 'disk=xvda watch=1 ip=%s/24' % address)
    path = '/var/lib/xapi-test/sr/%s.raw' % s.VDI.get_uuid(guest.vdi)
    rig.must('echo "written by dom0 for %s" | dd of=%s conv=notrunc' % (kind, path))
    began = time.monotonic()
    s.VM.start(guest.ref, False, False)
    print('# %s: VM.start took %.1f s' % (kind, time.monotonic() - began))
    check(guest.said('userland: ' + kind), kind + ' boots to userland (%.0f s)' % (time.monotonic() - began))
    check(guest.lives(), kind + ' ticks')
    check('disk xvda: written by dom0 for ' + kind in guest.console(), 'it reads its disk')
    check(guest.said('disk xvda: written\r', 30) and rig.must('dd if=%s bs=4096 skip=1 count=1 2>/dev/null | tr -d "\\0"' % path)
          == 'written by ' + kind, 'and writes it')
    m.address()
    check(answers(rig, address), 'dom0 pings it over its card')
    check(s.VM_metrics.get_VCPUs_number(s.VM.get_metrics(guest.ref)) == '1', 'its record says one vcpu')
    record = s.VM.get_record(guest.ref)
    check(record['power_state'] == 'Running' and int(record['domid']) > 0 and record['resident_on'] == s.host.get_all()[0],
          'running here, as a domain')

    return guest


def life(m, kind, address):
    s, rig = m.s, m.rig
    guest = boots(m, kind, address)
    s.VM.pause(guest.ref)
    wait_until(lambda: False, 1)
    frozen = guest.tick()
    wait_until(lambda: False, 4)
    check(guest.state() == 'Paused' and guest.tick() == frozen, 'paused it stands still')
    s.VM.unpause(guest.ref)
    check(guest.lives(), 'and goes on')

    changes(m, guest, kind)
    # power
    domid = guest.domid()
    s.VM.clean_reboot(guest.ref)
    check(wait_until(lambda: guest.console().count('userland: ' + kind) == 2, BOOT_S, 1) and guest.domid() > domid, 'clean reboot: a new domain')
    check(guest.lives() and 'reboot: yes' in guest.console(), 'which the guest agreed to, and it ticks')
    check(answers(rig, address), 'its network is back')
    s.VM.clean_shutdown(guest.ref)
    check(guest.state() == 'Halted' and 'poweroff: yes' in guest.console(), 'clean shutdown')
    check(m.left() == '', 'leaves nothing behind: ' + m.left())


with Machine(rig=Rig('xen', links=LINKS)) as m:
    s = m.s
    program = m.rig.must('readlink /proc/$(cat /run/xen/xenstored.pid)/exe').split('/')[-1]
    check(program == ('oxenstored' if LINKS else 'xenstored'), 'the store is kept by ' + program)
    hosts = s.host.get_all()
    info = s.host.get_software_version(hosts[0])
    check(info.get('xen', '').startswith('4.17'), 'the host says which Xen it is: %s' % info.get('xen'))
    life(m, 'pv', '10.9.0.2')
    if LEVEL == 'full':
        life(m, 'pvh', '10.9.0.3')
    else:
        guest = boots(m, 'pvh', '10.9.0.3')
        s.VM.clean_shutdown(guest.ref)
        check(guest.state() == 'Halted' and m.left() == '', 'and shuts down: ' + m.left())

    # Guests that do not do as they are told. The two run at once.
    crash = m.guest('crash', 'pvh', 'crash=8', disk=False, vif=False)
    s.VM.set_actions_after_crash(crash.ref, 'destroy')
    stubborn = m.guest('stubborn', 'pv', 'stubborn=1', disk=False, vif=False)
    s.VM.start(crash.ref, False, False)
    s.VM.start(stubborn.ref, False, False)
    check(stubborn.lives(), 'a guest that will not shut down runs')
    check(wait_until(lambda: crash.state() == 'Halted', BOOT_S, 1), 'a guest that crashes with actions_after_crash=destroy is halted')
    task = s.call('Async.VM.clean_shutdown', stubborn.ref)
    check(stubborn.said('poweroff: no', 120), 'the stubborn one says no')
    s.task.cancel(task)
    check(wait_until(lambda: s.task.get_status(task) in ('cancelled', 'failure', 'success'), 60, 0.5) and
          s.task.get_status(task) == 'cancelled' and stubborn.state() == 'Running', 'its clean shutdown can be cancelled')
    s.VM.hard_reboot(stubborn.ref)
    check(wait_until(lambda: stubborn.console().count('userland: stubborn') == 2, BOOT_S, 1), 'a hard reboot does not ask')
    s.VM.hard_shutdown(stubborn.ref)
    check(stubborn.state() == 'Halted', 'nor a hard shutdown')

    # More than there is.
    big = m.guest('big', 'pv', disk=False, vif=False, memory=8192 * MIB)
    said = fails('HOST_NOT_ENOUGH_FREE_MEMORY', 'a guest larger than the host', s.VM.start_on, big.ref, hosts[0], False, False)
    check(len(said) == 2 and int(said[0]) > int(said[1]), 'says how much is needed and how much there is: %s' % said)
    check(big.state() == 'Halted' and m.left() == '', 'and leaves nothing behind: ' + m.left())
    check(m.agent.stop(), 'the agent ends on SIGTERM')
done()
