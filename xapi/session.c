/* Class session: login, logout, passwords, and the session behind each call.
 * Called by: rpc/, http/, jobs/.  Calls: auth, role, db/. */
#define LOG_MODULE "session"

#include "xapi/session.h"

#include "gen/methods.h"
#include "lib/clock.h"
#include "lib/conf.h"
#include "lib/log.h"
#include "xapi/auth.h"
#include "xapi/event.h"
#include "xapi/ext_auth.h"
#include "xapi/login_cache.h"
#include "xapi/login_guard.h"
#include "xapi/pool_secret.h"
#include "xapi/role.h"
#include "xapi/session_db.h"
#include "xapi/session_room.h"
#include "xapi/storage/storage.h"

enum { DRIVER_MAX_S = 3600 };

/* Marks of a session that is good for less than its roles say: in other_config, which such a session cannot write. */
#define LOCAL_KEY "_local"             /* session.slave_local_login*: "true" */
#define REPOSITORY_KEY "_repository"   /* a storage driver's: the SR's reference, what it makes, and for whom; blanks between */
#define DATABASE_KEY "_database"       /* one that reads a dump: "true" */

/* ---- the session behind a call ---- */

static const char *mark(const struct row *session, const char *key)
{
    return row_map_str(session, F_session_other_config, key, NULL);
}

/* Null when it is none. */
static struct ref repository_of(const char *text)
{
    _cleanup_free_ char *first = xstrndup(text, strcspn(text, " "));
    struct ref sr;

    return ref_parse(first, &sr) ? sr : REF_NULL;
}

/* "SR", "SR DISK", "SR DISK VM": the disk is being made, and is nobody's or the VM's until it is. */
static void adopt_repository(struct call *c, const char *text)
{
    const char *disk = strchr(text, ' '), *vm = disk ? strchr(++disk, ' ') : NULL;

    c->repository = repository_of(text);
    if (!disk) return;
    c->making = arena_strndup(c->arena, disk, strcspn(disk, " "));
    c->unfinished = arena_strdup(c->arena, vm ? vm + 1 : "");
}

static void adopt(struct call *c, const struct snap *s, const struct row *row)
{
    c->session = row_ref_of(row);
    c->is_root = row_bool(row, F_session_is_local_superuser);
    c->user_name = arena_strdup(c->arena, row_str(row, F_session_auth_user_name));
    c->originator = arena_strdup(c->arena, row_str(row, F_session_originator));
    c->roles = c->is_root                                    ? ~0u
               : row_bool(row, F_session_client_certificate) ? role_bits(ROLE_CLIENT_CERT)
                                                             : role_bits_of_subject(s, row_ref(row, F_session_subject));
    const char *repository = mark(row, REPOSITORY_KEY);
    c->scope = repository ? SCOPE_REPOSITORY
               : mark(row, LOCAL_KEY) ? SCOPE_LOCAL
               : mark(row, DATABASE_KEY) ? SCOPE_DATABASE
                                         : SCOPE_ALL;
    adopt_repository(c, repository ? repository : "");
}

/* key: of the row. */
static int resume_row(struct call *c, struct ref key, const char *handle, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = ref_is_null(key) ? NULL : snap_get(s, CLASS_session, key);

    if (!row || clock_wall_seconds() - row_time(row, F_session_last_active) > SESSION_IDLE_S + SESSION_TOUCH_S)
        return xerr_session_invalid(err, handle);
    adopt(c, s, row);
    return 0;
}

int session_resume(struct call *c, struct ref secret, const char *handle, struct xerr *err)
{
    if (resume_row(c, ref_is_null(secret) ? secret : auth_session_key(c->agent->auth, secret), handle, err)) return -1;
    c->handle = secret;
    return 0;
}

int session_assume(struct call *c, struct ref given, struct xerr *err)
{
    c->handle = given;
    return resume_row(c, session_argument(c->agent, given), REF_STR(given), err);
}

