/* Strict number parsing and the wire's float format.
 * Called by: xmlrpc, json, conf, rpc/.  Calls: libc. */
#include "lib/num.h"

#include <math.h>
#include <stdio.h>
#include <strings.h>

static const char *skip_digits(const char *s)
{
    while (*s >= '0' && *s <= '9') s++;
    return s;
}

bool num_parse_int(const char *s, int64_t *ret_i)
{
    bool negative = *s == '-';
    const char *digits = s + (*s == '-' || *s == '+');
    uint64_t limit = negative ? (uint64_t)INT64_MAX + 1 : INT64_MAX, u = 0;

    if (!*digits) return false;
    for (const char *p = digits; *p; p++) {
        if (*p < '0' || *p > '9') return false;
        uint64_t digit = (uint64_t)(*p - '0');
        if (u > (limit - digit) / 10) return false;
        u = u * 10 + digit;
    }
    *ret_i = (int64_t)(negative ? 0 - u : u);
    return true;
}

bool num_parse_float(const char *s, double *ret_d)
{
    const char *p = s + (*s == '-' || *s == '+');

    if (!strcasecmp(p, "nan")) {
        *ret_d = (double)NAN;
        return true;
    }
    if (!strcasecmp(p, "inf") || !strcasecmp(p, "infinity")) {
        *ret_d = *s == '-' ? -HUGE_VAL : HUGE_VAL;
        return true;
    }
    const char *whole = p;
    p = skip_digits(p);
    size_t digits = (size_t)(p - whole);
    if (*p == '.') {
        const char *fraction = ++p;
        p = skip_digits(p);
        digits += (size_t)(p - fraction);
    }
    if (!digits) return false;
    if (*p == 'e' || *p == 'E') {
        p++;
        p += *p == '-' || *p == '+';
        if (*p < '0' || *p > '9') return false;
        p = skip_digits(p);
    }
    if (*p) return false;
    *ret_d = strtod(s, NULL);   /* too large becomes infinity, too small zero: both are fine */
    return true;
}

const char *num_float_text(double d, char buf[NUM_FLOAT_TEXT])
{
    if (isnan(d)) return memcpy(buf, "NaN", 4);
    if (isinf(d)) return d < 0 ? memcpy(buf, "-Infinity", 10) : memcpy(buf, "Infinity", 9);
    snprintf(buf, NUM_FLOAT_TEXT, "%.16g", d);
    return buf;
}
