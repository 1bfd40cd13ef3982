"""A repository of the file driver, used as the agent uses it, but without the agent: calls of the driver, merges, contents of disks."""
import os
import subprocess
import uuid

from harness import BUILD, SOURCE, VHD_PLUGIN


class Repository:
    """fmt: qcow2 or vhd; work: a folder for it and what belongs to it; env: for every program that touches its files."""

    def __init__(self, fmt, work, env=None):
        self.fmt, self.work, self.sr = fmt, work, str(uuid.uuid4())
        self.loc = os.path.join(work, fmt)
        self.env = dict(os.environ, XAPI_SM_STATE_DIR=os.path.join(work, 'state'), XAPI_SM_MOUNT_DIR=os.path.join(work, 'mnt'), **env or {})
        self.call('sr_create', 'args=0')

    def call(self, command, *members, fault=None):
        e = dict(self.env, SM_FAULT=fault) if fault else self.env
        out = subprocess.run(['/usr/bin/python3', os.path.join(SOURCE, 'tests/sm/smcall.py'), os.path.join(BUILD, 'sm/file'), 'file',
                              command, 'sr_uuid=' + self.sr, 'config.location=' + self.loc, 'smconfig.image-format=' + self.fmt,
                              *members], capture_output=True, text=True, env=e)
        return dict(line.split('=', 1) for line in out.stdout.splitlines() if '=' in line)

    def path(self, vdi):
        return '%s/%s.%s' % (self.loc, vdi, self.fmt)

    def write(self, vdi, at, data):
        piece = os.path.join(self.work, 'piece')
        with open(piece, 'wb') as f:
            f.write(data)
        io = 'write -s %s %d %d' % (piece, at, len(data))
        if self.fmt == 'vhd':
            got = subprocess.run(['nbdkit', '-U', '-', VHD_PLUGIN, 'image=' + self.path(vdi), '--run',
                                  'qemu-io -f raw -c "%s" -c flush "$uri"' % io], capture_output=True, text=True, env=self.env)
        else:
            got = subprocess.run(['qemu-io', '-f', 'qcow2', '-c', io, '-c', 'flush', self.path(vdi)], capture_output=True, text=True,
                                 env=self.env)
        assert got.returncode == 0 and 'fail' not in got.stdout, got.stdout + got.stderr

    def read(self, vdi):
        out = os.path.join(self.work, 'out.raw')
        if self.fmt == 'vhd':
            got = subprocess.run(['nbdkit', '-r', '-U', '-', VHD_PLUGIN, 'image=' + self.path(vdi), '--run',
                                  'qemu-img convert -f raw -O raw "$uri" ' + out], capture_output=True, text=True)
        else:
            got = subprocess.run(['qemu-img', 'convert', '-U', '-f', 'qcow2', '-O', 'raw', self.path(vdi), out],
                                 capture_output=True, text=True)
        if got.returncode:
            return got.stderr
        with open(out, 'rb') as f:
            return f.read()

    def plan(self, *attached):
        got = self.call('sr_gc_plan', 'attached_list=' + ','.join(attached))
        tops = sorted({k.split('.')[1] for k in got if k.startswith('merges.') and k != 'merges.n'})
        return [{f: got['merges.%s.%s' % (t, f)] for f in ('top', 'base', 'format', 'top_path', 'base_path', 'leaf', 'stamp')}
                for t in tops]

    def merge(self, m):
        return subprocess.run([os.path.join(BUILD, 'sm/image-merge'), m['format'], m['top_path'], m['base_path']],
                              capture_output=True, text=True, env=self.env)

    def finish(self, m, *attached, fault=None):
        return self.call('sr_gc_finish', 'args=%s,%s,%s' % (m['top'], m['base'], m['stamp']),
                         'attached_list=' + ','.join(attached), fault=fault)

    def files(self):
        return sorted(n for n in os.listdir(self.loc) if n != '.xapi-sr')
