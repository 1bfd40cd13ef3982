#!/usr/bin/env python3
"""VMs that start by themselves when the host was booted, in their order, and not when only the agent was started."""
import os

from harness import Agent, check, done, wait_until


def make_vm(s, name, **fields):
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], name)
    s.VM.provision(vm)
    for field, value in fields.items():
        getattr(s.VM, 'set_' + field)(vm, value)
    return vm


def pretend_boot(agent):
    """The next start of the agent takes this boot for another one."""
    with open(os.path.join(agent.root, 'boot-id'), 'w') as f:
        f.write('another boot\n')


def again(agent, boot):
    agent.stop()
    if boot:
        pretend_boot(agent)
    agent.start()
    return agent.login()


def started(s, vm):
    return s.VM_metrics.get_start_time(s.VM.get_metrics(vm)).value


with Agent() as agent:
    s = agent.login()
    pool = s.pool.get_all()[0]
    first = make_vm(s, 'first', order='1', start_delay='2', other_config={'auto_poweron': 'true'})
    second = make_vm(s, 'second', order='2', other_config={'auto_poweron': 'true'})
    plain = make_vm(s, 'plain')
    asleep = make_vm(s, 'asleep', other_config={'auto_poweron': 'true'})
    s.VM.start(asleep, False, False)
    s.VM.suspend(asleep)
    states = lambda s: [s.VM.get_power_state(vm) for vm in (first, second, plain, asleep)]
    halted = ['Halted', 'Halted', 'Halted', 'Suspended']

    # The end of an agent waits for its threads: what one has not started by then, it did not start.
    again(agent, True)
    s = again(agent, False)
    check(states(s) == halted, 'without the pool\'s wish nothing starts')
    s.pool.add_to_other_config(pool, 'auto_poweron', 'true')
    again(agent, False)
    s = again(agent, False)
    check(states(s) == halted, 'nor when only the agent was started')
    s = again(agent, True)
    check(wait_until(lambda: states(s) == ['Running', 'Running', 'Halted', 'Suspended'], 30),
          'after a boot those that want it do: %s' % states(s))
    check(started(s, first) < started(s, second), 'in their order, with the delay')
    s.VM.hard_shutdown(second)
    s = again(agent, False)
    check(states(s) == ['Running', 'Halted', 'Halted', 'Suspended'], 'a later start of the agent leaves what was halted since')
    s.VM.set_start_delay(first, '600')
    s.VM.hard_shutdown(first)
    s = again(agent, True)
    check(wait_until(lambda: s.VM.get_power_state(first) == 'Running', 30), 'a long delay')
    check(agent.stop() == 0, 'does not keep the agent from ending')
    agent.start()
    check(agent.login().VM.get_power_state(second) == 'Halted', 'and is not made up for')
    s = agent.login()
    s.VM.hard_shutdown(first)
done()
