/* Writing C: literals, default values, files that change only when their content does.
 * Called by: emitters, check.c.  Calls: lib. */
#include "schema/gen/gen.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

void out_head(struct strbuf *b, const char *what)
{
    strbuf_printf(b, "/* %s\n * Made by xapi-gen from schema/: do not edit. */\n", what);
}

void out_string(struct strbuf *b, const char *text)
{
    strbuf_char(b, '"');
    for (const char *p = text; *p; p++) {
        if (*p == '"' || *p == '\\') strbuf_printf(b, "\\%c", *p);
        else if (*p == '\n') strbuf_str(b, "\\n");
        else if ((unsigned char)*p < 32) strbuf_printf(b, "\\%03o", (unsigned)(unsigned char)*p);
        else strbuf_char(b, *p);
    }
    strbuf_char(b, '"');
}

void out_write(struct strbuf *b, const char *dir, const char *name)
{
    _cleanup_free_ char *path = xasprintf("%s/%s", dir, name), *old = NULL, *folder = xstrdup(path);
    size_t len = 0;
    char *slash = strrchr(folder, '/');
    if (slash) *slash = '\0';
    if (make_dirs(folder, 0777)) complain((struct pos){ folder, 0 }, "%s", strerror(errno));
    bool same =
        !read_file(path, (size_t)1 << 28, &old, &len) && len == b->len && !memcmp(old, strbuf_cstr(b), len);
    if (!same) {
        FILE *f = fopen(path, "w");
        bool good = f && fwrite(strbuf_cstr(b), 1, b->len, f) == b->len;
        if (f && fclose(f)) good = false;
        if (!good) complain((struct pos){ path, 0 }, "%s", strerror(errno));
    }
    strbuf_clear(b);
}

uint64_t bytes_of(const char *text)
{
    char *end;
    uint64_t n = strtoull(text, &end, 10);
    if (end == text || !end[0] || end[1]) return 0;
    switch (end[0]) {
    case 'K': return n << 10;
    case 'M': return n << 20;
    case 'G': return n << 30;
    case 'T': return n << 40;
    }
    return 0;
}

/* ---- default values -------------------------------------------------------------------------- */

static const char *empty_text(const struct type *t)
{
    switch (t->kind) {
    case TYPE_INT:
    case TYPE_FLOAT: return "0";
    case TYPE_BOOL: return "false";
    case TYPE_DATETIME: return "19700101T00:00:00Z";
    case TYPE_REF: return "OpaqueRef:NULL";
    case TYPE_ENUM: return t->e && t->e->values.n ? t->e->values.items[0] : "";
    case TYPE_SET:
    case TYPE_MAP:
    case TYPE_OPTION:
    case TYPE_RECORD:
    case TYPE_BATCH: return "{}";
    case TYPE_STRING:
    case TYPE_VOID: break;
    }
    return "";
}

static bool out_ref(struct strbuf *b, const char *text)
{
    uint64_t half[2] = { 0, 0 };
    unsigned digits = 0;
    if (streq(text, "OpaqueRef:NULL")) {
        strbuf_str(b, "{ .kind = VALUE_REF }");
        return true;
    }
    if (!has_prefix(text, "OpaqueRef:")) return false;
    for (const char *p = text + strlen("OpaqueRef:"); *p; p++) {
        if (*p == '-') continue;
        if (!isxdigit((unsigned char)*p) || digits == 32) return false;
        int v = isdigit((unsigned char)*p) ? *p - '0' : tolower((unsigned char)*p) - 'a' + 10;
        half[digits / 16] = half[digits / 16] << 4 | (unsigned)v;
        digits++;
    }
    strbuf_printf(b, "{ .kind = VALUE_REF, .ref = { 0x%016llxu, 0x%016llxu } }", (unsigned long long)half[0],
                  (unsigned long long)half[1]);
    return digits == 32;
}

static bool out_number(struct strbuf *b, const struct type *t, const char *text)
{
    char *end;
    errno = 0;
    if (t->kind == TYPE_INT) {
        long long i = strtoll(text, &end, 10);
        strbuf_printf(b, "{ .kind = VALUE_INT, .i = %lld }", i);
    } else if (t->kind == TYPE_FLOAT) {
        double d = strtod(text, &end);
        strbuf_printf(b, "{ .kind = VALUE_FLOAT, .d = %.17g }", d);
    } else {
        struct tm tm = { 0 };
        end = strptime(text, "%Y%m%dT%H:%M:%SZ", &tm);
        if (!end) return false;
        strbuf_printf(b, "{ .kind = VALUE_DATETIME, .i = %lld }", (long long)timegm(&tm));
        errno = 0;   /* timegm() looks for a time zone file, which need not be there */
    }
    return end != text && !*end && !errno;
}

