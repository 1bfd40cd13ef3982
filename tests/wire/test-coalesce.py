#!/usr/bin/env python3
"""What deleted snapshots leave is merged in the background: seen as a task, limited, ended by an unplug, reported when it
cannot go on."""
import glob
import os
import re
import subprocess
import tempfile
import time

from harness import BUILD, Agent, check, done, fails, wait_until

MIB = 1 << 20


def disk(s, sr, **more):
    record = {'name_label': 'disk', 'name_description': '', 'SR': sr, 'virtual_size': str(64 * MIB), 'type': 'user',
              'sharable': False, 'read_only': False, 'other_config': {}}
    record.update(more)
    return s.VDI.create(record)


def write(path, pattern, at, size):
    got = subprocess.run(['qemu-io', '-f', 'qcow2', '-c', 'write -P %d %d %d' % (pattern, at, size), path], capture_output=True, text=True)
    assert got.returncode == 0, got.stderr


def reads(path, pattern, at, size):
    got = subprocess.run(['qemu-io', '-r', '-f', 'qcow2', '-c', 'read -P %d %d %d' % (pattern, at, size), path],
                         capture_output=True, text=True)
    return got.returncode == 0 and 'failed' not in got.stdout


def status():
    """`xe sr-gc-status` as a map."""
    out = subprocess.run([os.path.join(BUILD, 'xe', 'xe'), 'sr-gc-status', 'uuid=' + s.SR.get_uuid(sr)],
                         capture_output=True, text=True, env=dict(os.environ, XAPI_SOCKET=agent.socket))
    rows = [line.split(':', 1) for line in out.stdout.splitlines() if ':' in line]
    return {k.split('(')[0].strip(): v.strip() for k, v in rows} if out.returncode == 0 else {'error': out.stderr}


def layers(s, sr, folder, n):
    """The file of a disk, which has 64 KiB of k + 1 at k MiB, and its snapshots, one after each of these."""
    vdi, snaps = disk(s, sr), []
    path = '%s/%s.qcow2' % (folder, s.VDI.get_uuid(vdi))
    for k in range(n):
        write(path, k + 1, k * MIB, 65536)
        snaps.append(s.VDI.snapshot(vdi, {}))
    return path, snaps


def behind():
    """Many merges to do: an alert, once, that says how many; and they are done all the same."""
    global agent, s, sr
    with Agent('--coalesce-interval', '1h') as agent:
        s = agent.login()
        sr = s.pool.get_default_SR(s.pool.get_all()[0])
        folder = os.path.join(agent.root, 'sr')
        path, snaps = layers(s, sr, folder, 36)
        for snap in snaps:
            s.VDI.destroy(snap)
        s.SR.scan(sr)
        check(status()['images-to-merge'] == '36', 'what 36 snapshots leave is counted: %s' % status())
        agent.kill()
        agent.options = ['--coalesce-interval', '100ms']
        agent.start()
        s = agent.login()

        def alerts():
            return [m for m in s.message.get_all_records().values() if m['name'] == 'SR_COALESCE_BEHIND']
        check(wait_until(alerts, 60), 'an alert says that merges are behind')
        m = alerts()[0]
        check(m['cls'] == 'SR' and m['obj_uuid'] == s.SR.get_uuid(sr) and 30 < int(m['body'].split()[0]) <= 36, 'of which repository, and how many: ' + m['body'])
        check(wait_until(lambda: not glob.glob(folder + '/base-*'), 120, 0.2), 'they are done in the end')
        check(len(alerts()) == 1 and all(reads(path, n + 1, n * MIB, 65536) for n in range(36)), 'one alert, and the disk has everything')
        check(wait_until(lambda: status().get('images-to-merge') == '0', 10), 'nothing is left: %s' % status())


def driver_killed():
    """Only the driver is killed at the end of a merge, between the images' new parents and the merged one's removal: nobody but the agent
    knows of it, and it goes on."""
    with tempfile.TemporaryDirectory() as where:
        program = os.path.join(where, 'file')
        with open(program, 'w') as f:
            f.write('#!/bin/bash\nrequest=$(cat)\n'
                    '[[ $request == *sr_gc_finish* ]] && mv %s/armed %s/done 2>/dev/null && exec 9<%s/done && export XAPI_FAULT_FD=9\n'
                    'exec %s/sm/file <<<"$request"\n' % (where, where, where, BUILD))
        os.chmod(program, 0o755)
        os.symlink(BUILD + '/sm/image-merge', where + '/image-merge')      # the agent takes it from beside the driver
        with open(where + '/armed', 'w') as f:
            f.write('sm.merge-relinked kill 2\n')
        with Agent('--coalesce-interval', '200ms', env={'XAPI_SM_DIR': '%s:%s/sm' % (where, BUILD)}) as agent:
            s = agent.login()
            sr = s.pool.get_default_SR(s.pool.get_all()[0])
            folder = os.path.join(agent.root, 'sr')
            path, snaps = layers(s, sr, folder, 2)
            write(path, 3, 2 * MIB, 65536)
            s.VDI.destroy(snaps[0])
            check(wait_until(lambda: os.path.exists(where + '/done'), 30), 'the driver is killed at the end of a merge')
            check(wait_until(lambda: len(glob.glob(folder + '/base-*')) == 1 and not glob.glob(folder + '/merged-*'), 30),
                  'the merge is ended all the same: %s' % os.listdir(folder))
            s.VDI.destroy(snaps[1])
            check(wait_until(lambda: not glob.glob(folder + '/base-*'), 30), 'and nothing is in the way of the next')
            check(all(reads(path, n + 1, n * MIB, 65536) for n in range(3)), 'which has everything')


