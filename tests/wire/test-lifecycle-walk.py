#!/usr/bin/env python3
"""Random walks over a VM's life on the simulator, against a model of its own: what allowed_operations promises works and ends
in the state that it should, what it does not is refused by a lifecycle error and changes nothing.

    WALK_SEED=n test-lifecycle-walk.py       the same walk again"""
import os
import random

from harness import LEVEL, Agent, Failure, check, done

MIB = 1 << 20
NULL = 'OpaqueRef:NULL'
SEED = int(os.environ.get('WALK_SEED', random.SystemRandom().randrange(1 << 30)))
STEPS = 4000 if LEVEL == 'full' else 250
# Errors by which a lifecycle table refuses; anything else is a surprise.
REFUSALS = {'VM_BAD_POWER_STATE', 'VM_IS_TEMPLATE', 'OPERATION_NOT_ALLOWED', 'OTHER_OPERATION_IN_PROGRESS', 'OPERATION_BLOCKED',
            'DEVICE_ALREADY_ATTACHED', 'DEVICE_ALREADY_DETACHED', 'VBD_IS_EMPTY', 'VBD_NOT_EMPTY', 'VBD_NOT_REMOVABLE_MEDIA',
            'VDI_IN_USE', 'REVERT_ONLY_ALLOWED_ON_SNAPSHOT', 'VM_NO_SUSPEND_SR', 'SR_HAS_NO_PBDS', 'VM_IS_SNAPSHOT'}
H, R, P, S = 'Halted', 'Running', 'Paused', 'Suspended'


# The model: from which states an operation of a VM is possible, and where it ends (None: stays). Written from what the
# published interface says, not from the daemon's tables.
VM_MODEL = {
    'start': ({H}, R), 'start_on': ({H}, R), 'pause': ({R}, P), 'unpause': ({P}, R), 'suspend': ({R}, S), 'resume': ({S}, R),
    'resume_on': ({S}, R), 'clean_shutdown': ({R}, H), 'hard_shutdown': ({R, P, S}, H), 'clean_reboot': ({R}, None),
    'hard_reboot': ({R, P}, R), 'snapshot': ({H, R, P, S}, None), 'clone': ({H, S}, None), 'copy': ({H, S}, None),
    'changing_VCPUs': ({H}, None), 'changing_VCPUs_live': ({R}, None), 'changing_static_range': ({H}, None),
    'pool_migrate': ({R}, None), 'migrate_send': ({H, R, S}, None), 'changing_shadow_memory_live': ({R}, None), 'create_vtpm': ({H}, None),
    'send_sysrq': ({R}, None), 'destroy': ({H, S}, None), 'export': ({H, S}, None), 'provision': ({H}, None),
}
# What a driver may lack, by the end of the verb's name in the host's hypervisor_lacks, and the states in which it is wanted.
VM_NEEDS = {'pool_migrate': ('migrate-send', {R}), 'migrate_send': ('migrate-send', {R}),
            'changing_shadow_memory_live': ('set-shadow', {R}), 'create_vtpm': ('check-tpm', {H})}
# Asked for in the walk; the others of VM_MODEL are only compared with allowed_operations.
VM_CALLS = {
    'start': lambda w: w.s.VM.start(w.vm, w.rnd.random() < 0.2, False),
    'start_on': lambda w: w.s.VM.start_on(w.vm, w.host, False, False),
    'pause': lambda w: w.s.VM.pause(w.vm), 'unpause': lambda w: w.s.VM.unpause(w.vm),
    'suspend': lambda w: w.s.VM.suspend(w.vm), 'resume': lambda w: w.s.VM.resume(w.vm, False, False),
    'resume_on': lambda w: w.s.VM.resume_on(w.vm, w.host, False, False),
    'clean_shutdown': lambda w: w.s.VM.clean_shutdown(w.vm), 'hard_shutdown': lambda w: w.s.VM.hard_shutdown(w.vm),
    'clean_reboot': lambda w: w.s.VM.clean_reboot(w.vm), 'hard_reboot': lambda w: w.s.VM.hard_reboot(w.vm),
    'snapshot': lambda w: w.keep(w.s.VM.snapshot(w.vm, 'snap')), 'clone': lambda w: w.keep(w.s.VM.clone(w.vm, 'clone')),
    'copy': lambda w: w.keep(w.s.VM.copy(w.vm, 'copy', NULL)),
    'changing_VCPUs': lambda w: w.s.VM.set_VCPUs_at_startup(w.vm, '1'),
    'send_sysrq': lambda w: w.s.VM.send_sysrq(w.vm, 'h'),
}


