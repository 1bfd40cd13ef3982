#!/usr/bin/env python3
"""The Open vSwitch driver, with a real Open vSwitch on both ends of two cables: bridges, VLANs, bonds in three modes, tunnels, cards,
locks, restarts of agent and switch; what is the administrator's own stays as it is."""
import os

from frames import Guest
from harness import Agent, check, done, fails, own_network, wait_until
from switch import Switch
from world import World, addresses, links, pings, run

own_network()
far = World()
away = far.run


def reaches(address, seconds=1):
    return far.reaches(address, seconds)


def answered(address='198.51.100.1'):
    """From here: switches on the way learn where we are now."""
    return pings(address)


for i in (0, 1):
    far.cable('eth%d' % i, 'wire%d' % i)
# As our driver does it: a card that is the switch's does not answer for the host.
away('sh', '-c', 'echo 8 >/proc/sys/net/ipv4/conf/wire0/arp_ignore; echo 8 >/proc/sys/net/ipv4/conf/wire1/arp_ignore')
run('ip', 'addr', 'add', '198.51.100.7/24', 'dev', 'eth0')
run('ip', 'route', 'add', 'default', 'via', '198.51.100.1')


def internal(there, name, address, tag=None):
    there.vsctl('add-port', 'far', name, *(['tag=%d' % tag] if tag else []), '--', 'set', 'interface', name, 'type=internal')
    away('ip', 'addr', 'add', address, 'dev', name)
    away('ip', 'link', 'set', name, 'up')


def network(s, name, mtu='1500'):
    return s.network.create({'name_label': name, 'name_description': '', 'MTU': mtu, 'other_config': {}})


def foreign(here):
    rows = [here.vsctl('--columns=_uuid,name,ports,external_ids,other_config,datapath_type', 'list', 'bridge', 'br-admin'),
            here.vsctl('--columns=_uuid,name,tag,interfaces,external_ids,other_config', 'list', 'port', 'adm0'), here.ports('br-admin')]
    own = links()
    return rows, [own[n]['ifindex'] for n in ('br-admin', 'adm0', 'docker0')], addresses('docker0'), addresses('br-admin')


def simple(agent, s, here, pif):
    host = s.host.get_all()[0]
    check(s.host.get_software_version(host)['network_backend'] == 'openvswitch', 'the host says which backend it has')
    check(here.vsctl('list-br') == 'br-admin' and addresses('eth0') == ['198.51.100.7/24'], 'at first nothing changes')
    s.PIF.plug(pif)
    check(here.ports('xenbr0') == ['eth0'], 'plugged: the card is a port of a bridge of the switch')
    check(addresses('eth0') == [] and addresses('xenbr0') == ['198.51.100.7/24'], 'the bridge has its address')
    check(links()['xenbr0']['address'] == links()['eth0']['address'], 'and its MAC')
    check('198.51.100.1 dev xenbr0' in run('ip', 'route', 'show', 'default'), 'and the default route')
    check(reaches('198.51.100.7', 5), 'and answers the world')
    check(open('/proc/sys/net/ipv4/conf/eth0/arp_ignore').read() == '8\n', 'with the MAC of the bridge alone')
    r = s.PIF_metrics.get_record(s.PIF.get_metrics(pif))
    check(r['carrier'] and s.PIF.get_IP(pif) == '198.51.100.7', 'its record follows')
    s.PIF.reconfigure_ip(pif, 'Static', '198.51.100.8', '255.255.255.0', '198.51.100.1', '')
    check(addresses('xenbr0') == ['198.51.100.8/24'] and reaches('198.51.100.8', 5), 'another address')
    fails('PIF_CONFIGURATION_ERROR', 'one whose gateway does not answer', s.PIF.reconfigure_ip, pif, 'Static', '203.0.113.5', '255.255.255.0',
          '203.0.113.1', '')
    check(addresses('xenbr0') == ['198.51.100.8/24'] and reaches('198.51.100.8', 5), 'the way back was found')


def vlans(agent, s, here, there, pif):
    five = network(s, 'five', '1400')
    vlan = s.VLAN.create(pif, '5', five)
    bridge, top = s.network.get_bridge(five), s.VLAN.get_untagged_PIF(vlan)
    check(here.get('port', bridge, 'tag') == '5' and here.get('port', bridge, 'fake_bridge') == 'true', 'a VLAN is a port with its tag')
    s.PIF.reconfigure_ip(top, 'Static', '10.5.0.1', '255.255.255.0', '', '')
    check(links()[bridge]['mtu'] == 1400, 'with the MTU of its network')
    internal(there, 'v5', '10.5.0.2/24', 5)
    check(reaches('10.5.0.1', 5), 'it reaches the same VLAN there')
    there.vsctl('set', 'port', 'v5', 'tag=6')
    check(wait_until(lambda: not reaches('10.5.0.1')), 'and no other')
    there.vsctl('set', 'port', 'v5', 'tag=5')
    check(s.PIF_metrics.get_carrier(s.PIF.get_metrics(top)), 'it has the carrier of its card')
    return vlan, five


