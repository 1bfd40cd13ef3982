#!/usr/bin/env python3
"""A random walk (walk.py) with guests that only GRUB runs in: a short one, LEVEL=full: 100 steps."""
import walk

walk.main('pv-grub pvh-grub pv-grub' if walk.FULL else 'pv-grub pvh-grub', 100 if walk.FULL else 12)
