/* What the records said of some interfaces, and of what stands on them, before a bond was made of them, changed or dissolved.
 * Called by: bond.c, pif_ip.c (startup).  Calls: db/ (reading and writing). */
#ifndef XAPI_BOND_BEFORE_H
#define XAPI_BOND_BEFORE_H

#include "xapi/call/call.h"

/* -> {class: {reference: {field: value}}} of these interfaces, their metrics and bonds, the VLANs and tunnels on them with the interfaces
 * of those. As JSON it may wait in a file. What does not exist is left out. */
struct value bond_before(struct call *c, const struct snap *s, const struct ref *pifs, size_t n);
/* Whether the management interface is one of them. */
bool bond_before_has_management(const struct value *before);
/* All of it is as it was, with the same references and UUIDs; a bond that has been made of these interfaces since is taken apart. */
void bond_before_restore(struct call *c, struct txn *t, const struct value *before);

/* bond.c: what was the bond's goes to its primary member; all members are attached if it was. */
void bond_take_apart(struct call *c, struct txn *t, const struct row *bond);

#endif
