#!/usr/bin/env python3
"""Certificates: the host's own on the TLS listener, trusted ones and revocation lists as files and records, verification."""
import os
import shutil
import ssl
import socket
import subprocess
import tempfile
import threading

from harness import Agent, check, done, fails

top = tempfile.mkdtemp(prefix='xapi-test-cert-')


def openssl(*args):
    subprocess.run(['openssl', *args], check=True, capture_output=True, cwd=top)


def make(name, *more, key='rsa:2048', days='10'):
    openssl('req', '-x509', '-newkey', key, '-nodes', '-keyout', name + '.key', '-out', name + '.crt', '-days', days, '-subj',
            '/CN=' + name, '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1', *more)
    return open(os.path.join(top, name + '.crt')).read(), open(os.path.join(top, name + '.key')).read()


def shown(agent):
    """The certificate that a TLS client sees, DER."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(('127.0.0.1', agent.https_port), 10) as plain, context.wrap_socket(plain) as tls:
        return tls.getpeercert(True)


def der(pem):
    return ssl.PEM_cert_to_DER_cert(pem[pem.index('-----BEGIN CERT'):])


class Peer(threading.Thread):
    """A TLS server that answers one POST with "heard"."""

    def __init__(self, crt, key):
        super().__init__(daemon=True)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(os.path.join(top, crt), os.path.join(top, key))
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.port = self.listener.getsockname()[1]
        self.start()

    def run(self):
        while True:
            plain = self.listener.accept()[0]
            try:
                with self.context.wrap_socket(plain, server_side=True) as tls:
                    tls.recv(65536)
                    tls.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nheard')
            except OSError:
                pass


try:
    with Agent() as agent:
        s = agent.login()
        host, pool = s.host.get_all()[0], s.pool.get_all()[0]
        first = s.host.get_server_certificate(host)
        check(der(first) == shown(agent), 'the certificate of the host is the one it shows')
        own = [r for r in s.Certificate.get_all_records().values() if r['type'] == 'host']
        check(len(own) == 1 and own[0]['host'] == host and own[0]['fingerprint_sha256'].count(':') == 31, 'its record')

        crt, key = make('server')
        s.host.install_server_certificate(host, crt, key, '')
        check(der(crt) == shown(agent) != der(first), 'an installed one is shown at once')
        check(s.host.get_certificates(host) != [] and
              s.Certificate.get_fingerprint_sha256(s.host.get_certificates(host)[0]) != own[0]['fingerprint_sha256'], 'a new record')
        check('PRIVATE' not in s.host.get_server_certificate(host), 'the key stays here')
        other, other_key = make('other')
        small, small_key = make('small', key='rsa:1024')
        install = lambda c, k, chain='': s.host.install_server_certificate(host, c, k, chain)
        fails('SERVER_CERTIFICATE_KEY_MISMATCH', 'a key of another', install, crt, other_key)
        fails('SERVER_CERTIFICATE_KEY_INVALID', 'no key', install, crt, 'x')
        fails('SERVER_CERTIFICATE_INVALID', 'no certificate', install, 'x', key)
        fails('SERVER_CERTIFICATE_CHAIN_INVALID', 'no chain', install, crt, key, 'x')
        check(fails('SERVER_CERTIFICATE_KEY_RSA_LENGTH_NOT_SUPPORTED', 'a short key', install, small, small_key) == ['1024'], 'says how short')
        check(der(crt) == shown(agent), 'a refused one changes nothing')
        agent.stop()
        agent.start()
        check(der(crt) == shown(agent), 'it is still there after a restart')
        s = agent.login()
        s.host.reset_server_certificate(host)
        check(shown(agent) not in (der(crt), der(first)), 'reset makes a new one')
        s.host.emergency_reset_server_certificate()
        check(der(s.host.get_server_certificate(host)) == shown(agent), 'also in an emergency')

        peer = Peer('other.crt', 'other.key')
        check(s.pool.send_test_post('localhost', str(peer.port), 'hello') == 'heard', 'a test post without verification')
        s.pool.enable_tls_verification()
        check(s.host.get_tls_verification_enabled(host) and s.pool.get_tls_verification_enabled(pool), 'verification is on')
        fails('SSL_VERIFY_ERROR', 'a peer that nobody trusts', s.pool.send_test_post, 'localhost', str(peer.port), 'hello')
        s.pool.install_ca_certificate('other.pem', other)
        check(s.pool.certificate_list() == ['other.pem'], 'the trusted certificate is listed')
        check([r['name'] for r in s.Certificate.get_all_records().values() if r['type'] == 'ca'] == ['other.pem'], 'and has a record')
        check(s.pool.send_test_post('localhost', str(peer.port), 'hello') == 'heard', 'now the peer is trusted')
        fails('CERTIFICATE_ALREADY_EXISTS', 'installing it again', s.pool.certificate_install, 'other.pem', other)
        fails('CERTIFICATE_NAME_INVALID', 'a path as name', s.pool.certificate_install, '../x', other)
        fails('TRUSTED_CERTIFICATE_INVALID', 'no certificate', s.pool.certificate_install, 'x.pem', 'x')
        fails('CERTIFICATE_DOES_NOT_EXIST', 'removing another', s.pool.certificate_uninstall, 'x.pem')
        # A revocation list of the authority takes the trust away.
        openssl('req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', 'ca.key', '-out', 'ca.crt', '-days', '10', '-subj', '/CN=ca')
        openssl('req', '-newkey', 'rsa:2048', '-nodes', '-keyout', 'leaf.key', '-out', 'leaf.csr', '-subj', '/CN=localhost')
        with open(os.path.join(top, 'ca.conf'), 'w') as f:
            f.write('[ca]\ndefault_ca = d\n[d]\ndatabase = index.txt\nserial = serial\nnew_certs_dir = .\ndefault_md = sha256\n'
                    'default_days = 5\ndefault_crl_days = 5\npolicy = p\nx509_extensions = x\nunique_subject = no\n'
                    '[p]\ncommonName = supplied\n[x]\nsubjectAltName = DNS:localhost\n')
        open(os.path.join(top, 'index.txt'), 'w').close()
        with open(os.path.join(top, 'serial'), 'w') as f:
            f.write('01\n')
        ca = ['ca', '-batch', '-config', 'ca.conf', '-keyfile', 'ca.key', '-cert', 'ca.crt']
        openssl(*ca, '-in', 'leaf.csr', '-out', 'leaf.crt')
        signed = Peer('leaf.crt', 'leaf.key')
        s.pool.install_ca_certificate('ca.pem', open(os.path.join(top, 'ca.crt')).read())
        check(s.pool.send_test_post('localhost', str(signed.port), 'x') == 'heard', 'a certificate signed by a trusted authority')
        openssl(*ca, '-revoke', 'leaf.crt')
        openssl(*ca, '-gencrl', '-out', 'list.crl')
        crl = open(os.path.join(top, 'list.crl')).read()
        fails('CRL_CORRUPT', 'a list that is none', s.pool.crl_install, 'list.pem', 'x')
        s.pool.crl_install('list.pem', crl)
        check(s.pool.crl_list() == ['list.pem'], 'a revocation list')
        fails('INTERNAL_ERROR', 'the revoked certificate', s.pool.send_test_post, 'localhost', str(signed.port), 'x')
        check(s.pool.send_test_post('localhost', str(peer.port), 'x') == 'heard', 'others are as good as before')
        fails('CRL_ALREADY_EXISTS', 'installing it again', s.pool.crl_install, 'list.pem', crl)
        s.pool.crl_uninstall('list.pem')
        check(s.pool.crl_list() == [] and s.pool.send_test_post('localhost', str(signed.port), 'x') == 'heard', 'removed')
        fails('CRL_DOES_NOT_EXIST', 'removing it again', s.pool.crl_uninstall, 'list.pem')
        s.pool.uninstall_ca_certificate('ca.pem', False)

        s.pool.certificate_sync()
        s.pool.uninstall_ca_certificate('other.pem', False)
        check(s.pool.certificate_list() == [], 'removed')
        fails('SSL_VERIFY_ERROR', 'the peer is a stranger again', s.pool.send_test_post, 'localhost', str(peer.port), 'hello')
        s.host.emergency_disable_tls_verification()
        check(s.pool.send_test_post('localhost', str(peer.port), 'hello') == 'heard', 'in an emergency nobody asks')
        s.host.emergency_reenable_tls_verification()
        s.pool.install_trusted_certificate(pool, False, other, [])
        pinned = [ref for ref, r in s.Certificate.get_all_records().items() if r['type'] == 'pinned']
        check(len(pinned) == 1 and s.pool.send_test_post('localhost', str(peer.port), 'x') == 'heard', 'a pinned certificate')
        fails('TRUSTED_CERTIFICATE_ALREADY_EXISTS', 'pinning it twice', s.pool.install_trusted_certificate, pool, False, other, [])
        s.pool.uninstall_trusted_certificate(pool, pinned[0])
        fails('HANDLE_INVALID', 'removed', s.Certificate.get_type, pinned[0])
        fails('NOT_TRUSTED_CERTIFICATE', "the host's own", s.pool.uninstall_trusted_certificate, pool, s.host.get_certificates(host)[0])
finally:
    shutil.rmtree(top, ignore_errors=True)
done()
