#!/usr/bin/env python3
"""What ends with a session: whoever waits for events in it, its consoles; and what does not."""
import contextlib
import http.client
import os
import socket
import sqlite3
import threading
import time
import xmlrpc.client

from harness import Agent, Failure, check, done, fails, unwrap


class Waiter(threading.Thread):
    """A call that waits; its answer and when it came."""

    def __init__(self, agent, method, *args, tcp=False):
        super().__init__()
        self.proxy = xmlrpc.client.ServerProxy('http://127.0.0.1:%d/' % agent.http_port) if tcp else agent.proxy()
        self.method, self.args, self.answer = method, args, None
        self.start()

    def run(self):
        try:
            self.answer = unwrap(getattr(self.proxy, self.method)(*self.args))
        except Failure as e:
            self.answer = e.details


def parked(agent, s, how, end):
    """A parked event.from in a session that end(ref) ends."""
    own = agent.login()
    token = own.call('event.from', ['vm'], '', 0.0)['token']
    w = Waiter(agent, 'event.from', own._ref, ['vm'], token, 30.0)
    time.sleep(0.3)
    alive = w.is_alive()
    began = time.monotonic()
    end(own)
    w.join(10)
    check(alive and w.answer == ['SESSION_INVALID', own._ref] and time.monotonic() - began < 2,
          'event.from ends with its session: %s: %s' % (how, w.answer))


def console(agent, s, vm, session, prefix=b''):
    """-> a socket that shows the VM's console."""
    sock = socket.create_connection(('127.0.0.1', agent.http_port), 20)
    sock.sendall(b'CONNECT /console?uuid=%s&session_id=%s HTTP/1.0\r\n\r\n' % (s.VM.get_uuid(vm).encode(), session.encode()))
    head = b''
    while not head.endswith(b'RFB 003.008\n'):
        got = sock.recv(4096)
        if not got:
            break
        head += got
    check(b' 200 ' in head.split(b'\r\n')[0] and b'RFB' in head, 'a console is open')
    return sock


def closed(sock, seconds=5):
    sock.settimeout(seconds)
    try:
        while sock.recv(65536):
            pass
    except ConnectionResetError:
        pass
    except socket.timeout:
        return False
    return True


def events(agent, s):
    parked(agent, s, 'logout', lambda own: own.session.logout())
    legacy = agent.login()
    legacy.event.register(['vm'])
    w = Waiter(agent, 'event.next', legacy._ref)
    time.sleep(0.3)
    legacy.session.logout()
    w.join(10)
    check(w.answer == ['SESSION_INVALID', legacy._ref], 'event.next, too: %s' % w.answer)

    # Neighbours stay: the same subscription and token in another session.
    one, two = agent.login(), agent.login()
    token = one.call('event.from', ['vm'], '', 0.0)['token']
    a, b = (Waiter(agent, 'event.from', x._ref, ['vm'], token, 30.0) for x in (one, two))
    time.sleep(0.3)
    one.session.logout()
    a.join(5)
    check(a.answer == ['SESSION_INVALID', one._ref] and b.is_alive(), 'who waits beside it in another session waits on')
    s.VM.set_name_description(s.VM.get_all()[0], 'touched')
    b.join(5)
    check(isinstance(b.answer, dict) and len(b.answer['events']) == 1, 'and gets his events')


def consoles(agent, s):
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'shown')
    s.VM.provision(vm)
    s.VM.start(vm, False, False)
    own = agent.login()
    a, b = console(agent, s, vm, own._ref), console(agent, s, vm, s._ref)
    began = time.monotonic()
    own.session.logout()
    check(closed(a) and time.monotonic() - began < 3, 'and ends with its session')
    check(not closed(b, 0.5), 'another one stays')
    b.close()
    return vm


def transfers(agent, s):
    """A download goes on: the client may log out behind it."""
    own = agent.login()
    c = http.client.HTTPConnection('127.0.0.1', agent.http_port)
    c.request('GET', '/audit_log?session_id=' + own._ref)
    answer = c.getresponse()
    own.session.logout()
    check(b'session.login_with_password' in answer.read(), 'a download goes on behind the logout')


def stop(agent, s, vm):
    """Consoles and waiters do not hold the agent up."""
    a = console(agent, s, vm, s._ref)
    w = Waiter(agent, 'event.from', s._ref, ['pool'], s.event.inject('pool', s.pool.get_all()[0]), 30.0)
    w.join(5)
    token = w.answer['token']
    w = Waiter(agent, 'event.from', s._ref, ['pool'], token, 30.0)
    time.sleep(0.2)
    began = time.monotonic()
    agent.stop()
    check(time.monotonic() - began < 8, 'an agent with an open console ends in %.1f s' % (time.monotonic() - began))
    check(closed(a), 'and the console with it')
    w.join(5)


def expiry(agent, s):
    """A session not used for a day, as the next agent finds it."""
    old, fresh = agent.login(), agent.login()
    uuid = old.session.get_uuid(old._ref)
    agent.kill()
    with contextlib.closing(sqlite3.connect(os.path.join(agent.root, 'state.db'))) as db:
        done_rows = db.execute('UPDATE session SET last_active = last_active - 90000 WHERE uuid = ?', (uuid,)).rowcount
        db.commit()
    check(done_rows == 1, 'the clock goes on a day')
    agent.start()
    fails('SESSION_INVALID', 'a session that was idle for a day', lambda: unwrap(agent.proxy().VM.get_all(old._ref)))
    check(unwrap(agent.proxy().VM.get_all(fresh._ref)), 'another lives')
    return agent.login()


with Agent() as agent:
    s = agent.login()
    events(agent, s)
    vm = consoles(agent, s)
    transfers(agent, s)
    s = expiry(agent, s)
    stop(agent, s, vm)
    agent.start()
done()
