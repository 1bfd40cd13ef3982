/* Numbers to text and back, strictly and the same in every locale the programs run in.
 * Called by: xmlrpc, json, conf, rpc/.  Calls: libc. */
#ifndef LIB_NUM_H
#define LIB_NUM_H

#include "lib/util.h"

/* An optional sign and decimal digits, nothing else, within 64 bits. False, *ret_i untouched, otherwise. */
bool num_parse_int(const char *s, int64_t *ret_i);
/* "1", "1.5", "-2e10", and NaN, inf, Infinity in any case with a sign. No hexadecimal, no white space. */
bool num_parse_float(const char *s, double *ret_d);

enum { NUM_FLOAT_TEXT = 32 };
/* "%.16g"; "NaN", "Infinity", "-Infinity": the spellings that every XenAPI client's float parser takes.
 * Returns buf. */
const char *num_float_text(double d, char buf[NUM_FLOAT_TEXT]);

#endif
