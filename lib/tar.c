/* Archives in ustar format.
 * Called by: xva_export.c, xva_import.c.  Calls: libc. */
#include "lib/tar.h"

#include <stdio.h>

struct header {
    char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], sum[8], type, link[100], magic[6],
        version[2];
    char user[32], group[32], major[8], minor[8], prefix[155], pad[12];
};

_Static_assert(sizeof(struct header) == TAR_BLOCK, "a header is one block");

/* ---- reading ---- */

/* Octal digits with blanks around, or (first bit set) a binary number. False when it is neither or too
 * large. */
static bool number(const char *text, size_t n, int64_t *ret)
{
    const unsigned char *p = (const unsigned char *)text;
    uint64_t v = 0;
    size_t i = 0;

    if (p[0] & 0x80) {
        for (v = p[0] & 0x7f, i = 1; i < n; i++) {
            if (v >> 54) return false;
            v = v << 8 | p[i];
        }
        *ret = (int64_t)v;
        return true;
    }
    while (i < n && p[i] == ' ') i++;
    for (; i < n && p[i] >= '0' && p[i] <= '7'; i++) {
        if (v >> 59) return false;
        v = v << 3 | (unsigned)(p[i] - '0');
    }
    *ret = (int64_t)v;
    return i == n || p[i] == ' ' || p[i] == '\0';
}

static unsigned checksum(const struct header *h)
{
    const unsigned char *p = (const unsigned char *)h;
    unsigned sum = 0;

    for (size_t i = 0; i < TAR_BLOCK; i++)
        sum += i >= offsetof(struct header, sum) && i < offsetof(struct header, type) ? ' ' : p[i];
    return sum;
}

/* All n bytes, or how many came before the end. -1: read() failed. */
static ssize_t fill(struct tar_reader *t, void *buf, size_t n)
{
    size_t have = 0;

    while (have < n) {
        ssize_t got = t->read(t->arg, (char *)buf + have, n - have);
        if (got < 0) return -1;
        if (!got) break;
        have += (size_t)got;
    }
    return (ssize_t)have;
}

static enum tar_result skip(struct tar_reader *t, int64_t n)
{
    char buf[4096];

    while (n > 0) {
        size_t want = n < (int64_t)sizeof(buf) ? (size_t)n : sizeof(buf);
        ssize_t got = fill(t, buf, want);
        if (got < 0) return TAR_FAILED;
        if ((size_t)got < want) return TAR_CUT;
        n -= got;
    }
    return TAR_ENTRY;
}

static void take_name(const struct header *h, char name[TAR_NAME])
{
    size_t at = 0;

    if (memcmp(h->magic, "ustar", 6) == 0 && h->prefix[0]) {
        at = strnlen(h->prefix, sizeof(h->prefix));
        memcpy(name, h->prefix, at);
        name[at++] = '/';
    }
    size_t n = strnlen(h->name, sizeof(h->name));
    memcpy(name + at, h->name, n);
    name[at + n] = '\0';
}

enum tar_result tar_next(struct tar_reader *t, struct tar_entry *ret_entry)
{
    static const char zeros[TAR_BLOCK];
    int64_t size, sum;
    struct header h;

    for (;;) {
        enum tar_result r = skip(t, t->left + (int64_t)t->padding);
        if (r != TAR_ENTRY) return r;
        t->left = 0;
        t->padding = 0;
        ssize_t n = fill(t, &h, sizeof(h));
        if (n < 0) return TAR_FAILED;
        if (n == 0 || (n == TAR_BLOCK && memcmp(&h, zeros, TAR_BLOCK) == 0)) return TAR_END;
        if (n < TAR_BLOCK) return TAR_CUT;
        if (!number(h.sum, sizeof(h.sum), &sum) || sum != (int64_t)checksum(&h)) return TAR_BAD;
        if (!number(h.size, sizeof(h.size), &size)) return TAR_BAD;
        t->left = size;
        t->padding = tar_padding(size);
        if (h.type != '0' && h.type != '\0') continue;
        take_name(&h, ret_entry->name);
        ret_entry->size = size;
        return TAR_ENTRY;
    }
}

enum tar_result tar_read(struct tar_reader *t, void *buf, size_t n)
{
    if ((int64_t)n > t->left) return TAR_CUT;
    ssize_t got = fill(t, buf, n);
    if (got < 0) return TAR_FAILED;
    t->left -= got;
    return (size_t)got < n ? TAR_CUT : TAR_ENTRY;
}

/* ---- writing ---- */

void tar_header(char out[TAR_BLOCK], const char *name, int64_t size)
{
    struct header h;
    char text[16];

    memset(&h, 0, sizeof(h));
    memcpy(h.name, name, strnlen(name, sizeof(h.name) - 1));
    memcpy(h.mode, "0000644", 8);
    memcpy(h.uid, "0000000", 8);
    memcpy(h.gid, "0000000", 8);
    snprintf(text, sizeof(text), "%011llo", (unsigned long long)size & 077777777777);
    memcpy(h.size, text, sizeof(h.size));
    memcpy(h.mtime, "00000000000", 12);
    h.type = '0';
    memcpy(h.magic, "ustar", 6);
    memcpy(h.version, "00", 2);
    snprintf(text, sizeof(text), "%06o", checksum(&h) & 0777777);
    memcpy(h.sum, text, 7);
    h.sum[7] = ' ';
    memcpy(out, &h, sizeof(h));
}
