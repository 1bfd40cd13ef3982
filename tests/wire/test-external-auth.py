#!/usr/bin/env python3
"""Users of a directory: a plug-in is enabled, its accounts log in with the roles of their groups, and lose what they lose there."""
import base64
import concurrent.futures
import http.client
import json
import os
import shutil
import xmlrpc.client

from harness import PASSWORD, SOURCE, Agent, Failure, check, done, fails, unwrap, wait_until

ALICE, BOB, OPS, READERS = 'S-1-5-21-1', 'S-1-5-21-2', 'S-1-5-21-100', 'S-1-5-21-101'
JOIN = {'user': 'admin', 'pass': 'join'}


def directory(agent, **change):
    d = {'accounts': {'alice': {'sid': ALICE, 'password': 'wonder', 'groups': [OPS, READERS], 'info': {'subject-gecos': 'Alice L.'}},
                      'bob': {'sid': BOB, 'password': 'builder', 'groups': [READERS]}, 'carol': {'sid': 'S-1-5-21-3', 'password': 'c', 'groups': []},
                      'ops': {'sid': OPS}, 'readers': {'sid': READERS}}}
    for name, facts in change.items():
        if name == 'mode':
            d['mode'] = facts
        elif facts is None:
            del d['accounts'][name]
        else:
            d['accounts'][name].update(facts)
    path = os.path.join(agent.root, 'directory.json')
    with open(path + '.new', 'w') as f:
        json.dump(d, f)
    os.rename(path + '.new', path)
    return path


def login(agent, user, password):
    return unwrap(xmlrpc.client.ServerProxy('http://127.0.0.1:%d/' % agent.http_port).session.login_with_password(user, password, '', 'test'))


def enabling(agent, s, pool, host):
    config = dict(JOIN, file=directory(agent))
    fails('AUTH_UNKNOWN_TYPE', 'a type nobody knows', s.pool.enable_external_auth, pool, config, 'demo.example', 'NIS')
    fails('AUTH_UNKNOWN_TYPE', 'a type that is a path', s.pool.enable_external_auth, pool, config, 'demo.example', '../DEMO')
    fails('AUTH_UNKNOWN_TYPE', 'no type', s.host.enable_external_auth, host, config, 'demo.example', '')
    for more, service, code in (({'pass': 'x'}, 'demo.example', 'WRONG_CREDENTIALS'), ({'user': 'x'}, 'demo.example', 'INVALID_ACCOUNT'),
                                ({}, 'other.example', 'DOMAIN_LOOKUP_FAILED')):
        got = fails('POOL_AUTH_ENABLE_FAILED_' + code, 'pool', s.pool.enable_external_auth, pool, dict(config, **more), service, 'DEMO')
        check(len(got) == 2 and got[0] == host and got[1], 'names the host and says why: %s' % got[1:])
        fails('AUTH_ENABLE_FAILED_' + code, 'host', s.host.enable_external_auth, host, dict(config, **more), service, 'DEMO')
    check(s.host.get_external_auth_type(host) == '', 'nothing is enabled by that')
    s.pool.enable_external_auth(pool, config, 'demo.example', 'DEMO')
    r = s.host.get_record(host)
    check((r['external_auth_type'], r['external_auth_service_name']) == ('DEMO', 'demo.example'), 'enabled')
    check(r['external_auth_configuration'] == {'user': 'admin', 'file': config['file']}, 'the password is not kept')
    got = fails('AUTH_ALREADY_ENABLED', 'twice', s.host.enable_external_auth, host, config, 'demo.example', 'DEMO')
    check(got == ['DEMO', 'demo.example'], 'names what there is')
    fails('POOL_AUTH_ALREADY_ENABLED', 'twice in the pool', s.pool.enable_external_auth, pool, config, 'demo.example', 'DEMO')
    check('join' not in open(os.path.join(agent.root, 'audit.log')).read(), 'the audit log holds no password')


def looking_up(s):
    check(s.auth.get_subject_identifier('alice') == ALICE and s.auth.get_subject_identifier('ops') == OPS, 'identifiers')
    info = s.auth.get_subject_information_from_identifier(ALICE)
    check(info['subject-name'] == 'alice' and info['subject-gecos'] == 'Alice L.', 'information')
    check(sorted(s.auth.get_group_membership(ALICE)) == [OPS, READERS], 'groups')
    fails('SUBJECT_CANNOT_BE_RESOLVED', 'an unknown name', s.auth.get_subject_identifier, 'nobody')
    fails('SUBJECT_CANNOT_BE_RESOLVED', 'an unknown identifier', s.auth.get_subject_information_from_identifier, 'S-1')


def subject(s, identifier, role):
    ref = s.subject.create({'subject_identifier': identifier, 'other_config': {}})
    s.subject.add_to_roles(ref, s.role.get_by_name_label(role)[0])
    s.subject.remove_from_roles(ref, s.role.get_by_name_label('pool-admin')[0])
    return ref


