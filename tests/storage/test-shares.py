#!/usr/bin/env python3
"""Repositories on servers: NFS 3 and 4.1, SMB 3, and CD images there, with the kernel's own servers and clients in a machine
of the rig; the agent is this build's, its guests are simulated, its storage is real."""
import os
import sys

sys.path.insert(0, os.path.join(os.environ['XAPI_SOURCE'], 'tests', 'rig'))
from harness import LEVEL, Failure, check, done, fails, wait_until  # noqa: E402
from rig import Rig  # noqa: E402

MIB = 1 << 20

SERVERS = r'''
set -e
mkdir -p /srv/nfs /srv/iso /var/lib/nfs/v4recovery /var/lib/nfs/rpc_pipefs /run/rpcbind /proc/fs/nfsd
ip link set lo up
mke2fs -q -F -t ext4 /dev/vdb; mount /dev/vdb /srv
mkdir -p /srv/nfs /srv/iso
dd if=/dev/urandom of=/srv/iso/one.iso bs=64k count=16 2>/dev/null
modprobe nfsd; modprobe nfs; modprobe nfsv3; modprobe nfsv4
mount -t nfsd nfsd /proc/fs/nfsd || true
rpcbind -w || rpcbind
rpc.statd || true
cat >/etc/exports <<X
/srv/nfs 127.0.0.1(rw,no_root_squash,no_subtree_check,sync,fsid=1)
/srv/iso *(ro,no_subtree_check,fsid=2)
X
exportfs -ra
modprobe lockd; echo 10 >/proc/sys/fs/nfs/nlm_grace_period || true
rpc.nfsd --grace-time 10 --lease-time 10 4
rpc.mountd
showmount -e 127.0.0.1
mkdir -p /srv/smb /run/samba /var/lib/samba/private /var/log/samba /var/cache/samba
cat >/etc/samba/smb.conf <<X
[global]
server min protocol = SMB3
[disks]
path = /srv/smb
read only = no
[cds]
path = /srv/iso
read only = yes
X
printf 'it, is=secret\nit, is=secret\n' | smbpasswd -s -a root
smbd -D
for i in $(seq 100); do ! ss -ltn | grep -q :445 || break; sleep 0.1; done
'''


def life(s, host, sr_type, config, what, mounted_as):
    """One repository from its making to its end."""
    sr = s.SR.create(host, config, '0', sr_type, '', sr_type, 'user', False, {})
    uuid = s.SR.get_uuid(sr)
    path = agent.sr_mount + '/' + uuid
    kind = rig.must('findmnt -n -o FSTYPE,SOURCE ' + path).strip()
    check(kind.split() == [mounted_as, kind.split()[1]] and uuid in kind, '%s: mounted: %s' % (what, kind))
    vdi = s.VDI.create({'name_label': 'd', 'name_description': '', 'SR': sr, 'virtual_size': str(64 * MIB), 'type': 'user',
                        'sharable': False, 'read_only': False, 'other_config': {}})
    image = '%s/%s.qcow2' % (path, s.VDI.get_uuid(vdi))
    rig.must("qemu-io -f qcow2 -c 'write -P 7 1M 3M' -c flush %s" % image)
    snap = s.VDI.snapshot(vdi, {})
    rig.must("qemu-io -f qcow2 -c 'write -P 8 1M 64k' -c flush %s" % image)
    clone = s.VDI.clone(snap, {})
    for v, pattern in ((vdi, 8), (snap, 7), (clone, 7)):
        out = rig.must("qemu-io -r -f qcow2 -c 'read -P %d 1M 64k' %s/%s.qcow2" % (pattern, path, s.VDI.get_uuid(v)))
        check('failed' not in out, '%s: reads %d' % (what, pattern))
    copy = s.VDI.copy(vdi, sr)
    check(rig.must("qemu-img compare -f qcow2 -F qcow2 %s %s/%s.qcow2" % (image, path, s.VDI.get_uuid(copy))), what + ': a copy')
    s.VDI.resize(clone, str(96 * MIB))
    check(int(s.VDI.get_virtual_size(clone)) == 96 * MIB, what + ': grown')
    rig.must('sync')

    pbd = s.SR.get_PBDs(sr)[0]
    s.PBD.unplug(pbd)
    check(rig.run('findmnt -n ' + path, 20)[0] != 0, what + ': unplugged, it is not mounted')
    s.SR.forget(sr)
    xml = s.SR.probe(host, config, sr_type, {})
    check(uuid in xml, what + ': a probe finds it')
    sr = s.SR.introduce(uuid, sr_type, '', sr_type, 'user', False, {})
    pbd = s.PBD.create({'host': host, 'SR': sr, 'device_config': config})
    s.PBD.plug(pbd)
    check(len([v for v in s.SR.get_VDIs(sr) if s.VDI.get_managed(v)]) == 4, what + ': introduced again it has its disks')
    out = rig.must("qemu-io -r -f qcow2 -c 'read -P 8 1M 64k' " + image)
    check('failed' not in out, what + ': with what was in them')
    for v in s.SR.get_VDIs(sr):
        if s.VDI.get_managed(v):
            s.VDI.destroy(v)
    s.PBD.unplug(pbd)
    s.SR.destroy(sr)
    check(uuid not in s.SR.probe(host, config, sr_type, {}), what + ': destroyed it is gone from the server')


