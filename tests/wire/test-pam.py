#!/usr/bin/env python3
"""Passwords through the real PAM, with an /etc of our own: who gets in, and what the helper process may still do."""
import concurrent.futures
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import xmlrpc.client

from harness import BUILD, SOURCE, Agent, Failure, check, done, unwrap, wait_until

if os.environ.get('XAPI_SLOW'):
    print('a sanitizer makes system calls of its own, for which the helper is killed')
    sys.exit(77)
if os.environ.get('XAPI_OWN_ETC') != '1':
    os.environ['XAPI_OWN_ETC'] = '1'
    os.execvp('unshare', ['unshare', '-m', sys.executable] + sys.argv)

WRONG = 'Invalid credentials'
HELPER_UID = 61877
CAP_AUDIT_WRITE = 1 << 29


def crypted(password):
    return subprocess.run(['openssl', 'passwd', '-6', '-stdin'], input=password, text=True, capture_output=True,
                          check=True).stdout.strip()


def without(path, names):
    """The lines of a file that are not these accounts'."""
    return [l for l in open(path).read().splitlines() if l.split(':')[0] not in names]


def write(path, lines):
    with open(path, 'w') as f:
        f.write('\n'.join(lines) + '\n')


def own_etc(folder):
    etc = os.path.join(folder, 'etc')
    shutil.copytree('/etc', etc, symlinks=True, ignore_dangling_symlinks=True)
    shadow = os.stat('/etc/shadow')
    subprocess.run(['mount', '--bind', etc, '/etc'], check=True)
    ours = ('root', 'alice', 'locked', 'old', 'runner', 'xapi-helper')
    write('/etc/passwd', ['root:x:0:0:root:/root:/bin/sh'] + without('/etc/passwd', ours) +
          ['alice:x:4001:4001::/:/bin/sh', 'locked:x:4002:4001::/:/bin/sh', 'old:x:4003:4001::/:/bin/sh', 'runner:x:4004:4001::/:/bin/sh',
           'xapi-helper:x:%d:%d::/nonexistent:/usr/sbin/nologin' % (HELPER_UID, HELPER_UID)])
    write('/etc/shadow', without('/etc/shadow', ours) +
          ['root:%s:19000:0:99999:7:::' % crypted('correct horse'), 'alice:%s:19000:0:99999:7:::' % crypted('wonder'),
           'locked:!%s:19000:0:99999:7:::' % crypted('wonder'), 'old:%s:19000:0:99999:7::1:' % crypted('wonder'), 'runner:%s:19000:0:99999:7:::' % crypted('wonder')])
    os.chown('/etc/shadow', 0, shadow.st_gid)
    os.chmod('/etc/shadow', shadow.st_mode & 0o777)
    return shadow


def service(first_line=None):
    lines = open(os.path.join(SOURCE, 'packaging', 'xapi.pam')).read().splitlines()
    write('/etc/pam.d/xapi', ([first_line] if first_line else []) + lines)


def login(agent, user, password):
    p = xmlrpc.client.ServerProxy('http://127.0.0.1:%d/' % agent.http_port)
    return unwrap(p.session.login_with_password(user, password, '2.21', 'test-pam'))


def reasons(agent, logins):
    """Why each of these logins fails, all at the same time: (user, password) -> text."""
    def one(pair):
        try:
            login(agent, *pair)
        except Failure as e:
            return e.details[2] if e.details[:2] == ['SESSION_AUTHENTICATION_FAILED', pair[0]] else e.details
        return 'none: it succeeded'
    with concurrent.futures.ThreadPoolExecutor(len(logins)) as pool:
        return list(pool.map(one, logins))


def helpers(agent):
    """Pids of the helpers of this agent."""
    found = []
    for path in glob.glob('/proc/[0-9]*/stat'):
        try:
            name, rest = open(path).read().rsplit(')', 1)
            if name.endswith('(xapi-helper') and int(rest.split()[1]) == agent.process.pid:
                found.append(int(path.split('/')[2]))
        except OSError:
            pass
    return found


def status_of(pid):
    return dict(l.split(':\t', 1) for l in open('/proc/%d/status' % pid).read().splitlines() if ':\t' in l)


class Sleeper(threading.Thread):
    """A login whose PAM module never answers; reason is set at its end."""

    def __init__(self, agent):
        super().__init__()
        self.agent, self.reason = agent, None
        self.start()
        self.pid = wait_until(lambda: self.settled(), 20)

    def settled(self):
        """Its helper, once it waits in the module."""
        for pid in helpers(self.agent):
            try:
                if status_of(pid)['Seccomp'] == '2' and 'pam_probe' in open('/proc/%d/maps' % pid).read():
                    return pid
            except OSError:
                pass
        return None

    def run(self):
        p = xmlrpc.client.ServerProxy('http://127.0.0.1:%d/' % self.agent.http_port)
        try:
            self.reason = p.session.login_with_password('sleeper', 'x')['ErrorDescription'][2]
        except OSError as e:
            self.reason = e


