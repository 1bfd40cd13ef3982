/* VHD images that stand on one another, read and written as one disk.
 * Called by: sm/.  Calls: vhd.c. */
#include "lib/vhd.h"

#include <errno.h>
#include <sys/stat.h>

struct link {
    struct vhd *vhd; /* NULL: a raw image */
    int fd;          /* of the raw image */
    int64_t size;
    dev_t dev;
    ino_t ino;
};

struct vhd_chain {
    struct link links[VHD_MAX_CHAIN];
    size_t n;
};

void vhd_chain_close(struct vhd_chain *c)
{
    if (!c) return;
    for (size_t i = 0; i < c->n; i++) {
        vhd_close(c->links[i].vhd);
        if (c->links[i].fd >= 0) close(c->links[i].fd);
    }
    free(c);
}

/* Takes fd. */
static int add_link(struct vhd_chain *c, int fd, bool raw, bool writable, const char **ret_why)
{
    struct link l = { .fd = -1 };
    struct stat st;

    *ret_why = "cannot be read";
    if (fstat(fd, &st)) goto bad;
    *ret_why = "a chain of VHDs that is too long";
    if (c->n == VHD_MAX_CHAIN) goto bad;
    l.dev = S_ISBLK(st.st_mode) ? st.st_rdev : st.st_dev;
    l.ino = S_ISBLK(st.st_mode) ? 0 : st.st_ino;
    *ret_why = "a chain of VHDs that bites its tail";
    for (size_t i = 0; i < c->n; i++)
        if (c->links[i].dev == l.dev && c->links[i].ino == l.ino) goto bad;
    if (raw) {
        off_t end = lseek(fd, 0, SEEK_END);
        *ret_why = "the size of a raw parent is unknown";
        if (end < 0) goto bad;
        l.fd = fd;
        l.size = end;
    } else {
        if (vhd_open(fd, writable, &l.vhd, ret_why)) return -1;
        l.size = vhd_footer(l.vhd)->size;
    }
    c->links[c->n++] = l;
    return 0;
bad:
    close(fd);
    return -1;
}

int vhd_chain_open(int leaf_fd, bool writable, vhd_find_fn find, void *arg, struct vhd_chain **ret_chain,
                   const char **ret_why)
{
    _cleanup_vhd_chain_ struct vhd_chain *c = xcalloc(1, sizeof(*c));

    if (add_link(c, leaf_fd, false, writable, ret_why)) return -1;
    for (;;) {
        struct vhd *child = c->links[c->n - 1].vhd;
        bool raw = false;
        if (!child || vhd_footer(child)->type != VHD_DIFFERENCING) break;
        const struct vhd_header *h = vhd_header(child);
        int fd = find(arg, h, &raw, ret_why);
        if (fd < 0 || add_link(c, fd, raw, false, ret_why)) return -1;
        *ret_why = "the parent of a VHD is another image than the one it was made on";
        if (!raw && !ref_eq(vhd_footer(c->links[c->n - 1].vhd)->uuid, h->parent)) return -1;
    }
    *ret_chain = take_ptr(c);
    return 0;
}

int64_t vhd_chain_size(const struct vhd_chain *c) { return c->links[0].size; }
size_t vhd_chain_depth(const struct vhd_chain *c) { return c->n; }
struct vhd *vhd_chain_leaf(struct vhd_chain *c) { return c->links[0].vhd; }

/* Whether one image has the bytes, for at most *len of them, which shrinks. */
static int link_extent(struct link *l, int64_t at, int64_t *len, bool *ret_own)
{
    *ret_own = false;
    if (at >= l->size) return 0; /* a disk that has grown since */
    if (*len > l->size - at) *len = l->size - at;
    if (l->vhd) return vhd_extent(l->vhd, at, *len, ret_own, len);
    *ret_own = true;
    return 0;
}

int vhd_chain_extent(struct vhd_chain *c, int64_t at, int64_t len, size_t *ret_image, int64_t *ret_len)
{
    if (at < 0 || len <= 0 || at > c->links[0].size - len) {
        errno = EINVAL;
        return -1;
    }
    for (size_t i = 0; i < c->n; i++) {
        bool own;
        if (link_extent(&c->links[i], at, &len, &own)) return -1;
        *ret_len = len;
        *ret_image = i;
        if (own) return 0;
    }
    *ret_image = c->n;
    return 0;
}

static int read_raw(int fd, char *p, size_t len, int64_t at)
{
    while (len) {
        ssize_t got = pread(fd, p, len, at);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) {
            if (got == 0) errno = ENODATA;
            return -1;
        }
        p += got;
        at += got;
        len -= (size_t)got;
    }
    return 0;
}

int vhd_chain_read(struct vhd_chain *c, void *buf, size_t len, int64_t at)
{
    char *p = buf;

    while (len) {
        size_t image;
        int64_t run;
        if (vhd_chain_extent(c, at, (int64_t)len, &image, &run)) return -1;
        if (image == c->n)
            memset(p, 0, (size_t)run);
        else if (c->links[image].vhd ? vhd_read_own(c->links[image].vhd, p, (size_t)run, at)
                                     : read_raw(c->links[image].fd, p, (size_t)run, at))
            return -1;
        p += run;
        at += run;
        len -= (size_t)run;
    }
    return 0;
}

/* Part of one sector. */
static int write_part(struct vhd_chain *c, const void *buf, size_t len, int64_t at)
{
    unsigned char sector[VHD_SECTOR];
    const int64_t start = at & ~(int64_t)(VHD_SECTOR - 1);

    if (vhd_chain_read(c, sector, sizeof(sector), start)) return -1;
    memcpy(sector + (at - start), buf, len);
    return vhd_write(c->links[0].vhd, sector, sizeof(sector), start);
}

int vhd_chain_write(struct vhd_chain *c, const void *buf, size_t len, int64_t at)
{
    const char *p = buf;

    if (at < 0 || len == 0 || at > c->links[0].size - (int64_t)len) {
        errno = EINVAL;
        return -1;
    }
    while (len) {
        size_t n = len;
        int rc;
        if (at % VHD_SECTOR || len < VHD_SECTOR) {
            n = (size_t)(VHD_SECTOR - at % VHD_SECTOR);
            if (n > len) n = len;
            rc = write_part(c, p, n, at);
        } else {
            n = len / VHD_SECTOR * VHD_SECTOR;
            rc = vhd_write(c->links[0].vhd, p, n, at);
        }
        if (rc) return -1;
        p += n;
        at += (int64_t)n;
        len -= n;
    }
    return 0;
}
