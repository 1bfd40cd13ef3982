#!/usr/bin/env python3
"""A storage driver made for XenServer: it makes records by calling back, with a session that is good for its SR and its life only."""
import json
import os

import xmlrpc.client

from harness import BUILD, SOURCE, Agent, Failure, check, done, fails, unwrap, wait_until

GIB = 1 << 30


def vdi_record(sr, name, size):
    return {'name_label': name, 'name_description': 'by a test', 'SR': sr, 'virtual_size': str(size), 'type': 'user',
            'sharable': False, 'read_only': False, 'other_config': {}}


def disks(agent, s, sr, folder):
    vdi = s.VDI.create(vdi_record(sr, 'one', GIB))
    r = s.VDI.get_record(vdi)
    check(r['name_label'] == 'one' and r['virtual_size'] == str(GIB) and r['managed'] and r['location'] == r['uuid'] + '.raw' and
          r['sm_config'].get('by') == 'PYSR', 'VDI.create: the driver made the record: %s' % r['location'])
    check(len(s.SR.get_VDIs(sr)) == 1, 'one, and only one')
    check((s.SR.get_physical_size(sr), s.SR.get_virtual_allocation(sr)) == (str(1 << 40), str(GIB)), 'and set the sizes of its SR')
    s.VDI.resize(vdi, str(2 * GIB))
    check(s.VDI.get_virtual_size(vdi) == str(2 * GIB), 'VDI.resize')
    stray = '00000000-1111-4222-8333-444444444444'
    with open(os.path.join(folder, stray + '.raw'), 'wb') as f:
        f.truncate(GIB)
    s.SR.scan(sr)
    found = s.VDI.get_by_uuid(stray)
    check(s.VDI.get_name_label(found) == 'found', 'SR.scan: VDI.db_introduce of what it found')
    os.unlink(os.path.join(folder, stray + '.raw'))
    s.SR.scan(sr)
    fails('HANDLE_INVALID', 'SR.scan: VDI.db_forget of what has gone', s.VDI.get_uuid, found)
    s.VDI.destroy(vdi)
    check(s.SR.get_VDIs(sr) == [] and os.listdir(folder) == [], 'VDI.destroy')


def online(s, sr, folder):
    """A disk that a guest has grows by the driver's own command."""
    vdi = s.VDI.create(vdi_record(sr, 'grows', GIB))
    image = os.path.join(folder, s.VDI.get_uuid(vdi) + '.raw')
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'has it')
    s.VM.provision(vm)
    s.VBD.create({'VM': vm, 'VDI': vdi, 'userdevice': '0', 'bootable': True, 'mode': 'RW', 'type': 'Disk', 'empty': False,
                  'unpluggable': True, 'other_config': {}, 'qos_algorithm_type': '', 'qos_algorithm_params': {}})
    s.VM.start(vm, False, False)
    s.VDI.resize_online(vdi, str(2 * GIB))
    with open(os.path.join(folder, 'online')) as f:
        check(f.read() == '%s %d\n' % (s.VDI.get_uuid(vdi), 2 * GIB), 'VDI.resize_online: vdi_resize_online, once')
    check(s.VDI.get_virtual_size(vdi) == str(os.path.getsize(image)) == str(2 * GIB), 'and its record says so')
    fails('VDI_TOO_SMALL', 'a size that it had', s.VDI.resize_online, vdi, str(GIB))
    s.VM.hard_shutdown(vm)
    s.VDI.destroy(vdi)
    os.unlink(os.path.join(folder, 'online'))


def attempt(s, sr, folder, tries, **more):
    """-> the driver's session, and what its calls brought."""
    pbd = s.SR.get_PBDs(sr)[0]
    s.PBD.set_device_config(pbd, dict({'folder': folder, 'tries': json.dumps(tries)}, **more))
    s.SR.update(sr)
    with open(os.path.join(folder, 'tries')) as f:
        got = json.load(f)
    return got['session'], got['results']


