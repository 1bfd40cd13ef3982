#!/usr/bin/env python3
"""doc/operations.md: what allowed_operations says in every state, taken from a running agent. DOC_UPDATE=1 writes it anew."""
import os

from harness import SOURCE, Agent, check, done

DOC = os.path.join(SOURCE, 'doc', 'operations.md')
NULL = 'OpaqueRef:NULL'
MIB = 1 << 20

HEAD = '''# What is allowed when

Made from the answers of an agent with simulated guests by `tests/wire/test-operations-doc.py` (`DOC_UPDATE=1` writes it anew); the
rules are the tables in `xapi/call/lifecycle_*.c`. An operation that another one excludes while it runs is not shown here: see
`OTHER_OPERATION_IN_PROGRESS` in [locking.md](locking.md). ● allowed, · refused.
'''


def table(title, columns):
    """columns: (heading, set of operations)."""
    operations = sorted(set().union(*(allowed for _, allowed in columns)))
    lines = ['', '## ' + title, '', '| operation | ' + ' | '.join(name for name, _ in columns) + ' |', '|---' * (len(columns) + 1) + '|']
    for op in operations:
        lines.append('| `%s` | %s |' % (op, ' | '.join('●' if op in allowed else '·' for _, allowed in columns)))
    return lines


class Maker:
    def __init__(self, s, media):
        self.s, self.host, self.pool = s, s.host.get_all()[0], s.pool.get_all()[0]
        self.sr = s.pool.get_default_SR(self.pool)
        os.mkdir(media)
        with open(os.path.join(media, 'medium.iso'), 'wb') as f:
            f.truncate(MIB)
        iso = s.SR.create(self.host, {'location': media, 'legacy_mode': 'true'}, '0', 'media', '', 'iso', '', True, {})
        self.medium, = s.SR.get_VDIs(iso)

    def vm(self):
        vm = self.s.VM.clone(self.s.VM.get_by_name_label('Other install media')[0], 'documented')
        self.s.VM.provision(vm)
        return vm

    def vdi(self):
        return self.s.VDI.create({'name_label': 'disk', 'name_description': '', 'SR': self.sr, 'virtual_size': str(4 * MIB),
                                  'type': 'user', 'sharable': False, 'read_only': False, 'other_config': {}})

    def vbd(self, vm, device, kind, vdi=NULL):
        return self.s.VBD.create({'VM': vm, 'VDI': vdi, 'userdevice': device, 'bootable': False, 'type': kind, 'unpluggable': True,
                                  'mode': 'RW' if kind == 'Disk' else 'RO', 'empty': vdi == NULL, 'other_config': {},
                                  'qos_algorithm_type': '', 'qos_algorithm_params': {}})

    def vif(self, vm):
        return self.s.VIF.create({'VM': vm, 'network': self.s.network.get_all()[0], 'device': '0', 'MAC': '', 'MTU': '1500',
                                  'other_config': {}, 'qos_algorithm_type': '', 'qos_algorithm_params': {}})

    def states(self, vm):
        """Brings it from state to state; yields each one's name."""
        yield 'Halted'
        self.s.VM.start(vm, False, False)
        yield 'Running'
        self.s.VM.pause(vm)
        yield 'Paused'
        self.s.VM.unpause(vm)
        self.s.VM.suspend(vm)
        yield 'Suspended'
        self.s.VM.hard_shutdown(vm)


def vms(m):
    s, vm = m.s, m.vm()
    columns = [(state, set(s.VM.get_allowed_operations(vm))) for state in m.states(vm)]
    snapshot = s.VM.snapshot(vm, 'snapshot')
    template = s.VM.get_by_name_label('Other install media')[0]
    dom0 = next(v for v, r in s.VM.get_all_records().items() if r['is_control_domain'])
    columns += [(name, set(s.VM.get_allowed_operations(v)))
                for name, v in (('template', template), ('snapshot', snapshot), ('control domain', dom0))]
    return table('VM', columns)


