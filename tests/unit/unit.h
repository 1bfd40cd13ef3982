/* What every unit test includes: cmocka and what it needs first, and the main program.
 * Called by: tests/unit.  Calls: cmocka. */
#ifndef TESTS_UNIT_UNIT_H
#define TESTS_UNIT_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* For a test of what an emulator of programs lacks (tests/cross runs an arm64 build under qemu-user). */
#define SKIP_EMULATED(why)                         \
    do {                                           \
        if (getenv("XAPI_EMULATED")) {             \
            print_message("# emulated: " why "\n"); \
            skip();                                \
        }                                          \
    } while (0)

/* The tests of this program:  UNIT_MAIN(cmocka_unit_test(a), cmocka_unit_test(b)) */
#define UNIT_MAIN(...)                                          \
    int main(void)                                              \
    {                                                           \
        const struct CMUnitTest tests[] = { __VA_ARGS__ };      \
        return cmocka_run_group_tests(tests, NULL, NULL);       \
    }

#endif
