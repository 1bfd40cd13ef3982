/* The roles of xapi-helper. Each reads its request from stdin, prints one line and returns the exit status.
 * Called by: helper.c.  Calls: nothing. */
#ifndef HELPER_HELPER_H
#define HELPER_HELPER_H

/* Request: user NUL password NUL. Answer: "ok", or why not. */
int helper_pam(void);
/* The same request; sets the password. */
int helper_pam_password(void);

#endif
