#!/usr/bin/env python3
"""What needs a kernel with all its modules, between two machines of the rig: VLANs, a bond with a cable pulled under ping and a guest's card
on a VLAN of it, VXLAN and GRE, DHCP from dnsmasq, IPv6 by radvd; and what sysfs says of a card."""
import os
import sys

sys.path.insert(0, os.path.join(os.environ['XAPI_SOURCE'], 'tests', 'rig'))
from bonds import bond_story, network, pif
from harness import check, done, wait_until
from rig import pair

FULL = os.environ.get('LEVEL') == 'full'      # else one tunnel; test-bonds.py has the other bonds


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

    # What sysfs says of a card, and its counters.
    a.must('ethtool -s eth0 speed 1000 duplex full')
    sysfs = a.must('cd /sys/class/net/eth0; cat device/vendor device/device speed duplex carrier; basename $(readlink device/driver)').split()

    def metrics():
        s.PIF.scan(s.host.get_all()[0])
        m = s.PIF_metrics.get_record(s.PIF.get_metrics(eth0))
        return ['0x' + m['vendor_id'], '0x' + m['device_id'], m['speed'], 'full' if m['duplex'] else 'half', '1' if m['carrier'] else '0', m['device_name']]
    check(wait_until(lambda: metrics() == sysfs, 30), 'vendor, device, speed, duplex, carrier and driver are those of sysfs: %s %s' % (sysfs, metrics()))
    s.host.record_data_source(s.host.get_all()[0], 'pif_eth0_rx')
    b.must('setsid ping -i 0.05 -s 1000 10.1.0.1 >/dev/null 2>&1 </dev/null & echo $! >/tmp/load.pid')
    check(wait_until(lambda: s.host.query_data_source(s.host.get_all()[0], 'pif_eth0_rx') > 2000, 60), 'what comes in by it is counted')
    b.must('kill $(cat /tmp/load.pid)')

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

    bond_story(two, s, 'active-backup', (0,), tagged=True)

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
