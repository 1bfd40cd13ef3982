/* OpenSSL contexts, self-signed certificates and what records show of a certificate.
 * Called by: main.c, xapi/http, lib/httpc, certificate messages.  Calls: OpenSSL, getifaddrs. */
#include "lib/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>

#include "lib/strbuf.h"

struct tls_server {
    pthread_mutex_t lock;
    SSL_CTX *ctx;              /* lock */
    char *pem_path;            /* lock */
    char *ca_path;             /* lock */
};

struct tls_client {
    SSL_CTX *ctx;              /* immutable */
    bool verify;
};

/* INTERNAL_ERROR: what, and the oldest OpenSSL error of this thread. */
static int fail(struct xerr *err, const char *what, const char *path)
{
    char why[256] = "unknown";
    unsigned long e = ERR_peek_error();

    if (e) ERR_error_string_n(e, why, sizeof(why));
    else if (errno) snprintf(why, sizeof(why), "%s", strerror(errno));
    ERR_clear_error();
    return xerr_internal(err, "TLS: %s%s%s: %s", what, path ? " " : "", path ? path : "", why);
}

static SSL_CTX *context_new(const SSL_METHOD *method)
{
    SSL_CTX *ctx = SSL_CTX_new(method);

    if (!ctx) return NULL;
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    /* Idle connections keep no buffers; partial writes go on from another address. */
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE
                              | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    /* XenAPI clients cut connections without close_notify; whether data was complete is known by its
     * format. */
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_IGNORE_UNEXPECTED_EOF);
    /* One read() per TLS record instead of two. */
    SSL_CTX_set_read_ahead(ctx, 1);
    return ctx;
}

/* --- server -------------------------------------------------------------------------------------------- */

