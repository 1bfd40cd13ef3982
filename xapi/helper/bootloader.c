/* The role bootloader: finds kernel and ramdisk on a guest's disk and copies them out.
 * Called by: helper.c.  Calls: libext2fs, boot_parts.c, boot_config.c, lib/nbd.
 *
 * Everything on the disk is hostile. This process has the disk (descriptor 3, a file, block device or NBD connection), the
 * files to fill (4 kernel, 5 ramdisk), no privileges, and a parent that ends it when it takes too long. */
#include "xapi/helper/helper.h"

#include <errno.h>
#include <et/com_err.h>
#include <ext2fs/ext2fs.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "lib/nbd.h"
#include "lib/strbuf.h"
#include "xapi/helper/boot_config.h"
#include "xapi/helper/boot_parts.h"

enum {
    DISK_FD = 3, KERNEL_FD = 4, RAMDISK_FD = 5,
    MAX_REQUEST = 32768, MAX_CONFIG = 1 << 20, MAX_ENVIRONMENT = 65536,
    NBD_MS = 20000, STRETCH = 256 << 10, STRETCHES = 8, COPY_STEP = 1 << 20, MAX_BLS = 128,
};
static const uint64_t MAX_IMAGE_BYTES = UINT64_C(256) << 20;

/* ---- the disk -------------------------------------------------------------------------------- */

/* libext2fs reads block by block, and each costs an NBD server a round trip: stretches of the disk are kept. */
struct stretch {
    uint64_t number, used;           /* used 0 = empty */
    char bytes[STRETCH];
};
struct disk {
    bool is_nbd;
    struct nbd nbd;
    uint64_t size, clock;
    struct stretch stretches[STRETCHES];
};

static int disk_open(struct disk *d)
{
    struct stat st;

    d->nbd = (struct nbd)NBD_INIT;
    if (fstat(DISK_FD, &st) < 0) return -1;
    if (S_ISSOCK(st.st_mode)) {
        d->is_nbd = true;
        if (nbd_open(&d->nbd, DISK_FD, NBD_MS) < 0) return -1;
        d->size = (uint64_t)d->nbd.size;
        return 0;
    }
    off_t end = lseek(DISK_FD, 0, SEEK_END);
    if (end < 0) return -1;
    d->size = (uint64_t)end;
    return 0;
}

static int fetch(struct disk *d, char *buf, size_t n, uint64_t at)
{
    if (d->is_nbd) return nbd_read(&d->nbd, buf, n, (int64_t)at);
    while (n) {
        ssize_t got = pread(DISK_FD, buf, n, (off_t)at);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return -1;
        buf += got;
        at += (uint64_t)got;
        n -= (size_t)got;
    }
    return 0;
}

static struct stretch *stretch_of(struct disk *d, uint64_t number)
{
    struct stretch *s = d->stretches;
    const uint64_t at = number * STRETCH;

    for (size_t i = 0; i < STRETCHES; i++) {
        struct stretch *other = &d->stretches[i];
        if (other->used && other->number == number) {
            other->used = ++d->clock;
            return other;
        }
        if (other->used < s->used) s = other;
    }
    s->used = 0;
    if (fetch(d, s->bytes, d->size - at < STRETCH ? (size_t)(d->size - at) : STRETCH, at) < 0) return NULL;
    s->number = number;
    s->used = ++d->clock;
    return s;
}

/* Exactly n bytes; -1 when they are not all there. */
static int disk_read(void *disk, void *buf, size_t n, uint64_t at)
{
    struct disk *d = disk;

    if (at > d->size || n > d->size - at) return -1;
    for (size_t done = 0, step; done < n; done += step) {
        uint64_t from = at + done;
        const struct stretch *s = stretch_of(d, from / STRETCH);
        if (!s) return -1;
        step = STRETCH - (size_t)(from % STRETCH);
        if (step > n - done) step = n - done;
        memcpy((char *)buf + done, s->bytes + from % STRETCH, step);
    }
    return 0;
}

/* ---- libext2fs on our disk ------------------------------------------------------------------- */

/* A part of the disk as libext2fs's channel. */
struct channel {
    struct disk *disk;
    struct boot_part part;
};

/* libext2fs gives its manager a name and nothing else, so the name says where the struct is. */
static errcode_t part_open(const char *name, int flags, io_channel *ret_channel);

static errcode_t part_close(io_channel channel)
{
    free(channel->name);
    free(channel);
    return 0;
}

static errcode_t part_set_blksize(io_channel channel, int size)
{
    channel->block_size = size;
    return 0;
}

