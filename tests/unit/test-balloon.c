/* How memory is shared among guests whose targets may move.
 * Called by: make check.  Calls: xapi/vm_balloon.c (balloon_plan). */
#include "tests/unit/unit.h"

#include "xapi/vm_balloon.h"

static const int64_t GIB = INT64_C(1) << 30;

static void all_get_their_most_when_there_is_room(void **state _unused_)
{
    struct balloon all[] = { { GIB, 2 * GIB, 0 }, { GIB, GIB, 0 }, { 0, 4 * GIB, 0 } };

    assert_true(balloon_plan(all, ARRAY_SIZE(all), 7 * GIB));
    assert_int_equal(all[0].target_bytes, 2 * GIB);
    assert_int_equal(all[1].target_bytes, GIB);
    assert_int_equal(all[2].target_bytes, 4 * GIB);
}

static void each_gets_the_same_fraction_beyond_its_least(void **state _unused_)
{
    struct balloon all[] = { { GIB, 3 * GIB, 0 }, { 2 * GIB, 2 * GIB, 0 }, { GIB, 5 * GIB, 0 } };

    assert_true(balloon_plan(all, ARRAY_SIZE(all), 7 * GIB));       /* 3 of 6 GiB beyond the minima */
    assert_int_equal(all[0].target_bytes, 2 * GIB);
    assert_int_equal(all[1].target_bytes, 2 * GIB);
    assert_int_equal(all[2].target_bytes, 3 * GIB);
}

static void too_little_leaves_the_least(void **state _unused_)
{
    struct balloon all[] = { { GIB, 3 * GIB, 0 }, { GIB, GIB, 0 } };

    assert_false(balloon_plan(all, ARRAY_SIZE(all), 2 * GIB - 1));
    assert_int_equal(all[0].target_bytes, GIB);
    assert_true(balloon_plan(all, ARRAY_SIZE(all), 2 * GIB));
    assert_int_equal(all[0].target_bytes, GIB);
    assert_true(balloon_plan(all, 0, 0));
}

/* Never more than there is, never outside a guest's limits, whole pages: over many shares of sizes near the largest. */
static void the_sum_fits(void **state _unused_)
{
    for (int64_t step = 0; step < 2000; step++) {
        struct balloon all[16];
        int64_t least = 0, sum = 0, range = 0;
        for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
            int64_t min = (int64_t)((step * 7919 + (int64_t)i * 104729) % 100000) << 20;
            all[i] = (struct balloon){ min, min + ((int64_t)((step + (int64_t)i * 31) % 1000) << 33), 0 };
            least += min;
            range += all[i].max_bytes - min;
        }
        int64_t room = least + (range / 2000) * step;
        assert_true(balloon_plan(all, ARRAY_SIZE(all), room));
        for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
            assert_in_range(all[i].target_bytes, all[i].min_bytes, all[i].max_bytes);
            assert_int_equal(all[i].target_bytes % 4096, 0);
            sum += all[i].target_bytes;
        }
        assert_true(sum <= room && room - sum <= 16 * 4096);
    }
}

UNIT_MAIN(cmocka_unit_test(all_get_their_most_when_there_is_room), cmocka_unit_test(each_gets_the_same_fraction_beyond_its_least),
          cmocka_unit_test(too_little_leaves_the_least), cmocka_unit_test(the_sum_fits))
