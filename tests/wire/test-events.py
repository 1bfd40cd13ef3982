#!/usr/bin/env python3
"""event.from, event.inject and the old event.register/next: what comes, when, and in what shape."""
import http.client
import json
import socket
import threading
import time
import xmlrpc.client

from harness import Agent, Session, check, done, fails, unwrap


def events_from(s, classes, token, timeout=30.0):
    return s.call('event.from', classes, token, float(timeout))


def shape(s):
    batch = events_from(s, ['*'], '')
    check(set(batch) == {'events', 'valid_ref_counts', 'token'}, 'a batch has events, counts and a token')
    check(all(e['operation'] == 'add' for e in batch['events']), 'from the beginning everything is added')
    got = {(e['class'], e['ref']) for e in batch['events']}
    check(('pool', s.pool.get_all()[0]) in got and ('host', s.host.get_all()[0]) in got, 'pool and host come in the first batch')
    check('session' not in {c for c, _ in got}, 'sessions are nobody\'s business')
    counts = batch['valid_ref_counts']
    check(all(type(n) is int for n in counts.values()), 'counts are 32-bit ints')
    check(counts['vm'] == len(s.VM.get_all()) and counts['task'] == len(s.task.get_all()), 'and they are right')
    vm = next(e for e in batch['events'] if e['class'] == 'vm')
    check(vm['snapshot'] == s.VM.get_record(vm['ref']), 'the snapshot is the record')
    check(vm['id'].isdigit() and vm['timestamp'] == '0.0', 'id and timestamp')
    check(len(batch['token']) == 41 and batch['token'][20] == ',', 'the token is two numbers')


def empty(s):
    token = events_from(s, ['vm'], '')['token']
    began = time.monotonic()
    batch = events_from(s, ['vm'], token, 0.5)
    took = time.monotonic() - began
    check(batch['events'] == [] and 0.4 < took < 20, 'nothing happened: an empty batch after the timeout (%.2f s)' % took)
    check(events_from(s, ['vm'], token, 0)['events'] == [], 'timeout 0 does not wait')


def inject(s):
    pool = s.pool.get_all()[0]
    token = s.event.inject('pool', pool)
    batch = events_from(s, ['pool'], token)
    check([(e['operation'], e['ref']) for e in batch['events']] == [('mod', pool)], 'the injected object comes as mod')
    fails('HANDLE_INVALID', 'inject of nothing', s.event.inject, 'pool', 'OpaqueRef:00000000-0000-4000-8000-000000000001')


def in_background(agent, classes, token, timeout=30.0):
    """-> a function that waits for the batch and gives it with the time it came."""
    result = []

    def run():
        s = agent.login()
        result.append((events_from(s, classes, token, timeout), time.monotonic()))
    t = threading.Thread(target=run)
    t.start()

    def join():
        t.join(60)
        return result[0]
    return join


def waiting(agent, s):
    vms = s.VM.get_all()
    a, b = vms[0], vms[1]
    token = events_from(s, ['vm'], '')['token']
    all_vms = in_background(agent, ['VM'], token)
    only_b = in_background(agent, ['vm/' + b], token)
    tasks = in_background(agent, ['task'], token, 1.5)
    time.sleep(0.4)
    written = time.monotonic()
    s.VM.set_name_description(a, 'changed')
    batch, came = all_vms()
    check([(e['ref'], e['operation']) for e in batch['events']] == [(a, 'mod')], 'a class in another case, one mod')
    check(batch['events'][0]['snapshot']['name_description'] == 'changed', 'with the new value')
    check(came - written < 1, 'within a moment (%.0f ms)' % ((came - written) * 1000))
    s.VM.set_name_description(b, 'changed too')
    batch, _ = only_b()
    check([e['ref'] for e in batch['events']] == [b], 'one object: others do not come')
    check(tasks()[0]['events'] == [], 'another class does not come')


def coalesced(s):
    vm = s.VM.get_all()[0]
    token = events_from(s, ['vm'], '')['token']
    for i in range(5):
        s.VM.set_name_description(vm, str(i))
    batch = events_from(s, ['vm'], token)
    check([e['snapshot']['name_description'] for e in batch['events']] == ['4'], 'many changes, one event, the latest state')


