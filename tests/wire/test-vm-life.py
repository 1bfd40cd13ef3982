#!/usr/bin/env python3
"""What happens to a VM, from the API and from inside the guest, on the simulator: states, devices, undo, copies."""
import os

from harness import Agent, check, done, fails, wait_until

MIB = 1 << 20


def make_vm(s, name, disks=1):
    template = s.VM.get_by_name_label('Other install media')[0]
    vm = s.VM.clone(template, name)
    sr = s.pool.get_default_SR(s.pool.get_all()[0])
    s.VM.provision(vm)
    for i in range(disks):
        vdi = s.VDI.create({'name_label': '%s %d' % (name, i), 'name_description': '', 'SR': sr, 'virtual_size': str(64 * MIB),
                            'type': 'user', 'sharable': False, 'read_only': False, 'other_config': {}})
        s.VBD.create({'VM': vm, 'VDI': vdi, 'userdevice': str(i), 'bootable': i == 0, 'mode': 'RW', 'type': 'Disk',
                      'empty': False, 'other_config': {}, 'qos_algorithm_type': '', 'qos_algorithm_params': {}})
    s.VIF.create({'VM': vm, 'network': s.network.get_all()[0], 'device': '0', 'MAC': '', 'MTU': '1500', 'other_config': {},
                  'qos_algorithm_type': '', 'qos_algorithm_params': {}})
    return vm


def becomes(s, vm, state, what):
    check(wait_until(lambda: s.VM.get_power_state(vm) == state), '%s: %s' % (what, state))


