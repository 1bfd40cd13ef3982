"""Bonds between two machines of the rig: made, agreed upon, their cables pulled under ping, dissolved."""
import re

from harness import check, wait_until

KERNEL_MODES = {'active-backup': 'active-backup', 'balance-slb': 'balance-xor', 'lacp': '802.3ad'}
SWITCH_MODES = {'active-backup': 'active-backup', 'balance-slb': 'balance-slb', 'lacp': 'balance-tcp'}


def network(s, name):
    return s.network.create({'name_label': name, 'name_description': '', 'MTU': '1500', 'other_config': {}})


def pif(s, device):
    return [p for p, r in s.PIF.get_all_records().items() if r['device'] == device and r['VLAN'] == '-1'][0]


class Kernel:
    """Linux bridges: the bond is of the kernel's bonding."""

    @staticmethod
    def is_right(a, mode):
        shown = a.must('cat /sys/class/net/bond0/bonding/mode /sys/class/net/bond0/bonding/slaves').split()
        return KERNEL_MODES[mode] in shown and {'eth0', 'eth1'} <= set(shown)

    @staticmethod
    def agreed(a, b):
        """LACP: the aggregate in use has a partner that has said who it is, the bond over there, and both cards of both machines."""
        return joined(a, 'bond0', b.must('cat /sys/class/net/far/address')) and joined(b, 'far', a.must('cat /sys/class/net/bond0/address'))

    @staticmethod
    def show(a):
        return a.run('cat /proc/net/bonding/bond0')[1]

    @staticmethod
    def is_gone(a):
        return 'bond0' not in a.must('ip -o link') and 'bond0' not in a.must('nft list tables')


class Switch:
    """Open vSwitch."""

    @staticmethod
    def is_right(a, mode):
        shown = a.must('ovs-appctl bond/show bond0')
        return 'bond_mode: ' + SWITCH_MODES[mode] in shown and {'eth0', 'eth1'} == set(re.findall(r'^member (\w+):', shown, re.M))

    @staticmethod
    def agreed(a, b):
        """Its members say who the system is by the address of their bridge."""
        system = a.must('ovs-appctl lacp/show bond0')
        mine = re.search(r'^\s+sys_id: (\S+)', system, re.M)
        return (mine and joined(b, 'far', mine[1]) and system.count('current attached') == 2 and
                'lacp_status: negotiated' in a.must('ovs-appctl bond/show bond0'))

    @staticmethod
    def show(a):
        return a.run('ovs-appctl bond/show bond0; ovs-appctl lacp/show bond0; ovs-vsctl show; ip -o link; tail -40 /tmp/vswitchd.log')[1]

    @staticmethod
    def is_gone(a):
        return 'bond0' not in a.must('ovs-vsctl show')


def joined(machine, bond, partner):
    """A bond of the kernel's: two ports in the aggregate in use, this address at the other end."""
    shown = machine.must('cat /proc/net/bonding/' + bond)
    return re.search(r'^\tNumber of ports: 2$', shown, re.M) and re.search(r'^\tPartner Mac Address: %s$' % partner, shown, re.M)


def silence(text):
    """The longest time between two answers of a ping, in seconds."""
    at = [float(t) for t in re.findall(r'^\[([\d.]+)\] .*bytes from', text, re.M)]
    return max([y - x for x, y in zip(at, at[1:])] or [0])


