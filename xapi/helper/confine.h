/* What a role of xapi-helper may still do once it has begun: account, groups, capabilities, limits, system calls.
 * Called by: helper.c.  Calls: libseccomp, the kernel. */
#ifndef HELPER_CONFINE_H
#define HELPER_CONFINE_H

#include <stdbool.h>

/* The account that helpers run as; made by packaging/xapi.sysusers. */
#define HELPER_ACCOUNT "xapi-helper"

/* What a role needs beyond reading files that everybody may read. */
enum helper_need {
    NEEDS_SHADOW = 1,      /* to read /etc/shadow */
    NEEDS_ROOT = 2,        /* to stay uid 0, without capabilities: it writes files of root's */
    NEEDS_SOCKETS = 4,     /* to talk to daemons and servers (NSS, sssd, winbind, Kerberos) */
    NEEDS_PROGRAMS = 8,    /* to start programs */
    NEEDS_TIME = 32,       /* a processor for as long as it likes */
    NEEDS_IMAGES = 16,     /* to fill large files, and to use a connected socket that it was given */
};

/* For good. Started by root: the account, with the group of /etc/shadow and without capabilities; when that group may not
 * read the file, CAP_DAC_READ_SEARCH is kept. Without the account root stays, without capabilities. Started by somebody
 * else: the account stays. Always: no new privileges, no core file, resource limits, no life beyond the parent's, and any
 * system call that is not on the list ends the process. 0, or -1 when a step failed: then the role must not run. */
int helper_confine(unsigned needs);

#endif
