/* Dates without the C library's time zone and locale machinery.
 * Called by: xmlrpc, json, rpc/, log.  Calls: libc. */
#include "lib/iso8601.h"

enum { DAY = 86400 };

/* Days from 1970-01-01 in the proleptic Gregorian calendar; years count from March, so that leap days come
 * last. */
static int64_t days_from_date(int64_t y, int64_t m, int64_t d)
{
    y -= m <= 2;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;

    return era * 146097 + day_of_era - 719468;
}

static void date_from_days(int64_t days, int64_t *y, int64_t *m, int64_t *d)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int64_t day_of_era = days - era * 146097;
    int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t march_month = (5 * day_of_year + 2) / 153;

    *d = day_of_year - (153 * march_month + 2) / 5 + 1;
    *m = march_month < 10 ? march_month + 3 : march_month - 9;
    *y = year_of_era + era * 400 + (*m <= 2);
}

static char *put_digits(char *p, int64_t i, int n)
{
    for (int at = n - 1; at >= 0; at--, i /= 10) p[at] = (char)('0' + i % 10);
    return p + n;
}

const char *iso8601_local_text(int64_t seconds, char buf[ISO8601_TEXT])
{
    const int64_t least = -62167219200, most = 253402300799;   /* years 0000 and 9999 */
    int64_t y, m, d;
    char *p = buf;

    if (seconds < least) seconds = least;
    if (seconds > most) seconds = most;
    int64_t days = (seconds >= 0 ? seconds : seconds - (DAY - 1)) / DAY;
    int64_t rest = seconds - days * DAY;
    date_from_days(days, &y, &m, &d);
    p = put_digits(p, y, 4);
    p = put_digits(p, m, 2);
    p = put_digits(p, d, 2);
    *p++ = 'T';
    p = put_digits(p, rest / 3600, 2);
    *p++ = ':';
    p = put_digits(p, rest / 60 % 60, 2);
    *p++ = ':';
    p = put_digits(p, rest % 60, 2);
    *p = '\0';
    return buf;
}

const char *iso8601_text(int64_t seconds, char buf[ISO8601_TEXT])
{
    iso8601_local_text(seconds, buf);
    memcpy(buf + 17, "Z", 2);
    return buf;
}

/* Exactly n digits at *p, moved past; -1 when there are fewer. */
static int64_t take_digits(const char **p, int n)
{
    int64_t i = 0;

    for (int at = 0; at < n; at++) {
        char c = (*p)[at];
        if (c < '0' || c > '9') return -1;
        i = i * 10 + (c - '0');
    }
    *p += n;
    return i;
}

static bool take_char(const char **p, char c)
{
    if (**p != c) return false;
    ++*p;
    return true;
}

static int64_t month_days(int64_t y, int64_t m)
{
    static const unsigned char days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    bool leap = y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);

    return days[m - 1] + (m == 2 && leap);
}

static bool take_date(const char **p, int64_t *ret_days)
{
    int64_t y = take_digits(p, 4);
    bool dashes = take_char(p, '-');
    int64_t m = take_digits(p, 2);

    if (y < 0 || m < 1 || m > 12 || (dashes && !take_char(p, '-'))) return false;
    int64_t d = take_digits(p, 2);
    if (d < 1 || d > month_days(y, m)) return false;
    *ret_days = days_from_date(y, m, d);
    return true;
}

static bool take_time(const char **p, int64_t *ret_seconds)
{
    int64_t h = take_digits(p, 2);
    bool colons = take_char(p, ':');
    int64_t m = take_digits(p, 2), s = 0;

    if (h < 0 || h > 23 || m < 0 || m > 59) return false;
    if (colons ? take_char(p, ':') : **p >= '0' && **p <= '9') {
        s = take_digits(p, 2);
        if (s < 0 || s > 60) return false;   /* 60: a leap second */
        if (take_char(p, '.') || take_char(p, ',')) {
            if (take_digits(p, 1) < 0) return false;
            while (take_digits(p, 1) >= 0) continue;
        }
    }
    *ret_seconds = h * 3600 + m * 60 + s;
    return true;
}

static bool take_zone(const char **p, int64_t *ret_offset)
{
    *ret_offset = 0;
    if (!**p || take_char(p, 'Z') || take_char(p, 'z')) return true;
    int64_t sign = take_char(p, '-') ? -1 : take_char(p, '+') ? 1 : 0;
    int64_t h = sign ? take_digits(p, 2) : -1, m = 0;
    if (h < 0 || h > 23) return false;
    if (take_char(p, ':') || **p) m = take_digits(p, 2);
    if (m < 0 || m > 59) return false;
    *ret_offset = sign * (h * 3600 + m * 60);
    return true;
}

bool iso8601_parse(const char *s, int64_t *ret_seconds)
{
    int64_t days, seconds = 0, offset = 0;

    if (!take_date(&s, &days)) return false;
    if (take_char(&s, 'T') || take_char(&s, 't') || take_char(&s, ' ')) {
        if (!take_time(&s, &seconds) || !take_zone(&s, &offset)) return false;
    }
    if (*s) return false;
    *ret_seconds = days * DAY + seconds - offset;
    return true;
}
