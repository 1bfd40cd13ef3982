/* Roles and permissions: what a subject may do, and the role objects that show it.
 * Called by: session.c, subject.c, rpc/, startup.  Calls: db/, gen.
 *
 * A permission is a message ("vm.start"), a key of a map field ("vm.add_to_other_config/key:folder") or an HTTP
 * endpoint ("http/put_import"). Role bits (1 << enum role_id) are what the gate compares; a role's bits include those
 * of all weaker roles. */
#ifndef XAPI_ROLE_H
#define XAPI_ROLE_H

#include "xapi/call/call.h"

/* The bits of a role: its own and those of every weaker one. */
unsigned role_bits(enum role_id role);
/* The bits of all roles of a subject; 0 for no subject. */
unsigned role_bits_of_subject(const struct snap *s, struct ref subject);
/* The names of all permissions of a subject: a set of strings, valid as long as the process. */
struct value role_permissions(enum role_id role, struct arena *a);
struct value role_permissions_of_subject(const struct snap *s, struct ref subject, struct arena *a);
/* "vm.start" for "VM.start", in the arena. */
const char *role_permission_name(const char *method, struct arena *a);

/* Makes the role rows agree with the schema: one for each role and one for each permission. At startup. */
int roles_seed(struct agent *agent, struct xerr *err);

#endif
