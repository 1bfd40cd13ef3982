#!/usr/bin/env python3
"""Alerts: made, found, forgotten, and how much of them is kept."""
import os
import time

from harness import Agent, check, done, fails

KIB, MIB = 1 << 10, 1 << 20


def life(s):
    vm = s.VM.get_all()[0]
    uuid = s.VM.get_uuid(vm)
    a = s.message.create('ONE', '3', 'VM', uuid, 'first <body> & more')
    b = s.message.create('TWO', '5', 'VM', uuid, '')
    r = s.message.get_record(a)
    check((r['name'], r['priority'], r['cls'], r['obj_uuid'], r['body']) == ('ONE', '3', 'VM', uuid, 'first <body> & more'), 'a record')
    check(s.message.get_by_uuid(r['uuid']) == a, 'by uuid')
    check({a, b} <= set(s.message.get('VM', uuid, '19700101T00:00:00Z')) and a in s.message.get_since('19700101T00:00:00Z'), 'by object')
    check(s.message.get('VM', uuid, '20990101T00:00:00Z') == {}, 'none from the future')
    check(list(s.message.get_all_records_where('field "name" = "TWO"')) == [b], 'by an expression')
    fails('UUID_INVALID', 'about nothing', s.message.create, 'X', '3', 'VM', '00000000-0000-4000-8000-000000000000', 'x')
    s.message.destroy(a)
    fails('HANDLE_INVALID', 'destroyed', s.message.get_record, a)
    s.message.destroy_many([b])
    check(b not in s.message.get_all(), 'destroy_many')


def bounds(s):
    pool = s.pool.get_uuid(s.pool.get_all()[0])
    exact = s.message.create('N' * 256, '3', 'Pool', pool, 'b' * 64 * KIB)
    check(len(s.message.get_record(exact)['body']) == 64 * KIB, 'a body of 64 KiB')
    got = fails('VALUE_NOT_SUPPORTED', 'one byte more', s.message.create, 'N', '3', 'Pool', pool, 'b' * (64 * KIB + 1))
    check(got == ['body', '65537 bytes', 'At most 65536 bytes are kept'], 'says what and why: %s' % got)
    got = fails('VALUE_NOT_SUPPORTED', 'a long name', s.message.create, 'N' * 257, '3', 'Pool', pool, '')
    check(got[:2] == ['name', '257 bytes'], 'likewise: %s' % got)
    time.sleep(1.1)    # alerts of one second are of one age
    refs = [s.message.create('FLOOD', '3', 'Pool', pool, 'b' * 64 * KIB) for _ in range(280)]
    kept = s.message.get_all_records()
    total = sum(len(m['name']) + len(m['body']) for m in kept.values())
    check(14 * MIB < total <= 16 * MIB, '280 of them: %.1f MiB are kept' % (total / MIB))
    check(refs[-1] in kept and exact not in kept, 'the newest stays, the oldest went')
    s.message.destroy_all({})
    check(s.message.get_all() == [], 'destroy_all')


with Agent() as agent:
    s = agent.login()
    life(s)
    bounds(s)
    size = sum(os.path.getsize(os.path.join(agent.root, n)) for n in os.listdir(agent.root) if n.startswith('state.db'))
    check(size < 128 * MIB, 'the database stays small: %d MiB' % (size / MIB))
done()
