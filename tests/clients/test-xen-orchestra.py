#!/usr/bin/env python3
"""Xen Orchestra's connector to XenAPI, npm's xen-api, unmodified, over JSON-RPC and XML-RPC (xen-orchestra.mjs has the steps):
a VM's life seen by events, and the agent killed and started again under it."""
import os
import shutil
import subprocess
import sys

import node_client
from harness import PASSWORD, USER, Agent

failed = False
folder = node_client.install()
for transport in ('json-rpc', 'xml-rpc'):
    agent = Agent()
    agent.start()
    try:
        script = os.path.join(node_client.HERE, 'xen-orchestra.mjs')
        steps = subprocess.Popen(['node', script, str(agent.https_port), USER, PASSWORD, transport], cwd=folder, text=True,
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for line in steps.stdout:
            print(line, end='', flush=True)
            if line.startswith('# restart'):
                agent.kill()
                port = agent.https_port
                agent = Agent('--https', '127.0.0.1:%d' % port, root=agent.root)
                agent.start()
                print('started', file=steps.stdin, flush=True)
        failed |= steps.wait(60) != 0
    finally:
        agent.stop()
        shutil.rmtree(agent.root, ignore_errors=True)
sys.exit(failed)
