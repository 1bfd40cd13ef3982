#!/usr/bin/python3
"""Collects the sentences that xe says into xe.pot and brings the translations up to date; then translate what is empty or fuzzy.

    po/update.py            writes xe.pot and *.po anew
    po/update.py --print    writes xe.pot to standard output

Sentences are the literals in calls of the functions in CALLS, the help of the table of commands and what the model says about
its errors. Lists, names of fields and values are read by scripts and stay as they are in every language."""
import glob
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree

FOLDER = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.dirname(FOLDER)
# function:argument; those with formats a second time
CALLS = ['cmd_fail:2', 'cmd_usage:3', 'cmd_say:2', 'cmd_tr:2', 'cmd_notice:2', 'cmd_print_error:2', 'cmd_printf_error:2',
         'client_complain:2', 'complain:2', 'catalog_text:2', 'ROW:2', 'ROW_FOR:4', 'N_:1']
FORMATS = ['cmd_fail:2', 'cmd_usage:3', 'cmd_say:2', 'cmd_printf_error:2', 'client_complain:2', 'complain:2']
LITERAL = r'(?:"(?:[^"\\]|\\.)*"\s*)+'
HEAD = '''# Sentences of xe.
msgid ""
msgstr ""
"Project-Id-Version: xapi\\n"
"MIME-Version: 1.0\\n"
"Content-Type: text/plain; charset=UTF-8\\n"
"Content-Transfer-Encoding: 8bit\\n"
'''


def entry(text, where, is_format=False):
    quoted = '"%s"' % text.replace('\\', '\\\\').replace('"', '\\"')
    return '\n#: %s\n%smsgid %s\nmsgstr ""\n' % (where, '#, c-format\n' if is_format else '', quoted)


def tables():
    """The help of commands and the sentences of errors, which no function's call shows."""
    out, seen = HEAD, set()
    for path in ('xe/commands.c', 'xe/cmd_record.c'):
        with open(os.path.join(SOURCE, path)) as f:
            source = f.read()
        for literal in re.findall(r'help\s*=\s*(%s)' % LITERAL, source):
            text = ''.join(re.findall(r'"((?:[^"\\]|\\.)*)"', literal))
            assert '\\' not in text, text
            if text not in seen:
                out += entry(text, path, '%s' in text)
            seen.add(text)
    for error in ElementTree.parse(os.path.join(SOURCE, 'schema', 'errors.xml')).getroot().iter('error'):
        doc = error.find('doc')
        text = ' '.join(''.join(doc.itertext()).split()) if doc is not None else ''
        if text and text not in seen:
            out += entry(text, 'schema/errors.xml')
        seen.add(text)
    return out


def has_words(entry):
    """Not so '%s: %s', or a bar that is drawn anew."""
    text = ''.join(re.findall(r'^(?:msgid )?"(.*)"$', entry, re.M))
    return re.search(r'[A-Za-z]{3}', re.sub(r'%[^a-zA-Z%]*(?:[a-zA-Z]|ll[du]|zu)|\\.', '', text))


def collect():
    files = sorted(os.path.relpath(p, SOURCE) for p in glob.glob(os.path.join(SOURCE, 'xe', '*.c')))
    with tempfile.TemporaryDirectory() as folder:
        calls, rest, whole = (os.path.join(folder, name) for name in ('calls.po', 'tables.po', 'whole.pot'))
        with open(calls, 'w') as f:
            f.write(HEAD)
        # A function cannot be given twice in one run: for xgettext that would be a singular and its plural.
        for keywords in (CALLS, ['cmd_usage:2']):
            subprocess.run(['xgettext', '--join-existing', '--language=C', '--from-code=UTF-8', '--omit-header', '--no-wrap',
                            '--add-location=file', '-k', *('--keyword=' + k for k in keywords),
                            *('--flag=%s:c-format' % f for f in FORMATS), '-o', calls, *files], check=True, cwd=SOURCE)
        with open(calls) as f:
            entries = f.read().split('\n\n')
        with open(calls, 'w') as f:
            f.write('\n\n'.join(e for e in entries if e == entries[0] or has_words(e)) + '\n')
        with open(rest, 'w') as f:
            f.write(tables())
        subprocess.run(['msgcat', '--use-first', '--no-wrap', '--add-location=file', '-o', whole, calls, rest], check=True)
        with open(whole) as f:
            return f.read()


def main():
    text = collect()
    if sys.argv[1:] == ['--print']:
        sys.stdout.write(text)
        return
    pot = os.path.join(FOLDER, 'xe.pot')
    with open(pot, 'w') as f:
        f.write(text)
    for po in glob.glob(os.path.join(FOLDER, '*.po')):
        subprocess.run(['msgmerge', '--quiet', '--update', '--backup=none', '--no-wrap', '--add-location=file', po, pot],
                       check=True)
        subprocess.run(['msgattrib', '--no-obsolete', '--no-wrap', '-o', po, po], check=True)


main()
