#!/usr/bin/env python3
"""Thousands of calls with arguments that nobody sensible sends, ill-typed ones among them, over XML-RPC and JSON-RPC, plain and
Async, mixed with calls that work: the agent lives, answers each with a code, and its memory stays flat.

The seed is fixed; SEED and CALLS in the environment choose others."""
import json
import os
import random
import re
import subprocess
import time
import xmlrpc.client

from harness import BUILD, SOURCE, Agent, check, done, _UnixConnection

# What changes the machine itself, ends the agent or the session, or waits on purpose.
LEFT_OUT = re.compile(r'^(host|pool)\.(shutdown|reboot|restart_agent|shutdown_agent|power_on|eject|.*emergency.*|.*ssh.*|.*ntp.*|'
                      r'.*timezone.*|.*hostname.*|.*syslog.*|.*management.*|.*dns.*|destroy|.*time.*|join.*|.*backup.*|'
                      r'.*bugreport.*|crash.*|.*upload.*|propose.*|commit_new.*|abort_new.*|designate.*|set_iscsi.*)|'
                      r'pool\.send_test_post|session\.(logout|local_logout|change_password|login|slave).*|event\.(from|next)|VM\.wait_memory.*|'
                      r'VM\.(import|sysprep).*$')
BUSY = re.compile(r'^(VM|VBD|VIF|VDI|SR|PBD|network|task|VMSS|VM_appliance|pool|console)\.(?!get_)')   # where the most can break
SEED, CALLS, SECONDS = int(os.environ.get('SEED', '20')), int(os.environ.get('CALLS', '6000')), 20
MEMORY_GROWTH_KIB, BODY_LIMIT = 64 * 1024, 1 << 20
INTS = ['0', '1', '-1', '2', '4096', '2147483648', '4294967297', '9223372036854775807', '-9223372036854775808', '1e9', '', 'x']
STRINGS = ['', 'x', '\u4e16\u754c', '%n%s%x', '../../../etc/passwd', 'a' * 70000, '<a>&amp;]]>', 'OpaqueRef:NULL', 'true', '-1',
           'autodetect', '00:00:00:00:00:00', 'OpaqueRef:00000000-0000-4000-8000-00000000dead', '00000000-0000-0000-0000-000000000000',
           'field "uuid" = "x" and (((', 'not ' * 500 + 'true', '\t\r\n', 'http://127.0.0.1:1/', '1970', 'NaN', '[' * 300]
KEYS = ['x', '', 'disks', 'mac_seed', 'kbps', 'order', 'firmware', 'mask', 'weight', 'cap', 'cores-per-socket', 'a' * 5000, '\u4e16']


class Hostile:
    def __init__(self, rng, refs, records):
        self.rng, self.refs, self.records = rng, refs, records

    def ref(self, cls):
        known = self.refs.get(cls.lower(), [])
        if known and self.rng.random() < 0.75:
            return self.rng.choice(known)
        every = self.rng.choice(list(self.refs.values()) or [[]])
        return self.rng.choice(every) if every and self.rng.random() < 0.4 else self.rng.choice(STRINGS[7:13])

    def record(self, cls):
        if not self.records.get(cls.lower()) or self.rng.random() < 0.2:
            return {self.rng.choice(KEYS): self.any(2) for _ in range(self.rng.randrange(4))}
        out = dict(self.rng.choice(self.records[cls.lower()]))
        for key in list(out):
            if self.rng.random() < 0.08:
                out[key] = self.any(2)
            if self.rng.random() < 0.05:
                del out[key]
        return out

    def any(self, depth=0):
        kind = self.rng.randrange(9 if depth < 3 else 5)
        if kind == 0:
            return self.rng.choice(INTS)
        if kind <= 2:
            return self.rng.choice(STRINGS)
        if kind == 3:
            return self.rng.choice([0.0, -0.0, 1e308, -1e308, 5e-324, 1.5])
        if kind == 4:
            return self.rng.choice([True, False, 0, -1, 2147483647])
        if kind == 5:
            return [self.any(depth + 1) for _ in range(self.rng.randrange(4))]
        if kind == 6:
            return {self.rng.choice(KEYS): self.any(depth + 1) for _ in range(self.rng.randrange(4))}
        if kind == 7:
            return xmlrpc.client.DateTime(self.rng.choice(['19700101T00:00:00Z', '99991231T23:59:59Z', '00000000T99:99:99Z', '']))
        return self.ref('vm')

    def value(self, kind):
        if self.rng.random() < 0.08:
            return self.any()
        if kind.endswith(' ref'):
            return self.ref(kind[:-4])
        if kind.endswith(' set'):
            return [self.value(kind[:-4]) for _ in range(self.rng.choice([0, 1, 1, 3, 200]))]
        if kind.endswith(' map'):
            return {self.rng.choice(KEYS): self.rng.choice(STRINGS + INTS) for _ in range(self.rng.randrange(5))}
        if kind.endswith(' record'):
            return self.record(kind[:-7])
        if kind == 'string':
            return self.rng.choice(STRINGS)
        if kind == 'int':
            return self.rng.choice(INTS)
        if kind == 'float':
            return self.rng.choice([0.0, -1.0, 1e308, 5e-324])
        if kind == 'bool':
            return self.rng.random() < 0.5
        if kind == 'datetime':
            return xmlrpc.client.DateTime(self.rng.choice(['19700101T00:00:00Z', '99991231T23:59:59Z']))
        return self.rng.choice(STRINGS + ['Halted', 'start', 'Disk', 'RO', 'VM', 'destroy', 'user', 'hvm'])


