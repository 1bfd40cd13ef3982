/* lib/catalog: what a catalog of msgfmt's says, what damaged ones do not do, and whose language is meant.
 * Called by: tests/run.  Calls: lib/catalog. */
#include "tests/unit/unit.h"

#include "lib/catalog.h"
#include "lib/strbuf.h"

#include <stdint.h>
#include <sys/stat.h>

/* A catalog as msgfmt writes it: pairs sorted by the first. */
static void make_mo(struct strbuf *b, const char *const *pairs, uint32_t n)
{
    uint32_t head[5] = { 0x950412de, 0, n, 20, 20 + n * 8 }, at = 20 + n * 16;

    strbuf_add(b, (const char *)head, sizeof head);
    for (uint32_t side = 0; side < 2; side++)
        for (uint32_t i = 0; i < n; i++) {
            uint32_t row[2] = { (uint32_t)strlen(pairs[i * 2 + side]), at };

            strbuf_add(b, (const char *)row, sizeof row);
            at += row[0] + 1;
        }
    for (uint32_t side = 0; side < 2; side++)
        for (uint32_t i = 0; i < n; i++) strbuf_add(b, pairs[i * 2 + side], strlen(pairs[i * 2 + side]) + 1);
}

static const char *const pairs[] = { "", "Language: xx\n", "Error", "Fehler", "No", "Nein", "Yes", "Ja" };

struct folder {
    char *path, *file;
};

static void write_file(const struct folder *f, const char *bytes, size_t n)
{
    FILE *out = fopen(f->file, "w");

    assert_non_null(out);
    assert_int_equal(fwrite(bytes, 1, n, out), n);
    fclose(out);
}

static int make_folder(void **state)
{
    struct folder *f = xcalloc(1, sizeof *f);
    char path[] = "/tmp/test-catalog-XXXXXX";
    _cleanup_free_ char *language = NULL, *messages = NULL;

    if (!mkdtemp(path)) return -1;
    f->path = xstrdup(path);
    language = xasprintf("%s/de", path);
    messages = xasprintf("%s/LC_MESSAGES", language);
    f->file = xasprintf("%s/xe.mo", messages);
    *state = f;
    return mkdir(language, 0700) || mkdir(messages, 0700);
}

static int remove_folder(void **state)
{
    struct folder *f = *state;
    _cleanup_free_ char *messages = xasprintf("%s/de/LC_MESSAGES", f->path), *language = xasprintf("%s/de", f->path);

    unlink(f->file);
    rmdir(messages);
    rmdir(language);
    rmdir(f->path);
    free(f->path);
    free(f->file);
    free(f);
    return 0;
}

static void says_what_it_holds(void **state)
{
    const struct folder *f = *state;
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
    static const char *const names[] = { "de", "de_AT" }, *const none[] = { "", "fr", "../de", "de/x", "d", "de_",
        "de.UTF-8", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" };

    make_mo(&b, pairs, 4);
    write_file(f, b.ptr, b.len);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        _cleanup_catalog_ struct catalog *c = catalog_open(f->path, names[i], "xe");

        assert_non_null(c);
        assert_string_equal(catalog_text(c, "Yes"), "Ja");
        assert_string_equal(catalog_text(c, "Error"), "Fehler");
        assert_string_equal(catalog_text(c, "No"), "Nein");
        assert_string_equal(catalog_text(c, "Nobody"), "Nobody");
        assert_string_equal(catalog_text(c, ""), "");
    }
    for (size_t i = 0; i < ARRAY_SIZE(none); i++) {
        _cleanup_catalog_ struct catalog *c = catalog_open(f->path, none[i], "xe");

        if (streq(none[i], "de_")) assert_non_null(c);     /* the language without its country */
        else assert_null(c);
    }
    assert_string_equal(catalog_text(NULL, "Yes"), "Yes");
}

/* Every part missing, every byte another: it is refused, or says something; the sanitizers watch. */
static void survives_damage(void **state)
{
    const struct folder *f = *state;
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;

    make_mo(&b, pairs, 4);
    for (size_t n = 0; n < b.len; n++) {
        _cleanup_catalog_ struct catalog *c = NULL;

        write_file(f, b.ptr, n);
        c = catalog_open(f->path, "de", "xe");
        assert_null(c);
    }
    for (size_t i = 0; i < b.len; i++)
        for (int bit = 0; bit < 8; bit++) {
            _cleanup_catalog_ struct catalog *c = NULL;

            b.ptr[i] = (char)(b.ptr[i] ^ 1 << bit);
            write_file(f, b.ptr, b.len);
            c = catalog_open(f->path, "de", "xe");
            assert_non_null(catalog_text(c, "Error"));
            assert_non_null(catalog_text(c, "Yes"));
            b.ptr[i] = (char)(b.ptr[i] ^ 1 << bit);
        }
}

static void finds_the_language(void **state)
{
    static const struct { const char *all, *messages, *lang, *language, *want; } rows[] = {
        { NULL, NULL, "ja_JP.UTF-8", NULL, "ja_JP" }, { NULL, NULL, "ja_JP.utf8", NULL, "ja_JP" },
        { NULL, "de_DE.UTF-8", "ja_JP.UTF-8", NULL, "de_DE" }, { "fr_FR.UTF-8", "de_DE.UTF-8", "ja_JP.UTF-8", NULL, "fr_FR" },
        { "", "", "ja_JP.UTF-8", "", "ja_JP" }, { "C", NULL, "ja_JP.UTF-8", NULL, NULL },
        { "POSIX", NULL, NULL, "ja", NULL }, { "C.UTF-8", NULL, NULL, NULL, NULL }, { "C.UTF-8", NULL, NULL, "ja:en", "ja" },
        { NULL, NULL, "ja_JP.eucJP", NULL, NULL }, { NULL, NULL, "ja_JP", NULL, NULL }, { NULL, NULL, NULL, NULL, NULL },
        { NULL, NULL, "de_DE.UTF-8", "ja", "ja" }, { NULL, NULL, "de_DE.UTF-8@euro", NULL, "de_DE" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const struct { const char *name, *value; } set[] = { { "LC_ALL", rows[i].all }, { "LC_MESSAGES", rows[i].messages },
            { "LANG", rows[i].lang }, { "LANGUAGE", rows[i].language } };
        char got[CATALOG_LANGUAGE] = "";

        for (size_t k = 0; k < ARRAY_SIZE(set); k++)
            if (set[k].value) setenv(set[k].name, set[k].value, 1);
            else unsetenv(set[k].name);
        assert_int_equal(catalog_wanted(got), rows[i].want != NULL);
        if (rows[i].want) assert_string_equal(got, rows[i].want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(says_what_it_holds, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(survives_damage, make_folder, remove_folder),
        cmocka_unit_test(finds_the_language),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
