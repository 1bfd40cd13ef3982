/* UTF-8: checking, repairing, and finding long runs of bytes that need no escaping.
 * Called by: xmlrpc, json, log.  Calls: strbuf. */
#ifndef LIB_UTF8_H
#define LIB_UTF8_H

#include "lib/strbuf.h"

/* Length (1 to 4) of the well-formed sequence that s starts with, *ret_cp its code point; 0 when there is
 * none: overlong, surrogate, beyond U+10FFFF, cut short. n must be at least 1. */
unsigned utf8_next(const char *s, size_t n, uint32_t *ret_cp);
bool utf8_valid(const char *s, size_t n);
/* Bytes of one code point into out; returns how many. */
unsigned utf8_encode(uint32_t cp, char out[4]);
/* Appends s with every byte that belongs to no well-formed sequence replaced by U+FFFD. */
void utf8_repair(const char *s, size_t n, struct strbuf *out);

#define UTF8_REPLACEMENT "\xef\xbf\xbd"

/* True for the characters XML 1.0 can carry. */
static inline bool utf8_is_xml_char(uint32_t cp)
{
    return cp >= 0x20 ? cp < 0xfffe || cp > 0xffff : cp == '\t' || cp == '\n' || cp == '\r';
}

/* How many bytes at the start of s are plain: ASCII from space up, and none of  < > & "  (XML) or  " \
 * (JSON). The rest is for the slow path, byte by byte. */
size_t utf8_plain_run_xml(const char *s, size_t n);
size_t utf8_plain_run_json(const char *s, size_t n);

#endif
