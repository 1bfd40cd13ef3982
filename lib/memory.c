/* What malloc keeps of the system's memory, and gives back.
 * Called by: xapi/main.c, xapi/jobs/jobs.c.  Calls: malloc. */
#include "lib/memory.h"

#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

enum { ARENAS = 2, MAPPED = 4 << 20, KEPT_ON_TOP = 4 << 20, STEP = 256 << 10 };

void memory_tune(void)
{
    /* Many threads, little each. Answers of megabytes are made again and again: mapped and unmapped each time they cost a
     * fault a page, and all threads wait for the one lock of the address space. */
    mallopt(M_ARENA_MAX, ARENAS);
    mallopt(M_MMAP_THRESHOLD, MAPPED);
    mallopt(M_TRIM_THRESHOLD, KEPT_ON_TOP);
}

static size_t resident_bytes(void)
{
    _cleanup_free_ char *text = NULL;
    size_t pages = 0;

    if (read_file("/proc/self/statm", 256, &text, NULL) || sscanf(text, "%*u %zu", &pages) != 1) return 0;
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* What is resident and in nobody's use: code, stacks, and what malloc could give back. */
static size_t unused_bytes(void)
{
    const struct mallinfo2 info = mallinfo2();
    size_t used = info.uordblks + info.hblkhd, resident = resident_bytes();

    return resident > used ? resident - used : 0;
}

void memory_return(size_t *unused)
{
    size_t now = unused_bytes();

    if (now > *unused + STEP) {
        malloc_trim(0);
        *unused = unused_bytes();
    } else if (now < *unused) {
        *unused = now;
    }
}