void session_touch(struct call *c)
{
    int64_t now = clock_wall_seconds();

    if (ref_is_null(c->session)) return;
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *row = snap_get(s, CLASS_session, c->session);
        if (!row) return;
        int64_t last = row_time(row, F_session_last_active);
        /* A clock that was set back must not make a session immortal, nor every call a write. */
        if (now >= last ? now - last < SESSION_TOUCH_S : last - now < SESSION_TOUCH_S) return;
    }
    struct txn *t = db_begin(c->agent->db);
    if (!snap_get(txn_snap(t), CLASS_session, c->session)) {
        db_abort(t);
        return;
    }
    txn_set_time(t, c->session, F_session_last_active, now);
    _cleanup_xerr_ struct xerr why = XERR_INIT;
    if (db_commit(t, &why)) log_warn("last_active of a session was not stored: %s", why.code);
}

struct ref session_argument(struct agent *agent, struct ref given)
{
    if (ref_is_null(given)) return given;
    struct ref key = auth_session_key(agent->auth, given);
    _cleanup_snap_ struct snap *s = db_snap(agent->db);
    return snap_get(s, CLASS_session, key) ? key : given;
}

/* ---- opening ---- */

struct opening {
    const char *user, *sid, *originator;
    struct ref subject, host;      /* host: null = this one */
    bool root, pool, certificate;
    const char *key, *value;       /* a mark, or NULL */
};

static int open_session(struct call *c, const struct opening *o, struct ref *ret_secret, struct xerr *err)
{
    struct ref secret = ref_new_secret(), key = auth_session_key(c->agent->auth, secret);
    int64_t now = clock_wall_seconds();
    struct txn *t = db_begin(c->agent->db);

    session_room_make(c->agent->session_room, t, o->originator, o->sid);
    txn_create(t, CLASS_session, key);
    txn_set_ref(t, key, F_session_this_host, ref_is_null(o->host) ? c->agent->host : o->host);
    txn_set_bool(t, key, F_session_pool, o->pool);
    txn_set_time(t, key, F_session_last_active, now);
    txn_set_time(t, key, F_session_validation_time, now);
    txn_set_bool(t, key, F_session_is_local_superuser, o->root);
    txn_set_str(t, key, F_session_auth_user_name, o->user);
    txn_set_str(t, key, F_session_auth_user_sid, o->sid);
    txn_set_str(t, key, F_session_originator, o->originator);
    txn_set_ref(t, key, F_session_subject, o->subject);
    txn_set_bool(t, key, F_session_client_certificate, o->certificate);
    if (!o->root) {
        struct value permissions = o->certificate ? role_permissions(ROLE_CLIENT_CERT, c->arena)
                                                  : role_permissions_of_subject(txn_snap(t), o->subject, c->arena);
        txn_set_value(t, key, F_session_rbac_permissions, &permissions);
    }
    if (o->key) txn_map_put_str(t, key, F_session_other_config, o->key, o->value);
    if (auth_is_busy(c->agent->auth)) txn_awaits_company(t);
    if (db_commit(t, err)) {
        session_room_forget(c->agent->session_room);
        return -1;
    }

    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_get(s, CLASS_session, key);
    if (row) adopt(c, s, row);
    c->handle = secret;
    *ret_secret = secret;
    return 0;
}

int session_open_root(struct call *c, const char *originator, struct ref *ret_secret, struct xerr *err)
{
    struct opening o = { .user = "", .sid = "", .originator = originator, .root = true };

    return open_session(c, &o, ret_secret, err);
}

int session_open_repository(struct agent *agent, struct ref repository, const char *making, char **ret_session, struct xerr *err)
{
    struct call *c = call_new_internal(agent, "storage driver");
    struct opening o = { .user = "", .sid = "", .root = true, .key = REPOSITORY_KEY };
    char text[REF_TEXT];
    struct ref secret;

    o.value = arena_strdup(c->arena, ref_text(repository, text));
    o.originator = arena_printf(c->arena, "SM %s", o.value);
    if (making) o.value = arena_printf(c->arena, "%s %s", o.value, making);
    int rc = open_session(c, &o, &secret, err);
    if (!rc) *ret_session = xstrdup(ref_text(secret, text));
    call_free_internal(c);
    return rc;
}

