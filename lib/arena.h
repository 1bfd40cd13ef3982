/* An arena: memory that lives as long as one call and is freed in one go.
 * Called by: everyone.  Calls: libc. */
#ifndef LIB_ARENA_H
#define LIB_ARENA_H

#include "lib/util.h"

#include <stdarg.h>

struct arena;

struct arena *arena_new(void);
/* Frees everything the arena gave out. NULL is fine. */
void arena_free(struct arena *a);
/* Makes the arena empty again but keeps its first block, for the next call on the same thread. */
void arena_reset(struct arena *a);

void *arena_alloc(struct arena *a, size_t n) __attribute__((malloc, returns_nonnull));
void *arena_zalloc(struct arena *a, size_t n) __attribute__((malloc, returns_nonnull));
char *arena_strdup(struct arena *a, const char *s);
char *arena_strndup(struct arena *a, const char *s, size_t n);
char *arena_printf(struct arena *a, const char *fmt, ...) _printf_(2, 3);
char *arena_vprintf(struct arena *a, const char *fmt, va_list ap);
/* Bytes given out so far. */
size_t arena_used(const struct arena *a);

#define arena_new_array(a, type, n) ((type *)arena_zalloc((a), sizeof(type) * (n)))

static inline void arena_freep(struct arena **a) { arena_free(*a); }
#define _cleanup_arena_ _cleanup_(arena_freep)

#endif
