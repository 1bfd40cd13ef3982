#!/usr/bin/env python3
"""Snapshots and merges of a qcow2 in a volume under somebody who writes all the time; lvmlive.py does it in a machine of the rig.
LEVEL=full."""
import os
import sys

sys.path.insert(0, os.path.join(os.environ['XAPI_SOURCE'], 'tests', 'rig'))
from harness import done  # noqa: E402
from blockrig import inside  # noqa: E402

inside('lvmlive.py', '/dev/vdb', takes='two minutes')
done()
