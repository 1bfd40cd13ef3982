#!/usr/bin/env python3
"""External authentication of type AD: this host joins a domain of a Samba domain controller, whose users log in with the roles of
their groups and lose what they lose there. The controller and we have a network namespace of our own."""
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import xmlrpc.client

from harness import PASSWORD, Agent, check, done, fails, unwrap, wait_until

# Where TMPDIR is a folder that only root may enter, as tests/run makes one, the controller refuses the first call of a machine
# that has joined (NT_STATUS_ACCESS_DENIED).
tempfile.tempdir = os.environ['TMPDIR'] = '/tmp'

REALM, DOMAIN, ADMIN = 'demo.example', 'DEMO', 'Admin-pass-1'
DC_ADDRESS, OWN_ADDRESS = '10.99.0.1', '10.99.0.2'
USERS = {'alice': 'Wonder-land-1', 'bob': 'Builder-2-x', 'carol': 'Christmas-3'}


def isolate():
    """Names and addresses of the domain are for this test alone; so is the socket of winbindd."""
    if os.environ.get('XAPI_OWN_DOMAIN') != '1':
        os.environ['XAPI_OWN_DOMAIN'] = '1'
        os.execvp('unshare', ['unshare', '-n', '-m', sys.executable] + sys.argv)
    subprocess.run(['ip', 'link', 'set', 'lo', 'up'], check=True)
    for address in (DC_ADDRESS, OWN_ADDRESS):
        subprocess.run(['ip', 'address', 'add', address + '/32', 'dev', 'lo'], check=True)
    for path, text in (('/etc/resolv.conf', 'search %s\nnameserver %s\n' % (REALM, DC_ADDRESS)),
                       ('/etc/hosts', '127.0.0.1 localhost\n%s dc1.%s dc1\n' % (DC_ADDRESS, REALM))):
        own = os.path.join(work, os.path.basename(path))
        with open(own, 'w') as f:
            f.write(text)
        subprocess.run(['mount', '--bind', own, path], check=True)
    os.makedirs('/run/samba', exist_ok=True)
    subprocess.run(['mount', '-t', 'tmpfs', 'none', '/run/samba'], check=True)


class Controller:
    def __init__(self):
        self.dir = os.path.join(work, 'dc')
        self.conf = os.path.join(self.dir, 'etc', 'smb.conf')
        os.makedirs(os.path.join(self.dir, 'run'))
        options = ['interfaces=' + DC_ADDRESS, 'bind interfaces only=yes', 'vfs objects=dfs_samba4 acl_xattr xattr_tdb', 'dns forwarder=']
        made = subprocess.run(['samba-tool', 'domain', 'provision', '--targetdir=' + self.dir, '--realm=' + REALM.upper(), '--domain=' + DOMAIN,
                               '--server-role=dc', '--dns-backend=SAMBA_INTERNAL', '--adminpass=' + ADMIN, '--host-ip=' + DC_ADDRESS,
                               '--host-name=dc1'] + ['--option=' + o for o in options], capture_output=True, text=True, timeout=300)
        if made.returncode:
            raise RuntimeError(made.stdout[-2000:] + made.stderr[-2000:])
        lines = [l for l in open(self.conf).read().split('\n') if 'dns forwarder' not in l and 'log file' not in l]
        at = lines.index('[global]') + 1
        lines[at:at] = ['pid directory = %s/run' % self.dir, 'ncalrpc dir = %s/run/ncalrpc' % self.dir, 'log file = %s/log.%%m' % self.dir]
        with open(self.conf, 'w') as f:
            f.write('\n'.join(lines))
        # A mount namespace of its own: the controller has a winbindd, too.
        self.process = subprocess.Popen(['unshare', '-m', 'sh', '-c', 'mount -t tmpfs none /run/samba; exec samba -i -s "$1"', 'sh', self.conf],
                                        stdin=subprocess.DEVNULL, stdout=open(os.path.join(work, 'dc.log'), 'w'), stderr=subprocess.STDOUT,
                                        start_new_session=True)
        ports = [p for p in (53, 88, 389, 445) if not wait_until(lambda: self.listens(p), 120, 0.3)]
        check(not ports, 'the controller serves%s' % (': not ' + str(ports) if ports else ''))

    @staticmethod
    def listens(port):
        try:
            socket.create_connection((DC_ADDRESS, port), 2).close()
            return True
        except OSError:
            return False

    def tool(self, *words):
        r = subprocess.run(['samba-tool'] + list(words) + ['-s', self.conf], capture_output=True, text=True, timeout=120)
        if r.returncode:
            raise RuntimeError('%s: %s%s' % (words, r.stdout, r.stderr))
        return r.stdout

    def populate(self):
        for user, password in USERS.items():
            self.tool('user', 'create', user, password)
        for group, members in (('ops', 'alice'), ('readers', 'bob'), ('everyone', 'readers')):    # bob is in everyone by readers
            self.tool('group', 'add', group)
            self.tool('group', 'addmembers', group, members)

    def stop(self):
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait(30)


