#!/usr/bin/env python3
"""Every field of every class is told alike by its getter and by the record; and what messages did that nothing else looks at."""
import http.client
import os
import subprocess

from harness import Agent, Failure, Session, check, done, fails

MIB = 1 << 20


def population(s):
    """One object of classes that a new host has none of."""
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'machine')
    s.VM.provision(vm)
    sr = s.pool.get_default_SR(s.pool.get_all()[0])
    vdi = s.VDI.create({'name_label': 'disk', 'SR': sr, 'virtual_size': str(4 * MIB), 'type': 'user'})
    s.VBD.create({'VM': vm, 'VDI': vdi, 'userdevice': '0', 'bootable': True, 'mode': 'RW', 'type': 'Disk', 'empty': False})
    s.VIF.create({'VM': vm, 'network': s.network.get_all()[0], 'device': '0', 'MAC': ''})
    appliance = s.VM_appliance.create({'name_label': 'appliance', 'name_description': ''})
    s.VM.set_appliance(vm, appliance)
    s.VMSS.create({'name_label': 'schedule', 'name_description': '', 'type': 'snapshot', 'retained_snapshots': '3', 'frequency': 'daily',
                   'schedule': {'hour': '1', 'min': '0'}, 'enabled': False})
    s.blob.create('application/octet-stream', False)
    s.secret.create({'value': 'hidden', 'other_config': {}})
    subject = s.subject.create({'subject_identifier': 'group:seen', 'other_config': {'subject-name': 'seen'}})
    s.subject.remove_from_roles(subject, s.role.get_by_name_label('pool-admin')[0])
    s.message.create('SEEN', 3, 'VM', s.VM.get_uuid(vm), 'body')
    s.task.create('task', 'of a test')
    s.VM_group.create({'name_label': 'group', 'name_description': '', 'placement': 'normal'})
    return vm, appliance


def plain(value):
    return value.value if hasattr(value, 'value') else [plain(v) for v in value] if isinstance(value, list) else \
        {k: plain(v) for k, v in value.items()} if isinstance(value, dict) else value


# Read twice they differ: the moment's.
MOVES = {'last_active', 'allowed_operations', 'memory_free', 'last_updated', 'progress', 'uuid_of', 'servertime'}


def getters(s):
    names = set(s._proxy.system.listMethods())
    classes, wrong, count = sorted({n.split('.')[0] for n in names if n.endswith('.get_record')}), [], 0
    for cls in classes:
        if cls + '.get_all_records' in names:
            try:
                refs = list(s.call(cls + '.get_all_records'))
                s.call(cls + '.get_all_records_where', 'true')
            except Failure as e:
                if e.details[0] != 'MESSAGE_REMOVED':
                    wrong.append((cls, e.details))
                continue
        else:
            refs = [s._ref] if cls == 'session' else []
        for ref in refs[:1]:
            record = plain(s.call(cls + '.get_record', ref))
            for field, value in record.items():
                getter = '%s.get_%s' % (cls, field)
                if getter not in names or field in MOVES:
                    continue
                count += 1
                try:
                    if plain(s.call(getter, ref)) != value:
                        wrong.append((getter, value, s.call(getter, ref)))
                except Failure as e:
                    if e.details[0] != 'MESSAGE_REMOVED':
                        wrong.append((getter, e.details))
            if cls != 'session' and cls + '.get_by_uuid' in names and s.call(cls + '.get_by_uuid', record['uuid']) != ref:
                wrong.append((cls, 'get_by_uuid'))
    check(not wrong and count > 500, '%d fields of %d classes are what their records say%s' % (count, len(classes), wrong[:5] if wrong else ''))


def availability(s, vm, pool, host):
    """High availability is off, and this host is alone."""
    for what, call, args in (('disable_ha', s.pool.disable_ha, ()), ('emergency_ha_disable', s.host.emergency_ha_disable, (False,)),
                             ('ha_prevent_restarts_for', s.pool.ha_prevent_restarts_for, (60,))):
        fails('HA_NOT_ENABLED', what, call, *args)
    check(s.pool.ha_compute_max_host_failures_to_tolerate() == '0', 'one host tolerates no failure')
    check(s.pool.ha_compute_hypothetical_max_host_failures_to_tolerate({vm: 'restart'}) == '0', 'whatever the priorities')
    fails('INVALID_VALUE', 'a priority that is none', s.pool.ha_compute_hypothetical_max_host_failures_to_tolerate, {vm: 'first'})
    fails('HANDLE_INVALID', 'of a VM', s.pool.ha_compute_hypothetical_max_host_failures_to_tolerate, {host: 'restart'})
    check(s.pool.ha_failover_plan_exists(0) is True and s.pool.ha_failover_plan_exists(1) is False, 'there is a plan for no failure')
    check(s.pool.ha_compute_vm_failover_plan([], [vm]) == {vm: {'host': host}}, 'a VM that failed starts here again')
    check(s.pool.ha_compute_vm_failover_plan([host], [vm]) == {vm: {'error_code': 'NO_HOSTS_AVAILABLE'}}, 'but not when the host fails')
    s.pool.set_ha_host_failures_to_tolerate(pool, 1)
    check(s.pool.get_ha_host_failures_to_tolerate(pool) == '1', 'what is to be tolerated one day')
    fails('INVALID_VALUE', 'less than nothing', s.pool.set_ha_host_failures_to_tolerate, pool, -1)
    s.pool.set_ha_host_failures_to_tolerate(pool, 0)