def scope(agent, s, sr, folder):
    other = s.pool.get_default_SR(s.pool.get_all()[0])
    mine, theirs = s.VDI.create(vdi_record(sr, 'mine', GIB)), s.VDI.create(vdi_record(other, 'theirs', 1 << 20))
    pbd, host, vm, pool = s.SR.get_PBDs(sr)[0], s.host.get_all()[0], s.VM.get_all()[0], s.pool.get_all()[0]
    hidden = s.secret.create({'value': 'swordfish', 'other_config': {}})
    named = s.secret.create({'value': 'chap', 'other_config': {}})
    uuids = {'hidden': s.secret.get_uuid(hidden), 'named': s.secret.get_uuid(named)}
    ids = {'sr': s.SR.get_uuid(sr), 'other': s.SR.get_uuid(other), 'vm': s.VM.get_uuid(vm), 'mine': s.VDI.get_uuid(mine)}
    free = ['00000000-1111-4222-8333-%012d' % i for i in range(3)]

    def introduce(uuid, where):
        return ['VDI.db_introduce', uuid, 'x', '', where, 'user', False, False, {}, uuid + '.raw', {}, {}]
    allowed = [['VM.get_all_records'], ['host.get_record', host], ['pool.get_all'], ['PBD.get_all_records_where', 'true'],
               ['SR.get_record', other], ['VDI.get_record', theirs], ['session.get_this_host', 'self'],
               ['SR.set_sm_config', sr, {'a': 'b'}], ['SR.set_physical_size', sr, '5'], ['VDI.set_managed', mine, True],
               ['VDI.add_to_sm_config', mine, 'k', 'v'], ['VDI.set_name_label', mine, 'renamed'], ['PBD.get_device_config', pbd],
               ['VDI.set_cbt_enabled', mine, False], introduce(free[0], sr), ['secret.get_by_uuid', uuids['named']],
               ['secret.get_value', named], ['message.create', 'SR_TROUBLE', '3', 'SR', ids['sr'], 'text'],
               ['message.create', 'VDI_TROUBLE', '3', 'VDI', ids['mine'], 'text']]
    refused = [['SR.set_physical_size', other, '5'], ['SR.set_sm_config', other, {}], ['SR.set_name_label', other, 'x'],
               ['VDI.set_managed', theirs, False], ['VDI.db_forget', theirs], introduce(free[1], other), ['VDI.destroy', mine],
               ['SR.scan', sr], ['SR.destroy', sr], ['PBD.plug', pbd], ['VM.start', vm, False, False], ['VM.set_name_label', vm, 'x'],
               ['pool.set_name_label', pool, 'x'], ['host.disable', host], ['host.shutdown_agent'], ['secret.get_value', hidden],
               ['secret.get_by_uuid', uuids['hidden']], ['secret.get_all_records'], ['secret.create', {'value': 'x', 'other_config': {}}],
               ['message.create', 'X', '3', 'SR', ids['other'], 'x'], ['message.create', 'X', '3', 'VM', ids['vm'], 'x'],
               ['session.change_password', 'a', 'b'], ['subject.create', {'subject_identifier': 'user:x'}],
               ['task.create', 'a', 'b'], ['VDI.set_snapshot_of', mine, theirs], ['event.from', ['*'], '', 0.0],
               ['Async.SR.scan', sr], ['session.add_to_other_config', 'self', 'k', 'v'],
               ['session.remove_from_other_config', 'self', '_repository']]
    session, results = attempt(s, sr, folder, allowed + refused, named_secret=uuids['named'])
    for call, got in zip(allowed, results):
        check(got[0] == 'ok', 'may: %s: %s' % (call[0], got[0]))
    for call, got in zip(refused, results[len(allowed):]):
        check(got[0] == 'RBAC_PERMISSION_DENIED', 'may not: %s %s: %s' % (call[0], call[1:2], got[:2]))
    check(s.VDI.get_name_label(mine) == 'renamed' and s.SR.get_physical_size(sr) == '5', 'what it may do is done')
    check(s.VDI.get_managed(theirs) and s.SR.get_physical_size(other) != '5', 'and nothing else')
    fails('SESSION_INVALID', 'the session ends with the process', lambda: unwrap(agent.proxy().VM.get_all(session)))
    return mine