def tokens_of_their_own(agent, s):
    """Who watches the same from another place gets the same rows, each in its latest state; what was told once is not told again."""
    def told(token, json_wanted):
        if json_wanted:
            c = http.client.HTTPConnection('127.0.0.1', agent.http_port, timeout=60)
            c.request('POST', '/jsonrpc', json.dumps({'jsonrpc': '2.0', 'id': 1, 'method': 'event.from', 'params': [
                s._ref, ['VM'], token, 30.0]}), {'Content-Type': 'application/json'})
            batch = json.loads(c.getresponse().read())['result']
            c.close()
        else:
            batch = events_from(s, ['VM'], token)
        return batch, {e['ref']: (e['operation'], e['snapshot']['name_label']) for e in batch['events']}

    before = events_from(s, ['VM'], '')['token']
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'name 0')
    behind = events_from(s, ['VM'], before)['token']
    for n in range(1, 4):
        s.VM.set_name_label(vm, 'name %d' % n)
        for json_wanted in (False, True):
            batches = [told(token, json_wanted) for token in (before, behind, before, behind)]
            check([rows.get(vm) for _, rows in batches] == [('add', 'name %d' % n), ('mod', 'name %d' % n)] * 2,
                  '%s: new to one, changed for the other, the latest for both' % ('JSON' if json_wanted else 'XML'))
            check(all(b['token'] == batches[0][0]['token'] and b['valid_ref_counts']['vm'] == len(s.VM.get_all()) for b, _ in batches),
                  'up to the same token, with right counts')
    s.VM.destroy(vm)
    gone = [events_from(s, ['VM'], token)['events'] for token in (before, behind)]
    check(not [e for e in gone[0] if e['ref'] == vm] and [e['operation'] for e in gone[1] if e['ref'] == vm] == ['del'],
          'what came and went is not told to who never knew it')


def lives(s):
    token = events_from(s, ['task'], '', 0)['token']
    kept, gone = s.task.create('kept', ''), s.task.create('gone', '')
    batch = events_from(s, ['task'], token)
    check({e['ref']: e['operation'] for e in batch['events']} == {kept: 'add', gone: 'add'}, 'new objects are added')
    s.task.destroy(gone)
    batch = events_from(s, ['task'], batch['token'])
    check([(e['ref'], e['operation']) for e in batch['events']] == [(gone, 'del')], 'a destroyed one is deleted')
    check('snapshot' not in batch['events'][0], 'and has no snapshot')
    batch = events_from(s, ['task'], token)
    check({e['ref']: e['operation'] for e in batch['events']}.get(kept) == 'add', 'from the older token it is still an add')
    s.task.destroy(kept)


def order(s):
    """Alerts, then what was added, changed, destroyed."""
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'to go')
    pool, token = s.pool.get_all()[0], events_from(s, ['*'], '')['token']
    s.VM.destroy(vm)
    s.pool.set_name_description(pool, 'order')
    task = s.task.create('order', '')
    alert = s.message.create('ORDER', 5, 'Pool', s.pool.get_uuid(pool), 'text')
    got = [(e['class'], e['operation']) for e in events_from(s, ['*'], token)['events'] if e['class'] != 'vm_metrics']
    check(got == [('message', 'add'), ('task', 'add'), ('pool', 'mod'), ('vm', 'del')], 'alerts, adds, mods, dels: %s' % got)
    check([(e['class'], e['ref']) for e in events_from(s, ['message/' + alert], '')['events']] == [('message', alert)], 'one alert')
    batch = events_from(s, ['message'], '')
    check({e['ref'] for e in batch['events']} == set(s.message.get_all()), 'all alerts')
    s.message.destroy(alert)
    got = events_from(s, ['Message'], batch['token'])['events']
    check([(e['operation'], e['ref']) for e in got] == [('del', alert)], 'one goes')
    s.task.destroy(task)


def errors(s):
    check(fails('EVENT_SUBSCRIPTION_PARSE_FAILURE', 'a class nobody knows', events_from, s, ['wm'], '') == ['wm'], 'it is named')
    fails('EVENT_SUBSCRIPTION_PARSE_FAILURE', 'an object that is none', events_from, s, ['vm/me'], '')
    check(fails('EVENT_FROM_TOKEN_PARSE_FAILURE', 'a token that is none', events_from, s, ['vm'], 'token') == ['token'], 'it is named')


