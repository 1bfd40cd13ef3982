/* A disk as a tar over HTTP: the blocks of an XVA in a folder `vdi`, each with its checksum.
 * Called by: raw_vdi.c.  Calls: xva_blocks, transfer. */
#include "xapi/http/tar_stream.h"

#include "gen/errors.h"
#include "xapi/http/transfer.h"

#define FOLDER "vdi"
enum { STEP_MS = 60000 };

/* ---- out ---------------------------------------------------------------------------------------- */

static int send_bytes(void *arg, const void *p, size_t n, struct xerr *err)
{
    struct http_request *req = arg;

    return stream_write(http_stream(req), p, n, STEP_MS) ? content_error(err, "the client has gone") : 0;
}

int tar_stream_send(struct http_request *req, struct call *c, struct content *disk, const char *headers, bool *ret_started,
                    struct xerr *err)
{
    struct xva_out out = { .c = c, .write = send_bytes, .arg = req, .total = content_size(disk) };

    *ret_started = true;
    if (http_stream_head(req, 200, headers)) return content_error(err, "the client has gone");
    return xva_put_blocks(&out, FOLDER, disk, err) || xva_put_end(&out, err) ? -1 : 0;
}

/* ---- in ----------------------------------------------------------------------------------------- */

static ssize_t body_read(void *arg, void *buf, size_t n)
{
    struct tar_upload *t = arg;
    ssize_t got = transfer_read(t->req, t->c, NULL, buf, n);

    if (got == 0) t->ended = true;
    return got;
}

int tar_stream_begin(struct tar_upload *t, bool *ret_any, struct xerr *err)
{
    t->in = (struct xva_in){ .c = t->c, .tar = { .read = body_read, .arg = t } };
    enum tar_result r = tar_next(&t->in.tar, &t->entry);
    *ret_any = r == TAR_ENTRY;
    return r == TAR_ENTRY || (r == TAR_END && t->ended) ? 0 : xva_tar_error(&t->in, r, err);
}

/* What the archive has left out: from block *next to before block end. A disk of before may hold anything there. */
static int write_zeros(struct tar_upload *t, struct content *disk, int64_t from, int64_t end, struct xerr *err)
{
    static const char zeros[XVA_BLOCK];

    for (int64_t i = from; i < end; i++) {
        int64_t at = i * XVA_BLOCK, left = content_size(disk) - at;
        if (call_check_cancel(t->c, err)) return -1;
        if (content_write(disk, zeros, left < XVA_BLOCK ? (size_t)left : XVA_BLOCK, at, false, err)) return -1;
    }
    return 0;
}

/* One block, which is no earlier than *next. */
static int apply_block(struct tar_upload *t, struct content *disk, int64_t *next, struct xerr *err)
{
    const int64_t size = content_size(disk);
    const struct tar_entry *e = &t->entry;
    int64_t number;
    size_t folder = xva_block_name(e->name, &number);

    if (folder != strlen(FOLDER) || memcmp(e->name, FOLDER, folder) != 0)
        return xerr_import_error_unexpected_file(err, arena_printf(t->c->arena, FOLDER "/%08lld", (long long)*next), e->name);
    if (number < *next) return xerr_import_error(err, "a block that comes behind a later one");
    if (number > (size - 1) / XVA_BLOCK)
        return xerr_vdi_too_small(err, REF_STR(t->vdi), arena_printf(t->c->arena, "%lld", (long long)size));
    if (xva_get_block(&t->in, e, err)) return -1;
    if (!e->size) return 0;
    int64_t at = number * XVA_BLOCK, n = size - at < XVA_BLOCK ? size - at : XVA_BLOCK;
    if (e->size < n) memset(t->in.block + e->size, 0, (size_t)(n - e->size));
    if (write_zeros(t, disk, *next, number, err) || content_write(disk, t->in.block, (size_t)n, at, false, err)) return -1;
    *next = number + 1;
    call_progress(t->c, (double)at / (double)size);
    return 0;
}

int tar_stream_apply(struct tar_upload *t, struct content *disk, struct xerr *err)
{
    const int64_t n_blocks = (content_size(disk) + XVA_BLOCK - 1) / XVA_BLOCK;
    enum tar_result r = TAR_ENTRY;
    int64_t next = 0;

    for (; r == TAR_ENTRY; r = tar_next(&t->in.tar, &t->entry))
        if (call_check_cancel(t->c, err) || apply_block(t, disk, &next, err)) return -1;
    if (r != TAR_END || (t->ended && next < n_blocks)) return xva_tar_error(&t->in, r, err);
    return write_zeros(t, disk, next, n_blocks, err);
}
