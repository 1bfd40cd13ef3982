/* The error object: a XenAPI code and its parameters.
 * Called by: everyone.  Calls: libc.
 *
 * Fallible functions take `struct xerr *err` last and return 0 or -1. It is set once, where the cause is
 * known, by a generated constructor of gen/errors.h: `return xerr_vm_bad_power_state(err, ...)`. */
#ifndef LIB_XERR_H
#define LIB_XERR_H

#include "lib/util.h"

enum { XERR_MAX_PARAMS = 16 };

struct xerr {
    const char *code;                /* NULL = no error; a literal, or owned when code_owned */
    char *code_owned;
    size_t n;
    char *params[XERR_MAX_PARAMS];   /* owned */
    bool quiet;                      /* only the code is kept */
};

#define XERR_INIT { .code = NULL }
/* For those who ask whether, and not why: nothing is copied. */
#define XERR_QUIET { .quiet = true }

/* Set code and n parameters (all copied but the code, which must be a literal). Always returns -1.
 * err may be NULL. An error that is already set is a programming error. */
int xerr_set(struct xerr *err, const char *code, size_t n, const char *const *params);
/* As xerr_set for a code that is not a literal (errors of SM drivers, plug-ins, other hosts). */
int xerr_set_dynamic(struct xerr *err, const char *code, size_t n, const char *const *params);
/* INTERNAL_ERROR with a formatted message. Always returns -1. */
int xerr_internal(struct xerr *err, const char *fmt, ...) _printf_(2, 3);
void xerr_clear(struct xerr *err);
/* Moves the error; from is empty afterwards. Returns -1. */
int xerr_move(struct xerr *to, struct xerr *from);
static inline bool xerr_is(const struct xerr *err, const char *code) { return err->code && streq(err->code, code); }
/* "CODE: p1, p2" into a malloc'd string, for the log. */
char *xerr_text(const struct xerr *err);

#define _cleanup_xerr_ _cleanup_(xerr_clear)

/* A reference as error parameter or log text; lives until the end of the enclosing block. */
#define REF_STR(r) ref_text((r), (char[REF_TEXT]){ 0 })

#endif
