/* Translations: the format of .mo files (gettext's manual, "The Format of GNU MO Files"), and whose they are.
 * Called by: xe/, xapi/http/cli.c.  Calls: libc. */
#include "lib/catalog.h"

#include <fcntl.h>
#include <stdint.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum { MO_MAGIC = 0x950412de, MO_HEAD = 5 * 4, MO_MAX = 16 << 20 };

struct catalog {
    const char *bytes;
    size_t n;
    uint32_t count, english, translated;       /* texts, and where their two tables begin */
};

static uint32_t number_at(const struct catalog *c, size_t at)
{
    uint32_t v;

    memcpy(&v, c->bytes + at, sizeof v);
    return v;
}

/* A text of a table; NULL when it does not lie in the file whole. */
static const char *text_at(const struct catalog *c, uint32_t table, uint32_t i)
{
    size_t at = table + (size_t)i * 8;
    uint32_t len = number_at(c, at), offset = number_at(c, at + 4);

    if (offset >= c->n || len >= c->n - offset || c->bytes[offset + len]) return NULL;
    return c->bytes + offset;
}

/* The tables lie in the file, and every text does. */
static bool is_whole(struct catalog *c)
{
    if (c->n < MO_HEAD || number_at(c, 0) != MO_MAGIC) return false;
    c->count = number_at(c, 8);
    c->english = number_at(c, 12);
    c->translated = number_at(c, 16);
    if (c->english > c->n || (c->n - c->english) / 8 < c->count || c->translated > c->n ||
        (c->n - c->translated) / 8 < c->count)
        return false;
    for (uint32_t i = 0; i < c->count; i++)
        if (!text_at(c, c->english, i) || !text_at(c, c->translated, i)) return false;
    return true;
}

static struct catalog *open_file(const char *path)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct catalog *c;
    struct stat st;
    void *bytes;

    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size < MO_HEAD || st.st_size > MO_MAX)
        return NULL;
    bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (bytes == MAP_FAILED) return NULL;
    c = xcalloc(1, sizeof *c);
    c->bytes = bytes;
    c->n = (size_t)st.st_size;
    if (is_whole(c)) return c;
    catalog_free(c);
    return NULL;
}

struct catalog *catalog_open(const char *folder, const char *language, const char *domain)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    size_t n = strspn(language, letters), rest = language[n] == '_' ? 1 + strspn(language + n + 1, letters) : 0;
    struct catalog *c = NULL;

    if (!n || n + rest >= CATALOG_LANGUAGE || language[n + rest]) return NULL;
    for (size_t len = n + rest; !c && len >= n; len = len > n ? n : 0) {
        _cleanup_free_ char *path = xasprintf("%s/%.*s/LC_MESSAGES/%s.mo", folder, (int)len, language, domain);

        c = open_file(path);
    }
    return c;
}

void catalog_free(struct catalog *c)
{
    if (!c) return;
    munmap((void *)(uintptr_t)c->bytes, c->n);
    free(c);
}

const char *catalog_text(const struct catalog *c, const char *text)
{
    uint32_t low = 0, high = c && *text ? c->count : 0;       /* the text "" is the file's head */

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = strcmp(text, text_at(c, c->english, middle));

        if (!order) return text_at(c, c->translated, middle);
        if (order < 0) high = middle;
        else low = middle + 1;
    }
    return text;
}

bool catalog_wanted(char ret_language[CATALOG_LANGUAGE])
{
    static const char *const names[] = { "LC_ALL", "LC_MESSAGES", "LANG" };
    const char *locale = NULL, *list = getenv("LANGUAGE"), *charset;
    size_t n;

    for (size_t i = 0; i < ARRAY_SIZE(names) && (!locale || !*locale); i++) locale = getenv(names[i]);
    if (!locale || !*locale || streq(locale, "C") || streq(locale, "POSIX")) return false;
    charset = strchr(locale, '.');
    if (!charset || (strncasecmp(charset + 1, "UTF-8", 5) && strncasecmp(charset + 1, "utf8", 4))) return false;
    if (!list || !*list) list = locale;
    n = strcspn(list, ".@:");
    if (!n || n >= CATALOG_LANGUAGE || (n == 1 && *list == 'C')) return false;
    memcpy(ret_language, list, n);
    ret_language[n] = '\0';
    return true;
}

char *catalog_folder(void)
{
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    char *built;

    self[n > 0 ? n : 0] = '\0';
    for (int up = 0; up < 2 && strrchr(self, '/'); up++) *strrchr(self, '/') = '\0';
    built = xasprintf("%s/po", self);
    if (access(built, X_OK) == 0) return built;
    free(built);
    return xstrdup(LOCALEDIR);
}
