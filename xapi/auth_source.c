/* Accounts and passwords: crypt file or PAM, and session keys.
 * Called by: session.c, auth.c, rpc/.  Calls: xapi-helper, crypt, OpenSSL. */
#define LOG_MODULE "auth"

#include "xapi/auth.h"

#include <crypt.h>
#include <errno.h>
#include <grp.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/random.h>

#include "gen/errors.h"
#include "lib/arena.h"
#include "lib/limits.h"
#include "lib/log.h"
#include "lib/strbuf.h"
#include "lib/subproc.h"
#include "xapi/crew.h"
#include "xapi/turns.h"

enum { ACCOUNTS_LIMIT = 1 << 20, MAX_GROUPS = 1024, FIRST_CHECKS = 8 };

struct auth {
    char *file;                    /* immutable; NULL = PAM */
    char *helper;                  /* immutable */
    int64_t timeout_ms;            /* immutable */
    bool programs;                 /* immutable */
    EVP_MD *sha256;                /* immutable */
    pthread_mutex_t file_lock;     /* one writer of the accounts file */
    struct turns *checks;          /* passwords that are checked at a time */
    struct crew *crew;             /* hashes them; NULL = PAM does */
};

/* xapi-helper takes this account by itself; see xapi/helper/confine.h. */
static void look_for_account(void)
{
    struct passwd pw, *found = NULL;
    char buf[16384];

    if (geteuid()) log_warn("not started by root: xapi-helper keeps this account, and PAM may not read every password");
    else if (getpwnam_r("xapi-helper", &pw, buf, sizeof(buf), &found) || !found)
        log_warn("there is no account xapi-helper: passwords are checked by a root without capabilities");
}

int auth_new(const struct auth_config *config, struct auth **ret_auth, struct xerr *err)
{
    const char *source = config->source, *file = has_prefix(source, "file:") ? source + 5 : NULL;

    if (!file && !streq(source, "pam"))
        return xerr_internal(err, "unknown source of accounts \"%s\": use pam or file:PATH", source);
    if (file && access(file, R_OK))
        return xerr_internal(err, "cannot read the accounts file %s: %s", file, strerror(errno));

    struct auth *auth = xcalloc(1, sizeof(*auth));
    auth->file = file ? xstrdup(file) : NULL;
    auth->helper = xstrdup(config->helper);
    auth->timeout_ms = config->timeout_ms;
    auth->programs = config->programs;
    if (!file) look_for_account();
    auth->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    if (!auth->sha256) abort();
    pthread_mutex_init(&auth->file_lock, NULL);
    auth->checks = turns_new(FIRST_CHECKS);
    auth->crew = file ? crew_new("password") : NULL;
    *ret_auth = auth;
    return 0;
}

void auth_free(struct auth *auth)
{
    if (!auth) return;
    EVP_MD_free(auth->sha256);
    pthread_mutex_destroy(&auth->file_lock);
    turns_free(auth->checks);
    crew_free(auth->crew);
    free(auth->file);
    free(auth->helper);
    free(auth);
}

struct ref auth_session_key(const struct auth *auth, struct ref secret)
{
    unsigned char in[16], out[EVP_MAX_MD_SIZE];
    struct ref key = REF_NULL;

    for (int i = 0; i < 8; i++) {
        in[i] = (unsigned char)(secret.hi >> (56 - 8 * i));
        in[i + 8] = (unsigned char)(secret.lo >> (56 - 8 * i));
    }
    if (EVP_Digest(in, sizeof(in), out, NULL, auth->sha256, NULL) != 1) abort();
    for (int i = 0; i < 8; i++) {
        key.hi = key.hi << 8 | out[i];
        key.lo = key.lo << 8 | out[i + 8];
    }
    return key;
}

/* ---- the accounts file ---- */

/* The hash of a user, malloc'd, or NULL. */
static char *file_hash(const struct auth *auth, const char *user)
{
    _cleanup_free_ char *text = NULL;
    char *save = NULL;
    size_t n = strlen(user);

    if (!n || read_file(auth->file, ACCOUNTS_LIMIT, &text, NULL)) return NULL;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        if (line[0] == '#' || strncmp(line, user, n) != 0 || line[n] != ':') continue;
        char *hash = line + n + 1;
        hash[strcspn(hash, ": \t\r")] = '\0';
        return *hash ? xstrdup(hash) : NULL;
    }
    return NULL;
}

