#!/usr/bin/python3
"""xe --xmlrpc against servers that are not ours: a small one of Python's own XML-RPC library, with the records of another
release, and all the ways in which a server can be no XenAPI server at all: each ends with a sentence and exit status 1."""
import http.server
import os
import re
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import xmlrpc.client

from harness import BUILD, Agent, check, done, wait_until

XE = os.path.join(BUILD, 'xe', 'xe')
SESSION = 'OpaqueRef:5e551011-0000-4000-8000-000000000001'
VM, SR = ('OpaqueRef:0b7ec7ed-0000-4000-8000-00000000000%d' % n for n in (1, 2))
UUID = '0b7ec7ed-0000-4000-8000-000000000009'
# Of an older release, with fields that ours does not have and without most that it has; ints as a library writes them.
RECORD = {'uuid': UUID, 'name_label': '\u4e16\u754c & <b>', 'power_state': 'Running', 'is_a_template': False, 'is_control_domain': False,
          'memory_static_max': '4294967296', 'memory_static_min': 1048576, 'VCPUs_max': 2, 'other_config': {'a': 'b'}, 'tags': ['x', 'y'],
          'snapshot_time': xmlrpc.client.DateTime('20260821T02:00:23'), 'ceased_field': {'deep': [1, 2]}, 'user_version': xmlrpc.client.MAXINT}


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, answer):
        super().__init__(('127.0.0.1', 0), Handler)
        self.answer, self.calls = answer, []
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class Plain:
    """Something that speaks no TLS."""

    def __enter__(self):
        self.socket = socket.create_server(('127.0.0.1', 0))
        threading.Thread(target=self.serve, daemon=True).start()
        return self.socket.getsockname()[1]

    def serve(self):
        try:
            with self.socket.accept()[0] as c:
                c.recv(65536)
                c.sendall(b'HTTP/1.0 400 Bad Request\r\n\r\n')
        except OSError:
            pass

    def __exit__(self, *_):
        self.socket.close()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def do_POST(self):
        body = self.rfile.read(int(self.headers['Content-Length']))
        args, method = xmlrpc.client.loads(body)
        self.server.calls.append((method, args, self.path))
        try:
            self.server.answer(self, method, args)
        except OSError:
            pass                       # some clients here do not wait for the answer

    def reply(self, status, body=b'', **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace('_', '-'), value)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def say(self, value):
        self.reply(200, xmlrpc.client.dumps(({'Status': 'Success', 'Value': value},), methodresponse=True, allow_none=True).encode())

    def fail(self, *error):
        self.reply(200, xmlrpc.client.dumps(({'Status': 'Failure', 'ErrorDescription': list(error)},), methodresponse=True).encode())

    def log_message(self, *_):
        pass


def small(h, method, args):
    """A server with one VM."""
    if method == 'session.login_with_password':
        if args[:2] == ('root', 'secret'):
            h.say(SESSION)
        else:
            h.fail('SESSION_AUTHENTICATION_FAILED', args[0], 'no')
    elif args[:1] != (SESSION,):
        h.fail('SESSION_INVALID', *args[:1])
    elif method == 'session.logout':
        h.say('')
    elif method == 'VM.get_all_records':
        h.say({VM: RECORD})
    elif method in ('VM.get_by_uuid', 'VM.get_record', 'VM.get_uuid') and args[1] in (VM, UUID):
        h.say({'VM.get_by_uuid': VM, 'VM.get_record': RECORD, 'VM.get_uuid': UUID}[method])
    elif method == 'VM.set_name_label':
        h.fail('A_CODE_OF_THEIRS', VM, 'two')
    elif method == 'VM.add_to_other_config':
        h.fail('HANDLE_INVALID', 'SR', SR)
    else:
        h.fail('HANDLE_INVALID', method.split('.')[0], args[-1] if isinstance(args[-1], str) else '')


def xe(port, *args, password='secret', **named):
    command = [XE, '--xmlrpc', '--nossl', '-s', '127.0.0.1', '-p', str(port), '-u', 'root', '-pw', password, *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, **named)


