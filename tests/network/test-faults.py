#!/usr/bin/env python3
"""kill -9 before each request to the kernel: after the next start the network is as the records say, nothing is left over, and what
is not ours is as it was."""
import json
import os
import subprocess
import tempfile
from http.client import HTTPException

import harness
from harness import Agent, check, done, own_network

own_network()
MOST = 40          # requests that one change may take


def ip(*args):
    return subprocess.run(['ip', *args], capture_output=True, text=True, check=True).stdout


def network():
    """Everything of this namespace that a plan is about."""
    out = {}
    for l in json.loads(ip('-d', '-j', 'addr')):
        out[l['ifname']] = (l.get('master'), l['mtu'], l['address'] if l['ifname'][:3] != 'doc' else '', 'UP' in l['flags'],
                            sorted('%s/%d' % (a['local'], a['prefixlen']) for a in l['addr_info'] if a['scope'] == 'global'))
    out['default'] = [(r.get('gateway'), r.get('dev')) for r in json.loads(ip('-j', 'route', 'show', 'default'))]
    out['rules'] = subprocess.run(['nft', 'list', 'tables'], capture_output=True, text=True, check=True).stdout.split('\n')
    return out


class Faulty(Agent):
    fault = ''

    def start(self, wait=True):
        with tempfile.TemporaryFile() as faults:
            faults.write((self.fault + '\n').encode())
            faults.seek(0)
            self.env = {'XAPI_FAULT_FD': str(faults.fileno())}
            real, harness.subprocess.Popen = subprocess.Popen, lambda *a, **k: real(*a, pass_fds=(faults.fileno(),), **k)
            try:
                return super().start(wait)
            finally:
                harness.subprocess.Popen = real


