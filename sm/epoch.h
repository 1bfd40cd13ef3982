/* Whose a repository is: the pool that may change it, and how often it has changed hands.
 * Called by: owner.c (volume groups), dir_owner.c (directories).  Calls: lib.
 *
 * A repository carries a mark, "<pool uuid>_<epoch>", where all who can reach its data see it. A pool takes a repository that
 * has none when it first changes it. Another pool's PBD.plug fails and names the owner; with device_config
 * take_from=<pool uuid>:<epoch>, exactly what that error names, it takes the repository over: the epoch rises, and whoever
 * still holds the old one fails at its next change. The mark that is ours is remembered in STATE_DIR/owner-<sr uuid>. */
#ifndef SM_EPOCH_H
#define SM_EPOCH_H

#include "sm/sm.h"

/* A repository and its mark. Borrowed. */
struct epoch {
    struct sm *sm;
    const char *name;  /* of the repository, for errors */
    const char *found; /* "<pool uuid>_<epoch>", NULL = nobody's */
    /* Puts a mark in the place of the one that was found, in one step. */
    int (*put)(const struct epoch *e, const char *mark, struct xerr *err);
    void *arg;
};

/* For sr_attach: takes over when the request says so. Nothing is written to the repository otherwise. Errors: SM_SR_IN_USE
 * naming the owner. Here and below: a request without pool_uuid passes. */
int epoch_attach(const struct epoch *e, struct xerr *err);
/* Before a change: ours, or made ours when it was nobody's. Errors: SM_SR_IN_USE. */
int epoch_check(const struct epoch *e, struct xerr *err);
/* Not another pool's; nothing is written. Errors: SM_SR_IN_USE. */
int epoch_look(const struct epoch *e, struct xerr *err);
/* A new repository is ours. */
int epoch_claim(const struct epoch *e, struct xerr *err);
/* The mark that we remember, "" = none. In the arena. */
const char *epoch_note(struct sm *sm);
void epoch_forget(struct sm *sm);

#endif
