#!/usr/bin/env python3
"""The pool's database in a repository: kept up to date by itself, read by another pool after the first has died, from the half of
the disk that is whole; alerts when it cannot be written."""
import os
import shutil
import tempfile

from guest import MIB, disk
from harness import Agent, Session, check, done, fails, unwrap, wait_until

work = tempfile.mkdtemp(prefix='replication-')
folder = os.path.join(work, 'sr')


def holds(path, text):
    """A file of the disk's bytes has this text in it."""
    with open(path, 'rb') as f:
        return text.encode() in f.read(32 * MIB) or (f.seek(128 * MIB) and text.encode() in f.read(32 * MIB))


def spoil(path, at):
    with open(path, 'r+b') as f:
        f.seek(at)
        byte = f.read(1)
        f.seek(at)
        f.write(bytes([byte[0] ^ 1]))


def names(s, ref, proxy):
    """VMs of the database that a session reads."""
    dump = Session(proxy, ref)
    found = {r['name_label'] for r in dump.VM.get_all_records().values()}
    dump.session.logout()
    return found


def vm(s, name):
    s.VM.clone(s.VM.get_by_name_label('Other install media')[0], name)


try:
    one = Agent().start()
    s = one.login()
    pool = s.pool.get_uuid(s.pool.get_all()[0])
    sr = s.SR.create(s.host.get_all()[0], {'location': folder}, '0', 'backups', '', 'file', '', True, {})
    u = s.SR.get_uuid(sr)
    s.SR.assert_supports_database_replication(sr)
    blank = disk(s, sr, 'blank', MIB)
    vm(s, 'before')
    s.SR.enable_database_replication(sr)
    vdi = next(v for v in s.SR.get_VDIs(sr) if v != blank)
    r = s.VDI.get_record(vdi)
    check(r['type'] == 'metadata' and r['metadata_of_pool'] == s.pool.get_all()[0] and r['metadata_latest'], 'a disk holds the database')
    path = os.path.join(folder, r['uuid'] + '.raw')
    check(holds(path, 'before') and os.stat(path).st_blocks * 512 < 32 * MIB, 'it is written, and takes no more room than it needs')
    s.SR.enable_database_replication(sr)
    check(len(s.SR.get_VDIs(sr)) == 2, 'asked for again, it is the same disk')
    check(s.VDI.read_database_pool_uuid(vdi) == pool, 'it says whose it is')
    p = fails('VDI_CONTAINS_METADATA_OF_THIS_POOL', 'a pool does not open its own', s.VDI.open_database, vdi)
    check(p == [vdi, s.pool.get_all()[0]], 'named')
    fails('COULD_NOT_IMPORT_DATABASE', 'a disk without a database', s.VDI.read_database_pool_uuid, blank)
    fails('SR_OPERATION_NOT_SUPPORTED', 'not every repository holds one', s.SR.enable_database_replication,
          next(x for x, v in s.SR.get_all_records().items() if v['type'] == 'iso'))
    vm(s, 'afterwards')
    check(wait_until(lambda: holds(path, 'afterwards'), 120, 0.5), 'what changes gets there by itself')
    one.kill()
    one.start()
    s = one.login()
    vm(s, 'after-restart')
    check(wait_until(lambda: holds(path, 'after-restart'), 120, 0.5), 'under the next agent, too')

    # Out of its reach: an alert, once, and one when it is back.
    os.rename(path, path + '.away')
    vm(s, 'unwritten')
    told = lambda name: [m for m in s.message.get_all_records().values() if m['name'] == name and m['obj_uuid'] == r['uuid']]  # noqa: E731
    check(wait_until(lambda: told('METADATA_LUN_BROKEN'), 120, 0.5), 'an alert when it cannot be written')
    os.rename(path + '.away', path)
    check(wait_until(lambda: told('METADATA_LUN_HEALTHY'), 120, 0.5), 'and when it can again')
    check(len(told('METADATA_LUN_BROKEN')) == 1 and holds(path, 'unwritten'), 'one of each, and nothing is missing')
    one.kill()

    with Agent() as two:
        t = two.login()
        there = t.SR.introduce(u, 'backups', '', 'file', '', True, {})
        pbd = t.PBD.create({'host': t.host.get_all()[0], 'SR': there, 'device_config': {'location': folder, 'take_from': pool + ':1'},
                            'other_config': {}})
        t.PBD.plug(pbd)
        t.SR.scan(there)
        found = t.VDI.get_by_uuid(r['uuid'])
        check(t.VDI.read_database_pool_uuid(found) == pool, 'another pool sees whose database it is')
        seen = names(t, t.VDI.open_database(found), two.proxy())
        check({'before', 'afterwards', 'after-restart', 'unwritten'} <= seen, 'and opens it: every VM is there')
        check(t.VM.get_by_name_label('before') == [], 'its own database is another')
        generations = []
        for half in (0, 128 * MIB):
            with open(path, 'rb') as f:
                f.seek(half)
                generations.append(int(f.read(200).split(b'generation=')[1].split(b'\n')[0]))
        newest = 0 if generations[0] > generations[1] else 128 * MIB
        spoil(path, newest + 4096 + 1000)
        seen = names(t, t.VDI.open_database(found), two.proxy())
        check('before' in seen, 'with the newest one damaged, the one before it is read: %s' % generations)
        spoil(path, (0 if newest else 128 * MIB) + 40)
        spoil(path, (0 if newest else 128 * MIB) + 4096 + 1000)
        fails('COULD_NOT_IMPORT_DATABASE', 'with both damaged, none', t.VDI.open_database, found)
        t.SR.enable_database_replication(there)
        mine = [v for v in t.SR.get_VDIs(there) if t.VDI.get_type(v) == 'metadata']
        check(len(mine) == 1 and mine[0] != found and t.VDI.get_metadata_latest(mine[0]), 'the new pool keeps its own there')
        t.SR.disable_database_replication(there)
        check(not [v for v in t.SR.get_VDIs(there) if t.VDI.get_type(v) == 'metadata'] and os.path.exists(path),
              'until it is told not to: its disk goes, the other stays')
        t.SR.disable_database_replication(there)
finally:
    if one.process.poll() is None:
        one.kill()
    shutil.rmtree(work)
    shutil.rmtree(one.root, ignore_errors=True)
done()
