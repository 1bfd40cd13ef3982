"""What tests of repositories on block devices share: disks read and written through the API, LVM's commands counted, a simulated
VM that has a disk.

Called by: test-lvm*.py, test-iscsi.py, test-multipath.py, test-block.py. Calls: the agent in a machine of the rig.
"""
import hashlib
import http.client
import os
import random
import sys
import urllib.parse

from harness import LEVEL, SOURCE, check
from rig import Rig

MIB = 1 << 20

# every start of lvm is noted
COUNT_LVM = r'''
[ -e /root/real/lvm ] || { mkdir /root/real; cp -L /usr/sbin/lvm /root/real/lvm
printf '#!/bin/sh\necho "$*" >>/root/lvm.log\nexec /root/real/lvm "$@"\n' >/usr/sbin/lvm.new
chmod 755 /usr/sbin/lvm.new; mv /usr/sbin/lvm.new /usr/sbin/lvm; }
: >/root/lvm.log
'''


def report(rig, script):
    """Runs a script that prints "ok WHAT" and "not ok WHAT": each is a result as soon as it is said."""
    text = bytearray()

    def take(data):
        text.extend(data)
        while b'\n' in text:
            line = text[:text.index(b'\n')].decode()
            del text[:len(line) + 1]
            if line.startswith(('ok ', 'not ok ')):
                check(line.startswith('ok '), line.partition('ok ')[2])
            else:
                print('# ' + line, flush=True)
    rc, _ = rig.run(script, 3600, output=take)
    check(rc == 0, 'to its end')


def inside(script, arguments, modules=(), takes='', levels=('full',), **environment):
    """A script of this folder runs in a machine of its own, with the modules (paths below tests/) that it imports: see report().
    takes: how long, where it is left out."""
    if LEVEL not in levels:
        print('# %s: LEVEL=%s' % (takes, levels[0]))
        sys.exit(77)
    with Rig('linux') as rig:
        rig.install()
        rig.put({'/root/' + os.path.basename(p): os.path.join(SOURCE, 'tests', p) for p in ('storage/' + script, 'sm/smcall.py', *modules)})
        words = ''.join('%s=%s ' % pair for pair in environment.items())
        report(rig, 'cd /root; XAPI_SM_STATE_DIR=/root/state %spython3 %s %s 2>&1' % (words, script, arguments))


def changed_blocks(fmt, kills):
    """Changed block tracking of disks of this format in volumes (lvmcbt.py): histories, what is refused and XenServer's logs, or kill -9. Half
    of it takes ten minutes, and is a test of its own. LVM_CBT: how many rounds of a history, or kills."""
    n = int(os.environ.get('LVM_CBT') or (40 if kills else 12))
    inside('lvmcbt.py', '/dev/vdb %d %d %s' % (0 if kills else n, n if kills else 0, fmt), ['sm/cbtmodel.py'], takes='ten minutes')


