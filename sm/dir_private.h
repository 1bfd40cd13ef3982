/* What the files of a directory repository share. dir.h describes names and crash safety.
 * Called by: dir.c, dir_vdi.c, dir_snapshot.c.  Calls: image. */
#ifndef SM_DIR_PRIVATE_H
#define SM_DIR_PRIVATE_H

#include "sm/chain.h"
#include "sm/dir.h"
#include "sm/track.h"

enum { DIR_MAX_CHAIN = 128 };

struct dir {
    struct sm *sm;
    const char *path;
    int fd;      /* of the directory; locked */
    int lock_fd; /* of a file in it, where directories cannot be locked; -1 = none */
};
#define DIR_INIT                                                                                             \
    {                                                                                                        \
        .fd = -1, .lock_fd = -1                                                                              \
    }

/* Locks the driver's directory, whoever owns it. */
int dir_open(struct sm *sm, struct dir *ret_dir, struct xerr *err);
/* The same somewhere else: a share that is mounted for a moment. */
int dir_open_at(struct sm *sm, const char *path, struct dir *ret_dir, struct xerr *err);
/* dir_open() to look at disks: SM_SR_IN_USE when another pool owns them. */
int dir_open_ours(struct sm *sm, struct dir *ret_dir, struct xerr *err);
/* dir_open() to change something: the directory is ours afterwards, or SM_SR_IN_USE. */
int dir_open_change(struct sm *sm, struct dir *ret_dir, struct xerr *err);
/* Where the owner stands, and what; "" = nobody owns it. For whoever works without the lock. */
const char *dir_owner_file(struct dir *d, const char **ret_text);
void dir_close(struct dir *d);
#define _cleanup_dir_ _cleanup_(dir_close)
int dir_sync(struct dir *d, struct xerr *err);

/* ---- names --------------------------------------------------------------------------------- */

const char *dir_leaf_name(struct dir *d, const char *uuid, const struct image_format *f);
const char *dir_base_name(struct dir *d, const char *uuid, const struct image_format *f);
const char *dir_full_path(struct dir *d, const char *name);
/* "<uuid>.qcow2", "<uuid>.vhd", "<uuid>.raw", "base-<uuid>.qcow2"; false for every other name. */
bool dir_parse_name(const char *name, struct image *ret_image);

/* ---- images -------------------------------------------------------------------------------- */

/* Reads what the file says of itself. False when there is no such regular file. */
bool dir_load(struct dir *d, const char *name, bool want_empty, struct image *ret_image);
/* The disk with this uuid, whatever its format: VDI_MISSING, or VDI_LOAD when it is broken. */
int dir_find_leaf(struct dir *d, const char *uuid, bool want_empty, struct image *ret_image,
                  struct xerr *err);
/* The one that the request names. */
int dir_find_request(struct dir *d, bool want_empty, struct image *ret_image, struct xerr *err);
bool dir_find_base(struct dir *d, const char *uuid, struct image *ret_image);
/* All of them; broken ones too. */
int dir_list(struct dir *d, struct images *out, struct xerr *err);

/* A new image under its final name in one step: written and synced as tmp-, then renamed (over an older one when
 * replace). parent NULL = none. The directory is not synced. */
int dir_make_image(struct dir *d, const char *name, const struct image_format *f, int64_t size,
                   const struct image *parent, bool replace, enum sm_error number, struct xerr *err);
/* The two steps of it. tmp is "tmp-<name>"; parent a file name that need not be there yet, NULL = none. */
#define TMP "tmp-"
const char *dir_write_tmp(struct dir *d, const char *name, const struct image_format *f, int64_t size,
                          const char *parent, struct ref parent_id, enum sm_error number, struct xerr *err);
int dir_put_tmp(struct dir *d, const char *tmp, bool replace, enum sm_error number, struct xerr *err);
/* A rename that never replaces. 0, or -1 + errno (EEXIST). */
int dir_rename_new(struct dir *d, const char *from, const char *to);
/* Guests' processes may read it and write its end. 0 or -1 + errno. */
int dir_share(int fd);
/* Nothing for formats whose names say it. */
int dir_set_hidden(struct dir *d, const char *name, const struct image_format *f, bool hidden,
                   struct xerr *err);

/* Goes on with a merge whose data is all in the parent: see dir_gc.c. name: of its journal, "merged-<uuid>". */
#define MERGED "merged-"
int dir_end_merge(struct dir *d, const char *name, struct xerr *err);

/* ---- second names of disks in use (dir_snapshot.c) ------------------------------------------- */

/* A second name for the disk's image, for the guest: by its uuid, and the base it was put on (NULL: it was just attached).
 * The path, or NULL + err. */
const char *dir_live_link(struct dir *d, const struct image *leaf, const char *base, struct xerr *err);
/* Removes the second names of the disk: all, or those of other images than it is now. */
/* Somebody has the disk's image open: a guest that moves between two hosts is in both for a while, and a QEMU that does not move after
 * all opens its images by their names again. */
bool dir_live_is_used(struct dir *d, const char *uuid);
void dir_live_drop(struct dir *d, const char *uuid, bool only_others);

/* ---- changed blocks (dir_cbt.c) -------------------------------------------------------------- */

struct tracker dir_tracker(struct dir *d);

/* ---- answers ------------------------------------------------------------------------------- */

void dir_put_space(struct dir *d, struct value_builder *b);
void dir_put_image(struct dir *d, struct value_builder *b, const struct image *im);
int dir_answer_image(struct dir *d, const char *uuid, struct value *ret_answer, struct xerr *err);
const char *dir_new_uuid(struct sm *sm);

#endif
