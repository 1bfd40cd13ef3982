/* The management volume of an LVM repository.
 * Called by: lvhd*.c.  Calls: vg. */
#include "sm/mgt.h"

#include "lib/map.h"
#include "lib/num.h"
#include "lib/strbuf.h"
#include "lib/utf8.h"
#include "lib/xmlrpc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#define HEAD_FORMAT "XSSM:%-10lld:1:2"
enum { HEAD_TEXT = 32, NAMES = MGT_SECTOR - 67 }; /* the elements around two names take 67 bytes */

static int read_at(int fd, char *p, size_t n, int64_t at)
{
    while (n) {
        ssize_t got = pread(fd, p, n, at);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return -1;
        p += got;
        at += got;
        n -= (size_t)got;
    }
    return 0;
}

/* Text into a sector, spaces behind it. */
static int write_sector(struct mgt *m, const char *text, int64_t at)
{
    char sector[MGT_SECTOR];
    const size_t n = strlen(text);

    memset(sector, ' ', sizeof(sector));
    memcpy(sector, text, n < sizeof(sector) ? n : sizeof(sector));
    return pwrite(m->fd, sector, sizeof(sector), at) == (ssize_t)sizeof(sector) ? 0 : -1;
}

static int write_length(struct mgt *m, int64_t length)
{
    char text[HEAD_TEXT];

    snprintf(text, sizeof(text), HEAD_FORMAT, (long long)length);
    if (write_sector(m, text, 0)) return -1;
    m->length = length;
    return 0;
}

/* ---- text ---------------------------------------------------------------------------------- */

/* The text of an element, with entities as they stand. False when there is none. The records are flat and ours to cut: a
 * disk whose record makes no sense is one without notes. */
static bool find_element(const char *record, size_t len, const char *tag, const char **ret_text,
                         size_t *ret_len)
{
    char open[32], close[32];
    const int n_open = snprintf(open, sizeof(open), "<%s>", tag),
              n_close = snprintf(close, sizeof(close), "</%s>", tag);
    const char *from = memmem(record, len, open, (size_t)n_open);

    if (!from) return false;
    from += n_open;
    const char *to = memmem(from, len - (size_t)(from - record), close, (size_t)n_close);
    if (!to) return false;
    *ret_text = from;
    *ret_len = (size_t)(to - from);
    return true;
}

static const char *plain_text(struct sm *sm, const char *record, size_t len, const char *tag)
{
    static const struct {
        const char *entity;
        char c;
    } entities[] = {
        { "&amp;", '&' }, { "&lt;", '<' }, { "&gt;", '>' }, { "&quot;", '"' }, { "&apos;", '\'' }
    };
    const char *text;
    size_t n, out = 0;

    if (!find_element(record, len, tag, &text, &n)) return "";
    char *plain = arena_zalloc(sm->arena, n + 1);
    for (size_t i = 0; i < n; i++) {
        plain[out++] = text[i];
        for (size_t k = 0; text[i] == '&' && k < ARRAY_SIZE(entities); k++) {
            const size_t width = strlen(entities[k].entity);
            if (width > n - i || memcmp(text + i, entities[k].entity, width) != 0) continue;
            plain[out - 1] = entities[k].c;
            i += width - 1;
            break;
        }
    }
    plain[out] = '\0';
    return strlen(plain) == out && utf8_valid(plain, out) ? plain : "";
}

/* Escaped, and at most n bytes long: whole characters, whole entities. */
static void put_name(struct strbuf *b, const char *name, size_t n)
{
    _cleanup_strbuf_ struct strbuf text = STRBUF_INIT;
    size_t take = strlen(name);

    for (;; take--) {
        if (take && ((unsigned char)name[take] & 0xc0) == 0x80) continue;
        strbuf_clear(&text);
        xmlrpc_encode_text(name, take, &text);
        if (text.len <= n) break;
    }
    strbuf_str(b, strbuf_cstr(&text));
}

/* ---- the volume ---------------------------------------------------------------------------- */

/* Up to the end of the last whole record: one added behind half of another would be read by nobody. */
static int64_t read_length(struct mgt *m)
{
    char head[HEAD_TEXT] = "";
    int64_t length = 0;

    if (read_at(m->fd, head, sizeof(head) - 1, 0) || !has_prefix(head, "XSSM:")) return -1;
    char *text = head + 5;
    text[strcspn(text, " :")] = '\0';
    if (!num_parse_int(text, &length) || length < MGT_HEAD || length > m->size) return -1;
    return length - (length - MGT_HEAD) % MGT_VDI;
}

static bool open_volume(struct vg *vg, struct mgt *m)
{
    m->sm = vg->sm;
    m->fd = open(vg_path(vg, MGT_NAME), O_RDWR | O_CLOEXEC);
    if (m->fd < 0) return false;
    m->size = lseek(m->fd, 0, SEEK_END);
    return m->size >= MGT_HEAD;
}

void mgt_close(struct mgt *m) { close_fdp(&m->fd); }

void mgt_open(struct vg *vg, struct mgt *ret_mgt)
{
    struct mgt m = MGT_INIT;

    if (!open_volume(vg, &m) || (m.length = read_length(&m)) < 0) {
        mgt_close(&m);
        m.fd = -1;
    }
    *ret_mgt = m;
}

int mgt_format(struct vg *vg, const char *allocation, struct xerr *err)
{
    _cleanup_mgt_ struct mgt m = MGT_INIT;
    const char *about =
        arena_printf(vg->sm->arena, "<?xml version=\"1.0\" ?><uuid>%s</uuid><allocation>%s</allocation>",
                     vg->sm->sr_uuid, allocation);

    if (!open_volume(vg, &m) || write_sector(&m, about, MGT_SECTOR) ||
        write_sector(&m, "<name_label></name_label>", 2 * MGT_SECTOR) ||
        write_sector(&m, "<name_description></name_description>", 3 * MGT_SECTOR) ||
        write_length(&m, MGT_HEAD) || fsync(m.fd))
        return sm_fail_errno(err, SM_METADATA, "cannot write %s", vg_path(vg, MGT_NAME));
    return 0;
}

