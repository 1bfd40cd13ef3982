#!/usr/bin/env python3
"""Records that come with a database from another host, of classes of which a host here makes none: they are told alike by
getters and record, their maps and names can be changed, and what removes them does."""
import http.client
import os
import re
import uuid

from harness import Agent, Failure, check, done, fails, wait_until

CLASSES = ('Caller Cluster Cluster_host crashdump DR_task Driver_variant Feature GPU_group Host_driver host_patch LVHD network_sriov Observer PCI '
           'PGPU pool_patch pool_update PUSB PVS_cache_storage PVS_proxy PVS_server PVS_site Rate_limit Repository SDN_controller USB_group user VGPU '
           'VGPU_type VTPM VUSB').split()


def ask(agent, s, method, path, body=None):
    c = http.client.HTTPConnection('127.0.0.1', agent.http_port, timeout=60)
    c.request(method, '%s?session_id=%s' % (path, s._ref), body)
    r = c.getresponse()
    return r.status, r.read()


def with_rows(dump, rows):
    """The dump with one more row in each of these tables: {class: [(field, value)]}."""
    for cls, fields in rows.items():
        row = '<row %s/>\n' % ' '.join('%s="%s"' % f for f in fields)
        dump, n = re.subn(r'(<table name="%s">\n)' % cls, lambda m: m.group(1) + row, dump)
        assert n == 1, cls
    return dump


def plain(value):
    """Times as their text; sets have no order."""
    if hasattr(value, 'value'):
        return value.value
    return sorted(map(plain, value), key=str) if isinstance(value, list) else value


def told_alike(s, cls, ref, its_uuid, names):
    record = s.call(cls + '.get_record', ref)
    wrong = []
    if cls + '.get_all_records' in names:
        all_of_it = {k: {f: plain(v) for f, v in r.items()} for k, r in s.call(cls + '.get_all_records').items()}
        if all_of_it != {ref: {f: plain(v) for f, v in record.items()}} or s.call(cls + '.get_all') != [ref]:
            wrong.append('get_all')
        if list(s.call(cls + '.get_all_records_where', 'field "uuid" = "%s"' % its_uuid)) != [ref]:
            wrong.append('get_all_records_where')
    if s.call(cls + '.get_by_uuid', its_uuid) != ref:
        wrong.append('get_by_uuid')
    if cls + '.get_by_name_label' in names and s.call(cls + '.get_by_name_label', record['name_label']) != [ref]:
        wrong.append('get_by_name_label')
    n = 0
    for field, value in record.items():
        if '%s.get_%s' % (cls, field) in names:
            n += 1
            try:
                if plain(s.call('%s.get_%s' % (cls, field), ref)) != plain(value):
                    wrong.append(field)
            except Failure as e:
                if e.details[0] != 'MESSAGE_REMOVED':
                    wrong.append((field, e.details))
    check(not wrong and n > 0, '%s: %d fields are what the record says %s' % (cls, n, wrong))
    return record


def changed(s, cls, ref, record, names):
    """Maps and names that clients may change."""
    done_with = []
    for field, value in record.items():
        get = lambda: s.call('%s.get_%s' % (cls, field), ref)
        if isinstance(value, dict) and '%s.add_to_%s' % (cls, field) in names and field != 'guest_agent_config':
            s.call('%s.add_to_%s' % (cls, field), ref, 'key', 'value')
            added = get() == dict(value, key='value')
            fails('MAP_DUPLICATE_KEY', '%s.%s: a key twice' % (cls, field), s.call, '%s.add_to_%s' % (cls, field), ref, 'key', 'other')
            s.call('%s.remove_from_%s' % (cls, field), ref, 'key')
            removed = get() == value
            s.call('%s.set_%s' % (cls, field), ref, {'a': 'b'})
            check(added and removed and get() == {'a': 'b'}, '%s.%s changes' % (cls, field))
            done_with.append(field)
        elif field in ('name_label', 'name_description', 'fullname') and '%s.set_%s' % (cls, field) in names:
            s.call('%s.set_%s' % (cls, field), ref, 'another <&>')
            check(get() == 'another <&>', '%s.%s changes' % (cls, field))
    return done_with


with Agent() as agent:
    s = agent.login()
    host, names = s.host.get_all()[0], set(s._proxy.system.listMethods())
    sr = s.pool.get_default_SR(s.pool.get_all()[0])
    vdi = s.VDI.create({'name_label': 'memory of a crash', 'SR': sr, 'virtual_size': str(4 << 20), 'type': 'user', 'sharable': False,
                        'read_only': False, 'other_config': {}})
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'crashed')
    s.VM.provision(vm)
    dump = ask(agent, s, 'GET', '/pool/xmldbdump')[1].decode()
    new = {cls: ('OpaqueRef:' + str(uuid.uuid4()), str(uuid.uuid4())) for cls in CLASSES}
    more = {'crashdump': [('VM', vm), ('VDI', vdi)], 'Host_driver': [('host', host), ('name', 'e1000e')], 'Feature': [('host', host), ('name__label', 'feature')],
            'Driver_variant': [('driver', new['Host_driver'][0]), ('name', 'generic'), ('version', '1.0')], 'user': [('short_name', 'someone')]}
    rows = {cls: [('ref', new[cls][0]), ('uuid', new[cls][1])] + more.get(cls, []) for cls in CLASSES}
    os.unlink(agent.root + '/ready')
    check(ask(agent, s, 'PUT', '/pool/xmldbdump', with_rows(dump, rows))[0] == 200, 'a database with records of %d other classes' % len(CLASSES))
    agent.wait_ready()
    s = agent.login()
    for cls in CLASSES:
        record = told_alike(s, cls, *new[cls], names)
        changed(s, cls, new[cls][0], record, names)

    crash = new['crashdump'][0]
    check((s.crashdump.get_VM(crash), s.crashdump.get_VDI(crash)) == (vm, vdi) and s.VM.get_crash_dumps(vm) == [crash], 'a crash of a VM, on a disk')
    s.crashdump.destroy(crash)
    check(s.crashdump.get_all() == [] and s.VM.get_crash_dumps(vm) == [], 'destroyed')
    fails('HANDLE_INVALID', 'and its disk with it', s.VDI.get_uuid, vdi)
    fails('HANDLE_INVALID', 'once', s.crashdump.destroy, crash)
    check(s.Host_driver.get_variants(new['Host_driver'][0]) == [new['Driver_variant'][0]], 'a driver in two variants')
    s.host.rescan_drivers(host)
    check(s.Host_driver.get_all() == [] and s.Driver_variant.get_all() == [], 'is not installed here: looked for, it is gone')
    s.user.destroy(new['user'][0])
    check(s.user.get_all_records() == {} if 'user.get_all_records' in names else True, 'a user is removed')
    fails('HANDLE_INVALID', 'for good', s.user.get_uuid, new['user'][0])

    # What later versions took away.
    for call, args in ((s.host.license_apply, (host, 'x')), (s.host.reset_cpu_features, (host,)), (s.host.set_cpu_features, (host, 'x')),
                       (s.pool.enable_ssl_legacy, (s.pool.get_all()[0],)), (s.VMPP.get_all, ()), (s.VMPP.get_all_records, ()), (s.VMPP.create, ({},)),
                       (s.VMPP.protect_now, (host,)), (s.VMPP.archive_now, (host,)), (s.VMPP.destroy, (host,))):
        fails('MESSAGE_REMOVED', 'gone: ' + call._prefix, call, *args)
done()
