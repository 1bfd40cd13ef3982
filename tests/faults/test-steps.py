#!/usr/bin/env python3
"""Operations on VMs, disks, repositories and networks, killed or failing at each of their steps: steps.py says what must be true then.
LEVEL=ci: some steps, chosen by a seed that is printed; LEVEL=full: all of them, or those of the operations that ONLY=regex names."""
import os
import random
import re
import shutil
import time

from harness import LEVEL, check, done
from steps import Try, World, operations

SAMPLE, MOST = 16, 60
seed = int(os.environ.get('SEED', '0')) or (random.randrange(1 << 30) if LEVEL == 'full' else 20)
rnd = random.Random(seed)
print('# SEED=%d' % seed)
counts = {'killed': 0, 'refused': 0, 'done': 0}


def one(world, op, action, step, after):
    """-> how it ended"""
    attempt = Try(world, op)
    result = attempt.disturbed(action, step)
    counts[result] += 1
    wrong = attempt.faults(after, result)
    if wrong or LEVEL == 'full':
        check(not wrong, '%s, %s at step %d: %s%s' % (op.name, action, step, result, ''.join('; ' + w for w in wrong)))
        if wrong:
            print(''.join('# ' + line + '\n' for line in world.agent.tail(30).splitlines()))
    return result, wrong


def undisturbed(world, op):
    attempt = Try(world, op)
    after = attempt.undisturbed()
    wrong = world.wrong()
    if wrong:
        check(False, '%s undisturbed: %s' % (op.name, wrong))
    return after


def everything(world):
    for op in operations():
        if op.real or not re.search(os.environ.get('ONLY', ''), op.name):
            continue
        after = undisturbed(world, op)
        for action in ['kill'] if op.kill_only else ['kill', 'EIO', 'ENOSPC']:
            through = 0
            for step in range(1, MOST):
                result, _ = one(world, op, action, step, after)
                through += result == 'done'
                if result == 'done' and (action == 'kill' or through > 4):     # behind the last step
                    break


def sample(world):
    """A few of each kind, until there are enough."""
    chosen = rnd.sample([op for op in operations() if not op.real], SAMPLE)
    bad = []
    for i, op in enumerate(chosen):
        after = undisturbed(world, op)
        action = 'kill' if op.kill_only or i % 3 else rnd.choice(('EIO', 'ENOSPC'))
        bad += one(world, op, action, rnd.randrange(1, 9), after)[1]
    check(not bad, 'nothing is half done after %d operations: %d killed, %d refused, %d done' % (
        len(chosen), counts['killed'], counts['refused'], counts['done']))
    check(counts['killed'] >= 3 and counts['refused'] >= 1, 'and steps were reached')


began = time.monotonic()
world = World()
try:
    (everything if LEVEL == 'full' else sample)(world)
finally:
    world.agent.stop()
print('# %d killed, %d refused, %d done in %.0f s' % (counts['killed'], counts['refused'], counts['done'], time.monotonic() - began))
shutil.rmtree(world.agent.root, ignore_errors=True)
done()
