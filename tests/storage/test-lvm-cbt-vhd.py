#!/usr/bin/env python3
"""Changed block tracking of VHDs in volumes: blockrig.changed_blocks(). LEVEL=full."""
import os
import sys

sys.path.insert(0, os.path.join(os.environ['XAPI_SOURCE'], 'tests', 'rig'))
from harness import done  # noqa: E402
from blockrig import changed_blocks  # noqa: E402

changed_blocks('vhd', kills=False)
done()