def login(agent, user, password):
    return unwrap(xmlrpc.client.ServerProxy('http://127.0.0.1:%d/' % agent.http_port).session.login_with_password(user, password, '', 'test'))


def joined(agent):
    return os.path.exists(os.path.join(agent.root, 'auth-ad', 'smb.conf'))


def joining(agent, s, pool, host):
    good = {'user': 'Administrator', 'pass': ADMIN}
    for config, service, tag in ((good, 'other.example', 'DOMAIN_LOOKUP_FAILED'), (good, '../x', 'DOMAIN_LOOKUP_FAILED'), ({'pass': 'x'}, REALM, 'INVALID_ACCOUNT'),
                                 ({'user': 'x'}, REALM, 'WRONG_CREDENTIALS'), (dict(good, **{'pass': 'wrong'}), REALM, 'WRONG_CREDENTIALS'),
                                 (dict(good, ou='Nowhere'), REALM, 'INVALID_OU')):
        got = fails('POOL_AUTH_ENABLE_FAILED_' + tag, 'joining %s as %s' % (service, config.get('user')), s.pool.enable_external_auth, pool, config, service, 'AD')
        check(not joined(agent), 'leaves nothing: %s' % got[1:])
    s.pool.enable_external_auth(pool, good, REALM, 'AD')
    r = s.host.get_record(host)
    check((r['external_auth_type'], r['external_auth_service_name']) == ('AD', REALM), 'joined')
    check(r['external_auth_configuration'] == {'domain': REALM, 'user': 'Administrator', 'workgroup': DOMAIN}, 'without the password')
    names = [os.path.join(d, f) for d, _, files in os.walk(os.path.join(agent.root, 'auth-ad')) for f in files]
    held = [n for n in names if os.path.isfile(n) and ADMIN.encode() in open(n, 'rb').read()]
    check(not held and os.stat(os.path.join(agent.root, 'auth-ad')).st_mode & 0o777 == 0o700, 'which no file keeps: %s' % held)
    check('HOST' in controller.tool('computer', 'list').upper() or controller.tool('computer', 'list').strip(), 'the domain has an account for this machine')


