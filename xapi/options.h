/* Every option of the daemon: command line, configuration file, help and man page come from this table.
 * Called by: main.c.  Calls: conf. */
#ifndef XAPI_OPTIONS_H
#define XAPI_OPTIONS_H

#include "lib/conf.h"

extern const struct conf_option daemon_options[];

#endif
