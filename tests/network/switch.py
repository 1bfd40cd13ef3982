"""Open vSwitch for a test: a database and a switch of its own in this network namespace, or in that of another process, with the
datapath in user space; no kernel module, no systemd."""
import ctypes
import os
import shutil
import signal
import subprocess
import tempfile

from harness import wait_until

SCHEMA = '/usr/share/openvswitch/vswitch.ovsschema'


class Switch:
    def __init__(self, far=None):
        self.dir = tempfile.mkdtemp(prefix='xapi-ovs-', dir='/tmp')      # a short path: sockets are in it
        self.lives = 0
        self.into = ['nsenter', '-t', str(far), '-n'] if far else []
        self.env = dict(os.environ, OVS_RUNDIR=self.dir, OVS_LOGDIR=self.dir, OVS_DBDIR=self.dir)
        subprocess.run(['ovsdb-tool', 'create', self.dir + '/conf.db', SCHEMA], check=True, env=self.env)
        self.database = self.begin('ovsdb-server', '--remote=punix:%s/db.sock' % self.dir, self.dir + '/conf.db')
        if not wait_until(lambda: os.path.exists(self.dir + '/db.sock')):
            raise RuntimeError('ovsdb-server does not begin')
        self.vsctl('--no-wait', 'init')
        self.begin_switch()

    def begin(self, program, *options):
        """A process of ours, not a daemon: it ends with the test."""
        return subprocess.Popen(self.into + [program, *options, '--pidfile', '--log-file', '--no-chdir', '-vconsole:off'], env=self.env,
                                stdin=subprocess.DEVNULL, preexec_fn=lambda: ctypes.CDLL(None).prctl(1, 9))      # PR_SET_PDEATHSIG

    def begin_switch(self):
        self.lives += 1
        self.process = self.begin('ovs-vswitchd', 'unix:%s/db.sock' % self.dir, '--disable-system')
        self.vsctl('set', 'Open_vSwitch', '.', 'external_ids:test=%d' % self.lives)       # returns when the switch has taken it
        if not wait_until(lambda: os.path.exists(self.dir + '/ovs-vswitchd.pid')):
            raise RuntimeError('ovs-vswitchd does not begin')

    def vsctl(self, *args):
        r = subprocess.run(['ovs-vsctl', '--db=unix:%s/db.sock' % self.dir, '--timeout=30', *args], env=self.env, capture_output=True,
                           text=True, check=False)
        if r.returncode:
            raise RuntimeError('ovs-vsctl %s: %s' % (' '.join(args), r.stderr))
        return r.stdout.strip()

    def ports(self, bridge):
        return sorted(self.vsctl('list-ports', bridge).split())

    def get(self, table, record, column):
        return self.vsctl('--if-exists', 'get', table, record, column)

    def both_enabled(self, bond):
        out = subprocess.run(['ovs-appctl', '-t', '%s/ovs-vswitchd.%d.ctl' % (self.dir, self.process.pid), 'bond/show', bond], env=self.env,
                             capture_output=True, text=True, check=False).stdout
        return out.count(': enabled') == 2

    def kill_switch(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        os.unlink(self.dir + '/ovs-vswitchd.pid')

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for p in (self.process, self.database):
            p.terminate()
        for p in (self.process, self.database):
            p.wait(20)
        shutil.rmtree(self.dir, ignore_errors=True)
        return False
