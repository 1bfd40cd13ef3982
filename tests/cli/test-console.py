#!/usr/bin/python3
"""xe vm-console in a real terminal, against a simulated guest whose text console echoes: attaching, keys, Ctrl-], what
happens to the terminal, and what it says when there is nothing to attach to."""
import os
import re
import signal
import subprocess

from harness import BUILD, PASSWORD, USER, Agent, check, done
from terminal import Terminal

XE = os.path.join(BUILD, 'xe', 'xe')


def make_vm(s, name, domain_type):
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], name)
    s.VM.provision(vm)
    s.VM.set_domain_type(vm, domain_type)
    return vm


def run(agent, *args):
    return subprocess.run([XE, *args], env=dict(os.environ, XAPI_SOCKET=agent.socket, HOME=agent.root), capture_output=True, text=True,
                          input='', timeout=60)


def errors(agent, s, text):
    r = run(agent, 'vm-console', 'vm=text')
    check(r.returncode == 1 and 'power state' in r.stderr and 'expected: running\nactual: halted\n' in r.stderr and
          s.VM.get_uuid(text) + ' (text)' in r.stderr, 'of a VM that does not run: says so, and which VM')
    r = run(agent, 'vm-console', 'vm=nobody')
    check((r.returncode, r.stderr) == (1, 'No VM found\n'), 'of a VM that there is not')
    r = run(agent, 'vm-console')
    check(r.returncode == 1 and 'Multiple VMs found' in r.stderr, 'of more than one')


def as_before(t, what):
    t.run('stty -g >after; diff before after && echo as be""fore')
    check(t.wait('as before'), what + ': the terminal is as it was')


def attach(t, how, what):
    t.run('stty -g >before; xe vm-console vm=text %s' % how)
    check(t.wait('Press Ctrl + \']\' to quit.') and t.wait('simulated console'), '%s: attached' % what)
    t.type('echo 6x7')
    t.keys('C-c')       # goes to the guest
    t.keys('Enter')
    check(t.wait(re.compile(r'^6x7', re.M)), '%s: keys reach the guest, and its answer the screen' % what)
    t.resize(60, 20)
    t.type('echo narrow')
    t.keys('Enter')
    check(t.wait(re.compile(r'^narrow', re.M)), '%s: a window that changes its size does no harm' % what)
    t.resize(100, 30)
    t.keys('C-]')
    check(t.wait_prompt() and t.status() == 0, '%s: Ctrl-] leaves with 0' % what)
    as_before(t, what)


def endings(agent, s, t, vm):
    """Whatever ends it, the terminal is put right."""
    t.run('xe vm-console vm=text')
    t.wait('simulated console')
    s.VM.hard_shutdown(vm)
    check(t.wait_prompt() and t.status() == 0, 'a guest that ends ends it')
    as_before(t, 'a guest that ends')
    s.VM.start(vm, False, False)
    for name in ('TERM', 'HUP', 'INT', 'QUIT'):
        t.run('sh -c \'echo $$ >pid; exec xe vm-console vm=text\'')
        t.wait('simulated console')
        os.kill(int(open(os.path.join(agent.root, 'pid')).read()), getattr(signal, 'SIG' + name))
        check(t.wait_prompt(), 'SIG%s ends it' % name)
        as_before(t, 'SIG' + name)


with Agent() as agent:
    s = agent.login()
    text, screen = make_vm(s, 'text', 'pvh'), make_vm(s, 'screen', 'hvm')
    errors(agent, s, text)
    for vm in (text, screen):
        s.VM.start(vm, False, False)
    env = {'PATH': os.path.dirname(XE) + ':' + os.environ['PATH'], 'XAPI_SOCKET': agent.socket, 'HOME': agent.root}
    with Terminal(env) as t:
        t.run('cd %s' % agent.root)
        attach(t, '', 'unix socket')
        attach(t, '-s 127.0.0.1 -p %d -u %s -pw "%s"' % (agent.http_port, USER, PASSWORD), 'TCP')
        attach(t, '-s localhost -p %d -u %s -pw "%s"' % (agent.https_port, USER, PASSWORD), 'TLS')
        t.run('xe vm-console vm=screen')
        check(t.wait('simulated console'), 'a guest with a screen has a serial line too')
        t.keys('C-]')
        t.wait_prompt()
        endings(agent, s, t, text)
done()
