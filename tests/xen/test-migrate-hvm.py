#!/usr/bin/env python3
"""An HVM guest with its device model moves between two hosts, as test-migrate.py does with PVH. LEVEL=full only."""
import os
import runpy

runpy.run_path(os.path.join(os.path.dirname(os.path.abspath(__file__)), 'test-migrate.py'))['main'](['hvm'])
