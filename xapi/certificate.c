/* Class Certificate: the certificate this host shows, and those it trusts.
 * Called by: main.c, the generated thunks (schema/host.xml, schema/pool.xml).  Calls: tls, OpenSSL, db/.
 *
 * Trusted certificates are files ROOT/certs/ca/NAME, revocation lists ROOT/certs/crl/NAME. The records are
 * for looking at, the files are what counts; bundle.pem has all trusted certificates in one file for
 * OpenSSL. */
#include "xapi/certificate.h"

#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/objects.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <time.h>

#define LOG_MODULE "certificate"
#include "gen/methods.h"
#include "lib/iso8601.h"
#include "lib/limits.h"
#include "lib/log.h"
#include "lib/tls.h"
#include "xapi/host.h"

enum {
    NAME_MAX_BYTES = 200,
    RSA_MIN_BITS = 2048,
    RSA_MAX_BITS = 4096,
    TEN_YEARS_DAYS = 3650,
};

/* ---- reading PEM --------------------------------------------------------------------------------------- */

static void x509_freep(X509 **x) { X509_free(*x); }
static void pkey_freep(EVP_PKEY **k) { EVP_PKEY_free(*k); }
static void bio_freep(BIO **b) { BIO_free_all(*b); }
static void crl_freep(X509_CRL **c) { X509_CRL_free(*c); }

static BIO *bio_of(const char *pem)
{
    size_t n = strlen(pem);
    return BIO_new_mem_buf(pem, n > LIMIT_CERTIFICATE ? 0 : (int)n);
}

static X509 *read_x509(const char *pem)
{
    _cleanup_(bio_freep) BIO *b = bio_of(pem);
    X509 *x = PEM_read_bio_X509(b, NULL, NULL, NULL);

    ERR_clear_error();
    return x;
}

/* No program asks for a pass phrase here. */
static int no_password(char *buf, int size, int writing, void *arg)
{
    (void)buf, (void)size, (void)writing, (void)arg;
    return -1;
}

static EVP_PKEY *read_key(const char *pem)
{
    _cleanup_(bio_freep) BIO *b = bio_of(pem);
    EVP_PKEY *k = PEM_read_bio_PrivateKey(b, NULL, no_password, NULL);

    ERR_clear_error();
    return k;
}

static int64_t seconds_of(const ASN1_TIME *when)
{
    struct tm tm;

    return ASN1_TIME_to_tm(when, &tm) ? timegm(&tm) : 0;
}

static const char *text_of(struct arena *a, int64_t seconds)
{
    return iso8601_text(seconds, arena_alloc(a, ISO8601_TEXT));
}

/* ---- records ------------------------------------------------------------------------------------------- */

struct describe {
    enum certificate_type type;
    const char *name;
    struct ref host;
    uint64_t purpose;
};

static int add_record(struct txn *t, const struct describe *d, const char *pem, struct ref *ret_ref,
                      struct xerr *err)
{
    struct tls_certificate info;
    struct ref ref = ref_new();

    if (tls_read_certificate(pem, &info, err)) return -1;
    txn_create(t, CLASS_Certificate, ref);
    txn_set_enum(t, ref, F_Certificate_type, (int)d->type);
    txn_set_str(t, ref, F_Certificate_name, d->name);
    txn_set_ref(t, ref, F_Certificate_host, d->host);
    txn_set_time(t, ref, F_Certificate_not_before, info.not_before);
    txn_set_time(t, ref, F_Certificate_not_after, info.not_after);
    txn_set_str(t, ref, F_Certificate_fingerprint, info.fingerprint_sha256);
    txn_set_str(t, ref, F_Certificate_fingerprint_sha256, info.fingerprint_sha256);
    txn_set_str(t, ref, F_Certificate_fingerprint_sha1, info.fingerprint_sha1);
    txn_set_bits(t, ref, F_Certificate_purpose, d->purpose);
    tls_certificate_clear(&info);
    if (ret_ref) *ret_ref = ref;
    return 0;
}

