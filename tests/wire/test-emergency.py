#!/usr/bin/env python3
"""A host that follows a coordinator, and one that has lost it: what it refuses, what it still does, how it gets out again."""
import http.client
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import xmlrpc.client

from harness import BUILD, PASSWORD, Agent, Failure, Session, check, done, fails, unwrap, wait_until


def tcp(agent):
    return xmlrpc.client.ServerProxy('http://127.0.0.1:%d/' % agent.http_port)


def local_session(agent):
    """By password, over TCP."""
    p = tcp(agent)
    return Session(p, unwrap(p.session.slave_local_login_with_password('root', PASSWORD)))


def status(agent, path, unix=False):
    c = http.client.HTTPConnection('127.0.0.1', agent.http_port)
    if unix:
        c.sock = socket.socket(socket.AF_UNIX)
        c.sock.connect(agent.socket)
    c.request('GET', path)
    got = c.getresponse().status
    c.close()
    return got


def sent_on(agent, leader):
    """A member's endpoints: to the coordinator, with path and query; there they are served."""
    there = '127.0.0.1:%d' % leader.https_port
    session = leader.login()
    for method, target in (('GET', '/host_rrd?session_id=' + session._ref), ('GET', '/rrd_updates?start=0&session_id=' + session._ref.replace(':', '%3A')),
                           ('PUT', '/import_raw_vdi?vdi=x&format=raw'), ('CONNECT', '/console?ref=x'), ('GET', '/export/?uuid=a%20b&task_id=none')):
        c = http.client.HTTPConnection('127.0.0.1', agent.http_port)
        c.putrequest(method, target)
        if method == 'PUT':
            c.putheader('Content-Length', '0')
        c.endheaders()
        r = c.getresponse()
        check((r.status, r.getheader('Location')) == (302, 'https://' + there + target), '%s %s: to the coordinator' % (method, target.split('?')[0]))
        c.close()
    c = http.client.HTTPSConnection('127.0.0.1', leader.https_port, context=ssl._create_unverified_context())
    c.request('GET', '/host_rrd?session_id=' + session._ref)
    check(c.getresponse().status == 200, 'which serves it')
    c.close()
    check(status(agent, '/export?uuid=x', unix=True) == 302, 'over the unix socket, too')


def xe(agent, *words):
    r = subprocess.run([os.path.join(BUILD, 'run'), 'xe'] + list(words), env=dict(os.environ, XAPI_SOCKET=agent.socket), capture_output=True,
                       text=True, timeout=60)
    return r.returncode, r.stdout.strip(), r.stderr


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def role(agent):
    return open(os.path.join(agent.root, 'pool.conf')).read().strip()


# What a local session may ask in an emergency and that changes nothing.
HARMLESS = ('host.is_in_emergency_mode', 'host.ha_xapi_healthcheck', 'host.signal_networking_change')


def lost(agent, session):
    """Only emergency calls are answered."""
    p = tcp(agent)
    for method, args in (('session.login_with_password', ('root', PASSWORD)), ('VM.get_all', (session,)), ('VM.get_all', ('nonsense',)),
                         ('event.from', (session, ['*'], '', 0.0)), ('Async.VM.start', (session, 'x', False, False)), ('pool.join', (session, 'a', 'b', 'c')),
                         ('session.slave_login', ('x', 'y'))):
        check(fails('HOST_IN_EMERGENCY_MODE', 'lost: ' + method, lambda: unwrap(getattr(p, method)(*args))) == [], 'without parameters')
    fails('HOST_IN_EMERGENCY_MODE', 'the unix socket is no way around', lambda: unwrap(agent.proxy().session.login_with_password('root', '')))
    check(status(agent, '/host_rrd?session_id=' + session) == 503 and status(agent, '/export?uuid=x', unix=True) == 503, 'endpoints: 503')
    check('VM.start' in p.system.listMethods(), 'listMethods is answered')
    code, out, errors = xe(agent, 'vm-list')
    check(code == 1 and 'emergency' in errors, 'xe says so')
    l = local_session(agent)
    check(l.host.is_in_emergency_mode() is True and xe(agent, 'host-is-in-emergency-mode') == (0, 'true', ''), 'who asks is told')
    for method in HARMLESS:
        check(l.call(method) in (True, ''), method)
    fails('HOST_IN_EMERGENCY_MODE', 'it is not healthy', l.host.local_assert_healthy)
    check(xe(agent, 'host-ha-xapi-healthcheck')[:2] == (0, 'xapi is healthy.'), 'though its agent is')
    fails('HOST_IN_EMERGENCY_MODE', 'a local session gets no more', l.VM.get_all)
    l.session.local_logout()
    fails('SESSION_INVALID', 'and ends', l.host.is_in_emergency_mode)


def mistakes(agent):
    l = local_session(agent)
    before = role(agent)
    for address in ('', 'a b', 'x:0', 'x:70000', '[::1', '[::1]x', 'a' * 300, '../x', 'x\ny'):
        fails('INVALID_VALUE', 'no coordinator: %r' % address[:10], l.pool.emergency_reset_master, address)
    fails('HOST_ITS_OWN_SLAVE', 'nor is the host its own', l.pool.emergency_reset_master, '127.0.0.1:%d' % agent.https_port)
    check(role(agent) == before, 'nothing changed')


