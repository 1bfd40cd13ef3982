/* Reports of crashes: what signal, in which call, where in the code.
 * Called by: xapi/main.c, xapi/rpc/dispatch.c, xapi/http/http_auth.c.  Calls: the kernel, libgcc's unwinder.
 *
 * A report is a file FOLDER/crash-<seconds since 1970>-<pid>.new, written by the thread that crashed and by nothing but system calls;
 * the signal then has its usual end, so that a core is written where the system says. */
#ifndef LIB_CRASH_H
#define LIB_CRASH_H

#include "lib/ref.h"

/* Makes the folder (mode 0700) and takes SIGSEGV, SIGBUS, SIGILL, SIGFPE and SIGABRT, unless somebody has them already (a
 * sanitizer). program: what the report's first line calls us; kept. 0, or -1 with errno. */
int crash_install(const char *folder, const char *program);

/* What the calling thread is at. */
struct crash_work {
    const char *call;              /* a message or an endpoint; static; NULL = nothing */
    struct ref object;             /* what it is called on, or null */
};

/* From now on it is at this; what it was at before, for coming back to it. A few nanoseconds. */
struct crash_work crash_begin(const char *call, struct ref object);
void crash_end(const struct crash_work *before);

#endif
