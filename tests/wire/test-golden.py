#!/usr/bin/env python3
"""What goes over the wire, word for word: the requests and answers in tests/wire/golden/*.txt, against one agent.

    GOLDEN_UPDATE=1 tests/run --only test-golden wire     writes the answers anew; look at the difference before committing

A file is played from top to bottom, the files in the order of their names. Its lines:

    # text                       a comment
    > METHOD [ARGUMENTS] : NAME  a call; arguments as JSON, "$name" in them is a remembered value; a session goes in front of
                                 them when the model wants one. ": NAME" remembers the result, ": NAME.KEY" a member of it.
    < JSON                       its result
    ! ["CODE", ...]              or its failure
    wait $NAME                   until this task has ended
    raw METHOD PATH [HEADERS]    a request byte for byte, headers as JSON
    | LINE                       a line of the body, of the request before, of the answer behind
    200 {HEADERS}                status and headers of the answer

Calls go over JSON-RPC; those that only read also over XML-RPC, and both answers must agree. What differs from run to run
is written as <name>: references and uuids by the name or the place of their object, times, addresses.
"""
import glob
import http.client
import json
import os
import re
import shutil
import subprocess
import tempfile
import xmlrpc.client

from harness import BUILD, SOURCE, Agent, check, done, wait_until

FOLDER = os.path.join(SOURCE, 'tests', 'wire', 'golden')
UPDATE = os.environ.get('GOLDEN_UPDATE') == '1'
REF = re.compile(r'OpaqueRef:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}')
UUID = re.compile(r'\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b')
DATE = re.compile(r'\b(?!19700101)(?:20|21)\d\d(?:0[1-9]|1[0-2])[0-3]\dT\d\d:\d\d:\d\dZ?')
# What is in neither shape: regular expression over the whole text of an answer, and what stands for it.
VARIES = [
    (re.compile(r'OpaqueRef:[0-9a-f]{8}-0000-4000-8000-[0-9a-f]{12}'), lambda m: m.group(0)),     # the files' own
    (re.compile(r'\b\d{20},\d{20}\b'), lambda m: '<token>'),
    (re.compile(r'\b[0-9a-f]{2}(:[0-9a-f]{2}){5}\b'), lambda m: m.group(0) if m.group(0).startswith('02:00:00') else '<mac>'),
    (re.compile(r'\b[0-9A-F]{2}(:[0-9A-F]{2}){31}\b'), lambda m: '<fingerprint>'),
    (re.compile(r'\biqn\.2026-11\.xapi:[0-9a-f]{8}'), lambda m: '<iqn>'),
    (re.compile(r'\b\d{10}\.(?=")'), lambda m: '<seconds>.'),
    (re.compile(r'(Control domain on host: )[\w.-]+'), lambda m: m.group(1) + '<hostname>'),
]
# Members whose value is the machine's or the moment's.
MASKED = {'hostname', 'subroles', 'linux', 'agent_start_time', 'boot_time', 'memory_free', 'memory_total', 'last_updated', 'xapi', 'id',
          'task-id', 'etag', 'last-modified', 'content-length', 'date', 'physical_utilisation', 'fingerprint', 'fingerprint_sha1',
          'fingerprint_sha256'}
# Sets that are as long as the machine or the schema is large: only that there is something.
COUNTED = {'event.get_current_id', 'system.listMethods', 'host.list_methods', 'session.get_rbac_permissions', 'role.get_permissions',
           'role.get_permissions_name_label', 'role.get_all', 'host_cpu.get_all', 'VM.get_all', 'SR.get_supported_types'}
NAMES = ('name_label', 'device', 'type', 'name', 'label', 'number', 'userdevice')


