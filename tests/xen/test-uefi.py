#!/usr/bin/env python3
"""An HVM guest with UEFI firmware: hvmloader hands over to ovmf, whose first words come on the guest's serial line. LEVEL=full only.

Firmware has a timer interrupt, and its way out of one writes CR8. With an interrupt pending that ends QEMU 7.2, as soon as a guest within
its emulated machine does it ("tcg_handle_interrupt: assertion failed: qemu_mutex_iothread_locked"): it takes the write for the machine's own
without the lock that raising an interrupt needs. The firmware installed in this machine is therefore ovmf without that write, which nothing
in it depends on: it never raises CR8."""
import lzma
import struct
import sys

from harness import LEVEL, check, done
from guests import MIB, Machine, wait_until

if LEVEL != 'full':
    print('# firmware in an emulated machine within an emulated machine: LEVEL=full')
    sys.exit(77)
OVMF, INSTALLED = '/usr/share/ovmf/OVMF.fd', '/usr/share/ovmf/OvmfXen.fd'      # the latter is looked for first
LZMA_SECTION = bytes.fromhex('98584eee143959429d6edc7bd79403cf')
WRITE_CR8, NOTHING = bytes.fromhex('440f22c0'), bytes.fromhex('0f1f4000')
FIRST_WORDS_S = 1500


def without_cr8(firmware):
    """Its main volume is a packed section: 3 bytes of length, a type, the GUID, where the data begins, the data."""
    firmware = bytearray(firmware)
    section = firmware.index(LZMA_SECTION) - 4
    size, = struct.unpack('<I', firmware[section:section + 3] + b'\0')
    first, = struct.unpack('<H', firmware[section + 20:section + 22])
    packed = bytes(firmware[section + first:section + size])
    volume = lzma.decompress(packed, lzma.FORMAT_ALONE)
    check(volume.count(WRITE_CR8) > 0, 'the firmware is the one that this test knows')
    how, dictionary = struct.unpack('<BI', packed[:5])
    again = lzma.compress(volume.replace(WRITE_CR8, NOTHING), lzma.FORMAT_ALONE, filters=[{
        'id': lzma.FILTER_LZMA1, 'preset': 9 | lzma.PRESET_EXTREME, 'nice_len': 273, 'dict_size': dictionary,
        'lc': how % 9, 'lp': how // 9 % 5, 'pb': how // 45}])
    again = again[:5] + struct.pack('<Q', len(volume)) + again[13:]         # the firmware wants to know how long it gets
    check(len(again) <= len(packed), 'packed again it has room')
    firmware[section + first:section + size] = again.ljust(len(packed), b'\0')
    return bytes(firmware).replace(WRITE_CR8, NOTHING)


with Machine() as m:
    s = m.s
    m.rig.put({INSTALLED: without_cr8(m.rig.get(OVMF))})
    m.rig.must('xl set-parameters guest_loglvl=all/all')
    vm = m.guest('uefi', 'hvm', disk=False, vif=False, memory=256 * MIB)
    for field in ('PV_kernel', 'PV_ramdisk', 'PV_args'):
        getattr(s.VM, 'set_' + field)(vm.ref, '')
    s.VM.set_HVM_boot_policy(vm.ref, 'BIOS order')
    s.VM.set_HVM_boot_params(vm.ref, {'order': 'c', 'firmware': 'uefi'})
    s.VM.start(vm.ref, False, False)
    loader = lambda: [line for line in m.rig.console().splitlines() if '(d%d)' % vm.domid() in line]
    check(wait_until(lambda: any('Invoking OVMF' in line for line in loader()), 300, 2), 'hvmloader hands over to it')
    check(vm.said('BdsDxe', FIRST_WORDS_S), 'UEFI: the firmware says its first words on the serial line: %s' % vm.console()[-200:])
    s.VM.hard_shutdown(vm.ref)
    check(m.left() == '', 'nothing is left of it: ' + m.left())
done()
