#!/usr/bin/env python3
"""Sessions: who gets one, what it may do, how it ends, how many there are."""
import os
import shutil
import subprocess
import tempfile
import time
import xmlrpc.client

from harness import PASSWORD, Agent, check, done, fails, unwrap


def crypted(password):
    return subprocess.run(['openssl', 'passwd', '-6', '-stdin'], input=password, text=True, capture_output=True,
                          check=True).stdout.strip()


def tcp(agent):
    return xmlrpc.client.ServerProxy('http://127.0.0.1:%d/' % agent.http_port)


def add_user(agent, name, password):
    with open(os.path.join(agent.root, 'passwd'), 'a') as f:
        f.write('%s:%s\n' % (name, crypted(password)))


def logins(agent):
    p = tcp(agent)
    for n, more in ((2, ()), (3, ('2.21',)), (4, ('2.21', 'a client'))):
        ref = unwrap(p.session.login_with_password('root', PASSWORD, *more))
        check(ref.startswith('OpaqueRef:'), 'login with %d arguments' % n)
    began = time.monotonic()
    got = fails('SESSION_AUTHENTICATION_FAILED', 'a wrong password', lambda: unwrap(p.session.login_with_password('root', 'x')))
    check(got[0] == 'root' and len(got) == 2, 'the user comes first, then the reason')
    check(time.monotonic() - began > 0.5, 'and a wrong password costs time')
    fails('SESSION_AUTHENTICATION_FAILED', 'an unknown user', lambda: unwrap(p.session.login_with_password('nobody', 'x')))
    fails('SESSION_AUTHENTICATION_FAILED', 'no password over TCP', lambda: unwrap(p.session.login_with_password('root', '')))
    u = agent.proxy()
    check(unwrap(u.session.login_with_password('', '')).startswith('OpaqueRef:'), 'the unix socket is root without a password')


def record(agent, s):
    r = s.session.get_record(s._ref)
    check(r['is_local_superuser'] is True and r['this_host'] == s.host.get_all()[0], 'the record of the own session')
    check(s.session.get_this_host(s._ref) == r['this_host'], 'get_this_host(session, session)')
    check(s.session.get_rbac_permissions(s._ref) == [], 'root has no list of permissions')
    check(s.session.get_by_uuid(r['uuid']) != s._ref, 'a uuid does not lead to the secret')
    hidden = bytes.fromhex(s._ref[len('OpaqueRef:'):].replace('-', ''))
    db = b''
    for name in os.listdir(agent.root):
        if name.startswith('state.db'):
            db += open(os.path.join(agent.root, name), 'rb').read()
    check(hidden not in db and s._ref.encode() not in db and s._ref[10:].encode() not in db, 'the database holds no secret')
    log = open(os.path.join(agent.root, 'audit.log')).read()
    check(s._ref not in log and PASSWORD not in log and 'session.login_with_password|root, ***' in log,
          'the audit log holds neither secret nor password')


def logout(agent):
    s = agent.login()
    s.session.logout()
    fails('SESSION_INVALID', 'after logout', s.VM.get_all)


