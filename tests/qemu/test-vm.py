#!/usr/bin/env python3
"""A real guest under QEMU through the API: boot, console, pause, suspend, snapshots, power button, agent and engine killed."""
import http.client
import os
import signal
import subprocess
import time

from harness import QemuAgent, check, done, fails, guest_files, own_network, wait_until

MIB = 1 << 20

own_network()
kernel, initramfs = guest_files()


def ticks(agent, uuid):
    """How often the guest has ticked: it lives when the number grows."""
    return agent.console_log(uuid).count('tick ')


def interfaces():
    """Names of this network namespace's interfaces (/sys shows another's)."""
    out = subprocess.run(['ip', '-o', 'link'], capture_output=True, text=True, check=True).stdout
    return [line.split(':')[1].strip().split('@')[0] for line in out.splitlines()]


def lives(agent, uuid):
    before = ticks(agent, uuid)
    return wait_until(lambda: ticks(agent, uuid) > before + 1, 60)


def emulator(uuid):
    """Pid of its QEMU."""
    out = subprocess.run(['pgrep', '-f', 'guest=%s,' % uuid], capture_output=True, text=True).stdout.split()
    return int(out[0]) if out else None


def vcpu_mask(pid):
    """The CPUs that its first vcpu may use."""
    for task in os.listdir('/proc/%d/task' % pid):
        with open('/proc/%d/task/%s/status' % (pid, task)) as f:
            status = dict(line.rstrip('\n').split(':\t', 1) for line in f if ':\t' in line)
        if status['Name'].startswith('CPU 0'):
            return status['Cpus_allowed_list']


def make_vm(s, name, words=''):
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], name)
    s.VM.provision(vm)
    s.VM.set_memory_limits(vm, str(64 * MIB), str(192 * MIB), str(192 * MIB), str(192 * MIB))
    s.VM.set_domain_type(vm, 'pvh')
    s.VM.set_PV_kernel(vm, kernel)
    s.VM.set_PV_ramdisk(vm, initramfs)
    s.VM.set_PV_args(vm, 'console=ttyS0 mitigations=off tick=1 nonce=%s %s' % (name, words))
    sr = s.pool.get_default_SR(s.pool.get_all()[0])
    vdi = s.VDI.create({'name_label': name, 'name_description': '', 'SR': sr, 'virtual_size': str(64 * MIB), 'type': 'user',
                        'sharable': False, 'read_only': False, 'other_config': {}})
    s.VBD.create({'VM': vm, 'VDI': vdi, 'userdevice': '0', 'bootable': True, 'mode': 'RW', 'type': 'Disk', 'empty': False,
                  'other_config': {}, 'qos_algorithm_type': '', 'qos_algorithm_params': {}})
    s.VIF.create({'VM': vm, 'network': s.network.get_all()[0], 'device': '0', 'MAC': '', 'MTU': '1500', 'other_config': {},
                  'qos_algorithm_type': '', 'qos_algorithm_params': {}})
    return vm, s.VM.get_uuid(vm)


