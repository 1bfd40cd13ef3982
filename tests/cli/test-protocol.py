#!/usr/bin/python3
"""POST /cli byte by byte: what old clients send, what nobody should send, and clients that go away in the middle."""
import os
import socket
import struct
import time

from harness import PASSWORD, USER, Agent, check, done, unwrap, wait_until

HELLO = b'XenSource thin CLI protocol' + struct.pack('<ii', 0, 2)
PRINT, PROMPT, EXIT, GET, STDERR = 0, 3, 4, 12, 16
KINDS = {0: 's', 1: 's', 3: '', 4: 'i', 12: 'ss', 13: 'ss', 14: 'sl', 15: 's', 16: 's', 17: 's'}


class Gone(Exception):
    pass


class Line:
    """One conversation."""

    def __init__(self, agent, body, head=None, tcp=False, hello=HELLO):
        if tcp:
            self.s = socket.create_connection(('127.0.0.1', agent.http_port), timeout=30)
        else:
            self.s = socket.socket(socket.AF_UNIX)
            self.s.settimeout(30)
            self.s.connect(agent.socket)
        if isinstance(body, list):
            body = '\n'.join(body)
        body = body.encode() if isinstance(body, str) else body
        self.s.sendall((head or 'POST /cli HTTP/1.0\r\ncontent-length: %d\r\n\r\n' % len(body)).encode() + body)
        self.first = b''
        if hello:
            self.first = self.read(len(HELLO))
            self.s.sendall(hello)

    def read(self, n):
        data = b''
        while len(data) < n:
            try:
                piece = self.s.recv(n - len(data))
            except ConnectionResetError:
                piece = b''
            if not piece:
                raise Gone(data)
            data += piece
        return data

    def number(self):
        return struct.unpack('<i', self.read(4))[0]

    def message(self):
        """(command, argument...)"""
        payload = self.read(self.number())
        kind, command = struct.unpack('<ii', payload[:8])
        assert kind == 9, kind
        at, out = 8, [command]
        for what in KINDS[command]:
            n = struct.unpack('<i', payload[at:at + 4])[0]
            at += 4
            if what == 's':
                out.append(payload[at:at + n].decode())
                at += n
            elif what == 'i':
                out.append(n)
        return tuple(out)

    def answer(self, text):
        text = text.encode()
        self.s.sendall(struct.pack('<iiii', 12, 11, 7, len(text)) + text + struct.pack('<iii', 8, 11, 8))

    def rest(self):
        """(exit status, output, errors)"""
        out, errors = '', ''
        while True:
            m = self.message()
            if m[0] == PRINT:
                out += m[1] + '\n'
            elif m[0] == STDERR:
                errors += m[1]
            elif m[0] == EXIT:
                return m[1], out, errors
            else:
                raise AssertionError(m)

    def ends(self):
        """True when nothing more comes."""
        try:
            self.read(1)
        except Gone as e:
            return e.args[0] == b''
        return False


def descriptors(agent):
    return len(os.listdir('/proc/%d/fd' % agent.process.pid))


def old_clients(agent, s):
    who = ['username=' + USER, 'password=' + PASSWORD]
    line = Line(agent, ['host-list', '--minimal'] + who, tcp=True)
    check(line.first == HELLO, 'the first bytes are the hello, without a status line')
    host = unwrap(agent.proxy().host.get_all(s._ref))[0]
    uuid = s.host.get_uuid(host)
    code, out, errors = line.rest()
    check((code, out.strip(), errors) == (0, uuid, ''), 'a request with a length only is answered')
    check(line.ends(), 'after Exit the connection ends')
    body = '\r\n'.join(['host-list', '--minimal'] + who)
    check(Line(agent, body, tcp=True).rest()[1].strip() == uuid, 'lines may end in CR LF')
    check(Line(agent, body + '\n', tcp=True).rest()[1].strip() == uuid, 'and the last one in a newline')
    hello = HELLO[:27] + struct.pack('<ii', 0, 1)
    check(Line(agent, body, tcp=True, hello=hello).rest()[0] == 0, 'an older minor version is good enough')
    line = Line(agent, ['host-list', '--minimal'] + who, tcp=True,
                head='POST /cli HTTP/1.1\r\nHost: x\r\nUser-Agent: xe\r\nContent-Length: %d\r\n\r\n' % len('\n'.join(['host-list', '--minimal'] + who)))
    check(line.rest()[1].strip() == uuid, 'HTTP/1.1 is answered the same way')
    line = Line(agent, ['session_id=' + s._ref, 'host-list', '--minimal'], tcp=True)
    check(line.rest()[1].strip() == uuid, 'a session on the first line is used')
    check(s.host.get_uuid(host) == uuid, 'and not ended')
    code, out, errors = Line(agent, ['session_id=OpaqueRef:none', 'host-list', '--minimal'], tcp=True).rest()
    check(code == 1 and out == '' and errors, 'a session that does not exist is refused')
    check(Line(agent, ['host-list', '--minimal', 'username=x', 'password=y']).rest()[0] == 0,
          'the owner of the daemon needs no password on the socket')