def quota(s, host):
    """The server lets us have 32 MiB and not more: said as if there were no room."""
    rig.must(r'''
mke2fs -q -F -t ext4 -O quota /dev/vdc && mkdir -p /srv/quota && mount -o usrquota /dev/vdc /srv/quota && chown 2000:2000 /srv/quota
exportfs -o rw,all_squash,anonuid=2000,anongid=2000,no_subtree_check,sync,fsid=3 127.0.0.1:/srv/quota
python3 - <<X
import ctypes, struct
limits = struct.pack('=8QI4x', 32 << 10, 32 << 10, 0, 0, 0, 0, 0, 0, 1)     # struct if_dqblk: blocks of 1 KiB; QIF_BLIMITS
libc = ctypes.CDLL(None, use_errno=True)
assert libc.quotactl(0x800008 << 8, b'/dev/vdc', 2000, limits) == 0, ctypes.get_errno()     # Q_SETQUOTA of a user
X''')
    sr = s.SR.create(host, {'server': '127.0.0.1', 'serverpath': '/srv/quota'}, '0', 'nfs', '', 'nfs', 'user', False, {})
    vdi = s.VDI.create({'name_label': 'd', 'name_description': '', 'SR': sr, 'virtual_size': str(64 * MIB), 'type': 'user',
                        'sharable': False, 'read_only': False, 'other_config': {}})
    folder = agent.sr_mount + '/' + s.SR.get_uuid(sr)
    rig.must("qemu-io -f qcow2 -c 'write -P 7 1M 20M' -c flush %s/%s.qcow2" % (folder, s.VDI.get_uuid(vdi)))
    rc, text = rig.run('head -c 20M /dev/urandom >%s/other; e=$?; rm %s/other; exit $e' % (folder, folder), 60)
    check(rc != 0 and 'quota' in text, 'there is a quota: %s' % text.strip())
    fails('SR_BACKEND_FAILURE_44', 'a copy that it has no room for is refused by name', s.VDI.copy, vdi, sr)
    check(s.SR.get_VDIs(sr) == [vdi], 'and leaves nothing')
    for v in s.SR.get_VDIs(sr):
        s.VDI.destroy(v)
    s.PBD.unplug(s.SR.get_PBDs(sr)[0])
    s.SR.destroy(sr)


def silence(s, host):
    """A server that does not answer any more: what is asked of it ends at its deadline, and its health says so."""
    sr = s.SR.create(host, {'server': '127.0.0.1', 'serverpath': '/srv/nfs'}, '0', 'nfs', '', 'nfs', 'user', False, {})
    check(wait_until(lambda: 'health' in [source['name_label'] for source in s.SR.get_data_sources(sr)], 60), 'its health is measured')
    s.SR.record_data_source(sr, 'health')
    health = lambda: int(s.SR.query_data_source(sr, 'health'))      # noqa: E731
    check(wait_until(lambda: health() == 0, 60), 'a repository whose server answers is healthy')
    rig.must('nft add table inet cut; nft add chain inet cut in "{ type filter hook input priority 0; }"\n'
             'nft add rule inet cut in tcp dport 2049 drop')
    try:
        s.SR.scan(sr)
        check(False, 'what is asked of a server that is silent fails')
    except Failure as e:        # the kernel's client gave up, or it took longer than a driver may
        check(e.details[0] in ('SR_BACKEND_FAILURE_47', 'SM_PLUGIN_COMMUNICATION_FAILURE'), 'what is asked of a server that is silent has an '
              'end: %s' % e.details)
    check(wait_until(lambda: health() == 2, 60), 'and its repository is unreachable: %d' % health())
    rig.must('nft delete table inet cut')
    s.SR.scan(sr)
    check(wait_until(lambda: health() == 0, 60), 'until it answers again: %d' % health())
    s.PBD.unplug(s.SR.get_PBDs(sr)[0])
    s.SR.destroy(sr)