int session_open_database(struct call *c, struct ref *ret_secret, struct ref *ret_session, struct xerr *err)
{
    struct opening o = { .user = "", .sid = "", .originator = "dump", .root = true, .key = DATABASE_KEY, .value = "true" };
    struct call other = *c;

    if (open_session(&other, &o, ret_secret, err)) return -1;
    *ret_session = other.session;
    return 0;
}

void session_close_text(struct agent *agent, const char *session)
{
    struct ref secret;

    if (ref_parse(session, &secret)) session_close(agent, auth_session_key(agent->auth, secret));
}

/* The subject of this account whose role is strongest. False when there is none with a role. */
static bool find_subject(struct call *c, const char *const *identifiers, struct ref *ret_subject)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    unsigned best = 0;

    SNAP_EACH(s, CLASS_subject, row) {
        for (const char *const *id = identifiers; *id; id++) {
            if (!streq(row_str(row, F_subject_subject_identifier), *id)) continue;
            unsigned roles = role_bits_of_subject(s, row_ref_of(row));
            /* More bits = a stronger role: a role's bits include those of the weaker ones. */
            if (__builtin_popcount(roles) <= __builtin_popcount(best)) continue;
            best = roles;
            *ret_subject = row_ref_of(row);
        }
    }
    return best != 0;
}

const char *session_certificate_user(const struct agent *agent, const char *names, struct arena *a)
{
    _cleanup_snap_ struct snap *s = db_snap(agent->db);
    const struct row *pool = names ? snap_get(s, CLASS_pool, agent->pool) : NULL;

    if (!pool || !row_bool(pool, F_pool_client_certificate_auth_enabled)) return NULL;
    const char *wanted = row_str(pool, F_pool_client_certificate_auth_name);
    for (const char *line = names; *line; line += strcspn(line, "\n"), line += *line == '\n')
        if (*wanted && strcspn(line, "\n") == strlen(wanted) && !strncasecmp(line, wanted, strlen(wanted))) return arena_strdup(a, wanted);
    return NULL;
}

/* A password of this host's accounts; as many at a time as the pool allows. */
static int check_password(struct call *c, const char *user, const char *password, struct xerr *err)
{
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *pool = snap_get(s, CLASS_pool, c->agent->pool);
        if (pool) auth_limit_checks(c->agent->auth, row_int(pool, F_pool_local_auth_max_threads));
    }
    return auth_check_password(c->agent->auth, user, password, err);
}

/* Checks the password, and finds who the account is: the superuser, or a subject with a role. */
static int authenticate_unguarded(struct call *c, const char *user, const char *password, struct opening *o, struct xerr *err)
{
    const char **ids;

    if (ext_auth_type(c) && !auth_user_is_root(c->agent->auth, user)) {
        if (ext_auth_login(c, user, password, &ids, err)) return -1;
    } else {
        if (check_password(c, user, password, err)) return -1;
        if (auth_user_is_root(c->agent->auth, user)) {
            o->root = true;
            o->sid = "";
            return 0;
        }
        ids = auth_user_identifiers(c->agent->auth, user, c->arena);
    }
    if (!find_subject(c, ids, &o->subject))
        return xerr_set(err, "SESSION_AUTHENTICATION_FAILED", 2,
                        (const char *[]){ user, "The account is known, but no subject with a role stands for it" });
    o->sid = ids[0];
    return 0;
}

static struct login_attempt attempt(const struct call *c, const char *user, const char *password)
{
    return (struct login_attempt){
        .address = c->peer, .user = user, .password = password,
        .stock = conf_int(c->agent->conf, "login-failures"), .interval_ms = conf_ms(c->agent->conf, "login-interval"),
        .now_ms = clock_boottime_ns() / NS_PER_MS,
    };
}