ip('link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'wire0')
ip('link', 'set', 'eth0', 'up')
ip('link', 'set', 'wire0', 'up')
ip('addr', 'add', '198.51.100.7/24', 'dev', 'eth0')
ip('route', 'add', 'default', 'via', '198.51.100.1')
ip('link', 'add', 'docker0', 'type', 'bridge')
ip('addr', 'add', '172.17.0.1/16', 'dev', 'docker0')
ip('link', 'set', 'docker0', 'up')

agent = Faulty('--allow-faults', net='bridge')
with agent:
    s = agent.login()
    eth0 = [p for p, r in s.PIF.get_all_records().items() if r['device'] == 'eth0'][0]
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'g')
    s.VM.provision(vm)
    vif = s.VIF.create({'VM': vm, 'network': s.PIF.get_network(eth0), 'device': '0', 'MAC': '', 'MTU': '0', 'other_config': {},
                        'qos_algorithm_type': 'ratelimit', 'qos_algorithm_params': {'kbps': '1024'}})
    s.VIF.set_ipv4_allowed(vif, ['198.51.100.60'])
    s.VIF.set_locking_mode(vif, 'locked')
    s.PIF.set_disallow_unplug(eth0, False)

    def again(fault=''):
        agent.fault = fault
        agent.start()
        return agent.login()

    def dies(change):
        """Whether the agent was killed by it."""
        try:
            change()
        except (OSError, HTTPException):
            agent.process.wait(20)
            return True
        return False

    def killed_everywhere(what, point, change, expected, undo):
        """The change with a kill before its first, second, ... request, until it comes through; each time the next agent must have
        made the network what the records then say, and that is one of the two expected."""
        global s
        kills, wrong = 0, []
        for nth in range(1, MOST):
            agent.stop()
            s = again('%s kill %d' % (point, nth))
            if not dies(lambda: change(s)):
                break
            kills += 1
            s = again()
            key, now = expected(s), network()
            if now != known[key]:
                wrong.append('killed before request %d: %s' % (nth, {k: (now.get(k), known[key].get(k)) for k in set(now) | set(known[key])
                                                                     if now.get(k) != known[key].get(k)}))
            undo(s)
        check(kills >= 2 and not wrong, '%s: %d kills, each time the network is as recorded: %s' % (what, kills, wrong[:3]))
        agent.stop()
        s = again()

    # The states there are: as made without a fault.
    s.PIF.plug(eth0)
    known = {'plugged': network()}
    s.PIF.reconfigure_ip(eth0, 'Static', '198.51.100.8', '255.255.255.0', '', '')
    known['moved'] = network()
    s.PIF.reconfigure_ip(eth0, 'Static', '198.51.100.7', '255.255.255.0', '', '')
    check(network()['xenbr0'] == known['plugged']['xenbr0'], 'there and back')
    known['plugged'] = network()
    s.VM.start(vm, False, False)
    check(any(n.startswith('ifb') for n in network()) and any('xapi-vif' in t for t in network()['rules']), 'a card with a limit and a lock')
    s.VM.hard_shutdown(vm)
    check(network() == known['plugged'], 'a guest that has gone leaves nothing')

    killed_everywhere('another address', 'net.netlink',
                      lambda s: s.PIF.reconfigure_ip(eth0, 'Static', '198.51.100.8', '255.255.255.0', '', ''),
                      lambda s: 'moved' if s.PIF.get_IP(eth0) == '198.51.100.8' else 'plugged',
                      lambda s: s.PIF.reconfigure_ip(eth0, 'Static', '198.51.100.7', '255.255.255.0', '', ''))
    s.PIF.reconfigure_ip(eth0, 'Static', '198.51.100.7', '255.255.255.0', '', '')

    def stop(s):
        if s.VM.get_power_state(vm) == 'Running':
            s.VM.hard_shutdown(vm)
    for point in ('net.netlink', 'net.nftables', 'net.tap'):
        kills = []
        for nth in range(1, MOST):
            agent.stop()
            s = again('%s kill %d' % (point, nth))
            if not dies(lambda: s.VM.start(vm, False, False)):
                agent.stop()
                s = again()
                stop(s)
                break
            s = again()
            kills.append((s.VM.get_power_state(vm) == 'Running') or network() == known['plugged'])
            stop(s)
        check(kills and all(kills) and network() == known['plugged'], 'a start killed at %s %d times: nothing is left over: %s'
              % (point, len(kills), kills))
    check(network()['docker0'] == known['plugged']['docker0'], 'somebody else\'s bridge is as it was')
    # A network without a NIC: its bridge is made with its first card, and goes with a start that did not come through.
    inside = s.network.create({'name_label': 'inside', 'name_description': '', 'MTU': '1500', 'other_config': {}})
    bridge, kills = s.network.get_bridge(inside), []
    card = s.VIF.create({'VM': vm, 'network': inside, 'device': '1', 'MAC': '', 'MTU': '0', 'other_config': {}, 'qos_algorithm_type': '',
                         'qos_algorithm_params': {}})
    for nth in range(1, MOST):
        agent.stop()
        s = again('net.tap kill %d' % nth)
        if not dies(lambda: s.VM.start(vm, False, False)):
            break
        made = bridge in network()
        s = again()
        kills.append((made, s.VM.get_power_state(vm) == 'Running' or network() == known['plugged']))
        stop(s)
    check(bridge in network(), 'a card makes its bridge')
    check(any(made for made, _ in kills) and all(good for _, good in kills), 'which goes when the start was killed: %s' % kills)
    stop(s)
    agent.stop()
    s = again()
    check(network() == known['plugged'], 'and when the agent starts without a card on it')
    s.VIF.destroy(card)
    # The whole plan, from nothing: as after a boot.
    kills = []
    for nth in range(1, MOST):
        agent.stop()
        ip('link', 'del', 'xenbr0')
        agent.fault = 'net.netlink kill %d' % nth
        try:
            agent.start()
        except RuntimeError:
            pass
        if agent.process.poll() is None:
            break
        s = again()
        kills.append(network()['xenbr0'][0::2] == known['plugged']['xenbr0'][0::2] and network()['eth0'] == known['plugged']['eth0'])
    check(len(kills) >= 3 and all(kills), 'a boot killed %d times: the network is as recorded: %s' % (len(kills), kills))
    s = agent.login()
    check(s.PIF.get_currently_attached(eth0), 'and so it is told')
done()