with Agent() as agent:
    s = agent.login()
    vm = make_vm(s, 'life')
    uuid = s.VM.get_uuid(vm)

    # The table of operations, as a GUI sees it.
    p = fails('VM_BAD_POWER_STATE', 'pausing a halted VM', s.VM.pause, vm)
    check(p == [vm, 'running', 'halted'], 'names VM, expected and actual state: %s' % p)
    fails('VM_IS_TEMPLATE', 'starting a template', s.VM.start, s.VM.get_by_name_label('Other install media')[0], False, False)
    s.VM.add_to_blocked_operations(vm, 'start', 'WHY_NOT')
    check(fails('OPERATION_BLOCKED', 'a blocked operation', s.VM.start, vm, False, False) == [vm, 'WHY_NOT'], 'says why')
    check('start' not in s.VM.get_allowed_operations(vm), 'and is not shown as allowed')
    s.VM.remove_from_blocked_operations(vm, 'start')

    s.VM.start(vm, True, False)
    check(s.VM.get_power_state(vm) == 'Paused', 'start paused')
    s.VM.unpause(vm)
    check(s.VM.get_power_state(vm) == 'Running', 'unpause')
    fails('VM_BAD_POWER_STATE', 'starting a running VM', s.VM.start, vm, False, False)
    fails('OPERATION_NOT_ALLOWED', 'destroying an attached VIF', s.VIF.destroy, s.VM.get_VIFs(vm)[0])

    # From inside.
    agent.poke('poweroff ' + uuid)
    becomes(s, vm, 'Halted', 'the guest powers itself off')
    check(s.VM.get_domid(vm) == '-1' and s.VM.get_consoles(vm) == [], 'no domain, no console left')
    check(not s.VBD.get_currently_attached(s.VM.get_VBDs(vm)[0]), 'its disk is free')
    s.VM.set_actions_after_crash(vm, 'destroy')
    s.VM.start(vm, False, False)
    agent.poke('crash ' + uuid)
    becomes(s, vm, 'Halted', 'a crash with action destroy')
    s.VM.set_actions_after_crash(vm, 'restart')
    s.VM.start(vm, False, False)
    before = s.VM.get_domid(vm)
    agent.poke('kill ' + uuid)
    check(wait_until(lambda: s.VM.get_power_state(vm) == 'Running' and s.VM.get_domid(vm) != before),
          'a death with action restart: a new domain')
    agent.poke('pause ' + uuid)
    becomes(s, vm, 'Paused', 'paused by hand')
    agent.poke('unpause ' + uuid)
    becomes(s, vm, 'Running', 'unpaused by hand')
    s.VM.set_actions_after_shutdown(vm, 'restart')
    before = s.VM.get_domid(vm)
    agent.poke('poweroff ' + uuid)
    check(wait_until(lambda: s.VM.get_power_state(vm) == 'Running' and s.VM.get_domid(vm) != before),
          'power-off from inside with action restart: a new domain')
    s.VM.set_actions_after_shutdown(vm, 'destroy')

    # A deaf guest: the hard way overtakes the clean one, and cancel works.
    agent.poke('deaf ' + uuid)
    task = s.call('Async.VM.clean_shutdown', vm)
    check(wait_until(lambda: 'clean_shutdown' in s.VM.get_current_operations(vm).values()), 'a clean shutdown is under way')
    fails('OTHER_OPERATION_IN_PROGRESS', 'a snapshot meanwhile', s.VM.snapshot, vm, 'no', [])
    s.task.cancel(task)
    check(wait_until(lambda: s.task.get_status(task) == 'cancelled'), 'cancelling ends it')
    check(s.VM.get_power_state(vm) == 'Running', 'and the VM runs on')
    task = s.call('Async.VM.clean_shutdown', vm)
    wait_until(lambda: 'clean_shutdown' in s.VM.get_current_operations(vm).values())
    s.VM.hard_shutdown(vm)
    check(s.VM.get_power_state(vm) == 'Halted', 'a hard shutdown overtakes a clean one')
    check(wait_until(lambda: s.task.get_status(task) in ('success', 'cancelled')),
          'which is told to stop, and by then may have seen the VM end')
    check(s.VM.get_current_operations(vm) == {}, 'no operation is left')

    # Suspend, resume.
    s.VM.start(vm, False, False)
    s.VM.suspend(vm)
    check(s.VM.get_power_state(vm) == 'Suspended', 'suspended')
    image = s.VM.get_suspend_VDI(vm)
    check(s.VDI.get_type(image) == 'suspend', 'with an image')
    s.VM.resume(vm, False, False)
    check(s.VM.get_power_state(vm) == 'Running', 'resumed')
    fails('HANDLE_INVALID', 'the image is gone', s.VDI.get_uuid, image)
    s.VM.clean_reboot(vm)
    check(s.VM.get_power_state(vm) == 'Running', 'rebooted')
    kept = s.VM.checkpoint(vm, 'kept')
    image = s.VM.get_suspend_VDI(kept)
    check(s.VDI.get_type(image) == 'suspend' and s.VM.get_power_state(vm) == 'Running', 'a checkpoint has the memory too')
    twin = s.VM.clone(kept, 'asleep')
    own = s.VM.get_suspend_VDI(twin)
    check(s.VM.get_power_state(twin) == 'Suspended' and own != image, 'a clone of it has memory of its own')
    s.VM.destroy(kept)
    fails('HANDLE_INVALID', 'destroying a checkpoint frees its memory image', s.VDI.get_uuid, image)
    s.VM.destroy(twin)
    fails('HANDLE_INVALID', 'destroying a suspended VM too', s.VDI.get_uuid, own)

    # Snapshots and copies.
    s.VM.set_name_description(vm, 'first')
    snap = s.VM.snapshot(vm, 'snap', [])
    check(s.VM.get_is_a_snapshot(snap) and s.VM.get_snapshot_of(snap) == vm, 'snapshot of a running VM')
    check(s.VM.get_parent(vm) == snap and snap in s.VM.get_snapshots(vm), 'its place in the tree')
    s.VM.set_name_description(vm, 'second')
    old_disk = s.VBD.get_VDI(s.VM.get_VBDs(vm)[0])
    s.VM.revert(snap)
    check(s.VM.get_name_description(vm) == 'first', 'revert brings the old record back')
    check(s.VM.get_power_state(vm) == 'Halted', 'and the VM is halted')
    fails('HANDLE_INVALID', 'the replaced disk is gone', s.VDI.get_uuid, old_disk)
    clone = s.VM.clone(vm, 'twin')
    check(s.VIF.get_MAC(s.VM.get_VIFs(clone)[0]) != s.VIF.get_MAC(s.VM.get_VIFs(vm)[0]), 'a clone has its own MAC')
    check(s.VBD.get_VDI(s.VM.get_VBDs(clone)[0]) != s.VBD.get_VDI(s.VM.get_VBDs(vm)[0]), 'and its own disk')
    s.VM.start(clone, False, False)
    s.VM.start(vm, False, False)
    check(s.VM.get_power_state(clone) == 'Running', 'clone and original run side by side')
    copy = s.VM.checkpoint(vm, 'point')
    check(s.VM.get_power_state(copy) == 'Suspended' and s.VM.get_power_state(vm) == 'Running', 'checkpoint keeps memory')
    s.VM.revert(copy)
    check(s.VM.get_power_state(vm) == 'Suspended', 'reverting to it')
    s.VM.resume(vm, False, False)
    check(s.VM.get_power_state(vm) == 'Running', 'resumes where it was')

    # Memory and vcpus.
    fails('VM_BAD_POWER_STATE', 'static memory of a running VM', s.VM.set_memory_static_max, vm, str(512 * MIB))
    fails('MEMORY_CONSTRAINT_VIOLATION', 'a dynamic minimum above the maximum', s.VM.set_memory_dynamic_min, vm, str(9 << 30))
    s.VM.hard_shutdown(vm)
    s.VM.set_memory_limits(vm, str(64 * MIB), str(512 * MIB), str(128 * MIB), str(256 * MIB))
    check(s.VM.get_memory_dynamic_max(vm) == str(256 * MIB), 'limits of a halted VM')
    fails('INVALID_VALUE', 'more vcpus at startup than there are', s.VM.set_VCPUs_at_startup, vm, '9')

    # Hot plug.
    s.VM.start(vm, False, False)
    vif = s.VIF.create({'VM': vm, 'network': s.network.get_all()[0], 'device': '1', 'MAC': '', 'MTU': '1500',
                        'other_config': {}, 'qos_algorithm_type': '', 'qos_algorithm_params': {}})
    check('plug' in s.VIF.get_allowed_operations(vif), 'a new card may be plugged')
    s.VIF.plug(vif)
    check(s.VIF.get_currently_attached(vif), 'plugged')
    fails('DEVICE_ALREADY_ATTACHED', 'plugging it twice', s.VIF.plug, vif)
    s.VIF.unplug(vif)
    check(not s.VIF.get_currently_attached(vif), 'unplugged')
    fails('DEVICE_ALREADY_EXISTS', 'a second card with that number', s.VIF.create,
          {'VM': vm, 'network': s.network.get_all()[0], 'device': '1', 'MAC': '', 'MTU': '1500', 'other_config': {},
           'qos_algorithm_type': '', 'qos_algorithm_params': {}})
    fails('MAC_INVALID', 'a MAC that is none', s.VIF.create,
          {'VM': vm, 'network': s.network.get_all()[0], 'device': '2', 'MAC': 'xx', 'MTU': '1500', 'other_config': {},
           'qos_algorithm_type': '', 'qos_algorithm_params': {}})

    # A start that fails leaves nothing behind.
    s.VM.hard_shutdown(vm)
    agent.poke('lose')
    wait_until(lambda: os.listdir(os.path.join(agent.root, 'hv', 'sim', 'poke')) == [])
    fails('INTERNAL_ERROR', 'a start while the engine is away', s.VM.start, vm, False, False)
    check(s.VM.get_power_state(vm) == 'Halted' and s.VM.get_current_operations(vm) == {}, 'changes nothing')
    agent.poke('regain')
    wait_until(lambda: os.listdir(os.path.join(agent.root, 'hv', 'sim', 'poke')) == [])
    s.VM.start(vm, False, False)
    check(s.VM.get_power_state(vm) == 'Running', 'and the VM starts')

    # While nobody watches.
    agent.kill()
    with open(os.path.join(agent.root, 'hv', 'sim', 'poke', 'offline'), 'w') as f:
        f.write('poweroff %s\n' % uuid)
    agent.start()
    s = agent.login()
    check(s.VM.get_power_state(vm) == 'Halted', 'a guest that ended while no agent ran is halted at the next start')
    check(s.VM.get_power_state(clone) == 'Running', 'and the other runs on')
done()
