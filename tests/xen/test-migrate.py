#!/usr/bin/env python3
"""A running guest moves between two hosts of different pools, on real Xen, with a disk on NFS and a card: it goes on, its disk and card
with it: PVH; HVM with its device model in test-migrate-hvm.py. A target that refuses, a cut cable, agents killed at every stage: exactly
one pool has the guest afterwards, and finds it.
Arguments: the stories to run; LEVEL=full: all of them (LEVEL=ci: none, two emulated hosts take minutes)."""
import re
import sys
import threading
import time

from harness import LEVEL, Failure, check, done
from guests import Guests, wait_until
from rig import RigAgent, pair

SERVER = r'''
set -e
mkdir -p /srv/nfs /var/lib/nfs/v4recovery /var/lib/nfs/rpc_pipefs /run/rpcbind /proc/fs/nfsd
mke2fs -q -F -t ext4 /dev/vdb; mount /dev/vdb /srv; mkdir -p /srv/nfs
modprobe nfsd; modprobe nfs; modprobe nfsv4
mount -t nfsd nfsd /proc/fs/nfsd || true
rpcbind -w || rpcbind
echo '/srv/nfs 10.8.2.0/24(rw,no_root_squash,no_subtree_check,async,fsid=1)' >/etc/exports
exportfs -ra
rpc.nfsd --grace-time 10 --lease-time 10 4
rpc.mountd
'''
CONFIG = {'server': '10.8.2.1', 'serverpath': '/srv/nfs', 'nfsversion': '4.1'}
GUEST = '10.8.0.9'
PVH_GRUB = '/usr/lib/grub-xen/grub-i386-xen_pvh.bin'
# Faults may be written into the file while the agent runs.
FAULTY = b'#!/bin/bash\nexec 9<>/root/faults\nexport XAPI_FAULT_FD=9\nexec "$@"\n'


class Host(Guests):
    """One of the two: eth0 is the guests' bridge, eth1 leads to the other agent, eth2 to the NFS server."""

    def __init__(self, rig, number):
        rig.must('ip address add 10.8.1.%d/24 dev eth1; ip address add 10.8.2.%d/24 dev eth2; modprobe nfsv4' % (number, number))
        rig.put({'/root/with-faults': FAULTY, '/root/faults': b''})
        rig.must('chmod 755 /root/with-faults')
        agent = RigAgent(rig, ('--log-level', 'debug', '--allow-faults'), 'xen', 'bridge', '/var/lib/xapi-test')
        agent.argv = ['/root/with-faults'] + agent.argv
        super().__init__(rig, agent.start())
        self.host = self.s.host.get_all()[0]
        of = {self.s.PIF.get_device(p): self.s.PIF.get_network(p) for p in self.s.PIF.get_all()}
        self.inner, self.outer = of['eth0'], of['eth1']

    def login(self):
        super().login()
        nfs = [r for r in self.s.SR.get_all() if self.s.SR.get_type(r) == 'nfs']
        if nfs:
            self.sr = nfs[0]

    def back(self):
        """A killed agent comes back, without faults."""
        self.rig.must('while kill -0 %d 2>/dev/null; do sleep 0.05; done; : >/root/faults' % self.agent.pid)
        self.agent.start()
        self.login()

    def arm(self, line):
        self.rig.must('echo %s >>/root/faults' % line)

    def find(self, uuid):
        """(the VM, its state) or None; waits until nothing works on it."""
        def look():
            try:
                vm = self.s.VM.get_by_uuid(uuid)
                return (vm, self.s.VM.get_power_state(vm)) if not self.s.VM.get_current_operations(vm) else None
            except Failure as e:
                return e.details[0]
        wait_until(lambda: look() is not None, 120, 0.5)
        found = look()
        return None if found == 'UUID_INVALID' else found


