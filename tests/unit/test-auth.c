/* Passwords and accounts: the accounts file, the helper, session keys.
 * Called by: make check.  Calls: auth_source. */
#include "tests/unit/db-fixture.h"

#include <sys/stat.h>
#include <unistd.h>

#include "xapi/auth.h"

static struct auth *open_source(const char *source, const char *helper)
{
    struct auth *auth = NULL;
    struct xerr err = XERR_INIT;

    assert_ok(auth_new(&(struct auth_config){ .source = source, .helper = helper, .timeout_ms = 20000 }, &auth, &err), &err);
    return auth;
}

/* What the error tells a client. */
static void refused(struct auth *auth, const char *user, const char *password, const char *reason)
{
    struct xerr err = XERR_INIT;

    assert_int_equal(auth_check_password(auth, user, password, &err), -1);
    assert_string_equal(err.code, "SESSION_AUTHENTICATION_FAILED");
    assert_int_equal(err.n, 2);
    assert_string_equal(err.params[0], user);
    assert_string_equal(err.params[1], reason);
    xerr_clear(&err);
}

static void accounts_file(void **state)
{
    static const char wrong[] = "Invalid credentials";
    static const char text[] = "# comment\nroot:*\nlocked:!\nempty:\n";
    char *folder = folder_new(), *path = xasprintf("%s/passwd", folder), *source = xasprintf("file:%s", path);
    struct xerr err = XERR_INIT;
    struct stat st;
    (void)state;

    assert_int_equal(write_file_atomic(path, text, strlen(text), 0600), 0);
    struct auth *auth = open_source(source, "/nonexistent");
    assert_ok(auth_set_password(auth, "root", "correct horse", &err), &err);
    assert_ok(auth_check_password(auth, "root", "correct horse", &err), &err);
    refused(auth, "root", "correct hors", wrong);
    refused(auth, "root", "", wrong);
    refused(auth, "roo", "correct horse", wrong);
    refused(auth, "root:", "correct horse", wrong);
    refused(auth, "nobody", "x", wrong);
    refused(auth, "locked", "!", wrong);
    refused(auth, "empty", "", wrong);
    refused(auth, "", "", wrong);
    refused(auth, "# comment\nroot", "correct horse", wrong);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_failed(auth_set_password(auth, "nobody", "x", &err), &err, "CHANGE_PASSWORD_REJECTED");
    assert_failed(auth_set_password(auth, "root", "", &err), &err, "CHANGE_PASSWORD_REJECTED");
    assert_true(auth_user_exists(auth, "root"));
    assert_false(auth_user_exists(auth, "nobody"));
    assert_true(auth_user_is_root(auth, "root"));
    assert_false(auth_user_is_root(auth, "locked"));
    struct arena *a = arena_new();
    const char **ids = auth_user_identifiers(auth, "root", a);
    assert_string_equal(ids[0], "user:root");
    assert_null(ids[1]);
    arena_free(a);
    auth_free(auth);
    free(source);
    free(path);
    folder_free(folder);
}

/* The helper gets role, user and password, and its line decides. */
static void helper(void **state)
{
    static const char script[] = "#!/bin/sh\n"
                                 "got=$(tr '\\0' '|')\n"
                                 "case \"$1 $got\" in\n"
                                 "'pam alice|good|') echo ok ;;\n"
                                 "'pam-password alice|new|') echo ok ;;\n"
                                 "'pam alice|silent|') exit 0 ;;\n"
                                 "'pam alice|liar|') echo ok; exit 1 ;;\n"
                                 "*) echo 'Not today'; echo more; exit 1 ;;\n"
                                 "esac\n";
    char *folder = folder_new(), *path = xasprintf("%s/helper", folder);
    struct xerr err = XERR_INIT;
    (void)state;

    assert_int_equal(write_file_atomic(path, script, strlen(script), 0755), 0);
    struct auth *auth = open_source("pam", path);
    assert_ok(auth_check_password(auth, "alice", "good", &err), &err);
    refused(auth, "alice", "bad", "Not today");
    refused(auth, "alice", "silent", "The password check failed");
    refused(auth, "alice", "liar", "The password check failed");
    assert_ok(auth_set_password(auth, "alice", "new", &err), &err);
    assert_failed(auth_set_password(auth, "alice", "other", &err), &err, "CHANGE_PASSWORD_REJECTED");
    assert_true(auth_user_is_root(auth, "root"));
    assert_false(auth_user_is_root(auth, "no-such-user-here"));
    auth_free(auth);
    free(path);
    folder_free(folder);
}

static void missing_helper(void **state)
{
    (void)state;
    SKIP_EMULATED("posix_spawn() does not tell that the program is missing");
    struct auth *auth = open_source("pam", "/nonexistent/helper");
    refused(auth, "alice", "good", "The password check could not be started");
    auth_free(auth);
}

static void sources(void **state)
{
    struct auth *auth;
    struct xerr err = XERR_INIT;
    (void)state;

    assert_failed(auth_new(&(struct auth_config){ .source = "ldap", .helper = "/x" }, &auth, &err), &err, "INTERNAL_ERROR");
    assert_failed(auth_new(&(struct auth_config){ .source = "file:/nonexistent/passwd" }, &auth, &err), &err, "INTERNAL_ERROR");
}

static void session_keys(void **state)
{
    struct auth *auth = open_source("pam", "/x");
    struct ref zeros = REF_NULL, secret = ref_new_secret();
    (void)state;

    /* SHA-256 of 16 zero bytes begins with 374708fff7719dd5979ec875d56cd228. */
    struct ref key = auth_session_key(auth, zeros);
    assert_true(key.hi == UINT64_C(0x374708fff7719dd5) && key.lo == UINT64_C(0x979ec875d56cd228));
    assert_true(ref_eq(auth_session_key(auth, secret), auth_session_key(auth, secret)));
    assert_false(ref_eq(auth_session_key(auth, secret), secret));
    auth_free(auth);
}

UNIT_MAIN(cmocka_unit_test(accounts_file), cmocka_unit_test(helper), cmocka_unit_test(missing_helper), cmocka_unit_test(sources),
          cmocka_unit_test(session_keys))
