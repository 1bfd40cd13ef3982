#!/usr/bin/env python3
"""Every message and every HTTP endpoint, asked for as each of the six roles: who may is who the schema says.

A message that a role may send is sent with references to nothing, so that it fails for another reason or does nothing. What would
still do harm (messages.LEFT_OUT) is only sent by those who may not; that the others may is read from their lists of permissions."""
import base64
import http.client
import json
import os
import socket
import subprocess
import xml.etree.ElementTree

from harness import BUILD, SOURCE, Agent, check, done, wait_until
from messages import LEFT_OUT, ROLES, enums, generate, internal, published

NOWHERE = 'OpaqueRef:00000000-0000-4000-8000-00000000dead'
HARMLESS = {'string': 'x', 'int': '0', 'float': 0.0, 'bool': False, 'datetime': '19700101T00:00:00Z'}


class Client:
    """JSON-RPC over a kept connection."""

    def __init__(self, agent):
        self.connection = http.client.HTTPConnection('localhost', timeout=60)
        self.connection.sock = socket.socket(socket.AF_UNIX)
        self.connection.sock.connect(agent.socket)

    def call(self, method, args):
        """The error's code and parameters, or []."""
        self.connection.request('POST', '/jsonrpc', json.dumps({'jsonrpc': '2.0', 'method': method, 'params': args, 'id': 1}))
        answer = json.loads(self.connection.getresponse().read())
        return [answer['error']['message']] + answer['error']['data'] if 'error' in answer else []


def users(agent, s):
    """A session of each role: {role: reference}."""
    hashed = subprocess.run(['openssl', 'passwd', '-5', '-stdin'], input='secret', text=True, capture_output=True, check=True).stdout
    with open(os.path.join(agent.root, 'passwd'), 'a') as f:
        f.writelines('%s:%s\n' % (role, hashed.strip()) for role in ROLES)
    sessions = {}
    admin = s.role.get_by_name_label('pool-admin')[0]
    for role in ROLES:
        ref = s.role.get_by_name_label(role)[0]
        subject = s.subject.create({'subject_identifier': 'user:' + role, 'other_config': {}})
        if role != 'pool-admin':
            s.subject.add_to_roles(subject, ref)
            s.subject.remove_from_roles(subject, admin)
        connection = http.client.HTTPConnection('127.0.0.1', agent.http_port)
        connection.request('POST', '/jsonrpc', json.dumps({'jsonrpc': '2.0', 'id': 1, 'method': 'session.login_with_password',
                                                           'params': [role, 'secret', '', 'test-roles']}))
        sessions[role] = json.loads(connection.getresponse().read())['result']
        connection.close()
    return sessions


def harmless(kind, first):
    if kind.endswith(' ref'):
        return NOWHERE
    if kind.endswith(' set'):
        return []
    if kind.endswith(' map') or kind.endswith(' record'):
        return {}
    if kind.startswith('enum '):
        return first[kind[5:]]
    return HARMLESS[kind]


def messages(agent, s, sessions):
    facts = os.path.join(agent.root, 'facts')
    os.mkdir(facts)
    made, mistakes = generate(facts)
    if not check(made, 'the generator tells the facts' + mistakes):
        return
    known = published(facts) + internal(facts)
    coverage = subprocess.run([os.path.join(BUILD, 'run'), 'xapi', '--coverage'], capture_output=True, text=True, check=True).stdout
    built = {'.'.join(line.split('\t')[:2]) for line in coverage.splitlines() if not line.startswith('#')}
    listed = {m.name for m in known}
    check(built == listed, 'the build has %d messages, and the schema has their roles: %s' % (len(built), sorted(built ^ listed)[:5]))

    first, client = enums(facts), Client(agent)
    permissions = {role: set(s.session.get_rbac_permissions(ref)) for role, ref in sessions.items()}
    wrong, denied, let_in, listed_only = [], 0, 0, 0
    for m in sorted(known, key=lambda m: ('destroy' in m.name or 'forget' in m.name, m.name)):
        args = [harmless(p, first) for p in m.params]
        if not m.params or m.params[0] != 'session ref':
            continue
        permission = m.name.lower()
        for rank, role in enumerate(ROLES):
            may = rank <= m.least
            if (permission in permissions[role]) != may:
                wrong.append('%s: the list of %s %s it' % (m.name, role, 'lacks' if may else 'has'))
            if may and LEFT_OUT.match(m.name):
                listed_only += 1
                continue
            args[0] = sessions[role]
            got = client.call(m.name, args)
            if got[:1] == ['MESSAGE_REMOVED']:
                continue    # refused before anybody asks who called
            refused = got[:1] == ['RBAC_PERMISSION_DENIED']
            if refused == may or (refused and got[1] != permission):
                wrong.append('%s as %s: %s' % (m.name, role, got[:2]))
            denied += refused
            let_in += not refused
    check(not wrong, 'every message as each role: %d refused, %d let in, %d known by list: %s' % (denied, let_in, listed_only, wrong[:8]))
    check(denied > 2500 and let_in > 7000 and listed_only < 800, 'and that is all of them')


