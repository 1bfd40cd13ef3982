#!/usr/bin/env python3
"""What a guest says of itself through QEMU's own guest agent (Debian's, in the test's guest) is in VM_guest_metrics; and what one
says that lies without bounds does no harm."""

import json
import os
import re
import shutil
import subprocess
import tempfile

from harness import QemuAgent, check, done, fails, guest_files, own_network, wait_until

MIB = 1 << 20
own_network()
kernel, initramfs = guest_files()
START = """#!/bin/sh
for port in /sys/class/virtio-ports/*; do
    [ "$(cat "$port/name")" = org.qemu.guest_agent.0 ] || continue
    exec /usr/sbin/qemu-ga -m virtio-serial -p "/dev/${port##*/}" -t /tmp
done
"""


def with_agent(plain, folder):
    """The guest's files, and behind them QEMU's agent with the libraries that it asks for: the kernel unpacks both."""
    tree, out = os.path.join(folder, 'tree'), os.path.join(folder, 'initramfs.gz')
    libraries = subprocess.run(['ldd', '/usr/sbin/qemu-ga'], capture_output=True, text=True, check=True).stdout
    for file in ['/usr/sbin/qemu-ga'] + re.findall(r'/\S+', libraries):
        os.makedirs(tree + os.path.dirname(file), exist_ok=True)
        shutil.copy(file, tree + file)
    for name in ('bin', 'etc', 'var/run'):
        os.makedirs(os.path.join(tree, name), exist_ok=True)
    with open(os.path.join(tree, 'etc/os-release'), 'w') as f:
        f.write('ID=tiny\nNAME=Tiny\nPRETTY_NAME="Tiny Linux 1"\nVERSION_ID="1"\n')
    with open(os.path.join(tree, 'bin/real-agent'), 'w') as f:
        f.write(START)
    os.chmod(os.path.join(tree, 'bin/real-agent'), 0o755)
    shutil.copy(plain, out)
    subprocess.run('cd %s && find . | cpio -o -H newc --quiet -R 0:0 | gzip -1 >>%s' % (tree, out), shell=True, check=True)
    return out


def make_vm(s, name, words):
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], name)
    s.VM.provision(vm)
    s.VM.set_memory_limits(vm, str(64 * MIB), str(192 * MIB), str(192 * MIB), str(192 * MIB))
    s.VM.set_domain_type(vm, 'pvh')
    s.VM.set_PV_kernel(vm, kernel)
    s.VM.set_PV_ramdisk(vm, initramfs)
    s.VM.set_PV_args(vm, 'console=ttyS0 mitigations=off nonce=%s %s' % (name, words))
    s.VIF.create({'VM': vm, 'network': s.network.get_all()[0], 'device': '0', 'MAC': '', 'MTU': '1500', 'other_config': {},
                  'qos_algorithm_type': '', 'qos_algorithm_params': {}})
    s.VM.start(vm, False, False)
    return vm


def metrics(s, vm):
    """The record, or None before there is one."""
    ref = s.VM.get_guest_metrics(vm)
    return None if ref == 'OpaqueRef:NULL' else s.VM_guest_metrics.get_record(ref)


def script(s, vm, text):
    """What it wrote and how it ended."""
    return json.loads(s.VM.call_plugin(vm, 'guest-agent-operation', 'run-script', {'username': '', 'password': '', 'script': text}))


def scripts(s, real, liar):
    s.pool.add_to_other_config(s.pool.get_all()[0], 'allow_guest_agent_run_script', 'true')
    got = script(s, real, 'echo "from inside"; echo "a word" >&2; exit 7')
    check(got == {'rc': 7, 'stdout': 'from inside\n', 'stderr': 'a word\n'}, 'a script is run in the guest: %s' % got)
    got = script(s, real, 'sleep 2; cat /sys/class/net/eth0/address; head -c 5000 /dev/zero | tr "\\0" x')
    check(got['rc'] == 0 and got['stdout'].startswith(s.VIF.get_MAC(s.VM.get_VIFs(real)[0])) and got['stdout'].endswith(' (truncated)') and
          len(got['stdout']) == 1024, 'it is waited for, and much output cut')
    got = script(s, real, 'kill -9 $$')
    check(got['rc'] == 128 + 9, 'a signal: %s' % got)
    got = script(s, real, 'printf "\\377\\000\\303\\251"')
    check(got['stdout'] == '\ufffd \u00e9', 'bytes that are no text: %r' % got['stdout'])
    got = fails('XENAPI_PLUGIN_FAILURE', 'an agent that runs nothing', script, s, liar, 'true')
    check(got[0] == 'failed to execute fn' and got[1], 'says so: %s' % got)


def size(record):
    return sum(len(k) + len(v) for m in record.values() if isinstance(m, dict) for k, v in m.items())


with tempfile.TemporaryDirectory() as files, QemuAgent('--vm-call-plugin-interval', '0s') as agent:
    initramfs = with_agent(initramfs, files)
    s = agent.login()
    real = make_vm(s, 'real', 'agent=real ip=192.0.2.9/24')
    liar = make_vm(s, 'liar', 'agent=hostile')
    check(wait_until(lambda: (metrics(s, real) or {}).get('networks', {}).get('0/ip') == '192.0.2.9', 240), 'its address')
    m = metrics(s, real)
    check(m['networks'].get('0/ipv4/0') == '192.0.2.9' and any(k.startswith('0/ipv6/') for k in m['networks']), 'all of them: %s' % m['networks'])
    check((m['os_version'].get('distro'), m['os_version'].get('name'), m['os_version'].get('major')) == ('tiny', 'Tiny Linux 1', '1')
          and m['os_version'].get('uname', '').endswith('amd64'), 'its system: %s' % m['os_version'])
    check(m['live'] and m['PV_drivers_detected'] and m['PV_drivers_up_to_date'], 'its drivers are there and up to date')
    check(m['netbios_name'].get('host_name'), 'its name: %s' % m['netbios_name'])
    uuid = s.VM.get_uuid(real)
    check(wait_until(lambda: any(d['name_label'] == 'memory_internal_free' for d in s.VM.get_data_sources(real)), 60) and
          wait_until(lambda: s.VM.query_data_source(real, 'memory_internal_free') > 0, 60), 'and how much of its memory is free')

    check(wait_until(lambda: 'agent: asked' in agent.console_log(s.VM.get_uuid(liar)), 240), 'the other one is asked')
    check(wait_until(lambda: (metrics(s, liar) or {}).get('networks'), 120), 'and says much')
    m = metrics(s, liar)
    check(size(m) < 1 << 14 and len(m['networks']) <= 4096, 'its lies are bounded: %d bytes, %d addresses' % (size(m), len(m['networks'])))
    check(not any(ord(c) < 32 for text in m['os_version'].values() for c in text), 'and nothing in them that XML or a terminal would choke on: %r' % m['os_version'].get('name'))
    scripts(s, real, liar)
    check(s.VM.get_power_state(liar) == 'Running' and 'liar' in str(s.VM.get_record(liar)), 'its VM is as it was')
    s.VM.hard_shutdown(liar)
    s.VM.clean_shutdown(real)
    check(s.VM.get_power_state(real) == 'Halted', 'the real one is asked to power off, and does')
    check(metrics(s, real) is None, 'and nothing is said of it any more')
done()
