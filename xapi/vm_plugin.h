/* How often plug-ins of VMs were called lately.
 * Called by: rpc/rpc.c, vm_plugin.c.  Calls: lib. */
#ifndef XAPI_VM_PLUGIN_H
#define XAPI_VM_PLUGIN_H

#include "xapi/call/call.h"

struct plugin_calls *plugin_calls_new(void);
/* NULL is fine. */
void plugin_calls_free(struct plugin_calls *all);

#endif
