"""HTTP as clients see it, byte by byte, against the server alone (tests/unit/http-echo): limits, time-outs, uploads,
TLS with curl, peer credentials, PROXY lines, static files."""
import os
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time

from harness import BUILD, check, done, skip

ROOT = tempfile.mkdtemp(prefix='xapi-http-')
SOCKET = os.path.join(ROOT, 's')
WEB = os.path.join(ROOT, 'web')


class Server:
    def __init__(self, *args):
        self.child = subprocess.Popen([os.path.join(BUILD, 'tests/unit/http-echo'), *args], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, stderr=open(os.path.join(ROOT, 'log'), 'ab'))
        self.ports = {}
        while True:
            words = self.child.stdout.readline().split()
            if not words:
                raise RuntimeError('http-echo did not start')
            if words[0] == b'ready':
                break
            self.ports[words[0].decode()] = int(words[1])

    def stop(self):
        """The exit status; what the server said when it is not 0."""
        self.child.stdin.close()
        code = self.child.wait(20)
        if code:
            print(''.join('# ' + line for line in open(os.path.join(ROOT, 'log'), errors='replace')))
        return code


def connect(where):
    if isinstance(where, str):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(10)
        s.connect(where)
    else:
        s = socket.create_connection(('127.0.0.1', where), 10)
    return s


def until_end(s):
    got = b''
    try:
        while True:
            piece = s.recv(65536)
            if not piece:
                return got
            got += piece
    except ConnectionResetError:
        return got + b'<RESET>'


def ask(where, request, close_side=False):
    """Send, read until the server closes."""
    s = connect(where)
    s.sendall(request)
    if close_side:
        s.shutdown(socket.SHUT_WR)
    answer = until_end(s)
    s.close()
    return answer


def status(answer):
    found = re.match(rb'HTTP/1\.[01] (\d+) ', answer)
    return int(found.group(1)) if found else None


def body(answer):
    return answer.split(b'\r\n\r\n', 1)[-1]


def one(s):
    """One reply with a Content-Length; (status, head, body)."""
    got = b''
    while b'\r\n\r\n' not in got:
        piece = s.recv(1)
        if not piece:
            return None, got, b''
        got += piece
    length = int(re.search(rb'(?i)content-length: (\d+)', got).group(1))
    text = b''
    while len(text) < length:
        text += s.recv(length - len(text))
    return status(got), got, text


def get(where, target, headers=b''):
    return ask(where, b'GET ' + target + b' HTTP/1.0\r\n' + headers + b'\r\n')


def curl(*args):
    child = subprocess.run(['curl', '-s', '-k', '-m', '20', *args], stdout=subprocess.PIPE)
    return child.returncode, child.stdout


