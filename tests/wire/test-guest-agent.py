#!/usr/bin/env python3
"""VM.call_plugin: the functions of guest-agent-operation, their failures as clients know them, how often it may be called; against
simulated guests whose agent runs a few words (tests/qemu/test-agent.py: a real one)."""
import json

from harness import Agent, check, done, fails, wait_until

PLUGIN = 'guest-agent-operation'
OPTIONS = ['--vm-call-plugin-interval', '0s']


def guest(s, name):
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], name)
    s.VM.provision(vm)
    s.VM.start(vm, False, False)
    return vm


def script(text, **more):
    return dict({'username': 'u', 'password': 'p', 'script': text}, **more)


def scripts(agent, s, vm):
    def run(text):
        return s.VM.call_plugin(vm, PLUGIN, 'run-script', script(text))
    check(fails('FEATURE_RESTRICTED', 'a script before the pool lets scripts be run', run, 'x') == [], 'by its other_config')
    s.pool.add_to_other_config(s.pool.get_all()[0], 'allow_guest_agent_run_script', 'true')
    agent.poke('agent %s off' % s.VM.get_uuid(vm))
    got = fails('XENAPI_PLUGIN_FAILURE', 'a guest without an agent', run, 'x')
    check(got[0] == 'failed to execute fn' and 'agent' in got[1] and got[1] == got[2], 'says so: %s' % got)
    agent.poke('agent %s on' % s.VM.get_uuid(vm))
    check(json.loads(run('hello "you" é')) == {'rc': 0, 'stdout': 'hello "you" é', 'stderr': ''}, 'what a script wrote')
    check(run('exit 3') == '{"rc":3,"stdout":"","stderr":"ended as told"}', 'and how it ended, in the order of the reference')
    said = json.loads(run('é' * 512))['stdout']
    check(len(said.encode()) <= 1024 and said.endswith('é (truncated)'), 'much output is cut between characters')
    for name in ('username', 'password', 'script'):
        args = script('x')
        del args[name]
        got = fails('XENAPI_PLUGIN_FAILURE', 'no ' + name, s.VM.call_plugin, vm, PLUGIN, 'run-script', args)
        check(got == ['missing argument', '', 'Argument %s is required.' % name], 'is asked for')
    got = fails('XENAPI_PLUGIN_FAILURE', 'a script of 1,025 bytes', run, 'x' * 1025)
    check(got == ['length restriction', '', 'The script length must not exceed 1024 bytes'], 'is too long')
    task = s.Async.VM.call_plugin(vm, PLUGIN, 'run-script', script('wait'))
    check(wait_until(lambda: s.VM.get_current_operations(vm) == {task: 'call_plugin'}), 'one that does not end')
    s.task.cancel(task)
    check(wait_until(lambda: s.task.get_status(task) == 'cancelled') and s.task.get_error_info(task) == ['TASK_CANCELLED', task],
          'can be cancelled')


def others(agent, s, vm):
    for fn in ('request-rdp-on', 'request-rdp-off'):
        got = fails('XENAPI_PLUGIN_FAILURE', fn + ' of a guest without remote desktop', s.VM.call_plugin, vm, PLUGIN, fn, {})
        text = 'The requested fn "%s" of plugin "%s" could not be executed for lack of guest agent control feature.' % (fn, PLUGIN)
        check(got == ['failed to execute fn', text, text], 'is refused as clients know it')
    got = fails('XENAPI_PLUGIN_FAILURE', 'a function that there is not', s.VM.call_plugin, vm, PLUGIN, 'dance', {})
    text = 'The requested fn "dance" could not be found in plugin "%s".' % PLUGIN
    check(got == ['failed to find fn', text, text], 'is named')
    check(fails('XENAPI_MISSING_PLUGIN', 'another plug-in', s.VM.call_plugin, vm, 'echo', 'f', {}) == ['echo'], 'is none')


def rate(agent, s, vm, other):
    for one in (vm, other):
        fails('XENAPI_PLUGIN_FAILURE', 'a first call', s.VM.call_plugin, one, PLUGIN, 'dance', {})
    got = fails('VM_CALL_PLUGIN_RATE_LIMIT', 'a second one at once', s.VM.call_plugin, vm, PLUGIN, 'dance', {})
    check(got[:2] == [vm, '3600.'] and 3000 < float(got[2]) <= 3600, 'names the VM, the interval and how long to wait: %s' % got)


with Agent(*OPTIONS) as agent:
    s = agent.login()
    vm, other = guest(s, 'one'), guest(s, 'other')
    scripts(agent, s, vm)
    others(agent, s, vm)
    agent.stop()
    agent.options = ['--vm-call-plugin-interval', '1h']
    agent.start()
    rate(agent, agent.login(), vm, other)
done()
