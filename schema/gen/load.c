/* Reads schema/NAME.xml: grammar first, then into the structures of gen.h.
 * Called by: main.c.  Calls: libxml2. */
#include "schema/gen/gen.h"

#include <dirent.h>
#include <libxml/parser.h>
#include <libxml/valid.h>
#include <stdio.h>

static struct pos pos_of(const char *file, xmlNode *n)
{
    return (struct pos){ file, (int)xmlGetLineNo(n) };
}

/* libxml2's own words (syntax, grammar), at the file and line they are about. */
static void on_xml_error(void *arg, xmlErrorPtr e)
{
    const char *file = arg;
    size_t len = strlen(e->message);
    while (len && e->message[len - 1] == '\n') len--;
    complain((struct pos){ file, e->line }, "%.*s", (int)len, e->message);
}

/* ---- attributes ------------------------------------------------------------------------------ */

static const char *attr(struct schema *s, xmlNode *n, const char *name, const char *fallback)
{
    xmlChar *text = xmlGetNoNsProp(n, (const xmlChar *)name);
    if (!text) return fallback;
    const char *copy = arena_strdup(s->arena, (const char *)text);
    xmlFree(text);
    return copy;
}

static bool flag(struct schema *s, xmlNode *n, const char *name, bool fallback)
{
    const char *text = attr(s, n, name, NULL);
    return text ? streq(text, "yes") : fallback;
}

static const char *const role_names[] = {
    "pool-admin",  "pool-operator", "vm-power-admin", "vm-admin",   "vm-operator",
    "client-cert", "read-only",     "none",           "local-root",
};

static enum role_id role_attr(struct schema *s, xmlNode *n, const char *name, enum role_id fallback)
{
    const char *text = attr(s, n, name, NULL);
    if (!text) return fallback;
    for (unsigned i = 0; i < ARRAY_SIZE(role_names); i++)
        if (streq(role_names[i], text)) return (enum role_id)i;
    return fallback; /* the grammar admits no other text */
}

static struct life life_attr(struct schema *s, xmlNode *n)
{
    static const char *const names[] = { "published", "prototyped", "deprecated", "removed" };
    struct life l = { LIFE_PUBLISHED, attr(s, n, "since", ""), attr(s, n, "deprecated", ""),
                      attr(s, n, "removed", "") };
    const char *state = attr(s, n, "state", "published");
    for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
        if (streq(names[i], state)) l.state = (enum lifecycle)i;
    return l;
}

/* The <doc> child's text with white space folded; complains when it says nothing. */
static const char *doc_of(struct schema *s, const char *file, xmlNode *n)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
    for (xmlNode *c = n->children; c; c = c->next) {
        if (c->type != XML_ELEMENT_NODE || !streq((const char *)c->name, "doc")) continue;
        xmlChar *text = xmlNodeGetContent(c);
        for (const char *p = (const char *)text; p && *p; p++) {
            bool space = strchr(" \t\r\n", *p) != NULL;
            if (!space) strbuf_char(&b, *p);
            else if (b.len && b.ptr[b.len - 1] != ' ') strbuf_char(&b, ' ');
        }
        xmlFree(text);
    }
    while (b.len && b.ptr[b.len - 1] == ' ') b.ptr[--b.len] = '\0';
    if (!b.len) complain(pos_of(file, n), "%s without a sentence of documentation", (const char *)n->name);
    return arena_strdup(s->arena, strbuf_cstr(&b));
}

#define CHILDREN(parent, var) \
    for (xmlNode *var = (parent)->children; var; var = var->next) \
        if (var->type == XML_ELEMENT_NODE)

static bool is(const xmlNode *n, const char *name)
{
    return streq((const char *)n->name, name);
}

/* ---- elements -------------------------------------------------------------------------------- */

static void load_enum(struct schema *s, struct cls *c, const char *file, xmlNode *n)
{
    struct enumeration *e = arena_new_array(s->arena, struct enumeration, 1);
    *e = (struct enumeration){ .pos = pos_of(file, n), .name = attr(s, n, "name", "") };
    CHILDREN(n, v) list_add(s, &e->values, (void *)(uintptr_t)attr(s, v, "name", ""));
    list_add(s, &c->enums, e);
    list_add(s, &s->enums, e);
}

