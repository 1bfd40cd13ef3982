#!/usr/bin/env python3
"""The plain Linux machine can what tests of storage and networks need of a kernel: one proof a subsystem, no daemon of ours."""
import os
import sys

sys.path.insert(0, os.path.join(os.environ['XAPI_SOURCE'], 'tests', 'rig'))
from harness import check, done     # noqa: E402
from rig import Pair, Rig           # noqa: E402


def works(machine, what, script, timeout_s=120):
    rc, text = machine.run('set -ex\n' + script, timeout_s)
    if not check(rc == 0, what):
        print('\n'.join('# ' + line for line in text.splitlines()[-25:]))


NFS_SERVER = '''
mkdir -p /srv/x
mountpoint -q /proc/fs/nfsd || mount -t nfsd nfsd /proc/fs/nfsd
mount -t rpc_pipefs sunrpc /var/lib/nfs/rpc_pipefs
rpcbind
echo '/srv/x *(rw,no_root_squash,fsid=0,no_subtree_check,insecure)' >/etc/exports
exportfs -ra
rpc.statd --no-notify
rpc.nfsd 4
rpc.mountd
'''

with Rig('linux') as m:
    works(m, 'LVM: volumes, a snapshot, a thin pool with a file system', '''
        vgcreate -q vg /dev/vdb /dev/vdc
        lvcreate -q -L 64M -n a vg
        lvcreate -q -s -L 16M -n snap vg/a
        lvcreate -q --type thin-pool -L 128M -n pool vg
        lvcreate -q -V 1G --thinpool vg/pool -n thin
        mkfs.ext4 -q /dev/vg/thin; mount /dev/vg/thin /mnt; echo x >/mnt/x; umount /mnt
        [ -b /dev/disk/by-id/dm-name-vg-a ]
        vgremove -q -ff -y vg''')
    works(m, 'SCSI disks on this machine itself: tcm_loop', '''
        /usr/lib/rig/lio.py naa.5001405000000001 /root/l.img=33554432
        udevadm settle; lsblk -S -n -o VENDOR | grep LIO
        /usr/lib/rig/lio.py --delete naa.5001405000000001
        [ -z "$(lsblk -S -n)" ]''')
    works(m, 'SMB: samba serves, the kernel mounts with the right password only', '''
        mkdir -p /srv/smb /run/samba /var/lib/samba/private /var/log/samba /var/cache/samba
        printf '[global]\\nserver min protocol = SMB2\\n[iso]\\npath = /srv/smb\\nread only = no\\n' >/etc/samba/smb.conf
        printf 'secret\\nsecret\\n' | smbpasswd -s -a root
        smbd -D
        for i in $(seq 100); do ! ss -ltn | grep -q :445 || break; sleep 0.1; done
        ! mount -t cifs -o username=root,password=wrong //127.0.0.1/iso /mnt
        mount -t cifs -o username=root,password=secret //127.0.0.1/iso /mnt
        echo hi >/mnt/x; [ "$(cat /srv/smb/x)" = hi ]; umount /mnt''')
    works(m, 'qemu-img and a qcow2 image', 'qemu-img create -q -f qcow2 /root/a.qcow2 64M; qemu-img check -q /root/a.qcow2')

    m.must('ip netns add w; ip link set eth1 netns w; ip -n w link set lo up; ip -n w link set eth1 up')
    works(m, '802.1Q', '''
        ip link add v10 link eth0 type vlan id 10; ip address add 10.10.0.1/24 dev v10; ip link set v10 up
        ip -n w link add v10 link eth1 type vlan id 10; ip -n w address add 10.10.0.2/24 dev v10; ip -n w link set v10 up
        ping -q -c 2 -W 5 10.10.0.2''')
    works(m, 'vxlan and gre', '''
        ip address add 10.11.0.1/24 dev eth0; ip -n w address add 10.11.0.2/24 dev eth1
        ip link add vx type vxlan id 7 remote 10.11.0.2 dstport 4789 dev eth0
        ip -n w link add vx type vxlan id 7 remote 10.11.0.1 dstport 4789 dev eth1
        ip link add g type gretap remote 10.11.0.2 local 10.11.0.1
        ip -n w link add g type gretap remote 10.11.0.1 local 10.11.0.2
        ip address add 10.12.0.1/24 dev vx; ip -n w address add 10.12.0.2/24 dev vx
        ip address add 10.13.0.1/24 dev g; ip -n w address add 10.13.0.2/24 dev g
        for l in vx g; do ip link set $l up; ip -n w link set $l up; done
        ping -q -c 2 -W 5 10.12.0.2; ping -q -c 2 -W 5 10.13.0.2''')
    works(m, 'bonds in three modes, a failing link', '''
        for mode in active-backup balance-xor 802.3ad; do
            ip link add b0 type bond mode $mode miimon 50
            for n in 0 1; do ip link add d$n type veth peer name p$n; ip link set p$n up; ip link set d$n master b0; done
            ip link set b0 up
            [ $mode != active-backup ] || { grep 'Active Slave: d0' /proc/net/bonding/b0; ip link set p0 down
                for i in $(seq 50); do grep -q 'Active Slave: d1' /proc/net/bonding/b0 && break; sleep 0.1; done
                grep 'Active Slave: d1' /proc/net/bonding/b0; }
            ip link delete b0; ip link delete d0; ip link delete d1
        done''')
    works(m, 'Open vSwitch with the datapath of the kernel', '''
        ovsdb-tool create /etc/openvswitch/conf.db /usr/share/openvswitch/vswitch.ovsschema
        ovsdb-server --detach --pidfile --log-file --remote=punix:/run/openvswitch/db.sock /etc/openvswitch/conf.db
        ovs-vsctl --no-wait init
        ovs-vswitchd --detach --pidfile --log-file
        ovs-vsctl add-br ob; ovs-vsctl add-port ob t0 -- set interface t0 type=internal
        ovs-dpctl show | grep 'system@'; ovs-dpctl show | grep t0''')
    works(m, 'DHCP by dnsmasq, IPv6 by radvd', '''
        ip -n w address add 10.14.0.1/24 dev eth1
        ip netns exec w dnsmasq -p 0 --interface=eth1 --bind-interfaces --dhcp-range=10.14.0.50,10.14.0.60 --dhcp-leasefile=/tmp/l
        busybox udhcpc -i eth0 -n -q -t 10 -s /bin/true
        echo 'interface eth1 { AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 5; prefix fd00:14::/64 { }; };' >/tmp/r
        ip netns exec w sysctl -qw net.ipv6.conf.all.forwarding=1
        ip netns exec w radvd -C /tmp/r -p /run/radvd.pid -u root
        for i in $(seq 200); do ! ip -6 address show dev eth0 | grep -q fd00:14: || break; sleep 0.1; done
        ip -6 address show dev eth0 | grep fd00:14:''')
    works(m, 'nftables, tbf, htb', '''
        nft add table bridge t; nft add chain bridge t c '{ type filter hook forward priority 0; }'
        nft add rule bridge t c ether saddr 52:54:00:00:00:01 drop
        tc qdisc add dev t0 root tbf rate 1mbit burst 10k latency 50ms
        tc qdisc replace dev t0 root handle 1: htb default 1; tc class add dev t0 parent 1: classid 1:1 htb rate 1mbit''')