def looking_up(s):
    sids = {n: s.auth.get_subject_identifier(n) for n in ('alice', 'bob', 'ops', 'readers', 'everyone')}
    check(len(set(sids.values())) == 5 and all(v.startswith('S-1-5-21-') for v in sids.values()), 'identifiers of users and groups')
    for name in (DOMAIN + '\\alice', 'alice@' + REALM):
        check(s.auth.get_subject_identifier(name) == sids['alice'], name)
    info = s.auth.get_subject_information_from_identifier(sids['alice'])
    check((info['subject-name'], info['subject-upn'], info['subject-sid'], info['subject-is-group'], info['subject-account-disabled']) ==
          (DOMAIN + '\\alice', 'alice@' + REALM, sids['alice'], 'false', 'false'), 'information: %s' % info)
    check(s.auth.get_subject_information_from_identifier(sids['ops'])['subject-is-group'] == 'true', 'a group is one')
    check({sids['readers'], sids['everyone']} <= set(s.auth.get_group_membership(sids['bob'])), 'groups, nested ones too')
    for what, call, value in (('name', s.auth.get_subject_identifier, 'nobody'), ('name', s.auth.get_subject_identifier, 'OTHER\\alice'),
                              ('identifier', s.auth.get_subject_information_from_identifier, sids['alice'] + '99'),
                              ('identifier', s.auth.get_subject_information_from_identifier, '-P')):
        fails('SUBJECT_CANNOT_BE_RESOLVED', 'an unknown %s: %s' % (what, value), call, value)
    return sids


def subject(s, identifier, role):
    ref = s.subject.create({'subject_identifier': identifier, 'other_config': s.auth.get_subject_information_from_identifier(identifier)})
    s.subject.add_to_roles(ref, s.role.get_by_name_label(role)[0])
    s.subject.remove_from_roles(ref, s.role.get_by_name_label('pool-admin')[0])
    return ref


def logging_in(agent, s, sids):
    p = xmlrpc.client.ServerProxy('http://127.0.0.1:%d/' % agent.http_port)
    check(login(agent, 'root', PASSWORD), 'root logs in as ever')
    fails('SESSION_AUTHENTICATION_FAILED', 'no subject yet', login, agent, 'alice', USERS['alice'])
    ops, everyone = subject(s, sids['ops'], 'vm-operator'), subject(s, sids['everyone'], 'read-only')
    for user, password in (('alice', 'wrong'), ('nobody', 'x'), ('carol', USERS['carol']), ('ops', 'x'), ('alice', '')):
        fails('SESSION_AUTHENTICATION_FAILED', 'login of %s' % user, login, agent, user, password)
    a, b = login(agent, 'alice', USERS['alice']), login(agent, 'bob@' + REALM, USERS['bob'])
    check(s.session.get_subject(a) == ops and s.session.get_auth_user_sid(a) == sids['alice'], 'alice logs in by her group')
    check(s.session.get_subject(b) == everyone, 'bob by a group that his group is in')
    check('vm.start' in s.session.get_rbac_permissions(a) and 'vm.start' not in s.session.get_rbac_permissions(b), 'each with the role of his group')
    vm = s.VM.get_all()[0]
    check(unwrap(p.VM.get_name_label(b, vm)) == s.VM.get_name_label(vm), 'bob reads')
    fails('RBAC_PERMISSION_DENIED', 'and no more', lambda: unwrap(p.VM.set_name_label(b, vm, 'x')))
    log = open(os.path.join(agent.root, 'audit.log')).read()
    check(not [w for w in USERS.values() if w in log] and ADMIN not in log, 'the audit log holds no password')
    return a, b


def following(agent, s, a, b):
    """The directory changes: open sessions follow."""
    p = agent.proxy()
    controller.tool('group', 'removemembers', 'ops', 'alice')
    check(wait_until(lambda: p.VM.get_all(a)['Status'] == 'Failure', 60, 0.5), 'alice leaves her group: her session ends')
    check(unwrap(p.VM.get_all(b)), "bob's stays")
    controller.tool('user', 'disable', 'bob')
    check(wait_until(lambda: p.VM.get_all(b)['Status'] == 'Failure', 60, 0.5), 'a disabled account: its session ends')
    fails('SESSION_AUTHENTICATION_FAILED', 'and nobody logs in with it', login, agent, 'bob', USERS['bob'])
    controller.tool('user', 'enable', 'bob')
    check(wait_until(lambda: try_login(agent, 'bob'), 30, 1), 'enabled again')


def try_login(agent, user):
    try:
        return login(agent, user, USERS[user])
    except Exception:
        return None


