#!/usr/bin/env python3
"""Backups of a guest that is never shut down: its snapshots are made and destroyed for ever, and what they leave is merged while it
writes. Its QEMU follows, so that neither the disk nor its memory of images grows; the agent may be killed in between."""
import glob
import os

from harness import LEVEL, QemuAgent, check, done, own_network, wait_until
from writing_guest import MIB, Scene, numbers

own_network()
ROUNDS = 150 if LEVEL == 'full' else 6      # 128 images would be too many for one chain


class Backups(Scene):
    def __init__(self, agent):
        super().__init__(agent)
        self.folder = os.path.join(agent.root, 'sr')
        sr = self.s.pool.get_default_SR(self.s.pool.get_all()[0])
        self.idle = self.s.VDI.create({'name_label': 'idle', 'name_description': '', 'SR': sr, 'virtual_size': str(MIB), 'type': 'user',
                                       'sharable': False, 'read_only': False, 'other_config': {}})
        self.idle_vbd = self.s.VBD.create({'VM': self.vm, 'VDI': self.idle, 'userdevice': '3', 'bootable': False, 'mode': 'RW', 'type': 'Disk',
                                           'empty': False, 'other_config': {}, 'qos_algorithm_type': '', 'qos_algorithm_params': {}})

    def open_images(self):
        """What QEMU has open of the repository: paths, those of removed ones end with ' (deleted)'."""
        pid, = self.agent.guests_left()
        found = []
        for fd in os.listdir('/proc/%d/fd' % pid):
            try:
                found.append(os.readlink('/proc/%d/fd/%s' % (pid, fd)))
            except OSError:
                pass
        return sorted(path for path in found if path.startswith(self.folder + '/'))

    def backup(self):
        before = self.said()[-1]
        snapshot = self.s.VM.snapshot(self.vm, 'backup', [])
        wrong = self.strange(snapshot, before)
        self.destroy(snapshot)
        return wrong

    def strange(self, vm, before):
        return self.strange_contents(self.contents(vm)[:3], before)

    def merged(self):
        """Each disk stands on one image, and QEMU has nothing else open."""
        def look():
            images = self.open_images()
            return len(glob.glob(self.folder + '/base-*')) == 4 and len(images) == 8 and not any(i.endswith('(deleted)') for i in images)
        return wait_until(look, 120 + 6 * ROUNDS, 0.3)

    def shown(self):
        return '%d bases, QEMU has %s' % (len(glob.glob(self.folder + '/base-*')), [os.path.basename(i) for i in self.open_images()])


with QemuAgent('--coalesce-interval', '1s', faults=True) as agent:
    w = Backups(agent)
    w.s.VM.start(w.vm, False, False)
    check(w.grows(), 'a guest writes to three disks')
    first = [w.backup() for _ in range(ROUNDS)]
    check(not any(first), '%d backups of one moment each, one after the other: %s' % (ROUNDS, [x for x in first if x] or 'all'))
    check(w.merged(), 'what they leave is merged while it writes, and its QEMU lets go of it: ' + w.shown())
    check(w.grows(), 'it writes on')

    w.backup()
    agent.arm('sr.merged kill')             # the disk that was destroyed last, at the latest
    check(wait_until(lambda: agent.process.poll() is not None, 60), 'an agent is killed where a merge is done and QEMU has not followed')
    agent.process.wait()
    agent.start()
    w.s = agent.login()
    check(w.merged(), 'the next one lets it follow: ' + w.shown())
    check(not w.backup() and w.merged(), 'and backups go on: ' + w.shown())

    w.s.VBD.unplug(w.idle_vbd)
    check(wait_until(lambda: len(w.open_images()) == 6, 20), 'a disk that is unplugged is closed with all it stands on: ' + w.shown())
    w.s.VBD.plug(w.idle_vbd)
    check(len(w.open_images()) == 8, 'plugged again it is read from its chain: ' + w.shown())

    w.s.VM.suspend(w.vm)
    at = numbers(w.contents(w.vm)[0])
    w.s.VM.resume(w.vm, False, False)
    check(w.grows(), 'suspended and resumed it writes on behind line %s' % at)
    check(not w.backup() and w.merged(), 'and is backed up: ' + w.shown())
    w.s.VM.hard_shutdown(w.vm)
    check(not w.strange(w.vm, w.said()[-1] - 1), 'at the end its disks are whole')
done()
