#!/usr/bin/env python3
"""Boot loaders on Xen: a PV guest's kernel is found on its own disk (pygrub), a PVH guest's on a qcow2 disk with partitions; GRUB
as the kernel (pvgrub); what is refused. LEVEL=full: UEFI firmware of an HVM guest."""
import struct

from harness import LEVEL, check, done, fails
from xenguest import MIB, WORDS, Machine

CONFIG = '''set default=0
menuentry 'small' --id small {
  linux /boot/vmlinuz %s root=ignored %s
  initrd /boot/initramfs.gz
}
'''


def fill(m, guest, kind, words, kernel='vmlinux', image='raw'):
    """Its disk: a file system with kernel, ramdisk and grub.cfg."""
    path = '/var/lib/xapi-test/sr/%s.%s' % (m.s.VDI.get_uuid(guest.vdi), image)
    m.rig.must('rm -rf /root/boot.d; mkdir -p /root/boot.d/boot/grub; cd /root/boot.d\n'
               'cp /boot/%s boot/vmlinuz; cp /boot/initramfs.gz boot/\n'
               'cat >boot/grub/grub.cfg' % kernel, 60, (CONFIG % (WORDS, words)).encode())
    if image == 'raw':
        return m.rig.must('mke2fs -q -F -t ext4 -d /root/boot.d %s' % path, 120)
    # The second partition of a disk with an MBR, in a qcow2 image.
    first, size = 8192, (120 << 20) // 512
    table = b'\0' * 446 + b''.join(struct.pack('<4xB3xII', *e) for e in ((0x82, 2048, 2048), (0x83, first, size)))
    return m.rig.must('cat >/root/disk; truncate -s 128M /root/disk\n'
                      'mke2fs -q -F -t ext4 -d /root/boot.d -E offset=%d /root/disk %dk\n'
                      'qemu-img convert -f raw -O qcow2 /root/disk %s; rm /root/disk' % (first * 512, size // 2, path), 120,
                      table.ljust(510, b'\0') + b'\x55\xaa')


def copies(m):
    return m.rig.must('ls /var/lib/xapi-test/run/boot 2>/dev/null; true')


def finds_kernels(m):
    s = m.s
    pv = m.guest('loaded', 'pv', disk=False, vif=False)
    pvh = m.guest('parted', 'pvh', disk=False, vif=False)
    pv.vdi, pvh.vdi = m.disk('loaded', 128 * MIB), m.disk('parted', 128 * MIB, raw=False)
    for guest, extra in ((pv, 'tick=1'), (pvh, 'tick=1 nonce=parted')):
        m.plug_disk(guest, guest.vdi, '0')
        s.VM.set_PV_bootloader(guest.ref, 'pygrub')
        for field in ('PV_kernel', 'PV_ramdisk'):
            getattr(s.VM, 'set_' + field)(guest.ref, '')
        s.VM.set_PV_args(guest.ref, extra)
    fill(m, pv, 'pv', 'nonce=loaded', 'vmlinuz')
    fill(m, pvh, 'pvh', 'nonce=wrong', image='qcow2')
    s.VM.start(pv.ref, False, False)
    check(copies(m) == '', 'the copies of kernel and ramdisk are gone once the guest runs: %s' % copies(m))
    s.VM.start(pvh.ref, False, False)
    check(pv.said('userland: loaded') and pv.lives(), 'PV: kernel, ramdisk and arguments come from the disk')
    check(pvh.said('userland: parted') and pvh.lives(), 'PVH: from the second partition of a qcow2 disk, PV_args added')
    for guest in (pv, pvh):
        s.VM.hard_shutdown(guest.ref)
    s.VM.set_PV_bootloader_args(pv.ref, '--kernel=/boot/none')
    said = fails('BOOTLOADER_FAILED', 'a kernel that is not on the disk', s.VM.start, pv.ref, False, False)
    check(said[0] == pv.ref and '/boot/none' in said[1], 'says which: %s' % said)
    check(copies(m) == '' and m.left() == '', 'and leaves nothing behind: ' + copies(m) + m.left())
    s.VM.set_PV_bootloader(pv.ref, 'eliloader')
    fails('BOOTLOADER_FAILED', 'eliloader is not there', s.VM.start, pv.ref, False, False)
    s.VM.set_PV_bootloader(pv.ref, 'lilo')
    said = fails('UNKNOWN_BOOTLOADER', 'nor is lilo', s.VM.start, pv.ref, False, False)
    check(said == [pv.ref, 'lilo'], 'named: %s' % said)
    return pv, pvh


def runs_grub(m, guests):
    """GRUB finds the same menus itself; what it says comes before the kernel's."""
    s = m.s
    for guest, kind in zip(guests, ('PV', 'PVH')):
        s.VM.set_PV_bootloader(guest.ref, 'pvgrub')
        s.VM.set_PV_bootloader_args(guest.ref, '')
        before = guest.console().count('userland: ')
        s.VM.start(guest.ref, False, False)
        check(guest.said('userland: ', times=before + 1), kind + ': GRUB as the kernel boots the disk')
        s.VM.hard_shutdown(guest.ref)


def has_uefi(m):
    s = m.s
    vm = m.guest('uefi', 'hvm', disk=False, vif=False, memory=256 * MIB)
    for field in ('PV_kernel', 'PV_ramdisk', 'PV_args'):
        getattr(s.VM, 'set_' + field)(vm.ref, '')
    s.VM.set_HVM_boot_policy(vm.ref, 'BIOS order')
    s.VM.set_HVM_boot_params(vm.ref, {'order': 'c', 'firmware': 'uefi'})
    s.VM.start(vm.ref, False, False)
    check(vm.said('BdsDxe', 900), 'UEFI: the firmware says its first words on the serial line: %s' % vm.console()[-200:])
    s.VM.hard_shutdown(vm.ref)


with Machine() as m:
    guests = finds_kernels(m)
    if LEVEL == 'full':
        runs_grub(m, guests)
        has_uefi(m)
    check(m.left() == '', 'nothing is left of any of them: ' + m.left())
done()
