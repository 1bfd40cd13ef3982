/* Runs a fuzz target over every file of the folders and files given, so that `make check` replays the corpus
 * with any compiler. Without arguments, a program called test-NAME takes $XAPI_SOURCE/tests/fuzz/corpus/NAME.
 * TAP, one line each.
 * Called by: make check.  Calls: a fuzz target. */
#include "tests/fuzz/fuzz.h"

#include "lib/util.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>

enum { MAX_BYTES = 64 << 20 };

/* 0, or -1 with errno. */
static int replay_file(const char *path)
{
    _cleanup_free_ char *text = NULL;
    size_t len;

    if (read_file(path, MAX_BYTES, &text, &len)) return -1;
    /* exactly as long as the input, so that a sanitizer sees any look beyond it */
    _cleanup_free_ char *exact = xmalloc(len);
    memcpy(exact, text, len);
    LLVMFuzzerTestOneInput((const uint8_t *)exact, len);
    return 0;
}

static int replay_folder(DIR *dir, const char *path, unsigned *count)
{
    struct dirent *e;

    while ((e = readdir(dir))) {
        if (e->d_name[0] == '.') continue;
        _cleanup_free_ char *file = xasprintf("%s/%s", path, e->d_name);
        if (replay_file(file)) return -1;
        ++*count;
    }
    return 0;
}

static int replay(const char *path, unsigned *count)
{
    DIR *dir = opendir(path);

    if (!dir) {
        if (errno != ENOTDIR) return -1;
        ++*count;
        return replay_file(path);
    }
    int rc = replay_folder(dir, path, count);
    closedir(dir);
    return rc;
}

/* Replays one argument and prints its line. */
static int report(int number, const char *path)
{
    unsigned count = 0;
    int rc = replay(path, &count);
    bool ok = !rc && count;

    printf("%s %d - %u inputs of %s%s%s\n", ok ? "ok" : "not ok", number, count, path, rc ? ": " : "",
           rc ? strerror(errno) : "");
    return ok ? 0 : 1;
}

int main(int argc, char **argv)
{
    const char *source = getenv("XAPI_SOURCE"), *slash = strrchr(argv[0], '/'),
               *name = slash ? slash + 1 : argv[0];
    int failed = 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc == 1) {
        _cleanup_free_ char *path = xasprintf("%s/tests/fuzz/corpus/%s", source ? source : ".",
                                              has_prefix(name, "test-") ? name + 5 : name);
        printf("1..1\n");
        return report(1, path);
    }
    printf("1..%d\n", argc - 1);
    for (int i = 1; i < argc; i++) failed |= report(i, argv[i]);
    return failed;
}