/* The certificates of a PEM file in order: the first is ours, the others its chain. */
static int use_certificates(SSL_CTX *ctx, const char *path, struct xerr *err)
{
    BIO *bio = BIO_new_file(path, "r");
    X509 *x;
    int rc = -1;
    size_t n = 0;

    if (!bio) return fail(err, "cannot read", path);
    while ((x = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
        bool ok = n++ ? SSL_CTX_add1_chain_cert(ctx, x) == 1 : SSL_CTX_use_certificate(ctx, x) == 1;
        X509_free(x);
        if (!ok) goto out;
    }
    /* The loop ends with "no start line", which is no error. */
    if (n) ERR_clear_error();
    rc = n ? 0 : -1;
out:
    BIO_free(bio);
    return rc < 0 ? fail(err, "no usable certificate in", path) : 0;
}

static SSL_CTX *server_context(const char *pem_path, const char *ca_path, struct xerr *err)
{
    static const unsigned char id[] = "xapi";
    SSL_CTX *ctx = context_new(TLS_server_method());

    errno = 0;
    if (!ctx) {
        fail(err, "no context", NULL);
        return NULL;
    }
    SSL_CTX_set_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_session_id_context(ctx, id, sizeof(id) - 1);
    /* Tickets carry sessions; a cache of our own would only cost memory. */
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(ctx, 1);
    if (use_certificates(ctx, pem_path, err) < 0) goto failed;
    if (SSL_CTX_use_PrivateKey_file(ctx, pem_path, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(ctx) != 1) {
        fail(err, "no fitting private key in", pem_path);
        goto failed;
    }
    if (ca_path) {
        if (SSL_CTX_load_verify_locations(ctx, ca_path, NULL) != 1) {
            fail(err, "cannot use CA bundle", ca_path);
            goto failed;
        }
        SSL_CTX_set_client_CA_list(ctx, SSL_load_client_CA_file(ca_path));
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    }
    return ctx;

failed:
    SSL_CTX_free(ctx);
    return NULL;
}

struct tls_server *tls_server_new(const char *pem_path, struct xerr *err)
{
    SSL_CTX *ctx = server_context(pem_path, NULL, err);

    if (!ctx) return NULL;
    signal(SIGPIPE, SIG_IGN);
    struct tls_server *t = xcalloc(1, sizeof(*t));
    pthread_mutex_init(&t->lock, NULL);
    t->ctx = ctx;
    t->pem_path = xstrdup(pem_path);
    return t;
}

/* New context from these files; the strings are copied. */
static int server_replace(struct tls_server *t, const char *pem_path, const char *ca_path, struct xerr *err)
{
    SSL_CTX *ctx = server_context(pem_path, ca_path, err);

    if (!ctx) return -1;
    char *pem = xstrdup(pem_path), *ca = ca_path ? xstrdup(ca_path) : NULL;
    pthread_mutex_lock(&t->lock);
    SSL_CTX *old_ctx = t->ctx;
    char *old_pem = t->pem_path, *old_ca = t->ca_path;
    t->ctx = ctx;
    t->pem_path = pem;
    t->ca_path = ca;
    pthread_mutex_unlock(&t->lock);
    SSL_CTX_free(old_ctx);
    free(old_pem);
    free(old_ca);
    return 0;
}

int tls_server_reload(struct tls_server *t, const char *pem_path, struct xerr *err)
{
    pthread_mutex_lock(&t->lock);
    _cleanup_free_ char *ca = t->ca_path ? xstrdup(t->ca_path) : NULL;
    pthread_mutex_unlock(&t->lock);
    return server_replace(t, pem_path, ca, err);
}

int tls_server_verify_clients(struct tls_server *t, const char *ca_path, struct xerr *err)
{
    pthread_mutex_lock(&t->lock);
    _cleanup_free_ char *pem = xstrdup(t->pem_path);
    pthread_mutex_unlock(&t->lock);
    return server_replace(t, pem, ca_path, err);
}

void tls_server_free(struct tls_server *t)
{
    if (!t) return;
    SSL_CTX_free(t->ctx);
    free(t->pem_path);
    free(t->ca_path);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

SSL *tls_server_accept(struct tls_server *t, int fd)
{
    /* SSL_new takes its own reference of the context. */
    pthread_mutex_lock(&t->lock);
    SSL *ssl = SSL_new(t->ctx);
    pthread_mutex_unlock(&t->lock);
    if (!ssl || SSL_set_fd(ssl, fd) != 1) abort();   /* out of memory */
    SSL_set_accept_state(ssl);
    return ssl;
}

/* Appends a name and a newline; one with a control character in it is nobody's. */
static void add_name(struct strbuf *names, const ASN1_STRING *name)
{
    unsigned char *utf8 = NULL;
    int n = name ? ASN1_STRING_to_UTF8(&utf8, name) : -1;
    bool good = n > 0;

    for (int i = 0; i < n; i++) good = good && utf8[i] >= ' ' && utf8[i] != 0x7f;
    if (good) strbuf_printf(names, "%.*s\n", n, (const char *)utf8);
    OPENSSL_free(utf8);
}

static void add_dns_names(struct strbuf *names, X509 *x)
{
    GENERAL_NAMES *alternatives = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);

    for (int i = 0; i < sk_GENERAL_NAME_num(alternatives); i++) {
        const GENERAL_NAME *g = sk_GENERAL_NAME_value(alternatives, i);
        if (g->type == GEN_DNS) add_name(names, g->d.dNSName);
    }
    GENERAL_NAMES_free(alternatives);
}

char *tls_peer_names(const SSL *ssl)
{
    X509 *x = SSL_get1_peer_certificate(ssl);
    _cleanup_strbuf_ struct strbuf names = STRBUF_INIT;

    if (!x) return NULL;
    if (SSL_get_verify_result(ssl) == X509_V_OK) {
        add_dns_names(&names, x);
        int at = X509_NAME_get_index_by_NID(X509_get_subject_name(x), NID_commonName, -1);
        if (!names.len && at >= 0) add_name(&names, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(X509_get_subject_name(x), at)));
    }
    X509_free(x);
    return names.len ? xstrdup(strbuf_cstr(&names)) : NULL;
}

/* --- client -------------------------------------------------------------------------------------------- */

static bool has_crl(SSL_CTX *ctx)
{
    STACK_OF(X509_OBJECT) *objects = X509_STORE_get0_objects(SSL_CTX_get_cert_store(ctx));

    for (int i = 0; i < sk_X509_OBJECT_num(objects); i++)
        if (X509_OBJECT_get_type(sk_X509_OBJECT_value(objects, i)) == X509_LU_CRL) return true;
    return false;
}

/* An authority without a revocation list has revoked nothing. */
static int on_verify(int ok, X509_STORE_CTX *store)
{
    return ok || X509_STORE_CTX_get_error(store) == X509_V_ERR_UNABLE_TO_GET_CRL;
}

struct tls_client *tls_client_new(const char *ca_path, struct xerr *err)
{
    SSL_CTX *ctx = context_new(TLS_client_method());

    errno = 0;
    if (!ctx || (ca_path && SSL_CTX_load_verify_locations(ctx, ca_path, NULL) != 1)) {
        fail(err, "cannot use CA bundle", ca_path);
        SSL_CTX_free(ctx);
        return NULL;
    }
    if (ca_path) {
        /* A pool's bundle holds the hosts' own certificates, which need not be self-signed. */
        X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(ctx), X509_V_FLAG_PARTIAL_CHAIN);
        if (has_crl(ctx)) X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(ctx), X509_V_FLAG_CRL_CHECK);
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, on_verify);
    }
    signal(SIGPIPE, SIG_IGN);
    struct tls_client *t = xcalloc(1, sizeof(*t));
    t->ctx = ctx;
    t->verify = ca_path != NULL;
    return t;
}