int certificate_record(struct agent *agent, struct xerr *err)
{
    const struct describe d = { .type = certificate_type_host, .name = "", .host = agent->host };
    _cleanup_free_ char *pem = NULL;
    struct tls_certificate info;
    bool known = false;

    if (read_file(agent->certificate, LIMIT_CERTIFICATE, &pem, NULL))
        return xerr_internal(err, "%s: %s", agent->certificate, strerror(errno));
    int rc = tls_read_certificate(pem, &info, err);
    if (rc) {
        explicit_bzero(pem, strlen(pem));
        return rc;
    }
    struct txn *t = db_begin(agent->db);
    SNAP_EACH (txn_snap(t), CLASS_Certificate, row) {
        if (row_enum(row, F_Certificate_type) != certificate_type_host) continue;
        if (ref_eq(row_ref(row, F_Certificate_host), agent->host) && !known &&
            streq(row_str(row, F_Certificate_fingerprint_sha256), info.fingerprint_sha256))
            known = true;
        else
            txn_destroy(t, CLASS_Certificate, row_ref_of(row));
    }
    tls_certificate_clear(&info);
    if (!known) rc = add_record(t, &d, pem, NULL, err);
    explicit_bzero(pem, strlen(pem));
    if (!rc) return db_commit(t, err);
    db_abort(t);
    return -1;
}

/* ---- the host's own ------------------------------------------------------------------------------------ */

int certificate_make(const char *path, struct xerr *err)
{
    char host[256] = "localhost";
    char **addresses = NULL;
    size_t n = 0;

    gethostname(host, sizeof(host) - 1);
    if (tls_local_addresses(&addresses, &n)) n = 0;
    const char **names = xcalloc(n + 2, sizeof(*names));
    for (size_t i = 0; i < n; i++) names[i] = addresses[i];
    names[n] = "127.0.0.1";
    names[n + 1] = "localhost";
    int rc = tls_make_self_signed(path, host, names, n + 2, TEN_YEARS_DAYS, err);
    for (size_t i = 0; i < n; i++) free(addresses[i]);
    free(addresses);
    free(names);
    return rc;
}

/* New connections get what is in the file now. */
static int use_file(struct agent *agent, struct xerr *err)
{
    if (agent->tls && tls_server_reload(agent->tls, agent->certificate, err)) return -1;
    return certificate_record(agent, err);
}

static int reset_own(struct call *c, struct xerr *err)
{
    return certificate_make(c->agent->certificate, err) || use_file(c->agent, err) ? -1 : 0;
}

int host_reset_server_certificate(struct call *c, struct ref host, struct xerr *err)
{
    return host_need_self(c, host, err) ? -1 : reset_own(c, err);
}

/* Between hosts of a pool the same one is shown. */
int host_refresh_server_certificate(struct call *c, struct ref host, struct xerr *err)
{
    return host_reset_server_certificate(c, host, err);
}

int host_emergency_reset_server_certificate(struct call *c, struct xerr *err) { return reset_own(c, err); }

int host_get_server_certificate(struct call *c, struct ref host, const char **ret_result, struct xerr *err)
{
    _cleanup_free_ char *pem = NULL;

    if (host_need_self(c, host, err)) return -1;
    if (read_file(c->agent->certificate, LIMIT_CERTIFICATE, &pem, NULL))
        return xerr_internal(err, "%s: %s", c->agent->certificate, strerror(errno));
    _cleanup_(x509_freep) X509 *x = read_x509(pem);
    explicit_bzero(pem, strlen(pem));
    if (!x) return xerr_internal(err, "%s holds no certificate", c->agent->certificate);
    _cleanup_(bio_freep) BIO *out = BIO_new(BIO_s_mem());
    char *text;
    PEM_write_bio_X509(out, x);
    long n = BIO_get_mem_data(out, &text);
    *ret_result = arena_strndup(c->arena, text, (size_t)n);
    return 0;
}

