#!/usr/bin/env python3
"""Eight clients start, stop, pause, suspend and snapshot the same three VMs against each other: whatever wins, the records, the
taps and the disks agree in the end, nothing is left busy, and the VMs can be used."""
import collections
import concurrent.futures
import os
import random
import threading
import time

from harness import Agent, Failure, check, done

CLIENTS, SECONDS = 8, 8
OPERATIONS = {'start': (False, False), 'hard_shutdown': (), 'hard_reboot': (), 'clean_shutdown': (), 'clean_reboot': (), 'pause': (),
              'unpause': (), 'suspend': (), 'resume': (False, False), 'checkpoint': ('moment',), 'power_state_reset': (), 'shutdown': ()}
LOST = ('VM_BAD_POWER_STATE', 'OTHER_OPERATION_IN_PROGRESS', 'TASK_CANCELLED')   # what the loser of a race is told


def new_vm(s, name):
    sr, network = s.pool.get_default_SR(s.pool.get_all()[0]), s.network.get_all()[0]
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], name)
    s.VM.provision(vm)
    vdi = s.VDI.create({'name_label': name, 'SR': sr, 'virtual_size': str(8 << 20), 'type': 'user', 'sharable': False,
                        'read_only': False, 'other_config': {}})
    s.VBD.create({'VM': vm, 'VDI': vdi, 'userdevice': '0', 'bootable': True, 'mode': 'RW', 'type': 'Disk', 'empty': False,
                  'other_config': {}, 'qos_algorithm_type': '', 'qos_algorithm_params': {}})
    s.VIF.create({'VM': vm, 'network': network, 'device': '0', 'MAC': '', 'MTU': '1500', 'other_config': {},
                  'qos_algorithm_type': '', 'qos_algorithm_params': {}})
    return vm


def compete(agent, vms, seed, won, odd, until):
    rng, s = random.Random(seed), agent.login()
    while time.monotonic() < until:
        vm, op = rng.choice(vms), rng.choice(list(OPERATIONS) + ['start'])
        try:
            made = s.call('VM.' + op, vm, *OPERATIONS[op])
            won[op] += 1
            if op == 'checkpoint':
                s.VM.destroy(made)
        except Failure as e:
            if e.details[0] not in LOST:
                odd.append((op, e.details))


def settled(agent, s, vm):
    r = s.VM.get_record(vm)
    lives = r['power_state'] in ('Running', 'Paused')
    with open(os.path.join(agent.root, 'net')) as f:
        has_tap = 'vif%s.0' % r['uuid'][:8] in f.read()
    check(has_tap == lives, '%s: its tap %s' % (r['power_state'], 'is there' if lives else 'is gone'))
    check(s.VBD.get_currently_attached(r['VBDs'][0]) == lives and s.VIF.get_currently_attached(r['VIFs'][0]) == lives,
          'its devices say so')
    check(not r['current_operations'], 'nothing is at work on it')
    if r['power_state'] != 'Halted':
        s.VM.hard_shutdown(vm)
    s.VM.start(vm, False, False)
    s.VM.hard_shutdown(vm)
    check(s.VM.get_power_state(vm) == 'Halted', 'it starts and stops')


def networks_at_once(agent):
    """Each gets a bridge of its own, whoever chooses beside it."""
    def create(i):
        s = agent.login()
        return [s.network.get_bridge(s.network.create({'name_label': 'beside %d.%d' % (i, n), 'name_description': '', 'other_config': {}}))
                for n in range(8)]
    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        bridges = [b for part in pool.map(create, range(CLIENTS)) for b in part]
    check(len(set(bridges)) == CLIENTS * 8, '%d networks made at once have bridges of their own' % len(bridges))


def main(agent):
    s = agent.login()
    networks_at_once(agent)
    vms = [new_vm(s, 'contended %d' % i) for i in range(3)]
    won, odd, until = collections.Counter(), [], time.monotonic() + SECONDS
    threads = [threading.Thread(target=compete, args=(agent, vms, k, won, odd, until)) for k in range(CLIENTS)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    check(sum(won.values()) > 10, 'some won: %s' % dict(won))
    check(not odd, 'the others were told who did: %s' % odd[:3])
    for vm in vms:
        settled(agent, s, vm)


with Agent() as agent:
    main(agent)
done()
