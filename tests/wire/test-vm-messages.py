#!/usr/bin/env python3
"""What messages of VM, its drives, cards, consoles and metrics do, that no other test looks at; guests are simulated."""
import os
import shutil
import tempfile

from harness import Agent, check, done, fails, wait_until

MIB, NULL = 1 << 20, 'OpaqueRef:NULL'
GONE = {'memory', 'disks'}         # getters that were dropped from the model


FIRMWARE = {'bios-vendor': 'A firm', 'system-serial-number': '4711', 'baseboard-asset-tag': 'x'}


def firmware():
    """As the kernel tells it: some of it empty, some of it rubbish."""
    folder = tempfile.mkdtemp(prefix='xapi-firmware-')
    for name, text in (('bios_vendor', ' A firm \n'), ('product_serial', '4711\n'), ('board_asset_tag', 'x'), ('board_name', '  \n'),
                       ('board_vendor', '\x07\n'), ('product_name', 'x' * 600)):
        with open(os.path.join(folder, name), 'w') as f:
            f.write(text)
    return folder


def make(s, template='Other install media', name='vm'):
    vm = s.VM.clone(s.VM.get_by_name_label(template)[0], name)
    s.VM.remove_from_other_config(vm, 'disks')
    s.VM.provision(vm)
    return vm


def disk(s, vm, device='0', sr=None, mode='RW'):
    vdi = s.VDI.create({'name_label': 'disk', 'SR': sr or s.pool.get_default_SR(s.pool.get_all()[0]), 'virtual_size': str(4 * MIB), 'type': 'user'})
    return s.VBD.create({'VM': vm, 'VDI': vdi, 'userdevice': device, 'bootable': False, 'mode': mode, 'type': 'Disk', 'empty': False})


def card(s, vm, device):
    return s.VIF.create({'VM': vm, 'network': s.network.get_all()[0], 'device': device, 'MAC': ''})


