/* What a running QEMU has open below an image that a guest writes to.
 * Called by: libvirt_monitor.c, xen_qemu.c.  Calls: QEMU's machine protocol, through whoever asks. */
#ifndef XAPI_HV_QEMU_CHAIN_H
#define XAPI_HV_QEMU_CHAIN_H

#include "lib/value.h"
#include "xapi/hv/hv_driver.h"

/* The way to one QEMU. run: a command and its arguments (a JSON object, NULL = none); what it returns, from the arena. */
struct qemu_way {
    int (*run)(void *arg, const char *command, const char *arguments, struct arena *a, struct value *ret_value, struct hv_failure *f);
    void *arg;
};

/* QEMU opens anew what the image behind a node stands on, under the names and with the tables that are on the disk now, and
 * closes what it had open there: images that were merged away meanwhile give their room back. The guest's requests wait for a
 * moment. node: of the image's format (qcow2); path: of the image, whose head says what it stands on. Nothing changed on failure.
 * Source: QEMU's qapi/block-core.json, blockdev-reopen (since 6.1). */
int qemu_chain_reopen(const struct qemu_way *q, const char *node, const char *path, struct hv_failure *f);

/* Takes away what qemu_chain_reopen() opened and no guest's disk stands on any more: after a disk was detached. */
void qemu_chain_sweep(const struct qemu_way *q);

#endif
