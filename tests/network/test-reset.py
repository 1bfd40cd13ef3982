#!/usr/bin/env python3
"""xe-reset-networking: who has lost the way to the host gets it back with the next start of the agent, also one that is killed in the
middle of it; what nobody can mean is refused."""
import json
import os
import subprocess

from harness import BUILD, Agent, check, done, own_network, wait_until
from switch import Switch

own_network()
os.environ['PATH'] += ':/usr/sbin:/sbin'
STATIC = ['--mode', 'static', '--ip', '198.51.100.9', '--netmask', '255.255.255.0', '--gateway', '198.51.100.1']
STEPS = range(1, 60) if os.environ.get('LEVEL') == 'full' else (1, 2, 4, 7)       # which request of a start kills it


def run(*args):
    return subprocess.run(args, capture_output=True, text=True, check=True).stdout


def links():
    return {l['ifname']: l for l in json.loads(run('ip', '-d', '-j', 'addr'))}


def addresses(name):
    l = links().get(name)
    return sorted('%s/%d' % (a['local'], a['prefixlen']) for a in l['addr_info'] if a['scope'] == 'global') if l else None


def network():
    """name -> bridge, MTU, addresses; and the default route, and what the switch has."""
    out = {n: (l.get('master'), l['mtu'], addresses(n)) for n, l in links().items()}
    return dict(out, default=run('ip', 'route', 'show', 'default'), switch={b: here.ports(b) for b in here.vsctl('list-br').split()})


far = subprocess.Popen(['unshare', '-n', 'cat'], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)     # ends with us
wait_until(lambda: os.readlink('/proc/%d/ns/net' % far.pid) != os.readlink('/proc/self/ns/net'))
into = ['nsenter', '-t', str(far.pid), '-n']
for i in (0, 1):
    run('ip', 'link', 'add', 'eth%d' % i, 'type', 'veth', 'peer', 'name', 'wire%d' % i, 'netns', str(far.pid))
    run('ip', 'link', 'set', 'eth%d' % i, 'up')
    run(*into, 'ip', 'link', 'set', 'wire%d' % i, 'up')
run('ip', 'addr', 'add', '198.51.100.7/24', 'dev', 'eth0')
run('ip', 'link', 'add', 'docker0', 'type', 'bridge')
run('ip', 'addr', 'add', '172.17.0.1/16', 'dev', 'docker0')

here, there = Switch(), Switch(far.pid)
there.vsctl('add-br', 'far', '--', 'set', 'bridge', 'far', 'datapath_type=netdev', '--', 'add-port', 'far', 'wire1', '--', 'add-port', 'far', 'v6',
            'tag=6', '--', 'set', 'interface', 'v6', 'type=internal')
run(*into, 'ip', 'addr', 'add', '10.6.0.1/24', 'dev', 'v6')
run(*into, 'ip', 'link', 'set', 'v6', 'up')
here.vsctl('add-br', 'br-admin', '--', 'set', 'bridge', 'br-admin', 'datapath_type=netdev')
os.environ['OVS_RUNDIR'] = here.dir
agent = Agent(net='openvswitch', faults=True)
wish = agent.root + '/network-reset'


def tool(*options):
    r = subprocess.run([BUILD + '/run', 'xe-reset-networking', '--root', agent.root, *options], capture_output=True, text=True, check=False)
    return r.returncode, r.stdout + r.stderr


def refused(what, options, says):
    code, text = tool(*options)
    check(code == 2 and says in text and not os.path.exists(wish), 'refused: %s: %s' % (what, text.strip()))


