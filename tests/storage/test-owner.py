#!/usr/bin/env python3
"""Two pools and one directory of images: its owner's mark, taking it over, and what a pool that has lost it can no longer do;
with drivers by hand, then with two agents, one of them stopped meanwhile."""
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid

sys.path.insert(0, os.path.join(os.environ['XAPI_SOURCE'], 'tests', 'sm'))
from harness import BUILD, SOURCE, Agent, check, done, fails, wait_until  # noqa: E402
from guest import MIB, disk  # noqa: E402

work = tempfile.mkdtemp(prefix='owner-')
A, B = str(uuid.uuid4()), str(uuid.uuid4())
IN_USE = 'SR_BACKEND_FAILURE_16'


class Pool:
    """A pool's host: drivers with its uuid and its own state."""

    def __init__(self, name, pool):
        self.pool, self.take = pool, ''
        self.env = dict(os.environ, XAPI_SM_STATE_DIR=os.path.join(work, name), XAPI_SM_MOUNT_DIR=os.path.join(work, 'mnt'))

    def start(self, command, *members, fault=None):
        env = dict(self.env, SM_FAULT=fault) if fault else self.env
        more = ['config.take_from=' + self.take] if self.take else []
        return subprocess.Popen(['/usr/bin/python3', os.path.join(SOURCE, 'tests/sm/smcall.py'), os.path.join(BUILD, 'sm/file'), 'file',
                                 command, 'sr_uuid=' + sr, 'config.location=' + folder, 'pool_uuid=' + self.pool] + more + list(members),
                                stdout=subprocess.PIPE, text=True, env=env, start_new_session=True)

    def call(self, command, *members, fault=None):
        return dict(line.split('=', 1) for line in self.start(command, *members, fault=fault).communicate()[0].splitlines() if '=' in line)

    def refused(self, command, *members):
        return self.call(command, *members).get('error', '').startswith(IN_USE)


def owner():
    return open(os.path.join(folder, '.xapi-owner')).read().strip()


def look():
    return sorted((e.name, e.stat().st_mtime_ns, e.stat().st_size) for e in os.scandir(folder))


