#!/usr/bin/python3
"""xe as a client: where it looks for the server and the password, and what it does with each message of the protocol.
The server is a script, so that it can also misbehave."""
import os
import signal
import socket
import struct
import subprocess
import threading
import time

from harness import BUILD, check, done
from thinserver import (CONNECT, DEBUG, ERROR, EXIT, FAILED, FOLDER, GET, HELLO, LOAD, OK, PRINT, PROMPT, PUT, STDERR, Server, both, command, http,
                        params, thin)

XE = os.path.join(BUILD, 'xe', 'xe')

root = FOLDER


def xe(server, *args, stdin='', env=None, cwd=None, stdout=subprocess.PIPE):
    e = {'PATH': os.environ['PATH'], 'HOME': root}
    if server and server.port is None:
        e['XAPI_SOCKET'] = server.path
    e.update(env or {})
    r = subprocess.run([XE, *args], input=stdin, stdout=stdout, stderr=subprocess.PIPE, text=True, env=e, cwd=cwd, timeout=30)
    if server:
        server.s.shutdown(socket.SHUT_RDWR)     # nobody else comes
        server.thread.join(20)
    return r


def posted(server):
    return server.seen[1].decode().split('\n')


# ---- what is posted, and what goes before what
s = Server(thin(command(PRINT, 'one'), command(PRINT, 'two\n')))
r = xe(s, 'vm-list', 'a=b=c', '--minimal', '--x')
check((r.returncode, r.stdout, r.stderr) == (0, 'one\ntwo\n\n', ''), 'prints what it is told, a newline behind each')
check(s.seen[0].startswith(b'POST /cli HTTP/1.0\r\n'), 'posts to /cli by HTTP/1.0')
check(posted(s) == ['vm-list', 'a=b=c', '--minimal', '--x', 'username=root', 'password=null'], 'arguments go one a line, who it is last')
check(s.seen[2] == HELLO, 'answers the hello with the same 35 bytes')

with open(os.path.join(root, '.xe'), 'w') as f:
    f.write('# who\n\nusername=rcuser\n  password=rcword\nextra=1\n')
s = Server(thin())
xe(s, 'vm-list')
check(posted(s) == ['vm-list', 'extra=1', 'username=rcuser', 'password=rcword'], '~/.xe says who we are')
s = Server(thin())
xe(s, 'vm-list', env={'XE_EXTRA_ARGS': 'username=envuser,name=a\\,b'})
check('username=envuser' in posted(s) and 'name=a,b' in posted(s) and 'password=rcword' in posted(s), 'XE_EXTRA_ARGS goes before ~/.xe')
s = Server(thin())
xe(s, 'vm-list', '-u', 'cmduser', '-pw', 'p w', env={'XE_EXTRA_ARGS': 'username=envuser'})
check(posted(s)[-2:] == ['username=cmduser', 'password=p w'], 'the command line goes before both')
with open(os.path.join(root, 'pwf'), 'w') as f:
    f.write('fileuser\nfileword\n')
s = Server(thin())
xe(s, 'vm-list', '-pwf', os.path.join(root, 'pwf'))
check(posted(s)[-2:] == ['username=fileuser', 'password=fileword'], '-pwf reads both lines')
r = xe(None, 'vm-list', '-pwf', '/nowhere')
check(r.returncode == 1 and 'password file' in r.stderr, 'a password file that is not there is named')
os.unlink(os.path.join(root, '.xe'))
s = Server(thin(), family='tcp')
r = xe(s, '-s', '127.0.0.1', '-p', str(s.port), 'vm-list')
check(r.returncode == 0 and posted(s)[0] == 'vm-list', 'a port is used although there might be a socket')
r = xe(None, '-p', '70000', 'vm-list')
check(r.returncode == 1 and 'Port number' in r.stderr, 'a port must be one')
r = xe(None)
check(r.returncode == 0 and r.stderr.startswith('Usage: '), 'without arguments it says how it is used')
r = xe(None, 'x', '-version')
check(r.stdout == 'ThinCLI protocol: 0.2\n', '-version')

# ---- messages
s = Server(thin(command(STDERR, 'careful\n'), params('CODE', 'a', 'b'), command(DEBUG, 'x'), command(EXIT, 3)))
r = xe(s, 'vm-list')
check((r.returncode, r.stdout, r.stderr) == (3, '', 'careful\nError code: CODE\nError parameters: a, b\n'), 'errors and the exit status')
s = Server(thin(command(DEBUG, 'inside')))
r = xe(s, 'vm-list', '--debug')
check('debug from server: inside' in r.stderr, '--debug shows the server\'s remarks')
s = Server(thin(command(EXIT, 1)))
r = xe(s, 'vm-list', '--debug-on-fail')
check('Debug info:' in r.stderr, '--debug-on-fail shows them when it fails')
s = Server(thin(command(PRINT, 'sure?'), command(PROMPT), then=lambda p, srv: srv.seen.append(p.blob())))
r = xe(s, 'vm-uninstall', stdin='yes\nmore\n')
check(s.seen[-1] == b'yes' and r.stdout == 'sure?\n', 'a prompt sends one line')
s = Server(thin(command(PROMPT), then=lambda p, srv: srv.seen.append(p.blob())))
xe(s, 'vm-uninstall')
check(s.seen[-1] == b'', 'at the end of input the answer is empty')

