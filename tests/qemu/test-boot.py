#!/usr/bin/env python3
"""What a guest with a BIOS boots from is what HVM_boot_params:order says: a sector of its disk, or one of the CD in its drive; each says on the
serial line what it is. The order is the next start's, and a medium that cannot be booted is passed over."""
import os
import re
import struct
import urllib.request

from harness import QemuAgent, check, done, own_network, wait_until

MIB, SECTOR = 1 << 20, 2048
own_network()


def boot_sector(word):
    """512 bytes of real mode that say a word on COM1 and stop."""
    code = bytes.fromhex('fc31c08ed8'           # cld; xor ax, ax; mov ds, ax
                         'be167c'               # mov si, text
                         'baf803'               # mov dx, 3f8h
                         'ac84c07403eeebf8'     # next: lodsb; test al, al; jz end; out dx, al; jmp next
                         'f4ebfd')              # end: hlt; jmp end
    text = code + b'booted: ' + word.encode() + b'\r\n\0'
    return text.ljust(510, b'\0') + b'\x55\xaa'


def bootable_cd(word):
    """The least that El Torito asks for: a volume, a boot record that leads to a catalog, which leads to the sector."""
    volume = b'\x01CD001\x01\0' + b'LINUX'.ljust(32) + b'BOOT'.ljust(32) + bytes(8) + struct.pack('<I', 21) + struct.pack('>I', 21)
    record = b'\0CD001\x01' + b'EL TORITO SPECIFICATION'.ljust(32, b'\0') + bytes(32) + struct.pack('<I', 19)
    check_entry = bytearray(b'\x01\0\0\0' + bytes(24) + b'\0\0\x55\xaa')
    struct.pack_into('<H', check_entry, 28, -sum(struct.unpack('<16H', check_entry)) & 0xffff)
    catalog = bytes(check_entry) + b'\x88\0\0\0\0\0' + struct.pack('<HI', 4, 20)
    parts = [bytes(SECTOR)] * 16 + [volume, record, b'\xffCD001\x01', catalog, boot_sector(word)]
    return b''.join(p.ljust(SECTOR, b'\0') for p in parts)


def make_vm(agent, s):
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'boots')
    s.VM.provision(vm)
    s.VM.set_memory_limits(vm, str(64 * MIB), str(64 * MIB), str(64 * MIB), str(64 * MIB))
    s.VM.add_to_platform(vm, 'hvm_serial', 'pty')
    media = os.path.join(agent.root, 'media')
    os.mkdir(media)
    with open(os.path.join(media, 'boot.iso'), 'wb') as f:
        f.write(bootable_cd('CD'))
    iso = s.SR.create(s.host.get_all()[0], {'location': media, 'legacy_mode': 'true'}, '0', 'media', '', 'iso', '', True, {})
    disk = s.VDI.create({'name_label': 'disk', 'SR': s.pool.get_default_SR(s.pool.get_all()[0]), 'virtual_size': str(MIB), 'type': 'user'})
    for device, kind, vdi in (('0', 'Disk', disk), ('3', 'CD', s.SR.get_VDIs(iso)[0])):
        s.VBD.create({'VM': vm, 'VDI': vdi, 'userdevice': device, 'bootable': True, 'mode': 'RW' if kind == 'Disk' else 'RO', 'type': kind,
                      'empty': False})
    return vm, disk


def fill(agent, s, disk, data):
    url = 'http://127.0.0.1:%d/import_raw_vdi?session_id=%s&vdi=%s' % (agent.http_port, s._ref, disk)
    urllib.request.urlopen(urllib.request.Request(url, data=data.ljust(MIB, b'\0'), method='PUT'), timeout=60).read()


def boots(agent, s, vm, order):
    """The word that it says when it is started."""
    uuid = s.VM.get_uuid(vm)
    s.VM.set_HVM_boot_params(vm, {'order': order, 'firmware': 'bios'})
    before = len(agent.console_log(uuid))
    s.VM.start(vm, False, False)
    said = wait_until(lambda: re.findall(r'booted: (\w+)\r?\n', agent.console_log(uuid)[before:]), 90)
    s.VM.hard_shutdown(vm)
    return said


with QemuAgent() as agent:
    s = agent.login()
    vm, disk = make_vm(agent, s)
    fill(agent, s, disk, boot_sector('disk'))
    for order, word in (('cd', 'disk'), ('dc', 'CD'), ('c', 'disk'), ('dcn', 'CD')):
        said = boots(agent, s, vm, order)
        check(said == [word], 'order %s: from the %s: %s' % (order, word, said))
    fill(agent, s, disk, bytes(512))
    said = boots(agent, s, vm, 'cd')
    check(said == ['CD'], 'a disk that is not bootable is passed over: %s' % said)
    cd = next(b for b in s.VM.get_VBDs(vm) if s.VBD.get_type(b) == 'CD')
    s.VBD.eject(cd)
    fill(agent, s, disk, boot_sector('again'))
    said = boots(agent, s, vm, 'dc')
    check(said == ['again'], 'an empty drive, too: %s' % said)
done()
