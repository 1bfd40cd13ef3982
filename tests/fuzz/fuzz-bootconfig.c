/* Boot loaders' configurations over arbitrary bytes: whatever is chosen has an absolute path, and everything is bounded.
 * Called by: libFuzzer, replay.c.  Calls: xapi/helper/boot_config. */
#include "tests/fuzz/fuzz.h"

#include "xapi/helper/boot_config.h"

static void look_at(const struct boot_config *c, const char *wish)
{
    const struct boot_entry *e = boot_choose(c, wish);

    MUST(c->n <= BOOT_MAX_ENTRIES);
    for (size_t i = 0; i < c->n; i++) {
        MUST(c->entries[i].n_ramdisks <= BOOT_MAX_RAMDISKS && strlen(c->entries[i].args) <= BOOT_MAX_ARGS);
        MUST(!*c->entries[i].kernel || *c->entries[i].kernel == '/');
    }
    if (e) MUST(*e->kernel == '/');
}

/* The first byte is the syntax; what is behind the first NUL is grubenv. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_arena_ struct arena *a = arena_new();
    struct boot_config c;

    if (!size) return 0;
    const char *text = arena_strndup(a, (const char *)data + 1, strnlen((const char *)data + 1, size - 1));
    size_t len = strlen(text);
    const char *environment = len + 2 < size ? arena_strndup(a, (const char *)data + len + 2, size - len - 2) : "";
    boot_parse((enum boot_syntax)(data[0] % 3), text, len, environment, a, &c);
    look_at(&c, "");
    look_at(&c, "1>0");
    look_at(&c, text);
    boot_parse_bls(text, len, environment, "id", a, &c);
    look_at(&c, "id");
    return 0;
}
