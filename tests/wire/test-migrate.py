#!/usr/bin/env python3
"""VM.migrate_send between two pools over TLS: records, networks, snapshots; what is refused, and that nothing is left of it."""
import os
import socket
import ssl
import subprocess
import tempfile
import threading

from harness import Agent, check, done, fails, wait_until

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


class Deaf:
    """A destination that takes the order and never answers it."""

    def __init__(self, folder):
        pem = os.path.join(folder, 'deaf.pem')
        subprocess.run(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=deaf', '-days', '3', '-out', pem, '-keyout', pem],
                       check=True, capture_output=True)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(pem)
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.port = self.listener.getsockname()[1]
        self.asked, self.ended = threading.Event(), threading.Event()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        plain, _ = self.listener.accept()
        with self.context.wrap_socket(plain, server_side=True) as s:
            head = b''
            while b'\r\n\r\n' not in head:
                head += s.recv(65536)
            s.sendall(b'HTTP/1.1 200 OK\r\n\r\n')
            try:
                while s.recv(65536):
                    self.asked.set()
            except OSError:
                pass
        self.ended.set()


def cancelled(s, vm, vif, network, dest):
    """While the other side thinks, the task can be cancelled."""
    with tempfile.TemporaryDirectory() as folder:
        deaf = Deaf(folder)
        task = s.Async.VM.migrate_send(vm, dict(dest, master='https://127.0.0.1:%d' % deaf.port), True, {}, {vif: network}, {})
        check(deaf.asked.wait(60), 'the destination is asked, and says nothing')
        s.task.cancel(task)
        check(wait_until(lambda: s.task.get_status(task) == 'cancelled', 60), 'the task is cancelled: %s' % s.task.get_error_info(task))
        check(deaf.ended.wait(60), 'the connection ends')
        check(s.VM.get_power_state(vm) == 'Running' and wait_until(lambda: s.VM.get_current_operations(vm) == {}), 'and the guest runs on')
        s.task.destroy(task)


with Agent() as from_agent, Agent() as to_agent:
    a, b = from_agent.login(), to_agent.login()
    there = b.host.get_all()[0]
    addressed = [n for n in b.network.get_all() if any(b.PIF.get_IP(p) for p in b.network.get_PIFs(n))]
    inner = network(b, 'inner')
    fails('INTERFACE_HAS_NO_IP', 'a network without an address receives nothing', b.host.migrate_receive, there, inner, {})
    fails('HANDLE_INVALID', 'nor does an unknown one', b.host.migrate_receive, there, NULL, {})
    dest = b.host.migrate_receive(there, addressed[0], {}) if addressed else {'host': there}
    check(dest['host'] == there and (not addressed or set(dest) >= {'host', 'session_id', 'master'}), 'what the sender needs: %s' % sorted(dest))

    vm = make(a, 'traveller')
    mine = network(a, 'mine')
    vif = card(a, vm, mine)
    uuid, mac = a.VM.get_uuid(vm), a.VIF.get_MAC(vif)
    check(dest['master'].startswith('https://') and dest['master'].endswith(':%d' % to_agent.https_port) if addressed else True,
          'its address is where it listens: %s' % dest['master'])
    # A test's agents listen on 127.0.0.1 alone.
    dest.update(master='https://127.0.0.1:%d' % to_agent.https_port, session_id=b._ref)
    said = fails('VIF_NOT_IN_MAP', 'a card whose network there is not said', a.VM.assert_can_migrate, vm, dest, False, {}, {}, {})
    check(said == [vif], 'names the card')
    a.VM.assert_can_migrate(vm, dest, False, {}, {vif: inner}, {})
    check(a.VM.get_uuid(vm) == uuid and not b.VM.get_by_name_label('traveller'), 'asked whether it could, nothing moves')

    fails('INVALID_VALUE', 'no address', a.VM.migrate_send, vm, dict(dest, master='http://127.0.0.1/'), False, {}, {vif: inner}, {})
    fails('INTERNAL_ERROR', 'a session that the other pool does not know', a.VM.migrate_send, vm, dict(dest, session_id=a._ref), False, {},
          {vif: inner}, {})
    a.VM.start(vm, False, False)
    before = len(b.VM.get_all())
    to_agent.poke('set host_memory_bytes %d' % MIB)
    fails('HOST_NOT_ENOUGH_FREE_MEMORY', 'a destination that is full', a.VM.migrate_send, vm, dest, True, {}, {vif: inner}, {})
    to_agent.poke('set host_memory_bytes %d' % (1 << 40))
    check(a.VM.get_power_state(vm) == 'Running' and len(b.VM.get_all()) == before and not b.VM.get_by_name_label('traveller'),
          'the guest runs on, and nothing of it is left there')
    fails('VM_BAD_POWER_STATE', 'what runs is not copied', a.VM.migrate_send, vm, dest, True, {}, {vif: inner}, {'copy': 'true'})
    cancelled(a, vm, vif, inner, dest)
    host = a.host.get_all()[0]
    domid = a.VM.get_domid(vm)
    a.VM.pool_migrate(vm, host, {})
    check(a.VM.get_power_state(vm) == 'Running' and a.VM.get_domid(vm) != domid, 'on one host it goes on in a new domain')
    # As much memory as to be cancelled in the middle of it.
    from_agent.poke('set image_bytes %d\nset save_rate %d' % (64 * MIB, MIB))
    task = a.Async.VM.migrate_send(vm, dest, True, {}, {vif: inner}, {})
    check(wait_until(lambda: b.VM.get_by_name_label('traveller') and float(a.task.get_progress(task)) > 0), 'its memory is on its way')
    a.task.cancel(task)
    check(wait_until(lambda: a.task.get_status(task) == 'cancelled', 60), 'cancelled: %s' % a.task.get_error_info(task))
    check(a.VM.get_power_state(vm) == 'Running' and wait_until(lambda: not b.VM.get_by_name_label('traveller')), 'it runs on here, and is gone there')
    from_agent.poke('set save_rate 0')
    home = a.VM.migrate_send(vm, dest, True, {}, {vif: inner}, {})
    check(b.VM.get_uuid(home) == uuid and b.VM.get_power_state(home) == 'Running' and not a.VM.get_by_name_label('traveller'),
          'a running guest moves')
    back = a.host.migrate_receive(host, [n for n in a.network.get_all() if any(a.PIF.get_IP(p) for p in a.network.get_PIFs(n))][0], {})
    back.update(master='https://127.0.0.1:%d' % from_agent.https_port)
    vm = b.VM.migrate_send(home, back, True, {}, {b.VM.get_VIFs(home)[0]: mine}, {})
    vif = a.VM.get_VIFs(vm)[0]
    check(a.VM.get_power_state(vm) == 'Running' and a.VIF.get_MAC(vif) == mac and not b.VM.get_by_name_label('traveller'), 'and comes back')
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

    copied = a.VM.migrate_send(vm, dest, False, {}, {vif: inner}, {'copy': 'true'})
    check(b.VM.get_uuid(copied) != uuid and b.VM.get_name_label(copied) == 'traveller' and b.VIF.get_network(b.VM.get_VIFs(copied)[0]) == inner
          and b.VIF.get_MAC(b.VM.get_VIFs(copied)[0]) != mac, 'a copy is another VM, with another MAC address')
    check(a.VM.get_power_state(vm) == 'Halted' and a.VIF.get_MAC(vif) == mac, 'and the VM stays')
    b.VM.destroy(copied)
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
