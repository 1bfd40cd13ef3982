"""A server of the thin CLI protocol that a script plays, so that it can also misbehave. For tests of xe as a client.

    s = Server(thin(command(PRINT, 'one')))
    subprocess.run([XE, 'vm-list'], env={'XAPI_SOCKET': s.path, 'HOME': s.folder})
"""
import atexit
import os
import shutil
import socket
import struct
import tempfile
import threading

FOLDER = tempfile.mkdtemp(prefix='xe-client-')
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)

HELLO = b'XenSource thin CLI protocol' + struct.pack('<ii', 0, 2)
PRINT, LOAD, PROMPT, EXIT, GET, PUT, ERROR, DEBUG, STDERR, CONNECT = 0, 1, 3, 4, 12, 13, 14, 15, 16, 17
OK, FAILED = struct.pack('<ii', 10, 5), struct.pack('<ii', 10, 6)


def text(b):
    b = b.encode() if isinstance(b, str) else b
    return struct.pack('<i', len(b)) + b


def command(tag, *args):
    payload = struct.pack('<ii', 9, tag)
    for a in args:
        payload += struct.pack('<i', a) if isinstance(a, int) else text(a)
    return struct.pack('<i', len(payload)) + payload


def params(code, *items):
    payload = struct.pack('<ii', 9, ERROR) + text(code) + struct.pack('<i', len(items)) + b''.join(map(text, items))
    return struct.pack('<i', len(payload)) + payload


class Peer:
    """The server's end of the conversation."""

    def __init__(self, connection):
        self.s = connection
        self.s.settimeout(20)

    def read(self, n):
        data = b''
        while len(data) < n:
            piece = self.s.recv(n - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data

    def request(self):
        head = b''
        while b'\r\n\r\n' not in head:
            head += self.read(1)
        length = [line.split(b':')[1] for line in head.lower().split(b'\r\n') if line.startswith(b'content-length')]
        return head, self.read(int(length[0])) if length else b''

    def send(self, *messages):
        self.s.sendall(b''.join(messages))

    def message(self):
        return self.read(struct.unpack('<i', self.read(4))[0])

    def blob(self):
        data, m = b'', self.message()
        while m[4:8] == struct.pack('<i', 7):
            data += self.read(struct.unpack('<i', m[8:12])[0])
            m = self.message()
        return data


class Server:
    """Runs one function for each connection, in order."""

    def __init__(self, *scripts, family='unix'):
        self.folder = tempfile.mkdtemp(prefix='xe-client-', dir=FOLDER)
        self.path = os.path.join(self.folder, 'sock')
        self.s = socket.socket(socket.AF_UNIX if family == 'unix' else socket.AF_INET)
        self.s.bind(self.path if family == 'unix' else ('127.0.0.1', 0))
        self.port = None if family == 'unix' else self.s.getsockname()[1]
        self.s.listen(5)
        self.scripts, self.seen, self.error = scripts, [], None
        self.thread = threading.Thread(target=self.run, daemon=True)
        if scripts:
            self.thread.start()

    def run(self):
        try:
            for script in self.scripts:
                peer = Peer(self.s.accept()[0])
                script(peer, self)
                peer.s.close()
        except Exception as e:      # seen by the test
            self.error = e


def thin(*messages, then=None):
    """The usual start of a conversation, these messages, then the function, then Exit 0."""
    def script(peer, server):
        head, body = peer.request()
        server.seen += [head, body]
        peer.send(HELLO)
        server.seen.append(peer.read(35))
        peer.send(*messages)
        if then:
            then(peer, server)
        peer.send(command(EXIT, 0))
    return script


def both(*scripts):
    """The thin conversation and the data connections at the same time."""
    server = Server()
    server.scripts = scripts

    def talk(peer, script):
        try:
            script(peer, server)
        except (EOFError, OSError) as e:        # xe has gone
            server.error = e
        peer.s.close()

    def run():
        try:
            threads = []
            for script in scripts:
                peer = Peer(server.s.accept()[0])
                t = threading.Thread(target=talk, args=(peer, script))
                t.start()
                threads.append(t)
            for t in threads:
                t.join()
        except Exception as e:
            server.error = e
    server.thread = threading.Thread(target=run, daemon=True)
    server.thread.start()
    return server


def http(reply, body=b'', read=False):
    def script(peer, server):
        head = b''
        while b'\r\n\r\n' not in head:
            head += peer.read(1)
        server.seen.append(head)
        peer.send(reply.encode() + b'\r\n\r\n' + body)
        if read:
            data = b''
            try:
                while True:
                    piece = peer.s.recv(65536)
                    if not piece:
                        break
                    data += piece
            except OSError:
                pass
            server.seen.append(data)
    return script
