/* The error object.
 * Called by: everyone.  Calls: strbuf. */
#include "lib/xerr.h"

#include "lib/strbuf.h"

#include <assert.h>
#include <stdarg.h>

int xerr_set(struct xerr *err, const char *code, size_t n, const char *const *params)
{
    if (!err) return -1;
    assert(!err->code);
    err->code = code;
    if (err->quiet) return -1;
    err->n = n < XERR_MAX_PARAMS ? n : XERR_MAX_PARAMS;
    for (size_t i = 0; i < err->n; i++) err->params[i] = xstrdup(params[i] ? params[i] : "");
    return -1;
}

int xerr_set_dynamic(struct xerr *err, const char *code, size_t n, const char *const *params)
{
    if (!err) return -1;
    xerr_set(err, "", n, params);
    err->code = err->code_owned = xstrdup(code);
    return -1;
}

int xerr_internal(struct xerr *err, const char *fmt, ...)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
    va_list ap;

    if (err && err->quiet) return xerr_set(err, "INTERNAL_ERROR", 0, NULL);
    va_start(ap, fmt);
    strbuf_vprintf(&b, fmt, ap);
    va_end(ap);
    return xerr_set(err, "INTERNAL_ERROR", 1, (const char *[]){ strbuf_cstr(&b) });
}

void xerr_clear(struct xerr *err)
{
    for (size_t i = 0; i < err->n; i++) free(err->params[i]);
    free(err->code_owned);
    *err = (struct xerr)XERR_INIT;
}

int xerr_move(struct xerr *to, struct xerr *from)
{
    if (to) {
        assert(!to->code);
        *to = *from;
        *from = (struct xerr)XERR_INIT;
    } else {
        xerr_clear(from);
    }
    return -1;
}

char *xerr_text(const struct xerr *err)
{
    struct strbuf b = STRBUF_INIT;

    strbuf_str(&b, err->code ? err->code : "no error");
    for (size_t i = 0; i < err->n; i++) strbuf_printf(&b, "%s%s", i ? ", " : ": ", err->params[i]);
    return strbuf_take(&b);
}