static void load_field(struct schema *s, struct cls *c, const char *file, xmlNode *n)
{
    static const char *const qualifiers[] = { "RW", "RO-constructor", "RO-runtime" };
    struct field *f = arena_new_array(s->arena, struct field, 1);
    *f = (struct field){
        .pos = pos_of(file, n),
        .cls = c,
        .index = (unsigned)c->fields.n,
        .name = attr(s, n, "name", ""),
        .type_text = attr(s, n, "type", ""),
        .default_text = attr(s, n, "default", NULL),
        .doc = doc_of(s, file, n),
        .life = life_attr(s, n),
        .persistent = flag(s, n, "persist", c->persistent),
        .secret = flag(s, n, "secret", false),
        .inverse_text = attr(s, n, "inverse", NULL),
        .writer = role_attr(s, n, "writer-role", c->writer),
        .reader = role_attr(s, n, "reader-role", c->reader),
    };
    f->has_default = f->default_text != NULL;
    const char *qualifier = attr(s, n, "qualifier", "");
    for (unsigned i = 0; i < ARRAY_SIZE(qualifiers); i++)
        if (streq(qualifiers[i], qualifier)) f->qualifier = (enum qualifier)i;
    f->long_name = f->name;
    const char *space = attr(s, n, "namespace", has_prefix(f->name, "name_") ? "name" : NULL);
    if (space) {
        size_t len = strlen(space);
        if (!has_prefix(f->name, space) || f->name[len] != '_' || !f->name[len + 1])
            complain(f->pos, "field %s.%s does not begin with its namespace '%s'", c->name, f->name, space);
        else f->long_name = arena_printf(s->arena, "%s__%s", space, f->name + len + 1);
    }
    CHILDREN(n, k) {
        if (!is(k, "key")) continue;
        struct key_rule *rule = arena_new_array(s->arena, struct key_rule, 1);
        *rule = (struct key_rule){ pos_of(file, k), attr(s, k, "pattern", ""),
                                   role_attr(s, k, "role", ROLE_NONE) };
        list_add(s, &f->keys, rule);
    }
    list_add(s, &c->fields, f);
}

static struct param *load_param(struct schema *s, const char *file, xmlNode *n)
{
    struct param *p = arena_new_array(s->arena, struct param, 1);
    *p = (struct param){
        .pos = pos_of(file, n),
        .name = attr(s, n, "name", ""),
        .type_text = attr(s, n, "type", NULL),
        .default_text = attr(s, n, "default", NULL),
        .optional = flag(s, n, "optional", false),
        .secret = flag(s, n, "secret", false),
    };
    return p;
}

static void load_message(struct schema *s, struct cls *c, const char *file, xmlNode *n)
{
    struct message *m = arena_new_array(s->arena, struct message, 1);
    *m = (struct message){
        .pos = pos_of(file, n),
        .cls = c,
        .name = attr(s, n, "name", ""),
        .explicit_message = true,
        .result_text = attr(s, n, "result", "void"),
        .role = role_attr(s, n, "role", ROLE_POOL_ADMIN),
        .life = life_attr(s, n),
        .session = flag(s, n, "session", true),
        .blocks = flag(s, n, "blocks", false),
        .access = attr(s, n, "access", NULL) != NULL,
        .local_time = flag(s, n, "local-time", false),
        .internal = flag(s, n, "internal", false),
        .local = flag(s, n, "local", false),
        .doc = doc_of(s, file, n),
        .has_function = true,
    };
    CHILDREN(n, k) {
        if (is(k, "param")) list_add(s, &m->params, load_param(s, file, k));
        if (is(k, "error")) {
            struct error_ref *e = arena_new_array(s->arena, struct error_ref, 1);
            *e = (struct error_ref){ pos_of(file, k), attr(s, k, "code", "") };
            list_add(s, &m->errors, e);
        }
    }
    list_add(s, &c->messages, m);
}

static void load_class(struct schema *s, const char *file, xmlNode *root)
{
    struct cls *c = arena_new_array(s->arena, struct cls, 1);
    *c = (struct cls){
        .pos = pos_of(file, root),
        .name = attr(s, root, "name", ""),
        .life = life_attr(s, root),
        .stored = flag(s, root, "stored", true),
        .evented = flag(s, root, "evented", true),
        .accessors = flag(s, root, "accessors", true),
        .get_all = flag(s, root, "get-all", true),
        .by_name = flag(s, root, "by-name", true),
        .async = flag(s, root, "async", true),
        .persistent = flag(s, root, "persist", true),
        .has_constructor = attr(s, root, "constructor-role", NULL) != NULL,
        .create_blocks = flag(s, root, "create-blocks", false),
        .destroy_blocks = flag(s, root, "destroy-blocks", false),
        .create_secret = flag(s, root, "create-secret", false),
        .constructor = role_attr(s, root, "constructor-role", ROLE_POOL_ADMIN),
        .writer = role_attr(s, root, "writer-role", ROLE_POOL_ADMIN),
        .reader = role_attr(s, root, "reader-role", ROLE_READ_ONLY),
        .doc = doc_of(s, file, root),
    };
    c->c_name = lower(s, c->name);
    list_add(s, &s->classes, c);
    c->id = (unsigned)s->classes.n;
    CHILDREN(root, n) {
        if (is(n, "enum")) load_enum(s, c, file, n);
        if (is(n, "field")) load_field(s, c, file, n);
        if (is(n, "message")) load_message(s, c, file, n);
    }
}

