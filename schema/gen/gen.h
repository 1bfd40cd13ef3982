/* The data model as the generator holds it: what load.c reads, check.c completes and the emitters write out.
 * Called by: every file of schema/gen/.  Calls: lib (arena, strbuf, model.h's enumerations).
 *
 * The generator runs for a moment and exits: everything lives in one arena. */
#ifndef SCHEMA_GEN_GEN_H
#define SCHEMA_GEN_GEN_H

#include "lib/arena.h"
#include "lib/model.h"
#include "lib/strbuf.h"

struct pos {
    const char *file;
    int line;
};

/* A growing array of pointers. */
struct list {
    void **items;
    size_t n, cap;
};

#define LIST_EACH(list, type, var) \
    for (size_t var##_i = 0; var##_i < (list)->n; var##_i++) \
        for (type *var = (list)->items[var##_i]; var; var = NULL)

struct life {
    enum lifecycle state;
    const char *since, *deprecated, *removed; /* "" when not said */
};

struct enumeration {
    struct pos pos;
    const char *name;
    struct list values; /* const char */
};

struct type {
    enum type_kind kind;
    const char *text;
    struct cls *cls; /* of a ref or a record; NULL for a record of any class */
    struct enumeration *e;
    const struct type *key, *elem;
    unsigned id; /* place in the table of types */
};

struct key_rule {
    struct pos pos;
    const char *pattern;
    enum role_id role;
};

struct field {
    struct pos pos;
    struct cls *cls;
    unsigned index;
    const char *name, *long_name, *type_text, *default_text, *doc;
    bool has_default;
    const struct type *type;
    enum cell_kind cell;
    enum qualifier qualifier;
    struct life life;
    bool persistent, secret;
    const char *inverse_text; /* NULL when there is none */
    struct field *inverse;
    enum role_id writer, reader;
    struct list keys; /* struct key_rule */
};

struct param {
    struct pos pos;
    const char *name, *c_name, *type_text, *default_text;
    const struct type *type;
    bool optional, secret;
};

struct message {
    struct pos pos;
    struct cls *cls;
    const char *name, *c_name; /* "start", "vm_start" */
    const char *full_name;     /* "VM.start" */
    enum method_kind kind;
    struct field *field;
    bool explicit_message, access, session, blocks, local_time, internal, local, has_function;
    enum role_id role;
    struct life life;
    const char *result_text, *doc;
    const struct type *result;
    struct list params; /* struct param */
    struct list errors; /* struct error_ref */
};

struct error_ref {
    struct pos pos;
    const char *code;
};

struct cls {
    struct pos pos;
    const char *name, *c_name; /* "VM", "vm" */
    unsigned id;               /* from 1 */
    struct life life;
    bool stored, evented, accessors, get_all, by_name, async, persistent;
    bool has_constructor, create_blocks, destroy_blocks, create_secret;
    enum role_id constructor, writer, reader;
    const char *doc;
    struct list enums, fields, messages; /* messages: the listed ones, after derive() all */
    struct field *uuid, *name_label;
};

struct error_def {
    struct pos pos;
    const char *code, *doc;
    bool free_params;
    struct list params; /* struct param */
};

struct role_def {
    struct pos pos;
    const char *name, *uuid, *doc;
    bool internal;
};

struct route {
    struct pos pos;
    const char *method, *path, *name, *permission, *doc;
    enum role_id role;
    bool role_of_call, open;
    struct list queries; /* const char */
    struct list rights;  /* struct key_rule */
};

struct pair {
    const char *name, *value, *doc;
    bool flag;
};

struct template
{
    struct pos pos;
    const char *uuid, *reference_label, *name_label, *source, *min_memory, *max_memory, *vcpus_default,
        *vcpus_limit, *firmware, *boot_order, *install_methods, *install_distro, *install_arch,
        *linux_template, *has_vendor_device, *supports_uefi, *supports_secure_boot;
    struct list platform, disks; /* struct pair: key, value; device, size, flag = bootable */
};

struct xe_field {
    struct pos pos;
    const char *name, *path, *kind;
    const struct field *first, *second; /* what the path names; second after a reference */
    bool set, add, remove, by_default, hidden, expensive, deprecated;
};

struct xe_record {
    struct pos pos;
    const char *name, *class_name;
    struct cls *cls;
    struct list fields; /* struct xe_field */
};

struct schema {
    struct arena *arena;
    struct list classes, enums, types, errors, roles, routes, templates, identity, xe;
    struct list messages; /* of all classes, sorted by full name */
};

/* ---- diag.c: errors of the description ------------------------------------------------------- */

/* Prints "file:line: message" and counts it; the generator goes on to find more. */
void complain(struct pos pos, const char *fmt, ...) _printf_(2, 3);
unsigned complaints(void);
void *list_add(struct schema *s, struct list *l, void *item);

/* ---- load.c, types.c, check.c ---------------------------------------------------------------- */

/* Reads every DIR/NAME.xml, each checked against the grammar first. */
void load(struct schema *s, const char *dir, const char *dtd_path);
/* The type that this text spells, one object a spelling; complains and returns NULL. */
const struct type *type_of(struct schema *s, struct pos pos, const char *text);
/* Types by meaning: void, string ... of ref: `C ref`. Never NULL. */
const struct type *type_plain(struct schema *s, enum type_kind kind);
const struct type *type_derived(struct schema *s, const char *fmt, ...) _printf_(2, 3);
/* A session's reference is the secret that opens it: never in a log. */
bool is_session_ref(const struct type *t);
enum cell_kind cell_of(const struct type *t);
/* Resolves names, checks every rule the grammar cannot say, adds the derived messages. */
void check(struct schema *s);
struct cls *find_class(struct schema *s, const char *name);
struct field *find_field(struct cls *c, const char *name);
struct error_def *find_error(struct schema *s, const char *code);

/* ---- derive.c -------------------------------------------------------------------------------- */

/* The messages that follow from the fields. */
void derive(struct schema *s, struct cls *c);
/* The C identifier for a wire name: other characters and C keywords get an underscore. */
const char *c_identifier(struct schema *s, const char *name);
const char *lower(struct schema *s, const char *text);

/* ---- emitters: each writes its files below dir ----------------------------------------------- */

void emit_model(struct schema *s, const char *dir);   /* model.h model.c */
void emit_methods(struct schema *s, const char *dir); /* methods.h methods.c thunks.c */
void emit_errors(struct schema *s, const char *dir);  /* errors.h errors.c */
void emit_xe(struct schema *s, const char *dir);      /* xe_fields.h xe_fields.c */
void emit_tables(struct schema *s, const char *dir);  /* templates, http_routes, permissions, identity */
void emit_doc(struct schema *s, const char *dir);     /* doc/api/NAME.md */
void emit_facts(struct schema *s, const char *dir);   /* the model as tab-separated tables, for the tests */

/* ---- out.c: writing C ------------------------------------------------------------------------ */

/* The file's head comment. */
void out_head(struct strbuf *b, const char *what);
/* A C string literal with quotes. */
void out_string(struct strbuf *b, const char *text);
/* Writes dir/name when its content differs (so that make does not rebuild the world); empties the buffer. */
void out_write(struct strbuf *b, const char *dir, const char *name);
/* A default as an initializer of struct value. Arrays it needs go to decls, named after `name`. */
void out_value(struct schema *s, struct strbuf *decls, struct strbuf *b, struct pos pos, const struct type *t,
               const char *text, const char *name);
/* "2G", "512M" in bytes; 0 when it is no such text. */
uint64_t bytes_of(const char *text);
const char *role_constant(enum role_id r);
const char *role_wire(enum role_id r);
const char *life_constant(enum lifecycle l);
const char *life_wire(enum lifecycle l);

#endif
