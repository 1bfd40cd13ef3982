"""A TCP relay that a test can hold: what connects waits until it is let through.

    with Relay(('127.0.0.2', port), ('127.0.0.1', port)) as r:
        r.hold()
        ...
        r.arrived.wait()               # somebody has connected
        r.go()
"""
import socket
import threading


class Relay:
    def __init__(self, at, to):
        self.to = to
        self.listener = socket.create_server(at)
        self.arrived, self.free = threading.Event(), threading.Event()
        self.free.set()
        self.sockets, self.lock, self.ended = [], threading.Lock(), False

    def hold(self):
        self.arrived.clear()
        self.free.clear()

    def go(self):
        self.free.set()

    def __enter__(self):
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.ended = True
        self.free.set()
        self.listener.shutdown(socket.SHUT_RDWR)
        with self.lock:
            for s in self.sockets:
                self.shut(s)

    def shut(self, s):
        try:
            s.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def accept(self):
        try:
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self.serve, args=(client,), daemon=True).start()
        except OSError:
            self.listener.close()

    def serve(self, client):
        self.arrived.set()
        self.free.wait()
        try:
            server = socket.create_connection(self.to)
        except OSError:
            client.close()
            return
        with self.lock:
            self.sockets += [client, server]
            if self.ended:
                self.shut(client)
                self.shut(server)
        try:
            self.carry(client, server)
        except OSError:
            pass
        self.shut(client)
        self.shut(server)
        with self.lock:
            self.sockets.remove(client)
            self.sockets.remove(server)
        client.close()
        server.close()

    def carry(self, client, server):
        """What goes through one connection, until both have ended."""
        other = threading.Thread(target=self.pump, args=(server, client), daemon=True)
        other.start()
        self.pump(client, server)
        other.join()

    def pump(self, source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        self.shut(sink)
