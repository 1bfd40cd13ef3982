#!/usr/bin/env python3
"""XenAPI.py as Debian ships it, unmodified: the life of a VM from a template to its destruction, over TLS and the unix socket."""
import ssl

from os_xenapi.client import XenAPI

from harness import PASSWORD, USER, Agent, UnixTransport, check, done, wait_until

GIB = 1 << 30


def own_life(session, how):
    """Everything a provisioning script does, in its order."""
    x = session.xenapi
    template = x.VM.get_by_name_label('Debian Bookworm 12')[0]
    vm = x.VM.clone(template, 'web <&> 1')
    check(x.VM.get_name_label(vm) == 'web <&> 1', how + ': clone has its name')
    x.VM.remove_from_other_config(vm, 'disks')
    pool = x.pool.get_all()[0]
    sr = x.pool.get_default_SR(pool)
    disks = '<provision><disk device="0" size="%d" sr="%s" bootable="true" type="system"/></provision>' % (
        GIB, x.SR.get_uuid(sr))
    x.VM.add_to_other_config(vm, 'disks', disks)
    x.VM.provision(vm)
    check(not x.VM.get_is_a_template(vm), how + ': provisioning makes it a VM')
    check(len(x.VM.get_VBDs(vm)) == 1, how + ': provisioning makes its disk')

    vdi = x.VDI.create({'name_label': 'data', 'name_description': '', 'SR': sr, 'virtual_size': str(GIB), 'type': 'user',
                        'sharable': False, 'read_only': False, 'other_config': {}})
    vbd = x.VBD.create({'VM': vm, 'VDI': vdi, 'userdevice': x.VM.get_allowed_VBD_devices(vm)[0], 'bootable': False, 'mode': 'RW',
                        'type': 'Disk', 'empty': False, 'other_config': {}, 'qos_algorithm_type': '', 'qos_algorithm_params': {}})
    network = x.network.get_all()[0]
    vif = x.VIF.create({'VM': vm, 'network': network, 'device': x.VM.get_allowed_VIF_devices(vm)[0], 'MAC': '', 'MTU': '1500',
                        'other_config': {}, 'qos_algorithm_type': '', 'qos_algorithm_params': {}})
    record = x.VM.get_record(vm)
    check(vbd in record['VBDs'] and vif in record['VIFs'], how + ': the VM lists its new disk and card')
    check('start' in record['allowed_operations'], how + ': it may be started')

    x.VM.start(vm, False, False)
    check(x.VM.get_power_state(vm) == 'Running', how + ': running after start')
    check(x.VM.get_resident_on(vm) == x.host.get_all()[0], how + ': on this host')
    check(int(x.VM.get_domid(vm)) >= 0, how + ': with a domain')
    check(len(x.VM.get_consoles(vm)) == 1, how + ': and exactly one console')
    check(x.VBD.get_currently_attached(vbd) and x.VIF.get_currently_attached(vif), how + ': devices attached')
    x.VM.pause(vm)
    check(x.VM.get_power_state(vm) == 'Paused', how + ': paused')
    x.VM.unpause(vm)
    x.VM.clean_shutdown(vm)
    check(x.VM.get_power_state(vm) == 'Halted', how + ': halted after a clean shutdown')
    check(not x.VBD.get_currently_attached(vbd), how + ': disks released')

    snapshot = x.VDI.snapshot(vdi)
    check(x.VDI.get_is_a_snapshot(snapshot) and x.VDI.get_snapshot_of(snapshot) == vdi, how + ': snapshot of a disk')
    x.VDI.destroy(snapshot)
    vm_snapshot = x.VM.snapshot(vm, 'before')
    check(vm_snapshot in x.VM.get_snapshots(vm), how + ': snapshot of the VM')
    for old in (vm_snapshot, vm):
        vdis = [x.VBD.get_VDI(v) for v in x.VM.get_VBDs(old)]
        x.VM.destroy(old)
        for v in vdis:
            x.VDI.destroy(v)
    check(x.VM.get_by_name_label('web <&> 1') == [], how + ': destroyed')


def every_class(session, how):
    methods = session.xenapi.host.list_methods()
    classes = sorted(m.split('.')[0] for m in methods if m.endswith('.get_all_records'))
    failed = []
    for cls in classes:
        try:
            getattr(session.xenapi, cls).get_all_records()
        except XenAPI.Failure as e:
            if e.details[0] != 'MESSAGE_REMOVED':
                failed.append((cls, e.details))
    check(len(classes) >= 60 and not failed, '%s: get_all_records of %d classes %s' % (how, len(classes), failed or ''))


with Agent() as agent:
    ssl._create_default_https_context = ssl._create_unverified_context
    session = XenAPI.Session('https://127.0.0.1:%d' % agent.https_port)
    session.login_with_password(USER, PASSWORD, '2.21', 'test')
    every_class(session, 'TLS')
    own_life(session, 'TLS')
    session.xenapi.session.logout()

    # root needs no password on the unix socket. The library's own transport for it is written for Python 2.
    local = XenAPI.Session('http://localhost/', transport=UnixTransport(agent.socket, 120))
    local.login_with_password('root', '')
    every_class(local, 'unix socket')
    own_life(local, 'unix socket')
    local.xenapi.session.logout()

    local = XenAPI.Session('http://127.0.0.1:%d' % agent.http_port)
    local.login_with_password(USER, PASSWORD)
    every_class(local, 'HTTP')
    try:
        XenAPI.Session('http://127.0.0.1:%d' % agent.http_port).login_with_password(USER, 'wrong')
        check(False, 'a wrong password is refused')
    except XenAPI.Failure as e:
        check(e.details[0] == 'SESSION_AUTHENTICATION_FAILED', 'a wrong password is refused')
done()
