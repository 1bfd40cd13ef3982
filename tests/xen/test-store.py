#!/usr/bin/env python3
"""xenstored under running guests on real Xen: replaced by its live update, of which nobody notices anything; LEVEL=full: killed and
started again empty, after which guests run on, what still works works, and what cannot work is refused by name."""
import time

from harness import LEVEL, check, done, fails
from guests import Guests, Rig, wait_until

# As at the start of the machine: xenconsoled, too, has to be told of the domains again.
NEW_STORE = ('kill -9 $(cat /run/xen/xenconsoled.pid); rm -f /run/xen/xenstored.pid; xenstored --pid-file /run/xen/xenstored.pid\n'
             'until xenstore-read -s / >/dev/null 2>&1; do sleep 0.1; done; xen-init-dom0 >/dev/null\n'
             'xenconsoled --log=guest --log-dir=/var/log/xen/console --pid-file=/run/xen/xenconsoled.pid')


def is_updated(g, vm, other, card):
    s, rig = g.s, g.rig
    tree = lambda: sorted(rig.must("xenstore-ls -f /local/domain/%s | sed 's/ = .*//'" % s.VM.get_domid(vm)).splitlines())
    pid, before = rig.must('pgrep -x xenstored'), tree()
    began = time.monotonic()
    rig.must('xenstore-control live-update /usr/lib/xen-4.17/bin/xenstored', 120)
    took = time.monotonic() - began
    check(rig.must('tr "\\0" " " </proc/%s/cmdline' % pid).rstrip().endswith('-U') and tree() == before,
          'live update: another program in the same process, with all %d nodes of the guest (%.1f s)' % (len(before), took))
    check(not rig.must('grep -c "xenstored is lost" %s || true' % g.agent.log).strip('0'), 'the agent keeps its connections')
    check(g.lives(vm, 300), 'the guest ticks')
    vbd = g.vbd(vm, g.disk('second', 16), '1')
    s.VBD.plug(vbd)
    check(g.says(vm, 'xvdb', 1, 120), 'a disk is plugged')
    s.VBD.unplug(vbd)
    g.start(other)
    s.VM.hard_shutdown(other)
    check(not s.VBD.get_currently_attached(vbd), 'and unplugged, others start and end')
    if LEVEL != 'full':
        s.VM.clean_shutdown(vm)
        check(g.clean() == '', 'it obeys, and nothing is left of it: %s' % g.leftovers())
        return
    old = s.VM.get_domid(vm)
    s.VM.clean_reboot(vm)
    check(s.VM.get_power_state(vm) == 'Running' and s.VM.get_domid(vm) != old, 'it obeys')
    check(g.says(vm, 'userland: ', 2, 400) and g.lives(vm, 300), 'it is there again')


def is_lost(g, vm, other, bare):
    s, rig = g.s, g.rig
    g.start(other)
    rig.must('kill -9 $(pgrep -x xenstored)')
    check(wait_until(lambda: g.lives(vm, 60), 300), 'without xenstored the guest runs on')
    s.VM.pause(vm)
    s.VM.unpause(vm)
    fails('INTERNAL_ERROR', 'what needs it fails at once, naming it', s.VM.clean_shutdown, vm)
    rig.must(NEW_STORE)
    knows = lambda: rig.run('xenstore-read /local/domain/%s/name' % s.VM.get_domid(vm))[1].strip() == s.VM.get_name_label(vm)
    check(wait_until(knows, 120, 0.5), 'a new xenstored is told of the guests')
    check(g.lives(vm, 300), 'which run')
    check(wait_until(lambda: rig.run('grep -q "xenstored was lost since" %s' % g.agent.log)[0] == 0, 60, 0.5), 'the log says what follows from it')
    said = fails('VM_INCOMPATIBLE_WITH_THIS_HOST', "no new device in dom0's kernel", s.VBD.plug, g.vbd(vm, g.disk('third', 16), '2'))
    check('started again' in said[-1], 'and why: %s' % said[-1:])
    fails('VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT', 'the guest hears nothing any more', s.VM.clean_shutdown, vm)
    # Its end frees its disks all the same.
    disk, = [s.VDI.get_uuid(s.VBD.get_VDI(vbd)) for vbd in s.VM.get_VBDs(other)]
    check(disk in rig.must('losetup -n -O BACK-FILE'), "another guest's disk is a loop device")
    s.VM.hard_shutdown(other)
    check(wait_until(lambda: disk not in rig.must('losetup -n -O BACK-FILE'), 30, 0.5), 'which is free once that guest has ended')
    fails('VM_INCOMPATIBLE_WITH_THIS_HOST', 'nor does it start again with its devices', s.VM.start, other, False, False)
    g.start(bare)
    check(s.VM.get_power_state(bare) == 'Running', 'a guest without them starts')
    s = g.again()
    check(s.VM.get_power_state(vm) == 'Running' and g.lives(vm, 300), 'another agent finds the guests')
    fails('VM_INCOMPATIBLE_WITH_THIS_HOST', 'and knows of the loss', s.VM.start, other, False, False)
    s.VM.hard_shutdown(vm)
    s.VM.hard_shutdown(bare)
    gone = lambda: rig.must('xl list | tail -n +3; losetup -n -O BACK-FILE; ip -br link | grep -o "^vif[0-9.]*"; true')
    check(wait_until(lambda: not gone(), 30, 0.5), 'in the end no domain, loop device or card is left: %s' % gone())


with Rig('xen') as rig:
    rig.install()
    agent = rig.start_agent('--log-level', 'debug', timeout_s=300)
    rig.must('xl sched-credit2 -d Domain-0 -w 65535')     # guests that boot do not keep dom0 from its work
    guests = Guests(rig, agent)
    net = guests.network('xenbr9')
    linux, small, bare = guests.vm('linux', words='watch=1'), guests.grub('small'), guests.grub('bare')
    for one in (linux, small):
        guests.vbd(one, guests.disk('first', 16))
        guests.vif(one, net)
    try:
        guests.start(linux)
        check(guests.lives(linux, 400), 'a guest ticks')
        is_updated(guests, linux, small, net)
        if LEVEL == 'full':
            is_lost(guests, linux, small, bare)
    except BaseException:
        print(''.join('# agent: %s\n' % l for l in agent.tail(60).splitlines()))
        raise
done()
