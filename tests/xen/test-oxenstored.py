#!/usr/bin/env python3
"""The life of PV and PVH guests (test-lifecycle.py) with oxenstored, Debian's first choice, instead of xenstored. LEVEL=full only."""
import os
import runpy
import sys

from harness import LEVEL

if LEVEL != 'full':
    print('# a machine with another daemon has to be booted: LEVEL=full')
    sys.exit(77)
sys.argv[1:] = ['oxenstored']
runpy.run_path(os.path.join(os.path.dirname(os.path.abspath(__file__)), 'test-lifecycle.py'))
