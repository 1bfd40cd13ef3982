/* A picture as JPEG.
 * Called by: xapi/http/screenshot.c.  Calls: libjpeg. */
#ifndef LIB_JPEG_H
#define LIB_JPEG_H

#include "lib/strbuf.h"

/* pixels: rows from the top, four bytes each: blue, green, red, none. quality: 1 to 100. */
void jpeg_write(const uint8_t *pixels, unsigned width, unsigned height, int quality, struct strbuf *out);

#endif
