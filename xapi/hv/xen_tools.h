/* What a guest's drivers and tools say of it in xenstore.
 * Called by: xen_stats.c, its unit test and fuzz target.  Calls: xen_store (batches only). */
#ifndef XAPI_HV_XEN_TOOLS_H
#define XAPI_HV_XEN_TOOLS_H

#include "xapi/hv/xen_layout.h"

enum { XN_TOOLS_IPS = 4 };      /* addresses of a card that are asked for, of each family */

/* Whom to ask for: the numbers of its disks and cards. */
struct xn_tools_of {
    int64_t domid;
    const unsigned *disks, *nics;
    size_t n_disks, n_nics;
};

struct xn_tools_asked;
/* Adds the reads to a batch. */
void xn_tools_ask(struct xst_batch *b, const struct xn_tools_of *of, struct arena *a, const struct xn_tools_asked **ret_asked);
/* After it ran: everything from the arena, texts valid UTF-8 on one line and at most some 256 bytes long, addresses addresses. */
void xn_tools_take(const struct xst_batch *b, const struct xn_tools_asked *asked, const struct xn_tools_of *of, struct arena *a,
                   struct hv_guest_info *ret_info);

#endif