void tls_client_free(struct tls_client *t)
{
    if (!t) return;
    SSL_CTX_free(t->ctx);
    free(t);
}

static bool is_address(const char *host)
{
    unsigned char raw[16];

    return inet_pton(AF_INET, host, raw) == 1 || inet_pton(AF_INET6, host, raw) == 1;
}

int tls_client_connect(struct tls_client *t, struct stream *s, const char *host, int timeout_ms,
                       struct xerr *err)
{
    SSL *ssl = SSL_new(t->ctx);

    if (!ssl || SSL_set_fd(ssl, s->fd) != 1) abort();   /* out of memory */
    SSL_set_connect_state(ssl);
    if (host && !is_address(host)) SSL_set_tlsext_host_name(ssl, host);
    if (host && t->verify) {
        bool ok = is_address(host) ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1
                                   : SSL_set1_host(ssl, host) == 1;
        if (!ok) {
            SSL_free(ssl);
            return fail(err, "cannot check for host", host);
        }
    }
    s->ssl = ssl;
    if (stream_handshake(s, timeout_ms) == 0) return 0;
    long verdict = SSL_get_verify_result(ssl);
    if (t->verify && verdict != X509_V_OK)
        return xerr_internal(err, "TLS: certificate of %s: %s", host ? host : "the server",
                             X509_verify_cert_error_string(verdict));
    return xerr_internal(err, "TLS: handshake with %s: %s", host ? host : "the server", strerror(errno));
}

/* --- certificates -------------------------------------------------------------------------------------- */

static bool add_extension(X509 *x, int nid, const char *value)
{
    X509V3_CTX ctx;

    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, x, x, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    if (!e) return false;
    bool ok = X509_add_ext(x, e, -1) == 1;
    X509_EXTENSION_free(e);
    return ok;
}

/* Host names reach an extension's text form, where a comma would start another name. */
static bool is_plain_name(const char *s)
{
    return *s &&
           strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:*") == strlen(s);
}

static X509 *self_signed(EVP_PKEY *key, const char *common_name, const char *const *names, size_t n_names,
                         int days)
{
    _cleanup_strbuf_ struct strbuf alt = STRBUF_INIT;
    unsigned char serial[16];
    X509 *x = X509_new();

    if (!x || RAND_bytes(serial, sizeof(serial)) != 1) goto failed;
    serial[0] &= 0x7f;
    serial[0] |= 0x40;
    BIGNUM *bn = BN_bin2bn(serial, sizeof(serial), NULL);
    bool ok = bn && BN_to_ASN1_INTEGER(bn, X509_get_serialNumber(x));
    BN_free(bn);
    if (!ok || X509_set_version(x, X509_VERSION_3) != 1) goto failed;

    /* A clock that runs a little behind must not refuse it. */
    X509_gmtime_adj(X509_getm_notBefore(x), -86400);
    X509_time_adj_ex(X509_getm_notAfter(x), days, 0, NULL);
    X509_NAME *name = X509_get_subject_name(x);
    /* Longer names do not fit a CN; the DNS name below has them whole. */
    int cn_len = strlen(common_name) > 64 ? 64 : (int)strlen(common_name);
    if (X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)common_name, cn_len, -1,
                                   0) != 1 ||
        X509_set_issuer_name(x, name) != 1 || X509_set_pubkey(x, key) != 1)
        goto failed;

    strbuf_printf(&alt, "DNS:%s", is_plain_name(common_name) ? common_name : "localhost");
    for (size_t i = 0; i < n_names; i++)
        if (is_plain_name(names[i]))
            strbuf_printf(&alt, ",%s:%s", is_address(names[i]) ? "IP" : "DNS", names[i]);
    if (!add_extension(x, NID_basic_constraints, "critical,CA:FALSE")
        || !add_extension(x, NID_key_usage, "critical,digitalSignature,keyEncipherment")
        || !add_extension(x, NID_ext_key_usage, "serverAuth,clientAuth")
        || !add_extension(x, NID_subject_key_identifier, "hash")
        || !add_extension(x, NID_subject_alt_name, strbuf_cstr(&alt)))
        goto failed;
    if (X509_sign(x, key, EVP_sha256()) <= 0) goto failed;
    return x;

