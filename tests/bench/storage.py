#!/usr/bin/env python3
"""A directory with many disks, and copies: what one VDI.create, VDI.snapshot and SR.scan costs when there are N of them, and how
fast a disk is copied beside `qemu-img convert` in turn.

    storage.py [N]       16000 when not given

Called by: whoever wants to know. Calls: the agent, qemu-img. CPU is that of the agent and of its drivers, for each call.
"""
import os
import shutil
import statistics
import subprocess
import sys
import time
import uuid

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
os.environ.setdefault('XAPI_SOURCE', SOURCE)
sys.path[:0] = [os.path.join(SOURCE, 'tests'), os.path.join(SOURCE, 'tests', 'storage')]
from guest import MIB, disk  # noqa: E402
from harness import Agent  # noqa: E402

N = int(sys.argv[1]) if len(sys.argv) > 1 else 16000
COPY, ROUNDS = 256 * MIB, 10


def cpu_ms(pid):
    """Of the process, and of its children that have ended."""
    fields = open('/proc/%d/stat' % pid).read().rsplit(')', 1)[1].split()
    tick = 1000 / os.sysconf('SC_CLK_TCK')
    return [(int(fields[i]) + int(fields[i + 1])) * tick for i in (11, 13)]


def resident_mib(pid):
    return next(int(line.split()[1]) >> 10 for line in open('/proc/%d/status' % pid) if line.startswith('VmRSS'))


def measure(agent, what, things, fn):
    before, times, made = cpu_ms(agent.process.pid), [], []
    for thing in things:
        began = time.monotonic()
        made.append(fn(thing))
        times.append(1000 * (time.monotonic() - began))
    agent_ms, drivers_ms = ((b - a) / len(times) for a, b in zip(before, cpu_ms(agent.process.pid)))
    print('%-28s median %8.1f ms, least %8.1f ms; CPU: agent %6.1f ms, drivers %6.1f ms'
          % (what, statistics.median(times), min(times), agent_ms, drivers_ms), flush=True)
    return made, statistics.median(times)


def flat(what, few_ms, many_ms):
    """At most 20 ms, however many there are."""
    print('%s: %.1f ms beside %d disks (must 20); ratio=%.2f of beside none (flat: must 1.25)' % (what, many_ms, N, many_ms / few_ms), flush=True)


def many(agent, s):
    folder = os.path.join(agent.root, 'many')
    sr = s.SR.create(s.host.get_all()[0], {'location': folder}, '0', 'many', '', 'file', '', False, {})

    def new(_):
        return disk(s, sr, 'disk', 8 * MIB)

    few, create_ms = measure(agent, 'VDI.create, few disks', range(30), new)
    snapshot_ms = measure(agent, 'VDI.snapshot, few disks', few, lambda v: s.VDI.snapshot(v, {}))[1]
    with open(os.path.join(folder, s.VDI.get_uuid(new(0)) + '.qcow2'), 'rb') as f:
        empty = f.read()
    for _ in range(N):
        with open(os.path.join(folder, '%s.qcow2' % uuid.uuid4()), 'wb') as f:
            f.write(empty)
    before = resident_mib(agent.process.pid)
    measure(agent, 'SR.scan, %d new' % N, [sr], s.SR.scan)
    measure(agent, 'SR.scan, nothing new', [sr] * 3, s.SR.scan)
    print('%d disks: the agent is resident with %d MiB, %d before' % (len(s.SR.get_VDIs(sr)), resident_mib(agent.process.pid), before))
    full, ms = measure(agent, 'VDI.create, many disks', range(30), new)
    flat('VDI.create', create_ms, ms)
    flat('VDI.snapshot', snapshot_ms, measure(agent, 'VDI.snapshot, many disks', full, lambda v: s.VDI.snapshot(v, {}))[1])
    measure(agent, 'VDI.destroy, many disks', full[:10], s.VDI.destroy)


def copies(agent, s):
    sr = s.pool.get_default_SR(s.pool.get_all()[0])
    folder, raw = os.path.join(agent.root, 'sr'), os.path.join(agent.root, 'raw')
    with open(raw, 'wb') as f:
        for _ in range(COPY // MIB):
            f.write(os.urandom(MIB))
    vdi = disk(s, sr, 'source', COPY)
    source, peer = os.path.join(folder, s.VDI.get_uuid(vdi) + '.qcow2'), os.path.join(folder, 'peer')
    subprocess.run(['qemu-img', 'convert', '-n', '-f', 'raw', '-O', 'qcow2', raw, source], check=True)
    ours, theirs = [], []

    def mine():
        began = time.monotonic()
        copy = s.VDI.copy(vdi, sr)
        ours.append(time.monotonic() - began)
        s.VDI.destroy(copy)

    def other():
        began = time.monotonic()
        subprocess.run(['qemu-img', 'convert', '-f', 'qcow2', '-O', 'qcow2', source, peer], check=True)
        subprocess.run(['sync', peer], check=True)
        theirs.append(time.monotonic() - began)
        os.unlink(peer)
    cpu, children = cpu_ms(agent.process.pid), os.times()
    for n in range(ROUNDS):     # who comes second may find the pages that the first has freed
        for copy in (mine, other) if n % 2 else (other, mine):
            copy()
    cpu = sum(b - a for a, b in zip(cpu, cpu_ms(agent.process.pid))) / ROUNDS
    other_cpu = sum(b - a for a, b in zip(children[2:4], os.times()[2:4])) * 1000 / ROUNDS
    ours_s, theirs_s = statistics.median(ours), statistics.median(theirs)
    print('VDI.copy of %d MiB: %.2f s, qemu-img convert and sync: %.2f s; ratio=%.2f of its rate (must 0.8)'
          % (COPY // MIB, ours_s, theirs_s, theirs_s / ours_s))
    print('a copy and its destroy, the agent and its children: %.0f ms of processors; qemu-img convert and sync: %.0f ms' % (cpu, other_cpu))


agent = Agent().start()
try:
    session = agent.login(1200)
    many(agent, session)
    copies(agent, session)
finally:
    agent.kill()
    shutil.rmtree(agent.root)