def broken(what, r, sentence, code=1):
    good = r.returncode == code and sentence in r.stderr and r.stderr.count('\n') == 1 and not r.stdout
    if not check(good, '%s: %s' % (what, sentence)):
        print('# [%d] %r %r' % (r.returncode, r.stdout[:500], r.stderr[:500]))


def other_server():
    with Server(small) as s:
        r = xe(s.server_port, 'vm-list', 'params=name-label,power-state,memory-static-max,VCPUs-max,tags,other-config,snapshot-time,user-version')
        for line in ('name-label ( RW): \u4e16\u754c & <b>', 'power-state ( RO): running', 'memory-static-max ( RW): 4294967296',
                     'VCPUs-max ( RW): 2', 'tags (SRW): x, y', 'other-config (MRW): a: b', 'snapshot-time ( RO): 20260821T02:00:23Z',
                     'user-version ( RW): 2147483647'):
            check(line in re.sub(' +:', ':', r.stdout), 'the record of another release: ' + line)
        check(r.returncode == 0 and not r.stderr, 'and no error')
        r = xe(s.server_port, 'vm-list', 'params=name-description,VCPUs-at-startup', 'uuid=' + UUID)
        check(r.stdout == 'name-description ( RW)    : \n    VCPUs-at-startup ( RW): 0\n\n\n', 'what it does not know has its default')
        check([c[0] for c in s.calls[-3:]] == ['session.login_with_password', 'VM.get_all_records', 'session.logout'],
              'three calls: login, records, logout')
        check(s.calls[-1][1] == (SESSION,), 'the session that was made is ended')
        r = xe(s.server_port, 'vm-param-set', 'uuid=' + UUID, 'name-label=a\x01b')
        check(r.returncode == 1 and r.stderr == 'Error code: A_CODE_OF_THEIRS\nError parameters: %s (%s), two\n' % (UUID, RECORD['name_label']),
              'an error that only it knows is shown as it is, references by name')
        check(('VM.set_name_label', (SESSION, VM, 'ab'), '/') in s.calls, 'and what XML cannot carry is left out')
        r = xe(s.server_port, 'vm-param-add', 'uuid=' + UUID, 'param-name=other-config', 'k=v')
        check(r.returncode == 1 and SR in r.stderr, 'a reference to nothing stays a reference: ' + repr(r.stderr))
        r = xe(s.server_port, 'vm-list', password='guess')
        check(r.returncode == 1 and r.stderr.startswith('Authentication failed\n'), 'a wrong password')
        r = xe(s.server_port, 'help', 'vm-start')
        check(r.returncode == 0 and 'reqd params' in r.stdout, 'help needs no server')


def no_server():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        broken('nobody listens', xe(s.getsockname()[1], 'vm-list'), 'cannot connect to 127.0.0.1:')
    r = subprocess.run([XE, '--xmlrpc', '--socket', '/no/such/socket', 'vm-list'], capture_output=True, text=True, timeout=60)
    broken('no socket', r, 'cannot connect to /no/such/socket: No such file or directory')
    fault = xmlrpc.client.dumps(xmlrpc.client.Fault(-32601, 'no such method'), methodresponse=True).encode()
    for what, answer, sentence in (
            ('a fault', lambda h, m, a: h.reply(200, fault), 'does not understand session.login_with_password: no such method (fault -32601)'),
            ('HTTP 500', lambda h, m, a: h.reply(500, b'<html>'), 'answered with HTTP 500 Internal Server Error instead of XML-RPC'),
            ('HTTP 404', lambda h, m, a: h.reply(404), 'answered with HTTP 404 Not Found instead of XML-RPC'),
            ('a web page', lambda h, m, a: h.reply(200, b'<!DOCTYPE html><p>hello'), 'makes no sense'),
            ('nothing', lambda h, m, a: h.reply(200), 'makes no sense'),
            ('a document type', lambda h, m, a: h.reply(200, b'<!DOCTYPE a [<!ENTITY b "%s">]><a>&b;</a>' % (b'x' * 9000)), 'makes no sense'),
            ('another result', lambda h, m, a: h.reply(200, xmlrpc.client.dumps((['x'],), methodresponse=True).encode()), 'no result and no error'),
            ('another type', lambda h, m, a: h.say([1]), 'something else where session ref is due'),
            ('no reply', lambda h, m, a: h.connection.shutdown(socket.SHUT_RDWR), 'connection closed'),
            ('half a reply', half, 'connection closed'),
            ('no HTTP', lambda h, m, a: (h.wfile.write(b'220 mail ESMTP\r\n\r\n'), h.connection.shutdown(socket.SHUT_RDWR)), 'Protocol error')):
        with Server(answer) as s:
            broken(what, xe(s.server_port, 'vm-list'), sentence)
            check([c[0] for c in s.calls] == ['session.login_with_password'], '%s: it is asked once' % what)