class Walk:
    def __init__(self, s, rnd, folder):
        self.s, self.rnd, self.host, self.pool = s, rnd, s.host.get_all()[0], s.pool.get_all()[0]
        self.lacks = {verb.rpartition('.')[2] for verb in s.host.get_software_version(self.host)['hypervisor_lacks'].split()}
        sr = self.s.pool.get_default_SR(self.pool)
        self.vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'walker')
        s.VM.provision(self.vm)
        s.VM.set_VCPUs_max(self.vm, '2')
        self.spare, self.trail, self.surprises = [], [], []
        self.vbds = [self.make_vbd(str(n), 'Disk', self.make_vdi(sr)) for n in (0, 1)] + [self.make_vbd('3', 'CD', NULL)]
        self.vifs = [s.VIF.create({'VM': self.vm, 'network': s.network.get_all()[0], 'device': str(n), 'MAC': '', 'MTU': '1500',
                                   'other_config': {}, 'qos_algorithm_type': '', 'qos_algorithm_params': {}}) for n in (0, 1)]
        self.medium = self.make_medium(folder)

    def make_vdi(self, sr):
        return self.s.VDI.create({'name_label': 'disk', 'name_description': '', 'SR': sr, 'virtual_size': str(4 * MIB),
                                  'type': 'user', 'sharable': False, 'read_only': False, 'other_config': {}})

    def make_medium(self, folder):
        os.mkdir(folder)
        with open(os.path.join(folder, 'medium.iso'), 'wb') as f:
            f.truncate(MIB)
        sr = self.s.SR.create(self.host, {'location': folder, 'legacy_mode': 'true'}, '0', 'media', '', 'iso', '', True, {})
        medium, = self.s.SR.get_VDIs(sr)
        return medium

    def make_vbd(self, device, kind, vdi):
        return self.s.VBD.create({'VM': self.vm, 'VDI': vdi, 'userdevice': device, 'bootable': False, 'type': kind,
                                  'mode': 'RW' if kind == 'Disk' else 'RO', 'empty': kind == 'CD', 'other_config': {'owner': ''},
                                  'unpluggable': True, 'qos_algorithm_type': '', 'qos_algorithm_params': {}})

    def keep(self, vm):
        self.spare.append(vm)

    def clean(self):
        """What the walk made on its way."""
        for vm in self.spare:
            if self.s.VM.get_power_state(vm) != H:
                self.s.VM.hard_shutdown(vm)
            disks = [self.s.VBD.get_VDI(b) for b in self.s.VM.get_VBDs(vm) if self.s.VBD.get_type(b) == 'Disk']
            self.s.VM.destroy(vm)
            for vdi in disks:
                self.s.VDI.destroy(vdi)
        self.spare = []

    def wrong(self, what):
        self.surprises.append('step %d: %s (after %s)' % (len(self.trail), what, ' '.join(self.trail[-6:])))

    def attempt(self, name, promised, call):
        """True when it was done. A promise must be kept, and what is not promised must be refused by name."""
        self.trail.append(name + ('' if promised else '!'))
        try:
            call()
        except Failure as e:
            if promised:
                self.wrong('%s was promised but: %s' % (name, e.details))
            elif e.details[0] not in REFUSALS:
                self.wrong('%s was refused by %s' % (name, e.details))
            return False
        if not promised:
            self.wrong('%s was not promised but done' % name)
        return True

    def vm_step(self):
        record = self.s.VM.get_record(self.vm)
        state, allowed = record['power_state'], set(record['allowed_operations'])
        for op, (states, _) in VM_MODEL.items():
            verb, wanted = VM_NEEDS.get(op, ('', ()))
            able = not (verb in self.lacks and state in wanted)
            if (state in states and able) != (op in allowed):
                self.wrong('%s is %sallowed when %s' % (op, '' if op in allowed else 'not ', state))
        op = self.rnd.choice(sorted(VM_CALLS))
        did = self.attempt(op, op in allowed, lambda: VM_CALLS[op](self))
        now = self.s.VM.get_power_state(self.vm)
        want = {VM_MODEL[op][1] or state} if did else {state}
        if did and op == 'start':
            want = {R, P}       # P: started paused
        if now not in want:
            self.wrong('%s from %s ends %s' % (op, state, now))

    def device_step(self, cls, device, calls, promised_of):
        """Plug and unplug of a VBD or VIF: promises of the record, a model of `currently_attached`."""
        api = getattr(self.s, cls)
        record = api.get_record(device)
        state = self.s.VM.get_power_state(self.vm)
        op = self.rnd.choice(sorted(calls))
        promised = op in record['allowed_operations']
        expected = promised_of(op, record, state)
        if promised != expected:
            self.wrong('%s.%s is %spromised for %s, VM %s, attached %s' %
                       (cls, op, '' if promised else 'not ', record.get('type', 'a VIF'), state, record['currently_attached']))
        did = self.attempt('%s.%s' % (cls, op), promised, lambda: calls[op](api, device))
        now = api.get_record(device)
        if did and op in ('plug', 'unplug') and now['currently_attached'] != (op == 'plug'):
            self.wrong('%s.%s leaves attached = %s' % (cls, op, now['currently_attached']))
        if did and op in ('insert', 'eject') and now['empty'] != (op == 'eject'):
            self.wrong('%s.%s leaves empty = %s' % (cls, op, now['empty']))
        if not did and (now['currently_attached'], now.get('empty')) != (record['currently_attached'], record.get('empty')):
            self.wrong('%s.%s was refused and changed something' % (cls, op))

    def vbd_step(self):
        def promised(op, record, state):
            if op in ('insert', 'eject'):
                return record['type'] == 'CD' and record['empty'] == (op == 'insert') and state != S
            return state in (R, P) and record['currently_attached'] == (op == 'unplug')
        calls = {'plug': lambda api, d: api.plug(d), 'unplug': lambda api, d: api.unplug(d),
                 'insert': lambda api, d: api.insert(d, self.medium), 'eject': lambda api, d: api.eject(d)}
        self.device_step('VBD', self.rnd.choice(self.vbds), calls, promised)

    def vif_step(self):
        self.device_step('VIF', self.rnd.choice(self.vifs), {'plug': lambda api, d: api.plug(d), 'unplug': lambda api, d: api.unplug(d)},
                         lambda op, record, state: state in (R, P) and record['currently_attached'] == (op == 'unplug'))

    def vdi_step(self):
        """A disk that a running VM has open is neither destroyed nor resized offline."""
        vbd = self.rnd.choice(self.vbds[:2])
        vdi, attached = self.s.VBD.get_VDI(vbd), self.s.VBD.get_currently_attached(vbd)
        allowed = set(self.s.VDI.get_allowed_operations(vdi))
        runs = attached and self.s.VM.get_power_state(self.vm) in (R, P)
        if ('mirror' in allowed) != (not (runs and 'disk-mirror' in self.lacks)):
            self.wrong('VDI.mirror is %spromised' % ('' if 'mirror' in allowed else 'not '))
        for op in ('destroy', 'resize', 'forget'):
            if attached and op in allowed:
                self.wrong('VDI.%s is promised for a disk in use' % op)
        if attached:
            self.attempt('VDI.destroy', 'destroy' in allowed, lambda: self.s.VDI.destroy(vdi))
        else:
            size = int(self.s.VDI.get_virtual_size(vdi)) + MIB
            if size < 64 * MIB:
                self.attempt('VDI.resize', 'resize' in allowed, lambda: self.s.VDI.resize(vdi, str(size)))

    def go(self, steps):
        for n in range(steps):
            self.rnd.choices((self.vm_step, self.vbd_step, self.vif_step, self.vdi_step), (6, 3, 2, 1))[0]()
            if len(self.spare) >= 4:
                self.clean()
            if len(self.surprises) > 20:
                break