def refusals(agent):
    code, out, errors = Line(agent, ['host-list', 'username=' + USER, 'password=wrong'], tcp=True).rest()
    check(code == 1 and out == '' and errors, 'a wrong password is refused')
    code, out, errors = Line(agent, ['host-list'], tcp=True).rest()
    check(code == 1 and out == '', 'so is none at all')
    for what, hello in (('another major version', HELLO[:27] + struct.pack('<ii', 1, 2)), ('another program', b'x' * 35)):
        check(Line(agent, ['help'], hello=hello).ends(), what + ' is hung up on')
    for what, body in (('nothing', ''), ('newlines', '\n\n\n'), ('only a login', 'username=a\npassword=b'), ('two names', 'help\nvm-list\nx'),
                       ('a name of 64 KiB', 'x' * 65536), ('an argument of 64 KiB', 'vm-list\nname-label=' + 'x' * 65536),
                       ('format letters', 'vm-list\nname-label=%n%s%x\n%s%n=1'), ('tags', 'vm-list\nparams=<a>&amp;')):
        code, out, errors = Line(agent, body).rest()
        check(code in (0, 1) and len(out) + len(errors) < 300000, '%s: an answer and an exit status (%d)' % (what, code))
    code, out, errors = Line(agent, '\n'.join(['vm-list'] + ['a%d=b' % i for i in range(5000)])).rest()
    check(code == 1 and 'arguments' in errors, 'thousands of arguments are too many')
    code, out, errors = Line(agent, b'vm-list\0\nx=y').rest()
    check(code == 1 and 'NUL' in errors, 'a NUL is refused')
    uuid = Line(agent, b'secret-create\nvalue=a\xffb\xc3').rest()[1].strip()
    check(Line(agent, 'secret-list\nuuid=%s\nparams=value\n--minimal' % uuid).rest()[1].strip() == 'a\ufffdb\ufffd',
          'what is no UTF-8 is replaced before it is kept')
    for what, head, status in (('a body of a gigabyte is refused before it is read', 'content-length: 1000000000\r\n', b' 413 '),
                               ('a body without a length is refused', '', b' 411 ')):
        line = Line(agent, '', 'POST /cli HTTP/1.0\r\n%s\r\n' % head, hello=None)
        check(status in line.s.recv(4096), what)


def conversation(agent, s):
    template = [r for r, v in s.VM.get_all_records().items() if v['name_label'] == 'Other install media'][0]
    vm = s.VM.clone(template, 'asked')
    s.VM.provision(vm)
    line = Line(agent, ['vm-uninstall', 'vm=asked'])
    while line.message() != (PROMPT,):
        pass
    line.answer('no')
    check(line.rest()[0] == 0 and s.VM.get_by_name_label('asked') == [vm], 'a prompt that is answered no does nothing')
    line = Line(agent, ['vm-uninstall', 'vm=asked'])
    while line.message() != (PROMPT,):
        pass
    line.answer('yes')
    check(line.rest()[0] == 0 and s.VM.get_by_name_label('asked') == [], 'yes does it')

    vm = s.VM.clone(template, 'asked')
    s.VM.provision(vm)
    for what, answer in (('nothing, and goes', b''), ('half a message', struct.pack('<i', 12) + b'ab'),
                         ('a huge message', struct.pack('<i', 2**31 - 1)), ('a negative length', struct.pack('<i', -1)),
                         ('a huge chunk', struct.pack('<iiii', 12, 11, 7, 2**31 - 1)), ('a negative chunk', struct.pack('<iiii', 12, 11, 7, -1)),
                         ('a command', struct.pack('<iii', 8, 9, 4)), ('a response', struct.pack('<iii', 8, 10, 5)),
                         ('an unknown tag', struct.pack('<iii', 8, 11, 77))):
        line = Line(agent, ['vm-uninstall', 'vm=asked'])
        while line.message() != (PROMPT,):
            pass
        if answer:
            line.s.sendall(answer)
        line.s.shutdown(socket.SHUT_WR)
        try:
            while line.message()[0] != EXIT:
                pass
        except Gone:
            pass
        line.s.close()
        check(s.VM.get_by_name_label('asked') == [vm], 'a prompt answered with %s does nothing' % what)
    line = Line(agent, ['vm-uninstall', 'vm=asked'])
    while line.message() != (PROMPT,):
        pass
    line.s.sendall(b''.join(struct.pack('<iiii', 12, 11, 7, 1) + c.encode() for c in 'yes') + struct.pack('<iii', 8, 11, 8))
    check(line.rest()[0] == 0 and s.VM.get_by_name_label('asked') == [], 'an answer may come in pieces')


def settled(agent):
    """How many descriptors are open once those of earlier connections are closed."""
    n, m = descriptors(agent) + 1, descriptors(agent)
    while m < n:
        time.sleep(0.5)
        n, m = m, descriptors(agent)
    return m


def vanishing(agent, s):
    before = settled(agent)
    lines = [Line(agent, ['event-wait', 'class=vm', 'name-label=never']) for _ in range(20)]
    check(wait_until(lambda: descriptors(agent) >= before + 20), 'twenty wait for an event that does not come')
    for line in lines:
        line.s.close()
    check(wait_until(lambda: descriptors(agent) <= before + 2, 60), 'when they go their connections go')
    lines = [Line(agent, ['x'], hello=None) for _ in range(20)]
    for line in lines:
        line.s.close()
    template = [r for r, v in s.VM.get_all_records().items() if v['name_label'] == 'Other install media'][0]
    for i in range(300):
        s.VM.clone(template, 'many%d' % i)
    for _ in range(20):
        line = Line(agent, ['template-list', 'params=all'])
        line.s.close()
    check(wait_until(lambda: descriptors(agent) <= before + 2, 60), 'those that do not even listen leave nothing behind')
    line = Line(agent, ['template-list', 'params=all'])
    time.sleep(1)
    code, out, errors = line.rest()
    check(code == 0 and out.count('uuid ( RO)') >= 300, 'one that reads late gets all of it')


with Agent() as agent:
    s = agent.login()
    old_clients(agent, s)
    refusals(agent)
    conversation(agent, s)
    vanishing(agent, s)
done()
