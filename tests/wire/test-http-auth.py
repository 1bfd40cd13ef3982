#!/usr/bin/env python3
"""Who may fetch a file: sessions, cookies, Basic, roles; and what becomes of the task that was named."""
import base64
import http.client
import os
import re
import socket
import subprocess
import time
import urllib.parse

from harness import PASSWORD, Agent, check, done, wait_until


def get(agent, path, headers=None, unix=False):
    if unix:
        c = http.client.HTTPConnection('localhost')
        c.sock = socket.socket(socket.AF_UNIX)
        c.sock.connect(agent.socket)
    else:
        c = http.client.HTTPConnection('127.0.0.1', agent.http_port)
    c.request('GET', path, headers=headers or {})
    r = c.getresponse()
    body = r.read().decode()
    c.close()
    return r.status, dict((k.lower(), v) for k, v in r.getheaders()), body


def basic(user, password):
    return {'Authorization': 'Basic ' + base64.b64encode(('%s:%s' % (user, password)).encode()).decode()}


with Agent() as agent:
    s = agent.login()
    ref = s._ref
    status, headers, _ = get(agent, '/audit_log')
    check(status == 401 and 'Basic' in headers.get('www-authenticate', ''), 'nobody: 401, and how to do better')
    check(get(agent, '/audit_log?session_id=OpaqueRef:nonsense')[0] == 401, 'a session that is none')
    status, headers, body = get(agent, '/audit_log?session_id=' + ref)
    check(status == 200 and headers['content-type'] == 'text/plain' and 'session.login_with_password' in body, 'a session in the query')
    check(get(agent, '/audit_log?session_id=' + urllib.parse.quote(ref, safe=''))[0] == 200, 'escaped, as some clients do')
    check(get(agent, '/audit_log', {'Cookie': 'session_id=' + ref})[0] == 200, 'a session in a cookie')
    check(get(agent, '/audit_log?session_id=x', {'Cookie': 'session_id=' + ref})[0] == 200, 'the cookie wins')
    check(get(agent, '/audit_log', basic('root', PASSWORD))[0] == 200, 'user and password')
    check(get(agent, '/audit_log', basic('root', 'wrong'))[0] == 401, 'a wrong password')
    check(get(agent, '/audit_log', unix=True)[0] == 200, 'the unix socket needs nothing')
    sessions = s.session.get_all_subject_identifiers()
    check(sessions == [], 'Basic leaves no session behind')

    crypted = subprocess.run(['openssl', 'passwd', '-6', '-stdin'], input='o', text=True, capture_output=True, check=True).stdout
    with open(os.path.join(agent.root, 'passwd'), 'a') as f:
        f.write('mallory:' + crypted)
    check(get(agent, '/audit_log', basic('mallory', 'o'))[0] == 401, 'an account without a role')
    subject = s.subject.create({'subject_identifier': 'user:mallory', 'other_config': {}})
    check(get(agent, '/audit_log', basic('mallory', 'o'))[0] == 200, 'an account with one')

    task = s.task.create('log', '')
    check(get(agent, '/audit_log?session_id=%s&task_id=%s' % (ref, task))[0] == 200, 'with a task')
    check(wait_until(lambda: s.task.get_status(task) == 'success', 5), 'the task succeeds')
    task = s.task.create('log', '')
    check(get(agent, '/audit_log?session_id=%s&task_id=%s&since=yesterday' % (ref, task))[0] == 400, 'a wrong parameter')
    check(wait_until(lambda: s.task.get_status(task) == 'failure', 5) and
          s.task.get_error_info(task) == ['INVALID_VALUE', 'since', 'yesterday'], 'fails the task, and says why')
    task = s.task.create('log', '')
    check(get(agent, '/audit_log?task_id=' + task)[0] == 401, 'nobody, with a task')
    check(s.task.get_error_info(task)[0] == 'SESSION_INVALID', 'fails the task, too')

    stamp = time.strftime('%Y%m%dT%H:%M:%SZ', time.gmtime(time.time() + 3600))
    check(get(agent, '/audit_log?session_id=%s&since=%s' % (ref, stamp))[2] == '', 'nothing since tomorrow')
    stamp = time.strftime('%Y%m%dT%H:%M:%SZ', time.gmtime(time.time() - 3600))
    body = get(agent, '/audit_log?session_id=%s&since=%s' % (ref, stamp))[2]
    check('session.login_with_password' in body and ref not in body, 'everything since an hour ago, and no session in it')
    check(re.search(r'\|INVALID_VALUE\|.*\|http/get_audit_log\|/audit_log .*since=yesterday', body) and '|SESSION_INVALID|' in body,
          'requests are in it')
done()
