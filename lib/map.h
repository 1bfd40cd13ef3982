/* Hash maps from text or references to pointers. Keyed SipHash, so that no client can make them slow.
 * Called by: everyone.  Calls: libc.
 *
 * Values are borrowed and never NULL. Not thread-safe: the owner locks. */
#ifndef LIB_MAP_H
#define LIB_MAP_H

#include "lib/ref.h"

/* SipHash-1-3 of n bytes. */
uint64_t map_siphash(const void *bytes, size_t n, const uint64_t key[2]);
/* A secret for map_siphash, from the kernel. */
void map_random_key(uint64_t ret_key[2]);

/* ---- by text (keys are copied) ---- */
struct map;
struct map *map_new(void);
void map_free(struct map *m);                                 /* NULL is fine; values are not freed */
size_t map_count(const struct map *m);
void *map_get(const struct map *m, const char *key);          /* NULL when it is not there */
void *map_put(struct map *m, const char *key, void *value);   /* returns the value replaced, or NULL */
void *map_remove(struct map *m, const char *key);             /* returns the value removed, or NULL */
/* for (size_t at = 0; map_next(m, &at, &key, &value);) ...; the map must not change meanwhile. */
bool map_next(const struct map *m, size_t *at, const char **ret_key, void **ret_value);

/* ---- by reference ---- */
struct refmap;
struct refmap *refmap_new(void);
void refmap_free(struct refmap *m);
size_t refmap_count(const struct refmap *m);
void *refmap_get(const struct refmap *m, struct ref key);
void *refmap_put(struct refmap *m, struct ref key, void *value);
void *refmap_remove(struct refmap *m, struct ref key);
bool refmap_next(const struct refmap *m, size_t *at, struct ref *ret_key, void **ret_value);

static inline void map_freep(struct map **m) { map_free(*m); }
static inline void refmap_freep(struct refmap **m) { refmap_free(*m); }
#define _cleanup_map_ _cleanup_(map_freep)
#define _cleanup_refmap_ _cleanup_(refmap_freep)

#endif
