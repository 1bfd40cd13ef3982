/* xapi-helper ROLE: work that may hang or that hostile input may break, in a process that can be ended.
 * Called by: xapi, with the request on stdin.  Calls: a role's file.
 *
 * The answer is one line on stdout. The parent ends us when it has waited long enough; the alarm is for a parent that
 * is gone. */
#include "xapi/helper/helper.h"

#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "lib/util.h"

enum { DEADLINE_S = 90 };

static const struct {
    const char *name;
    int (*run)(void);
} roles[] = {
    { "pam", helper_pam },
    { "pam-password", helper_pam_password },
};

/* No core file with a password in it, no further privileges, no life of our own. */
static void confine(void)
{
    const struct rlimit none = { 0, 0 };

    setrlimit(RLIMIT_CORE, &none);
    prctl(PR_SET_DUMPABLE, 0);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(DEADLINE_S);
}

int main(int argc, char **argv)
{
    if (argc == 2) {
        confine();
        for (size_t i = 0; i < ARRAY_SIZE(roles); i++)
            if (streq(argv[1], roles[i].name)) return roles[i].run();
    }
    fputs("usage: xapi-helper pam|pam-password\nThis program is run by xapi; the request comes on stdin.\n", stderr);
    return 2;
}
