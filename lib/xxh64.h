/* XXH64 of a block in memory (seed 0): the checksum of XVA files.
 * Called by: xva_export.c, xva_import.c.  Calls: libc. */
#ifndef LIB_XXH64_H
#define LIB_XXH64_H

#include "lib/util.h"

uint64_t xxh64(const void *p, size_t n);

#endif
