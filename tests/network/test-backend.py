#!/usr/bin/env python3
"""xe-switch-network-backend: Linux bridges or Open vSwitch with the next start of the agent, with the cards of guests that run; what
could not be made by the other is a reason not to."""
import os
import stat
import subprocess

from harness import BUILD, Agent, check, done, own_network
from switch import Switch
from world import addresses, links, run

own_network()
os.environ['OVS_RUNDIR'] = '/nowhere'


def kernel_makes(link):
    """Whether this kernel knows the kind."""
    script = 'ip link add one type veth peer name other && ip link add ' + link
    return subprocess.run(['unshare', '-n', 'sh', '-c', script], capture_output=True, check=False).returncode == 0


def network(s, name):
    return s.network.create({'name_label': name, 'name_description': '', 'MTU': '1500', 'other_config': {}})


for i in (0, 1):
    run('ip', 'link', 'add', 'eth%d' % i, 'type', 'veth', 'peer', 'name', 'wire%d' % i)
    run('ip', 'link', 'set', 'eth%d' % i, 'up')
    run('ip', 'link', 'set', 'wire%d' % i, 'up')
run('ip', 'addr', 'add', '198.51.100.7/24', 'dev', 'eth0')
agent = Agent(net=None)
conf = agent.root + '/xapi.conf'
TEXT = '# mine\nsocket = %s\n  net=bridge\nnbd-connections = 9\n' % agent.socket
agent.options += ['--config', conf]


def tool(*options):
    r = subprocess.run([BUILD + '/run', 'xe-switch-network-backend', '--config', conf, *options], capture_output=True, text=True, check=False)
    return r.returncode, r.stdout + r.stderr


def again():
    agent.stop()
    agent.start()
    return agent.login()


with open(conf, 'w') as f:
    f.write(TEXT)
os.chmod(conf, 0o640)
with Switch() as here, agent:
    s = agent.login()
    host = s.host.get_all()[0]
    backend = lambda: s.host.get_software_version(host)['network_backend']
    check(backend() == 'bridge', 'Linux bridges, as configured')
    pif = {r['device']: ref for ref, r in s.PIF.get_all_records().items()}
    s.PIF.plug(pif['eth0'])
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'g')
    s.VM.provision(vm)
    for device, net in (('0', s.PIF.get_network(pif['eth0'])), ('1', network(s, 'inner'))):
        vif = s.VIF.create({'VM': vm, 'network': net, 'device': device, 'MAC': '', 'MTU': '1500', 'other_config': {}, 'qos_algorithm_type': '',
                            'qos_algorithm_params': {}})
    inner = s.network.get_bridge(s.VIF.get_network(vif))
    s.VM.start(vm, False, False)
    first, second = sorted(n for n in links() if n.startswith('vif'))

    for what, options, says in (('nothing named', [], 'is to be named'), ('something else', ['linux'], 'is to be named'),
                                ('two', ['bridge', 'openvswitch'], 'is to be named'), ('no switch', ['openvswitch'], 'does not answer')):
        code, text = tool(*options)
        check(code == 2 and says in text and open(conf).read() == TEXT, 'refused: %s: %s' % (what, text.strip()))
    code, text = tool('bridge')
    check(code == 0 and 'already' in text and open(conf).read() == TEXT, 'what is chosen already changes nothing')

    os.environ['OVS_RUNDIR'] = here.dir
    code, text = tool('openvswitch')
    check(code == 0 and 'next start' in text, 'Open vSwitch is chosen')
    check(open(conf).read() == TEXT.replace('  net=bridge\n', '') + 'net = openvswitch\n' and stat.S_IMODE(os.stat(conf).st_mode) == 0o640,
          'in the configuration, whose other lines and rights stay')
    check(backend() == 'bridge' and here.vsctl('list-br') == '' and links()[first]['master'] == 'xenbr0', 'and nothing happens yet')
    s = again()
    check(backend() == 'openvswitch' and here.ports('xenbr0') == ['eth0', first] and here.ports(inner) == [second], 'then the switch has the cards')
    check(s.VM.get_power_state(vm) == 'Running' and addresses('xenbr0') == ['198.51.100.7/24'], 'and the bridge its address; the guest runs')

    def bridge_if_kernel_can(kind, link):
        """What the switch has and this kernel may lack."""
        code, text = tool('bridge')
        if kernel_makes(link):
            check(code == 0 and tool('openvswitch')[0] == 0, 'a kernel with %ss can have the %s' % (kind, kind))
        else:
            check(code == 2 and kind + 's' in text, 'refused: this kernel has no %ss: %s' % (kind, text.strip()))

    bond = s.Bond.create(network(s, 'bonded'), [pif['eth0'], pif['eth1']], '', 'balance-slb', {})
    bridge_if_kernel_can('bond', 'name b type bond')
    s.Bond.destroy(bond)
    vlan = s.VLAN.create(pif['eth0'], '5', network(s, 'five'))
    bridge_if_kernel_can('VLAN', 'link one name v type vlan id 5')
    s.VLAN.destroy(vlan)
    s = again()
    check(backend() == 'openvswitch' and here.ports('xenbr0') == ['eth0', first], 'there and back is as it was')
    agent.stop()
    code, text = tool('bridge')
    check(code == 2 and 'does not say' in text, 'refused: no agent to ask: ' + text.strip())
    check(tool('--force', 'bridge')[0] == 0, 'unless forced')
    agent.start()
    s = agent.login()
    now = links()
    check(backend() == 'bridge' and now[first].get('master') == now['eth0'].get('master') == 'xenbr0' and now[second].get('master') == inner,
          'Linux bridges have the cards again')
    check(addresses('xenbr0') == ['198.51.100.7/24'] and here.vsctl('list-br') == '', 'and the address; the switch has nothing left')
    s.VM.hard_shutdown(vm)
done()
