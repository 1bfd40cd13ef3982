#!/usr/bin/env python3
"""Starts the same PV guest with `xl create -p` and over our API, in turn, inside dom0; prints samples as JSON.

    xen_start.py SOCKET ROUNDS GROWTH

bare: no devices; devices: a card on a bridge and a raw disk. growth: domains that stay, made in turn by both, so that the time of each
can be seen against their number; of three starts the quickest, for what else goes on in the machine only adds. Both leave the domain paused: the guest's own boot is nobody's work.
Called by: bench.py (P1), through the rig. Calls: xl, the agent's unix socket.
"""
import http.client
import json
import os
import socket
import subprocess
import sys
import time
import xmlrpc.client

SOCKET, ROUNDS, GROWTH = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
KERNEL, RAMDISK = '/boot/vmlinux', '/boot/initramfs.gz'
ARGS = 'console=hvc0 quiet'
MIB = 1 << 20
TRIES = 3


class Connection(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(SOCKET)


class Transport(xmlrpc.client.Transport):
    def make_connection(self, host):
        if not self._connection or self._connection[0] != host:
            self._connection = host, Connection('localhost')
        return self._connection[1]


proxy = xmlrpc.client.ServerProxy('http://localhost/', transport=Transport())


def call(method, *args):
    answer = getattr(proxy, method)(*args)
    if answer['Status'] != 'Success':
        raise RuntimeError('%s: %s' % (method, answer['ErrorDescription']))
    return answer['Value']


session = call('session.login_with_password', 'root', '', '2.21', 'bench')


def api(method, *args):
    return call(method, session, *args)


def timed(fn):
    began = time.monotonic()
    fn()
    return time.monotonic() - began


# ---- ours

def make(name, mib, devices):
    vm = api('VM.clone', api('VM.get_by_name_label', 'Other install media')[0], name)
    api('VM.provision', vm)
    api('VM.set_memory_limits', vm, str(16 * MIB), str(mib * MIB), str(mib * MIB), str(mib * MIB))
    api('VM.set_domain_type', vm, 'pv')
    api('VM.set_PV_kernel', vm, KERNEL)
    api('VM.set_PV_ramdisk', vm, RAMDISK)
    api('VM.set_PV_args', vm, ARGS)
    if devices:
        sr = api('pool.get_default_SR', api('pool.get_all')[0])
        vdi = api('VDI.create', {'name_label': name, 'name_description': '', 'SR': sr, 'virtual_size': str(16 * MIB), 'type': 'user',
                                 'sharable': False, 'read_only': False, 'other_config': {}, 'sm_config': {'type': 'raw'}})
        api('VBD.create', {'VM': vm, 'VDI': vdi, 'userdevice': '0', 'bootable': False, 'mode': 'RW', 'type': 'Disk', 'empty': False,
                           'other_config': {}, 'qos_algorithm_type': '', 'qos_algorithm_params': {}})
        api('VIF.create', {'VM': vm, 'network': network(), 'device': '0', 'MAC': '', 'MTU': '1500', 'other_config': {},
                           'qos_algorithm_type': '', 'qos_algorithm_params': {}})
    return vm


def network():
    found = api('network.get_by_name_label', 'bench')
    return found[0] if found else api('network.create', {'name_label': 'bench', 'name_description': '', 'MTU': '1500', 'other_config': {},
                                                         'bridge': '', 'managed': True, 'tags': []})


def start(vm):
    api('VM.start', vm, True, False)


# ---- the peer

def config(name, mib, devices):
    path = '/root/%s.cfg' % name
    with open(path, 'w') as f:
        f.write('name="%s"\ntype="pv"\nkernel="%s"\nextra="%s"\nmemory=%d\nvcpus=1\n' % (name, KERNEL, ARGS, mib))
        if RAMDISK:
            f.write('ramdisk="%s"\n' % RAMDISK)
        if devices:
            disk = '/root/%s.raw' % name
            with open(disk, 'wb') as image:
                image.truncate(16 * MIB)
            f.write('disk=["%s,raw,xvda,w"]\nvif=["bridge=peerbr"]\n' % disk)
    return path


def xl(*words):
    out = subprocess.run(('xl',) + words, capture_output=True, text=True)
    if out.returncode:
        raise RuntimeError('xl %s: %s' % (' '.join(words), out.stderr))


subprocess.run('ip link add peerbr type bridge; ip link set peerbr up', shell=True, check=True)
# A first one of each: pages of programs and kernels are read from the disk once.
out = {'bare': [[], []], 'devices': [[], []], 'growth': [[], []]}
for part, devices in (('bare', False), ('devices', True)):
    vm, cfg = make('ours-' + part, 128, devices), config('peer-' + part, 128, devices)
    for i in range(ROUNDS + 1):
        ours = timed(lambda: start(vm))
        api('VM.hard_shutdown', vm)
        peer = timed(lambda: xl('create', '-p', '-q', cfg))
        xl('destroy', 'peer-' + part)
        if i:
            out[part][0].append(ours)
            out[part][1].append(peer)
    print(part, out[part], flush=True)
# Domains of 32 MiB, which is too little for Linux: GRUB.
KERNEL, RAMDISK = '/usr/lib/grub-xen/grub-x86_64-xen.bin', ''
vms = [make('grow-%d' % i, 32, False) for i in range(GROWTH)]
for i, vm in enumerate(vms):
    name = 'peer-grow-%d' % i                          # xl finds our names taken
    cfg = config(name, 32, False)
    tries = [[], []]
    for t in range(TRIES):
        if t:
            api('VM.hard_shutdown', vm)
            xl('destroy', name)
        tries[0].append(timed(lambda: start(vm)))
        tries[1].append(timed(lambda: xl('create', '-p', '-q', cfg)))
    for times, best in zip(out['growth'], tries):
        times.append(min(best))
out['domains'] = len(os.listdir('/var/lib/xapi-test/hv/xen/guest'))
print(json.dumps(out))
