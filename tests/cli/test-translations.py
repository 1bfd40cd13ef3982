#!/usr/bin/python3
"""po/: every sentence of xe is collected and translated, formats take the same texts, nothing that scripts read is among them."""
import glob
import os
import re
import subprocess

from harness import BUILD, SOURCE, Agent, check, done

FOLDER = os.path.join(SOURCE, 'po')
XE = os.path.join(BUILD, 'xe', 'xe')


def run(*words, **named):
    return subprocess.run(words, capture_output=True, text=True, timeout=60, **named)


def entries(path):
    """{msgid: msgstr}, as they stand in the file."""
    with open(path) as f:
        text = f.read()
    literal = r'((?:"(?:[^"\\]|\\.)*"\s*)+)'
    joined = lambda s: ''.join(re.findall(r'"((?:[^"\\]|\\.)*)"', s))
    return {joined(a): joined(b) for a, b in re.findall(r'^msgid %smsgstr %s' % (literal, literal), text, re.M)}


fresh = run('/usr/bin/python3', os.path.join(FOLDER, 'update.py'), '--print')
with open(os.path.join(FOLDER, 'xe.pot')) as f:
    kept = f.read()
check(fresh.returncode == 0 and fresh.stdout == kept, 'xe.pot has every sentence of today (else: po/update.py)')
print(''.join('# %s\n' % line for line in fresh.stderr.splitlines() if 'escape sequence' not in line), end='')
pot = entries(os.path.join(FOLDER, 'xe.pot'))
check(len(pot) > 1200, 'there are sentences (%d)' % len(pot))

with Agent() as agent:
    names = run(XE, 'help', '--all', '--minimal', env={'XAPI_SOCKET': agent.socket}).stdout.strip().split(',')
    for po in sorted(glob.glob(os.path.join(FOLDER, '*.po'))):
        language = os.path.basename(po)[:-3]
        r = run('msgfmt', '--check', '--statistics', '-o', '/dev/null', po)
        check(r.returncode == 0 and re.fullmatch(r'\d+ translated messages\.', r.stderr.strip()), '%s: nothing is untranslated or doubtful, '
              'formats fit' % language)
        print('# ' + r.stderr.strip())
        words = entries(po)
        check(set(words) == set(pot), '%s: the sentences are those of xe.pot' % language)
        check(not [k for k, v in words.items() if k and re.search('[a-z]{3} [a-z]{3} ', k) and not re.search(r'[^\x00-\x7f]', v)],
              '%s: none is left in English' % language)
        check(not [k for k, v in words.items() if k and k.endswith('\\n') != v.endswith('\\n')], '%s: lines end where they do in English' % language)
        # What one types stays what one types.
        lost = [(k, w) for k, v in words.items() for w in re.findall(r"(?<![\w-])--[a-z-]+|\bxe help\b|'yes'", k) if w not in v]
        check(not lost, '%s: switches and commands are as they are typed' % language)
        print(''.join('# %s: %s\n' % pair for pair in lost[:5]), end='')
        said = run(XE, 'help', *names, env={'XAPI_SOCKET': agent.socket, 'LC_ALL': language + '.UTF-8'}).stdout
        about = re.findall(r'^ +description +: (.*)$', said, re.M)
        english = [line for line in about if not re.search(r'[^\x00-\x7f]', line)]
        check(len(about) == len(names) and not english, '%s: every command says in it what it is for' % language)
        print(''.join('# %s\n' % line for line in english[:5]), end='')
done()
