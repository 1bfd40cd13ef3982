/* VHD images: fixed, dynamic and differencing, alone and in chains.
 * Called by: sm/ (repositories of VHD files and volumes, the server of disks), xapi/http (streams).
 * Calls: libc.
 *
 * An image is read and written through a descriptor of a file or of a block device; nothing in it is trusted. All
 * numbers on disk are big-endian; a sector has 512 bytes. Layout of a dynamic or differencing image:
 *
 *     copy of the footer | header | parent names | block table | [batmap] | blocks ... | footer
 *
 * The block table has one 32-bit number a block (2 MiB): the sector where its bitmap of present sectors begins, the
 * data behind it, or 0xffffffff. What an image lacks is its parent's, or zeros. On a block device the last footer
 * stands in the last sector of the device.
 *
 * Source: Microsoft's "Virtual Hard Disk Image Format Specification" 1.0, and what Xen's tools add: the byte
 * `hidden` in the footer, the creator "tap", the batmap (blocks that are present as a whole). */
#ifndef LIB_VHD_H
#define LIB_VHD_H

#include "lib/ref.h"
#include "lib/util.h"

enum {
    VHD_SECTOR = 512,
    VHD_FOOTER = 512,
    VHD_HEADER = 1024,
    VHD_BLOCK = 2 << 20, /* bytes in a block of the images made here */
    VHD_BITMAP = 512,    /* in front of such a block */
    VHD_MAX_NAME = 255,  /* bytes of a parent's name */
    VHD_MAX_CHAIN = 64,
};
#define VHD_MAX_SIZE (INT64_C(2040) << 30)
#define VHD_UNUSED UINT32_C(0xffffffff)

enum vhd_type { VHD_FIXED = 2, VHD_DYNAMIC = 3, VHD_DIFFERENCING = 4 };

/* ---- the parts on disk, one by one ---------------------------------------------------------- */

struct vhd_footer {
    enum vhd_type type;
    int64_t size, original_size; /* bytes of the disk */
    int64_t header_at;           /* -1 in a fixed image */
    uint32_t timestamp;          /* seconds since 2000-01-01 UTC */
    char creator[4]; /* VHD_CREATOR in ours: QEMU and Xen's tools then take the size as it stands */
    uint32_t creator_version;
    struct ref uuid;
    bool hidden;
};
#define VHD_CREATOR "tap"
enum {
    VHD_CREATOR_VERSION = 1,
    VHD_CREATOR_BATMAP = 0x00010002
}; /* from here on a batmap follows the table */
struct vhd_header {
    int64_t table_at;
    uint32_t blocks, block_size; /* entries of the table; bytes in a block */
    struct ref parent;           /* uuid of a differencing image's parent; null = a raw parent */
    uint32_t parent_timestamp;
    char parent_name[VHD_MAX_NAME + 1]; /* UTF-8, without folder; "" when there is none that can be read */
};

/* One sector. False, and a literal that says why, for what is no footer. */
bool vhd_footer_read(const unsigned char sector[VHD_FOOTER], struct vhd_footer *ret_footer,
                     const char **ret_why);
void vhd_footer_write(const struct vhd_footer *footer, unsigned char sector[VHD_FOOTER]);
/* VHD_HEADER bytes. size: the footer's. Checks that the table can hold the disk. */
bool vhd_header_read(const unsigned char bytes[VHD_HEADER], int64_t size, struct vhd_header *ret_header,
                     const char **ret_why);
/* Locators of the parent point at `locators_at` (VHD_LOCATORS bytes that vhd_locators_write() fills); 0 = none. */
void vhd_header_write(const struct vhd_header *header, int64_t locators_at, unsigned char bytes[VHD_HEADER]);
enum { VHD_LOCATOR = 4 * VHD_SECTOR, VHD_LOCATORS = 3 * VHD_LOCATOR };
void vhd_locators_write(const struct vhd_header *header, unsigned char bytes[VHD_LOCATORS]);
/* The uuid that ends the name of a parent in a volume: "VHD-<uuid>", or as device-mapper has it, with dashes doubled. XenServer's
 * tools write each. False: it ends otherwise. */
bool vhd_parent_uuid(const char *name, char ret_uuid[UUID_TEXT]);
/* Blocks of 2 MiB that a disk of this many bytes has. */
uint32_t vhd_blocks(int64_t size);
/* The size a VHD gives a disk: whole sectors. */
static inline int64_t vhd_round(int64_t size) { return (size + VHD_SECTOR - 1) & ~(int64_t)(VHD_SECTOR - 1); }
uint32_t vhd_now(void);

/* ---- one image ------------------------------------------------------------------------------ */

struct vhd;

