#!/usr/bin/python3
"""What xe says to do after an error: on a terminal and with --advice, never else; and doing it helps."""
import os
import shlex
import subprocess

from harness import BUILD, PASSWORD, USER, Agent, check, done
from terminal import Terminal

XE = os.path.join(BUILD, 'xe', 'xe')


def run(agent, *args):
    return subprocess.run([XE, *args], env={'XAPI_SOCKET': agent.socket, 'HOME': agent.root, 'PATH': os.environ['PATH']}, capture_output=True,
                          text=True, input='', timeout=60)


def advised(agent, *args):
    """The commands that stand behind an error, as words; and that the error itself is the same with and without."""
    plain, more = run(agent, *args), run(agent, '--advice', *args)
    check(plain.returncode == more.returncode == 1 and plain.stdout == more.stdout and more.stderr.startswith(plain.stderr) and
          '\n    xe ' not in plain.stderr, '%s: the error is to the letter what it is without' % args[0])
    return [shlex.split(line.strip())[1:] for line in more.stderr[len(plain.stderr):].splitlines() if line.startswith('    xe ')]


with Agent() as agent:
    s = agent.login()
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'guest')
    s.VM.provision(vm)
    uuid = s.VM.get_uuid(vm)
    for way in ([], ['--xmlrpc'], ['-s', 'localhost', '-p', str(agent.https_port), '-u', USER, '-pw', PASSWORD]):
        commands = advised(agent, 'vm-suspend', 'uuid=' + uuid, *way)
        check(commands == [['vm-start', 'uuid=' + uuid]], 'a VM that is halted is to be started')
        check(run(agent, *commands[0]).returncode == 0 and s.VM.get_power_state(vm) == 'Running', 'which works')
        commands = advised(agent, 'vm-start', 'uuid=' + uuid, *way)
        check(commands[0] == ['vm-shutdown', 'uuid=' + uuid] and run(agent, *commands[0]).returncode == 0 and
              s.VM.get_power_state(vm) == 'Halted', 'one that runs is to be shut down, which works')
    commands = advised(agent, 'vdi-destroy', 'uuid=1')
    check(commands == [['vdi-list']] and run(agent, 'vdi-list').returncode == 0, 'a uuid that there is not: the list of the class')
    for failing in (['vm-start', 'vm=nobody'], ['host-disable', 'host=nobody'], ['sr-data-source-list', 'sr=nobody'],
                    ['vm-install', 'new-name-label=x', 'template=nobody'], ['vdi-destroy'], ['vm-start', 'colour=red'], ['vm-start']):
        commands = advised(agent, *failing)
        check(commands and run(agent, *commands[0]).returncode == 0, 'xe\'s own error says what to run: xe %s' % ' '.join(commands[0]))
    r = run(agent, 'help', 'vm-strat')
    check(r.returncode == 0 and r.stdout == "Unknown command 'vm-strat'\n" and r.stderr == 'Did you mean vm-start?\n', 'help guesses too')
    r = run(agent, 'vm-list', '--advice', '-s', '127.0.0.1', '-p', str(agent.http_port), '-pw', 'wrong')
    check(r.stderr.startswith('Authentication failed\n') and '-pwf' in r.stderr, 'a wrong password')
    env = {'PATH': os.path.dirname(XE) + ':' + os.environ['PATH'], 'XAPI_SOCKET': agent.socket, 'HOME': agent.root}
    with Terminal(env) as t:
        t.run('xe vm-suspend vm=guest')
        check(t.wait('    xe vm-start uuid=' + uuid), 'on a terminal it is said unasked')
        t.wait_prompt()
        with open(os.path.join(agent.root, '.xe'), 'w') as f:
            f.write('advice=false\n')
        t.run('xe vm-suspend vm=guest')
        check(t.wait('actual: halted') and t.wait_prompt() and 'xe vm-start' not in t.screen(), 'unless ~/.xe says not to')
done()