def test_heads(port):
    answer = ask(port, b'POST /RPC2 HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi')
    check(answer.startswith(b'HTTP/1.0 200 OK\r\n') and b'Connection: close' in answer and body(answer) == b'hi',
          '1.0: answered as 1.0, closed')
    check(b'Transfer-Encoding' not in answer and b'Content-Length: 2\r\n' in answer, 'a length, no chunks')
    check(b'\r\nContent-Type: text/xml\r\n' in answer, 'the content type stands alone')
    answer = ask(port, b'POST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi')
    check(status(answer) == 200 and b'Connection: close' in answer, '1.0 with keep-alive is closed too')
    for method in (b'HEAD', b'DELETE', b'PATCH', b'BREW'):
        check(status(ask(port, method + b' / HTTP/1.0\r\n\r\n')) == 501, '%s: 501' % method.decode())
    check(body(ask(port, b'HEAD / HTTP/1.1\r\n\r\n')).count(b'HTTP/') == 0, 'HEAD: closed, nothing behind it')
    for bad in (b'nonsense\r\n\r\n', b'GET / HTTP/1.1\r\nA : b\r\n\r\n', b'GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n',
                b'GET /%00 HTTP/1.1\r\n\r\n', b'POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx',
                b'POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nx', b'\x16\x03\x01\x02\x00\n\n'):
        check(status(ask(port, bad)) == 400, '400: %r' % bad[:40])
    check(status(ask(port, b'GET / HTTP/2.0\r\n\r\n')) == 505, 'HTTP/2.0: 505')
    check(status(ask(port, b'POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n')) == 411,
          'a chunked RPC body is refused')
    check(status(ask(port, b'POST / HTTP/1.1\r\n\r\n')) == 411, 'an RPC without length is refused')
    check(status(get(port, b'/' + b'a' * 16000)) == 404, 'a head of almost 16 KiB is read')
    check(status(get(port, b'/' + b'a' * 17000)) == 431, 'a larger one: 431')
    check(status(ask(port, b'GET / HTTP/1.1\r\n' + b'A: b\r\n' * 100000)) == 431, 'endless headers: 431')
    s = connect(port)
    s.sendall(b'POST / HTTP/1.1\r\nContent-Length: 307200\r\n\r\n' + b'x' * 307200)
    check(one(s)[0] == 200, 'a body of 300 KiB is taken')
    s.sendall(b'POST / HTTP/1.1\r\nContent-Length: 307201\r\n\r\n' + b'x' * 307201)
    check(one(s)[0] == 413 and until_end(s) == b'', 'one byte more: 413, and the answer survives the rest of the body')
    s.close()
    s = connect(port)
    s.sendall(b'GET /none HTTP/1.1\r\n\r\nGET /request HTTP/1.1\r\n\r\n')
    first, second = one(s), one(s)
    check(first[0] == 404 and second[0] == 200, '404 keeps the connection')
    s.sendall(b'GET /silent HTTP/1.1\r\n\r\n')
    check(one(s)[0] == 500, 'a handler that says nothing: 500')
    s.close()


def test_truncated(port):
    request = b'POST /x?y=z HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody'
    wrong = []
    for n in range(len(request)):
        answer = ask(port, request[:n], close_side=True)
        if answer and status(answer) != 400:
            wrong.append(n)
    check(not wrong, 'a request cut off at each byte: 400 or nothing')
    check(status(ask(port, request, close_side=True)) == 200, 'a whole one before a half-close is answered')


def test_query(port):
    text = body(get(port, b'/request?session_id=OpaqueRef:1&vm_uuid=a,b&vm_uuid=c%2Cd&x',
                    b'Cookie: session_id=OpaqueRef%3A2; task_id=3\r\n'))
    check(b'query session_id=OpaqueRef:1\nquery vm_uuid=a,b\nquery vm_uuid=c,d\nquery x=\n' in text, 'query, repeated keys')
    check(b'cookie session_id=OpaqueRef:2\ncookie task_id=3\n' in text, 'cookies')
    check(b'session_id OpaqueRef:2\n' in text, 'the cookie wins')
    text = body(get(port, b'http://h:80/request?a=b'))
    check(b'target /request?a=b\n' in text, 'absolute target')


def test_peers(port):
    text = body(get(SOCKET, b'/request'))
    check(b'peer unix=1 tls=0 cred=1 uid=%d pid=%d ' % (os.getuid(), os.getpid()) in text, 'unix socket: who is there')
    check(oct(os.stat(SOCKET).st_mode & 0o777) == '0o600', 'unix socket: mode')
    check(status(get(SOCKET, b'/private')) == 200 and status(get(port, b'/private')) == 404, 'private routes')
    check(b'address=127.0.0.1 ' in body(get(port, b'/request')), 'TCP: the address')


