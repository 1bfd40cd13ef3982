#!/usr/bin/env python3
"""The rig keeps its promises: machines are alike but for their random numbers, names and MACs; their clock is right; a machine
ends with its test; files, ports, cables, a pair."""
import os
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.environ['XAPI_SOURCE'], 'tests', 'rig'))
from harness import check, done, wait_until     # noqa: E402
from rig import Pair, Rig, RigError             # noqa: E402

UUID = 'cat /proc/sys/kernel/random/uuid'

with Rig('linux') as rig:
    began = time.monotonic()
    check(rig.run('exit 7')[0] == 7, 'the status of a command comes back')
    check(rig.run('echo out; echo err >&2') == (0, 'out\nerr\n'), 'with all that it says')
    check(rig.run('sleep 60', 1)[0] == -signal.SIGKILL, 'a command past its time is killed')
    rc, text = rig.run('(sleep 60; echo late) & echo $!')
    check(rc == 0 and time.monotonic() - began < 40, 'a child left behind does not hold it up')
    data = os.urandom(3 << 20)
    rig.put({'/root/a b': data})
    check(rig.get('/root/a b') == data, 'files go in and out as they are')
    try:
        rig.get('/root/none')
        check(False, 'a file that is not there')
    except RigError as e:
        check('/root/none' in str(e), 'a file that is not there is an error')
    check(abs(float(rig.must('date +%s.%N')) - time.time()) < 5, 'the clock is right')
    rig.must('setsid socat TCP-LISTEN:5000,fork,reuseaddr SYSTEM:"echo hello" >/dev/null 2>&1 </dev/null &\n'
             'until ss -ltn | grep -q :5000; do sleep 0.1; done')
    with socket.create_connection(('127.0.0.1', rig.forward(5000)), 20) as s:
        check(s.makefile().read() == 'hello\n', 'a port of 127.0.0.1 leads to it')
    rig.must('ip netns add w; ip link set eth1 netns w; ip -n w address add 10.1.0.2/24 dev eth1; ip -n w link set eth1 up;'
             ' ip address add 10.1.0.1/24 dev eth0')
    check(rig.run('ping -q -c 2 -W 5 10.1.0.2')[0] == 0, 'its cards are on one hub')
    rig.pull_cable(0)
    check(wait_until(lambda: rig.must('cat /sys/class/net/eth0/carrier') == '0', 10), 'a pulled cable is seen')
    rig.pull_cable(0, False)
    check(wait_until(lambda: rig.must('cat /sys/class/net/eth0/carrier') == '1', 10), 'and a plugged one')
    one = rig.must(UUID)

with Pair('linux') as two:
    both = [two.a.must(UUID), two.b.must(UUID)]
    check(len({one, *both}) == 3, 'restored machines have random numbers of their own')
    check([m.must('hostname') for m in (two.a, two.b)] == ['host1', 'host2'], 'and names')
    check(two.a.must('cat /sys/class/net/eth0/address') == two.a.mac(0) != two.b.mac(0), 'and MACs')
    for host, m in ((1, two.a), (2, two.b)):
        m.must('for n in 0 1 2; do ip address add 10.2.$n.%d/24 dev eth$n; done' % host)
    check(all(two.a.run('ping -q -c 2 -W 5 10.2.%d.2' % n)[0] == 0 for n in range(3)), 'three cables join a pair')
    two.b.must('setsid iperf3 -s -D >/dev/null 2>&1 </dev/null')
    print('# between two machines: ' + two.a.must('iperf3 -c 10.2.0.2 -t 3 -f m | grep receiver', 60))

# A test that is killed takes its machine with it.
script = 'import sys; sys.path.insert(0, %r); from rig import Rig; r = Rig("linux"); r.start(); print(r.process.pid, r.dir, flush=True); r.run("sleep 600", 600)'
child = subprocess.Popen([sys.executable, '-c', script % os.path.join(os.environ['XAPI_SOURCE'], 'tests', 'rig')], stdout=subprocess.PIPE,
                         text=True)
pid, folder = child.stdout.readline().split()
child.kill()
child.wait()
check(wait_until(lambda: not os.path.exists('/proc/' + pid), 10), 'a killed test takes its machine with it')
with Rig('linux'):
    check(not os.path.exists(folder), 'the next one removes its files')
done()
