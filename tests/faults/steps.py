"""Operations of an agent, and what must be true after each of them fails at one of its steps.

A step is what lib/fault.h calls agent.step: a call of a driver, a commit, a change of an interface. An operation is tried once
undisturbed; what it changes is known by that. Then it is begun anew, and at its step k the agent is killed, or the step fails: what
is there afterwards must be what was there before the operation or what is there after it, nothing between."""
import http.client
import os
import re
import socket
import struct
import subprocess
import xmlrpc.client

from harness import Agent, Failure, upload, wait_until

MIB = 1 << 20
GONE = (OSError, http.client.HTTPException, xmlrpc.client.ProtocolError)      # the agent was killed under the call
NULL = 'OpaqueRef:NULL'
GUEST = re.compile(rb'(....)([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})\0', re.S)


class World:
    """An agent on the simulator with what the operations need, and a look at all that is there."""

    def __init__(self):
        self.agent = self.make_agent()
        self.agent.start()
        self.login()
        self.template = self.s.VM.get_by_name_label('Other install media')[0]
        self.pool = self.s.pool.get_all()[0]
        self.host = self.s.host.get_all()[0]
        self.sr = self.s.pool.get_default_SR(self.pool)
        self.second = self.s.SR.create(self.host, {'location': os.path.join(self.agent.root, 'second')}, '0', 'second', '', 'file', 'user',
                                       False, {})
        self.network = self.s.network.create({'name_label': 'net', 'name_description': '', 'other_config': {}})
        self.pif = ([None] + sorted(self.s.PIF.get_all(), key=self.s.PIF.get_device))[-1]
        self.kept = {cls: set(getattr(self.s, cls).get_all()) for cls in ('VM', 'VDI', 'SR', 'network', 'PIF')}

    @staticmethod
    def make_agent(**named):
        return Agent(faults=True, **named)

    def login(self):
        self.s = self.agent.login(timeout=60)

    def restart(self):
        """After a kill."""
        self.agent.process.wait()
        self.agent = self.make_agent(root=self.agent.root)
        self.agent.start()
        self.login()

    # ---- things that operations work on ----

    def disk(self, name='disk', sr=None):
        return self.s.VDI.create({'name_label': name, 'name_description': '', 'SR': sr or self.sr, 'virtual_size': str(8 * MIB), 'type': 'user',
                                  'sharable': False, 'read_only': False, 'other_config': {}})

    def vbd(self, vm, vdi, kind='Disk'):
        return self.s.VBD.create({'VM': vm, 'VDI': vdi, 'userdevice': 'autodetect', 'bootable': False, 'mode': 'RO' if kind == 'CD' else 'RW',
                                  'type': kind, 'empty': vdi == NULL, 'other_config': {}, 'qos_algorithm_type': '',
                                  'qos_algorithm_params': {}})

    def vif(self, vm):
        return self.s.VIF.create({'VM': vm, 'network': self.network, 'device': 'autodetect', 'MAC': '', 'MTU': '1500', 'other_config': {},
                                  'qos_algorithm_type': '', 'qos_algorithm_params': {}})

    def vm(self, name='vm', state='Halted'):
        """With a disk and a card."""
        vm = self.s.VM.clone(self.template, name)
        self.s.VM.provision(vm)
        self.vbd(vm, self.disk())
        self.vif(vm)
        if state != 'Halted':
            self.s.VM.start(vm, state == 'Paused', False)
        if state == 'Suspended':
            self.s.VM.suspend(vm)
        return vm

    def upload(self, path, body):
        """The path with its query; the body of an import. Raises Failure, or what a killed agent brings about."""
        r = upload(self.agent, self.s, path, body)
        if r['status'] != 'success':
            raise Failure(r['error_info'])

    def download(self, path):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(60)
        sock.connect(self.agent.socket)
        sock.sendall(('GET %s&session_id=%s HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n' % (path, self.s._ref)).encode())
        data = b''
        with sock:
            while True:
                piece = sock.recv(1 << 20)
                if not piece:
                    break
                data += piece
        head, _, body = data.partition(b'\r\n\r\n')
        if not head.startswith(b'HTTP/1.1 200'):
            raise Failure([head.decode()])
        return body

    # ---- what is there ----

    def guests(self):
        """uuid -> state of the simulator's guests, from its table."""
        with open(os.path.join(self.agent.root, 'hv/sim/domains'), 'rb', buffering=0) as f:
            data, at, size = b'', 0, os.fstat(f.fileno()).st_size
            while at < size:                    # mostly holes
                try:
                    at = os.lseek(f.fileno(), at, os.SEEK_DATA)
                except OSError:
                    break
                end = os.lseek(f.fileno(), at, os.SEEK_HOLE)
                data += os.pread(f.fileno(), end - at, at)
                at = end
        found, boot = {}, open('/proc/sys/kernel/random/boot_id').read().strip()      # which the table names, too
        for state, uuid in GUEST.findall(data):
            number = struct.unpack('<I', state)[0]
            if 1 <= number <= 4 and uuid.decode() != boot:
                found[uuid.decode()] = number
        return found

    def devices(self):
        """Kinds of the host's interfaces; a bridge that nothing is on may stay or go."""
        with open(os.path.join(self.agent.root, 'net')) as f:
            lines = [line.split() for line in f]
        used = {line[2] for line in lines}
        return [line[0] for line in lines if line[0] != 'bridge' or line[1] in used]

    def view(self):
        """All that clients see and the host has, without what differs from run to run."""
        s, out = self.s, []
        for sr in s.SR.get_all():
            if s.SR.get_type(sr) == 'file' and any(s.PBD.get_currently_attached(p) for p in s.SR.get_PBDs(sr)):
                s.SR.scan(sr)
        vms, vbds, vifs = s.VM.get_all_records(), s.VBD.get_all_records(), s.VIF.get_all_records()
        for ref, r in vms.items():
            if ref in self.kept['VM']:
                continue
            out.append(('VM', r['name_label'], r['power_state'], r['is_a_snapshot'], len(r['VTPMs']), 'disks' in r['other_config'],
                        r['suspend_VDI'] != NULL,
                        tuple(sorted((b['type'], b['userdevice'], b['currently_attached'], b['empty']) for b in map(vbds.get, r['VBDs']))),
                        tuple(sorted((v['device'], v['currently_attached']) for v in map(vifs.get, r['VIFs'])))))
        srs = s.SR.get_all_records()
        for ref, r in s.VDI.get_all_records().items():
            if r['managed'] and ref not in self.kept['VDI']:
                out.append(('VDI', r['name_label'], srs[r['SR']]['name_label'], r['is_a_snapshot'], r['missing'], r['type'] == 'suspend' or r['virtual_size'],
                            len(r['VBDs']), 'unfinished-by' in r['sm_config']))
        for ref, r in srs.items():
            # One that was unplugged is plugged again when the agent begins anew.
            plugged = r['name_label'] == 'third' or [s.PBD.get_currently_attached(p) for p in r['PBDs']]
            out.append(('SR', r['name_label'], plugged))
        for ref, r in s.network.get_all_records().items():
            out.append(('network', r['name_label'], len(r['PIFs'])))
        for ref, r in s.PIF.get_all_records().items():
            out.append(('PIF', r['device'], r['VLAN'], r['currently_attached']))
        out += [('bond',)] * len(s.Bond.get_all()) + [('tunnel',)] * len(s.tunnel.get_all())
        out += [('device', kind) for kind in self.devices()]
        return sorted(out, key=repr)

    def wrong(self, killed=True):
        """What must never be, in words. killed: the agent began anew, or nothing failed."""
        s, bad = self.s, []
        root = self.agent.root
        vms = s.VM.get_all_records()
        running = {r['uuid'] for r in vms.values() if r['power_state'] in ('Running', 'Paused') and not r['is_control_domain']}
        guests = self.guests()
        if set(guests) != running:
            bad.append('guests of no VM: %s, VMs without a guest: %s' % (sorted(set(guests) - running), sorted(running - set(guests))))
        for cls in ('VM', 'VDI', 'SR', 'VBD', 'VIF', 'host', 'pool', 'VM_appliance'):
            for ref, r in getattr(s, cls).get_all_records().items():
                if r['current_operations']:
                    bad.append('%s %s is still in %s' % (cls, ref, r['current_operations']))
        for ref, r in s.task.get_all_records().items():
            if r['status'] == 'pending':
                bad.append('task %s is pending' % r['name_label'])
            elif r['status'] == 'failure' and not r['error_info']:
                bad.append('task %s failed without a reason' % r['name_label'])
        vbds = {r['uuid']: r for r in s.VBD.get_all_records().values()}
        attached = os.listdir(os.path.join(root, 'storage/attached'))
        for name in attached:
            owner = name.partition('.')[2]
            # A detaching that failed is made up for when the disk is wanted: clear() does.
            if killed and name != 'boot-id' and not (owner in vbds and vbds[owner]['currently_attached']):
                bad.append('attached for nobody: ' + name)
        for r in vbds.values():
            if r['currently_attached'] and not r['empty'] and not any(n.endswith('.' + r['uuid']) for n in attached):
                bad.append('a plugged VBD whose disk is not attached')
        if os.listdir(os.path.join(root, 'storage/making')):
            bad.append('disks in the making: %s' % os.listdir(os.path.join(root, 'storage/making')))
        known = {r['uuid'] for r in s.VDI.get_all_records().values()}
        for folder in ('sr', 'second', 'third'):
            path = os.path.join(root, folder)
            for name in os.listdir(path) if os.path.isdir(path) else []:
                stem = name.split('.')[0].replace('base-', '')
                if not name.startswith('.') and stem not in known and not name.startswith('live-'):
                    if folder != 'third':
                        bad.append('a file of no disk: %s/%s' % (folder, name))
        for ref, r in vms.items():
            if r['power_state'] == 'Suspended' and r['suspend_VDI'] == NULL:
                bad.append('a suspended VM without its memory')
            if 'unfinished-by' in r['other_config']:
                bad.append('a VM that nobody finished')
        return bad

    def clear(self):
        """Back to the beginning."""
        s = self.s
        for appliance in s.VM_appliance.get_all():
            s.VM_appliance.destroy(appliance)
        for vm in set(s.VM.get_all()) - self.kept['VM']:
            if s.VM.get_power_state(vm) != 'Halted':
                s.VM.hard_shutdown(vm)
        for vm in set(s.VM.get_all()) - self.kept['VM']:
            s.VM.destroy(vm)
        for sr in set(s.SR.get_all()) - self.kept['SR']:
            for pbd in s.SR.get_PBDs(sr):
                s.PBD.unplug(pbd)
            s.SR.forget(sr)
        for sr in (self.sr, self.second):
            s.PBD.plug(s.SR.get_PBDs(sr)[0])
        for vdi in set(s.VDI.get_all()) - self.kept['VDI']:
            if s.VDI.get_managed(vdi):
                s.VDI.destroy(vdi)
        for bond in s.Bond.get_all():
            s.Bond.destroy(bond)
        for tunnel in s.tunnel.get_all():
            s.tunnel.destroy(tunnel)
        for pif, r in s.PIF.get_all_records().items():
            if int(r['VLAN']) >= 0:
                s.PIF.destroy(pif)
        for network in set(s.network.get_all()) - self.kept['network']:
            s.network.destroy(network)
        subprocess.run(['rm', '-rf', os.path.join(self.agent.root, 'third')], check=True)
        for sr in (self.sr, self.second):
            s.SR.scan(sr)