def test_proxy(port):
    text = body(ask(port, b'PROXY TCP4 192.0.2.7 10.0.0.1 5555 443\r\nGET /request HTTP/1.0\r\n\r\n'))
    check(b'address=192.0.2.7 port=5555\n' in text, 'PROXY line: IPv4')
    text = body(ask(port, b'PROXY TCP6 2001:db8::1 ::1 5555 443\r\nGET /request HTTP/1.0\r\n\r\n'))
    check(b'address=2001:db8::1 port=5555\n' in text, 'PROXY line: IPv6')
    text = body(ask(port, b'PROXY UNKNOWN\r\nGET /request HTTP/1.0\r\n\r\n'))
    check(b'address=127.0.0.1 ' in text, 'PROXY line: unknown')
    check(b'address=127.0.0.1 ' in body(get(port, b'/request')), 'no PROXY line')
    check(status(ask(port, b'PROXY TCP4 nonsense\r\nGET / HTTP/1.0\r\n\r\n')) == 400, 'PROXY line: wrong')
    check(status(ask(port, b'PROXY ' + b'x' * 200)) == 400, 'PROXY line: too long')
    s = connect(port)
    for b in b'PROXY TCP4 192.0.2.8 10.0.0.1 1 443\r\nGET /request HTTP/1.0\r\n\r\n':
        s.sendall(bytes([b]))
    check(b'address=192.0.2.8 ' in until_end(s), 'PROXY line: byte by byte')
    s.close()


def checksum(data):
    total = 0
    for b in data:
        total = (total * 31 + b) & 0xffffffffffffffff
    return total


def last(port):
    return body(get(port, b'/last'))


def test_uploads(port):
    data = os.urandom(300000)
    figures = b'%d %d' % (len(data), checksum(data))

    # 1. The status line comes before a byte of the body is sent.
    s = connect(port)
    s.sendall(b'PUT /upload HTTP/1.0\r\nContent-Length: %d\r\n\r\n' % len(data))
    head = b''
    while not head.endswith(b'\r\n\r\n'):
        head += s.recv(1)
    check(head.startswith(b'HTTP/1.0 200 OK\r\n') and b'X-Task: 1\r\n' in head, 'upload: 200 before the body')
    s.sendall(data)
    check(until_end(s) == b'', 'upload: nothing behind the head')
    s.close()
    check(last(port).startswith(figures + b' ok'), 'upload: all bytes')

    # 2. The empty probe, with a length of 0 and of 1 PiB.
    check(status(ask(port, b'PUT /upload HTTP/1.1\r\nContent-Length: 0\r\n\r\n')) == 200, 'probe with length 0')
    answer = ask(port, b'PUT /upload HTTP/1.1\r\nContent-Length: 1125899906842624\r\n\r\n', close_side=True)
    check(status(answer) == 200 and last(port).startswith(b'0 0 EPIPE'), 'probe that declares 1 PiB')

    # 3. Until the end of the connection.
    s = connect(port)
    s.sendall(b'PUT /upload HTTP/1.0\r\n\r\n' + data)
    s.shutdown(socket.SHUT_WR)
    check(status(until_end(s)) == 200 and last(port).startswith(figures + b' ok'), 'upload without length')
    s.close()

    # 4. Chunked, in pieces that do not fit the chunks.
    chunks = b''.join(b'%x\r\n%s\r\n' % (len(data[i:i + 70001]), data[i:i + 70001]) for i in range(0, len(data), 70001))
    s = connect(port)
    s.sendall(b'PUT /put HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n')
    whole = chunks + b'0\r\n\r\n'
    for i in range(0, len(whole), 33333):
        s.sendall(whole[i:i + 33333])
    check(body(until_end(s)) == figures, 'chunked upload')
    s.close()
    answer = ask(port, b'PUT /put HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n', close_side=True)
    check(status(answer) == 200 and b' EPROTO' in last(port), 'wrong chunks end the body')

    # 5. Expect: 100-continue, asked for and not.
    s = connect(port)
    s.sendall(b'PUT /put HTTP/1.1\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n' % len(data))
    check(s.recv(100) == b'HTTP/1.1 100 Continue\r\n\r\n', '100 Continue')
    s.sendall(data)
    answer = one(s)
    check(answer[2] == figures, 'the body behind it')
    s.sendall(b'PUT /put HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET /request HTTP/1.1\r\n\r\n')
    first = one(s)
    check(first[2] == b'3 %d' % checksum(b'abc'), 'a small PUT on the same connection')
    s.close()
    s = connect(port)
    s.sendall(b'PUT /upload?refuse=1 HTTP/1.1\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n' % len(data))
    check(one(s)[0] == 403 and until_end(s) == b'', 'refused before the body: no 100, closed')
    s.close()
    s = connect(port)
    s.sendall(b'POST / HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n')
    check(s.recv(100) == b'HTTP/1.1 100 Continue\r\n\r\n', '100 Continue for an RPC')
    s.sendall(b'hello')
    check(one(s)[2] == b'hello', 'its body')
    s.close()

    # 6. What the handler does not read is drained: no reset eats the answer.
    s = connect(port)
    s.sendall(b'PUT /upload?ignore=1 HTTP/1.0\r\nContent-Length: 5000000\r\n\r\n' + b'x' * 5000000)
    answer = until_end(s)
    check(status(answer) == 200 and not answer.endswith(b'<RESET>'), 'the rest of an upload is drained')
    s.close()


