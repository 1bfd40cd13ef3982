#!/usr/bin/python3
"""Completion of xe against an agent: what bash's function offers, and what TAB does in real bash, zsh and fish."""
import concurrent.futures
import os
import re
import subprocess

from harness import BUILD, PASSWORD, SOURCE, USER, Agent, check, done
from terminal import PROMPT, Terminal

FOLDER = os.path.join(SOURCE, 'doc', 'completion')
FILE = os.path.join(FOLDER, 'xe')
SCRIPT = '. "$0"; COMP_LINE=$1; COMP_POINT=${#1}; _xe; [ ${#COMPREPLY[@]} = 0 ] || printf "%s\\n" "${COMPREPLY[@]}"'


def environment(agent):
    return {'PATH': os.path.join(BUILD, 'xe') + ':' + os.environ['PATH'], 'XAPI_SOCKET': agent.socket, 'HOME': agent.root}


def offers(agent, line):
    r = subprocess.run(['bash', '-c', SCRIPT, FILE, line], env=environment(agent), capture_output=True, text=True, timeout=30)
    assert not r.stderr, r.stderr
    return r.stdout.splitlines()


SHELLS = {
    'bash': (('bash', '--norc', '--noprofile', '-i'), 'bind "set bell-style none"; . %s/xe'),
    'zsh': (('zsh', '-f', '-i'), 'fpath=(%s/zsh $fpath); autoload -U compinit; compinit -D -u'),
    'fish': (('fish', '--private', '--no-config', '-i', '-C', 'function fish_prompt; echo -n "%s"; end' % PROMPT.replace('$', '\\$')),
             'source %s/fish/xe.fish'),
}


def terminal(agent, shell):
    """What stands on the line after TAB, in a real shell; what is typed then shows where the cursor is."""
    words, setup = SHELLS[shell]
    with Terminal(environment(agent), columns=150, shell=words) as t:
        t.run(setup % FOLDER + '; echo do""ne')
        t.wait(re.compile('^done$', re.M))
        for line, want in (
                ('xe vm-suspen', 'xe vm-suspend '), ('xe vm-start vm=pl', 'xe vm-start vm=plain '),
                ('xe vm-start vm=tw', 'xe vm-start vm=two\\ words '), ('xe vm-start vm=two\\ w', 'xe vm-start vm=two\\ words '),
                ('xe vm-start vm="two w', 'xe vm-start vm=two\\ words ' if shell == 'zsh' else 'xe vm-start vm="two words" '),
                ('xe vdi-create sm-c', 'xe vdi-create sm-config:'), ('xe vdi-create virtual-s', 'xe vdi-create virtual-size='),
                ('xe vm-list params=uuid,power-s', 'xe vm-list params=uuid,power-state' + (' ' if shell == 'fish' else '')),
                ('xe vm-list power-state=h', 'xe vm-list power-state=halted '),
                ('xe vm-param-get uuid=%s param-name=power-' % agent.uuid, 'xe vm-param-get uuid=%s param-name=power-state ' % agent.uuid),
                ('xe vm-param-set uuid=' + agent.uuid[:30], 'xe vm-param-set uuid=%s ' % agent.uuid),
                ('xe sr-create type=fil', 'xe sr-create type=file '), ('xe help vdi-resi', 'xe help vdi-resize '),
                ('xe vm-export filename=%s/passw' % agent.root, 'xe vm-export filename=%s/passwd ' % agent.root)):
            t.keys('C-u')
            t.clear()
            t.type(line)
            t.keys('Tab')
            t.type('@')
            check(t.wait(re.compile('^' + re.escape(PROMPT + want + '@') + '$', re.M)), '%s: %s TAB' % (shell, line.replace(agent.uuid, 'UUID').replace(agent.root, 'FOLDER')))
        t.keys('C-u')
        t.clear()
        t.type('xe vm-s')
        t.keys('Tab')
        if shell == 'bash':
            t.keys('Tab')
        check(t.wait('vm-shutdown') and t.wait('vm-snapshot-with-quiesce') and
              (shell == 'bash' or t.wait('Saves the memory of a running VM')), shell + ': what fits is listed, and what it is for')


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
    check(offers(agent, 'xe -s nowhere.invalid -p 1 vm-start vm=') == [], 'the server that the line names is asked')
    check(offers(agent, 'xe -s 127.0.0.1 -p %d -u %s -pw %s vm-start vm=pl' % (agent.http_port, USER, PASSWORD.replace(' ', '\\ '))) == ['plain'],
          'as the user that it names')
    check(offers(agent, 'xe -s nowhere.invalid -p 1 vm-suspen') == ['vm-suspend'], 'commands are known without a server')


with Agent() as agent:
    s = agent.login()
    template = [r for r, v in s.VM.get_all_records().items() if v['name_label'] == 'Other install media'][0]
    for name in ('plain', 'two words', 'a,b'):
        s.VM.provision(s.VM.clone(template, name))
    functions(agent, s)
    agent.uuid = s.VM.get_uuid(s.VM.get_by_name_label('plain')[0])
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for future in [pool.submit(terminal, agent, shell) for shell in SHELLS]:
            future.result()
done()
