#!/usr/bin/env python3
"""The power goes while clients write: whatever the disk kept of what was not synced yet, the database opens, is sound, and has every
write that was acknowledged, in its order (powercut.py says what a disk may keep)."""
import os
import random
import shutil
import subprocess
import tempfile
import threading
import time

from harness import BUILD, LEVEL, Agent, check, done
from powercut import DATA, MEMORY, Disk, Record

CLIENTS, OPS, CUTS = (6, 60, 300) if LEVEL == 'ci' else (8, 800, 12000)
KEYS, NETWORKS = 12, 3          # that each client has at most at a time


class Client(threading.Thread):
    """Writes to a VM and networks of its own, one after the other; knows when each write was sent and answered, and what is there then."""

    def __init__(self, agent, number, template):
        super().__init__()
        self.number, self.s = number, agent.login()
        record = dict(template, is_a_template=False, name_label='client %d' % number, name_description='', other_config={})
        self.vm = self.s.VM.create(record)
        self.uuid = self.s.VM.get_uuid(self.vm)
        self.ready = time.monotonic_ns()
        self.sent, self.acked, self.states = [], [], [('', frozenset(), frozenset())]

    def did(self, work, state):
        self.sent.append(time.monotonic_ns())
        answer = work()
        self.acked.append(time.monotonic_ns())
        self.states.append(state)
        return answer

    def run(self):
        s, rng, networks = self.s, random.Random(self.number), []
        text, keys = '', []
        for n in range(OPS):
            way = rng.randrange(4)
            if way == 0:
                text = 'write %d' % n
                self.did(lambda: s.VM.set_name_description(self.vm, text), (text, frozenset(keys), frozenset(x for x, _ in networks)))
            elif way == 1 and len(keys) >= KEYS:
                key = keys.pop(rng.randrange(len(keys)))
                self.did(lambda: s.VM.remove_from_other_config(self.vm, key), (text, frozenset(keys), frozenset(x for x, _ in networks)))
            elif way <= 2:
                keys.append('key-%d-%s' % (n, 'x' * rng.randrange(200)))
                self.did(lambda: s.VM.add_to_other_config(self.vm, keys[-1], 'v'), (text, frozenset(keys), frozenset(x for x, _ in networks)))
            elif len(networks) >= NETWORKS:
                _, ref = networks.pop(0)
                self.did(lambda: s.network.destroy(ref), (text, frozenset(keys), frozenset(x for x, _ in networks)))
            else:
                name = 'network %d of %d' % (n, self.number)
                networks.append([name, None])
                networks[-1][1] = self.did(lambda: s.network.create({'name_label': name, 'name_description': '', 'other_config': {}}),
                                           (text, frozenset(keys), frozenset(x for x, _ in networks)))

    def possible(self, t_ns, later_ns):
        """The states that may be there after a cut between two moments: everything answered before, nothing sent after."""
        low, high = sum(t < t_ns for t in self.acked), sum(t < later_ns for t in self.sent)
        return self.states[low:high + 1]


class Reader:
    """tests/faults/cut-store: opens a database as the agent does."""

    def __init__(self):
        self.process = subprocess.Popen([os.path.join(BUILD, 'run'), 'tests/faults/cut-store'], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, text=True)

    def look(self, path):
        """-> problems, {uuid: (description, keys)}, names of networks"""
        self.process.stdin.write(path + '\n')
        self.process.stdin.flush()
        problems, vms, networks = [], {}, set()
        while (line := self.process.stdout.readline().rstrip('\n')) != '.':
            kind, _, rest = line.partition(' ')
            if kind == 'VM':
                words = rest.split('\t')
                vms[words[0]] = words[1], frozenset(words[2:])
            elif kind == 'network':
                networks.add(rest)
            elif line or self.process.poll() is not None:
                problems.append(line)
            if self.process.poll() is not None:
                return ['the reader ended with %s' % self.process.returncode], {}, set()
        return problems, vms, networks


