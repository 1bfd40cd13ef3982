/* The NBD server: disks for backup products, read-only, over TLS.
 * Called by: main.c.  Calls: nbd_handshake, storage/content, session.
 *
 * An export's name is "/<vdi uuid>?session_id=<session>", as VDI.get_nbd_info tells. Open while a network has the purpose
 * nbd (TLS is a must) or insecure_nbd (it is not), and only to clients that come by an address of such a network, or from
 * this machine itself. A disk is attached for reading as long as its client stays; the connection ends with its session. */
#ifndef XAPI_HTTP_NBD_SERVER_H
#define XAPI_HTTP_NBD_SERVER_H

#include "xapi/call/call.h"

struct nbd_server;
struct nbd_server *nbd_server_new(struct agent *agent);
/* Opens or closes the listener as the networks' records say; sets agent->nbd_port. Errors: INTERNAL_ERROR. */
int nbd_server_apply(struct nbd_server *s, struct xerr *err);
/* Ends all connections and waits for them. */
void nbd_server_stop(struct nbd_server *s);
/* After it has stopped. NULL is fine, here and there. */
void nbd_server_free(struct nbd_server *s);

#endif
