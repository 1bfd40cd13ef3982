#!/usr/bin/env python3
"""What changes under a running guest: shares of the processors, page tables, device emulators, and plug-ins for those who operate it."""
import os
import shutil
import tempfile

from harness import Agent, check, done, fails

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
shutil.rmtree(folder)
done()