def winbindd_pid(agent):
    return int(open(os.path.join(agent.root, 'auth-ad', 'run', 'winbindd.pid')).read())


def surviving(agent):
    """After a boot nobody has started winbindd yet."""
    os.kill(winbindd_pid(agent), signal.SIGKILL)
    agent.kill()
    agent.start()
    check(wait_until(lambda: try_login(agent, 'bob'), 60, 1), 'the agent and winbindd killed: the next login starts it')


def ldaps(agent, s, pool, host):
    """Samba has a setting for it since 4.21."""
    version = tuple(int(n) for n in re.search(r'(\d+)\.(\d+)', subprocess.run(['net', '--version'], capture_output=True, text=True).stdout).groups())
    conf = os.path.join(agent.root, 'auth-ad', 'smb.conf')
    before = open(conf).read()
    if version < (4, 21):
        got = fails('AUTH_SET_LDAPS_FAILED', 'this Samba has none', s.pool.external_auth_set_ldaps, pool, True, False)
        check(got[0] == host and '4.21' in got[1], 'says which has one: %s' % got)
        check(open(conf).read() == before and 'ldaps' not in s.host.get_external_auth_configuration(host), 'nothing changed')
    s.host.external_auth_set_ldaps(host, False, False)
    check(s.host.get_external_auth_configuration(host)['ldaps'] == 'false' and try_login(agent, 'bob'), 'without TLS it goes on')


def processes_of(agent):
    """Of Samba, with the agent's configuration."""
    conf, found = os.path.join(agent.root, 'auth-ad', 'smb.conf').encode(), []
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open('/proc/%s/cmdline' % pid, 'rb') as f:
                words = f.read()
        except OSError:
            continue
        if conf in words:
            found.append(words.replace(b'\0', b' ').decode(errors='replace'))
    return found


def leaving(agent, s, pool, host):
    fails('POOL_AUTH_DISABLE_FAILED_WRONG_CREDENTIALS', 'leaving as nobody', s.pool.disable_external_auth, pool, {'user': 'Administrator', 'pass': 'wrong'})
    check(joined(agent) and try_login(agent, 'bob'), 'it stays joined')
    pid, before = winbindd_pid(agent), controller.tool('computer', 'list').split()
    s.pool.disable_external_auth(pool, {'user': 'Administrator', 'pass': ADMIN})
    check(s.host.get_external_auth_type(host) == '' and not joined(agent), 'left, nothing stays')
    check(not os.path.exists('/proc/%d/cmdline' % pid), 'nor does winbindd')
    check(wait_until(lambda: not processes_of(agent), 30, 0.3), 'nor what it had started %s' % processes_of(agent))
    after = controller.tool('computer', 'list').split()
    check(len(after) == len(before) - 1, 'the machine has no account any more: %s, %s' % (before, after))
    fails('SESSION_AUTHENTICATION_FAILED', 'nobody of it logs in', login, agent, 'bob', USERS['bob'])


work = tempfile.mkdtemp(prefix='xapi-domain-', dir='/tmp')
if os.environ.get('XAPI_OWN_DOMAIN') != '1':
    os.rmdir(work)
isolate()
controller = None
try:
    controller = Controller()
    controller.populate()
    with Agent('--auth-recheck', '2s', '--auth-timeout', '30s') as agent:
        try:
            s = agent.login()
            pool, host = s.pool.get_all()[0], s.host.get_all()[0]
            joining(agent, s, pool, host)
            sids = looking_up(s)
            a, b = logging_in(agent, s, sids)
            following(agent, s, a, b)
            surviving(agent)
            s = agent.login()
            ldaps(agent, s, pool, host)
            leaving(agent, s, pool, host)
        finally:
            if joined(agent):
                os.kill(winbindd_pid(agent), signal.SIGTERM)
finally:
    if controller:
        controller.stop()
    shutil.rmtree(work, ignore_errors=True)
done()
