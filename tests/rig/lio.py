#!/usr/bin/python3
"""Makes a LIO target in a machine of the rig: /usr/lib/rig/lio.py NAME [--chap USER:PASSWORD] [--portal IP[:PORT]]... DEVICE...

Called by: tests in the machine. Calls: rtslib, the kernel's target through configfs.

NAME iqn...: an iSCSI target that any initiator may log in to (with CHAP when that is asked for), by default at 0.0.0.0:3260.
NAME naa...: the devices appear on this machine as SCSI disks (tcm_loop). DEVICE: a block device, or FILE=BYTES for a file
that is made; each becomes the next LUN. --delete NAME takes a target and its devices away.
"""
import argparse
import os
import subprocess

subprocess.run(['modprobe', '-a', 'target_core_mod', 'target_core_file', 'target_core_iblock', 'iscsi_target_mod', 'tcm_loop'],
               check=True)
if not os.path.isdir('/sys/kernel/config/target'):
    subprocess.run(['mount', '-t', 'configfs', 'configfs', '/sys/kernel/config'], check=True)
os.makedirs('/etc/rtslib-fb-target', exist_ok=True)
from rtslib_fb import FabricModule, Target, TPG, NetworkPortal, LUN, BlockStorageObject, FileIOStorageObject, RTSRoot  # noqa: E402

p = argparse.ArgumentParser()
p.add_argument('name')
p.add_argument('devices', nargs='*')
p.add_argument('--chap')
p.add_argument('--portal', action='append', default=[])
p.add_argument('--delete', action='store_true')
args = p.parse_intermixed_args()
if args.delete:
    for target in RTSRoot().targets:
        if target.wwn == args.name:
            objects = [lun.storage_object for tpg in target.tpgs for lun in tpg.luns]
            target.delete()
            for thing in objects:
                thing.delete()
else:
    loop = args.name.startswith('naa.')
    tpg = TPG(Target(FabricModule('loopback' if loop else 'iscsi'), args.name), None if loop else 1)
    for number, device in enumerate(args.devices):
        label = '%s-%d' % (args.name.rsplit('.', 1)[-1].rsplit(':', 1)[-1], number)
        if '=' in device:
            path, size = device.split('=')
            thing = FileIOStorageObject(label, path, int(size), write_back=True)
        else:
            thing = BlockStorageObject(label, device)
        LUN(tpg, number, thing)
    if not loop:
        tpg.set_attribute('authentication', 1 if args.chap else 0)
        tpg.set_attribute('generate_node_acls', 1)
        tpg.set_attribute('cache_dynamic_acls', 1)
        tpg.set_attribute('demo_mode_write_protect', 0)
        if args.chap:
            tpg.chap_userid, tpg.chap_password = args.chap.split(':', 1)
        for portal in args.portal or ['0.0.0.0']:
            address, _, port = portal.partition(':')
            NetworkPortal(tpg, address, int(port or 3260))
        tpg.enable = True
