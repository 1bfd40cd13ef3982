#!/usr/bin/env python3
"""Who reaches whom on Xen: guests on an external, a VLAN and an internal network, the host itself, and the world behind its card. All have
addresses of one subnet, so that the networks alone keep them apart. LEVEL=full: six guests in an emulator take their time."""
import re
import sys

from harness import LEVEL, check, done, wait_until
from guests import BOOT_S, Machine

if LEVEL != 'full':
    print('# six guests in an emulated machine: LEVEL=full')
    sys.exit(77)

# name: address, network
GUESTS = {'ext1': ('10.1.0.1', 'external'), 'ext2': ('10.1.0.2', 'external'), 'vlan1': ('10.1.0.3', 'vlan'), 'vlan2': ('10.1.0.4', 'vlan'),
          'int1': ('10.1.0.5', 'internal'), 'int2': ('10.1.0.6', 'internal')}
OTHERS = {'world': ('10.1.0.11', 'external'), 'world-vlan': ('10.1.0.12', 'vlan'), 'host': ('10.1.0.13', 'external')}
INTO = {'world': 'ip netns exec world ', 'world-vlan': 'ip netns exec worldv ', 'host': ''}
ALL = {**GUESTS, **OTHERS}


def network(s, name):
    return s.network.create({'name_label': name, 'name_description': '', 'MTU': '1500', 'other_config': {}})


def rounds(guest):
    """What the guest has reached, round for round."""
    return [set(line.split()) for line in re.findall(r'^reach \d+:([^\r\n]*)\r*\n', guest.console(), re.M)]


with Machine() as m:
    s = m.s
    # eth1 is on the same hub as eth0: the world outside; with tag 5 in a namespace of its own.
    m.rig.must('''modprobe 8021q; ip netns add world; ip netns add worldv; ip link set eth1 netns world; ip -n world link set eth1 up
        ip -n world address add 10.1.0.11/24 dev eth1
        ip -n world link add v5 link eth1 type vlan id 5; ip -n world link set v5 netns worldv
        ip -n worldv address add 10.1.0.12/24 dev v5; ip -n worldv link set v5 up''')
    eth0 = [p for p, r in s.PIF.get_all_records().items() if r['device'] == 'eth0'][0]
    s.PIF.plug(eth0)
    s.PIF.reconfigure_ip(eth0, 'Static', '10.1.0.13', '255.255.255.0', '', '')
    nets = {'external': s.PIF.get_network(eth0), 'vlan': network(s, 'vlan'), 'internal': network(s, 'internal')}
    s.VLAN.create(eth0, '5', nets['vlan'])
    where = {name: net for name, (_, net) in ALL.items()}

    def expected(name):
        return {a for n, (a, _) in ALL.items() if where[n] == where[name] and n != name}

    guests = {}
    for name, (address, net) in GUESTS.items():
        others = ','.join(a for n, (a, _) in ALL.items() if n != name)
        guests[name] = m.guest(name, 'pv', 'ip=%s/24 ping=%s' % (address, others), disk=False, vif=False)
        guests[name].vif = m.card(guests[name], '0', nets[net])
        s.VM.start(guests[name].ref, False, False)
    for name, guest in guests.items():
        want = expected(name)
        check(wait_until(lambda: want in rounds(guest), 3 * BOOT_S, 2), '%s on the %s network reaches %s' % (name, where[name], sorted(want)))

    def reached(name):
        return {a for a in (x for x, _ in ALL.values()) if m.rig.run(INTO[name] + 'ping -q -c 3 -i 0.5 -W 5 ' + a, 60)[0] == 0}

    for name in OTHERS:
        check(reached(name) - {ALL[name][0]} == expected(name), '%s reaches %s' % (name, sorted(expected(name))))
    # All are up by now: the next rounds of each say what is not reached, too.
    before = {name: len(rounds(guest)) for name, guest in guests.items()}
    for name, guest in guests.items():
        check(wait_until(lambda: len(rounds(guest)) >= before[name] + 2, BOOT_S, 2), '%s asks on' % name)
        wrong = [r - expected(name) for r in rounds(guest) if r - expected(name)]
        check(not wrong, '%s has never reached another network: %s' % (name, wrong[:2]))

    # To another network while it runs.
    s.VIF.move(guests['vlan2'].vif, nets['external'])
    where['vlan2'] = 'external'
    check(wait_until(lambda: rounds(guests['vlan2'])[-1] == expected('vlan2'), BOOT_S, 2), 'moved to the external network it reaches what is there, and no more')
    check(wait_until(lambda: rounds(guests['vlan1'])[-1] == expected('vlan1'), BOOT_S, 2), 'and is gone from where it was')
    s.VIF.set_locking_mode(guests['ext2'].vif, 'disabled')
    check(wait_until(lambda: not rounds(guests['ext2'])[-1], BOOT_S, 2), 'a card that is disabled reaches nobody')
    s.VIF.set_locking_mode(guests['ext2'].vif, 'unlocked')
    check(wait_until(lambda: rounds(guests['ext2'])[-1] == expected('ext2'), BOOT_S, 2), 'unlocked, all of its network')
    for guest in guests.values():
        s.VM.hard_shutdown(guest.ref)
    check(m.left() == '', 'nothing of them is left')
done()