def mode_story(two, s, backend=Kernel):
    """A bond that changes its mode while it carries its network; nothing of the mode before stays."""
    a, b = two.a, two.b
    members = [pif(s, 'eth0'), pif(s, 'eth1')]
    changing = network(s, 'changing')
    bond = s.Bond.create(changing, members, '', 'active-backup', {})
    master = s.Bond.get_master(bond)
    s.PIF.set_other_config(master, {'bond-updelay': '0', 'bond-downdelay': '0'})
    s.PIF.reconfigure_ip(master, 'Static', '10.2.0.1', '255.255.255.0', '', '')
    b.must('ip link add far type bridge; ip link set eth0 master far; ip link set eth1 master far; ip link set eth0 up; ip link set eth1 up; '
           'ip address add 10.2.0.2/24 dev far; ip link set far up')
    for mode in ('balance-slb', 'active-backup', 'balance-slb'):
        s.Bond.set_mode(bond, mode)
        check(backend.is_right(a, mode), 'set_mode %s: it is so' % mode)
        b.must('ip neigh flush dev far')
        check(wait_until(lambda: b.run('ping -q -c 1 -W 2 10.2.0.1', 30)[0] == 0, 60), 'set_mode %s: reached, by a broadcast first' % mode)
        if backend is Kernel:
            check(('bond0' in a.must('nft list tables')) == (mode == 'balance-slb'), 'set_mode %s: rules for this mode only' % mode)
    s.Bond.destroy(bond)
    check(backend.is_gone(a), 'set_mode: dissolved')
    leave(s, b, members, changing)


def leave(s, b, members, bonded):
    """Cards without addresses, at both ends."""
    b.must('ip link del far; ip link set eth0 nomaster; ip link set eth1 nomaster; ip address flush dev eth0')
    for p in members:
        s.PIF.reconfigure_ip(p, 'None', '', '', '', '')
        s.PIF.unplug(p)
    s.network.destroy(bonded)


# A guest that says something again and again by its card, with its MAC.
GUEST = '''
import fcntl, os, struct, sys, time
fd = os.open('/dev/net/tun', os.O_RDWR)
fcntl.ioctl(fd, 0x400454ca, struct.pack('16sH22x', sys.argv[1].encode(), 0x1002 | 0x4000))
while True:
    os.write(fd, bytes(10) + b'\\xff' * 6 + bytes.fromhex('020000000055') + b'\\x88\\xb5' + bytes(46))
    time.sleep(0.1)
'''
CARD = {'device': '0', 'MAC': '02:00:00:00:00:55', 'MTU': '0', 'other_config': {}, 'qos_algorithm_type': '', 'qos_algorithm_params': {}}


def tag_story(two, s, base, what, over_there):
    """What a guest's card sends into a VLAN over the PIF `base`, and then into the network of `base` itself, as this device of machine b sees it."""
    a, b = two.a, two.b

    def seen(how, seconds=30):
        return b.run('timeout %d tcpdump -Z root -q -n -c 1 -i %s "%s"' % (seconds, over_there, how), seconds + 30)[0] == 0

    # The order matters: what has been said of the type of a frame holds for a tag, too.
    mine = 'ether src ' + CARD['MAC']
    tagged, untagged = 'vlan 5 and ' + mine, mine + ' and ether proto 0x88b5 and not vlan'
    five = network(s, 'five of ' + what)
    vlan = s.VLAN.create(base, '5', five)
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'g')
    s.VM.provision(vm)
    vif = s.VIF.create({'VM': vm, 'network': five, **CARD})
    s.VM.start(vm, False, False)
    a.put({'/tmp/guest.py': GUEST.encode()})
    a.must('setsid python3 /tmp/guest.py "$(ls /sys/class/net | grep ^vif)" >/tmp/guest.log 2>&1 </dev/null & echo $! >/tmp/guest.pid')
    check(seen(tagged), '%s: what a guest sends into a VLAN has its tag on the cable' % what)
    check(not seen(untagged, 3), '%s: and is not there without one' % what)
    s.VIF.move(vif, s.PIF.get_network(base))
    check(seen(untagged), '%s: moved to the network below it has none' % what)
    check(not seen(tagged, 3), '%s: and none of the old ones' % what)
    a.must('kill $(cat /tmp/guest.pid)')
    s.VM.hard_shutdown(vm)
    s.VM.destroy(vm)
    s.VLAN.destroy(vlan)
    s.network.destroy(five)


