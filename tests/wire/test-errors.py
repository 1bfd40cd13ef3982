#!/usr/bin/env python3
"""Errors provoked on purpose: each has the code that is published, its parameters in number and order, and each parameter is
what its name says: a VM where it says vm, a host where it says host."""
import re

from harness import Agent, Failure, check, done, error_parameters, wait_until

DEAD = 'OpaqueRef:00000000-0000-4000-8000-00000000dead'
# Name of a parameter -> the class whose object it must be.
OBJECTS = {'vm': 'VM', 'VM': 'VM', 'host': 'host', 'sr': 'SR', 'SR': 'SR', 'vdi': 'VDI', 'vbd': 'VBD', 'VIF': 'VIF', 'network': 'network',
           'PIF': 'PIF', 'pbd': 'PBD', 'PBD': 'PBD', 'task': 'task'}
STATES = {'halted', 'paused', 'running', 'suspended'}
MIB = 1 << 20


class World:
    """What the calls are made with."""

    def __init__(self, agent, s):
        self.agent, self.s = agent, s
        self.host, self.pool = s.host.get_all()[0], s.pool.get_all()[0]
        self.sr = s.pool.get_default_SR(self.pool)
        self.pbd = s.SR.get_PBDs(self.sr)[0]
        self.iso_sr = next(r for r, sr in s.SR.get_all_records().items() if sr['content_type'] == 'iso')
        self.template = s.VM.get_by_name_label('Other install media')[0]
        self.dom0 = s.host.get_control_domain(self.host)
        self.network = s.network.get_by_name_label('Internal network')[0]
        self.pif = s.host.get_management_interface(self.host)
        self.vm, self.running = (s.VM.clone(self.template, name) for name in ('halted', 'running'))
        for vm in (self.vm, self.running):
            s.VM.provision(vm)
        self.disk = self.make_disk('disk')
        self.locked = self.make_disk('read only', read_only=True)
        self.vbd = s.VBD.create(self.device(self.vm, self.disk, '0'))
        self.cd = s.VBD.create(dict(self.device(self.vm, '', '3'), type='CD', mode='RO', empty=True))
        self.busy = self.make_disk('busy')
        self.busy_vbd = s.VBD.create(self.device(self.running, self.busy, '0'))
        self.vif = s.VIF.create(dict(self.card(self.running, '0')))
        s.VM.start(self.running, False, False)
        self.snapshot = s.VM.snapshot(self.vm, 'snapshot', [])
        self.schedule = s.VMSS.create({'name_label': 'x', 'name_description': '', 'enabled': False, 'type': 'snapshot',
                                       'retained_snapshots': '1', 'frequency': 'hourly', 'schedule': {'min': '0'}})
        s.VM.set_snapshot_schedule(self.vm, self.schedule)
        self.small, self.large = self.make_disk('small'), self.make_disk('large', virtual_size=str(4 * MIB))
        self.huge = s.VM.clone(self.template, 'huge')
        s.VM.provision(self.huge)
        s.VM.set_memory_limits(self.huge, str(MIB), str(1 << 50), str(1 << 50), str(1 << 50))
        self.subject = s.subject.create({'subject_identifier': 'third', 'other_config': {}})

    def make_disk(self, name, **more):
        return self.s.VDI.create(dict({'name_label': name, 'name_description': '', 'SR': self.sr, 'virtual_size': str(MIB),
                                       'type': 'user', 'sharable': False, 'read_only': False, 'other_config': {}}, **more))

    def device(self, vm, vdi, number):
        return {'VM': vm, 'VDI': vdi, 'userdevice': number, 'bootable': False, 'mode': 'RW', 'type': 'Disk', 'empty': False,
                'other_config': {}, 'qos_algorithm_type': '', 'qos_algorithm_params': {}}

    def card(self, vm, number, mac=''):
        return {'VM': vm, 'network': self.network, 'device': number, 'MAC': mac, 'MTU': '1500', 'other_config': {},
                'qos_algorithm_type': '', 'qos_algorithm_params': {}, 'locking_mode': 'network_default', 'ipv4_allowed': [],
                'ipv6_allowed': []}


