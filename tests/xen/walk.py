"""Random walks on real Xen, against a model: guests are started, stopped, suspended, changed and snapshotted in any order, steps fail and
the agent is killed between and within operations. At the end the machine is as it was before.

Called by: tests/xen/test-walk*.py, one for each kind of guest. Calls: tests/xen/guests.py.

    WALK_SEED=n WALK_STEPS=n test-walk.py                   the same walk again
    WALK_KINDS='pv-grub pvh-grub pv-grub' test-walk.py      with these guests: ones that only GRUB runs in are quick
    WALK_HOWS='keeper within' test-walk.py                  every step is done in one of these ways, see HOWS
"""
import http.client
import os
import random
import re
import time

from harness import LEVEL, check, done
from guests import MIB, NEW_CONSOLED, PVH_GRUB, Failure, Guests, Rig, wait_until

FULL = LEVEL == 'full'
# Without LEVEL=full always the same short walk.
SEED = int(os.environ.get('WALK_SEED', random.SystemRandom().randrange(1 << 30) if FULL else 3))
# Its steps: nothing whose end depends on the moment at which the agent dies.
SHORT = 'plain', 'fault', 'plain', 'between', 'plain', 'plain', 'plain', 'plain'
# keeper: xenconsoled is killed in the middle of the operation. The others are methods do_... below.
HOWS, OFTEN = ('plain', 'between', 'within', 'fault', 'die', 'keeper'), (65, 7, 8, 7, 7, 6)
WISHED = os.environ.get('WALK_HOWS', '').split()
H, R, P, S = 'Halted', 'Running', 'Paused', 'Suspended'
BOOT_S = 400
# GRUB waits for its user in a busy loop.
IDLE = {'cap': '10', 'weight': '64'} if FULL else {}

# Where the driver can be made to fail, or to die, in the middle of an operation.
POINTS = {
    'start': ('create', 'limits', 'disk', 'build', 'introduce', 'unpause', 'record', 'store'),
    'resume': ('create', 'limits', 'disk', 'stream', 'fill', 'introduce', 'unpause', 'record'),
    'suspend': ('suspend', 'stream', 'record'), 'hard_shutdown': ('destroy',), 'hard_reboot': ('destroy', 'create', 'build', 'introduce'),
    'plug_disk': ('disk', 'record', 'store'), 'unplug_disk': ('unplug', 'store'), 'plug_card': ('record', 'store'),
    'unplug_card': ('unplug', 'store'), 'memory': ('store', 'record'),
}


class Walker:
    """One guest and what the model thinks of it."""

    def __init__(self, g, name, kind, card):
        self.g, self.name, self.kind, self.state = g, name, kind, H
        self.linux = kind in ('pv', 'pvh')
        if self.linux:
            self.vm = g.vm(name, kind, words='watch=1')
        elif kind == 'pv-grub':
            self.vm = g.grub(name, VCPUs_params=IDLE)
        else:
            self.vm = g.vm(name, 'pvh', mib=32, kernel=PVH_GRUB, ramdisk='', VCPUs_params=IDLE)
        # Images that QEMU serves can be snapshotted under a running guest, raw ones cannot.
        self.images = kind == 'pvh'
        self.vbds = [g.vbd(self.vm, g.disk('%s-%d' % (name, n), 16, raw=not self.images), str(n)) for n in (0, 1)]
        self.vifs = [g.vif(self.vm, card, str(n)) for n in (0, 1)]
        self.snapshots, self.low = [], False
        # Of a guest that runs.
        self.out = {device: False for device in self.vbds + self.vifs}

    def runs(self):
        return self.state in (R, P)

    def there(self):
        """Linux is up: it can be asked."""
        return self.g.lives(self.vm, BOOT_S)


