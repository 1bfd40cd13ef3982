#!/usr/bin/env python3
"""Bonds in three modes between two machines of the rig, each cable pulled under ping; LACP agreed with the kernel's bonding of the other
machine. Then Open vSwitch with the kernel's datapath: a card, a VLAN, and the same bonds. LEVEL=full."""
import os
import sys

sys.path.insert(0, os.path.join(os.environ['XAPI_SOURCE'], 'tests', 'rig'))
from bonds import Switch, bond_story, network, pif
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


with pair('linux') as two:
    a, b = two.a, two.b
    a.install()
    agent = a.start_agent()
    s = agent.login()
    for mode in ('active-backup', 'balance-slb', 'lacp'):
        bond_story(two, s, mode, (0, 1))
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
    s.VLAN.destroy(vlan)
    s.PIF.unplug(eth0)
    b.must('ip address flush dev eth0')
    for mode in ('active-backup', 'balance-slb', 'lacp'):
        bond_story(two, s, mode, (0, 1), Switch)
    agent.stop()
done()
