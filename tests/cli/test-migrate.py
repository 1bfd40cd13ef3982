#!/usr/bin/python3
"""vm-migrate to another pool in a real terminal: the bar, Ctrl-C, a destination that dies on the way; the advice after a mistake."""
import os
import re

from harness import BUILD, PASSWORD, USER, Agent, check, done, wait_until
from relay import Relay
from terminal import Terminal

MIB = 1 << 20
BAR = re.compile(r'^vm-migrate( +\d+%( \[[#-]+\])?)?  .*0:\d\d$', re.M)


def guest(s):
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'guest')
    s.VM.provision(vm)
    s.VM.start(vm, False, False)
    return vm


def mistakes(t, line):
    t.run(line.replace("'%s'" % PASSWORD, 'wrong'))
    check(t.wait('does not accept this user and password') and t.wait('xe -s <address> -u <username> -pwf <file> host-list')
          and t.wait_prompt() and t.status() == 1, 'a bad password is named, and where to try it')
    t.run(line + ' remote-network=nowhere')
    check(t.wait('has no network nowhere') and t.wait('network-list') and t.wait_prompt() and t.status() == 1, 'a network that is not there')


def interrupted(t, a, b, line, vm):
    t.run(line)
    check(t.wait(BAR), 'while its memory goes a bar is shown')
    t.keys('C-c')
    check(t.wait(re.compile('Cancel the task')), 'Ctrl-C asks')
    t.type('y')
    t.keys('Enter')
    check(t.wait_prompt(60) and t.status() == 130, 'and cancels it: 130')
    check(a.VM.get_power_state(vm) == 'Running' and wait_until(lambda: not b.VM.get_by_name_label('guest')), 'it runs on, and nothing is there')


def arrives(t, a, b, line, relay):
    relay.hold()
    t.run(line + " remote-network='Pool-wide network associated with eth1'")        # 127.0.0.2
    check(relay.arrived.wait(60) and t.wait(BAR), 'while the destination makes it wait a bar is shown')
    relay.go()
    check(t.wait_prompt(60) and not BAR.search(t.screen()), 'which goes with the end')
    check('Destination host: ' in t.screen() and t.status() == 0, 'it says where it went')
    there = b.VM.get_by_name_label('guest')
    check(len(there) == 1 and b.VM.get_power_state(there[0]) == 'Running' and not a.VM.get_by_name_label('guest'), 'the guest runs there')


with Agent() as from_agent:
    to_agent = Agent().start()
    address = ('127.0.0.1', to_agent.https_port)
    env = {'PATH': os.path.join(BUILD, 'xe') + ':' + os.environ['PATH'], 'XAPI_SOCKET': from_agent.socket, 'HOME': from_agent.root}
    line = "xe vm-migrate vm=guest remote-master=127.0.0.1:%d remote-username=%s remote-password='%s'" % (address[1], USER, PASSWORD)
    with Relay(('127.0.0.2', address[1]), address) as relay, Terminal(env, columns=120) as t:
        a, b = from_agent.login(), to_agent.login()
        vm = guest(a)
        mistakes(t, line)
        from_agent.poke('set image_bytes %d\nset save_rate %d' % (256 * MIB, MIB))
        interrupted(t, a, b, line, vm)
        from_agent.poke('set save_rate 0')
        arrives(t, a, b, line, relay)
        b.VM.hard_shutdown(b.VM.get_by_name_label('guest')[0])
        # The destination dies on the way.
        vm = guest(a)
        from_agent.poke('set save_rate %d' % MIB)
        t.run(line)
        check(t.wait(BAR), 'once more under way')
        to_agent.kill()
        check(t.wait_prompt(60) and 'the other side has gone' in t.screen(), 'the destination dies: said')
        check(t.status() == 1 and a.VM.get_power_state(vm) == 'Running', 'status 1, and the guest runs on')
        check(wait_until(lambda: a.VM.get_current_operations(vm) == {}), 'nobody works on it any more')
        t.run(line)
        check(t.wait('cannot be reached') and t.wait_prompt() and t.status() == 1, 'nobody answers there')
done()
