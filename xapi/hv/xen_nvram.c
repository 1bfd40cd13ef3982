/* UEFI variables of guests on Xen, kept from one domain to the next.
 * Called by: xen_power.c (a domain's end), xen_create.c (a new one), hv.c through the vtable.  Calls: libxenforeignmemory, libc.
 *
 * There is no flash on Xen: EDK II keeps its variables in memory that it reserves for them, and takes up what lies there already when
 * that has the head of a volume. So we take the volume out of the memory of a domain that ends, and put it back at the same place of
 * the next one before its first instruction. Firmware and memory size decide about the place: it goes with the bytes, behind them. With
 * another firmware or size the volume lies where nobody looks, and the firmware begins with its own variables.
 *
 * All that comes out of the guest is its own word: a volume is bytes with a length that is within bounds, no more. */
#include "xapi/hv/xen_int.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <xenforeignmemory.h>

#include "lib/clock.h"
#include "lib/limits.h"
#define LOG_MODULE "hv"
#include "lib/log.h"

enum { PAGE = 4096, AT_ONCE = 1024, HEAD_BYTES = 56, MIB = 1 << 20, LOOK_MIB = 128, FIRST_MIB = 2, KEEP_S = 7 * 86400 };
#define LOW_END INT64_C(0xf0000000)          /* memory for devices begins here, at the latest */
#define VOLUME_MIN (64 << 10)
#define VOLUME_MAX (1 << 20)
#define MARK "XenFVadr"

/* Where it was, little-endian. */
struct tail { char mark[8]; uint64_t address; };

static char *path_of(const struct xn *xn, const char *vm) { return xasprintf("%s/%s", xn->nvram_dir, vm); }

/* ---- in the guest's memory ------------------------------------------------------------------- */

/* EFI_FIRMWARE_VOLUME_HEADER of variables: 0 when it is none, else its length. */
static size_t volume_length(const unsigned char *head)
{
    /* EFI_SYSTEM_NV_DATA_FV_GUID */
    static const unsigned char kind[16] = { 0x8d, 0x2b, 0xf1, 0xff, 0x96, 0x76, 0x8b, 0x4c,
                                            0xa9, 0x85, 0x27, 0x47, 0x07, 0x5b, 0x4f, 0x50 };
    uint64_t length;
    uint16_t sum = 0, word;

    if (memcmp(head + 16, kind, sizeof kind) != 0 || memcmp(head + 40, "_FVH", 4) != 0) return 0;
    memcpy(&length, head + 32, sizeof length);
    memcpy(&word, head + 48, sizeof word);
    if (word < HEAD_BYTES || word > PAGE || word % 2) return 0;
    for (size_t i = 0, n = word; i < n; i += 2) {
        memcpy(&word, head + i, sizeof word);
        sum = (uint16_t)(sum + word);
    }
    return sum == 0 && length >= VOLUME_MIN && length <= VOLUME_MAX && length % PAGE == 0 ? (size_t)length : 0;
}

/* Pages from first on, n at most AT_ONCE; NULL = none of them is there. missing[i]: no such page. */
static unsigned char *map(xenforeignmemory_handle *memory, int64_t domid, uint64_t first, size_t n, int prot, int *missing)
{
    xen_pfn_t pages[AT_ONCE] = { 0 };

    for (size_t i = 0; i < n; i++) pages[i] = first + i;
    return xenforeignmemory_map(memory, (uint32_t)domid, prot, n, pages, missing);
}

/* The firmware takes memory from the top: the highest volume is its own. 0 = there is none. */
static uint64_t find_volume(xenforeignmemory_handle *memory, const struct xn_guest *g, size_t *ret_len)
{
    const int64_t end = g->static_max_bytes < LOW_END ? g->static_max_bytes : LOW_END;
    uint64_t top = (uint64_t)end / PAGE;
    const uint64_t lowest = end > (int64_t)LOOK_MIB * MIB ? top - (uint64_t)LOOK_MIB * MIB / PAGE : (uint64_t)FIRST_MIB * MIB / PAGE;
    int missing[AT_ONCE];

    while (top >= lowest + AT_ONCE) {
        top -= AT_ONCE;
        unsigned char *at = map(memory, g->domid, top, AT_ONCE, PROT_READ, missing);
        uint64_t found = 0;
        for (size_t i = AT_ONCE; at && i-- && !found;)
            if (!missing[i] && (*ret_len = volume_length(at + i * PAGE))) found = (top + i) * PAGE;
        if (at) xenforeignmemory_unmap(memory, at, AT_ONCE);
        if (found) return found;
    }
    return 0;
}

static int copy_volume(xenforeignmemory_handle *memory, int64_t domid, uint64_t address, void *bytes, size_t len, bool into_guest)
{
    const size_t n = len / PAGE;
    int missing[AT_ONCE], rc = 0;
    unsigned char *at = map(memory, domid, address / PAGE, n, into_guest ? PROT_READ | PROT_WRITE : PROT_READ, missing);

    if (!at) return -1;
    for (size_t i = 0; i < n; i++) rc = missing[i] ? -1 : rc;
    if (!rc && into_guest) memcpy(at, bytes, len);
    else if (!rc) memcpy(bytes, at, len);
    xenforeignmemory_unmap(memory, at, n);
    if (!rc) return 0;
    errno = EFAULT;
    return -1;
}

