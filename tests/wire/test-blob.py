#!/usr/bin/env python3
"""Blobs: records with every owner, bytes over HTTP, who may read them, limits, restart."""
import base64
import http.client
import os

from harness import PASSWORD, USER, Agent, check, done, fails, wait_until

BASIC = {'Authorization': 'Basic ' + base64.b64encode(('%s:%s' % (USER, PASSWORD)).encode()).decode()}


def ask(agent, method, path, body=None, headers=None):
    c = http.client.HTTPConnection('127.0.0.1', agent.http_port, timeout=30)
    c.request(method, path, body=body, headers=BASIC if headers is None else headers)
    r = c.getresponse()
    return r.status, r.read(), r.headers



with Agent('--blob-limit', '1M') as agent:
    s = agent.login()
    owners = {'pool': s.pool.get_all()[0], 'host': s.host.get_all()[0], 'network': s.network.get_all()[0],
              'SR': s.SR.get_all()[0], 'VM': s.VM.get_all()[0]}
    blobs = {}
    for cls, ref in owners.items():
        new = getattr(s, cls).create_new_blob
        blobs[cls] = new(ref, 'notes', 'text/plain', False)
        check(getattr(s, cls).get_blobs(ref)['notes'] == blobs[cls], 'a blob of a %s' % cls)
        fails('MAP_DUPLICATE_KEY', 'a second one of that name', new, ref, 'notes', 'text/plain', False)
    blob = s.blob.create('image/png', False)
    check(s.blob.get_mime_type(blob) == 'image/png' and s.blob.get_size(blob) == '0', 'a blob by itself')
    fails('INVALID_VALUE', 'a type that would break a reply', s.blob.create, 'text/plain\r\nX: y', False)

    path = '/blob?ref=' + blob
    data = os.urandom(300000)
    check(ask(agent, 'GET', path)[:2] == (200, b''), 'not written yet: empty')
    task = s.task.create('upload', '')
    check(ask(agent, 'PUT', path + '&task_id=' + task, data)[0] == 200, 'an upload')
    check(wait_until(lambda: s.task.get_status(task) == 'success'), 'ends its task')
    check(s.blob.get_size(blob) == str(len(data)), 'the record has the size')
    status, got, headers = ask(agent, 'GET', '/blob?uuid=' + s.blob.get_uuid(blob))
    check(got == data and headers['Content-Type'] == 'image/png', 'the same bytes with their type')
    check(ask(agent, 'GET', path, headers={})[0] == 401, 'not for strangers')
    s.blob.set_public(blob, True)
    check(ask(agent, 'GET', path, headers={})[1] == data, 'unless it is public')
    check(ask(agent, 'PUT', path, b'x', headers={})[0] == 401, 'which nobody may write without a login')
    check(ask(agent, 'GET', '/blob?ref=OpaqueRef:NULL')[0] == 404, 'no such blob')

    task = s.task.create('too much', '')
    try:
        ask(agent, 'PUT', path + '&task_id=' + task, b'x' * 2000000)
    except OSError:
        pass
    check(wait_until(lambda: s.task.get_status(task) == 'failure'), 'beyond the limit the task fails')
    check(s.task.get_error_info(task)[0] == 'IMPORT_ERROR', 'says why: %s' % s.task.get_error_info(task))
    check(ask(agent, 'GET', path)[1] == data, 'and the content stays')

    agent.kill()
    open(os.path.join(agent.root, 'blobs', 'left.XYZ'), 'w').close()
    agent.start()
    s = agent.login()
    check(ask(agent, 'GET', path)[1] == data, 'bytes outlive the agent')
    check(not os.path.exists(os.path.join(agent.root, 'blobs', 'left.XYZ')), 'what an upload left behind is gone')
    uuid = s.blob.get_uuid(blob)
    s.blob.destroy(blob)
    s.blob.destroy(blobs['VM'])
    check('notes' not in s.VM.get_blobs(owners['VM']), 'a destroyed blob is nobody\'s')
    check(not os.path.exists(os.path.join(agent.root, 'blobs', uuid)), 'its bytes are gone')
    fails('HANDLE_INVALID', 'its record', s.blob.get_size, blob)
    secret = s.secret.create({'value': 'open sesame', 'other_config': {}})
    check(s.secret.get_value(secret) == 'open sesame', 'a secret is told to who may know')
    s.secret.destroy(secret)
    fails('HANDLE_INVALID', 'and gone', s.secret.get_value, secret)
done()
