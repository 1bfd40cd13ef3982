/* What the Xen driver and its xapi-domain processes say to each other over a SOCK_SEQPACKET pair.
 * Called by: xen_build.c, xen_stream.c; domain/.  Calls: nothing.
 *
 * Both ends are of one build and one machine, so a message is a struct; `size` guards against anything else.
 * xapi-domain has the socket as descriptor 3 and ends when the other end is closed. */
#ifndef XAPI_HV_DOMAIN_PROTO_H
#define XAPI_HV_DOMAIN_PROTO_H

#include "xapi/hv/hv.h"

enum { DOMAIN_FD = 3, DOMAIN_PATH = 4096, DOMAIN_ARGS = 4096, DOMAIN_WHY = 384 };

/* ---- `xapi-domain build`: one request, one answer, again and again ---- */

struct domain_build {
    uint32_t size;                       /* sizeof this */
    uint32_t domid;
    enum hv_domain_type type;            /* PV, PVH or HVM */
    uint64_t memory_max_bytes;           /* as the guest sees it */
    uint64_t memory_bytes;               /* of which it has these at the start */
    uint32_t vcpus, vcpus_online;
    uint32_t store_port, console_port;
    bool untrusted;                      /* the kernel comes from the guest: nothing of it is kept */
    bool apic;                           /* HVM: firmware describes processors */
    uint32_t vga_bytes;                  /* HVM: the device model's framebuffer, beyond memory */
    char kernel[DOMAIN_PATH], ramdisk[DOMAIN_PATH], args[DOMAIN_ARGS];   /* HVM: kernel = hvmloader */
    char system_firmware[DOMAIN_PATH];   /* HVM: ovmf.bin or bios.bin for hvmloader; "" = none */
};

struct domain_built {
    uint32_t size;
    int32_t rc;                          /* 0 or -1 */
    int32_t code;                        /* errno */
    uint64_t store_frame, console_frame; /* as xenstored is to be told */
    char function[48];                   /* libxenguest's function that failed */
    char why[DOMAIN_WHY];
};

#endif