static enum login_result result_of(int rc, const struct xerr *err)
{
    if (!rc) return LOGIN_GOOD;
    return xerr_is(err, "SESSION_AUTHENTICATION_FAILED") ? LOGIN_WRONG : LOGIN_UNKNOWN;
}

static int refuse_guess(const char *user, struct xerr *err)
{
    return xerr_set(err, "SESSION_AUTHENTICATION_FAILED", 2,
                    (const char *[]){ user, "Too many wrong passwords came from this address; try again later" });
}

static int authenticate(struct call *c, const char *user, const char *password, struct opening *o, struct xerr *err)
{
    const struct login_attempt a = attempt(c, user, password);

    if (!login_guard_admits(c->agent->logins, &a)) return refuse_guess(user, err);
    int rc = authenticate_unguarded(c, user, password, o, err);
    login_guard_result(c->agent->logins, &a, result_of(rc, err));
    return rc;
}

int session_assume_user(struct call *c, const char *user, const char *password, struct xerr *err)
{
    struct opening o = { .user = user };

    if (authenticate(c, user, password, &o, err)) return -1;
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    c->user_name = arena_strdup(c->arena, user);
    c->is_root = o.root;
    c->roles = o.root ? ~0u : role_bits_of_subject(s, o.subject);
    return 0;
}

/* ---- messages ---- */

int session_login_with_password(struct call *c, const char *uname, const char *pwd, const char *version,
                                const char *originator, struct ref *ret_result, struct xerr *err)
{
    (void)version;   /* a hint, never refused */

    /* The peer of a unix socket is already known to be the superuser. */
    if (c->local && c->is_root) return session_open_root(c, originator, ret_result, err);
    /* Without a password the certificate of the connection speaks. */
    const char *holder = *pwd ? NULL : session_certificate_user(c->agent, c->certificate, c->arena);
    if (holder) {
        const struct opening cert = { .user = holder, .sid = "", .originator = originator, .certificate = true };
        return open_session(c, &cert, ret_result, err);
    }
    struct opening o = { .user = uname, .originator = originator };
    return authenticate(c, uname, pwd, &o, err) ? -1 : open_session(c, &o, ret_result, err);
}

int session_slave_local_login_with_password(struct call *c, const char *uname, const char *pwd,
                                            struct ref *ret_result, struct xerr *err)
{
    struct opening o = {
        .user = uname, .sid = "", .originator = "local", .root = true, .key = LOCAL_KEY, .value = "true",
    };

    if (!(c->local && c->is_root)) {
        const struct login_attempt a = attempt(c, uname, pwd);
        if (!login_guard_admits(c->agent->logins, &a)) return refuse_guess(uname, err);
        int rc = check_password(c, uname, pwd, err);
        login_guard_result(c->agent->logins, &a, result_of(rc, err));
        if (rc) return -1;
        if (!auth_user_is_root(c->agent->auth, uname))
            return xerr_set(err, "SESSION_AUTHENTICATION_FAILED", 2,
                            (const char *[]){ uname, "Only the local superuser may open a local session" });
    }
    return open_session(c, &o, ret_result, err);
}

static int wrong_secret(struct xerr *err)
{
    return xerr_set(err, "SESSION_AUTHENTICATION_FAILED", 2, (const char *[]){ "pool", "This is not the pool's secret" });
}

int session_slave_login(struct call *c, struct ref host, const char *psecret, struct ref *ret_result, struct xerr *err)
{
    struct opening o = { .user = "", .sid = "", .originator = "pool", .root = true, .pool = true, .host = host };

    if (!pool_secret_is(c->agent->pool_secret, psecret)) return wrong_secret(err);
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        if (!call_need(s, CLASS_host, host, err)) return -1;
    }
    return open_session(c, &o, ret_result, err);
}

int session_slave_local_login(struct call *c, const char *psecret, struct ref *ret_result, struct xerr *err)
{
    struct opening o = { .user = "", .sid = "", .originator = "local", .root = true, .key = LOCAL_KEY, .value = "true" };

    return pool_secret_is(c->agent->pool_secret, psecret) ? open_session(c, &o, ret_result, err) : wrong_secret(err);
}

