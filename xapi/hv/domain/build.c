/* `xapi-domain build`: puts kernel and ramdisk into new domains. It stands by, so that kernels are read and unpacked once.
 * Called by: domain/main.c.  Calls: libxenguest, libxenctrl, acpi.c. */
#include "xapi/hv/domain/domain.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <xen/hvm/e820.h>
#include <xen/hvm/hvm_info_table.h>
#include <xen/hvm/params.h>
#include <xenforeignmemory.h>

#include "xapi/hv/domain/acpi.h"

enum { MAX_FILES = 8, MAX_E820 = 8 };
static const uint64_t MIB = UINT64_C(1) << 20, GIB4 = UINT64_C(1) << 32;
static const uint64_t MAX_FILE_BYTES = UINT64_C(256) << 20, MAX_CACHE_BYTES = UINT64_C(768) << 20;
/* Where Xen's own tools put ACPI tables of a PVH guest; RAM ends here, the hole for devices begins. */
static const uint64_t ACPI_ADDRESS = UINT64_C(0xfc000000);
/* Linux before 4.20 looks for the RSDP only in the BIOS area. */
static const uint64_t RSDP_ADDRESS_LINUX = 0x100000 - 64;

/* ---- files ----------------------------------------------------------------------------------- */

/* A kernel or ramdisk as it lies on disk, and a kernel as it is after unpacking. */
struct file {
    char path[DOMAIN_PATH];
    struct stat st;
    void *bytes;                  /* mapped */
    size_t len;
    void *unpacked;               /* malloc'd; NULL = it was not packed, or is not known yet */
    size_t unpacked_len;
    uint64_t used;                /* when it was last wanted */
};

struct builder {
    xc_interface *xch;
    xenforeignmemory_handle *memory;
    struct file files[MAX_FILES];
    uint64_t clock;
};

static void drop_file(struct file *f)
{
    if (f->bytes) munmap(f->bytes, f->len);
    free(f->unpacked);
    memset(f, 0, sizeof *f);
}

static bool same_file(const struct file *f, const char *path, const struct stat *st)
{
    return f->bytes && streq(f->path, path) && f->st.st_dev == st->st_dev && f->st.st_ino == st->st_ino &&
           f->st.st_size == st->st_size && f->st.st_mtim.tv_sec == st->st_mtim.tv_sec &&
           f->st.st_mtim.tv_nsec == st->st_mtim.tv_nsec;
}

/* The slot to use next: a free one, or the one that nobody wanted for longest. */
static struct file *oldest(struct builder *b, const struct file *keep)
{
    struct file *best = NULL;

    for (size_t i = 0; i < MAX_FILES; i++)
        if (&b->files[i] != keep && (!best || b->files[i].used < best->used)) best = &b->files[i];
    return best;
}

static void make_room(struct builder *b, const struct file *keep, const struct file *keep_too)
{
    for (;;) {
        uint64_t all = 0;
        struct file *victim = NULL;
        for (size_t i = 0; i < MAX_FILES; i++) {
            struct file *f = &b->files[i];
            all += f->len + f->unpacked_len;
            if (f->bytes && f != keep && f != keep_too && (!victim || f->used < victim->used)) victim = f;
        }
        if (all <= MAX_CACHE_BYTES || !victim) return;
        drop_file(victim);
    }
}

/* The file, mapped. NULL with errno. A file that shrinks under the map ends this process, not the agent. */
static struct file *open_file(struct builder *b, const char *path, const struct file *keep)
{
    struct stat st;
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0 || fstat(fd, &st) < 0) return NULL;
    if (!S_ISREG(st.st_mode) || st.st_size <= 0 || (uint64_t)st.st_size > MAX_FILE_BYTES) {
        errno = S_ISREG(st.st_mode) && st.st_size > 0 ? EFBIG : EINVAL;
        return NULL;
    }
    for (size_t i = 0; i < MAX_FILES; i++) {
        if (!same_file(&b->files[i], path, &st)) continue;
        b->files[i].used = ++b->clock;
        return &b->files[i];
    }
    void *bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (bytes == MAP_FAILED) return NULL;
    struct file *f = oldest(b, keep);
    drop_file(f);
    snprintf(f->path, sizeof f->path, "%s", path);
    f->st = st;
    f->bytes = bytes;
    f->len = (size_t)st.st_size;
    f->used = ++b->clock;
    make_room(b, f, keep);
    return f;
}

