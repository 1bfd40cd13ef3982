/* The content of one disk over HTTP.
 * Called by: the HTTP server, on threads of their own.  Calls: storage/content, vdi, transfer.
 *
 * Raw bytes, VHDs and the tar of an XVA go straight from the image to the client, raw bytes and the tar back as well. Other
 * images have their tables where they like, so they are made and read in a file below ROOT/tmp. */
#define LOG_MODULE "http"
#include "xapi/http/raw_vdi.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "gen/methods.h"
#include "lib/log.h"
#include "lib/subproc.h"
#include "xapi/http/http_auth.h"
#include "xapi/http/tar_stream.h"
#include "xapi/http/transfer.h"
#include "xapi/http/vhd_stream.h"
#include "xapi/report.h"
#include "xapi/storage/content.h"
#include "xapi/sr.h"
#include "xapi/unfinished.h"

enum { PIECE = 1 << 20, STEP_MS = 60000, QEMU_IMG_MS = 600000 };
static const int64_t VHD_MOST = INT64_C(2040) << 30;

static const struct format {
    const char *name, *image, *content_type; /* image: as storage_disk has it, NULL = none */
} formats[] = {
    { "raw", "raw", "application/octet-stream" },
    { "qcow2", "qcow2", "application/x-qemu-disk" },
    { "vhd", "vhd", "application/vhd" },
    { "tar", NULL, "application/x-tar" },
};

/* ---- what is asked for -------------------------------------------------------------------------- */

static const struct format *find_format(struct http_request *req)
{
    const char *name = http_query(&req->head, "format");

    if (!name || !*name) return &formats[0];
    for (size_t i = 0; i < ARRAY_SIZE(formats); i++)
        if (streq(formats[i].name, name)) return &formats[i];
    return NULL;
}

/* A reference or a uuid. */
static int find_object(struct call *c, enum class_id cls, const char *text, struct ref *ret_ref,
                       struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    struct ref ref = REF_NULL;
    const struct row *row = ref_parse(text, &ref) ? snap_get(s, cls, ref) : snap_by_uuid(s, cls, text);

    if (!row) return xerr_handle_invalid(err, cls == CLASS_VDI ? "VDI" : "SR", text);
    *ret_ref = row_ref_of(row);
    return 0;
}

struct disk_facts {
    const char *uuid;
    int64_t size;
};

static int read_facts(struct call *c, struct ref vdi, struct disk_facts *ret_facts, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_need(s, CLASS_VDI, vdi, err);

    if (!row) return -1;
    *ret_facts =
        (struct disk_facts){ arena_strdup(c->arena, row_uuid(row)), row_int(row, F_VDI_virtual_size) };
    return 0;
}

static const char *owner_of(struct call *c, const char *what)
{
    return arena_printf(c->arena, "%s-%s", what, c->task->uuid);
}

static void detach(struct call *c, struct ref vdi, const char *owner)
{
    _cleanup_xerr_ struct xerr err = XERR_INIT;

    if (vdi_detach(c, vdi, owner, &err)) {
        _cleanup_free_ char *why = xerr_text(&err);
        log_warn("disk %s stays attached after a transfer: %s", REF_STR(vdi), why);
    }
}

static bool on_progress(void *arg, double fraction)
{
    struct call *c = arg;

    call_progress(c, fraction);
    return !call_cancelled(c);
}

static bool is_cancelled(void *arg) { return call_cancelled(arg); }

static int qemu_img(struct call *c, const char *const *argv, struct xerr *err)
{
    const char *env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", NULL };
    const struct subproc_command cmd = { .argv = argv, .env = env, .cwd = "/" };
    const struct subproc_limits limits = { .timeout_ms = QEMU_IMG_MS,
                                           .cancelled = is_cancelled,
                                           .cancelled_arg = c };
    struct subproc_result r;

    if (subproc_run(&cmd, NULL, 0, &limits, &r))
        return xerr_internal(err, "cannot start qemu-img: %s", strerror(errno));
    int rc = subproc_ok(&r) ? 0 : -1;
    if (rc && call_check_cancel(c, err) == 0) {
        _cleanup_free_ char *why = subproc_describe(&r);
        content_error(err, why);
    }
    subproc_result_free(&r);
    return rc;
}

