#!/usr/bin/env python3
"""The helper that finds a guest's kernel on its disk: file systems with and without partitions, boot loaders' files, what the
request may ask for, hostile disks, and what the process may still do."""
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

from harness import BUILD, check, done, wait_until

HELPER = os.path.join(BUILD, 'xapi-helper')
SECTOR = 512
random.seed(5)
KERNEL = b'\x7fELF' + random.randbytes(1500000)
RAMDISK = random.randbytes(700001)
GRUB = '''set default="0"
function load_video { insmod all_video }
menuentry 'Debian GNU/Linux' --class debian $menuentry_id_option 'gnulinux-simple-1' {
\tinsmod ext2
\tlinux\t/boot/vmlinuz-6.1 root=UUID=1-2 ro quiet
\tinitrd\t/boot/initrd.img-6.1
}
submenu 'Advanced options' $menuentry_id_option 'advanced' {
\tmenuentry 'Debian, recovery' $menuentry_id_option 'recovery-1' {
\t\tlinux\t/boot/vmlinuz-6.1 root=UUID=1-2 ro single
\t}
}
'''
folder = tempfile.mkdtemp(prefix='xapi-boot-')


def path(name):
    return os.path.join(folder, name)


def file_system(name, files, mib=8, links={}, sparse={}, kind='ext4'):
    """An image with these files."""
    root = path(name + '.d')
    for where, what in files.items():
        os.makedirs(os.path.dirname(os.path.join(root, where)), exist_ok=True)
        with open(os.path.join(root, where), 'wb') as f:
            f.write(what if isinstance(what, bytes) else what.encode())
    for where, size in sparse.items():
        with open(os.path.join(root, where), 'wb') as f:
            f.truncate(size)
    for where, to in links.items():
        os.symlink(to, os.path.join(root, where))
    subprocess.run(['mke2fs', '-q', '-F', '-t', kind, '-d', root, path(name), '%dM' % mib], check=True,
                   stdout=subprocess.DEVNULL, env=dict(os.environ, PATH=os.environ['PATH'] + ':/usr/sbin:/sbin'))
    shutil.rmtree(root)
    return path(name)


def entry(kind, first, count):
    return struct.pack('<BBBBBBBBII', 0, 0, 0, 0, kind, 0, 0, 0, first, count)


def mbr(*entries):
    return (b'\0' * 446 + b''.join(entries)).ljust(510, b'\0') + b'\x55\xaa'


def disk(name, pieces):
    """A disk of (sector, bytes)."""
    with open(path(name), 'wb') as f:
        for at, data in pieces:
            f.seek(at * SECTOR)
            f.write(data)
    return path(name)


def read(name):
    with open(name, 'rb') as f:
        return f.read()


class Answer:
    def __init__(self, status, line, kernel, ramdisk, seconds):
        self.status, self.line, self.kernel, self.ramdisk, self.seconds = status, line, kernel, ramdisk, seconds

    def __repr__(self):
        return '%r, status %d, kernel %d bytes, ramdisk %d bytes, %.1f s' % (self.line, self.status, len(self.kernel), len(self.ramdisk),
                                                                           self.seconds)

    def boots(self, args, ramdisk=True):
        return (self.status == 0 and self.line == 'ok %s %s' % ('ramdisk' if ramdisk else 'kernel', args) and
                self.kernel == KERNEL and self.ramdisk == (RAMDISK if ramdisk else b''))

    def refuses(self, *words):
        return self.status == 1 and not self.line.startswith('ok') and all(w in self.line for w in words)