/* What XenAPI asks of a server's certificate; each fault has its own code. */
static int check_own(struct call *c, X509 *x, EVP_PKEY *key, struct xerr *err)
{
    int64_t now = time(NULL), from = seconds_of(X509_get0_notBefore(x)),
            until = seconds_of(X509_get0_notAfter(x));
    int signature = X509_get_signature_nid(x), digest = NID_undef;
    char oid[80] = "";

    if (EVP_PKEY_get_base_id(key) != EVP_PKEY_RSA) {
        OBJ_obj2txt(oid, sizeof(oid), OBJ_nid2obj(EVP_PKEY_get_base_id(key)), 1);
        return xerr_server_certificate_key_algorithm_not_supported(err, oid);
    }
    int bits = EVP_PKEY_get_bits(key);
    if (bits < RSA_MIN_BITS || bits > RSA_MAX_BITS)
        return xerr_server_certificate_key_rsa_length_not_supported(err, arena_printf(c->arena, "%d", bits));
    if (now < from)
        return xerr_server_certificate_not_valid_yet(err, text_of(c->arena, now), text_of(c->arena, from));
    if (now > until)
        return xerr_server_certificate_expired(err, text_of(c->arena, now), text_of(c->arena, until));
    if (!OBJ_find_sigid_algs(signature, &digest, NULL) ||
        (digest != NID_sha256 && digest != NID_sha384 && digest != NID_sha512))
        return xerr_server_certificate_signature_not_supported(err);
    if (X509_check_private_key(x, key) == 1) return 0;
    ERR_clear_error();
    return xerr_server_certificate_key_mismatch(err);
}

/* Every block of the chain must be a certificate. */
static bool good_chain(const char *pem)
{
    _cleanup_(bio_freep) BIO *b = bio_of(pem);
    size_t n = 0;

    for (X509 *x; (x = PEM_read_bio_X509(b, NULL, NULL, NULL)); n++) X509_free(x);
    unsigned long e = ERR_peek_last_error();
    ERR_clear_error();
    return n && ERR_GET_LIB(e) == ERR_LIB_PEM && ERR_GET_REASON(e) == PEM_R_NO_START_LINE;
}

int host_install_server_certificate(struct call *c, struct ref host, const char *certificate,
                                    const char *private_key, const char *certificate_chain, struct xerr *err)
{
    _cleanup_strbuf_ struct strbuf pem = STRBUF_INIT;

    if (host_need_self(c, host, err)) return -1;
    _cleanup_(pkey_freep) EVP_PKEY *key = read_key(private_key);
    if (!key) return xerr_server_certificate_key_invalid(err);
    _cleanup_(x509_freep) X509 *x = read_x509(certificate);
    if (!x) return xerr_server_certificate_invalid(err);
    if (check_own(c, x, key, err)) return -1;
    if (*certificate_chain && !good_chain(certificate_chain))
        return xerr_server_certificate_chain_invalid(err);
    strbuf_printf(&pem, "%s\n%s\n%s\n", private_key, certificate, certificate_chain);
    int rc = write_file_atomic(c->agent->certificate, pem.ptr, pem.len, 0600)
                 ? xerr_internal(err, "%s: %s", c->agent->certificate, strerror(errno))
                 : use_file(c->agent, err);
    explicit_bzero(pem.ptr, pem.len);
    return rc;
}

/* ---- trusted: files ------------------------------------------------------------------------------------ */

enum shelf { SHELF_CA, SHELF_CRL };
static const char *const shelves[] = { "ca", "crl" };

static char *file_path(const struct agent *agent, enum shelf shelf, const char *name)
{
    return xasprintf("%s/certs/%s%s%s", agent->root, shelves[shelf], *name ? "/" : "", name);
}

/* One file name: letters, digits, dot, dash, underscore; no leading dot. */
static bool good_name(const char *name)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";

    return *name && *name != '.' && *name != '-' && strlen(name) <= NAME_MAX_BYTES &&
           !name[strspn(name, allowed)];
}

static int list_files(const struct agent *agent, struct arena *a, enum shelf shelf, struct value *ret_names,
                      struct xerr *err)
{
    _cleanup_free_ char *folder = file_path(agent, shelf, "");
    struct value_builder names = value_builder(a);
    DIR *dir = opendir(folder);

    if (!dir && errno != ENOENT) return xerr_internal(err, "%s: %s", folder, strerror(errno));
    for (const struct dirent *e; dir && (e = readdir(dir));)
        if (good_name(e->d_name)) value_push(&names, value_string(arena_strdup(a, e->d_name)));
    if (dir) closedir(dir);
    *ret_names = value_built_set(&names);
    return 0;
}