/* Everything that is in use, from the arena; NULL when it cannot be read. */
static char *read_all(struct mgt *m)
{
    char *all = m->fd < 0 ? NULL : arena_alloc(m->sm->arena, (size_t)m->length);

    return all && read_at(m->fd, all, (size_t)m->length, 0) == 0 ? all : NULL;
}

const char *mgt_about(struct sm *sm, const char head[MGT_HEAD], const char *element)
{
    return has_prefix(head, "XSSM:") ? plain_text(sm, head + MGT_SECTOR, MGT_HEAD - MGT_SECTOR, element) : "";
}

struct map *mgt_read(struct mgt *m)
{
    struct map *by_uuid = map_new();
    const char *all = read_all(m);

    for (int64_t at = MGT_HEAD; all && at + MGT_VDI <= m->length; at += MGT_VDI) {
        const char *record = all + at;
        struct mgt_vdi *vdi = arena_alloc(m->sm->arena, sizeof(*vdi));
        if (streq(plain_text(m->sm, record, MGT_VDI, "deleted"), "1")) continue;
        *vdi = (struct mgt_vdi){
            .uuid = plain_text(m->sm, record, MGT_VDI, "uuid"),
            .name_label = plain_text(m->sm, record, MGT_VDI, "name_label"),
            .name_description = plain_text(m->sm, record, MGT_VDI, "name_description"),
            .vdi_type = plain_text(m->sm, record, MGT_VDI, "vdi_type"),
            .type = plain_text(m->sm, record, MGT_VDI, "type"),
            .snapshot_of = plain_text(m->sm, record, MGT_VDI, "snapshot_of"),
            .snapshot_time = plain_text(m->sm, record, MGT_VDI, "snapshot_time"),
            .is_a_snapshot = streq(plain_text(m->sm, record, MGT_VDI, "is_a_snapshot"), "1"),
            .managed = !streq(plain_text(m->sm, record, MGT_VDI, "managed"), "0"),
            .read_only = streq(plain_text(m->sm, record, MGT_VDI, "read_only"), "1"),
        };
        if (*vdi->uuid) map_put(by_uuid, vdi->uuid, vdi);
    }
    return by_uuid;
}

/* ---- changes ------------------------------------------------------------------------------- */

/* Where the record with this element is; 0 = nowhere. */
static int64_t find_record(const char *all, int64_t length, const char *element_text)
{
    for (int64_t at = MGT_HEAD; all && at + MGT_VDI <= length; at += MGT_VDI)
        if (memmem(all + at + MGT_SECTOR, MGT_SECTOR, element_text, strlen(element_text))) return at;
    return 0;
}

static int write_record(struct mgt *m, const struct mgt_vdi *v, bool deleted, int64_t at)
{
    _cleanup_strbuf_ struct strbuf names = STRBUF_INIT, rest = STRBUF_INIT;
    const size_t half = NAMES / 2;

    strbuf_str(&names, "<vdi><name_label>");
    put_name(&names, v->name_label, half);
    strbuf_str(&names, "</name_label><name_description>");
    put_name(&names, v->name_description, half);
    strbuf_str(&names, "</name_description>");
    strbuf_printf(
        &rest,
        "<uuid>%s</uuid><is_a_snapshot>%d</is_a_snapshot><snapshot_of>%s</snapshot_of>"
        "<snapshot_time>%s</snapshot_time><type>%s</type><vdi_type>%s</vdi_type><read_only>%d</read_only>"
        "<managed>%d</managed><metadata_of_pool></metadata_of_pool><deleted>%d</deleted></vdi>",
        v->uuid, v->is_a_snapshot, v->snapshot_of, v->snapshot_time, v->type, v->vdi_type, v->read_only,
        v->managed, deleted);
    return write_sector(m, strbuf_cstr(&names), at) || sm_step("sm.notes-half") ||
                   write_sector(m, strbuf_cstr(&rest), at + MGT_SECTOR) || sm_step("sm.notes-written")
               ? -1
               : 0;
}

int mgt_add(struct mgt *m, const struct mgt_vdi *vdi, struct xerr *err)
{
    if (m->fd < 0) return 0;
    int64_t at = m->length;
    if (at + MGT_VDI > m->size) at = find_record(read_all(m), m->length, "<deleted>1</deleted>");
    if (!at) return sm_fail(err, SM_METADATA, "the management volume has no room for another disk");
    if (write_record(m, vdi, false, at) || (at == m->length && write_length(m, at + MGT_VDI)) ||
        fdatasync(m->fd))
        return sm_fail_errno(err, SM_METADATA, "cannot write the management volume");
    return 0;
}

int mgt_drop(struct mgt *m, const char *uuid, struct xerr *err)
{
    const char *all = read_all(m);
    const int64_t at = find_record(all, m->length, arena_printf(m->sm->arena, "<uuid>%s</uuid>", uuid));
    const struct mgt_vdi gone = { .uuid = uuid,
                                  .name_label = "",
                                  .name_description = "",
                                  .vdi_type = "vhd",
                                  .type = "user",
                                  .snapshot_of = "",
                                  .snapshot_time = "" };

    if (!at) return 0;
    int rc = at + MGT_VDI == m->length ? write_length(m, at) : write_record(m, &gone, true, at);
    return rc || fdatasync(m->fd) ? sm_fail_errno(err, SM_METADATA, "cannot write the management volume") : 0;
}
