/* What the files of a repository of volumes share. lvhd.h describes names and crash safety.
 * Called by: lvhd*.c.  Calls: vg, mgt, chain. */
#ifndef SM_LVHD_PRIVATE_H
#define SM_LVHD_PRIVATE_H

#include "sm/chain.h"
#include "sm/lvhd.h"
#include "sm/mgt.h"
#include "sm/track.h"

#define TMP "tmp-"
#define DEAD "dead-"
#define LIVE "live-"
#define TAG_HIDDEN "hidden"
#define TAG_ID "xapi_id_"
#define TAG_MERGED "xapi_merged_"
enum { LVHD_MAX_CHAIN = 128 };

struct lvhd {
    struct sm *sm;
    struct vg vg;
    int page_fd; /* memory that a volume's first page is shown in to those who read images; -1 = none yet */
};
#define LVHD_INIT { .vg = VG_INIT, .page_fd = -1 }

/* Reads the group; the repository is ours to change when `change`: see owner.h. */
int lvhd_open(struct sm *sm, bool change, struct lvhd *ret_lvhd, struct xerr *err);
void lvhd_close(struct lvhd *r);
#define _cleanup_lvhd_ _cleanup_(lvhd_close)

/* ---- names --------------------------------------------------------------------------------- */

const char *lvhd_volume(struct sm *sm, const char *uuid, const struct image_format *f);
/* "VHD-<uuid>" and so on; false for every other name. */
bool lvhd_parse(const char *name, struct image *ret_image);

/* ---- images -------------------------------------------------------------------------------- */

/* Never finished: what the tag says is not what the volume holds. */
extern const char lvhd_half_made[];

/* What the volume holds. False when it is no image's. */
bool lvhd_load(struct lvhd *r, const struct vg_lv *lv, struct image *ret_image);
/* The disk or base with this uuid: VDI_MISSING, or VDI_LOAD when it cannot be read. */
int lvhd_find(struct lvhd *r, const char *uuid, struct image *ret_image, struct xerr *err);
/* The one that the request names. */
int lvhd_find_request(struct lvhd *r, struct image *ret_image, struct xerr *err);
/* All; whatever has children is hidden. */
void lvhd_list(struct lvhd *r, struct images *out);
/* The image and what it stands on, from the top; at most LVHD_MAX_CHAIN. 0 = one is missing or the chain is too long. */
size_t lvhd_chain(struct lvhd *r, const struct image *top, struct image ret_chain[LVHD_MAX_CHAIN]);

/* Activates a volume and opens it. *ret_was_active: it need not be deactivated. -1: err is set. */
int lvhd_open_volume(struct lvhd *r, const char *name, int flags, bool *ret_was_active, struct xerr *err);
/* Deactivates a volume that nobody has, waiting for those who only look at new devices. */
void lvhd_drop(struct lvhd *r, const char *name, bool was_active);
/* Guests' processes may open an active volume. */
void lvhd_share(struct lvhd *r, const char *name);
/* Has no data of its own. */
int lvhd_is_empty(struct lvhd *r, const struct image *im, bool *ret_empty, struct xerr *err);

/* ---- room ---------------------------------------------------------------------------------- */

/* Bytes a volume needs for an image of this size that is full, and for an empty one. */
int64_t lvhd_full_size(const struct image_format *f, int64_t size);
int64_t lvhd_small_size(const struct image_format *f, int64_t size);
bool lvhd_is_thin(struct sm *sm);
/* The image gets this room: its volume is made longer or, as far as it does not use it, shorter. */
int lvhd_give_room(struct lvhd *r, const struct image *im, int64_t bytes, enum sm_error number, struct xerr *err);
/* A qcow2 image as qemu-img calls it without what it stands on, which need not be active. */
const char *lvhd_alone(struct lvhd *r, const char *name);
/* Bytes an image uses. */
int lvhd_used(struct lvhd *r, const struct image *im, int64_t *ret_bytes, struct xerr *err);

/* ---- names for guests ----------------------------------------------------------------------- */

/* A second name for the volume of a disk that is written to, which stays when the volume is renamed: base "" at first, else that
 * of the base which a snapshot made. NULL: err is set. */
const char *lvhd_live_link(struct lvhd *r, const struct image *leaf, const char *base, struct xerr *err);
/* Drops the disk's, or only those of what it was before (only_others). */
void lvhd_live_drop(struct lvhd *r, const char *uuid, bool only_others);

/* ---- changes ------------------------------------------------------------------------------- */

/* A new empty image in a new volume; parent NULL = none. The volume is not active afterwards, except with keep. */
int lvhd_make(struct lvhd *r, const char *name, const struct image_format *f, int64_t size, int64_t room,
              const struct image *parent, struct ref id, bool keep, struct xerr *err);
int lvhd_set_hidden(struct lvhd *r, const struct image *im, bool hidden, struct xerr *err);
int lvhd_set_parent(struct lvhd *r, const struct image *im, const struct image *parent, struct xerr *err);
/* Goes on with a merge whose data is all in the parent: see lvhd_gc.c. base: what the tag names. let_go: servers of the children
 * have looked anew, so that nobody has top open but who looks at a device that was closed. */
int lvhd_end_merge(struct lvhd *r, const struct images *all, const struct image *top, const char *base, bool let_go,
                   struct xerr *err);
/* A step that was begun and not ended left it, or a merge whose image was still open; parents: chain_parents(). */
bool lvhd_is_unfinished(const struct image *im, const struct map *parents);
/* What a killed driver had begun. *ret_changed: the group must be read again. */
int lvhd_repair(struct lvhd *r, bool *ret_changed, struct xerr *err);

/* ---- who uses what ------------------------------------------------------------------------- */

/* The disk is attached, or no longer. 0 or -1 + errno. */
int lvhd_note_use(struct sm *sm, const char *uuid, bool writable);
void lvhd_end_use(struct sm *sm, const char *uuid);
bool lvhd_in_use(struct sm *sm, const char *uuid);
/* Forgets all. */
void lvhd_end_uses(struct sm *sm);
/* The image and what it stands on are open without a lock until the next such note, or until "" is noted: a merge copies. */
void lvhd_note_merge(struct sm *sm, const char *uuid);
/* How often the disk has been attached for writing: tells whether it may have changed since. */
const char *lvhd_stamp(struct sm *sm, const char *uuid);
/* Deactivates the volumes of a chain that no other attached disk needs. */
void lvhd_let_go(struct lvhd *r, const struct image *chain, size_t n);
/* Deactivates what nobody needs: a driver that was killed left it so. */
void lvhd_let_go_strays(struct lvhd *r);

/* ---- changed blocks (lvhd_cbt.c) -------------------------------------------------------------- */

struct tracker lvhd_tracker(struct lvhd *r);
/* Half-made logs. *ret_changed: as lvhd_repair(), which calls it; never set to false. */
int lvhd_cbt_settle(struct lvhd *r, bool *ret_changed, struct xerr *err);

/* ---- answers ------------------------------------------------------------------------------- */

void lvhd_put_space(struct lvhd *r, struct value_builder *b);
void lvhd_put_image(struct lvhd *r, struct value_builder *b, const struct image *im);
int lvhd_answer(struct lvhd *r, const char *uuid, struct value *ret_answer, struct xerr *err);

#endif
