#!/usr/bin/env python3
"""The disk with a VM's first configuration: made from other_config, as cloud-init wants it, of each VM its own."""
import socket
import struct

from harness import Agent, check, done, fails

SECTOR = 2048
USER = '#cloud-config\nhostname: ünï\n' + 'x' * 5000 + '\n'


def files(image):
    """What a reader of Joliet sees: {name: bytes}."""
    volume = image[17 * SECTOR:18 * SECTOR]
    assert volume[:7] == b'\x02CD001\x01', volume[:7]
    folder, length = struct.unpack('<I4xI', volume[158:170])
    out, at, entries = {}, 0, image[folder * SECTOR:folder * SECTOR + length]
    while entries[at]:
        start, size = struct.unpack('<I4xI', entries[at + 2:at + 14])
        assert struct.unpack('>I', entries[at + 6:at + 10])[0] == start and struct.unpack('>I', entries[at + 14:at + 18])[0] == size
        name = entries[at + 33:at + 33 + entries[at + 32]]
        if len(name) > 1:
            out[name.decode('utf-16-be').split(';')[0]] = image[start * SECTOR:start * SECTOR + size].decode()
        at += entries[at]
    return out


def content(agent, s, vdi):
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(60)
    sock.connect(agent.socket)
    sock.sendall(('GET /export_raw_vdi?vdi=%s&session_id=%s HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n' % (vdi, s._ref)).encode())
    data = b''
    while True:
        piece = sock.recv(1 << 20)
        if not piece:
            return data.split(b'\r\n\r\n', 1)[1]
        data += piece


def drives(s, vm):
    return [b for b in map(s.VBD.get_record, s.VM.get_VBDs(vm)) if 'cloud-init' in b['other_config']]


def cycle(s, vm):
    s.VM.start(vm, False, False)
    s.VM.hard_shutdown(vm)


with Agent() as agent:
    s = agent.login()
    template = s.VM.get_by_name_label('Other install media')[0]
    plain = s.VM.clone(template, 'plain')
    s.VM.provision(plain)
    cycle(s, plain)
    check(not drives(s, plain), 'a VM that says nothing gets no such disk')

    image = s.VM.clone(template, 'My image')
    s.VM.set_is_a_template(image, True)
    s.VM.add_to_other_config(image, 'cloud-init-user-data', USER)
    vm = s.VM.clone(image, 'Web_1 (new)')
    s.VM.provision(vm)
    s.VM.start(vm, False, False)
    disk, = drives(s, vm)
    check(disk['mode'] == 'RO' and disk['currently_attached'] and not disk['bootable'], 'one of a template that says user data has it')
    raw = content(agent, s, disk['VDI'])
    check(raw[16 * SECTOR:16 * SECTOR + 6] == b'\x01CD001' and raw[16 * SECTOR + 40:16 * SECTOR + 46] == b'cidata', 'an ISO 9660 volume called cidata')
    check(files(raw) == {'user-data': USER, 'meta-data': 'instance-id: %s\nlocal-hostname: web-1--new\n' % s.VM.get_uuid(vm)}, 'with what cloud-init needs: %s'
          % files(raw))
    s.VM.hard_shutdown(vm)
    cycle(s, vm)
    check([d['VDI'] for d in drives(s, vm)] == [disk['VDI']], 'the next start keeps it')

    s.VM.add_to_other_config(vm, 'cloud-init-network-config', 'version: 2\n')
    s.VM.add_to_other_config(vm, 'cloud-init-meta-data', 'instance-id: i-1\n')
    cycle(s, vm)
    disk2, = drives(s, vm)
    check(disk2['VDI'] == disk['VDI'] and files(content(agent, s, disk['VDI'])) == {
        'user-data': USER, 'meta-data': 'instance-id: i-1\n', 'network-config': 'version: 2\n'}, 'what is said else goes onto the same disk')

    # Without a network-config of its own: the addresses that its cards are to have.
    network = s.network.create({'name_label': 'n', 'name_description': '', 'MTU': '1500', 'other_config': {}, 'tags': []})
    cards = [s.VIF.create({'VM': vm, 'network': network, 'device': str(n), 'MAC': '02:00:00:00:00:0%d' % n, 'MTU': '0', 'other_config': {},
                           'qos_algorithm_type': '', 'qos_algorithm_params': {}}) for n in (0, 1)]
    s.VIF.configure_ipv4(cards[1], 'Static', '192.0.2.7/24', '192.0.2.1')
    cycle(s, vm)
    check(files(content(agent, s, disk['VDI']))['network-config'] == 'version: 2\n', 'a network-config that was said counts for more than cards')
    s.VM.remove_from_other_config(vm, 'cloud-init-network-config')
    cycle(s, vm)
    check(files(content(agent, s, disk['VDI']))['network-config'] ==
          'version: 2\nethernets:\n'
          '  vif0:\n    match: {macaddress: "02:00:00:00:00:00"}\n    dhcp4: true\n'
          '  vif1:\n    match: {macaddress: "02:00:00:00:00:01"}\n    dhcp4: false\n    addresses:\n    - "192.0.2.7/24"\n'
          '    routes:\n    - {to: "0.0.0.0/0", via: "192.0.2.1"}\n', 'the addresses of its cards without one')
    s.VIF.configure_ipv6(cards[0], 'Static', '2001:db8::7/64', '2001:db8::1')
    s.VIF.configure_ipv4(cards[1], 'None', '', '')
    cycle(s, vm)
    check('    dhcp4: true\n    addresses:\n    - "2001:db8::7/64"\n    routes:\n    - {to: "::/0", via: "2001:db8::1"}\n'
          in files(content(agent, s, disk['VDI']))['network-config'], 'of IPv6 as well')
    s.VIF.configure_ipv6(cards[0], 'None', '', '')
    s.VM.add_to_other_config(vm, 'cloud-init-network-config', 'version: 2\n')

    second = s.VM.clone(vm, 'second')
    s.VM.remove_from_other_config(second, 'cloud-init-meta-data')
    cycle(s, second)
    theirs, = drives(s, second)
    check(theirs['VDI'] != disk['VDI'] and s.VM.get_uuid(second) in files(content(agent, s, theirs['VDI']))['meta-data'], 'a clone gets an identity of its own')

    secret = s.secret.create({'value': '#cloud-config\npassword: hunter2\n', 'other_config': {}})
    s.VM.remove_from_other_config(vm, 'cloud-init-user-data')
    s.VM.add_to_other_config(vm, 'cloud-init-user-data', 'secret:' + s.secret.get_uuid(secret))
    cycle(s, vm)
    check('hunter2' in files(content(agent, s, disk['VDI']))['user-data'] and 'hunter2' not in str(s.VM.get_record(vm)), 'user data may be a secret')
    s.secret.destroy(secret)
    fails('UUID_INVALID', 'a secret that is gone', s.VM.start, vm, False, False)
    check(s.VM.get_power_state(vm) == 'Halted', 'leaves it halted')

    s.VM.remove_from_other_config(vm, 'cloud-init-user-data')
    for kind in ('user', 'vendor'):
        s.VM.add_to_other_config(vm, 'cloud-init-%s-data' % kind, 'y' * 700000)
    cycle(s, vm)
    larger, = drives(s, vm)
    check(len(files(content(agent, s, larger['VDI']))['vendor-data']) == 700000, 'more than the old disk holds: a larger one')
    fails('HANDLE_INVALID', 'the old one', s.VDI.get_uuid, disk['VDI']) if larger['VDI'] != disk['VDI'] else check(False, 'it is another disk')
done()
