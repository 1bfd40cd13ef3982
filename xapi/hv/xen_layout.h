/* Which nodes of xenstore a domain and its devices have: the agreement with guests, kernels and Xen's own tools.
 * Called by: xen_create.c, xen_device.c, their unit test.  Calls: xen_store (batches only). */
#ifndef XAPI_HV_XEN_LAYOUT_H
#define XAPI_HV_XEN_LAYOUT_H

#include "xapi/hv/xen_store.h"

enum { XN_PATH = 128 };

/* "/local/domain/5/REST"; into buf, which it returns. */
const char *xn_path(char buf[XN_PATH], int64_t domid, const char *fmt, ...) _printf_(3, 4);
#define XN_P(domid, ...) xn_path((char[XN_PATH]){ 0 }, domid, __VA_ARGS__)

/* Number of a virtual disk: "xvda" is 51712 (202:0 of Linux), 16 apart; from "xvdq" on the extended scheme. */
unsigned xn_devid(unsigned slot);

/* ---- a domain ---- */

/* All that a new domain needs before its memory is built; ends with what is only for firmware (HVM). */
void xn_layout_domain(struct xst_batch *b, int64_t domid, const struct hv_vm *vm, int64_t video_bytes);
/* The rings, once they are known, and the introduction itself. */
void xn_layout_rings(struct xst_batch *b, int64_t domid, uint64_t store_frame, unsigned store_port,
                     uint64_t console_frame, unsigned console_port);
/* Everything but device backends goes. */
void xn_layout_forget(struct xst_batch *b, int64_t domid, const char *uuid);
/* Availability of vcpu i. */
void xn_layout_vcpu(struct xst_batch *b, int64_t domid, unsigned i, bool online);

/* ---- devices ---- */

enum xn_class { XN_VBD, XN_VIF };
const char *xn_class_name(enum xn_class class);      /* "vbd", "vif" */
/* "/local/domain/0/backend/vbd/5/51712/REST" and "/local/domain/5/device/vbd/51712/REST". */
const char *xn_backend(char buf[XN_PATH], enum xn_class class, int64_t domid, unsigned devid, const char *rest);
const char *xn_frontend(char buf[XN_PATH], enum xn_class class, int64_t domid, unsigned devid, const char *rest);
#define XN_B(...) xn_backend((char[XN_PATH]){ 0 }, __VA_ARGS__)
#define XN_F(...) xn_frontend((char[XN_PATH]){ 0 }, __VA_ARGS__)

struct xn_vbd_nodes {
    unsigned slot, devid;
    unsigned major, minor;       /* of the block device behind it */
    const char *path;            /* as the user named it: for Xen's own tools */
    bool readonly, cdrom;
};
void xn_layout_vbd(struct xst_batch *b, int64_t domid, const struct xn_vbd_nodes *disk);
struct xn_vif_nodes {
    unsigned device, mtu;
    const char *mac, *bridge;
    int64_t rate_bytes;          /* a second; 0 = no limit */
};
void xn_layout_vif(struct xst_batch *b, int64_t domid, const struct xn_vif_nodes *nic);
/* What tools in the guest (feature-static-ip-setting) are to give a card, under the names that they know: they watch it, and tell by
 * error-code and error-msg how it went. */
void xn_layout_addresses(struct xst_batch *b, int64_t domid, unsigned device, const char *mac, const struct hv_nic_address *ipv4,
                         const struct hv_nic_address *ipv6);
void xn_layout_drop_addresses(struct xst_batch *b, int64_t domid, unsigned device);
/* Both ends vanish. */
void xn_layout_drop_device(struct xst_batch *b, enum xn_class class, int64_t domid, unsigned devid);

#endif
