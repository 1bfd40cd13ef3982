/* Small things every file uses: ownership attributes, checked allocation, arrays.
 * Called by: everyone.  Calls: libc. */
#ifndef LIB_UTIL_H
#define LIB_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define _cleanup_(fn) __attribute__((cleanup(fn)))
#define _printf_(f, a) __attribute__((format(printf, f, a)))
#define _noreturn_ __attribute__((noreturn))
#define _unused_ __attribute__((unused))
#define _weak_ __attribute__((weak))

/* Hand a pointer or a descriptor on: the variable is emptied, so its cleanup does nothing. */
#define take_ptr(p) ({ __typeof__(p) take_ptr_ = (p); (p) = NULL; take_ptr_; })
#define take_fd(fd) ({ int take_fd_ = (fd); (fd) = -1; take_fd_; })

/* Allocation aborts when memory is out (untrusted sizes are limited before they get here). */
void *xmalloc(size_t n);
void *xcalloc(size_t n, size_t size);
void *xrealloc(void *p, size_t n);
char *xstrdup(const char *s);
char *xstrndup(const char *s, size_t n);
char *xasprintf(const char *fmt, ...) _printf_(1, 2);

static inline void free_charp(char **p) { free(*p); }
static inline void close_fdp(int *fd) { if (*fd >= 0) close(*fd); }
#define _cleanup_free_ _cleanup_(free_charp)
#define _cleanup_close_ _cleanup_(close_fdp)

static inline bool streq(const char *a, const char *b) { return strcmp(a, b) == 0; }
static inline bool has_prefix(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

/* Read a whole file (at most limit bytes) into malloc'd, NUL-terminated memory.
 * Returns 0, or -1 with errno (EFBIG when larger than limit). ret_len may be NULL. */
int read_file(const char *path, size_t limit, char **ret_text, size_t *ret_len);

/* Write a file whole and durably: temporary name, fsync, rename, fsync of the folder. 0 or -1 + errno. */
int write_file_atomic(const char *path, const void *text, size_t len, unsigned mode);

/* fsync of the folder that holds path, so that a file just made or renamed there is found after a power cut. */
int sync_folder_of(const char *path);

/* mkdir -p. 0 or -1 + errno. */
int make_dirs(const char *path, unsigned mode);

#endif
