#!/usr/bin/env python3
"""Volumes under kill -9: the driver is ended at the steps of create, destroy, resize, snapshot and both merges, and the next scan
heals. lvmcrash.py does it in a machine of the rig, with LEVEL=full. LVM_CRASH="60 vhd": for a minute, VHDs only; LVM_SEED: which steps."""
import os
import sys

sys.path.insert(0, os.path.join(os.environ['XAPI_SOURCE'], 'tests', 'rig'))
from harness import done  # noqa: E402
from blockrig import inside  # noqa: E402

inside('lvmcrash.py', '/dev/vdb ' + (os.environ.get('LVM_CRASH') or '420'), takes='ten minutes', LVM_SEED=os.environ.get('LVM_SEED') or '7')
done()
