#!/usr/bin/env python3
"""What the host says of itself under Xen, scheduling of guests, metrics, and memory that moves between guests."""
import re
import time
import urllib.request

from harness import LEVEL, check, done, fails, wait_until
from guests import MIB, Machine


def is_described(m):
    s, host = m.s, m.s.host.get_all()[0]
    info = s.host.get_cpu_info(host)
    xl = dict(l.split(':', 1) for l in m.rig.must('xl info').splitlines() if ':' in l)
    xl = {k.strip(): v.strip() for k, v in xl.items()}
    check(info['cpu_count'] == xl['nr_cpus'] and info['nr_nodes'] == xl['nr_nodes'] and info['threads_per_core'] == xl['threads_per_core'],
          'processors and nodes as Xen counts them: %s' % {k: info[k] for k in ('cpu_count', 'nr_nodes', 'socket_count', 'threads_per_core')})
    check(all(re.fullmatch('([0-9a-f]{8}-)+[0-9a-f]{8}', info[k]) for k in ('features', 'features_pv', 'features_hvm')),
          'features of the processors: %s' % info['features'])
    check(int(s.host_metrics.get_memory_total(s.host.get_metrics(host))) // MIB == int(xl['total_memory']), 'memory: %s MiB' % xl['total_memory'])
    check(set(s.host.get_capabilities(host)) == set(xl['xen_caps'].split()), 'capabilities: %s' % xl['xen_caps'])
    check('Xen version 4.17' in s.host.dmesg(host), "host.dmesg has Xen's own messages")
    s.host.send_debug_keys(host, 'h')
    check(wait_until(lambda: "'h' pressed" in s.host.dmesg(host), 10, 0.5), 'debug keys are pressed')
    check("'h' pressed" in s.host.dmesg_clear(host) and "'h' pressed" not in s.host.dmesg(host), 'cleared, it is gone')


def is_scheduled(m):
    s = m.s
    guest = m.guest('shares', 'pv', disk=False, vif=False, memory=64 * MIB, tick=False)
    s.VM.set_VCPUs_params(guest.ref, {'weight': '512', 'cap': '40'})
    s.VM.set_PV_kernel(guest.ref, '/usr/lib/grub-xen/grub-x86_64-xen.bin')
    s.VM.set_PV_ramdisk(guest.ref, '')
    s.VM.start(guest.ref, False, False)
    line = m.rig.must('xl sched-credit2 -d %d | tail -1' % guest.domid()).split()
    check(line[-2:] == ['512', '40'], 'weight and cap reach the scheduler: %s' % line)
    check(s.VM.get_last_boot_CPU_flags(guest.ref).get('features', '-') == s.host.get_cpu_info(s.host.get_all()[0])['features_pv'],
          'the record says which features it has seen')
    s.VM.hard_shutdown(guest.ref)
    # One bit less than the host has: SSE3, in the second word.
    words = s.host.get_cpu_info(s.host.get_all()[0])['features_pv'].split('-')
    words[1] = '%08x' % (int(words[1], 16) & ~1)
    s.VM.set_platform(guest.ref, {**s.VM.get_platform(guest.ref), 'featureset': '-'.join(words)})
    s.VM.start(guest.ref, False, False)
    check(s.VM.get_last_boot_CPU_flags(guest.ref)['features'].split('-')[1] == words[1], 'a mask takes features away')
    s.VM.hard_shutdown(guest.ref)
    s.VM.set_platform(guest.ref, {**s.VM.get_platform(guest.ref), 'featureset': 'mad-ness'})
    fails('INVALID_VALUE', 'a mask that is none', s.VM.start, guest.ref, False, False)


def updates(m, seconds=60):
    """The latest values of rrd_updates, by legend."""
    text = m.rig.must('XAPI_SOCKET=%s/xapi.sock; curl -s --unix-socket $XAPI_SOCKET "http://localhost/rrd_updates?start=%d&host=true&cf=AVERAGE"'
                      % (m.agent.root, int(time.time()) - seconds))
    legend = re.findall('<entry>([^<]*)</entry>', text)
    rows = re.findall('<row>(.*?)</row>', text, re.S)
    values = [re.findall('<v>([^<]*)</v>', r) for r in rows]
    return {name: [float(v[i]) for v in values if v[i] != 'NaN'] for i, name in enumerate(legend)}


def memory_moves(m):
    """Two guests, each with 300 to 1500 MiB, and a third of 300 where two of the largest fill the machine."""
    s = m.s
    low, high = 300 * MIB, 1500 * MIB
    guests = []
    for name in ('one', 'two'):
        g = m.guest(name, 'pv', 'watch=1', disk=False, vif=False, memory=high)
        s.VM.set_memory_dynamic_range(g.ref, str(low), str(high))
        guests.append(g)
    s.VM.start(guests[0].ref, False, False)
    check(guests[0].lives(), 'the first guest has all it can have')
    s.VM.start(guests[1].ref, False, False)
    check(guests[1].lives(), 'so has the second')
    actual = lambda g: int(s.VM_metrics.get_memory_actual(s.VM.get_metrics(g.ref))) // MIB
    third = m.guest('three', 'pv', disk=False, vif=False, memory=300 * MIB)
    before = [actual(g) for g in guests]
    s.VM.start(third.ref, False, False)
    after = [actual(g) for g in guests]
    check(sum(after) < sum(before) and min(after) >= 300, 'a third starts, and they give up memory: %s -> %s MiB' % (before, after))
    check(third.lives() and all(g.lives() for g in guests), 'all three live')
    large = m.guest('four', 'pv', disk=False, vif=False, memory=2500 * MIB)
    before = [actual(g) for g in guests]
    fails('HOST_NOT_ENOUGH_FREE_MEMORY', 'a fourth that cannot fit', s.VM.start, large.ref, False, False)
    check(sum(abs(a - b) for a, b in zip(before, [actual(g) for g in guests])) < 64, 'takes nothing from anybody')
    s.VM.hard_shutdown(third.ref)
    check(wait_until(lambda: sum(actual(g) for g in guests) > sum(after) + 200, 150, 1), 'its memory goes back to them')
    values = updates(m)
    uuid = s.VM.get_uuid(guests[0].ref)
    cpu = values.get('AVERAGE:vm:%s:cpu0' % uuid, [])
    host = values.get('AVERAGE:host:%s:cpu0' % s.host.get_uuid(s.host.get_all()[0]), [])
    check(cpu and 0 < max(cpu) <= 1 and host and 0 < max(host) <= 1, 'metrics: guest cpu %s, physical cpu %s' % (cpu[:3], host[:3]))
    check(values.get('AVERAGE:vm:%s:memory' % uuid), 'and memory of the guest')
    for g in guests:
        s.VM.hard_shutdown(g.ref)
    check(m.left() == '', 'nothing is left: ' + m.left())


with Machine() as m:
    is_described(m)
    is_scheduled(m)
    if LEVEL == 'full':
        memory_moves(m)
done()