/* ---- failing --------------------------------------------------------------------------------- */

static int fail(struct domain_built *r, const char *function)
{
    int e = errno;

    r->rc = -1;
    r->code = e;
    snprintf(r->function, sizeof r->function, "%s", function);
    snprintf(r->why, sizeof r->why, "%s: %s%s%s", function, strerror(e), *domain_last_error() ? ": " : "",
             domain_last_error());
    return -1;
}

/* The name without its arguments. */
#define STEP(function, ...) \
    do { if (function(__VA_ARGS__) != 0) return fail(r, #function); } while (0)

/* ---- memory ---------------------------------------------------------------------------------- */

/* Where RAM lies: below the hole under 4 GiB, and above. */
static void place_memory(struct xc_dom_image *dom, const struct domain_build *q)
{
    bool hvm = q->type == HV_DOMAIN_HVM;
    uint64_t bytes = q->memory_max_bytes, hole = hvm ? HVM_BELOW_4G_MMIO_START : ACPI_ADDRESS;

    dom->target_pages = (xen_pfn_t)(q->memory_bytes >> XC_PAGE_SHIFT);
    dom->mmio_start = hole;
    dom->mmio_size = GIB4 - hole;
    dom->lowmem_end = bytes < hole ? bytes : hole;
    dom->highmem_end = bytes > hole ? GIB4 + (bytes - hole) : 0;
    dom->vga_hole_size = hvm ? 0x20 : 0;
    dom->device_model = hvm;
}

/* The first MiB of a machine with firmware is hvmloader's to describe, which adds this table to its own. */
static unsigned fill_e820(const struct xc_dom_image *dom, struct e820entry *e820)
{
    const uint64_t first = dom->device_model ? MIB : 0;
    unsigned n = 0;

    e820[n++] = (struct e820entry){ .addr = first, .size = dom->lowmem_end - first, .type = E820_RAM };
    for (size_t i = 0; i < MAX_ACPI_MODULES; i++) {
        const struct xc_hvm_firmware_module *m = &dom->acpi_modules[i];
        if (!m->length || m->guest_addr_out < dom->lowmem_end) continue;
        e820[n++] = (struct e820entry){ .addr = m->guest_addr_out & ~(uint64_t)(XC_PAGE_SIZE - 1),
                                        .size = (m->length + XC_PAGE_SIZE - 1) & ~(uint64_t)(XC_PAGE_SIZE - 1),
                                        .type = E820_ACPI };
    }
    if (dom->highmem_end)
        e820[n++] = (struct e820entry){ .addr = GIB4, .size = dom->highmem_end - GIB4, .type = E820_RAM };
    return n;
}

/* A PVH guest's processors. */
static void describe_acpi(struct xc_dom_image *dom, const struct domain_build *q, struct acpi_tables *acpi)
{
    const char *os = xc_dom_guest_os(dom);
    uint64_t tables_pages = (ACPI_TABLES_MAX + XC_PAGE_SIZE - 1) & ~(uint64_t)(XC_PAGE_SIZE - 1);

    acpi_build(ACPI_ADDRESS, q->vcpus, q->vcpus_online, acpi);
    dom->acpi_modules[0].data = acpi->rsdp;
    dom->acpi_modules[0].length = sizeof acpi->rsdp;
    dom->acpi_modules[0].guest_addr_out =
        os && streq(os, "linux") ? RSDP_ADDRESS_LINUX : ACPI_ADDRESS + tables_pages;
    dom->acpi_modules[1].data = acpi->tables;
    dom->acpi_modules[1].length = (uint32_t)acpi->len;
    dom->acpi_modules[1].guest_addr_out = ACPI_ADDRESS;
}

/* ---- what an HVM guest's firmware reads ------------------------------------------------------ */

static int set_params(xc_interface *xch, const struct domain_build *q, struct domain_built *r)
{
    uint64_t store = 0, console = 0;

    STEP(xc_hvm_param_get, xch, q->domid, HVM_PARAM_STORE_PFN, &store);
    STEP(xc_hvm_param_get, xch, q->domid, HVM_PARAM_CONSOLE_PFN, &console);
    STEP(xc_hvm_param_set, xch, q->domid, HVM_PARAM_STORE_EVTCHN, q->store_port);
    STEP(xc_hvm_param_set, xch, q->domid, HVM_PARAM_CONSOLE_EVTCHN, q->console_port);
    r->store_frame = store;
    r->console_frame = console;
    return 0;
}

/* libxenguest has filled in the memory map; we add the processors. */
static int set_hvm_info(xenforeignmemory_handle *memory, const struct domain_build *q, struct domain_built *r)
{
    const xen_pfn_t pfn = HVM_INFO_PFN;
    void *page = xenforeignmemory_map(memory, q->domid, PROT_READ | PROT_WRITE, 1, &pfn, NULL);
    unsigned sum = 0;

    if (!page) return fail(r, "xenforeignmemory_map");
    struct hvm_info_table *info = (void *)((char *)page + HVM_INFO_OFFSET);
    info->apic_mode = q->apic;
    info->nr_vcpus = q->vcpus;
    memset(info->vcpu_online, 0, sizeof info->vcpu_online);
    for (uint32_t i = 0; i < q->vcpus_online && i / 8 < sizeof info->vcpu_online; i++)
        info->vcpu_online[i / 8] |= (uint8_t)(1 << i % 8);
    info->checksum = 0;
    for (uint32_t i = 0; i < info->length; i++) sum += ((const uint8_t *)info)[i];
    info->checksum = (uint8_t)(0x100 - (sum & 0xff));
    xenforeignmemory_unmap(memory, page, 1);
    return 0;
}

/* ---- one domain ------------------------------------------------------------------------------ */

/* Unpacked kernels are kept: that costs more than all the rest of a start. */
static void keep_unpacked(struct builder *b, struct file *f, const struct xc_dom_image *dom, const struct file *ramdisk)
{
    if (f->unpacked || dom->kernel_blob == f->bytes || dom->kernel_size > MAX_FILE_BYTES) return;
    f->unpacked = xmalloc(dom->kernel_size);
    memcpy(f->unpacked, dom->kernel_blob, dom->kernel_size);
    f->unpacked_len = dom->kernel_size;
    make_room(b, f, ramdisk);
}

static int load_files(struct builder *b, struct xc_dom_image *dom, const struct domain_build *q,
                      struct file **ret_kernel, struct file **ret_ramdisk, struct domain_built *r)
{
    struct file *kernel = open_file(b, q->kernel, NULL), *ramdisk = NULL, *firmware = NULL;

    if (!kernel) return fail(r, q->kernel);
    if (kernel->unpacked) STEP(xc_dom_kernel_mem, dom, kernel->unpacked, kernel->unpacked_len);
    else STEP(xc_dom_kernel_mem, dom, kernel->bytes, kernel->len);
    if (*q->ramdisk) {
        ramdisk = open_file(b, q->ramdisk, kernel);
        if (!ramdisk) return fail(r, q->ramdisk);
        STEP(xc_dom_module_mem, dom, ramdisk->bytes, ramdisk->len, NULL);
        /* A packed ramdisk is the guest's to unpack: nothing larger than the file is made of it here. */
        dom->max_module_size = ramdisk->len;
    }
    if (*q->system_firmware) {
        firmware = open_file(b, q->system_firmware, kernel);
        if (!firmware) return fail(r, q->system_firmware);
        dom->system_firmware_module.data = firmware->bytes;
        dom->system_firmware_module.length = (uint32_t)firmware->len;
    }
    *ret_kernel = kernel;
    *ret_ramdisk = ramdisk;
    return 0;
}

static int build_dom(struct builder *b, struct xc_dom_image *dom, const struct domain_build *q, struct domain_built *r)
{
    bool pv = q->type == HV_DOMAIN_PV;
    struct file *kernel = NULL, *ramdisk = NULL;
    struct acpi_tables acpi;
    struct e820entry e820[MAX_E820];

    dom->container_type = pv ? XC_DOM_PV_CONTAINER : XC_DOM_HVM_CONTAINER;
    dom->xenstore_evtchn = q->store_port;
    dom->console_evtchn = q->console_port;
    dom->xenstore_domid = dom->console_domid = 0;
    dom->max_vcpus = q->vcpus;
    dom->claim_enabled = 1;
    if (!pv) place_memory(dom, q);
    if (load_files(b, dom, q, &kernel, &ramdisk, r) < 0) return -1;

    STEP(xc_dom_boot_xen_init, dom, b->xch, q->domid);
    STEP(xc_dom_parse_image, dom);
    if (!q->untrusted) keep_unpacked(b, kernel, dom, ramdisk);
    STEP(xc_dom_mem_init, dom, (unsigned)((pv ? q->memory_bytes : q->memory_max_bytes) / MIB));
    STEP(xc_dom_boot_mem_init, dom);
    if (!pv) {
        if (q->type == HV_DOMAIN_PVH) describe_acpi(dom, q, &acpi);
        dom->e820_entries = fill_e820(dom, e820);
        dom->e820 = e820;
        STEP(xc_domain_set_memory_map, b->xch, q->domid, e820, dom->e820_entries);
    }
    STEP(xc_dom_build_image, dom);
    STEP(xc_dom_boot_image, dom);
    STEP(xc_dom_gnttab_init, dom);
    if (!pv) {
        if (set_params(b->xch, q, r) < 0) return -1;
        return q->type == HV_DOMAIN_HVM ? set_hvm_info(b->memory, q, r) : 0;
    }
    r->store_frame = xc_dom_p2m(dom, dom->xenstore_pfn);
    r->console_frame = xc_dom_p2m(dom, dom->console_pfn);
    return 0;
}

static void build(struct builder *b, const struct domain_build *q, struct domain_built *r)
{
    domain_clear_error();
    errno = 0;
    struct xc_dom_image *dom = xc_dom_allocate(b->xch, q->args, NULL);
    if (!dom) {
        fail(r, "xc_dom_allocate");
        return;
    }
    build_dom(b, dom, q, r);
    xc_dom_release(dom);
    if (!q->untrusted) return;
    for (size_t i = 0; i < MAX_FILES; i++)
        if (streq(b->files[i].path, q->kernel) || streq(b->files[i].path, q->ramdisk)) drop_file(&b->files[i]);
}

/* Texts end, numbers are sane: the driver has checked them, a message of another build has not. */
static bool request_ok(const struct domain_build *q, ssize_t n)
{
    return n == (ssize_t)sizeof *q && q->size == sizeof *q && q->vcpus >= 1 && q->vcpus_online <= q->vcpus &&
           memchr(q->kernel, '\0', sizeof q->kernel) && memchr(q->ramdisk, '\0', sizeof q->ramdisk) &&
           memchr(q->args, '\0', sizeof q->args) && memchr(q->system_firmware, '\0', sizeof q->system_firmware);
}

int domain_build_main(void)
{
    struct builder b = { .xch = NULL };
    static struct domain_build q;

    b.xch = xc_interface_open(domain_logger(), domain_logger(), 0);
    b.memory = xenforeignmemory_open(domain_logger(), 0);
    for (;;) {
        struct domain_built r = { .size = sizeof r };
        ssize_t n = recv(DOMAIN_FD, &q, sizeof q, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return 0;
        if (!request_ok(&q, n)) return 2;
        if (b.xch && b.memory) build(&b, &q, &r);
        else fail(&r, "xc_interface_open");
        if (send(DOMAIN_FD, &r, sizeof r, MSG_NOSIGNAL) != (ssize_t)sizeof r) return 1;
    }
}