/* One item of "{a -> b, c}": up to a comma, an arrow or the end; quotes are taken off. */
static const char *item_of(struct schema *s, const char **p)
{
    while (**p == ' ') ++*p;
    const char *start = *p;
    if (**p == '"') {
        const char *close = strchr(start + 1, '"');
        if (!close) return NULL;
        *p = close + 1;
        while (**p == ' ') ++*p;
        return arena_strndup(s->arena, start + 1, (size_t)(close - start - 1));
    }
    while (**p && **p != ',' && strncmp(*p, "->", 2) != 0) ++*p;
    const char *end = *p;
    while (end > start && end[-1] == ' ') end--;
    return arena_strndup(s->arena, start, (size_t)(end - start));
}

static bool out_collection(struct schema *s, struct strbuf *decls, struct strbuf *b, struct pos pos,
                           const struct type *t, const char *text, const char *name)
{
    size_t len = strlen(text);
    bool map = t->kind == TYPE_MAP;
    if (len < 2 || text[0] != '{' || text[len - 1] != '}') return false;
    const char *p = arena_strndup(s->arena, text + 1, len - 2);
    unsigned n = 0;
    _cleanup_strbuf_ struct strbuf items = STRBUF_INIT;
    while (*p) {
        const char *item = item_of(s, &p), *value = item;
        if (!item) return false;
        strbuf_str(&items, "    ");
        if (map) {
            if (strncmp(p, "->", 2) != 0) return false;
            p += 2;
            value = item_of(s, &p);
            if (!value) return false;
            strbuf_str(&items, "{ ");
            out_string(&items, item);
            strbuf_str(&items, ", ");
        }
        out_value(s, decls, &items, pos, t->elem, value, name);
        strbuf_str(&items, map ? " },\n" : ",\n");
        n++;
        if (*p && *p++ != ',') return false;
    }
    const char *kind = map ? "MAP" : "SET", *member = map ? "map" : "set";
    if (n)
        strbuf_printf(decls, "static const struct %s items_%s[] = {\n%s};\n", map ? "member" : "value", name,
                      strbuf_cstr(&items));
    if (n) strbuf_printf(b, "{ .kind = VALUE_%s, .%s = { items_%s, %u } }", kind, member, name, n);
    else strbuf_printf(b, "{ .kind = VALUE_%s }", kind);
    return true;
}

void out_value(struct schema *s, struct strbuf *decls, struct strbuf *b, struct pos pos, const struct type *t,
               const char *text, const char *name)
{
    bool good = true;
    if (!text) text = empty_text(t);
    switch (t->kind) {
    case TYPE_ENUM:
        good = false;
        if (t->e)
            LIST_EACH(&t->e->values, const char, v) good |= streq(v, text);
        // fall through
    case TYPE_STRING:
        strbuf_str(b, "{ .kind = VALUE_STRING, .s = ");
        out_string(b, text);
        strbuf_printf(b, ", .len = %zu }", strlen(text));
        break;
    case TYPE_INT:
    case TYPE_FLOAT:
    case TYPE_DATETIME: good = out_number(b, t, text); break;
    case TYPE_BOOL:
        good = streq(text, "true") || streq(text, "false");
        strbuf_printf(b, "{ .kind = VALUE_BOOL, .b = %s }", text);
        break;
    case TYPE_REF: good = out_ref(b, text); break;
    case TYPE_SET:
    case TYPE_MAP: good = out_collection(s, decls, b, pos, t, text, name); break;
    case TYPE_OPTION:
    case TYPE_VOID:
    case TYPE_BATCH: strbuf_str(b, "{ .kind = VALUE_VOID }"); break;
    case TYPE_RECORD: strbuf_str(b, "{ .kind = VALUE_MAP }"); break;
    }
    if (!good) complain(pos, "'%s' is no value of type %s", text, t->text);
}

/* ---- names of enumerators -------------------------------------------------------------------- */

const char *role_constant(enum role_id r)
{
    static const char *const names[] = {
        "ROLE_POOL_ADMIN", "ROLE_POOL_OPERATOR", "ROLE_VM_POWER_ADMIN",
        "ROLE_VM_ADMIN",   "ROLE_VM_OPERATOR",   "ROLE_CLIENT_CERT",
        "ROLE_READ_ONLY",  "ROLE_NONE",          "ROLE_LOCAL_ROOT",
    };
    return names[r];
}

const char *role_wire(enum role_id r)
{
    static const char *const names[] = {
        "pool-admin",  "pool-operator", "vm-power-admin", "vm-admin", "vm-operator",
        "client-cert", "read-only",     "none",           "(none)",
    };
    return names[r];
}

const char *life_constant(enum lifecycle l)
{
    static const char *const names[] = { "LIFE_PUBLISHED", "LIFE_PROTOTYPED", "LIFE_DEPRECATED",
                                         "LIFE_REMOVED" };
    return names[l];
}

const char *life_wire(enum lifecycle l)
{
    static const char *const names[] = { "published", "prototyped", "deprecated", "removed" };
    return names[l];
}