def card(s, vm, net, device, mac, **more):
    return s.VIF.create({'VM': vm, 'network': net, 'device': device, 'MAC': mac, 'MTU': '0', 'other_config': {}, 'qos_algorithm_type': '',
                         'qos_algorithm_params': {}, **more})


def cards(agent, s, here, pif, five):
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'g')
    s.VM.provision(vm)
    mac = '02:00:00:00:00:55'
    inner, outer = network(s, 'inner', '9000'), s.PIF.get_network(pif)
    vif, tagged, own = card(s, vm, outer, '0', mac), card(s, vm, five, '1', ''), card(s, vm, inner, '2', '')
    s.VM.start(vm, False, False)
    tap, second, third = sorted(n for n in links() if n.startswith('vif'))
    check(here.ports('xenbr0') == ['eth0', tap] and here.ports(s.network.get_bridge(five)) == [second], 'cards are ports of their bridges')
    check(here.get('port', second, 'tag') == '5', 'that of a VLAN with its tag')
    bridge = s.network.get_bridge(inner)
    check(here.ports(bridge) == [third] and links()[bridge]['mtu'] == 9000, 'an internal network has a bridge of its own')
    s.VIF.move(tagged, inner)
    check(here.ports(bridge) == [second, third] and here.get('port', second, 'tag') == '[]', 'moved to another network while it runs')
    s.VIF.unplug(own)
    check(here.ports(bridge) == [second] and third not in links(), 'unplugged')
    s.VIF.plug(own)
    check(here.ports(bridge) == [second, third], 'and plugged')
    fails('VIF_IN_USE', 'destroying a network in use', s.network.destroy, inner)

    guest = Guest(tap, mac, far.pid, marks='198.51.100.60')
    passes, ipv4 = guest.passes, guest.ipv4
    check(wait_until(lambda: links()[tap]['operstate'] == 'UP') and passes(ipv4('10.66.0.1')) and passes(guest.arp('10.66.0.1')), 'unlocked: anything passes')
    s.VIF.set_ipv4_allowed(vif, ['198.51.100.60', '198.51.100.61'])
    s.VIF.set_ipv6_allowed(vif, ['2001:db8::60'])
    s.VIF.set_locking_mode(vif, 'locked')
    check(wait_until(lambda: not passes(ipv4('10.66.0.1'))), 'locked: what passed before does not')      # once the switch has looked again
    guest.check_locked()
    s.VIF.remove_ipv4_allowed(vif, '198.51.100.61')
    check(wait_until(lambda: not passes(ipv4('198.51.100.61'))), 'an address is taken from it while it runs')
    agent.kill()
    check(not passes(ipv4('198.51.100.62')), 'the lock outlives the agent')
    agent.start()
    s = agent.login()
    check(not passes(ipv4('198.51.100.62')), 'and the next one keeps it')
    here.kill_switch()
    here.begin_switch()
    flows = ['ovs-ofctl', '-O', 'OpenFlow13', 'dump-flows', 'unix:%s/xenbr0.mgmt' % here.dir]
    check(wait_until(lambda: 'nw_src=198.51.100.60' in run(*flows)) and wait_until(lambda: reaches('198.51.100.8')), 'a switch that begins anew gets its rules again')
    check(wait_until(lambda: not passes(ipv4('198.51.100.62'))), 'which hold')
    check(wait_until(lambda: addresses('xenbr0') == ['198.51.100.8/24'] and reaches('198.51.100.8')), 'and the host its address')
    s.VIF.set_locking_mode(vif, 'disabled')
    check(not passes(ipv4('198.51.100.60'), 'xenbr0') and tap not in here.ports('xenbr0'), 'disabled: nothing at all')
    s.VIF.set_locking_mode(vif, 'unlocked')
    check(wait_until(lambda: tap in here.ports('xenbr0')) and passes(ipv4('10.66.0.1')), 'unlocked again')
    guest.check_trunks(s, vif)
    guest.close()
    s.VM.hard_shutdown(vm)
    check(not [p for p in here.ports('xenbr0') + here.ports(bridge) if p.startswith('vif')], 'no port of it is left')
    check('in_port' not in run(*flows), 'nor rules')
    for v in (vif, tagged, own):
        s.VIF.destroy(v)
    s.network.destroy(inner)
    check(bridge not in links(), 'destroying a network takes its bridge')
    return s