# ---- files
data = os.urandom(200000)
name = os.path.join(root, 'data')
with open(name, 'wb') as f:
    f.write(data)


def load(peer, server):
    peer.send(command(LOAD, name))
    server.seen.append(peer.message())
    if server.seen[-1] == OK:
        server.seen.append(peer.blob())


s = Server(thin(then=load))
r = xe(s, 'patch', 'file=' + name)
check(s.seen[-1] == data, 'a file named on the command line is sent')
s = Server(thin(then=load))
r = xe(s, 'patch', 'file=/etc/hostname')
check(r.returncode == 1 and 'not named on the command line' in r.stderr, 'no other file is')
s = Server(thin(then=load))
r = xe(s, 'patch', 'file=' + os.path.join(root, 'x', '..', '.', 'data'))
check(s.seen[-1] == data, 'however it is spelled')
os.rename(name, name + '2')
s = Server(thin(then=load))
r = xe(s, 'patch', 'file=' + name)
check(s.seen[-1] == FAILED and name in r.stderr, 'a file that is not there is named, and the server told')
os.rename(name + '2', name)


def get(file, url, expect=OK):
    def then(peer, server):
        peer.send(command(GET, file, url))
        server.answer = peer.message()
    return then


out = os.path.join(root, 'out')
s = both(thin(then=get(out, '/export?x=1')), http('HTTP/1.0 200 OK\r\nX: y', data))
r = xe(s, 'vm-export', 'filename=' + out)
check(r.returncode == 0 and s.answer == OK and open(out, 'rb').read() == data, 'a download is saved')
check(b'GET /export?x=1 HTTP/1.0' in s.seen[-1], 'by HTTP/1.0')
check(os.stat(out).st_mode & 0o777 == 0o600, 'readable for its owner only')
s = both(thin(then=get(out, '/export?x=1')), http('HTTP/1.0 200 OK', b'other'))
r = xe(s, 'vm-export', 'filename=' + out)
check(r.returncode == 1 and s.answer == FAILED and open(out, 'rb').read() == data, 'a file that exists is not written over')
os.unlink(out)
s = both(thin(then=get(out, '/export')), http('HTTP/1.0 302 Found\r\nLocation: /elsewhere'), http('HTTP/1.0 200 OK', data))
r = xe(s, 'vm-export', 'filename=' + out)
check(s.answer == OK and b'GET /elsewhere' in s.seen[-1] and open(out, 'rb').read() == data, 'a redirect is followed')
os.unlink(out)
s = both(thin(then=get(out, '/export')), http('HTTP/1.0 500 No'))
r = xe(s, 'vm-export', 'filename=' + out)
check(s.answer == FAILED and not os.path.exists(out), 'a refusal leaves no file')
s = both(thin(then=get('', '/export')), http('HTTP/1.0 200 OK', b'to the screen'))
r = xe(s, 'audit-log-get', 'filename=')
check(r.stdout == 'to the screen', 'without a name it goes to standard output')
s = both(thin(then=get('/etc/xe-was-here', '/export')))
r = xe(s, 'vm-export', 'filename=' + out)
check(r.returncode == 1 and not os.path.exists('/etc/xe-was-here'), 'the server cannot choose the file')


def put(peer, server):
    peer.send(command(PUT, name, '/import'))
    server.answer = peer.message()


s = both(thin(then=put), http('HTTP/1.0 200 OK', read=True))
r = xe(s, 'vm-import', 'filename=' + name)
check(s.answer == OK and s.seen[-1] == data, 'an upload arrives whole')
check(b'Content-Length: %d' % len(data) in s.seen[-2], 'and says how long it is')
fifo = os.path.join(root, 'fifo')
os.mkfifo(fifo)
threading.Thread(target=lambda: open(fifo, 'wb').write(data), daemon=True).start()


def put_fifo(peer, server):
    peer.send(command(PUT, fifo, '/import'))
    server.answer = peer.message()


s = both(thin(then=put_fifo), http('HTTP/1.0 200 OK', read=True))
r = xe(s, 'vm-import', 'filename=' + fifo)
check(s.answer == OK and s.seen[-1] == data and b'ength' not in s.seen[-2], 'a pipe is sent until it ends, without a length')
s = both(thin(then=put), http('HTTP/1.0 404 Not Found'))
r = xe(s, 'vm-import', 'filename=' + name)
check(s.answer == FAILED, 'an upload that nobody wants has failed')


