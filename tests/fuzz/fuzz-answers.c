/* Fuzzes what programs answer that are not ours: storage drivers of the common interface (after an S) and of the older one (after
 * an F), plug-ins of external directories (after an A). Whatever they print is a value or an error with a code.
 * Called by: libFuzzer, AFL++, replay.c.  Calls: storage, ext_auth. */
#include "tests/fuzz/fuzz.h"

#include "lib/log.h"
#include "lib/xmlrpc.h"
#include "xapi/ext_auth.h"
#include "xapi/storage/answer.h"

static void check(int rc, const struct value *v, const struct xerr *err)
{
    if (rc) {
        MUST(err->code && *err->code);
        for (unsigned i = 0; i < err->n; i++) MUST(err->params[i]);
    } else {
        MUST(!err->code);
        fuzz_check_value(v, 0);
    }
}

static void read_driver(const char *text, size_t n, bool foreign, struct arena *a)
{
    const struct storage_driver d = { .type = "file", .program = "driver", .foreign = foreign };
    const struct storage_sr sr = { .ref = ref_new(), .uuid = "x", .type = "file" };
    _cleanup_strbuf_ struct strbuf out = STRBUF_INIT;
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    struct value v = value_void();

    strbuf_add(&out, text, n);
    check(storage_read_answer(&d, &sr, &out, a, &v, &err), &v, &err);
}

static void read_directory(const char *text, size_t n, struct arena *a)
{
    struct ext_auth_refusal refusal = { NULL, NULL };
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    struct value v = value_void();

    check(ext_auth_read_answer(text, n, a, &v, &refusal, &err), &v, &err);
    MUST(!refusal.tag || refusal.message);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data + 1;

    if (!size) return 0;
    log_configure("stderr", "error");
    _cleanup_arena_ struct arena *a = arena_new();
    if (data[0] == 'A') read_directory(text, size - 1, a);
    else read_driver(text, size - 1, data[0] == 'F', a);
    return 0;
}
