#!/usr/bin/env python3
"""The database as a dump and back, host backup and restore, the audit log and the host's archives over HTTP."""
import base64
import bz2
import http.client
import io
import os
import tarfile
import time
import xml.etree.ElementTree
import zipfile

from harness import PASSWORD, USER, Agent, check, done, fails, wait_until

BASIC = {'Authorization': 'Basic ' + base64.b64encode(('%s:%s' % (USER, PASSWORD)).encode()).decode()}


def ask(agent, method, path, body=None, headers=None):
    c = http.client.HTTPConnection('127.0.0.1', agent.http_port, timeout=60)
    c.request(method, path, body=body, headers=BASIC if headers is None else headers)
    r = c.getresponse()
    return r.status, r.read(), r.headers


def send(agent, s, path, body):
    """An upload with a task; its final record."""
    task = s.task.create('upload', '')
    status = ask(agent, 'PUT', path + ('&' if '?' in path else '?') + 'task_id=' + task, body)[0]
    check(status == 200, '200 before the body is looked at')
    return task


def ended(s, task):
    wait_until(lambda: s.task.get_status(task) != 'pending')
    return s.task.get_status(task), s.task.get_error_info(task)


def restarted(agent, s, task, what):
    """The agent starts anew; a fresh session."""
    wait_until(lambda: not os.path.exists(agent.root + '/ready'), 20)
    agent.wait_ready()
    s = agent.login()
    check(s.task.get_status(task) == 'success', what)
    return s


AWKWARD = 'it\'s <a> & "b" \\ (c)\n\ttab é ' + 'x' * 1000