static errcode_t part_read64(io_channel channel, unsigned long long block, int count, void *data)
{
    const struct channel *c = channel->private_data;
    uint64_t size = (uint64_t)channel->block_size, at, n;

    /* A negative count is one of bytes. */
    if (size == 0 || block > c->part.size / size) return EXT2_ET_SHORT_READ;
    at = block * size;
    n = count < 0 ? (uint64_t)-(int64_t)count : (uint64_t)count * size;
    if (n > c->part.size - at) return EXT2_ET_SHORT_READ;
    return disk_read(c->disk, data, (size_t)n, c->part.at + at) < 0 ? EXT2_ET_SHORT_READ : 0;
}

static errcode_t part_read(io_channel channel, unsigned long block, int count, void *data)
{
    return part_read64(channel, block, count, data);
}

static errcode_t part_write(io_channel channel, unsigned long block, int count, const void *data)
{
    (void)channel;
    (void)block;
    (void)count;
    (void)data;
    return EXT2_ET_RO_FILSYS;
}

static errcode_t part_write64(io_channel channel, unsigned long long block, int count, const void *data)
{
    return part_write(channel, (unsigned long)block, count, data);
}

static errcode_t part_flush(io_channel channel)
{
    (void)channel;
    return 0;
}

static const struct struct_io_manager manager = {
    .magic = EXT2_ET_MAGIC_IO_MANAGER,
    .name = "a part of a guest's disk",
    .open = part_open,
    .close = part_close,
    .set_blksize = part_set_blksize,
    .read_blk = part_read,
    .write_blk = part_write,
    .flush = part_flush,
    .read_blk64 = part_read64,
    .write_blk64 = part_write64,
};

static errcode_t part_open(const char *name, int flags, io_channel *ret_channel)
{
    void *where = NULL;

    (void)flags;
    if (sscanf(name, "%p", &where) != 1 || !where) return EXT2_ET_BAD_DEVICE_NAME;
    io_channel channel = xcalloc(1, sizeof *channel);
    channel->magic = EXT2_ET_MAGIC_IO_CHANNEL;
    channel->manager = (io_manager)&manager;      /* which nobody writes to */
    channel->name = xstrdup(name);
    channel->block_size = 1024;
    channel->refcount = 1;
    channel->private_data = where;
    *ret_channel = channel;
    return 0;
}

/* NULL when there is no file system of the kind. */
static ext2_filsys open_file_system(struct channel *c)
{
    char name[32];
    ext2_filsys fs = NULL;

    snprintf(name, sizeof name, "%p", (void *)c);
    if (ext2fs_open(name, EXT2_FLAG_64BITS | EXT2_FLAG_SOFTSUPP_FEATURES | EXT2_FLAG_IGNORE_CSUM_ERRORS, 0, 0,
                    (io_manager)&manager, &fs) != 0)
        return NULL;
    return fs;
}

/* ---- files ----------------------------------------------------------------------------------- */

static ext2_file_t open_path(ext2_filsys fs, const char *path, uint64_t *ret_size)
{
    ext2_ino_t inode;
    struct ext2_inode data;
    ext2_file_t file;
    __u64 size;

    if (ext2fs_namei_follow(fs, EXT2_ROOT_INO, EXT2_ROOT_INO, path, &inode) != 0 ||
        ext2fs_read_inode(fs, inode, &data) != 0 || !LINUX_S_ISREG(data.i_mode) || ext2fs_file_open(fs, inode, 0, &file) != 0)
        return NULL;
    if (ext2fs_file_get_lsize(file, &size) != 0) {
        ext2fs_file_close(file);
        return NULL;
    }
    *ret_size = size;
    return file;
}

/* A small file whole; NULL when it is missing or too large. */
static const char *read_small(ext2_filsys fs, const char *path, size_t limit, struct arena *a, size_t *ret_len)
{
    uint64_t size;
    ext2_file_t file = open_path(fs, path, &size);
    unsigned got = 0;

    if (!file) return NULL;
    char *text = size <= limit ? arena_alloc(a, (size_t)size + 1) : NULL;
    if (text && ext2fs_file_read(file, text, (unsigned)size, &got) != 0) text = NULL;
    ext2fs_file_close(file);
    if (!text) return NULL;
    text[got] = '\0';
    *ret_len = got;
    return text;
}

static int write_all(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t w = write(fd, p, n);
        if (w < 0 && errno == EINTR) continue;
        if (w <= 0) return -1;
        p += w;
        n -= (size_t)w;
    }
    return 0;
}

