/* Help that the guard and the drivers share: failures, device names, platform keys, the clock.
 * Called by: hv.c, hv_check.c, sim*.c, libvirt*.c.  Calls: lib/clock. */
#include "xapi/hv/hv_driver.h"

#include <stdarg.h>
#include <stdio.h>
#include <strings.h>

#include "lib/clock.h"

int hv_fail(struct hv_failure *f, enum hv_fail_kind kind, const char *fmt, ...)
{
    va_list ap;

    f->kind = kind;
    va_start(ap, fmt);
    vsnprintf(f->why, sizeof f->why, fmt, ap);
    va_end(ap);
    for (char *p = f->why; *p; p++)
        if ((unsigned char)*p < ' ') *p = ' ';
    return -1;
}

int64_t hv_now_ms(void) { return clock_boottime_ns() / NS_PER_MS; }

int hv_slot(const char *device)
{
    int slot = 0;

    if (device[0] >= '0' && device[0] <= '9') {
        for (const char *p = device; *p; p++) {
            if (*p < '0' || *p > '9' || slot > 255) return -1;
            slot = slot * 10 + (*p - '0');
        }
        return slot <= 255 ? slot : -1;
    }
    if (has_prefix(device, "xvd")) device += 3;
    else if (strlen(device) > 2 && device[1] == 'd' && strchr("hsv", device[0])) device += 2;
    else return -1;
    if (!*device) return -1;
    for (const char *p = device; *p; p++) {
        if (*p < 'a' || *p > 'z' || slot > 255) return -1;
        slot = slot * 26 + (*p - 'a' + 1);
    }
    return slot <= 256 ? slot - 1 : -1;
}

const char *hv_slot_name(const char *prefix, unsigned slot, char buf[HV_DEVICE_TEXT])
{
    char letters[8];
    size_t n = sizeof letters;

    letters[--n] = '\0';
    for (unsigned i = slot + 1; i && n; i = (i - 1) / 26) letters[--n] = (char)('a' + (i - 1) % 26);
    snprintf(buf, HV_DEVICE_TEXT, "%s%s", prefix, letters + n);
    return buf;
}

const char *hv_pair_get(const struct hv_pair *pairs, size_t n, const char *key, const char *fallback)
{
    for (size_t i = 0; i < n; i++)
        if (streq(pairs[i].key, key)) return pairs[i].value;
    return fallback;
}

bool hv_pair_bool(const struct hv_pair *pairs, size_t n, const char *key, bool fallback)
{
    const char *s = hv_pair_get(pairs, n, key, NULL);

    if (!s) return fallback;
    return !strcasecmp(s, "true") || streq(s, "1") || !strcasecmp(s, "yes") || !strcasecmp(s, "on");
}

const char *hv_proc_line(const char *text, const char *name, struct arena *a)
{
    for (const char *p = text; (p = strstr(p, name)); p++) {
        if (p != text && p[-1] != '\n') continue;
        const char *colon = p + strlen(name) + strspn(p + strlen(name), " \t");
        if (*colon != ':') continue;
        colon += 1 + strspn(colon + 1, " \t");
        return arena_strndup(a, colon, strcspn(colon, "\n"));
    }
    return "";
}

unsigned hv_proc_number(const char *text, const char *name, struct arena *a)
{
    return (unsigned)strtoul(hv_proc_line(text, name, a), NULL, 10);
}
