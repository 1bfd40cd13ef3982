/* Images of a repository and what stands on what, wherever they lie: in files or in volumes.
 * Called by: dir*.c, lvhd*.c.  Calls: image. */
#ifndef SM_CHAIN_H
#define SM_CHAIN_H

#include "sm/image.h"

#include <sys/stat.h>

struct image {
    const struct image_format *format;
    bool hidden, missing_parent, empty;
    bool merged; /* its data is in its parent: it goes when nothing stands on it and nobody has it open */
    int64_t size, used;
    ino_t inode;
    nlink_t links;
    struct ref id; /* image_look.id */
    char uuid[UUID_TEXT];
    char parent[UUID_TEXT]; /* uuid of the base it stands on, "" = none */
    const char *name;       /* of the file or volume */
    const char *broken;     /* why it cannot be read, NULL = fine */
};

struct images {
    struct image *list;
    size_t n, cap;
};

void images_add(struct images *s, const struct image *im);
void images_free(struct images *s);
#define _cleanup_images_ _cleanup_(images_free)

const struct image *chain_find(const struct images *all, const char *uuid);
/* Some image but the one called but_name stands on this base. */
bool chain_has_children(const struct images *all, const char *base, const char *but_name);
/* The uuids that something stands on. Who asks frees it. */
struct map *chain_parents(const struct images *all);
/* While an image cannot be read nobody knows what it stands on. */
bool chain_readable(const struct images *all);
/* Formats that mark a base in itself: one that is not marked yet but has a child is a base all the same. */
void chain_hide_bases(struct images *all);
/* The request's `attached` lists this disk. */
bool chain_is_attached(const struct sm *sm, const char *uuid);
/* The image's data can go into its parent, which is hidden and has no other child: an inner one, or a disk that the
 * request's `attached` does not list. */
bool chain_can_merge(const struct sm *sm, const struct images *all, const struct image *top);

#endif