def beside_starts():
    """Who opens a disk finds what it stands on by its name: a merge takes none away while a VM is started, and a VM is not started while one
    does."""
    with tempfile.TemporaryDirectory() as where:
        program = os.path.join(where, 'file')
        with open(program, 'w') as f:
            f.write('#!/bin/bash\nrequest=$(cat)\n'
                    'if [[ $request == *sr_gc_finish* ]]; then : >%s/finish; while [ -e %s/held ]; do sleep 0.05; done; fi\n'
                    'exec %s/sm/file <<<"$request"\n' % (where, where, BUILD))
        os.chmod(program, 0o755)
        os.symlink(BUILD + '/sm/image-merge', where + '/image-merge')
        finish, held = where + '/finish', where + '/held'
        with Agent('--coalesce-interval', '200ms', env={'XAPI_SM_DIR': '%s:%s/sm' % (where, BUILD)}) as agent:
            s = agent.login()
            sr = s.pool.get_default_SR(s.pool.get_all()[0])
            folder = os.path.join(agent.root, 'sr')
            path, snaps = layers(s, sr, folder, 4)
            vdi = s.VDI.get_by_uuid(os.path.basename(path)[:36])
            vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'vm')
            s.VM.provision(vm)
            s.VBD.create({'VM': vm, 'VDI': vdi, 'userdevice': '0', 'bootable': True, 'mode': 'RW', 'type': 'Disk', 'empty': False,
                          'other_config': {}, 'qos_algorithm_type': '', 'qos_algorithm_params': {}})
            uuid, state = s.VM.get_uuid(vm), lambda: s.VM.get_power_state(vm)
            starts = lambda: len(re.findall(r'sim start %s: ok' % uuid, open(agent.root + '/agent.log').read()))

            open(held, 'w').close()
            s.VDI.destroy(snaps[1])
            check(wait_until(lambda: os.path.exists(finish), 30), 'a merge comes to its end')
            task = s.Async.VM.start(vm, False, False)
            check(not wait_until(lambda: state() == 'Running', 2), 'a VM that is started then waits: %s' % state())
            os.unlink(held)
            check(wait_until(lambda: s.task.get_status(task) != 'pending', 30) and state() == 'Running', 'and runs when that is done: %s' %
                  s.task.get_error_info(task))
            s.VM.hard_shutdown(vm)

            os.unlink(finish)
            agent.poke('set start_ms 3000')
            task = s.Async.VM.start(vm, False, False)
            check(wait_until(lambda: glob.glob('%s/storage/attached/%s.*' % (agent.root, os.path.basename(path)[:36])), 10), 'a VM is being started')
            s.VDI.destroy(snaps[2])
            check(wait_until(lambda: os.path.exists(finish), 60, 0.01) and starts() == 2, 'a merge that is ready then ends behind that: %d' % starts())
            check(wait_until(lambda: state() == 'Running', 10), 'which is well')
            s.VM.hard_shutdown(vm)
            for snap in snaps[::3]:
                s.VDI.destroy(snap)
            check(wait_until(lambda: not glob.glob(folder + '/base-*'), 30), 'all is merged in the end')
            check(all(reads(path, n + 1, n * MIB, 65536) for n in range(4)), 'and the disk has everything')


def short_lives():
    """Agents of which none lives for an interval merge all the same; and where one is killed in the middle, the next goes on at once."""
    interval, life, lives = 6, 1, []
    with Agent('--coalesce-interval', '%ds' % interval, '--coalesce-rate', '4M') as agent:
        s = agent.login()
        sr = s.pool.get_default_SR(s.pool.get_all()[0])
        folder = os.path.join(agent.root, 'sr')
        path, (snap,) = layers(s, sr, folder, 1)
        write(path, 2, 32 * MIB, 24 * MIB)          # for seconds, with that rate
        later = s.VDI.snapshot(s.VDI.get_by_uuid(os.path.basename(path)[:36]), {})
        s.VDI.destroy(snap)
        s.VDI.destroy(later)

        def merging():
            return [r for r in s.task.get_all_records().values() if r['name_label'] == 'SR.coalesce' and r['status'] == 'pending']

        def again():
            """The next agent; it has begun to merge, or not, within a life."""
            nonlocal s
            agent.kill()
            began = time.monotonic()
            agent.start()
            s = agent.login()
            found = bool(wait_until(merging, life))
            lives.append(time.monotonic() - began)
            return found
        until = time.monotonic() + 10 * interval
        while not again() and time.monotonic() < until:
            pass
        check(merging() and len(lives) > 1, 'agents that are killed before an interval is over come to merge: after %d' % len(lives))
        check(again() and again(), 'one that is killed in the middle has a next one that goes on at once')
        check(max(lives) < interval, 'none of them has lived for an interval: %.1f s' % max(lives))
        check(wait_until(lambda: not glob.glob(folder + '/base-*'), 60), 'it comes to the end')
        check(reads(path, 1, 0, 65536) and reads(path, 2, 32 * MIB, 24 * MIB), 'the disk has everything')


