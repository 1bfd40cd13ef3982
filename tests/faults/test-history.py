#!/usr/bin/env python3
"""32 clients start, stop, pause and suspend eight VMs while the agent is killed every few seconds: each VM has one power state at
a time, whatever anybody was answered; no acknowledged write is missing; and streams of events neither repeat nor skip."""
import collections
import http.client
import random
import shutil
import threading
import time

from harness import LEVEL, Agent, Failure, UnixTransport, check, done
from linear import Call, contradiction

CLIENTS, VMS, WATCHERS = 32, 8, 4
KILLS, EVERY_S = (4, 2.5) if LEVEL == 'ci' else (60, 3)
# operation: arguments, from which states, to which
OPERATIONS = {'start': ((False, False), ('Halted',), 'Running'), 'hard_shutdown': ((), ('Running', 'Paused', 'Suspended'), 'Halted'),
              'pause': ((), ('Running',), 'Paused'), 'unpause': ((), ('Paused',), 'Running'), 'suspend': ((), ('Running',), 'Suspended'),
              'resume': ((False, False), ('Suspended',), 'Running')}
GONE = (OSError, http.client.HTTPException)      # the agent was killed under the call, or is not back yet
NO_SESSION = ('SESSION_INVALID', 'SESSION_NOT_REGISTERED', 'HOST_STILL_BOOTING')

# Python's own sends a call again when its connection is cut: what is answered then is the second one, and the first may have happened.
UnixTransport.request = UnixTransport.single_request

agent = Agent()
stop = threading.Event()
lock = threading.Lock()
restarts = []                               # moments at which an agent was ready again
calls = collections.defaultdict(list)       # VM -> Call
odd = []


def login():
    while True:
        try:
            return agent.login(timeout=30)
        except GONE + (Failure,):
            time.sleep(0.02)


def note(vm, sent, steps, what, certain=True):
    with lock:
        calls[vm].append(Call(sent, time.monotonic_ns() if certain else None, steps, certain, what))


def operate(s, vm, op):
    arguments, sources, target = OPERATIONS[op]
    sent = time.monotonic_ns()
    try:
        s.call('VM.' + op, vm, *arguments)
        note(vm, sent, lambda state: [target] if state in sources else [], op)
    except Failure as e:
        code = e.details[0]
        if code == 'VM_BAD_POWER_STATE':
            actual = e.details[3].capitalize()
            note(vm, sent, lambda state: [state] if state == actual and state not in sources else [], '%s refused: %s' % (op, actual))
        elif code in NO_SESSION:
            raise
        elif code != 'OTHER_OPERATION_IN_PROGRESS':
            odd.append((op, e.details))
    except GONE:
        note(vm, sent, lambda state: [target] if state in sources else [], op + ' without an answer', certain=False)
        raise


def look(s, vm):
    sent = time.monotonic_ns()
    state = s.VM.get_power_state(vm)
    note(vm, sent, lambda now: [now] if now == state else [], 'seen ' + state)


class Client(threading.Thread):
    """Works on all VMs; the first ones count upwards in the description of one."""

    def __init__(self, number, vms):
        super().__init__()
        self.number, self.vms, self.sent, self.acked = number, vms, 0, 0

    def run(self):
        rng, s = random.Random(self.number), login()
        while not stop.is_set():
            try:
                vm = rng.choice(self.vms)
                if self.number < VMS and rng.random() < 0.3:
                    self.sent += 1
                    s.VM.set_name_description(self.vms[self.number], str(self.sent))
                    self.acked = self.sent
                elif rng.random() < 0.3:
                    look(s, vm)
                else:
                    operate(s, vm, rng.choice(list(OPERATIONS)))
            except GONE:
                s = login()
            except Failure as e:
                if e.details[0] not in NO_SESSION:
                    odd.append(('client', e.details))
                s = login()


