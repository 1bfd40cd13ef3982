/* GET /vncsnapshot: what a VM's screen shows, as JPEG.
 * Called by: the route table.  Calls: console, rfb, jpeg. */
#include "xapi/http/screenshot.h"

#include <errno.h>

#include "lib/jpeg.h"
#include "lib/rfb.h"
#include "xapi/http/console.h"
#include "xapi/http/transfer.h"

enum { FRAME_MS = 10000, SEND_MS = 60000, QUALITY = 85 };

static int take_picture(struct call *c, const struct console_target *t, struct strbuf *out, struct xerr *err)
{
    struct stream guest;
    struct rfb_frame frame;

    if (t->which != HV_CONSOLE_VNC)
        return xerr_operation_not_allowed(err, "This VM has no screen, only a text console");
    if (console_open(c, t, &guest, err)) return -1;
    int rc = rfb_read_frame(&guest, FRAME_MS, &frame);
    int why = errno;
    stream_close(&guest);
    if (rc) return xerr_internal(err, "the screen of VM %s: %s", t->uuid, strerror(why));
    jpeg_write(frame.pixels, frame.width, frame.height, QUALITY, out);
    free(frame.pixels);
    return 0;
}

static void send_picture(struct http_request *req, const struct strbuf *jpeg, struct xerr *err)
{
    const char *headers = arena_printf(req->arena, "Content-Type: image/jpeg\r\nContent-Length: %zu\r\n"
                                       "Cache-Control: no-cache, no-store\r\n", jpeg->len);

    if (http_stream_head(req, 200, headers) || stream_write(http_stream(req), jpeg->ptr, jpeg->len, SEND_MS))
        xerr_internal(err, "the client has gone: %s", strerror(errno));
}

void get_vncsnapshot(struct http_request *req, struct call *c, struct xerr *err)
{
    _cleanup_strbuf_ struct strbuf jpeg = STRBUF_INIT;
    struct console_target target;

    if (console_find(req, c, &target, err)) return;
    if (take_picture(c, &target, &jpeg, err)) transfer_refuse(req, 503, err);
    else send_picture(req, &jpeg, err);
}
