#!/usr/bin/env python3
"""kill -9 before each transaction with Open vSwitch's database, and before each message of rules: after the next start the switch is
what the records alone would make of an empty one, and what is not ours is as it was."""
import json
import subprocess
import os
from http.client import HTTPException

from harness import Agent, check, done, own_network
from switch import Switch

own_network()
MOST = 20          # transactions that one change may take


def ip(*args):
    return subprocess.run(['ip', *args], capture_output=True, text=True, check=True).stdout


def columns(here, table, names):
    out = json.loads(here.vsctl('--format=json', '--columns=' + ','.join(names), 'list', table))
    return [dict(zip(out['headings'], row)) for row in out['data']]


def elements(v):
    return sorted(e[1] for e in v[1]) if v[0] == 'set' else [v[1]]


def state(here):
    """Every bridge, its ports and what they are; addresses and devices of the host."""
    interfaces = {i['_uuid'][1]: (i['name'], i['type']) for i in columns(here, 'Interface', ['_uuid', 'name', 'type'])}
    ports = {p['_uuid'][1]: (p['name'], p['tag'], p['fake_bridge'], p['bond_mode'], [interfaces[i] for i in elements(p['interfaces'])])
             for p in columns(here, 'Port', ['_uuid', 'name', 'tag', 'fake_bridge', 'bond_mode', 'interfaces'])}
    ports = {u: p[:4] + (sorted(p[4]),) for u, p in ports.items()}
    out = {b['name']: sorted((ports[p] for p in elements(b['ports'])), key=str) for b in columns(here, 'Bridge', ['name', 'ports'])}
    for l in json.loads(ip('-d', '-j', 'addr')):
        out['link ' + l['ifname']] = sorted('%s/%d' % (a['local'], a['prefixlen']) for a in l['addr_info'] if a['scope'] == 'global')
    return out


for i in (0, 1):
    ip('link', 'add', 'eth%d' % i, 'type', 'veth', 'peer', 'name', 'wire%d' % i)
    ip('link', 'set', 'eth%d' % i, 'up')
    ip('link', 'set', 'wire%d' % i, 'up')
ip('addr', 'add', '198.51.100.7/24', 'dev', 'eth0')

with Switch() as here:
    os.environ['OVS_RUNDIR'] = here.dir
    here.vsctl('add-br', 'br-admin', '--', 'set', 'bridge', 'br-admin', 'datapath_type=netdev', '--', 'add-port', 'br-admin', 'adm0', 'tag=9', '--',
               'set', 'interface', 'adm0', 'type=internal')
    with Agent(net='openvswitch', faults=True) as agent:
        s = agent.login()
        pif = {r['device']: ref for ref, r in s.PIF.get_all_records().items()}
        eth0, eth1, foreign = pif['eth0'], pif['eth1'], state(here)['br-admin']
        five, bonded = (s.network.create({'name_label': n, 'name_description': '', 'MTU': '1500', 'other_config': {}}) for n in ('five', 'bonded'))
        vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'g')
        s.VM.provision(vm)
        vif = s.VIF.create({'VM': vm, 'network': five, 'device': '0', 'MAC': '', 'MTU': '0', 'other_config': {}, 'qos_algorithm_type': '',
                            'qos_algorithm_params': {}})
        s.VIF.set_ipv4_allowed(vif, ['198.51.100.60'])
        s.VIF.set_locking_mode(vif, 'locked')

        def killed_everywhere(what, point, change, undo):
            """The change with a kill before its first, second, ... transaction, until it comes through."""
            global s
            kills, wrong = 0, []
            for nth in range(1, MOST):
                agent.arm('%s kill %d' % (point, nth))
                try:
                    change(s)
                    break
                except (OSError, HTTPException):
                    agent.process.wait(20)
                kills += 1
                agent.start()
                s = agent.login()
                now = state(here)
                # What the records make of nothing.
                agent.stop()
                for bridge in [b for b in now if b != 'br-admin' and not b.startswith('link ')]:
                    here.vsctl('del-br', bridge)
                agent.start()
                s = agent.login()
                anew = state(here)
                if now != anew:
                    wrong.append((nth, {k: (now.get(k), anew.get(k)) for k in set(now) | set(anew) if now.get(k) != anew.get(k)}))
                undo(s)
            agent.arm('%s off' % point)
            undo(s)
            check(kills >= 1 and not wrong, '%s, killed at %d of %s: the switch is as recorded %s' % (what, kills, point, wrong[:2] or ''))
            check(state(here)['br-admin'] == foreign, 'somebody else\'s bridge is as it was')

        def no_vlan(s):
            for v in s.VLAN.get_all():
                s.VLAN.destroy(v)

        def unplugged(s):
            if s.PIF.get_currently_attached(eth1):
                s.PIF.unplug(eth1)

        killed_everywhere('a plug', 'net.ovsdb', lambda s: s.PIF.plug(eth1), unplugged)
        s.PIF.plug(eth0)
        killed_everywhere('a VLAN', 'net.ovsdb', lambda s: s.VLAN.create(eth0, '5', five), no_vlan)
        s.VLAN.create(eth0, '5', five)

        def stop(s):
            if s.VM.get_power_state(vm) == 'Running':
                s.VM.hard_shutdown(vm)

        def no_bond(s):
            for b in s.Bond.get_all():
                s.Bond.destroy(b)
        for point in ('net.ovsdb', 'net.openflow'):
            killed_everywhere('a start', point, lambda s: s.VM.start(vm, False, False), stop)
        check(not [n for n in state(here) if n.startswith('link vif')], 'no tap is left')
        s.VM.start(vm, False, False)
        killed_everywhere('a bond under a running guest', 'net.ovsdb', lambda s: s.Bond.create(bonded, [eth0, eth1], '', 'active-backup', {}), no_bond)
        s.VM.hard_shutdown(vm)
        def bond(s):
            if not s.Bond.get_all():
                s.Bond.create(bonded, [eth0, eth1], '', 'active-backup', {})
        bond(s)
        for point in ('net.ovsdb', 'net.netlink'):
            killed_everywhere('a bond dissolved', point, no_bond, bond)
        no_bond(s)
        killed_everywhere('a bond', 'net.netlink', lambda s: s.Bond.create(bonded, [eth0, eth1], '', 'active-backup', {}), no_bond)
done()
