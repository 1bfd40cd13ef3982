/* The guest templates made at first start.
 * Made by xapi-gen from schema/: do not edit. */
#ifndef GEN_TEMPLATES_H
#define GEN_TEMPLATES_H

#include "lib/util.h"

struct template_platform {
    const char *key, *value;
};

struct template_disk {
    const char *device;
    uint64_t size_bytes;
    bool bootable;
};

struct guest_template {
    const char *uuid, *reference_label, *name_label;
    const char *firmware;              /* bios, uefi, pv */
    const char *boot_order, *install_methods, *install_distro, *install_arch;   /* "" = none */
    uint64_t min_memory_bytes, max_memory_bytes;
    int64_t vcpus, vcpus_max;
    bool linux_template, has_vendor_device, supports_uefi, supports_secure_boot;
    const struct template_platform *platform;   /* ends with key NULL */
    const struct template_disk *disks;          /* ends with device NULL */
};

enum { N_GUEST_TEMPLATES = 1 };
extern const struct guest_template guest_templates[N_GUEST_TEMPLATES + 1];   /* the last has no uuid */

#endif
