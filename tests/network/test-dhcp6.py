#!/usr/bin/env python3
"""An IPv6 address by DHCP, from dnsmasq at the other end of the cable: the client, its lease, the way out by the router's word; kept over
a restart, gone with its mode."""
import atexit
import ctypes
import glob
import os
import subprocess

from harness import LEVEL, Agent, check, done, fails, own_network, wait_until
from world import World, addresses, links, run

own_network()
far = World()
# A name that no other process has: dhcpcd keeps its files by the names of interfaces, for the whole machine and not for a network namespace.
NUMBER = os.getpid()
CARD, BRIDGE, WIRE = ('%s%d' % (kind, NUMBER) for kind in ('eth', 'xenbr', 'wire'))
atexit.register(lambda: [os.unlink(f) for f in glob.glob('/var/lib/dhcpcd/%s.*' % BRIDGE)])
far.cable('eth0', 'wire0')             # management's
far.cable(CARD, WIRE)
far.run('ip', '-6', 'addr', 'add', '2001:db8:66::1/64', 'dev', WIRE, 'nodad')


def serve(folder):
    """dnsmasq, when it is there for everybody."""
    server = subprocess.Popen(far.into + ['dnsmasq', '--conf-file=/dev/null', '--keep-in-foreground', '--port=0', '--interface=' + WIRE, '--bind-interfaces',
                                          '--dhcp-range=2001:db8:66::100,2001:db8:66::1ff,64,1h', '--enable-ra', '--ra-param=%s,4,60' % WIRE,
                                          '--dhcp-option=option6:dns-server,[2001:db8:66::9],[2001:db8:66::a]', '--user=root', '--pid-file=',
                                          '--dhcp-leasefile=%s/leases' % folder, '--log-dhcp', '--log-facility=%s/log' % folder],
                              preexec_fn=lambda: ctypes.CDLL(None).prctl(1, 9))       # PR_SET_PDEATHSIG
    if not wait_until(lambda: os.path.exists(folder + '/log') and 'router advertisement on' in open(folder + '/log').read()):
        raise RuntimeError('dnsmasq does not begin: %s' % open(folder + '/log').read())
    return server


def clients():
    """The clients in this network namespace; each has helpers of other names."""
    found = []
    for p in filter(str.isdigit, os.listdir('/proc')):
        try:
            line = open('/proc/%s/cmdline' % p, 'rb').read()
            if line.startswith((b'dhcpcd: %s [ip6]' % BRIDGE.encode(), b'dhcpcd\0')) and os.readlink('/proc/%s/ns/net' % p) == os.readlink('/proc/self/ns/net'):
                found.append(p)
        except OSError:
            continue
    return sorted(found)


with Agent(net='bridge') as agent:
    s = agent.login()
    pif = [ref for ref, r in s.PIF.get_all_records().items() if r['device'] == CARD][0]
    s.PIF.plug(pif)
    folder = os.path.join(agent.root, 'far')
    os.mkdir(folder)
    server = serve(folder)
    s.PIF.reconfigure_ipv6(pif, 'DHCP', '', '', '')
    given = lambda: [a for a in addresses(BRIDGE) if a.startswith('2001:db8:66::1') and a.endswith('/128')]
    check(wait_until(lambda: len(given()) == 1), 'an address of the server\'s')
    check(given() == addresses(BRIDGE), 'and no other of the host\'s own making: %s' % addresses(BRIDGE))
    address = given()[0].split('/')[0]
    check(wait_until(lambda: s.PIF.get_IPv6(pif) == given()) and s.PIF.get_IP(pif) == '', 'which its record has')
    check(wait_until(lambda: s.PIF.get_DNS(pif) == '2001:db8:66::9,2001:db8:66::a'), 'with the resolvers')
    check(wait_until(lambda: 'dev ' + BRIDGE in run('ip', '-6', 'route', 'show', 'default')), 'the way out is what the router says')
    check(wait_until(lambda: far.reaches(address)), 'the world reaches it')
    first = clients()
    check(len(first) == 1, 'a client asks')
    agent.kill()
    check(given() == [address + '/128'], 'the address outlives the agent')
    agent.start()
    s = agent.login()
    check(clients() == first and given() == [address + '/128'], 'the next agent keeps the client')
    s.PIF.reconfigure_ipv6(pif, 'None', '', '', '')
    check(clients() == [] and addresses(BRIDGE) == [] and s.PIF.get_IPv6(pif) == [], 'no address: no client')
    s.PIF.reconfigure_ipv6(pif, 'DHCP', '', '', '')
    s.PIF.reconfigure_ipv6(pif, 'None', '', '', '')
    s.PIF.reconfigure_ipv6(pif, 'DHCP', '', '', '')
    check(wait_until(lambda: given() == [address + '/128']), 'to and fro: the same address again')
    s.PIF.reconfigure_ipv6(pif, 'Static', '2001:db8:66::7/64', '2001:db8:66::1', '')
    check(clients() == [] and addresses(BRIDGE) == ['2001:db8:66::7/64'] and far.reaches('2001:db8:66::7'), 'a fixed one instead')

    # The interface that the host is managed through, and known by its IPv6 address.
    s.PIF.set_primary_address_type(pif, 'IPv6')
    s.host.management_reconfigure(pif)
    s.PIF.reconfigure_ipv6(pif, 'DHCP', '', '', '')
    check(given() == [address + '/128'], 'of the management interface it is there when the call returns')
    if LEVEL == 'full':
        s.PIF.reconfigure_ipv6(pif, 'Static', '2001:db8:66::7/64', '2001:db8:66::1', '')
        server.kill()
        server.wait()
        why = fails('PIF_CONFIGURATION_ERROR', 'without a server', s.PIF.reconfigure_ipv6, pif, 'DHCP', '', '', '')
        check('no DHCPv6 server' in why[1] and addresses(BRIDGE) == ['2001:db8:66::7/64'] and clients() == [], 'it is as before: %s' % why[1])
    s.PIF.reconfigure_ipv6(pif, 'Static', '2001:db8:66::7/64', '2001:db8:66::1', '')
    server.kill()
    server.wait()
    check(BRIDGE in links() and clients() == [], 'nobody asks any more')
far.close()
done()