/* 0, or a sentence. */
static const char *copy_out(ext2_filsys fs, const char *path, int fd, uint64_t *all, struct arena *a)
{
    uint64_t size;
    ext2_file_t file = open_path(fs, path, &size);
    char *buf = arena_alloc(a, COPY_STEP);
    const char *why = NULL;
    unsigned got = 1;

    if (!file) return arena_printf(a, "%s is not on the disk", path);
    if (size > MAX_IMAGE_BYTES - *all) why = arena_printf(a, "%s is too large", path);
    for (uint64_t done = 0; !why && done < size && got; done += got) {
        if (ext2fs_file_read(file, buf, COPY_STEP, &got) != 0) why = arena_printf(a, "%s cannot be read", path);
        else if (write_all(fd, buf, got) < 0) why = arena_printf(a, "%s cannot be copied: %s", path, strerror(errno));
    }
    ext2fs_file_close(file);
    *all += size;
    return why;
}

/* ---- configuration ---------------------------------------------------------------------------- */

static const char *const boots[] = { "", "/boot" };

static const char *environment_of(ext2_filsys fs, struct arena *a)
{
    static const char *const places[] = { "/grub/grubenv", "/grub2/grubenv", "/boot/grub/grubenv", "/boot/grub2/grubenv" };
    size_t len;

    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        const char *text = read_small(fs, places[i], MAX_ENVIRONMENT, a, &len);
        if (text) return text;
    }
    return "";
}

struct names {
    struct arena *arena;
    const char *all[MAX_BLS];
    size_t n;
};

static int take_name(struct ext2_dir_entry *entry, int offset, int block_size, char *buf, void *arg)
{
    struct names *names = arg;
    int len = ext2fs_dirent_name_len(entry);

    (void)offset;
    (void)block_size;
    (void)buf;
    if (names->n < MAX_BLS && len > 5 && !memcmp(entry->name + len - 5, ".conf", 5) && !memchr(entry->name, '\0', (size_t)len))
        names->all[names->n++] = arena_strndup(names->arena, entry->name, (size_t)len);
    return 0;
}

static int newest_first(const void *a, const void *b) { return strverscmp(*(const char *const *)b, *(const char *const *)a); }

static void read_bls(ext2_filsys fs, const char *environment, struct arena *a, struct boot_config *config)
{
    for (size_t i = 0; i < ARRAY_SIZE(boots); i++) {
        struct names names = { .arena = a };
        const char *folder = arena_printf(a, "%s/loader/entries", boots[i]);
        ext2_ino_t inode;
        size_t len;
        if (ext2fs_namei_follow(fs, EXT2_ROOT_INO, EXT2_ROOT_INO, folder, &inode) != 0) continue;
        ext2fs_dir_iterate(fs, inode, 0, NULL, take_name, &names);
        if (names.n) qsort(names.all, names.n, sizeof *names.all, newest_first);
        for (size_t k = 0; k < names.n; k++) {
            const char *text = read_small(fs, arena_printf(a, "%s/%s", folder, names.all[k]), MAX_CONFIG, a, &len);
            const char *id = arena_strndup(a, names.all[k], strlen(names.all[k]) - 5);
            if (text) boot_parse_bls(text, len, environment, id, a, config);
        }
        return;
    }
}

static bool find_config(ext2_filsys fs, struct arena *a, struct boot_config *ret)
{
    static const struct { const char *name; enum boot_syntax syntax; } files[] = {
        { "/grub/grub.cfg", BOOT_GRUB2 },       { "/grub2/grub.cfg", BOOT_GRUB2 },
        { "/grub/menu.lst", BOOT_GRUB1 },       { "/grub/grub.conf", BOOT_GRUB1 },
        { "/extlinux/extlinux.conf", BOOT_EXTLINUX }, { "/extlinux.conf", BOOT_EXTLINUX },
    };
    const char *environment = environment_of(fs, a);

    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        for (size_t k = 0; k < ARRAY_SIZE(boots); k++) {
            size_t len;
            const char *text = read_small(fs, arena_printf(a, "%s%s", boots[k], files[i].name), MAX_CONFIG, a, &len);
            if (!text) continue;
            boot_parse(files[i].syntax, text, len, environment, a, ret);
            if (ret->blscfg) {
                read_bls(fs, environment, a, ret);
                const char *saved = boot_environment(environment, "saved_entry", a);
                if (saved && *saved) ret->wanted = saved;
            }
            return true;
        }
    }
    return false;
}

/* ---- the request ------------------------------------------------------------------------------ */

/* What pygrub takes as options. */
struct request {
    char bytes[MAX_REQUEST];
    const char *kernel, *ramdisk, *args, *entry;      /* "" = not said */
};

