#!/usr/bin/env python3
"""LEVEL=full: dynamic memory across guests on real Xen: what one gives up lets another start, and comes back to it when it is free; a
guest that does not follow is found out, and the others give instead. A PVH guest starts with less than its most."""
import sys

from harness import LEVEL, check, done, fails
from guests import MIB, Guests, Rig, wait_until

PVH_GRUB = '/usr/lib/grub-xen/grub-i386-xen_pvh.bin'
LEFT = 384          # MiB that the guests of the test have among themselves


def balloons(g, name, low, high, kind='pv', **more):
    return g.vm(name, kind, 'watch=1', mib=high, memory_dynamic_min=str(low * MIB), **more)


def deaf(g, name, low, high):
    """A guest whose kernel has no balloon."""
    return balloons(g, name, low, high, 'pvh', kernel=PVH_GRUB, ramdisk='', VCPUs_params={'cap': '10'})     # it waits in a busy loop


def actual(g, vm):
    """MiB, as the hypervisor counts it."""
    return int(g.rig.must("xl list %s | awk 'NR == 2 { print $3 }'" % g.s.VM.get_domid(vm)))


def recorded(g, vm):
    return int(g.s.VM_metrics.get_memory_actual(g.s.VM.get_metrics(vm))) // MIB


def ticks(g, vm):
    """It has booted and goes on; on a busy machine that takes its time."""
    if g.lives(vm, 600):
        return True
    print(''.join('# %s\n' % l for l in g.log(vm).splitlines()[-25:]))
    return False


def free(g):
    return int(g.rig.must("xl info | awk '$1 == \"free_memory\" { print $3 }'"))


def inside(g, vm):
    """MiB that its kernel has in all."""
    lines = [l for l in g.log(vm).splitlines() if 'memory: ' in l]
    return int(lines[-1].split()[-1]) // 1024 if lines else 0


def is_filled(g):
    """A paused guest that takes all but LEFT."""
    size = (free(g) - LEFT) // 2 * 2 - 8
    return g.start(g.vm('ballast', 'pvh', mib=size, kernel=PVH_GRUB, ramdisk=''), paused=True)


def shares(g):
    s = g.s
    first = g.start(balloons(g, 'first', 96, 256))
    check(ticks(g, first) and actual(g, first) >= 254, 'alone it has its most: %d' % actual(g, first))
    most = inside(g, first)
    second = g.start(balloons(g, 'second', 96, 256, 'pvh'))
    sizes = actual(g, first), actual(g, second)
    check(96 <= sizes[0] < 240 and 96 <= sizes[1] < 240, 'another starts: it gives some up, the other has as much: %s' % (sizes,))
    check(ticks(g, second) and ticks(g, first), 'both tick')
    check(abs(sizes[0] - sizes[1]) <= 24, 'each has the same part of what it could have: %s' % (sizes,))
    check(wait_until(lambda: inside(g, first) < most - 60, 60, 0.5), 'the first knows: %d MiB, %d before' % (inside(g, first), most))
    check(wait_until(lambda: abs(recorded(g, first) - actual(g, first)) <= 2, 30, 0.5), 'and its record: %d, %d' % (
        recorded(g, first), actual(g, first)))

    before = sizes[0]
    large = balloons(g, 'large', 260, 300)
    said = fails('HOST_NOT_ENOUGH_FREE_MEMORY', 'one for which even their least is too much', s.VM.start, large, False, False)
    check(int(said[0]) == 300 * MIB and int(said[1]) < 260 * MIB and abs(actual(g, first) - before) <= 2,
          'says what it needs and what there is, and nobody gave anything up: %s, %d' % (said, actual(g, first)))
    s.VM.destroy(large)

    s.VM.hard_shutdown(second)
    check(wait_until(lambda: actual(g, first) >= 254, 120, 0.5), 'what the second had comes back to the first: %d' % actual(g, first))
    check(g.lives(first), 'it ticks')
    return first, second


def goes_round_the_deaf(g, first, second):
    """The first has its most again; what is free is not enough for two."""
    s = g.s
    s.VM.hard_shutdown(first)
    stone = g.start(deaf(g, 'stone', 32, 128))
    first = g.start(first)
    check(ticks(g, first) and actual(g, stone) >= 126, 'one that does not listen: %d' % actual(g, stone))
    g.start(second)
    check(actual(g, stone) >= 126 and actual(g, first) < 150, 'the others give instead of it: %d %d %d' % (
        actual(g, stone), actual(g, first), actual(g, second)))
    check(ticks(g, second) and ticks(g, first), 'both tick')
    third = deaf(g, 'third', 80, 80)
    before = actual(g, first)
    fails('HOST_NOT_ENOUGH_FREE_MEMORY', 'when it alone could give', s.VM.start, third, False, False)
    check(wait_until(lambda: abs(actual(g, first) - before) <= 4, 60, 0.5) and g.lives(first), 'the others have what they had: %d, %d' % (
        actual(g, first), before))
    return [first, second, stone]


if LEVEL != 'full':
    print('# guests that shrink and grow under emulation take minutes: LEVEL=full')
    sys.exit(77)
with Rig('xen') as rig:
    rig.install()
    agent = rig.start_agent('--log-level', 'debug')
    rig.must('xl sched-credit2 -d Domain-0 -w 65535')
    guests = Guests(rig, agent)
    try:
        ballast = is_filled(guests)
        all_of_them = goes_round_the_deaf(guests, *shares(guests)) + [ballast]
        for one in all_of_them:
            guests.s.VM.hard_shutdown(one)
        check(guests.clean() == '', 'nothing is left: %s' % guests.leftovers())
    except BaseException:
        print(''.join('# agent: %s\n' % l for l in rig.run('grep -vE "get-|list" %s | tail -n 60' % agent.log)[1].splitlines()))
        print(rig.run('xl list; xl dmesg | tail -n 20')[1])
        raise
done()