def roles(agent, s):
    add_user(agent, 'reader', 'r')
    add_user(agent, 'operator', 'o')
    p = tcp(agent)
    fails('SESSION_AUTHENTICATION_FAILED', 'an account without a subject', lambda: unwrap(p.session.login_with_password('reader', 'r')))
    check(s.auth.get_subject_identifier('reader') == 'user:reader', 'the identifier of an account')
    admin = s.role.get_by_name_label('pool-admin')
    check(s.role.get_uuid(admin[0]) == '0165f154-ba3e-034e-6b27-5d271af109ba', 'the uuid of pool-admin')
    refs = {}
    for name, role in (('reader', 'read-only'), ('operator', 'vm-operator')):
        refs[name] = s.subject.create({'subject_identifier': 'user:' + name, 'other_config': {}})
        s.subject.add_to_roles(refs[name], s.role.get_by_name_label(role)[0])
        s.subject.remove_from_roles(refs[name], admin[0])
    fails('SUBJECT_ALREADY_EXISTS', 'a second subject of one account', s.subject.create, {'subject_identifier': 'user:reader'})
    fails('ROLE_ALREADY_EXISTS', 'a role twice', s.subject.add_to_roles, refs['reader'], s.role.get_by_name_label('read-only')[0])
    fails('ROLE_NOT_FOUND', 'a role it does not have', s.subject.remove_from_roles, refs['reader'], admin[0])
    fails('ROLE_NOT_FOUND', 'a single permission is no role', s.subject.add_to_roles, refs['reader'],
          s.role.get_by_name_label('vm.start')[0])

    vm, pool = s.VM.get_all()[0], s.pool.get_all()[0]
    r = unwrap(p.session.login_with_password('reader', 'r'))
    o = unwrap(p.session.login_with_password('operator', 'o'))
    check(unwrap(p.VM.get_name_label(r, vm)) == s.VM.get_name_label(vm), 'read-only reads')
    got = fails('RBAC_PERMISSION_DENIED', 'read-only does not write', lambda: unwrap(p.VM.set_name_label(r, vm, 'x')))
    check(got[0] == 'vm.set_name_label', 'the permission is named in lower case')
    fails('RBAC_PERMISSION_DENIED', 'nor asks for it in the background', lambda: unwrap(getattr(p, 'Async.VM.set_name_label')(r, vm, 'x')))
    fails('RBAC_PERMISSION_DENIED', 'local root only', lambda: unwrap(p.session.change_password(o, 'o', 'p')))
    fails('RBAC_PERMISSION_DENIED', 'a key of its own rule needs the rule', lambda: unwrap(p.pool.add_to_other_config(o, pool, 'x', 'y')))
    unwrap(p.pool.add_to_other_config(o, pool, 'folder', 'f'))
    check(s.pool.get_other_config(pool).get('folder') == 'f', 'vm-operator may set the key folder')
    unwrap(p.pool.add_to_other_config(o, pool, 'XenCenter.CustomFields.x', 'f'))
    fails('RBAC_PERMISSION_DENIED', 'a whole map with another key', lambda: unwrap(p.pool.set_other_config(o, pool, {'x': 'y'})))
    guest = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'guest')
    s.VM.provision(guest)
    s.VM.start(guest, False, False)
    s.pool.add_to_other_config(pool, 'allow_guest_agent_run_script', 'true')
    script = {'username': 'u', 'password': 'p', 'script': 'x'}
    got = fails('RBAC_PERMISSION_DENIED', 'vm-operator runs no script in a guest',
                lambda: unwrap(p.VM.call_plugin(o, guest, 'guest-agent-operation', 'run-script', script)))
    check(got[0] == 'vm.call_plugin', 'though he may call the plug-in')
    s.VM.hard_shutdown(guest)
    permissions = unwrap(p.session.get_rbac_permissions(o, o))
    check('vm.start' in permissions and 'vm.destroy' not in permissions, 'the session lists its permissions')
    check(s.subject.get_permissions_name_label(refs['operator']) == permissions, 'the subject lists the same')
    check(unwrap(p.session.get_auth_user_name(o, o)) == 'operator', 'the name of the user')
    check(sorted(s.session.get_all_subject_identifiers()) == ['user:operator', 'user:reader'], 'who is logged in')

    task = unwrap(p.task.create(o, 'mine', ''))
    fails('RBAC_PERMISSION_DENIED', "another user's task", lambda: unwrap(p.task.destroy(r, task)))
    unwrap(p.task.destroy(o, task))

    s.subject.add_to_roles(refs['reader'], admin[0])
    unwrap(p.VM.set_name_description(r, vm, 'x'))
    check(s.VM.get_name_description(vm) == 'x', 'a new role counts at once')
    s.session.logout_subject_identifier('user:reader')
    fails('SESSION_INVALID', 'logged out by somebody else', lambda: unwrap(p.VM.get_all(r)))
    s.subject.destroy(refs['operator'])
    fails('SESSION_INVALID', 'the sessions of a subject end with it', lambda: unwrap(p.VM.get_all(o)))


