/* Fuzzes what is read back as metrics: whole RRDs as XML (from other hosts and backups, after an X) and our own
 * files (after a B). What was taken can be written, and read again with the same shape.
 * Called by: libFuzzer, AFL++, replay.c.  Calls: xapi/rrd. */
#include "tests/fuzz/fuzz.h"

#include "xapi/rrd/rrd_read.h"
#include "xapi/rrd/rrd_write.h"

static void check_rounds(const struct rrd *r)
{
    _cleanup_strbuf_ struct strbuf xml = STRBUF_INIT, bytes = STRBUF_INIT, json = STRBUF_INIT;
    const char *why = NULL;

    rrd_encode(r, &bytes);
    struct rrd *again = rrd_decode(bytes.ptr, bytes.len);
    MUST(again);
    rrd_free(again);
    rrd_write_full(r, true, &json);
    rrd_write_full(r, false, &xml);
    again = rrd_read_full(xml.ptr, xml.len, RRD_CFS, &why);
    MUST(again);
    rrd_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *why = NULL, *text = (const char *)data + 1;
    struct rrd *r = NULL;

    if (!size) return 0;
    if (data[0] == 'X') {
        r = rrd_read_full(text, size - 1, RRD_CFS, &why);
        MUST(r || (why && *why));
    } else if (data[0] == 'B') {
        r = rrd_decode(text, size - 1);
    }
    if (r) check_rounds(r);
    rrd_free(r);
    return 0;
}
