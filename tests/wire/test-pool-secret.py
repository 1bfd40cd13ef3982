#!/usr/bin/env python3
"""The pool secret, sessions of this host alone, and sessions that read a dump."""
import http.client
import os
import re
import stat
import xmlrpc.client

from harness import PASSWORD, Agent, Session, check, done, fails, unwrap


def tcp(agent):
    return xmlrpc.client.ServerProxy('http://127.0.0.1:%d/' % agent.http_port)


def secret_of(agent):
    return open(os.path.join(agent.root, 'pool-secret')).read()


def get(agent, path, cookie=None):
    c = http.client.HTTPConnection('127.0.0.1', agent.http_port)
    c.request('GET', path, headers={'Cookie': cookie} if cookie else {})
    answer = c.getresponse()
    body = answer.read()
    c.close()
    return answer.status, body


def secret(agent, s):
    text, p, host = secret_of(agent), tcp(agent), s.host.get_all()[0]
    mode = stat.S_IMODE(os.stat(os.path.join(agent.root, 'pool-secret')).st_mode)
    check(re.fullmatch(r'([0-9a-f-]{36}/){2}[0-9a-f-]{36}', text) and mode == 0o600, 'three uuids in a file of root alone')
    ref = unwrap(p.session.slave_login(host, text))
    r = unwrap(p.session.get_record(ref, ref))
    check(r['pool'] is True and r['is_local_superuser'] is True and r['this_host'] == host, 'slave_login: a session of the pool')
    check(unwrap(p.VM.get_all(ref)), 'that may do everything')
    for wrong in ('', 'x', text[:-1], text + 'x', text[:-1] + ('0' if text[-1] != '0' else '1')):
        got = fails('SESSION_AUTHENTICATION_FAILED', 'slave_login with %d wrong characters' % len(wrong),
                    lambda: unwrap(p.session.slave_login(host, wrong)))
        check(got[0] == 'pool' and text not in got[1], 'which says no more')
    fails('HANDLE_INVALID', 'slave_login of no host', lambda: unwrap(p.session.slave_login('OpaqueRef:NULL', text)))

    check(get(agent, '/audit_log', 'pool_secret=' + text)[0] == 200, 'HTTP: the secret as a cookie')
    check(get(agent, '/pool/xmldbdump', 'pool_secret=' + text)[0] == 200, 'opens what is for pool-admin')
    check(get(agent, '/audit_log?pool_secret=' + text)[0] == 200, 'or as a parameter')
    check(get(agent, '/audit_log', 'pool_secret=x')[0] == 401, 'a wrong one does not')
    check(get(agent, '/audit_log', 'pool_secret=')[0] == 401, 'an empty one neither')
    log = get(agent, '/audit_log', 'pool_secret=' + text)[1].decode()
    check(text not in log and '|pool|127.0.0.1|http/get_audit_log|' in log, 'the audit log names the pool, not its secret')

    s.pool.rotate_secret()
    fails('SESSION_INVALID', 'rotate_secret: sessions made with the old one end', lambda: unwrap(p.VM.get_all(ref)))
    new = secret_of(agent)
    check(new != text and get(agent, '/audit_log', 'pool_secret=' + text)[0] == 401, 'the old secret is worth nothing')
    check(get(agent, '/audit_log', 'pool_secret=' + new)[0] == 200 and s.VM.get_all(), 'the new one counts, others stay')


def local(agent, s):
    p = tcp(agent)
    for what, ref in (('the secret', unwrap(p.session.slave_local_login(secret_of(agent)))),
                      ('a password', unwrap(p.session.slave_local_login_with_password('root', PASSWORD)))):
        fails('RBAC_PERMISSION_DENIED', 'a local session by %s is for emergencies' % what, lambda: unwrap(p.VM.get_all(ref)))
        fails('RBAC_PERMISSION_DENIED', 'also in the background', lambda: unwrap(getattr(p, 'Async.VM.start')(ref, 'OpaqueRef:NULL', False, False)))
        check('<' in unwrap(p.host.get_system_status_capabilities(ref, s.host.get_all()[0])), 'what is for them is served')
        check(get(agent, '/audit_log?session_id=' + ref)[0] == 403, 'no HTTP endpoint is')
        unwrap(p.session.local_logout(ref))
        fails('SESSION_INVALID', 'local_logout', lambda: unwrap(p.session.local_logout(ref)))
    fails('SESSION_AUTHENTICATION_FAILED', 'slave_local_login with a wrong secret', lambda: unwrap(p.session.slave_local_login('x')))


def dumps(agent, s):
    proxy, path = agent.proxy(), os.path.join(agent.root, 'dump.xml')
    vm = s.VM.get_by_name_label('Other install media')[0]
    with open(path, 'wb') as f:
        f.write(get(agent, '/pool/xmldbdump', 'pool_secret=' + secret_of(agent))[1])
    s.VM.set_name_description(vm, 'after the dump')
    ref = s.session.create_from_db_file(path)
    d = Session(proxy, ref)
    check(d.VM.get_name_description(vm) != 'after the dump' and s.VM.get_name_description(vm) == 'after the dump',
          'the session reads the dump, others the database')
    for cls in ('VM', 'host', 'pool', 'SR', 'VDI', 'network'):
        there, here = d.call(cls + '.get_all_records'), s.call(cls + '.get_all_records')
        check(set(there) == set(here), '%s: %d records' % (cls, len(there)))
    check(d.VM.get_by_name_label('Other install media') == [vm] and d.VM.get_by_uuid(s.VM.get_uuid(vm)) == vm, 'finding by name and uuid')
    check(list(d.VM.get_all_records_where('field "name__label" = "Other install media"')) == [vm], 'and by an expression')
    for method, *args in (('VM.set_name_label', vm, 'x'), ('VM.start', vm, False, False), ('VM.destroy', vm), ('pool.sync_database',),
                          ('event.from', ['*'], '', 0.0), ('session.create_from_db_file', path), ('task.create', 'a', 'b')):
        fails('RBAC_PERMISSION_DENIED', 'it only reads: ' + method, d.call, method, *args)
    check(get(agent, '/audit_log?session_id=' + ref)[0] == 403, 'and only records')
    d.session.logout()
    fails('SESSION_INVALID', 'logged out', d.VM.get_all)

    fails('INVALID_VALUE', 'a relative path', s.session.create_from_db_file, 'dump.xml')
    fails('IMPORT_ERROR', 'no file', s.session.create_from_db_file, path + '.none')
    fails('IMPORT_ERROR', 'no dump', s.session.create_from_db_file, os.path.join(agent.root, 'passwd'))
    open_ones = [s.session.create_from_db_file(path) for _ in range(4)]
    fails('TOO_MANY_PENDING_TASKS', 'five dumps at a time', s.session.create_from_db_file, path)
    for x in open_ones:
        check(unwrap(proxy.VM.get_all(x)) and unwrap(proxy.session.logout(x)) == '', 'each has its own')
    check(s.session.create_from_db_file(path), 'places are free again')
    return s.session.create_from_db_file(path)


with Agent() as agent:
    s = agent.login()
    secret(agent, s)
    local(agent, s)
    left = dumps(agent, s)
    text = secret_of(agent)
    agent.kill()
    agent.start()
    check(secret_of(agent) == text and get(agent, '/audit_log', 'pool_secret=' + text)[0] == 200, 'a restart keeps the secret')
    fails('SESSION_INVALID', 'and no dump', lambda: unwrap(agent.proxy().VM.get_all(left)))
done()
