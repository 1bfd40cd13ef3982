#!/usr/bin/env python3
"""Bonds in three modes between two machines of the rig, changed from one to another, each cable pulled under ping; LACP agreed with the
kernel's bonding of the other machine. Then Open vSwitch with the kernel's datapath: a card, a VLAN, a guest's card, and the same bonds. LEVEL=full."""
import os
import sys

sys.path.insert(0, os.path.join(os.environ['XAPI_SOURCE'], 'tests', 'rig'))
from bonds import GUEST, Switch, bond_story, mode_story, network, pif
from harness import LEVEL, check, done, wait_until
from rig import pair

if LEVEL != 'full':
    print('# twelve cables are pulled: LEVEL=full')
    sys.exit(77)

BEGIN_SWITCH = '''
modprobe -a openvswitch 8021q; mkdir -p /run/openvswitch /etc/openvswitch
ovsdb-tool create /etc/openvswitch/conf.db /usr/share/openvswitch/vswitch.ovsschema
ovsdb-server /etc/openvswitch/conf.db --remote=punix:/run/openvswitch/db.sock --pidfile --detach --no-chdir --log-file=/tmp/ovsdb.log
ovs-vsctl --no-wait init
ovs-vswitchd --pidfile --detach --no-chdir --log-file=/tmp/vswitchd.log'''


def tag_of_card(a, b, s, five, plain):
    """Of what a guest's card sends, seen on the cable."""
    def seen(how, seconds=20):
        return b.run('timeout %d tcpdump -Z root -q -n -c 1 -i eth0 "%s"' % (seconds, how), seconds + 30)[0] == 0

    tagged, untagged = 'vlan 5 and ether src 02:00:00:00:00:55', 'ether src 02:00:00:00:00:55 and ether proto 0x88b5 and not vlan'
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'g')
    s.VM.provision(vm)
    vif = s.VIF.create({'VM': vm, 'network': five, 'device': '0', 'MAC': '02:00:00:00:00:55', 'MTU': '0', 'other_config': {}, 'qos_algorithm_type': '',
                        'qos_algorithm_params': {}})
    s.VM.start(vm, False, False)
    a.put({'/tmp/guest.py': GUEST.encode()})
    a.must('setsid python3 /tmp/guest.py "$(ls /sys/class/net | grep ^vif)" >/tmp/guest.log 2>&1 </dev/null & echo $! >/tmp/guest.pid')
    check(seen(tagged), 'what a guest sends into a VLAN has its tag on the cable')
    check(not seen(untagged, 3), 'and is not there without one')
    s.VIF.move(vif, plain)
    check(seen(untagged), 'moved to the network of the card it has none')
    check(not seen(tagged, 3), 'and none of the old ones')
    a.must('kill $(cat /tmp/guest.pid)')
    s.VM.hard_shutdown(vm)
    s.VM.destroy(vm)


with pair('linux') as two:
    a, b = two.a, two.b
    a.install()
    agent = a.start_agent()
    s = agent.login()
    for mode in ('active-backup', 'balance-slb', 'lacp'):
        bond_story(two, s, mode, (0, 1))
    mode_story(two, s)
    agent.stop()

    # The same records with the switch in the kernel.
    a.must(BEGIN_SWITCH)
    agent.argv[agent.argv.index('bridge')] = 'openvswitch'
    agent.start()
    s = agent.login()
    check(s.host.get_software_version(s.host.get_all()[0])['network_backend'] == 'openvswitch', 'Open vSwitch is the backend')
    eth0 = pif(s, 'eth0')
    s.PIF.plug(eth0)
    s.PIF.reconfigure_ip(eth0, 'Static', '10.1.0.1', '255.255.255.0', '', '')
    b.must('ip address add 10.1.0.2/24 dev eth0; ip link set eth0 up')
    reaches = lambda address: b.run('ping -q -c 2 -i 0.2 -W 2 ' + address, 30)[0] == 0
    check(wait_until(lambda: reaches('10.1.0.1'), 30), 'a card on its bridge is reached')
    check('system@ovs-system' in a.must('ovs-dpctl show') and 'xenbr0' in a.must('ovs-dpctl show'), 'by the datapath in the kernel')
    five = network(s, 'five')
    vlan = s.VLAN.create(eth0, '5', five)
    s.PIF.reconfigure_ip(s.VLAN.get_untagged_PIF(vlan), 'Static', '10.5.0.1', '255.255.255.0', '', '')
    b.must('ip link add link eth0 name v5 type vlan id 5; ip address add 10.5.0.2/24 dev v5; ip link set v5 up')
    check(wait_until(lambda: reaches('10.5.0.1'), 30), 'a VLAN reaches the same VLAN there')
    b.must('ip link del v5; ip link add link eth0 name v5 type vlan id 6; ip address add 10.5.0.2/24 dev v5; ip link set v5 up')
    check(not reaches('10.5.0.1'), 'and no other')
    b.must('ip link del v5')
    agent.kill()
    agent.start()
    s = agent.login()
    check(wait_until(lambda: reaches('10.1.0.1'), 30), 'an agent that begins again changes nothing')
    tag_of_card(a, b, s, five, s.PIF.get_network(eth0))
    s.VLAN.destroy(vlan)
    s.PIF.unplug(eth0)
    b.must('ip address flush dev eth0')
    for mode in ('active-backup', 'balance-slb', 'lacp'):
        bond_story(two, s, mode, (0, 1), Switch)
    mode_story(two, s, Switch)
    agent.stop()
done()
