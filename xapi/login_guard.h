/* Guessing of passwords, held back by address.
 * Called by: session.c, rpc/rpc.c.  Calls: lib.
 *
 * An address has a stock of attempts, which a wrong password takes from and time refills. When it is empty,
 * what comes from there is refused unlooked at, but for logins that succeeded from there before with the same
 * name and password: an honest client behind the same address is not locked out with the guesser. */
#ifndef XAPI_LOGIN_GUARD_H
#define XAPI_LOGIN_GUARD_H

#include "lib/util.h"

struct login_guard;

struct login_guard *login_guard_new(void);
/* NULL is fine. */
void login_guard_free(struct login_guard *g);

struct login_attempt {
    const char *address, *user, *password;
    int64_t stock;                 /* attempts; 0 = no limit */
    int64_t interval_ms;           /* until another one is there */
    int64_t now_ms;
};

/* Whether the password may be checked; if so, login_guard_result() follows. Waits while as many others from
 * there are being checked as there are attempts: how they end decides. */
bool login_guard_admits(struct login_guard *g, const struct login_attempt *a);
enum login_result { LOGIN_GOOD, LOGIN_WRONG, LOGIN_UNKNOWN };   /* unknown: nobody could say */
void login_guard_result(struct login_guard *g, const struct login_attempt *a, enum login_result result);

#endif
