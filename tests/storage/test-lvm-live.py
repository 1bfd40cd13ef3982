#!/usr/bin/env python3
"""Snapshots and merges of a qcow2 in a volume under somebody who writes all the time; lvmlive.py does it in a machine of the rig.
LEVEL=full."""
import os
import sys

sys.path.insert(0, os.path.join(os.environ['XAPI_SOURCE'], 'tests', 'rig'))
from harness import LEVEL, SOURCE, done  # noqa: E402
from rig import Rig  # noqa: E402
from blockrig import report  # noqa: E402

if LEVEL != 'full':
    print('# two minutes: LEVEL=full')
    sys.exit(77)
with Rig('linux') as rig:
    rig.install()
    rig.put({'/root/lvmlive.py': os.path.join(SOURCE, 'tests/storage/lvmlive.py'),
             '/root/smcall.py': os.path.join(SOURCE, 'tests/sm/smcall.py')})
    report(rig, 'cd /root; XAPI_SM_STATE_DIR=/root/state timeout 800 python3 lvmlive.py /dev/vdb 2>&1')
done()
