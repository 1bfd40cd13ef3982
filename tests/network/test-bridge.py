#!/usr/bin/env python3
"""Real bridges, taps and NICs in a network namespace of its own: what the API says is what the kernel has."""
import json
import subprocess

from harness import Agent, check, done, fails, own_network

own_network()


def ip(*args):
    return subprocess.run(['ip', *args], capture_output=True, text=True, check=True).stdout


def nft(*args):
    return subprocess.run(['nft', *args], capture_output=True, text=True, check=True).stdout


def links():
    """name -> what `ip` says of it, in this namespace."""
    return {l['ifname']: l for l in json.loads(ip('-d', '-j', 'link'))}


def make_vm(s, name, networks):
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], name)
    s.VM.provision(vm)
    vifs = [s.VIF.create({'VM': vm, 'network': n, 'device': str(i), 'MAC': '', 'MTU': '0', 'other_config': {},
                          'qos_algorithm_type': '', 'qos_algorithm_params': {}}) for i, n in enumerate(networks)]
    return vm, vifs


ip('link', 'add', 'eth7', 'type', 'veth', 'peer', 'name', 'wire7')
ip('link', 'set', 'eth7', 'up')
ip('addr', 'add', '198.51.100.7/24', 'dev', 'eth7')
# What a bond that spread by source may have left on a card, and what is somebody else's.
for table in ('xapi-slb-bond9', 'mine'):
    nft('add', 'table', 'netdev', table)
    nft('add', 'chain', 'netdev', table, 'port0', '{ type filter hook ingress device eth7 priority 0; }')
with Agent(net='bridge') as agent:
    s = agent.login()
    pifs = {r['device']: r for r in s.PIF.get_all_records().values()}
    check('eth7' in pifs, 'a NIC of the host has a PIF: %s' % sorted(pifs))
    check(pifs['eth7']['IP'] == '198.51.100.7' and pifs['eth7']['netmask'] == '255.255.255.0', 'with its address')
    check(pifs['eth7']['MAC'] == links()['eth7']['address'], 'and its MAC')
    check(nft('list', 'tables').split() == ['table', 'netdev', 'mine'], 'rules of a bond that is not there any more go, others stay')

    inner = [r for r, n in s.network.get_all_records().items() if n['name_label'] == 'Internal network'][0]
    jumbo = s.network.create({'name_label': 'jumbo', 'name_description': '', 'MTU': '9000', 'other_config': {}})
    check(s.network.get_bridge(jumbo) != s.network.get_bridge(inner), 'a new network has a bridge name of its own')
    fails('BRIDGE_NAME_EXISTS', 'a bridge name twice', s.network.create,
          {'name_label': 'x', 'name_description': '', 'MTU': '1500', 'other_config': {}, 'bridge': s.network.get_bridge(inner)})

    vm, vifs = make_vm(s, 'net', [inner, jumbo])
    s.VM.start(vm, False, False)
    now = links()
    taps = sorted(n for n in now if n.startswith('vif'))
    check(len(taps) == 2, 'a tap for each card: %s' % taps)
    check(now[taps[0]].get('master') == s.network.get_bridge(inner), 'the first on the bridge of its network')
    check(now[taps[1]].get('master') == s.network.get_bridge(jumbo), 'the second on its own')
    check(now[taps[1]]['mtu'] == 9000 and now[s.network.get_bridge(jumbo)]['mtu'] == 9000, 'with the MTU of the network')
    check('UP' in now[taps[0]]['flags'], 'up')

    s.VIF.move(vifs[0], jumbo)
    check(links()[taps[0]].get('master') == s.network.get_bridge(jumbo), 'moved to another network while it runs')
    fails('VIF_IN_USE', 'destroying a network in use', s.network.destroy, jumbo)
    s.VIF.unplug(vifs[0])
    check(taps[0] not in links(), 'unplugged: no tap')
    s.VIF.plug(vifs[0])
    check(links()[taps[0]].get('master') == s.network.get_bridge(jumbo), 'plugged again, where it was moved to')

    # A crash in the middle: taps of a VM that runs stay, and the next agent can take them down.
    agent.kill()
    check(taps[0] in links(), 'taps outlive the agent')
    agent.start()
    s = agent.login()
    s.VM.hard_shutdown(vm)
    check(not [n for n in links() if n.startswith('vif')], 'stopped: no tap is left')

    limited = s.VIF.create({'VM': vm, 'network': inner, 'device': '5', 'MAC': '02:00:00:00:00:55', 'MTU': '1400',
                            'other_config': {}, 'qos_algorithm_type': 'ratelimit', 'qos_algorithm_params': {'kbps': '1024'}})
    s.VM.start(vm, False, False)
    name = [n for n in links() if n.endswith('.5')][0]
    qdisc = subprocess.run(['tc', 'qdisc', 'show', 'dev', name], capture_output=True, text=True).stdout
    check('tbf' in qdisc and 'rate 8388' in qdisc, 'a rate limit is a token bucket: %s' % qdisc.strip())
    check(links()[name]['mtu'] == 1400, 'a card may have an MTU of its own')
    s.VM.hard_shutdown(vm)
    s.VIF.destroy(limited)
    bridge = s.network.get_bridge(jumbo)
    for v in vifs:
        s.VIF.destroy(v)
    s.network.destroy(jumbo)
    check(bridge not in links(), 'destroying a network takes its bridge')
done()