void session_close(struct agent *agent, struct ref key)
{
    struct txn *t = db_begin(agent->db);
    _cleanup_xerr_ struct xerr why = XERR_INIT;

    if (!snap_get(txn_snap(t), CLASS_session, key)) {
        db_abort(t);
        return;
    }
    txn_destroy(t, CLASS_session, key);
    if (db_commit(t, &why)) log_warn("a session could not be ended: %s", why.code);
}

int session_logout(struct call *c, struct xerr *err)
{
    (void)err;
    session_close(c->agent, c->session);
    if (c->scope == SCOPE_DATABASE) session_dbs_tidy(c->agent);
    return 0;
}

int session_local_logout(struct call *c, struct xerr *err)
{
    return session_logout(c, err);
}

int session_change_password(struct call *c, const char *old_pwd, const char *new_pwd, struct xerr *err)
{
    const char *user = *c->user_name ? c->user_name : "root";

    if (!c->is_root) return xerr_user_is_not_local_superuser(err, "Only the local superuser has a password here");
    /* Root over the socket may have forgotten it; who names it must be right. */
    if ((!c->local || *old_pwd) && check_password(c, user, old_pwd, err)) return -1;
    return auth_set_password(c->agent->auth, user, new_pwd, err);
}

int session_get_all_subject_identifiers(struct call *c, struct value *ret_result, struct xerr *err)
{
    (void)err;
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    struct value_builder b = value_builder(c->arena);

    SNAP_EACH(s, CLASS_session, row) {
        const char *sid = row_str(row, F_session_auth_user_sid);
        struct value so_far = value_built_set(&b);
        if (*sid && !value_has(&so_far, sid)) value_push(&b, value_string(arena_strdup(c->arena, sid)));
    }
    *ret_result = value_built_set(&b);
    return 0;
}

int session_logout_subject_identifier(struct call *c, const char *subject_identifier, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);
    struct ref *gone = arena_new_array(c->arena, struct ref, snap_count(txn_snap(t), CLASS_session) + 1);
    size_t n = 0;

    /* The caller's own session stays, and sessions of the local superuser have no identifier. */
    if (*subject_identifier)
        SNAP_EACH(txn_snap(t), CLASS_session, row)
            if (streq(row_str(row, F_session_auth_user_sid), subject_identifier)
                && !ref_eq(row_ref_of(row), c->session))
                gone[n++] = row_ref_of(row);
    for (size_t i = 0; i < n; i++) txn_destroy(t, CLASS_session, gone[i]);
    return db_commit(t, err);
}

/* The session of a driver's process that is no more: nobody closed it when the process passed its deadline, or when the agent
 * ended before it. */
static bool driver_gone(const struct agent *agent, const struct snap *s, const struct row *session)
{
    const char *text = mark(session, REPOSITORY_KEY);

    if (!text) return false;
    const struct row *sr = snap_get(s, CLASS_SR, repository_of(text));
    if (sr) return !storage_driver_runs(agent->storage, row_uuid(sr));
    /* A probe, or a repository that is being made or was forgotten: no driver command lasts so long. */
    return clock_wall_seconds() - row_time(session, F_session_validation_time) > DRIVER_MAX_S;
}

/* ---- looking again ---- */

/* A user whose sessions are due, once however many he has. */
struct due {
    const char *sid;
    struct due *next;
};

static struct due *find_due(struct call *c, int64_t before)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    struct due *first = NULL;

    SNAP_EACH(s, CLASS_session, row) {
        const char *sid = row_str(row, F_session_auth_user_sid);
        bool known = row_bool(row, F_session_is_local_superuser) || !*sid || row_time(row, F_session_validation_time) > before;
        for (const struct due *d = first; d && !known; d = d->next) known = streq(d->sid, sid);
        if (known) continue;
        struct due *d = arena_new_array(c->arena, struct due, 1);
        *d = (struct due){ arena_strdup(c->arena, sid), first };
        first = d;
    }
    return first;
}