static int write_new(const struct agent *agent, enum shelf shelf, const char *name, const char *pem,
                     struct xerr *err)
{
    _cleanup_free_ char *folder = file_path(agent, shelf, ""), *path = file_path(agent, shelf, name);

    if (make_dirs(folder, 0755) || write_file_atomic(path, pem, strlen(pem), 0644))
        return xerr_internal(err, "%s: %s", path, strerror(errno));
    return 0;
}

static bool have_file(const struct agent *agent, enum shelf shelf, const char *name)
{
    _cleanup_free_ char *path = file_path(agent, shelf, name);
    return access(path, F_OK) == 0;
}

/* The names of the trusted certificates that have a record; a file without one is the rest of an installation that
 * did not come to its end. In the arena. */
static struct value trusted_names(const struct agent *agent, struct arena *a)
{
    struct value_builder names = value_builder(a);
    _cleanup_snap_ struct snap *s = db_snap(agent->db);

    SNAP_EACH (s, CLASS_Certificate, row) {
        const char *name = row_str(row, F_Certificate_name);
        if (good_name(name)) value_push(&names, value_string(arena_strdup(a, name)));
    }
    return value_built_set(&names);
}

static void add_files(const struct agent *agent, enum shelf shelf, const struct value *names,
                      struct strbuf *out)
{
    for (size_t i = 0; i < names->set.n; i++) {
        _cleanup_free_ char *file = file_path(agent, shelf, names->set.items[i].s), *pem = NULL;
        if (read_file(file, LIMIT_CERTIFICATE, &pem, NULL))
            log_warn("%s: %s", file, strerror(errno));
        else
            strbuf_printf(out, "%s\n", pem);
    }
}

int certificate_write_bundle(const struct agent *agent, struct xerr *err)
{
    _cleanup_strbuf_ struct strbuf bundle = STRBUF_INIT;
    _cleanup_free_ char *path = xasprintf("%s/certs/bundle.pem", agent->root);
    _cleanup_free_ char *folder = xasprintf("%s/certs", agent->root);
    _cleanup_arena_ struct arena *a = arena_new();
    const struct value trusted = trusted_names(agent, a);
    struct value revoked;

    if (make_dirs(folder, 0755)) return xerr_internal(err, "%s: %s", folder, strerror(errno));
    if (list_files(agent, a, SHELF_CRL, &revoked, err)) return -1;
    add_files(agent, SHELF_CA, &trusted, &bundle);
    add_files(agent, SHELF_CRL, &revoked, &bundle);
    if (write_file_atomic(path, strbuf_cstr(&bundle), bundle.len, 0644))
        return xerr_internal(err, "%s: %s", path, strerror(errno));
    return certificate_apply_clients(agent, err);
}

int certificate_apply_clients(const struct agent *agent, struct xerr *err)
{
    _cleanup_free_ char *path = xasprintf("%s/certs/bundle.pem", agent->root);
    bool on;
    struct stat st;
    {
        _cleanup_snap_ struct snap *s = db_snap(agent->db);
        const struct row *pool = snap_get(s, CLASS_pool, agent->pool);
        on = pool && row_bool(pool, F_pool_client_certificate_auth_enabled);
    }
    if (!agent->tls) return 0;
    /* Nobody is vouched for by an empty bundle. */
    if (stat(path, &st) || !st.st_size) on = false;
    return tls_server_verify_clients(agent->tls, on ? path : NULL, err);
}

/* New connections are asked for a certificate from now on, or not any more. What certificates opened ends with them. */
static int set_client_auth(struct call *c, struct ref pool, bool on, const char *name, struct xerr *err)
{
    if (pool_need_self(c, pool, err)) return -1;
    struct txn *t = db_begin(c->agent->db);
    struct ref *gone = arena_new_array(c->arena, struct ref, snap_count(txn_snap(t), CLASS_session) + 1);
    size_t n = 0;

    txn_set_bool(t, c->agent->pool, F_pool_client_certificate_auth_enabled, on);
    txn_set_str(t, c->agent->pool, F_pool_client_certificate_auth_name, name);
    SNAP_EACH (txn_snap(t), CLASS_session, row)
        if (row_bool(row, F_session_client_certificate)) gone[n++] = row_ref_of(row);
    for (size_t i = 0; i < n; i++) txn_destroy(t, CLASS_session, gone[i]);
    return db_commit(t, err) || certificate_apply_clients(c->agent, err) ? -1 : 0;
}

