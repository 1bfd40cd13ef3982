#!/usr/bin/python3
"""Every command, with arguments that nobody sensible gives: an answer, an exit status of 0 or 1, no internal error, and an agent
that lives. Then the commands that need a VM, with a good one. What would change the machine itself is left out."""
import os
import re
import subprocess

from harness import BUILD, Agent, check, done

LEFT_OUT = re.compile(r'^(host|pool)-(shutdown|reboot|power-on|restart|.*emergency|.*hostname|.*syslog|.*management|.*ssh|.*backup|.*restore|'
                      r'.*ntp|.*timezone|.*server-?time|designate|.*certificate|.*tls|.*external-auth|.*password|.*dump)|^host-shutdown-agent$')
VALUES = ('', 'x', '-1', '99999999999999999999', '4GiB', 'true', '%n%s', '00000000-0000-0000-0000-000000000000', '\u4e16\u754c', 'a' * 5000)
# They stay until somebody leaves: cli-coverage is the table itself, event-wait waits, and a console without a name is the host's own.
STAYING = ('cli-coverage', 'event-wait', 'console', 'vm-console')
# A fault of ours, not of the caller.
OURS = re.compile(r'internal error|INTERNAL_ERROR|MESSAGE_PARAMETER_COUNT|MESSAGE_METHOD_UNKNOWN|FIELD_TYPE_ERROR|Lost connection|contact server')


def xe(agent, *args):
    return subprocess.run([os.path.join(BUILD, 'xe', 'xe'), *args], env=dict(os.environ, XAPI_SOCKET=agent.socket), stdin=subprocess.DEVNULL,
                          cwd=agent.root, capture_output=True, text=True, errors='replace', timeout=60)


def table(agent):
    for line in xe(agent, 'cli-coverage').stdout.splitlines():
        name, message, required, optional, flags = line.split('\t')
        if not LEFT_OUT.search(name) and name not in STAYING:
            yield name, required.split(','), optional.split(','), flags.split()


def argument(name, value, agent):
    if name.endswith(':'):
        return '%skey=%s' % (name, value)
    if 'file' in name:
        return '%s=%s' % (name, os.path.join(agent.root, 'no', 'such', 'file'))
    return '%s=%s' % (name, value)


def run(agent, what, lines):
    bad, n = [], 0
    for args in lines:
        try:
            r = xe(agent, *args)
            text = r.stdout + r.stderr
            if r.returncode not in (0, 1) or (OURS.search(text) and r.returncode):
                bad.append('%s: [%d] %s' % (' '.join(args)[:150], r.returncode, text[:300].replace('\n', ' | ')))
        except subprocess.TimeoutExpired:
            bad.append(' '.join(args)[:150] + ': no answer')
        n += 1
        if agent.process.poll() is not None:
            bad.append(' '.join(args)[:150] + ': ended the agent')
            break
    check(not bad and n > 100, '%s: %d command lines' % (what, n))
    for line in bad:
        print('# ' + line)


def hostile(rows, agent):
    for i, (name, required, optional, _) in enumerate(rows):
        need, may = [p for p in required if p], [p for p in optional if p and p != 'params']
        yield [name]
        yield [name] + [argument(p, VALUES[(i + k) % len(VALUES)], agent) for k, p in enumerate(need)]
        yield [name, '--force', '--multiple'] + [argument(p, VALUES[(i + k + 3) % len(VALUES)], agent) for k, p in enumerate(need + may)]


def sensible(rows, agent, s, vm):
    """With objects that exist."""
    some = {'vm': vm, 'host': s.host.get_uuid(s.host.get_all()[0]), 'sr': s.SR.get_uuid(s.SR.get_all()[0])}
    for name, required, optional, flags in rows:
        for kind in some:
            if kind in flags:
                yield [name, 'uuid=' + some[kind]] + [argument(p, 'x', agent) for p in required if p]
        if name.endswith('-list'):
            yield [name] + [argument(p, some.get('vm'), agent) for p in required if p]
            yield [name, 'params=all'] + [argument(p, some.get('vm'), agent) for p in required if p]
        elif required == ['uuid'] and name.startswith(('vm-', 'host-', 'pool-')) and '-param-' in name:
            yield [name, 'uuid=' + some.get(name.split('-')[0], s.pool.get_uuid(s.pool.get_all()[0]))]


with Agent() as agent:
    s = agent.login()
    rows = list(table(agent))
    check(len(rows) > 500, 'there are %d commands to try' % len(rows))
    run(agent, 'nonsense', hostile(rows, agent))
    vm = xe(agent, 'vm-install', 'template=Other install media', 'new-name-label=good').stdout.strip()
    run(agent, 'sense', sensible(rows, agent, s, vm))
done()
