"""The host's links as `ip` shows them, and the world behind its cables: another network namespace, of a process that ends with the test."""
import json
import os
import subprocess

from harness import wait_until

os.environ['PATH'] += ':/usr/sbin:/sbin'


def run(*args):
    r = subprocess.run(args, capture_output=True, text=True, check=False)
    if r.returncode:
        raise RuntimeError('%s: %s' % (' '.join(args), r.stderr))
    return r.stdout


def links():
    return {l['ifname']: l for l in json.loads(run('ip', '-d', '-j', 'addr'))}


def addresses(name):
    """Of more than the link's own scope; None: there is no such link."""
    l = links().get(name)
    return sorted('%s/%d' % (a['local'], a['prefixlen']) for a in l['addr_info'] if a['scope'] == 'global') if l else None


def pings(address, seconds=1, where=()):
    return subprocess.run([*where, 'busybox', 'ping', '-c', '1', '-W', str(seconds), address], capture_output=True, check=False).returncode == 0


class World:
    def __init__(self):
        self.process = subprocess.Popen(['unshare', '-n', 'cat'], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        self.pid = self.process.pid
        wait_until(lambda: os.readlink('/proc/%d/ns/net' % self.pid) != os.readlink('/proc/self/ns/net'))
        self.into = ['nsenter', '-t', str(self.pid), '-n']
        self.run('ip', 'link', 'set', 'lo', 'up')

    def run(self, *args):
        return run(*self.into, *args)

    def cable(self, card, wire):
        """A card of the host; the other end is there."""
        run('ip', 'link', 'add', card, 'type', 'veth', 'peer', 'name', wire, 'netns', str(self.pid))
        run('ip', 'link', 'set', card, 'up')
        self.run('ip', 'link', 'set', wire, 'up')

    def reaches(self, address, seconds=2):
        return pings(address, seconds, self.into)

    def close(self):
        self.process.kill()
        self.process.wait()