with here, there, agent:
    s = agent.login()
    for what, options, says in (
            ('no such card', ['--device', 'eth7'], 'there is no such card'), ('a path', ['--device', '../eth0'], 'no name'),
            ('no mode', ['--mode', 'bootp'], 'mode'), ('static alone', ['--mode', 'static'], 'needs --ip'),
            ('without a netmask', ['--mode', 'static', '--ip', '198.51.100.9'], 'needs --netmask'),
            ('no address', ['--mode', 'static', '--ip', '198.51.100.900', '--netmask', '255.255.255.0'], 'no IPv4 address'),
            ('no netmask', ['--mode', 'static', '--ip', '198.51.100.9', '--netmask', '255.0.255.0'], 'no netmask'),
            ('no gateway', STATIC[:-1] + ['here'], 'no IPv4 address'), ('an address by DHCP', ['--ip', '198.51.100.9'], 'goes with --mode static'),
            ('no resolvers', ['--dns', '198.51.100.2,x'], 'no addresses'), ('no VLAN', ['--vlan', '4095'], 'no VLAN'),
            ('half a VLAN', ['--vlan', '5x'], 'no VLAN'), ('no address at all', ['--mode', 'none'], 'no address'),
            ('no length', ['--mode-v6', 'static', '--ipv6', '2001:db8::9'], 'with a length'),
            ('a coordinator of one that leads', ['--master', '192.0.2.1'], 'leads'), ('lines', ['--device', 'eth0\nmode=none'], 'no name'),
            ('words', ['eth0'], 'not understood'), ('nothing to take back', ['--cancel'], 'nothing')):
        refused(what, options, says)

    # What may be in the way: a bond with a VLAN on it, a tunnel, management over the bond, and no cable behind it.
    pif = {r['device']: ref for ref, r in s.PIF.get_all_records().items()}
    own = {d: s.PIF.get_network(p) for d, p in pif.items()}
    s.PIF.plug(pif['eth0'])
    s.host.management_reconfigure(pif['eth0'])
    bonded, five, seven = (s.network.create({'name_label': n, 'name_description': '', 'MTU': '1400', 'other_config': {}})
                           for n in ('bonded', 'five', 'seven'))
    bond = s.Bond.create(bonded, [pif['eth0'], pif['eth1']], '', 'active-backup', {})
    s.VLAN.create(s.Bond.get_master(bond), '5', five)
    s.tunnel.create(s.Bond.get_master(bond), seven, 'vxlan')
    foreign = (links()['docker0']['ifindex'], addresses('docker0'), here.vsctl('--columns=_uuid,ports,external_ids', 'list', 'bridge', 'br-admin'))
    lost = network()
    bridge = s.network.get_bridge(bonded)
    check(lost[bridge][2] == ['198.51.100.7/24'] and 'bond0' in lost['switch'][bridge] and len(lost['switch']) == 4, 'management goes over a bond')
    code, text = tool(*STATIC, '--dns', '198.51.100.2')
    check(code == 0 and 'xapi starts the next time' in text, 'a wish is taken')
    check(os.stat(wish).st_mode & 0o777 == 0o600 and network() == lost, 'and nothing happens yet')
    check(tool('--cancel')[0] == 0 and not os.path.exists(wish), 'it can be taken back')
    agent.stop()
    agent.start()
    check(network() == lost, 'then the next agent changes nothing')

    tool(*STATIC, '--dns', '198.51.100.2')
    agent.stop()
    agent.start()
    s = agent.login()
    new = network()
    check(new['switch'] == {'br-admin': [], 'xenbr0': ['eth0']} and new['xenbr0'][2] == ['198.51.100.9/24'], 'reset: the card of the bond, with the address')
    check('198.51.100.1 dev xenbr0' in new['default'], 'and the gateway')
    rows = {r['device'] + ('.' + r['VLAN'] if r['VLAN'] != '-1' else ''): r for r in s.PIF.get_all_records().values()}
    check(sorted(rows) == ['eth0', 'eth1'] and not s.Bond.get_all() and not s.VLAN.get_all() and not s.tunnel.get_all(), 'bonds, VLANs and tunnels are gone')
    check(rows['eth0']['management'] and rows['eth0']['IP'] == '198.51.100.9' and rows['eth0']['DNS'] == '198.51.100.2', 'it has management')
    check({d: r['network'] for d, r in rows.items()} == own, 'each card is on its network')
    check(s.network.get_PIFs(bonded) == [] and s.host.get_address(s.host.get_all()[0]) == '198.51.100.9', 'networks stay; clients are told the address')
    check(not os.path.exists(wish) and (links()['docker0']['ifindex'], addresses('docker0'), here.vsctl(
        '--columns=_uuid,ports,external_ids', 'list', 'bridge', 'br-admin')) == foreign, 'what is not ours stays as it was')
    check(set(new) - set(lost) <= {'xenbr0'} and bridge not in new, 'nothing of it is left over: %s' % sorted(new))
    agent.stop()
    agent.start()
    s = agent.login()
    check(network() == new, 'once and not again')

    # A VLAN, by DHCP, after management was switched off.
    s.host.management_disable()
    with open(agent.root + '/udhcpd', 'w') as f:
        f.write('start 10.6.0.50\nend 10.6.0.50\ninterface v6\nlease_file %s\npidfile %s\noption subnet 255.255.255.0\noption router 10.6.0.1\n'
                % (agent.root + '/leases', agent.root + '/udhcpd.pid'))
    open(agent.root + '/leases', 'w').close()
    server = subprocess.Popen(into + ['busybox', 'udhcpd', '-f', agent.root + '/udhcpd'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    check(tool('--device', 'eth1', '--vlan', '6')[0] == 0, 'a VLAN of the other card, by DHCP')
    agent.stop()
    agent.start()
    s = agent.login()
    top = s.VLAN.get_untagged_PIF(s.VLAN.get_all()[0])
    bridge = s.network.get_bridge(s.PIF.get_network(top))
    check(s.PIF.get_management(top) and here.get('port', bridge, 'tag') == '6', 'management goes over the VLAN')
    check(wait_until(lambda: addresses(bridge) == ['10.6.0.50/24'] and s.PIF.get_IP(top) == '10.6.0.50'), 'with the address that was leased')
    check(wait_until(lambda: s.host.get_address(s.host.get_all()[0]) == '10.6.0.50'), 'which clients are told')
    check(not os.path.exists(agent.root + '/management-disabled'), 'and it is switched on again')
    server.kill()
    server.wait()

    # By hand, past the program's checks: refused, and the agent serves.
    for text, why in (('device = eth7\n', 'a card that is gone'), ('mode = static\n', 'half an address'), ('\0\1\2', 'rubbish'), ('colour = blue\n', 'an unknown line')):
        agent.stop()
        before = network()
        with open(wish, 'w') as f:
            f.write(text)
        agent.start()
        s = agent.login()
        check(network() == before and not os.path.exists(wish) and open(wish + '.refused').read() == text, 'put aside: ' + why)
    # A member of a pool follows its coordinator to the new address.
    agent.stop()
    with open(agent.root + '/pool.conf', 'w') as f:
        f.write('slave:192.0.2.1\n')
    refused('no coordinator', ['--master', 'a b'], 'no address')
    check(tool(*STATIC, '--device', 'eth0', '--master', '192.0.2.2:9')[0] == 0, 'a member may be told where its coordinator is')
    agent.start()
    check(open(agent.root + '/pool.conf').read() == 'slave:192.0.2.2:9\n' and addresses('xenbr0') == ['198.51.100.9/24'], 'it follows it')
    agent.stop()
    os.unlink(agent.root + '/pool.conf')

    # Killed anywhere: the next one ends it. With Linux bridges.
    agent.net = 'bridge'
    agent.start()
    agent.stop()
    expected = network()
    check(expected['xenbr0'][2] == ['198.51.100.9/24'], 'Linux bridges instead of the switch')
    for point in ('net.reset', 'net.netlink'):
        kills, wrong = 0, []
        for nth in STEPS:
            tool('--device', 'eth1', '--mode', 'none', '--mode-v6', 'static', '--ipv6', '2001:db8::9/64')
            agent.start()
            agent.stop()
            tool(*STATIC, '--device', 'eth0')
            agent.fault = '%s kill %d' % (point, nth)
            try:
                agent.start()
            except RuntimeError:
                kills += 1
            agent.fault = ''
            if agent.process.poll() is None:
                break
            agent.start()
            now = network()
            if now != expected or os.path.exists(wish):
                wrong.append('%s %d: %s' % (point, nth, {k: (now.get(k), expected.get(k)) for k in set(now) | set(expected) if now.get(k) != expected.get(k)}))
            agent.stop()
        check(kills and not wrong, 'killed at %s %d times: %s' % (point, kills, wrong[:2]))
        agent.stop()
    agent.start()
far.kill()
far.wait()
done()