def role_objects(s):
    records = s.role.get_all_records()
    real = sorted(r['name_label'] for r in records.values() if r['subroles'] and not r['is_internal'])
    check(real == ['pool-admin', 'pool-operator', 'read-only', 'vm-admin', 'vm-operator', 'vm-power-admin'], 'the six roles')
    start = s.role.get_by_name_label('vm.start')[0]
    names = sorted(records[r]['name_label'] for r in s.role.get_by_permission(start))
    check(names == ['pool-admin', 'pool-operator', 'vm-admin', 'vm-operator', 'vm-power-admin'], 'who may start a VM')
    check(s.role.get_by_permission_name_label('VM.start') == s.role.get_by_permission(start), 'by name, too')
    reader = s.role.get_by_name_label('read-only')[0]
    check('vm.get_record' in s.role.get_permissions_name_label(reader), 'the permissions of read-only')


def passwords(agent):
    p = tcp(agent)
    ref = unwrap(p.session.login_with_password('root', PASSWORD))
    fails('SESSION_AUTHENTICATION_FAILED', 'the old password must be right', lambda: unwrap(p.session.change_password(ref, 'x', 'y')))
    unwrap(p.session.change_password(ref, PASSWORD, 'another'))
    fails('SESSION_AUTHENTICATION_FAILED', 'the old one is dead', lambda: unwrap(p.session.login_with_password('root', PASSWORD)))
    ref = unwrap(p.session.login_with_password('root', 'another'))
    s = agent.login()
    fails('SESSION_AUTHENTICATION_FAILED', 'a wrong one is wrong over the socket, too', s.session.change_password, 'x', 'y')
    s.session.change_password('', 'third')
    s.session.change_password('third', 'another')
    check(unwrap(p.session.login_with_password('root', 'another')), 'root over the socket may have forgotten it')
    unwrap(p.session.change_password(ref, 'another', PASSWORD))


def local_sessions(agent):
    p = tcp(agent)
    ref = unwrap(p.session.slave_local_login_with_password('root', PASSWORD))
    fails('RBAC_PERMISSION_DENIED', 'a local session is for emergencies', lambda: unwrap(p.VM.get_all(ref)))
    unwrap(p.session.local_logout(ref))
    fails('SESSION_INVALID', 'and ends with local_logout', lambda: unwrap(p.session.local_logout(ref)))


def limit(agent):
    p = agent.proxy()
    first = unwrap(p.session.login_with_password('root', '', '', 'greedy'))
    other = unwrap(p.session.login_with_password('root', '', '', 'modest'))
    time.sleep(1.1)    # last_active counts seconds
    refs = [unwrap(p.session.login_with_password('root', '', '', 'greedy')) for i in range(500)]
    check(unwrap(p.VM.get_all(refs[-1])), 'the newest session lives')
    fails('SESSION_INVALID', 'the oldest of 501 had to go', lambda: unwrap(p.VM.get_all(first)))
    check(unwrap(p.VM.get_all(other)), 'sessions of other programs stay')
    refs += [unwrap(p.session.login_with_password('root', '', '', 'greedy')) for i in range(150)]
    living = [ref for ref in refs if p.VM.get_all(ref)['Status'] == 'Success']
    check(living == refs[-500:], 'one goes for each that comes, the oldest first, within a second, too: %d stay' % len(living))
    unwrap(p.session.logout(living.pop()))
    unwrap(p.session.login_with_password('root', '', '', 'modest'))
    living.append(unwrap(p.session.login_with_password('root', '', '', 'greedy')))
    lost = [ref for ref in living if p.VM.get_all(ref)['Status'] != 'Success']
    check(len(living) == 500 and not lost, 'who logs out makes room for one, whoever comes between: %d lost' % len(lost))
    living.append(unwrap(p.session.login_with_password('root', '', '', 'greedy')))
    lost = [ref for ref in living if p.VM.get_all(ref)['Status'] != 'Success']
    check(lost == living[:1], 'and the next one costs the oldest again: %d' % len(lost))


def survive_restart(root):
    with Agent(root=root) as agent:
        s = agent.login()
        ref = s._ref
    with Agent(root=root) as agent:
        check(unwrap(agent.proxy().VM.get_all(ref)), 'a session survives a restart')


with Agent() as agent:
    logins(agent)
    s = agent.login()
    record(agent, s)
    logout(agent)
    role_objects(s)
    roles(agent, s)
    passwords(agent)
    local_sessions(agent)
    limit(agent)
root = tempfile.mkdtemp(prefix='xapi-test-')
survive_restart(root)
shutil.rmtree(root, ignore_errors=True)
done()
