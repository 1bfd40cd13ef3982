"""A guest whose shell answers on its serial line, and its disks."""
import glob
import os
import socket
import time

MIB = 1 << 20


class Console:
    """The guest's shell on its serial line."""

    def __init__(self, agent, uuid):
        paths = glob.glob(os.path.join(agent.root, '**', uuid + '.s'), recursive=True)
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(paths[0])
        self.text = ''
        self.n = 0

    def says(self, text, seconds):
        """Waits until the guest has said it, since this was connected."""
        until = time.monotonic() + seconds
        while text not in self.text and time.monotonic() < until:
            try:
                self.text += self.sock.recv(4096).decode('utf-8', 'replace')
            except socket.timeout:
                pass
        return text in self.text

    def run(self, command, seconds=60):
        """Output of a shell command in the guest, or None when it does not come back."""
        self.n += 1
        mark = 'END%d' % self.n
        self.sock.sendall(('%s; echo E""ND%d $?\n' % (command, self.n)).encode())
        until = time.monotonic() + seconds
        start = len(self.text)
        while time.monotonic() < until:
            if mark + ' ' in self.text[start:] and '\n' in self.text[self.text.index(mark + ' ', start):]:
                return self.text[start:self.text.index(mark + ' ', start)]
            try:
                self.text += self.sock.recv(4096).decode('utf-8', 'replace')
            except socket.timeout:
                return None
        return None

    def ok(self, command, seconds=60):
        out = self.run(command + ' && echo FI""NE', seconds)
        return out is not None and 'FINE' in out


def disk(s, sr, name, size=64 * MIB, **more):
    record = {'name_label': name, 'name_description': '', 'SR': sr, 'virtual_size': str(size), 'type': 'user',
              'sharable': False, 'read_only': False, 'other_config': {}}
    record.update(more)
    return s.VDI.create(record)


def drive(s, vm, vdi, device, **more):
    record = {'VM': vm, 'VDI': vdi, 'userdevice': device, 'bootable': False, 'mode': 'RW', 'type': 'Disk', 'empty': False,
              'other_config': {}, 'qos_algorithm_type': '', 'qos_algorithm_params': {}}
    record.update(more)
    return s.VBD.create(record)


def write(guest, pattern, device, at_kib):
    """64 KiB of one byte, from inside the guest."""
    return guest.ok("tr '\\0' '\\%03o' </dev/zero | dd of=/dev/%s bs=1k count=64 seek=%d iflag=fullblock conv=fsync 2>/dev/null"
                    % (pattern, device, at_kib))


def make_vm(s, kernel, initramfs, nonce):
    """A VM that boots the test kernel and prints 'userland: NONCE'."""
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], nonce)
    s.VM.provision(vm)
    s.VM.set_memory_limits(vm, str(64 * MIB), str(192 * MIB), str(192 * MIB), str(192 * MIB))
    s.VM.set_domain_type(vm, 'pvh')
    s.VM.set_PV_kernel(vm, kernel)
    s.VM.set_PV_ramdisk(vm, initramfs)
    s.VM.set_PV_args(vm, 'console=ttyS0 mitigations=off nonce=' + nonce)
    return vm
