/* Class pool: the certificates that UEFI guests trust.
 * Called by: the generated thunks (schema/pool.xml).  Calls: lib/tar, lib/base64, db/.
 *
 * They come as the base64 of a tar with PK.auth, KEK.auth, db.auth and dbx.auth, signed lists as the firmware takes them. */
#include "gen/methods.h"
#include "lib/base64.h"
#include "lib/limits.h"
#include "lib/tar.h"
#include "xapi/host.h"

enum { HAS_PK = 1, HAS_KEK = 2, HAS_DB = 4, HAS_DBX = 8 };

static const struct {
    const char *name;
    unsigned has;
} files[] = { { "PK.auth", HAS_PK }, { "KEK.auth", HAS_KEK }, { "db.auth", HAS_DB }, { "dbx.auth", HAS_DBX } };

struct bytes {
    const char *p;
    size_t n;
};

static ssize_t read_bytes(void *arg, void *buf, size_t n)
{
    struct bytes *b = arg;

    if (n > b->n) n = b->n;
    memcpy(buf, b->p, n);
    b->p += n;
    b->n -= n;
    return (ssize_t)n;
}

/* Which files with content the archive has. False when it is none. */
static bool look_into(const char *text, unsigned *ret_has)
{
    _cleanup_strbuf_ struct strbuf archive = STRBUF_INIT;
    struct tar_entry e;
    enum tar_result r;

    *ret_has = 0;
    if (strlen(text) > LIMIT_UEFI_CERTIFICATES || !base64_decode(text, strlen(text), &archive) || !archive.len) return false;
    struct bytes bytes = { archive.ptr, archive.len };
    struct tar_reader tar = { .read = read_bytes, .arg = &bytes };
    while ((r = tar_next(&tar, &e)) == TAR_ENTRY) {
        const char *name = has_prefix(e.name, "./") ? e.name + 2 : e.name;
        for (size_t i = 0; i < ARRAY_SIZE(files); i++)
            if (e.size && streq(files[i].name, name)) *ret_has |= files[i].has;
    }
    return r == TAR_END;
}

/* "" = none of one's own. */
int pool_set_custom_uefi_certificates(struct call *c, struct ref self, const char *value, struct xerr *err)
{
    unsigned has = 0;

    if (pool_need_self(c, self, err)) return -1;
    if (*value && (!look_into(value, &has) || !has))
        return xerr_invalid_value(err, "value", "not the base64 of a tar with PK.auth, KEK.auth, db.auth or dbx.auth");
    struct txn *t = db_begin(c->agent->db);
    txn_set_str(t, self, F_pool_custom_uefi_certificates, value);
    return db_commit(t, err);
}

int pool_set_uefi_certificates(struct call *c, struct ref self, const char *value, struct xerr *err)
{
    (void)value;
    if (pool_need_self(c, self, err)) return -1;
    return xerr_operation_not_allowed(err, "Use pool.set_custom_uefi_certificates");
}

/* Without a list of what is revoked (dbx) guests start, too. */
int pool_get_guest_secureboot_readiness(struct call *c, struct ref self, enum pool_guest_secureboot_readiness *ret_result,
                                        struct xerr *err)
{
    const unsigned needed = HAS_PK | HAS_KEK | HAS_DB;
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *pool = snap_need(s, CLASS_pool, self, err);
    unsigned has;

    if (!pool) return -1;
    const char *own = row_str(pool, F_pool_custom_uefi_certificates);
    look_into(*own ? own : row_str(pool, F_pool_uefi_certificates), &has);
    *ret_result = (has & needed) != needed ? pool_guest_secureboot_readiness_not_ready
                  : has & HAS_DBX          ? pool_guest_secureboot_readiness_ready
                                           : pool_guest_secureboot_readiness_ready_no_dbx;
    return 0;
}
