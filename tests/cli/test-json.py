#!/usr/bin/python3
"""--json says the same as the tables, typed; every list and every object, by the thin protocol and over XML-RPC."""
import json
import os
import re
import subprocess

from harness import BUILD, Agent, check, done

XE = os.path.join(BUILD, 'xe', 'xe')
DATE = re.compile(r'(\d{4})-(\d\d)-(\d\d)T(\d\d:\d\d:\d\dZ?)')
NOTHING = ('', '<not in database>', '<unknown>', '<invalid reference>', '<unknown time>', '<shared>', '<mixed>', '<not set>', 'OpaqueRef:NULL')


def xe(agent, *args, code=0):
    r = subprocess.run([XE, *args], env=dict(os.environ, XAPI_SOCKET=agent.socket), capture_output=True, text=True, timeout=60)
    if r.returncode != code:
        check(False, 'xe %s: [%d] %s' % (' '.join(args), r.returncode, r.stderr))
    return r.stdout


def load(text):
    """An array of objects, each on a line of its own."""
    value = json.loads(text)
    assert isinstance(value, list) and all(isinstance(v, dict) for v in value), text[:200]
    lines = text.splitlines()
    assert lines == ['[]'] or (lines[0] == '[' and lines[-1] == ']' and len(lines) == len(value) + 2), text[:200]
    return value


def said(value, text):
    """Is this JSON value what the table shows?"""
    if value is None:
        return text in NOTHING
    if isinstance(value, bool):
        return text == str(value).lower()
    if isinstance(value, (int, float)):
        return float(text) == float('%.3f' % value)
    if isinstance(value, list):
        return text in ('; '.join(map(plain, value)), ', '.join(map(plain, value)))
    if isinstance(value, dict):
        return text == '; '.join('%s: %s' % (k, plain(v)) for k, v in value.items())
    return value == text or DATE.sub(r'\1\2\3T\4', value) == text


def plain(value):
    if value is None:
        return '<not in database>'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return '%.3f' % value
    if isinstance(value, (list, dict)):
        return '; '.join(map(plain, value)) if isinstance(value, list) else '; '.join('%s: %s' % (k, plain(v)) for k, v in value.items())
    return str(value)


def table(text):
    """[{name: text}] of what a list or param-list prints; values with line breaks are put together again."""
    rows, now, last = [], None, None
    for line in text.splitlines():
        m = re.match(r' *(\S+) \([ MSRWO]{3}\)(?: \[DEPRECATED\])? *: (.*)$', line)
        if m and now is None:
            now = {}
            rows.append(now)
        if m:
            last = m.group(1)
            now[last] = m.group(2)
        elif not line:
            now = None
        elif now is not None:
            now[last] += '\n' + line
    return rows


