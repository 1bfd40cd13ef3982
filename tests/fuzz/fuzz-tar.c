/* Archives over arbitrary bytes: names end, sizes add up, and what we write we read back.
 * Called by: libFuzzer, replay.c.  Calls: lib/tar. */
#include "tests/fuzz/fuzz.h"

#include "lib/tar.h"

struct input {
    const uint8_t *p;
    size_t left;
};

/* At most 1000 bytes at a time, so that headers come in pieces. */
static ssize_t take(void *arg, void *buf, size_t n)
{
    struct input *in = arg;

    if (n > in->left) n = in->left;
    if (n > 1000) n = 1000;
    if (n) memcpy(buf, in->p, n);
    in->p += n;
    in->left -= n;
    return (ssize_t)n;
}

static void fuzz_read(const uint8_t *data, size_t size)
{
    struct input in = { data, size };
    struct tar_reader t = { .read = take, .arg = &in };
    struct tar_entry e;
    enum tar_result r;
    char buf[700];

    while ((r = tar_next(&t, &e)) == TAR_ENTRY) {
        MUST(strlen(e.name) < TAR_NAME && e.size >= 0 && t.left == e.size);
        size_t n = e.size < (int64_t)sizeof(buf) ? (size_t)e.size : sizeof(buf);
        r = tar_read(&t, buf, n);
        MUST(r == TAR_ENTRY || r == TAR_CUT);
        if (r == TAR_ENTRY) MUST(t.left == e.size - (int64_t)n);
        MUST(tar_read(&t, buf, sizeof(buf)) != TAR_BAD);
    }
    MUST(r != TAR_FAILED);
}

/* The input is a name, what is behind its first NUL is the content. */
static void fuzz_write(const uint8_t *data, size_t size)
{
    size_t len = strnlen((const char *)data, size < 99 ? size : 99), n = size > len + 1 ? size - len - 1 : 0;
    size_t total = TAR_BLOCK + n + tar_padding((int64_t)n) + 2 * TAR_BLOCK;
    char *file = xcalloc(1, total), *name = xstrndup((const char *)data, len), *back = xcalloc(1, n + 1);
    struct input in = { (const uint8_t *)file, total };
    struct tar_reader t = { .read = take, .arg = &in };
    struct tar_entry e;

    tar_header(file, name, (int64_t)n);
    if (n) memcpy(file + TAR_BLOCK, data + len + 1, n);
    MUST(tar_next(&t, &e) == TAR_ENTRY && streq(e.name, name) && e.size == (int64_t)n);
    MUST(tar_read(&t, back, n) == TAR_ENTRY && (!n || memcmp(back, data + len + 1, n) == 0));
    MUST(tar_next(&t, &e) == TAR_END);
    free(file);
    free(name);
    free(back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_read(data, size);
    fuzz_write(data, size);
    return 0;
}
