#!/usr/bin/env python3
"""VM.migrate_send between two pools over TLS: records, networks, snapshots; what is refused, and that nothing is left of it."""
from harness import Agent, check, done, fails

MIB = 1 << 20
NULL = 'OpaqueRef:NULL'


def make(s, name):
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], name)
    s.VM.provision(vm)
    s.VM.set_memory_limits(vm, str(64 * MIB), str(64 * MIB), str(64 * MIB), str(64 * MIB))
    return vm


def network(s, name):
    return s.network.create({'name_label': name, 'name_description': '', 'MTU': '1500', 'other_config': {}, 'bridge': '', 'managed': True,
                             'tags': []})


def card(s, vm, net):
    return s.VIF.create({'VM': vm, 'network': net, 'device': '0', 'MAC': '', 'MTU': '1500', 'other_config': {}, 'qos_algorithm_type': '',
                         'qos_algorithm_params': {}})


with Agent() as from_agent, Agent() as to_agent:
    a, b = from_agent.login(), to_agent.login()
    there = b.host.get_all()[0]
    addressed = [n for n in b.network.get_all() if any(b.PIF.get_IP(p) for p in b.network.get_PIFs(n))]
    inner = network(b, 'inner')
    fails('INTERFACE_HAS_NO_IP', 'a network without an address receives nothing', b.host.migrate_receive, there, inner, {})
    fails('HANDLE_INVALID', 'nor does an unknown one', b.host.migrate_receive, there, NULL, {})
    dest = b.host.migrate_receive(there, addressed[0], {}) if addressed else {'host': there}
    check(dest['host'] == there and (not addressed or set(dest) >= {'host', 'session_id', 'master'}), 'what the sender needs: %s' % sorted(dest))
    # The simulator's ports are chosen by the kernel.
    dest.update(master='https://127.0.0.1:%d' % to_agent.https_port, session_id=b._ref)

    vm = make(a, 'traveller')
    mine = network(a, 'mine')
    vif = card(a, vm, mine)
    uuid, mac = a.VM.get_uuid(vm), a.VIF.get_MAC(vif)
    a.VM.assert_can_migrate(vm, dest, False, {}, {}, {})
    check(a.VM.get_uuid(vm) == uuid and not b.VM.get_by_name_label('traveller'), 'asked whether it could, nothing moves')

    fails('INVALID_VALUE', 'no address', a.VM.migrate_send, vm, dict(dest, master='http://127.0.0.1/'), False, {}, {}, {})
    fails('INTERNAL_ERROR', 'a session that the other pool does not know', a.VM.migrate_send, vm, dict(dest, session_id=a._ref), False, {}, {}, {})
    a.VM.start(vm, False, False)
    before = len(b.VM.get_all())
    fails('NOT_IMPLEMENTED', 'the simulator moves no memory', a.VM.migrate_send, vm, dest, True, {}, {vif: inner}, {})
    check(a.VM.get_power_state(vm) == 'Running' and len(b.VM.get_all()) == before and not b.VM.get_by_name_label('traveller'),
          'the guest runs on, and nothing of it is left there')
    host = a.host.get_all()[0]
    fails('NOT_IMPLEMENTED', 'nor on one host', a.VM.pool_migrate, vm, host, {})
    check(a.VM.get_power_state(vm) == 'Running', 'it runs on')
    a.VM.hard_shutdown(vm)

    sr = [r for r in a.SR.get_all() if a.SR.get_type(r) == 'file'][0]
    vdi = a.VDI.create({'name_label': 'local', 'name_description': '', 'SR': sr, 'virtual_size': str(MIB), 'type': 'user', 'sharable': False,
                        'read_only': False, 'other_config': {}, 'sm_config': {}})
    vbd = a.VBD.create({'VM': vm, 'VDI': vdi, 'userdevice': '0', 'bootable': False, 'mode': 'RW', 'type': 'Disk', 'empty': False,
                        'other_config': {}, 'qos_algorithm_type': '', 'qos_algorithm_params': {}})
    said = fails('SR_DOES_NOT_SUPPORT_MIGRATION', 'a disk that the other pool cannot see', a.VM.migrate_send, vm, dest, False, {}, {}, {})
    check(said[0] == sr, 'names its repository')
    a.VBD.destroy(vbd)
    a.VDI.destroy(vdi)

    snapshot = a.VM.snapshot(vm, 'then')
    old = a.VM.get_uuid(snapshot)
    moved = a.VM.migrate_send(vm, dest, False, {}, {vif: inner}, {})
    check(b.VM.get_uuid(moved) == uuid and b.VM.get_power_state(moved) == 'Halted' and b.VM.get_current_operations(moved) == {},
          'a halted VM moves with its identity')
    its = b.VM.get_VIFs(moved)
    check(len(its) == 1 and b.VIF.get_MAC(its[0]) == mac and b.VIF.get_network(its[0]) == inner, 'its card is on the network that was named')
    check([b.VM.get_uuid(x) for x in b.VM.get_snapshots(moved)] == [old], 'with its snapshot')
    check(not a.VM.get_by_name_label('traveller') and not a.VM.get_by_name_label('then') and vif not in a.VIF.get_all(),
          'and is not here any more')
    b.VM.start(moved, False, False)
    check(b.VM.get_power_state(moved) == 'Running', 'there it starts')
    b.VM.hard_shutdown(moved)
done()