int pool_enable_client_certificate_auth(struct call *c, struct ref self, const char *name, struct xerr *err)
{
    if (!*name) return xerr_invalid_value(err, "name", name);
    return set_client_auth(c, self, true, name, err);
}

int pool_disable_client_certificate_auth(struct call *c, struct ref self, struct xerr *err)
{
    return set_client_auth(c, self, false, "", err);
}

int certificate_client(const struct agent *agent, struct tls_client **ret_client, struct xerr *err)
{
    _cleanup_free_ char *bundle = NULL;
    bool verify;
    {
        _cleanup_snap_ struct snap *s = db_snap(agent->db);
        const struct row *host = snap_get(s, CLASS_host, agent->host);
        verify = host && row_bool(host, F_host_tls_verification_enabled);
    }
    if (verify) {
        bundle = xasprintf("%s/certs/bundle.pem", agent->root);
        struct stat st;
        if (stat(bundle, &st) || !st.st_size) return xerr_ssl_verify_error(err, "no trusted certificate is installed");
    }
    *ret_client = tls_client_new(bundle, err);
    return *ret_client ? 0 : -1;
}

/* ---- trusted: messages --------------------------------------------------------------------------------- */

/* The certificate's dates, and that it is one. */
static int check_trusted(struct call *c, const char *pem, struct xerr *err)
{
    _cleanup_(x509_freep) X509 *x = read_x509(pem);
    int64_t now = time(NULL);

    if (!x) return xerr_trusted_certificate_invalid(err);
    int64_t from = seconds_of(X509_get0_notBefore(x)), until = seconds_of(X509_get0_notAfter(x));
    if (now < from)
        return xerr_trusted_certificate_not_valid_yet(err, text_of(c->arena, now), text_of(c->arena, from));
    if (now > until)
        return xerr_trusted_certificate_expired(err, text_of(c->arena, now), text_of(c->arena, until));
    return 0;
}

/* 1. the file; 2. the record; 3. the bundle. A record that cannot be made takes the file with it. */
static int install(struct call *c, const struct describe *d, const char *pem, struct ref *ret_ref,
                   struct xerr *err)
{
    if (write_new(c->agent, SHELF_CA, d->name, pem, err)) return -1;
    struct txn *t = db_begin(c->agent->db);
    bool full = snap_count(txn_snap(t), CLASS_Certificate) >= LIMIT_TRUSTED_CERTIFICATES;
    int rc = full ? xerr_out_of_space(err, "trusted certificates") : add_record(t, d, pem, ret_ref, err);
    if (rc)
        db_abort(t);
    else
        rc = db_commit(t, err);
    if (!rc) return certificate_write_bundle(c->agent, err);
    _cleanup_free_ char *path = file_path(c->agent, SHELF_CA, d->name);
    unlink(path);
    return -1;
}

int pool_install_ca_certificate(struct call *c, const char *name, const char *cert, struct xerr *err)
{
    const struct describe d = { .type = certificate_type_ca, .name = name };

    if (!good_name(name)) return xerr_certificate_name_invalid(err, name);
    if (have_file(c->agent, SHELF_CA, name)) return xerr_certificate_already_exists(err, name);
    return check_trusted(c, cert, err) ? -1 : install(c, &d, cert, NULL, err);
}

int pool_certificate_install(struct call *c, const char *name, const char *cert, struct xerr *err)
{
    return pool_install_ca_certificate(c, name, cert, err);
}

/* The record with this name goes, then the file. */
static int uninstall(struct call *c, const char *name, struct xerr *err)
{
    _cleanup_free_ char *path = file_path(c->agent, SHELF_CA, name);
    struct txn *t = db_begin(c->agent->db);

    SNAP_EACH (txn_snap(t), CLASS_Certificate, row)
        if (streq(row_str(row, F_Certificate_name), name)) txn_destroy(t, CLASS_Certificate, row_ref_of(row));
    if (db_commit(t, err)) return -1;
    if (unlink(path) && errno != ENOENT) return xerr_internal(err, "%s: %s", path, strerror(errno));
    return certificate_write_bundle(c->agent, err);
}