def logging_in(agent, s):
    p = xmlrpc.client.ServerProxy('http://127.0.0.1:%d/' % agent.http_port)
    check(login(agent, 'root', PASSWORD), 'root logs in as ever')
    fails('SESSION_AUTHENTICATION_FAILED', 'no subject yet', login, agent, 'alice', 'wonder')
    refs = {'ops': subject(s, OPS, 'vm-operator'), 'readers': subject(s, READERS, 'read-only')}
    for user, password in (('alice', 'x'), ('nobody', 'x'), ('ops', ''), ('carol', 'c'), ('', 'x')):
        fails('SESSION_AUTHENTICATION_FAILED', 'login of "%s" with "%s"' % (user, password), login, agent, user, password)
    a, b = login(agent, 'alice', 'wonder'), login(agent, 'bob', 'builder')
    r = s.session.get_record(a)
    check((r['auth_user_sid'], r['auth_user_name'], r['subject'], r['is_local_superuser']) == (ALICE, 'alice', refs['ops'], False),
          'alice by the stronger of her groups')
    vm = s.VM.get_all()[0]
    check(unwrap(p.VM.get_name_label(b, vm)) is not None, 'bob reads')
    fails('RBAC_PERMISSION_DENIED', 'and no more', lambda: unwrap(p.VM.start(b, vm, False, False)))
    try:
        unwrap(p.VM.start(a, vm, False, False))
        let_in = True
    except Failure as e:
        let_in = e.details[0] != 'RBAC_PERMISSION_DENIED'
    check(let_in, 'alice may start VMs')
    fails('RBAC_PERMISSION_DENIED', 'but not destroy them', lambda: unwrap(p.VM.destroy(a, vm)))
    check(sorted(s.session.get_all_subject_identifiers()) == [ALICE, BOB], 'who is logged in')
    c = http.client.HTTPConnection('127.0.0.1', agent.http_port)
    c.request('GET', '/audit_log', headers={'Authorization': 'Basic ' + base64.b64encode(b'bob:builder').decode()})
    check(c.getresponse().status == 200, 'HTTP Basic, too')
    for key, what in (('subject-account-disabled', 'disabled'), ('subject-account-expired', 'expired'),
                      ('subject-account-locked', 'locked'), ('subject-password-expired', 'expired')):
        directory(agent, bob={'info': {key: 'true'}})
        got = fails('SESSION_AUTHENTICATION_FAILED', key, login, agent, 'bob', 'builder')
        check(what in got[1], 'says so: %s' % got[1])
    directory(agent)
    return a, b, refs


def ended(agent, ref, seconds=25):
    p = agent.proxy()
    return wait_until(lambda: p.VM.get_all(ref)['Status'] == 'Failure', seconds, 0.2)


def following(agent, s, a, b, refs):
    """What changes in the directory reaches sessions that are open."""
    directory(agent, mode='down')
    asked = wait_until(lambda: 'the directory does not answer' in agent.tail(100), 25)
    check(asked and unwrap(agent.proxy().VM.get_all(a)), 'while it does not answer sessions stay')
    directory(agent, alice={'groups': [READERS]})
    weaker = wait_until(lambda: 'vm.start' not in s.session.get_rbac_permissions(a), 25, 0.2)
    check(weaker and s.session.get_subject(a) == refs['readers'], 'alice leaves a group: her session has its role no more')
    directory(agent, alice={'groups': [READERS]}, bob={'info': {'subject-account-disabled': 'true'}})
    check(ended(agent, b), 'a disabled account: its session ends')
    check(unwrap(agent.proxy().VM.get_all(a)), "another's stays")
    directory(agent, alice=None)
    check(ended(agent, a), 'an account that is gone: its session ends')
    directory(agent)
    c = login(agent, 'bob', 'builder')
    s.subject.destroy(refs['readers'])
    fails('SESSION_INVALID', 'a subject that is removed takes the sessions of its members', lambda: unwrap(agent.proxy().VM.get_all(c)))


def asked(agent):
    """How often the directory was asked for a password."""
    with open(os.path.join(agent.root, 'auth', 'demo.path.asked')) as f:
        return len(f.readlines())


def most_at_a_time(agent, mode):
    """Of five logins that begin together, how many the plug-in saw at once."""
    note = os.path.join(agent.root, 'auth', 'demo.path.most')
    if os.path.exists(note):
        os.unlink(note)
    directory(agent, mode=mode)
    with concurrent.futures.ThreadPoolExecutor(5) as together:
        sessions = list(together.map(lambda n: login(agent, 'bob', 'builder'), range(5)))
    directory(agent)
    with open(note) as f:
        return len(set(sessions)), max(int(line) for line in f)


