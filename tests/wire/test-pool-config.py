#!/usr/bin/env python3
"""Settings of pool and host that other tests leave out: guest agents, telemetry, local caches, who logged in, saved metrics;
and what comes and goes as a document: alerts, an object's metrics."""
import base64
import http.client
import io
import os
import re
import shutil
import tarfile
import tempfile
import time
import xml.etree.ElementTree as ET
import xmlrpc.client

from harness import BUILD, Agent, check, done, fails, wait_until

drivers = tempfile.mkdtemp(prefix='xapi-test-sm-')
with open(os.path.join(drivers, 'cache'), 'w') as f:       # the dummy driver, able to be a cache
    f.write('''#!/usr/bin/python3
import subprocess, sys
request = sys.stdin.buffer.read()
answer = subprocess.run([%r], input=request, stdout=subprocess.PIPE).stdout
if b'sr_get_driver_info' in request:
    answer = answer.replace(b'<value>SR_PROBE</value>', b'<value>SR_PROBE</value><value>SR_SUPPORTS_LOCAL_CACHING</value>')
sys.stdout.buffer.write(answer)
''' % os.path.join(BUILD, 'sm', 'dummy'))
os.chmod(f.name, 0o755)


def request(agent, method, path, body=None, headers=None):
    c = http.client.HTTPConnection('127.0.0.1', agent.http_port, timeout=30)
    c.request(method, path, body, headers or {})
    r = c.getresponse()
    return r.status, r.read()


def guest_agents(s, pool):
    s.pool.add_to_guest_agent_config(pool, 'auto_update_enabled', 'true')
    check(s.pool.get_guest_agent_config(pool) == {'auto_update_enabled': 'true'}, 'what guest agents are told')
    check(fails('MAP_DUPLICATE_KEY', 'a key twice', s.pool.add_to_guest_agent_config, pool, 'auto_update_enabled', 'false')[:2]
          == ['pool', 'guest_agent_config'], 'names class and field')
    s.pool.remove_from_guest_agent_config(pool, 'auto_update_enabled')
    check(s.pool.get_guest_agent_config(pool) == {}, 'and no longer')


def telemetry(s, pool):
    s.pool.reset_telemetry_uuid(pool)
    first = s.pool.get_telemetry_uuid(pool)
    value = s.secret.get_value(first)
    check(re.fullmatch('[0-9a-f-]{36}', value), 'an identifier for telemetry')
    s.pool.reset_telemetry_uuid(pool)
    second = s.pool.get_telemetry_uuid(pool)
    check(second != first and s.secret.get_value(second) != value, 'another one')
    fails('HANDLE_INVALID', 'the old one is gone', s.secret.get_value, first)


def caches(s, host, pool):
    sr = s.pool.get_default_SR(pool)
    check(fails('SR_OPERATION_NOT_SUPPORTED', 'a repository that is no cache', s.host.enable_local_storage_caching, host, sr) == [sr],
          'is named')
    check(fails('HOSTS_FAILED_TO_ENABLE_CACHING', 'no cache anywhere', s.pool.enable_local_storage_caching, pool) == [host], 'the hosts are')
    cache = s.SR.create(host, {}, '0', 'cache', '', 'cache', 'user', False, {})
    s.pool.enable_local_storage_caching(pool)
    check(s.host.get_local_cache_sr(host) == cache and s.SR.get_local_cache_enabled(cache), 'one that is')
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'running')
    s.VM.provision(vm)
    s.VM.start(vm, False, False)
    check(fails('HOST_IN_USE', 'while a guest runs', s.host.disable_local_storage_caching, host) == [host, 'VM', vm], 'it stays')
    fails('HOSTS_FAILED_TO_DISABLE_CACHING', 'in the pool', s.pool.disable_local_storage_caching, pool)
    s.VM.hard_shutdown(vm)
    s.host.disable_local_storage_caching(host)
    check(s.host.get_local_cache_sr(host) == 'OpaqueRef:NULL' and not s.SR.get_local_cache_enabled(cache), 'and none')
    s.host.enable_local_storage_caching(host, cache)
    s.pool.disable_local_storage_caching(pool)
    check(s.host.get_local_cache_sr(host) == 'OpaqueRef:NULL', 'for all hosts')