def test_streams(port):
    s = connect(port)
    s.sendall(b'CONNECT /console?uuid=1 HTTP/1.0\r\nCookie: session_id=x\r\n\r\nearly')
    got = b''
    while not got.endswith(b'early'):
        got += s.recv(100)
    check(got == b'HTTP/1.1 200 OK\r\n\r\nearly', 'CONNECT: bytes sent with the head come through')
    s.sendall(b'ping')
    check(s.recv(10) == b'ping', 'CONNECT: both ways')
    s.shutdown(socket.SHUT_WR)
    check(until_end(s) == b'', 'CONNECT: ends')
    s.close()
    answer = get(port, b'/export?bytes=5000000')
    check(status(answer) == 200 and len(body(answer)) == 5000000 and b'Content-Length' not in answer.split(b'\r\n\r\n')[0],
          'a stream without length ends by closing')
    s = connect(port)
    s.sendall(b'POST /cli HTTP/1.0\r\nContent-Length: 9\r\n\r\nvm-')
    s.sendall(b'list\nx')
    got = b''
    while len(got) < 16:
        got += s.recv(100)
    check(got == b'banner\nvm-list\nx', 'raw protocol without a reply head')
    s.sendall(b'answer')
    check(until_end(s) == b'answer', 'and its dialogue')
    s.close()
    check(status(ask(port, b'POST /cli HTTP/1.0\r\nContent-Length: 204801\r\n\r\n')) == 413, 'its body limit')
    check(status(ask(port, b'PUT /silent HTTP/1.0\r\nContent-Length: 0\r\n\r\n')) == 500, 'a silent stream handler: 500')


def test_pieces(port):
    s = connect(port)
    s.sendall(b'GET /pieces?bytes=11000000 HTTP/1.1\r\n\r\nGET /pieces?bytes=7 HTTP/1.1\r\n\r\n')
    time.sleep(0.3)
    first, second = one(s), one(s)
    check(len(first[2]) == 11000000 and second[2] == b'x' * 7, '11 MB to a reader that starts late, then the next')
    s.close()


def test_park(port):
    s = connect(port)
    s.sendall(b'POST /park HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi')
    time.sleep(0.2)
    check(body(get(port, b'/stats')).split()[1] == b'parked=1', 'parked')
    before = int(last(port).rsplit(b'=', 1)[1])
    check(body(get(port, b'/release?text=awake')) == b'1' and one(s)[2] == b'awake', 'woken')
    s.sendall(b'GET /park HTTP/1.1\r\n\r\n')
    time.sleep(0.2)
    s.close()
    deadline = time.monotonic() + 5
    while int(last(port).rsplit(b'=', 1)[1]) == before and time.monotonic() < deadline:
        time.sleep(0.02)
    check(int(last(port).rsplit(b'=', 1)[1]) == before + 1, 'hanging up is noticed')
    check(body(get(port, b'/stats')).split()[1] == b'parked=0', 'and gone')


