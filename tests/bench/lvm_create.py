#!/usr/bin/env python3
"""Disks made in a repository of volumes over our API and volumes made by bare lvcreate in the same group, in turn, in a machine
of the rig; prints samples as JSON.

    lvm_create.py SOCKET ROUNDS VOLUMES

The group is filled with VOLUMES further volumes first, through LVM's own way back from a written record (vgcfgrestore): made
one by one they would take hours. They have names that no disk has, so that what is measured is LVM's part and ours of it.
Called by: bench.py (P12), through the rig. Calls: LVM, the agent's unix socket.
"""
import http.client
import json
import random
import re
import socket
import string
import subprocess
import sys
import time
import xmlrpc.client

SOCKET, ROUNDS, VOLUMES = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
MIB = 1 << 20


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


def api(method, *args):
    answer = getattr(proxy, method)(*args)
    if answer['Status'] != 'Success':
        raise RuntimeError('%s: %s' % (method, answer['ErrorDescription']))
    return answer['Value']


def sh(script):
    return subprocess.run(script, shell=True, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def timed(fn):
    began = time.monotonic()
    fn()
    return time.monotonic() - began


def fill(group, device):
    sh('lvm vgcfgbackup -q -f /root/vg --devices %s %s' % (device, group))
    with open('/root/vg') as f:
        text = f.read()
    rng, alphabet = random.Random(1), string.ascii_letters + string.digits
    used = sum(int(n) for n in re.findall(r'extent_count = (\d+)', text))
    volumes = []
    for i in range(VOLUMES):
        name = '-'.join(''.join(rng.choice(alphabet) for _ in range(n)) for n in (6, 4, 4, 4, 4, 4, 6))
        volumes.append('FILL%05d {\nid = "%s"\nstatus = ["READ", "WRITE", "VISIBLE"]\nflags = []\nsegment_count = 1\nsegment1 {\n'
                       'start_extent = 0\nextent_count = 1\ntype = "striped"\nstripe_count = 1\nstripes = ["pv0", %d]\n}\n}\n' % (
                           i, name, used + i))
    text = text.replace('logical_volumes {\n', 'logical_volumes {\n' + ''.join(volumes), 1)
    with open('/root/vg', 'w') as f:
        f.write(text)
    sh('lvm vgcfgrestore -q -y -f /root/vg --devices %s %s' % (device, group))


session = api('session.login_with_password', 'root', '', '2.21', 'bench')
host = api('host.get_all', session)[0]
sh('truncate -s %dM /root/big' % ((VOLUMES + 1000) * 4 + 1024))
device = sh('losetup -f --show /root/big')
sr = api('SR.create', session, host, {'device': device}, '0', 'lvm', '', 'lvm', 'user', False, {})
group = 'VG_XenStorage-' + api('SR.get_uuid', session, sr)
if VOLUMES:
    fill(group, device)
    api('SR.update', session, sr)
made = []


def disk():
    made.append(api('VDI.create', session, {
        'name_label': 'd', 'name_description': '', 'SR': sr, 'virtual_size': str(8 * MIB), 'type': 'user', 'sharable': False,
        'read_only': False, 'other_config': {}, 'sm_config': {}}))


out = {'create': [[], []], 'scan': [], 'snapshot': []}
for i in range(ROUNDS + 1):
    ours = timed(disk)
    peer = timed(lambda: sh('lvm lvcreate -y -q -Wn -Zn -n peer%d -L 16m --devices %s %s' % (i, device, group)))
    if i:
        out['create'][0].append(ours)
        out['create'][1].append(peer)
        out['snapshot'].append(timed(lambda: api('VDI.snapshot', session, made[-1], {})))
        out['scan'].append(timed(lambda: api('SR.scan', session, sr)))
print(json.dumps(out))
