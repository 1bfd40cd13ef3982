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
standard input, NAME=xe keeps the output in a variable. uuids, MAC addresses and times are numbered in the order in which
they appear; the host's name is HOST.

Each runs five ways, each on an agent of its own: the thin protocol over the unix socket, TCP and TLS, and XML-RPC over the
unix socket and TLS. With GOLDEN_UPDATE=1 the transcripts are written anew. With XE_GOLDEN_SOCKET the agent that answers on
that socket is used, and only it. Arguments: the transcripts to run, all without.
"""
import concurrent.futures
import os
import re
import shlex
import socket
import subprocess
import sys

from harness import BUILD, PASSWORD, SOURCE, USER, Agent, check, done

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

    def __init__(self):
        self.seen = {}

    def hide(self, text):
        for kind, pattern in PATTERNS:
            names = self.seen.setdefault(kind, {})
            text = pattern.sub(lambda m: names.setdefault(m.group(0), '%s-%d' % (kind, len(names) + 1)), text)
        return re.sub(r'(?<=: )%s$' % re.escape(socket.gethostname()), 'HOST', text)


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


def run(step, variables, connection):
    remarks, command, stdin = step
    name, eq, rest = command.partition('=xe ')
    words = shlex.split('xe ' + rest if eq else command)
    assert words[0] == 'xe', command
    words = [re.sub(r'\$(\w+)', lambda m: variables[m.group(1)], w) for w in words[1:]]
    env = {k: v for k, v in os.environ.items() if k not in ('XE_EXTRA_ARGS', 'HOME')}
    env.update(connection[0])
    answer = subprocess.run([XE] + connection[1] + words, input=stdin, env=env, capture_output=True, text=True, timeout=120)
    if eq:
        variables[name] = answer.stdout.strip()
    lines = ['', *remarks] if remarks else []
    lines += ['$ ' + command, *('< ' + line for line in stdin.splitlines()), *answer.stdout.splitlines()]
    lines += ['! ' + line for line in answer.stderr.splitlines()]
    if answer.returncode:
        lines.append('[%d]' % answer.returncode)
    return lines


def play(path, connection):
    steps, expected = read(path)
    names, variables, lines = Names(), {}, []
    for step in steps:
        lines += [line if line.startswith(('$ ', '< ', '#')) else names.hide(line) for line in run(step, variables, connection)]
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
    'tcp': lambda agent: ({}, ['-s', '127.0.0.1', '-p', str(agent.http_port)] + LOGIN),
    'tls': lambda agent: ({}, ['-s', 'localhost', '-p', str(agent.https_port)] + LOGIN),
    'xmlrpc, unix': lambda agent: ({'XAPI_SOCKET': agent.socket}, ['--xmlrpc']),
    'xmlrpc, tls': lambda agent: ({}, ['--xmlrpc', '-s', 'localhost', '-p', str(agent.https_port)] + LOGIN),
}


def play_on_new_agent(path, way):
    with Agent() as agent:
        return play(path, WAYS[way](agent))


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
        plays = {(path, way): pool.submit(play_on_new_agent, path, way) for path in paths for way in WAYS}
        for path in paths:
            for way in WAYS:
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
