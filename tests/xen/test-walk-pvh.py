#!/usr/bin/env python3
"""A random walk (walk.py) with a small Linux as a PVH guest, which agrees to what is asked of it, beside one of GRUB. LEVEL=full only."""
import sys

import walk

if not walk.FULL:
    print('# it takes many minutes: LEVEL=full')
    sys.exit(77)
walk.main('pvh pvh-grub', 50)
