#!/usr/bin/python3
"""Runs the transcripts tests/cli/*.golden with xe against an agent of its own (simulator) and compares to the letter.

A transcript is what somebody would see:

    # a remark
    $ xe vm-list params=name-label
    name-label ( RW)    : guest
    ...
    $ vm=xe vm-install template='Other install media' new-name-label=guest
    UUID-1
    $ xe vm-start uuid=$vm
    ! The VM is not in the power state that this operation needs.
    [1]

"! " stands before lines of standard error, "[N]" is an exit status that is not 0, "< text" behind a command is its
standard input, NAME=xe keeps the output in a variable, _NAME=xe also out of sight: it differs from machine to machine. "$ write NAME TEXT"
makes a file in the folder where xe runs ($folder), "$ certificate NAME" NAME.pem and NAME.key, "$ file NAME" tells what is in one; "$ objects CLASS..." puts a row of
each into the database before it begins, "$ language LOCALE" is what the user speaks from then on. uuids, MAC addresses and times are numbered in
the order in which they appear; the host's name is HOST. Where $remote stands for an address, a second pool answers there, which
"xe --socket $there" asks.

Each runs three ways, each on an agent of its own: the thin protocol over the unix socket and over TLS, and XML-RPC over TLS;
that of VMs also over TCP, and XML-RPC over the unix socket. With GOLDEN_UPDATE=1 the transcripts are written anew. With XE_GOLDEN_SOCKET the agent that answers on
that socket is used, and only it. Arguments: the transcripts to run, all without.
"""
import base64
import concurrent.futures
import http.client
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import uuid

from harness import BUILD, PASSWORD, SOURCE, USER, Agent, check, done, wait_until

FOLDER = os.path.join(SOURCE, 'tests', 'cli')
XE = os.path.join(BUILD, 'xe', 'xe')
UPDATE = os.environ.get('GOLDEN_UPDATE') == '1'
PATTERNS = (
    ('UUID', re.compile(r'\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b')),
    ('MAC', re.compile(r'\b(?:[0-9a-f]{2}:){5}[0-9a-f]{2}\b')),
    ('TIME', re.compile(r'\b(?!19700101)\d{8}T\d\d:\d\d:\d\dZ')),
)


class Names:
    """The same thing gets the same number throughout a transcript."""

    def __init__(self, hidden):
        self.seen, self.hidden = {}, hidden

    def hide(self, text):
        for secret, name in self.hidden:
            text = text.replace(secret, name)
        for kind, pattern in PATTERNS:
            names = self.seen.setdefault(kind, {})
            text = pattern.sub(lambda m: names.setdefault(m.group(0), '%s-%d' % (kind, len(names) + 1)), text)
        host = re.escape(socket.gethostname())
        return re.sub(r'(?<=: )%s$|(?<=\()%s(?=\)$)' % (host, host), 'HOST', text)


def read(path):
    """[(remarks before it, command, input)] and the whole text."""
    steps, remarks = [], []
    with open(path) as f:
        text = f.read()
    for line in text.splitlines():
        if line.startswith('#') or (not line and not steps):
            remarks.append(line)
        elif line.startswith('$ '):
            steps.append([remarks, line[2:], ''])
            remarks = []
        elif line.startswith('< '):
            steps[-1][2] += line[2:] + '\n'
    return steps, text


def pseudo(words, folder, environment):
    if words[0] == 'language':
        environment['LC_ALL'] = words[1]
        return []
    if words[0] == 'objects':
        return []
    path = os.path.join(folder, words[1])
    if words[0] == 'certificate':
        subprocess.run(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=%s.example' % words[1], '-days', '30',
                        '-addext', 'subjectAltName=DNS:%s.example' % words[1], '-out', path + '.pem', '-keyout', path + '.key'],
                       check=True, capture_output=True)
        return []
    if words[0] == 'write':
        with open(path, 'w') as f:
            f.write(' '.join(words[2:]).replace('\\n', '\n'))
        return []
    assert words[0] == 'file', words
    if not os.path.exists(path):
        return ['none']
    with open(path, 'rb') as f:
        data = f.read()
    return ['empty' if not data else 'text: ' + data.decode() if len(data) < 100 and data.isascii() and data.decode().isprintable() else
            'gzip' if data[:2] == b'\x1f\x8b' else 'zstd' if data[:4] == b'\x28\xb5\x2f\xfd' else 'tar of ' + data[:100].rstrip(b'\0').decode()
            if data[257:262] == b'ustar' else 'bzip2' if data[:3] == b'BZh' else '%d bytes' % len(data) if not any(data) else 'data']


