#!/usr/bin/env python3
"""Every message of the model, called with nothing, with plausible and with hostile arguments: each is answered, each failure has
a code, the agent lives on, and no operation is left behind.

What would change the machine itself (its name, its power, its agent) or ask another machine is left out."""
import os
import re
import subprocess

from harness import BUILD, SOURCE, Agent, check, done

LEFT_OUT = re.compile(r'^(host|pool)\.(shutdown|reboot|restart_agent|shutdown_agent|power_on|eject|.*emergency.*|.*ssh.*|.*ntp.*|'
                      r'.*timezone.*|.*hostname.*|.*syslog.*|.*management.*|.*dns.*|destroy|.*time.*|join.*|.*backup.*|'
                      r'.*bugreport.*|crash.*|.*upload.*|propose.*|commit_new.*|abort_new.*|designate.*|set_iscsi.*)|'
                      r'session\.(logout|local_logout|change_password|login|slave).*|event\.(from|next)|VM\.wait_memory.*|'
                      r'VM\.(import|sysprep).*|pool\.send_test_post$')


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


def facts(path):
    """The published facts: class, message, kind, result, params, ..."""
    rows = []
    for line in open(path):
        cols = line.rstrip('\n').split('\t')
        params = [p.split(': ', 1)[1] for p in cols[4].split(', ') if ': ' in p]
        rows.append((cols[0], cols[1], params))
    return rows


def main(agent):
    s = agent.login()
    template = s.VM.get_by_name_label('Other install media')[0]
    vm = s.VM.clone(template, 'victim')
    s.VM.provision(vm)
    doc = os.path.join(agent.root, 'facts')
    os.mkdir(doc)
    made = subprocess.run([os.path.join(BUILD, 'schema', 'xapi-gen'), '--facts', os.path.join(SOURCE, 'schema'), doc],
                          capture_output=True, text=True)
    if not check(made.returncode == 0, 'the generator tells the facts' + made.stderr[-200:]):
        return
    rows = facts(os.path.join(doc, 'messages.tsv'))
    refs = {}
    for cls in {r[0] for r in rows}:
        try:
            refs[cls.lower()] = s.call(cls + '.get_all')
        except Exception:
            pass
    refs['vm'] = [vm]
    names = {'%s.%s' % (c, m): p for c, m, p in rows}
    served = {n for n in s._proxy.system.listMethods() if not n.startswith('Async.') and n != 'system.listMethods'}
    check(set(names) <= served, 'every published message is listed: %s' % sorted(set(names) - served)[:5])
    strange, internal, count = [], [], 0
    for how in (0, 1, 2):
        # What destroys comes last, so that there is something to look at.
        for name in sorted(names, key=lambda n: ('destroy' in n or 'forget' in n, n)):
            if LEFT_OUT.match(name):
                continue
            params = names[name]
            args = [value(p, refs, how) for p in params]
            if params and params[0] == 'session ref':
                args[0] = s._ref
            answer = getattr(s._proxy, name)(*args)
            count += 1
            if answer['Status'] == 'Success':
                continue
            code = answer['ErrorDescription'][0]
            if not re.fullmatch(r'[A-Z][A-Z0-9_]+', code):
                strange.append((name, code))
            if code == 'INTERNAL_ERROR':
                internal.append((name, answer['ErrorDescription'][1:]))
    check(count > 4000, '%d calls were answered' % count)
    check(not strange, 'every failure has a code: %s' % strange[:5])
    check(not internal, 'no failure is an internal error: %s' % internal[:12])
    busy = []
    for cls in ('VM', 'VDI', 'SR', 'VBD', 'VIF', 'host', 'pool'):
        for ref, r in s.call(cls + '.get_all_records').items():
            if r['current_operations']:
                busy.append((cls, ref, r['current_operations']))
    check(not busy, 'no operation is left behind: %s' % busy[:3])
    check(s.pool.get_all() and s.host.get_all(), 'the agent lives on')


with Agent() as agent:
    main(agent)
done()
