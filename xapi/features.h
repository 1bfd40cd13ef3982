/* Licensed features of the reference, all free here: the keys that clients look for.
 * Called by: pool.c, host.c.  Calls: db/. */
#ifndef XAPI_FEATURES_H
#define XAPI_FEATURES_H

#include "db/db.h"

/* Puts every restriction key ("false" = available) into a (string -> string) map field. */
void features_write(struct txn *t, struct ref object, field_id f);

#endif