def by_hand():
    a, b = Pool('a', A), Pool('b', B)
    a.call('sr_create', 'args=0')
    check(owner() == A + '_1', 'a new repository is its pool\'s')
    vdi = a.call('vdi_create', 'args=%d' % MIB)['uuid']
    why = b.call('sr_attach').get('error', '')
    check(why.startswith(IN_USE) and A in why and 'epoch 1' in why, 'another pool does not plug it, and is told whose it is: ' + why)
    for wrong in (A + ':2', B + ':1', A, 'x:1', A + ':1x'):
        b.take = wrong
        check(b.refused('sr_attach'), 'nor with take_from=' + wrong)
    b.take = A + ':1'
    check(b.call('sr_attach', fault='sm.owner-written kill').get('exit') == '-9' and owner() == A + '_1' and
          'error' not in a.call('vdi_create', 'args=%d' % MIB, 'vdi_uuid=' + str(uuid.uuid4())), 'killed while it takes over: it has not')
    check('error' not in b.call('sr_attach') and owner() == B + '_2', 'as the error says, it takes it over')

    before = look()
    v = 'vdi_uuid=' + vdi
    for words in (['vdi_create', 'args=%d' % MIB], ['vdi_delete', v], ['vdi_resize', v, 'args=%d' % (2 * MIB)], ['vdi_snapshot', v],
                  ['vdi_clone', v], ['vdi_attach', v, 'args=true'], ['vdi_attach', v, 'args=false'], ['sr_scan'], ['vdi_enable_cbt', v],
                  ['vdi_data_destroy', v], ['vdi_epoch_begin', v, 'vdi_on_boot=reset'], ['sr_gc_plan'],
                  ['sr_gc_finish', 'args=%s,%s,' % (vdi, vdi)], ['sr_attach'], ['sr_delete']):
        check(a.refused(*words), 'the old owner: no ' + words[0])
    a.call('vdi_detach', v)
    check(look() == before, 'and it changed nothing')
    check('error' not in b.call('vdi_snapshot', v) and 'error' not in b.call('sr_scan'), 'the new one works')
    a.take = B + ':2'
    check('error' not in a.call('sr_attach') and owner() == A + '_3' and b.refused('vdi_delete', v) and
          'error' not in a.call('vdi_delete', v), 'it goes back the same way, with the next epoch')
    b.take = A + ':1'
    check(b.refused('sr_attach'), 'an old take_from takes nothing')

    # A host of the same pool that missed the change of hands has to plug again.
    late = Pool('late', A)
    check('error' not in late.call('sr_attach') and 'error' not in late.call('vdi_create', 'args=%d' % MIB), 'another host of the pool works')
    b.take = A + ':3'
    b.call('sr_attach')
    a.take = B + ':4'
    a.call('sr_attach')
    check(owner() == A + '_5' and late.refused('vdi_create', 'args=%d' % MIB), 'not after its pool lost it and got it back')
    check('error' not in late.call('sr_attach') and 'error' not in late.call('vdi_create', 'args=%d' % MIB), 'until it plugs again')

    # Stopped in the middle of a change: the other one waits for the lock, and takes over what is whole.
    new = str(uuid.uuid4())
    child = a.start('vdi_create', 'args=%d' % MIB, 'vdi_uuid=' + new, fault='sm.image-written sleep:500')
    check(wait_until(lambda: any(n.startswith('tmp-') for n in os.listdir(folder))), 'a driver is in the middle of its work')
    os.killpg(child.pid, signal.SIGSTOP)
    half = any(n.startswith('tmp-') for n in os.listdir(folder))
    b.take = A + ':5'
    taker = b.start('sr_attach')
    if half:
        check(owner() == A + '_5', 'stopped there, it keeps the repository')
    os.killpg(child.pid, signal.SIGCONT)
    out = child.communicate()[0]
    check('error' not in out and new in out, 'when it goes on, it ends its work')
    check('error' not in taker.communicate()[0] and owner() == B + '_6', 'then the other one has it')
    check(any(new in k for k in b.call('sr_scan')), 'with the disk')

    # Its mark is gone: nobody guesses.
    os.unlink(os.path.join(folder, '.xapi-owner'))
    check(b.refused('vdi_create', 'args=%d' % MIB), 'without its mark nothing is changed')
    check('error' not in b.call('sr_attach') and 'error' not in b.call('vdi_create', 'args=%d' % MIB) and owner() == B + '_1', 'until it is plugged again')
    for name in list(os.listdir(folder)):
        if name.endswith('.qcow2') and not name.startswith('base-'):
            b.call('vdi_delete', 'vdi_uuid=' + name[:36])
    check('error' not in b.call('sr_delete') and not os.path.exists(folder), 'destroyed by its owner')


def merging(fmt):
    """A merge that runs when the repository changes hands."""
    a = Pool('m', A)
    a.call('sr_create', 'args=0')
    vdi = a.call('vdi_create', 'args=%d' % (16 * MIB), 'smconfig.image-format=' + fmt)['uuid']
    path = os.path.join(folder, vdi + '.' + fmt)
    plugin = next(p for p in (os.path.join(BUILD, '.libs/nbdkit-vhd.so'), os.path.join(BUILD, 'nbdkit-vhd.so')) if os.path.exists(p))

    def write():
        io = 'write -P 7 0 16M'
        argv = ['qemu-io', '-f', 'qcow2', '-c', io, path] if fmt == 'qcow2' else \
            ['nbdkit', '-U', '-', plugin, 'image=' + path, '--run', 'qemu-io -f raw -c "%s" "$uri"' % io]
        assert subprocess.run(argv, stdout=subprocess.DEVNULL).returncode == 0

    write()
    snap = a.call('vdi_snapshot', 'vdi_uuid=' + vdi)['uuid']
    write()
    a.call('vdi_delete', 'vdi_uuid=' + snap)
    plan = a.call('sr_gc_plan')
    m = {f: next(v for k, v in plan.items() if k.endswith('.' + f)) for f in ('top_path', 'base_path', 'owner_path', 'owner')}
    check(m['owner'] == A + '_1', fmt + ': the plan says whose it is')
    argv = [os.path.join(BUILD, 'sm/image-merge'), fmt, m['top_path'], m['base_path'], '4096', m['owner_path'], m['owner']]
    child = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    b = Pool('n', B)
    b.take = A + ':1'
    check('error' not in b.call('sr_attach'), fmt + ': taken over while images are merged')
    why = child.communicate(timeout=120)[1]
    check(child.returncode == 1 and 'somebody else' in why, '%s: the merge ends: %s' % (fmt, why.strip()))
    shutil.rmtree(folder)


