#!/usr/bin/env python3
"""The libvirt module with a connection that the configuration names: libvirt's own test driver, which runs in the process;
or $HV_URI."""
import os

from harness import Agent, check, done

with Agent('--hv-uri', os.environ.get('HV_URI', 'test:///default'), hv='libvirt') as agent:
    s = agent.login()
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'tested')
    s.VM.provision(vm)
    s.VM.start(vm, False, False)
    check(s.VM.get_power_state(vm) == 'Running' and int(s.VM.get_domid(vm)) > 0, 'a VM starts as a domain of that connection')
    s.VM.pause(vm)
    check(s.VM.get_power_state(vm) == 'Paused', 'pauses')
    s.VM.unpause(vm)
    check(s.VM.get_power_state(vm) == 'Running', 'goes on')
    s.VM.hard_shutdown(vm)
    check(s.VM.get_power_state(vm) == 'Halted' and int(s.VM.get_domid(vm)) == -1, 'and ends')
done()