def programs(agent, s, host):
    login = xmlrpc.client.dumps(('root', 'correct horse', '2.21', 'x'), 'session.login_with_password')
    for name in ('XenCenter/2024.1 (Windows)', 'packer/1.0', 'packer/1.1', 'odd', ''):
        check(request(agent, 'POST', '/', login, {'User-Agent': name})[0] == 200, 'a login as "%s"' % name)
    seen = s.host.get_tracked_user_agents(host)
    check(seen.get('XenCenter') == '2024.1' and seen.get('packer') == '1.1' and seen.get('odd') == '', 'are known: %s' % seen)
    for i in range(200):
        agent.proxy().session.login_with_password('root', '')
        request(agent, 'POST', '/', xmlrpc.client.dumps(('nobody',), 'session.login_with_password'), {'User-Agent': 'many%d/1' % i})
    seen = s.host.get_tracked_user_agents(host)
    check(len(seen) == 128 and 'many199' in seen and 'many0' not in seen, 'the newest 128 of them')


def saved_metrics(agent, s, host):
    path = os.path.join(agent.root, 'rrd', 'host-' + s.host.get_uuid(host))
    wait_until(lambda: s.host.get_data_sources(host))
    before = os.stat(path).st_mtime_ns if os.path.exists(path) else 0
    s.host.backup_rrds(host, 0.1)
    check(os.stat(path).st_mtime_ns > before, 'metrics are written when asked for')
    fails('INVALID_VALUE', 'later than never', s.host.backup_rrds, host, -1.0)
    task = s.Async.host.backup_rrds(host, 3600.0)
    s.task.cancel(task)
    check(wait_until(lambda: s.task.get_status(task) == 'cancelled'), 'an hour later: cancelled')


def rows(xml):
    """{source: {end of row: value}} of the finest archive."""
    root = ET.fromstring(xml)
    names = [ds.find('name').text for ds in root.findall('ds')]
    rra = next(a for a in root.findall('rra') if a.find('pdp_per_row').text == '1')
    last = int(root.find('lastupdate').text) // 5 * 5
    lines = [[v.text for v in row.findall('v')] for row in rra.find('database').findall('row')]
    return {name: {last - 5 * (len(lines) - 1 - i): line[k] for i, line in enumerate(lines) if line[k] != 'NaN'}
            for k, name in enumerate(names)}


