#!/usr/bin/env python3
"""A guest that boots by UEFI: its variables are the record's between its starts, go with snapshots and copies, and what its TPM keeps
does so beside them; secure boot and its keys."""
import base64
import os
import zlib

from harness import QemuAgent, check, done, fails, own_network, wait_until

MIB = 1 << 20
KEY = 'OVMF-variables'
own_network()


def make_vm(s, name, secure):
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], name)
    s.VM.provision(vm)
    s.VM.set_memory_limits(vm, str(64 * MIB), str(128 * MIB), str(128 * MIB), str(128 * MIB))
    s.VM.set_HVM_boot_params(vm, {'order': 'cd', 'firmware': 'uefi'})
    s.VM.set_platform(vm, dict(s.VM.get_platform(vm), secureboot='true' if secure else 'false'))
    return vm


def flash(agent, s, vm):
    """What the running guest has in its second flash."""
    with open(os.path.join(agent.root, 'hv', 'libvirt', 'lib', 'qemu', 'nvram', s.VM.get_uuid(vm) + '_VARS.fd'), 'rb') as f:
        return f.read()


def kept(s, vm):
    text = s.VM.get_NVRAM(vm).get(KEY)
    return zlib.decompress(base64.b64decode(text)) if text else None


def tpm_file(agent, s, vm):
    return os.path.join(agent.root, 'hv', 'libvirt', 'lib', 'swtpm', s.VM.get_uuid(vm), 'tpm2', 'tpm2-00.permall')


def tpm_state(agent, s, vm):
    with open(tpm_file(agent, s, vm), 'rb') as f:
        return f.read()


def tpm_kept(s, vm):
    text = s.VTPM.get_contents(s.VM.get_VTPMs(vm)[0])
    return zlib.decompress(base64.b64decode(text)) if text else None


with open('/usr/share/OVMF/OVMF_VARS_4M.fd', 'rb') as f:
    plain = f.read()
with open('/usr/share/OVMF/OVMF_VARS_4M.ms.fd', 'rb') as f:
    enrolled = f.read()

with QemuAgent() as agent:
    s = agent.login()
    vm = make_vm(s, 'uefi', False)
    check(s.VM.get_secureboot_readiness(vm) == 'disabled', 'a VM without secure boot')
    s.VTPM.create(vm, False)
    s.VM.start(vm, False, False)
    check(wait_until(lambda: flash(agent, s, vm) != plain, 120), 'its firmware boots and keeps variables of its own')
    snapshot = s.VM.snapshot(vm, 'running')
    first = kept(s, snapshot)
    check(first is not None and len(first) == len(plain) and first != plain and kept(s, vm) == first, 'a snapshot of the running VM has them')
    s.VM.hard_shutdown(vm)
    last = kept(s, vm)
    check(last == flash(agent, s, vm), 'when it has ended they are in its record: %d characters' % len(s.VM.get_NVRAM(vm)[KEY]))
    first_tpm = tpm_kept(s, vm)
    check(first_tpm and first_tpm == tpm_state(agent, s, vm), 'and what its TPM keeps')
    os.unlink(tpm_file(agent, s, vm))
    s.VM.start(vm, True, False)
    check(flash(agent, s, vm) == last, 'the next start finds them')
    check(tpm_state(agent, s, vm) == first_tpm, 'and a TPM with what it kept')
    s.VM.hard_shutdown(vm)
    s.VM.set_NVRAM(vm, {})
    s.VM.start(vm, True, False)
    check(flash(agent, s, vm) == plain, "without them it gets the firmware's own")
    s.VM.hard_shutdown(vm)
    s.VM.revert(snapshot)
    check(kept(s, vm) == first and tpm_kept(s, vm) == tpm_kept(s, snapshot) is not None, 'a revert brings back those of the snapshot, and its TPM')
    copy = s.VM.clone(vm, 'copy')
    s.VM.start(copy, True, False)
    check(flash(agent, s, copy) == first and tpm_state(agent, s, copy) == tpm_kept(s, snapshot), 'a clone starts with them, and with a TPM like it')
    s.VM.hard_shutdown(copy)
    s.VM.add_to_NVRAM(copy, 'x', 'y')
    s.VM.set_NVRAM(copy, {KEY: 'nonsense'})
    check(fails('INVALID_VALUE', 'variables that are none', s.VM.start, copy, False, False)[0] == 'NVRAM:' + KEY, 'are refused by name')

    secure = make_vm(s, 'secure', True)
    check(s.VM.get_secureboot_readiness(secure) == 'first_boot', 'secure boot before the first start')
    fails('OPERATION_NOT_ALLOWED', 'setup mode before there are variables', s.VM.set_uefi_mode, secure, 'setup')
    s.VM.start(secure, True, False)
    check(flash(agent, s, secure) == enrolled, 'it starts with enrolled keys')
    fails('VM_BAD_POWER_STATE', 'setup mode while it is there', s.VM.set_uefi_mode, secure, 'setup')
    s.VM.hard_shutdown(secure)
    check(s.VM.get_secureboot_readiness(secure) == 'ready', 'ready: %s' % s.VM.get_secureboot_readiness(secure))
    check('removed' in s.VM.set_uefi_mode(secure, 'setup') and s.VM.get_secureboot_readiness(secure) == 'setup_mode', 'setup mode')
    s.VM.start(secure, False, False)
    check(wait_until(lambda: flash(agent, s, secure) != kept(s, secure), 180), 'its firmware boots in setup mode')
    s.VM.hard_shutdown(secure)
    check(s.VM.get_secureboot_readiness(secure) == 'setup_mode', 'which stays')
    s.VM.set_uefi_mode(secure, 'user')
    check(s.VM.get_secureboot_readiness(secure) == 'first_boot', 'user mode: the keys come anew')
    s.VM.start(secure, True, False)
    check(flash(agent, s, secure) == enrolled, 'with the next start')
    s.VM.hard_shutdown(secure)
    s.VM.set_HVM_boot_params(secure, {'order': 'cd', 'firmware': 'bios'})
    check(s.VM.get_secureboot_readiness(secure) == 'not_supported', 'a VM with a BIOS')
    fails('OPERATION_NOT_ALLOWED', 'which has no modes', s.VM.set_uefi_mode, secure, 'user')
done()