/* Lines of KEY=VALUE. */
static int read_request(struct request *r)
{
    size_t n = 0;

    *r = (struct request){ .kernel = "", .ramdisk = "", .args = "", .entry = "" };
    while (n < sizeof r->bytes - 1) {
        ssize_t got = read(0, r->bytes + n, sizeof r->bytes - 1 - n);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return -1;
        if (got == 0) break;
        n += (size_t)got;
    }
    if (n == sizeof r->bytes - 1 || memchr(r->bytes, '\0', n)) return -1;
    for (char *p = r->bytes; *p;) {
        char *end = strchr(p, '\n'), *equals = strchr(p, '=');
        if (!end || !equals || equals > end) return -1;
        *end = *equals = '\0';
        if (streq(p, "kernel")) r->kernel = equals + 1;
        else if (streq(p, "ramdisk")) r->ramdisk = equals + 1;
        else if (streq(p, "args")) r->args = equals + 1;
        else if (streq(p, "entry")) r->entry = equals + 1;
        else return -1;
        p = end + 1;
    }
    return 0;
}

/* Copies what the entry names. NULL, or a sentence. */
static const char *take_entry(ext2_filsys fs, const struct boot_entry *e, bool *ret_ramdisk, struct arena *a)
{
    uint64_t all = 0;
    const char *why = copy_out(fs, e->kernel, KERNEL_FD, &all, a);

    for (size_t i = 0; !why && i < e->n_ramdisks; i++) why = copy_out(fs, e->ramdisks[i], RAMDISK_FD, &all, a);
    *ret_ramdisk = e->n_ramdisks > 0;
    return why;
}

/* The kernel that the request names, or else the one that the disk's configuration does. 1 = this file system has none. */
static int boot_from(ext2_filsys fs, const struct request *r, struct arena *a, const char **ret_args, bool *ret_ramdisk,
                     const char **ret_why)
{
    struct boot_entry named = { .kernel = r->kernel, .args = r->args };
    struct boot_config config;
    const struct boot_entry *e = &named;
    uint64_t size;

    if (*r->kernel) {
        ext2_file_t file = open_path(fs, r->kernel, &size);
        if (!file) return 1;
        ext2fs_file_close(file);
        if (*r->ramdisk) named.ramdisks[named.n_ramdisks++] = r->ramdisk;
    } else {
        if (!find_config(fs, a, &config)) return 1;
        e = boot_choose(&config, r->entry);
        if (!e) {
            *ret_why = *r->entry ? arena_printf(a, "the disk's menu has no entry %s that boots Linux", r->entry)
                                 : "the disk's menu has no entry that boots Linux";
            return -1;
        }
    }
    *ret_args = *r->args ? r->args : e->args;
    *ret_why = take_entry(fs, e, ret_ramdisk, a);
    return *ret_why ? -1 : 0;
}

static int search_disk(struct disk *d, const struct request *r, struct arena *a, const char **ret_args, bool *ret_ramdisk,
                       const char **ret_why)
{
    struct boot_parts parts;
    bool readable = false;

    boot_read_parts(disk_read, d, d->size, &parts);
    for (size_t i = 0; i < parts.n; i++) {
        struct channel c = { d, parts.all[i] };
        ext2_filsys fs = open_file_system(&c);
        if (!fs) continue;
        readable = true;
        int rc = boot_from(fs, r, a, ret_args, ret_ramdisk, ret_why);
        ext2fs_close_free(&fs);
        if (rc <= 0) return rc;
    }
    if (!readable) *ret_why = "the disk has no ext2, ext3 or ext4 file system";
    else *ret_why = *r->kernel ? arena_printf(a, "%s is not on the disk", r->kernel)
                               : "the disk has neither grub.cfg nor menu.lst nor extlinux.conf";
    return -1;
}

/* One line, whatever the disk had in it. */
static void print_line(const char *head, const char *text)
{
    fputs(head, stdout);
    for (const char *p = text; *p; p++) putchar((unsigned char)*p < ' ' || *p == 0x7f ? ' ' : *p);
    putchar('\n');
}

int helper_bootloader(void)
{
    _cleanup_arena_ struct arena *a = arena_new();
    struct request *r = arena_alloc(a, sizeof *r);
    const char *args = "", *why = "";
    bool ramdisk = false;
    struct disk *d = arena_zalloc(a, sizeof *d);

    if (read_request(r) < 0) {
        puts("The request was not understood");
        return 1;
    }
    if (disk_open(d) < 0) {
        print_line("", arena_printf(a, "the disk cannot be read: %s", strerror(errno)));
        return 1;
    }
    if (search_disk(d, r, a, &args, &ramdisk, &why) < 0) {
        print_line("", why);
        return 1;
    }
    print_line(ramdisk ? "ok ramdisk " : "ok kernel ", args);
    return 0;
}
