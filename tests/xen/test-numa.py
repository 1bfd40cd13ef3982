#!/usr/bin/env python3
"""A machine with two memory nodes of one processor each: the host says so, masks and the policy of the host bind guests to processors, and
their memory is on the same node. LEVEL=full only."""
import re
import sys

from harness import LEVEL, check, done, fails
from guests import MIB, Machine, Rig

if LEVEL != 'full':
    print('# a machine with two memory nodes has to be booted: LEVEL=full')
    sys.exit(77)


def facts(m, host):
    s = m.s
    info = s.host.get_cpu_info(host)
    counts = {k: info[k] for k in ('cpu_count', 'socket_count', 'nr_nodes', 'threads_per_core')}
    check(counts == {'cpu_count': '2', 'socket_count': '2', 'nr_nodes': '2', 'threads_per_core': '1'}, 'two sockets, two nodes: %s' % counts)
    check(len(s.host.get_host_CPUs(host)) == 2, 'both processors are records')
    check(s.host.get_numa_affinity_policy(host) == 'default_policy', 'guests are placed by default')


def affinity(m, guest):
    """(hard, soft) of each vcpu."""
    lines = m.rig.must('xl vcpu-list %d | tail -n +2' % guest.domid()).splitlines()
    return [tuple(p.strip() for p in re.split(r'\s/\s', re.split(r'\s{2,}', l.strip(), maxsplit=6)[-1])[-2:]) for l in lines]


def pages(m, guest):
    """Its pages on each node, as the hypervisor counts them."""
    m.rig.must('xl dmesg -c >/dev/null; xl debug-keys u')
    text = m.rig.must('xl dmesg')
    part = re.search(r'Domain %d \(total: \d+\):(.*?)(?=Domain \d+ \(total|\Z)' % guest.domid(), text, re.S)
    return [int(n) for n in re.findall(r'Node \d+: (\d+)', part.group(1))] if part else text[-2000:]


def new(m, name, params, vcpus=1, mib=256):
    guest = m.guest(name, 'pv', disk=False, vif=False, memory=mib * MIB, tick=False)
    m.s.VM.set_VCPUs_params(guest.ref, params)
    if vcpus > 1:
        m.s.VM.set_VCPUs_max(guest.ref, str(vcpus))
        m.s.VM.set_VCPUs_at_startup(guest.ref, str(vcpus))
    return guest


def started(m, guest):
    m.s.VM.start(guest.ref, True, False)
    return guest


def nearly_all_on(found, node):
    return isinstance(found, list) and len(found) == 2 and found[node] > 10 * found[1 - node]


def masks(m):
    for cpu in (0, 1):
        guest = started(m, new(m, 'mask%d' % cpu, {'mask': str(cpu)}))
        check([hard for hard, soft in affinity(m, guest)] == [str(cpu)], 'a mask is the hard affinity: %s' % affinity(m, guest))
        check(nearly_all_on(pages(m, guest), cpu), "and the memory is that processor's: %s" % pages(m, guest))
        m.s.VM.hard_shutdown(guest.ref)
    guest = started(m, new(m, 'each', {'mask': '1;0'}, vcpus=2))
    check([hard for hard, soft in affinity(m, guest)] == ['1', '0'], 'one for each vcpu: %s' % affinity(m, guest))
    m.s.VM.add_to_VCPUs_params_live(guest.ref, 'mask', '0,1')
    check([hard for hard, soft in affinity(m, guest)] == ['all', 'all'], 'taken back while it runs: %s' % affinity(m, guest))
    m.s.VM.hard_shutdown(guest.ref)


def policy(m, host):
    s = m.s
    one = started(m, new(m, 'any', {}))
    check(affinity(m, one) == [('all', 'all')], 'by default a guest may be anywhere: %s' % affinity(m, one))
    s.VM.hard_shutdown(one.ref)
    s.host.set_numa_affinity_policy(host, 'best_effort')
    check(s.host.get_numa_affinity_policy(host) == 'best_effort', 'another policy')
    first = started(m, new(m, 'first', {}, mib=512))
    (hard, soft), = affinity(m, first)
    check(hard == 'all' and soft in ('0', '1'), 'it prefers the processors of one node: %s' % affinity(m, first))
    node = int(soft)
    check(nearly_all_on(pages(m, first), node), 'where its memory is: %s' % pages(m, first))
    second = started(m, new(m, 'second', {}, mib=1024))
    third = started(m, new(m, 'third', {}, mib=256))
    where = [[soft for hard, soft in affinity(m, g)] for g in (first, second, third)]
    check(len({soft for g in where for soft in g}) == 2, 'others go where more memory is free: %s' % where)
    for g, (soft,) in zip((second, third), where[1:]):
        check(nearly_all_on(pages(m, g), int(soft)), 'with theirs: %s' % pages(m, g))
    wide = started(m, new(m, 'wide', {}, vcpus=2))
    check(affinity(m, wide) == [('all', 'all')] * 2, 'one with more vcpus than a node has processors stays free: %s' % affinity(m, wide))
    bound = started(m, new(m, 'bound', {'mask': '0'}))
    check(affinity(m, bound)[0] == ('0', 'all'), 'a mask counts for more: %s' % affinity(m, bound))
    for g in (first, second, third, wide, bound):
        s.VM.hard_shutdown(g.ref)
    large = new(m, 'large', {}, mib=2400)
    s.VM.start(large.ref, True, False)
    check(affinity(m, large) == [('all', 'all')] and min(pages(m, large)) > 0, 'one that no node has room for is on both: %s' % pages(m, large))
    s.VM.hard_shutdown(large.ref)
    fails('FIELD_TYPE_ERROR', 'no policy', s.host.set_numa_affinity_policy, host, 'all')


with Machine(rig=Rig('xen', nodes=2)) as m:
    host = m.s.host.get_all()[0]
    facts(m, host)
    masks(m)
    policy(m, host)
    check(m.left() == '', 'nothing is left: ' + m.left())
done()