def facts(agent):
    """The published facts: {message: [kinds of its parameters]}."""
    doc = os.path.join(agent.root, 'facts')
    os.mkdir(doc)
    subprocess.run([os.path.join(BUILD, 'schema', 'xapi-gen'), '--facts', os.path.join(SOURCE, 'schema'), doc], check=True)
    rows = {}
    for line in open(os.path.join(doc, 'messages.tsv')):
        cols = line.rstrip('\n').split('\t')
        rows['%s.%s' % (cols[0], cols[1])] = [p.split(': ', 1)[1] for p in cols[4].split(', ') if ': ' in p]
    return rows


def plain(v):
    """As JSON has it."""
    if isinstance(v, xmlrpc.client.DateTime):
        return v.value
    if isinstance(v, list):
        return [plain(i) for i in v]
    return {k: plain(i) for k, i in v.items()} if isinstance(v, dict) else v


def json_call(agent, method, args):
    """Error code or None, by JSON-RPC over the socket."""
    conn = _UnixConnection(agent.socket, 60)
    conn.request('POST', '/jsonrpc', json.dumps({'jsonrpc': '2.0', 'method': method, 'params': plain(args), 'id': 1}))
    answer = json.loads(conn.getresponse().read())
    conn.close()
    return answer['error']['message'] if 'error' in answer else None


def xml_call(proxy, method, args):
    answer = getattr(proxy, method)(*args)
    return None if answer['Status'] == 'Success' else answer['ErrorDescription'][0]


def memory_kib(agent):
    for line in open('/proc/%d/status' % agent.process.pid):
        if line.startswith('VmRSS'):
            return int(line.split()[1])
    return 0


def look(s, classes):
    """References and records of everything there is."""
    refs, records = {}, {}
    for cls in classes:
        try:
            found = s.call(cls + '.get_all_records')
        except Exception:
            continue
        refs[cls.lower()] = list(found)[:200]
        records[cls.lower()] = list(found.values())[:20]
    return refs, records


def population(s):
    """VMs with a disk and a card each, halted and running, so that there is something to hit."""
    sr, network = s.pool.get_default_SR(s.pool.get_all()[0]), s.network.get_all()[0]
    for i in range(6):
        vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'victim %d' % i)
        s.VM.provision(vm)
        vdi = s.VDI.create({'name_label': 'd', 'SR': sr, 'virtual_size': str(8 << 20), 'type': 'user', 'sharable': False,
                            'read_only': False, 'other_config': {}})
        s.VBD.create({'VM': vm, 'VDI': vdi, 'userdevice': '0', 'bootable': True, 'mode': 'RW', 'type': 'Disk', 'empty': False,
                      'other_config': {}, 'qos_algorithm_type': '', 'qos_algorithm_params': {}})
        s.VIF.create({'VM': vm, 'network': network, 'device': '0', 'MAC': '', 'MTU': '1500', 'other_config': {},
                      'qos_algorithm_type': 'ratelimit', 'qos_algorithm_params': {'kbps': '9223372036854775807'}})
        if i % 2:
            s.VM.start(vm, False, False)


def main(agent):
    rng = random.Random(SEED)
    s = agent.login()
    population(s)
    messages = facts(agent)
    names = sorted(n for n in messages if not LEFT_OUT.match(n))
    busy = [n for n in names if BUSY.match(n)]
    classes = sorted({n.split('.')[0] for n in messages})
    proxy, made, strange, internal, began = s._proxy, 0, set(), {}, time.monotonic()
    first_kib = trace = None
    while made < CALLS and time.monotonic() - began < SECONDS:
        if made % 500 == 0:
            refs, records = look(s, classes)
            hostile = Hostile(rng, refs, records)
        if made == 1500:
            first_kib = memory_kib(agent)
        name = rng.choice(busy if rng.random() < 0.5 else names)
        args = [hostile.value(k) for k in messages[name]]
        if messages[name] and messages[name][0] == 'session ref' and rng.random() < 0.99:
            args[0] = s._ref
        if rng.random() < 0.03:
            args = args[:-1] if rng.random() < 0.5 else args + ['more']
        if rng.random() < 0.1:
            name = 'Async.' + name
        trace = (name, repr(args)[:500])
        try:
            code = json_call(agent, name, args) if rng.random() < 0.3 else xml_call(proxy, name, args)
        except (OSError, ValueError, KeyError, xmlrpc.client.Error, xmlrpc.client.http.client.HTTPException) as e:
            if agent.process.poll() is not None:
                break
            code = None
            # XML that says nothing and bodies beyond the limit are refused before they are calls.
            if not isinstance(e, xmlrpc.client.Fault) and len(repr(args)) < BODY_LIMIT // 2:
                strange.add((name, repr(e)[:200]))
        made += 1
        if code is not None and not re.fullmatch(r'[A-Z][A-Z0-9_]+', code):
            strange.add((name, code[:100]))
        if code == 'INTERNAL_ERROR':
            internal[name] = trace
    alive = agent.process.poll() is None
    check(alive, '%d calls, the agent lives: last %s' % (made, '' if alive else trace))
    if not alive:
        print(agent.tail(80))
        return
    check(not strange, 'every failure has a code: %s' % sorted(strange)[:5])
    check(not internal, 'no failure is an internal error: %s' % list(internal.values())[:8])
    if first_kib:
        grown = memory_kib(agent) - first_kib
        check(grown < MEMORY_GROWTH_KIB, 'memory grew by %d KiB' % grown)
    s2 = agent.login()
    check(s2.pool.get_all() and s2.VM.get_all_records(), 'the agent answers')


# A sanitizer keeps what was freed for a while: little of it, or memory would seem to grow.
asan = ':'.join(filter(None, [os.environ.get('ASAN_OPTIONS'), 'quarantine_size_mb=4']))
with Agent(env={'ASAN_OPTIONS': asan}) as agent:
    main(agent)
done()