def phases(agent, own, other):
    """propose, commit and abort of a new coordinator."""
    l = local_session(agent)
    check(l.pool.is_slave(agent.host_ref) is True and l.pool.ping_slave(agent.host_ref) is True, 'it follows')
    for call in (l.host.commit_new_master, l.host.abort_new_master):
        check(len(fails('HA_ABORT_NEW_MASTER', 'nobody was proposed', call, own)) == 1, 'why')
    l.host.propose_new_master(own, True)
    l.host.propose_new_master(own, False)
    fails('HA_ABORT_NEW_MASTER', 'two at a time', l.host.propose_new_master, other, True)
    fails('HA_ABORT_NEW_MASTER', 'another than proposed', l.host.commit_new_master, other)
    l.host.abort_new_master(own)
    fails('HA_ABORT_NEW_MASTER', 'taken back', l.host.commit_new_master, own)
    fails('INVALID_VALUE', 'no address', l.host.propose_new_master, 'a b', True)
    l.host.propose_new_master(own, True)
    l.host.commit_new_master(own)
    check(role(agent) == 'master' and l.host.is_in_emergency_mode() is False, 'committed: it leads')
    l.host.local_assert_healthy()
    check(l.pool.is_slave(agent.host_ref) is False, 'and follows nobody')
    l.host.propose_new_master(other, True)
    l.host.commit_new_master(other)
    check(role(agent) == 'slave:' + other and l.host.is_in_emergency_mode() is True, 'committed: it follows who is not there')


with Agent() as leader:
    root = tempfile.mkdtemp(prefix='xapi-test-')
    port = free_port()
    with Agent(root=root) as agent:
        s = agent.login()
        agent.host_ref, pool = s.host.get_all()[0], s.pool.get_all()[0]
        check(s.host.is_in_emergency_mode() is False and s.pool.is_slave(agent.host_ref) is False, 'a host of its own leads')
        s.host.local_assert_healthy()
        vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'survivor')
        s.VM.provision(vm)
        s.VM.start(vm, False, False)
        s.pool.emergency_reset_master('127.0.0.1:%d' % port)
        check(role(agent) == 'slave:127.0.0.1:%d' % port, 'the role is in a file')
        lost(agent, s._ref)
        mistakes(agent)
        agent.kill()
        agent.start()
        check(local_session(agent).host.is_in_emergency_mode() is True, 'a restart changes nothing')
        lost(agent, s._ref)

        there = '127.0.0.1:%d' % leader.https_port
        code, out, errors = xe(agent, 'pool-emergency-reset-master', 'master-address=' + there)
        check(code == 0, 'xe shows it the coordinator: ' + errors)
        l = local_session(agent)
        check(l.host.is_in_emergency_mode() is False, 'which answers')
        check(fails('HOST_IS_SLAVE', 'a login is for the coordinator', lambda: unwrap(tcp(agent).session.login_with_password('root', PASSWORD))) == [there],
              'whose address is told')
        sent_on(agent, leader)
        check(fails('HOST_IS_SLAVE', 'so is every other call', lambda: unwrap(tcp(agent).VM.get_all(s._ref))) == [there], 'as well')
        l.host.local_assert_healthy()
        check(l.pool.is_slave(agent.host_ref) is True, 'it follows')
        leader.kill()
        check(wait_until(lambda: l.host.is_in_emergency_mode(), 40), 'the coordinator dies: emergency')
        leader.start()
        l.pool.emergency_reset_master('127.0.0.1:%d' % leader.https_port)
        check(l.host.is_in_emergency_mode() is False, 'and is back')
        phases(agent, '127.0.0.1:%d' % agent.https_port, '127.0.0.1:%d' % port)
        fails('HOST_IN_EMERGENCY_MODE', 'a member that is lost leads nobody', lambda: unwrap(tcp(agent).pool.get_all(s._ref)))

        code, out, errors = xe(agent, 'pool-emergency-transition-to-master', '--force')
        check(code == 0 and role(agent) == 'master', 'it takes over: ' + errors)
        check(s.pool.get_master(pool) == agent.host_ref and s.VM.get_power_state(vm) == 'Running', 'all is there, the guest ran on')
        check(status(agent, '/host_rrd?session_id=' + s._ref) == 200, 'endpoints serve')
        check(unwrap(tcp(agent).session.login_with_password('root', PASSWORD)), 'logins, too')
        s.VM.hard_shutdown(vm)

    with open(os.path.join(root, 'pool.conf'), 'w') as f:
        f.write('nonsense\n')
    broken = Agent(root=root)
    broken.start(wait=False)
    check(broken.process.wait(60) != 0 and 'pool.conf' in broken.tail(), 'a role that is none ends the start, and is named')
    shutil.rmtree(root, ignore_errors=True)
done()