def in_progress(w):
    task = w.s.Async.VM.clean_shutdown(w.running)
    wait_until(lambda: task in w.s.VM.get_current_operations(w.running))
    try:
        w.s.VM.suspend(w.running)
    finally:
        w.s.task.cancel(task)
        wait_until(lambda: not w.s.VM.get_current_operations(w.running))


def blocked(w, fn):
    w.s.VM.add_to_blocked_operations(w.vm, 'start', 'because')
    try:
        fn()
    finally:
        w.s.VM.remove_from_blocked_operations(w.vm, 'start')


def while_disabled(w, fn):
    w.s.host.disable(w.host)
    try:
        fn()
    finally:
        w.s.host.enable(w.host)


def with_pci(w, devices):
    """A start with devices of the host; no device may be left out in silence."""
    w.s.VM.add_to_other_config(w.vm, 'pci', devices)
    try:
        w.s.VM.start(w.vm, False, False)
    finally:
        w.s.VM.remove_from_other_config(w.vm, 'pci')


# code -> how it is provoked
TABLE = [
    ('MESSAGE_METHOD_UNKNOWN', lambda w: w.s.VM.frobnicate()),
    ('MESSAGE_PARAMETER_COUNT_MISMATCH', lambda w: w.s.VM.start(w.vm)),
    ('MESSAGE_REMOVED', lambda w: w.s.VMPP.get_all()),
    ('NOT_IMPLEMENTED', lambda w: w.s.Cluster.create(DEAD, 'corosync', True, 10.0, 1.0)),
    ('FIELD_TYPE_ERROR', lambda w: w.s.VM.set_user_version(w.vm, 'many')),
    ('HANDLE_INVALID', lambda w: w.s.VM.get_record(DEAD)),
    ('UUID_INVALID', lambda w: w.s.VM.get_by_uuid('none')),
    ('SESSION_INVALID', lambda w: w.s._proxy_call('pool.get_all', DEAD)),
    ('MAP_DUPLICATE_KEY', lambda w: [w.s.VM.add_to_other_config(w.vm, 'twice', 'x') for _ in range(2)]),
    ('INVALID_VALUE', lambda w: w.s.VM.get_all_records_where('field')),
    ('VALUE_NOT_SUPPORTED', lambda w: w.s.task.set_progress(w.s.task.create('x', ''), 2.0)),
    ('EVENT_SUBSCRIPTION_PARSE_FAILURE', lambda w: w.s.call('event.from', ['tusk'], '', 0.0)),
    ('EVENT_FROM_TOKEN_PARSE_FAILURE', lambda w: w.s.call('event.from', ['task'], 'token', 0.0)),
    ('EVENTS_LOST', lambda w: w.s.call('event.from', ['task'], '00000000009999999999,00000000000000000000', 0.0)),
    ('SESSION_NOT_REGISTERED', lambda w: w.agent.login().event.next()),
    ('OTHER_OPERATION_IN_PROGRESS', in_progress),
    # virtual machines
    ('VM_BAD_POWER_STATE', lambda w: w.s.VM.pause(w.vm)),
    ('VM_BAD_POWER_STATE', lambda w: w.s.VM.destroy(w.running)),
    ('VM_BAD_POWER_STATE', lambda w: w.s.VBD.plug(w.vbd)),
    ('VM_BAD_POWER_STATE', lambda w: w.s.VM.set_memory_static_max(w.running, str(64 * MIB))),
    ('VM_IS_TEMPLATE', lambda w: w.s.VM.start(w.template, False, False)),
    ('VM_CANNOT_DELETE_DEFAULT_TEMPLATE', lambda w: w.s.VM.destroy(w.template)),
    ('OPERATION_NOT_ALLOWED', lambda w: w.s.VM.start(w.dom0, False, False)),
    ('VM_REQUIRES_IOMMU', lambda w: with_pci(w, '0/0000:04:00.0,1/0000:04:1f.7')),
    ('INVALID_VALUE', lambda w: with_pci(w, '0/0000:04:20.0')),
    ('OPERATION_BLOCKED', lambda w: blocked(w, lambda: w.s.VM.start(w.vm, False, False))),
    ('REVERT_ONLY_ALLOWED_ON_SNAPSHOT', lambda w: w.s.VM.revert(w.vm)),
    ('MEMORY_CONSTRAINT_VIOLATION', lambda w: w.s.VM.set_memory_limits(w.vm, '3', '2', '1', '0')),
    ('HOST_NOT_ENOUGH_FREE_MEMORY', lambda w: w.s.VM.start(w.huge, False, False)),
    ('HOST_DISABLED', lambda w: while_disabled(w, lambda: w.s.VM.start(w.vm, False, False))),
    ('VMSS_HAS_VM', lambda w: w.s.VMSS.destroy(w.schedule)),
    # devices
    ('DEVICE_ALREADY_EXISTS', lambda w: w.s.VIF.create(w.card(w.running, '0'))),
    ('INVALID_DEVICE', lambda w: w.s.VBD.create(w.device(w.vm, w.small, '77777'))),
    ('MAC_INVALID', lambda w: w.s.VIF.create(w.card(w.vm, '1', 'no mac'))),
    ('DEVICE_ALREADY_ATTACHED', lambda w: w.s.VBD.plug(w.busy_vbd)),
    ('VBD_IS_EMPTY', lambda w: w.s.VBD.eject(w.cd)),
    ('VBD_NOT_REMOVABLE_MEDIA', lambda w: w.s.VBD.eject(w.vbd)),
    ('VBD_CDS_MUST_BE_READONLY', lambda w: w.s.VBD.create(dict(w.device(w.vm, '', '4'), type='CD', empty=True))),
    ('VIF_IN_USE', lambda w: w.s.network.destroy(w.network)),
    ('BRIDGE_NAME_EXISTS', lambda w: w.s.network.create({'name_label': 'x', 'bridge': w.s.network.get_bridge(w.network)})),
    ('NETWORK_CONTAINS_PIF', lambda w: w.s.network.destroy(w.s.PIF.get_network(w.pif))),
    ('PIF_NOT_PRESENT', lambda w: w.s.pool.management_reconfigure(w.network)),
    ('INTERFACE_HAS_NO_IP', lambda w: w.s.host.local_management_reconfigure('none')),
    # storage
    ('VDI_IN_USE', lambda w: w.s.VDI.destroy(w.busy)),
    ('VDI_READONLY', lambda w: w.s.VBD.create(w.device(w.vm, w.locked, '5'))),
    ('VDI_TOO_SMALL', lambda w: w.s.VDI.copy(w.large, 'OpaqueRef:NULL', 'OpaqueRef:NULL', w.small)),
    ('SR_HAS_PBD', lambda w: w.s.SR.destroy(w.sr)),
    ('SR_UNKNOWN_DRIVER', lambda w: w.s.SR.create(w.host, {}, '0', 'x', '', 'none', '', False, {})),
    ('PBD_EXISTS', lambda w: w.s.PBD.create({'host': w.host, 'SR': w.sr, 'device_config': {}})),
    ('SR_OPERATION_NOT_SUPPORTED', lambda w: w.s.VDI.create({'SR': w.iso_sr, 'virtual_size': str(MIB), 'type': 'user'})),
    # host and pool
    ('HOST_NOT_DISABLED', lambda w: w.s.host.shutdown(w.host)),
    ('HOST_IN_USE', lambda w: while_disabled(w, lambda: w.s.host.reboot(w.host))),
    ('HOST_IS_LIVE', lambda w: w.s.host.declare_dead(w.host)),
    ('HOST_CANNOT_DESTROY_SELF', lambda w: w.s.host.destroy(w.host)),
    ('HOST_NAME_INVALID', lambda w: w.s.host.set_hostname_live(w.host, '-')),
    ('HOST_POWER_ON_MODE_DISABLED', lambda w: w.s.host.power_on(w.host)),
    ('CANNOT_EVACUATE_HOST', lambda w: w.s.host.evacuate(w.host)),
    ('INVALID_EDITION', lambda w: w.s.host.apply_edition(w.host, 'none')),
    ('LICENSE_FILE_DEPRECATED', lambda w: w.s.host.license_add(w.host, '')),
    ('INVALID_NTP_CONFIG', lambda w: w.s.host.set_ntp_mode(w.host, 'Custom')),
    ('NOT_ALLOWED_WHEN_NTP_IS_ENABLED', lambda w: w.s.host.set_servertime(w.host, '20260821T02:00:23Z')),
    ('XENAPI_MISSING_PLUGIN', lambda w: w.s.host.call_plugin(w.host, 'none', 'f', {})),
    ('OPENVSWITCH_NOT_ACTIVE', lambda w: w.s.pool.set_vswitch_controller('192.0.2.1')),
    ('WLB_NOT_INITIALIZED', lambda w: w.s.pool.deconfigure_wlb()),
    ('CANNOT_ENABLE_REDO_LOG', lambda w: w.s.pool.enable_redo_log(w.sr)),
    ('CERTIFICATE_NAME_INVALID', lambda w: w.s.pool.install_ca_certificate('../x', 'x')),
    ('CERTIFICATE_DOES_NOT_EXIST', lambda w: w.s.pool.uninstall_ca_certificate('none.pem')),
    ('CRL_NAME_INVALID', lambda w: w.s.pool.crl_install('../x', 'x')),
    ('CRL_DOES_NOT_EXIST', lambda w: w.s.pool.crl_uninstall('none')),
    ('SERVER_CERTIFICATE_KEY_INVALID', lambda w: w.s.host.install_server_certificate(w.host, 'x', 'y', '')),
    ('SUBJECT_ALREADY_EXISTS', lambda w: [w.s.subject.create({'subject_identifier': 'same', 'other_config': {}}) for _ in range(2)]),
    ('ROLE_NOT_FOUND', lambda w: [w.s.subject.remove_from_roles(w.subject, w.s.role.get_by_name_label('pool-admin')[0]) for _ in range(2)]),
    ('ROLE_ALREADY_EXISTS', lambda w: [w.s.subject.add_to_roles(w.subject, w.s.role.get_by_name_label('vm-admin')[0]) for _ in range(2)]),
]