class World:
    """The agent, what its objects are called, and what the files have remembered."""

    def __init__(self, agent):
        self.agent = agent
        self.session = agent.login()
        self.values, self.names, self.uuids = {}, {}, {}
        self.methods = self.read_model()
        self.connection = None
        self.remember('session', self.session._ref)

    def read_model(self):
        folder = os.path.join(self.agent.root, 'facts')
        os.mkdir(folder)
        subprocess.run([os.path.join(BUILD, 'schema', 'xapi-gen'), '--facts', os.path.join(SOURCE, 'schema'), folder], check=True)
        rows = [line.rstrip('\n').split('\t') for line in open(os.path.join(folder, 'messages.tsv'))][1:]
        return {'%s.%s' % (r[0], r[1]): {'class': r[0], 'kind': r[2], 'session': r[4].startswith('session_id'), 'params': r[4],
                                         'state': r[7]} for r in rows}

    # ---- names ----

    def name_all(self):
        """Every object that nobody has named yet gets its class and what tells it from the others."""
        for method in sorted(m for m in self.methods if m.endswith('.get_all_records')):
            cls = method.split('.')[0]
            try:
                records = self.session.call(method)
            except Exception:
                continue
            for ref, record in records.items():
                label = next((str(record[n]) for n in NAMES if record.get(n)), '')
                if cls == 'VM' and record['is_control_domain']:
                    label = 'control domain'
                name = '%s %s' % (cls, label) if label else cls
                self.names.setdefault(ref, name)
                if record.get('uuid'):
                    self.uuids.setdefault(record['uuid'], 'uuid of ' + self.names[ref])

    def remember(self, name, value):
        self.values[name] = value
        if isinstance(value, str) and REF.fullmatch(value):
            self.names[value] = name
        elif isinstance(value, str) and UUID.fullmatch(value):
            self.uuids[value] = name

    def fill(self, value):
        """The arguments with remembered values in place of "$name"."""
        if isinstance(value, str):
            return re.sub(r'\$(\w+)', lambda m: self.values[m.group(1)], value) if '$' in value else value
        if isinstance(value, list):
            return [self.fill(v) for v in value]
        if isinstance(value, dict):
            return {self.fill(k): self.fill(v) for k, v in value.items()}
        return value

    def mask_text(self, text):
        for pattern, replace in VARIES[1:]:
            text = pattern.sub(replace, text)
        text = REF.sub(lambda m: m.group(0) if VARIES[0][0].match(m.group(0)) else '<%s>' % self.names.get(m.group(0), 'ref'), text)
        text = UUID.sub(lambda m: m.group(0) if '-0000-4000-8000-' in m.group(0) else '<%s>' % self.uuids.get(m.group(0), 'uuid'), text)
        text = DATE.sub(lambda m: '<time>Z' if m.group(0).endswith('Z') else '<time>', text)
        text = re.sub(r'<[^<>,]+>(?:,<[^<>,]+>)+', lambda m: ','.join(sorted(m.group(0).split(','))), text)
        return text.replace(self.agent.root, '<root>').replace(drivers, '<drivers>').replace(str(self.agent.https_port), '<port>') \
                   .replace(str(self.agent.http_port), '<port>')

    def mask(self, value, key=''):
        if key in MASKED and value not in ('', [], {}, None):
            return '<%s>' % key
        if isinstance(value, str):
            return self.mask_text(value)
        if isinstance(value, list):
            items = [self.mask(v) for v in value]
            # The order of references says nothing.
            if any(isinstance(v, str) and REF.search(v) for v in value) and all(isinstance(v, str) for v in items):
                plain = items and REF.fullmatch(str(value[0]))
                items = sorted(items) if plain else items
                if plain and len(set(items)) < len(items):
                    items = ['%s%s' % (i, ' x %d' % items.count(i) if items.count(i) > 1 else '') for i in sorted(set(items))]
            return items
        if isinstance(value, dict):
            pairs = [(self.mask_text(k), self.mask(v, k)) for k, v in value.items()]
            return dict(sorted(pairs)) if any(REF.fullmatch(k) for k in value) else dict(pairs)
        return value

    # ---- calls ----

    def post(self, method, path, body, headers):
        c = self.connection = self.connection or http.client.HTTPConnection('127.0.0.1', self.agent.http_port, timeout=60)
        try:
            c.request(method, path, body, headers)
            r = c.getresponse()
            text = r.read()
        except (http.client.HTTPException, OSError):
            self.connection = None
            raise
        if r.will_close:
            c.close()
        return r.status, {k.lower(): v for k, v in r.getheaders()}, text.decode('utf-8', 'replace')

    def over_json(self, method, args):
        body = json.dumps({'jsonrpc': '2.0', 'method': method, 'params': args, 'id': 1})
        answer = json.loads(self.post('POST', '/jsonrpc', body, {'Content-Type': 'application/json'})[2])
        if 'error' in answer:
            return '!', [answer['error']['message']] + answer['error']['data']
        return '<', answer['result']

    def over_xml(self, method, args):
        # Numbers of Python are ints of 32 bits on this wire: larger ones go as text.
        body = xmlrpc.client.dumps(tuple(texts(args)), method)
        text = self.post('POST', '/', body, {'Content-Type': 'text/xml'})[2]
        answer = xmlrpc.client.loads(text)[0][0]
        if method == 'system.listMethods':
            return '<', answer
        return ('<', answer['Value']) if answer['Status'] == 'Success' else ('!', answer['ErrorDescription'])

    def call(self, method, args):
        facts = self.methods.get(method.removeprefix('Async.'))
        if facts['session'] if facts else method != 'system.listMethods':
            args = [self.session._ref] + args
        answer = self.over_json(method, args)
        if re.search(r'\.(get_(?!server|ntp)|list)', method) and not method.startswith(('event.', 'Async.')):
            other = self.over_xml(method, args)
            if plain(other) != plain(answer):
                raise AssertionError('XML-RPC says %r, JSON-RPC %r' % (plain(other), plain(answer)))
        return answer


def texts(value):
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 2 ** 31 - 1:
        return str(value)
    if isinstance(value, list):
        return [texts(v) for v in value]
    if isinstance(value, dict):
        return {k: texts(v) for k, v in value.items()}
    return value