def at_a_time(agent, s, pool):
    check(s.pool.get_ext_auth_max_threads(pool) == '1', 'one login is passed on at a time')
    check(most_at_a_time(agent, 'meet') == (5, 1), 'five that come together all get in, one behind the other')
    s.pool.set_ext_auth_max_threads(pool, '4')
    check(s.pool.get_ext_auth_max_threads(pool) == '4', 'four')
    n, most = most_at_a_time(agent, 'meet2')
    check(n == 5 and 2 <= most <= 4, 'now several at a time, four at most: %d' % most)
    for value in ('0', '-1', '65'):
        check(fails('INVALID_VALUE', 'at a time: ' + value, s.pool.set_ext_auth_max_threads, pool, value) == ['ext_auth_max_threads', value], 'named')
        fails('INVALID_VALUE', 'of this host: ' + value, s.pool.set_local_auth_max_threads, pool, value)
    s.pool.set_local_auth_max_threads(pool, '1')
    check(s.pool.get_local_auth_max_threads(pool) == '1', 'one password of this host is checked at a time')
    with concurrent.futures.ThreadPoolExecutor(6) as together:
        check(len(set(together.map(lambda n: login(agent, 'root', PASSWORD), range(6)))) == 6, 'six that come together get in')
    s.pool.set_local_auth_max_threads(pool, '8')


def remembering(agent, s, pool):
    """A login that succeeded is good again for a while, without the directory."""
    s.pool.set_ext_auth_cache_enabled(pool, True)
    first = asked(agent)
    a = login(agent, 'bob', 'builder')
    check(asked(agent) == first + 1, 'the first login asks the directory')
    directory(agent, bob={'password': 'changed'})
    b = login(agent, 'bob', 'builder')
    check(a != b and asked(agent) == first + 1, 'the second, with the same password, does not')
    check(s.session.get_auth_user_sid(b) == BOB and s.session.get_subject(a) == s.session.get_subject(b), 'and is the same account')
    fails('SESSION_AUTHENTICATION_FAILED', 'another password', login, agent, 'bob', 'x')
    check(asked(agent) == first + 2, 'is asked for')
    check(login(agent, 'bob', 'changed') and asked(agent) == first + 3, 'the new one, too, once')
    s.pool.set_ext_auth_cache_enabled(pool, False)
    check(s.pool.get_ext_auth_cache_enabled(pool) is False, 'nothing is remembered')
    fails('SESSION_AUTHENTICATION_FAILED', 'the old password is good no more', login, agent, 'bob', 'builder')
    login(agent, 'bob', 'changed')
    login(agent, 'bob', 'changed')
    check(asked(agent) == first + 6, 'each login asks')

    directory(agent)
    s.pool.set_ext_auth_cache_enabled(pool, True)
    s.pool.set_ext_auth_cache_size(pool, '1')
    login(agent, 'bob', 'builder')
    login(agent, 'alice', 'wonder')
    before = asked(agent)
    login(agent, 'alice', 'wonder')
    check(asked(agent) == before, 'a cache of one has the last login')
    login(agent, 'bob', 'builder')
    check(asked(agent) == before + 1, 'and not the one before')
    s.pool.set_ext_auth_cache_size(pool, '50')
    s.pool.set_ext_auth_cache_expiry(pool, '1')
    login(agent, 'bob', 'builder')
    before = asked(agent)

    def asks_again():
        login(agent, 'bob', 'builder')
        return asked(agent) > before
    check(wait_until(asks_again, 20, 0.3), 'after a second it is asked again')
    s.pool.set_ext_auth_cache_expiry(pool, '300')
    check((s.pool.get_ext_auth_cache_size(pool), s.pool.get_ext_auth_cache_expiry(pool)) == ('50', '300'), 'the settings are kept')
    for value in ('0', '-1', '10001'):
        fails('INVALID_VALUE', 'a size of ' + value, s.pool.set_ext_auth_cache_size, pool, value)
    for value in ('0', '-5', '604801'):
        fails('INVALID_VALUE', 'an expiry of %s s' % value, s.pool.set_ext_auth_cache_expiry, pool, value)


def looked_up_again(agent, s, pool):
    """What the directory says of an account at auth-recheck goes before what is remembered."""
    s.pool.set_ext_auth_cache_enabled(pool, True)
    a = login(agent, 'bob', 'builder')
    directory(agent, bob={'info': {'subject-account-disabled': 'true'}})
    check(ended(agent, a), 'a disabled account: its session ends')
    fails('SESSION_AUTHENTICATION_FAILED', 'and what was remembered of it is gone', login, agent, 'bob', 'builder')
    directory(agent)
    s.pool.set_ext_auth_cache_enabled(pool, False)


