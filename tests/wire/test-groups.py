#!/usr/bin/env python3
"""VM appliances in their order, and snapshot schedules that run."""
import time

from harness import Agent, check, done, fails, wait_until


def make_vm(s, name, **fields):
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], name)
    s.VM.provision(vm)
    for field, value in fields.items():
        getattr(s.VM, 'set_' + field)(vm, value)
    return vm


def started(s, vm):
    return s.VM_metrics.get_start_time(s.VM.get_metrics(vm)).value


def appliances(s):
    group = s.VM_appliance.create({'name_label': 'three tiers', 'name_description': ''})
    db = make_vm(s, 'db', order='1', start_delay='2', shutdown_delay='0', appliance=group)
    web = [make_vm(s, 'web%d' % i, order='2', shutdown_delay='2', appliance=group) for i in (1, 2)]
    vms = [db] + web
    check(sorted(s.VM_appliance.get_VMs(group)) == sorted(vms), 'the appliance has three VMs')
    check(s.VM_appliance.get_allowed_operations(group) == ['start'], 'which may be started')
    fails('OPERATION_NOT_ALLOWED', 'a template in an appliance', s.VM.set_appliance, s.VM.get_by_name_label('Other install media')[0], group)
    fails('OPERATION_NOT_ALLOWED', 'stopping what is stopped', s.VM_appliance.hard_shutdown, group)
    s.VM_appliance.start(group, False)
    check(all(s.VM.get_power_state(vm) == 'Running' for vm in vms), 'start: all of them run')
    check(all(started(s, db) < started(s, vm) for vm in web), 'the first order was first, and its delay went by')
    check('start' not in s.VM_appliance.get_allowed_operations(group), 'nothing is left to start')
    seen = []
    task = s.Async.VM_appliance.clean_shutdown(group)
    while s.task.get_status(task) == 'pending':
        state = [s.VM.get_power_state(vm) == 'Running' for vm in vms]
        if not seen or seen[-1] != state:
            seen.append(state)
        time.sleep(0.02)
    check(s.task.get_status(task) == 'success', 'clean shutdown')
    check([True, False, False] in seen, 'the last order goes first, the first waits for its delay')
    check(all(s.VM.get_power_state(vm) == 'Halted' for vm in vms), 'and all are halted')

    s.VM.set_start_delay(db, '0')
    s.VM_appliance.start(group, True)
    check(all(s.VM.get_power_state(vm) == 'Paused' for vm in vms), 'started paused')
    s.VM_appliance.start(group, False)
    check(all(s.VM.get_power_state(vm) == 'Running' for vm in vms), 'starting again unpauses')
    for vm in web:
        s.VM.set_shutdown_delay(vm, '0')
    s.VM.hard_shutdown(db)
    check(set(s.VM_appliance.get_allowed_operations(group)) >= {'start', 'shutdown'}, 'one VM less: start is allowed again')
    s.VM.add_to_blocked_operations(db, 'start', 'NO')
    check(fails('OPERATION_PARTIALLY_FAILED', 'a VM that may not start', s.VM_appliance.start, group, False) == ['start'], 'is told')
    check(s.VM.get_power_state(web[0]) == 'Running', 'the others run')
    s.VM_appliance.shutdown(group)
    check(all(s.VM.get_power_state(vm) == 'Halted' for vm in vms), 'shutdown')
    s.VM.set_order(web[0], '0')
    s.VM.remove_from_blocked_operations(db, 'start')
    s.VM_appliance.start(group, False)
    s.VM_appliance.hard_shutdown(group)
    check(all(s.VM.get_power_state(vm) == 'Halted' for vm in vms), 'hard shutdown')

    # Cancelling in a delay.
    s.VM.set_start_delay(web[0], '60')
    task = s.Async.VM_appliance.start(group, False)
    check(wait_until(lambda: s.VM.get_power_state(web[0]) == 'Running'), 'the first VM runs')
    s.task.cancel(task)
    check(wait_until(lambda: s.task.get_status(task) == 'cancelled'), 'cancelled while it waits')
    check(s.VM.get_power_state(db) == 'Halted', 'the next one never started')
    s.VM_appliance.hard_shutdown(group)
    s.VM_appliance.destroy(group)
    check(s.VM.get_appliance(db) == 'OpaqueRef:NULL', 'without the appliance the VMs stay')


def placement(s):
    one, two = [s.VM_group.create({'name_label': n, 'name_description': '', 'placement': 'anti_affinity'}) for n in ('one', 'two')]
    vm = make_vm(s, 'in a group')
    s.VM.set_groups(vm, [one])
    check(s.VM.get_groups(vm) == [one] and s.VM_group.get_VMs(one) == [vm], 'a VM in a group, seen from both sides')
    s.VM.set_groups(vm, [two])
    check(s.VM_group.get_VMs(one) == [] and s.VM_group.get_VMs(two) == [vm], 'in another')
    fails('TOO_MANY_GROUPS', 'in two', s.VM.set_groups, vm, [one, two])
    fails('HANDLE_INVALID', 'in none that is there', s.VM.set_groups, vm, ['OpaqueRef:00000000-0000-4000-8000-00000000dead'])
    dom0 = s.host.get_control_domain(s.host.get_all()[0])
    fails('OPERATION_NOT_ALLOWED', 'the control domain', s.VM.set_groups, dom0, [one])
    check(s.VM.get_boot_record(vm) == s.VM.get_record(vm), 'the record it boots with is the one it has')
    s.VM.destroy(vm)
    check(s.VM_group.get_VMs(two) == [], 'destroyed, it is in no group')
    for group in (one, two):
        s.VM_group.destroy(group)


