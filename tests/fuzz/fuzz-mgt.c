/* The management volume of an LVM repository over arbitrary bytes: what is read is text, and a disk that is added is read again.
 * Called by: libFuzzer, replay.c.  Calls: sm/mgt. */
#include "tests/fuzz/fuzz.h"

#include "sm/mgt.c"   /* a driver's file, in no archive of the daemon */

#include <sys/mman.h>

/* Of the driver's common part: */
const char *vg_path(const struct vg *vg, const char *lv) { return (void)vg, lv; }
int sm_step(const char *point) { return (void)point, 0; }
int sm_fail(struct xerr *err, enum sm_error number, const char *fmt, ...) { return xerr_internal(err, "%d %s", (int)number, fmt); }
int sm_fail_errno(struct xerr *err, enum sm_error number, const char *fmt, ...) { return xerr_internal(err, "%d %s", (int)number, fmt); }

#define UUID "0a0b0c0d-1111-2222-3333-444455556666"

static void check(const struct mgt_vdi *v)
{
    const char *const texts[] = { v->uuid, v->name_label, v->name_description, v->vdi_type, v->type, v->snapshot_of, v->snapshot_time };

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) MUST(strlen(texts[i]) <= MGT_VDI && utf8_valid(texts[i], strlen(texts[i])));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_arena_ struct arena *a = arena_new();
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    struct sm sm = { .arena = a };
    _cleanup_mgt_ struct mgt m = { .sm = &sm, .fd = memfd_create("mgt", MFD_CLOEXEC), .size = (int64_t)size };
    const struct mgt_vdi ours = { UUID, "a & b", "\xc3\xa9<", "vhd", "user", "", "19700101T00:00:00Z", true, true, false };
    const char *key;
    void *value;

    if (size < MGT_HEAD) return 0;
    MUST(m.fd >= 0 && write(m.fd, data, size) == (ssize_t)size);
    const char *about = mgt_about(&sm, (const char *)data, "name_label");
    MUST(utf8_valid(about, strlen(about)));
    if ((m.length = read_length(&m)) < 0) return 0;
    MUST(m.length >= MGT_HEAD && m.length <= m.size);
    struct map *before = mgt_read(&m);
    for (size_t at = 0; map_next(before, &at, &key, &value);) check(value);
    map_free(before);
    if (mgt_add(&m, &ours, &err)) return 0;
    struct map *after = mgt_read(&m);
    MUST(map_get(after, UUID));
    map_free(after);
    MUST(mgt_drop(&m, UUID, &err) == 0);
    return 0;
}
