/* gen/sql.h and gen/sql.c: a table per stored class, with a column per persistent field that is not kept by the
 * database itself (back-references are not stored).
 * Called by: main.c.  Calls: out. */
#include "schema/gen/gen.h"

#include <stdio.h>

static bool has_column(const struct field *f)
{
    return f->persistent && !f->inverse;
}

static const char *column_type(const struct field *f)
{
    switch (f->cell) {
    case CELL_INT:
    case CELL_BOOL:
    case CELL_DATETIME: return "INTEGER";
    case CELL_FLOAT: return "REAL";
    case CELL_REF:
    case CELL_REFSET:
    case CELL_VALUE: return "BLOB";
    case CELL_STRING:
    case CELL_ENUM:
    case CELL_BITS: break;
    }
    return "TEXT";
}

static uint64_t hash(const char *text)
{
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */
    for (; *text; text++) h = (h ^ (unsigned char)*text) * 0x100000001b3u;
    return h;
}

void emit_sql(struct schema *s, const char *dir)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT, rows = STRBUF_INIT, columns = STRBUF_INIT,
                                   all = STRBUF_INIT;
    unsigned n = 0;
    LIST_EACH(&s->classes, struct cls, c) {
        _cleanup_strbuf_ struct strbuf create = STRBUF_INIT;
        unsigned n_columns = 0;
        if (!c->stored || !c->persistent) continue;
        strbuf_printf(&create,
                      "CREATE TABLE IF NOT EXISTS \"%s\" (ref BLOB PRIMARY KEY, revision INTEGER NOT NULL",
                      c->name);
        strbuf_printf(&columns, "static const struct sql_column columns_%s[] = {\n", c->name);
        LIST_EACH(&c->fields, struct field, f) {
            if (!has_column(f)) continue;
            strbuf_printf(&create, ", \"%s\" %s", f->name, column_type(f));
            strbuf_printf(&columns, "    { F_%s_%s, \"%s\", \"%s\" },\n", c->name, f->name, f->name,
                          column_type(f));
            n_columns++;
        }
        strbuf_str(&columns, "    { 0, NULL, NULL },\n};\n");
        strbuf_str(&create, ") WITHOUT ROWID");
        strbuf_str(&all, strbuf_cstr(&create));
        strbuf_printf(&rows, "    { CLASS_%s, \"%s\", ", c->name, c->name);
        out_string(&rows, strbuf_cstr(&create));
        strbuf_printf(&rows, ", %u, columns_%s },\n", n_columns, c->name);
        n++;
    }
    out_head(&b, "The tables of the SQLite store: one per stored class.");
    strbuf_printf(
        &b,
        "#ifndef GEN_SQL_H\n#define GEN_SQL_H\n\n#include \"gen/model.h\"\n\n"
        "/* Columns: ref (16 bytes, big-endian) is the key, revision the store revision of the row's last change; then one\n"
        " * per persistent field that is no back-reference. TEXT: strings, enumerations by wire text, sets of an\n"
        " * enumeration as comma-separated wire texts. INTEGER: int, bool, datetime. REAL: float. BLOB: a reference (16 bytes,\n"
        " * or NULL), a sorted set of references (16 bytes each), any other value as the store encodes it. */\n"
        "struct sql_column {\n    field_id field;\n    const char *name, *type;\n};\n\n"
        "struct sql_table {\n"
        "    int cls;\n"
        "    const char *name;\n"
        "    const char *create;      /* CREATE TABLE IF NOT EXISTS */\n"
        "    unsigned n_columns;      /* without ref and revision */\n"
        "    const struct sql_column *columns;\n"
        "};\n\n"
        "enum { N_SQL_TABLES = %u };\nextern const struct sql_table sql_tables[N_SQL_TABLES];\n\n"
        "/* Changes whenever a table or column does: the store adds and fills what is missing when it finds another one. */\n"
        "#define SQL_SCHEMA_HASH \"%016llx\"\n\n"
        "#endif\n",
        n, (unsigned long long)hash(strbuf_cstr(&all)));
    out_write(&b, dir, "sql.h");
    out_head(&b, "The tables of the SQLite store.");
    strbuf_printf(&b,
                  "#include \"gen/sql.h\"\n\n%s\nconst struct sql_table sql_tables[N_SQL_TABLES] = {\n%s};\n",
                  strbuf_cstr(&columns), strbuf_cstr(&rows));
    out_write(&b, dir, "sql.c");
}