def run(step, variables, connection, folder, environment):
    remarks, command, stdin = step
    name, eq, rest = command.partition('=xe ')
    words = shlex.split('xe ' + rest if eq else command)
    if words[0] != 'xe':
        return (['', *remarks] if remarks else []) + ['$ ' + command] + pseudo(words, folder, environment)
    words = [re.sub(r'\$(\w+)', lambda m: variables[m.group(1)], w) for w in words[1:]]
    env = {k: v for k, v in os.environ.items() if k not in ('XE_EXTRA_ARGS', 'HOME')}
    if words[0] == '--socket':
        connection = {}, []
    env.update(connection[0], **environment)
    answer = subprocess.run([XE] + connection[1] + words, input=stdin, env=env, cwd=folder, capture_output=True, text=True, timeout=120)
    if eq:
        variables[name] = answer.stdout.strip()
    lines = ['', *remarks] if remarks else []
    lines += ['$ ' + command, *('< ' + line for line in stdin.splitlines())]
    if not name.startswith('_') or not eq:
        lines += answer.stdout.splitlines()
    lines += ['! ' + line for line in answer.stderr.splitlines()]
    if answer.returncode:
        lines.append('[%d]' % answer.returncode)
    return lines


def play(path, connection):
    steps, expected = read(path)
    if '$remote' not in expected and '$there' not in expected:
        return play_steps(steps, expected, connection, {}, [])
    with Agent() as there:
        address = '127.0.0.1:%d' % there.https_port
        return play_steps(steps, expected, connection, {'remote': address, 'there': there.socket}, [(address, 'REMOTE')])


def play_steps(steps, expected, connection, variables, hidden):
    folder = tempfile.mkdtemp(prefix='xe-golden-')
    names, lines, environment = Names([(folder, 'FOLDER')] + hidden), [], {}
    variables['folder'] = folder
    for step in steps:
        lines += [line if line.startswith(('$ ', '< ', '#')) else names.hide(line) for line in run(step, variables, connection, folder, environment)]
    shutil.rmtree(folder)
    while lines and not lines[0]:
        lines.pop(0)
    return expected, '\n'.join(lines) + '\n'


def show_difference(expected, got):
    import difflib
    for line in difflib.unified_diff(expected.splitlines(), got.splitlines(), 'expected', 'got', lineterm='', n=2):
        print('# ' + line)


LOGIN = ['-u', USER, '-pw', PASSWORD]
WAYS = {
    'unix': lambda agent: ({'XAPI_SOCKET': agent.socket}, []),
    'tls': lambda agent: ({}, ['-s', 'localhost', '-p', str(agent.https_port)] + LOGIN),
    'xmlrpc': lambda agent: ({}, ['--xmlrpc', '-s', 'localhost', '-p', str(agent.https_port)] + LOGIN),
}
MORE_WAYS = {
    'tcp': lambda agent: ({}, ['-s', '127.0.0.1', '-p', str(agent.http_port)] + LOGIN),
    'xmlrpc, unix': lambda agent: ({'XAPI_SOCKET': agent.socket}, ['--xmlrpc']),
}


def ways(path):
    return {**WAYS, **MORE_WAYS} if os.path.basename(path) == 'vm.golden' else WAYS


def database(agent, method, body=None):
    login = base64.b64encode(('%s:%s' % (USER, PASSWORD)).encode()).decode()
    c = http.client.HTTPConnection('127.0.0.1', agent.http_port, timeout=60)
    c.request(method, '/pool/xmldbdump', body, {'Authorization': 'Basic ' + login})
    answer = c.getresponse()
    text = answer.read()
    c.close()
    assert answer.status == 200, (answer.status, text)
    return text


def make_objects(agent, classes):
    """A row of each class, with the defaults of its fields; the agent starts anew with them."""
    text = database(agent, 'GET').decode()
    for cls in classes:
        name = str(uuid.uuid4())
        head = '<table name="%s">\n' % cls
        assert head in text, cls
        text = text.replace(head, head + '<row ref="OpaqueRef:%s" uuid="%s"/>\n' % (uuid.uuid4(), name))
    before = os.stat(os.path.join(agent.root, 'ready')).st_mtime_ns
    database(agent, 'PUT', text.encode())

    def anew():
        try:
            return os.stat(os.path.join(agent.root, 'ready')).st_mtime_ns != before
        except OSError:
            return False
    assert wait_until(anew, 120), agent.tail()
    agent.wait_ready()


def play_on_new_agent(path, way):
    with Agent() as agent:
        for _, command, _ in read(path)[0]:
            if command.startswith('objects '):
                make_objects(agent, command.split()[1:])
        return play(path, ways(path)[way](agent))


def main():
    only = sys.argv[1:]
    paths = [os.path.join(FOLDER, name) for name in sorted(os.listdir(FOLDER))
             if name.endswith('.golden') and (not only or name[:-7] in only)]
    outside = os.environ.get('XE_GOLDEN_SOCKET')
    if outside:
        for path in paths:
            expected, got = play(path, ({'XAPI_SOCKET': outside}, []))
            if not check(expected == got, os.path.basename(path)):
                show_difference(expected, got)
        done()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        plays = {(path, way): pool.submit(play_on_new_agent, path, way) for path in paths for way in ways(path)}
        for path in paths:
            for way in ways(path):
                expected, got = plays[path, way].result()
                if UPDATE and way == 'unix':
                    with open(path, 'w') as f:
                        f.write(got)
                if UPDATE:
                    expected = open(path).read()
                if not check(expected == got, '%s over %s' % (os.path.basename(path)[:-7], way)):
                    show_difference(expected, got)
    done()


main()