with Agent() as agent:
    s = agent.login()
    vm = xe(agent, 'vm-install', 'template=Other install media', 'new-name-label=a "b" \\ \u4e16\u754c').strip()
    sr = xe(agent, 'sr-list', 'name-label=Local storage', '--minimal').strip()
    xe(agent, 'vm-disk-add', 'uuid=' + vm, 'disk-size=1GiB', 'device=0', 'sr-uuid=' + sr)
    xe(agent, 'vif-create', 'vm-uuid=' + vm, 'device=0', 'network-uuid=' + xe(agent, 'network-list', '--minimal').split(',')[0].strip())
    xe(agent, 'vm-param-set', 'uuid=' + vm, 'other-config:k=tab\tand \\')
    xe(agent, 'vm-param-add', 'uuid=' + vm, 'param-name=tags', 'param-key=x')
    xe(agent, 'vm-start', 'uuid=' + vm)

    classes = [line.split('\t')[0][:-len('-param-list')] for line in xe(agent, 'cli-coverage').splitlines() if '-param-list\t' in line]
    wrong, differ, unlike, fields, objects = [], [], [], 0, 0
    for cls in classes:
        text = xe(agent, cls + '-list', 'params=all', '--json')
        rows = load(text)
        if xe(agent, '--xmlrpc', cls + '-list', 'params=all', '--json') != text and cls not in ('task', 'vm', 'host-cpu'):
            differ.append(cls)
        if len({tuple(r) for r in rows}) > 1:
            unlike.append(cls)
        if len(rows) != len(table(xe(agent, cls + '-list', 'params=all'))) and cls != 'task':
            wrong.append(cls + ': another number of rows')
        for row in rows[:2]:
            if cls == 'task':
                continue
            objects += 1
            uuid = 'uuid=' + row['uuid']
            full = load(xe(agent, cls + '-param-list', uuid, '--json'))
            shown = table(xe(agent, cls + '-param-list', uuid))
            if len(full) != 1 or len(shown) != 1 or list(full[0]) != list(shown[0]):
                wrong.append('%s: other fields than the table: %s' % (cls, set(full[0]) ^ set(shown[0])))
                continue
            for name, value in full[0].items():
                fields += 1
                if not said(value, shown[0][name]):
                    wrong.append('%s %s: %r is not %r' % (cls, name, value, shown[0][name]))
    print(''.join('# %s\n' % w for w in wrong[:20]), end='')
    check(not wrong and fields > 800, '%d fields of %d objects say what the tables say' % (fields, objects))
    check(not differ, 'XML-RPC gives the same: ' + ' '.join(differ))
    check(not unlike, 'the objects of a list have the same members: ' + ' '.join(unlike))

    row = load(xe(agent, 'vm-param-list', 'uuid=' + vm, '--json'))[0]
    for name, value in (('name-label', 'a "b" \\ \u4e16\u754c'), ('power-state', 'running'), ('VCPUs-max', 1), ('is-a-template', False), ('tags', ['x']),
                        ('memory-static-max', 134217728), ('snapshot-of', None), ('snapshot-time', '1970-01-01T00:00:00Z'), ('current-operations', [])):
        check(row[name] == value and type(row[name]) is type(value), 'vm %s is %r' % (name, value))
    check(row['other-config']['k'] == 'tab\tand \\', 'a map is an object, texts are whole')
    check(DATE.fullmatch(row['start-time']), 'dates are ISO 8601')
    check(load(xe(agent, 'vm-param-get', 'uuid=' + vm, 'param-name=VCPUs-max', '--json')) == [{'VCPUs-max': 1}], 'param-get: the field by its name')
    check(load(xe(agent, 'vm-param-get', 'uuid=' + vm, 'param-name=other-config', 'param-key=k', '--json')) == [{'k': 'tab\tand \\'}],
          'param-get of a key')
    check(load(xe(agent, 'vm-list', 'name-label=nobody', '--json')) == [], 'an empty list is an empty array')
    check([list(v) for v in load(xe(agent, 'vm-list', 'uuid=' + vm, '--json', 'params=power-state,name-label'))] == [['name-label', 'power-state']],
          'params= chooses members')
    disks = load(xe(agent, 'vm-disk-list', 'uuid=' + vm, '--json'))
    check(len(disks) == 1 and disks[0]['vbd']['userdevice'] == '0' and disks[0]['vdi']['virtual-size'] == 1 << 30, 'vm-disk-list: pairs of VBD and VDI')
    check([list(v) for v in load(xe(agent, 'vm-vif-list', 'uuid=' + vm, '--json'))][0][:4] == ['uuid', 'vm-name-label', 'device', 'MAC'], 'vm-vif-list')
    check(load(xe(agent, 'host-all-editions', '--json'))[0].keys() == {'value'}, 'single values are called so')
    check(isinstance(load(xe(agent, 'host-compute-free-memory', '--json'))[0]['value'], int), 'and have their type')
    sources = load(xe(agent, 'host-data-source-list', '--json'))
    check(sources and sources[0]['enabled'] in (True, False) and sources[0]['min'] == 0, 'data sources are typed')
    check('cpu_count' in load(xe(agent, 'host-cpu-info', '--json'))[0], 'a map is one object')
    check(list(load(xe(agent, 'vm-clone', 'uuid=nobody', 'new-name-label=c', '--json', code=1) or '[]')) == [],
          'a failure prints no array')
    new = load(xe(agent, 'network-create', 'name-label=n', '--json'))
    check(len(new) == 1 and list(new[0]) == ['uuid'], 'what is new is {"uuid": ...}')
    for args, sentence in ((('vm-list', '--json', '--minimal'), '--json and --minimal exclude each other'),
                           (('vm-start', '--json', 'uuid=' + vm), '--json: vm-start has no results to show'),
                           (('vm-list', 'json=maybe'), "Failed to parse parameter 'json'")):
        r = subprocess.run([XE, *args], env=dict(os.environ, XAPI_SOCKET=agent.socket), capture_output=True, text=True, timeout=60)
        check(r.returncode == 1 and sentence in r.stderr and not r.stdout, ' '.join(args[:3]) + ': ' + sentence)
done()
