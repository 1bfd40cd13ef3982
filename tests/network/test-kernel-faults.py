#!/usr/bin/env python3
"""kill -9 before each request to a kernel that has 802.1Q, bonds and tunnels, in a machine of the rig: the next agent makes the network what
the records then say, which is how it was before the change or how it is after it, and what is not ours stays. LEVEL=full."""
import http.client
import json
import os
import re
import sys

sys.path.insert(0, os.path.join(os.environ['XAPI_SOURCE'], 'tests', 'rig'))
from bonds import network, pif
from harness import LEVEL, check, done
from rig import pair

if LEVEL != 'full':
    print('# an agent is killed a hundred times: LEVEL=full')
    sys.exit(77)
MOST = 60          # requests that one change may take
GONE = (OSError, http.client.HTTPException)
OURS = re.compile(r'eth[012](\.\d+)?$|bond\d|xenbr|xapi\d|vif|tun|docker0$')


def view(a):
    """What a plan is about: links of ours and docker0. A bridge that nothing is on and that has no address may stay or go."""
    links = json.loads(a.must('ip -d -j address'))
    masters = {l.get('master') for l in links}
    out = {}
    for l in links:
        info, addresses = l.get('linkinfo', {}), sorted('%s/%d' % (x['local'], x['prefixlen']) for x in l['addr_info'] if x['scope'] == 'global')
        kind = info.get('info_kind', '')
        if not OURS.match(l['ifname']) or (kind == 'bridge' and l['ifname'] not in masters and not addresses):
            continue
        data = info.get('info_data', {})
        name = re.sub('^tun[0-9a-f]+', 'tun', l['ifname'])         # of a tunnel's uuid
        out[name] = (kind, l.get('master'), l.get('link'), l['mtu'], 'UP' in l['flags'], addresses, data.get('mode'), data.get('id'))
    out['rules'] = sorted(a.must('nft list tables').split('\n'))
    return out


class Change:
    """do(s, thing); is_done(s, thing) by the records; undo(s, thing): back to before."""

    def __init__(self, what, do, is_done, undo):
        self.what, self.do, self.is_done, self.undo = what, do, is_done, undo


with pair('linux') as two:
    a = two.a
    a.install()
    a.must('ip link add docker0 type bridge; ip address add 172.17.0.1/16 dev docker0; ip link set docker0 up')
    agent = a.start_agent('--allow-faults')
    s = agent.login()
    eth0, eth1, eth2 = (pif(s, 'eth%d' % i) for i in range(3))
    s.PIF.plug(eth2)
    s.PIF.reconfigure_ip(eth2, 'Static', '10.3.0.1', '255.255.255.0', '', '')
    nets = {name: network(s, name) for name in ('tagged', 'bonded', 'far', 'inside')}
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'g')
    s.VM.provision(vm)
    vif = s.VIF.create({'VM': vm, 'network': nets['inside'], 'device': '0', 'MAC': '', 'MTU': '0', 'other_config': {}, 'qos_algorithm_type': '',
                        'qos_algorithm_params': {}})

    def again():
        global s
        agent.start()
        s = agent.login()

    def bond(s):
        s.Bond.create(nets['bonded'], [eth0, eth1], '', 'active-backup', {})

    def no_bond(s):
        for b in s.Bond.get_all():
            s.Bond.destroy(b)
        for p in (eth0, eth1):
            s.PIF.unplug(p)

    def no_vlan(s):
        for v in s.VLAN.get_all():
            s.VLAN.destroy(v)

    def vlan(s):
        if not s.VLAN.get_all():
            s.VLAN.create(eth2, '5', nets['tagged'])

    def one_bond(s):
        if not s.Bond.get_all():
            bond(s)

    def mode(s):
        return [s.Bond.get_mode(b) for b in s.Bond.get_all()]

    def set_mode(s, wanted):
        for b in s.Bond.get_all():
            s.Bond.set_mode(b, wanted)

    def no_tunnel(s):
        for t in s.tunnel.get_all():
            s.tunnel.destroy(t)

    changes = [
        (lambda: None, lambda: None, [
            Change('VLAN.create', vlan, lambda s: bool(s.VLAN.get_all()), no_vlan),
            Change('Bond.create', bond, lambda s: bool(s.Bond.get_all()), no_bond),
            Change('tunnel.create', lambda s: s.tunnel.create(eth2, nets['far'], 'vxlan'), lambda s: bool(s.tunnel.get_all()), no_tunnel)]),
        (lambda: vlan(s), lambda: no_vlan(s), [
            Change('VLAN.destroy', lambda s: s.VLAN.destroy(s.VLAN.get_all()[0]), lambda s: not s.VLAN.get_all(), vlan)]),
        (lambda: one_bond(s), lambda: no_bond(s), [
            Change('Bond.set_mode', lambda s: set_mode(s, 'balance-slb'), lambda s: mode(s) == ['balance-slb'], lambda s: set_mode(s, 'active-backup')),
            Change('Bond.destroy', lambda s: s.Bond.destroy(s.Bond.get_all()[0]), lambda s: not s.Bond.get_all(), one_bond)]),
        (lambda: s.VM.start(vm, False, False), lambda: s.VM.hard_shutdown(vm), [
            Change('VIF.move', lambda s: s.VIF.move(vif, s.PIF.get_network(eth2)), lambda s: s.VIF.get_network(vif) != nets['inside'],
                   lambda s: s.VIF.move(vif, nets['inside']))]),
    ]

    def killed_everywhere(change):
        """A kill before its first, second, ... request, until it comes through."""
        change.do(s)                # a card is up that was never used, and not when it was
        change.undo(s)
        known = {False: view(a)}
        change.do(s)
        known[True] = view(a)
        change.undo(s)
        wrong, kills = [], 0
        if view(a) != known[False]:
            wrong.append('there and back: %s' % differences(view(a), known[False]))
        known[False] = view(a)
        for nth in range(1, MOST):
            agent.arm('net.netlink kill %d' % nth)
            try:
                change.do(s)
                agent.arm('net.netlink off')
                change.undo(s)
                break
            except GONE:
                a.must('while kill -0 %d 2>/dev/null; do sleep 0.05; done' % agent.pid)
            kills += 1
            again()
            state, now = change.is_done(s), view(a)
            if now != known[state]:
                wrong.append('before request %d, %s: %s' % (nth, 'done' if state else 'not done', differences(now, known[state])))
            if state:
                change.undo(s)
        check(kills >= 2 and nth < MOST - 1 and not wrong, '%s: %d kills, each time the network is as recorded: %s' % (change.what, kills, wrong[:3]))

    def differences(now, known):
        return {k: (now.get(k), known.get(k)) for k in set(now) | set(known) if now.get(k) != known.get(k)}

    for begin, end, here in changes:
        begin()
        for change in here:
            killed_everywhere(change)
        end()
    left = {k: v for k, v in view(a).items() if k.startswith(('bond', 'tun', 'vif', 'xapi')) or '.' in k}
    check(not left and 'xapi-' not in a.must('nft list tables'), 'nothing is left: %s' % left)
    check(view(a)['docker0'][5] == ['172.17.0.1/16'], 'somebody else\'s bridge is as it was')
    agent.stop()
done()
