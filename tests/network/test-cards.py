#!/usr/bin/env python3
"""A NIC of the host on its bridge, with real frames: addresses move and come back, DHCP, the way back, locked and limited cards."""
import os
import subprocess

from frames import Guest
from harness import Agent, check, done, fails, own_network, wait_until
from world import World, addresses, links, run

own_network()
far = World()
away, reaches = far.run, far.reaches
far.cable('eth0', 'wire0')
far.cable('eth1', 'wire1')
run('ip', 'addr', 'add', '198.51.100.7/24', 'dev', 'eth0')
run('ip', 'route', 'add', 'default', 'via', '198.51.100.1')
away('ip', 'addr', 'add', '198.51.100.1/24', 'dev', 'wire0')
run('ip', 'link', 'add', 'docker0', 'type', 'bridge')
run('ip', 'addr', 'add', '172.17.0.1/16', 'dev', 'docker0')
run('ip', 'link', 'set', 'docker0', 'up')


def settings(name):
    return {k: links()[name].get(k) for k in ('ifindex', 'flags', 'mtu', 'master', 'address', 'group', 'promiscuity', 'ifalias')}, addresses(name)


foreign = settings('docker0')


with Agent(net='bridge') as agent:
    s = agent.login()
    pif = {r['device']: ref for ref, r in s.PIF.get_all_records().items()}
    eth0 = pif['eth0']
    check(addresses('eth0') == ['198.51.100.7/24'] and 'xenbr0' not in links(), 'at first nothing of the host changes')
    s.PIF.plug(eth0)
    have = links()
    check(have['eth0'].get('master') == 'xenbr0' and addresses('eth0') == [], 'plugged: the card is a port')
    check(addresses('xenbr0') == ['198.51.100.7/24'] and have['xenbr0']['address'] == have['eth0']['address'], 'the bridge has its address and MAC')
    check('198.51.100.1 dev xenbr0' in run('ip', 'route', 'show', 'default'), 'and the default route')
    check(reaches('198.51.100.7'), 'and answers the world')

    # Addresses.
    s.PIF.reconfigure_ip(eth0, 'Static', '198.51.100.8', '255.255.255.0', '198.51.100.1', '')
    check(addresses('xenbr0') == ['198.51.100.8/24'] and reaches('198.51.100.8'), 'another address')
    why = fails('PIF_CONFIGURATION_ERROR', 'one whose gateway does not answer', s.PIF.reconfigure_ip, eth0, 'Static', '203.0.113.5',
                '255.255.255.0', '203.0.113.1', '')
    check('203.0.113.1 does not answer' in why[1], 'which is said: %s' % why[1])
    check(addresses('xenbr0') == ['198.51.100.8/24'] and s.PIF.get_IP(eth0) == '198.51.100.8' and reaches('198.51.100.8'),
          'and the way back was found')

    # Killed before the new address was proven: the old one again.
    pid = os.fork()
    if not pid:
        try:
            agent.login().PIF.reconfigure_ip(eth0, 'Static', '203.0.113.5', '255.255.255.0', '203.0.113.1', '')
        finally:
            os._exit(0)
    check(wait_until(lambda: addresses('xenbr0') == ['203.0.113.5/24']), 'a new address is being proven')
    agent.kill()
    os.waitpid(pid, 0)
    agent.start()
    s = agent.login()
    check(addresses('xenbr0') == ['198.51.100.8/24'] and s.PIF.get_IP(eth0) == '198.51.100.8', 'killed meanwhile: the old one is back')

    # DHCP.
    folder = os.path.join(agent.root, 'far')
    os.mkdir(folder)
    open(folder + '/leases', 'w').close()
    with open(folder + '/conf', 'w') as f:
        f.write('start 198.51.100.50\nend 198.51.100.50\ninterface wire0\nlease_file %s/leases\npidfile %s/pid\noption subnet 255.255.255.0\n'
                'option router 198.51.100.1\noption dns 198.51.100.2 198.51.100.3\noption lease 600\n' % (folder, folder))
    server = subprocess.Popen(['nsenter', '-t', str(far.pid), '-n', 'busybox', 'udhcpd', '-f', folder + '/conf'],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    s.PIF.reconfigure_ip(eth0, 'DHCP', '', '', '', '')
    r = s.PIF.get_record(eth0)
    check(addresses('xenbr0') == ['198.51.100.50/24'] and r['IP'] == '198.51.100.50' and r['netmask'] == '255.255.255.0', 'an address by DHCP')
    check(r['gateway'] == '198.51.100.1' and r['DNS'] == '198.51.100.2,198.51.100.3', 'with gateway and resolvers')
    check('nameserver 198.51.100.3' in open(agent.root + '/etc/resolv.conf').read(), 'which the machine asks now')

    def clients():
        found = []
        for p in filter(str.isdigit, os.listdir('/proc')):
            try:
                line = open('/proc/%s/cmdline' % p, 'rb').read()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if line.startswith(b'udhcpc\0') and agent.root.encode() in line:
                found.append(p)
        return found

    first = clients()
    check(len(first) == 1, 'one client asks')
    agent.kill()
    check(addresses('xenbr0') == ['198.51.100.50/24'], 'the address outlives the agent')
    agent.start()
    s = agent.login()
    check(clients() == first, 'the next agent keeps the client')
    server.kill()
    server.wait()
    s.PIF.reconfigure_ip(eth0, 'Static', '198.51.100.8', '255.255.255.0', '198.51.100.1', '')
    check(wait_until(lambda: clients() == []) and addresses('xenbr0') == ['198.51.100.8/24'], 'a fixed address again: no client')

    s.PIF.reconfigure_ipv6(eth0, 'Static', '2001:db8::8/64', '', '')
    check(addresses('xenbr0') == ['198.51.100.8/24', '2001:db8::8/64'], 'an IPv6 address beside it')
    away('ip', 'addr', 'add', '2001:db8::1/64', 'dev', 'wire0', 'nodad')
    check(reaches('2001:db8::8'), 'which answers')
    s.PIF.reconfigure_ipv6(eth0, 'None', '', '', '')
    check(addresses('xenbr0') == ['198.51.100.8/24'], 'gone again')

    # A guest's card with the world on the other side.
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'g')
    s.VM.provision(vm)
    mac = '02:00:00:00:00:55'
    vif = s.VIF.create({'VM': vm, 'network': s.PIF.get_network(eth0), 'device': '0', 'MAC': mac, 'MTU': '0', 'other_config': {},
                        'qos_algorithm_type': '', 'qos_algorithm_params': {}})
    s.VM.start(vm, False, False)
    tap = [n for n in links() if n.startswith('vif')][0]
    check(links()[tap].get('master') == 'xenbr0', 'a card on the bridge of the NIC')

    guest = Guest(tap, mac, far.pid)
    passes, ipv4 = guest.passes, guest.ipv4
    check(passes(ipv4('10.66.0.1')) and passes(guest.arp('10.66.0.1')) and passes(guest.ether(0x88b5, '02:66:66:66:66:66') + b'\0' * 46),
          'unlocked: anything passes')
    s.VIF.set_ipv4_allowed(vif, ['198.51.100.60', '198.51.100.61'])
    s.VIF.set_ipv6_allowed(vif, ['2001:db8::60'])
    s.VIF.set_locking_mode(vif, 'locked')
    guest.check_locked()
    s.VIF.remove_ipv4_allowed(vif, '198.51.100.61')
    check(not passes(ipv4('198.51.100.61')) and passes(ipv4('198.51.100.60')), 'an address is taken from it while it runs')
    agent.kill()
    check(not passes(ipv4('198.51.100.62')), 'the lock outlives the agent')
    agent.start()
    s = agent.login()
    check(not passes(ipv4('198.51.100.62')) and passes(ipv4('198.51.100.60')), 'and the next one keeps it')
    s.VIF.set_locking_mode(vif, 'disabled')
    check(not passes(ipv4('198.51.100.60')) and 'master' not in links()[tap], 'disabled: nothing at all')
    s.VIF.set_locking_mode(vif, 'unlocked')
    check(passes(ipv4('10.66.0.1')), 'unlocked again')
    guest.check_trunks(s, vif)
    guest.close()
    s.VM.hard_shutdown(vm)
    check('xapi-vif' not in run('nft', 'list', 'tables'), 'no rules stay behind')
    s.VIF.destroy(vif)

    # Management over another card: only when it leads somewhere.
    eth1 = pif['eth1']
    s.PIF.plug(eth1)
    s.PIF.reconfigure_ip(eth1, 'Static', '203.0.113.8', '255.255.255.0', '203.0.113.1', '')

    def managed(card, bridge):
        return [ref for ref, r in s.PIF.get_all_records().items() if r['management']] == [card] and \
            'dev ' + bridge in run('ip', 'route', 'show', 'default')
    why = fails('PIF_CONFIGURATION_ERROR', 'management over a card whose gateway does not answer', s.host.management_reconfigure, eth1)
    check('203.0.113.1 does not answer' in why[1] and managed(eth0, 'xenbr0') and reaches('198.51.100.8'), 'it stays where it was: %s' % why[1])
    pid = os.fork()
    if not pid:
        try:
            agent.login().host.management_reconfigure(eth1)
        finally:
            os._exit(0)
    check(wait_until(lambda: 'dev xenbr1' in run('ip', 'route', 'show', 'default')), 'another card is being proven')
    agent.kill()
    os.waitpid(pid, 0)
    agent.start()
    s = agent.login()
    check(managed(eth0, 'xenbr0') and reaches('198.51.100.8'), 'killed meanwhile: the old one has it')
    away('ip', 'addr', 'add', '203.0.113.1/24', 'dev', 'wire1')
    s.host.management_reconfigure(eth1)
    check(managed(eth1, 'xenbr1') and reaches('203.0.113.8'), 'one whose gateway answers gets it')
    s.host.management_reconfigure(eth0)
    check(managed(eth0, 'xenbr0'), 'and gives it back')

    # What is not ours is as it was.
    check(settings('docker0') == foreign, 'somebody else\'s bridge was never touched')
    fails('NETWORK_UNMANAGED', 'a VLAN for a network that is not managed', s.VLAN.create, eth0, '5',
          s.network.create({'name_label': 'own', 'name_description': '', 'MTU': '1500', 'other_config': {}, 'bridge': 'docker0', 'managed': False}))
    missing = s.network.create({'name_label': 'gone', 'name_description': '', 'MTU': '1500', 'other_config': {}, 'bridge': 'br-gone',
                                'managed': False})
    lost = s.VIF.create({'VM': vm, 'network': missing, 'device': '1', 'MAC': '', 'MTU': '0', 'other_config': {}, 'qos_algorithm_type': '',
                         'qos_algorithm_params': {}})
    fails('BRIDGE_NOT_AVAILABLE', 'a card on a bridge that nobody made', s.VM.start, vm, False, False)
    s.VIF.destroy(lost)
far.close()
done()
