#!/usr/bin/env python3
"""Hours of mixed work by 20 clients, with restarts, kills and failures of the hypervisor, and a report: the share of calls that
were answered as they should be, tasks that never ended, the drift of the latency, the slope of memory and descriptors.

    soak.py HOURS           simulated guests, a repository of files; `make soak HOURS=1`

Four lives of the agent: after each second one a kill -9, else a SIGTERM. In each the agent's size is looked at twice: when it has warmed
up, and at its end. What 20 clients want in one moment is not what they want in the next (a list of all VMs is worth megabytes), so they
rest while it is looked at, long enough for the agent to give back what nobody uses. Ends with 1 when a task was left, an answer was
wrong, or something grew."""
import collections
import http.client
import os
import random
import shutil
import statistics
import sys
import threading
import time
import xml.parsers.expat

from harness import Agent, Failure

CLIENTS, WATCHERS, VMS, LIVES = 20, 4, 100, 4
MIB = 1 << 20
GONE = (OSError, http.client.HTTPException, xml.parsers.expat.ExpatError)      # the last: an answer that breaks off
RESTARTED = ('SESSION_INVALID', 'HOST_STILL_BOOTING', 'TASK_CANCELLED')
# What a call may be refused with while others work on the same VM, or the hypervisor was told to fail.
EXPECTED = RESTARTED + ('VM_BAD_POWER_STATE', 'OTHER_OPERATION_IN_PROGRESS', 'HANDLE_INVALID', 'VDI_IN_USE', 'HYPERVISOR_ERROR', 'INTERNAL_ERROR')
GROWTH = 0.02           # of memory in the median life, once the agent is warm
LONG_S = 300            # a life in which the agent warms up; shorter ones say nothing of memory
DELETED = 100000        # deletions that are remembered for those who wait for events
REST_S = 15             # calls in flight end, and each second the agent gives back what nobody uses
DRIFT = 3               # of the 99th percentile from the first life to the last

agent = Agent(faults=True)
stop, rest = threading.Event(), threading.Event()
counts = collections.Counter()
odd = collections.Counter()
latency = collections.defaultdict(list)     # life -> seconds of one kind of call
life = [0]


def login():
    while not stop.is_set():
        try:
            return agent.login(timeout=60)
        except GONE + (Failure,):
            time.sleep(0.05)
    raise SystemExit


def power(s, rng, vms):
    vm = rng.choice(vms)
    op, arguments = rng.choice((('start', (False, False)), ('hard_shutdown', ()), ('clean_reboot', ()), ('pause', ()), ('unpause', ()), ('suspend', ()),
                                ('resume', (False, False))))
    s.call('VM.' + op, vm, *arguments)


def disks(s, rng, vms):
    vdi = s.VDI.create({'name_label': 'soak', 'SR': s.pool.get_default_SR(s.pool.get_all()[0]), 'virtual_size': str(MIB), 'type': 'user',
                        'sharable': False, 'read_only': False, 'other_config': {}})
    snapshot = s.VDI.snapshot(vdi)
    s.VDI.destroy(vdi)
    s.VDI.destroy(snapshot)


def copies(s, rng, vms):
    s.VM.destroy(s.VM.snapshot(rng.choice(vms), 'soak'))


def records(s, rng, vms):
    s.call(rng.choice(('VM', 'VDI', 'task', 'network', 'host', 'SR')) + '.get_all_records')


def looks(s, rng, vms):
    for _ in range(20):
        began = time.monotonic()
        s.VM.get_power_state(rng.choice(vms))
        latency[life[0]].append(time.monotonic() - began)


def writes(s, rng, vms):
    vm, key = rng.choice(vms), 'soak-%d' % rng.randrange(1 << 30)
    s.VM.add_to_other_config(vm, key, 'x' * rng.randrange(500))
    s.VM.remove_from_other_config(vm, key)


def tasks(s, rng, vms):
    task = s.call('Async.VM.get_record', rng.choice(vms))
    while s.task.get_status(task) == 'pending':
        time.sleep(0.01)
    s.task.destroy(task)


def sessions(s, rng, vms):
    other = login()
    other.session.get_this_user(other._ref)
    other.session.logout()


WORK = {power: 8, disks: 2, copies: 2, records: 2, looks: 6, writes: 6, tasks: 4, sessions: 1}


def forget(n):
    """Deletions: what is remembered of them is bounded, and is full before anything is measured."""
    s = login()
    for _ in range(n):
        s.task.destroy(s.task.create('soak', ''))