class Moves:
    """Two hosts and one guest that goes to and fro."""

    def __init__(self, two):
        self.a, self.b = Host(two.a, 1), Host(two.b, 2)
        two.a.must(SERVER)
        self.a.sr = self.a.s.SR.create(self.a.host, CONFIG, '0', 'shared', '', 'nfs', 'user', True, {})
        self.b.sr = self.b.s.SR.introduce(self.a.s.SR.get_uuid(self.a.sr), 'shared', '', 'nfs', 'user', True, {})
        self.uuid, self.ticker = '', False

    def takes(self, host):
        """The repository becomes that pool's: only there its disks can be attached for writing. Guests that run elsewhere go on."""
        s = host.s
        owner, epoch = self.a.rig.must('cat $(find /srv/nfs -name .xapi-owner)').split('_')
        if owner == s.pool.get_uuid(s.pool.get_all()[0]):
            return
        for pbd in s.SR.get_PBDs(host.sr):
            if s.PBD.get_currently_attached(pbd):
                s.PBD.unplug(pbd)
            s.PBD.destroy(pbd)
        config = dict(CONFIG, take_from='%s:%s' % (owner, epoch))
        s.PBD.plug(s.PBD.create({'host': host.host, 'SR': host.sr, 'device_config': config, 'other_config': {}}))
        s.SR.scan(host.sr)

    def begin(self, kind='pvh'):
        a = self.a
        vm = a.vm('moves', kind, 'disk=xvda ip=%s/24' % GUEST)
        disk = a.disk('moves', 16)
        a.vbd(vm, disk)
        a.vif(vm, a.inner)
        a.start(vm)
        self.uuid, self.ticker = a.s.VM.get_uuid(vm), False
        self.address()
        check(a.lives(vm), 'the guest ticks')

    def begin_ticker(self):
        """One without drivers of ours: what it reads and writes goes through its device model."""
        vm = self.a.start(self.a.ticker('ticker', self.a.inner))
        self.uuid, self.ticker = self.a.s.VM.get_uuid(vm), True

    def end(self):
        here, _, vm = self.where()
        here.s.VM.hard_shutdown(vm)
        here.s.VM.destroy(vm)

    def address(self):
        """The first host's on the guests' bridge; an agent that starts takes off what it did not put there."""
        self.a.rig.must('ip address replace 10.8.0.1/24 dev %s' % self.a.s.network.get_bridge(self.a.inner))

    def where(self):
        """(host, other, VM) as it runs."""
        for here, other in ((self.a, self.b), (self.b, self.a)):
            found = here.find(self.uuid)
            if found:
                return here, other, found[0]
        raise AssertionError('nobody has the guest')

    def move(self):
        """In the background; the function that waits and gives its error or None."""
        here, there, vm = self.where()
        self.takes(there)
        dest = there.s.host.migrate_receive(there.host, there.outer, {})
        s = here.agent.login()
        got = {}

        def run():
            try:
                s.VM.migrate_send(vm, dest, True, {}, {s.VM.get_VIFs(vm)[0]: there.inner}, {})
            except (Failure, OSError) as e:
                got['error'] = e
        thread = threading.Thread(target=run)
        thread.start()

        def wait():
            thread.join()
            return got.get('error')
        return wait

    def settled(self, what, host, state='Running'):
        """Exactly one of the two has it, this one."""
        other = self.b if host is self.a else self.a
        mine, its = host.find(self.uuid), other.find(self.uuid)
        check(mine and mine[1] == state and its is None, '%s: %s has the guest, %s, the other has not (%s, %s)' % (
            what, host.rig.name, state, mine, its))
        check(other.clean() == '' and (state == 'Halted') == (host.clean(1) == ''), '%s: nothing of it is left elsewhere: %s' % (
            what, other.leftovers()))
        if state == 'Running':
            check(host.counts(mine[0]) if self.ticker else host.lives(mine[0]), what + ': it ticks')
            if not self.ticker:
                check(self.works(), what + ': its card works')

    def works(self):
        self.address()
        return wait_until(lambda: self.a.rig.run('ping -q -c 2 -i 0.5 -W 5 ' + GUEST)[0] == 0, 60, 0.5)


