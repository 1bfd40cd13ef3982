"""Every message of the model with its parameters and least role, and arguments to call them with."""
import os
import re
import subprocess
import xml.etree.ElementTree
from collections import namedtuple

from harness import BUILD, SOURCE

# What would change the machine itself (its name, its power, its agent), ask another machine, wait, or end the caller's session.
LEFT_OUT = re.compile(r'^(host|pool)\.(shutdown|reboot|restart_agent|shutdown_agent|power_on|eject|.*emergency.*|.*ssh.*|.*ntp.*|'
                      r'.*timezone.*|.*hostname.*|.*syslog.*|.*management.*|.*dns.*|destroy|.*time.*|join.*|.*backup.*|'
                      r'.*bugreport.*|crash.*|.*upload.*|propose.*|commit_new.*|abort_new.*|designate.*|set_iscsi.*)|'
                      r'session\.(logout|local_logout|change_password|login|slave).*|event\.(from|next)|VM\.wait_memory.*|'
                      r'VM\.(import|sysprep).*|pool\.send_test_post$')

# params: types, the session's among them; least: rank in ROLES, 6 = nobody but root
Message = namedtuple('Message', 'cls name params least')

ROLES = ['pool-admin', 'pool-operator', 'vm-power-admin', 'vm-admin', 'vm-operator', 'read-only']
_RANK = dict({role: i for i, role in enumerate(ROLES)}, **{'client-cert': 4, '(none)': -1, 'local-root': -1})


def generate(folder):
    """The published facts as files: what the generator says, or None and its mistakes."""
    made = subprocess.run([os.path.join(BUILD, 'schema', 'xapi-gen'), '--facts', os.path.join(SOURCE, 'schema'), folder],
                          capture_output=True, text=True)
    return made.returncode == 0, made.stderr[-200:]


def rows(path):
    return [line.rstrip('\n').split('\t') for line in open(path)]


def published(folder):
    """The published messages."""
    found = []
    for cols in rows(os.path.join(folder, 'messages.tsv')):
        params = [p.split(': ', 1)[1] for p in cols[4].split(', ') if ': ' in p]
        found.append(Message(cols[0], '%s.%s' % (cols[0], cols[1]), params, _RANK[cols[6]]))
    return found


def internal(folder):
    """Those that are served without being published: listed in the schema, and get_all_records_where of every class."""
    found = []
    for cols in rows(os.path.join(folder, 'messages.tsv')):
        if cols[1] == 'get_all_records' and cols[2] == 'implicit':
            found.append(Message(cols[0], cols[0] + '.get_all_records_where', ['session ref', 'string'], _RANK[cols[6]]))
    for name in sorted(os.listdir(os.path.join(SOURCE, 'schema'))):
        root = xml.etree.ElementTree.parse(os.path.join(SOURCE, 'schema', name)).getroot() if name.endswith('.xml') else None
        for m in root.iter('message') if root is not None and root.tag == 'class' else []:
            if m.get('internal') == 'yes':
                params = ['session ref'] * (m.get('session') != 'no') + [p.get('type') for p in m.iter('param')]
                found.append(Message(root.get('name'), root.get('name') + '.' + m.get('name'), params, _RANK[m.get('role')]))
    return found


def enums(folder):
    """{name: first value}"""
    first = {}
    for name, value in (r[:2] for r in rows(os.path.join(folder, 'enums.tsv'))):
        first.setdefault(name, value)
    return first


def value(kind, refs, how):
    """A value of a type of the model. how: 0 = nothing, 1 = plausible, 2 = hostile."""
    if kind.endswith(' ref'):
        known = refs.get(kind[:-4].lower(), [])
        if how == 1 and known:
            return known[0]
        return ['OpaqueRef:NULL', 'OpaqueRef:NULL', 'OpaqueRef:00000000-0000-4000-8000-00000000dead'][how]
    if kind.endswith(' set'):
        return [] if how == 0 else [value(kind[:-4], refs, how)] * (1 if how == 1 else 100)
    if kind.endswith(' map'):
        return {} if how == 0 else {'key' if how == 1 else '<&>"\u4e16' * 50: 'value'}
    if kind.endswith(' record'):
        return {} if how == 0 else {'name_label': 'x', 'SR': refs.get('sr', ['x'])[0], 'VM': refs.get('vm', ['x'])[0],
                                    'virtual_size': ['0', '1048576', '-9223372036854775808'][how], 'type': 'user'}
    return {'string': ['', 'text', '../../\u4e16%n%s\t' * 100], 'int': ['0', '1', '-9223372036854775808'],
            'float': [0.0, 1.0, -1e308], 'bool': [False, True, True],
            'datetime': ['19700101T00:00:00Z', '20260821T02:00:23Z', '99991231T23:59:59Z']}.get(kind, ['', 'x', '\u4e16'])[how]
