/* Image formats as a repository needs them: what an image says of itself, new empty ones, marks.
 * Called by: dir*.c.  Calls: qcow2, lib/vhd.
 *
 * What touches data of a qcow2 image is qemu-img's work; VHDs are ours (lib/vhd.h). */
#ifndef SM_IMAGE_H
#define SM_IMAGE_H

#include "sm/sm.h"

/* What an image says. Text from the arena. */
struct image_look {
    int64_t size;       /* of the disk, bytes */
    const char *parent; /* file name of the image it stands on, without folder; "" = none */
    struct ref id;      /* VHD: its own uuid, which children name; null in other formats */
    bool hidden;        /* VHD: marked as a base */
    bool empty;         /* has no data of its own; only told when asked for */
};

/* A new empty image. */
struct image_new {
    int64_t size;         /* bytes; rounded up to what the format can have */
    const char *parent;   /* file name, NULL = none */
    struct ref parent_id; /* image_look.id of the parent */
    struct ref id;        /* image_look.id of the new one; null = any */
};

typedef void (*image_range_fn)(void *arg, int64_t at, int64_t len);

struct image_format {
    const char *name;       /* as sm_config and the agent call it: "qcow2", "vhd", "raw" */
    const char *qemu;       /* as qemu-img calls it; NULL = not QEMU's to touch */
    bool chains;            /* an image can stand on another */
    bool marks_hidden;      /* in itself; else the name says it */
    int max_depth;          /* images in a chain */
    int64_t max_size, unit; /* of a disk; sizes are multiples of unit */
    /* 0, or -1 and *ret_why (a literal) for what is no image of this format. */
    int (*look)(int fd, bool want_empty, struct arena *a, struct image_look *ret_look, const char **ret_why);
    /* Into an open, empty file. Not synced. 0 or -1 + errno. */
    int (*create)(int fd, const struct image_new *what);
    /* Durable. NULL = marks_hidden is false. 0 or -1 + errno. */
    int (*set_hidden)(int fd, bool hidden);
    /* Another parent, also while somebody writes to the image; durable. NULL = no chains. 0 or -1 + errno. */
    int (*set_parent)(int fd, const char *name, struct ref id);
    /* Grows the disk; durable. NULL = qemu-img does it. 0 or -1 + errno. */
    int (*resize)(int fd, int64_t size);
    /* Tells of each range that the image holds data or zeros of its own for, not its parent's. NULL = no chains. 0 or -1 +
     * errno (EIO: damaged). */
    int (*own_ranges)(int fd, image_range_fn fn, void *arg);
};

extern const struct image_format image_qcow2, image_vhd, image_raw;
/* By name, NULL = unknown. */
const struct image_format *image_format_named(const char *name);
/* The format that the request's vdi_sm_config names (image-format, type), else fallback: VDI_TYPE. */
int image_choose(struct sm *sm, const char *fallback, const struct image_format **ret_format, struct xerr *err);
/* The first argument as a size that the format can have, rounded up: VDI_SIZE. */
int image_wanted_size(struct sm *sm, const struct image_format *f, int64_t *ret_size, struct xerr *err);
/* The same for an image of size bytes that grows: VDI_SIZE when it would shrink. */
int image_larger_size(struct sm *sm, const struct image_format *f, int64_t size, int64_t *ret_size, struct xerr *err);
/* All, in the order in which a repository looks for the file of a disk; ends with NULL. */
extern const struct image_format *const image_formats[];

#endif