def bond_story(two, s, mode, cables, backend=Kernel, tagged=False):
    """eth0 and eth1 of machine a as a bond of this mode; the other side is a switch, or (LACP) a bond too. Cables are pulled under ping, then
    (tagged) a guest's card is on a VLAN of it."""
    a, b = two.a, two.b
    members = [pif(s, 'eth0'), pif(s, 'eth1')]

    def answers(count):
        return b.run('ping -q -c %d -i 0.2 -W 2 10.2.0.1' % count, 30)[0] == 0

    def told(good, what):
        check(good, what)
        if not good:
            print(''.join('# %s\n' % line for line in (backend.show(a) + b.must('cat /proc/net/bonding/far; ip -o link')).splitlines()))

    def pull(cable, out=True):
        """Both ends lose their link, as of a cable."""
        for machine in (a, b):
            machine.pull_cable(cable, out)

    if mode == 'lacp':
        # The emulated cards say nothing of their speed; only what is full-duplex takes part.
        for machine in (a, b):
            machine.must('for i in 0 1; do ethtool -s eth$i speed 1000 duplex full; done')
    bonded = network(s, 'bonded ' + mode)
    bond = s.Bond.create(bonded, members, '', mode, {'lacp-time': 'fast'} if mode == 'lacp' else {})
    master = s.Bond.get_master(bond)
    s.PIF.set_other_config(master, {'bond-updelay': '0', 'bond-downdelay': '0'})
    s.PIF.reconfigure_ip(master, 'Static', '10.2.0.1', '255.255.255.0', '', '')
    if mode == 'lacp':
        b.must('ip link set eth0 down; ip link set eth1 down; ip link add far type bond mode 802.3ad miimon 50 lacp_rate fast')
    else:
        b.must('ip link add far type bridge')
    b.must('ip link set eth0 master far; ip link set eth1 master far; ip link set eth0 up; ip link set eth1 up; '
           'ip address add 10.2.0.2/24 dev far; ip link set far up')
    check(wait_until(lambda: answers(1), 60), '%s: reached' % mode)
    check(backend.is_right(a, mode), '%s: it is what was asked for' % mode)
    if mode == 'lacp':
        # A link is trusted after its delay of 31 s; one that began before it was set to none goes on.
        told(wait_until(lambda: backend.agreed(a, b), 120), 'lacp: both links are in one aggregate of both ends')
    check('DUP!' not in b.run('ping -c 5 -i 0.2 10.2.0.1', 30)[1], '%s: nothing comes twice' % mode)
    for cable in cables:
        b.must('rm -f /tmp/ping; setsid ping -D -i 0.2 10.2.0.1 >/tmp/ping 2>&1 </dev/null & echo $! >/tmp/ping.pid')
        pull(cable)
        check(wait_until(lambda: s.Bond.get_links_up(bond) == '1', 30), '%s: one link is seen to be down' % mode)
        check(not s.PIF_metrics.get_carrier(s.PIF.get_metrics(members[cable])), '%s: it is that of eth%d' % (mode, cable))
        check(wait_until(lambda: answers(2), 60), '%s: the world is reached by the other' % mode)
        pull(cable, False)
        check(wait_until(lambda: s.Bond.get_links_up(bond) == '2', 30), '%s: and it is back' % mode)
        if mode == 'lacp':
            told(wait_until(lambda: backend.agreed(a, b), 120), 'lacp: both links are in it again')
        check(wait_until(lambda: answers(2), 60), '%s: the world is still reached' % mode)
        b.must('kill $(cat /tmp/ping.pid)')
        print('# %s, eth%d pulled under ping: %.1f s without an answer' % (mode, cable, silence(b.must('cat /tmp/ping'))), flush=True)
    alerts = [r['body'] for r in s.message.get_all_records().values() if r['name'] == 'BOND_STATUS_CHANGED']
    check(any('eth0+eth1 bond changed: 1/2 up (was 2/2)' in body for body in alerts), '%s: an alert tells it' % mode)
    if tagged:
        tag_story(two, s, master, mode, 'far')
    s.Bond.destroy(bond)
    check(backend.is_gone(a), '%s: dissolved' % mode)
    check(a.must('ip -o link show eth0; ip -o link show eth1').count(',UP') == 2, '%s: its cards are up, each for itself' % mode)
    leave(s, b, members, bonded)
