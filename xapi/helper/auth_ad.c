/* AD VERB: accounts of an Active Directory domain, through Samba's winbind. A plug-in for external authentication.
 * Called by: xapi (ext_auth.c), the request as JSON on stdin.  Calls: net, winbindd, wbinfo, ntlm_auth.
 *
 * All state is below $XAPI_STATE/auth-ad: a smb.conf of our own, the machine's account, winbindd's files; the machine's own
 * /etc/samba is not touched. winbindd is started by the first question after a boot. Passwords go by stdin or by a file that
 * only root can read, never by arguments. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "lib/arena.h"
#include "lib/json.h"
#include "lib/num.h"
#include "lib/subproc.h"

enum {
    REQUEST_MAX = 1 << 20, NAME_MAX_ = 256, SHORT_MS = 30000, JOIN_MS = 90000, JOIN_TRIES = 3, JOIN_PAUSE_MS = 2000,
    TRUST_TRIES = 40, TRUST_PAUSE_MS = 500,
    ACCOUNT_DISABLED = 0x2, ACCOUNT_LOCKED = 0x10, PASSWORD_EXPIRED = 0x800000, SID_USER = 1,
};

struct ad {
    struct arena *a;
    const char *state, *conf;      /* our folder, smb.conf */
    const struct value *request;
};

/* ---- answers ------------------------------------------------------------------------------------------- */

static void say(const struct value *v)
{
    _cleanup_strbuf_ struct strbuf out = STRBUF_INIT;

    json_encode_value(v, &out);
    puts(strbuf_cstr(&out));
}

static int result(struct ad *ad, struct value v)
{
    struct member m = { "result", v };

    (void)ad;
    say(&(struct value){ .kind = VALUE_MAP, .map = { &m, 1 } });
    return 0;
}

/* The directory, or its administrator's request, says no. */
static int refuse(const char *tag, const char *message)
{
    const struct member m[] = { { "error", value_string(tag) }, { "message", value_string(message) } };
    const struct value v = value_map(m, ARRAY_SIZE(m));

    say(&v);
    return 0;
}

/* Nobody can tell: no answer. */
static int silent(const char *why)
{
    fprintf(stderr, "%s\n", why);
    return 1;
}

/* ---- programs ------------------------------------------------------------------------------------------- */

/* 0: it ended well; its output, in the arena. Else -1, with what it said. */
static int run(struct ad *ad, const char *const *argv, const char *input, int timeout_ms, const char **ret_text)
{
    const struct subproc_command cmd = { .argv = argv, .cwd = "/" };
    const struct subproc_limits limits = { .timeout_ms = timeout_ms };
    _cleanup_subproc_result_ struct subproc_result r = { .out = STRBUF_INIT };

    *ret_text = "";
    if (subproc_run(&cmd, input, strlen(input), &limits, &r)) {
        *ret_text = arena_printf(ad->a, "%s: %s", argv[0], strerror(errno));
        return -1;
    }
    bool ok = subproc_ok(&r);
    if (ok) *ret_text = arena_printf(ad->a, "%s", strbuf_cstr(&r.out));
    else *ret_text = arena_printf(ad->a, "%s%s", strbuf_cstr(&r.out), strbuf_cstr(&r.err));
    return ok ? 0 : -1;
}

#define RUN(ad, timeout_ms, ret_text, ...) run(ad, (const char *const[]){ __VA_ARGS__, NULL }, "", timeout_ms, ret_text)

/* The last line that is not empty: programs of Samba end with what went wrong. */
static const char *last_line(struct ad *ad, const char *text)
{
    const char *end = text + strlen(text), *begin;

    while (end > text && (end[-1] == '\n' || end[-1] == ' ')) end--;
    for (begin = end; begin > text && begin[-1] != '\n';) begin--;
    return arena_strndup(ad->a, begin, (size_t)(end - begin));
}

