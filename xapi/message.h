/* The alerts of one object as a document.
 * Called by: http/messages.c.  Calls: db/. */
#ifndef XAPI_MESSAGE_H
#define XAPI_MESSAGE_H

#include "xapi/call/call.h"

/* <messages>, with a <message> of ref, name, priority, cls, obj_uuid, timestamp, uuid and body for each. */
void messages_write(struct call *c, enum cls cls, const char *obj_uuid, struct strbuf *out);
/* Adds those of the document that are not there yet (by uuid), all of them the object's, whatever they say. Errors:
 * UUID_INVALID [class, obj_uuid]; IMPORT_ERROR [why]. */
int messages_read(struct call *c, enum cls cls, const char *obj_uuid, const char *xml, size_t len, struct xerr *err);

#endif
