/* GET and PUT /blob: the bytes of a blob, named by ref or uuid. A public one is given to everybody.
 * Called by: the HTTP server, on threads of their own.  Calls: blob, transfer, http_auth. */
#include "xapi/http/blob.h"

#include <errno.h>
#include <fcntl.h>

#include "lib/conf.h"
#include "xapi/blob.h"
#include "xapi/http/http_auth.h"
#include "xapi/http/transfer.h"

struct found {
    struct ref ref;
    const char *path, *mime_type;
    bool public;
};

/* The blob that the query names. Text in the request's arena. */
static bool find(struct http_request *req, const struct agent *agent, struct found *ret)
{
    const char *ref_name = http_query(&req->head, "ref"), *uuid = http_query(&req->head, "uuid");
    _cleanup_snap_ struct snap *s = db_snap(agent->db);
    const struct row *row = NULL;
    struct ref ref;

    if (ref_name && ref_parse(ref_name, &ref)) row = snap_get(s, CLASS_blob, ref);
    if (!row && uuid) row = snap_by_uuid(s, CLASS_blob, uuid);
    if (!row) return false;
    *ret = (struct found){ row_ref_of(row), blob_path(agent, req->arena, row_uuid(row)),
                           arena_strdup(req->arena, row_str(row, F_blob_mime_type)),
                           row_bool(row, F_blob_public) };
    return true;
}

/* A blob that nobody has written yet is empty. */
static int send_blob(struct http_request *req, const struct found *blob, struct xerr *err)
{
    _cleanup_close_ int fd = open(blob->path, O_RDONLY | O_CLOEXEC);
    const char *headers =
        arena_printf(req->arena, "Content-Type: %s\r\nX-Content-Type-Options: nosniff\r\n", blob->mime_type);
    bool started;

    if (fd < 0 && errno == ENOENT) {
        struct http_reply r = { .status = 200, .content_type = blob->mime_type, .close = true };
        http_reply(req, &r);
        return 0;
    }
    if (fd < 0) {
        xerr_internal(err, "%s: %s", blob->path, strerror(errno));
        transfer_refuse(req, 500, err);
        return -1;
    }
    if (!transfer_send_file(req, fd, headers, &started, err)) return 0;
    if (!started) transfer_refuse(req, 500, err);
    return -1;
}

/* What the request calls the blob. */
static const char *named(const struct http_request *req)
{
    const char *ref = http_query(&req->head, "ref"), *uuid = http_query(&req->head, "uuid");

    return ref && *ref ? ref : uuid ? uuid : "";
}

void get_blob(struct http_request *req, struct call *c, struct xerr *err)
{
    struct found blob;
    bool there = find(req, c->agent, &blob);

    /* Whether a blob is there is told to those only who may see it. */
    if (!http_call_known(c) && !(there && blob.public)) {
        xerr_session_invalid(err, "");
        http_reply_refused(req, err);
    } else if (there) {
        send_blob(req, &blob, err);
    } else {
        xerr_handle_invalid(err, "blob", named(req));
        transfer_refuse(req, 404, err);
    }
}

/* 1. 200; 2. the body into a file of its own; 3. which then is the blob's. */
static int take_blob(struct http_request *req, struct call *c, const struct found *blob, struct xerr *err)
{
    char *temporary = arena_printf(req->arena, "%s.XXXXXX", blob->path);
    int64_t size;

    if (transfer_begin_upload(req, err)) return -1;
    _cleanup_close_ int fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0) return xerr_internal(err, "%s: %s", temporary, strerror(errno));
    if (!transfer_receive_file(req, c, fd, conf_bytes(c->agent->conf, "blob-limit"), &size, err))
        return blob_replace(c, blob->ref, temporary, size, err);
    unlink(temporary);
    return -1;
}

void put_blob(struct http_request *req, struct call *c, struct xerr *err)
{
    struct found blob;

    if (find(req, c->agent, &blob)) {
        take_blob(req, c, &blob, err);
    } else {
        xerr_handle_invalid(err, "blob", named(req));
        transfer_refuse(req, 404, err);
    }
}