def half(h, method, args):
    h.send_response(200)
    h.send_header('Content-Length', '1000')
    h.end_headers()
    h.wfile.write(b'<?xml version="1.0"?><methodResponse>')
    h.wfile.flush()
    h.connection.shutdown(socket.SHUT_RDWR)


def later():
    """It breaks off in the middle of a command, when part of the output may be there already."""
    def gone(h, method, args):
        if method.startswith('session.'):
            small(h, method, args)
        else:
            h.connection.shutdown(socket.SHUT_RDWR)

    with Server(gone) as s:
        broken('gone in the middle', xe(s.server_port, 'vm-list'), 'connection closed')
        broken('gone in the middle of --multiple', xe(s.server_port, 'vm-start', '--multiple'), 'connection closed')


def redirects():
    def to(where):
        return lambda h, m, a: h.reply(302, b'gone', Location=where)

    with Server(small) as end:
        with Server(to('http://127.0.0.1:%d/RPC2' % end.server_port)) as s:
            r = xe(s.server_port, 'vm-list', '--minimal')
            check(r.stdout == UUID + '\n', 'a redirect on the same host is followed')
            check(len(s.calls) == 1 and len(end.calls) == 3 and end.calls[0][2] == '/RPC2', 'once, and kept')
        with Server(to('http://localhost:%d/' % end.server_port)) as s:
            broken('another host', xe(s.server_port, 'vm-list'), 'sends its clients to http://localhost:%d/: say so with -s' % end.server_port)
        check(len(end.calls) == 3, 'which gets no password')
        with Server(lambda h, m, a: h.reply(301, Location='/elsewhere') if h.path == '/' else small(h, m, a)) as s:
            check(xe(s.server_port, 'vm-list', '--minimal').stdout == UUID + '\n', 'a redirect to another path is followed')
    with Server(to('/')) as s:
        broken('circles', xe(s.server_port, 'vm-list'), 'round in circles')
        check(len(s.calls) == 4, 'and stops')
    with Server(small) as end, Server(to('http://localhost:%d/' % end.server_port)) as s, tempfile.TemporaryDirectory() as folder:
        pem = os.path.join(folder, 'pem')
        subprocess.run(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '1', '-subj', '/CN=localhost', '-keyout', pem,
                        '-out', pem + '.crt'], check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem + '.crt', pem)
        s.socket = context.wrap_socket(s.socket, server_side=True)
        r = subprocess.run([XE, '--xmlrpc', '-s', 'localhost', '-p', str(s.server_port), '-u', 'root', '-pw', 'secret', 'vm-list'],
                           capture_output=True, text=True, timeout=60)
        broken('from TLS to none', r, 'sends its clients to http://localhost:%d/: say so with -s' % end.server_port)
        check(not end.calls and len(s.calls) == 1, 'and the password does not go there')
    with Server(to('ftp://127.0.0.1/')) as s:
        broken('another protocol', xe(s.server_port, 'vm-list'), 'sends its clients to ftp:')


