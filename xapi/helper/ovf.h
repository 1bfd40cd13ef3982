/* What a description in the Open Virtualization Format says, as JSON.
 * Called by: ovf.c (the role of the helper), tests/fuzz.  Calls: nothing. */
#ifndef HELPER_OVF_H
#define HELPER_OVF_H

#include "lib/strbuf.h"

/* The object that ovf.c describes, in `out`; or why not, which is a constant. */
const char *ovf_describe(const char *text, size_t n, struct strbuf *out);

#endif