/* The value of "KEY: VALUE", or NULL. */
static const char *value_of(struct ad *ad, const char *text, const char *key)
{
    size_t n = strlen(key);

    for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
        if (!strncmp(line, key, n) && line[n] == ':') {
            line += n + 1;
            line += strspn(line, " ");
            return arena_strndup(ad->a, line, strcspn(line, "\r\n"));
        }
    return NULL;
}

static const char *asked(const struct ad *ad, const char *key)
{
    return value_get_str(ad->request, key, "");
}

static const char *configured(const struct ad *ad, const char *key)
{
    const struct value *config = value_get(ad->request, "config");

    return config && config->kind == VALUE_MAP ? value_get_str(config, key, "") : "";
}

/* ---- winbindd -------------------------------------------------------------------------------------------- */

static bool answers(struct ad *ad)
{
    const char *text;

    return !RUN(ad, SHORT_MS, &text, "wbinfo", "--ping");
}

/* The process of that name that runs with our configuration, or 0. */
static pid_t own_process(struct ad *ad, const char *name)
{
    _cleanup_free_ char *text = NULL, *words = NULL;
    int64_t pid;
    size_t n;

    if (read_file(arena_printf(ad->a, "%s/run/%s.pid", ad->state, name), 64, &text, NULL)) return 0;
    text[strcspn(text, " \n")] = '\0';
    if (!num_parse_int(text, &pid) || pid < 2 || pid > INT32_MAX) return 0;
    if (read_file(arena_printf(ad->a, "/proc/%d/cmdline", (int)pid), 4096, &words, &n)) return 0;
    return strstr(words, name) && memmem(words, n, ad->conf, strlen(ad->conf)) ? (pid_t)pid : 0;
}

static void pause_ms(long ms)
{
    const struct timespec t = { ms / 1000, ms % 1000 * 1000000 };

    nanosleep(&t, NULL);
}

/* And the server of calls that it starts when it needs one, which would outlive it by minutes. */
static void stop_winbindd(struct ad *ad)
{
    static const char *const names[] = { "winbindd", "samba-dcerpcd" };

    for (size_t n = 0; n < ARRAY_SIZE(names); n++) {
        pid_t pid = own_process(ad, names[n]);
        if (pid) kill(pid, SIGTERM);
        for (int i = 0; pid && i < TRUST_TRIES && !kill(pid, 0); i++) pause_ms(TRUST_PAUSE_MS / 5);
    }
}

/* 0 when it runs and the domain trusts this machine. */
static int start_winbindd(struct ad *ad, const char **ret_why)
{
    if (!own_process(ad, "winbindd") && RUN(ad, SHORT_MS, ret_why, "winbindd", "-D", "-s", ad->conf)) return -1;
    for (int i = 0; i < TRUST_TRIES; i++) {
        if (!RUN(ad, SHORT_MS, ret_why, "wbinfo", "-t")) return 0;
        pause_ms(TRUST_PAUSE_MS);
    }
    return -1;
}

static int need_winbindd(struct ad *ad)
{
    const char *why;

    if (access(ad->conf, R_OK)) return silent("this host is in no domain");
    if (own_process(ad, "winbindd") && answers(ad)) return 0;
    return start_winbindd(ad, &why) ? silent(last_line(ad, why)) : 0;
}

/* ---- enable, disable ---------------------------------------------------------------------------------------- */

static int drop_entry(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)st, (void)where;
    return kind == FTW_DP ? rmdir(path) : unlink(path);
}

