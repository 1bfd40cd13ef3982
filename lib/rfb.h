/* What a screen shows now: one whole frame from an RFB (VNC) server.
 * Called by: xapi/http/screenshot.c.  Calls: stream. */
#ifndef LIB_RFB_H
#define LIB_RFB_H

#include "lib/stream.h"

enum { RFB_MAX_SIDE = 8192, RFB_MAX_PIXELS = 4096 * 4096 };

struct rfb_frame {
    unsigned width, height;
    uint8_t *pixels;    /* rows from the top, four bytes each: blue, green, red, none */
};

/* Talks RFB 3.8 without a password on a fresh connection, as a viewer beside others. free(pixels). 0, or -1 + errno:
 * ETIMEDOUT, EPIPE, EACCES (it wants a password), EFBIG (larger than the limits above), EPROTO.
 * RFC 6143 */
int rfb_read_frame(struct stream *s, int timeout_ms, struct rfb_frame *ret_frame);

#endif