static void load_errors(struct schema *s, const char *file, xmlNode *root)
{
    CHILDREN(root, n) {
        struct error_def *e = arena_new_array(s->arena, struct error_def, 1);
        *e = (struct error_def){ .pos = pos_of(file, n),
                                 .code = attr(s, n, "code", ""),
                                 .doc = doc_of(s, file, n),
                                 .free_params = attr(s, n, "params", NULL) != NULL };
        CHILDREN(n, p)
            if (is(p, "param")) list_add(s, &e->params, load_param(s, file, p));
        list_add(s, &s->errors, e);
    }
}

static void load_roles(struct schema *s, const char *file, xmlNode *root)
{
    CHILDREN(root, n) {
        struct role_def *r = arena_new_array(s->arena, struct role_def, 1);
        *r = (struct role_def){ pos_of(file, n), attr(s, n, "name", ""), attr(s, n, "uuid", ""),
                                doc_of(s, file, n), flag(s, n, "internal", false) };
        list_add(s, &s->roles, r);
    }
}

static void load_http(struct schema *s, const char *file, xmlNode *root)
{
    CHILDREN(root, n) {
        struct route *r = arena_new_array(s->arena, struct route, 1);
        *r = (struct route){
            .pos = pos_of(file, n),
            .method = attr(s, n, "method", ""),
            .path = attr(s, n, "path", ""),
            .name = attr(s, n, "name", ""),
            .permission = attr(s, n, "permission", NULL),
            .doc = doc_of(s, file, n),
            .role = role_attr(s, n, "role", ROLE_NONE),
            .role_of_call = streq(attr(s, n, "role", ""), "call"),
            .open = flag(s, n, "open", false),
        };
        if (!r->permission) r->permission = r->name;
        CHILDREN(n, q) {
            if (is(q, "query")) list_add(s, &r->queries, (void *)(uintptr_t)attr(s, q, "name", ""));
            if (!is(q, "right")) continue;
            struct key_rule *k = arena_new_array(s->arena, struct key_rule, 1);
            *k = (struct key_rule){ .pattern = attr(s, q, "name", ""), .role = role_attr(s, q, "role", ROLE_NONE) };
            list_add(s, &r->rights, k);
        }
        list_add(s, &s->routes, r);
    }
}

static void load_templates(struct schema *s, const char *file, xmlNode *root)
{
    CHILDREN(root, n) {
        struct template *t = arena_new_array(s->arena, struct template, 1);
        *t = (struct template){
            .pos = pos_of(file, n),
            .uuid = attr(s, n, "uuid", ""),
            .reference_label = attr(s, n, "reference-label", ""),
            .name_label = attr(s, n, "name-label", ""),
            .source = attr(s, n, "source", ""),
            .min_memory = attr(s, n, "min-memory", ""),
            .max_memory = attr(s, n, "max-memory", ""),
            .vcpus_default = attr(s, n, "vcpus-default", "1"),
            .vcpus_limit = attr(s, n, "vcpus-limit", ""),
            .firmware = attr(s, n, "firmware", ""),
            .boot_order = attr(s, n, "boot-order", ""),
            .install_methods = attr(s, n, "install-methods", ""),
            .install_distro = attr(s, n, "install-distro", ""),
            .install_arch = attr(s, n, "install-arch", ""),
            .linux_template = attr(s, n, "linux-template", ""),
            .has_vendor_device = attr(s, n, "has-vendor-device", ""),
            .supports_uefi = attr(s, n, "supports-uefi", ""),
            .supports_secure_boot = attr(s, n, "supports-secure-boot", ""),
        };
        CHILDREN(n, k) {
            struct pair *p = arena_new_array(s->arena, struct pair, 1);
            if (is(k, "platform"))
                *p = (struct pair){ attr(s, k, "key", ""), attr(s, k, "value", ""), NULL, false };
            else
                *p = (struct pair){ attr(s, k, "device", ""), attr(s, k, "size", ""), NULL,
                                    flag(s, k, "bootable", true) };
            list_add(s, is(k, "platform") ? &t->platform : &t->disks, p);
        }
        list_add(s, &s->templates, t);
    }
}