behind()
driver_killed()
beside_starts()
short_lives()
with Agent('--coalesce-interval', '200ms', '--coalesce-rate', '4M') as agent:
    s = agent.login()
    sr = s.pool.get_default_SR(s.pool.get_all()[0])
    folder = os.path.join(agent.root, 'sr')
    vdi = disk(s, sr)
    path = '%s/%s.qcow2' % (folder, s.VDI.get_uuid(vdi))
    snaps = []
    for i in range(4):
        write(path, i + 1, i * 8 * MIB, 2 * MIB)
        snaps.append(s.VDI.snapshot(vdi, {}))
    write(path, 9, 40 * MIB, MIB)
    keep = snaps.pop(1)
    check(len(glob.glob(folder + '/base-*')) == 4, 'four snapshots, four bases')
    check(status()['images-to-merge'] == '0' and status()['running'] == '', 'nothing is to be merged: %s' % status())
    for v in snaps:
        s.VDI.destroy(v)
    check(wait_until(lambda: len(glob.glob(folder + '/base-*')) == 1, 30), 'one base is left, for the snapshot that is kept')
    check(all(reads(path, i + 1, i * 8 * MIB, 2 * MIB) for i in range(4)) and reads(path, 9, 40 * MIB, MIB), 'the disk has everything')
    kept = '%s/%s.qcow2' % (folder, s.VDI.get_uuid(keep))
    check(reads(kept, 2, 8 * MIB, 2 * MIB) and reads(kept, 0, 16 * MIB, 2 * MIB), 'the snapshot its moment')
    check(wait_until(lambda: len(s.SR.get_VDIs(sr)) == 3, 10), 'and the records agree')
    parents = [s.VDI.get_sm_config(v).get('vhd-parent') for v in (vdi, keep)]
    check(parents[0] == parents[1] is not None, 'on what both stand')

    # An unplug does not wait for the end of a merge.
    write(path, 7, 0, 32 * MIB)
    s.VDI.destroy(keep)
    check(wait_until(lambda: [t for t, r in s.task.get_all_records().items()
                              if r['name_label'] == 'SR.coalesce' and 0 < r['progress'] < 1], 20), 'a merge that takes long is a task with progress')
    got = status()
    check(int(got['images-to-merge']) >= 1 and int(got['bytes-to-merge']) > 0, 'xe sr-gc-status counts what is left: %s' % got)
    check('Merging' in got['running'] and 0 < float(got['progress']) < 1, 'and shows what is done')
    pbd = s.SR.get_PBDs(sr)[0]
    began = time.monotonic()
    s.PBD.unplug(pbd)
    check(time.monotonic() - began < 5, 'ends when its SR is unplugged')
    ended = [r for r in s.task.get_all_records().values() if r['name_label'] == 'SR.coalesce']
    check(all(r['status'] in ('success', 'cancelled', 'failure') for r in ended), 'no task is left behind')
    check(reads(path, 7, 0, 32 * MIB) and reads(path, 9, 40 * MIB, MIB), 'and no byte is lost')
    s.PBD.plug(pbd)

    # kill -9 in the middle, then to the end. After an unplug the work waits a while: a new agent begins at once.
    agent.kill()
    agent.start()
    s = agent.login()
    check(wait_until(lambda: [t for t, r in s.task.get_all_records().items()
                              if r['name_label'] == 'SR.coalesce' and r['status'] == 'pending'], 20), 'the next agent goes on')
    agent.kill()
    agent.start()
    s = agent.login()
    check(wait_until(lambda: not glob.glob(folder + '/base-*'), 60), 'killed and started again it comes to the end')
    check(reads(path, 7, 0, 32 * MIB) and reads(path, 9, 40 * MIB, MIB) and reads(path, 0, 56 * MIB, MIB), 'the disk has everything')
    got = subprocess.run(['qemu-img', 'check', '-q', '-f', 'qcow2', path], capture_output=True, text=True)
    check(got.returncode == 0, 'and is sound %s' % got.stdout)
    check(wait_until(lambda: len(s.SR.get_VDIs(sr)) == 1, 10), 'one record, one file')
    vdi = s.SR.get_VDIs(sr)[0]
    s.VDI.destroy(vdi)
    fails('HANDLE_INVALID', 'the disk is gone', s.VDI.get_record, vdi)
done()
