#!/usr/bin/env python3
"""An HVM guest with UEFI firmware: hvmloader hands over to ovmf, which boots an application of ours (uefi.c) from the guest's disk; that
writes to the serial line, keeps a variable, counts by the firmware's clock and turns the machine off. LEVEL=full only.

The firmware is Debian 11's ovmf: that of Debian 12 is made for QEMU alone (edk2 took Xen out of it in 2021). It has a timer interrupt,
and its way out of one writes CR8. With an interrupt pending that ends QEMU 7.2, as soon as a guest within its emulated machine does it
("tcg_handle_interrupt: assertion failed: qemu_mutex_iothread_locked"): it takes the write for the machine's own without the lock that
raising an interrupt needs. The firmware installed in this machine is therefore one without that write, which nothing in it depends on: it
never raises CR8."""
import base64
import lzma
import os
import re
import struct
import subprocess
import sys
import tempfile
import zlib

from harness import BUILD, LEVEL, check, done
from guests import MIB, Machine, wait_until

if LEVEL != 'full':
    print('# firmware in an emulated machine within an emulated machine: LEVEL=full')
    sys.exit(77)
INSTALLED = '/usr/share/ovmf/OvmfXen.fd'        # looked for before what the package ovmf has
ARCHIVE = 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s bullseye main\n'
LZMA_SECTION = bytes.fromhex('98584eee143959429d6edc7bd79403cf')
WRITE_CR8, NOTHING = bytes.fromhex('440f22c0'), bytes.fromhex('0f1f4000')
FIRST_WORDS_S, PAGE, SECTOR = 600, 4096, 512
# Code and data in one piece, as far from its beginning as in a file that is loaded.
LAYOUT = '''SECTIONS {
  . = 0x1000;
  .all : { *(.text.first) *(.text*) *(.rodata*) *(.data*) *(.bss*) }
  /DISCARD/ : { *(*) }
}
'''


def site():
    """The archive that this machine's own packages come from."""
    sites = subprocess.run(['apt-get', 'indextargets', '--format', '$(SITE)', 'Created-By: Packages', 'Component: main'], capture_output=True,
                           text=True, check=False).stdout.split()
    sites = [s for s in sites if 'security' not in s]
    if not sites:
        print('# this machine knows no archive of packages')
        sys.exit(77)
    return sites[0]


def fetch():
    """Debian 11's OVMF.fd, from its archive through apt with lists of its own; kept in the build's folder."""
    kept = os.path.join(BUILD, 'guest', 'ovmf-bullseye.fd')
    if not os.path.exists(kept):
        with tempfile.TemporaryDirectory() as d:
            os.makedirs(d + '/lists/partial')
            with open(d + '/sources', 'w') as f:
                f.write(ARCHIVE % site())
            apt = ['apt-get', '-qq', '-o', 'Dir::Etc::sourcelist=%s/sources' % d, '-o', 'Dir::Etc::sourceparts=-', '-o',
                   'Dir::State::lists=%s/lists' % d, '-o', 'Dir::State::status=/dev/null',
                   '-o', 'Dir::Cache::pkgcache=', '-o', 'Dir::Cache::srcpkgcache=', '-o',
                   'APT::Sandbox::User=root', '-o', 'Acquire::Retries=5']
            for words in (['update'], ['download', 'ovmf']):
                made = subprocess.run(apt + words, cwd=d, capture_output=True, text=True, check=False)
                if made.returncode:
                    print('# firmware for Xen cannot be fetched: %s' % made.stderr.strip()[-300:])
                    sys.exit(77)
            deb, = [n for n in os.listdir(d) if n.endswith('.deb')]
            subprocess.run(['dpkg-deb', '-x', deb, 'root'], cwd=d, check=True)
            os.makedirs(os.path.dirname(kept), exist_ok=True)
            with open(d + '/root/usr/share/ovmf/OVMF.fd', 'rb') as f, open(kept + '.part', 'wb') as out:
                out.write(f.read())
            os.rename(kept + '.part', kept)
    with open(kept, 'rb') as f:
        return f.read()


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


