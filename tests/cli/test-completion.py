#!/usr/bin/python3
"""doc/completion/xe against an agent: what bash offers, as a function and through a real terminal."""
import os
import pty
import select
import signal
import subprocess
import time

from harness import BUILD, SOURCE, Agent, check, done

FILE = os.path.join(SOURCE, 'doc', 'completion', 'xe')
SCRIPT = '. "$0"; COMP_LINE=$1; COMP_POINT=${#1}; _xe; [ ${#COMPREPLY[@]} = 0 ] || printf "%s\\n" "${COMPREPLY[@]}"'


def environment(agent):
    return {'PATH': os.path.join(BUILD, 'xe') + ':' + os.environ['PATH'], 'XAPI_SOCKET': agent.socket, 'HOME': agent.root,
            'TERM': 'dumb', 'PS1': '$ '}


def offers(agent, line):
    r = subprocess.run(['bash', '-c', SCRIPT, FILE, line], env=environment(agent), capture_output=True, text=True, timeout=30)
    assert not r.stderr, r.stderr
    return r.stdout.splitlines()


def typed(agent, line):
    """What stands on the line after TAB, typed at a real terminal."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execvpe('bash', ['bash', '--norc', '--noprofile', '-i'], environment(agent))
    os.write(fd, ('bind "set enable-bracketed-paste off"; stty cols 500; . %s; echo rea""dy\n' % FILE).encode())
    out, until = b'', time.monotonic() + 30
    sent = False
    last = time.monotonic()
    while time.monotonic() < until:
        if select.select([fd], [], [], 0.1)[0]:
            try:
                out += os.read(fd, 65536)
            except OSError:
                break
            last = time.monotonic()
        if not sent and b'ready\r\n' in out and out.endswith(b'$ '):
            sent, out = True, b''
            os.write(fd, line.encode() + b'\t')
        elif sent and out and time.monotonic() - last > 1.5:
            break
    os.kill(pid, signal.SIGKILL)
    os.close(fd)
    os.waitpid(pid, 0)
    return out.decode(errors='replace').replace('\a', '')


def functions(agent, s):
    check(offers(agent, 'xe vm-suspen') == ['vm-suspend'], 'a command')
    check(len(offers(agent, 'xe ')) > 600, 'all of them')
    check(offers(agent, 'xe help vdi-resi') == ['vdi-resize'], 'a command behind help')
    check(offers(agent, 'xe no-such-command x=') == [], 'nothing of a command that does not exist')
    got = offers(agent, 'xe vdi-create ')
    check({'sr-uuid=', 'name-label=', 'virtual-size=', 'sm-config:'} <= set(got), 'parameters, a map with its colon')
    got = offers(agent, 'xe vm-start ')
    check({'vm=', 'uuid=', '--multiple', '--force', 'power-state='} <= set(got), 'selectors stand for the object and its fields')
    check(offers(agent, 'xe vm-start --mult') == ['--multiple'], 'a switch')
    check(sorted(offers(agent, 'xe vm-start vm=')) == ['a,b', 'plain', 'two\\ words'], 'names of VMs, quoted')
    check(offers(agent, 'xe vm-start vm=two\\ w') == ['two\\ words'], 'that were begun')
    check(offers(agent, 'xe vm-start vm="two w') == ['two words'], 'without backslashes inside quotes')
    check(offers(agent, 'xe vm-install template=Other\\ in') == ['Other\\ install\\ media'], 'templates')
    uuids = [s.VM.get_uuid(r) for name in ('a,b', 'plain', 'two words') for r in s.VM.get_by_name_label(name)]
    check(set(uuids) <= set(offers(agent, 'xe vm-param-set uuid=')), 'uuids of the command\'s class')
    check(set(uuids) <= set(offers(agent, 'xe vbd-create vm-uuid=')), 'uuids of the parameter\'s class')
    check(offers(agent, 'xe vm-param-set uuid=%s name-label=' % uuids[1]) == ['plain'], 'what a field is now')
    check(offers(agent, 'xe vm-list power-state=h') == ['halted'], 'values of a filter')
    check(offers(agent, 'xe vm-list params=uuid,power-s') == ['uuid,power-state'], 'fields, one behind the other')
    check(offers(agent, 'xe vm-param-get uuid=x param-name=power-') == ['power-state'], 'fields of the class')
    check('file' in offers(agent, 'xe sr-create name-label=x type='), 'types of storage')
    check(offers(agent, 'xe vm-export filename=%s/passw' % agent.root) == [agent.root + '/passwd'], 'files')
    check(offers(agent, 'xe -s nowhere.invalid -p 1 vm-li') == [], 'the server that the line names is asked')
    check(offers(agent, 'xe -s 127.0.0.1 -p %d vm-lis' % agent.http_port) == ['vm-list'], 'help needs no password')


def terminal(agent):
    for line, want in (('xe vm-suspen', 'xe vm-suspend '), ('xe vm-start vm=pl', 'xe vm-start vm=plain '), ('xe vm-start vm=tw', 'xe vm-start vm=two\\ words '),
                       ('xe vm-start vm="two w', 'xe vm-start vm="two words" '), ('xe vdi-create sm-c', 'xe vdi-create sm-config:'),
                       ('xe vdi-create virtual-s', 'xe vdi-create virtual-size='), ('xe vm-list params=uuid,power-s', 'xe vm-list params=uuid,power-state')):
        got = typed(agent, line)
        check(got.rstrip('\r\n') == want, '%s TAB' % line)
        if got != want:
            print('# ' + repr(got))


with Agent() as agent:
    s = agent.login()
    template = [r for r, v in s.VM.get_all_records().items() if v['name_label'] == 'Other install media'][0]
    for name in ('plain', 'two words', 'a,b'):
        s.VM.provision(s.VM.clone(template, name))
    functions(agent, s)
    terminal(agent)
done()