static void load_identity(struct schema *s, const char *file, xmlNode *root)
{
    CHILDREN(root, n) {
        struct pair *p = arena_new_array(s->arena, struct pair, 1);
        *p = (struct pair){ attr(s, n, "name", ""), attr(s, n, "value", ""), doc_of(s, file, n), false };
        list_add(s, &s->identity, p);
    }
}

static void load_xe(struct schema *s, const char *file, xmlNode *root)
{
    CHILDREN(root, n) {
        struct xe_record *r = arena_new_array(s->arena, struct xe_record, 1);
        *r = (struct xe_record){ .pos = pos_of(file, n),
                                 .name = attr(s, n, "name", ""),
                                 .class_name = attr(s, n, "class", "") };
        CHILDREN(n, k) {
            struct xe_field *f = arena_new_array(s->arena, struct xe_field, 1);
            *f = (struct xe_field){
                .pos = pos_of(file, k),
                .name = attr(s, k, "name", ""),
                .path = attr(s, k, "path", ""),
                .kind = attr(s, k, "kind", "scalar"),
                .set = flag(s, k, "set", false),
                .add = flag(s, k, "add", false),
                .remove = flag(s, k, "remove", false),
                .by_default = flag(s, k, "default", false),
                .hidden = flag(s, k, "hidden", false),
                .expensive = flag(s, k, "expensive", false),
                .deprecated = flag(s, k, "deprecated", false),
            };
            list_add(s, &r->fields, f);
        }
        list_add(s, &s->xe, r);
    }
}

/* ---- files ----------------------------------------------------------------------------------- */

static void load_file(struct schema *s, xmlDtd *dtd, const char *dir, const char *name)
{
    static const struct {
        const char *root;
        void (*load)(struct schema *, const char *, xmlNode *);
    } kinds[] = {
        { "class", load_class }, { "errors", load_errors },       { "roles", load_roles },
        { "http", load_http },   { "templates", load_templates }, { "identity", load_identity },
        { "xe", load_xe },
    };
    char *file = arena_printf(s->arena, "%s/%s", dir, name);
    unsigned before = complaints();

    xmlSetStructuredErrorFunc(file, on_xml_error);
    xmlDoc *doc = xmlReadFile(file, NULL, XML_PARSE_NONET | XML_PARSE_NOBLANKS | XML_PARSE_BIG_LINES);
    if (doc && complaints() == before) {
        xmlValidCtxt *valid = xmlNewValidCtxt();
        valid->userData = file;
        xmlValidateDtd(valid, doc, dtd);
        xmlFreeValidCtxt(valid);
    }
    xmlNode *root = doc ? xmlDocGetRootElement(doc) : NULL;
    if (!root && complaints() == before) complain((struct pos){ file, 1 }, "cannot read this file");
    for (unsigned i = 0; root && complaints() == before && i < ARRAY_SIZE(kinds); i++) {
        if (!is(root, kinds[i].root)) continue;
        kinds[i].load(s, file, root);
        const char *base = i ? kinds[i].root : lower(s, attr(s, root, "name", ""));
        if (!streq(arena_printf(s->arena, "%s.xml", base), name))
            complain(pos_of(file, root), "this belongs into %s.xml", base);
    }
    if (doc) xmlFreeDoc(doc);
    xmlSetStructuredErrorFunc(NULL, NULL);
}

static int name_cmp(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

void load(struct schema *s, const char *dir, const char *dtd_path)
{
    xmlSetStructuredErrorFunc((void *)(uintptr_t)dtd_path, on_xml_error);
    xmlDtd *dtd = xmlParseDTD(NULL, (const xmlChar *)dtd_path);
    if (!dtd) {
        complain((struct pos){ dtd_path, 1 }, "cannot read the grammar");
        return;
    }
    struct list names = { 0 };
    DIR *d = opendir(dir);
    if (!d) complain((struct pos){ dir, 0 }, "cannot read this folder");
    for (struct dirent *e; d && (e = readdir(d));) {
        size_t len = strlen(e->d_name);
        if (len > 4 && streq(e->d_name + len - 4, ".xml") && e->d_name[0] != '.')
            list_add(s, &names, arena_strdup(s->arena, e->d_name));
    }
    if (d) closedir(d);
    if (names.n) qsort(names.items, names.n, sizeof(*names.items), name_cmp);
    LIST_EACH(&names, const char, name) load_file(s, dtd, dir, name);
    xmlFreeDtd(dtd);
    xmlCleanupParser();
}