def application(d):
    """uefi.c as the firmware loads it: a PE file with one section, which needs no relocation."""
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'uefi.c')
    with open(d + '/layout', 'w') as f:
        f.write(LAYOUT)
    subprocess.run(['cc', '-O1', '-Wall', '-Wextra', '-Werror', '-ffreestanding', '-fPIC', '-fvisibility=hidden', '-fno-stack-protector',
                    '-fno-asynchronous-unwind-tables', '-fcf-protection=none', '-mno-red-zone', '-mgeneral-regs-only', '-nostdlib', '-static',
                    '-Wl,--build-id=none,-e,start,-T,%s/layout,--oformat,binary' % d, source, '-o', d + '/flat'], check=True)
    with open(d + '/flat', 'rb') as f:
        code = f.read()
    code = code.ljust((len(code) + SECTOR - 1) // SECTOR * SECTOR, b'\0')
    loaded = PAGE + (len(code) + PAGE - 1) // PAGE * PAGE
    head = b'MZ'.ljust(60, b'\0') + struct.pack('<I', 64)
    head += b'PE\0\0' + struct.pack('<HHIIIHH', 0x8664, 1, 0, 0, 0, 240, 0x22e)
    head += struct.pack('<HBBIIIII', 0x20b, 0, 0, len(code), 0, 0, PAGE, PAGE)                  # PE32+, begins with its first byte
    head += struct.pack('<QII6HIIIIHH4QII', 0, PAGE, SECTOR, *[0] * 6, 0, loaded, SECTOR, 0, 10, 0, 0, 0, 0, 0, 0, 16) + bytes(128)
    head += b'.text'.ljust(8, b'\0') + struct.pack('<IIIIIIHHI', len(code), PAGE, len(code), SECTOR, 0, 0, 0, 0, 0xe0000020)
    return head.ljust(SECTOR, b'\0') + code


def boot_disk():
    """A qcow2 image of a disk with that application in a FAT file system; (its bytes, its virtual size)."""
    with tempfile.TemporaryDirectory() as d:
        os.makedirs(d + '/files/EFI/BOOT')
        with open(d + '/files/EFI/BOOT/BOOTX64.EFI', 'wb') as f:
            f.write(application(d))
        subprocess.run(['qemu-img', 'convert', '-O', 'qcow2', 'fat:' + d + '/files', d + '/disk'], check=True)
        with open(d + '/disk', 'rb') as f:
            image = f.read()
    return image, struct.unpack('>Q', image[24:32])[0]


firmware, (image, virtual_size) = without_cr8(fetch()), boot_disk()
with Machine() as m:
    s = m.s
    m.rig.put({INSTALLED: firmware})
    m.rig.must('xl set-parameters guest_loglvl=all/all')
    vm = m.guest('uefi', 'hvm', disk=False, vif=False, memory=256 * MIB)
    vm.vdi = m.disk('uefi', virtual_size, raw=False)
    m.plug_disk(vm, vm.vdi, '0')
    m.rig.put({'/var/lib/xapi-test/sr/%s.qcow2' % s.VDI.get_uuid(vm.vdi): image})
    for field in ('PV_kernel', 'PV_ramdisk', 'PV_args'):
        getattr(s.VM, 'set_' + field)(vm.ref, '')
    s.VM.set_HVM_boot_policy(vm.ref, 'BIOS order')
    s.VM.set_HVM_boot_params(vm.ref, {'order': 'c', 'firmware': 'uefi'})
    s.VM.start(vm.ref, False, False)
    loader = lambda: [line for line in m.rig.console().splitlines() if '(d%d)' % vm.domid() in line]
    check(wait_until(lambda: any('Invoking OVMF' in line for line in loader()), 300, 2), 'hvmloader hands over to it')
    table = [line.split(') ', 1)[1].strip() for line in loader() if re.search(r'\[\d+\]: |OVERLAP', line)]
    check(table and not any('OVERLAP' in line for line in table), "with a memory map without overlaps: %s" % table)
    check(vm.said('BdsDxe: ', FIRST_WORDS_S), 'UEFI: the firmware says its first words on the serial line: %s' % vm.console()[-200:])
    check(vm.said('userland: application of '), 'and boots what is on the disk: %s' % vm.console()[-200:])
    check(vm.said('variable kept'), 'which keeps a variable with the firmware')
    check(vm.lives(), 'and ticks by its clock: %s' % vm.tick())
    check(wait_until(lambda: vm.state() == 'Halted', 120, 1), 'it turns the machine off: the VM is halted')
    check(m.left() == '', 'nothing is left of it: ' + m.left())

    # Its variables are the record's until the next start, whoever starts it.
    said = lambda text: vm.said(text, FIRST_WORDS_S)
    check('variable was 0' in vm.console(), 'at first it had no variable')
    kept = s.VM.get_NVRAM(vm.ref).get('OVMF-variables', '')
    check(len(kept) > 100 and zlib.decompress(base64.b64decode(kept))[40:44] == b'_FVH', 'what the firmware keeps is in the record: %d bytes' % len(kept))
    m.agent.kill()
    m.rig.must('cd /var/lib/xapi-test/hv/xen/nvram; rm *; touch -d "8 days ago" long; touch -d "6 days ago" short')
    m.restart()
    s = m.s
    check(m.rig.must('ls /var/lib/xapi-test/hv/xen/nvram').split() == ['short'], 'files of guests that ended a week ago are gone')
    s.VM.start(vm.ref, False, False)
    check(said('variable was 42') and said('variable kept'), 'the next domain has it: %s' % vm.console()[-200:])
    s.VM.hard_shutdown(vm.ref)
    check(s.VM.get_NVRAM(vm.ref)['OVMF-variables'] != kept, 'of one that is turned off, too')
    twin = s.VM.clone(vm.ref, 'twin')
    check(s.VM.get_NVRAM(twin) == s.VM.get_NVRAM(vm.ref), 'a clone has the same')
    s.VM.destroy(twin)
    s.VM.start(vm.ref, False, False)
    check(said('variable was 43'), 'and the third: %s' % vm.console()[-200:])
    s.VM.hard_shutdown(vm.ref)
    volume = zlib.decompress(base64.b64decode(s.VM.get_NVRAM(vm.ref)['OVMF-variables']))
    for what, bad in (('of another firmware', volume[:-16]), ('at an address beyond its memory', volume[:-8] + struct.pack('<Q', 0xe0000000)),
                      ('at none', volume[:-8] + struct.pack('<Q', 0x300001))):
        s.VM.set_NVRAM(vm.ref, {'OVMF-variables': base64.b64encode(zlib.compress(bad)).decode()})
        s.VM.start(vm.ref, True, False)
        check(s.VM.get_power_state(vm.ref) == 'Paused', 'variables %s do not keep it from starting' % what)
        s.VM.hard_shutdown(vm.ref)
    s.VM.start(vm.ref, False, False)
    check(wait_until(lambda: vm.console().count('variable was 0') == 2, FIRST_WORDS_S, 2), 'it begins with the firmware\'s own: %s' % vm.console()[-200:])
    s.VM.hard_shutdown(vm.ref)
    check(m.left() == '', 'nothing is left: ' + m.left())
done()
