#!/usr/bin/env python3
"""Who reaches whom on Xen: guests on an external, a VLAN and an internal network, the host itself, and the world behind its card. All have
addresses of one subnet, so that the networks alone keep them apart. LEVEL=full: three guests in an emulator take their time."""
import re
import sys

from harness import LEVEL, check, done, wait_until
from guests import BOOT_S, Machine

if LEVEL != 'full':
    print('# three guests in an emulated machine: LEVEL=full')
    sys.exit(77)

# name: address, network
GUESTS = {'ext': ('10.1.0.1', 'external'), 'vlan': ('10.1.0.2', 'vlan'), 'int': ('10.1.0.3', 'internal')}
OTHERS = {'world': ('10.1.0.11', 'external'), 'worldv': ('10.1.0.12', 'vlan'), 'host': ('10.1.0.13', 'external'), 'inner': ('10.1.0.14', 'internal')}
INTO = {'world': 'ip netns exec world ', 'worldv': 'ip netns exec worldv ', 'host': '', 'inner': 'ip netns exec inner '}
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
        # One after the other: there is one processor for all.
        check(wait_until(lambda: rounds(guests[name]), 2 * BOOT_S, 2), '%s runs' % name)
    # Who joins in on the host, where the internal network is.
    m.rig.must('''ip netns add inner; ip link add in0 type veth peer name eth0 netns inner; ip link set in0 master %s up
        ip -n inner address add 10.1.0.14/24 dev eth0; ip -n inner link set eth0 up''' % s.network.get_bridge(nets['internal']))
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
    s.VIF.move(guests['vlan'].vif, nets['external'])
    where['vlan'] = 'external'
    check(wait_until(lambda: rounds(guests['vlan'])[-1] == expected('vlan'), BOOT_S, 2), 'moved to the external network it reaches what is there, and no more')
    check(wait_until(lambda: rounds(guests['ext'])[-1] == expected('ext'), BOOT_S, 2), 'where one guest reaches the other')
    check(not reached('worldv') - {ALL['worldv'][0]}, 'and is gone from where it was')
    s.VIF.set_locking_mode(guests['ext'].vif, 'disabled')
    check(wait_until(lambda: not rounds(guests['ext'])[-1], BOOT_S, 2), 'a card that is disabled reaches nobody')
    s.VIF.set_locking_mode(guests['ext'].vif, 'unlocked')
    check(wait_until(lambda: rounds(guests['ext'])[-1] == expected('ext'), BOOT_S, 2), 'unlocked, all of its network')
    for guest in guests.values():
        s.VM.hard_shutdown(guest.ref)
    check(m.left() == '', 'nothing of them is left')
done()