with Pair('linux') as two:
    for host, m in ((1, two.a), (2, two.b)):
        m.must('ip address add 10.7.0.%d/24 dev eth0; ip address add 10.7.1.%d/24 dev eth1' % (host, host))
    works(two.b, 'an NFS server in the kernel', NFS_SERVER)
    works(two.a, 'NFS over a network, v3 and v4.1', '''
        mount -t nfs -o vers=3,nolock 10.7.0.2:/srv/x /mnt; echo v3 >/mnt/a; umount /mnt
        mount -t nfs -o vers=4.1 10.7.0.2:/ /mnt; [ "$(cat /mnt/a)" = v3 ]; grep 'vers=4.1' /proc/mounts; umount /mnt''')
    works(two.b, 'a LIO target with CHAP at two addresses', '''
        /usr/lib/rig/lio.py iqn.2024-01.test.rig:a --chap joe:secretsecret --portal 10.7.0.2 --portal 10.7.1.2 /dev/vdb''')
    works(two.a, 'iSCSI login, not without the password; two paths, one disk', '''
        mkdir -p /run/lock/iscsi
        q=iqn.2024-01.test.rig:a
        echo InitiatorName=iqn.2024-01.test.rig:me >/etc/iscsi/initiatorname.iscsi
        iscsid
        iscsiadm -m discovery -t st -p 10.7.0.2
        ! iscsiadm -m node -T $q -p 10.7.0.2 -l
        for p in 10.7.0.2 10.7.1.2; do
            iscsiadm -m node -T $q -p $p --op update -n node.session.auth.authmethod -v CHAP
            iscsiadm -m node -T $q -p $p --op update -n node.session.auth.username -v joe
            iscsiadm -m node -T $q -p $p --op update -n node.session.auth.password -v secretsecret
            iscsiadm -m node -T $q -p $p --op update -n node.session.timeo.replacement_timeout -v 3
            iscsiadm -m node -T $q -p $p --op update -n node.conn[0].timeo.noop_out_interval -v 1
            iscsiadm -m node -T $q -p $p --op update -n node.conn[0].timeo.noop_out_timeout -v 2
            iscsiadm -m node -T $q -p $p -l
        done
        printf 'defaults {\\n  find_multipaths no\\n}\\nblacklist {\\n  devnode "^vd"\\n}\\n' >/etc/multipath.conf
        modprobe dm_multipath; multipathd
        for i in $(seq 300); do [ "$(multipath -ll 2>/dev/null | grep -c 'active ready')" != 2 ] || break; sleep 0.1; done
        [ "$(multipath -ll 2>/dev/null | grep -c 'active ready')" = 2 ]''', 200)
    disk = '/dev/mapper/' + two.a.must("multipath -ll 2>/dev/null | sed -n '1s/ .*//p'")
    two.a.must('setsid sh -c "dd if=/dev/urandom of=/root/r bs=1M count=24; dd if=/root/r of=%s bs=256k oflag=direct; echo \\$? >/root/rc"'
               ' >/root/dd.log 2>&1 </dev/null &' % disk)
    two.a.must('until grep -q copied /root/dd.log; do sleep 0.1; done; sleep 0.5')
    two.a.pull_cable(1)
    check(two.a.run('[ -e /root/rc ]')[0] != 0, 'a cable is pulled while it is written to')
    works(two.a, 'the writing goes on over the other path', 'until [ -e /root/rc ]; do sleep 0.1; done; grep -x 0 /root/rc', 120)
    works(two.a, 'and one path is known to have failed', "for i in $(seq 100); do ! multipath -ll 2>&1 | grep -q ' failed ' || exit 0; sleep 0.2; done; exit 1")
    works(two.a, 'nothing of it is lost', 'cmp -n 25165824 /root/r %s' % disk)
done()