/* ---- out of it and into it ------------------------------------------------------------------- */

/* Into the file; what cannot be read leaves it as it is. */
static int take(struct xn *xn, const struct xn_guest *g)
{
    xenforeignmemory_handle *memory = xenforeignmemory_open(NULL, 0);
    _cleanup_free_ char *path = path_of(xn, g->vm);
    size_t len = 0;
    int rc = -1;

    if (!memory) return -1;
    const uint64_t address = find_volume(memory, g, &len);
    _cleanup_free_ char *bytes = address ? xmalloc(len + sizeof(struct tail)) : NULL;
    const struct tail tail = { MARK, address };
    if (!bytes) {
        rc = 0;              /* the firmware did not come so far */
    } else if (!copy_volume(memory, g->domid, address, bytes, len, false)) {
        memcpy(bytes + len, &tail, sizeof tail);
        rc = write_file_atomic(path, bytes, len + sizeof tail, 0600);
    }
    xenforeignmemory_close(memory);
    return rc;
}

void xn_nvram_take(struct xn *xn, const struct xn_guest *g)
{
    if (!g->uefi) return;
    if (xc_domain_pause(xn->xch, (uint32_t)g->domid) < 0 || take(xn, g) < 0)
        log_warn("xen: the UEFI variables of %s stay as they were: %s", g->vm, strerror(errno));
}

int xn_nvram_put(struct xn *xn, const struct xn_guest *g, const struct hv_vm *vm, struct hv_failure *f)
{
    _cleanup_free_ char *path = path_of(xn, g->vm);
    struct tail tail;

    if (!g->uefi) return 0;
    /* What an earlier domain left is not this one's. */
    if (unlink(path) < 0 && errno != ENOENT) return hv_fail(f, HV_FAIL_BUILD, "%s: %s", path, strerror(errno));
    if (!vm->nvram_len) return 0;
    const size_t len = vm->nvram_len > sizeof tail ? vm->nvram_len - sizeof tail : 0;
    if (len) memcpy(&tail, (const char *)vm->nvram + len, sizeof tail);
    if (len < VOLUME_MIN || memcmp(tail.mark, MARK, sizeof tail.mark) != 0 || volume_length(vm->nvram) != len || tail.address % PAGE ||
        tail.address < (uint64_t)FIRST_MIB * MIB || tail.address > (uint64_t)LOW_END - len) {
        log_warn("xen: VM %s begins with its firmware's own UEFI variables: those of its record are not of a firmware on Xen", g->vm);
        return 0;
    }
    xenforeignmemory_handle *memory = xenforeignmemory_open(NULL, 0);
    if (!memory) return hv_fail(f, HV_FAIL_BUILD, "xenforeignmemory_open: %s", strerror(errno));
    void *bytes = (void *)(uintptr_t)vm->nvram;
    if (copy_volume(memory, g->domid, tail.address, bytes, len, true) < 0)
        log_warn("xen: VM %s begins with its firmware's own UEFI variables: it has no memory where they were: %s", g->vm, strerror(errno));
    xenforeignmemory_close(memory);
    return 0;
}

int xn_get_nvram(void *d, const char *uuid, struct arena *arena, int64_t deadline_ms, const void **ret_bytes, size_t *ret_len,
                 struct hv_failure *f)
{
    struct xn *xn = d;
    _cleanup_free_ char *path = path_of(xn, uuid), *text = NULL;
    struct xn_guest *running = xn_guest_ref(xn, uuid);
    size_t len = 0;

    *ret_len = 0;
    if (running) {
        xn_guest_unref(xn, running);
        struct xn_guest *g = xn_turn_running(xn, uuid, false, deadline_ms, f);
        if (!g) return -1;
        int rc = g->uefi ? take(xn, g) : 0;
        xn_turn_end(xn, g);
        if (rc < 0) return hv_fail(f, HV_FAIL_ENGINE, "%s: %s", path, strerror(errno));
    }
    if (read_file(path, LIMIT_NVRAM, &text, &len) < 0)
        return errno == ENOENT ? 0 : hv_fail(f, HV_FAIL_ENGINE, "%s: %s", path, strerror(errno));
    char *copy = arena_alloc(arena, len + 1);
    memcpy(copy, text, len);
    *ret_bytes = copy;
    *ret_len = len;
    return 0;
}

/* The record has them since the guest ended: a file is for an agent that was killed before it could ask. */
void xn_nvram_trim(struct xn *xn)
{
    DIR *dir = opendir(xn->nvram_dir);
    struct stat st;

    if (!dir) return;
    for (const struct dirent *e; (e = readdir(dir));) {
        struct xn_guest *here = xn_guest_ref(xn, e->d_name);
        if (!here && *e->d_name != '.' && !fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) &&
            clock_wall_seconds() - st.st_mtime > KEEP_S)
            unlinkat(dirfd(dir), e->d_name, 0);
        if (here) xn_guest_unref(xn, here);
    }
    closedir(dir);
}
