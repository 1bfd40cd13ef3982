#!/usr/bin/python3
"""doc/man/xe.1 has every command that `xe help` knows, in the same words, and a man page reader accepts it.

With MAN_UPDATE=1 what stands between its marks is written anew."""
import os
import re
import shutil
import subprocess
import textwrap

from harness import BUILD, SOURCE, Agent, check, done, skip

PAGE = os.path.join(SOURCE, 'doc', 'man', 'xe.1')
PARAM = re.compile(r'-(list|param-(list|get|set|add|remove|clear))$')


def ask(agent, *args):
    return subprocess.run([os.path.join(BUILD, 'xe', 'xe'), *args], env=dict(os.environ, XAPI_SOCKET=agent.socket), capture_output=True,
                          text=True, check=True).stdout


def read_help(agent):
    """{command: (required, optional, description)}"""
    names = ask(agent, 'help', '--all', '--minimal').strip().split(',')
    out, now = {}, {}
    for line in ask(agent, 'help', *names).splitlines():
        key, _, value = line.partition(':')
        now[key.strip()] = value.strip()
        if key.strip() == 'description':
            out[now['command name']] = now['reqd params'], now['optional params'], now['description']
    assert sorted(out) == sorted(names)
    return out


def roff(text):
    text = text.replace('\\', '\\e').replace('-', '\\-')
    return '\\&' + text if text[:1] in ".'" else text


def fold(text):
    lines = textwrap.wrap(text, 110, break_long_words=False, break_on_hyphens=False)
    return '\n'.join(('\\&' if line[:1] in ".'" else '') + line for line in lines)


def parameter(name):
    """A selector as such, a switch, a map or name=value."""
    if name.startswith('<'):
        return '\\fIselectors\\fR'
    if name.endswith(':'):
        return '\\fB%s:\\fIkey\\fB=\\fIvalue\\fR' % roff(name[:-1])
    return '\\fB%s=\\fR' % roff(name)


def entry(name, help):
    required, optional, text = help
    words = ['\\fB%s\\fR' % roff(name)] + [parameter(p) for p in required.split(', ') if p]
    words += ['[%s]' % parameter(p) for p in optional.split(', ') if p]
    return '.TP\n%s\n%s\n' % (' '.join(words), fold(roff(text)))


def render(page, help):
    classes = sorted(name[:-len('-param-list')] for name in help if name.endswith('-param-list'))
    own = [name for name in sorted(help) if not (PARAM.search(name) and PARAM.sub('', name) in classes)]
    parts = {'classes': fold('The classes: %s.' % roff(', '.join(classes))) + '\n', 'commands': ''.join(entry(n, help[n]) for n in own)}
    for mark, text in parts.items():
        begin, end = '.\\" %s: begin\n' % mark, '.\\" %s: end\n' % mark
        page = page[:page.index(begin) + len(begin)] + text + page[page.index(end):]
    return page, own


with Agent() as agent:
    help = read_help(agent)
old = open(PAGE).read()
new, own = render(old, help)
if os.environ.get('MAN_UPDATE') == '1':
    with open(PAGE, 'w') as f:
        f.write(new)
    old = new
check(len(own) > 300, 'there are commands to describe (%d)' % len(own))
check(all(help[name][2] for name in help), 'each has a description')
check(old == new, 'xe.1 says what xe help says (else: MAN_UPDATE=1)')
for reader in (['mandoc', '-T', 'lint', '-W', 'error'], ['groff', '-man', '-T', 'utf8', '-ww', '-z']):
    if not shutil.which(reader[0]):
        skip(reader[0] + ' reads it', 'not installed')
        continue
    r = subprocess.run(reader + [PAGE], capture_output=True, text=True)
    check(r.returncode == 0 and not r.stderr, reader[0] + ' reads it')
    print(''.join('# %s\n' % line for line in (r.stdout + r.stderr).splitlines()[:20]), end='')
done()
