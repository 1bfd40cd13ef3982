/* What an administrator who has lost the way to this host wants its network to be: the file between xe-reset-networking and the
 * next start of the agent.
 * Called by: xe_reset_networking.c, network_reset.c.  Calls: conf, address. */
#ifndef XAPI_NETWORK_RESET_FILE_H
#define XAPI_NETWORK_RESET_FILE_H

#include "lib/conf.h"

/* Of the program; those that are not for the command line only are the content of the file. */
extern const struct conf_option network_reset_options[];

/* ROOT/network-reset, malloc'd. */
char *network_reset_path(const char *root);
/* Why this cannot be anybody's wish, malloc'd; NULL when it can. */
char *network_reset_wrong(const struct conf *wish);
/* 0 or -1 with errno. The file is there whole or not at all. */
int network_reset_write(const char *root, const struct conf *wish);
/* NULL with *ret_why NULL: there is none. NULL with a malloc'd reason: it is not understood. */
struct conf *network_reset_read(const char *root, char **ret_why);

#endif