class Operation:
    """make(world) -> what it works on; run(world, that). again: it can be run once more after a failure. half: a refusal may leave it half
    done, if running it once more ends it; no kill may. parts: it is done to several VMs, each of which is as before or as after; running it
    once more ends it. real: the simulator cannot do it."""

    def __init__(self, name, make, run, kill_only=False, again=True, half=False, parts=False, real=False):
        self.name, self.make, self.run, self.kill_only, self.again, self.half = name, make, run, kill_only, again, half
        self.parts, self.real = parts, real


def operations():
    def vm_in(state):
        return lambda w: w.vm(state=state)

    def with_snapshot_in(state):
        def make(w):
            vm = w.vm(state=state)
            return vm, w.s.VM.snapshot(vm, 'snap')
        return make

    def writer(w):
        """It runs with two disks: a snapshot is of both at one moment."""
        vm = w.vm()
        w.vbd(vm, w.disk('more'))
        w.s.VM.start(vm, False, False)
        return vm

    def with_provision(w):
        vm = w.s.VM.clone(w.template, 'new')
        w.s.VM.remove_from_other_config(vm, 'disks')
        w.s.VM.add_to_other_config(vm, 'disks', '<provision>%s</provision>' % ''.join(
            '<disk device="%d" size="%d" sr="%s" bootable="false" type="system"/>' % (i, MIB, w.s.SR.get_uuid(w.sr)) for i in range(2)))
        return vm

    def with_cloud_init(w):
        vm = w.vm()
        w.s.VM.add_to_other_config(vm, 'cloud-init', '#cloud-config\n')
        return vm

    def file_of_vm(w):
        vm = w.vm('exported')
        data = w.download('/export?ref=' + vm)
        w.clear()
        return data

    def plugged_card(w):
        vm = w.vm(state='Running')
        return w.vif(vm)

    def card_with_tools(w):
        vm = w.vm(state='Running')
        w.agent.poke('agent %s on' % w.s.VM.get_uuid(vm))
        wait_until(lambda: w.s.VM.get_guest_metrics(vm) != NULL)
        return w.s.VM.get_VIFs(vm)[0]

    def plugged_disk(w):
        vm = w.vm(state='Running')
        return w.vbd(vm, w.disk('more'))

    def used_disk(w):
        return w.s.VM.get_VBDs(w.vm(state='Running'))[0]

    def move(w, vbd):
        w.s.VDI.pool_migrate(w.s.VBD.get_VDI(vbd), w.second, {})

    def unplugged(w):
        pbd = w.s.SR.get_PBDs(w.second)[0]
        w.s.PBD.unplug(pbd)
        return pbd

    def appliance(w):
        app = w.s.VM_appliance.create({'name_label': 'app', 'name_description': ''})
        for name in ('a', 'b'):
            w.s.VM.set_appliance(w.vm(name), app)
        return app

    def forgotten(w):
        vdi = w.disk()
        uuid = w.s.VDI.get_uuid(vdi)
        w.s.VDI.forget(vdi)
        return uuid

    def introduce(w, uuid):
        w.s.VDI.introduce(uuid, 'back', '', w.sr, 'user', False, False, {}, uuid, {}, {}, True, '0', '0', NULL, False, '19700101T00:00:00Z',
                          NULL)

    def third(w):
        return w.s.SR.create(w.host, {'location': os.path.join(w.agent.root, 'third')}, '0', 'third', '', 'file', 'user', False, {})

    def third_unplugged(w):
        sr = third(w)
        w.s.PBD.unplug(w.s.SR.get_PBDs(sr)[0])
        return sr

    def without_plugs(what):
        def run(w, sr):
            for pbd in w.s.SR.get_PBDs(sr):     # an agent that begins anew has plugged it
                w.s.PBD.unplug(pbd)
            w.s.call('SR.' + what, sr)
        return run

    def other_network(w):
        return w.s.network.create({'name_label': 'other', 'name_description': '', 'other_config': {}})

    def vlan(w, network):
        return w.s.VLAN.create(w.pif, '7', network)

    def with_vlan(w):
        return vlan(w, other_network(w))

    def cards(w):
        return sorted((p for p in w.s.PIF.get_all() if w.s.PIF.get_physical(p)), key=w.s.PIF.get_device)

    def one_address(w):
        """Of the cards only the one with management has an address: a bond has one."""
        for pif in cards(w):
            if not w.s.PIF.get_management(pif):
                w.s.PIF.reconfigure_ip(pif, 'None', '', '', '', '')

    def to_bond(w):
        one_address(w)
        return other_network(w)

    def with_vlans(w):
        for tag, pif in zip(('7', '8'), cards(w)):
            w.s.VLAN.create(pif, tag, w.s.network.create({'name_label': 'tag' + tag, 'name_description': '', 'other_config': {}}))
        return to_bond(w)

    def bond(w, network):
        return w.s.Bond.create(network, cards(w), '', 'active-backup', {})

    def plug_then(vbd_or_vif, what):
        cls = 'VBD' if vbd_or_vif is plugged_disk else 'VIF'

        def make(w):
            ref = vbd_or_vif(w)
            if what == 'unplug':
                w.s.call(cls + '.plug', ref)
            return ref
        return Operation('%s.%s' % (cls, what), make, lambda w, ref: w.s.call('%s.%s' % (cls, what), ref))

    nothing = lambda w: None
    return [
        Operation('VM.start', vm_in('Halted'), lambda w, vm: w.s.VM.start(vm, False, False)),
        Operation('VM.start with cloud-init', with_cloud_init, lambda w, vm: w.s.VM.start(vm, False, False)),
        Operation('VM.hard_shutdown', vm_in('Running'), lambda w, vm: w.s.VM.hard_shutdown(vm)),
        Operation('VM.clean_shutdown', vm_in('Running'), lambda w, vm: w.s.VM.clean_shutdown(vm)),
        Operation('VM.hard_reboot', vm_in('Running'), lambda w, vm: w.s.VM.hard_reboot(vm)),
        Operation('VM.pause', vm_in('Running'), lambda w, vm: w.s.VM.pause(vm)),
        Operation('VM.unpause', vm_in('Paused'), lambda w, vm: w.s.VM.unpause(vm)),
        Operation('VM.suspend', vm_in('Running'), lambda w, vm: w.s.VM.suspend(vm)),
        Operation('VM.resume', vm_in('Suspended'), lambda w, vm: w.s.VM.resume(vm, False, False)),
        Operation('VM.clean_reboot', vm_in('Running'), lambda w, vm: w.s.VM.clean_reboot(vm)),
        Operation('VM.pool_migrate', vm_in('Running'), lambda w, vm: w.s.VM.pool_migrate(vm, w.host, {'live': 'true'})),
        Operation('VM.snapshot', vm_in('Halted'), lambda w, vm: w.s.VM.snapshot(vm, 'snap')),
        Operation('VM.checkpoint', vm_in('Running'), lambda w, vm: w.s.VM.checkpoint(vm, 'point')),
        Operation('VM.snapshot of a writer', writer, lambda w, vm: w.s.VM.snapshot(vm, 'snap')),
        Operation('VM.revert', with_snapshot_in('Halted'), lambda w, pair: w.s.VM.revert(pair[1]), again=False),
        Operation('VM.revert of a running VM', with_snapshot_in('Running'), lambda w, pair: w.s.VM.revert(pair[1]), again=False),
        Operation('VM.revert of a suspended VM', with_snapshot_in('Suspended'), lambda w, pair: w.s.VM.revert(pair[1]), again=False),
        Operation('VM.clone', vm_in('Halted'), lambda w, vm: w.s.VM.clone(vm, 'twin')),
        Operation('VM.copy', vm_in('Halted'), lambda w, vm: w.s.VM.copy(vm, 'twin', w.second)),
        Operation('VM.provision', with_provision, lambda w, vm: w.s.VM.provision(vm)),
        Operation('VM.destroy', vm_in('Halted'), lambda w, vm: w.s.VM.destroy(vm)),
        Operation('VM.export', vm_in('Halted'), lambda w, vm: w.download('/export?ref=' + vm)),
        Operation('VM.import', file_of_vm, lambda w, data: w.upload('/import?sr_uuid=' + w.s.SR.get_uuid(w.sr), data)),
        plug_then(plugged_disk, 'plug'), plug_then(plugged_disk, 'unplug'),
        plug_then(plugged_card, 'plug'), plug_then(plugged_card, 'unplug'),
        Operation('VIF.configure_ipv4', card_with_tools, lambda w, vif: w.s.VIF.configure_ipv4(vif, 'Static', '192.0.2.7/24', '')),
        Operation('VTPM.create', vm_in('Halted'), lambda w, vm: w.s.VTPM.create(vm, False)),
        Operation('VM_appliance.start', appliance, lambda w, app: w.s.VM_appliance.start(app, False), parts=True),
        Operation('VDI.create', nothing, lambda w, _: w.disk('made')),
        Operation('VDI.destroy', lambda w: w.disk(), lambda w, vdi: w.s.VDI.destroy(vdi), half=True),
        Operation('VDI.snapshot', lambda w: w.disk(), lambda w, vdi: w.s.VDI.snapshot(vdi, {})),
        Operation('VDI.clone', lambda w: w.disk(), lambda w, vdi: w.s.VDI.clone(vdi, {})),
        Operation('VDI.copy', lambda w: w.disk(), lambda w, vdi: w.s.VDI.copy(vdi, w.second)),
        Operation('VDI.pool_migrate', used_disk, move, real=True),
        Operation('VDI.resize', lambda w: w.disk(), lambda w, vdi: w.s.VDI.resize(vdi, str(16 * MIB))),
        Operation('VDI.forget', lambda w: w.disk(), lambda w, vdi: w.s.VDI.forget(vdi), again=False),
        Operation('VDI.introduce', forgotten, introduce, again=False),
        Operation('import_raw_vdi', nothing,
                  lambda w, _: w.upload('/import_raw_vdi?sr_id=%s&format=raw' % w.s.SR.get_uuid(w.sr), b'x' * MIB)),
        Operation('SR.create', nothing, lambda w, _: third(w)),
        Operation('SR.destroy', third_unplugged, without_plugs('destroy')),
        Operation('SR.forget', third_unplugged, without_plugs('forget')),
        Operation('SR.scan', nothing, lambda w, _: w.s.SR.scan(w.sr)),
        Operation('PBD.unplug', lambda w: w.s.SR.get_PBDs(w.second)[0], lambda w, pbd: w.s.PBD.unplug(pbd)),
        Operation('PBD.plug', unplugged, lambda w, pbd: w.s.PBD.plug(pbd)),
        Operation('network.create', nothing, lambda w, _: other_network(w)),
        Operation('network.destroy', other_network, lambda w, net: w.s.network.destroy(net)),
        Operation('VLAN.create', other_network, vlan),
        Operation('VLAN.destroy', with_vlan, lambda w, v: w.s.VLAN.destroy(v)),
        Operation('PIF.unplug', lambda w: w.pif, lambda w, pif: w.s.PIF.unplug(pif)),
        Operation('Bond.create', to_bond, bond),
        Operation('Bond.create with VLANs on its members', with_vlans, bond),
    ]