def dumps(agent, s):
    pool = s.pool.get_all()[0]
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'kept')
    s.VM.set_name_description(vm, AWKWARD)
    s.VM.set_other_config(vm, {'a\'b': AWKWARD, '': '', 'folder': '/x'})
    s.VM.set_tags(vm, ['one', 'tw\'o'])
    secret = s.secret.create({'value': 'hidden', 'other_config': {}})
    before = s.VM.get_all_records(), s.VDI.get_all_records(), s.network.get_all_records(), s.pool.get_all_records()
    check(ask(agent, 'GET', '/pool/xmldbdump', headers={})[0] == 401, 'not for strangers')
    status, dump, headers = ask(agent, 'GET', '/pool/xmldbdump')
    check(status == 200 and headers['Content-Type'] == 'text/xml', 'a dump')
    root = xml.etree.ElementTree.fromstring(dump)
    rows = {r.get('ref'): r for r in root.findall("table[@name='VM']/row")}
    check(rows[vm].get('name__label') == 'kept' and rows[vm].get('name__description') == AWKWARD, 'has every text as it was')
    check(root.findall("table[@name='session']") == [], 'but no sessions')

    late = s.VM.clone(vm, 'late')
    s.VM.set_name_label(vm, 'changed')
    s.pool.set_name_label(pool, 'changed')
    check(ask(agent, 'PUT', '/pool/xmldbdump', b'')[0] == 200, 'an empty probe gets its 200')
    c = http.client.HTTPConnection('127.0.0.1', agent.http_port, timeout=10)
    c.putrequest('PUT', '/pool/xmldbdump')
    c.putheader('Content-Length', str(1 << 50))
    c.putheader('Authorization', BASIC['Authorization'])
    c.endheaders()
    check(c.getresponse().status == 200, 'so does one that announces a petabyte and sends nothing')
    c.close()
    check(ended(s, send(agent, s, '/pool/xmldbdump?dry_run=true', dump))[0] == 'success', 'a dry run says that it would do')
    check(s.VM.get_name_label(vm) == 'changed' and s.VM.get_name_label(late) == 'late', 'and changes nothing')

    for bad, code in ((b'rubbish', 'RESTORE_SCRIPT_FAILED'), (dump[:len(dump) // 2], 'RESTORE_SCRIPT_FAILED'), (b'<a/>', 'RESTORE_SCRIPT_FAILED'),
                      (dump.replace(b'value="xapi-1"', b'value="other"'), 'RESTORE_INCOMPATIBLE_VERSION'),
                      (dump.replace(b'is_a_template="true"', b'is_a_template="maybe"'), 'RESTORE_SCRIPT_FAILED'),
                      (b'<!DOCTYPE a [<!ENTITY e "x">]>' + dump[dump.index(b'<database>'):], 'RESTORE_SCRIPT_FAILED')):
        status, error = ended(s, send(agent, s, '/pool/xmldbdump', bad))
        check(status == 'failure' and error[0] == code, 'a bad dump is refused: %s' % error)
    check(s.VM.get_name_label(vm) == 'changed', 'and nothing is changed')

    s.VM.provision(late)
    s.VM.start(late, False, False)
    check(ended(s, send(agent, s, '/pool/xmldbdump', dump)) [1][0] == 'HOST_HAS_RESIDENT_VMS', 'not under a running guest')
    s.VM.hard_shutdown(late)

    s = restarted(agent, s, send(agent, s, '/pool/xmldbdump', dump), 'a restore ends its task')
    after = s.VM.get_all_records(), s.VDI.get_all_records(), s.network.get_all_records(), s.pool.get_all_records()
    fails('HANDLE_INVALID', 'what came later is gone', s.VM.get_uuid, late)
    check(s.secret.get_value(secret) == 'hidden', 'secrets are back')
    for i, cls in enumerate(('VM', 'VDI', 'network', 'pool')):
        dom0 = [ref for ref, r in before[i].items() if r.get('is_control_domain')]
        differ = [ref for ref in before[i] if ref not in dom0 and before[i][ref] != after[i].get(ref)]
        check(not differ and len(before[i]) == len(after[i]), 'every %s is what it was: %s' % (
            cls, [(k, v, after[i].get(differ[0], {}).get(k)) for k, v in before[i][differ[0]].items()
                  if v != after[i].get(differ[0], {}).get(k)] if differ else 'yes'))
    again = s.VM.clone(vm, 'still alive')
    s.VM.provision(again)
    s.VM.start(again, False, False)
    check(s.VM.get_power_state(again) == 'Running', 'and VMs start')
    s.VM.hard_shutdown(again)
    return s, vm


def another_machine(dump):
    """A dump of one host restored on another: the new host, pool and control domain take the old ones' places."""
    with Agent() as agent:
        s = agent.login()
        host, uuid = s.host.get_all()[0], s.host.get_uuid(s.host.get_all()[0])
        s = restarted(agent, s, send(agent, s, '/pool/xmldbdump', dump), 'a dump of another host')
        check(s.host.get_all() == [host] and s.host.get_uuid(host) == uuid, 'the host stays itself')
        check(s.VM.get_by_name_label('kept') != [], 'the VMs are those of the dump')
        check(s.pool.get_master(s.pool.get_all()[0]) == host, 'the pool has its coordinator')


def backup(agent, s, vm):
    blob = s.pool.create_new_blob(s.pool.get_all()[0], 'b', 'text/plain', False)
    ask(agent, 'PUT', '/blob?ref=' + blob, b'content')
    status, tar, headers = ask(agent, 'GET', '/host_backup')
    names = tarfile.open(fileobj=io.BytesIO(tar)).getnames()
    check(status == 200 and {'database.xml', 'server.pem', 'blobs/' + s.blob.get_uuid(blob)} <= set(names), 'a backup: %s' % names)
    s.VM.set_name_label(vm, 'changed again')
    ask(agent, 'PUT', '/blob?ref=' + blob, b'other')
    status, error = ended(s, send(agent, s, '/host_restore', b'no tar'))
    check(status == 'failure' and error[0] == 'RESTORE_SCRIPT_FAILED', 'what is no backup is refused: %s' % error)
    check(ask(agent, 'PUT', '/host_restore', b'')[0] == 200, 'an empty probe does nothing')
    s = restarted(agent, s, send(agent, s, '/host_restore', tar), 'restoring a backup')
    check(s.VM.get_name_label(vm) == 'kept', 'the database is back')
    check(ask(agent, 'GET', '/blob?ref=' + blob)[1] == b'content', 'and so are blobs')
    check(os.listdir(agent.root + '/tmp') == [], 'nothing is left behind')
    return s


def audit(agent, s):
    s.pool.set_name_description(s.pool.get_all()[0], 'for the log')
    status, text, headers = ask(agent, 'GET', '/audit_log')
    check(status == 200 and headers['Content-Type'] == 'text/plain', 'the audit log')
    lines = text.decode().splitlines()
    check(any('|ok|root|unix|pool.set_name_description|' in line for line in lines), 'has the call')
    time.sleep(1.1)
    since = time.strftime('%Y%m%dT%H:%M:%SZ', time.gmtime())
    s.pool.set_name_description(s.pool.get_all()[0], 'later')
    later = ask(agent, 'GET', '/audit_log?since=' + since)[1].decode().splitlines()
    check(0 < len(later) < len(lines) and any(line.endswith('later') for line in later), 'since a time: only what came then')
    check(all(line >= since for line in later), 'no older line')
    check(ask(agent, 'GET', '/audit_log?since=yesterday')[0] == 400, 'a time that is none')
    check(ask(agent, 'GET', '/audit_log', headers={})[0] == 401, 'not for strangers')


def archives(agent, s):
    status, data, headers = ask(agent, 'GET', '/host_logs_download')
    names = tarfile.open(fileobj=io.BytesIO(data), mode='r:gz').getnames()
    check(status == 200 and 'bug-report/xapi.log' in names and 'bug-report/audit.log' in names, 'logs: %s' % names)
    s.secret.create({'value': 'do not tell', 'other_config': {}})
    status, data, headers = ask(agent, 'GET', '/system-status?entries=xapi-database,xapi-config&output=tar')
    tar = tarfile.open(fileobj=io.BytesIO(data))
    check(sorted(tar.getnames()) == ['bug-report', 'bug-report/xapi-db.xml', 'bug-report/xapi.conf'], 'the entries that were asked for')
    text = tar.extractfile('bug-report/xapi-db.xml').read()
    check(b'do not tell' not in text and b'***' in text, 'without secrets')
    status, error = ended(s, send(agent, s, '/pool/xmldbdump', text))
    check(error[0] == 'RESTORE_INCOMPATIBLE_VERSION', 'and therefore no dump to restore from')
    data = ask(agent, 'GET', '/system-status?entries=xapi-config&output=tar.bz2')[1]
    check(tarfile.open(fileobj=io.BytesIO(bz2.decompress(data))).getnames() != [], 'tar.bz2')
    data = ask(agent, 'GET', '/system-status?entries=xapi-config&output=zip')[1]
    check(any(n.endswith('xapi.conf') for n in zipfile.ZipFile(io.BytesIO(data)).namelist()), 'zip')
    check(ask(agent, 'GET', '/system-status?output=rar')[0] == 500, 'rar')


with Agent('--log', 'stderr') as agent:
    s = agent.login()
    s, vm = dumps(agent, s)
    another_machine(ask(agent, 'GET', '/pool/xmldbdump')[1])
    s = backup(agent, s, vm)
    audit(agent, s)
    archives(agent, s)
done()