def launch(disk_fd, request=''):
    """The helper with the descriptors it wants at 3, 4, 5."""
    out = [os.open(path(n), os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600) for n in ('kernel', 'ramdisk')]
    high = [os.dup2(fd, 50 + i) for i, fd in enumerate([disk_fd] + out)]

    def place():
        for i, fd in enumerate(high):
            os.dup2(fd, 3 + i)
    child = subprocess.Popen([HELPER, 'bootloader'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             preexec_fn=place, close_fds=False)
    for fd in high + out:
        os.close(fd)
    child.stdin.write(request.encode())
    child.stdin.close()
    child.stdin = None
    return child


def ask(image, request='', seconds=60):
    began = time.monotonic()
    fd = image if isinstance(image, int) else os.open(image, os.O_RDONLY)
    child = launch(fd, request)
    os.close(fd)
    out, err = child.communicate(timeout=seconds)
    a = Answer(child.returncode, out.decode('utf-8', 'replace').rstrip('\n'), read(path('kernel')), read(path('ramdisk')), time.monotonic() - began)
    if err:
        print('# stderr: %r' % err[-300:])
    return a


def served(image, kind):
    """A connection to a qemu-nbd of the image."""
    where = path('nbd')
    server = subprocess.Popen(['qemu-nbd', '--read-only', '--format', kind, '--socket', where, image])
    sock = socket.socket(socket.AF_UNIX)
    wait_until(lambda: sock.connect_ex(where) == 0, 20, 0.05)
    sock.setblocking(False)
    return server, sock.detach()


FILES = {'boot/vmlinuz-6.1': KERNEL, 'boot/initrd.img-6.1': RAMDISK, 'boot/grub/grub.cfg': GRUB}
ARGS = 'root=UUID=1-2 ro quiet'


def finds():
    whole = file_system('whole', FILES, links={'vmlinuz': 'boot/vmlinuz-6.1'})
    a = ask(whole)
    check(a.boots(ARGS), 'a file system without partitions: %r' % a)
    check(ask(whole, 'entry=gnulinux-simple-1\n').boots(ARGS), 'an entry by its id')
    check(ask(whole, 'entry=advanced>recovery-1\n').boots('root=UUID=1-2 ro single', False), 'one in a submenu, without a ramdisk')
    check(ask(whole, 'entry=7\n').refuses('no entry 7'), 'one that is not there is an error')
    check(ask(whole, 'kernel=/vmlinuz\nargs=one two\n').boots('one two', False), 'a kernel by name, through a symbolic link')
    check(ask(whole, 'kernel=/boot/none\n').refuses('/boot/none', 'not on the disk'), 'a kernel that is not there')
    for bad in ('mad\n', 'shell=/bin/sh\n', 'kernel=/vmlinuz', 'a' * 40000 + '=1\n', 'kernel=/v\0m\n'):
        check(ask(whole, bad).refuses('not understood'), 'a request that is none: %r' % bad[:20])

    data = read(whole)
    sectors = len(data) // SECTOR
    small = read(file_system('other', {'nothing': 'here'}, 1, kind='ext2'))
    two = disk('mbr', [(0, mbr(entry(0x82, 2048, 2048), entry(0x83, 4096, sectors))), (2048, small), (4096, data)])
    check(ask(two).boots(ARGS), 'the second partition of an MBR')
    logical = disk('logical', [(0, mbr(entry(0x83, 2048, 2048), entry(5, 8192, sectors + 4096))), (2048, small),
                               (8192, mbr(entry(0x83, 2048, 1024), entry(5, 4096, sectors + 2048))), (12288, mbr(entry(0x83, 2048, sectors))),
                               (14336, data)])
    check(ask(logical).boots(ARGS), 'a logical partition')
    part = b'\xaf' * 16 + b'\xbf' * 16 + struct.pack('<QQQ', 4096, 4096 + sectors - 1, 0) + 'boot'.encode('utf-16le').ljust(72, b'\0')
    gpt = disk('gpt', [(0, mbr(entry(0xee, 1, 0xffffffff))),
                       (1, (b'EFI PART' + b'\0' * 64 + struct.pack('<QII', 2, 128, 128)).ljust(512, b'\0')), (2, part), (4096, data)])
    check(ask(gpt).boots(ARGS), 'a partition of a GPT')
    subprocess.run(['qemu-img', 'convert', '-q', '-f', 'raw', '-O', 'qcow2', gpt, path('qcow2')], check=True)
    server, fd = served(path('qcow2'), 'qcow2')
    a = ask(fd)
    check(a.boots(ARGS), 'an image that is not raw, through its server: %r' % a)
    check(server.wait(20) == 0, 'which it leaves as it should')

    # /boot as a partition of its own: paths begin there.
    own = {'vmlinuz-6.1': KERNEL, 'initrd.img-6.1': RAMDISK}
    check(ask(file_system('own', {**own, 'grub/grub.cfg': GRUB.replace('/boot/', '/')})).boots(ARGS), 'a partition for /boot alone')
    check(ask(file_system('extlinux', {**own, 'extlinux.conf': 'DEFAULT virt\nLABEL virt\n  LINUX vmlinuz-6.1\n  INITRD initrd.img-6.1\n'
                                                              '  APPEND root=/dev/vda3 quiet\n'})).boots('root=/dev/vda3 quiet'), 'extlinux')
    check(ask(file_system('grub1', {**FILES, 'boot/grub/grub.cfg': '', 'boot/grub/menu.lst':
                                    'default 1\ntitle other\nkernel /none\ntitle Linux\nroot (hd0,0)\nkernel (hd0,0)/boot/vmlinuz-6.1 ro\n'
                                    'initrd /boot/initrd.img-6.1\n'}, kind='ext3')).refuses('no entry'), 'an empty grub.cfg is no menu')
    files = {k: v for k, v in FILES.items() if 'grub' not in k}
    check(ask(file_system('old', {**files, 'boot/grub/menu.lst':
                                  'default 1\ntitle other\nkernel /none\ntitle Linux\nroot (hd0,0)\nkernel (hd0,0)/boot/vmlinuz-6.1 ro\n'
                                  'initrd /boot/initrd.img-6.1\n'}, kind='ext3')).boots('ro'), 'menu.lst on ext3')
    check(ask(file_system('bls', {**own, 'grub2/grub.cfg': 'insmod part_gpt\nblscfg\n', 'grub2/grubenv': 'saved_entry=f39\nkernelopts=rw x=1\n',
                                  'loader/entries/f38.conf': 'title old\nlinux /none\n',
                                  'loader/entries/f39.conf': 'title new\nlinux /vmlinuz-6.1\ninitrd /initrd.img-6.1\noptions $kernelopts\n'})
              ).boots('rw x=1'), 'the Boot Loader Specification, with what grubenv says')
    return whole


def survives(whole):
    check(ask(disk('empty', [(0, b'')])).refuses('no ext2'), 'an empty disk')
    check(ask(disk('noise', [(0, random.randbytes(1 << 20))])).refuses('no ext2'), 'noise')
    check(ask(file_system('bare', {'a': 'b'})).refuses('neither grub.cfg'), 'a disk without a boot loader')
    check(ask(whole, 'kernel=/boot/grub\n').refuses('not on the disk'), 'a folder is no kernel')
    loop = file_system('loop', {'boot/grub/grub.cfg': GRUB}, links={'boot/vmlinuz-6.1': 'vmlinuz-6.1'})
    check(ask(loop).refuses('vmlinuz-6.1', 'not on the disk'), 'a symbolic link to itself')
    away = file_system('away', {'boot/grub/grub.cfg': GRUB}, links={'boot/vmlinuz-6.1': '/../../../../etc/passwd'})
    check(ask(away).refuses('not on the disk'), 'a link that leads out leads nowhere')
    large = file_system('large', {'boot/grub/grub.cfg': GRUB}, sparse={'boot/vmlinuz-6.1': 300 << 20})
    check(ask(large).refuses('too large'), 'a kernel of 300 MiB that takes no room on the disk')
    check(ask(file_system('long', {'boot/grub/grub.cfg': 'x' * (2 << 20)})).refuses('neither'), 'a menu of 2 MiB')
    injected = GRUB.replace('ro quiet', 'ro\x01\x1b[2J quiet')
    line = ask(file_system('control', {**FILES, 'boot/grub/grub.cfg': injected})).line
    check(line.startswith('ok ramdisk') and all(c >= ' ' for c in line), 'control characters do not come out: %r' % line)

    # Whatever is wrong with the disk, the answer comes: either it boots, or a sentence says why not.
    data, worst, odd = bytearray(read(whole)), 0, []
    for n in range(60):
        mad = bytearray(data)
        for _ in range(random.choice((1, 4, 40))):
            where = random.choice((1024 + random.randrange(256), random.randrange(16384), random.randrange(len(mad))))
            mad[where] = random.randrange(256)
        a = ask(disk('mad', [(0, bytes(mad))]), seconds=90)
        worst = max(worst, a.seconds)
        if a.status not in (0, 1) or not a.line or (a.status == 0) != a.line.startswith('ok'):
            odd.append((n, repr(a)))
    check(not odd, '60 damaged disks: each with an answer, the slowest after %.1f s: %r' % (worst, odd))


def confined():
    """A server that never answers keeps the helper where it can be looked at."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    child = launch(theirs.detach())
    status = lambda: dict(l.split(':\t', 1) for l in read('/proc/%d/status' % child.pid).decode().splitlines() if ':\t' in l)
    check(wait_until(lambda: status()['Seccomp'] == '2', 20, 0.02), 'its system calls are filtered')
    s = status()
    check(s['NoNewPrivs'] == '1' and int(s['CapEff'], 16) & ~(1 << 29) == 0, 'it has no privileges: %s' % s['CapEff'])
    try:
        import pwd
        wanted = str(pwd.getpwnam('xapi-helper').pw_uid)
    except KeyError:
        wanted = '0'
    if os.getuid() == 0:
        check(set(s['Uid'].split()) == {wanted}, 'and an account of its own')
    names = sorted(os.listdir('/proc/%d/fd' % child.pid))
    check(set(names) <= {'0', '1', '2', '3', '4', '5'} | {n for n in names if int(n) >= 50} and '3' in names, 'and what it was given: %s' % names)
    ours.close()
    out = child.communicate(timeout=30)[0].decode()
    check(child.returncode == 1 and out.strip(), 'a server that goes away is an error: %r' % out)


if os.environ.get('XAPI_SLOW'):
    print('a sanitizer makes system calls of its own, for which the helper is killed')
    sys.exit(77)
try:
    survives(finds())
    confined()
finally:
    shutil.rmtree(folder, ignore_errors=True)
done()