with Rig('linux') as rig:
    rc, text = rig.run(SERVERS, 120)
    check(rc == 0 and '/srv/nfs' in text, 'the servers run %s' % (text if rc else ''))
    rig.install()
    agent = rig.start_agent()
    s = agent.login()
    agent.sr_mount = '/var/lib/xapi-test/sr-mount'
    host = s.host.get_all()[0]

    try:
        s.SR.probe(host, {'server': '127.0.0.1'}, 'nfs', {})
        check(False, 'a probe without a path asks for one')
    except Failure as e:
        check(e.details[0] == 'SR_BACKEND_FAILURE_101' and '<Path>/srv/nfs</Path>' in e.details[3], 'a probe without a path lists exports')
    fails('SR_BACKEND_FAILURE_102', 'a server is needed', s.SR.probe, host, {'serverpath': '/x'}, 'nfs', {})
    fails('SR_BACKEND_FAILURE_73', 'an export that is none', s.SR.create, host,
          {'server': '127.0.0.1', 'serverpath': '/none'}, '0', 'x', '', 'nfs', 'user', False, {})
    check(not [r for r in s.SR.get_all_records().values() if r['type'] == 'nfs'], 'leaves no repository behind')
    life(s, host, 'nfs', {'server': '127.0.0.1', 'serverpath': '/srv/nfs'}, 'NFS 3', 'nfs')
    life(s, host, 'nfs', {'server': '127.0.0.1', 'serverpath': '/srv/nfs', 'nfsversion': '4.1'}, 'NFS 4.1', 'nfs4')

    quota(s, host)
    if LEVEL == 'full':
        silence(s, host)        # five minutes

    sr = s.SR.create(host, {'location': '127.0.0.1:/srv/iso'}, '0', 'iso', '', 'iso', 'iso', True, {})
    names = [s.VDI.get_name_label(v) for v in s.SR.get_VDIs(sr)]
    check(names == ['one.iso'], 'CD images on NFS: %s' % names)
    s.PBD.unplug(s.SR.get_PBDs(sr)[0])
    s.SR.forget(sr)

    disks = {'server': '\\\\127.0.0.1\\disks', 'username': 'root', 'password': 'it, is=secret'}
    fails('SR_BACKEND_FAILURE_111', 'SMB: not with another password', s.SR.create, host, dict(disks, password='wrong'), '0', 'x', '',
          'smb', 'user', False, {})
    fails('SR_BACKEND_FAILURE_111', 'SMB: a share that is none', s.SR.create, host,
          dict(disks, server='\\\\127.0.0.1\\none'), '0', 'x', '', 'smb', 'user', False, {})
    life(s, host, 'smb', disks, 'SMB 3', 'cifs')
    sr = s.SR.create(host, {'location': '//127.0.0.1/cds', 'type': 'cifs', 'username': 'root', 'cifspassword': 'it, is=secret'}, '0',
                     'iso', '', 'iso', 'iso', True, {})
    vdis = s.SR.get_VDIs(sr)
    check([s.VDI.get_name_label(v) for v in vdis] == ['one.iso'], 'CD images on SMB')
    pbd = s.SR.get_PBDs(sr)[0]
    shown = s.PBD.get_device_config(pbd)
    check('cifspassword' not in shown and 'secret' not in str(shown.values()), 'the password is not in the record: %s' % sorted(shown))
    check(rig.must('cmp /srv/iso/one.iso %s/%s/one.iso' % (agent.sr_mount, s.SR.get_uuid(sr))) == '', 'with what is in them')
    s.PBD.unplug(pbd)
    s.SR.forget(sr)
    check(rig.must('find /var/lib/xapi-test/storage -name "smb-*"') == '', 'no file with a password is left')
    check(rig.must('findmnt -n -t nfs,nfs4,cifs || true').strip() == '', 'nothing stays mounted')
    check(rig.must('ls -A %s' % agent.sr_mount).strip() == '', 'and no folder is left')
done()
