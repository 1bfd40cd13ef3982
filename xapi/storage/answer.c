/* What a driver's process said.
 * Called by: slot.c, tests/fuzz.  Calls: xmlrpc. */
#define LOG_MODULE "storage"

#include "xapi/storage/answer.h"

#include <inttypes.h>
#include <stdio.h>

#include "gen/errors.h"
#include "lib/log.h"
#include "lib/num.h"
#include "lib/xmlrpc.h"

static int fail_numbered(int64_t number, const char *text, struct xerr *err)
{
    const char *params[] = { "", text, "" };
    char code[48];

    snprintf(code, sizeof(code), "SR_BACKEND_FAILURE_%" PRId64, number);
    return xerr_set_dynamic(err, code, ARRAY_SIZE(params), params);
}

/* A foreign driver's <fault>: struct of faultCode and faultString. True when it was one. */
static bool take_fault(const struct strbuf *out, struct arena *a, struct xerr *err)
{
    const char *fault = strstr(strbuf_cstr(out), "<fault>"), *why,
               *end = fault ? strstr(fault, "</fault>") : NULL;
    struct value v;
    int64_t number = 0;

    if (!end) return false;
    fault += strlen("<fault>");
    if (xmlrpc_decode_value(fault, (size_t)(end - fault), a, &v, &why)) return false;
    const struct value *code = value_get(&v, "faultCode");
    if (code && code->kind == VALUE_INT) number = code->i;
    else num_parse_int(value_get_str(&v, "faultCode", "0"), &number);
    fail_numbered(number, value_get_str(&v, "faultString", ""), err);
    return true;
}

int storage_read_answer(const struct storage_driver *d, const struct storage_sr *sr, const struct strbuf *out, struct arena *a,
                        struct value *ret_answer, struct xerr *err)
{
    _cleanup_xerr_ struct xerr failure = XERR_INIT;
    struct value response;
    const char *why = NULL;
    int rc;

    if (d->foreign && take_fault(out, a, &failure)) {
        rc = -1;
    } else if (xmlrpc_decode_response(strbuf_cstr(out), out->len, a, &response, &why)) {
        log_warn("%s: unreadable answer: %s", d->program, why);
        return xerr_sm_plugin_communication_failure(err, d->type);
    } else if (d->foreign && !value_get(&response, "Status")) {
        *ret_answer = response;
        return 0;
    } else {
        rc = xmlrpc_result(&response, ret_answer, &failure);
    }
    if (rc == 0) return 0;
    if (sr && xerr_is(&failure, "SR_BACKEND_FAILURE_38")) return xerr_sr_operation_not_supported(err, REF_STR(sr->ref));
    return xerr_move(err, &failure);
}
