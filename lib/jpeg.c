/* A picture as JPEG.
 * Called by: xapi/http/screenshot.c.  Calls: libjpeg. */
#include "lib/jpeg.h"

#include <stdio.h>

#include <jpeglib.h>

/* Memory is the only thing that can fail, and libjpeg's own answer to that is the one that all of us give: exit. */
void jpeg_write(const uint8_t *pixels, unsigned width, unsigned height, int quality, struct strbuf *out)
{
    struct jpeg_error_mgr errors;
    struct jpeg_compress_struct j = { .err = jpeg_std_error(&errors) };
    unsigned char *bytes = NULL;
    unsigned long n = 0;

    jpeg_create_compress(&j);
    jpeg_mem_dest(&j, &bytes, &n);
    j.image_width = width;
    j.image_height = height;
    j.input_components = 4;
    j.in_color_space = JCS_EXT_BGRX;
    jpeg_set_defaults(&j);
    jpeg_set_quality(&j, quality, TRUE);
    jpeg_start_compress(&j, TRUE);
    while (j.next_scanline < height) {
        JSAMPROW row = (JSAMPROW)(uintptr_t)(pixels + 4 * (size_t)j.next_scanline * width);
        jpeg_write_scanlines(&j, &row, 1);
    }
    jpeg_finish_compress(&j);
    strbuf_add(out, (const char *)bytes, n);
    jpeg_destroy_compress(&j);
    free(bytes);
}
