/* gen/templates, gen/http_routes, gen/permissions, gen/identity.h.
 * Called by: main.c.  Calls: out. */
#include "schema/gen/gen.h"

#include <ctype.h>

/* ---- guest templates ------------------------------------------------------------------------- */

static void member(struct strbuf *b, const char *name, const char *text)
{
    strbuf_printf(b, ".%s = ", name);
    out_string(b, text);
    strbuf_str(b, ", ");
}

static void template(struct strbuf *decls, struct strbuf *b, const struct template *t, size_t i)
{
    strbuf_printf(decls, "static const struct template_platform platform_%zu[] = { ", i);
    LIST_EACH(&t->platform, struct pair, p) {
        strbuf_str(decls, "{ ");
        out_string(decls, p->name);
        strbuf_str(decls, ", ");
        out_string(decls, p->value);
        strbuf_str(decls, " }, ");
    }
    strbuf_printf(decls, "{ NULL, NULL } };\nstatic const struct template_disk disks_%zu[] = { ", i);
    LIST_EACH(&t->disks, struct pair, d) {
        strbuf_str(decls, "{ ");
        out_string(decls, d->name);
        strbuf_printf(decls, ", %llu, %s }, ", (unsigned long long)bytes_of(d->value),
                      d->flag ? "true" : "false");
    }
    strbuf_str(decls, "{ NULL, 0, false } };\n");

    strbuf_str(b, "    { ");
    member(b, "uuid", t->uuid);
    member(b, "reference_label", t->reference_label);
    member(b, "name_label", t->name_label);
    strbuf_str(b, "\n      ");
    member(b, "firmware", t->firmware);
    member(b, "boot_order", t->boot_order);
    member(b, "install_methods", t->install_methods);
    member(b, "install_distro", t->install_distro);
    member(b, "install_arch", t->install_arch);
    strbuf_printf(
        b,
        "\n      .min_memory_bytes = %llu, .max_memory_bytes = %llu, .vcpus = %s, .vcpus_max = %s,\n      ",
        (unsigned long long)bytes_of(t->min_memory), (unsigned long long)bytes_of(t->max_memory),
        t->vcpus_default, t->vcpus_limit);
    strbuf_printf(
        b,
        ".linux_template = %s, .has_vendor_device = %s, .supports_uefi = %s, .supports_secure_boot = %s,\n      "
        ".platform = platform_%zu, .disks = disks_%zu },\n",
        streq(t->linux_template, "true") ? "true" : "false", *t->has_vendor_device ? "true" : "false",
        streq(t->supports_uefi, "yes") ? "true" : "false",
        streq(t->supports_secure_boot, "yes") ? "true" : "false", i, i);
}

static void templates(struct schema *s, const char *dir)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT, decls = STRBUF_INIT, rows = STRBUF_INIT;
    out_head(&b, "The guest templates made at first start.");
    strbuf_printf(
        &b,
        "#ifndef GEN_TEMPLATES_H\n#define GEN_TEMPLATES_H\n\n#include \"lib/util.h\"\n\n"
        "struct template_platform {\n    const char *key, *value;\n};\n\n"
        "struct template_disk {\n"
        "    const char *device;\n"
        "    uint64_t size_bytes;\n"
        "    bool bootable;\n"
        "};\n\n"
        "struct guest_template {\n    const char *uuid, *reference_label, *name_label;\n"
        "    const char *firmware;              /* bios, uefi, pv */\n"
        "    const char *boot_order, *install_methods, *install_distro, *install_arch;   /* \"\" = none */\n"
        "    uint64_t min_memory_bytes, max_memory_bytes;\n    int64_t vcpus, vcpus_max;\n"
        "    bool linux_template, has_vendor_device, supports_uefi, supports_secure_boot;\n"
        "    const struct template_platform *platform;   /* ends with key NULL */\n"
        "    const struct template_disk *disks;          /* ends with device NULL */\n};\n\n"
        "enum { N_GUEST_TEMPLATES = %zu };\n"
        "extern const struct guest_template guest_templates[N_GUEST_TEMPLATES + 1];"
        "   /* the last has no uuid */\n\n#endif\n",
        s->templates.n);
    out_write(&b, dir, "templates.h");
    LIST_EACH(&s->templates, struct template, t) template(&decls, &rows, t, t_i);
    out_head(&b, "The guest templates made at first start.");
    strbuf_printf(
        &b,
        "#include \"gen/templates.h\"\n\n%s\nconst struct guest_template guest_templates[N_GUEST_TEMPLATES + 1] "
        "= {\n"
        "%s    { .uuid = NULL },\n"
        "};\n",
        strbuf_cstr(&decls), strbuf_cstr(&rows));
    out_write(&b, dir, "templates.c");
}

