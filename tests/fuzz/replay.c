/* Runs a fuzz target over every file of the folders and files given, so that `make check` replays the corpus with any
 * compiler. Prints one TAP line an argument.
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

int main(int argc, char **argv)
{
    int failed = 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("1..%d\n", argc - 1);
    for (int i = 1; i < argc; i++) {
        unsigned count = 0;
        int rc = replay(argv[i], &count);
        if (rc || !count) failed = 1;
        printf("%s %d - %u inputs of %s%s%s\n", rc || !count ? "not ok" : "ok", i, count, argv[i], rc ? ": " : "",
               rc ? strerror(errno) : "");
    }
    return failed;
}