def ldaps(agent, s, pool, host):
    s.host.external_auth_set_ldaps(host, True)
    check(s.host.get_external_auth_configuration(host)['ldaps'] == 'true', 'the directory is asked over TLS')
    s.pool.external_auth_set_ldaps(pool, False, False)
    check(s.host.get_external_auth_configuration(host)['ldaps'] == 'false', 'and without')
    directory(agent, mode='plain')
    got = fails('AUTH_SETUP_TLS_CONNECTION', 'nobody speaks TLS there', s.host.external_auth_set_ldaps, host, True, False)
    check(got == ['nobody listens on port 636'] and s.host.get_external_auth_configuration(host)['ldaps'] == 'false', 'it stays as it was')
    s.pool.external_auth_set_ldaps(pool, True, True)
    check(s.host.get_external_auth_configuration(host)['ldaps'] == 'true', 'by force it is changed')
    directory(agent, mode='untrusted')
    fails('AUTH_NO_TRUSTED_CERTS', 'no certificate', s.pool.external_auth_set_ldaps, pool, True, False)
    directory(agent, mode='old')
    got = fails('AUTH_SET_LDAPS_FAILED', 'what has no code of its own', s.pool.external_auth_set_ldaps, pool, False, False)
    check(got == [host, 'this program cannot'], 'names the host and says why')
    directory(agent)
    check(login(agent, 'bob', 'builder'), 'logins go on')


def hanging(agent, s):
    directory(agent, mode='hang')
    got = fails('SESSION_AUTHENTICATION_FAILED', 'a plug-in that hangs', login, agent, 'alice', 'wonder')
    check('does not answer' in got[1], 'is given up: %s' % got[1])
    directory(agent)


def disabling(agent, s, pool, host):
    a = login(agent, 'alice', 'wonder')
    fails('POOL_AUTH_DISABLE_FAILED_WRONG_CREDENTIALS', 'pool', s.pool.disable_external_auth, pool, {'pass': 'wrong'})
    fails('AUTH_DISABLE_FAILED_WRONG_CREDENTIALS', 'host', s.host.disable_external_auth, host, {'pass': 'wrong'}, False)
    check(s.host.get_external_auth_type(host) == 'DEMO' and unwrap(agent.proxy().VM.get_all(a)), 'it stays enabled')
    s.host.disable_external_auth(host, {'pass': 'wrong'}, True)
    r = s.host.get_record(host)
    check((r['external_auth_type'], r['external_auth_service_name'], r['external_auth_configuration']) == ('', '', {}), 'by force it goes')
    fails('SESSION_INVALID', 'and the sessions with it', lambda: unwrap(agent.proxy().VM.get_all(a)))
    fails('SESSION_AUTHENTICATION_FAILED', 'nobody of it logs in', login, agent, 'alice', 'wonder')
    s.pool.disable_external_auth(pool, {})
    check(s.VM.get_all(), 'disabling what is disabled is fine; root stays')
    s.pool.enable_external_auth(pool, {}, 'here', 'PAM')
    fails('AUTH_UNKNOWN_TYPE', 'accounts of this host have no LDAPS', s.host.external_auth_set_ldaps, host, True, False)
    check(s.host.get_external_auth_type(host) == 'PAM' and s.auth.get_subject_identifier('root') == 'user:root', 'PAM: accounts of this host')
    s.pool.disable_external_auth(pool, {})


def make_agent(*options):
    agent = Agent()
    plugins = os.path.join(agent.root, 'auth')
    shutil.copytree(os.path.join(SOURCE, 'tests', 'wire', 'auth'), plugins)
    agent.options = ['--auth-plugin-dir', plugins, *options]
    return agent


with make_agent('--auth-recheck', '1s', '--auth-timeout', '8s') as agent:
    s = agent.login()
    pool, host = s.pool.get_all()[0], s.host.get_all()[0]
    fails('AUTH_IS_DISABLED', 'no directory, no LDAPS', s.host.external_auth_set_ldaps, host, True, False)
    enabling(agent, s, pool, host)
    looking_up(s)
    s.pool.set_ext_auth_cache_enabled(pool, False)
    a, b, refs = logging_in(agent, s)
    looked_up_again(agent, s, pool)
    b = login(agent, 'bob', 'builder')
    following(agent, s, a, b, refs)
    hanging(agent, s)
    disabling(agent, s, pool, host)
# Accounts are not looked up again here meanwhile.
with make_agent('--auth-recheck', '1h', '--auth-timeout', '20s') as agent:
    s = agent.login()
    pool, host = s.pool.get_all()[0], s.host.get_all()[0]
    s.pool.enable_external_auth(pool, dict(JOIN, file=directory(agent)), 'demo.example', 'DEMO')
    subject(s, READERS, 'read-only')
    s.pool.set_ext_auth_cache_enabled(pool, False)
    at_a_time(agent, s, pool)
    remembering(agent, s, pool)
    ldaps(agent, s, pool, host)
done()
