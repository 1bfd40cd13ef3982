#!/usr/bin/env python3
"""An agent that starts answers from its database at once; what needs storage or guests waits until these are compared."""
import os
import shutil
import threading
import time

from harness import Agent, Failure, check, done, wait_until

CLASSES = ['VM', 'VBD', 'VIF', 'VDI', 'SR', 'host', 'pool', 'VM_appliance']


def operations(s):
    """What every object allows."""
    return {(c, ref): sorted(r['allowed_operations']) for c in CLASSES
            for ref, r in getattr(s, c).get_all_records().items()}


def is_ready(agent):
    try:
        return int(open(os.path.join(agent.root, 'ready')).read().split()[0]) == agent.process.pid
    except (OSError, ValueError):
        return False


agent = Agent()
agent.start()
s = agent.login()
template = s.VM.get_by_name_label('Other install media')[0]
sr = s.pool.get_default_SR(s.pool.get_all()[0])
vms = []
for i in range(4):
    vm = s.VM.clone(template, 'vm%d' % i)
    s.VM.provision(vm)
    disk = s.VDI.create({'name_label': 'd', 'name_description': '', 'SR': sr, 'virtual_size': str(1 << 20), 'type': 'user',
                         'sharable': False, 'read_only': False, 'other_config': {}})
    s.VBD.create({'VM': vm, 'VDI': disk, 'userdevice': '0', 'bootable': True, 'mode': 'RW', 'type': 'Disk', 'empty': False,
                  'other_config': {}, 'qos_algorithm_type': '', 'qos_algorithm_params': {}})
    vms.append(vm)
for vm in vms[:2]:
    s.VM.start(vm, False, False)
s.VM.add_to_blocked_operations(vms[2], 'start', 'WHY')
s.VM_appliance.create({'name_label': 'a', 'name_description': ''})

# 1. A plain restart: what was worked out step by step is what a new agent works out at once.
before = operations(s)
agent.kill()
agent = Agent(root=agent.root)
agent.start()
s = agent.login()
after = operations(s)
different = [(k, before.get(k), v) for k, v in after.items() if before.get(k) != v]
check(set(before) == set(after) and not different, 'allowed_operations of %d objects are as before: %s' % (len(after), different[:2]))

# 2. A repository whose driver sleeps holds the start up for two seconds.
slow = s.SR.create(s.host.get_all()[0], {}, '0', 'slow', '', 'dummy', 'user', False, {})
pbd = s.SR.get_PBDs(slow)[0]
s.PBD.unplug(pbd)
s.PBD.set_device_config(pbd, {'sleep_ms': '5000', 'sleep_commands': 'sr_attach'})
s.PBD.plug(pbd)
before = operations(s)
token = s.event.__getattr__('from')(['*'], '', 1.0)['token']
agent.kill()
agent = Agent(root=agent.root)
agent.start(wait=False)


def answer():
    try:
        return s2.VM.get_power_state(vms[0])
    except OSError:
        return None


s2 = type(s)(agent.proxy(), s._ref)
check(wait_until(answer, 30, 0.002) == 'Running', 'the old session gets an answer')
check(not is_ready(agent), 'before the repositories are there')
# a repository that is being scanned allows less meanwhile
different = [(k, before.get(k), v) for k, v in operations(s2).items() if before.get(k) != v and k[0] != 'SR']
check(not different, 'allowed_operations are as before: %s' % different[:2])
check(s2.PBD.get_currently_attached(pbd), 'what is not compared yet is as the last agent knew it')
s2.VM.set_name_label(vms[3], 'renamed')
check(s2.VM.get_name_label(vms[3]) == 'renamed', 'fields are written')
outcome = {}


def act(name, fn, *args):
    try:
        fn(*args)
        outcome[name] = (is_ready(agent), 'done')
    except Failure as e:
        outcome[name] = (is_ready(agent), e.details)


def later(name, method, *args):
    own = type(s)(agent.proxy(), s._ref)
    t = threading.Thread(target=act, args=(name, own.call, method) + args)
    t.start()
    return t


threads = [later('start', 'VM.start', vms[3], False, False), later('pause', 'VM.pause', vms[0]),
           later('scan', 'SR.scan', sr), later('time', 'host.get_servertime', s2.host.get_all()[0])]
task = s2.call('Async.VM.unpause', vms[0])
reads = 0
while not is_ready(agent):
    ready_after = agent.process.poll()
    if s2.VM.get_power_state(vms[1]) != 'Running' or ready_after is not None:
        break
    reads += 1
check(reads > 20, 'meanwhile %d reads are answered' % reads)
for t in threads:
    t.join(60)
check(all(how[1] == 'done' or n == 'pause' for n, how in outcome.items()) and len(outcome) == 4,
      'calls that need more have waited and are done: %s' % outcome)
check(all(how[0] for how in outcome.values()), 'none before the agent was ready')
check(wait_until(lambda: s2.task.get_status(task) in ('success', 'failure')), 'Async ones too')
check(s2.VM.get_power_state(vms[3]) == 'Running', 'the VM runs')
check(not s2.PBD.get_currently_attached(pbd), 'the repository that sleeps is not taken for plugged any longer')
check('vdi_create' not in s2.SR.get_allowed_operations(slow), 'and allows nothing')
check(wait_until(lambda: s2.PBD.get_currently_attached(pbd), 20), 'once it answers it is plugged')
check(wait_until(lambda: sorted(s2.SR.get_allowed_operations(slow)) == before[('SR', slow)]), 'and allows what it did')
events = s2.event.__getattr__('from')(['vm'], token, 1.0)['events']
check(any(e['ref'] == vms[3] for e in events), 'the old token tells what has changed')
check(agent.stop() == 0, 'it ends cleanly')
shutil.rmtree(agent.root, ignore_errors=True)
done()