def own(s, op, w, rnd):
    """(method, arguments) of an operation, and the states that it may end in."""
    vm, pool = w.vm, []
    if 'plug' in op:
        pool = w.vbds[1:] if op.endswith('disk') else w.vifs        # the first disk stays: what a guest has booted from
    device = next((d for d in pool if w.out[d] == op.startswith('plug')), None)
    return {
        'start': lambda: ('VM.start', (vm, False, False), R), 'start_paused': lambda: ('VM.start', (vm, True, False), P),
        'pause': lambda: ('VM.pause', (vm,), P), 'unpause': lambda: ('VM.unpause', (vm,), R),
        'suspend': lambda: ('VM.suspend', (vm,), S), 'resume': lambda: ('VM.resume', (vm, False, False), R),
        'clean_shutdown': lambda: ('VM.clean_shutdown', (vm,), H), 'hard_shutdown': lambda: ('VM.hard_shutdown', (vm,), H),
        'clean_reboot': lambda: ('VM.clean_reboot', (vm,), R), 'hard_reboot': lambda: ('VM.hard_reboot', (vm,), R),
        'snapshot': lambda: ('VM.snapshot', (vm, 'snapshot of ' + w.name), w.state),
        'plug_disk': lambda: ('VBD.plug', (device,), R), 'unplug_disk': lambda: ('VBD.unplug', (device,), R),
        'plug_card': lambda: ('VIF.plug', (device,), R), 'unplug_card': lambda: ('VIF.unplug', (device,), R),
        'memory': lambda: ('VM.set_memory_dynamic_range', (vm,) + (str((128 if w.low else 96) * MIB),) * 2, R),
    }[op]() + (device,)


def possible(w):
    """Operations that the model allows now; what a guest must agree to only from one that listens."""
    ops = {H: ['start', 'start', 'start_paused', 'snapshot'], P: ['unpause', 'unpause', 'hard_shutdown', 'snapshot'],
           S: ['resume', 'resume', 'hard_shutdown'], R: ['pause', 'hard_shutdown', 'hard_reboot', 'snapshot']}[w.state]
    if w.state == R and w.linux:
        ops = ops + ['suspend', 'suspend', 'clean_shutdown', 'clean_reboot', 'memory']
    if w.state == R:        # GRUB has no driver for cards, so it holds none
        for what, devices in (('disk', w.vbds[1:] if w.linux else []), ('card', w.vifs)):
            ops += ['plug_' + what] * any(w.out[d] for d in devices) + ['unplug_' + what] * any(not w.out[d] for d in devices)
    if len(w.snapshots) >= 2 or w.state != H and not w.images:
        ops = [op for op in ops if op != 'snapshot']
    return ops


COOPERATE = ('suspend', 'clean_shutdown', 'clean_reboot', 'memory', 'plug_disk', 'unplug_disk', 'plug_card', 'unplug_card')


