/* External directories: users and groups that a plug-in program knows.
 * Called by: session.c, auth.c, jobs/.  Calls: subproc, json, db/.
 *
 * A type of directory is a program in the folder `auth-plugin-dir` (doc/security.md has its protocol); "PAM" is this host's own
 * accounts and needs none. host.external_auth_type says which one is in charge, "" = none: then, too, accounts of this host may
 * be subjects. */
#ifndef XAPI_EXT_AUTH_H
#define XAPI_EXT_AUTH_H

#include "xapi/call/call.h"

/* The plug-in in charge, in the arena; NULL = accounts of this host. */
const char *ext_auth_type(const struct call *c);

/* One question to the plug-in of this type; request: members besides "verb". Blocks up to `auth-timeout`.
 * Errors: AUTH_UNKNOWN_TYPE [type]; AUTH_SERVICE_ERROR [message] when it does not answer; else what it refused with goes to
 * *ret_tag and *ret_message (in the arena) and err is AUTH_SERVICE_ERROR [message]. */
struct ext_auth_refusal {
    const char *tag, *message;     /* NULL = none */
};
int ext_auth_ask(struct call *c, const char *type, const char *verb, const struct member *members, size_t n,
                 struct value *ret_result, struct ext_auth_refusal *ret_refusal, struct xerr *err);

/* An answer as the program prints it: {"result": ...} or {"error": TAG, "message": TEXT}. The same errors. */
int ext_auth_read_answer(const char *text, size_t len, struct arena *a, struct value *ret_result, struct ext_auth_refusal *ret_refusal,
                         struct xerr *err);

/* The identifiers of an account, its own first and then its groups', NULL-terminated, in the arena, after the password was
 * checked and the account found usable; or as they were at a login with the same password that the pool's settings still
 * remember. Errors: SESSION_AUTHENTICATION_FAILED [user, reason]; TOO_MANY_PENDING_TASKS when others were in line for long. */
int ext_auth_login(struct call *c, const char *user, const char *password, const char ***ret_ids, struct xerr *err);
/* The same for an identifier that logged in before. Errors: SUBJECT_CANNOT_BE_RESOLVED when it is not usable any more;
 * AUTH_SERVICE_ERROR when nobody can tell. */
int ext_auth_recheck(struct call *c, const char *identifier, const char ***ret_ids, struct xerr *err);

#endif