struct hashing {
    const char *hash, *password;
    bool same;
};

static void hash_one(void *arg)
{
    struct hashing *h = arg;
    struct crypt_data *data = xcalloc(1, sizeof(*data));
    const char *got = crypt_r(h->password, h->hash, data);

    h->same = got && *got != '*' && strlen(got) == strlen(h->hash)
              && CRYPTO_memcmp(got, h->hash, strlen(h->hash)) == 0;
    explicit_bzero(data, sizeof(*data));
    free(data);
}

static int file_check(const struct auth *auth, const char *user, const char *password)
{
    _cleanup_free_ char *hash = file_hash(auth, user);

    /* An unknown user costs the same time as a wrong password. */
    struct hashing h = { .hash = hash ? hash : "$6$unknownuser$", .password = password };
    crew_do(auth->crew, hash_one, &h);
    return hash && h.same ? 0 : -1;
}

static char *new_hash(const char *password)
{
    static const char digits[] = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    unsigned char random[16];
    char salt[3 + sizeof(random) + 2] = "$6$";
    struct crypt_data *data = xcalloc(1, sizeof(*data));

    if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random)) abort();
    for (size_t i = 0; i < sizeof(random); i++) salt[3 + i] = digits[random[i] & 63];
    salt[3 + sizeof(random)] = '$';
    const char *hash = crypt_r(password, salt, data);
    char *copy = hash && *hash != '*' ? xstrdup(hash) : NULL;
    explicit_bzero(data, sizeof(*data));
    free(data);
    return copy;
}

static int file_set(struct auth *auth, const char *user, const char *password, struct xerr *err)
{
    _cleanup_free_ char *text = NULL, *hash = new_hash(password);
    _cleanup_strbuf_ struct strbuf out = STRBUF_INIT;
    size_t n = strlen(user);
    bool found = false;
    int rc = -1;

    if (!hash) return xerr_change_password_rejected(err, "The password could not be hashed");
    pthread_mutex_lock(&auth->file_lock);
    if (read_file(auth->file, ACCOUNTS_LIMIT, &text, NULL)) {
        xerr_change_password_rejected(err, "The accounts file could not be read");
        goto out;
    }
    for (const char *line = text; *line;) {
        size_t len = strcspn(line, "\n");
        if (!strncmp(line, user, n) && line[n] == ':') {
            strbuf_printf(&out, "%s:%s\n", user, hash);
            found = true;
        } else {
            strbuf_add(&out, line, len);
            strbuf_char(&out, '\n');
        }
        line += len + (line[len] == '\n');
    }
    if (!found) {
        xerr_change_password_rejected(err, "There is no such user");
        goto out;
    }
    if (write_file_atomic(auth->file, strbuf_cstr(&out), out.len, 0600)) {
        log_error("cannot write the accounts file %s: %s", auth->file, strerror(errno));
        xerr_change_password_rejected(err, "The accounts file could not be written");
        goto out;
    }
    rc = 0;
out:
    pthread_mutex_unlock(&auth->file_lock);
    return rc;
}

/* ---- PAM, in a process of its own ---- */

