#!/usr/bin/env python3
"""Xen Orchestra's layer above its connector, npm's @xen-orchestra/xapi, unmodified (xo-library.mjs has the steps)."""
import shutil
import sys

import node_client
from harness import Agent

agent = Agent()
agent.start()
try:
    status = node_client.run('xo-library.mjs', agent)
    if status:
        print(agent.tail(30))
finally:
    agent.stop()
    shutil.rmtree(agent.root, ignore_errors=True)
sys.exit(status)