/* ---- export ------------------------------------------------------------------------------------- */

static const char *export_headers(struct http_request *req, const struct format *f, const char *uuid)
{
    return arena_printf(req->arena,
                        "Content-Type: %s\r\nContent-Disposition: attachment; filename=\"%s.%s\"\r\n"
                        "Cache-Control: no-cache, no-store\r\n",
                        f->content_type, uuid, f->name);
}

static int send_raw(struct http_request *req, struct call *c, const struct storage_disk *disk,
                    const char *headers, bool *ret_started, struct xerr *err)
{
    char *buf = arena_alloc(req->arena, PIECE);
    struct content *k;
    int rc = 0;

    if (content_open(c->agent->storage, disk, &k, err)) return -1;
    int64_t size = content_size(k);
    headers = arena_printf(req->arena, "Content-Length: %lld\r\n%s", (long long)size, headers);
    *ret_started = true;
    if (http_stream_head(req, 200, headers)) rc = content_error(err, "the client has gone");
    for (int64_t at = 0; !rc && at < size; at += PIECE) {
        size_t n = size - at < PIECE ? (size_t)(size - at) : PIECE;
        rc = call_check_cancel(c, err) ? -1 : content_read_on(k, buf, n, at, err);
        if (!rc && at + (int64_t)n == size)
            http_stream_last(req, buf, n);
        else if (!rc && stream_write(http_stream(req), buf, n, STEP_MS))
            rc = content_error(err, "the client has gone");
        call_progress(c, (double)at / (double)size);
    }
    content_close(k);
    return rc;
}

/* The image as a file of the other format, which is then sent. */
static int make_image(struct call *c, const struct storage_disk *disk, const struct format *f, int64_t size,
                      const char *path, struct xerr *err)
{
    const char *bytes = arena_printf(c->arena, "%lld", (long long)size);
    const char *argv[] = { "qemu-img", "create", "-q", "-f", f->image, "-o", "compat=1.1", path, bytes, NULL };
    struct storage_copy copy = {
        .from = *disk,
        .to = { .path = path, .format = f->image, .writable = true },
        .target_is_zero = true,
        .task = c->task->ref,
        .progress = on_progress,
        .arg = c,
    };

    return qemu_img(c, argv, err) ? -1 : storage_copy(c->agent->storage, &copy, err);
}

static int send_image(struct http_request *req, struct call *c, const struct storage_disk *disk,
                      const struct format *f, const struct disk_facts *facts, const char *headers,
                      bool *ret_started, struct xerr *err)
{
    const char *folder;

    if (report_folder(c, &folder, err)) return -1;
    const char *path = arena_printf(c->arena, "%s/image", folder);
    int rc = make_image(c, disk, f, facts->size, path, err);
    int fd = rc ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    report_remove_folder(folder);
    if (rc) return rc;
    if (fd < 0) return xerr_internal(err, "%s: %s", path, strerror(errno));
    rc = transfer_send_file(req, fd, headers, ret_started, err);
    close(fd);
    return rc;
}

/* A disk that is attached for reading as long as it is sent. */
struct opened {
    struct ref vdi;
    struct disk_facts facts;
    const char *owner;
    struct storage_disk disk;
};

static int open_disk(struct call *c, const char *text, const char *what, struct opened *ret_disk, struct xerr *err)
{
    struct opened o = { .owner = owner_of(c, what) };

    if (find_object(c, CLASS_VDI, text, &o.vdi, err) || read_facts(c, o.vdi, &o.facts, err) ||
        vdi_attach(c, o.vdi, o.owner, false, &o.disk, err))
        return -1;
    o.disk.writable = false;
    *ret_disk = o;
    return 0;
}