class Disks:
    def __init__(self, rig, agent, s):
        self.rig, self.agent, self.s = rig, agent, s
        self.host = s.host.get_all()[0]
        self.rng = random.Random(4)

    # -- repositories and disks

    def create(self, sr_type, config, **sm_config):
        return self.s.SR.create(self.host, config, '0', sr_type, '', sr_type, 'user', False, sm_config)

    def plug(self, uuid, sr_type, config, **sm_config):
        sr = self.s.SR.introduce(uuid, 'again', '', sr_type, 'user', False, sm_config)
        pbd = self.s.PBD.create({'host': self.host, 'SR': sr, 'device_config': config})
        self.s.PBD.plug(pbd)
        return sr

    def unplug(self, sr):
        pbd = self.s.SR.get_PBDs(sr)[0]
        self.s.PBD.unplug(pbd)
        return pbd

    def destroy(self, vdi):
        self.s.VDI.destroy(vdi)

    def vdi(self, sr, size, name='disk', **sm_config):
        return self.s.VDI.create({'name_label': name, 'name_description': 'of a test', 'SR': sr, 'virtual_size': str(size), 'type': 'user',
                                  'sharable': False, 'read_only': False, 'other_config': {}, 'sm_config': sm_config})

    def _records(self, sr):
        """In one call: a merge may take a base away at any time."""
        return {v: r for v, r in self.s.VDI.get_all_records().items() if r['SR'] == sr}

    def managed(self, sr):
        return [v for v, r in self._records(sr).items() if r['managed']]

    def parent(self, vdi):
        """The base that a disk stands on, None = nothing."""
        records = self._records(self.s.VDI.get_SR(vdi))
        uuid = records[vdi]['sm_config'].get('vhd-parent')
        return next((v for v, r in records.items() if r['uuid'] == uuid), None)

    # -- content

    def _http(self, method, path, body=None, **query):
        c = http.client.HTTPConnection('127.0.0.1', self.agent.port, timeout=300)
        c.request(method, path + '?' + urllib.parse.urlencode(dict(query, session_id=self.s._ref)),
                  body)
        r = c.getresponse()
        data = r.read()
        c.close()
        if r.status != 200:
            raise AssertionError('%s %s: %d %s' % (method, path, r.status, data[:200]))
        return data

    def write(self, vdi, data):
        self._http('PUT', '/import_raw_vdi', bytes(data), vdi=self.s.VDI.get_uuid(vdi), format='raw')

    def read(self, vdi):
        return self._http('GET', '/export_raw_vdi', vdi=self.s.VDI.get_uuid(vdi), format='raw')

    def random(self, size):
        """Bytes with holes in them."""
        data = bytearray(size)
        for _ in range(6):
            at = self.rng.randrange(size // 4096) * 4096
            n = min(self.rng.choice([4096, 65536, 3 * MIB]), size - at)
            data[at:at + n] = self.rng.randbytes(n)
        return data

    def same(self, vdi, data):
        return hashlib.sha256(self.read(vdi)).digest() == hashlib.sha256(bytes(data)).digest()

    # -- LVM

    def lvm(self, fn, *args, **named):
        """What fn returned, and the LVM commands that ran meanwhile."""
        self.rig.must(': >/root/lvm.log')
        got = fn(*args, **named)
        return got, [line.split()[0] for line in self.rig.must('cat /root/lvm.log').splitlines()]

    def volumes(self, sr):
        out = self.rig.must('l=/root/real/lvm; [ -e $l ] || l=lvm\n$l lvs --noheadings --nosuffix --units m '
                            '-o lv_name,lv_size,lv_active,lv_tags --separator "|" VG_XenStorage-%s' % self.s.SR.get_uuid(sr))
        return {f[0]: {'mib': float(f[1]), 'active': f[2] == 'active', 'tags': f[3]} for f in
                (line.strip().split('|') for line in out.splitlines() if '|' in line)}

    # -- a VM that has a disk

    def vm(self, *vdis):
        s = self.s
        template = next(t for t in s.VM.get_all() if s.VM.get_is_a_template(t) and s.VM.get_name_label(t) == 'Other install media')
        vm = s.VM.clone(template, 'vm')
        s.VM.provision(vm)
        for n, vdi in enumerate(vdis):
            s.VBD.create({'VM': vm, 'VDI': vdi, 'userdevice': str(n), 'bootable': n == 0, 'mode': 'RW', 'type': 'Disk', 'empty': False,
                          'other_config': {}, 'qos_algorithm_type': '', 'qos_algorithm_params': {}})
        s.VM.start(vm, False, False)
        return vm

    def socket(self, vdi):
        return '%s/nbd/%s' % (self.agent.root, self.s.VDI.get_uuid(vdi))

    def io(self, vdi, *commands):
        """qemu-io on what serves a disk in use."""
        words = ' '.join("-c '%s'" % c for c in commands)
        out = self.rig.must("qemu-io -f raw %s 'nbd+unix:///?socket=%s'" % (words, self.socket(vdi)))
        if 'fail' in out:
            raise AssertionError(out)
        return out