def client(number, vms):
    rng, s = random.Random(number), login()
    while not stop.is_set():
        if rest.is_set():
            time.sleep(0.1)
            continue
        work = rng.choices(list(WORK), WORK.values())[0]
        try:
            work(s, rng, vms)
            counts['done'] += 1
        except GONE:
            counts['cut by a restart'] += 1
            s = login()
        except Failure as e:
            code = e.details[0]
            counts['refused'] += 1
            if code not in EXPECTED:
                odd[work.__name__, code] += 1
            if code in RESTARTED:
                s = login()


def watcher():
    s, token = login(), ''
    while not stop.is_set():
        try:
            token = s.event.__getattr__('from')(['*'], token, 5.0)['token']
            counts['batches of events'] += 1
        except GONE:
            s = login()
        except Failure as e:
            token = '' if e.details[0] == 'EVENTS_LOST' else token
            s = login()


def size():
    """Resident bytes, open descriptors"""
    pid = agent.process.pid
    with open('/proc/%d/statm' % pid) as f:
        return int(f.read().split()[1]) * os.sysconf('SC_PAGE_SIZE'), len(os.listdir('/proc/%d/fd' % pid))


def size_at_rest():
    rest.set()
    time.sleep(REST_S)
    seen = size()
    rest.clear()
    return seen


def guarded(target, *arguments):
    try:
        target(*arguments)
    except SystemExit:
        pass
    except BaseException as e:
        odd['a client ended', repr(e)[:200]] += 1
        raise


def p99(seconds):
    return statistics.quantiles(seconds, n=100)[-1] * 1e3


def main(hours):
    each_s = hours * 3600 / LIVES
    agent.start()
    s = agent.login()
    template, vms = s.VM.get_by_name_label('Other install media')[0], []
    for n in range(VMS):
        vms.append(s.VM.clone(template, 'soak %d' % n))
        s.VM.provision(vms[-1])
    if each_s >= LONG_S:
        early = [threading.Thread(target=guarded, args=(forget, DELETED // CLIENTS)) for _ in range(CLIENTS)]
        for t in early:
            t.start()
        for t in early:
            t.join()
    threads = [threading.Thread(target=guarded, args=(client, n, vms)) for n in range(CLIENTS)]
    threads += [threading.Thread(target=guarded, args=(watcher,)) for _ in range(WATCHERS)]
    for t in threads:
        t.start()
    sizes, rates = [], []
    for life[0] in range(LIVES):
        until, before = time.monotonic() + each_s, counts['done']
        time.sleep(each_s / 3)
        warm = size_at_rest()
        while time.monotonic() < until:
            agent.arm('hv.sim.start EIO 1')
            time.sleep(min(5, max(0, until - time.monotonic())))
        sizes.append((warm, size_at_rest()))
        rates.append((counts['done'] - before) / each_s)
        if life[0] == LIVES - 1:
            break
        if life[0] % 2:
            agent.kill()
        else:
            agent.stop(60)
        agent.start()
    stop.set()
    for t in threads:
        t.join(120)
    hung = sum(t.is_alive() for t in threads)
    s = agent.login()
    left = [r['name_label'] for r in s.task.get_all_records().values() if r['status'] in ('pending', 'cancelling')]
    total = counts['done'] + counts['refused'] + counts['cut by a restart']
    wrong = sum(odd.values())
    first, last = p99(latency[0]), p99(latency[LIVES - 1])
    print('%.2f hours, %d clients, %d pieces of work: %s' % (hours, CLIENTS, total, dict(counts)))
    print('answered as they should be: %.4f %%; otherwise: %s' % (100 * (1 - wrong / max(total, 1)), dict(odd)))
    print('tasks left: %d %s; clients that hang: %d' % (len(left), left[:5], hung))
    print('p99 of VM.get_power_state: %.2f ms in the first life, %.2f ms in the last: %.2f' % (first, last, last / first))
    growth = []
    for ((warm, warm_fds), (end, end_fds)), rate in zip(sizes, rates):
        growth.append(end / warm - 1)
        print('%.0f a second; memory %.1f MiB, then %.1f: %+.2f %% in %.0f min; descriptors %d, then %d' % (
            rate, warm / MIB, end / MIB, 100 * growth[-1], each_s * 2 / 3 / 60, warm_fds, end_fds))
    fds = statistics.median(end - warm for (_, warm), (_, end) in sizes)
    bad = [what for what, is_so in (('wrong answers', wrong), ('tasks left', left), ('clients hang', hung), ('the latency drifts', last > DRIFT * first),
                                    ('memory grows', each_s >= LONG_S and statistics.median(growth) > GROWTH), ('descriptors grow', fds > CLIENTS)) if is_so]
    print('violations: %s' % (', '.join(bad) or 'none'))
    agent.stop(60)
    shutil.rmtree(agent.root, ignore_errors=True)
    return 1 if bad else 0


sys.exit(main(float(sys.argv[1])))
