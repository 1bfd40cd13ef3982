/* Which disks are being made: what a killed agent or driver leaves half made is known, and can go.
 * Called by: class files (storage.h).  Calls: lib.
 *
 * An empty file for each, root/storage/making/<vdi uuid>.<sr uuid>: its name is on disk before a driver begins, and it goes
 * when the record is there. */
#define LOG_MODULE "storage"
#include "xapi/storage/slots.h"

#include "gen/errors.h"
#include "lib/fault.h"
#include "lib/log.h"

#include <errno.h>
#include <fcntl.h>

struct making {
    char sr_uuid[UUID_TEXT];   /* immutable */
    bool cut_off;              /* lock: storage.lock; whoever made it has gone, or does not know how it ended */
};

static char *path_of(const struct storage *s, const char *sr_uuid, const char *vdi_uuid)
{
    return xasprintf("%s/%s.%s", s->making_dir, vdi_uuid, sr_uuid);
}

static void put(struct storage *s, const char *sr_uuid, const char *vdi_uuid, bool cut_off)
{
    struct making *m = xcalloc(1, sizeof(*m));

    memcpy(m->sr_uuid, sr_uuid, UUID_TEXT);
    m->cut_off = cut_off;
    HOLD(&s->lock);
    free(map_put(s->making, vdi_uuid, m));
}

/* ---- life ---------------------------------------------------------------------------------- */

static void load_one(struct storage *s, const char *name)
{
    struct ref bytes;
    char vdi[UUID_TEXT];
    const char *dot = strchr(name, '.');

    if (!dot || (size_t)(dot - name) != UUID_TEXT - 1) return;
    memcpy(vdi, name, UUID_TEXT - 1);
    vdi[UUID_TEXT - 1] = '\0';
    if (!uuid_from_text(vdi, &bytes) || !uuid_from_text(dot + 1, &bytes)) return;
    put(s, dot + 1, vdi, true);
    log_info("disk %s of SR %s was being made when an earlier agent ended", vdi, dot + 1);
}

int making_load(struct storage *s, struct xerr *err) { return notes_each(s, s->making_dir, load_one, err); }

void making_free(struct storage *s)
{
    const char *key;
    void *m;

    for (size_t at = 0; map_next(s->making, &at, &key, &m);) free(m);
    map_free(s->making);
}

/* ---- one disk ------------------------------------------------------------------------------ */

int storage_making_begin(struct storage *s, const char *sr_uuid, const char *vdi_uuid, struct xerr *err)
{
    _cleanup_free_ char *path = path_of(s, sr_uuid, vdi_uuid);
    _cleanup_close_ int fd = -1;

    if ((errno = fault_step("vdi.making")) || (fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600)) < 0 || sync_folder_of(path)) {
        xerr_internal(err, "cannot make %s: %s", path, strerror(errno));
        unlink(path);
        return -1;
    }
    put(s, sr_uuid, vdi_uuid, false);
    return 0;
}

void storage_making_end(struct storage *s, const char *vdi_uuid)
{
    struct making *m;
    {
        HOLD(&s->lock);
        m = map_remove(s->making, vdi_uuid);
    }
    if (!m) return;
    _cleanup_free_ char *path = path_of(s, m->sr_uuid, vdi_uuid);
    unlink(path);
    free(m);
}

/* An answer by name tells that nothing was made. Without one nobody knows. */
void storage_making_failed(struct storage *s, const char *vdi_uuid, const struct xerr *why)
{
    if (!xerr_is(why, "SM_PLUGIN_COMMUNICATION_FAILURE") && !xerr_is(why, "SR_BACKEND_FAILURE")) {
        storage_making_end(s, vdi_uuid);
        return;
    }
    HOLD(&s->lock);
    struct making *m = map_get(s->making, vdi_uuid);
    if (m) m->cut_off = true;
}

bool storage_is_being_made(struct storage *s, const char *vdi_uuid)
{
    HOLD(&s->lock);

    return map_get(s->making, vdi_uuid);
}

size_t storage_cut_off(struct storage *s, const char *sr_uuid, struct arena *a, const char *const **ret_vdis)
{
    HOLD(&s->lock);
    const char **list = arena_new_array(a, const char *, map_count(s->making) + 1);
    const char *key;
    size_t n = 0;
    void *value;

    for (size_t at = 0; map_next(s->making, &at, &key, &value);) {
        const struct making *m = value;
        if (m->cut_off && streq(m->sr_uuid, sr_uuid)) list[n++] = arena_strdup(a, key);
    }
    *ret_vdis = list;
    return n;
}

void storage_making_settle(struct storage *s)
{
    _cleanup_free_ char *any = xasprintf("%s/any", s->making_dir);

    if (sync_folder_of(any)) log_warn("cannot sync %s: %s", s->making_dir, strerror(errno));
}
