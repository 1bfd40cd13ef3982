/* What the files of xapi/storage/ share.
 * Called by: storage.c, slot.c, ledger.c, making.c, serve.c.  Calls: lib. */
#ifndef XAPI_STORAGE_SLOTS_H
#define XAPI_STORAGE_SLOTS_H

#include "lib/map.h"
#include "lib/subproc.h"
#include "xapi/storage/storage.h"

#include <pthread.h>
#include <stdatomic.h>

/* A process that we could not wait for. */
struct leftover {
    pid_t pid;               /* 0 = none */
    uint64_t start_time;
};

/* The right to run a driver for one SR. Lives while somebody uses it or a leftover is in the way. */
struct slot {
    char *sr_uuid;           /* immutable */
    unsigned users;          /* lock: storage.lock */
    bool busy;               /* lock: storage.lock */
    bool unresponsive;       /* lock: storage.lock; a process of ours passed its deadline */
    struct leftover left;    /* lock: storage.lock; changed only by who made it busy */
    pthread_cond_t freed;    /* with storage.lock */
};

struct owner {
    char *name;
    bool writable;
    bool left;                       /* it needs the disk no longer, and the detaching failed */
};

/* One attached VDI. */
struct entry {
    char *sr_uuid, *vdi_uuid;        /* immutable */
    bool busy;                       /* lock: storage.lock; somebody attaches or detaches it */
    unsigned waiting;                /* lock: storage.lock */
    struct owner *owners;            /* lock: storage.lock */
    size_t n_owners;
    char *path, *format;             /* lock: storage.lock; NULL while not attached */
    bool block, writable;            /* lock: storage.lock; as the driver attached it */
    char *alert;                     /* of whoever made it busy, until it is described; NULL = none */
    pthread_cond_t freed;            /* with storage.lock */
};

/* Merging images of one SR. */
struct merge_state {
    unsigned running, forbidden;     /* lock: storage.lock */
    unsigned opening, ending;        /* lock: storage.lock; who opens images, and merges at their end, or waiting for it */
    bool taking;                     /* lock: storage.lock; names of images are being taken away */
    char sr_uuid[UUID_TEXT];
};

#define STORAGE_MAGIC 0x73746f72u

struct storage {
    unsigned magic;
    /* immutable */
    char *state_dir, *record_dir, *attached_dir, *making_dir, *mount_dir, *serve_dir, *plugin_dir, *socket;
    int (*session_open)(void *arg, const struct storage_sr *sr, char **ret_session, struct xerr *err);
    void (*session_close)(void *arg, const char *session);
    void *arg;
    int deadline_ms;
    struct arena *arena;             /* of the drivers' descriptions */
    struct storage_driver *drivers;
    size_t n_drivers;

    atomic_bool stopping;

    pthread_mutex_t lock;            /* never held while a driver works */
    struct map *slots;               /* lock: by SR uuid */
    struct map *silent;              /* lock: by SR uuid: its last command did not reach it; the storage itself */
    struct map *entries;             /* lock: by VDI uuid */
    struct map *making;              /* lock: struct making by VDI uuid */
    struct map *merges;              /* lock: struct merge_state by SR uuid */
    pthread_cond_t merge_ended;      /* with lock; what struct merge_state says */
    unsigned uses;                   /* lock */
    pthread_cond_t unused;           /* with lock */
};

/* ---- slot.c -------------------------------------------------------------------------------- */

/* One command of this driver program, outside any slot when sr is NULL. */
int slot_run(struct storage *s, const struct storage_driver *d, const struct storage_sr *sr,
             const struct storage_vdi *vdi, const char *command, const struct value *args, size_t n_args,
             const struct value *extra, int deadline_ms, struct arena *a, struct value *ret_answer,
             struct xerr *err);
/* Reads the records of processes that an earlier agent started. */
void slot_load_leftovers(struct storage *s);
void slot_free_all(struct storage *s);
/* Wakes whoever waits for a slot. */
void slot_wake_all(struct storage *s);

/* ---- storage.c ----------------------------------------------------------------------------- */

/* Calls fn for each name in a folder of notes. */
int notes_each(struct storage *s, const char *folder, void (*fn)(struct storage *s, const char *name), struct xerr *err);

/* ---- ledger.c ------------------------------------------------------------------------------ */

int ledger_load(struct storage *s, struct xerr *err);
void ledger_free(struct storage *s);

/* ---- making.c ------------------------------------------------------------------------------ */

int making_load(struct storage *s, struct xerr *err);
void making_free(struct storage *s);

/* ---- serve.c ------------------------------------------------------------------------------- */

/* True for images that a guest gets over a socket. */
bool serve_needed(const char *format);
/* Where; malloc'd. */
char *serve_socket(const struct storage *s, const char *vdi_uuid);
/* Starts the server of an attached image, in place of an older one. Errors: VDI_IO_ERROR [why]. Blocks. */
int serve_start(struct storage *s, const struct entry *e, struct xerr *err);
/* Whoever serves the disk looks at its image anew. Errors: VDI_IO_ERROR [why]. */
int serve_look(struct storage *s, const char *vdi_uuid, struct xerr *err);
/* Ends it; what it wrote is on disk. */
void serve_stop(struct storage *s, const char *vdi_uuid);
/* After a start of the agent. */
void serve_adopt(struct storage *s, const struct entry *e);

static inline void unlock_mutex(pthread_mutex_t **m) { pthread_mutex_unlock(*m); }
/* Holds the mutex to the end of the enclosing block. */
#define HOLD(m) \
    pthread_mutex_t *hold_ _cleanup_(unlock_mutex) = (m); \
    pthread_mutex_lock(hold_)

#endif
