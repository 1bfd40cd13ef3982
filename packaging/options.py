#!/usr/bin/env python3
"""The options of the daemon in its manual pages and its sample configuration, from `xapi --help`.

    packaging/options.py --build DIR             writes doc/man/xapi.8.in, doc/man/xapi.conf.5.in, packaging/xapi.conf.in
    packaging/options.py --build DIR --check     writes nothing; exit status 1 and a line for each file that is not current

In a manual page only what stands between its two marker comments is replaced.
"""
import argparse
import os
import re
import subprocess
import sys

SOURCE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BEGIN, END = '.\\" options: begin (packaging/options.py)\n', '.\\" options: end\n'
HEAD = """\
# Configuration of xapi: key = value lines, see xapi.conf(5). Every option stands here with its default.
# After a change: `xapi --check-config`, then `systemctl reload xapi` for those marked reloadable, else a restart.
"""


class Option:
    def __init__(self, key, placeholder, text):
        self.key, self.placeholder = key, placeholder
        self.reloadable = text.endswith(' [reloadable]')
        text = text.removesuffix(' [reloadable]')
        m = re.fullmatch(r'(.*?)(?: \(default: (.*)\))?', text)
        self.doc, self.default = m.group(1), m.group(2)


def build_dirs(build):
    """{path: name} of what configure chose, longest first."""
    out = subprocess.run(['make', '-s', '-C', build, 'print-dirs'], capture_output=True, text=True, check=True).stdout
    pairs = [line.split('=', 1) for line in out.splitlines() if '=' in line]
    return {path: name for name, path in sorted(pairs, key=lambda p: -len(p[1]))}


def read_options(build):
    """[Option], and the keys that a file may have"""
    xapi = os.path.join(build, 'xapi', 'xapi')
    text = subprocess.run([xapi, '--help'], capture_output=True, text=True, check=True).stdout
    for path, name in build_dirs(build).items():
        text = text.replace(path, '@%s@' % name)
    options = []
    for block in re.split(r'\n  --', text)[1:]:
        head, *lines = block.split('\n')
        key, _, placeholder = head.partition(' ')
        options.append(Option(key, placeholder, ' '.join(l.strip() for l in lines if l.strip())))
    dump = subprocess.run([xapi, '--check-config', '--config', '/dev/null'], capture_output=True, text=True,
                          check=True).stdout
    return options, {l.split(' = ')[0] for l in dump.splitlines() if ' =' in l and not l.startswith('#')}


def roff(text):
    text = text.replace('\\', '\\e').replace('-', '\\-')
    return '\\&' + text if text[:1] in ".'" else text


def man_options(options, dashes):
    """One paragraph an option; with dashes as on the command line, else as in the file."""
    out = ''
    for o in options:
        value = '\\fI%s\\fR' % roff(o.placeholder) if o.placeholder else '' if dashes else 'yes|no'
        between = '' if not value else ' ' if dashes else ' = '
        out += '.TP\n\\fB%s%s\\fR%s%s\n' % ('\\-\\-' if dashes else '', roff(o.key), between, value)
        out += roff(o.doc[0].upper() + o.doc[1:]) + '.'
        out += ' Default: \\fB%s\\fR.' % roff(o.default) if o.default else ''
        out += ' Reloadable.\n' if o.reloadable else '\n'
    return out


def sample(options, in_file):
    out = HEAD
    for o in options:
        if o.key not in in_file:
            continue
        choices = ' (%s)' % (o.placeholder or 'yes|no') if o.placeholder.upper() != o.placeholder or not o.placeholder else ''
        out += '\n# %s%s%s\n#%s = %s\n' % (o.doc[0].upper() + o.doc[1:], choices, ' [reloadable]' if o.reloadable else '', o.key,
                                         o.default or '')
    return re.sub(r' +$', '', out, flags=re.M)


def replace_between(text, new):
    begin, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    return text[:begin] + new + text[end:]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--build', required=True)
    p.add_argument('--check', action='store_true')
    args = p.parse_args()
    options, in_file = read_options(args.build)
    stale = 0
    for name, make in (('doc/man/xapi.8.in', lambda old: replace_between(old, man_options(options, True))),
                       ('doc/man/xapi.conf.5.in',
                        lambda old: replace_between(old, man_options([o for o in options if o.key in in_file], False))),
                       ('packaging/xapi.conf.in', lambda old: sample(options, in_file))):
        path = os.path.join(SOURCE, name)
        old = open(path).read() if os.path.exists(path) else ''
        new = make(old)
        if new == old:
            continue
        stale = 1
        print('# %s is not what xapi --help says; `make options-doc` writes it' % name if args.check else 'written ' + name)
        if not args.check:
            with open(path, 'w') as f:
                f.write(new)
    sys.exit(stale if args.check else 0)


main()
