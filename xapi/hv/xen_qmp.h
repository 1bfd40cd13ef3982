/* A client of QEMU's machine protocol: one command at a time, a deadline on each.
 * Called by: xen_qemu.c.  Calls: lib/json, sockets. */
#ifndef XAPI_HV_XEN_QMP_H
#define XAPI_HV_XEN_QMP_H

#include "lib/strbuf.h"
#include "lib/value.h"
#include "xapi/hv/hv_driver.h"

struct qmp;
/* Connects, waiting until QEMU listens. alive: asked now and then; false ends the waiting. NULL = not asked. */
int qmp_open(const char *socket_path, int64_t deadline_ms, bool (*alive)(void *arg), void *arg, struct qmp **ret_q,
             struct hv_failure *f);
void qmp_close(struct qmp *q);        /* NULL is fine */
static inline void qmp_closep(struct qmp **q) { qmp_close(*q); }
#define _cleanup_qmp_ _cleanup_(qmp_closep)

/* Runs a command; arguments is a JSON object or NULL. *ret_value (NULL = not wanted) is in the arena.
 * QEMU's refusal is HV_FAIL_ENGINE with its words; a lost connection is HV_FAIL_UNREACHABLE. */
int qmp_run(struct qmp *q, const char *command, const char *arguments, int64_t deadline_ms, struct arena *a,
            struct value *ret_value, struct hv_failure *f);
/* Waits for an event of this name whose data has "device" = device (NULL = any), also one that came during an earlier
 * command of this connection. 1 = it came, 0 = the deadline passed. */
int qmp_wait(struct qmp *q, const char *event, const char *device, int64_t deadline_ms, struct hv_failure *f);

#endif
