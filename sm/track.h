/* Changed block tracking of a repository's disks, wherever their images and logs lie.
 * Called by: dir*.c, lvhd*.c.  Calls: cbt, chain.
 *
 * One place of images (a directory, a volume group) is a table of functions; track.c has everything else: what a log must say
 * when, and in which order. */
#ifndef SM_TRACK_H
#define SM_TRACK_H

#include "sm/cbt.h"
#include "sm/chain.h"

#define CBT_SUFFIX ".cbtlog"
enum { TRACK_MAX_CHAIN = 128 };

struct tracker;
typedef int (*track_fn)(struct tracker t, const char *uuid, void *arg, struct xerr *err);

struct track_place {
    /* The disk has a log, readable or not. */
    bool (*has)(void *place, const char *uuid);
    /* False when there is none that can be read. Without want_bits: head and tail only. */
    bool (*load)(void *place, const char *uuid, bool want_bits, struct cbt_log *ret_log);
    /* Durable. A kill leaves the old log, the new one or, where `parent` became another, a log that tells too much. */
    int (*store)(void *place, const char *uuid, const struct cbt_log *log, enum sm_error number, struct xerr *err);
    /* Durable; 0 when there is none. */
    int (*remove)(void *place, const char *uuid, enum sm_error number, struct xerr *err);
    /* Calls fn for the uuid of every log, and ends when it fails. */
    int (*each)(void *place, track_fn fn, void *arg, struct xerr *err);
    /* Bytes that the log takes. */
    int64_t (*used)(void *place, const char *uuid);
    /* The disk with this uuid: VDI_MISSING, or VDI_LOAD when it is broken. */
    int (*find)(void *place, const char *uuid, struct image *ret_image, struct xerr *err);
    bool (*find_base)(void *place, const char *uuid, struct image *ret_image);
    /* As image_format.own_ranges, by an image that has it. */
    int (*own_ranges)(void *place, const struct image *im, image_range_fn fn, void *arg, struct xerr *err);
};

struct tracker {
    struct sm *sm;
    void *place;
    const struct track_place *in;
};

/* "<uuid>.cbtlog". */
const char *track_log_name(struct sm *sm, const char *uuid);
bool track_is_log(const char *name, char ret_uuid[UUID_TEXT]);
bool track_has(struct tracker t, const char *uuid);

int track_enable(struct tracker t, const struct image *im, struct xerr *err);
/* The log ends: of a disk that stays. */
int track_end(struct tracker t, const char *uuid, struct xerr *err);
/* The log goes, and its neighbours take over: of a disk that goes. */
int track_drop(struct tracker t, const char *uuid, struct xerr *err);
/* The disk is about to be written to. False when what was written before is not known: tracking has ended then. */
bool track_open(struct tracker t, const struct image *im);
void track_close(struct tracker t, const char *uuid);
/* The request has made `snapshot` of the disk, on this base; nothing to do for a clone. A log that cannot follow ends, with an
 * alert in the answer, which is not worth failing for. */
void track_made(struct tracker t, const char *uuid, const char *snapshot, const struct image *base, struct value_builder *b);
/* The same for a disk that may have another size now. */
void track_resized(struct tracker t, const struct image *im, struct value_builder *b);
/* Before top, whose data are in base now, goes. May be done twice. */
int track_merge(struct tracker t, const struct image *top, const struct image *base, struct xerr *err);
/* What a killed snapshot left. */
int track_repair(struct tracker t, struct xerr *err);
/* Adds the disks of which only the log is left. */
int track_list(struct tracker t, const struct images *all, struct value_builder *vdis, struct xerr *err);
/* The request's disk is the older one; args: uuid of the newer one. */
int track_list_changed_blocks(struct tracker t, struct value *ret_answer, struct xerr *err);
/* Blocks in which the request's disk may differ from another one, by their logs or by what they stand on; args: uuid of the
 * other. */
int track_compare(struct tracker t, struct value *ret_answer, struct xerr *err);

#endif
