#!/usr/bin/env python3
"""xe network-diagram: the same network as text, as SVG that parses and as dot that Graphviz's grammar has."""
import os
import re
import subprocess
import xml.dom.minidom

from harness import BUILD, Agent, check, done

with Agent() as agent:
    s = agent.login()
    pif = {r['device']: ref for ref, r in s.PIF.get_all_records().items()}

    def xe(*args):
        return subprocess.run([os.path.join(BUILD, 'run'), 'xe', *args], capture_output=True, text=True, check=False,
                              env=dict(os.environ, XAPI_SOCKET=agent.socket, LC_ALL='C.UTF-8'))

    def network(name):
        return s.network.create({'name_label': name, 'name_description': '', 'MTU': '1500', 'other_config': {}})
    bonded, five = network('bonded'), network('five <&> "5"')
    s.Bond.create(bonded, [pif['eth0'], pif['eth1']], '', 'active-backup', {})
    bond = [p for p, r in s.PIF.get_all_records().items() if r['device'] == 'bond0'][0]
    s.VLAN.create(bond, '5', five)
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'guest')
    s.VM.provision(vm)
    s.VIF.create({'VM': vm, 'network': five, 'device': '0', 'MAC': '02:00:00:00:00:77', 'MTU': '0', 'other_config': {},
                  'qos_algorithm_type': '', 'qos_algorithm_params': {}})
    text = xe('network-diagram').stdout
    lines = text.split('\n')
    depth = {re.sub('^[│├└─ ]*', '', l): len(l) - len(l.lstrip('│├└─ ')) for l in lines if l}

    def of(begin):
        found = [d for l, d in depth.items() if l.startswith(begin)]
        return found[0] if len(found) == 1 else None
    check(of('host') == 0 and of('bond bond0 (active-backup)') == 3, 'a bond below its host: %s' % text)
    check(of('eth0') == 6 and of('eth1') == 6 and of('VLAN 5') == 6, 'members and VLANs below it')
    check(of('network %s: five' % s.network.get_bridge(five)) == 9 and of('guest: card 0 02:00:00:00:00:77, not plugged') == 12,
          'the network of the VLAN, and the guest on it')
    check(of('network xapi0: Internal network') == 0, 'an internal network stands alone')
    svg = xml.dom.minidom.parseString(xe('network-diagram', 'format=svg').stdout)
    labels = [t.firstChild.data for t in svg.getElementsByTagName('text')]
    check(labels == list(depth), 'the SVG has the same nodes')
    dot = xe('network-diagram', 'format=dot').stdout
    nodes = re.findall(r'^  n(\d+) \[label="((?:[^"\\]|\\.)*)", fillcolor="#[0-9a-f]{6}"\];$', dot, re.M)
    edges = re.findall(r'^  n(\d+) -> n(\d+);$', dot, re.M)
    check([re.sub(r'\\(.)', r'\1', l) for _, l in nodes] == labels and len(edges) == len(nodes) - sum(d == 0 for d in depth.values()),
          'dot has the same nodes, each but the roots below another')
    wrong = xe('network-diagram', 'format=png')
    check(wrong.returncode == 1 and 'text, svg and dot' in wrong.stderr, 'another format is none: %s' % wrong.stderr.strip())
done()
