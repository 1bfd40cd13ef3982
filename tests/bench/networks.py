#!/usr/bin/env python3
"""networks.py NETWORKS CARDS ROUNDS: in a network namespace of its own, an agent with real bridges and simulated guests; VIF.plug and
VIF.unplug in turn with `ip` making and removing such a tap, first with few others there, then with all; and how many system calls the
agent makes for one of each, all its threads together. Prints JSON for bench.py."""
import json
import os
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from harness import Agent, own_network

own_network()
n_networks, n_cards, n_rounds = map(int, sys.argv[1:4])
PER_GUEST = 16
WINDOW_SECONDS = 15     # three of the agent's looks at all links


def ip(*args):
    subprocess.run(('ip',) + args, check=True)


def timed(fn):
    began = time.perf_counter()
    fn()
    return time.perf_counter() - began


with Agent('--log-level', 'warn', net='bridge') as agent:
    s = agent.login(timeout=600)
    networks = [s.network.create({'name_label': 'n%d' % i, 'name_description': '', 'MTU': '1500', 'other_config': {}}) for i in range(n_networks)]
    template = s.VM.get_by_name_label('Other install media')[0]
    made = [0]

    def guest(cards):
        vm = s.VM.clone(template, 'g')
        s.VM.provision(vm)
        out = []
        for i in range(cards):
            out.append(s.VIF.create({'VM': vm, 'network': networks[made[0] % n_networks], 'device': str(i), 'MAC': '', 'MTU': '0', 'other_config': {},
                                     'qos_algorithm_type': '', 'qos_algorithm_params': {}}))
            made[0] += 1
        s.VM.start(vm, False, False)
        return vm, out

    _, cards = guest(1)
    card = cards[0]
    bridge = s.network.get_bridge(s.VIF.get_network(card))

    def by_hand():
        ip('tuntap', 'add', 'hand0', 'mode', 'tap')
        ip('link', 'set', 'hand0', 'mtu', '1500')
        ip('link', 'set', 'hand0', 'master', bridge)
        ip('link', 'set', 'hand0', 'up')

    def measure():
        ours, peer, away = [], [], []
        for _ in range(n_rounds):
            away.append(timed(lambda: s.VIF.unplug(card)))
            ours.append(timed(lambda: s.VIF.plug(card)))
            peer.append(timed(by_hand))
            ip('link', 'del', 'hand0')
        return ours, peer, away

    def traced(fn):
        """System calls of the agent meanwhile."""
        table = os.path.join(agent.root, 'calls')
        tracer = subprocess.Popen(['strace', '-f', '-c', '-o', table, '-p', str(agent.process.pid)], stderr=subprocess.PIPE, text=True)
        tracer.stderr.readline()                # it is attached
        fn()
        tracer.send_signal(signal.SIGINT)
        tracer.communicate()
        return [int(line.split()[3]) for line in open(table) if line.endswith('total\n')][0]

    def calls():
        """For one VIF.unplug and one VIF.plug, without what the agent does by the clock, metrics of every link: as long a time without
        cards' work is taken off, of whole periods of that clock."""
        rounds = 0

        def work():
            nonlocal rounds
            began = time.perf_counter()
            while time.perf_counter() - began < WINDOW_SECONDS:
                s.VIF.unplug(card)
                s.VIF.plug(card)
                rounds += 1
        busy = traced(work)
        return (busy - traced(lambda: time.sleep(WINDOW_SECONDS))) / rounds
    few, few_calls = measure(), calls()
    while made[0] < n_cards:
        guest(min(PER_GUEST, n_cards - made[0]))
    many, many_calls = measure(), calls()
    sys.stdout = sys.__stdout__
    result = {'few': few, 'many': many, 'calls': [few_calls, many_calls]}
    agent.own_root = True
print(json.dumps(result))