class Try:
    """One operation at one step."""

    def __init__(self, world, op):
        self.w, self.op = world, op
        self.w.clear()
        self.thing = op.make(world)
        self.before = world.view()

    def undisturbed(self):
        self.op.run(self.w, self.thing)
        return self.w.view()

    def disturbed(self, action, step):
        """-> 'killed', 'refused', 'done'. action: 'kill' or an errno's name."""
        w = self.w
        w.agent.arm('agent.step %s %d' % (action, step))
        try:
            self.op.run(w, self.thing)
            result = 'done'
        except Failure as e:
            self.why = e.details
            result = 'refused'
        except GONE:
            result = 'killed'
        # What goes on behind the answer may reach the step, too, until it is disarmed for certain.
        w.agent.arm('agent.step off')
        try:
            if result != 'killed':
                w.s.pool.get_all()
        except GONE:
            result = 'killed'
        if result != 'killed':
            return result
        if action != 'kill':
            raise RuntimeError('%s: the agent died at step %d\n%s' % (self.op.name, step, w.agent.tail(20)))
        w.restart()
        return 'killed'

    def faults(self, after, result, settle=10):
        """What is wrong now, in words; nothing when all is well."""
        w = self.w
        state = {}

        # A commit that fails may come when the guest or the image has changed; the record then follows.
        right = {'refused': [self.before, after], 'done': [after], 'killed': [self.before, after]}[result]

        def well():
            state['view'], state['bad'] = w.view(), w.wrong(result == 'killed')
            return (state['view'] in right or (self.op.half and result == 'refused') or
                    (self.op.parts and made_of(state['view'], self.before, after))) and not state['bad']

        def ended():
            return w.view() == after and not w.wrong(result == 'killed')

        if not wait_until(well, settle, 0.3):
            near = min(right, key=lambda r: len(difference(state['view'], r)) + len(difference(r, state['view'])))
            if state['view'] not in right:
                state['bad'].append('more %s, less %s' % (difference(state['view'], near), difference(near, state['view'])))
            return state['bad']
        if state['view'] == after or not self.op.again:
            return []
        try:
            self.op.run(w, self.thing)
        except Failure as e:
            if not ended():
                return ['a second attempt fails: %s' % e.details]
        return [] if wait_until(ended, settle, 0.3) else ['after a second attempt: %s, more %s, less %s' % (
            w.wrong(), difference(w.view(), after), difference(after, w.view()))]


def made_of(view, before, after):
    """Whether each thing of the view is as it was or as it should be, and none is missing."""
    return (not difference(view, before + after) and not difference([x for x in before if x in after], view) and
            sum(x[0] == 'VM' for x in view) == sum(x[0] == 'VM' for x in before))


def difference(a, b):
    rest = list(b)
    out = []
    for item in a:
        if item in rest:
            rest.remove(item)
        else:
            out.append(item)
    return out