/* All of the disk, or with base_uuid what it has else than that one: base's content, unless changes say where. */
static int send_vhd(struct http_request *req, struct call *c, const struct opened *o, const char *base_uuid,
                    const struct opened *base, const struct storage_changes *changes, const char *headers, bool *ret_started,
                    struct xerr *err)
{
    struct vhd_source disk = { .uuid = o->facts.uuid }, on = { .uuid = base_uuid };

    if (o->facts.size > VHD_MOST) return xerr_invalid_value(err, "format", "vhd");
    if (content_open(c->agent->storage, &o->disk, &disk.content, err)) return -1;
    int rc = base ? content_open(c->agent->storage, &base->disk, &on.content, err) : 0;
    if (!rc) rc = vhd_stream_send(req, c, &disk, *base_uuid ? &on : NULL, changes, headers, ret_started, err);
    content_close(on.content);
    content_close(disk.content);
    return rc;
}

static int send_delta(struct http_request *req, struct call *c, const struct opened *o, const char *base_text,
                      const char *headers, bool *ret_started, struct xerr *err)
{
    struct storage_changes changes = { .bits = NULL };
    struct disk_facts facts;
    struct opened base;
    struct ref vdi;

    if (find_object(c, CLASS_VDI, base_text, &vdi, err) || read_facts(c, vdi, &facts, err)) return -1;
    vdi_find_changes(c, o->vdi, vdi, &changes);
    if (changes.bits) return send_vhd(req, c, o, facts.uuid, NULL, &changes, headers, ret_started, err);
    if (open_disk(c, base_text, "export-base", &base, err)) return -1;
    int rc = send_vhd(req, c, o, facts.uuid, &base, &changes, headers, ret_started, err);
    detach(c, base.vdi, base.owner);
    return rc;
}

static int send_tar(struct http_request *req, struct call *c, const struct storage_disk *disk, const char *headers,
                    bool *ret_started, struct xerr *err)
{
    struct content *k;

    if (content_open(c->agent->storage, disk, &k, err)) return -1;
    int rc = tar_stream_send(req, c, k, headers, ret_started, err);
    content_close(k);
    return rc;
}

static int send_disk(struct http_request *req, struct call *c, const struct format *f, const struct opened *o,
                     const char *base_text, bool *ret_started, struct xerr *err)
{
    const char *headers = export_headers(req, f, o->facts.uuid);
    const struct storage_changes all = { .bits = NULL };

    if (streq(f->name, "raw")) return send_raw(req, c, &o->disk, headers, ret_started, err);
    if (streq(f->name, "tar")) return send_tar(req, c, &o->disk, headers, ret_started, err);
    if (!streq(f->name, "vhd")) return send_image(req, c, &o->disk, f, &o->facts, headers, ret_started, err);
    if (!*base_text) return send_vhd(req, c, o, "", NULL, &all, headers, ret_started, err);
    return send_delta(req, c, o, base_text, headers, ret_started, err);
}

static int export(struct http_request *req, struct call *c, const struct format *f, bool *ret_started,
                  struct xerr *err)
{
    const char *base = http_query(&req->head, "base"), *text = http_query(&req->head, "vdi");
    struct opened o;

    if (!base) base = "";
    if (*base && !streq(f->name, "vhd")) return xerr_invalid_value(err, "base", base);
    if (open_disk(c, text ? text : "", "export", &o, err)) return -1;
    int rc = send_disk(req, c, f, &o, base, ret_started, err);
    detach(c, o.vdi, o.owner);
    return rc;
}

void get_export_raw_vdi(struct http_request *req, struct call *c, struct xerr *err)
{
    const struct format *f = find_format(req);
    bool started = false;

    if (!f)
        xerr_invalid_value(err, "format", http_query(&req->head, "format"));
    else
        export(req, c, f, &started, err);
    http_call_end(c, NULL, err);
    if (err->code && !started) transfer_refuse(req, f ? 400 : 404, err);
}