def templates(s):
    """A template has a life of its own: nothing that runs."""
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'a template')
    allowed = set(s.VM.get_allowed_operations(vm))
    running = {'start', 'start_on', 'pause', 'unpause', 'suspend', 'resume', 'clean_shutdown', 'hard_shutdown', 'clean_reboot',
               'hard_reboot', 'snapshot', 'checkpoint'}
    check(not allowed & running and {'clone', 'copy', 'destroy', 'provision'} <= allowed, 'a template is cloned, never run: %s' % sorted(allowed))
    wrong = []
    for op, call in (('start', lambda: s.VM.start(vm, False, False)), ('snapshot', lambda: s.VM.snapshot(vm, 'x')),
                     ('hard_shutdown', lambda: s.VM.hard_shutdown(vm)), ('suspend', lambda: s.VM.suspend(vm))):
        try:
            call()
            wrong.append(op)
        except Failure as e:
            if e.details[0] != 'VM_IS_TEMPLATE':
                wrong.append('%s: %s' % (op, e.details))
    check(not wrong, 'and says so by VM_IS_TEMPLATE' + (': %s' % wrong if wrong else ''))


with Agent() as agent:
    s = agent.login()
    walk = Walk(s, random.Random(SEED), os.path.join(agent.root, 'media'))
    walk.go(STEPS)
    states = {name for name in walk.trail}
    check(not walk.surprises, '%d random steps agree with the model (WALK_SEED=%d)' % (len(walk.trail), SEED))
    for line in walk.surprises[:20]:
        print('# ' + line)
    check(len({name.rstrip('!') for name in states}) >= 18 and any(name.endswith('!') for name in states),
          '%d different operations were walked, promised and refused' % len({name.rstrip('!') for name in states}))
    walk.clean()
    templates(s)
done()