/* ---- HTTP routes ----------------------------------------------------------------------------- */

static void routes(struct schema *s, const char *dir)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
    struct list seen = { 0 };
    out_head(&b, "The HTTP endpoints.");
    strbuf_str(&b, "#ifndef GEN_HTTP_ROUTES_H\n#define GEN_HTTP_ROUTES_H\n\n#include \"lib/model.h\"\n\n"
                   "enum http_route_id {\n");
    LIST_EACH(&s->routes, struct route, r) {
        bool old = false;
        LIST_EACH(&seen, const char, name) old |= streq(name, r->name);
        if (old) continue;
        list_add(s, &seen, (void *)(uintptr_t)r->name);
        strbuf_printf(&b, "    ROUTE_%s,\n", c_identifier(s, r->name));
    }
    strbuf_printf(
        &b,
        "    N_ROUTE_IDS\n};\n\n"
        "struct http_route_desc {\n"
        "    const char *method, *path;   /* the longest path that is a prefix of the request's wins */\n"
        "    const char *name;            /* of the handler: \"put_import\" */\n"
        "    enum http_route_id id;\n"
        "    const char *permission;      /* \"http/put_import\" */\n"
        "    bool role_of_call;           /* authentication and role are those of the call inside */\n"
        "    bool open;                   /* the handler also gets who shows nothing, without rights */\n"
        "    enum role_id role;           /* ROLE_NONE: no session needed */\n"
        "    const char *const *queries;  /* known parameters, NULL-terminated */\n"
        "    const char *doc;\n"
        "};\n\n"
        "enum { N_HTTP_ROUTES = %zu };\n"
        "extern const struct http_route_desc http_routes[N_HTTP_ROUTES + 1];   /* the last has no path */"
        "\n\n#endif\n",
        s->routes.n);
    out_write(&b, dir, "http_routes.h");

    out_head(&b, "The HTTP endpoints.");
    strbuf_str(&b, "#include \"gen/http_routes.h\"\n\n");
    LIST_EACH(&s->routes, struct route, r) {
        strbuf_printf(&b, "static const char *const queries_%zu[] = { ", r_i);
        LIST_EACH(&r->queries, const char, q) {
            out_string(&b, q);
            strbuf_str(&b, ", ");
        }
        strbuf_str(&b, "NULL };\n");
    }
    strbuf_str(&b, "\nconst struct http_route_desc http_routes[N_HTTP_ROUTES + 1] = {\n");
    LIST_EACH(&s->routes, struct route, r) {
        strbuf_printf(&b, "    { \"%s\", \"%s\", \"%s\", ROUTE_%s, \"http/%s\",\n      .role_of_call = %s, .open = %s, "
                      ".role = %s, .queries = queries_%zu,\n      .doc = ",
                      r->method, r->path, r->name, c_identifier(s, r->name), r->permission,
                      r->role_of_call ? "true" : "false", r->open ? "true" : "false", role_constant(r->role), r_i);
        out_string(&b, r->doc);
        strbuf_str(&b, " },\n");
    }
    strbuf_str(&b, "    { .path = NULL },\n};\n");
    out_write(&b, dir, "http_routes.c");
}

/* ---- permissions ----------------------------------------------------------------------------- */

struct permission {
    const char *name;
    enum role_id role;
};

