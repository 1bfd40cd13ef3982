/* TLS contexts: the server's certificate, made at first start, replaced while running; checks as a client.
 * Called by: main.c, xapi/http, lib/httpc, certificate messages.  Calls: OpenSSL. */
#ifndef LIB_TLS_H
#define LIB_TLS_H

#include "lib/stream.h"
#include "lib/xerr.h"

/* --- server -------------------------------------------------------------------------------------------- */

struct tls_server;

/* From one PEM file with the key, the certificate and its chain in any order. TLS 1.2 and 1.3.
 * NULL + err when it cannot be read or the key does not fit. Makes the process ignore SIGPIPE. */
struct tls_server *tls_server_new(const char *pem_path, struct xerr *err);
/* Take a new certificate: new connections get it, living ones keep theirs. On failure the old one stays. */
int tls_server_reload(struct tls_server *t, const char *pem_path, struct xerr *err);
/* Ask clients for a certificate and accept those signed by a certificate of this bundle (NULL: do not
 * ask). A client without one is still let in; see tls_peer_names. */
int tls_server_verify_clients(struct tls_server *t, const char *ca_path, struct xerr *err);
void tls_server_free(struct tls_server *t);
/* A TLS object in accept state for a nonblocking descriptor; the caller owns it. Never NULL. */
SSL *tls_server_accept(struct tls_server *t, int fd);

/* The names of a verified certificate of the peer, one a line: the DNS names among its alternatives, else its common name
 * (RFC 6125). malloc'd; NULL when there is none. */
char *tls_peer_names(const SSL *ssl);

/* --- client -------------------------------------------------------------------------------------------- */

struct tls_client;

/* ca_path: a PEM bundle that the server's certificate must be signed by or be in; NULL = no verification
 * (what every XenAPI client does by default); revocation lists in the bundle are obeyed. Makes the process ignore
 * SIGPIPE. */
struct tls_client *tls_client_new(const char *ca_path, struct xerr *err);
void tls_client_free(struct tls_client *t);
/* TLS on s (connected). host: for SNI and, when verifying, the name or address in the certificate; NULL =
 * neither. */
int tls_client_connect(struct tls_client *t, struct stream *s, const char *host, int timeout_ms,
                       struct xerr *err);

/* --- certificates -------------------------------------------------------------------------------------- */

/* Write a new RSA key and self-signed certificate (PEM, mode 0600, durable, replaces path). common_name is
 * the first DNS name; names are further DNS names or addresses (told apart by their form). */
int tls_make_self_signed(const char *path, const char *common_name, const char *const *names, size_t n_names,
                         int days, struct xerr *err);
/* This machine's addresses but the loopback's, as malloc'd texts. 0 or -1 + errno. */
int tls_local_addresses(char ***ret_addresses, size_t *ret_n);

/* What a certificate record shows. Texts are malloc'd. */
struct tls_certificate {
    char *fingerprint_sha256, *fingerprint_sha1;   /* "AA:BB:..." */
    char *subject;                                 /* "CN=..." */
    int64_t not_before, not_after;                 /* seconds since the epoch */
};
/* Of the first certificate in PEM text. */
int tls_read_certificate(const char *pem, struct tls_certificate *ret_cert, struct xerr *err);
void tls_certificate_clear(struct tls_certificate *c);

#endif
