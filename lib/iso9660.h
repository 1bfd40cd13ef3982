/* A small ISO 9660 image with a few files in its root, under their own names for readers of Joliet.
 * Called by: vm_cloudinit.c.  Calls: libc. */
#ifndef LIB_ISO9660_H
#define LIB_ISO9660_H

#include "lib/strbuf.h"

enum { ISO_SECTOR = 2048, ISO_MAX_FILES = 8 };

struct iso_file {
    const char *name;           /* at most 60 ASCII characters: what Joliet shows */
    const char *plain;          /* at most 8 of A-Z 0-9 _: what others see */
    const char *data;
    size_t len;
};

/* Appends the image, whole sectors. label: at most 15 ASCII characters. At most ISO_MAX_FILES files. The same files give the same
 * bytes. */
void iso_write(const char *label, const struct iso_file *files, size_t n, struct strbuf *out);

#endif