with QemuAgent(faults=True) as agent:
    s = agent.login()
    vm, uuid = make_vm(s, 'first')
    s.VM.start(vm, False, False)
    check(s.VM.get_power_state(vm) == 'Running', 'started')
    check(wait_until(lambda: 'userland: first' in agent.console_log(uuid), 180), 'its userland prints on the console')
    check(lives(agent, uuid), 'and it ticks')
    taps = interfaces()
    bridge = s.network.get_bridge(s.network.get_all()[0])
    check(any(t.startswith('vif') for t in taps) and bridge in taps, 'a tap and a bridge exist: %s' % sorted(taps))

    s.VM.pause(vm)
    frozen = ticks(agent, uuid)
    time.sleep(3)
    check(ticks(agent, uuid) <= frozen + 1, 'a paused guest stands still')
    s.VM.unpause(vm)
    check(lives(agent, uuid), 'and goes on')

    disk = s.VBD.get_VDI(s.VM.get_VBDs(vm)[0])
    snapshot = s.VDI.snapshot(disk)
    check(s.VDI.get_snapshot_of(snapshot) == disk, 'a snapshot of its disk while it runs')
    check(lives(agent, uuid), 'which it survives')
    s.VDI.destroy(snapshot)

    s.VM.suspend(vm)
    check(s.VM.get_power_state(vm) == 'Suspended', 'suspended to an image')
    check(not any(t.startswith('vif') for t in interfaces()), 'its tap is gone')
    s.VM.resume(vm, False, False)
    check(lives(agent, uuid), 'resumed where it was')

    first = emulator(uuid)
    s.VM.add_to_VCPUs_params_live(vm, 'mask', '0')
    check(vcpu_mask(first) == '0', 'its vcpu is pinned while it runs')
    fails('VM_INCOMPATIBLE_WITH_THIS_HOST', 'to a CPU that is not there', s.VM.add_to_VCPUs_params_live, vm, 'mask', '4000')
    fails('NOT_IMPLEMENTED', 'shares of the processors', s.VM.add_to_VCPUs_params_live, vm, 'weight', '100')
    fails('VM_INCOMPATIBLE_WITH_THIS_HOST', 'a second domain of this host to move to', s.VM.pool_migrate, vm, s.host.get_all()[0], {})
    s.VM.restart_device_models(vm)
    check(emulator(uuid) not in (None, first) and lives(agent, uuid), 'a new QEMU, and the guest goes on')

    # Kill the agent: the guest is not ours to lose.
    agent.kill()
    before = ticks(agent, uuid)
    check(wait_until(lambda: ticks(agent, uuid) > before, 30), 'the guest ticks while no agent runs')
    agent.start()
    s = agent.login()
    check(s.VM.get_power_state(vm) == 'Running', 'a new agent finds it running')

    # Kill the engine.
    engine = agent.engine_pid()
    os.kill(engine, signal.SIGKILL)
    check(lives(agent, uuid), 'the guest survives its libvirtd')
    check(wait_until(lambda: agent.engine_pid() not in (None, engine), 60), 'a new libvirtd is started')

    # Both at once.
    engine = agent.engine_pid()
    agent.kill()
    os.kill(engine, signal.SIGKILL)
    agent.start()
    s = agent.login()
    check(s.VM.get_power_state(vm) == 'Running' and lives(agent, uuid), 'killing both loses nothing')

    # The agent dies when the guest's memory is on disk, and nobody has written that down.
    agent.arm('vm.suspended kill')
    try:
        s.VM.suspend(vm)
        check(False, 'the agent was to die')
    except (OSError, http.client.HTTPException):
        agent.process.wait()
    agent.start()
    s = agent.login()
    check(s.VM.get_power_state(vm) == 'Suspended', 'an agent that dies at the end of a suspend: the next one finds the image')
    s.VM.resume(vm, False, False)
    check(lives(agent, uuid), 'and the guest goes on from it')

    # An SR plugged after the engine was started, and a guest on it.
    folder = os.path.join(agent.root, 'late')
    os.mkdir(folder)
    late = s.SR.create(s.host.get_all()[0], {'location': folder}, '0', 'late', '', 'file', 'user', False, {})
    s.pool.set_default_SR(s.pool.get_all()[0], late)
    vm2, uuid2 = make_vm(s, 'second')
    s.VM.start(vm2, False, False)
    check(wait_until(lambda: 'userland: second' in agent.console_log(uuid2), 180), 'a guest on an SR plugged later boots')
    s.VM.hard_shutdown(vm2)

    # The power button.
    s.VM.clean_shutdown(vm)
    check(s.VM.get_power_state(vm) == 'Halted', 'a clean shutdown by the power button')
    check('power button' in agent.console_log(uuid), 'which the guest saw')
    check(not any(t.startswith('vif') for t in interfaces()), 'no tap is left')

    # From inside: a guest that ends by itself.
    vm3, uuid3 = make_vm(s, 'third', 'panic=1 init=/bin/nothing rdinit=/bin/nothing')
    s.VM.set_actions_after_crash(vm3, 'destroy')
    s.VM.set_actions_after_reboot(vm3, 'destroy')
    s.VM.start(vm3, False, False)
    check(wait_until(lambda: s.VM.get_power_state(vm3) == 'Halted', 180), 'a guest whose kernel panics and reboots is halted')
done()
