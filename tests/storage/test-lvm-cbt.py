#!/usr/bin/env python3
"""Changed block tracking of disks in volumes; lvmcbt.py does it in a machine of the rig. LEVEL=full; LVM_CBT="12 40 vhd": rounds of a
history, kills, formats."""
import os
import sys

sys.path.insert(0, os.path.join(os.environ['XAPI_SOURCE'], 'tests', 'rig'))
from harness import done  # noqa: E402
from blockrig import inside  # noqa: E402

inside('lvmcbt.py', '/dev/vdb ' + (os.environ.get('LVM_CBT') or '12 40'), ['sm/cbtmodel.py'], takes='some minutes')
done()
