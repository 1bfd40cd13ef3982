"""A guest that writes to three disks all the while, and what its disks hold.

Called by: test-load.py, test-merge.py. Calls: the agent, tests/qemu/guest.sh through the harness.
"""
import hashlib
import http.client
import re
import urllib.request
import xmlrpc.client

from harness import check, guest_files, wait_until

MIB = 1 << 20
SIZE = 9 * MIB
PAGE, LINES = 4096, 2000
NULL = 'OpaqueRef:NULL'
GONE = (OSError, http.client.HTTPException, xmlrpc.client.ProtocolError)      # the agent was killed under the call
kernel, initramfs = guest_files()       # before: a first time it is fetched


def number(line):
    text = line.strip(b'\0\n ')
    return int(text) if text else 0


def numbers(data):
    """The number that the disk says, when all lines up to it are there and none that is later than the next; or what is wrong."""
    last = number(data[:PAGE])
    line = {n: number(data[PAGE * (1 + n % LINES):PAGE * (2 + n % LINES)]) for n in range(max(1, last - LINES + 2), last + 2)}
    missing = [n for n in line if n <= last and line[n] != n]
    if missing:
        return 'line %d of %d is not there' % (missing[0], last)
    return last if line[last + 1] <= last + 1 else 'line %d after %d' % (line[last + 1], last)


class Scene:
    """An agent, and a guest that writes to three disks."""

    def __init__(self, agent):
        self.agent, self.s, self.deepest = agent, agent.login(), 0
        s = self.s
        self.kept = self.managed()
        self.vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'load')
        s.VM.provision(self.vm)
        s.VM.set_memory_limits(self.vm, str(64 * MIB), str(192 * MIB), str(192 * MIB), str(192 * MIB))
        s.VM.set_domain_type(self.vm, 'pvh')
        s.VM.set_PV_kernel(self.vm, kernel)
        s.VM.set_PV_ramdisk(self.vm, initramfs)
        s.VM.set_PV_args(self.vm, 'console=ttyS0 mitigations=off no_timer_check load=1 nonce=load')
        self.uuid = s.VM.get_uuid(self.vm)
        sr = s.pool.get_default_SR(s.pool.get_all()[0])
        for n in range(3):
            vdi = s.VDI.create({'name_label': 'disk %d' % n, 'name_description': '', 'SR': sr, 'virtual_size': str(SIZE), 'type': 'user',
                                'sharable': False, 'read_only': False, 'other_config': {}})
            s.VBD.create({'VM': self.vm, 'VDI': vdi, 'userdevice': str(n), 'bootable': not n, 'mode': 'RW', 'type': 'Disk', 'empty': False,
                          'other_config': {}, 'qos_algorithm_type': '', 'qos_algorithm_params': {}})

    def managed(self):
        return {v for v, r in self.s.VDI.get_all_records().items() if r['managed']}      # in one call: merges take some away

    def depth(self):
        """Images that the deepest disk stands on, and is."""
        parent = {r['uuid']: r['sm_config'].get('vhd-parent') for r in self.s.VDI.get_all_records().values()}

        def depth_of(uuid):
            return 1 + depth_of(parent[uuid]) if uuid in parent else 0
        return max(map(depth_of, parent))

    def said(self):
        """All numbers that the guest has said."""
        return [int(n) for n in re.findall(r'^load (\d+)\r?$', self.agent.console_log(self.uuid), re.M)]

    def grows(self, by=4):
        before = len(self.said())
        return wait_until(lambda: len(self.said()) >= before + by, 240)

    def disks(self, vm):
        vbds = [self.s.VBD.get_record(b) for b in self.s.VM.get_VBDs(vm)]
        return [b['VDI'] for b in sorted(vbds, key=lambda b: int(b['userdevice'])) if b['type'] == 'Disk']

    def contents(self, vm):
        url = 'http://127.0.0.1:%d/export_raw_vdi?session_id=%s&vdi=%s'
        return [urllib.request.urlopen(url % (self.agent.http_port, self.s._ref, vdi), timeout=60).read() for vdi in self.disks(vm)]

    def digests(self, vm):
        return [hashlib.sha256(data).hexdigest() for data in self.contents(vm)]

    def strange(self, vm, before):
        """What is wrong with its disks as those of one moment, after the guest had said `before`; nothing when all is well."""
        return self.strange_contents(self.contents(vm), before)

    def strange_contents(self, contents, before):
        found = [numbers(data) for data in contents]
        if not all(isinstance(n, int) for n in found):
            return found
        a, b, c = found
        # The guest writes them in this order, each when the one before is on its disk.
        return [] if a >= b >= c >= a - 1 and before <= c and a <= self.said()[-1] + 1 else ['%s, after %d' % (found, before)]

    def of_moment(self, vm, before, what):
        wrong = self.strange(vm, before)
        check(not wrong, '%s: its disks are of one moment, after %d: %s' % (what, before, wrong or 'all lines are there'))

    def destroy(self, vm):
        disks = self.disks(vm)
        self.s.VM.destroy(vm)
        for vdi in disks:
            self.s.VDI.destroy(vdi)

    def unowned(self):
        """What is wrong with disks: some are nobody's."""
        def look():
            owned = set(self.kept)
            for vm, r in self.s.VM.get_all_records().items():
                owned |= set(self.disks(vm)) | {r['suspend_VDI']}
            return self.managed() - owned
        return [] if wait_until(lambda: not look(), 20, 0.3) else ['disks of nobody: %d' % len(look())]

    def runs(self, state='Running'):
        """The VM comes to this state, and no operation is left."""
        return wait_until(lambda: self.s.VM.get_power_state(self.vm) == state and not self.s.VM.get_current_operations(self.vm), 120)

    def killed(self, run, where):
        """run() with the agent killed at a fault point (lib/fault.h: 'POINT' or 'POINT NTH'). Whether it came there; the agent is there
        again in any case."""
        point, _, nth = where.partition(' ')
        self.agent.arm(('%s kill %s' % (point, nth)).strip())
        try:
            run()
        except GONE:
            pass
        self.agent.arm(point + ' off')
        try:
            self.s.pool.get_all()
            return False
        except GONE:
            pass
        self.agent.process.wait()
        self.agent.start()
        self.s = self.agent.login()
        return True
