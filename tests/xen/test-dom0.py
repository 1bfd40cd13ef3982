#!/usr/bin/env python3
"""The agent as `make install` leaves it in dom0: its unit is in order, it finds Xen by itself with the configuration as installed, tells the
service manager when it is ready, and root starts a guest with `xe`."""
from harness import check, done, wait_until
from guests import Rig

# What systemd does for a unit of Type=notify: starts ExecStart and waits for READY=1.
MANAGER = r'''
import os, re, socket, subprocess, sys
unit = open('/usr/local/lib/systemd/system/xapi.service').read()
command = re.search(r'^ExecStart=(.*)$', unit, re.M).group(1).split()
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind('/run/notify')
s.settimeout(100)
child = subprocess.Popen(command, env=dict(os.environ, NOTIFY_SOCKET='/run/notify'), stdin=subprocess.DEVNULL,
                         stdout=open('/root/xapi.log', 'w'), stderr=subprocess.STDOUT, start_new_session=True)
while True:
    if b'READY=1' in s.recv(4096).split(b'\n'):
        break
print('ready', child.pid)
'''

with Rig('xen') as rig:
    rig.install()
    rig.must('systemd-sysusers')
    check(rig.must('id -un xapi-helper') == 'xapi-helper', 'its account is made from what is installed')
    rc, text = rig.run('systemd-analyze verify --man=no /usr/local/lib/systemd/system/xapi.service 2>&1')
    check(rc == 0 and 'xapi.service' not in text, 'its unit is in order: %s' % text)
    after = rig.must('grep ^After= /usr/local/lib/systemd/system/xapi.service').split()
    check({'xen.service', 'xenstored.service', 'xen-init-dom0.service', 'xenconsoled.service'} <= set(' '.join(after).replace('After=', '').split()),
          'it starts after the daemons of Xen: %s' % after)
    rig.put({'/root/manager.py': MANAGER.encode()})
    rc, text = rig.run('setsid python3 /root/manager.py </dev/null 2>&1', 120)
    check(rc == 0 and text.startswith('ready'), 'it says that it is ready: %s %s' % (text, '' if rc == 0 else rig.run('tail /root/xapi.log')[1]))
    rc, text = rig.run('xe host-list params=software-version', 60)
    check(rc == 0 and 'xen: 4.17' in text, 'with the configuration as installed it drives Xen: %s' % text[:300])
    vm = rig.must('xe vm-install template="Other install media" new-name-label=first')
    rig.must('xe vm-param-set uuid=%s domain-type=pv PV-kernel=/boot/vmlinux PV-ramdisk=/boot/initramfs.gz HVM-boot-policy='
             ' PV-args="console=hvc0 quiet mitigations=off tick=1 nonce=first"' % vm)
    rig.must('xe vm-memory-limits-set uuid=%s static-min=32MiB dynamic-min=128MiB dynamic-max=128MiB static-max=128MiB' % vm)
    rig.must('xe vm-start uuid=%s' % vm, 120)
    log = '$(find / -xdev -name %s.log)' % vm
    check(wait_until(lambda: 'tick 3' in rig.run('cat ' + log)[1], 200, 1), 'a guest started with xe ticks')
    rig.must('xe vm-shutdown uuid=%s' % vm, 120)
    check(rig.must('xe vm-param-get uuid=%s param-name=power-state' % vm) == 'halted', 'and is shut down')
done()
