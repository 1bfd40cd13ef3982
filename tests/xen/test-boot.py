#!/usr/bin/env python3
"""Boot loaders on Xen: a guest's kernel is found on its own disk (pygrub), in a partition of a qcow2 image; what is refused.
LEVEL=full: PVH, and GRUB as the kernel (pvgrub)."""
import struct

from harness import LEVEL, check, done, fails
from guests import MIB, WORDS, Machine

CONFIG = '''set default=0
set timeout=0
menuentry 'small' --id small {
  linux /boot/vmlinuz %s root=ignored %s
  initrd /boot/initramfs.gz
}
'''


def fill(m, guest, words, kernel, image):
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


def loads(m, name, kind, image, kernel):
    """A guest whose kernel is on its disk only, started."""
    s = m.s
    guest = m.guest(name, kind, disk=False, vif=False)
    guest.vdi = m.disk(name, 128 * MIB, raw=image == 'raw')
    m.plug_disk(guest, guest.vdi, '0')
    s.VM.set_PV_bootloader(guest.ref, 'pygrub')
    for field in ('PV_kernel', 'PV_ramdisk'):
        getattr(s.VM, 'set_' + field)(guest.ref, '')
    s.VM.set_PV_args(guest.ref, 'tick=1 nonce=' + name)
    fill(m, guest, 'nonce=wrong', kernel, image)
    s.VM.start(guest.ref, False, False)
    check(copies(m) == '', 'the copies of kernel and ramdisk are gone once the guest runs: %s' % copies(m))
    return guest


def refuses(m, guest):
    s = m.s
    s.VM.set_PV_bootloader_args(guest.ref, '--kernel=/boot/none')
    said = fails('BOOTLOADER_FAILED', 'a kernel that is not on the disk', s.VM.start, guest.ref, False, False)
    check(said[0] == guest.ref and '/boot/none' in said[1], 'says which: %s' % said)
    check(copies(m) == '' and m.left() == '', 'and leaves nothing behind: ' + copies(m) + m.left())
    s.VM.set_PV_bootloader(guest.ref, 'eliloader')
    fails('BOOTLOADER_FAILED', 'eliloader is not there', s.VM.start, guest.ref, False, False)
    s.VM.set_PV_bootloader(guest.ref, 'lilo')
    said = fails('UNKNOWN_BOOTLOADER', 'nor is lilo', s.VM.start, guest.ref, False, False)
    check(said == [guest.ref, 'lilo'], 'named: %s' % said)


def finds_kernels(m):
    """PV from the second partition of a qcow2 disk; LEVEL=full: PVH too, from a disk without partitions."""
    full = LEVEL == 'full'
    parted = loads(m, 'parted', 'pv', 'qcow2', 'vmlinux')
    whole = loads(m, 'whole', 'pvh', 'raw', 'vmlinuz') if full else None
    check(parted.said('userland: parted') and parted.lives(), 'PV: kernel, ramdisk and arguments come from the disk, PV_args added')
    if full:
        check(whole.said('userland: whole') and whole.lives(), 'PVH: the same')
        m.s.VM.hard_shutdown(whole.ref)
    m.s.VM.hard_shutdown(parted.ref)
    refuses(m, parted)
    return parted, whole


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


with Machine() as m:
    guests = finds_kernels(m)
    if LEVEL == 'full':
        runs_grub(m, guests)
    check(m.left() == '', 'nothing is left of any of them: ' + m.left())
done()