def tunnels(s, here, there, pif):
    seven = network(s, 'seven')
    for protocol, type_, address in (('vxlan', 'vxlan', '10.7.0'), ('gre', 'gre', '10.8.0')):
        tunnel = s.tunnel.create(pif, seven, protocol)
        s.tunnel.set_other_config(tunnel, {'remote': '198.51.100.1', 'key': '77'})
        access = s.tunnel.get_access_PIF(tunnel)
        s.PIF.reconfigure_ip(access, 'Static', address + '.1', '255.255.255.0', '', '')
        there.vsctl('add-br', 'tb', '--', 'set', 'bridge', 'tb', 'datapath_type=netdev', '--', 'add-port', 'tb', 'tun0', '--', 'set', 'interface', 'tun0',
                    'type=' + type_, 'options:remote_ip=198.51.100.8', 'options:key=77')
        away('ip', 'addr', 'add', address + '.2/24', 'dev', 'tb')
        away('ip', 'link', 'set', 'tb', 'up')
        check(wait_until(lambda: reaches(address + '.1'), 20), 'a tunnel by %s' % protocol)
        there.vsctl('del-br', 'tb')
        s.tunnel.destroy(tunnel)
    check(s.network.get_bridge(seven) not in here.vsctl('list-br').split() and addresses(s.network.get_bridge(seven)) is None, 'destroyed, with the address')
    s.network.destroy(seven)


def bonds(s, here, there, first, second, vlan):
    bonded = network(s, 'bonded')
    for mode, bond_mode in (('active-backup', 'active-backup'), ('balance-slb', '"balance-slb"'), ('lacp', '"balance-tcp"')):
        if mode == 'lacp':
            for wire in ('wire0', 'wire1'):
                there.vsctl('del-port', 'far', wire)
            there.vsctl('add-bond', 'far', 'both', 'wire0', 'wire1', 'lacp=active', 'bond_mode=balance-slb', 'other_config:lacp-time=fast')
        elif 'wire1' not in there.ports('far'):
            there.vsctl('add-port', 'far', 'wire1')
        bond = s.Bond.create(bonded, [first, second], '', mode, {'lacp-time': 'fast', 'lacp-fallback-ab': 'false', 'lacp-aggregation-key': '77'} if mode == 'lacp' else {})
        master = s.Bond.get_master(bond)
        device = s.PIF.get_device(master)
        s.PIF.set_other_config(master, {'bond-updelay': '0'})        # a reconfiguration of the PIF takes it
        s.PIF.plug(master)
        check(here.get('port', device, 'bond_mode').strip('"') == bond_mode.strip('"') and
              here.get('port', device, 'lacp') == ('active' if mode == 'lacp' else 'off'), '%s: a bond of the switch' % mode)
        if mode == 'lacp':
            told = [here.get('interface', nic, 'other_config') for nic in ('eth0', 'eth1')] + [here.get('port', device, 'other_config')]
            check(told[0] == told[1] == '{lacp-aggregation-key="77"}' and 'lacp-fallback-ab="false"' in told[2] and 'lacp-time=fast' in told[2],
                  'its properties: %s' % told)
            s.Bond.set_property(bond, 'lacp-fallback-ab', 'true')
            check('lacp-fallback-ab="true"' in here.get('port', device, 'other_config'), 'which change')
        bridge = s.network.get_bridge(bonded)
        check(addresses(bridge) == ['198.51.100.8/24'] and 'xenbr0' not in here.vsctl('list-br').split(), '%s: the address has moved to it' % mode)
        check(s.PIF.get_device(s.VLAN.get_untagged_PIF(vlan)) == device, '%s: and the VLAN' % mode)
        check(wait_until(lambda: reaches('198.51.100.8'), 60), '%s: reached' % mode)
        check(wait_until(lambda: answered('10.5.0.2'), 60) and reaches('10.5.0.1', 5), '%s: and through the VLAN' % mode)
        check(wait_until(lambda: s.Bond.get_links_up(bond) == '2', 20), '%s: two links' % mode)
        # A member that came up before the delay was taken away waits for its end: it comes up once more.
        away('ip', 'link', 'set', 'wire1', 'down')
        check(wait_until(lambda: s.Bond.get_links_up(bond) == '1', 20), '%s: a cable is pulled' % mode)
        away('ip', 'link', 'set', 'wire1', 'up')
        check(wait_until(lambda: s.Bond.get_links_up(bond) == '2', 20), '%s: and put back' % mode)
        check(wait_until(lambda: here.both_enabled(device), 60), '%s: both links are used' % mode)
        away('ip', 'link', 'set', 'wire0', 'down')
        check(wait_until(lambda: s.Bond.get_links_up(bond) == '1', 20), '%s: the other cable is pulled' % mode)
        check(wait_until(answered, 60), '%s: the world is reached by the other' % mode)
        check(wait_until(lambda: reaches('198.51.100.8'), 60), '%s: and reaches us' % mode)
        away('ip', 'link', 'set', 'wire0', 'up')
        check(wait_until(lambda: s.Bond.get_links_up(bond) == '2', 20), '%s: and it is back' % mode)
        if mode == 'lacp':
            # What insists on LACP would not answer a card alone: management stays with the bond until the other end has changed.
            there.vsctl('del-port', 'far', 'both', '--', 'add-port', 'far', 'wire0', '--', 'add-port', 'far', 'wire1')
            check(wait_until(answered, 60), 'lacp: the other end has no bond any more')
        s.Bond.destroy(bond)
        check(here.ports('xenbr0')[0] == 'eth0' and addresses('xenbr0') == ['198.51.100.8/24'] and addresses(bridge) is None, '%s: dissolved' % mode)
    alerts = [r['body'] for r in s.message.get_all_records().values() if r['name'] == 'BOND_STATUS_CHANGED']
    check(any('eth0+eth1 bond changed: 1/2 up (was 2/2)' in body for body in alerts), 'alerts tell it')


