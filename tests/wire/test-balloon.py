#!/usr/bin/env python3
"""Dynamic memory: guests give memory up when another needs it to start, get it back when it is free, and keep it when it would not help."""

from harness import Agent, check, done, fails, wait_until

MIB = 1 << 20


def guest(s, name, low, high):
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], name)
    s.VM.provision(vm)
    s.VM.set_memory_limits(vm, str(16 * MIB), str(high * MIB), str(low * MIB), str(high * MIB))
    return vm


def actual(s, vm):
    return int(s.VM_metrics.get_memory_actual(s.VM.get_metrics(vm))) // MIB


def free(s):
    return int(s.host.compute_free_memory(s.host.get_all()[0])) // MIB


with Agent() as agent:
    s = agent.login()
    agent.poke('set host_memory_bytes %d' % (1024 * MIB))
    agent.poke('set balloon_ms 50')
    first, second, third = guest(s, 'first', 256, 768), guest(s, 'second', 128, 512), guest(s, 'third', 512, 512)
    s.VM.start(first, False, False)
    check(actual(s, first) == 768, 'alone it has its most')
    s.VM.start(second, False, False)
    wait_until(lambda: sum(actual(s, vm) for vm in (first, second)) <= 1024, 20)            # metrics follow in a moment
    check(s.VM.get_power_state(second) == 'Running' and actual(s, first) < 768, 'another one starts: the first gives some up')
    sizes = [actual(s, vm) for vm in (first, second)]
    check(256 <= sizes[0] <= 768 and 128 <= sizes[1] <= 512 and 1000 <= sum(sizes) <= 1024, 'what there is, is shared: %s' % sizes)
    part = [(sizes[0] - 256) / 512, (sizes[1] - 128) / 384]
    check(abs(part[0] - part[1]) < 0.02, 'each has the same part of what it could have: %s' % part)
    s.VM.start(third, False, False)
    wait_until(lambda: sum(actual(s, vm) for vm in (first, second, third)) <= 1024, 20)     # metrics follow in a moment
    sizes = [actual(s, vm) for vm in (first, second, third)]
    check(sizes[2] == 512 and sum(sizes) <= 1024 and sizes[0] >= 256 and sizes[1] >= 128, 'one whose memory does not move: %s' % sizes)

    before = [actual(s, vm) for vm in (first, second)]
    large = guest(s, 'large', 300, 400)
    said = fails('HOST_NOT_ENOUGH_FREE_MEMORY', 'one for which even their least is too much', s.VM.start, large, False, False)
    check(int(said[0]) == 400 * MIB and int(said[1]) < 300 * MIB, 'says what it needs and what there is: %s' % said)
    check([actual(s, vm) for vm in (first, second)] == before, 'nobody gave anything up for it')
    check(s.VM.get_power_state(large) == 'Halted', 'and it is halted')

    s.VM.hard_shutdown(third)
    check(wait_until(lambda: sum(actual(s, vm) for vm in (first, second)) > 950, 40, 0.2), 'what is free goes back to them: %s' %
          [actual(s, vm) for vm in (first, second)])
    s.VM.hard_shutdown(second)
    check(wait_until(lambda: actual(s, first) == 768, 40, 0.2), 'and to the one that is left: all')

    # One that was suspended comes back with what it had.
    s.VM.suspend(first)
    s.VM.start(second, False, False)
    s.VM.start(third, False, False)
    check([actual(s, vm) for vm in (second, third)] == [512, 512], 'others take what a suspended one had')
    said = fails('HOST_NOT_ENOUGH_FREE_MEMORY', 'it does not come back while they cannot give enough', s.VM.resume, first, False, False)
    check(said[0] == str(768 * MIB) and actual(s, second) == 512 and s.VM.get_power_state(first) == 'Suspended', 'nobody gave anything up: %s' % said)
    s.VM.hard_shutdown(third)
    s.VM.set_memory_dynamic_range(second, str(512 * MIB), str(512 * MIB))
    fails('HOST_NOT_ENOUGH_FREE_MEMORY', 'nor while the other may not', s.VM.resume, first, False, False)
    s.VM.set_memory_dynamic_range(second, str(128 * MIB), str(512 * MIB))
    s.VM.resume(first, False, False)
    check(actual(s, first) == 768 and wait_until(lambda: actual(s, second) <= 256, 20), 'then the other gives it up: %s' % [
        actual(s, vm) for vm in (first, second)])
    s.VM.hard_shutdown(second)

    # Guests that do not obey.
    agent.poke('set balloon_ms 3600000')
    fails('HOST_NOT_ENOUGH_FREE_MEMORY', 'a guest that gives nothing back', s.VM.start, third, False, False)
    check(s.VM.get_power_state(third) == 'Halted', 'is not waited for for ever')
    agent.poke('set balloon_ms 50')
    s.VM.start(third, False, False)
    check(actual(s, first) <= 512, 'when it obeys again the other starts')
done()