def missing(peer, server):
    peer.send(command(PUT, name + '.none', '/import'))
    server.answer = peer.message()


s = Server(thin(then=missing))
r = xe(s, 'vm-import', 'filename=' + name + '.none')
check(r.returncode == 1 and s.answer == FAILED and 'does not exist' in r.stderr, 'a file that is not there cannot be sent')


def console(peer, server):
    peer.send(command(CONNECT, '/console?uuid=1'))
    server.answer = peer.message()


def shell(peer, server):
    head = b''
    while b'\r\n\r\n' not in head:
        head += peer.read(1)
    server.seen.append(head)
    peer.send(b'HTTP/1.0 200 OK\r\n\r\nlogin: ')
    server.seen.append(peer.read(5))
    peer.send(b'bye')


s = both(thin(then=console), shell)
r = xe(s, 'console', stdin='root\n')
check(s.answer == OK and r.stdout == 'login: bye' and s.seen[-1] == b'root\n', 'a console is relayed both ways')
s = both(thin(then=console), lambda p, srv: shell(p, srv))
r = xe(s, 'console', stdin='a\x1db\n')
check(r.returncode == 0 and 'bye' not in r.stdout, 'Ctrl-] ends it')

# ---- servers that misbehave
s = Server(lambda p, srv: (p.request(), p.send(b'HTTP/1.1 500 Internal Error\r\n\r\n' + b'x' * 40)))
r = xe(s, 'vm-list')
check(r.returncode == 1 and 'Server internal error' in r.stderr, 'an HTTP answer is no CLI server')
s = Server(lambda p, srv: (p.request(), p.send(HELLO[:27] + struct.pack('<ii', 1, 0))))
r = xe(s, 'vm-list')
check(r.returncode == 1 and 'version mismatch' in r.stderr, 'another protocol version is refused')
s = Server(lambda p, srv: p.request())
r = xe(s, 'vm-list')
check(r.returncode == 1 and 'Unable to contact server' in r.stderr, 'a server that says nothing')
s = Server(lambda p, srv: (p.request(), p.send(HELLO), p.read(35), p.send(command(PRINT, 'half')[:-2])))
r = xe(s, 'vm-list')
check(r.returncode == 1 and 'Lost connection to the server' in r.stderr, 'a server that goes in mid-sentence')
for what, junk in (('a huge message', struct.pack('<i', 2**31 - 1)), ('a negative length', struct.pack('<i', -5)),
                   ('an unknown command', struct.pack('<iii', 8, 9, 99)), ('a response', struct.pack('<i', 8) + OK),
                   ('a string that is too long', struct.pack('<iiii', 12, 9, 0, 10**9))):
    s = Server(lambda p, srv: (p.request(), p.send(HELLO), p.read(35), p.send(junk), time.sleep(0.2)))
    r = xe(s, 'vm-list')
    check(r.returncode == 1 and r.stderr and 'Traceback' not in r.stderr, what + ' from the server ends xe with a sentence')
r = xe(None, 'vm-list', env={'XAPI_SOCKET': '/nowhere'}, cwd=root)
check(r.returncode == 1 and r.stderr.startswith('Error: Cannot connect'), 'no server: says so')
r = xe(None, '-s', 'no.such.host.invalid', 'vm-list')
check(r.returncode == 1 and 'not found' in r.stderr, 'no such host: says so')

# ---- our own end
with open('/dev/full', 'w') as full:
    s = Server(thin(command(PRINT, 'x')))
    r = xe(s, 'vm-list', stdout=full)
check(r.returncode == 1 and 'cannot write' in r.stderr, 'output that cannot be written is an error')
s = Server(thin(*[command(PRINT, 'x' * 1000)] * 2000))
p = subprocess.Popen([XE, 'vm-list'], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={'XAPI_SOCKET': s.path, 'HOME': root})
p.stdout.read(10)
p.stdout.close()
check(p.wait(20) == 1 and b'cannot write' in p.stderr.read(), 'a broken pipe ends xe')


def slow(peer, server):
    head = b''
    while b'\r\n\r\n' not in head:
        head += peer.read(1)
    peer.send(b'HTTP/1.0 200 OK\r\n\r\nbegin')
    server.started = True
    time.sleep(5)


s = both(thin(then=get(out, '/export')), slow)
s.started = False
p = subprocess.Popen([XE, 'vm-export', 'filename=' + out], env={'XAPI_SOCKET': s.path, 'HOME': root}, stderr=subprocess.DEVNULL)
until = time.monotonic() + 10
while not (s.started and os.path.exists(out)) and time.monotonic() < until:
    time.sleep(0.02)
time.sleep(0.1)
p.send_signal(signal.SIGINT)
check(p.wait(10) == 130 and not os.path.exists(out), 'an interrupted download leaves no half file')

done()
