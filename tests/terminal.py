"""A real terminal (tmux) for tests: keys go in, and what the screen shows is waited for.

    with Terminal(env) as t:
        t.run('xe vm-list')
        check(t.wait('name-label'), 'it lists')
"""
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import time

PROMPT = 'ready$ '


class Terminal:
    """env: the shell's whole environment. Leave it as a context, or end() it."""

    def __init__(self, env, columns=100, lines=30, shell=('bash', '--norc', '--noprofile', '-i')):
        self.folder = tempfile.mkdtemp(prefix='xe-terminal-')
        self.socket = os.path.join(self.folder, 'tmux')
        env = dict(env, PS1=PROMPT, TERM='screen', LC_ALL=env.get('LC_ALL', 'C.UTF-8'))
        words = ['env', '-i'] + ['%s=%s' % kv for kv in env.items()] + list(shell)
        self.tmux('-f', '/dev/null', 'new-session', '-d', '-s', 'test', '-x', str(columns), '-y', str(lines),
                  ' '.join(map(shlex.quote, words)))
        self.tmux('set-option', '-g', 'remain-on-exit', 'on')

    def tmux(self, *words):
        r = subprocess.run(['tmux', '-u', '-S', self.socket, *words], capture_output=True, text=True, timeout=20,
                           env={'PATH': os.environ['PATH'], 'TERM': 'screen', 'LC_ALL': 'C.UTF-8'})
        if r.returncode:
            raise RuntimeError('tmux %s: %s' % (words[0], r.stderr))
        return r.stdout

    def keys(self, *names):
        """Keys by their names in tmux: C-c, Tab, Enter, Up, ..."""
        self.tmux('send-keys', '-t', 'test', *names)

    def type(self, text):
        self.tmux('send-keys', '-t', 'test', '-l', text)

    def run(self, line):
        """Types a command, on a screen that is empty but for it."""
        self.clear()
        self.until(lambda text: text.count('\n') == 0, 5)
        self.type(line)
        end = ''.join(line.split())[-30:]
        self.until(lambda text: end in ''.join(text.split()), 5)
        self.keys('Enter')

    def clear(self):
        self.keys('C-l')
        self.tmux('clear-history', '-t', 'test')

    def screen(self):
        """What is to be seen, without the blanks behind it."""
        return '\n'.join(line.rstrip() for line in self.tmux('capture-pane', '-p', '-t', 'test').split('\n')).rstrip('\n')

    def until(self, what, seconds):
        """Until the screen pleases a function. Whether it did, and the screen."""
        until = time.monotonic() + seconds
        while True:
            text = self.screen()
            if what(text):
                return True, text
            if time.monotonic() > until:
                return False, text
            time.sleep(0.03)

    def wait(self, what, seconds=20):
        """Until the screen shows a text, matches a compiled pattern or pleases a function. Whether it did; if not, shows it."""
        shows = what if callable(what) else what.search if isinstance(what, re.Pattern) else lambda text: what in text
        good, text = self.until(shows, seconds)
        if not good:
            print('# the screen does not show %r:' % (what,))
            print(''.join('# | %s\n' % line for line in text.splitlines()), end='')
        return good

    def wait_prompt(self, seconds=20):
        """Until the shell waits for a command on the last line."""
        return self.wait(re.compile(r'^%s?$' % re.escape(PROMPT.rstrip()) + r'\Z', re.M), seconds)

    def status(self):
        """The exit status of the last command."""
        self.run('echo "status=$?="')
        self.wait(re.compile(r'status=\d+='))
        m = re.search(r'status=(\d+)=', self.screen())
        return int(m.group(1)) if m else None

    def resize(self, columns, lines):
        """Returns when the programs in it have been told."""
        self.tmux('resize-window', '-t', 'test', '-x', str(columns), '-y', str(lines))
        until = time.monotonic() + 10
        with open(self.tmux('display-message', '-p', '-t', 'test', '#{pane_tty}').strip()) as tty:
            while os.get_terminal_size(tty.fileno()) != (columns, lines):
                if time.monotonic() > until:
                    raise RuntimeError('the window keeps its size')
                time.sleep(0.03)

    def end(self):
        try:
            self.tmux('kill-server')
        except (RuntimeError, subprocess.TimeoutExpired):
            pass
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        self.wait_prompt()
        return self

    def __exit__(self, kind, value, trace):
        self.end()
        return False