def own_uuids(agent, s, sr, folder):
    """A driver that introduces a disk by a uuid of its own while it makes it: when it fails, or the agent is killed before it knows
    of the disk, nothing of it stays; when all goes well the record bears no mark."""
    pbd, images = s.SR.get_PBDs(sr)[0], lambda: {n for n in os.listdir(folder) if n.endswith('.raw')}
    before = (set(s.SR.get_VDIs(sr)), images())

    def left(session):
        return set(session.SR.get_VDIs(sr)) - before[0] or images() - before[1]
    s.PBD.set_device_config(pbd, {'folder': folder, 'making': 'go'})
    vdi = s.VDI.create(vdi_record(sr, 'own', GIB))
    r = s.VDI.get_record(vdi)
    check(r['uuid'] + '.raw' in images() and r['name_label'] == 'own' and r['sm_config'] == {'by': 'PYSR'}, 'a uuid of its own: %s' % r['sm_config'])
    s.VDI.destroy(vdi)
    check(not left(s), 'and it goes')
    s.PBD.set_device_config(pbd, {'folder': folder, 'making': 'fail'})
    got = fails('SR_BACKEND_FAILURE_46', 'a driver that fails after it has introduced the disk', s.VDI.create, vdi_record(sr, 'fails', GIB))
    check(not left(s), 'leaves neither record nor image: %s' % got)

    wait = os.path.join(folder, 'wait')
    s.PBD.set_device_config(pbd, {'folder': folder, 'making': 'wait'})
    for vm in (None, s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'theirs')):
        open(wait, 'w').close()
        if vm:
            s.VM.add_to_other_config(vm, 'disks', '<provision><disk device="0" size="%d" sr="%s" type="system"/></provision>' % (GIB, s.SR.get_uuid(sr)))
        task = s.Async.VM.provision(vm) if vm else s.Async.VDI.create(vdi_record(sr, 'cut', GIB))
        check(wait_until(lambda: left(s)) and wait_until(lambda: set(s.SR.get_VDIs(sr)) - before[0]), 'one that has introduced it')
        agent.kill()
        os.unlink(wait)
        agent.start()
        s = agent.login()
        check(wait_until(lambda: not left(s), 60), 'when the agent is killed then, the next one destroys it' + (': of a VM' if vm else ''))
        check(s.task.get_status(task) == 'failure', 'and the task has failed')
    s.PBD.set_device_config(pbd, {'folder': folder})
    return s


def over_tcp(agent, s, sr, folder):
    """While the driver lingers its session lives, but not over the network and not for HTTP requests."""
    import http.client
    import threading
    os.unlink(os.path.join(folder, 'tries'))
    t = threading.Thread(target=attempt, args=(s, sr, folder, []), kwargs={'linger': '3'})
    t.start()
    text = wait_until(lambda: os.path.exists(os.path.join(folder, 'tries')) and open(os.path.join(folder, 'tries')).read(), 20)
    session = json.loads(text)['session']
    check(unwrap(agent.proxy().pool.get_all(session)), 'over the unix socket it is good')
    p = xmlrpc.client.ServerProxy('http://127.0.0.1:%d/' % agent.http_port)
    fails('RBAC_PERMISSION_DENIED', 'over the network it is not', lambda: unwrap(p.pool.get_all(session)))
    c = http.client.HTTPConnection('127.0.0.1', agent.http_port)
    c.request('GET', '/audit_log?session_id=' + session)
    check(c.getresponse().status == 403, 'nor for HTTP requests')
    t.join()



drivers = '%s:%s' % (os.path.join(BUILD, 'sm'), os.path.join(SOURCE, 'tests', 'wire', 'foreign'))
with Agent(env={'XAPI_SM_DIR': drivers}) as agent:
    s = agent.login()
    folder = os.path.join(agent.root, 'py')
    check('py' in s.SR.get_supported_types(), 'the driver is found')
    sr = s.SR.create(s.host.get_all()[0], {'folder': folder}, '0', 'foreign', '', 'py', '', False, {})
    check(s.SR.get_physical_size(sr) == str(1 << 40), 'SR.create: SR.set_physical_size of its first scan')
    disks(agent, s, sr, folder)
    online(s, sr, folder)
    s = own_uuids(agent, s, sr, folder)
    scope(agent, s, sr, folder)
    over_tcp(agent, s, sr, folder)
done()