class Walk:
    def __init__(self, g, card, kinds):
        self.g, self.rnd = g, random.Random(SEED)
        kinds = os.environ.get('WALK_KINDS', kinds).split()
        kinds = [('%s%d' % (kind, n), kind) for n, kind in enumerate(kinds)]
        self.walkers = [Walker(g, name, kind, card) for name, kind in kinds]
        self.trail, self.wrong, self.seen, self.waited = [], [], {}, 0

    def say(self, text, w=None):
        self.wrong.append('step %d: %s (after %s)' % (len(self.trail), text, ', '.join(self.trail[-5:])))
        print('# WRONG ' + self.wrong[-1])
        if w:
            print('# %s: %s' % (w.name, self.g.s.VM.get_uuid(w.vm)))
        for script in ("grep -vE 'get-(stats|host)|list interfaces|event 10 of' %s | tail -n 60" % self.g.agent.log,
                       'cd %s/hv/xen/console; tail -n 12 *.log' % self.g.agent.root, 'xl list', 'xl dmesg | tail -n 25'):
            print(''.join('#    %s\n' % line for line in self.g.rig.run(script)[1].splitlines()), end='', flush=True)

    def step(self):
        w = self.rnd.choice(self.walkers)
        op = self.rnd.choice(possible(w))
        how = self.rnd.choice(WISHED) if WISHED else self.rnd.choices(HOWS, OFTEN)[0] if FULL else SHORT[len(self.trail) % len(SHORT)]
        if how in ('fault', 'die') and op.replace('_paused', '') not in POINTS:
            how = 'plain'
        self.trail.append('%s %s%s' % (op, w.name, '' if how == 'plain' else ' (%s)' % how))
        self.seen[how] = self.seen.get(how, 0) + 1
        self.seen[op] = self.seen.get(op, 0) + 1
        began = time.monotonic()
        if how == 'between':
            self.g.again()
        if op in COOPERATE and w.linux and not w.there():
            self.say('%s does not tick' % w.name)
        self.waited += time.monotonic() - began
        getattr(self, 'do_' + ('plain' if how == 'between' else how))(w, op)
        self.compare(w)
        print('# %3d %-34s %5.1f s  %s' % (len(self.trail), self.trail[-1], time.monotonic() - began,
                                          ' '.join('%s:%s' % (x.name, x.state) for x in self.walkers)), flush=True)

    # -- one operation

    def take(self, w, op, end, device, value=None):
        """The operation has been done: what the model thinks now."""
        fresh = op in ('start', 'start_paused', 'hard_reboot', 'clean_reboot')
        w.state = end
        if fresh or end == H:
            w.out = {d: False for d in w.out}
        if device:
            w.out[device] = not w.out[device]
        if op == 'memory':
            w.low = not w.low
        if op == 'snapshot' and value:
            w.snapshots.append(value)

    def do_plain(self, w, op):
        s = self.g.s
        method, arguments, end, device = own(s, op, w, self.rnd)
        try:
            value = s.call(method, *arguments)
        except Failure as e:
            self.say('%s: %s' % (method, e.details))
            return
        self.take(w, op, end, device, value)

    def do_keeper(self, w, op):
        """xenconsoled is killed in the middle of it, and another started: nothing comes of that."""
        s = self.g.s
        method, arguments, end, device = own(s, op, w, self.rnd)
        task = s.call('Async.' + method, *arguments)
        self.g.rig.must(NEW_CONSOLED)
        wait_until(lambda: s.task.get_status(task) != 'pending', BOOT_S, 0.5)
        if s.task.get_status(task) != 'success':
            self.say('%s with another xenconsoled: %s' % (method, s.task.get_error_info(task)))
            self.settle(w, op, end, device)
            return
        self.take(w, op, end, device, re.sub('<[^>]*>', '', s.task.get_result(task)))

    def do_fault(self, w, op):
        """A step of the driver fails: the operation fails, and nothing but it has changed; or it never came to that step."""
        s = self.g.s
        method, arguments, end, device = own(s, op, w, self.rnd)
        point = 'hv.xen.' + self.rnd.choice(POINTS[op.replace('_paused', '')])
        self.g.agent.arm('%s EIO 1' % point)
        self.trail[-1] += ' ' + point
        try:
            value = s.call(method, *arguments)
        except Failure as e:
            self.trail[-1] += ' ' + e.details[0]
            self.settle(w, op, end, device)
        else:
            self.take(w, op, end, device, value)
        self.g.agent.arm('%s off' % point)

    def do_die(self, w, op):
        """The agent dies at a step of the driver (or a moment later, when that is not reached)."""
        point = 'hv.xen.' + self.rnd.choice(POINTS[op.replace('_paused', '')])
        self.trail[-1] += ' ' + point
        self.g.agent.arm('%s kill 1' % point)
        self.within(w, op, lambda: wait_until(lambda: self.g.rig.run('kill -0 %d' % self.g.agent.pid)[0] != 0, 5, 0.1))

    def do_within(self, w, op):
        pause = self.rnd.random() * 1.5
        self.trail[-1] += ' %.1f s' % pause
        self.within(w, op, lambda: time.sleep(pause))

    def within(self, w, op, wait):
        method, arguments, end, device = own(self.g.s, op, w, self.rnd)
        task = None
        try:
            task = self.g.s.call('Async.' + method, *arguments)
        except (OSError, http.client.HTTPException):
            pass                # it died before it could answer
        wait()
        s = self.g.again()
        status = s.task.get_status(task) if task else 'failure'
        if status not in ('success', 'failure', 'cancelled'):
            self.say('the task of a killed agent is %s' % status)
        self.settle(w, op, end, device)
        for vm in s.VM.get_snapshots(w.vm):
            if vm not in w.snapshots:
                w.snapshots.append(vm)

    def settle(self, w, op, end, device):
        """After an operation that did not end well the guest is as before or as after it, for good."""
        s = self.g.s
        may = {w.state, end} | ({H} if op in ('hard_reboot', 'clean_reboot') else set())
        if not wait_until(lambda: s.VM.get_power_state(w.vm) in may and not s.VM.get_current_operations(w.vm), 60, 0.3):
            self.say('%s is %s, not one of %s, with %s' % (w.name, s.VM.get_power_state(w.vm), sorted(may), s.VM.get_current_operations(w.vm)))
        if w.linux and op in ('clean_shutdown', 'clean_reboot', 'suspend', 'hard_reboot'):
            # The guest may have heard of it: it ends by and by, or it goes on.
            if not wait_until(lambda: s.VM.get_power_state(w.vm) in may - {R} or self.g.lives(w.vm, 3), BOOT_S, 0.5):
                self.say('%s neither runs nor has ended' % w.name)
        now = s.VM.get_power_state(w.vm)
        old, w.state = w.state, now
        if now == H or now == R and (old != R or op.endswith('reboot')):
            w.out = {d: False for d in w.out} if now == H or old == H or op.endswith('reboot') else w.out
        if device and now == R:
            api = s.VBD if device in w.vbds else s.VIF
            w.out[device] = not api.get_currently_attached(device)
        if op == 'memory':
            w.low = int(s.VM.get_memory_dynamic_max(w.vm)) < 128 * MIB

    # -- the model and the machine

    def compare(self, w):
        s, rig = self.g.s, self.g.rig
        state = s.VM.get_power_state(w.vm)
        if state != w.state:
            self.say('%s is %s, the model says %s' % (w.name, state, w.state), w)
            w.state = state
        if w.state in (R, P, H):
            records = dict(s.VBD.get_all_records(), **s.VIF.get_all_records())
            for device, out in w.out.items():
                record = records[device]
                if record['currently_attached'] != (w.runs() and not out):
                    self.say('%s: %s %s is %sattached' % (w.name, 'disk' if device in w.vbds else 'card', record['device'],
                                                          '' if record['currently_attached'] else 'not '))
                    w.out[device] = not record['currently_attached']
        want = sorted('%s %s' % (x.name, x.state) for x in self.walkers if x.runs())
        domains = lambda: sorted(rig.must("xl list | awk 'NR > 2 { print $1, $(NF-1) ~ /p/ ? \"Paused\" : \"Running\" }'").splitlines())
        if not wait_until(lambda: domains() == want, 20, 0.3):
            self.say('domains are %s, not %s' % (domains(), want))

    def ends(self):
        """Everything of it is taken away again, through the API."""
        s = self.g.s
        for w in self.walkers:
            for vm in [w.vm] + w.snapshots:
                if s.VM.get_power_state(vm) != H:
                    s.VM.hard_shutdown(vm)
                disks = [s.VBD.get_VDI(b) for b in s.VM.get_VBDs(vm)]
                s.VM.destroy(vm)
                for vdi in disks:
                    s.VDI.destroy(vdi)


