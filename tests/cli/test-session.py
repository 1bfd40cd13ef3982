#!/usr/bin/python3
"""An administrator's session in a real terminal: TAB, questions, and the bars of what takes long: install, copy, import, export."""
import os
import re
import tempfile

from harness import BUILD, SOURCE, Agent, check, done, wait_until
from terminal import PROMPT, Terminal

MIB = 1 << 20
DISK = 64 * MIB


class Held:
    """While it lives, the storage driver of the agent does not begin anything: what needs a disk takes as long as the test wants."""

    def __init__(self, agent):
        self.file = os.path.join(agent.root, 'hold')
        open(self.file, 'w').close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.unlink(self.file)


def slow_drivers(folder):
    """A folder of storage drivers of which "file" can be held."""
    path = os.path.join(folder, 'file')
    with open(path, 'w') as f:
        f.write('#!/bin/sh\nwhile [ -e "%s/hold" ]; do sleep 0.05; done\nexec "%s/sm/file" "$@"\n' % (folder, BUILD))
    os.chmod(path, 0o755)
    return folder + ':' + os.path.join(BUILD, 'sm')


def bar(name):
    """What is under way, and for how long; how far it is only when that is known."""
    return re.compile(r'^%s( +\d+%% \[[#-]+\])?  (.*/s  )?0:\d\d$' % name, re.M)


def held(agent, t, line, want=None):
    """Runs a command that is held: the bar comes, and goes with the end."""
    name = line.split()[1]
    with Held(agent):
        t.run(line)
        check(t.wait(bar(name)), '%s: while it lasts a bar is shown' % name)
    check(t.wait_prompt(60) and not bar(name).search(t.screen()), '%s: it goes away with the end' % name)
    check(re.search(want or r'^[0-9a-f-]{36}$', t.screen(), re.M), '%s: the result stands alone on its line' % name)
    check(t.status() == 0, '%s: 0' % name)


def questions(s, t):
    t.type('xe vm-uninstall vm=doo')
    t.keys('Tab')
    check(t.wait('xe vm-uninstall vm=doomed'), 'TAB completes a name')
    t.keys('Enter')
    check(t.wait("Type 'yes' to continue") and 'VM : ' in t.screen() and 'VDI: ' in t.screen(), 'it shows what will be lost, and asks')
    t.type('no')
    t.keys('Enter')
    check(t.wait("Aborted (you typed: 'no')") and t.wait_prompt(), 'no is no')
    t.run('xe vm-uninstall vm=doomed')
    t.wait("Type 'yes' to continue")
    t.keys('C-c')
    check(t.wait_prompt() and t.status() == 130, 'Ctrl-C at a question leaves')
    t.run('xe vm-uninstall vm=doomed')
    t.wait("Type 'yes' to continue")
    t.keys('C-d')
    check(t.wait("Aborted (you typed: '')") and t.wait_prompt(), 'the end of input is no yes')
    check(s.VM.get_by_name_label('doomed'), 'the VM is still there')
    t.run('xe vm-uninstall vm=doomed')
    t.wait("Type 'yes' to continue")
    t.type('yes')
    t.keys('Enter')
    check(t.wait('All objects destroyed') and t.wait_prompt() and not s.VM.get_by_name_label('doomed'), 'yes is yes')