/* ---- import ------------------------------------------------------------------------------------- */

struct upload {
    struct http_request *req;
    struct call *c;
    const struct format *format;
    int64_t length;     /* as announced; -1 when it is not known */
    struct ref vdi, sr; /* into vdi; when that is null, into a new one in sr */
    struct disk_facts facts;
    bool made;
};

/* More of the body, as much as fits. *ret_n less than n: it ended here, as announced or with *ret_cut. */
static int take(struct upload *u, char *buf, size_t n, size_t *ret_n, bool *ret_cut, struct xerr *err)
{
    size_t have = 0;

    while (have < n) {
        ssize_t got = http_body_read(u->req, buf + have, n - have, STEP_MS);
        if (call_check_cancel(u->c, err)) return -1;
        if (got < 0 && errno != EPIPE && errno != ECONNRESET)
            return content_error(err, "the body stopped coming");
        if (got < 0) *ret_cut = true;
        if (got <= 0) break;
        have += (size_t)got;
    }
    *ret_n = have;
    return 0;
}

static int write_piece(struct upload *u, struct content *k, const char *buf, size_t n, int64_t at,
                       struct xerr *err)
{
    if (at < 0 || at > content_size(k) || (int64_t)n > content_size(k) - at)
        return xerr_vdi_too_small(err, REF_STR(u->vdi),
                                  arena_printf(u->c->arena, "%lld", (long long)at + (long long)n));
    if (content_write(k, buf, n, at, u->made, err)) return -1;
    call_progress(u->c, (double)at / (double)content_size(k));
    return 0;
}

/* The first piece is in buf already. Bytes beyond the end of the disk are an error, and so is a body that is
 * cut before that end. */
static int receive_plain(struct upload *u, struct content *k, char *buf, size_t n, bool cut, struct xerr *err)
{
    int64_t at = 0;

    while (n) {
        if (write_piece(u, k, buf, n, at, err)) return -1;
        at += (int64_t)n;
        if (cut || n < PIECE) break;
        if (take(u, buf, PIECE, &n, &cut, err)) return -1;
    }
    return cut && at < content_size(k) ? content_error(err, "the body ended too early") : 0;
}

/* chunked: pieces {offset, length, bytes}, the last of length 0; numbers little-endian. */
struct chunk_head {
    int64_t at;
    int32_t len;
} __attribute__((packed));

static int receive_chunk(struct upload *u, struct content *k, char *buf, int64_t at, int64_t len,
                         struct xerr *err)
{
    bool cut = false;
    size_t n;

    for (int64_t done = 0; done < len; done += (int64_t)n) {
        size_t want = len - done < PIECE ? (size_t)(len - done) : PIECE;
        if (take(u, buf, want, &n, &cut, err)) return -1;
        if (n < want) return content_error(err, "the body ended too early");
        if (write_piece(u, k, buf, n, at + done, err)) return -1;
    }
    return 0;
}

static int receive_chunks(struct upload *u, struct content *k, char *buf, struct xerr *err)
{
    struct chunk_head head;
    bool cut = false;
    size_t n;

    for (;;) {
        if (take(u, (char *)&head, sizeof(head), &n, &cut, err)) return -1;
        if (n < sizeof(head)) return content_error(err, "the body ended too early");
        int64_t at = (int64_t)le64toh((uint64_t)head.at), len = (int32_t)le32toh((uint32_t)head.len);
        if (len == 0) return 0;
        if (len < 0 || at < 0 || at > INT64_MAX - len) return content_error(err, "a chunk that cannot be");
        if (receive_chunk(u, k, buf, at, len, err)) return -1;
    }
}

