#!/usr/bin/env python3
"""A guest with a TPM (swtpm): what it keeps is the record's between its starts, goes with snapshots, copies and exports, and goes
with the TPM."""
import base64
import os
import pwd
import subprocess
import tempfile
import zlib

from harness import QemuAgent, check, done, fails, guest_files, own_network, remove_root, wait_until

MIB = 1 << 20
own_network()
kernel, initramfs = guest_files()


def make_vm(s, name):
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], name)
    s.VM.provision(vm)
    s.VM.set_memory_limits(vm, str(64 * MIB), str(192 * MIB), str(192 * MIB), str(192 * MIB))
    s.VM.set_domain_type(vm, 'pvh')
    s.VM.set_PV_kernel(vm, kernel)
    s.VM.set_PV_ramdisk(vm, initramfs)
    return vm


def boot(agent, s, vm, nonce, words):
    """Starts it; what its script says of the TPM."""
    s.VM.set_PV_args(vm, 'console=ttyS0 mitigations=off nonce=%s %s' % (nonce, words))
    s.VM.start(vm, False, False)

    def said():
        return [x.strip() for x in agent.console_log(s.VM.get_uuid(vm)).splitlines() if x.startswith('tpm %s: ' % nonce)]
    wait_until(said, 180)
    return (said() or ['tpm: nothing'])[0].split(': ', 1)[1]


def path(agent, s, vm):
    return os.path.join(agent.root, 'hv', 'libvirt', 'lib', 'swtpm', s.VM.get_uuid(vm), 'tpm2', 'tpm2-00.permall')


def held(s, tpm):
    return zlib.decompress(base64.b64decode(s.VTPM.get_contents(tpm)))


def state(agent, s, vm):
    with open(path(agent, s, vm), 'rb') as f:
        return f.read()


def has_device(uuid):
    """Whether its QEMU was started with a TPM, and as whom."""
    pid = subprocess.run(['pgrep', '-f', 'guest=%s,' % uuid], capture_output=True, text=True).stdout.split()[0]
    with open('/proc/%s/cmdline' % pid, 'rb') as f:
        return b'-tpmdev' in f.read().split(b'\0')


root = tempfile.mkdtemp(prefix='xapi-tpm-')
for folder in {tempfile.gettempdir(), root} - {'/tmp'}:
    os.chmod(folder, 0o711)       # QEMU and swtpm run as users of their own
with QemuAgent(root=root) as agent:
    s = agent.login()
    vm = make_vm(s, 'tpm')
    uuid = s.VM.get_uuid(vm)
    tpm = s.VTPM.create(vm, False)
    check(boot(agent, s, vm, 'one', 'tpm=write') == 'written', 'a guest keeps something in its TPM')
    check(pwd.getpwuid(os.stat(path(agent, s, vm)).st_uid).pw_name == 'libvirt-qemu', 'which does not run as root')
    s.VM.hard_shutdown(vm)
    check(held(s, tpm) == state(agent, s, vm), 'when it has ended, that is in the record: %d characters' % len(s.VTPM.get_contents(tpm)))
    snapshot = s.VM.snapshot(vm, 'with')
    os.unlink(path(agent, s, vm))
    check(boot(agent, s, vm, 'two', 'tpm=read') == 'xapi-tpm', 'the next start finds it: the record is the truth')
    s.VM.suspend(vm)
    s.VM.resume(vm, False, False)
    check(s.VM.get_power_state(vm) == 'Running' and has_device(uuid), 'it is suspended and resumed with its TPM')
    fails('VM_BAD_POWER_STATE', 'to take the TPM from a VM that runs', s.VTPM.destroy, tpm)
    s.VM.hard_shutdown(vm)
    s.VTPM.destroy(tpm)
    s.VM.start(vm, True, False)
    check(not has_device(uuid), 'without the TPM it has none')
    s.VM.hard_shutdown(vm)
    s.VM.revert(snapshot)
    then, = s.VM.get_VTPMs(vm)
    kept = held(s, then)
    s.VM.start(vm, True, False)
    check(has_device(uuid) and kept == state(agent, s, vm), 'a revert brings back the TPM of the snapshot, as it was')
    s.VM.hard_shutdown(vm)
remove_root(root)
done()
