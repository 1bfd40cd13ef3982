#!/usr/bin/env python3
"""What needs a kernel with all its modules, between two machines of the rig: VLANs, bonds in three modes with a cable pulled under
ping, VXLAN and GRE, DHCP from dnsmasq, IPv6 by radvd."""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.environ['XAPI_SOURCE'], 'tests', 'rig'))
from harness import check, done, wait_until
from rig import pair


FULL = os.environ.get('LEVEL') == 'full'      # else one bond, one cable, one tunnel


def network(s, name):
    return s.network.create({'name_label': name, 'name_description': '', 'MTU': '1500', 'other_config': {}})


def pif(s, device):
    return [p for p, r in s.PIF.get_all_records().items() if r['device'] == device and r['VLAN'] == '-1'][0]


with pair('linux') as two:
    a, b = two.a, two.b

    def answers(address, count=3):
        return b.run('ping -q -c %d -i 0.2 -W 2 %s' % (count, address), 30)[0] == 0

    a.install()
    a.must('command -v udhcpc || ln -s /bin/busybox /usr/sbin/udhcpc')
    agent = a.start_agent()
    s = agent.login()
    eth0, eth1, eth2 = (pif(s, 'eth%d' % i) for i in range(3))
    s.PIF.plug(eth0)
    s.PIF.reconfigure_ip(eth0, 'Static', '10.1.0.1', '255.255.255.0', '', '')
    b.must('ip address add 10.1.0.2/24 dev eth0; ip link set eth0 up')
    check(wait_until(lambda: answers('10.1.0.1', 1), 20), 'a card on its bridge is reached')

    # 802.1Q.
    five = network(s, 'five')
    vlan = s.VLAN.create(eth0, '5', five)
    top = s.VLAN.get_untagged_PIF(vlan)
    s.PIF.reconfigure_ip(top, 'Static', '10.5.0.1', '255.255.255.0', '', '')
    b.must('ip link add link eth0 name v5 type vlan id 5; ip address add 10.5.0.2/24 dev v5; ip link set v5 up')
    check(answers('10.5.0.1'), 'a VLAN reaches the same VLAN there')
    b.must('ip link del v5; ip link add link eth0 name v5 type vlan id 6; ip address add 10.5.0.2/24 dev v5; ip link set v5 up')
    check(not answers('10.5.0.1', 1), 'and no other')
    b.must('ip link del v5')
    before = a.must('ip -o link | sed "s/^[0-9]*: //; s/ state .*//" | sort')
    agent.kill()
    agent.start()
    s = agent.login()
    check(a.must('ip -o link | sed "s/^[0-9]*: //; s/ state .*//" | sort') == before, 'an agent that begins again changes nothing')
    s.VLAN.destroy(vlan)
    check('eth0.5' not in a.must('ip -o link'), 'destroyed')

    # Tunnels.
    seven = network(s, 'seven')
    for protocol, far in (('vxlan', 'type vxlan id %d remote 10.1.0.1 local 10.1.0.2 dstport 4789'),
                          ('gre', 'type gretap key %d remote 10.1.0.1 local 10.1.0.2'))[:2 if FULL else 1]:
        tunnel = s.tunnel.create(eth0, seven, protocol)
        s.tunnel.set_other_config(tunnel, {'remote': '10.1.0.2', 'key': '77'})
        access = s.tunnel.get_access_PIF(tunnel)
        s.PIF.reconfigure_ip(access, 'Static', '10.7.0.1', '255.255.255.0', '', '')
        b.must('ip link add tun0 %s; ip address add 10.7.0.2/24 dev tun0; ip link set tun0 up' % (far % 77))
        check(answers('10.7.0.1'), 'a tunnel by %s' % protocol)
        b.must('ip link del tun0')
        s.tunnel.destroy(tunnel)
    s.PIF.unplug(eth0)
    b.must('ip address flush dev eth0')

    # Bonds: the other side is a switch, or (LACP) a bond too, which agrees with ours.
    def pull(cable, out=True):
        """Both ends lose their link, as of a cable."""
        for machine in (a, b):
            machine.pull_cable(cable, out)

    def agreed():
        """Both members in one aggregate with a partner that has said who it is."""
        text = a.must('cat /proc/net/bonding/bond0')
        aggregates = re.findall(r'^Aggregator ID: (\d+)', text, re.M)
        partner = re.search(r'Partner Mac Address: (\S+)', text)
        return len(aggregates) == 2 and len(set(aggregates)) == 1 and partner and partner[1] == b.must('cat /sys/class/net/far/address')

    def silence():
        """The longest time without an answer, of a ping that has ended, in seconds."""
        at = [float(t) for t in re.findall(r'^\[([\d.]+)\] .*bytes from', b.must('cat /tmp/ping'), re.M)]
        return max([y - x for x, y in zip(at, at[1:])] or [0])

    bonded = network(s, 'bonded')
    for mode in ('active-backup', 'balance-slb', 'lacp') if FULL else ('active-backup',):
        bond = s.Bond.create(bonded, [eth0, eth1], '', mode, {'lacp-time': 'fast'} if mode == 'lacp' else {})
        master = s.Bond.get_master(bond)
        s.PIF.set_other_config(master, {'bond-updelay': '0', 'bond-downdelay': '0'})
        s.PIF.reconfigure_ip(master, 'Static', '10.2.0.1', '255.255.255.0', '', '')
        if mode == 'lacp':
            b.must('ip link set eth0 down; ip link set eth1 down; ip link add far type bond mode 802.3ad miimon 50 lacp_rate fast')
        else:
            b.must('ip link add far type bridge')
        b.must('ip link set eth0 master far; ip link set eth1 master far; ip link set eth0 up; ip link set eth1 up; '
               'ip address add 10.2.0.2/24 dev far; ip link set far up')
        check(wait_until(lambda: answers('10.2.0.1', 1), 60), '%s: reached' % mode)
        shown = a.must('cat /sys/class/net/bond0/bonding/mode /sys/class/net/bond0/bonding/slaves')
        check({'active-backup': 'active-backup', 'balance-slb': 'balance-xor', 'lacp': '802.3ad'}[mode] in shown and {'eth0', 'eth1'} <= set(shown.split()),
              '%s: the kernel has %s' % (mode, shown.split()))
        if mode == 'lacp':
            check(wait_until(agreed, 60), 'lacp: both ends have agreed on one aggregate of two links')
        duplicates = b.run('ping -c 5 -i 0.2 10.2.0.1', 30)[1]
        check('DUP!' not in duplicates, '%s: nothing comes twice' % mode)
        for cable in (0, 1) if FULL else (0,):
            b.must('rm -f /tmp/ping; setsid ping -D -i 0.2 10.2.0.1 >/tmp/ping 2>&1 </dev/null & echo $! >/tmp/ping.pid')
            pull(cable)
            check(wait_until(lambda: s.Bond.get_links_up(bond) == '1', 15), '%s: one link is seen to be down' % mode)
            check(not s.PIF_metrics.get_carrier(s.PIF.get_metrics((eth0, eth1)[cable])), '%s: it is that of eth%d' % (mode, cable))
            check(wait_until(lambda: answers('10.2.0.1', 2), 30), '%s: the world is reached by the other' % mode)
            pull(cable, False)
            check(wait_until(lambda: s.Bond.get_links_up(bond) == '2', 15), '%s: and it is back' % mode)
            check(mode != 'lacp' or wait_until(agreed, 60), '%s: and used again' % mode)
            check(wait_until(lambda: answers('10.2.0.1', 2), 30), '%s: the world is still reached' % mode)
            b.must('kill $(cat /tmp/ping.pid)')
            print('# %s, eth%d pulled under ping: %.1f s without an answer' % (mode, cable, silence()), flush=True)
        alerts = [r['body'] for r in s.message.get_all_records().values() if r['name'] == 'BOND_STATUS_CHANGED']
        check(any('eth0+eth1 bond changed: 1/2 up (was 2/2)' in body for body in alerts), '%s: an alert tells it' % mode)
        s.Bond.destroy(bond)
        check('bond0' not in a.must('ip -o link'), '%s: dissolved' % mode)
        b.must('ip link del far; ip link set eth0 nomaster; ip link set eth1 nomaster')
        for p in (eth0, eth1):
            s.PIF.reconfigure_ip(p, 'None', '', '', '', '')
            s.PIF.unplug(p)

    # Addresses from the network.
    b.must('''ip link set eth2 down; ip link set eth2 address 52:54:00:00:09:02
        ip address add 10.3.0.1/24 dev eth2; ip -6 address add 2001:db8:3::1/64 dev eth2 nodad; ip link set eth2 up
        sysctl -qw net.ipv6.conf.all.forwarding=1
        setsid dnsmasq --port=0 --interface=eth2 --bind-interfaces --dhcp-range=10.3.0.50,10.3.0.60,1h --dhcp-option=6,10.3.0.9 \
            --dhcp-leasefile=/tmp/leases --user=root --no-ping >/tmp/dnsmasq.log 2>&1 </dev/null &
        printf 'interface eth2 { AdvSendAdvert on; MaxRtrAdvInterval 4; MinRtrAdvInterval 3; prefix 2001:db8:3::/64 { AdvAutonomous on; }; };' >/tmp/ra
        setsid radvd -n -C /tmp/ra -p /tmp/radvd.pid -u root >/tmp/radvd.log 2>&1 </dev/null &
        sleep 1''')
    s.PIF.plug(eth2)
    s.PIF.reconfigure_ip(eth2, 'DHCP', '', '', '', '')
    check(wait_until(lambda: s.PIF.get_IP(eth2).startswith('10.3.0.'), 30), 'an address from dnsmasq')
    check(answers(s.PIF.get_IP(eth2)) and s.PIF.get_gateway(eth2) == '10.3.0.1', 'with which it is reached, and the gateway')
    check(s.PIF.get_DNS(eth2) == '10.3.0.9', 'and the resolver')
    s.PIF.reconfigure_ipv6(eth2, 'Autoconf', '', '', '')
    check(wait_until(lambda: 'inet6 2001:db8:3:' in a.must('ip -6 address show dev xenbr2'), 30), 'an IPv6 address by radvd')
    check(wait_until(lambda: s.PIF.get_IPv6(eth2) and s.PIF.get_IPv6(eth2)[0].startswith('2001:db8:3:'), 10), 'which its record has')
    agent.stop()
done()