/* The first bytes decide whether there is a body at all: nothing is made, opened or written for a probe. */
static int make_disk(struct upload *u, struct xerr *err)
{
    struct vdi_new n = {
        .sr = u->sr,
        .name_label = "Imported VDI",
        .name_description = "",
        .virtual_size = u->length,
        .type = vdi_type_user,
    };

    if (u->length <= 0 || u->length >= TRANSFER_LENGTH_UNKNOWN)
        return xerr_import_error(err, "A disk is made of the announced length, and there was none");
    u->c->unfinished = "";
    int rc = vdi_create_internal(u->c, &n, &u->vdi, err);
    u->c->unfinished = NULL;
    if (rc) return -1;
    u->made = true;
    return read_facts(u->c, u->vdi, &u->facts, err);
}

static int receive_raw(struct upload *u, struct xerr *err)
{
    bool chunked = http_query(&u->req->head, "chunked"), cut = false;
    const char *owner = owner_of(u->c, "import");
    char *buf = arena_alloc(u->req->arena, PIECE);
    struct storage_disk disk;
    struct content *k;
    size_t n = 0;

    if (!chunked && take(u, buf, PIECE, &n, &cut, err)) return -1;
    if (!chunked && !n) return cut && u->c->task->in_db ? content_error(err, "the body ended too early") : 0;
    if (ref_is_null(u->vdi) && make_disk(u, err)) return -1;
    if (vdi_attach(u->c, u->vdi, owner, true, &disk, err)) return -1;
    int rc = content_open(u->c->agent->storage, &disk, &k, err);
    if (!rc) {
        rc = chunked ? receive_chunks(u, k, buf, err) : receive_plain(u, k, buf, n, cut, err);
        if (content_flush(k, rc ? NULL : err)) rc = -1;
        content_close(k);
    }
    detach(u->c, u->vdi, owner);
    return rc;
}

/* Here too the first entry decides whether there is a body. */
static int receive_tar(struct upload *u, struct xerr *err)
{
    const char *owner = owner_of(u->c, "import");
    struct tar_upload t = { .req = u->req, .c = u->c, .vdi = u->vdi };
    struct storage_disk disk;
    struct content *k;
    bool any;

    if (tar_stream_begin(&t, &any, err)) return -1;
    if (!any) return u->c->task->in_db ? xerr_import_error_premature_eof(err) : 0;
    if (vdi_attach(u->c, u->vdi, owner, true, &disk, err)) return -1;
    int rc = content_open(u->c->agent->storage, &disk, &k, err);
    if (!rc) {
        rc = tar_stream_apply(&t, k, err);
        if (content_flush(k, rc ? NULL : err)) rc = -1;
        content_close(k);
    }
    detach(u->c, u->vdi, owner);
    return rc;
}

/* An image is a stranger's: it must not name files of this host, and must be whole. */
static int check_image(struct call *c, int fd, int64_t size, const char *path,
                       struct xerr *err)
{
    unsigned char head[80] = "";
    const char *argv[] = { "qemu-img", "check", "-q", "-f", "qcow2", path, NULL };

    if (size < 72) return content_error(err, "the body ended too early");
    if (pread(fd, head, sizeof(head), 0) < 72 || memcmp(head, "QFI\xfb", 4) != 0)
        return content_error(err, "this is no qcow2 image");
    bool backed = memcmp(head + 8, "\0\0\0\0\0\0\0\0", 8) != 0;
    if (backed || (head[7] >= 3 && (head[79] & 4)))
        return content_error(err, "the image stands on another file");
    return qemu_img(c, argv, err);
}

static int write_qcow2(struct upload *u, const char *path, const struct storage_disk *disk, struct xerr *err)
{
    const struct storage_copy copy = {
        .from = { .path = path, .format = u->format->image },
        .to = *disk,
        .task = u->c->task->ref,
        .progress = on_progress,
        .arg = u->c,
    };

    return storage_copy(u->c->agent->storage, &copy, err);
}

static int write_vhd(struct upload *u, int fd, const struct storage_disk *disk, struct xerr *err)
{
    struct content *k;

    if (content_open(u->c->agent->storage, disk, &k, err)) return -1;
    int rc = vhd_stream_apply(u->c, fd, k, u->made, err);
    if (!rc) rc = content_flush(k, err);
    content_close(k);
    return rc;
}