def types(g, vm, text):
    """At the guest's console, where a shell listens."""
    g.rig.must("printf '%%s\\n' '%s' >$(xenstore-read /local/domain/%s/console/tty)" % (text, g.s.VM.get_domid(vm)))


def has_disk(g, vm):
    before = g.log(vm).count('disk-is-there')
    types(g, vm, 'dd if=/dev/xvda bs=4096 skip=1 count=1 iflag=direct 2>/dev/null | grep -q "written by moves" && echo disk-"is-there"')
    return g.says(vm, 'disk-is-there', before + 1, 60)


def gap(text):
    """Seconds between two answers, at most."""
    at = [float(t) for t in re.findall(r'^\[([\d.]+)\] \d+ bytes from', text, re.M)]
    return max((y - x for x, y in zip(at, at[1:])), default=0)


def moves(m):
    """Under traffic."""
    here, there, vm = m.where()
    last = int(re.findall(r'tick (\d+)', here.log(vm))[-1])
    m.a.rig.must('ping -D -i 0.2 -W 1 %s >/root/pings 2>&1 </dev/null & echo $! >/root/pinger' % GUEST)
    began = time.monotonic()
    error = m.move()()
    check(error is None, 'it moves while it runs, from %s to %s (%.1f s)%s' % (here.rig.name, there.rig.name, time.monotonic() - began,
                                                                              ': %s' % error if error else ''))
    m.settled('moved', there)
    vm = there.find(m.uuid)[0]
    first = int(re.findall(r'tick (\d+)', there.log(vm))[0])
    check(first > last, 'it goes on where it was: tick %d before, %d there' % (last, first))
    check(has_disk(there, vm), 'it reads its disk there')
    text = m.a.rig.must('kill -INT $(cat /root/pinger); sleep 0.2; cat /root/pings')
    still = here.rig.run('grep -o "stood still for [0-9]* ms" %s | tail -n 1' % here.agent.log)[1].strip()
    check(still and gap(text) > 0, 'it %s; answers to pings stayed out for %.1f s' % (still, gap(text)))