def test_web(port):
    check(body(get(port, b'/')) == b'<h1>index</h1>', 'GET / gives index.html')
    answer = get(port, b'/app.js')
    check(b'Content-Type: text/javascript' in answer and body(answer) == b'let x', 'a file and its type')
    tag = re.search(rb'ETag: (\S+)', answer).group(1)
    answer = get(port, b'/app.js', b'If-None-Match: ' + tag + b'\r\n')
    check(status(answer) == 304 and body(answer) == b'', 'unchanged: 304')
    check(len(body(get(port, b'/large.bin'))) == 3000000, 'a large file')
    check(body(get(port, b'/sub/')) == b'sub', 'the index of a folder')
    check(b'Location: /sub/\r\n' in get(port, b'/sub'), 'a folder without slash is redirected')
    check(b'Location: /sub/\r\n' in get(port, b'//sub'), 'and never to another host')
    for path in (b'/none', b'/../secret', b'/%2e%2e/secret', b'/sub/../../secret', b'/link', b'/linked/secret',
                 b'/.hidden', b'/app.js/', b'/app.js/x', b'/fifo', b'/sub%00', b'/' + b'a/' * 3000):
        check(status(get(port, path)) in (400, 404), '%s is not served' % path[:30].decode())
    answer = ask(port, b'OPTIONS /jsonrpc HTTP/1.0\r\nAccess-Control-Request-Headers: content-type\r\n\r\n')
    check(status(answer) == 200 and b'Access-Control-Allow-Headers: content-type, X-Requested-With\r\n' in answer
          and b'Access-Control-Allow-Origin: *\r\n' in answer, 'OPTIONS answers browsers')


def test_timeouts(port):
    began = time.monotonic()
    check(until_end(connect(port)) == b'', 'nothing sent: closed without a word')
    check(0.2 < time.monotonic() - began < 3, 'in time')
    s = connect(port)
    s.sendall(b'GET / HT')
    check(status(until_end(s)) == 408, 'half a head: 408')
    s.close()

    def drip(sock):
        try:
            for _ in range(100):
                sock.sendall(b'A')
                time.sleep(0.05)
        except OSError:
            pass
    s = connect(port)
    s.sendall(b'GET / HTTP/1.1\r\nA: ')
    threading.Thread(target=drip, args=(s,), daemon=True).start()
    began = time.monotonic()
    answer = until_end(s)
    check(time.monotonic() - began < 3 and status(answer) in (408, None), 'a dripping head ends too')
    s.close()
    s = connect(port)
    s.sendall(b'POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nhalf')
    check(status(until_end(s)) == 408, 'half a body: 408')
    s.close()
    s = connect(port)
    s.sendall(b'POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi')
    one(s)
    check(until_end(s) == b'', 'an idle connection is closed')
    s.close()
    s = connect(port)
    s.sendall(b'GET /pieces?bytes=50000000 HTTP/1.1\r\n\r\n')
    time.sleep(1.5)
    got = 0
    while True:
        try:
            piece = s.recv(1 << 20)
        except OSError:
            break
        if not piece:
            break
        got += len(piece)
    check(got < 50000000, 'a reader that stops is given up')
    s.close()
    s = connect(port)
    s.sendall(b'POST /park HTTP/1.1\r\nContent-Length: 0\r\n\r\n')
    time.sleep(1.5)
    get(port, b'/release?text=late')
    check(one(s)[2] == b'late', 'a parked one is never timed out')
    s.close()