def judge(w, code, details):
    """What is wrong with the parameters, or None."""
    names, params = error_parameters(code), details[1:]
    if names is None:
        return None
    if len(names) != len(params):
        return 'the parameters are %s, not %s' % (names, params)
    for name, value in zip(names, params):
        if name in OBJECTS:
            try:
                w.s.call(OBJECTS[name] + '.get_uuid', value)
            except Failure:
                return '%s is no %s: %s' % (name, OBJECTS[name], value)
        if name in ('expected', 'actual') and code == 'VM_BAD_POWER_STATE' and not set(value.split(', ')) <= STATES:
            return '%s is no power state: %s' % (name, value)
        if name == 'class' and value not in w.classes:
            return 'there is no class %s' % value
        if code == 'MESSAGE_PARAMETER_COUNT_MISMATCH' and name in ('expected', 'received') and not re.fullmatch(r'-?\d+', value):
            return '%s is no number: %s' % (name, value)
    return None


with Agent() as agent:
    s = agent.login()
    s._proxy_call = lambda method, *args: (_ for _ in ()).throw(Failure(getattr(s._proxy, method)(*args)['ErrorDescription']))
    w = World(agent, s)
    w.classes = {m.split('.')[0] for m in s._proxy.system.listMethods() if not m.startswith('Async.')}
    agent.poke('deaf ' + s.VM.get_uuid(w.running))
    for code, provoke in TABLE:
        try:
            provoke(w)
            check(False, '%s: the call succeeded' % code)
        except Failure as e:
            wrong = 'it is %s' % e.details if e.details[0] != code else judge(w, code, e.details)
            check(not wrong, '%s%s' % (code, ': ' + wrong if wrong else ''))
    check(len({code for code, _ in TABLE}) > 60, '%d codes' % len({code for code, _ in TABLE}))
done()
