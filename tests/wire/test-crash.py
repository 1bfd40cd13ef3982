#!/usr/bin/env python3
"""An agent that crashes: its report says what it was at, the next agent tells it once, and what was acknowledged is there."""
import glob
import http.client
import io
import os
import re
import resource
import signal
import stat
import sys
import tarfile
import threading
import xml.parsers.expat

from harness import BUILD, Agent, Failure, check, done, wait_until

GONE = (OSError, http.client.HTTPException, xml.parsers.expat.ExpatError)      # the last: an answer that breaks off
KEPT = 20


def reports(agent):
    return sorted(glob.glob(os.path.join(agent.root, 'crash', 'crash-*')))


def text_of(path):
    with open(path) as f:
        return f.read()


def crashed(agent, number, what):
    """Its end, and the one report that is new."""
    status = agent.process.wait(60)
    check(status == -number, '%s ends as the signal says: %d' % (what, status))
    new = [p for p in reports(agent) if p.endswith('.new')]
    check(len(new) == 1 and stat.S_IMODE(os.stat(new[0]).st_mode) == 0o600, '%s leaves a report: %s' % (what, new))
    return text_of(new[0])


def in_a_call(agent):
    """What a failed allocation, or a failed assertion, in the middle of a call is."""
    s = agent.login()
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'crash')
    s.VM.provision(vm)
    uuid = s.VM.get_uuid(vm)
    agent.arm('agent.step abort 1')
    try:
        s.VM.start(vm, False, False)
        check(False, 'the call ends with its agent')
    except GONE:
        check(True, 'the call ends with its agent')
    text = crashed(agent, signal.SIGABRT, 'an abort in a call')
    head, _, where = text.partition('where:\n')
    check(re.match(r'xapi [\d.]+\S* crashed: SIGABRT\n', head), 'which names the program and the signal: %s' % head.splitlines()[:1])
    check('\ncall: VM.start\n' in head and '\nobject: %s\n' % vm in head and re.search(r'\ntask: [0-9a-f-]{36}\n', head), 'the call, its object and its task')
    check(where.count('xapi(') >= 5 and 'abort' in where, 'and where in the code')
    check(s._ref not in text, 'and no secret')
    agent.start()
    s = agent.login()
    told = [r for r in s.message.get_all_records().values() if r['name'] == 'XAPI_CRASHED']
    check(len(told) == 1 and told[0]['cls'] == 'Host' and 'call: VM.start' in told[0]['body'] and 'where' not in told[0]['body'], 'the next agent has an alert')
    path = told[0]['body'].splitlines()[-1].split(' ', 1)[1]
    check(reports(agent) == [path] and text_of(path) == text, 'that says where the report is')
    check('the agent before this one crashed' in agent.tail(400), 'and a line in its log')
    check(s.VM.get_power_state(s.VM.get_by_uuid(uuid)) == 'Halted' and not s.VM.get_current_operations(vm), 'the VM is as it was')
    c = http.client.HTTPConnection('127.0.0.1', agent.http_port, timeout=60)
    c.request('GET', '/system-status?entries=xapi-crashes&output=tar&session_id=' + s._ref)
    names = tarfile.open(fileobj=io.BytesIO(c.getresponse().read())).getnames()
    check('bug-report/' + os.path.basename(path) in names, 'the bug report has it: %s' % names)


def from_outside(agent):
    agent.process.send_signal(signal.SIGSEGV)
    text = crashed(agent, signal.SIGSEGV, 'a SIGSEGV that somebody sends')
    check('crashed: SIGSEGV, sent by process %d\n' % os.getpid() in text and '\ncall:' not in text, 'who sent it, and no call: %s' % text.splitlines()[0])
    for n in range(KEPT + 5):
        with open(os.path.join(agent.root, 'crash', 'crash-%d-1' % (1000 + n)), 'w') as f:
            f.write('old\n')
    agent.start()
    s = agent.login()
    check(sum(r['name'] == 'XAPI_CRASHED' for r in s.message.get_all_records().values()) == 2, 'each crash is told once')
    left = [os.path.basename(p) for p in reports(agent)]
    check(len(left) == KEPT and 'crash-1000-1' not in left and 'crash-%d-1' % (1000 + KEPT + 4) in left, 'the newest are kept: %d' % len(left))


def without_memory(agent):
    """The address space is closed while some write and others ask for much."""
    s = agent.login()
    vm, acknowledged = s.VM.get_by_name_label('crash')[0], []

    def write():
        try:
            w = agent.login()
            for n in range(100000):
                w.VM.add_to_other_config(vm, 'k%d' % n, 'x' * 100)
                acknowledged.append(n)
        except GONE + (Failure,):
            pass

    def ask():
        try:
            w = agent.login()
            while True:
                w.VM.get_all_records()
        except GONE + (Failure,):
            pass

    writer = threading.Thread(target=write)
    writer.start()
    wait_until(lambda: len(acknowledged) > 50)
    with open('/proc/%d/statm' % agent.process.pid) as f:
        now = int(f.read().split()[0]) * os.sysconf('SC_PAGE_SIZE')
    resource.prlimit(agent.process.pid, resource.RLIMIT_AS, (now, now))
    hungry = [threading.Thread(target=ask) for _ in range(16)]
    for t in hungry:
        t.start()
    text = crashed(agent, signal.SIGABRT, 'an agent without memory')
    check(re.search(r'\ncall: \w+\.\w+\n', text), 'which says in what call: %s' % text.splitlines()[:4])
    for t in [writer] + hungry:
        t.join(60)
    agent.start()
    s = agent.login()
    have = s.VM.get_other_config(vm)
    lost = [n for n in acknowledged if 'k%d' % n not in have]
    check(len(acknowledged) > 50 and not lost, 'what was acknowledged before is there: %d writes' % len(acknowledged))
    check(not [t for t in s.task.get_all_records().values() if t['status'] == 'pending'], 'and no task waits')


with open(os.path.join(BUILD, 'xapi', 'xapi'), 'rb') as f:
    program = f.read()
if b'__asan_init' in program or b'__tsan_init' in program:
    print('# a sanitizer takes these signals')
    sys.exit(77)
with Agent(faults=True) as agent:
    in_a_call(agent)
    from_outside(agent)
    without_memory(agent)
done()
