#!/usr/bin/env python3
"""A card's rate limit by iperf3, in both directions within a tenth; its MTU, promiscuity and offloads. LEVEL=full: with Open vSwitch, too."""
import ctypes
import fcntl
import json
import os
import re
import select
import struct
import subprocess
import sys

from harness import LEVEL, Agent, check, done, own_network, wait_until
from switch import Switch

own_network()
os.environ['PATH'] += ':/usr/sbin:/sbin'
KBPS = 2048          # KiB/s


def run(*args):
    return subprocess.run(args, capture_output=True, text=True, check=True).stdout


def open_tap(name):
    fd = os.open('/dev/net/tun', os.O_RDWR)
    fcntl.ioctl(fd, 0x400454ca, struct.pack('16sH22x', name.encode(), 0x5002))     # TUNSETIFF, IFF_TAP | IFF_NO_PI | IFF_VNET_HDR
    return fd


def relay(one, other):
    """The guest: what its card gets is what its own network gets, and back. Until the parent ends."""
    while True:
        for fd in select.select([one, other, sys.stdin.fileno()], [], [])[0]:
            if fd == sys.stdin.fileno():
                os._exit(0)
            os.write(other if fd == one else one, os.read(fd, 70000))


def measure(*options):
    """KiB/s that arrived. A server that is not through with the test before breaks the next one off: again, then."""
    def one():
        out = json.loads(subprocess.run(['iperf3', '-c', '10.8.0.2', '-p', '5202', '-J', '-O', '1', '-t', '4', *options],
                                        capture_output=True, text=True, check=False).stdout)
        if 'error' in out or 'sum_received' not in out['end']:
            print('# iperf3: %s' % out.get('error', out['end']))
            return None
        return out['end']['sum_received']['bits_per_second'] / 8192
    return wait_until(one, 60, 0.5)


if len(sys.argv) > 1:
    card = int(sys.argv[1])
    assert ctypes.CDLL(None).unshare(0x40000000) == 0      # CLONE_NEWNET: the descriptor of the card stays open
    inside = open_tap('eth0')
    run('ip', 'link', 'set', 'lo', 'up')
    run('ip', 'link', 'set', 'eth0', 'address', '02:00:00:00:00:55', 'mtu', '1400', 'up')
    run('ip', 'addr', 'add', '10.8.0.2/24', 'dev', 'eth0')
    # PR_SET_PDEATHSIG: it ends with this process, which is killed
    server = subprocess.Popen(['iperf3', '-s', '-p', '5202'], stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, preexec_fn=lambda: ctypes.CDLL(None).prctl(1, 9))
    print('ready', flush=True)
    relay(card, inside)


def story(driver):
    with Agent(net=driver) as agent:
        s = agent.login()
        network = s.network.create({'name_label': 'n', 'name_description': '', 'MTU': '1500', 'other_config': {}})
        vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'g')
        s.VM.provision(vm)
        vif = s.VIF.create({'VM': vm, 'network': network, 'device': '0', 'MAC': '02:00:00:00:00:55', 'MTU': '1400',
                            'other_config': {'ethtool-gso': 'off', 'ethtool-tx': 'off', 'promiscuous': 'on'},
                            'qos_algorithm_type': 'ratelimit', 'qos_algorithm_params': {'kbps': str(KBPS)}})
        s.VM.start(vm, False, False)
        bridge = s.network.get_bridge(network)
        tap = [l['ifname'] for l in json.loads(run('ip', '-j', 'link')) if l['ifname'].startswith('vif')][0]
        shown = json.loads(run('ip', '-d', '-j', 'link', 'show', tap))[0]
        check(shown['mtu'] == 1400 and 'PROMISC' in shown['flags'], 'MTU and promiscuity of a card')
        check(shown['inet6_addr_gen_mode'] and 'inet6' not in run('ip', 'addr', 'show', tap), 'the host has no address on it')
        run('ip', 'addr', 'add', '10.8.0.1/24', 'dev', bridge)
        # The card's descriptor is opened here, where it is; the guest lives in a network of its own.
        card = open_tap(tap)
        guest = subprocess.Popen([sys.executable, __file__, str(card)], pass_fds=(card,), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        check(guest.stdout.readline() == 'ready\n', 'a guest with a network of its own')
        os.close(card)
        check(wait_until(lambda: subprocess.run(['busybox', 'ping', '-c', '1', '-W', '1', '10.8.0.2'], capture_output=True, check=False).returncode == 0),
              'the guest answers')

        def limited(limit, what, *options):
            """A machine that is busy with something else makes it slower, never faster: of three the best, and none above."""
            rates = []
            while len(rates) < 3 and (not rates or 0.5 * limit < rates[-1] < 0.9 * limit):
                rates.append(measure(*options))
            check(0.9 * limit <= max(rates) <= 1.1 * limit, '%s: limited to %d KiB/s, %s: %s' % (driver, limit, what, ['%.0f' % r for r in rates]))
        limited(KBPS, 'to the guest')
        limited(KBPS, 'from the guest', '-R')
        s.VIF.set_qos_algorithm_params(vif, {'kbps': str(KBPS // 2)})
        limited(KBPS // 2, 'set while it runs', '-R')
        s.VIF.set_qos_algorithm_type(vif, '')
        left = [line for line in (run('tc', 'qdisc', 'show') + run('ip', '-o', 'link')).splitlines() if re.search(r'\b(tbf|ifb)', line)]
        check(not left, 'no limit: nothing of it is left' + (': %s' % left if left else ''))
        rate = measure('-R', '-t', '2')
        check(rate > 2 * KBPS, 'and it is faster: %.0f' % rate)
        guest.stdin.close()
        guest.kill()
        guest.wait()
        s.VM.hard_shutdown(vm)
        run('ip', 'addr', 'del', '10.8.0.1/24', 'dev', bridge)       # the bridge outlives the agent


story('bridge')
if LEVEL == 'full':
    with Switch() as here:
        os.environ['OVS_RUNDIR'] = here.dir
        story('openvswitch')
done()