class Watcher(threading.Thread):
    """Follows the VMs with one token through all restarts."""

    def __init__(self, token):
        super().__init__()
        self.token, self.numbers, self.last_id, self.wrong, self.events = token, {}, -1, [], 0

    def follow(self, s, timeout):
        batch = s.event.__getattr__('from')(['VM'], self.token, timeout)
        ids = [int(e['id']) for e in batch['events']]
        if any(i <= self.last_id for i in ids):
            self.wrong.append('an event came again: %s after %d' % (ids, self.last_id))
        self.last_id = max(ids + [self.last_id])
        for e in batch['events']:
            if e['ref'] not in vms:
                continue        # a template
            number = int(e['snapshot']['name_description'] or 0)
            if number < self.numbers.get(e['ref'], 0):
                self.wrong.append('%d after %d' % (number, self.numbers[e['ref']]))
            self.numbers[e['ref']] = number
        self.token = batch['token']
        self.events += len(ids)
        return ids

    def run(self):
        s = login()
        while not stop.is_set():
            try:
                self.follow(s, 1.0)
            except GONE:
                s = login()
            except Failure as e:
                if e.details[0] not in NO_SESSION:
                    self.wrong.append(str(e.details))
                s = login()


agent.start()
s = agent.login()
template = s.VM.get_by_name_label('Other install media')[0]
vms = []
for n in range(VMS):
    vms.append(s.VM.clone(template, 'vm%d' % n))
    s.VM.provision(vms[-1])
    s.VM.set_name_description(vms[-1], '')
token = s.event.__getattr__('from')(['VM'], '', 1.0)['token']
clients = [Client(n, vms) for n in range(CLIENTS)]
watchers = [Watcher(token) for _ in range(WATCHERS)]
for t in clients + watchers:
    t.start()
for _ in range(KILLS):
    time.sleep(EVERY_S)
    agent.kill()
    agent.start()
    agent.login()       # answered when everything is taken up again
    restarts.append(time.monotonic_ns())
time.sleep(EVERY_S)
stop.set()
for t in clients + watchers:
    t.join()

s = agent.login()
end = time.monotonic_ns()
for vm in vms:
    look(s, vm)
    for c in calls[vm]:         # what nobody answered can have happened until the next agent was ready
        if c.answered is None:
            c.answered = next((r for r in restarts if r > c.sent), end)
total = sum(len(c) for c in calls.values())
known = sum(c.certain for part in calls.values() for c in part)
check(not odd, 'every call of %d was answered as it may be, or cut by one of %d kills: %s' % (total, len(restarts), odd[:3]))
check(known > 20 * VMS and total > known, '%d calls were answered, %d were not' % (known, total - known))
for n, vm in enumerate(vms):
    bad = contradiction(calls[vm], 'Halted')
    if bad:
        known = sorted((c for c in calls[vm] if c.answered <= bad.answered and c is not bad), key=lambda c: c.answered)
        for c in sorted(known[-25:] + [bad] + [c for c in calls[vm] if c.sent < bad.answered < c.answered], key=lambda c: c.sent):
            print('# %9.3f to %9.3f ms: %s' % ((c.sent - bad.answered) / 1e6, (c.answered - bad.answered) / 1e6, c.what))
        print('# agents were ready at %s ms' % ['%.0f' % ((r - bad.answered) / 1e6) for r in restarts])
    check(bad is None, 'VM %d: one power state at a time explains all %d calls: %s' % (n, len(calls[vm]), bad))
for n, vm in enumerate(vms):
    kept = int(s.VM.get_name_description(vm) or 0)
    check(clients[n].acked <= kept <= clients[n].sent, 'VM %d: %d acknowledged, %d kept, %d sent' % (n, clients[n].acked, kept, clients[n].sent))
numbers = {vm: int(s.VM.get_name_description(vm) or 0) for vm in vms}
for n, w in enumerate(watchers):
    while w.follow(s, 0.1):
        pass
    missed = {vm: (w.numbers.get(vm), numbers[vm]) for vm in vms if w.numbers.get(vm, 0) != numbers[vm]}
    check(not w.wrong and not missed, 'stream %d: %d events, in order, and up to the last: %s %s' % (n, w.events, w.wrong[:2], missed))
# The check can fail: one more answer that cannot have been.
vm, seen = vms[0], s.VM.get_power_state(vms[0])
look(s, vm)
calls[vm].append(Call(time.monotonic_ns(), time.monotonic_ns(), lambda state: [state] if state != seen else [], what='a state that it never had'))
check(contradiction(calls[vm], 'Halted') is calls[vm][-1], 'a state that nobody made is found out')
check(agent.stop() == 0, 'the agent ends cleanly')
shutil.rmtree(agent.root, ignore_errors=True)
done()