def memory(s, vm, host):
    """Sizes of one that is halted, then of one that runs."""
    names = ('static_min', 'dynamic_min', 'dynamic_max', 'static_max')

    def sizes():
        return [int(getattr(s.VM, 'get_memory_' + n)(vm)) // MIB for n in names]
    s.VM.set_memory_limits(vm, str(64 * MIB), str(512 * MIB), str(128 * MIB), str(256 * MIB))
    for call, args, wanted in ((s.VM.set_memory_static_min, (32,), [32, 128, 256, 512]), (s.VM.set_memory_static_max, (600,), [32, 128, 256, 600]),
                               (s.VM.set_memory_static_range, (16, 512), [16, 128, 256, 512]), (s.VM.set_memory_dynamic_min, (64,), [16, 64, 256, 512]),
                               (s.VM.set_memory_dynamic_max, (300,), [16, 64, 300, 512]), (s.VM.set_memory, (200,), [16, 200, 200, 200])):
        call(vm, *(str(a * MIB) for a in args))
        check(sizes() == wanted, '%s %s: %s' % (call._prefix, args, sizes()))
    fails('MEMORY_CONSTRAINT_VIOLATION', 'a static minimum above the dynamic one', s.VM.set_memory_static_min, vm, str(300 * MIB))

    overhead = int(s.VM.compute_memory_overhead(vm))
    s.VM.set_VCPUs_max(vm, '9')
    check(int(s.VM.compute_memory_overhead(vm)) > overhead > 0, 'more processors take more beside its memory')
    s.VM.set_VCPUs_max(vm, '2')
    for total in (100 * MIB, 1 << 30, (64 << 30) + 4321):
        fits = int(s.VM.maximise_memory(vm, str(total), False))
        s.VM.set_memory(vm, str(fits))
        s_overhead = int(s.VM.compute_memory_overhead(vm))
        check(fits + s_overhead <= total < fits + s_overhead + 2 * MIB and fits % MIB == 0, 'what fits into %d with all that it takes: %d' % (total, fits))
    check(s.VM.maximise_memory(vm, '1000', False) == '0', 'nothing fits into nothing')

    s.VM.set_memory_limits(vm, str(64 * MIB), str(256 * MIB), str(128 * MIB), str(256 * MIB))
    s.VM.start(vm, False, False)

    def actual():
        return int(s.VM_metrics.get_memory_actual(s.VM.get_metrics(vm))) // MIB
    for call, args, wanted in ((s.VM.set_memory_dynamic_range, (128, 128), 128), (s.VM.set_memory_dynamic_max, (192,), 192),
                               (s.VM.set_memory_dynamic_min, (192,), 192), (s.VM.set_memory_target_live, (144,), 144)):
        call(vm, *(str(a * MIB) for a in args))
        s.VM.wait_memory_target_live(vm)
        check(wait_until(lambda: actual() == wanted), '%s %s: the guest has %d MiB' % (call._prefix, args, actual()))
    fails('VM_BAD_POWER_STATE', 'its static maximum stays meanwhile', s.VM.set_memory, vm, str(512 * MIB))


def processors(s, vm):
    check(s.VM_metrics.get_VCPUs_number(s.VM.get_metrics(vm)) == s.VM.get_VCPUs_at_startup(vm) == '1', 'one processor at first')
    s.VM.set_VCPUs_number_live(vm, '2')
    check(s.VM_metrics.get_VCPUs_number(s.VM.get_metrics(vm)) == s.VM.get_VCPUs_at_startup(vm) == '2', 'two while it runs, and from now on')
    fails('INVALID_VALUE', 'more than it may have', s.VM.set_VCPUs_number_live, vm, '3')
    fails('VM_BAD_POWER_STATE', 'how many it may have is said before', s.VM.set_VCPUs_max, vm, '4')
    check(s.VM.get_cooperative(vm) is True and s.VM.query_services(vm) == {}, 'it is cooperative, and offers no service')


def operations(s, vm):
    """The VM runs."""
    check(s.VM.assert_operation_valid(vm, 'pause') == '', 'it may be paused')
    fails('VM_BAD_POWER_STATE', 'but not started', s.VM.assert_operation_valid, vm, 'start')
    before = sorted(s.VM.get_allowed_operations(vm))
    s.VM.update_allowed_operations(vm)
    check(sorted(s.VM.get_allowed_operations(vm)) == before, 'what is allowed, worked out anew, is the same')
    check('sysprep' not in s.VM.get_allowed_operations(vm), 'no tools of the vendor: nothing is generalised')
    check(fails('SYSPREP', 'when it is asked for', s.VM.sysprep, vm, '<unattend/>', 60.0) == [vm, 'API_not_enabled'], 'as hosts without it say')
    s.VM.set_blocked_operations(vm, {'pause': 'WHY', 'suspend': 'TOO'})
    check(fails('OPERATION_BLOCKED', 'what is blocked', s.VM.pause, vm) == [vm, 'WHY'], 'and why')
    check(not {'pause', 'suspend'} & set(s.VM.get_allowed_operations(vm)), 'is not allowed')
    s.VM.set_blocked_operations(vm, {})
    check(sorted(s.VM.get_allowed_operations(vm)) == before, 'until it is blocked no more')


def ends(s, vm):
    """The VM runs; each of these ends it, whatever it was."""
    for call in (s.VM.shutdown, s.VM.power_state_reset):
        s.VM.suspend(vm)
        image = s.VM.get_suspend_VDI(vm)
        call(vm)
        check(s.VM.get_power_state(vm) == 'Halted' and s.VM.get_suspend_VDI(vm) == NULL, '%s of a suspended VM' % call._prefix)
        fails('HANDLE_INVALID', 'its memory is gone', s.VDI.get_uuid, image)
        s.VM.start(vm, False, False)
        call(vm)
        check(s.VM.get_power_state(vm) == 'Halted' and s.VM.get_domid(vm) == '-1', '%s of a running one' % call._prefix)
        s.VM.start(vm, False, False)
    s.VM.suspend(vm)
    fails('HANDLE_INVALID', 'on a host that there is not', s.VM.resume_on, vm, NULL, False, False)
    s.VM.resume_on(vm, s.host.get_all()[0], True, False)
    check(s.VM.get_power_state(vm) == 'Paused' and s.VM.get_suspend_VDI(vm) == NULL, 'resumed on a host, to stand still')
    s.VM.unpause(vm)
    # A memory image in the place of another.
    s.VM.suspend(vm)
    image = s.VM.get_suspend_VDI(vm)
    other = s.VDI.copy(image, s.VDI.get_SR(image), NULL, NULL)
    check(fails('VDI_INCOMPATIBLE_TYPE', 'a disk instead', s.VM.set_suspend_VDI, vm, s.VBD.get_VDI(s.VM.get_VBDs(vm)[0]))[1] == 'suspend', 'is no memory')
    s.VM.set_suspend_VDI(vm, other)
    s.VM.resume(vm, False, False)
    check(s.VM.get_power_state(vm) == 'Running', 'it resumes from another image')
    fails('HANDLE_INVALID', 'which is gone then', s.VDI.get_uuid, other)
    check(s.VDI.get_type(image) == 'suspend', 'while the first is still there')
    s.VDI.destroy(image)
    fails('VM_BAD_POWER_STATE', 'a running VM takes none', s.VM.set_suspend_VDI, vm, other)
    s.VM.hard_shutdown(vm)


def machine(s, vm, host):
    """What it is, said before it runs."""
    s.VM.set_HVM_boot_policy(vm, '')
    check(s.VM.get_domain_type(vm) == 'pv', 'no boot policy: paravirtual')
    s.VM.set_HVM_boot_policy(vm, 'BIOS order')
    check(s.VM.get_domain_type(vm) == 'hvm', 'one: with emulated hardware')
    s.VM.set_HVM_shadow_multiplier(vm, 4.0)
    check(s.VM.get_HVM_shadow_multiplier(vm) == 4.0, 'memory for page tables')
    fails('INVALID_VALUE', 'less than what is needed', s.VM.set_HVM_shadow_multiplier, vm, 0.5)
    s.VM.set_has_vendor_device(vm, True)
    check(s.VM.get_has_vendor_device(vm) is True, "the vendor's device")
    s.VM.set_platform(vm, {'nx': 'true'})
    s.VM.add_to_platform(vm, 'vga', 'std')
    s.VM.remove_from_platform(vm, 'nx')
    check(s.VM.get_platform(vm) == {'vga': 'std'}, 'its platform')
    s.VM.set_NVRAM(vm, {'a': 'b'})
    s.VM.add_to_NVRAM(vm, 'c', 'd')
    s.VM.remove_from_NVRAM(vm, 'a')
    check(s.VM.get_NVRAM(vm) == {'c': 'd'}, 'its variables')
    s.VM.set_NVRAM(vm, {})

    fails('INVALID_VALUE', 'a string that no firmware has', s.VM.set_bios_strings, vm, {'bios-colour': 'red'})
    fails('INVALID_VALUE', 'an empty one', s.VM.set_bios_strings, vm, {'bios-vendor': ''})
    s.VM.set_bios_strings(vm, {'bios-vendor': 'us', 'system-serial-number': '7'})
    check(s.VM.get_bios_strings(vm) == {'bios-vendor': 'us', 'system-serial-number': '7'}, 'strings of its firmware')
    fails('VM_BIOS_STRINGS_ALREADY_SET', 'once', s.VM.copy_bios_strings, vm, host)
    other = make(s, name='branded')
    s.VM.copy_bios_strings(other, host)
    check(s.VM.get_bios_strings(other) == s.host.get_bios_strings(host) == FIRMWARE, "the host's own: %s" % s.VM.get_bios_strings(other))
    s.VM.destroy(other)

    s.VM.update_secureboot_certificates_on_boot(vm, False)
    fails('OPERATION_NOT_ALLOWED', 'newer certificates than there are', s.VM.update_secureboot_certificates_on_boot, vm, True)
    fails('HANDLE_INVALID', 'of a VM that there is not', s.VM.update_secureboot_certificates_on_boot, NULL, False)
    fails('VM_BAD_POWER_STATE', 'of one that is halted', s.VM.sysprep, vm, '<unattend/>', 60.0)

    for priority, always in (('restart', True), ('best-effort', False), ('', False)):
        s.VM.set_ha_restart_priority(vm, priority)
        check((s.VM.get_ha_restart_priority(vm), s.VM.get_ha_always_run(vm)) == (priority, always), 'priority %r' % priority)
    fails('INVALID_VALUE', 'one that is none', s.VM.set_ha_restart_priority, vm, 'first')
    s.VM.set_ha_always_run(vm, True)
    check(s.VM.get_ha_restart_priority(vm) == 'restart', 'the old way to say so')
    s.VM.set_ha_always_run(vm, False)


def hosts(s, vm, host):
    """Where it could run."""
    s.VM.assert_agile(vm)
    s.VM.assert_can_boot_here(vm, host)
    check(s.VM.get_possible_hosts(vm) == [host], 'it could run here')

    def not_here(code, wanted, what):
        got = fails(code, what, s.VM.assert_can_boot_here, vm, host)
        check((wanted is None or got == wanted) and s.VM.get_possible_hosts(vm) == [], 'nowhere: %s' % got)
    s.host.disable(host)
    not_here('HOST_DISABLED', [host], 'a host that takes nothing')
    s.host.enable(host)
    second = s.SR.create(host, {}, '0', 'second', '', 'dummy', 'user', False, {})
    vbd = disk(s, vm, '5', second)
    check(s.VM.get_possible_hosts(vm) == [host], 'a disk of another repository')
    s.PBD.unplug(s.SR.get_PBDs(second)[0])
    not_here('VM_REQUIRES_SR', [vm, second], 'which is not plugged')
    s.PBD.plug(s.SR.get_PBDs(second)[0])
    vdi = s.VBD.get_VDI(vbd)
    s.VBD.destroy(vbd)
    s.VDI.destroy(vdi)
    s.VM.add_to_other_config(vm, 'pci', '0/0000:00:01.0')
    not_here('VM_REQUIRES_IOMMU', [host], 'a device of the host without an IOMMU')
    s.VM.remove_from_other_config(vm, 'pci')
    s.VM.set_memory(vm, str(1 << 50))
    not_here('HOST_NOT_ENOUGH_FREE_MEMORY', None, 'more memory than there is')
    s.VM.set_memory(vm, str(256 * MIB))
    check(s.VM.get_possible_hosts(vm) == [host], 'here again')


def limits(s):
    """What its kind of guest takes."""
    vm = make(s, next(r['name_label'] for r in s.VM.get_all_records().values() if r['name_label'].startswith('Windows')), 'win')
    check(s.VM.get_allowed_VIF_devices(vm) == [str(i) for i in range(7)], 'seven cards for Windows')
    cards = [card(s, vm, 'autodetect') for _ in range(7)]
    check(s.VM.get_allowed_VIF_devices(vm) == [] and len({s.VIF.get_device(v) for v in cards}) == 7, 'all of them')
    fails('INVALID_DEVICE', 'an eighth', card, s, vm, 'autodetect')
    fails('INVALID_DEVICE', 'by its number', card, s, vm, '7')
    check(s.VM.get_allowed_VBD_devices(vm)[-1] == '254', '255 drives')
    bomb = '<!DOCTYPE r [<!ENTITY a "7">]><restrictions><restriction property="number-of-vifs" max="&a;"/></restrictions>'
    for text, wanted in (('', 16), ('no XML', 16), (bomb, 16), ('<restrictions><restriction property="number-of-vifs" max="99"/></restrictions>', 16),
                         ('<restrictions><restriction property="number-of-vifs" max="-1"/></restrictions>', 16),
                         ('<restrictions><restriction property="number-of-vifs" max="9"/></restrictions>', 9)):
        s.VM.set_recommendations(vm, text)
        check(len(s.VM.get_allowed_VIF_devices(vm)) == wanted - 7, '%.60r: %d cards' % (text, wanted))
    s.VM.destroy(vm)
    linux = make(s, 'Debian Bookworm 12', 'linux')
    check(len(s.VM.get_allowed_VIF_devices(linux)) == 16, 'sixteen for Linux')
    s.VM.destroy(linux)


def devices(s, vm):
    """The VM is halted."""
    vbd = disk(s, vm, '3')
    s.VBD.set_mode(vbd, 'RO')
    check(s.VBD.get_mode(vbd) == 'RO', 'a drive is only read')
    s.VBD.set_mode(vbd, 'RW')
    cd = s.VBD.create({'VM': vm, 'VDI': NULL, 'userdevice': '4', 'bootable': False, 'mode': 'RO', 'type': 'CD', 'empty': True})
    fails('VBD_CDS_MUST_BE_READONLY', 'a CD that is written', s.VBD.set_mode, cd, 'RW')
    vif = card(s, vm, '0')
    s.VM.start(vm, False, False)
    fails('DEVICE_ALREADY_ATTACHED', 'while it is in use', s.VBD.set_mode, vbd, 'RO')
    for cls, ref in ((s.VBD, vbd), (s.VIF, vif)):
        cls.unplug_force(ref)
        check(not cls.get_currently_attached(ref) and 'plug' in cls.get_allowed_operations(ref), '%s.unplug_force' % cls._prefix)
        fails('DEVICE_ALREADY_DETACHED', 'twice', cls.unplug_force, ref)
        cls.plug(ref)
        check(cls.get_currently_attached(ref), 'and plugged again')


def told(agent, s, vm):
    """What a guest tells, what shows it: each field by its getter, the map that is the client's to write."""
    agent.poke('agent %s on' % s.VM.get_uuid(vm))
    check(wait_until(lambda: s.VM.get_guest_metrics(vm) != NULL), 'a guest with an agent has metrics')
    objects = [('VM_guest_metrics', s.VM.get_guest_metrics(vm)), ('VM_metrics', s.VM.get_metrics(vm))] + [('console', c) for c in s.VM.get_consoles(vm)]
    moving = {'last_updated', 'memory_actual', 'VCPUs_utilisation'}
    for cls, ref in objects:
        of = getattr(s, cls)
        record = of.get_record(ref)
        names = set(s._proxy.system.listMethods())
        wrong = [f for f, v in record.items() if f not in moving | GONE and '%s.get_%s' % (cls, f) in names and getattr(of, 'get_' + f)(ref) != v]
        check(not wrong and of.get_by_uuid(record['uuid']) == ref and ref in of.get_all(), 'each field of a %s%s' % (cls, wrong or ''))
        of.set_other_config(ref, {'a': 'b'})
        of.add_to_other_config(ref, 'c', 'd')
        of.remove_from_other_config(ref, 'a')
        check(of.get_other_config(ref) == {'c': 'd'}, 'and its other_config')
    guest = s.VM_guest_metrics.get_record(objects[0][1])
    check(guest['live'] and guest['os_version'].get('name'), 'the guest lives and has a name: %s' % guest['os_version'])
    check(guest['PV_drivers_up_to_date'] == guest['PV_drivers_detected'], 'its drivers, once seen, are good enough')
    metrics = s.VM_metrics.get_record(objects[1][1])
    check(metrics['state'] == [] or 'running' in metrics['state'], 'VM_metrics: %s' % metrics['state'])
    s.VM.hard_shutdown(vm)
    fails('HANDLE_INVALID', 'of a guest that has ended nothing is known', s.VM_guest_metrics.get_live, objects[0][1])
    check(s.VM.get_consoles(vm) == [], 'nor shown')


def schedule(s):
    vmss = s.VMSS.create({'name_label': 'one', 'name_description': '', 'type': 'snapshot', 'retained_snapshots': '1', 'frequency': 'hourly',
                          'schedule': {'min': '0'}, 'enabled': True})
    s.VMSS.set_name_label(vmss, 'two')
    s.VMSS.set_enabled(vmss, False)
    check((s.VMSS.get_name_label(vmss), s.VMSS.get_enabled(vmss)) == ('two', False), 'a schedule that sleeps, by another name')
    s.VMSS.destroy(vmss)


folder = firmware()
with Agent('--firmware-dir', folder) as agent:
    s = agent.login()
    host = s.host.get_all()[0]
    vm = make(s)
    disk(s, vm)
    memory(s, vm, host)
    processors(s, vm)
    operations(s, vm)
    ends(s, vm)
    machine(s, vm, host)
    hosts(s, vm, host)
    limits(s)
    devices(s, vm)
    told(agent, s, vm)
    schedule(s)
shutil.rmtree(folder)
done()