def violations(clients, found, t_ns, later_ns):
    problems, vms, networks = found
    wrong = list(problems)
    for c in clients:
        if c.uuid not in vms:
            if c.ready < t_ns:
                wrong.append('the VM of client %d is lost' % c.number)
            continue
        mine = frozenset(n for n in networks if n.endswith(' of %d' % c.number))
        state = vms[c.uuid] + (mine,)
        if state not in c.possible(t_ns, later_ns):
            wrong.append('client %d: %s is none of its %d possible states' % (c.number, state, len(c.possible(t_ns, later_ns))))
    return wrong


agent = Agent()
record = Record(os.path.join(agent.root, 'state.db'), os.path.join(BUILD, 'tests/faults/record.so'))
agent.env = record.env
with agent:
    s = agent.login()
    template = s.VM.get_record(s.VM.get_by_name_label('Other install media')[0])
    clients = [Client(agent, i, template) for i in range(CLIENTS)]
    for c in clients:
        c.start()
    for c in clients:
        c.join()
    check(all(len(c.acked) == OPS for c in clients), '%d writes of %d clients are acknowledged' % (CLIENTS * OPS, CLIENTS))
    agent.kill()
    agent.env = {}
    ops = list(record.ops())
    whole = Disk(record.prefix)
    for op in ops:
        whole.take(op)
    folder = tempfile.mkdtemp(dir=MEMORY)
    whole.build(folder)
    same = [n for n in sorted(os.listdir(folder)) if open(os.path.join(folder, n), 'rb').read() == open(os.path.join(agent.root, n), 'rb').read()]
    check(same == sorted(n for n in os.listdir(agent.root) if n.startswith('state.db')) and 'state.db' in same,
          'the record is whole: replayed, it gives the same files: %s of %d ops, %d syncs' % (same, len(ops), whole.syncs))

    # Cuts are spread over all ops; a third of them falls where clients write, right before and after a sync.
    rng, reader, disk = random.Random(int(os.environ.get('SEED', '1'))), Reader(), Disk(record.prefix)
    syncs = [i for i, op in enumerate(ops) if op.kind != DATA]
    points = sorted(rng.randrange(len(ops)) if i % 3 else min(rng.choice(syncs) + rng.randrange(2), len(ops) - 1) for i in range(CUTS))
    wrong, checked, at = [], 0, 0
    began = time.monotonic()
    for point in points:
        for op in ops[at:point]:
            disk.take(op)
        at = point
        shutil.rmtree(folder)
        os.mkdir(folder)
        disk.build(folder, rng)
        if not os.path.exists(os.path.join(folder, 'state.db')):
            ready = [c for c in clients if c.ready < ops[point].t_ns]
            bad = ['no database'] if ready else []
        else:
            bad = violations(clients, reader.look(os.path.join(folder, 'state.db')), ops[point].t_ns, ops[min(point + 1, len(ops) - 1)].t_ns)
        checked += 1
        if bad:
            wrong.append((point, bad))
            print('# cut before op %d, %r: %s' % (point, ops[point], bad[:3]))
            if len(wrong) >= 5:
                break
    check(checked == CUTS and not wrong, '%d power cuts, %d of them with losses, %.0f s' % (checked, len(wrong), time.monotonic() - began))
    shutil.rmtree(folder)
    # The check can fail: a disk that forgets a sync loses acknowledged writes.
    forgetful, lost = Disk(record.prefix), False
    last = [i for i, op in enumerate(ops) if op.kind == DATA and op.path.endswith('-wal')][-1]
    for op in ops[:last]:
        forgetful.take(op)
    for f in forgetful.files.values():
        f.disk = f.disk[:len(f.disk) // 2]
    os.mkdir(folder)
    forgetful.build(folder)
    lost = violations(clients, reader.look(os.path.join(folder, 'state.db')), ops[last].t_ns, ops[last].t_ns)
    check(bool(lost), 'a disk that loses synced bytes is found out')
    shutil.rmtree(folder)
    reader.process.stdin.close()
    reader.process.wait()
    agent.start()
done()
