/* Sending a file to a web server: bug reports and crash dumps.
 * Called by: host_logs.c, host_crashdump.c, pool_config.c.  Calls: httpc. */
#ifndef XAPI_UPLOAD_H
#define XAPI_UPLOAD_H

#include "xapi/call/call.h"

struct url_address {
    const char *host, *target;      /* from the call's arena */
    unsigned port;
    bool tls;
};
/* http[s]://host[:port][/path], without a user. Errors: INVALID_VALUE ["url", url]. */
int url_parse(struct call *c, const char *url, struct url_address *ret, struct xerr *err);

/* PUTs the file to an http:// or https:// address; with a certificate check when the host verifies (see
 * certificate.h). Errors: INVALID_VALUE ["url", url] for another scheme; INTERNAL_ERROR; TASK_CANCELLED. */
int upload_file(struct call *c, const char *path, const char *url, struct xerr *err);

#endif