def transfers(agent, t):
    folder = agent.root
    gate, fifo, out = (os.path.join(folder, name) for name in ('gate', 'fifo', 'out.xva'))
    t.run('xe vm-export vm=guest filename= | { until [ -e %s ]; do sleep 0.05; done; cat; } >%s' % (gate, out))
    check(t.wait(re.compile(r'^vm-export .*\d iB|^vm-export .*MiB.*  0:\d\d$|^vm-export .*KiB.*  0:\d\d$', re.M)),
          'vm-export: bytes, bytes a second, time, while standard output goes elsewhere')
    open(gate, 'w').close()
    check(t.wait_prompt(60) and 'vm-export ' not in t.screen().replace('xe vm-export', ''), 'vm-export: the bar goes with the end')
    check(os.path.getsize(out) > DISK // 2, 'vm-export: the file is whole')
    os.mkfifo(fifo)
    size, half = os.path.getsize(out), DISK // 4
    t.run('xe vm-import filename=%s' % fifo)
    with open(out, 'rb') as source, open(fifo, 'wb', buffering=0) as f:
        f.write(source.read(half))
        check(t.wait(re.compile(r'^vm-import .*MiB.*  0:\d\d$', re.M)), 'vm-import: bytes while they go')
        while piece := source.read(MIB):
            f.write(piece)
    check(t.wait_prompt(60) and re.search(r'^[0-9a-f-]{36}$', t.screen(), re.M) and t.status() == 0, 'vm-import: then the uuid, alone')
    t.run('xe vm-import filename=%s' % out)
    check(t.wait_prompt(60) and t.status() == 0 and size > half, 'vm-import: of a file, too')


with tempfile.TemporaryDirectory(prefix='xapi-test-') as root, Agent(root=root, env={'XAPI_SM_DIR': slow_drivers(root)}) as agent:
    s = agent.login()
    host = s.host.get_all()[0]
    srs = {}
    for name in ('disks', 'more'):
        os.mkdir(os.path.join(agent.root, name))
        srs[name] = s.SR.create(host, {'location': os.path.join(agent.root, name)}, '0', name, '', 'file', 'user', False, {})
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'guest')
    s.VM.provision(vm)
    vdi = s.VDI.create({'name_label': 'disk', 'name_description': '', 'SR': srs['disks'], 'virtual_size': str(DISK), 'type': 'user',
                        'sharable': False, 'read_only': False, 'other_config': {}, 'xenstore_data': {}, 'sm_config': {}, 'tags': []})
    s.VBD.create({'VM': vm, 'VDI': vdi, 'userdevice': '0', 'bootable': True, 'mode': 'RW', 'type': 'Disk', 'unpluggable': True,
                  'empty': False, 'other_config': {'owner': ''}, 'qos_algorithm_type': '', 'qos_algorithm_params': {}})
    env = {'PATH': os.path.join(BUILD, 'xe') + ':' + os.environ['PATH'], 'XAPI_SOCKET': agent.socket, 'HOME': agent.root}
    data = os.path.join(agent.root, 'data')
    with open(data, 'wb') as f:
        f.write(os.urandom(MIB) * (DISK // MIB))
    with Terminal(env) as t:
        t.run('. %s/doc/completion/xe; xe vdi-import uuid=%s filename=%s' % (SOURCE, s.VDI.get_uuid(vdi), data))
        check(t.wait_prompt(60) and t.status() == 0, 'a disk with something on it')
        sr = s.SR.get_uuid(srs['more'])
        held(agent, t, 'xe vm-copy vm=guest new-name-label=copy sr-uuid=' + sr)
        held(agent, t, 'xe vdi-copy uuid=%s sr-uuid=%s' % (s.VDI.get_uuid(vdi), sr))
        copy = s.VM.get_by_name_label('copy')[0]
        s.VM.set_is_a_template(copy, True)
        held(agent, t, 'xe vm-install template=copy new-name-label=fresh sr-name-label=disks')
        transfers(agent, t)
        t.clear()
        s.VM.set_name_label(s.VM.get_by_name_label('fresh')[0], 'doomed')
        questions(s, t)
        s.VM.set_is_a_template(copy, False)
        # In the middle of a copy, in Japanese.
        t.run('export LANG=ja_JP.UTF-8 LC_ALL=')
        t.wait_prompt()
        with Held(agent):
            t.run('xe vm-copy vm=copy new-name-label=second sr-uuid=' + sr)
            t.wait(bar('vm-copy'))
            t.keys('C-c')
            check(t.wait('タスクをキャンセルしますか?'), 'Ctrl-C asks in the language of the user')
            t.type('y')
            t.keys('Enter')
            check(t.wait('キャンセルしています'), 'and says what it does')
        check(t.wait('タスクはキャンセルされました') and t.wait_prompt() and t.status() == 130, 'the copy is cancelled: 130')
        check(wait_until(lambda: not s.VM.get_by_name_label('second')), 'and leaves no VM')
done()
