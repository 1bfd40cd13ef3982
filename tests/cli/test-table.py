#!/usr/bin/python3
"""The command table: nothing in tests/cli/coverage.tsv has been lost, and names, parameters and flags are the reference's.

coverage.tsv: command, yes or no (does something answer it: its code, and behaviour of the message it stands for), the
transcripts in which it succeeded, and what is missing where nothing answers. With COVERAGE_UPDATE=1 it is written anew.
The reference's facts are xe-commands.tsv and xe-fields.tsv in $XAPI_FACTS or ../shared/xenapi; where they are absent that part
is skipped.
"""
import csv
import os
import re
import subprocess

from harness import BUILD, SOURCE, Agent, check, done, skip

FOLDER = os.path.join(SOURCE, 'tests', 'cli')
TABLE = os.path.join(FOLDER, 'coverage.tsv')
FACTS = os.environ.get('XAPI_FACTS') or os.path.join(SOURCE, '..', 'shared', 'xenapi')
OURS = {'cli-coverage', 'network-diagram', 'sr-gc-status', 'vm-console'}     # beside the reference's
FIELD_FLAGS = {'hidden': 'hidden', 'expensive': 'expensive', 'deprecated': 'deprecated', 'can_set': 'settable', 'can_add': 'addable',
               'can_remove': 'removable', 'by_default': 'default_column'}     # ours: the reference's
HEAD = '''\
# Every command of xe: name, behaviour, seen, why not; separated by tabs.
# behaviour: yes when something answers it, no when it says NOT_IMPLEMENTED. seen: the transcripts tests/cli/*.golden in
#   which it succeeds. why not: the message that has no behaviour, or "internal": the command stands for no message of
#   the public API, and what it does inside the reference's daemon is not here. Made by COVERAGE_UPDATE=1 tests/cli/test-table.py; `make check` fails when something is lost.
'''


def table(agent):
    """{command: (message, required, optional, flags)}"""
    out = subprocess.run([os.path.join(BUILD, 'xe', 'xe'), 'cli-coverage'], env=dict(os.environ, XAPI_SOCKET=agent.socket),
                         capture_output=True, text=True, check=True).stdout
    rows = {}
    for line in out.splitlines():
        name, message, required, optional, flags = line.split('\t')
        rows[name] = message, required, optional, set(flags.split())
    return rows


def messages():
    """{message: has behaviour}"""
    out = subprocess.run([os.path.join(BUILD, 'xapi', 'xapi'), '--coverage'], capture_output=True, text=True, check=True).stdout
    return {'%s.%s' % (cls, message): has == 'yes' for cls, message, has in (line.split('\t') for line in out.splitlines())}


def seen():
    """{command: [transcript]}: those without an exit status behind them."""
    result = {}
    for name in sorted(os.listdir(FOLDER)):
        if not name.endswith('.golden'):
            continue
        command = None
        for line in open(os.path.join(FOLDER, name)).read().splitlines() + ['$ xe']:
            if line.startswith('$ '):
                if command and name[:-7] not in result.setdefault(command, []):
                    result[command].append(name[:-7])
                words = line[2:].partition('xe ')[2].split()
                command = words[0] if words else None
            elif line.startswith('[') and line.endswith(']'):
                command = None
    return result


def read_table():
    """{command: (behaviour, seen, why not)}"""
    lines = [line for line in open(TABLE).read().splitlines() if not line.startswith('#')]
    return {name: (has, where, why) for name, has, where, why in (line.split('\t') for line in lines)}


