/* Copying to a disk that holds nearly the same already: what differs.
 * Called by: vdi_copy.c.  Calls: content.c. */
#include "xapi/storage/content.h"
#include "xapi/storage/slots.h"

#include "gen/errors.h"

#include <time.h>

enum { PIECE = 1 << 20, REPORT_MS = 250 };

struct differ {
    struct storage *storage;
    const struct storage_copy *copy;
    const struct storage_changes *changes;
    struct content *from, *to, *base; /* base NULL: the changes are known */
    char *data, *old;
    int64_t size, reported_ns;
};

/* Says how far it is a few times a second. -1: it is to end. */
static int report(struct differ *d, int64_t at, struct xerr *err)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    const int64_t now_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    bool stop = atomic_load(&d->storage->stopping);
    if (d->copy->progress && now_ns - d->reported_ns > REPORT_MS * INT64_C(1000000)) {
        d->reported_ns = now_ns;
        stop |= !d->copy->progress(d->copy->arg, d->size ? (double)at / (double)d->size : 1);
    }
    return stop ? xerr_task_cancelled(err, REF_STR(d->copy->task)) : 0;
}

static int64_t end_of_unit(const struct differ *d, int64_t at)
{
    return d->size - at < STORAGE_CHANGE_UNIT ? d->size : at + STORAGE_CHANGE_UNIT;
}

/* Where the run of units that have changed, or not, as this one, ends: PIECE bytes on at most if they have. */
static int64_t run_end(const struct differ *d, int64_t at, bool changed)
{
    int64_t end = at;

    while (end < d->size && storage_changed(d->changes, end) == changed && (!changed || end - at < PIECE))
        end = end_of_unit(d, end);
    return end;
}

static int copy_known(struct differ *d, struct xerr *err)
{
    for (int64_t at = 0, end; at < d->size; at = end) {
        const bool changed = storage_changed(d->changes, at);
        end = run_end(d, at, changed);
        if (!changed) continue;
        if (report(d, at, err) || content_read(d->from, d->data, (size_t)(end - at), at, err) ||
            content_write(d->to, d->data, (size_t)(end - at), at, false, err))
            return -1;
    }
    return 0;
}

/* Beyond the end of the base there were zeros. */
static int read_old(struct differ *d, size_t n, int64_t at, struct xerr *err)
{
    const int64_t left = content_size(d->base) - at;
    const size_t has = left <= 0 ? 0 : left < (int64_t)n ? (size_t)left : n;

    memset(d->old + has, 0, n - has);
    return has ? content_read(d->base, d->old, has, at, err) : 0;
}

static int copy_compared(struct differ *d, struct xerr *err)
{
    for (int64_t at = 0, end; at < d->size; at = end) {
        end = d->size - at < PIECE ? d->size : at + PIECE;
        if (report(d, at, err) || content_read_on(d->from, d->data, (size_t)(end - at), at, err) ||
            read_old(d, (size_t)(end - at), at, err))
            return -1;
        for (int64_t unit = at, next; unit < end; unit = next) {
            next = end_of_unit(d, unit);
            const size_t n = (size_t)(next - unit);
            if (memcmp(d->data + (unit - at), d->old + (unit - at), n) == 0) continue;
            if (content_write(d->to, d->data + (unit - at), n, unit, false, err)) return -1;
        }
    }
    return 0;
}

int storage_copy_changes(struct storage *s, const struct storage_copy *copy, const struct storage_disk *base,
                         const struct storage_changes *changes, struct xerr *err)
{
    _cleanup_free_ char *data = xmalloc(PIECE), *old = xmalloc(PIECE);
    struct differ d = { .storage = s, .copy = copy, .changes = changes, .data = data, .old = old };
    int rc = -1;

    if (content_open(s, &copy->from, &d.from, err) == 0 && content_open(s, &copy->to, &d.to, err) == 0 &&
        (changes->bits || content_open(s, base, &d.base, err) == 0)) {
        d.size = content_size(d.from);
        rc = (changes->bits ? copy_known(&d, err) : copy_compared(&d, err)) || content_flush(d.to, err) ? -1 : 0;
    }
    content_close(d.base);
    content_close(d.to);
    content_close(d.from);
    return rc;
}