# What a machine holds of guests, one thing a line. Not named: what dom0 has of its own, and folders of xenstore once used.
HOLDS = r'''
xl list | awk 'NR > 1 { print "domain", $1 }'
xenstore-ls -f / | sed 's/ = .*//' | grep -vE '^/(tool|libxl)(/|$)|^/local/domain/0/(error|(error/)?backend(/[a-z]+)?)$' | sed 's/^/xenstore /'
ls /sys/bus/xen-backend/devices | sed 's/^/backend /'
losetup -n -O NAME,BACK-FILE | sed 's/^/loop /'
ip -br link | awk '{ sub("@.*", "", $1); print "interface", $1 }'
ps -eo ppid,pid,comm,args | awk '$1 != 2 && $2 != 2 && $3 !~ /^(ps|awk|bash|sed|sort|xapi|xapi-domain)$/ { print "process", $3 }'
find ROOT/hv/xen/guest ROOT/hv/xen/boot ROOT/run/hv -mindepth 1 2>/dev/null | sed 's/^/file /'
find ROOT/sr -type f 2>/dev/null | sed 's/^/disk /'
true
'''


def holds(rig, root):
    return sorted(rig.must(HOLDS.replace('ROOT', root), 120).splitlines())


def free_mib(rig):
    return int(rig.must("xl info | awk '$1 == \"free_memory\" { print $3 }'"))


