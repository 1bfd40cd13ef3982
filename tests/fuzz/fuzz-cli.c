/* The command line over arbitrary bytes: messages of the thin protocol, and whole command lines on a fake
 * pool. Called by: libFuzzer, replay.c.  Calls: xe/thin, xe/cmd. */
#include "tests/fuzz/fuzz.h"

#include "tests/unit/cli-fake.h"
#include "xe/thin.h"

/* Every message in the bytes, as a client or the daemon would read them one behind the other. */
static void read_messages(const char *p, size_t n)
{
    _cleanup_arena_ struct arena *a = arena_new();

    while (n >= 4) {
        int32_t len = thin_int(p);
        struct thin_msg msg;

        p += 4;
        n -= 4;
        if (len < 0 || (size_t)len > n) return;
        if (thin_decode(p, (size_t)len, a, &msg) == 0) {
            MUST(msg.text && msg.url);
            MUST(msg.kind == THIN_COMMAND || msg.kind == THIN_RESPONSE || msg.kind == THIN_BLOB);
            for (size_t i = 0; i < msg.n_params; i++) MUST(msg.params[i]);
        }
        p += len;
        n -= (size_t)len;
    }
}

/* A request's body: words between newlines. */
static void run_command(const char *p, size_t n)
{
    struct fake f = { .answer = "yes" };
    char *line = xstrndup(p, n);
    int code;

    for (char *c = line; *c; c++)
        if (*c == '\n') *c = '|';
    code = fake_run(&f, line);
    MUST(code >= 0 && code < 256);
    /* who fails says why */
    MUST(code == 0 || f.err.len || f.out.len || f.waits);
    fake_free(&f);
    free(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    read_messages((const char *)data, size);
    if (size && size < 4096) run_command((const char *)data, size);
    return 0;
}