def snapshots(s, vm):
    return [r for r in s.VM.get_all_records().values() if r['snapshot_of'] == vm and r['is_vmss_snapshot']]


def schedules(s):
    record = {'name_label': 'nightly', 'name_description': '', 'enabled': True, 'type': 'snapshot', 'retained_snapshots': '2',
              'frequency': 'daily', 'schedule': {'min': '30', 'hour': '2'}}
    fails('INVALID_VALUE', 'eleven snapshots', s.VMSS.create, dict(record, retained_snapshots='11'))
    fails('INVALID_VALUE', 'minute 60', s.VMSS.create, dict(record, schedule={'min': '60', 'hour': '1'}))
    fails('INVALID_VALUE', 'a daily one without the hour', s.VMSS.create, dict(record, schedule={'min': '0'}))
    fails('INVALID_VALUE', 'a day that is none', s.VMSS.create,
          dict(record, frequency='weekly', schedule={'min': '0', 'hour': '1', 'days': 'Monday,Funday'}))
    vmss = s.VMSS.create(record)
    check(s.VMSS.get_schedule(vmss) == {'min': '30', 'hour': '2'} and s.VMSS.get_enabled(vmss), 'a schedule')
    s.VMSS.set_frequency(vmss, 'weekly')
    s.VMSS.add_to_schedule(vmss, 'days', 'Monday, friday')
    check(s.VMSS.get_schedule(vmss)['days'] == 'Monday, friday', 'weekly')
    fails('INVALID_VALUE', 'an unknown key', s.VMSS.add_to_schedule, vmss, 'week', '1')
    s.VMSS.remove_from_schedule(vmss, 'days')
    s.VMSS.set_type(vmss, 'checkpoint')
    check(s.VMSS.get_type(vmss) == 'checkpoint', 'another type')
    s.VMSS.set_type(vmss, 'snapshot')
    s.VMSS.set_frequency(vmss, 'hourly')

    vm = make_vm(s, 'kept', snapshot_schedule=vmss)
    fails('VMSS_HAS_VM', 'destroying a schedule in use', s.VMSS.destroy, vmss)
    for i in range(3):
        check(s.VMSS.snapshot_now(vmss) == 'Success', 'snapshot now')
        time.sleep(1.1)
    names = sorted(r['name_label'] for r in snapshots(s, vm))
    check(len(names) == 2 and names[0].startswith('nightly_kept_'), 'the newest two are kept: %s' % names)
    by_hand = s.VM.snapshot(vm, 'by hand', [])
    s.VMSS.set_retained_snapshots(vmss, '1')
    s.VMSS.snapshot_now(vmss)
    check(len(snapshots(s, vm)) == 1 and s.VM.get_name_label(by_hand) == 'by hand', "one of the schedule's, and the one taken by hand")
    s.VMSS.set_last_run_time(vmss, '19700101T00:00:00Z')
    before = {r['uuid'] for r in snapshots(s, vm)}
    s.VMSS.set_schedule(vmss, {'min': str(time.localtime().tm_min)})
    check(wait_until(lambda: {r['uuid'] for r in snapshots(s, vm)} - before, 15), 'the moment comes: a snapshot is taken by itself')
    check(wait_until(lambda: [m for m in s.message.get_all_records().values() if m['name'] == 'VMSS_SNAPSHOT_SUCCEEDED'
                              and m['obj_uuid'] == s.VMSS.get_uuid(vmss)], 10), 'with an alert')
    check(s.VMSS.get_last_run_time(vmss).value > '2020', 'the run is recorded')
    count = len(s.message.get_all())
    time.sleep(6)
    check(len(s.message.get_all()) == count, 'once, not at every look')

    s.VM.add_to_blocked_operations(vm, 'snapshot', 'NO')
    check('OPERATION_BLOCKED' in fails('OPERATION_PARTIALLY_FAILED', 'a VM that may not', s.VMSS.snapshot_now, vmss)[0], 'says which and why')
    check([m for m in s.message.get_all_records().values() if m['name'] == 'VMSS_SNAPSHOT_FAILED'] != [], 'and an alert')
    s.VM.set_snapshot_schedule(vm, 'OpaqueRef:NULL')
    s.VMSS.destroy(vmss)
    fails('HANDLE_INVALID', 'destroyed', s.VMSS.get_uuid, vmss)


with Agent() as agent:
    s = agent.login()
    appliances(s)
    placement(s)
    schedules(s)
done()
