/* What a guest's drivers and tools say of it in xenstore, under the names of xe-guest-utilities. All of it is hostile.
 * Called by: xen_stats.c, its unit test and fuzz target.  Calls: xen_store (batches only), lib/utf8.
 *
 * Only paths that are named here are read: a guest can neither make the list longer nor, as xenstored limits a value to 4 KiB, one
 * answer. Texts become valid, printable and short; what must be a number or an address and is none is left out. */
#include "xapi/hv/xen_tools.h"

#include <arpa/inet.h>
#include <stdio.h>

#include "lib/num.h"
#include "lib/utf8.h"

enum { MAX_TEXT = 256, MAX_PAIRS = 64, XENBUS_CONNECTED = 4 };

/* ---- what is asked --------------------------------------------------------------------------- */

enum part { PART_OS, PART_DRIVERS, PART_OTHER, PART_FEATURE };

static const struct {
    enum part part;
    const char *path, *key;
} asked[] = {
    { PART_OS, "data/os_name", "name" },
    { PART_OS, "data/os_uname", "uname" },
    { PART_OS, "data/os_distro", "distro" },
    { PART_OS, "data/os_majorver", "major" },
    { PART_OS, "data/os_minorver", "minor" },
    { PART_OS, "attr/os/class", "class" },
    { PART_OS, "attr/os/major", "windows_major" },
    { PART_OS, "attr/os/minor", "windows_minor" },
    { PART_OS, "attr/os/build", "build" },
    { PART_OS, "attr/os/platform", "platform" },
    { PART_OS, "attr/os/spmajor", "spmajor" },
    { PART_OS, "attr/os/spminor", "spminor" },
    { PART_DRIVERS, "attr/PVAddons/MajorVersion", "major" },
    { PART_DRIVERS, "attr/PVAddons/MinorVersion", "minor" },
    { PART_DRIVERS, "attr/PVAddons/MicroVersion", "micro" },
    { PART_DRIVERS, "attr/PVAddons/BuildVersion", "build" },
    { PART_OTHER, "drivers/0", "drivers-0" },
    { PART_OTHER, "drivers/1", "drivers-1" },
    { PART_OTHER, "drivers/2", "drivers-2" },
    { PART_OTHER, "drivers/3", "drivers-3" },
    { PART_OTHER, "data/cant_suspend_reason", "data-cant-suspend-reason" },
    { PART_FEATURE, "control/feature-poweroff", "feature-poweroff" },
    { PART_FEATURE, "control/feature-reboot", "feature-reboot" },
    { PART_FEATURE, "control/feature-shutdown", "feature-shutdown" },
    { PART_FEATURE, "control/feature-suspend", "feature-suspend" },
    { PART_FEATURE, "control/feature-sysrq", "feature-sysrq" },
    { PART_FEATURE, "control/feature-balloon", "feature-balloon" },
    { PART_FEATURE, "control/feature-vcpu-hotplug", "feature-vcpu-hotplug" },
    { PART_FEATURE, "control/feature-quiesce", "feature-quiesce" },
    { PART_FEATURE, "control/feature-ts2", "feature-ts2" },
    { PART_FEATURE, "control/feature-xs-batcmd", "feature-xs-batcmd" },
    { PART_FEATURE, "control/feature-static-ip-setting", "feature-static-ip-setting" },
};

struct xn_tools_asked {
    size_t named, host_name, updated, hotplug_vbd, hotplug_vif, nics, devices;   /* numbers of reads */
};

void xn_tools_ask(struct xst_batch *b, const struct xn_tools_of *of, struct arena *a, const struct xn_tools_asked **ret_asked)
{
    struct xn_tools_asked *k = arena_zalloc(a, sizeof *k);

    k->named = b->n;
    for (size_t i = 0; i < ARRAY_SIZE(asked); i++) xst_read(b, XN_P(of->domid, "%s", asked[i].path));
    k->host_name = xst_read(b, XN_P(of->domid, "data/host_name"));
    k->updated = xst_read(b, XN_P(of->domid, "data/updated"));
    k->hotplug_vbd = xst_read(b, XN_P(of->domid, "feature/hotplug/vbd"));
    k->hotplug_vif = xst_read(b, XN_P(of->domid, "feature/hotplug/vif"));
    k->nics = b->n;
    for (size_t i = 0; i < of->n_nics; i++) {
        for (unsigned n = 0; n < XN_TOOLS_IPS; n++) xst_read(b, XN_P(of->domid, "attr/vif/%u/ipv4/%u", of->nics[i], n));
        for (unsigned n = 0; n < XN_TOOLS_IPS; n++) xst_read(b, XN_P(of->domid, "attr/vif/%u/ipv6/%u", of->nics[i], n));
        xst_read(b, XN_P(of->domid, "attr/eth%u/ip", of->nics[i]));
    }
    k->devices = b->n;
    for (size_t i = 0; i < of->n_disks; i++) xst_read(b, XN_P(of->domid, "device/vbd/%u/state", of->disks[i]));
    for (size_t i = 0; i < of->n_nics; i++) xst_read(b, XN_P(of->domid, "device/vif/%u/state", of->nics[i]));
    *ret_asked = k;
}

