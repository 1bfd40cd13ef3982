#!/usr/bin/env python3
"""The host's interfaces on the simulator: plug, addresses, VLANs, bonds, tunnels, and every error by its name."""
import os

from harness import Agent, check, done, fails


def devices(agent):
    """name -> the simulated device's fields."""
    rows = [l.split() for l in open(os.path.join(agent.root, 'net'))]
    return {r[1]: dict(zip(('kind', 'name', 'master', 'mac', 'mtu', 'ip', 'gateway', 'parent', 'tag', 'bond'), r)) for r in rows}


def network(s, name, mtu='1500', **more):
    return s.network.create(dict({'name_label': name, 'name_description': '', 'MTU': mtu, 'other_config': {}}, **more))


with Agent() as agent:
    s = agent.login()
    host = s.host.get_all()[0]
    pif = {r['device']: ref for ref, r in s.PIF.get_all_records().items()}
    eth0, eth1 = pif['eth0'], pif['eth1']
    check(s.PIF.get_management(eth0), 'the first card has management')
    fails('PIF_IS_MANAGEMENT_INTERFACE', 'unplugging the management interface', s.PIF.unplug, eth0)

    # Plug: the address that the card had moves to the bridge.
    s.PIF.plug(eth1)
    have = devices(agent)
    check(s.PIF.get_currently_attached(eth1) and have['eth1']['master'] == 'xenbr1', 'plugged: a port of its bridge')
    check(have['xenbr1']['ip'] == '127.0.0.2/8' and have['eth1']['ip'] == '-', 'its address is the bridge\'s now')
    check(s.PIF.get_ip_configuration_mode(eth1) == 'Static' and s.PIF.get_IP(eth1) == '127.0.0.2', 'and recorded')
    check(have['xenbr1']['mac'] == have['eth1']['mac'], 'the bridge has the MAC of the card')
    s.PIF.set_disallow_unplug(eth1, True)
    fails('PIF_DOES_NOT_ALLOW_UNPLUG', 'unplugging what must stay', s.PIF.unplug, eth1)
    s.PIF.set_disallow_unplug(eth1, False)
    s.PIF.unplug(eth1)
    check('xenbr1' not in devices(agent) and devices(agent)['eth1']['master'] == '-', 'unplugged: the bridge is gone')

    # Addresses.
    s.PIF.plug(eth1)
    for what, args in (('IP', ('Static', '300.1.1.1', '255.255.255.0', '', '')), ('netmask', ('Static', '10.1.1.1', '255.0.255.0', '', '')),
                       ('gateway', ('Static', '10.1.1.1', '255.255.255.0', 'x', '')), ('DNS', ('DHCP', '', '', '', '8.8.8.8,y'))):
        check(fails('INVALID_IP_ADDRESS_SPECIFIED', 'a bad ' + what, s.PIF.reconfigure_ip, eth1, *args) == [what], 'named: ' + what)
    s.PIF.reconfigure_ip(eth1, 'Static', '10.9.0.7', '255.255.0.0', '10.9.0.1', '10.9.0.2')
    check(devices(agent)['xenbr1']['ip'] == '10.9.0.7/16', 'a static address')
    check(devices(agent)['xenbr1']['gateway'] == '-', 'the gateway of another than the management interface is not the host\'s')
    s.PIF.add_to_other_config(eth1, 'defaultroute', 'true')
    s.PIF.reconfigure_ip(eth1, 'Static', '10.9.0.7', '255.255.0.0', '10.9.0.1', '10.9.0.2')
    check(devices(agent)['xenbr1']['gateway'] == '10.9.0.1', 'unless the administrator says so')
    s.PIF.reconfigure_ip(eth1, 'DHCP', '', '', '', '')
    check(devices(agent)['xenbr1']['ip'] == '192.0.2.9/24' and s.PIF.get_IP(eth1) == '192.0.2.9', 'an address by DHCP')
    check(s.PIF.get_DNS(eth1) == '192.0.2.53', 'with what the server says of resolvers')
    s.PIF.reconfigure_ip(eth1, 'None', '', '', '', '')
    check(devices(agent)['xenbr1']['ip'] == '-' and s.PIF.get_IP(eth1) == '', 'none at all')
    fails('INVALID_CIDR_ADDRESS_SPECIFIED', 'an IPv6 address without its length', s.PIF.reconfigure_ipv6, eth1, 'Static', '2001:db8::7', '', '')
    s.PIF.reconfigure_ipv6(eth1, 'Static', '2001:DB8::7/64', '', '')
    check(s.PIF.get_IPv6(eth1) == ['2001:db8::7/64'], 'an IPv6 address')
    fails('PIF_HAS_NO_NETWORK_CONFIGURATION', 'IPv4 first without any', s.PIF.set_primary_address_type, eth1, 'IPv4')
    s.PIF.set_primary_address_type(eth1, 'IPv6')
    check(s.PIF.get_primary_address_type(eth1) == 'IPv6', 'IPv6 first')
    fails('PIF_IS_MANAGEMENT_INTERFACE', 'another family for the management interface', s.PIF.set_primary_address_type, eth0, 'IPv6')
    s.PIF.reconfigure_ipv6(eth1, 'None', '', '', '')
    fails('PIF_HAS_NO_V6_NETWORK_CONFIGURATION', 'IPv6 first without any', s.PIF.set_primary_address_type, eth1, 'IPv6')

    # Properties.
    s.PIF.set_property(eth1, 'gro', 'off')
    check(s.PIF.get_properties(eth1)['gro'] == 'off', 'a property')
    fails('INVALID_VALUE', 'one that there is not', s.PIF.set_property, eth1, 'colour', 'red')
    fails('INVALID_VALUE', 'a value that it cannot have', s.PIF.set_property, eth1, 'gro', 'maybe')
    s.PIF.set_property(eth1, 'gro', 'on')

    # VLANs.
    five, six = network(s, 'five'), network(s, 'six', '1400')
    for tag in ('-1', '4095', '70000'):
        fails('VLAN_TAG_INVALID', 'tag %s' % tag, s.VLAN.create, eth1, tag, five)
    vlan = s.VLAN.create(eth1, '5', five)
    top = s.VLAN.get_untagged_PIF(vlan)
    check(devices(agent)['eth1.5']['parent'] == 'eth1' and devices(agent)['eth1.5']['tag'] == '5', 'a VLAN over the card')
    check(devices(agent)['eth1.5']['master'] == s.network.get_bridge(five), 'on the bridge of its network')
    record = s.PIF.get_record(top)
    check((record['device'], record['VLAN'], record['physical'], record['currently_attached']) == ('eth1', '5', False, True),
          'its interface\'s record')
    check(s.PIF.get_VLAN_slave_of(eth1) == [vlan] and record['VLAN_master_of'] == vlan, 'both know of it')
    fails('PIF_VLAN_EXISTS', 'the same tag again', s.VLAN.create, eth1, '5', six)
    fails('PIF_IS_VLAN', 'a VLAN over a VLAN', s.VLAN.create, top, '6', six)
    fails('NETWORK_ALREADY_CONNECTED', 'a network twice', s.VLAN.create, eth1, '6', five)
    fails('NETWORK_CONTAINS_PIF', 'destroying a network with an interface', s.network.destroy, five)
    fails('PIF_VLAN_STILL_EXISTS', 'forgetting a card with a VLAN', s.PIF.forget, eth1)
    fails('CANNOT_CHANGE_PIF_PROPERTIES', 'properties of a VLAN', s.PIF.set_property, top, 'gro', 'off')
    made = s.pool.create_VLAN_from_PIF(eth1, six, '6')
    check(len(made) == 1 and s.PIF.get_VLAN(made[0]) == '6' and devices(agent)['eth1.6']['mtu'] == '1400', 'the pool\'s way, with its MTU')
    s.PIF.destroy(made[0])
    check('eth1.6' not in devices(agent), 'the older way to destroy one')
    made = s.pool.create_VLAN('eth1', six, '7')
    check(s.PIF.get_VLAN(made[0]) == '7', 'by the card\'s name')
    fails('PIF_DEVICE_NOT_FOUND', 'by a name that there is not', s.PIF.create_VLAN, 'eth9', six, host, '8')
    s.VLAN.destroy(s.PIF.get_VLAN_master_of(made[0]))
    fails('PIF_IS_PHYSICAL', 'destroying a card', s.PIF.destroy, eth1)

    # MTU of a network goes to all that carries it.
    s.network.set_MTU(five, '9000')
    check(devices(agent)['eth1.5']['mtu'] == '9000' and devices(agent)['eth1']['mtu'] == '9000', 'an MTU reaches the card below')
    fails('INVALID_VALUE', 'an MTU that is none', s.network.set_MTU, five, '10')

    # A tunnel.
    seven = network(s, 'seven')
    fails('TRANSPORT_PIF_NOT_CONFIGURED', 'a tunnel over a card without address', s.tunnel.create, eth1, seven, 'vxlan')
    s.PIF.reconfigure_ip(eth1, 'Static', '10.9.0.7', '255.255.0.0', '', '')
    tunnel = s.tunnel.create(eth1, seven, 'vxlan')
    access = s.tunnel.get_access_PIF(tunnel)
    check(s.tunnel.get_status(tunnel)['active'] == 'true' and s.tunnel.get_protocol(tunnel) == 'vxlan', 'a tunnel')
    check([d for d in devices(agent).values() if d['kind'] == 'tunnel' and d['master'] == s.network.get_bridge(seven)], 'is there')
    fails('IS_TUNNEL_ACCESS_PIF', 'a VLAN over a tunnel', s.VLAN.create, access, '6', six)
    fails('IS_TUNNEL_ACCESS_PIF', 'a tunnel over a tunnel', s.tunnel.create, access, six, 'gre')
    s.VLAN.destroy(vlan)
    fails('PIF_TUNNEL_STILL_EXISTS', 'forgetting a card with a tunnel', s.PIF.forget, eth1)
    s.tunnel.destroy(tunnel)
    check(not [d for d in devices(agent).values() if d['kind'] == 'tunnel'], 'destroyed')

    # Bonds.
    bonded = network(s, 'bonded')
    vlan = s.VLAN.create(eth1, '5', five)
    fails('PIF_BOND_NEEDS_MORE_MEMBERS', 'a bond of one', s.Bond.create, bonded, [eth0], '', 'balance-slb', {})
    fails('PIF_IS_VLAN', 'a VLAN in a bond', s.Bond.create, bonded, [eth0, s.VLAN.get_untagged_PIF(vlan)], '', 'balance-slb', {})
    fails('MAC_INVALID', 'a bad MAC', s.Bond.create, bonded, [eth0, eth1], '01:00:00:00:00:00', 'balance-slb', {})
    fails('INVALID_VALUE', 'a property of another mode', s.Bond.create, bonded, [eth0, eth1], '', 'active-backup', {'lacp-time': 'fast'})
    for key in ('0', '65536', 'x'):
        fails('INVALID_VALUE', 'a key that LACP has not', s.Bond.create, bonded, [eth0, eth1], '', 'lacp', {'lacp-aggregation-key': key})
    fails('PIF_BOND_MORE_THAN_ONE_IP', 'management\'s own address counts', s.Bond.create, bonded, [eth0, eth1], '', 'lacp', {})
    s.PIF.plug(eth0)
    fails('PIF_BOND_MORE_THAN_ONE_IP', 'two addresses in a bond', s.Bond.create, bonded, [eth0, eth1], '', 'lacp', {})
    s.PIF.reconfigure_ip(eth1, 'None', '', '', '', '')
    s.PIF.set_property(eth1, 'gro', 'off')
    fails('INCOMPATIBLE_PIF_PROPERTIES', 'members that differ', s.Bond.create, bonded, [eth0, eth1], '', 'lacp', {})
    s.PIF.set_property(eth1, 'gro', 'on')
    bond = s.Bond.create(bonded, [eth0, eth1], '', 'lacp', {'lacp-time': 'fast'})
    master, have = s.Bond.get_master(bond), devices(agent)
    check(have['bond0']['master'] == s.network.get_bridge(bonded) and have['eth0']['master'] == have['eth1']['master'] == 'bond0',
          'a bond of both on the bridge of its network')
    check(s.PIF.get_management(master) and s.PIF.get_IP(master) == '127.0.0.1' and not s.PIF.get_management(eth0), 'management moved to it')
    check(have[s.network.get_bridge(bonded)]['ip'] == '127.0.0.1/8' and 'xenbr0' not in have, 'with the address')
    check(s.PIF.get_MAC(master) == s.PIF.get_MAC(eth0) == have['bond0']['mac'] and s.Bond.get_primary_slave(bond) == eth0,
          'and the MAC of the first')
    check(have['bond0.5']['parent'] == 'bond0' and 'eth1.5' not in have, 'the VLAN of a member is over the bond now')
    check(s.Bond.get_properties(bond)['lacp-time'] == 'fast' and s.Bond.get_properties(bond)['hashing_algorithm'] == 'tcpudp_ports',
          'properties, said and not')
    check(s.Bond.get_links_up(bond) == '2', 'both have a cable')
    fails('CANNOT_PLUG_BOND_SLAVE', 'plugging a member', s.PIF.plug, eth1)
    fails('PIF_ALREADY_BONDED', 'a member in another bond', s.Bond.create, six, [eth0, eth1], '', 'lacp', {})
    fails('CANNOT_ADD_VLAN_TO_BOND_SLAVE', 'a VLAN over a member', s.VLAN.create, eth1, '9', six)
    fails('CANNOT_ADD_TUNNEL_TO_BOND_SLAVE', 'a tunnel over a member', s.tunnel.create, eth1, six, 'gre')
    fails('PIF_ALREADY_BONDED', 'forgetting a member', s.PIF.forget, eth1)
    s.Bond.set_mode(bond, 'active-backup')
    check(s.Bond.get_mode(bond) == 'active-backup' and devices(agent)['bond0']['bond'] == '1' and devices(agent)['eth0']['master'] == 'bond0',
          'another mode')
    fails('INVALID_VALUE', 'a property that this mode has not', s.Bond.set_property, bond, 'lacp-time', 'slow')
    s.Bond.set_mode(bond, 'lacp')
    s.Bond.set_property(bond, 'lacp-time', 'slow')
    check(s.Bond.get_properties(bond)['lacp-time'] == 'slow', 'a property changed')

    # An agent that dies has it all again.
    before = devices(agent)
    agent.kill()
    agent.start()
    s = agent.login()
    check(devices(agent) == before, 'after a crash nothing has changed')
    s.Bond.destroy(bond)
    have = devices(agent)
    check('bond0' not in have and have['eth0']['master'] == 'xenbr0' and have['xenbr0']['ip'] == '127.0.0.1/8', 'dissolved: the first is as it was')
    check(have['eth0.5']['parent'] == 'eth0' and s.PIF.get_management(eth0), 'with the VLAN and management')
    s.VLAN.destroy(vlan)

    # Cards that come and go.
    s.PIF.unplug(eth1)
    s.PIF.forget(eth1)
    check(eth1 not in s.PIF.get_all(), 'forgotten')
    fails('MAC_DOES_NOT_EXIST', 'introducing a MAC that there is not', s.PIF.introduce, host, '02:00:00:00:00:99', 'eth1', True)
    fails('COULD_NOT_FIND_NETWORK_INTERFACE_WITH_SPECIFIED_DEVICE_NAME_AND_MAC_ADDRESS', 'another card\'s MAC', s.PIF.introduce, host,
          '02:00:00:00:00:01', 'eth1', True)
    fails('MAC_INVALID', 'what is no MAC', s.PIF.introduce, host, 'zz', 'eth1', True)
    again = s.PIF.introduce(host, '02:00:00:00:00:02', 'eth1', False)
    check(not s.PIF.get_managed(again), 'introduced, but not ours to manage')
    fails('PIF_UNMANAGED', 'plugging it', s.PIF.plug, again)
    fails('DUPLICATE_PIF_DEVICE_NAME', 'introducing it twice', s.PIF.introduce, host, '', 'eth1', True)
    s.PIF.db_forget(again)
    s.PIF.scan(host)
    check('eth1' in [r['device'] for r in s.PIF.get_all_records().values()], 'scanned: it is back')

    # Purposes and locking of networks.
    s.network.add_purpose(five, 'nbd')
    fails('NETWORK_INCOMPATIBLE_PURPOSES', 'TLS and not', s.network.add_purpose, six, 'insecure_nbd')
    s.network.remove_purpose(five, 'nbd')
    s.network.add_purpose(six, 'insecure_nbd')
    check(s.network.get_purpose(six) == ['insecure_nbd'] and s.network.get_purpose(five) == [], 'purposes')
    s.network.set_default_locking_mode(five, 'disabled')
    check(s.network.get_default_locking_mode(five) == 'disabled', 'a locking mode for a network')

    # Cards of a guest: a network with a card of the host's is plugged when it is needed.
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'g')
    s.VM.provision(vm)
    eth1 = [p for p, r in s.PIF.get_all_records().items() if r['device'] == 'eth1'][0]
    outer = s.PIF.get_network(eth1)
    card = {'VM': vm, 'network': outer, 'device': '0', 'MAC': '', 'MTU': '0', 'other_config': {}, 'qos_algorithm_type': '',
            'qos_algorithm_params': {}}
    vif = s.VIF.create(card)
    s.VM.start(vm, False, False)
    check(s.PIF.get_currently_attached(eth1) and devices(agent)['eth1']['master'] == 'xenbr1', 'a guest\'s card plugs the host\'s')
    fails('VIF_IN_USE', 'unplugging the host\'s card under a guest', s.PIF.unplug, eth1)
    fails('INVALID_IP_ADDRESS_SPECIFIED', 'allowing what is no address', s.VIF.set_ipv4_allowed, vif, ['1.2.3'])
    fails('INVALID_IP_ADDRESS_SPECIFIED', 'allowing one of the other kind', s.VIF.add_ipv6_allowed, vif, '10.0.0.1')
    s.VIF.set_ipv4_allowed(vif, ['10.0.0.1'])
    s.VIF.add_ipv4_allowed(vif, '10.0.0.2')
    s.VIF.remove_ipv4_allowed(vif, '10.0.0.1')
    s.VIF.set_ipv6_allowed(vif, ['2001:db8::1'])
    s.VIF.add_ipv6_allowed(vif, '2001:db8::2')
    s.VIF.remove_ipv6_allowed(vif, '2001:db8::1')
    s.VIF.set_locking_mode(vif, 'locked')
    r = s.VIF.get_record(vif)
    check((r['ipv4_allowed'], r['ipv6_allowed'], r['locking_mode']) == (['10.0.0.2'], ['2001:db8::2'], 'locked'), 'allowed addresses')
    fails('INVALID_VALUE', 'an algorithm that there is not', s.VIF.set_qos_algorithm_type, vif, 'fair')
    s.VM.hard_shutdown(vm)
    s.VIF.destroy(vif)
    for i in range(7):
        s.VIF.create(dict(card, device=str(i)))
    check(len(s.VM.get_VIFs(vm)) == 7, 'seven cards')

    # VLANs that a card carries itself: not within a VLAN.
    eight = network(s, 'eight')
    trunk = s.VIF.create(dict(card, device='8', network=eight, trunks=['7', '5']))
    plain = s.VIF.create(dict(card, device='9', network=five))
    vlan = s.VLAN.create(eth1, '5', five)
    fails('VLAN_TAG_INVALID', 'a card with a tag that there is not', s.VIF.create, dict(card, device='10', trunks=['4095']))
    check(fails('VLAN_TAG_INVALID', 'adding one', s.VIF.add_trunks, trunk, '9999') == ['9999'], 'which is named')
    check(fails('NETWORK_INCOMPATIBLE_WITH_TRUNKS', 'trunks on a VLAN', s.VIF.create, dict(card, device='10', network=five, trunks=['6'])) == [five],
          'the network is named')
    fails('NETWORK_INCOMPATIBLE_WITH_TRUNKS', 'adding one there', s.VIF.add_trunks, plain, '6')
    fails('NETWORK_INCOMPATIBLE_WITH_TRUNKS', 'setting some there', s.VIF.set_trunks, plain, ['6'])
    fails('NETWORK_INCOMPATIBLE_WITH_TRUNKS', 'moving there', s.VIF.move, trunk, five)
    fails('NETWORK_INCOMPATIBLE_WITH_TRUNKS', 'a VLAN for the network of such a card', s.VLAN.create, eth1, '8', eight)
    s.VIF.add_trunks(trunk, '9')
    s.VIF.remove_trunks(trunk, '7')
    check(sorted(s.VIF.get_trunks(trunk)) == ['5', '9'], 'added and removed')
    s.VIF.set_trunks(trunk, [])
    s.VIF.set_trunks(plain, [])
    s.VIF.move(trunk, five)
    check(s.VIF.get_trunks(trunk) == [] and s.VIF.get_network(trunk) == five, 'without any it may go there')
    s.VLAN.destroy(vlan)
done()
