#!/usr/bin/env python3
"""tests/run: what it counts, and who has a second chance. Its tests are scripts of the moment in a build folder that is none."""
import os
import subprocess
import sys
import tempfile

from harness import check, done

RUN = os.path.join(os.environ['XAPI_SOURCE'], 'tests', 'run')
# Fails the first time only: what it leaves beside itself is there the second time.
ONCE = 'if [ -e "$0.was" ]; then echo "ok 1 - fine"; else touch "$0.was"; echo "not ok 1 - what a pity"; exit 1; fi'


def run(tests, level='wire', again=True):
    """tests: {name: shell text} -> exit status, what it printed"""
    with tempfile.TemporaryDirectory() as build:
        folder = os.path.join(build, 'tests', level)
        os.makedirs(folder)
        for name, text in tests.items():
            path = os.path.join(folder, 'test-accident-' + name)
            with open(path, 'w') as f:
                f.write('#!/bin/sh\n' + text + '\n')
            os.chmod(path, 0o755)
        env = dict(os.environ, TESTS_AGAIN='1' if again else '0')
        out = subprocess.run([sys.executable, RUN, '--build', build, '--only', 'test-accident', level], env=env, capture_output=True, text=True)
        return out.returncode, out.stdout


def ends(tests, status, last, what, **how):
    got, text = run(tests, **how)
    check(got == status and text.splitlines()[-1] == last, '%s: %s' % (what, last if got == status else text))
    return text


FINE, BAD = 'echo "ok 1 - fine"', 'echo "not ok 1 - bad"; exit 1'
ends({'a': FINE, 'b': 'echo no reason; exit 77'}, 0, '1 passed, 0 failed, 1 skipped', 'what passes and what is skipped')
ends({'a': BAD, 'b': FINE}, 1, '1 passed, 1 failed, 0 skipped', 'what fails')
ends({'a': ONCE}, 1, '0 passed, 1 failed, 0 skipped', 'no second chance that nobody asked for', again=False)
text = ends({'a': ONCE, 'b': FINE}, 0, '2 passed, 0 failed, 0 skipped', 'a second chance')
check('not ok: what a pity' in text and 'unsteady wire/test-accident-a' in text, 'which is told')
ends({'a': BAD}, 1, '0 passed, 1 failed, 0 skipped', 'what fails twice')
ends({'a': ONCE}, 1, '0 passed, 1 failed, 0 skipped', 'none where nothing may ever fail', level='faults')
ends({'a': ONCE, 'b': ONCE, 'c': ONCE}, 1, '0 passed, 3 failed, 0 skipped', 'three are no accident')
ends({'a': '[ -e "$0.was" ] || kill -SEGV $$; ' + FINE}, 1, '0 passed, 1 failed, 0 skipped', 'nor is a crash')
for sign in ('ERROR: AddressSanitizer: heap-use-after-free', 'RuntimeError: the agent ended with -11', 'x.c:7: runtime error: shift'):
    ends({'a': 'echo "%s"; ' % sign + ONCE}, 1, '0 passed, 1 failed, 0 skipped', 'nor ' + sign)
# tail reads a file of the test's folder for good, behind the test's back.
STAYS = 'touch $TMPDIR/x; tail -f "$TMPDIR/x" >/dev/null 2>&1 & until grep -q tail /proc/$!/cmdline; do sleep 0.01; done; '
text = ends({'a': STAYS + FINE}, 1, '1 passed, 1 failed, 0 skipped', 'a process that stays')
check('it left a process: tail -f ' in text, 'which is told, too')
ends({}, 1, '0 passed, 0 failed, 0 skipped', 'nothing to run is a failure')
done()
