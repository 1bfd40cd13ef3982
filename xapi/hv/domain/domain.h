/* The roles of xapi-domain: work of libxenguest that can neither be cancelled nor trusted, in a process that can be ended.
 * Called by: domain/main.c.  Calls: nothing. */
#ifndef XAPI_HV_DOMAIN_DOMAIN_H
#define XAPI_HV_DOMAIN_DOMAIN_H

#include <xenctrl.h>
#include <xenguest.h>

#include "xapi/hv/domain/proto.h"

/* libxc's messages: the last error is kept, all go to stderr when XAPI_DOMAIN_DEBUG is set. */
xentoollog_logger *domain_logger(void);
/* The last error since domain_clear_error(), "" = none. */
const char *domain_last_error(void);
void domain_clear_error(void);

/* Serves requests until the socket closes. Returns the exit status. */
int domain_build_main(void);
/* One stream (domain/proto.h). They end at once when the driver does. */
int domain_save_main(void);
int domain_restore_main(void);

#endif