def metrics(agent, s, host):
    """The host's history becomes a VM's: read back it is the same."""
    session = '&session_id=' + s._ref
    wait_until(lambda: any(rows(request(agent, 'GET', '/host_rrd?x=y' + session)[1]).values()), 60)
    text = request(agent, 'GET', '/host_rrd?x=y' + session)[1]
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'with history')
    uuid = s.VM.get_uuid(vm)
    check(request(agent, 'GET', '/vm_rrd?uuid=' + uuid + session)[0] == 404, 'a VM without history')
    check(request(agent, 'PUT', '/rrd?uuid=' + uuid + session, text)[0] == 200, 'gets one')
    status, again = request(agent, 'GET', '/vm_rrd?uuid=' + uuid + session)
    first, second = rows(text), rows(again)
    same = [n for n in first if all(second.get(n, {}).get(t) == v for t, v in first[n].items())]
    check(status == 200 and first.keys() == second.keys() and len(same) == len(first), 'the same sources and rows: %d of %d'
          % (len(same), len(first)))
    check(len(s.VM.get_data_sources(vm)) == len(first), 'they are the VM\'s data sources')
    check(request(agent, 'PUT', '/rrd?uuid=none' + session, text)[0] == 404, 'of nobody')
    for bad, why in ((b'<rrd/>', 'without a date'), (b'<x/>', 'another document'), (b'text', 'no document'),
                     (text.replace(b'<row>', b'<row><v>1</v>', 1), 'a row too long'), (text[:len(text) // 2], 'cut'),
                     (b'<!DOCTYPE rrd [<!ENTITY a "b">]><rrd><lastupdate>1</lastupdate></rrd>', 'with a DTD'),
                     (text.replace(b'<step>5</step>', b'<step>7</step>'), 'another step')):
        task = s.task.create('upload', '')
        request(agent, 'PUT', '/rrd?uuid=' + uuid + session + '&task_id=' + task, bad)
        check(s.task.get_error_info(task)[:1] == ['IMPORT_ERROR'], 'metrics %s: %s' % (why, s.task.get_error_info(task)))
    check(rows(request(agent, 'GET', '/vm_rrd?uuid=' + uuid + session)[1]) == second, 'change nothing')


def alerts(agent, s, pool):
    session = '&session_id=' + s._ref
    uuid, vm = s.pool.get_uuid(pool), s.VM.get_all()[0]
    path = '/messages?cls=Pool&uuid=' + uuid + session
    ref = s.message.create('ALERT', '3', 'Pool', uuid, 'a <b> & "c"\nline')
    s.message.create('OTHER', '3', 'VM', s.VM.get_uuid(vm), 'not asked for')
    status, text = request(agent, 'GET', path)
    mine = [m for m in ET.fromstring(text).findall('message') if m.find('name').text == 'ALERT']
    check(status == 200 and len(mine) == 1 and b'OTHER' not in text, "an object's alerts as a document")
    record = s.message.get_record(ref)
    check([mine[0].find(k).text for k in ('ref', 'priority', 'cls', 'obj_uuid', 'timestamp', 'uuid', 'body')] ==
          [ref, '3', 'Pool', uuid, str(record['timestamp']), record['uuid'], 'a <b> & "c"\nline'], 'with all there is')
    count = len(s.message.get_all())
    check(request(agent, 'PUT', path, text)[0] == 200 and len(s.message.get_all()) == count, 'put back: nothing is doubled')
    s.message.destroy(ref)
    request(agent, 'PUT', path, text)
    back = s.message.get_by_uuid(record['uuid'])
    check(s.message.get_record(back) == record, 'put back when it was gone: the same')
    for body, query, code in ((b'<x/>', path, 'IMPORT_ERROR'), (b'nothing', path, 'IMPORT_ERROR'),
                              (b'<messages><message><name>x</name></message></messages>', path, 'IMPORT_ERROR'),
                              (text, path.replace(uuid, 'none'), 'UUID_INVALID')):
        task = s.task.create('upload', '')
        request(agent, 'PUT', query + '&task_id=' + task, body)
        check(s.task.get_error_info(task)[:1] == [code], 'a document that is none: %s' % s.task.get_error_info(task))
    check(request(agent, 'GET', '/messages?cls=Weather&uuid=x' + session)[0] == 400, 'alerts of no class')


def archive(**files):
    """The base64 of a tar."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode='w') as t:
        for name, data in files.items():
            entry = tarfile.TarInfo(name + '.auth')
            entry.size = len(data)
            t.addfile(entry, io.BytesIO(data))
    return base64.b64encode(out.getvalue()).decode()


def certificates_of_firmware(s, pool):
    check(s.pool.get_guest_secureboot_readiness(pool) == 'not_ready', 'without certificates guests do not boot securely')
    whole = archive(PK=b'pk', KEK=b'kek', db=b'db', dbx=b'dbx')
    for value, ready in ((whole, 'ready'), (archive(PK=b'pk', KEK=b'kek', db=b'db'), 'ready_no_dbx'), (archive(PK=b'pk', db=b'db', dbx=b'dbx'), 'not_ready'),
                         (archive(PK=b'', KEK=b'kek', db=b'db'), 'not_ready'), (whole, 'ready'), ('', 'not_ready')):
        s.pool.set_custom_uefi_certificates(pool, value)
        check(s.pool.get_custom_uefi_certificates(pool) == value and s.pool.get_guest_secureboot_readiness(pool) == ready, 'certificates: ' + ready)
    for what, value in (('rubbish', 'a b c'), ('no archive', base64.b64encode(b'x' * 1000).decode()), ('nothing known', archive(other=b'x')),
                        ('one cut short', base64.b64encode(base64.b64decode(whole)[:700]).decode())):
        fails('INVALID_VALUE', what, s.pool.set_custom_uefi_certificates, pool, value)
    check(s.pool.get_custom_uefi_certificates(pool) == '', 'changes nothing')
    got = fails('OPERATION_NOT_ALLOWED', 'the older message', s.pool.set_uefi_certificates, pool, whole)
    check('set_custom_uefi_certificates' in got[0] and s.pool.get_uefi_certificates(pool) == '', 'names the other')


try:
    with Agent(env={'XAPI_SM_DIR': drivers + ':' + os.path.join(BUILD, 'sm')}) as agent:
        s = agent.login()
        host, pool = s.host.get_all()[0], s.pool.get_all()[0]
        guest_agents(s, pool)
        certificates_of_firmware(s, pool)
        telemetry(s, pool)
        caches(s, host, pool)
        programs(agent, s, host)
        saved_metrics(agent, s, host)
        metrics(agent, s, host)
        alerts(agent, s, pool)
finally:
    shutil.rmtree(drivers, ignore_errors=True)
done()