def over_json(agent, s):
    c = http.client.HTTPConnection('127.0.0.1', agent.http_port)
    token = events_from(s, ['pool'], '')['token']
    pool = s.pool.get_all()[0]

    def call(method, *params):
        c.request('POST', '/jsonrpc', json.dumps({'jsonrpc': '2.0', 'method': method, 'params': params, 'id': 'x'}))
        return json.loads(c.getresponse().read())
    timer = threading.Timer(0.4, lambda: agent.login().pool.add_to_other_config(pool, 'xo:barrier:1', 'x'))
    timer.start()
    answer = call('event.from', s._ref, ['pool'], token, 30)
    timer.join()
    check(answer['id'] == 'x' and 'error' not in answer, 'a JSON answer after a wait')
    batch = answer['result']
    check(batch['events'][0]['snapshot']['other_config'].get('xo:barrier:1') == 'x', 'with the record')
    check(type(batch['valid_ref_counts']['pool']) is int, 'counts are numbers')
    check(call('event.from', s._ref, ['pool'], batch['token'], 0.1)['result']['events'] == [], 'an empty one')
    check(call('event.from', s._ref, ['x'], '', 0.1)['error']['message'] == 'EVENT_SUBSCRIPTION_PARSE_FAILURE', 'an error')


def legacy(agent):
    s = agent.login()
    fails('SESSION_NOT_REGISTERED', 'next without register', s.event.next)
    before = int(s.event.get_current_id())
    s.event.register(['task', 'vm'])
    task = s.task.create('legacy', '')
    got = s.event.next()
    check([(e['class'], e['operation'], e['ref']) for e in got] == [('task', 'add', task)], 'next gives what came since register')
    check(got[0]['snapshot']['name_label'] == 'legacy', 'with the record')
    vm = s.VM.get_all()[0]
    timer = threading.Timer(0.3, lambda: agent.login().VM.set_name_description(vm, 'legacy'))
    timer.start()
    check([e['ref'] for e in s.event.next()] == [vm], 'next waits, and does not repeat')
    timer.join()
    s.event.unregister(['vm'])
    s.VM.set_name_description(vm, 'unseen')
    s.task.destroy(task)
    check([(e['class'], e['operation']) for e in s.event.next()] == [('task', 'del')], 'an unregistered class is silent')
    s.event.unregister(['task'])
    fails('SESSION_NOT_REGISTERED', 'nothing left to wait for', s.event.next)
    check(int(s.event.get_current_id()) > before, 'the current id grows')


def gone_clients(agent, s):
    token = events_from(s, ['vm'], '')['token']
    body = xmlrpc.client.dumps((s._ref, ['vm'], token, 60.0), 'event.from').encode()
    for i in range(200):
        c = socket.socket(socket.AF_UNIX)
        c.connect(agent.socket)
        c.sendall(b'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n' % len(body) + body)
        if i % 2:
            time.sleep(0.001)
        c.close()
    join = in_background(agent, ['vm'], token)
    time.sleep(0.3)
    s.VM.set_name_description(s.VM.get_all()[0], 'after the dead')
    check(join()[0]['events'], 'clients that hang up harm nobody')


def many(agent, s, n):
    vm = s.VM.get_all()[0]
    token = events_from(s, ['vm'], '')['token']
    body = xmlrpc.client.dumps((s._ref, ['vm'], token, 60.0), 'event.from').encode()
    socks = []
    for i in range(n):
        c = socket.socket(socket.AF_UNIX)
        c.connect(agent.socket)
        c.sendall(b'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n' % len(body) + body)
        socks.append(c)
    time.sleep(1)
    name = 'to all %d' % n
    s.VM.set_name_description(vm, name)
    right = 0
    for c in socks:
        c.settimeout(20)
        text = b''
        while b'</methodResponse>' not in text:
            piece = c.recv(1 << 16)
            if not piece:
                break
            text += piece
        right += name.encode() in text
        c.close()
    check(right == n, '%d waiters of %d got the same event' % (right, n))


with Agent() as agent:
    s = agent.login()
    shape(s)
    empty(s)
    inject(s)
    waiting(agent, s)
    coalesced(s)
    lives(s)
    tokens_of_their_own(agent, s)
    order(s)
    errors(s)
    over_json(agent, s)
    legacy(agent)
    gone_clients(agent, s)
    many(agent, s, 300)
    # The agent must end although somebody waits.
    last = in_background(agent, ['vm'], events_from(s, ['vm'], '')['token'], 60)
    time.sleep(0.3)
check(last()[0]['events'] == [], 'who waits when the agent ends gets an empty batch')
done()
