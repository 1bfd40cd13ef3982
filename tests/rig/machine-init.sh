#!/bin/bash
# The first process of the rig's machines, on Xen (dom0) and without: what a distribution's start would do, in the order that
# Xen's daemons need, and then rigd.py, which takes commands from outside.
# Called by: the initramfs of make-root.sh. Calls: rigd.py.
export PATH=/usr/lib/xen-4.17/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin HOME=/root LC_ALL=C.UTF-8 TERM=dumb
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs -o mode=755 run /run
mkdir -p /dev/pts /dev/shm /run/lock /run/xen /run/xenstored /run/openvswitch /run/rpcbind /run/sshd
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t cgroup2 cgroup /sys/fs/cgroup
ln -sfn /proc/self/fd /dev/fd
ln -sf /proc/self/fd/0 /dev/stdin
ln -sf /proc/self/fd/1 /dev/stdout
ln -sf /proc/self/fd/2 /dev/stderr
echo 1 >/proc/sys/kernel/sysrq
hostname rig
ulimit -n 65536
ip link set lo up
modprobe -a virtio_console virtio_net loop bridge tun
/usr/lib/systemd/systemd-udevd --daemon
# No modules by alias: that is half of a minute here, and what tests need is loaded by name.
udevadm trigger --action=add --subsystem-match=block --subsystem-match=net
udevadm settle --timeout=30
# eth0... are the rig's cables; the card in slot 19 leads to 127.0.0.1 outside (forward() of rig.py).
for nic in /sys/class/net/eth*; do
    case $(readlink -f "$nic/device") in
    */0000:00:13.0/*) ip link set "${nic##*/}" down name mgmt && ip address add 10.0.2.15/24 dev mgmt ;;
    esac
done

if [ -e /sys/hypervisor/type ] && [ "$(cat /sys/hypervisor/type)" = xen ]; then
    modprobe -a xen-evtchn xen-privcmd xen-gntdev xen-gntalloc xenfs xen-blkback xen-netback
    mount -t xenfs xenfs /proc/xen
    mkdir -p /var/log/xen/console /var/lib/xen /var/lib/xenstored
    xenstored --pid-file /run/xen/xenstored.pid
    until xenstore-read -s / >/dev/null 2>&1; do sleep 0.1; done
    xen-init-dom0
    xenconsoled --log=guest --log-dir=/var/log/xen/console --pid-file=/run/xen/xenconsoled.pid
fi
exec python3 /usr/lib/rig/rigd.py
