/* Sorting by 128-bit keys.
 * Called by: ptrie_build, the engine when it loads.  Calls: libc.
 *
 * References are random, so that their first 33 bits nearly order them: three passes that count. What still is
 * out of order has the same beginning (hashes of equal names, chosen uuids) and is merged. */
#include "db/keyed.h"

enum { DIGIT_BITS = 11, DIGITS = 1 << DIGIT_BITS, PASSES = 3, FIRST_SHIFT = 64 - PASSES * DIGIT_BITS };

static unsigned digit(const struct keyed *item, int pass)
{
    return (unsigned)(item->key.hi >> (FIRST_SHIFT + pass * DIGIT_BITS)) & (DIGITS - 1);
}

/* One stable pass by one digit. */
static void spread(const struct keyed *from, struct keyed *to, size_t n, int pass, size_t *places)
{
    size_t at = 0;

    memset(places, 0, DIGITS * sizeof(*places));
    for (size_t i = 0; i < n; i++) places[digit(&from[i], pass)]++;
    for (size_t d = 0; d < DIGITS; d++) {
        size_t count = places[d];
        places[d] = at;
        at += count;
    }
    for (size_t i = 0; i < n; i++) to[places[digit(&from[i], pass)]++] = from[i];
}

static bool is_sorted(const struct keyed *items, size_t n)
{
    for (size_t i = 1; i < n; i++)
        if (ref_cmp(items[i - 1].key, items[i].key) > 0) return false;
    return true;
}

/* Stable. other: as much room. */
static void merge_sort(struct keyed *items, struct keyed *other, size_t n)
{
    size_t half = n / 2, a = 0, b = half;

    if (is_sorted(items, n)) return;
    merge_sort(items, other, half);
    merge_sort(items + half, other, n - half);
    memcpy(other, items, n * sizeof(*items));
    for (size_t i = 0; i < n; i++) {
        bool first = b == n || (a < half && ref_cmp(other[a].key, other[b].key) <= 0);
        items[i] = other[first ? a++ : b++];
    }
}

void keyed_sort(struct keyed *items, size_t n)
{
    enum { FEW = 256 };

    if (is_sorted(items, n)) return;
    struct keyed *other = xmalloc(n * sizeof(*other));
    if (n > FEW) {
        size_t *places = xmalloc(DIGITS * sizeof(*places));
        spread(items, other, n, 0, places);
        spread(other, items, n, 1, places);
        spread(items, other, n, 2, places);
        memcpy(items, other, n * sizeof(*items));
        free(places);
    }
    /* Runs that begin alike: nearly all are one long. The few are all one run. */
    for (size_t from = 0, to; from < n; from = to) {
        uint64_t begins = items[from].key.hi >> FIRST_SHIFT;
        for (to = from + 1; to < n && (n <= FEW || items[to].key.hi >> FIRST_SHIFT == begins); to++) continue;
        merge_sort(items + from, other, to - from);
    }
    free(other);
}