def appliances(s, vm, appliance):
    s.VM_appliance.start(appliance, False)
    check(s.VM.get_power_state(vm) == 'Running', 'an appliance starts its VMs')
    s.VM_appliance.shutdown(appliance)
    check(s.VM.get_power_state(vm) == 'Halted' and s.VM_appliance.get_VMs(appliance) == [vm], 'shutdown: all are off')


def certificates(agent, s, pool, host):
    pem = os.path.join(agent.root, 'ca.pem')
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=ca', '-days', '2', '-keyout', os.path.join(agent.root, 'ca.key'),
                    '-out', pem], check=True, capture_output=True)
    text = open(pem).read()
    for install, uninstall in ((s.pool.install_ca_certificate, s.pool.uninstall_ca_certificate), (s.pool.certificate_install, s.pool.certificate_uninstall)):
        install('seen.pem', text)
        check('seen.pem' in [r['name'] for r in s.Certificate.get_all_records().values()] and 'seen.pem' in s.pool.certificate_list(), 'a CA is known')
        uninstall('seen.pem')
        check('seen.pem' not in [r['name'] for r in s.Certificate.get_all_records().values()], 'and forgotten')
        check(s.pool.get_uuid(pool), 'the pool is read')
    before = s.host.get_server_certificate(host)
    s.host.refresh_server_certificate(host)
    check(s.host.get_server_certificate(host) != before, 'a refreshed certificate is another')
    s.pool.enable_client_certificate_auth(pool, 'client')
    check((s.pool.get_client_certificate_auth_enabled(pool), s.pool.get_client_certificate_auth_name(pool)) == (True, 'client'), 'certificates of clients count')
    s.pool.disable_client_certificate_auth(pool)
    check((s.pool.get_client_certificate_auth_enabled(pool), s.pool.get_client_certificate_auth_name(pool)) == (False, ''), 'or do not')


def machine(agent, s, vm, pool, host):
    s.host.backup_rrds(host, 0.0)
    check(s.host.get_enabled(host) and os.listdir(os.path.join(agent.root, 'rrd')), 'metrics are in a file')
    fails('MESSAGE_REMOVED', 'guidances were dropped from the model', s.host.apply_recommended_guidances, host)
    s.pool.enable_external_auth(pool, {}, 'here', 'PAM')
    check(s.host.get_external_auth_type(host) == 'PAM', 'accounts of this host')
    s.pool.disable_external_auth(pool, {})
    s.host.enable_external_auth(host, {}, 'here', 'PAM')
    check(s.host.get_external_auth_type(host) == 'PAM', 'by the host itself')
    s.host.disable_external_auth(host, {}, False)
    network = s.network.create({'name_label': 'tagged', 'name_description': '', 'other_config': {}})
    pif = next(r for r, p in s.PIF.get_all_records().items() if p['physical'])
    for tag, create in ((7, lambda: s.pool.create_VLAN(s.PIF.get_device(pif), network, '7')),
                        (8, lambda: s.pool.create_VLAN_from_PIF(pif, s.network.create({'name_label': 'other', 'other_config': {}}), '8'))):
        made = create()
        check([s.PIF.get_VLAN(p) for p in made] == [str(tag)] and s.pool.get_uuid(pool), 'VLAN %d on every host' % tag)
        s.VLAN.destroy(s.PIF.get_VLAN_master_of(made[0]))


def dumps(agent, s):
    path = os.path.join(agent.root, 'dump.xml')
    c = http.client.HTTPConnection('127.0.0.1', agent.http_port)
    c.request('GET', '/pool/xmldbdump?session_id=' + s._ref)
    with open(path, 'wb') as f:
        f.write(c.getresponse().read())
    ref = s.session.create_from_db_file(path)
    check(Session(s._proxy, ref).VM.get_all() and s.session.get_uuid(s._ref), 'a session reads a dump')


def ending(agent, s, host):
    pid = agent.process.pid
    s.host.shutdown_agent()
    check(agent.process.wait(60) == 0, 'shutdown_agent: it ends')
    agent.start()
    check(agent.login().host.get_enabled(host) and agent.process.pid != pid, 'and can be started again')


with Agent() as agent:
    s = agent.login()
    pool, host = s.pool.get_all()[0], s.host.get_all()[0]
    vm, appliance = population(s)
    getters(s)
    availability(s, vm, pool, host)
    appliances(s, vm, appliance)
    certificates(agent, s, pool, host)
    machine(agent, s, vm, pool, host)
    dumps(agent, s)
    ending(agent, s, host)
done()
