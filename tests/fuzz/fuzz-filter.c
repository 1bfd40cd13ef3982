/* Fuzzes the expressions of get_all_records_where: any bytes are refused or evaluated, and "not" turns the
 * answer.
 * Called by: libFuzzer, replay.c.  Calls: db/filter, db/row. */
#include "tests/fuzz/fuzz.h"

#include "db/row.h"

/* 1 or 0, -1 when refused. */
static int evaluate(const char *text, const struct row *row)
{
    _cleanup_arena_ struct arena *a = arena_new();
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    const struct filter *f = NULL;

    if (filter_parse(text, row->kind->cls, a, &f, &err) == 0) return filter_match(f, row);
    MUST(err.code && err.n == 2);
    return -1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct kinds *kinds;   /* made once, kept as long as the fuzzer runs */
    static struct row *row;
    _cleanup_free_ char *text = xstrndup((const char *)data, size), *inverse = xasprintf("not (%s)", text);

    if (!row) {
        if (kinds_new(&kinds, NULL)) abort();
        row = row_new(&kinds->kinds[CLASS_VM], (struct ref){ 1, 2 }, 1);
    }
    int straight = evaluate(text, row), turned = evaluate(inverse, row);
    /* The brackets cost depth and length, so that the second may be refused. */
    if (straight < 0) MUST(turned < 0 || strpbrk(text, "()"));
    else MUST(turned < 0 || turned == !straight);
    return 0;
}
