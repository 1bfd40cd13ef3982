#!/usr/bin/env python3
"""What test-load.py does, for revert, with a VM and disks of its own: an agent killed at each step of it while the guest writes. LEVEL=full."""
import os
import runpy
import sys

from harness import LEVEL

if LEVEL != 'full':
    print('# some minutes: LEVEL=full')
    sys.exit(77)
os.environ['ONLY'] = 'revert'
runpy.run_path(os.path.join(os.path.dirname(os.path.abspath(__file__)), 'test-load.py'), run_name='__main__')