def test_tls(server, port):
    url = 'https://127.0.0.1:%d' % port
    if not shutil.which('curl'):
        skip('TLS with curl', 'no curl')
        return
    check(curl('-d', 'x' * 1000, url + '/')[1] == b'x' * 1000, 'TLS: POST')
    check(curl('--tls-max', '1.2', url + '/request')[1].startswith(b'GET /request 1.1'), 'TLS 1.2')
    check(curl('--tlsv1.3', url + '/request')[0] == 0, 'TLS 1.3')
    check(curl('--tls-max', '1.1', url + '/request')[0] != 0, 'TLS 1.1 is refused')
    data = os.path.join(ROOT, 'data')
    with open(data, 'wb') as f:
        f.write(os.urandom(3000000))
    figures = b'%d %d' % (3000000, checksum(open(data, 'rb').read()))
    check(curl('-T', data, url + '/put')[1] == figures, 'TLS: upload')
    check(curl('-T', '-', url + '/put')[1] == b'0 0', 'TLS: empty chunked upload')
    check(len(curl(url + '/pieces?bytes=11000000')[1]) == 11000000, 'TLS: 11 MB')
    check(len(curl(url + '/export?bytes=3000000')[1]) == 3000000, 'TLS: stream to the end')
    code, text = curl(url + '/request', url + '/request', '-w', '%{num_connects}')
    check(code == 0 and text.endswith(b'0'), 'TLS: keep-alive')
    pem2 = make_pem('pem2')
    server.child.stdin.write(b'reload %s\n' % pem2.encode())
    server.child.stdin.flush()
    check(server.child.stdout.readline() == b'reloaded\n', 'TLS: reload')
    check(ssl.get_server_certificate(('127.0.0.1', port)) in open(pem2).read(), 'TLS: the new certificate is shown')
    # Trickled handshakes and garbage hurt nobody.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    raw = connect(port)
    raw.sendall(b'\x16\x03\x01\x00')
    garbage = connect(port)
    garbage.sendall(b'GET / HTTP/1.1\r\n\r\n')
    check(b'HTTP/1.1 200' not in until_end(garbage), 'TLS: plain HTTP is not served')
    s = context.wrap_socket(connect(port))
    s.sendall(b'POST /park HTTP/1.1\r\nContent-Length: 0\r\n\r\n')
    time.sleep(0.2)
    curl(url + '/release?text=tls')
    check(one(s)[2] == b'tls', 'TLS: parked and woken')
    s.close()
    raw.close()


def make_pem(name):
    path = os.path.join(ROOT, name)
    key = path + '.key'
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=localhost', '-days', '2',
                    '-keyout', key, '-out', path], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with open(path, 'a') as f:
        f.write(open(key).read())
    return path


def make_web():
    os.makedirs(os.path.join(WEB, 'sub'))
    for name, text in (('index.html', '<h1>index</h1>'), ('app.js', 'let x'), ('sub/index.html', 'sub'),
                       ('.hidden', 'no'), ('large.bin', 'l' * 3000000)):
        with open(os.path.join(WEB, name), 'w') as f:
            f.write(text)
    with open(os.path.join(ROOT, 'secret'), 'w') as f:
        f.write('secret')
    os.symlink('../secret', os.path.join(WEB, 'link'))
    os.symlink(ROOT, os.path.join(WEB, 'linked'))
    os.mkfifo(os.path.join(WEB, 'fifo'))


def main():
    make_web()
    server = Server('--tcp', '127.0.0.1:0', '--unix', SOCKET, '--web', WEB, '--proxy', '127.0.0.1:0',
                    '--tls', '127.0.0.1:0', '--pem', make_pem('pem'))
    port = server.ports['tcp']
    for where in (port, SOCKET):
        test_heads(where)
        test_truncated(where)
        test_uploads(where)
        test_streams(where)
        test_pieces(where)
        test_park(where)
    test_query(port)
    test_peers(port)
    test_proxy(server.ports['proxy'])
    test_web(port)
    test_tls(server, server.ports['tls'])
    s = connect(port)
    s.sendall(b'POST /park HTTP/1.1\r\nContent-Length: 0\r\n\r\n')
    time.sleep(0.2)
    check(server.stop() == 0, 'ends cleanly')
    check(one(s)[2] == b'stopping', 'the parked one was answered at the end')
    check(not os.path.exists(SOCKET), 'the socket file is gone')
    server = Server('--tcp', '127.0.0.1:0', '--timeouts', '400')
    test_timeouts(server.ports['tcp'])
    check(server.stop() == 0, 'ends cleanly')


try:
    main()
finally:
    shutil.rmtree(ROOT)
done()