failed:
    X509_free(x);
    return NULL;
}

int tls_make_self_signed(const char *path, const char *common_name, const char *const *names, size_t n_names,
                         int days, struct xerr *err)
{
    EVP_PKEY *key = NULL;
    X509 *x = NULL;
    BIO *bio = NULL;
    int rc = -1;

    errno = 0;
    key = EVP_RSA_gen(2048);
    if (key) x = self_signed(key, common_name, names, n_names, days);
    if (x) bio = BIO_new(BIO_s_secmem());
    if (!bio || PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1
        || PEM_write_bio_X509(bio, x) != 1) {
        fail(err, "cannot make a certificate", NULL);
        goto out;
    }
    char *text;
    long len = BIO_get_mem_data(bio, &text);
    if (write_file_atomic(path, text, (size_t)len, 0600) < 0) {
        fail(err, "cannot write", path);
        goto out;
    }
    rc = 0;
out:
    BIO_free(bio);
    X509_free(x);
    EVP_PKEY_free(key);
    return rc;
}

int tls_local_addresses(char ***ret_addresses, size_t *ret_n)
{
    struct ifaddrs *all;
    char **list = NULL;
    size_t n = 0;

    if (getifaddrs(&all) < 0) return -1;
    for (struct ifaddrs *i = all; i; i = i->ifa_next) {
        char text[INET6_ADDRSTRLEN];
        const void *raw;
        if (!i->ifa_addr || (i->ifa_flags & IFF_LOOPBACK)) continue;
        if (i->ifa_addr->sa_family == AF_INET) {
            raw = &((const struct sockaddr_in *)(const void *)i->ifa_addr)->sin_addr;
        } else if (i->ifa_addr->sa_family == AF_INET6) {
            const struct sockaddr_in6 *in6 = (const void *)i->ifa_addr;
            if (IN6_IS_ADDR_LINKLOCAL(&in6->sin6_addr)) continue;
            raw = &in6->sin6_addr;
        } else {
            continue;
        }
        if (!inet_ntop(i->ifa_addr->sa_family, raw, text, sizeof(text))) continue;
        list = xrealloc(list, (n + 1) * sizeof(*list));
        list[n++] = xstrdup(text);
    }
    freeifaddrs(all);
    *ret_addresses = list;
    *ret_n = n;
    return 0;
}

static char *fingerprint(const X509 *x, const EVP_MD *md)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    struct strbuf text = STRBUF_INIT;

    X509_digest(x, md, digest, &n);
    for (unsigned i = 0; i < n; i++) strbuf_printf(&text, "%s%02X", i ? ":" : "", digest[i]);
    return strbuf_take(&text);
}

static int64_t epoch_of(const ASN1_TIME *t)
{
    struct tm tm;

    return ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

int tls_read_certificate(const char *pem, struct tls_certificate *ret_cert, struct xerr *err)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509 *x = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;

    BIO_free(bio);
    errno = 0;
    if (!x) return fail(err, "not a certificate", NULL);
    BIO *name = BIO_new(BIO_s_mem());
    char *text = NULL;
    X509_NAME_print_ex(name, X509_get_subject_name(x), 0, XN_FLAG_RFC2253);
    long len = BIO_get_mem_data(name, &text);
    *ret_cert = (struct tls_certificate){
        .fingerprint_sha256 = fingerprint(x, EVP_sha256()),
        .fingerprint_sha1 = fingerprint(x, EVP_sha1()),
        .subject = xstrndup(text, (size_t)len),
        .not_before = epoch_of(X509_get0_notBefore(x)),
        .not_after = epoch_of(X509_get0_notAfter(x)),
    };
    BIO_free(name);
    X509_free(x);
    return 0;
}

void tls_certificate_clear(struct tls_certificate *c)
{
    free(c->fingerprint_sha256);
    free(c->fingerprint_sha1);
    free(c->subject);
    *c = (struct tls_certificate){ .subject = NULL };
}