static void forget(struct ad *ad)
{
    stop_winbindd(ad);
    nftw(ad->state, drop_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static bool is_domain_name(const char *s)
{
    size_t n = strlen(s);

    return n && n < NAME_MAX_ && *s != '-' && *s != '.' &&
           strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") == n;
}

/* At most 15 characters of the host's name, as NetBIOS wants them. */
static const char *machine_name(struct ad *ad)
{
    char name[NAME_MAX_] = "";

    gethostname(name, sizeof(name) - 1);
    return arena_strndup(ad->a, name, strcspn(name, ".") < 15 ? strcspn(name, ".") : 15);
}

static int write_conf(struct ad *ad, const char *realm, const char *workgroup)
{
    static const char *const folders[] = { "private", "state", "cache", "lock", "run" };
    const char *text = arena_printf(
        ad->a,
        "# Made by xapi; replaced when external authentication is enabled anew.\n[global]\nsecurity = ads\nrealm = %s\nworkgroup = %s\n"
        "netbios name = %s\nprivate dir = %s/private\nstate directory = %s/state\ncache directory = %s/cache\nlock directory = %s/lock\n"
        "pid directory = %s/run\nncalrpc dir = %s/run/ncalrpc\nlog file = %s/log.%%m\nmax log size = 1000\nidmap config * : backend = tdb\n"
        "idmap config * : range = 10000000-19999999\nwinbind cache time = 10\nmachine password timeout = 0\n",
        realm, workgroup, machine_name(ad), ad->state, ad->state, ad->state, ad->state, ad->state, ad->state, ad->state);

    for (size_t i = 0; i < ARRAY_SIZE(folders); i++)
        if (make_dirs(arena_printf(ad->a, "%s/%s", ad->state, folders[i]), 0755)) return -1;
    return chmod(ad->state, 0700) || write_file_atomic(ad->conf, text, strlen(text), 0600) ? -1 : 0;
}

/* What `net ads` said, as a tag behind AUTH_ENABLE_FAILED_ or AUTH_DISABLE_FAILED_. */
static const char *tag_of(const char *text)
{
    static const struct {
        const char *words, *tag;
    } known[] = {
        { "precreate account in ou", "INVALID_OU" },
        { "Client not found in Kerberos database", "INVALID_ACCOUNT" },
        { "No such user", "INVALID_ACCOUNT" },
        { "attempted logon is invalid", "WRONG_CREDENTIALS" },
        { "LOGON_FAILURE", "WRONG_CREDENTIALS" },
        { "Logon failure", "WRONG_CREDENTIALS" },
        { "Preauthentication failed", "WRONG_CREDENTIALS" },
        { "wrong password", "WRONG_CREDENTIALS" },
        { "Insufficient access", "PERMISSION_DENIED" },
        { "ccess denied", "PERMISSION_DENIED" },
        { "ACCESS_DENIED", "PERMISSION_DENIED" },
        { "machine account quota", "PERMISSION_DENIED" },
        { "domain controller for this domain was not found", "DOMAIN_LOOKUP_FAILED" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(known); i++)
        if (strcasestr(text, known[i].words)) return known[i].tag;
    return "UNAVAILABLE";
}

/* `net ads WHAT` as the administrator whose password is in the request. The file with it lives as long as the program. */
static int as_administrator(struct ad *ad, const char *workgroup, const char *const *more, const char **ret_text)
{
    const char *user = configured(ad, "user"), *pass = configured(ad, "pass");
    const char *path = arena_printf(ad->a, "%s/administrator", ad->state), *bar = strchr(user, '\\');
    const char *argv[12] = { "net", "ads" };
    size_t n = 2;

    *ret_text = "";
    if (strpbrk(user, "\r\n") || strpbrk(pass, "\r\n")) return -1;
    const char *text = arena_printf(ad->a, "username = %s\npassword = %s\ndomain = %s\n", bar ? bar + 1 : user, pass,
                                    bar ? arena_strndup(ad->a, user, (size_t)(bar - user)) : workgroup);
    if (write_file_atomic(path, text, strlen(text), 0600)) return -1;
    while (*more && n < ARRAY_SIZE(argv) - 5) argv[n++] = *more++;
    argv[n++] = "-s";
    argv[n++] = ad->conf;
    argv[n++] = "-A";
    argv[n++] = path;
    int rc = run(ad, argv, "", JOIN_MS, ret_text);
    unlink(path);
    return rc;
}

static int join(struct ad *ad, const char *workgroup, const char **ret_text)
{
    const char *ou = configured(ad, "ou");
    const char *const more[] = { "join", "--no-dns-updates", "osName=xapi",
                                 *ou ? arena_printf(ad->a, "createcomputer=%s", ou) : NULL, NULL };

    /* The account is made, but the controller that checks it does not know it yet: a busy one, or another of several. */
    for (int i = 0;; i++) {
        int rc = as_administrator(ad, workgroup, more, ret_text);
        if (!rc || i == JOIN_TRIES || !strstr(*ret_text, "unable to open the domain client session")) return rc;
        pause_ms(JOIN_PAUSE_MS);
    }
}

/* 1. what we ask with is there, and no winbindd of somebody else; 2. the domain is found; 3. the machine gets an account in it;
 * 4. winbindd is trusted. A step that fails leaves nothing. */
static int enable(struct ad *ad)
{
    const char *realm = asked(ad, "service_name"), *text, *workgroup;

    if (!is_domain_name(realm)) return refuse("DOMAIN_LOOKUP_FAILED", "service_name is not the DNS name of a domain");
    if (!*configured(ad, "user")) return refuse("INVALID_ACCOUNT", "config:user is needed");
    if (!*configured(ad, "pass")) return refuse("WRONG_CREDENTIALS", "config:pass is needed");
    if (RUN(ad, SHORT_MS, &text, "net", "--version") || RUN(ad, SHORT_MS, &text, "winbindd", "--version"))
        return refuse("UNAVAILABLE", "net and winbindd are needed: Debian's samba-common-bin and winbind");
    forget(ad);
    if (answers(ad)) return refuse("UNAVAILABLE", "a winbindd of somebody else runs on this host");
    if (write_conf(ad, realm, "WORKGROUP")) return refuse("UNAVAILABLE", strerror(errno));
    if (RUN(ad, SHORT_MS, &text, "net", "ads", "workgroup", "-s", ad->conf) || !(workgroup = value_of(ad, text, "Workgroup"))) {
        forget(ad);
        return refuse("DOMAIN_LOOKUP_FAILED", arena_printf(ad->a, "%s: %s", realm, last_line(ad, text)));
    }
    if (!is_domain_name(workgroup) || write_conf(ad, realm, workgroup) || join(ad, workgroup, &text)) {
        forget(ad);
        return refuse(tag_of(text), last_line(ad, text));
    }
    if (start_winbindd(ad, &text)) {
        forget(ad);
        return refuse("UNAVAILABLE", arena_printf(ad->a, "winbindd: %s", last_line(ad, text)));
    }
    const struct member kept[] = { { "domain", value_string(realm) }, { "user", value_string(configured(ad, "user")) },
                                   { "workgroup", value_string(workgroup) } };
    return result(ad, value_map(kept, ARRAY_SIZE(kept)));
}

/* With an administrator the machine's account goes too; without one it stays in the directory, of no use to anybody. */
static int disable(struct ad *ad)
{
    const struct value *known = value_get(ad->request, "enabled_config");
    const char *workgroup = known && known->kind == VALUE_MAP ? value_get_str(known, "workgroup", "") : "", *text;
    const char *const more[] = { "leave", NULL };

    if (*configured(ad, "user") && *configured(ad, "pass") && !access(ad->conf, R_OK) && as_administrator(ad, workgroup, more, &text))
        return refuse(tag_of(text), last_line(ad, text));
    forget(ad);
    return result(ad, value_string(""));
}

/* The line of smb.conf that chooses it; Samba before 4.21 has none. */
#define LDAPS_LINE "client ldap sasl wrapping = ldaps\ntls trust system cas = yes\n"

/* Whether this Samba understands a configuration. */
static bool understands(struct ad *ad, const char *text)
{
    const char *path = arena_printf(ad->a, "%s/smb.conf.new", ad->state), *said;
    const char *const argv[] = { "testparm", "-s", path, "--parameter-name=client ldap sasl wrapping", NULL };

    if (write_file_atomic(path, text, strlen(text), 0600)) return false;
    bool ok = !run(ad, argv, "", SHORT_MS, &said) && strstr(said, "ldaps");
    unlink(path);
    return ok;
}

static int restart_with(struct ad *ad, const char *text, const char **ret_why)
{
    *ret_why = strerror(errno);
    if (write_file_atomic(ad->conf, text, strlen(text), 0600)) return -1;
    stop_winbindd(ad);
    return start_winbindd(ad, ret_why);
}

/* winbindd anew with the other setting; unless it is forced to stay, it must find the domain with that. */
static int set_ldaps(struct ad *ad)
{
    const struct value *ldaps = value_get(ad->request, "ldaps"), *force = value_get(ad->request, "force");
    _cleanup_free_ char *conf = NULL;
    const char *why, *ignored;

    if (read_file(ad->conf, REQUEST_MAX, &conf, NULL)) return silent("this host is in no domain");
    const char *line = strstr(conf, LDAPS_LINE);
    bool wanted = ldaps && ldaps->kind == VALUE_BOOL && ldaps->b;
    if (wanted == (line != NULL)) return result(ad, value_string(""));
    const char *text = wanted ? arena_printf(ad->a, "%s" LDAPS_LINE, conf)
                              : arena_printf(ad->a, "%.*s%s", (int)(line - conf), conf, line + strlen(LDAPS_LINE));
    if (wanted && !understands(ad, text)) return refuse("UNAVAILABLE", "this Samba does not speak LDAPS; 4.21 and later do");
    if (!restart_with(ad, text, &why) || (force && force->kind == VALUE_BOOL && force->b)) return result(ad, value_string(""));
    const char *said = last_line(ad, why);
    restart_with(ad, conf, &ignored);
    return refuse("SETUP_TLS_CONNECTION", said);
}

/* ---- accounts -------------------------------------------------------------------------------------------------- */

static bool is_sid(const char *s)
{
    return has_prefix(s, "S-1-") && strlen(s) < NAME_MAX_ && strspn(s + 4, "0123456789-") == strlen(s) - 4;
}

static bool is_name(const char *s)
{
    return *s && strlen(s) < NAME_MAX_ && !strpbrk(s, "\r\n");
}

/* "S-1-... SID_USER (1)" */
static int sid_of(struct ad *ad, const char *name, const char **ret_sid, int64_t *ret_kind)
{
    const char *text, *open;

    if (RUN(ad, SHORT_MS, &text, "wbinfo", arena_printf(ad->a, "--name-to-sid=%s", name))) return -1;
    *ret_sid = arena_strndup(ad->a, text, strcspn(text, " \n"));
    open = strchr(text, '(');
    if (!open || !num_parse_int(arena_strndup(ad->a, open + 1, strcspn(open + 1, ")")), ret_kind)) return -1;
    return is_sid(*ret_sid) ? 0 : -1;
}

/* Not found, or nobody there to ask. */
static int not_found(struct ad *ad, const char *what)
{
    return answers(ad) ? refuse("NOT_FOUND", arena_printf(ad->a, "the domain does not know %s", what)) : silent("winbindd does not answer");
}

/* The helpers of Squid read words whose special characters are %XX. */
static void quote(struct strbuf *out, const char *s)
{
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) strbuf_add(out, s, 1);
        else strbuf_printf(out, "%%%02X", c);
    }
}

/* A name alone is one of our own domain. */
static const char *full_name(struct ad *ad, const char *user)
{
    _cleanup_free_ char *conf = NULL;

    if (strpbrk(user, "\\@") || read_file(ad->conf, REQUEST_MAX, &conf, NULL)) return user;
    const char *line = strstr(conf, "\nworkgroup = ");
    if (!line) return user;
    line += strlen("\nworkgroup = ");
    return arena_printf(ad->a, "%.*s\\%s", (int)strcspn(line, "\n"), line, user);
}

static int authenticate(struct ad *ad)
{
    const char *user = asked(ad, "user"), *password = asked(ad, "password"), *text, *sid;
    const char *const argv[] = { "ntlm_auth", "--helper-protocol=squid-2.5-basic", NULL };
    _cleanup_strbuf_ struct strbuf line = STRBUF_INIT;
    int64_t kind;

    if (!is_name(user) || !*password) return refuse("REFUSED", "wrong user or password");
    if (need_winbindd(ad)) return 1;
    user = full_name(ad, user);
    quote(&line, user);
    strbuf_str(&line, " ");
    quote(&line, password);
    strbuf_str(&line, "\n");
    int rc = run(ad, argv, strbuf_cstr(&line), SHORT_MS, &text);
    explicit_bzero(line.ptr, line.len);
    if (rc || (!has_prefix(text, "OK") && !has_prefix(text, "ERR"))) return silent("ntlm_auth does not answer");
    if (has_prefix(text, "ERR")) return answers(ad) ? refuse("REFUSED", "wrong user or password") : silent("winbindd does not answer");
    if (sid_of(ad, user, &sid, &kind) || kind != SID_USER) return silent("an account without an identifier");
    return result(ad, value_string(sid));
}

static int get_subject_identifier(struct ad *ad)
{
    const char *name = asked(ad, "name"), *sid;
    int64_t kind;

    if (!is_name(name)) return refuse("NOT_FOUND", "no name");
    if (need_winbindd(ad)) return 1;
    return sid_of(ad, full_name(ad, name), &sid, &kind) ? not_found(ad, name) : result(ad, value_string(sid));
}

/* What the directory holds of an object, asked with the machine's own account. 1: there is no such object. */
static int ask_directory(struct ad *ad, const char *sid, const char **ret_text)
{
    if (!RUN(ad, SHORT_MS, ret_text, "net", "ads", "sid", sid, "distinguishedName", "sAMAccountName", "userPrincipalName", "displayName",
             "userAccountControl", "accountExpires", "msDS-User-Account-Control-Computed", "-P", "-s", ad->conf))
        return value_of(ad, *ret_text, "distinguishedName") ? 0 : 1;
    return strstr(*ret_text, "No such object") ? 1 : -1;
}

static int64_t number_of(struct ad *ad, const char *text, const char *key)
{
    const char *found = value_of(ad, text, key);
    int64_t n;

    return found && num_parse_int(found, &n) ? n : 0;
}

/* Windows counts tenths of microseconds since 1601; 0 and the greatest number are never. */
static bool has_expired(int64_t file_time)
{
    const int64_t per_second = 10000000, epoch = INT64_C(11644473600);

    return file_time > 0 && file_time < INT64_MAX && file_time / per_second - epoch < time(NULL);
}

static void put(struct value_builder *b, const char *key, const char *value)
{
    if (value && *value) value_put(b, key, value_string(value));
}

static void put_flag(struct value_builder *b, const char *key, bool is) { put(b, key, is ? "true" : "false"); }

static int query_subject_information(struct ad *ad)
{
    const char *sid = asked(ad, "identifier"), *name, *text;
    struct value_builder b = value_builder(ad->a);

    if (!is_sid(sid)) return refuse("NOT_FOUND", "no identifier of a domain");
    if (need_winbindd(ad)) return 1;
    if (RUN(ad, SHORT_MS, &name, "wbinfo", arena_printf(ad->a, "--sid-to-name=%s", sid))) return not_found(ad, sid);
    size_t n = strcspn(name, "\n");
    while (n && name[n] != ' ') n--;
    bool is_user = streq(arena_strndup(ad->a, name + n, strcspn(name + n, "\n")), " 1");
    put(&b, "subject-name", arena_strndup(ad->a, name, n));
    put(&b, "subject-sid", sid);
    put_flag(&b, "subject-is-group", !is_user);
    if (is_user) {
        int rc = ask_directory(ad, sid, &text);
        if (rc > 0) return refuse("NOT_FOUND", arena_printf(ad->a, "the domain does not know %s", sid));
        if (rc < 0) return silent(last_line(ad, text));
        int64_t control = number_of(ad, text, "userAccountControl"), now = number_of(ad, text, "msDS-User-Account-Control-Computed");
        put(&b, "subject-upn", value_of(ad, text, "userPrincipalName"));
        put(&b, "subject-displayname", value_of(ad, text, "displayName"));
        put(&b, "subject-gecos", value_of(ad, text, "displayName"));
        put_flag(&b, "subject-account-disabled", control & ACCOUNT_DISABLED);
        put_flag(&b, "subject-account-expired", has_expired(number_of(ad, text, "accountExpires")));
        put_flag(&b, "subject-account-locked", now & ACCOUNT_LOCKED);
        put_flag(&b, "subject-password-expired", now & PASSWORD_EXPIRED);
    }
    return result(ad, value_built_map(&b));
}

/* tokenGroups: all groups, those that groups are in too, fresh from the directory; winbindd would remember the last login's. */
static int query_group_membership(struct ad *ad)
{
    const char *sid = asked(ad, "identifier"), *text, *dn;
    struct value_builder b = value_builder(ad->a);

    if (!is_sid(sid)) return refuse("NOT_FOUND", "no identifier of a domain");
    if (need_winbindd(ad)) return 1;
    int rc = ask_directory(ad, sid, &text);
    if (rc > 0) return refuse("NOT_FOUND", arena_printf(ad->a, "the domain does not know %s", sid));
    dn = rc ? NULL : value_of(ad, text, "distinguishedName");
    if (!dn || RUN(ad, SHORT_MS, &text, "net", "ads", "dn", dn, "tokenGroups", "-P", "-s", ad->conf)) return silent(last_line(ad, text));
    for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        const char *group = has_prefix(line, "tokenGroups: ") ? value_of(ad, line, "tokenGroups") : NULL;
        if (group && is_sid(group)) value_push(&b, value_string(group));
    }
    return result(ad, value_built_set(&b));
}

