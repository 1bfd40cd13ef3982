/* XXH64 of a block in memory.
 * Called by: xva_export.c, xva_import.c.  Calls: libc. */
#include "lib/xxh64.h"

#include <endian.h>

/* https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md */
static const uint64_t P1 = 0x9E3779B185EBCA87, P2 = 0xC2B2AE3D27D4EB4F, P3 = 0x165667B19E3779F9,
                      P4 = 0x85EBCA77C2B2AE63, P5 = 0x27D4EB2F165667C5;

static uint64_t turn(uint64_t x, int by) { return x << by | x >> (64 - by); }

static uint64_t get64(const unsigned char *p)
{
    uint64_t x;

    memcpy(&x, p, sizeof(x));
    return le64toh(x);
}

static uint64_t get32(const unsigned char *p)
{
    uint32_t x;

    memcpy(&x, p, sizeof(x));
    return le32toh(x);
}

static uint64_t mix(uint64_t lane, uint64_t input) { return turn(lane + input * P2, 31) * P1; }

uint64_t xxh64(const void *data, size_t n)
{
    const unsigned char *p = data, *end = p + n;
    uint64_t h = P5;

    if (n >= 32) {
        uint64_t lane[4] = { P1 + P2, P2, 0, 0 - P1 };
        for (; end - p >= 32; p += 32)
            for (int i = 0; i < 4; i++) lane[i] = mix(lane[i], get64(p + 8 * i));
        h = turn(lane[0], 1) + turn(lane[1], 7) + turn(lane[2], 12) + turn(lane[3], 18);
        for (int i = 0; i < 4; i++) h = (h ^ mix(0, lane[i])) * P1 + P4;
    }
    h += n;
    for (; end - p >= 8; p += 8) h = turn(h ^ mix(0, get64(p)), 27) * P1 + P4;
    for (; end - p >= 4; p += 4) h = turn(h ^ get32(p) * P1, 23) * P2 + P3;
    for (; p < end; p++) h = turn(h ^ *p * P5, 11) * P1;
    h = (h ^ h >> 33) * P2;
    h = (h ^ h >> 29) * P3;
    return h ^ h >> 32;
}