/* The sessions of one user: subject null = they end, else they go on with that subject's rights. */
static void settle_user(struct call *c, const char *sid, struct ref subject)
{
    _cleanup_xerr_ struct xerr why = XERR_INIT;
    struct txn *t = db_begin(c->agent->db);
    struct ref *mine = arena_new_array(c->arena, struct ref, snap_count(txn_snap(t), CLASS_session) + 1);
    size_t n = 0;

    SNAP_EACH(txn_snap(t), CLASS_session, row)
        if (streq(row_str(row, F_session_auth_user_sid), sid) && !row_bool(row, F_session_is_local_superuser))
            mine[n++] = row_ref_of(row);
    struct value permissions = role_permissions_of_subject(txn_snap(t), subject, c->arena);
    for (size_t i = 0; i < n; i++) {
        if (ref_is_null(subject)) {
            txn_destroy(t, CLASS_session, mine[i]);
            continue;
        }
        txn_set_ref(t, mine[i], F_session_subject, subject);
        txn_set_value(t, mine[i], F_session_rbac_permissions, &permissions);
        txn_set_time(t, mine[i], F_session_validation_time, clock_wall_seconds());
    }
    if (db_commit(t, &why)) log_warn("sessions of %s were not looked at again: %s", sid, why.code);
    else if (ref_is_null(subject)) log_info("sessions of %s ended: the account may not log in any more", sid);
}

void sessions_recheck(struct agent *agent)
{
    struct call *c = call_new_internal(agent, "accounts behind sessions");
    int64_t before = clock_wall_seconds() - conf_ms(agent->conf, "auth-recheck") / 1000;

    for (const struct due *d = find_due(c, before); d; d = d->next) {
        _cleanup_xerr_ struct xerr err = XERR_INIT;
        const char **ids;
        struct ref subject = REF_NULL;
        /* What is remembered of it may not be so any more. */
        login_cache_forget(agent->directory_logins, d->sid);
        if (!ext_auth_recheck(c, d->sid, &ids, &err)) {
            if (!find_subject(c, ids, &subject)) subject = REF_NULL;
            settle_user(c, d->sid, subject);
        } else if (xerr_is(&err, "SUBJECT_CANNOT_BE_RESOLVED")) {
            settle_user(c, d->sid, REF_NULL);
        } else {
            log_warn("%s: the directory does not answer; sessions stay for now", d->sid);
        }
    }
    call_free_internal(c);
}

size_t sessions_expire(struct agent *agent)
{
    int64_t now = clock_wall_seconds(), limit = now - SESSION_IDLE_S - SESSION_TOUCH_S;
    struct txn *t = db_begin(agent->db);
    size_t n = 0, n_used = 0, room = snap_count(txn_snap(t), CLASS_session);
    struct ref *gone = xcalloc(room, sizeof(*gone)), *used = xcalloc(room, sizeof(*used));

    SNAP_EACH(txn_snap(t), CLASS_session, row) {
        int64_t last = row_time(row, F_session_last_active);
        struct ref session = row_ref_of(row);
        /* A console, an upload, somebody who waits for events: no call says that the session is used, but it is. */
        if (last < now - SESSION_TOUCH_S && event_hub_has_session(agent->events, session)) used[n_used++] = session;
        else if (last < limit || driver_gone(agent, txn_snap(t), row)) gone[n++] = session;
        else if (mark(row, DATABASE_KEY) && !session_db_is_open(agent, session)) gone[n++] = session;
    }
    for (size_t i = 0; i < n; i++) txn_destroy(t, CLASS_session, gone[i]);
    for (size_t i = 0; i < n_used; i++) txn_set_time(t, used[i], F_session_last_active, now);
    free(gone);
    free(used);
    if (!n && !n_used) {
        db_abort(t);
        return 0;
    }
    _cleanup_xerr_ struct xerr why = XERR_INIT;
    if (db_commit(t, &why)) log_warn("idle sessions could not be ended: %s", why.code);
    session_dbs_tidy(agent);
    return n;
}