/* What a new image is made of. */
struct vhd_new {
    enum vhd_type type;
    int64_t size; /* bytes, a multiple of VHD_SECTOR, at most VHD_MAX_SIZE */
    struct ref uuid;
    struct ref parent;       /* differencing: the parent's uuid, null for a raw parent */
    const char *parent_name; /* differencing: its file name, without folder */
    uint32_t parent_timestamp;
    bool hidden;
};
/* Writes an empty image into a file (made longer as needed) or device. Reads as zeros or as its parent. Not synced.
 * 0, or -1 + errno (EINVAL: a size that no VHD has; ENOSPC: the device is too short). */
int vhd_create(int fd, const struct vhd_new *what);

/* Opens the image behind fd, which the image takes (also on failure). A damaged last footer is replaced by the first
 * one. 0, or -1 and a literal why. */
int vhd_open(int fd, bool writable, struct vhd **ret_vhd, const char **ret_why);
/* As vhd_open(), but reads footer and header only: for scans of many images. */
int vhd_look(int fd, struct vhd_footer *ret_footer, struct vhd_header *ret_header, const char **ret_why);
void vhd_close(struct vhd *v);
static inline void vhd_closep(struct vhd **v) { vhd_close(*v); }
#define _cleanup_vhd_ _cleanup_(vhd_closep)

const struct vhd_footer *vhd_footer(const struct vhd *v);
const struct vhd_header *vhd_header(const struct vhd *v); /* NULL for a fixed image */
/* Bytes that hold data of its own. */
int64_t vhd_used(const struct vhd *v);
/* First byte behind everything the image has. */
int64_t vhd_end(const struct vhd *v);

/* How many bytes from `at` on (at most len, at least 1) are alike, and whether the image has them itself. Both in
 * whole sectors. 0 or -1 + errno. */
int vhd_extent(struct vhd *v, int64_t at, int64_t len, bool *ret_own, int64_t *ret_len);
/* Bytes the image has itself. 0 or -1 + errno. */
int vhd_read_own(struct vhd *v, void *buf, size_t len, int64_t at);
/* Whole sectors. New blocks are made as needed; nothing points at a block before its bitmap is on disk. 0 or -1 + errno.
 * Durable after vhd_flush(). */
int vhd_write(struct vhd *v, const void *buf, size_t len, int64_t at);
int vhd_flush(struct vhd *v);
/* Durable. */
int vhd_set_hidden(struct vhd *v, bool hidden);
/* An image on a device that is so long now, or soon will be: its last footer goes where the device ends then. Durable.
 * EINVAL: a file, or shorter than the image. */
int vhd_set_device_size(struct vhd *v, int64_t size);
/* The parent becomes another one, or none (parent_name NULL: the image is dynamic then). Durable. While it stays
 * differencing only its header is written, so that another process may be writing data. */
int vhd_set_parent(struct vhd *v, struct ref parent, const char *parent_name, uint32_t parent_timestamp);
/* Larger, never smaller; the table moves behind the blocks when its room is too small. Durable. EINVAL, ENOSPC. */
int vhd_resize(struct vhd *v, int64_t size);

/* ---- a chain -------------------------------------------------------------------------------- */

/* Finds a parent: a descriptor open for reading, and whether it is a raw image. -1 and a literal why. */
typedef int (*vhd_find_fn)(void *arg, const struct vhd_header *child, bool *ret_raw, const char **ret_why);

struct vhd_chain;
/* leaf_fd is taken. Parents are asked for until there is none; loops, wrong uuids and chains longer than VHD_MAX_CHAIN
 * are refused. */
int vhd_chain_open(int leaf_fd, bool writable, vhd_find_fn find, void *arg, struct vhd_chain **ret_chain,
                   const char **ret_why);
void vhd_chain_close(struct vhd_chain *c);
static inline void vhd_chain_closep(struct vhd_chain **c) { vhd_chain_close(*c); }
#define _cleanup_vhd_chain_ _cleanup_(vhd_chain_closep)
int64_t vhd_chain_size(const struct vhd_chain *c);
size_t vhd_chain_depth(const struct vhd_chain *c); /* images, the leaf among them */
struct vhd *vhd_chain_leaf(struct vhd_chain *c);
/* Which image has the bytes from `at` on: 0 = the leaf; vhd_chain_depth() = none, they are zeros. */
int vhd_chain_extent(struct vhd_chain *c, int64_t at, int64_t len, size_t *ret_image, int64_t *ret_len);
/* Any range inside the disk. */
int vhd_chain_read(struct vhd_chain *c, void *buf, size_t len, int64_t at);
/* Into the leaf; any range: part sectors are read first. */
int vhd_chain_write(struct vhd_chain *c, const void *buf, size_t len, int64_t at);

#endif
