/* Every permission and the least role that carries it.
 * Made by xapi-gen from schema/: do not edit. */
#ifndef GEN_PERMISSIONS_H
#define GEN_PERMISSIONS_H

#include "lib/model.h"

struct permission_desc {
    const char *name;      /* "vm.start", "vm.set_other_config/key:folder", "http/put_import" */
    enum role_id role;
};

enum { N_PERMISSIONS = 51 };
extern const struct permission_desc permissions[N_PERMISSIONS + 1];   /* sorted by name; the last has none */

#endif
