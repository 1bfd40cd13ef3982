#!/usr/bin/env python3
"""LEVEL=full: operations on a VM under the real libvirt driver: the agent is killed, a step fails, or the private libvirtd is killed at each
of their steps. What must be true then is what tests/faults/steps.py says; guests and interfaces are the machine's own."""
import os
import re
import signal
import subprocess
import sys
import threading
import time

from harness import LEVEL, SOURCE, Failure, QemuAgent, check, done, own_network, remove_root, skip, wait_until

sys.path.insert(0, os.path.join(SOURCE, 'tests', 'faults'))
import steps                    # noqa: E402

if LEVEL != 'full':
    skip('operations at each of their steps with real QEMU', 'LEVEL=full')
    done()
own_network()
MIB, MOST, SETTLE_S = 1 << 20, 40, 90


class World(steps.World):
    """Guests of QEMU's that run the firmware and nothing more."""

    @staticmethod
    def make_agent(**named):
        return QemuAgent(faults=True, **named)

    def vm(self, name='vm', state='Halted'):
        vm = super().vm(name, 'Halted')
        self.s.VM.set_memory_limits(vm, str(64 * MIB), str(64 * MIB), str(64 * MIB), str(64 * MIB))
        if state != 'Halted':
            self.s.VM.start(vm, state == 'Paused', False)
        if state == 'Suspended':
            self.s.VM.suspend(vm)
        return vm

    def guests(self):
        found = {}
        for pid in self.agent.guests_left():
            try:
                name = re.search(rb'guest=([0-9a-f-]{36}),', open('/proc/%d/cmdline' % pid, 'rb').read())
            except OSError:
                continue
            if name:
                found[name.group(1).decode()] = pid
        return found

    def devices(self):
        """Kinds of the host's interfaces; a bridge that nothing is on may stay or go."""
        out = subprocess.run(['ip', '-o', 'link'], capture_output=True, text=True, check=True).stdout
        names = [line.split(':')[1].strip().split('@')[0] for line in out.splitlines()]
        used = re.findall(r' master (\S+)', out)
        return ['tap' if n.startswith('vif') else 'bridge' for n in names if n.startswith('vif') or n in used]

    def end(self):
        for pid in self.agent.guests_left():
            os.kill(pid, signal.SIGKILL)
        self.agent.stop()
        if self.agent.engine_pid():
            os.kill(self.agent.engine_pid(), signal.SIGTERM)
        remove_root(self.agent.root)


class Try(steps.Try):
    def without_engine(self, step, took_s):
        """The operation halts at its step until libvirtd has been killed. -> as disturbed()"""
        w, outcome = self.w, {}

        def work():
            try:
                self.op.run(w, self.thing)
                outcome['is'] = 'done'
            except Failure as e:
                outcome['is'], self.why = 'refused', e.details
        w.agent.arm('agent.step sleep:%d %d' % (int(took_s * 2000) + 4000, step))
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(took_s + 2)
        reached = thread.is_alive()
        if reached and w.agent.engine_pid():
            os.kill(w.agent.engine_pid(), signal.SIGKILL)
        thread.join(300)
        w.agent.arm('agent.step off')
        return outcome.get('is', 'hung'), reached


counts = {'killed': 0, 'refused': 0, 'done': 0}


def judge(attempt, name, action, step, result, after):
    counts[result] = counts.get(result, 0) + 1
    wrong = ['it hangs'] if result == 'hung' else attempt.faults(after, result, SETTLE_S)
    check(not wrong, '%s, %s at step %d: %s%s' % (name, action, step, result, ''.join('; ' + w for w in wrong)))
    if wrong:
        print(''.join('# ' + line + '\n' for line in attempt.w.agent.tail(30).splitlines()))


def everything(world, op):
    attempt = Try(world, op)
    began = time.monotonic()
    after = attempt.undisturbed()
    took_s = time.monotonic() - began
    wrong = world.wrong()
    check(not wrong, '%s undisturbed, %.1f s: %s' % (op.name, took_s, wrong))
    for action in ('kill', 'EIO'):
        through = 0             # steps at which an error is none come in between
        for step in range(1, MOST):
            attempt = Try(world, op)
            result = attempt.disturbed(action, step)
            judge(attempt, op.name, action, step, result, after)
            through += result == 'done'
            if result == 'done' and (action == 'kill' or through > 3):
                break
    for step in range(1, MOST):
        attempt = Try(world, op)
        result, reached = attempt.without_engine(step, took_s)
        judge(attempt, op.name, 'libvirtd killed', step, result, after)
        if not reached:
            break


# Not those that a guest must answer to: this one's firmware does not. What never asks a hypervisor is tests/faults/test-steps.py's.
NAMES = os.environ.get('ONLY') or (r'^VM\.(start|hard_shutdown|hard_reboot|pause|unpause|suspend|resume|checkpoint)$|'
                                   r'^VM\.(start with|snapshot of|revert of|destroy)|^VM_appliance\.start$|^VTPM\.create$|'
                                   r'^(VBD|VIF)\.plug$|^VDI\.pool_migrate$')
world = World()
try:
    for operation in steps.operations():
        if re.search(NAMES, operation.name) and not operation.kill_only:
            everything(world, operation)
finally:
    world.end()
print('# %s' % counts)
done()
