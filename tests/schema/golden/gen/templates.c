/* The guest templates made at first start.
 * Made by xapi-gen from schema/: do not edit. */
#include "gen/templates.h"

static const struct template_platform platform_0[] = { { "vga", "std" }, { NULL, NULL } };
static const struct template_disk disks_0[] = { { "0", 10737418240, true }, { "1", 536870912, false }, { NULL, 0, false } };

const struct guest_template guest_templates[N_GUEST_TEMPLATES + 1] = {
    { .uuid = "7921d301-2bf2-4cf2-ba9a-612f16f04e65", .reference_label = "thing-1", .name_label = "A \"thing\"", 
      .firmware = "uefi", .boot_order = "cdn", .install_methods = "", .install_distro = "", .install_arch = "", 
      .min_memory_bytes = 2147483648, .max_memory_bytes = 1099511627776, .vcpus = 1, .vcpus_max = 64,
      .linux_template = false, .has_vendor_device = false, .supports_uefi = false, .supports_secure_boot = false,
      .platform = platform_0, .disks = disks_0 },
    { .uuid = NULL },
};