class Endpoints:
    def __init__(self, agent):
        self.agent = agent

    def ask(self, method, path, session=None, headers=None):
        """The status."""
        c = http.client.HTTPConnection('127.0.0.1', self.agent.http_port, timeout=60)
        headers = dict(headers or {}, **({'Cookie': 'session_id=' + session} if session else {}))
        if method in ('PUT', 'POST'):
            headers['Content-Length'] = '0'
        c.putrequest(method, path, skip_accept_encoding=True)
        for name, text in headers.items():
            c.putheader(name, text)
        c.endheaders()
        answer = c.getresponse()
        if method == 'GET':
            answer.read()    # who leaves earlier makes the call fail
        c.close()
        return answer.status


def greeting(agent):
    """What /cli says to everybody, before it asks who they are."""
    with socket.create_connection(('127.0.0.1', agent.http_port)) as c:
        c.sendall(b'POST /cli HTTP/1.0\r\ncontent-length: 4\r\n\r\nhelp')
        return c.recv(26).decode()


def endpoints(agent, s, sessions):
    ask = Endpoints(agent).ask
    routes = list(xml.etree.ElementTree.parse(os.path.join(SOURCE, 'schema', 'http.xml')).getroot().iter('route'))
    check(len(routes) > 45, '%d endpoints in the schema' % len(routes))
    for r in routes:
        method, path, least = r.get('method'), r.get('path'), r.get('role')
        name = '%s %s' % (method, path)
        if least in ('none', 'call'):
            got = greeting(agent) if path == '/cli' else ask(method, path)
            check(got not in (401, 403), '%s: everybody: %s' % (name, got))
            continue
        got = {'nobody': ask(method, path), 'a wrong session': ask(method, path, NOWHERE)}
        want = {'nobody': 401, 'a wrong session': 401}
        rank = ROLES.index('vm-operator' if least == 'client-cert' else least)
        for i, role in enumerate(ROLES):
            status = ask(method, path, sessions[role])
            got[role] = 'served' if status not in (401, 403) else status
            want[role] = 'served' if i <= rank else 403
        check(got == want, '%s: %s' % (name, least if got == want else got))
    log = open(os.path.join(agent.root, 'audit.log')).read()
    names = {r.get('permission') or r.get('name') for r in routes if r.get('role') not in ('none', 'call')}
    missing = [n for n in names if '|http/%s|' % n not in log]
    check(not missing, 'each is in the audit log by its permission: %s' % missing)

    # The same door for every way of showing who one is, and one right beyond the endpoint's own.
    basic = {role: {'Authorization': 'Basic ' + base64.b64encode(('%s:secret' % role).encode()).decode()} for role in ROLES}
    for role, status in (('read-only', 403), ('vm-operator', 403), ('pool-operator', 403), ('pool-admin', 200)):
        check(ask('GET', '/pool/xmldbdump', headers=basic[role]) == status, 'a password of %s: %d' % (role, status))
    dom0 = [r['uuid'] for r in s.VM.get_all_records().values() if r['is_control_domain']][0]
    for role in ROLES:
        status = ask('CONNECT', '/console?uuid=' + dom0, sessions[role])
        check((status == 403) == (role != 'pool-admin'), 'the console of the host itself: %s: %d' % (role, status))


def tasks(agent, s, sessions):
    """A task that somebody else made is not for a request to end."""
    ask = Endpoints(agent).ask
    reader, admin = sessions['read-only'], sessions['pool-admin']
    client = Client(agent)

    def made(session):
        client.connection.request('POST', '/jsonrpc', json.dumps({'jsonrpc': '2.0', 'method': 'task.create', 'id': 1,
                                                                  'params': [session, 'x', '']}))
        return json.loads(client.connection.getresponse().read())['result']
    mine, theirs = made(reader), made(admin)
    check(ask('GET', '/audit_log?task_id=' + mine, reader) == 200 and wait_until(lambda: s.task.get_status(mine) == 'success', 5),
          'my task follows my request')
    check(ask('GET', '/audit_log?task_id=' + theirs, reader) == 403 and s.task.get_status(theirs) == 'pending', "another user's does not")
    check(ask('GET', '/audit_log?task_id=' + theirs, admin) == 200 and wait_until(lambda: s.task.get_status(theirs) == 'success', 5),
          'its own does')


with Agent() as agent:
    s = agent.login()
    sessions = users(agent, s)
    messages(agent, s, sessions)
    endpoints(agent, s, sessions)
    tasks(agent, s, sessions)
done()