with Switch() as here, Switch(far.pid) as there:
    # Its address does not depend on which cards it has: neighbours know it.
    there.vsctl('add-br', 'far', '--', 'set', 'bridge', 'far', 'datapath_type=netdev', 'other_config:hwaddr="02:00:00:00:00:01"', '--', 'add-port',
                'far', 'wire0')
    away('ip', 'addr', 'add', '198.51.100.1/24', 'dev', 'far')
    away('ip', 'link', 'set', 'far', 'up')
    # The administrator's own.
    here.vsctl('add-br', 'br-admin', '--', 'set', 'bridge', 'br-admin', 'datapath_type=netdev', '--', 'add-port', 'br-admin', 'adm0', 'tag=9', '--',
               'set', 'interface', 'adm0', 'type=internal')
    run('ip', 'link', 'add', 'docker0', 'type', 'bridge')
    run('ip', 'addr', 'add', '172.17.0.1/16', 'dev', 'docker0')
    os.environ['OVS_RUNDIR'] = here.dir
    with Agent(net='openvswitch') as agent:
        s = agent.login()
        before = foreign(here)
        pif = {r['device']: ref for ref, r in s.PIF.get_all_records().items()}
        simple(agent, s, here, pif['eth0'])
        check(foreign(here) == before, 'somebody else\'s bridges are as they were')
        vlan, five = vlans(agent, s, here, there, pif['eth0'])
        s = cards(agent, s, here, pif['eth0'], five)
        tunnels(s, here, there, pif['eth0'])
        rows = lambda: [sorted(here.vsctl('-f', 'csv', '--columns=' + columns, 'list', table).split('\n')) for table, columns in (
            ('bridge', '_uuid,name,ports,other_config,external_ids'), ('port', '_uuid,name,tag,trunks,interfaces,other_config,external_ids'),
            ('interface', '_uuid,name,type,options,ofport'))]
        was = rows()
        agent.kill()
        agent.start()
        s = agent.login()
        check(rows() == was, 'an agent that begins again changes no row of the switch: %s' % [x for x in zip(was, rows()) if x[0] != x[1]])
        bonds(s, here, there, pif['eth0'], pif['eth1'], vlan)
        after = foreign(here)
        check(after[0] == before[0] and after[2:] == before[2:], 'at the end, too')
        s.VLAN.destroy(vlan)
        s.network.destroy(five)
        fails('BRIDGE_NOT_AVAILABLE', 'a card on a bridge that nobody made', s.VM.start, *(lambda vm: (s.VM.provision(vm), card(s, vm, s.network.create(
            {'name_label': 'gone', 'name_description': '', 'MTU': '1500', 'other_config': {}, 'bridge': 'br-gone', 'managed': False}), '0', ''), vm)[2:])(
                s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'h')), False, False)
        # Back to Linux bridges: nothing of the switch's stays in the way.
        agent.stop()
        agent.net = 'bridge'
        agent.start()
        s = agent.login()
        check(here.vsctl('list-br') == 'br-admin' and links()['xenbr0']['linkinfo']['info_kind'] == 'bridge', 'the other driver takes over')
        check(addresses('xenbr0') == ['198.51.100.8/24'] and wait_until(lambda: reaches('198.51.100.8'), 10), 'with the address')
        agent.stop()
        agent.net = 'openvswitch'
        agent.start()
        check(here.ports('xenbr0') == ['eth0'] and addresses('xenbr0') == ['198.51.100.8/24'] and wait_until(lambda: reaches('198.51.100.8'), 10),
              'and this one again')
far.close()
done()
