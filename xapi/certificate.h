/* Certificates: the one this host shows, and those it trusts.
 * Called by: main.c, certificate.c, upload.c, pool_config.c.  Calls: tls, db/. */
#ifndef XAPI_CERTIFICATE_H
#define XAPI_CERTIFICATE_H

#include "xapi/call/call.h"

struct tls_client;

/* The record of what agent->certificate holds now. At startup, once the file is there, and after every
 * change. Errors: INTERNAL_ERROR. */
int certificate_record(struct agent *agent, struct xerr *err);
/* For connections to others: checks them against the trusted certificates when
 * host.tls_verification_enabled, else not. Errors: INTERNAL_ERROR. */
int certificate_client(const struct agent *agent, struct tls_client **ret_client, struct xerr *err);
/* Writes ROOT/certs/bundle.pem and the files of ROOT/certs anew from the records and the files they name. */
int certificate_write_bundle(const struct agent *agent, struct xerr *err);
/* Makes the key and self-signed certificate of this host at path. */
int certificate_make(const char *path, struct xerr *err);

/* TLS listeners ask clients for a certificate, or do not, as the pool's record says; after a start and whenever that or the
 * trusted certificates change. Living connections stay as they are. Errors: INTERNAL_ERROR. */
int certificate_apply_clients(const struct agent *agent, struct xerr *err);

#endif
