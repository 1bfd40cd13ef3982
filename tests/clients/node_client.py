"""Client libraries from npm, unmodified, for the tests beside this file: fetched once a build, as package-lock.json pins them.

    node_client.run('steps.mjs', agent)       runs the steps; they print TAP
"""
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys

from harness import BUILD, PASSWORD, SOURCE, USER

HERE = os.path.join(SOURCE, 'tests', 'clients')
FOLDER = os.path.join(BUILD, 'npm')


def _fingerprint():
    h = hashlib.sha256()
    for name in ('package.json', 'package-lock.json'):
        h.update(open(os.path.join(HERE, name), 'rb').read())
    return h.hexdigest()


def install():
    """The folder with node_modules. Ends the test as failed when npm cannot fetch them."""
    os.makedirs(FOLDER, exist_ok=True)
    with open(os.path.join(FOLDER, 'lock'), 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        mark = os.path.join(FOLDER, 'installed')
        if os.path.exists(mark) and open(mark).read() == _fingerprint():
            return FOLDER
        for name in ('package.json', 'package-lock.json'):
            shutil.copy(os.path.join(HERE, name), FOLDER)
        shutil.copytree(os.path.join(HERE, 'standins'), os.path.join(FOLDER, 'standins'), dirs_exist_ok=True)
        fetched = subprocess.run(['npm', 'ci', '--no-audit', '--no-fund', '--ignore-scripts'], cwd=FOLDER, timeout=240,
                                 capture_output=True, text=True)
        if fetched.returncode:
            print('not ok 1 - npm fetches the client libraries')
            print(fetched.stderr)
            sys.exit(1)
        with open(mark, 'w') as f:
            f.write(_fingerprint())
    return FOLDER


def run(script, agent, *arguments, timeout=120):
    """Runs tests/clients/SCRIPT with the agent's HTTPS port, user, password and more arguments; its exit status."""
    argv = ['node', os.path.join(HERE, script), str(agent.https_port), USER, PASSWORD, *arguments]
    return subprocess.run(argv, cwd=install(), timeout=timeout).returncode
