/* The manifest of an OVA: digests of its files, told before or after them.
 * Called by: ova_import.c.  Calls: OpenSSL. */
#include "xapi/ova.h"

#include "lib/limits.h"

#include <ctype.h>
#include <openssl/evp.h>
#include <strings.h>

enum { DIGEST_TEXT = 2 * EVP_MAX_MD_SIZE + 1 };

static const struct { const char *name, *algorithm; } digests[] = {
    { "SHA1", "SHA1" }, { "SHA224", "SHA224" }, { "SHA256", "SHA256" }, { "SHA384", "SHA384" }, { "SHA512", "SHA512" },
};
/* Which are reckoned for files that come before the manifest: what tools write. */
enum { SHA1_NUMBER = 0, SHA256_NUMBER = 2, SHA512_NUMBER = 4, N_DIGESTS = ARRAY_SIZE(digests) };

struct told { const char *name, *hex; int digest; };
struct seen { const char *name; char hex[N_DIGESTS][DIGEST_TEXT]; };

struct ova_check {
    struct arena *arena;
    struct told told[LIMIT_OVA_FILES];
    struct seen *seen[LIMIT_OVA_FILES];
    size_t n_told, n_seen;
    bool manifest;
    EVP_MD_CTX *now[N_DIGESTS];          /* NULL = not reckoned for this file */
};

struct ova_check *ova_check_new(struct arena *a)
{
    struct ova_check *k = arena_zalloc(a, sizeof *k);

    k->arena = a;
    return k;
}

void ova_check_free(struct ova_check *k)
{
    for (size_t i = 0; i < N_DIGESTS; i++) EVP_MD_CTX_free(take_ptr(k->now[i]));
}

static const char *bare(const char *name)
{
    const char *slash = strrchr(name, '/');

    return slash ? slash + 1 : name;
}

/* "SHA256 (a name)= 12ab" */
static bool read_line(struct ova_check *k, const char *line, size_t len)
{
    const char *open = memchr(line, '(', len), *close = open ? memrchr(line, ')', len) : NULL;
    size_t kind = open ? (size_t)(open - line) : 0;
    struct told t = { .digest = -1 };

    while (kind && line[kind - 1] == ' ') kind--;
    for (int i = 0; i < (int)N_DIGESTS; i++)
        if (kind == strlen(digests[i].name) && !strncasecmp(line, digests[i].name, kind)) t.digest = i;
    if (!close || close < open || t.digest < 0 || k->n_told == LIMIT_OVA_FILES) return false;
    const char *hex = close + 1, *end = line + len;
    while (hex < end && (*hex == ' ' || *hex == '=' || *hex == '\t')) hex++;
    while (end > hex && isspace((unsigned char)end[-1])) end--;
    t.name = bare(arena_strndup(k->arena, open + 1, (size_t)(close - open - 1)));
    t.hex = arena_strndup(k->arena, hex, (size_t)(end - hex));
    k->told[k->n_told++] = t;
    return true;
}

bool ova_check_manifest(struct ova_check *k, const char *text)
{
    k->manifest = true;
    for (size_t n; *text; text += n + (text[n] == '\n')) {
        n = strcspn(text, "\n");
        if (strspn(text, " \t\r") < n && !read_line(k, text, n)) return false;
    }
    return k->n_told > 0;
}

static bool wanted(const struct ova_check *k, const char *name, int digest)
{
    if (!k->manifest) return digest == SHA1_NUMBER || digest == SHA256_NUMBER || digest == SHA512_NUMBER;
    for (size_t i = 0; i < k->n_told; i++)
        if (k->told[i].digest == digest && streq(k->told[i].name, name)) return true;
    return false;
}

void ova_check_begin(struct ova_check *k, const char *name)
{
    struct seen *s = arena_zalloc(k->arena, sizeof *s);

    s->name = arena_strdup(k->arena, bare(name));
    if (k->n_seen < LIMIT_OVA_FILES) k->seen[k->n_seen++] = s;
    for (int i = 0; i < (int)N_DIGESTS; i++) {
        if (!wanted(k, s->name, i)) continue;
        k->now[i] = EVP_MD_CTX_new();
        if (!k->now[i] || EVP_DigestInit_ex(k->now[i], EVP_get_digestbyname(digests[i].algorithm), NULL) != 1) abort();
    }
}

void ova_check_add(struct ova_check *k, const void *p, size_t n)
{
    for (size_t i = 0; i < N_DIGESTS; i++)
        if (k->now[i] && EVP_DigestUpdate(k->now[i], p, n) != 1) abort();
}

void ova_check_end(struct ova_check *k)
{
    unsigned char raw[EVP_MAX_MD_SIZE];
    unsigned n;

    for (size_t i = 0; i < N_DIGESTS; i++) {
        if (!k->now[i]) continue;
        if (EVP_DigestFinal_ex(k->now[i], raw, &n) != 1) abort();
        for (unsigned b = 0; b < n && k->n_seen; b++) snprintf(k->seen[k->n_seen - 1]->hex[i] + 2 * b, 3, "%02x", raw[b]);
        EVP_MD_CTX_free(take_ptr(k->now[i]));
    }
}

bool ova_check_passed(const struct ova_check *k)
{
    for (size_t i = 0; i < k->n_told; i++) {
        const struct seen *s = NULL;
        for (size_t j = 0; j < k->n_seen && !s; j++)
            if (streq(k->seen[j]->name, k->told[i].name)) s = k->seen[j];
        if (!s || strcasecmp(s->hex[k->told[i].digest], k->told[i].hex) != 0) return false;
    }
    return true;
}
