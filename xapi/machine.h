/* The machine under the agent: one program does everything that changes it.
 * Called by: host_*.c, pool_*.c, jobs/.  Calls: subproc.
 *
 * The program (option `machine`, xapi/helper/xapi-machine) gets a verb and its arguments, and the folder of the machine's
 * own configuration as XAPI_ETC. Without a program (--hv sim, machine = none) settings are kept as records only. */
#ifndef XAPI_MACHINE_H
#define XAPI_MACHINE_H

#include "xapi/call/call.h"

/* Runs the program: MACHINE(c, &text, err, "ssh", "on"). ret_text: what it printed ("" without a program), or NULL.
 * Blocks up to a minute. Errors: INTERNAL_ERROR "VERB: the program's last line"; TASK_CANCELLED. */
int machine_tell(struct call *c, const char *const *words, const char **ret_text, struct xerr *err);
#define MACHINE(c, ret_text, err, ...) machine_tell(c, (const char *const[]){ __VA_ARGS__, NULL }, ret_text, err)
/* The same for what cannot be kept as a record. Errors: OPERATION_NOT_ALLOWED without a program. */
int machine_need(struct call *c, struct xerr *err);

#endif