def passwords(agent, shadow):
    check(login(agent, 'root', 'correct horse').startswith('OpaqueRef:'), 'root with its password')
    table = (('root', 'wrong', WRONG, 'a wrong password'), ('nosuchuser', 'x', WRONG, 'an unknown user'),
             ('locked', 'wonder', WRONG, 'a locked account'), ('old', 'wonder', WRONG, 'an account past its end'),
             ('alice', 'wonder', 'The account is known, but no subject with a role stands for it', 'no role'),
             ('alice', 'w' * 5000, WRONG, 'a password too long for anybody'), ('root', '', WRONG, 'no password'),
             ('', 'x', WRONG, 'no user'))
    for (user, password, want, what), got in zip(table, reasons(agent, [t[:2] for t in table])):
        check(got == want, '%s: "%s"' % (what, got))

    p = xmlrpc.client.ServerProxy('http://127.0.0.1:%d/' % agent.http_port)
    ref = login(agent, 'root', 'correct horse')
    unwrap(p.session.change_password(ref, 'correct horse', 'battery staple 77'))
    check(reasons(agent, [('root', 'correct horse')]) == [WRONG], 'the old password is dead')
    check(login(agent, 'root', 'battery staple 77'), 'the new one lives')
    now = os.stat('/etc/shadow')
    check((now.st_uid, now.st_gid, now.st_mode) == (0, shadow.st_gid, shadow.st_mode), 'the shadow file is as it was')
    unwrap(p.session.change_password(ref, 'battery staple 77', 'correct horse'))


def confinement(agent, shadow):
    sleeper = Sleeper(agent)
    s = status_of(sleeper.pid)
    check(s['Uid'].split() == [str(HELPER_UID)] * 4 and s['Gid'].split() == [str(HELPER_UID)] * 4,
          'the helper has an account of its own: uid %s, gid %s' % (s['Uid'].split()[0], s['Gid'].split()[0]))
    check(s['Groups'].split() == [str(shadow.st_gid)], 'and one more group, that of the shadow file: %s' % s['Groups'])
    check([int(s[k], 16) for k in ('CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb')] == [0] * 5, 'no capability at all')
    check(s['Seccomp'] == '2', 'Seccomp: 2')
    check(s['NoNewPrivs'] == '1', 'NoNewPrivs: 1')
    limits = {l[:25].strip(): l[26:].split()[:2] for l in open('/proc/%d/limits' % sleeper.pid)}
    check(limits['Max core file size'] == ['0', '0'] and limits['Max open files'] == ['64', '64'] and
          limits['Max cpu time'] == ['60', '60'] and limits['Max file size'][0] != 'unlimited', 'limits: %s' % limits)
    check(agent.login().VM.get_all() is not None, 'meanwhile others are served')
    sleeper.join()
    check(sleeper.reason == 'The password check did not answer', 'the deadline ends it: %s' % sleeper.reason)
    check(not os.path.exists('/proc/%d' % sleeper.pid), 'and the process')

    sleeper = Sleeper(agent)
    os.kill(sleeper.pid, 9)
    sleeper.join()
    check(sleeper.reason == 'The password check failed', 'a helper that is killed: %s' % sleeper.reason)


def forbidden(agent):
    users = ('forker', 'runner', 'execer', 'mounter', 'tracer', 'killer', 'sniffer', 'climber', 'crasher')
    for user, got in zip(users, reasons(agent, [(user, 'x') for user in users])):
        check(got == 'The password check failed', '%s: "%s"' % (user, got))
    ends = re.findall('xapi-helper pam: (killed by signal [0-9]+)', agent.tail(200))
    check(ends.count('killed by signal 31') == 8 and ends.count('killed by signal 11') == 1, 'forbidden calls are the end: %s' % ends)
    check(login(agent, 'root', 'correct horse'), 'the next password is checked as ever')
    check(helpers(agent) == [], 'no helper is left')


def orphan(agent):
    sleeper = Sleeper(agent)
    agent.kill()
    check(wait_until(lambda: not os.path.exists('/proc/%d' % sleeper.pid), 10), 'the helper dies with its agent')
    sleeper.join()


folder = tempfile.mkdtemp(prefix='xapi-test-')
shadow = own_etc(folder)
probe = 'auth [success=ok ignore=ignore default=die] %s' % os.path.join(BUILD, 'tests', 'wire', 'pam_probe.so')
service()
with Agent('--auth', 'pam', '--auth-timeout', '1500ms') as agent:
    check('there is no account' not in agent.tail(), 'the account is there')
    passwords(agent, shadow)
    service(probe)
    confinement(agent, shadow)
    forbidden(agent)

with Agent('--auth', 'pam', '--auth-programs') as agent:
    got = reasons(agent, [('runner', 'wonder'), ('mounter', 'x')])
    check('subject' in got[0], 'where modules may start programs, one may: "%s"' % got[0])
    check(got[1] == 'The password check failed', 'but not mount anything: "%s"' % got[1])
    check(login(agent, 'root', 'correct horse'), 'root with its password')

write('/etc/passwd', without('/etc/passwd', ('xapi-helper',)))
with Agent('--auth', 'pam', '--auth-timeout', '1500ms') as agent:
    check('there is no account xapi-helper' in agent.tail(), 'without the account the log says so')
    check(login(agent, 'root', 'correct horse'), 'and root checks the password')
    sleeper = Sleeper(agent)
    s = status_of(sleeper.pid)
    check(s['Uid'].split()[0] == '0' and int(s['CapEff'], 16) & ~CAP_AUDIT_WRITE == 0 and s['Seccomp'] == '2',
          'with hardly a capability (%s) and the same filter' % s['CapEff'])
    sleeper.join()

agent = Agent('--auth', 'pam').start()
orphan(agent)
shutil.rmtree(agent.root, ignore_errors=True)
subprocess.run(['umount', '/etc'], check=True)
shutil.rmtree(folder, ignore_errors=True)
done()
