#!/usr/bin/env python3
"""Volumes under kill -9: the driver is ended at the steps of create, destroy, resize, snapshot and both merges, and the next scan
heals. lvmcrash.py does it in a machine of the rig, with LEVEL=full. LVM_CRASH="60 vhd": for a minute, VHDs only; LVM_SEED: which steps."""
import os
import sys

sys.path.insert(0, os.path.join(os.environ['XAPI_SOURCE'], 'tests', 'rig'))
from harness import LEVEL, SOURCE, done  # noqa: E402
from rig import Rig  # noqa: E402
from blockrig import report  # noqa: E402

if LEVEL != 'full':
    print('# ten minutes: LEVEL=full')
    sys.exit(77)

with Rig('linux') as rig:
    rig.install()
    rig.put({'/root/lvmcrash.py': os.path.join(SOURCE, 'tests/storage/lvmcrash.py'),
             '/root/smcall.py': os.path.join(SOURCE, 'tests/sm/smcall.py')})
    what = os.environ.get('LVM_CRASH') or '420'
    report(rig, 'cd /root; XAPI_SM_STATE_DIR=/root/state LVM_SEED=%s python3 lvmcrash.py /dev/vdb %s 2>&1' % (os.environ.get('LVM_SEED') or '7', what))
done()