def ports(rig):
    """Event channels of dom0."""
    return int(rig.must('/usr/lib/xen-4.17/bin/lsevtchn 0 | grep -c .'))


def walk_there(rig, agent, kinds, steps):
    rig.must('xl sched-credit2 -d Domain-0 -w 65535')     # guests that boot do not keep dom0 from its work
    g = Guests(rig, agent)
    card = g.network('xenbr9')
    # One guest before: its bridge and the standing builder are no leak.
    first = g.start(g.grub('first'))
    g.s.VM.hard_shutdown(first)
    g.s.VM.destroy(first)
    g.again()
    first = g.grub('second')
    g.vif(first, card)
    g.start(first)
    g.s.VM.hard_shutdown(first)
    g.s.VM.destroy(first)
    g.clean()
    before = holds(rig, agent.root), free_mib(rig), ports(rig)

    walk = Walk(g, card, kinds)
    began = time.monotonic()
    while len(walk.trail) < steps and len(walk.wrong) < 10:
        walk.step()
    check(not walk.wrong, '%d random steps in %.0f s agree with the model (WALK_SEED=%d)' % (len(walk.trail), time.monotonic() - began, SEED))
    for line in walk.wrong:
        print('# ' + line)
    print('# %.0f s of it for another agent and for Linux guests to boot, before a step' % walk.waited)
    print('# how often: ' + ' '.join('%s %d' % i for i in sorted(walk.seen.items())))
    walk.ends()
    # Of a network without cards the bridge stays until the agent starts the next time.
    left = lambda: sorted((set(holds(rig, agent.root)) ^ set(before[0])) - {'interface xenbr9'})
    wait_until(lambda: not left(), 30, 1)
    check(not left(), 'no domain, node of xenstore, backend, process, loop device, interface or file is left: %s' % left()[:20])
    check(wait_until(lambda: free_mib(rig) >= before[1], 30, 1), "the hypervisor's free memory is what it was: %d MiB, %d before" % (free_mib(rig), before[1]))
    check(wait_until(lambda: ports(rig) <= before[2], 30, 1), 'so are the event channels of dom0: %d, %d before' % (ports(rig), before[2]))
    fds = lambda: int(rig.must('ls /proc/%d/fd | wc -l' % agent.pid))
    used = fds()
    check(agent.stop(), 'the agent ends on SIGTERM')
    alive = lambda: rig.run('pgrep -a "xapi|qemu"')[1].strip()
    check(wait_until(lambda: not alive(), 20, 0.5), 'with all its helpers: %s' % alive())
    agent.start()
    check(used <= fds() + 24, 'and had no more open files than some: %d, %d when new' % (used, fds()))
    gone = lambda: 'interface xenbr9' not in holds(rig, agent.root)
    check(wait_until(gone, 30, 1), 'an agent that starts takes away the bridge of a network without cards')


def main(kinds, steps):
    """kinds: of the guests, in one text."""
    steps = int(os.environ.get('WALK_STEPS', steps))
    with Rig('xen') as rig:
        rig.install()
        agent = rig.start_agent('--log-level', 'debug', '--allow-faults')
        try:
            walk_there(rig, agent, kinds, steps)
        except BaseException:
            print(''.join('# agent: %s\n' % l for l in agent.tail(60).splitlines()))
            raise
    done()