static int write_image(struct upload *u, int fd, const char *path, struct xerr *err)
{
    const char *owner = owner_of(u->c, "import");
    struct storage_disk disk;

    if (vdi_attach(u->c, u->vdi, owner, true, &disk, err)) return -1;
    int rc = streq(u->format->name, "vhd") ? write_vhd(u, fd, &disk, err) : write_qcow2(u, path, &disk, err);
    detach(u->c, u->vdi, owner);
    return rc;
}

static int receive_image(struct upload *u, struct xerr *err)
{
    const int64_t limit = u->facts.size + u->facts.size / 8 + (INT64_C(64) << 20);
    const char *folder;
    int64_t size = 0;

    if (report_folder(u->c, &folder, err)) return -1;
    const char *path = arena_printf(u->c->arena, "%s/image", folder);
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int rc = fd < 0 ? xerr_internal(err, "%s: %s", path, strerror(errno))
                    : transfer_receive_file(u->req, u->c, fd, limit, &size, err);
    if (!rc && u->length > 0 && u->length < TRANSFER_LENGTH_UNKNOWN && size < u->length)
        rc = content_error(err, "the body ended too early");
    if (!rc && size && streq(u->format->name, "qcow2")) rc = check_image(u->c, fd, size, path, err);
    if (!rc && size) rc = write_image(u, fd, path, err);
    if (fd >= 0) close(fd);
    report_remove_folder(folder);
    return rc;
}

static int find_target(struct upload *u, struct xerr *err)
{
    const struct http_head *head = &u->req->head;
    const char *vdi = http_query(head, "vdi"), *sr = http_query(head, "sr_id");

    if (!sr || !*sr) sr = http_query(head, "sr_uuid");
    if (vdi && *vdi)
        return find_object(u->c, CLASS_VDI, vdi, &u->vdi, err) ? -1
                                                               : read_facts(u->c, u->vdi, &u->facts, err);
    if (!sr || !*sr) return xerr_handle_invalid(err, "VDI", "");
    if (!streq(u->format->name, "raw")) return xerr_invalid_value(err, "format", u->format->name);
    return find_object(u->c, CLASS_SR, sr, &u->sr, err);
}

/* After a failure: what we made goes. After success: the record learns the image's size. */
static void settle(struct upload *u, int rc)
{
    _cleanup_xerr_ struct xerr err = XERR_INIT;

    if (ref_is_null(u->vdi)) return;
    if (rc && !u->made) return;
    if (!rc && u->made && unfinished_end_now(u->c, u->vdi, &err)) log_warn("disk %s goes at the next start: %s", REF_STR(u->vdi), err.code);
    if (rc ? vdi_destroy(u->c, u->vdi, &err) : vdi_update(u->c, u->vdi, &err)) {
        _cleanup_free_ char *text = xerr_text(&err);
        log_warn("disk %s after an import: %s", REF_STR(u->vdi), text);
    }
}

/* 1. 200, for which clients wait; 2. the body; 3. the task, before the connection ends. A probe has no
 * task and no body. */
void put_import_raw_vdi(struct http_request *req, struct call *c, struct xerr *err)
{
    struct upload u = { .req = req, .c = c, .format = find_format(req), .length = http_body_left(req) };

    if (!u.format) xerr_invalid_value(err, "format", http_query(&req->head, "format"));
    if (!u.format || find_target(&u, err)) {
        http_call_end(c, NULL, err);
        transfer_refuse(req, u.format ? 400 : 404, err);
        return;
    }
    if (!transfer_begin_upload(req, err) && u.length != 0) {
        int rc = streq(u.format->name, "raw")   ? receive_raw(&u, err)
                 : streq(u.format->name, "tar") ? receive_tar(&u, err)
                                                : receive_image(&u, err);
        settle(&u, rc);
    }
    const struct value result = value_ref(u.vdi);
    http_call_end(c, ref_is_null(u.vdi) ? NULL : &result, err);
}