int pool_uninstall_ca_certificate(struct call *c, const char *name, bool force, struct xerr *err)
{
    if (!good_name(name)) return xerr_certificate_name_invalid(err, name);
    if (!have_file(c->agent, SHELF_CA, name) && !force) return xerr_certificate_does_not_exist(err, name);
    return uninstall(c, name, err);
}

int pool_certificate_uninstall(struct call *c, const char *name, struct xerr *err)
{
    return pool_uninstall_ca_certificate(c, name, false, err);
}

int pool_certificate_list(struct call *c, struct value *ret_result, struct xerr *err)
{
    return list_files(c->agent, c->arena, SHELF_CA, ret_result, err);
}

/* The newer way: named by its fingerprint. */
int pool_install_trusted_certificate(struct call *c, struct ref self, bool ca, const char *cert,
                                     uint64_t purpose, struct xerr *err)
{
    struct tls_certificate info;

    if (pool_need_self(c, self, err) || check_trusted(c, cert, err) || tls_read_certificate(cert, &info, err))
        return -1;
    char *name = arena_printf(c->arena, "%s.pem", info.fingerprint_sha256);
    const char *fingerprint = arena_strdup(c->arena, info.fingerprint_sha256);
    tls_certificate_clear(&info);
    for (char *p = name; *p; p++)
        if (*p == ':') *p = '-';
    const struct describe d = { .type = ca ? certificate_type_ca : certificate_type_pinned,
                                .name = name,
                                .purpose = purpose };
    if (have_file(c->agent, SHELF_CA, name)) return xerr_trusted_certificate_already_exists(err, fingerprint);
    return install(c, &d, cert, NULL, err);
}

int pool_uninstall_trusted_certificate(struct call *c, struct ref self, struct ref certificate,
                                       struct xerr *err)
{
    const char *name;

    if (pool_need_self(c, self, err)) return -1;
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *row = snap_need(s, CLASS_Certificate, certificate, err);
        if (!row) return -1;
        name = arena_strdup(c->arena, row_str(row, F_Certificate_name));
    }
    if (!*name) return xerr_not_trusted_certificate(err, REF_STR(certificate));
    return uninstall(c, name, err);
}

int pool_crl_install(struct call *c, const char *name, const char *cert, struct xerr *err)
{
    if (!good_name(name)) return xerr_crl_name_invalid(err, name);
    if (have_file(c->agent, SHELF_CRL, name)) return xerr_crl_already_exists(err, name);
    _cleanup_(bio_freep) BIO *b = bio_of(cert);
    _cleanup_(crl_freep) X509_CRL *crl = PEM_read_bio_X509_CRL(b, NULL, NULL, NULL);
    ERR_clear_error();
    if (!crl) return xerr_crl_corrupt(err, name);
    if (write_new(c->agent, SHELF_CRL, name, cert, err)) return -1;
    return certificate_write_bundle(c->agent, err);
}

int pool_crl_uninstall(struct call *c, const char *name, struct xerr *err)
{
    if (!good_name(name)) return xerr_crl_name_invalid(err, name);
    if (!have_file(c->agent, SHELF_CRL, name)) return xerr_crl_does_not_exist(err, name);
    _cleanup_free_ char *path = file_path(c->agent, SHELF_CRL, name);
    if (unlink(path)) return xerr_internal(err, "%s: %s", path, strerror(errno));
    return certificate_write_bundle(c->agent, err);
}

int pool_crl_list(struct call *c, struct value *ret_result, struct xerr *err)
{
    return list_files(c->agent, c->arena, SHELF_CRL, ret_result, err);
}

/* There is no other host to copy to; what this one reads is written anew. */
int pool_certificate_sync(struct call *c, struct xerr *err)
{
    return certificate_write_bundle(c->agent, err);
}

/* From now on outgoing connections check certificates. */
int pool_enable_tls_verification(struct call *c, struct xerr *err)
{
    if (certificate_write_bundle(c->agent, err)) return -1;
    struct txn *t = db_begin(c->agent->db);
    txn_set_bool(t, c->agent->pool, F_pool_tls_verification_enabled, true);
    txn_set_bool(t, c->agent->host, F_host_tls_verification_enabled, true);
    return db_commit(t, err);
}
