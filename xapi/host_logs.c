/* Class host: what the machine has to say: logs, kernel messages, bug reports.
 * Called by: the generated thunks (schema/host.xml).  Calls: report, upload, hv/. */
#include "xapi/host.h"

#include <ctype.h>
#include <errno.h>
#include <sys/klog.h>

#define LOG_MODULE "host"
#include "gen/methods.h"
#include "lib/conf.h"
#include "lib/log.h"
#include "xapi/hv/hv.h"
#include "xapi/machine.h"
#include "xapi/report.h"
#include "xapi/upload.h"

enum { LOG_MAX = 1 << 20 };

int host_get_log(struct call *c, struct ref host, const char **ret_result, struct xerr *err)
{
    return host_need_self(c, host, err) ? -1 : report_own_log(c, LOG_MAX, ret_result, err);
}

/* ---- the hypervisor's messages: Xen's own buffer, or the kernel's where the kernel is the hypervisor --- */

/* klogctl(2) */
enum { KLOG_READ_ALL = 3, KLOG_READ_CLEAR = 4, KLOG_SIZE = 10 };

static int read_kernel(struct call *c, int how, const char **ret_text, struct xerr *err)
{
    int size = klogctl(KLOG_SIZE, NULL, 0);
    char *text = size > 0 ? arena_alloc(c->arena, (size_t)size + 1) : NULL;
    int n = text ? klogctl(how, text, size) : -1;

    if (n < 0) return xerr_internal(err, "cannot read the kernel's messages: %s", strerror(errno));
    text[n] = '\0';
    *ret_text = text;
    return 0;
}

static bool on_xen(const struct call *c) { return streq(hv_name(c->agent->hv), "xen"); }

int host_dmesg(struct call *c, struct ref host, const char **ret_result, struct xerr *err)
{
    if (host_need_self(c, host, err)) return -1;
    return on_xen(c) ? hv_dmesg(c->agent->hv, false, c->arena, ret_result, err) : read_kernel(c, KLOG_READ_ALL, ret_result, err);
}

int host_dmesg_clear(struct call *c, struct ref host, const char **ret_result, struct xerr *err)
{
    if (host_need_self(c, host, err)) return -1;
    return on_xen(c) ? hv_dmesg(c->agent->hv, true, c->arena, ret_result, err) : read_kernel(c, KLOG_READ_CLEAR, ret_result, err);
}

int host_send_debug_keys(struct call *c, struct ref host, const char *keys, struct xerr *err)
{
    if (host_need_self(c, host, err)) return -1;
    if (!on_xen(c)) return xerr_operation_not_allowed(err, "The hypervisor of this host has no debug keys");
    for (const char *p = keys; *p; p++)
        if (!isprint((unsigned char)*p) || p - keys > 64) return xerr_invalid_value(err, "keys", keys);
    if (!*keys) return xerr_invalid_value(err, "keys", keys);
    return hv_send_debug_keys(c->agent->hv, keys, err);
}

/* ---- syslog -------------------------------------------------------------------------------------------- */

/* A host name, or an address, with an optional :port. */
static bool good_destination(const char *text)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]";

    return strlen(text) <= 255 && !text[strspn(text, allowed)];
}

/* host.logging["syslog_destination"] gets what the system log gets; none: nobody does any more. */
int host_syslog_reconfigure(struct call *c, struct ref host, struct xerr *err)
{
    const char *destination;

    if (host_need_self(c, host, err)) return -1;
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *row = snap_need(s, CLASS_host, host, err);
        if (!row) return -1;
        destination = arena_strdup(c->arena, row_map_str(row, F_host_logging, "syslog_destination", ""));
    }
    if (!good_destination(destination)) return xerr_invalid_value(err, "syslog_destination", destination);
    return MACHINE(c, NULL, err, "log-to", destination);
}

/* ---- bug reports --------------------------------------------------------------------------------------- */

int host_get_system_status_capabilities(struct call *c, struct ref host, const char **ret_result,
                                        struct xerr *err)
{
    _cleanup_strbuf_ struct strbuf xml = STRBUF_INIT;

    if (host_need_self(c, host, err)) return -1;
    report_capabilities(c->agent, &xml);
    *ret_result = arena_strdup(c->arena, strbuf_cstr(&xml));
    return 0;
}

/* url may end in a slash or name the file; options: none that we know of (a proxy is refused rather than
 * passed by). */
int host_bugreport_upload(struct call *c, struct ref host, const char *url, const struct value *options,
                          struct xerr *err)
{
    const char *path;

    if (host_need_self(c, host, err)) return -1;
    if (*value_get_str(options, "http_proxy", ""))
        return xerr_value_not_supported(err, "http_proxy", value_get_str(options, "http_proxy", ""),
                                        "reports are sent without a proxy");
    if (report_make(c, NULL, "tar.gz", &path, err)) return -1;
    int rc = upload_file(c, path, url, err);
    unlink(path);
    return rc;
}
