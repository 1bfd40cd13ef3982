#!/usr/bin/env python3
"""Guessing passwords: held back by address, without locking out who logged in from there before."""
import base64
import http.client
import threading
import time
import xmlrpc.client

from harness import PASSWORD, USER, Agent, Failure, check, done, unwrap

STOCK = 5


class Connection(http.client.HTTPConnection):
    """From one of the loopback's addresses."""

    def __init__(self, port, source):
        super().__init__('127.0.0.1', port, timeout=60, source_address=(source, 0))


class Transport(xmlrpc.client.Transport):
    def __init__(self, port, source):
        super().__init__()
        self.port, self.source = port, source

    def make_connection(self, host):
        return Connection(self.port, self.source)


def login(agent, source, password, user=USER, message='login_with_password'):
    """None, or why not."""
    proxy = xmlrpc.client.ServerProxy('http://127.0.0.1/', transport=Transport(agent.http_port, source))
    try:
        args = (user, password) if message != 'login_with_password' else (user, password, '1.0', 'test')
        unwrap(getattr(proxy.session, message)(*args))
        return None
    except Failure as e:
        return e.details


def basic(agent, source, password):
    c = Connection(agent.http_port, source)
    c.request('GET', '/rrd_updates?start=0', headers={'Authorization': 'Basic ' + base64.b64encode(
        ('%s:%s' % (USER, password)).encode()).decode()})
    return c.getresponse().status


def at_once(n, fn):
    results = [None] * n

    def one(i):
        results[i] = fn(i)
    threads = [threading.Thread(target=one, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return results


def held_back(why):
    return why is not None and why[0] == 'SESSION_AUTHENTICATION_FAILED' and 'Too many wrong passwords' in why[2]


def main(agent):
    # 1. As many guesses as there are, at once; the next ones are not looked at, not even good ones.
    wrong = at_once(2 * STOCK, lambda i: login(agent, '127.0.0.2', 'guess %d' % i))
    check(all(w and w[0] == 'SESSION_AUTHENTICATION_FAILED' for w in wrong), 'guesses fail')
    check(sum(not held_back(w) for w in wrong) == STOCK, '%d of them are looked at, though all came at once' % STOCK)
    check(held_back(login(agent, '127.0.0.2', PASSWORD)), 'then a password is not looked at, right or wrong')
    check(held_back(login(agent, '127.0.0.2', PASSWORD, message='slave_local_login_with_password')), 'nor one for a local session')
    check(basic(agent, '127.0.0.2', PASSWORD) == 401, 'nor one over HTTP')

    # 2. Nobody else suffers.
    check(login(agent, '127.0.0.3', PASSWORD) is None, 'another address logs in meanwhile')
    check(agent.login().VM.get_all() != [], 'the unix socket asks for no password')

    # 3. Who was known at an address stays welcome there, by the very same name and password only.
    at_once(2 * STOCK, lambda i: login(agent, '127.0.0.3', 'guess %d' % i))
    began = time.monotonic()
    check(all(w is None for w in [login(agent, '127.0.0.3', PASSWORD) for _ in range(3)]), 'a known login works behind a guesser')
    check(time.monotonic() - began < 20, 'and at once')
    check(held_back(login(agent, '127.0.0.3', 'another guess')), 'while guesses stay out')
    check(held_back(login(agent, '127.0.0.3', PASSWORD, user='somebody')), 'and other names')

    # 4. Right passwords cost nothing.
    check(all(w is None for w in at_once(4 * STOCK, lambda i: login(agent, '127.0.0.4', PASSWORD))), 'many good logins of one address work')


def recovers(agent):
    at_once(2 * STOCK, lambda i: login(agent, '127.0.0.2', 'guess %d' % i))
    until = time.monotonic() + 60
    while held_back(login(agent, '127.0.0.2', PASSWORD)) and time.monotonic() < until:
        pass
    check(login(agent, '127.0.0.2', PASSWORD) is None, 'after a pause a new client of that address gets in')


def unlimited(agent):
    wrong = at_once(30, lambda i: login(agent, '127.0.0.2', 'guess %d' % i))
    check(not any(held_back(w) for w in wrong), 'login-failures = 0: every guess is looked at')


with Agent('--login-failures', str(STOCK), '--login-interval', '10min') as agent:
    main(agent)
with Agent('--login-failures', str(STOCK), '--login-interval', '1s') as agent:
    recovers(agent)
with Agent('--login-failures', '0') as agent:
    unlimited(agent)
done()
