#!/usr/bin/env python3
"""GET /status: the page for people says what the records say, to those who may read them."""
import base64
import http.client
import re
import xml.etree.ElementTree

from harness import PASSWORD, USER, Agent, check, done


def ask(agent, headers):
    c = http.client.HTTPConnection('127.0.0.1', agent.http_port, timeout=60)
    c.request('GET', '/status', headers=headers)
    r = c.getresponse()
    return r.status, r.headers, r.read().decode()


def tables(page):
    """{title: [cells of a row, the names first]}; the page is well-formed."""
    body, found = xml.etree.ElementTree.fromstring(page.replace('<!DOCTYPE html>\n', '')).find('body'), {}
    for element in body:
        if element.tag == 'h2':
            rows = found.setdefault(element.text, [])
        else:
            rows += [[cell.text or '' for cell in row] for row in element.iter('tr')]
    return found


with Agent() as agent:
    s = agent.login()
    basic = {'Authorization': 'Basic ' + base64.b64encode(('%s:%s' % (USER, PASSWORD)).encode()).decode()}
    check(ask(agent, {})[0] == 401, 'who says not who he is is asked')
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], '<b>a & "b"</b>')
    s.VM.provision(vm)
    s.VM.start(vm, True, False)
    uuid = s.VM.get_uuid(vm)
    for n in range(205):
        s.message.create('NOTE %d' % n, '3', 'VM', uuid, 'body')
    task = s.task.create('a long work', '')
    status, headers, page = ask(agent, basic)
    check(status == 200 and headers['Content-Type'] == 'text/html; charset=utf-8', 'a page')
    found = tables(page)
    facts = dict(found['Agent'])
    check(facts['process'] == str(agent.process.pid) and re.match(r'\d+ kB$', facts['memory']) and int(facts['open descriptors']) > 5, 'the agent')
    check(facts['commits that failed since the start'] == '0' and facts['reports of crashes'] == '0', 'and that nothing has failed')
    rows = found['Virtual machines']
    check(rows[0][:2] == ['name_label', 'power_state'] and [r[:2] for r in rows[1:]] == [['<b>a & "b"</b>', 'Paused']], 'the VM, whatever its name: %s' % rows)
    check(rows[1][rows[0].index('resident_on')] == s.host.get_name_label(s.host.get_all()[0]), 'and its host by name')
    check([r[:2] for r in found['Tasks at work'][1:]] == [['a long work', 'pending']], 'what is at work')
    names = {s.SR.get_name_label(sr) for sr in s.SR.get_all()}
    check({r[0] for r in found['Storage'][1:]} == names and len(found['Plugged storage']) == len(s.PBD.get_all()) + 1, 'the storage')
    check(len(found['Interfaces']) == len(s.PIF.get_all()) + 1, 'the interfaces')
    check(len(found['Alerts']) == 201 and '200 of 205' in page, 'of the alerts two hundred, and that there are more')
    times = [r[0] for r in found['Alerts'][1:]]
    check(times == sorted(times, reverse=True), 'the newest first')
    s.task.destroy(task)
    s.VM.hard_shutdown(vm)
    found = tables(ask(agent, {'Cookie': 'session_id=' + s._ref})[2])
    check(found['Tasks at work'] == [] and found['Virtual machines'][1][1] == 'Halted', 'with a session, and anew each time')
done()
