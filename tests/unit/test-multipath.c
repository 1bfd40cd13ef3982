/* What the kernel says of a multipath map's paths.
 * Called by: tests/run.  Calls: pbd_multipath. */
#include "tests/unit/unit.h"

#include "xapi/pbd_multipath.h"

static const struct {
    const char *status;
    int working, all;
} cases[] = {
    { "0 8388608 multipath 2 0 0 0 2 1 A 0 1 2 8:16 A 0 0 1 E 0 1 2 8:32 A 0 0 1", 2, 2 },
    { "0 8388608 multipath 2 0 0 0 2 1 A 0 1 2 8:16 F 1 0 1 E 0 1 2 8:32 A 0 0 1", 1, 2 },
    { "0 8388608 multipath 2 0 0 0 1 1 A 0 4 2 8:16 A 0 0 1 8:32 F 3 0 1 65:0 A 0 0 1 259:7 F 1 0 1", 2, 4 },
    { "0 8388608 multipath 2 0 1 0 0 0", 0, 0 },
    { "0 8388608 linear", 0, 0 },
    { "", 0, 0 },
    { ":", 0, 0 },
    { "8:", 0, 0 },
    { "8:16", 0, 0 },
    { "8:16 X", 0, 0 },
    { "a:b A 8:16 A", 1, 1 },
};

static void counts(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const struct multipath_paths p = multipath_count(cases[i].status);
        if (p.working != cases[i].working || p.all != cases[i].all)
            fail_msg("\"%s\": %d of %d", cases[i].status, p.working, p.all);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(counts) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
