/* Whose a directory of images is: epoch.h's mark in the file .xapi-owner, which every change looks at under the directory's lock.
 * Called by: dir*.c, file.c and its like through dir.h.  Calls: epoch, dir.c. */
#include "sm/dir_private.h"
#include "sm/epoch.h"

#include <errno.h>
#include <stdio.h>

enum { LIMIT = 256 };
#define OWNER ".xapi-owner"

static int put(const struct epoch *e, const char *mark, struct xerr *err)
{
    const char *path = e->arg, *text = arena_printf(e->sm->arena, "%s\n", mark);

    if (sm_step("sm.owner-written") || write_file_atomic(path, text, strlen(text), 0644))
        return sm_fail_errno(err, SM_LOCK, "cannot write %s", path);
    return 0;
}

static int read_owner(struct sm *sm, const char *path, struct epoch *ret_epoch, struct xerr *err)
{
    char *file = arena_printf(sm->arena, "%s/" OWNER, path);
    _cleanup_free_ char *text = NULL;

    *ret_epoch = (struct epoch){ .sm = sm, .name = path, .put = put, .arg = file };
    if (read_file(file, LIMIT, &text, NULL))
        return errno == ENOENT ? 0 : sm_fail_errno(err, SM_LOCK, "cannot read %s", file);
    text[strcspn(text, "\n")] = '\0';
    ret_epoch->found = arena_strdup(sm->arena, text);
    return 0;
}

const char *dir_owner_file(struct dir *d, const char **ret_text)
{
    _cleanup_xerr_ struct xerr ignored = XERR_INIT;
    struct epoch e;

    if (read_owner(d->sm, d->path, &e, &ignored) || !e.found) return "";
    *ret_text = e.found;
    return e.arg;
}

/* One of epoch.h's functions, under the lock. */
static int with_owner(struct sm *sm, const char *path, int (*fn)(const struct epoch *e, struct xerr *err),
                      struct xerr *err)
{
    _cleanup_dir_ struct dir d = DIR_INIT;
    struct epoch e;

    return dir_open_at(sm, path, &d, err) || read_owner(sm, path, &e, err) || fn(&e, err) ? -1 : 0;
}

int dir_attach(struct sm *sm, const char *path, struct xerr *err)
{
    return dir_check_mark(sm, path, err) || with_owner(sm, path, epoch_attach, err) ? -1 : 0;
}

int dir_claim(struct sm *sm, const char *path, struct xerr *err)
{
    return with_owner(sm, path, epoch_claim, err);
}

int dir_check_owner(struct sm *sm, const char *path, struct xerr *err)
{
    return with_owner(sm, path, epoch_look, err);
}

int dir_leave(struct sm *sm, const char *path, struct xerr *err)
{
    if (unlink(arena_printf(sm->arena, "%s/" OWNER, path)) && errno != ENOENT)
        return sm_fail_errno(err, SM_SR_DELETE, "cannot remove %s/" OWNER, path);
    epoch_forget(sm);
    return 0;
}

static int open_with(struct sm *sm, struct dir *ret_dir, int (*fn)(const struct epoch *e, struct xerr *err),
                     struct xerr *err)
{
    struct dir d = DIR_INIT;
    struct epoch e;

    if (dir_open(sm, &d, err)) return -1;
    if (read_owner(sm, d.path, &e, err) || fn(&e, err)) {
        dir_close(&d);
        return -1;
    }
    *ret_dir = d;
    return 0;
}

int dir_open_ours(struct sm *sm, struct dir *ret_dir, struct xerr *err)
{
    return open_with(sm, ret_dir, epoch_look, err);
}

int dir_open_change(struct sm *sm, struct dir *ret_dir, struct xerr *err)
{
    return open_with(sm, ret_dir, epoch_check, err);
}
