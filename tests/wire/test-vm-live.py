#!/usr/bin/env python3
"""What changes under a running guest: shares of the processors, page tables, device emulators, plug-ins for those who operate it, keys and buttons."""
import os
import shutil
import tempfile

from harness import Agent, check, done, fails, wait_until

PLUGIN = '''#!/usr/bin/python3
import sys, xmlrpc.client
(session, args), fn = xmlrpc.client.loads(sys.argv[1])
print(xmlrpc.client.dumps(({'Status': 'Success', 'Value': fn + ' ' + ','.join('%s=%s' % i for i in sorted(args.items()))},), '', True))
'''


def plugins(folder, *names):
    for name in names:
        path = os.path.join(folder, name)
        with open(path, 'w') as f:
            f.write(PLUGIN)
        os.chmod(path, 0o755)


def processors(s, vm):
    for key, value in (('weight', '512'), ('cap', '50'), ('mask', '0')):
        s.VM.add_to_VCPUs_params_live(vm, key, value)
    check(s.VM.get_VCPUs_params(vm) == {'weight': '512', 'cap': '50', 'mask': '0'}, 'weight, cap and mask while it runs')
    for key, value in (('weight', '0'), ('weight', 'heavy'), ('cap', '-1'), ('mask', '0;rm')):
        said = fails('INVALID_VALUE', '%s=%s' % (key, value), s.VM.add_to_VCPUs_params_live, vm, key, value)
        check(said == [key, value], 'which says so: %s' % said)
    s.VM.add_to_VCPUs_params_live(vm, 'colour', 'red')
    check(s.VM.get_VCPUs_params(vm)['colour'] == 'red' and s.VM.get_VCPUs_params(vm)['weight'] == '512', 'any other key is only kept')


def shadow(s, vm):
    s.VM.set_shadow_multiplier_live(vm, 2.5)
    check(s.VM.get_HVM_shadow_multiplier(vm) == 2.5, 'more memory for page tables while it runs')
    fails('INVALID_VALUE', 'a multiplier below 1', s.VM.set_shadow_multiplier_live, vm, 0.5)


def emulators(s, vm):
    before = s.VM.get_domid(vm)
    s.VM.restart_device_models(vm)
    check(s.VM.get_power_state(vm) == 'Running' and s.VM.get_domid(vm) != before, 'its device emulators are new, the guest runs on')
    s.VM.add_to_blocked_operations(vm, 'suspend', 'NO')
    fails('OPERATION_BLOCKED', 'not when it must not be interrupted', s.VM.restart_device_models, vm)
    s.VM.remove_from_blocked_operations(vm, 'suspend')


def keys(agent, s, vm):
    """What a key or a button does, as the simulator's guests have them."""
    uuid = s.VM.get_uuid(vm)
    printed = os.path.join(agent.root, 'hv', 'sim', 'console', uuid + '.log')

    def says(text):
        return wait_until(lambda: os.path.exists(printed) and text in open(printed, errors='replace').read())
    s.VM.send_sysrq(vm, 'h')
    check(says('sysrq: h'), 'a magic key reaches the guest')
    for key in ('', 'hh', 'H', '\u00e9', ' '):
        check(fails('INVALID_VALUE', 'a key that is none: %r' % key, s.VM.send_sysrq, vm, key)[0] == 'key', 'says so')
    s.VM.send_trigger(vm, 'nmi')
    check(says('NMI received'), 'an interrupt that cannot be masked, too')
    check(fails('INVALID_VALUE', 'a button that there is not', s.VM.send_trigger, vm, 'eject') == ['trigger', 'eject'], 'is named')
    s.VM.send_trigger(vm, 'reset')
    check(s.VM.get_power_state(vm) == 'Running', 'reset: it runs on')
    s.VM.send_trigger(vm, 'power')
    check(wait_until(lambda: s.VM.get_power_state(vm) == 'Halted'), 'the power button')
    for call in (s.VM.send_sysrq, s.VM.send_trigger):
        got = fails('VM_BAD_POWER_STATE', 'of a guest that does not run', call, vm, 'h')
        check(got[0] == vm and got[2] == 'halted', 'it and its state are named')


def conversion(s):
    """A product of the reference's vendor that is not here."""
    sr = s.pool.get_default_SR(s.pool.get_all()[0])
    config = {'hostname': 'h', 'username': 'u', 'password': 'p', 'vm-name': 'v'}
    got = fails('XENAPI_MISSING_PLUGIN', 'a conversion', s.VM.import_convert, 'vmware', 'u', 'p', sr, config)
    check(got == ['conversion'], 'what a host without that product says')
    fails('HANDLE_INVALID', 'into a repository that there is not', s.VM.import_convert, 'vmware', 'u', 'p', 'OpaqueRef:none', config)


def host_plugins(s, vm):
    said = s.VM.call_host_plugin(vm, 'allowed', 'tell', {'a': 'b'})
    check(said == 'tell a=b,vm_uuid=' + s.VM.get_uuid(vm), 'a plug-in that the administrator has listed gets the VM: %s' % said)
    check(fails('XENAPI_MISSING_PLUGIN', 'one that he has not', s.VM.call_host_plugin, vm, 'secret', 'tell', {}) == ['secret'], 'is none')
    check(s.host.call_plugin(s.VM.get_resident_on(vm), 'secret', 'tell', {}) == 'tell ', 'though he himself may run it')
    check(fails('XENAPI_MISSING_PLUGIN', 'part of a name', s.VM.call_host_plugin, vm, 'allow', 'tell', {}) == ['allow'], 'is none either')


folder = tempfile.mkdtemp(prefix='xapi-plugins-')
plugins(folder, 'allowed', 'secret')
with Agent('--vm-plugins', 'other,allowed', '--plugin-dir', folder) as agent:
    s = agent.login()
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'live')
    s.VM.provision(vm)
    for call in ((s.VM.add_to_VCPUs_params_live, vm, 'weight', '2'), (s.VM.set_shadow_multiplier_live, vm, 2.0), (s.VM.restart_device_models, vm),
                 (s.VM.call_host_plugin, vm, 'allowed', 'tell', {})):
        fails('VM_BAD_POWER_STATE', 'while it is halted', *call)
    s.VM.start(vm, False, False)
    processors(s, vm)
    shadow(s, vm)
    emulators(s, vm)
    host_plugins(s, vm)
    keys(agent, s, vm)
    conversion(s)
shutil.rmtree(folder)
done()