def plain(value):
    """What both protocols must say alike: ints are text in XML, dates are objects of the library."""
    if isinstance(value, xmlrpc.client.DateTime):
        return value.value
    if isinstance(value, bool) or isinstance(value, str):
        return value
    if isinstance(value, (int, float)):
        return '%.16g' % value if isinstance(value, float) else str(value)
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return {k: plain(v) for k, v in value.items()}


def member(value, path):
    for key in path:
        value = value[int(key)] if isinstance(value, list) else value[key]
    return value


class File:
    """One file: its steps, each with the lines it was read from and the answer that is expected."""

    def __init__(self, path):
        self.path, self.name = path, os.path.basename(path)
        self.lines = open(path).read().split('\n')

    def steps(self):
        """-> (lines of the request or one other line, lines of the answer)"""
        steps = []
        for line in self.lines:
            if not line or line[0] not in '|<!123456789':
                steps.append(([line], []))
            elif line[0] == '|' and not steps[-1][1]:
                steps[-1][0].append(line)
            else:
                steps[-1][1].append(line)
        return steps


def play_call(world, line):
    m = re.fullmatch(r'> (\S+) (\[.*\])(?: : (\w+)((?:\.\w+)*))?', line)
    if not m:
        raise AssertionError('not a call: ' + line)
    method, args, name, path = m.groups()
    kind, value = world.call(method, world.fill(json.loads(args)))
    if name and kind == '<':
        world.remember(name, member(value, path.split('.')[1:]))
    if kind == '<' and method in COUNTED:
        return method, kind, ['< "<%s>"' % ('some' if value else 'none')]
    return method, kind, ['%s %s' % (kind, json.dumps(world.mask(value), ensure_ascii=False))]


def play_raw(world, line, body):
    _, method, path, *headers = line.split(' ', 3)
    body = world.fill('\n'.join(l[2:] for l in body))
    status, got, text = world.post(method, world.fill(path), body.encode(), world.fill(json.loads(headers[0])) if headers else {})
    got = {k: world.mask(v, k) for k, v in got.items() if k not in ('content-length', 'date', 'connection')}
    out = ['%d %s' % (status, json.dumps(got))]
    return out + ['| ' + l for l in world.mask_text(text).split('\n')] if text else out


def play(world, file, seen):
    """-> the file with the answers of this run, the steps that differ"""
    out, differ = [], []
    for ask, expected in file.steps():
        if ask[0].startswith('wait '):
            task = world.values[ask[0][6:]]
            wait_until(lambda: world.session.task.get_status(task) not in ('pending', 'cancelling'))
        if not ask[0].startswith(('> ', 'raw ')):
            out += ask
            continue
        try:
            if ask[0].startswith('raw '):
                got = play_raw(world, ask[0], ask[1:])
            else:
                method, kind, got = play_call(world, ask[0])
                facts = world.methods.get(method)
                if facts:
                    seen.setdefault(facts['class'], set()).update({facts['kind']} | ({'failure'} if kind == '!' else set()))
        except (AssertionError, KeyError, IndexError, ValueError, OSError, http.client.HTTPException) as e:
            got = ['! %s: %s' % (type(e).__name__, e)]
            differ.append((ask[0], expected, got))
        if got != expected:
            differ.append((ask[0], expected, got))
        out += ask + got
    return '\n'.join(out), differ


def complete(world, seen):
    """Every class has one message that every class has, one of its own, and one failure."""
    for cls in sorted({m['class'] for m in world.methods.values()}):
        live = [m for m in world.methods.values() if m['class'] == cls and m['state'] != 'removed']
        wanted = {m['kind'] for m in live} | {'failure'}
        check(wanted <= seen.get(cls, set()), '%s: %s' % (cls, ', '.join(sorted(wanted))
                                                          if wanted <= seen.get(cls, set()) else
                                                          'missing ' + ', '.join(sorted(wanted - seen.get(cls, set())))))


# The same storage drivers, however many there are.
drivers = tempfile.mkdtemp(prefix='xapi-test-sm-')
for name in ('dummy', 'ext', 'file', 'iso'):
    os.symlink(os.path.join(BUILD, 'sm', name), os.path.join(drivers, name))

with Agent(env={'XAPI_SM_DIR': drivers}) as agent:
    world, seen = World(agent), {}
    for number, path in enumerate(sorted(glob.glob(os.path.join(FOLDER, '*.txt')))):
        if number < 2:      # what is there from the start, and what the first file has made
            world.name_all()
        file = File(path)
        text, differ = play(world, file, seen)
        if UPDATE:
            broken = [d for d in differ if not re.match(r'[<!] ["\[{tfn\d-]|\d\d\d ', d[2][0])]
            with open(path, 'w') as f:
                f.write(text)
            differ = broken
        for ask, expected, got in differ[:5]:
            print('# %s: %s\n#   expected %s\n#   got      %s' % (file.name, ask, '\n#     '.join(expected), '\n#     '.join(got)))
        check(not differ, '%s: %s' % (file.name, 'as written' if not differ else '%d answers differ' % len(differ)))
    complete(world, seen)
shutil.rmtree(drivers)
done()