/* `xapi-helper ROLE` gets user and password as NUL-ended texts on stdin and prints "ok" or a reason. */
static int ask_helper(const struct auth *auth, const char *role, const char *user, const char *password,
                      char *ret_reason, size_t size)
{
    const char *const argv[] = { auth->helper, role, auth->programs ? "--programs" : NULL, NULL };
    const char *const env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", NULL };
    const struct subproc_command cmd = { .argv = argv, .env = env, .cwd = "/" };
    const struct subproc_limits limits = { .timeout_ms = auth->timeout_ms, .out_bytes = 4096 };
    struct subproc_result r;
    _cleanup_strbuf_ struct strbuf input = STRBUF_INIT;

    strbuf_reserve(&input, strlen(user) + strlen(password) + 2);
    strbuf_add(&input, user, strlen(user) + 1);
    strbuf_add(&input, password, strlen(password) + 1);
    int rc = subproc_run(&cmd, input.ptr, input.len, &limits, &r);
    explicit_bzero(input.ptr, input.len);
    if (rc) {
        log_error("cannot run %s: %s", auth->helper, strerror(errno));
        snprintf(ret_reason, size, "The password check could not be started");
        return -1;
    }
    const char *line = strbuf_cstr(&r.out);
    bool ok = subproc_ok(&r) && streq(line, "ok\n");
    /* 1 is a refusal; anything else is a fault of a module or of ours. */
    if (!subproc_ok(&r) && !(r.end == SUBPROC_EXITED && r.code == 1)) {
        _cleanup_free_ char *why = subproc_describe(&r);
        log_error("xapi-helper %s: %s", role, why);
    }
    if (r.end == SUBPROC_TIMED_OUT) snprintf(ret_reason, size, "The password check did not answer");
    else if (!*line || has_prefix(line, "ok\n")) snprintf(ret_reason, size, "The password check failed");
    else snprintf(ret_reason, size, "%.*s", (int)strcspn(line, "\n"), line);
    subproc_result_free(&r);
    return ok ? 0 : -1;
}

/* ---- both ---- */

void auth_limit_checks(struct auth *auth, int64_t max)
{
    turns_set(auth->checks, max < LIMIT_PASSWORD_CHECKS ? max : LIMIT_PASSWORD_CHECKS);
}

int auth_check_password(struct auth *auth, const char *user, const char *password, struct xerr *err)
{
    char reason[256] = "Invalid credentials";
    int rc = -1;

    if (*user && strlen(user) <= LIMIT_USER_NAME && strlen(password) <= LIMIT_PASSWORD) {
        if (!turns_begin(auth->checks, AUTH_TIMEOUT_MAX_MS)) return xerr_too_many_pending_tasks(err);
        rc = auth->file ? file_check(auth, user, password)
                        : ask_helper(auth, "pam", user, password, reason, sizeof(reason));
        turns_end(auth->checks);
    }
    if (!rc) return 0;
    return xerr_set(err, "SESSION_AUTHENTICATION_FAILED", 2, (const char *[]){ user, reason });
}

bool auth_is_busy(const struct auth *auth)
{
    return auth->crew && crew_is_busy(auth->crew);
}

int auth_set_password(struct auth *auth, const char *user, const char *password, struct xerr *err)
{
    char reason[256] = "";

    if (!*password || strlen(password) > LIMIT_PASSWORD)
        return xerr_change_password_rejected(err, "The password is empty or too long");
    if (auth->file) return file_set(auth, user, password, err);
    if (ask_helper(auth, "pam-password", user, password, reason, sizeof(reason)))
        return xerr_change_password_rejected(err, reason);
    return 0;
}

static bool account(const char *user, struct passwd *ret_pw, char buf[16384])
{
    struct passwd *found = NULL;

    return getpwnam_r(user, ret_pw, buf, 16384, &found) == 0 && found;
}

bool auth_user_exists(struct auth *auth, const char *user)
{
    if (auth->file) {
        _cleanup_free_ char *hash = file_hash(auth, user);
        return hash != NULL;
    }
    struct passwd pw;
    char buf[16384];
    return account(user, &pw, buf);
}

bool auth_user_is_root(struct auth *auth, const char *user)
{
    struct passwd pw;
    char buf[16384];

    if (auth->file) return streq(user, "root");
    return account(user, &pw, buf) && pw.pw_uid == 0;
}

const char **auth_user_identifiers(struct auth *auth, const char *user, struct arena *a)
{
    gid_t groups[MAX_GROUPS];
    int n = 0;
    struct passwd pw;
    char buf[16384];

    if (!auth->file && account(user, &pw, buf)) {
        n = MAX_GROUPS;
        if (getgrouplist(user, pw.pw_gid, groups, &n) < 0) n = 0;
    }
    const char **ids = arena_new_array(a, const char *, (size_t)n + 2);
    size_t count = 0;
    ids[count++] = arena_printf(a, "user:%s", user);
    for (int i = 0; i < n; i++) {
        struct group g, *found = NULL;
        if (getgrgid_r(groups[i], &g, buf, sizeof(buf), &found) == 0 && found)
            ids[count++] = arena_printf(a, "group:%s", g.gr_name);
    }
    return ids;
}
