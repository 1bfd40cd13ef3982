#!/usr/bin/env python3
"""A client in C on xmlrpc-c (xmlrpc-c.c, compiled here), as XenServer's C SDK and what was built on it."""
import os
import shutil
import subprocess
import sys
import tempfile

from harness import PASSWORD, SOURCE, USER, Agent, check

with tempfile.TemporaryDirectory() as folder:
    program = os.path.join(folder, 'xmlrpc-c')
    built = subprocess.run(['cc', '-std=gnu11', '-Wall', '-Wextra', '-Werror', '-o', program, os.path.join(SOURCE, 'tests', 'clients', 'xmlrpc-c.c'),
                            '-lxmlrpc_client', '-lxmlrpc', '-lxmlrpc_util'], capture_output=True, text=True)
    if built.returncode:
        check(False, 'it compiles')
        print(built.stderr)
        sys.exit(1)
    agent = Agent()
    agent.start()
    try:
        status = subprocess.run([program, 'http://127.0.0.1:%d/' % agent.http_port, USER, PASSWORD], timeout=120).returncode
    finally:
        agent.stop()
        shutil.rmtree(agent.root, ignore_errors=True)
sys.exit(status)
