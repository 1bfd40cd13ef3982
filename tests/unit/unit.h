/* What every unit test includes: cmocka and what it needs first, and the main program.
 * Called by: tests/unit.  Calls: cmocka. */
#ifndef TESTS_UNIT_UNIT_H
#define TESTS_UNIT_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

/* The tests of this program:  UNIT_MAIN(cmocka_unit_test(a), cmocka_unit_test(b)) */
#define UNIT_MAIN(...)                                          \
    int main(void)                                              \
    {                                                           \
        const struct CMUnitTest tests[] = { __VA_ARGS__ };      \
        return cmocka_run_group_tests(tests, NULL, NULL);       \
    }

#endif
