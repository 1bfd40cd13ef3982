/* A small ISO 9660 image (ECMA-119) with Joliet's second directory.
 * Called by: vm_cloudinit.c.  Calls: libc.
 *
 * One folder: sectors 16 and 17 describe the volume twice, 18 ends that, 19 to 22 are path tables, 23 and 24 the folder twice, then
 * the files. Dates are none, so that an image depends on nothing but its files. */
#include "lib/iso9660.h"

#include <assert.h>
#include <string.h>

enum { PLAIN = 16, JOLIET, END, PATH_L, PATH_M, JOLIET_PATH_L, JOLIET_PATH_M, FOLDER, JOLIET_FOLDER, FILES };
enum { FLAG_FOLDER = 2, PATH_BYTES = 10, NAME_MAX_CHARS = 60 };

typedef unsigned char sector_t[ISO_SECTOR];

static void le(unsigned char *p, uint32_t v, size_t n)
{
    for (size_t i = 0; i < n; i++) p[i] = (unsigned char)(v >> 8 * i);
}

static void be(unsigned char *p, uint32_t v, size_t n)
{
    for (size_t i = 0; i < n; i++) p[i] = (unsigned char)(v >> 8 * (n - 1 - i));
}

/* Both byte orders, one behind the other. */
static void both(unsigned char *p, uint32_t v, size_t n)
{
    le(p, v, n);
    be(p + n, v, n);
}

static uint32_t sectors(size_t len) { return (uint32_t)((len + ISO_SECTOR - 1) / ISO_SECTOR); }

/* ASCII as it is, or in two bytes each; padded with blanks to n bytes. */
static size_t put_text(unsigned char *p, size_t n, const char *text, bool wide)
{
    size_t at = 0;

    for (; *text && at + wide < n; text++) {
        if (wide) p[at++] = 0;
        p[at++] = (unsigned char)*text;
    }
    const size_t used = at;
    for (; at + wide < n; at++) {
        if (wide) p[at++] = 0;
        p[at] = ' ';
    }
    return used;
}

/* One entry of a folder. name_len 1: the folder itself (0) or its parent (1). Returns its length. */
static size_t put_entry(unsigned char *p, const unsigned char *name, size_t name_len, uint32_t at, uint32_t len, int flags)
{
    const size_t size = (33 + name_len + 1) & ~(size_t)1;

    p[0] = (unsigned char)size;
    both(p + 2, at, 4);
    both(p + 10, len, 4);
    p[25] = (unsigned char)flags;
    both(p + 28, 1, 2);
    p[32] = (unsigned char)name_len;
    memcpy(p + 33, name, name_len);
    return size;
}

static void put_volume(sector_t s, const char *label, uint32_t all, bool joliet)
{
    s[0] = joliet ? 2 : 1;
    memcpy(s + 1, "CD001\1", 6);
    put_text(s + 8, 32, "", joliet);
    put_text(s + 40, 32, label, joliet);
    both(s + 80, all, 4);
    if (joliet) memcpy(s + 88, "%/E", 3);
    both(s + 120, 1, 2);
    both(s + 124, 1, 2);
    both(s + 128, ISO_SECTOR, 2);
    both(s + 132, PATH_BYTES, 4);
    le(s + 140, joliet ? JOLIET_PATH_L : PATH_L, 4);
    be(s + 148, joliet ? JOLIET_PATH_M : PATH_M, 4);
    put_entry(s + 156, (const unsigned char *)"", 1, joliet ? JOLIET_FOLDER : FOLDER, ISO_SECTOR, FLAG_FOLDER);
    put_text(s + 190, 623, "", joliet);
    for (size_t i = 813; i < 881; i += 17) memset(s + i, '0', 16);
    s[881] = 1;
}

static void put_path(sector_t s, uint32_t folder, void (*number)(unsigned char *, uint32_t, size_t))
{
    s[0] = 1;
    number(s + 2, folder, 4);
    number(s + 6, 1, 2);
}

static void put_folder(sector_t s, const struct iso_file *files, size_t n, bool joliet)
{
    const uint32_t self = joliet ? JOLIET_FOLDER : FOLDER;
    unsigned char name[2 * NAME_MAX_CHARS + 4];
    uint32_t from = FILES;
    size_t at = put_entry(s, (const unsigned char *)"", 1, self, ISO_SECTOR, FLAG_FOLDER);

    at += put_entry(s + at, (const unsigned char *)"\1", 1, self, ISO_SECTOR, FLAG_FOLDER);
    for (size_t i = 0; i < n; i++) {
        size_t len = put_text(name, sizeof name - 4, joliet ? files[i].name : files[i].plain, joliet);
        len += put_text(name + len, joliet ? 4 : 3, joliet ? ";1" : ".;1", joliet);
        assert(at + 34 + len <= ISO_SECTOR);
        at += put_entry(s + at, name, len, from, (uint32_t)files[i].len, 0);
        from += sectors(files[i].len);
    }
}

void iso_write(const char *label, const struct iso_file *files, size_t n, struct strbuf *out)
{
    uint32_t all = FILES;
    static const char zeros[ISO_SECTOR];

    assert(n <= ISO_MAX_FILES);
    for (size_t i = 0; i < n; i++) all += sectors(files[i].len);
    sector_t *s = xcalloc(FILES, sizeof *s);
    put_volume(s[PLAIN], label, all, false);
    put_volume(s[JOLIET], label, all, true);
    memcpy(s[END], "\377CD001\1", 7);
    put_path(s[PATH_L], FOLDER, le);
    put_path(s[PATH_M], FOLDER, be);
    put_path(s[JOLIET_PATH_L], JOLIET_FOLDER, le);
    put_path(s[JOLIET_PATH_M], JOLIET_FOLDER, be);
    put_folder(s[FOLDER], files, n, false);
    put_folder(s[JOLIET_FOLDER], files, n, true);
    strbuf_add(out, (const char *)s, FILES * sizeof *s);
    free(s);
    for (size_t i = 0; i < n; i++) {
        strbuf_add(out, files[i].data, files[i].len);
        strbuf_add(out, zeros, sectors(files[i].len) * ISO_SECTOR - files[i].len);
    }
}
