#!/usr/bin/env python3
"""How much and how urgently a drive may be read and written: what is refused, what is applied when a VM starts, when a drive is
plugged, when it is set; guests simulated, the process that serves a VHD real."""
import ctypes
import os

from harness import Agent, check, done, fails, skip, vhd_opens

IOPRIO_GET = {'x86_64': 252, 'aarch64': 31}[os.uname().machine]
libc = ctypes.CDLL(None, use_errno=True)
BEST_EFFORT, IDLE = 2 << 13, 3 << 13     # the class before them needs a privilege that a container may lack


def disk(s, sr, **sm_config):
    return s.VDI.create({'name_label': 'disk', 'name_description': '', 'SR': sr, 'virtual_size': str(8 << 20), 'type': 'user', 'sharable': False,
                         'read_only': False, 'other_config': {}, 'sm_config': sm_config})


def drive(s, vm, vdi, device, kind='', **params):
    return s.VBD.create({'VM': vm, 'VDI': vdi, 'userdevice': device, 'bootable': False, 'mode': 'RW', 'type': 'Disk', 'empty': False,
                         'other_config': {}, 'qos_algorithm_type': kind, 'qos_algorithm_params': params})


def urgency(agent, s, vdi):
    """Of every thread that serves the disk."""
    with open('%s/nbd/%s.pid' % (agent.root, s.VDI.get_uuid(vdi))) as f:
        pid = int(f.read())
    return {libc.syscall(IOPRIO_GET, 1, int(t)) for t in os.listdir('/proc/%d/task' % pid)}


def applied(agent, s, sr, vm, vhd, first):
    s.VM.start(vm, False, False)
    check(urgency(agent, s, vhd) == {BEST_EFFORT | 2}, 'a start applies it')
    s.VBD.remove_from_qos_algorithm_params(first, 'class')
    check(urgency(agent, s, vhd) == {BEST_EFFORT | 4}, 'a level that goes is the middle one')
    s.VBD.set_qos_algorithm_params(first, {'sched': 'idle'})
    check(urgency(agent, s, vhd) == {IDLE}, 'it changes while it runs')
    s.VBD.set_qos_algorithm_params(first, {'class': '7'})
    check(urgency(agent, s, vhd) == {BEST_EFFORT | 7}, 'a level alone is best effort')
    s.VBD.set_qos_algorithm_type(first, '')
    check(not urgency(agent, s, vhd) & {BEST_EFFORT | 7}, 'and ends')

    other = disk(s, sr, **{'image-format': 'vhd'})
    second = drive(s, vm, other, '1', 'ionice', sched='idle')
    s.VBD.plug(second)
    check(urgency(agent, s, other) == {IDLE} and not urgency(agent, s, vhd) & {IDLE}, 'a drive that is plugged has its own')
    s.VBD.set_qos_algorithm_type(second, 'ratelimit')
    s.VBD.set_qos_algorithm_params(second, {'kbps': '1024', 'iops': '100'})
    agent.arm('hv.sim.disk-limit EIO 1')
    fails('INTERNAL_ERROR', 'an engine that cannot is named', s.VBD.set_qos_algorithm_params, second, {'kbps': '2048'})
    s.VM.hard_shutdown(vm)

    s.VBD.set_qos_algorithm_type(first, 'ionice')
    agent.arm('hv.sim.set-io-priority EIO 1')
    s.VM.start(vm, False, False)
    alerts = [m for m in s.message.get_all_records().values() if m['name'] == 'VBD_QOS_FAILED']
    check(len(alerts) == 1 and alerts[0]['obj_uuid'] == s.VM.get_uuid(vm), 'a VM starts without its urgency, with an alert')
    s.VM.hard_shutdown(vm)


with Agent(faults=True) as agent:
    s = agent.login()
    sr = s.pool.get_default_SR(s.pool.get_all()[0])
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'guest')
    s.VM.provision(vm)
    vhd = disk(s, sr, **{'image-format': 'vhd'})
    fails('INVALID_VALUE', 'no such algorithm', drive, s, vm, vhd, '0', 'fair')
    p = fails('INVALID_VALUE', 'no number', lambda: drive(s, vm, vhd, '0', 'ratelimit', kbps='many'))
    check(p == ['qos_algorithm_params:kbps', 'many'], 'named with its key: %s' % p)
    check(s.VM.get_VBDs(vm) == [], 'and no drive is made')
    first = drive(s, vm, vhd, '0', 'ionice', sched='best-effort', **{'class': 'high'})
    check(sorted(s.VBD.get_qos_supported_algorithms(first)) == ['ionice', 'ratelimit'], 'what can be asked for')
    fails('INVALID_VALUE', 'nor later', s.VBD.set_qos_algorithm_type, first, 'fair')
    for key, bad in ('kbps', '-1'), ('kbps', '9223372036854775807'), ('iops', '1.5'), ('sched', 'soon'), ('class', '8'), ('class', 'top'):
        fails('INVALID_VALUE', '%s=%s' % (key, bad), s.VBD.set_qos_algorithm_params, first, {key: bad})
    fails('INVALID_VALUE', 'one key', s.VBD.add_to_qos_algorithm_params, first, 'iops', 'x')
    check(s.VBD.get_qos_algorithm_params(first) == {'sched': 'best-effort', 'class': 'high'}, 'nothing of it is kept')
    s.VBD.add_to_qos_algorithm_params(first, 'note', 'a key of somebody else')

    s.VBD.set_qos_algorithm_params(first, {'sched': 'rt', 'class': '0'})
    s.VBD.set_qos_algorithm_params(first, {'sched': 'best-effort', 'class': 'high'})
    if vhd_opens():
        applied(agent, s, sr, vm, vhd, first)
    else:
        skip('what is applied', 'nbdkit cannot load a plug-in that was built with a sanitizer')
done()