def two_agents():
    with Agent() as one, Agent() as two:
        s, t = one.login(), two.login()
        pools = s.pool.get_uuid(s.pool.get_all()[0]), t.pool.get_uuid(t.pool.get_all()[0])
        host = t.host.get_all()[0]
        mine = s.SR.create(s.host.get_all()[0], {'location': folder}, '0', 'both', '', 'file', '', True, {})
        u = s.SR.get_uuid(mine)
        vdi = disk(s, mine, 'first', MIB)
        vdi_uuid = s.VDI.get_uuid(vdi)
        theirs = t.SR.introduce(u, 'both', '', 'file', '', True, {})
        pbd = t.PBD.create({'host': host, 'SR': theirs, 'device_config': {'location': folder}, 'other_config': {}})
        p = fails(IN_USE, 'a second pool does not plug it', t.PBD.plug, pbd)
        check(pools[0] in p[1], 'and is told whose it is: ' + p[1])
        check(not t.PBD.get_currently_attached(pbd) and t.SR.get_VDIs(theirs) == [], 'nothing of it is known there')

        os.kill(one.process.pid, signal.SIGSTOP)
        try:
            t.PBD.set_device_config(pbd, {'location': folder, 'take_from': pools[0] + ':1'})
            t.PBD.plug(pbd)
            t.SR.scan(theirs)
            check(len(t.SR.get_VDIs(theirs)) == 1 and owner() == pools[1] + '_2', 'while the owner stands still, it is taken over')
            there = t.VDI.get_by_uuid(vdi_uuid)
            snap = t.VDI.snapshot(there, {})
            new = disk(t, theirs, 'second', MIB)
        finally:
            os.kill(one.process.pid, signal.SIGCONT)
        before = look()
        for what, fn, args in (('a new disk', disk, (s, mine, 'third', MIB)), ('a snapshot', s.VDI.snapshot, (vdi, {})),
                               ('a deletion', s.VDI.destroy, (vdi,)), ('a resize', s.VDI.resize, (vdi, str(2 * MIB))),
                               ('a copy', s.VDI.copy, (vdi, mine)), ('a scan', s.SR.scan, (mine,))):
            p = fails(IN_USE, 'the old owner awakes: no ' + what, fn, *args)
            check(pools[1] + ':2' in p[1], 'named')
        check(look() == before and s.SR.get_VDIs(mine) == [vdi], 'nothing has changed, on disk or in its records')
        old = s.SR.get_PBDs(mine)[0]
        s.PBD.unplug(old)
        fails(IN_USE, 'unplugged, it is not plugged again', s.PBD.plug, old)
        for v in (snap, new, there):
            t.VDI.destroy(v)
        t.PBD.unplug(pbd)
        s.PBD.set_device_config(old, {'location': folder, 'take_from': pools[1] + ':2'})
        s.PBD.plug(old)
        s.SR.scan(mine)
        left = [v for v in s.SR.get_VDIs(mine) if not s.VDI.get_missing(v)]
        check(owner() == pools[0] + '_3' and left == [] and s.VDI.get_missing(vdi), 'but by the same way back: what is gone is gone')
        s.VDI.forget(vdi)
        s.VDI.destroy(disk(s, mine, 'last', MIB))
        s.PBD.unplug(old)
        s.SR.destroy(mine)
        t.SR.forget(theirs)


try:
    for n, story in enumerate((by_hand, lambda: merging('qcow2'), lambda: merging('vhd'), two_agents)):
        sr, folder = str(uuid.uuid4()), os.path.join(work, 'sr%d' % n)
        story()
finally:
    shutil.rmtree(work)
done()