def check_coverage(rows):
    has, saw = messages(), seen()
    now = {}
    for name in rows:
        message = rows[name][0]
        yes = message == '-' or has.get(message, False)
        now[name] = 'yes' if yes else 'no', ','.join(saw.get(name, [])), '' if yes else 'internal' if message == 'none' else message
    if os.environ.get('COVERAGE_UPDATE') == '1':
        with open(TABLE, 'w') as f:
            f.write(HEAD + ''.join('%s\t%s\t%s\t%s\n' % (name, *now[name]) for name in sorted(now)))
    old = read_table()
    lost = sorted(name for name in old if old[name][0] == 'yes' and now.get(name, ('no',))[0] != 'yes')
    check(not lost, 'every command that had behaviour still has it' + (': ' + ' '.join(lost) if lost else ''))
    silent = sorted(name for name in old if set(old[name][1].split(',')) - set(now.get(name, ('', '', ''))[1].split(',')) - {''})
    check(not silent, 'every command is seen where it was' + (': ' + ' '.join(silent) if silent else ''))
    for name in sorted(name for name in now if now[name] != old.get(name)):
        print('# coverage.tsv does not know yet: %s %s' % (name, ' '.join(now[name])))


def names(text):
    return sorted(x for x in text.split(',') if x)


def check_facts(rows):
    facts = {r['command']: r for r in csv.DictReader(open(os.path.join(FACTS, 'xe-commands.tsv')), delimiter='\t')}
    missing = sorted(set(facts) - set(rows))
    check(not missing, 'every command of the reference is there' + (': ' + ' '.join(missing) if missing else ''))
    extra = sorted(set(rows) - set(facts) - OURS)
    check(not extra, 'and no other' + (': ' + ' '.join(extra) if extra else ''))
    flags = (('hidden', 'hidden'), ('standard', 'standard'), ('neverforward', 'here'), ('file_access', 'files'),
             ('local_session', 'local'))
    wrong = []
    for name in sorted(set(facts) & set(rows)):
        fact, (_, required, optional, has) = facts[name], rows[name]
        want = {ours for theirs, ours in flags if fact[theirs] == '1'}
        if fact['selector']:
            want.add(fact['selector'])
        if names(fact['required']) != names(required):
            wrong.append('%s requires %s, not %s' % (name, fact['required'], required))
        if names(fact['optional']) != names(optional):
            lost, more = set(names(fact['optional'])) - set(names(optional)), set(names(optional)) - set(names(fact['optional']))
            wrong.append('%s: optional -%s +%s' % (name, sorted(lost), sorted(more)))
        if want != has:
            wrong.append('%s: flags %s, not %s' % (name, sorted(want), sorted(has)))
    check(not wrong, 'parameters and flags are the same')
    for line in wrong[:40]:
        print('# ' + line)


def check_fields():
    """The table of fields that the schema generated, against the reference's."""
    with open(os.path.join(BUILD, 'gen', 'xe_fields.c')) as f:
        source = f.read()
    classes = dict((cls, name) for name, cls in re.findall(r'\{ "([^"]+)", CLASS_\w+, \d+, fields_(\w+) \}', source))
    ours = {}
    for cls, body in re.findall(r'static const struct xe_field fields_(\w+)\[\] = \{(.*?)\n\};', source, re.S):
        for field, kind, rest in re.findall(r'\{ "([^"]+)", XE_(\w+), (.*)\},?$', body, re.M):
            ours[classes[cls], field] = (kind.lower(), *('.%s = true' % flag in rest for flag in FIELD_FLAGS))
    facts = {(r['class'], r['field']): (r['kind'], *(r[FIELD_FLAGS[flag]] == '1' for flag in FIELD_FLAGS))
             for r in csv.DictReader(open(os.path.join(FACTS, 'xe-fields.tsv')), delimiter='\t')}
    wrong = sorted(key for key in set(facts) | set(ours) if facts.get(key) != ours.get(key))
    check(not wrong and len(facts) > 900, 'and so are the %d fields of %d classes' % (len(facts), len(classes)))
    for key in wrong[:40]:
        print('# %s %s: %s, not %s' % (*key, ours.get(key), facts.get(key)))


with Agent() as agent:
    rows = table(agent)
check_coverage(rows)
if os.path.exists(FACTS):
    check_facts(rows)
    check_fields()
else:
    skip('the reference table', 'no ../shared/xenapi beside the source')
done()
