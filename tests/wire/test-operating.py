#!/usr/bin/env python3
"""Operating the agent: configuration file, reload, log file and its rotation, readiness, several agents side by side."""
import fcntl
import glob
import http.client
import os
import re
import signal
import socket
import subprocess
import tempfile

from harness import BUILD, Agent, check, done, wait_until

LINE = re.compile(r'^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (error|warn|info|debug) +\w+: (\[[0-9a-f-]{36}\] )?\S')
folder = tempfile.mkdtemp(prefix='xapi-test-')
conf, log = os.path.join(folder, 'xapi.conf'), os.path.join(folder, 'xapi.log')


def write_conf(text):
    with open(conf, 'w') as f:
        f.write(text)


def xapi(*options):
    return subprocess.run([os.path.join(BUILD, 'xapi', 'xapi'), *options], capture_output=True, text=True, timeout=30)


def log_text():
    return open(log).read() if os.path.exists(log) else ''


def configuration_checks():
    write_conf('# a comment\n\nlog-level = debug\nstop-timeout = 3s\n')
    r = xapi('--config', conf, '--check-config', '--http', '127.0.0.1:8080')
    check(r.returncode == 0, 'a right configuration passes --check-config')
    check('# file\nlog-level = debug\n' in r.stdout and '# command line\nhttp = 127.0.0.1:8080\n' in r.stdout
          and '# default\nhttps = [::]:443\n' in r.stdout, '--check-config says every option and where it comes from')
    write_conf('stop-timeout = soon\nno-such = 1\nlog-level\nhv = sim\nhv = xen\nhelp = yes\n')
    r = xapi('--config', conf, '--check-config')
    check(r.returncode == 2, 'a wrong one does not')
    for line, word in ((1, 'stop-timeout'), (2, 'no-such'), (3, 'key = value'), (5, 'twice'), (6, 'command line')):
        check(re.search(r'^%s:%d: .*%s' % (re.escape(conf), line, word), r.stderr, re.M) is not None,
              'the mistake in line %d is named: %s' % (line, word))
    r = xapi('--hv', 'kvm')
    check(r.returncode == 2 and 'libvirt, sim, xen' in r.stderr, 'a wrong choice on the command line names the right ones')
    r = xapi('--help')
    dumped = {l.split(' =')[0] for l in xapi('--config', '/dev/null', '--check-config').stdout.splitlines() if ' =' in l}
    helped = set(re.findall(r'^  --([a-z-]+)', r.stdout, re.M))
    check(len(dumped) > 20 and dumped <= helped, 'every option of the file stands in --help')


def notified(sock, wanted):
    sock.settimeout(30)
    try:
        while True:
            if wanted in sock.recv(4096).decode():
                return True
    except TimeoutError:
        return False


def waits_for_a_child():
    """One that was killed may have left a child that holds its lock up to the child's exec()."""
    agent = Agent(root=tempfile.mkdtemp(dir=folder))
    lock = os.path.join(agent.root, 'lock')
    with open(lock, 'w') as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        f.write('4194305\n')       # no process has this number
        f.flush()
        agent.start(wait=False)
        tries = wait_until(lambda: any(os.path.realpath(p) == lock for p in glob.glob('/proc/%d/fd/*' % agent.process.pid)))
        check(tries and agent.process.poll() is None, 'a lock whose owner has gone is waited for')
    agent.wait_ready()
    check(agent.login().VM.get_all() != [] and int(open(lock).read()) == agent.process.pid, 'and taken')
    check(agent.stop() == 0, 'the agent ends')


def running_agent():
    write_conf('log = file:%s\nlog-level = warn\nstop-timeout = 5s\n' % log)
    bus = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    bus.bind(os.path.join(folder, 'notify'))
    env = {'NOTIFY_SOCKET': os.path.join(folder, 'notify'), 'LC_ALL': 'de_DE.UTF-8'}
    agent = Agent('--config', conf, '--http', '[::1]:0', env=env).start()
    try:
        check(notified(bus, 'READY=1'), 'READY=1 goes to NOTIFY_SOCKET')
        second = xapi('--root', agent.root, '--hv', 'sim', '--net', 'sim', '--socket', folder + '/s', '--http', 'none',
                      '--https', 'none')
        check(second.returncode == 1 and 'another agent' in second.stderr, 'a second agent on the same root is refused')
        s = agent.login()
        check('info' not in log_text(), 'at level warn there are no info lines')
        write_conf('log = file:%s\nlog-level = info,http=debug\nstop-timeout = 5s\nhv-uri = test:///default\n' % log)
        agent.process.send_signal(signal.SIGHUP)
        check(wait_until(lambda: 'configuration reloaded' in log_text()), 'SIGHUP reloads: info lines come')
        check('hv-uri: ' in log_text() and 'restart' in log_text(), 'what needs a restart is said')
        write_conf('log-level = loud\nnonsense\n')
        agent.process.send_signal(signal.SIGHUP)
        check(wait_until(lambda: 'not reloaded' in log_text()) and s.pool.get_all() != [],
              'a wrong file is logged and changes nothing')
        write_conf('log = file:%s\nlog-level = info\n' % log)
        os.rename(log, log + '.1')
        agent.process.send_signal(signal.SIGHUP)
        check(wait_until(lambda: 'configuration reloaded' in log_text()), 'a renamed log is begun anew on SIGHUP')
        lines = (open(log + '.1').read() + log_text()).splitlines()
        bad = [l for l in lines if not LINE.match(l)]
        check(lines and not bad, 'every line has time, level and module%s' % (': ' + bad[0] if bad else ''))
        c = http.client.HTTPConnection('::1', agent.http_port, timeout=30)
        body = '<methodCall><methodName>system.listMethods</methodName><params/></methodCall>'
        c.request('POST', '/', body, {'Host': '[::1]:%d' % agent.http_port})
        check(c.getresponse().status == 200, 'an IPv6 listener in brackets serves')
        with Agent() as other:
            check(other.login().pool.get_all() != s.pool.get_all(), 'two agents with roots of their own run side by side')
        agent.process.send_signal(signal.SIGTERM)
        check(notified(bus, 'STOPPING=1'), 'STOPPING=1 goes to NOTIFY_SOCKET')
        check(agent.stop() == 0, 'SIGTERM ends it cleanly')
    finally:
        agent.stop()


def offline_database(agent_root):
    r = xapi('--root', agent_root, '--check-db')
    check(r.returncode == 0 and '0 problems' in r.stdout, '--check-db finds a fresh database sound')


configuration_checks()
running_agent()
waits_for_a_child()
with Agent() as agent:
    agent.login()
    agent.stop()
    offline_database(agent.root)
done()
