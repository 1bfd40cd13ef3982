#!/usr/bin/env python3
"""The libvirt module with a connection that the configuration names: libvirt's own test driver, which runs in the process;
or $HV_URI."""
import os

from harness import Agent, check, done, fails

with Agent('--hv-uri', os.environ.get('HV_URI', 'test:///default'), hv='libvirt') as agent:
    s = agent.login()
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'tested')
    s.VM.provision(vm)
    s.VM.start(vm, False, False)
    check(s.VM.get_power_state(vm) == 'Running' and int(s.VM.get_domid(vm)) > 0, 'a VM starts as a domain of that connection')
    allowed = set(s.VM.get_allowed_operations(vm))
    check('pause' in allowed and 'changing_shadow_memory_live' not in allowed,
          'what its driver lacks is not among its operations: %s' % sorted(allowed))
    got = fails('NOT_IMPLEMENTED', 'and refused', s.VM.set_shadow_multiplier_live, vm, 2.0)
    check(got == ['hv.libvirt.set-shadow'], 'by name: %s' % got)
    fails('VM_INCOMPATIBLE_WITH_THIS_HOST', 'it does not move to where it is', s.VM.pool_migrate, vm, s.host.get_all()[0], {})
    s.VM.pause(vm)
    check(s.VM.get_power_state(vm) == 'Paused', 'pauses')
    s.VM.unpause(vm)
    check(s.VM.get_power_state(vm) == 'Running', 'goes on')
    s.VM.hard_shutdown(vm)
    check(s.VM.get_power_state(vm) == 'Halted' and int(s.VM.get_domid(vm)) == -1, 'and ends')
    s.VM.set_domain_type(vm, 'hvm')
    why = fails('NOT_IMPLEMENTED', 'a TPM', s.VTPM.create, vm, False)[0]
    check(why.startswith('hv.libvirt.check-tpm: '), "which only a libvirtd of our own keeps: %s" % why)
done()
