#!/usr/bin/env python3
"""kill -9 under load is a non-event: VMs run on and are known, acknowledged writes are there, tasks are final, tokens go on."""
import shutil
import tempfile
import threading

from harness import Agent, Failure, check, done, unwrap

VMS, WRITERS = 5, 50


def write_until_killed(agent, vm, number, acknowledged):
    """Adds numbered keys to a map; remembers what was answered."""
    try:
        s = agent.login(timeout=20)
        for i in range(1000):
            key = 'w%d-%d' % (number, i)
            s.VM.add_to_other_config(vm, key, 'x' * 20)
            acknowledged.append(key)
    except Exception:   # the agent is gone: what was not answered may or may not be there
        pass


agent = Agent()
agent.start()
s = agent.login()
template = s.VM.get_by_name_label('Other install media')[0]
vms = []
for i in range(VMS):
    vm = s.VM.clone(template, 'vm%d' % i)
    s.VM.provision(vm)
    s.VM.start(vm, False, False)
    vms.append(vm)
domids = {vm: s.VM.get_domid(vm) for vm in vms}
idle = s.task.create('client task', 'never ends by itself')
token = s.event.__getattr__('from')(['*'], '', 1.0)['token']

acknowledged = []
threads = [threading.Thread(target=write_until_killed, args=(agent, vms[0], n, acknowledged)) for n in range(WRITERS)]
for t in threads:
    t.start()
slow = [s.call('Async.VM.clean_reboot', vm) for vm in vms[:2]]
while len(acknowledged) < 500 and any(t.is_alive() for t in threads):
    threads[0].join(0.01)
agent.kill()
for t in threads:
    t.join()
check(len(acknowledged) >= 500, '%d writes were acknowledged before the kill' % len(acknowledged))

again = Agent(root=agent.root)
again.start()
s = again.login()
check(all(s.VM.get_power_state(vm) == 'Running' for vm in vms), 'the VMs still run')
check(all(s.VM.get_domid(vm) == domids[vm] for vm in vms[2:]), 'in the same domains')
keys = set(s.VM.get_other_config(vms[0]))
missing = [k for k in acknowledged if k not in keys]
check(not missing, 'every acknowledged write is there (%d missing)' % len(missing))
states = {t: s.task.get_status(t) for t in s.task.get_all()}
check(all(v in ('success', 'failure', 'cancelled') for v in states.values()), 'every task is final')
check(states.get(idle) == 'failure' and s.task.get_error_info(idle), 'and says why')
batch = s.event.__getattr__('from')(['vm'], token, 5.0)
check(any(e['ref'] == vms[0] and 'w0-0' in e['snapshot']['other_config'] for e in batch['events']),
      'an old token goes on and brings the changed VM')
s.VM.hard_shutdown(vms[0])
check(s.VM.get_power_state(vms[0]) == 'Halted', 'an adopted VM can be stopped')
check(again.stop() == 0, 'the agent ends cleanly')

third = Agent(root=agent.root)
third.start()
s = third.login()
check([s.VM.get_power_state(vm) for vm in vms].count('Running') == VMS - 1, 'SIGTERM leaves the VMs running')
third.stop()
shutil.rmtree(agent.root)
done()