static int permission_cmp(const void *a, const void *b)
{
    return strcmp((*(struct permission *const *)a)->name, (*(struct permission *const *)b)->name);
}

static void permit(struct schema *s, struct list *all, const char *name, enum role_id role)
{
    struct permission *p = arena_new_array(s->arena, struct permission, 1);
    *p = (struct permission){ name, role };
    list_add(s, all, p);
}

static void permissions(struct schema *s, const char *dir)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
    struct list all = { 0 };
    LIST_EACH(&s->messages, struct message, m) {
        if (m->role == ROLE_NONE || m->role == ROLE_LOCAL_ROOT) continue;
        const char *name = lower(s, m->full_name);
        permit(s, &all, name, m->role);
        if (m->field && (m->kind == METHOD_ADD || m->kind == METHOD_REMOVE || m->kind == METHOD_SET))
            LIST_EACH(&m->field->keys, struct key_rule, k)
                permit(s, &all, arena_printf(s->arena, "%s/key:%s", name, lower(s, k->pattern)), k->role);
    }
    LIST_EACH(&s->routes, struct route, r) {
        bool old = r->role_of_call || r->role == ROLE_NONE;
        LIST_EACH(&all, struct permission, p)
            old |= streq(p->name, arena_printf(s->arena, "http/%s", r->permission));
        if (old) continue;
        permit(s, &all, arena_printf(s->arena, "http/%s", r->permission), r->role);
        LIST_EACH(&r->rights, struct key_rule, k)
            permit(s, &all, arena_printf(s->arena, "http/%s/%s", r->permission, k->pattern), k->role);
    }
    if (all.n) qsort(all.items, all.n, sizeof(*all.items), permission_cmp);

    out_head(&b, "Every permission and the least role that carries it.");
    strbuf_printf(
        &b,
        "#ifndef GEN_PERMISSIONS_H\n#define GEN_PERMISSIONS_H\n\n#include \"lib/model.h\"\n\n"
        "struct permission_desc {\n"
        "    const char *name;      /* \"vm.start\", \"vm.set_other_config/key:folder\", \"http/put_import\" */\n"
        "    enum role_id role;\n};\n\n"
        "enum { N_PERMISSIONS = %zu };\n"
        "extern const struct permission_desc permissions[N_PERMISSIONS + 1];"
        "   /* sorted by name; the last has none */\n\n#endif\n",
        all.n);
    out_write(&b, dir, "permissions.h");
    out_head(&b, "Every permission and the least role that carries it.");
    strbuf_str(
        &b,
        "#include \"gen/permissions.h\"\n\nconst struct permission_desc permissions[N_PERMISSIONS + 1] = {\n");
    LIST_EACH(&all, struct permission, p) {
        strbuf_str(&b, "    { ");
        out_string(&b, p->name);
        strbuf_printf(&b, ", %s },\n", role_constant(p->role));
    }
    strbuf_str(&b, "    { NULL, ROLE_NONE },\n};\n");
    out_write(&b, dir, "permissions.c");
}

/* ---- identity -------------------------------------------------------------------------------- */

static void identity(struct schema *s, const char *dir)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
    out_head(&b, "Who we say we are: the defaults that the configuration may override.");
    strbuf_str(&b, "#ifndef GEN_IDENTITY_H\n#define GEN_IDENTITY_H\n");
    LIST_EACH(&s->identity, struct pair, p) {
        char *name = arena_strdup(s->arena, c_identifier(s, p->name));
        for (char *q = name; *q; q++) *q = (char)toupper((unsigned char)*q);
        strbuf_printf(&b, "\n/* %s */\n#define IDENTITY_%s ", p->doc, name);
        out_string(&b, p->value);
        strbuf_char(&b, '\n');
    }
    strbuf_str(&b, "\n#endif\n");
    out_write(&b, dir, "identity.h");
}

void emit_tables(struct schema *s, const char *dir)
{
    templates(s, dir);
    routes(s, dir);
    permissions(s, dir);
    identity(s, dir);
}