/* ---- what was said --------------------------------------------------------------------------- */

/* Characters that XML may carry, on one line; anything else becomes a question mark. NULL when nothing was said. */
static const char *text(const struct xst_batch *b, size_t i, struct arena *a)
{
    const char *said = xst_value(b, i);
    _cleanup_strbuf_ struct strbuf clean = STRBUF_INIT;

    if (!said || !*said) return NULL;
    for (size_t n = strlen(said), step; n && clean.len < MAX_TEXT; said += step, n -= step) {
        uint32_t cp = 0;
        unsigned len = utf8_next(said, n, &cp);
        step = len ? len : 1;
        if (len && cp >= ' ' && cp != 0x7f && utf8_is_xml_char(cp)) strbuf_add(&clean, said, len);
        else strbuf_char(&clean, '?');
    }
    return arena_strdup(a, strbuf_cstr(&clean));
}

static bool yes(const struct xst_batch *b, size_t i) { return xst_value(b, i) && streq(xst_value(b, i), "1"); }

struct pairs {
    struct hv_pair *all;
    size_t n;
};

static void put(struct pairs *p, const char *key, const char *value)
{
    if (value && p->n < MAX_PAIRS) p->all[p->n++] = (struct hv_pair){ key, value };
}

static void take_named(const struct xst_batch *b, const struct xn_tools_asked *k, struct arena *a, struct hv_guest_info *info)
{
    struct pairs parts[3];

    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) parts[i] = (struct pairs){ arena_new_array(a, struct hv_pair, MAX_PAIRS), 0 };
    for (size_t i = 0; i < ARRAY_SIZE(asked); i++) {
        if (asked[i].part != PART_FEATURE) put(&parts[asked[i].part], asked[i].key, text(b, k->named + i, a));
        else if (xst_value(b, k->named + i)) put(&parts[PART_OTHER], asked[i].key, yes(b, k->named + i) ? "1" : "0");
    }
    info->os = parts[PART_OS].all;
    info->n_os = parts[PART_OS].n;
    info->drivers = parts[PART_DRIVERS].all;
    info->n_drivers = parts[PART_DRIVERS].n;
    info->other = parts[PART_OTHER].all;
    info->n_other = parts[PART_OTHER].n;
}

/* Addresses only, in the form that everybody writes them. */
static const char *address(const struct xst_batch *b, size_t i, int family, struct arena *a)
{
    const char *said = xst_value(b, i);
    char bytes[sizeof(struct in6_addr)], out[INET6_ADDRSTRLEN];

    if (!said || inet_pton(family, said, bytes) != 1 || !inet_ntop(family, bytes, out, sizeof out)) return NULL;
    return arena_strdup(a, out);
}

static void take_addresses(const struct xst_batch *b, const struct xn_tools_asked *k, const struct xn_tools_of *of, struct arena *a,
                           struct hv_guest_info *info)
{
    struct hv_guest_nic *nics = arena_new_array(a, struct hv_guest_nic, of->n_nics + 1);
    const size_t each = 2 * XN_TOOLS_IPS + 1;

    for (size_t i = 0; i < of->n_nics; i++) {
        const char **ips = arena_new_array(a, const char *, each + 1);
        size_t at = k->nics + i * each, n = 0;
        for (size_t m = 0; m < each; m++) {
            bool old = m == each - 1;      /* attr/eth0/ip: of tools that do not know the others */
            const char *ip = old && n ? NULL : address(b, at + m, old || m < XN_TOOLS_IPS ? AF_INET : AF_INET6, a);
            if (ip) ips[n++] = ip;
        }
        if (n) nics[info->n_nics++] = (struct hv_guest_nic){ .name = "", .mac = "", .device = (int)of->nics[i], .addresses = ips };
    }
    info->nics = nics;
}

static enum hv_says says(const struct xst_batch *b, size_t i)
{
    return !xst_value(b, i) ? HV_SAYS_NOTHING : yes(b, i) ? HV_SAYS_YES : HV_SAYS_NO;
}

void xn_tools_take(const struct xst_batch *b, const struct xn_tools_asked *k, const struct xn_tools_of *of, struct arena *a,
                   struct hv_guest_info *ret_info)
{
    const char *host = text(b, k->host_name, a);
    struct hv_guest_info info = {
        .os_id = "", .os_name = "", .os_version = "", .os_kernel = "", .timezone = "",
        .hostname = host ? host : "",
        .agent = xst_value(b, k->updated),
        .hotplug_vbd = says(b, k->hotplug_vbd),
        .hotplug_vif = says(b, k->hotplug_vif),
    };

    take_named(b, k, a, &info);
    take_addresses(b, k, of, a, &info);
    info.drivers_seen = info.n_drivers > 0;
    for (size_t i = 0; i < of->n_disks + of->n_nics && !info.drivers_seen; i++)
        info.drivers_seen = xst_value_int(b, k->devices + i, 0) == XENBUS_CONNECTED;
    *ret_info = info;
}
