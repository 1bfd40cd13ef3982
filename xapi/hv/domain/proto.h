/* What the Xen driver and its xapi-domain processes say to each other over a SOCK_SEQPACKET pair.
 * Called by: xen_build.c, xen_stream.c; domain/.  Calls: nothing.
 *
 * Both ends are of one build and one machine, so a message is a struct; `size` guards against anything else.
 * xapi-domain has the socket as descriptor 3 and ends when the other end is closed. */
#ifndef XAPI_HV_DOMAIN_PROTO_H
#define XAPI_HV_DOMAIN_PROTO_H

#include "xapi/hv/hv.h"

enum { DOMAIN_FD = 3, DOMAIN_STREAM_FD = 4, DOMAIN_PATH = 4096, DOMAIN_ARGS = 4096, DOMAIN_WHY = 384, DOMAIN_TEXT = 65536 };

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

/* ---- `xapi-domain save` and `xapi-domain restore`: one guest through the stream on DOMAIN_STREAM_FD ----
 *
 * save:     domain_save ->; <- DOMAIN_SUSPEND, <- DOMAIN_DIRTY_LOG, each answered by a domain_reply; <- DOMAIN_DONE.
 * restore:  <- DOMAIN_HEAD; the driver makes an empty domain; domain_restore ->; <- DOMAIN_DONE.
 *
 * The stream, in the byte order of the machine:
 *   struct stream_head and its text; an image on disk has no magic before all of it is there and synced
 *   libxenguest's own stream, which knows where it ends
 *   struct stream_record and its bytes, again and again; the last is STREAM_END */

#define STREAM_MAGIC "xapiXEN1"
enum { STREAM_MAGIC_BYTES = 8, STREAM_VERSION = 1, STREAM_DEVICES_MAX = 64 << 20 };
struct stream_head {
    char magic[STREAM_MAGIC_BYTES];
    uint32_t version, text_bytes;        /* text: JSON, what the empty domain must be like */
};
enum stream_kind {
    STREAM_END,
    STREAM_NODES,                        /* JSON map: what the guest wrote into xenstore, by path below its home */
    STREAM_DEVICES,                      /* the device model's state, QEMU's own format */
};
struct stream_record {
    uint32_t kind, zero;
    uint64_t bytes;
};

struct domain_save {
    uint32_t size;
    uint32_t domid;
    bool live;                           /* the guest runs on while most of its memory is sent */
    bool file;                           /* the stream is a file or block device from its beginning */
    char devices[DOMAIN_PATH];           /* the file that has the device model's state after DOMAIN_SUSPEND; "" = none */
    char text[DOMAIN_TEXT];              /* stream_head's */
};

struct domain_restore {
    uint32_t size;
    uint32_t domid;
    uint32_t store_port, console_port;
    char devices[DOMAIN_PATH];           /* where the device model's state is to be put */
};

enum domain_event_kind { DOMAIN_HEAD, DOMAIN_SUSPEND, DOMAIN_DIRTY_LOG, DOMAIN_DONE };
struct domain_event {
    uint32_t size;
    enum domain_event_kind kind;
    bool on;                             /* DIRTY_LOG */
    bool devices;                        /* DONE of a restore: there was a device model */
    int32_t rc, code;                    /* DONE: 0 or -1, errno */
    uint64_t store_frame, console_frame; /* DONE of a restore */
    char why[DOMAIN_WHY];
    char text[DOMAIN_TEXT];              /* HEAD: stream_head's; DONE of a restore: STREAM_NODES */
};
struct domain_reply {
    uint32_t size;
    int32_t rc;                          /* 0 = go on */
    char text[DOMAIN_TEXT];              /* to SUSPEND: STREAM_NODES */
};

#endif
