/* What a guest says of itself over arbitrary bytes: whatever comes out is short, one line and fit for XML; addresses are addresses.
 * Called by: libFuzzer, replay.c.  Calls: xapi/hv/xen_tools. */
#include "tests/fuzz/fuzz.h"

#include "lib/utf8.h"
#include "xapi/hv/xen_tools.h"

static void look_at(const char *text)
{
    size_t n = strlen(text);

    MUST(n < 264 && utf8_valid(text, n));
    for (size_t i = 0; i < n; i++) MUST((unsigned char)text[i] >= ' ' && text[i] != 0x7f);
}

static void look_at_pairs(const struct hv_pair *pairs, size_t n)
{
    MUST(n <= 64);
    for (size_t i = 0; i < n; i++) look_at(pairs[i].value);
}

/* The input is cut at its zeros: each piece is the answer to one question; a piece "?" is none. */
static void answer(struct xst_batch *b, const uint8_t *data, size_t size)
{
    size_t at = 0;

    for (size_t i = 0; i < b->n && at < size; i++) {
        size_t n = strnlen((const char *)data + at, size - at);
        if (n != 1 || data[at] != '?') b->ops[i].value = xstrndup((const char *)data + at, n);
        at += n + 1;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const unsigned disks[] = { 51712 }, nics[] = { 0, 6 };
    const struct xn_tools_of of = { .domid = 7, .disks = disks, .nics = nics, .n_disks = ARRAY_SIZE(disks), .n_nics = ARRAY_SIZE(nics) };
    _cleanup_arena_ struct arena *a = arena_new();
    _cleanup_batch_ struct xst_batch b = XST_BATCH_INIT;
    const struct xn_tools_asked *asked;
    struct hv_guest_info info;

    xn_tools_ask(&b, &of, a, &asked);
    answer(&b, data, size);
    xn_tools_take(&b, asked, &of, a, &info);
    look_at_pairs(info.os, info.n_os);
    look_at_pairs(info.drivers, info.n_drivers);
    look_at_pairs(info.other, info.n_other);
    look_at(info.hostname);
    MUST(info.n_nics <= ARRAY_SIZE(nics));
    for (size_t i = 0; i < info.n_nics; i++)
        for (const char *const *ip = info.nics[i].addresses; *ip; ip++) MUST(strspn(*ip, "0123456789abcdef.:") == strlen(*ip));
    return 0;
}
