#!/usr/bin/env python3
"""What clients send as arguments and what they get back: arity, types, references, errors, both protocols."""
import http.client
import json
import socket
import xmlrpc.client

from harness import Agent, check, done, fails, unwrap


class Unix(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__('localhost')
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


def post(agent, path, body, kind='text/xml'):
    c = Unix(agent.socket)
    c.request('POST', path, body, {'Content-Type': kind})
    r = c.getresponse()
    return r.status, dict((k.lower(), v) for k, v in r.getheaders()), r.read().decode()


def call_xml(method, *params):
    return ('<?xml version="1.0"?><methodCall><methodName>%s</methodName><params>%s</params></methodCall>'
            % (method, ''.join('<param>%s</param>' % p for p in params)))


def json_call(agent, method, params, **more):
    body = dict({'jsonrpc': '2.0', 'method': method, 'params': params, 'id': 1}, **more)
    body = {k: v for k, v in body.items() if v is not None}
    status, headers, text = post(agent, '/jsonrpc', json.dumps(body), 'application/json')
    return status, headers, text, json.loads(text)


def arguments(s, vm):
    fails('MESSAGE_METHOD_UNKNOWN', 'a method nobody knows', s.VM.frobnicate)
    fails('MESSAGE_METHOD_UNKNOWN', 'Async of a class without it', s.Async.event.get_current_id)
    check(fails('MESSAGE_PARAMETER_COUNT_MISMATCH', 'too few arguments', s.VM.get_name_label) ==
          ['VM.get_name_label', '1', '0'], 'the counts leave the session out')
    check(fails('MESSAGE_PARAMETER_COUNT_MISMATCH', 'too many arguments', s.VM.get_name_label, vm, vm)[1:] == ['1', '2'],
          'expected one, received two')
    check(fails('HANDLE_INVALID', 'text that is no reference', s.VM.get_name_label, 'nonsense') == ['VM', 'nonsense'],
          'class and text are named')
    gone = 'OpaqueRef:00000000-0000-4000-8000-000000000001'
    check(fails('HANDLE_INVALID', 'a reference to nothing', s.VM.get_name_label, gone) == ['VM', gone],
          'class and reference are named')
    check(fails('UUID_INVALID', 'an unknown uuid', s.VM.get_by_uuid, 'xyz') == ['VM', 'xyz'], 'class and uuid are named')
    fails('MESSAGE_REMOVED', 'a removed message', s.VMPP.get_all_records)
    fails('FIELD_TYPE_ERROR', 'a set where a string is wanted', s.VM.set_name_label, vm, ['x'])
    check(fails('FIELD_TYPE_ERROR', 'letters where an int is wanted', s.VM.set_user_version, vm, 'many') == ['value'],
          'the parameter is named')
    fails('FIELD_TYPE_ERROR', 'a value no enumeration has', s.VM.set_actions_after_reboot, vm, 'explode')
    fails('SESSION_INVALID', 'no session', lambda: unwrap(s._proxy.VM.get_all('OpaqueRef:NULL')))
    fails('SESSION_INVALID', 'a session that is none', lambda: unwrap(s._proxy.VM.get_all('me')))


def numbers(s, vm):
    for sent, stored in ((7, '7'), ('8', '8'), (9.0, '9'), ('-3', '-3'), ('9223372036854775807', '9223372036854775807')):
        s.VM.set_user_version(vm, sent)
        check(s.VM.get_user_version(vm) == stored, 'int from %r' % (sent,))
    fails('FIELD_TYPE_ERROR', 'an int beyond 64 bits', s.VM.set_user_version, vm, '9223372036854775808')
    fails('FIELD_TYPE_ERROR', 'a broken number', s.VM.set_user_version, vm, 1.5)


def maps_and_sets(s, vm):
    s.VM.set_other_config(vm, {})
    s.VM.add_to_other_config(vm, 'a<b', 'x & "y"')
    check(s.VM.get_other_config(vm) == {'a<b': 'x & "y"'}, 'a map key and value with markup')
    check(fails('MAP_DUPLICATE_KEY', 'the same key again', s.VM.add_to_other_config, vm, 'a<b', 'z') ==
          ['VM', 'other_config', vm, 'a<b'], 'class, field, reference and key are named')
    s.VM.remove_from_other_config(vm, 'never there')
    s.VM.remove_from_other_config(vm, 'a<b')
    check(s.VM.get_other_config(vm) == {}, 'removed; removing what is not there is fine')
    s.VM.add_tags(vm, 'one')
    s.VM.add_tags(vm, 'two')
    s.VM.add_tags(vm, 'one')
    check(sorted(s.VM.get_tags(vm)) == ['one', 'two'], 'a set holds each item once')
    s.VM.remove_tags(vm, 'one')
    s.VM.remove_tags(vm, 'never there')
    check(s.VM.get_tags(vm) == ['two'], 'an item removed')
    s.VM.set_tags(vm, [])
    check(s.VM.get_tags(vm) == [], 'an empty set')


def references(s, vm):
    s.VM.set_affinity(vm, '')
    check(s.VM.get_affinity(vm) == 'OpaqueRef:NULL', 'an empty text is the null reference')
    host = s.host.get_all()[0]
    s.VM.set_affinity(vm, host)
    check(s.VM.get_affinity(vm) == host, 'a reference set')
    fails('HANDLE_INVALID', 'a reference that leads nowhere is not stored', s.VM.set_affinity, vm, vm)
    s.VM.set_affinity(vm, 'OpaqueRef:NULL')


def lookups(s, vm):
    s.VM.set_name_label(vm, 'unique name \u00e9\u4e16')
    check(s.VM.get_by_name_label('unique name \u00e9\u4e16') == [vm], 'found by a name outside ASCII')
    check(s.VM.get_by_uuid(s.VM.get_uuid(vm).upper()) == vm, 'found by uuid, whatever the case')
    found = s.VM.get_all_records_where('field "name__label" = "unique name \u00e9\u4e16" and true')
    check(list(found) == [vm] and found[vm]['name_label'] == 'unique name \u00e9\u4e16', 'found by an expression')
    check(s.VM.get_all_records_where('not (true)') == {}, 'an expression that is false')
    records = s.VM.get_all_records()
    check(set(records) == set(s.VM.get_all()), 'as many records as references')
    fields = set(map(frozenset, records.values()))
    check(len(fields) == 1, 'every record has the same fields')
    check(records[vm] == s.VM.get_record(vm), 'a record alone and among all others')


def every_class(s):
    names = s._proxy.system.listMethods()
    check('VM.start' in names and 'Async.VM.start' in names, 'listMethods needs no session and no Status')
    bad = []
    for name in names:
        if name.endswith('.get_all_records') and not name.startswith('Async.'):
            answer = getattr(s._proxy, name)(s._ref)
            if answer['Status'] != 'Success' and answer['ErrorDescription'] != ['MESSAGE_REMOVED']:
                bad.append((name, answer['ErrorDescription']))
    check(not bad, 'get_all_records of every class%s' % (': %s' % bad if bad else ''))


def bytes_on_the_wire(agent, s, vm):
    s.VM.set_name_description(vm, "")
    status, headers, text = post(agent, '/anything/at/all', call_xml('VM.get_name_description', '<value>%s</value>' % s._ref,
                                                                   '<value><string>%s</string></value>' % vm))
    check(status == 200 and headers['content-type'] == 'text/xml', 'text/xml without a character set')
    check(headers.get('access-control-allow-origin') == '*' and 'no-store' in headers['cache-control'], 'RPC reply headers')
    check('<name>Value</name><value></value>' in text and '> <' not in text, 'an empty string, and no white space')
    check(text.index('Status') < text.index('Value'), 'Status comes first')
    status, _, text = post(agent, '/', 'this is not XML')
    check(status == 200 and '<fault>' in text, 'what is no call gets a fault')
    status, _, text = post(agent, '/', call_xml('VM.get_all'))
    check('MESSAGE_PARAMETER_COUNT_MISMATCH' in text, 'the session itself missing')


def json_rpc(agent, s, vm):
    status, headers, text, body = json_call(agent, 'VM.get_user_version', [s._ref, vm])
    check(headers['content-type'] == 'application/json', 'exactly application/json')
    check(body == {'jsonrpc': '2.0', 'result': int(s.VM.get_user_version(vm)), 'id': 1}, 'version 2: a number, no error member')
    body = json_call(agent, 'VM.get_user_version', [s._ref, 'x'], id='seven')[3]
    check(body == {'jsonrpc': '2.0', 'error': {'code': 1, 'message': 'HANDLE_INVALID', 'data': ['VM', 'x']}, 'id': 'seven'},
          'version 2: an error')
    body = json_call(agent, 'VM.get_user_version', [s._ref, 'x'], jsonrpc=None)[3]
    check(body == {'result': None, 'error': ['HANDLE_INVALID', 'VM', 'x'], 'id': 1}, 'version 1: an error')
    body = json_call(agent, 'VM.set_name_description', [s._ref, vm, 'd'], jsonrpc=None)[3]
    check(body == {'result': '', 'error': None, 'id': 1}, 'version 1: nothing to return is ""')
    record = json_call(agent, 'VM.get_record', [s._ref, vm])[3]['result']
    check(record['is_a_template'] in (True, False) and record['tags'] == [] and record['blobs'] == {}, 'booleans, sets, maps')
    body = json_call(agent, 'system.listMethods', [])[3]
    check('VM.get_all' in body['result'], 'listMethods over JSON')
    status, _, text = post(agent, '/jsonrpc', '{"method": 3')
    check(status == 200 and json.loads(text).get('error'), 'broken JSON gets an error')


def hostile(agent):
    deep = '<value><array><data>' * 500 + '</data></array></value>' * 500
    status, _, text = post(agent, '/', call_xml('VM.get_all', deep))
    check(status == 200 and 'fault' in text, 'values nested too deep')
    status, _, text = post(agent, '/jsonrpc', '[' * 5000)
    check(status == 200 and 'error' in text, 'JSON nested too deep')
    status, _, _ = post(agent, '/', b'x' * (4 << 20))
    check(status == 413, 'a body beyond the limit')


with Agent() as agent:
    s = agent.login()
    vm = s.VM.get_all()[0]
    arguments(s, vm)
    numbers(s, vm)
    maps_and_sets(s, vm)
    references(s, vm)
    lookups(s, vm)
    every_class(s)
    bytes_on_the_wire(agent, s, vm)
    json_rpc(agent, s, vm)
    hostile(agent)
    check(s.VM.get_uuid(vm), 'the agent still answers')
done()
