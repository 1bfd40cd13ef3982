#!/usr/bin/env python3
"""How many cards guests and hosts may have, and what is said of addresses twice, sizes that do not fit and cards that cannot be split."""
import os
import subprocess
import urllib.request

from harness import Agent, Failure, check, done, fails, own_network

own_network()
NICS = 16


def ip(*args):
    subprocess.run(['ip', *args], check=True)


def card(s, vm, net, device, **more):
    return s.VIF.create({'VM': vm, 'network': net, 'device': device, 'MAC': '', 'MTU': '1500', 'other_config': {}, 'qos_algorithm_type': '',
                         'qos_algorithm_params': {}, **more})


def network(s, name, mtu='1500'):
    return s.network.create({'name_label': name, 'name_description': '', 'MTU': mtu, 'other_config': {}})


def guest(s, name):
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], name)
    s.VM.provision(vm)
    return vm


for i in range(NICS):
    ip('link', 'add', 'eth%d' % i, 'type', 'veth', 'peer', 'name', 'wire%d' % i, 'mtu', '9000')
    ip('link', 'set', 'wire%d' % i, 'up', 'group', '9')
    ip('link', 'set', 'eth%d' % i, 'up')
with Agent(net='bridge', faults=True) as agent:
    s = agent.login()
    host = s.host.get_all()[0]
    pif = {r['device']: ref for ref, r in s.PIF.get_all_records().items()}
    check(all('eth%d' % i in pif for i in range(NICS)), '%d cards of a host' % NICS)
    for i in range(NICS):
        s.PIF.plug(pif['eth%d' % i])
    check(all(s.PIF.get_currently_attached(pif['eth%d' % i]) for i in range(NICS)), 'all of them plugged')

    # 7 are promised, 16 there.
    vm = guest(s, 'many')
    check(s.VM.get_allowed_VIF_devices(vm) == [str(i) for i in range(16)], 'sixteen places')
    seven = [card(s, vm, s.PIF.get_network(pif['eth%d' % i]), str(i)) for i in range(7)]
    check(s.VM.get_allowed_VIF_devices(vm) == [str(i) for i in range(7, 16)], 'seven are taken')
    fails('DEVICE_ALREADY_EXISTS', 'the same place twice', card, s, vm, s.PIF.get_network(pif['eth0']), '6')
    s.VM.start(vm, False, False)
    check(all(s.VIF.get_currently_attached(v) for v in seven), 'a guest with seven cards runs')
    rest = [card(s, vm, s.PIF.get_network(pif['eth%d' % i]), 'autodetect') for i in range(7, 16)]
    for v in rest:
        s.VIF.plug(v)
    check([s.VIF.get_device(v) for v in rest] == [str(i) for i in range(7, 16)] and s.VM.get_allowed_VIF_devices(vm) == [], 'sixteen, plugged while it runs')
    links = subprocess.run(['ip', '-o', 'link'], capture_output=True, text=True, check=True).stdout
    check(all('master %s ' % s.network.get_bridge(s.PIF.get_network(pif['eth%d' % i])) in links for i in range(16)) and links.count(': vif') == 16,
          'each on its network')
    fails('INVALID_DEVICE', 'one more', card, s, vm, s.PIF.get_network(pif['eth0']), 'autodetect')
    fails('INVALID_DEVICE', 'a seventeenth place', card, s, vm, s.PIF.get_network(pif['eth0']), '16')
    macs = {s.VIF.get_MAC(v) for v in seven + rest}
    check(len(macs) == 16, 'sixteen addresses')
    s.VM.hard_shutdown(vm)

    # Addresses.
    for mac in ('02:00:00:00:00', '01:00:5e:00:00:01', '02:00:00:00:00:0g'):
        fails('MAC_INVALID', 'a card of the address ' + mac, lambda: card(s, guest(s, 'g'), s.PIF.get_network(pif['eth0']), '0', MAC=mac))
    fails('MAC_INVALID', 'introducing no address', s.PIF.introduce, host, 'x', 'eth0', True)
    fails('MAC_DOES_NOT_EXIST', 'introducing an address that there is not', s.PIF.introduce, host, '02:00:00:00:00:99', 'eth0', True)
    fails('DUPLICATE_PIF_DEVICE_NAME', 'introducing a card twice', s.PIF.introduce, host, s.PIF.get_MAC(pif['eth0']), 'eth0', True)
    fails('COULD_NOT_FIND_NETWORK_INTERFACE_WITH_SPECIFIED_DEVICE_NAME_AND_MAC_ADDRESS', 'introducing one card by the address of another',
          s.PIF.introduce, host, s.PIF.get_MAC(pif['eth0']), 'eth1', True)
    taken = s.PIF.get_MAC(pif['eth3'])
    check(fails('MAC_STILL_EXISTS', 'a bond with the address of a card that is no member', s.Bond.create, network(s, 'bonded'), [pif['eth1'], pif['eth2']],
                taken.upper(), 'active-backup', {}) == [taken.upper()], 'which is named')
    old = s.PIF.get_network(pif['eth15'])
    s.PIF.unplug(pif['eth15'])
    s.PIF.forget(pif['eth15'])
    pif['eth15'] = s.PIF.introduce(host, '', 'eth15', True)
    check(s.PIF.get_network(pif['eth15']) == old, 'a card that comes back has its network')

    # Restored beside a VM that was made from the same seed.
    one = guest(s, 'one')
    seed = s.VM.get_other_config(one)['mac_seed']
    own = s.VM.get_uuid(one)
    url = 'http://127.0.0.1:%d/' % agent.http_port
    xva = os.path.join(agent.root, 'one.xva')
    with open(xva, 'wb') as f:
        f.write(urllib.request.urlopen(url + 'export?uuid=%s&session_id=%s' % (own, s._ref)).read())

    def restore(more=''):
        task = s.task.create('restore', '')
        request = urllib.request.Request(url + 'import?restore=true&session_id=%s&task_id=%s%s' % (s._ref, task, more), data=open(xva, 'rb').read(), method='PUT')
        try:
            urllib.request.urlopen(request).read()
        except OSError:
            pass
        return s.task.get_error_info(task)
    s.VM.destroy(one)
    other = guest(s, 'other')
    s.VM.remove_from_other_config(other, 'mac_seed')
    s.VM.add_to_other_config(other, 'mac_seed', seed)
    check(restore() == ['DUPLICATE_MAC_SEED', seed] and restore('&dry_run=true') == ['DUPLICATE_MAC_SEED', seed], 'a seed twice')
    check(not s.VM.get_by_name_label('one'), 'nothing of it was made')
    s.VM.snapshot(other, 's')
    s.VM.destroy(other)
    check(restore() == [] and s.VM.get_other_config(s.VM.get_by_name_label('one')[0])['mac_seed'] == seed, 'once that is gone it is restored')

    # Sizes.
    net = s.PIF.get_network(pif['eth0'])
    agent.arm('net.netlink EINVAL 1')
    refused = fails('PIF_CONFIGURATION_ERROR', 'an MTU that the kernel refuses', s.network.set_MTU, net, '9000')
    check(refused[0] == pif['eth0'] and s.network.get_MTU(net) == s.PIF.get_MTU(pif['eth0']) == '1500', 'and all is as it was')
    s.network.set_MTU(net, '9000')
    check(s.PIF.get_MTU(pif['eth0']) == '9000', 'and one that it takes')
    for mtu in ('67', '65536', '-1'):
        fails('INVALID_VALUE', 'an MTU of ' + mtu, s.network.set_MTU, net, mtu)
    tap = network(s, 'wide', '9000')
    vlan = None
    try:
        vlan = s.VLAN.create(pif['eth1'], '9', tap)
    except Failure as e:
        check(e.details[0] == 'PIF_CONFIGURATION_ERROR', 'a kernel without VLANs says so: %s' % e.details)
    if vlan:
        check(s.PIF.get_MTU(s.VLAN.get_untagged_PIF(vlan)) == '9000', 'a VLAN of jumbo frames widens its card')

    # Splitting cards.
    fails('PIF_IS_NOT_SRIOV_CAPABLE', 'splitting a card that cannot', s.network_sriov.create, pif['eth15'], network(s, 'sriov'))
    fails('NETWORK_ALREADY_CONNECTED', 'on a network that has an interface', s.network_sriov.create, pif['eth15'], net)
    fails('HANDLE_INVALID', 'what is no card', s.network_sriov.create, 'OpaqueRef:x', tap)
    fails('HANDLE_INVALID', 'joining what was never split', s.network_sriov.destroy, 'OpaqueRef:x')
    fails('HANDLE_INVALID', 'its places', s.network_sriov.get_remaining_capacity, 'OpaqueRef:x')
done()