/* ---- the request ------------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    int (*run)(struct ad *ad);
} verbs[] = {
    { "enable", enable },
    { "disable", disable },
    { "set_ldaps", set_ldaps },
    { "authenticate", authenticate },
    { "get_subject_identifier", get_subject_identifier },
    { "query_subject_information", query_subject_information },
    { "query_group_membership", query_group_membership },
};

static int read_request(struct ad *ad, struct value *ret_request)
{
    _cleanup_strbuf_ struct strbuf in = STRBUF_INIT;
    const char *wrong;
    char piece[4096];
    ssize_t n;

    while ((n = read(STDIN_FILENO, piece, sizeof(piece))) > 0 && in.len < REQUEST_MAX) strbuf_add(&in, piece, (size_t)n);
    explicit_bzero(piece, sizeof(piece));
    int rc = n || json_decode(strbuf_cstr(&in), in.len, ad->a, ret_request, &wrong) || ret_request->kind != VALUE_MAP ? -1 : 0;
    if (in.ptr) explicit_bzero(in.ptr, in.len);
    return rc;
}

int main(int argc, char **argv)
{
    const char *root = getenv("XAPI_STATE");
    struct ad ad = { .a = arena_new() };
    struct value request;
    int rc = 2;

    if (argc != 2 || !root || *root != '/' || read_request(&ad, &request)) {
        fputs("usage: AD VERB, the request as JSON on stdin, XAPI_STATE in the environment. This program is run by xapi.\n", stderr);
    } else {
        ad.request = &request;
        ad.state = arena_printf(ad.a, "%s/auth-ad", root);
        ad.conf = arena_printf(ad.a, "%s/smb.conf", ad.state);
        for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
            if (streq(verbs[i].name, argv[1])) rc = verbs[i].run(&ad);
    }
    arena_free(ad.a);
    return rc;
}
