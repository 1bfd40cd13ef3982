/* xapi-gen: from the description in schema/ to C tables, prototypes, thunks and reference pages.
 * Called by: make.  Calls: load, check, emitters. */
#include "schema/gen/gen.h"

#include <stdio.h>

static void usage(FILE *to)
{
    fputs("usage: xapi-gen [--dtd FILE] [--facts] SCHEMADIR OUTDIR\n"
          "Checks SCHEMADIR/*.xml and writes OUTDIR/gen/*.[ch] and OUTDIR/doc/api/*.md.\n"
          "  --dtd FILE   the grammar (SCHEMADIR/schema.dtd)\n"
          "  --facts      write the model as OUTDIR/*.tsv instead\n",
          to);
}

int main(int argc, char **argv)
{
    const char *dtd = NULL, *dirs[2] = { NULL, NULL };
    bool facts = false;
    int n = 0;
    for (int i = 1; i < argc; i++) {
        if (streq(argv[i], "--help")) {
            usage(stdout);
            return 0;
        }
        if (streq(argv[i], "--dtd") && i + 1 < argc) dtd = argv[++i];
        else if (streq(argv[i], "--facts")) facts = true;
        else if (argv[i][0] != '-' && n < 2) dirs[n++] = argv[i];
        else n = 3;
    }
    if (n != 2) {
        usage(stderr);
        return 2;
    }

    struct schema s = { .arena = arena_new() };
    load(&s, dirs[0], dtd ? dtd : arena_printf(s.arena, "%s/schema.dtd", dirs[0]));
    if (!complaints()) check(&s);
    if (!complaints()) {
        const char *gen = arena_printf(s.arena, "%s/gen", dirs[1]);
        if (facts) {
            emit_facts(&s, dirs[1]);
        } else {
            emit_model(&s, gen);
            emit_methods(&s, gen);
            emit_errors(&s, gen);
            emit_xe(&s, gen);
            emit_tables(&s, gen);
            emit_doc(&s, arena_printf(s.arena, "%s/doc/api", dirs[1]));
        }
    }
    arena_free(s.arena);
    return complaints() ? 1 : 0;
}
