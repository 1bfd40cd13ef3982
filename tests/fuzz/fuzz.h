/* A fuzz target: one function over arbitrary bytes, driven by libFuzzer or by replay.c over the corpus.
 * Called by: tests/fuzz.  Calls: lib/value. */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include "lib/limits.h"
#include "lib/utf8.h"
#include "lib/value.h"
#include "lib/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What must hold for every input; asserts may be compiled out, this is not. */
#define MUST(x) do { if (!(x)) __builtin_trap(); } while (0)

/* What every value that a reader made must be. */
static inline void fuzz_check_value(const struct value *v, unsigned depth)
{
    MUST(depth <= LIMIT_CALL_DEPTH);
    switch (v->kind) {
    case VALUE_STRING: MUST(strlen(v->s) == v->len && utf8_valid(v->s, v->len)); return;
    case VALUE_SET:
        for (size_t i = 0; i < v->set.n; i++) fuzz_check_value(&v->set.items[i], depth + 1);
        return;
    case VALUE_MAP:
        for (size_t i = 0; i < v->map.n; i++) {
            const struct member *m = &v->map.members[i];
            MUST(utf8_valid(m->key, strlen(m->key)));
            MUST(v->map.n > 100 || value_get(v, m->key) == &m->value);   /* no duplicates */
            fuzz_check_value(&m->value, depth + 1);
        }
        return;
    case VALUE_VOID:
    case VALUE_INT:
    case VALUE_BOOL:
    case VALUE_FLOAT:
    case VALUE_DATETIME: return;
    case VALUE_INT32:
    case VALUE_LOCALTIME:
    case VALUE_REF: MUST(false);   /* readers make none of these */
    }
}

#endif
