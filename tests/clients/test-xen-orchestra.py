#!/usr/bin/env python3
"""Xen Orchestra's own XenAPI library from npm, unmodified (tests/clients/xen-orchestra.mjs has the steps)."""
import os
import shutil
import subprocess
import sys

from harness import BUILD, PASSWORD, SOURCE, USER, Agent

folder = os.path.join(BUILD, 'npm')
if not shutil.which('npm'):
    print('npm is not installed')
    sys.exit(77)
os.makedirs(folder, exist_ok=True)
if not os.path.exists(os.path.join(folder, 'node_modules', 'xen-api')):
    shutil.copy(os.path.join(SOURCE, 'tests', 'clients', 'package.json'), folder)
    fetched = subprocess.run(['npm', 'install', '--no-audit', '--no-fund'], cwd=folder, timeout=240, capture_output=True, text=True)
    if fetched.returncode:
        print('npm cannot fetch xen-api: ' + (fetched.stderr.strip().splitlines() or ['no reason given'])[0])
        sys.exit(77)
agent = Agent()
agent.start()
try:
    script = os.path.join(SOURCE, 'tests', 'clients', 'xen-orchestra.mjs')
    status = subprocess.run(['node', script, str(agent.https_port), USER, PASSWORD], cwd=folder, timeout=120).returncode
finally:
    agent.stop()
    shutil.rmtree(agent.root, ignore_errors=True)
sys.exit(status)
