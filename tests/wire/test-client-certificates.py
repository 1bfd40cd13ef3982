#!/usr/bin/env python3
"""Clients known by a TLS certificate: whose counts, what it opens, how that ends; and living connections that see nothing of it."""
import http.client
import json
import os
import shutil
import ssl
import subprocess
import tempfile

from harness import PASSWORD, Agent, check, done, fails, unwrap

top = tempfile.mkdtemp(prefix='xapi-test-cert-')


def openssl(*args):
    subprocess.run(['openssl', *args], check=True, capture_output=True, cwd=top)


def authority(name):
    openssl('req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', name + '.key', '-out', name + '.crt', '-days', '10', '-subj', '/CN=' + name)


def client(name, ca, cn, alternatives=None):
    openssl('req', '-newkey', 'rsa:2048', '-nodes', '-keyout', name + '.key', '-out', name + '.csr', '-subj', '/CN=' + cn)
    more = []
    if alternatives:
        with open(os.path.join(top, name + '.ext'), 'w') as f:
            f.write('subjectAltName=' + alternatives)
        more = ['-extfile', name + '.ext']
    openssl('x509', '-req', '-in', name + '.csr', '-CA', ca + '.crt', '-CAkey', ca + '.key', '-CAcreateserial', '-days', '10', '-out', name + '.crt', *more)


def connection(agent, name=None):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if name:
        context.load_cert_chain(os.path.join(top, name + '.crt'), os.path.join(top, name + '.key'))
    return http.client.HTTPSConnection('127.0.0.1', agent.https_port, timeout=20, context=context)


def call(c, method, *params):
    """The result, or the error's code and parameters as a list."""
    c.request('POST', '/jsonrpc', json.dumps({'jsonrpc': '2.0', 'method': method, 'params': params, 'id': 1}))
    answer = json.loads(c.getresponse().read())
    return answer['result'] if 'error' not in answer else [answer['error']['message']] + answer['error']['data']


def login(c, password=''):
    return call(c, 'session.login_with_password', 'updates', password, '', 'test')


def status(agent, path, name):
    c = connection(agent, name)
    try:
        c.request('GET', path)
        return c.getresponse().status
    except (ssl.SSLError, ConnectionError):
        return 'no connection'
    finally:
        c.close()


try:
    authority('ours')
    authority('theirs')
    client('good', 'ours', 'updates.example')
    client('other', 'ours', 'somebody.example')
    client('alternative', 'ours', 'Host 7', 'DNS:a.example,DNS:Updates.example,email:x@updates.example')
    client('named', 'ours', 'updates.example', 'DNS:a.example,email:updates.example,URI:updates.example')
    client('stranger', 'theirs', 'updates.example')
    with Agent() as agent:
        s = agent.login()
        pool = s.pool.get_all()[0]
        lasting = connection(agent)
        check(call(lasting, 'session.login_with_password', 'root', PASSWORD).startswith('OpaqueRef:'), 'a connection without a certificate')

        check(login(connection(agent, 'good'))[0] == 'SESSION_AUTHENTICATION_FAILED', 'not enabled: a certificate opens nothing')
        s.pool.install_ca_certificate('ours.pem', open(os.path.join(top, 'ours.crt')).read())
        check(login(connection(agent, 'good'))[0] == 'SESSION_AUTHENTICATION_FAILED', 'nor does a trusted one')
        fails('INVALID_VALUE', 'enabled for nobody', s.pool.enable_client_certificate_auth, pool, '')
        s.pool.enable_client_certificate_auth(pool, 'updates.example')
        check((s.pool.get_client_certificate_auth_enabled(pool), s.pool.get_client_certificate_auth_name(pool)) == (True, 'updates.example'),
              'the pool says so')

        c = connection(agent, 'good')
        ref = login(c)
        r = s.session.get_record(ref)
        check((r['client_certificate'], r['is_local_superuser'], r['auth_user_name']) == (True, False, 'updates.example'), 'the right certificate')
        names = set(r['rbac_permissions'])
        check('http/get_repository' in names and 'vm.get_all' in names and 'vm.start' not in names, 'has the permissions of client-cert')
        check(call(c, 'VM.set_name_label', ref, s.VM.get_all()[0], 'x')[0] == 'RBAC_PERMISSION_DENIED', 'and no others')
        check(call(c, 'session.change_password', ref, 'a', 'b')[0] == 'RBAC_PERMISSION_DENIED', 'least of all root\'s')
        check(login(connection(agent, 'good'), 'x')[0] == 'SESSION_AUTHENTICATION_FAILED', 'a wrong password is wrong, whatever the certificate')
        check(login(connection(agent))[0] == 'SESSION_AUTHENTICATION_FAILED', 'no certificate')
        check(login(connection(agent, 'other'))[0] == 'SESSION_AUTHENTICATION_FAILED', "somebody else's")
        check(status(agent, '/repository', 'stranger') in ('no connection', 401), 'one that nobody trusts: %s' % status(agent, '/repository', 'stranger'))
        check(login(connection(agent, 'alternative')).startswith('OpaqueRef:'), 'the name among the DNS alternatives of the certificate')
        check(login(connection(agent, 'named'))[0] == 'SESSION_AUTHENTICATION_FAILED', 'the common name of one that has others is no name')
        for name, path, want in (('alternative', '/repository', 501), ('named', '/repository', 401), ('good', '/repository', 501), ('good', '/audit_log', 200), ('good', '/pool/xmldbdump', 403),
                                 ('good', '/export', 403), ('other', '/repository', 401), (None, '/repository', 401)):
            got = status(agent, path, name)
            check(got == want, 'GET %s with %s: %s' % (path, name, got))

        # What others had open, and what this opened, while the listener changes under them.
        check(call(lasting, 'session.login_with_password', 'root', PASSWORD).startswith('OpaqueRef:'), 'a connection from before lives on')
        s.host.reset_server_certificate(s.host.get_all()[0])
        check(isinstance(call(c, 'VM.get_all', ref), list) and call(c, 'VM.get_all', ref)[0].startswith('OpaqueRef:'),
              'so does this one when the host gets another certificate')
        check(login(connection(agent, 'good')).startswith('OpaqueRef:'), 'which does not end the asking')
        s.pool.uninstall_ca_certificate('ours.pem', False)
        check(status(agent, '/repository', 'good') in ('no connection', 401), 'without its authority it opens nothing')
        s.pool.install_ca_certificate('ours.pem', open(os.path.join(top, 'ours.crt')).read())
        agent.stop()
        agent.start()
        s = agent.login()
        check(status(agent, '/repository', 'good') == 501, 'it counts after a restart')
        ref = login(connection(agent, 'good'))
        s.pool.disable_client_certificate_auth(pool)
        fails('SESSION_INVALID', 'disabled: its sessions end', lambda: unwrap(agent.proxy().VM.get_all(ref)))
        check(status(agent, '/repository', 'good') == 401 and login(connection(agent, 'good'))[0] == 'SESSION_AUTHENTICATION_FAILED',
              'and it opens nothing')
finally:
    shutil.rmtree(top, ignore_errors=True)
done()