def slow():
    """Answers in dribs and drabs; and a client that ends meanwhile takes its helper and its session along."""
    waiting, go = threading.Event(), threading.Event()

    def dribble(h, method, args):
        if method != 'VM.get_all_records':
            return small(h, method, args)
        body = xmlrpc.client.dumps(({'Status': 'Success', 'Value': {VM: RECORD}},), methodresponse=True).encode()
        h.send_response(200)
        h.send_header('Transfer-Encoding', 'chunked')
        h.end_headers()
        for at in range(0, len(body), 200):
            piece = body[at:at + 200]
            h.wfile.write(b'%x\r\n%s\r\n' % (len(piece), piece))
            h.wfile.flush()
            time.sleep(0.02)
        h.wfile.write(b'0\r\n\r\n')

    def hang(h, method, args):
        if method == 'VM.get_all_records':
            waiting.set()
            go.wait(60)
        small(h, method, args)

    with Server(dribble) as s:
        check(xe(s.server_port, 'vm-list', '--minimal').stdout == UUID + '\n', 'a slow answer in chunks')
    with Server(hang) as s:
        command = [XE, '--xmlrpc', '--nossl', '-s', '127.0.0.1', '-p', str(s.server_port), '-u', 'root', '-pwf', '/dev/stdin', 'vm-list']
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        child.stdin.write('root\nsecret\n')
        child.stdin.close()
        check(waiting.wait(60), 'the server is asked')
        helpers = [pid for pid in processes() if ('--port\0%d\0' % s.server_port) in cmdline(pid)]
        check(len(helpers) == 1 and cmdline(helpers[0]).startswith('xe-xmlrpc\0'), 'the commands run in a process of their own')
        check('secret' not in cmdline(helpers[0]) + cmdline(child.pid), 'whose arguments do not have the password')
        child.send_signal(signal.SIGINT)
        check(child.wait(60) == 130, 'Ctrl-C ends xe at once')
        check(wait_until(lambda: not cmdline(helpers[0])), 'and its helper')
        check(wait_until(lambda: ('session.logout', (SESSION,), '/') in s.calls), 'which ends the session')
        go.set()


def processes():
    return [pid for pid in os.listdir('/proc') if pid.isdigit()]


def cmdline(pid):
    try:
        with open('/proc/%s/cmdline' % pid) as f:
            return f.read()
    except OSError:
        return ''


def ours():
    """What transcripts do not show: another address, TLS where there is none, options from the file."""
    with Agent() as agent:
        login = ['-u', 'root', '-pw', 'correct horse']
        r = subprocess.run([XE, '--xmlrpc', '-s', '[::1]', '-p', str(agent.https_port), *login, 'vm-list'], capture_output=True, text=True, timeout=60)
        broken('another address family', r, 'cannot connect to [::1]:')
        with Plain() as port:
            r = subprocess.run([XE, '--xmlrpc', '-s', 'localhost', '-p', str(port), *login, 'vm-list'], capture_output=True, text=True, timeout=60)
        check(r.returncode == 1 and r.stderr.startswith('Error: TLS'), 'no TLS there: ' + r.stderr.strip())
        with open(os.path.join(agent.root, '.xe'), 'w') as f:
            f.write('xmlrpc=true\nserver=localhost\nport=%d\nusername=root\npassword=correct horse\n' % agent.https_port)
        r = subprocess.run([XE, '--debug', 'vm-list', '--minimal'], env=dict(os.environ, HOME=agent.root), capture_output=True, text=True, timeout=60)
        check(r.returncode == 0 and len(r.stdout.strip()) == 36, '~/.xe may say xmlrpc=true')
        big = 'x' * 200000
        r = subprocess.run([XE, 'vm-list', '--minimal', 'params=name-label', 'name-label=' + big[:100000]], env=dict(os.environ, HOME=agent.root),
                           capture_output=True, text=True, timeout=60)
        check(r.returncode == 0 and r.stdout == '\n', 'long arguments')
        sessions = agent.login().session.get_all_subject_identifiers()
        check(sessions == [], 'no session is left behind')


other_server()
no_server()
later()
redirects()
slow()
ours()
done()
