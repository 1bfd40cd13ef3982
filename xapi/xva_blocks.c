/* The tar of an XVA: files, and disks as a file for each MiB with its checksum.
 * Called by: xva_export.c, xva_import.c, http/tar_stream.c.  Calls: lib/tar, storage/content. */
#include "xapi/xva_blocks.h"

#include <ctype.h>
#include <openssl/evp.h>
#include <stdio.h>

#include "gen/errors.h"
#include "lib/clock.h"
#include "lib/num.h"
#include "lib/xxh64.h"

enum { QUIET_S = 5, SHA1_BYTES = 20 };

/* ---- writing ------------------------------------------------------------------------------------ */

/* A file as it stands in the archive, written before and behind its n bytes. Returns its length. */
static size_t frame_file(char *head, const char *name, size_t n)
{
    tar_header(head, name, (int64_t)n);
    memset(head + TAR_BLOCK + n, 0, tar_padding((int64_t)n));
    return TAR_BLOCK + n + tar_padding((int64_t)n);
}

static int put(struct xva_out *o, const char *p, size_t n, struct xerr *err)
{
    o->quiet_since = clock_monotonic_ns();
    return o->write(o->arg, p, n, err);
}

int xva_put_text(struct xva_out *o, const char *name, const struct strbuf *text, struct xerr *err)
{
    char *file = arena_alloc(o->c->arena, text->len + 2 * TAR_BLOCK);

    memcpy(file + TAR_BLOCK, text->ptr, text->len);
    return put(o, file, frame_file(file, name, text->len), err);
}

/* As old files and some tools have it. */
static void sha1_text(const void *p, size_t n, char ret[2 * SHA1_BYTES + 1])
{
    unsigned char sum[EVP_MAX_MD_SIZE];

    if (EVP_Digest(p, n, sum, NULL, EVP_sha1(), NULL) != 1) abort();
    for (size_t i = 0; i < SHA1_BYTES; i++) snprintf(ret + 2 * i, 3, "%02x", (unsigned)sum[i]);
}

/* Header and block, and then padding, the checksum's header, the checksum: written as one piece, because a small write
 * would be a record of TLS by itself. */
enum { FRAMED_BLOCK = TAR_BLOCK + XVA_BLOCK + 3 * TAR_BLOCK };

/* framed: the n bytes of the block stand behind room for the header. */
static int put_block(struct xva_out *o, const char *folder, int64_t number, char framed[FRAMED_BLOCK], size_t n, struct xerr *err)
{
    char name[64], sum[2 * SHA1_BYTES + 1];

    snprintf(name, sizeof(name), "%s/%08lld", folder, (long long)number);
    if (o->sha1) sha1_text(framed + TAR_BLOCK, n, sum);
    else snprintf(sum, sizeof(sum), "%016llX", (unsigned long long)xxh64(framed + TAR_BLOCK, n));
    const size_t len = frame_file(framed, name, n), sum_len = strlen(sum);
    snprintf(name, sizeof(name), "%s/%08lld.%s", folder, (long long)number, o->sha1 ? "checksum" : "xxhash");
    memcpy(framed + len + TAR_BLOCK, sum, sum_len);
    return put(o, framed, len + frame_file(framed + len, name, sum_len), err);
}

int xva_put_blocks(struct xva_out *o, const char *folder, struct content *k, struct xerr *err)
{
    int64_t size = content_size(k), last = (size - 1) / XVA_BLOCK;
    char *framed = arena_alloc(o->c->arena, FRAMED_BLOCK), *data = framed + TAR_BLOCK;

    for (int64_t i = 0; size && i <= last; i++) {
        int64_t at = i * XVA_BLOCK;
        size_t n = size - at < XVA_BLOCK ? (size_t)(size - at) : XVA_BLOCK;
        if (call_check_cancel(o->c, err) || content_read_on(k, data, n, at, err)) return -1;
        bool zero = i != 0 && i != last && content_is_zero(data, n);
        bool quiet = clock_monotonic_ns() - o->quiet_since > QUIET_S * NS_PER_S;
        if (!zero && put_block(o, folder, i, framed, n, err)) return -1;
        /* So that the other side does not take a large hole for a dead connection. */
        if (zero && quiet && put_block(o, folder, i, framed, 0, err)) return -1;
        o->done += (int64_t)n;
        call_progress(o->c, (double)o->done / (double)o->total);
    }
    return 0;
}

int xva_put_end(struct xva_out *o, struct xerr *err)
{
    static const char end[2 * TAR_BLOCK];

    return o->write(o->arg, end, sizeof(end), err);
}

/* ---- reading ------------------------------------------------------------------------------------ */

int xva_tar_error(struct xva_in *in, enum tar_result r, struct xerr *err)
{
    if (call_check_cancel(in->c, err)) return -1;
    if (r == TAR_CUT || r == TAR_END) return xerr_import_error_premature_eof(err);
    return xerr_import_error(err, r == TAR_BAD ? "this is no tar archive" : "the body stopped coming");
}

size_t xva_block_name(const char *name, int64_t *ret_number)
{
    const char *slash = strrchr(name, '/');

    if (!slash || !isdigit((unsigned char)slash[1]) || !num_parse_int(slash + 1, ret_number)) return 0;
    return (size_t)(slash - name);
}

static bool is_sha1(const struct xva_in *in, size_t n, const char *text)
{
    char hex[2 * SHA1_BYTES + 1];

    sha1_text(in->block, n, hex);
    return !strcasecmp(hex, text);
}

static bool is_xxhash(const struct xva_in *in, size_t n, const char *text)
{
    char *end;

    return strtoull(text, &end, 16) == xxh64(in->block, n) && !*end;
}

/* The file behind a block is its checksum. */
static int check_sum(struct xva_in *in, const char *name, size_t n, struct xerr *err)
{
    struct tar_entry e;
    char text[2 * SHA1_BYTES + 1] = "";
    enum tar_result r = tar_next(&in->tar, &e);

    if (r != TAR_ENTRY) return xva_tar_error(in, r, err);
    size_t len = strlen(name);
    if (strncmp(e.name, name, len) != 0 ||
        (!streq(e.name + len, ".xxhash") && !streq(e.name + len, ".checksum")))
        return xerr_import_error_unexpected_file(err, arena_printf(in->c->arena, "%s.xxhash", name), e.name);
    const bool sha1 = e.name[len + 1] == 'c';
    if (e.size != (sha1 ? 2 * SHA1_BYTES : 16)) return xerr_import_error_some_checksums_failed(err);
    if ((r = tar_read(&in->tar, text, (size_t)e.size)) != TAR_ENTRY) return xva_tar_error(in, r, err);
    if (!(sha1 ? is_sha1 : is_xxhash)(in, n, text)) return xerr_import_error_some_checksums_failed(err);
    return 0;
}

int xva_get_block(struct xva_in *in, const struct tar_entry *e, struct xerr *err)
{
    if (e->size > XVA_BLOCK) return xerr_import_error(err, "a block that is larger than its disk");
    if (!in->block) in->block = arena_alloc(in->c->arena, XVA_BLOCK);
    enum tar_result r = tar_read(&in->tar, in->block, (size_t)e->size);
    if (r != TAR_ENTRY) return xva_tar_error(in, r, err);
    return check_sum(in, e->name, (size_t)e->size, err);
}