def refuses(m):
    here, there, vm = m.where()
    there.arm('hv.xen.limits ENOSPC 1')
    error = m.move()()
    check(isinstance(error, Failure) and 'injected at hv.xen.limits' in str(error), "a target that refuses says why: %s" % error)
    m.settled('refused', here)
    # All but 64 MiB there are another's.
    free = int(there.rig.must("xl info | awk '$1 == \"free_memory\" { print $3 }'"))
    ballast = there.start(there.vm('ballast', 'pvh', mib=(free - 72) // 2 * 2, kernel=PVH_GRUB, ramdisk=''), paused=True)
    error = m.move()()
    check(isinstance(error, Failure) and error.details[0] == 'HOST_NOT_ENOUGH_FREE_MEMORY', 'one without memory for it too: %s' % error)
    there.s.VM.hard_shutdown(ballast)
    m.settled('no memory', here)


def hvm(m):
    """To the other host and back, where one move is refused and one cut."""
    m.begin_ticker()
    check(m.a.counts(m.where()[2]), 'HVM: the guest counts')
    for _ in range(2):
        here, there, vm = m.where()
        last = here.counts(vm)
        began = time.monotonic()
        error = m.move()()
        check(error is None, 'HVM: it moves while it runs, from %s to %s (%.1f s)%s' % (here.rig.name, there.rig.name, time.monotonic() - began,
                                                                                   ': %s' % error if error else ''))
        m.settled('HVM: moved', there)
        numbers = [int(n) for n in re.findall(r'^SECTOR (\d+)\r*\n', there.log(there.find(m.uuid)[0]), re.M)]
        first = next(n for n in numbers if n > last)
        check(first < last + 100, 'HVM: its memory and its disk are with it: it counted to %d, and goes on with %d' % (last, first))
    here, there, vm = m.where()
    there.arm('hv.xen.limits ENOSPC 1')
    error = m.move()()
    check(isinstance(error, Failure) and 'injected at hv.xen.limits' in str(error), 'HVM: a target refuses: %s' % error)
    m.settled('HVM: refused', here)
    cut(m)
    m.end()


def under_way(host, seconds=0.5):
    """Until the guest's memory is on its way from there."""
    host.rig.must('for i in $(seq 2000); do pgrep -f "^[^ ]*xapi-domain save" >/dev/null && break; sleep 0.02; done; sleep %s' % seconds, 90)


def cut(m):
    here, there, vm = m.where()
    wait = m.move()
    under_way(here)
    here.rig.pull_cable(1)
    error = wait()
    check('INTERNAL_ERROR' in str(error), 'the cable is cut while it moves: %s' % error)
    here.rig.pull_cable(1, False)
    m.settled('cut', here)


def killed(m, what, side, point, owner, state='Running'):
    """point: where the agent of a side kills itself; None = while the memory is on its way."""
    here, there, vm = m.where()
    if here.s.VM.get_power_state(vm) == 'Halted':
        m.takes(here)
        here.start(vm)
        check(here.lives(vm), 'the guest ticks')
    sides = {'sender': here, 'receiver': there}
    if point:
        sides[side].arm('%s kill 1' % point)
    wait = m.move()
    if not point:
        under_way(here)
        sides[side].rig.must('kill -9 %d' % sides[side].agent.pid)
    error = wait()
    sides[side].back()
    print('# %s killed %s: %s' % (side, what, error), flush=True)
    m.settled('%s killed %s' % (side, what), sides[owner], state)


def gone(m):
    """The sender dies when the receiver has the guest, before it hears of it."""
    here, there, vm = m.where()
    here.arm('hv.xen.gone sleep:600000 1')
    wait = m.move()

    def over_there():
        try:
            return there.s.VM.get_power_state(there.s.VM.get_by_uuid(m.uuid)) == 'Running'
        except Failure:
            return False
    check(wait_until(over_there, 900, 0.5), 'the guest is over there')
    here.rig.must('kill -9 %d' % here.agent.pid)
    wait()
    here.back()
    m.settled('sender killed when it had let go', there)


STORIES = {
    'moves': moves,
    'refuses': refuses,
    'cut': cut,
    'receiver-early': lambda m: killed(m, 'while memory is on its way', 'receiver', None, 'sender'),
    'sender-early': lambda m: killed(m, 'while memory is on its way', 'sender', None, 'sender'),
    'receiver-ready': lambda m: killed(m, 'before it is ready', 'receiver', 'hv.xen.ready', 'sender'),
    'sender-handover': lambda m: killed(m, 'before it lets go', 'sender', 'hv.xen.handover', 'sender'),
    'sender-gone': gone,
    'receiver-runs': lambda m: killed(m, 'before the guest goes on', 'receiver', 'hv.xen.unpause', 'receiver'),
    'receiver-taken': lambda m: killed(m, 'when it was given the guest', 'receiver', 'hv.xen.taken', 'sender', 'Halted'),
}


def main(stories):
    if LEVEL != 'full' and not sys.argv[1:]:
        print('# two emulated hosts take minutes: LEVEL=full')
        sys.exit(77)
    with pair('xen') as two:
        two.a.install()
        two.b.install()
        m = Moves(two)
        try:
            for name in stories:
                began = time.monotonic()
                if name != 'hvm' and (m.ticker or not m.uuid):
                    m.begin()
                (hvm if name == 'hvm' else STORIES[name])(m)
                print('# %s: %.0f s' % (name, time.monotonic() - began), flush=True)
        except BaseException:
            for h in (m.a, m.b):
                print(''.join('# %s: %s\n' % (h.rig.name, l) for l in h.rig.run('grep -vE "get-|list" %s | tail -n 40' % h.agent.log)[1].splitlines()))
            raise
    done()


if __name__ == '__main__':
    main(sys.argv[1:] or STORIES)