def devices(m):
    s, vm = m.s, m.vm()
    vdi = m.vdi()
    disk = m.vbd(vm, '0', 'Disk', vdi)
    empty, full, vif = m.vbd(vm, '2', 'CD'), m.vbd(vm, '3', 'CD', m.medium), m.vif(vm)
    vbds, vifs, vdis = [], [], []
    for state in m.states(vm):
        attached = s.VBD.get_currently_attached(disk)
        vbds += [('%s, VM %s' % (what, state), set(s.VBD.get_allowed_operations(vbd)))
                 for what, vbd in (('disk', disk), ('empty CD drive', empty), ('full CD drive', full))]
        vifs.append(('VM %s' % state, set(s.VIF.get_allowed_operations(vif))))
        vdis.append(('of a VM %s' % state, set(s.VDI.get_allowed_operations(vdi))))
        if state == 'Running' and attached:
            s.VBD.unplug(disk)
            s.VIF.unplug(vif)
            vbds.append(('disk unplugged, VM Running', set(s.VBD.get_allowed_operations(disk))))
            vifs.append(('unplugged, VM Running', set(s.VIF.get_allowed_operations(vif))))
            vdis.append(('unplugged, of a VM Running', set(s.VDI.get_allowed_operations(vdi))))
            s.VBD.plug(disk)
            s.VIF.plug(vif)
    snapshot = s.VDI.snapshot(vdi)
    vdis += [('snapshot', set(s.VDI.get_allowed_operations(snapshot))), ('medium', set(s.VDI.get_allowed_operations(m.medium)))]
    return table('VBD', vbds) + table('VIF', vifs) + table('VDI, in a repository of type file or ext', vdis)


def repositories(m):
    s = m.s
    pbd, = s.SR.get_PBDs(m.sr)
    columns = [('plugged', set(s.SR.get_allowed_operations(m.sr)))]
    s.PBD.unplug(pbd)
    columns.append(('unplugged', set(s.SR.get_allowed_operations(m.sr))))
    s.PBD.plug(pbd)
    return table('SR, of type file or ext', columns)


def others(m):
    s = m.s
    columns = [('enabled', set(s.host.get_allowed_operations(m.host)))]
    s.host.disable(m.host)
    columns.append(('disabled', set(s.host.get_allowed_operations(m.host))))
    s.host.enable(m.host)
    lines = table('host', columns)
    lines += table('pool', [('of one host', set(s.pool.get_allowed_operations(m.pool)))])
    task = s.task.create('documented', '')
    columns = [('pending', set(s.task.get_allowed_operations(task)))]
    s.task.set_status(task, 'success')
    columns.append(('ended', set(s.task.get_allowed_operations(task))))
    s.task.destroy(task)
    lines += table('task', columns)
    group = s.VM_appliance.create({'name_label': 'group', 'name_description': ''})
    vm = m.vm()
    s.VM.set_appliance(vm, group)
    columns = []
    for state in m.states(vm):
        columns.append(('its VM %s' % state, set(s.VM_appliance.get_allowed_operations(group))))
    return lines + table('VM_appliance', columns)


with Agent() as agent:
    s = agent.login()
    m = Maker(s, os.path.join(agent.root, 'media'))
    text = '\n'.join(HEAD.rstrip('\n').split('\n') + vms(m) + devices(m) + repositories(m) + others(m)) + '\n'
    if os.environ.get('DOC_UPDATE'):
        with open(DOC, 'w') as f:
            f.write(text)
    committed = open(DOC).read() if os.path.exists(DOC) else ''
    differing = [line for line in set(text.split('\n')) ^ set(committed.split('\n'))]
    check(text == committed, 'doc/operations.md is what the agent says' + (': %s' % differing[:6] if differing else ''))
    check(text.count('\n## ') == 9 and text.count('●') > 200, 'of nine classes, %d promises' % text.count('●'))
done()
