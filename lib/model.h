/* The shape of the data model at run time: what the generator fills from schema/ and what db/, rpc/ and xe/ read.
 * Called by: gen/ (tables), db/, rpc/, xe/.  Calls: value, xerr.
 *
 * The tables themselves are generated: gen/model.h declares `enum class_id`, one `F_<class>_<field>` constant a
 * field (class id << 16 | index in the class), the enums, and `extern const struct model model`. Class ids start
 * at 1 (CLASS_NONE = 0), so that 0 is no field; N_CLASSES is one more than the last. Values that cross these tables
 * are normalized: an enumeration is its wire text (VALUE_STRING), a set of one a VALUE_SET of texts, an option is
 * the value or VALUE_VOID. */
#ifndef LIB_MODEL_H
#define LIB_MODEL_H

#include "lib/value.h"
#include "lib/xerr.h"

struct call;   /* xapi/call/call.h; opaque here */

typedef uint32_t field_id;
static inline unsigned field_class(field_id f) { return f >> 16; }
static inline unsigned field_index(field_id f) { return f & 0xffff; }

enum type_kind {
    TYPE_VOID, TYPE_STRING, TYPE_INT, TYPE_BOOL, TYPE_FLOAT, TYPE_DATETIME,
    TYPE_REF,       /* of class cls */
    TYPE_ENUM,      /* of enumeration e */
    TYPE_SET,       /* of elem */
    TYPE_MAP,       /* key -> elem */
    TYPE_RECORD,    /* of class cls */
    TYPE_OPTION,    /* of elem */
    TYPE_BATCH,     /* event.from's answer */
};

struct enum_desc {
    const char *name;              /* "vm_power_state" */
    unsigned n;
    const char *const *values;     /* wire text, by index; the C enumerators have the same numbers */
};

struct type_desc {
    enum type_kind kind;
    int cls;                       /* enum class_id, -1 when none */
    const struct enum_desc *e;
    const struct type_desc *key, *elem;
    const char *text;              /* "(string -> string) map", as the model spells it */
};

/* How a row keeps a field (16 bytes each). */
enum cell_kind {
    CELL_STRING, CELL_INT, CELL_BOOL, CELL_FLOAT, CELL_DATETIME, CELL_REF,
    CELL_ENUM,      /* index into the enumeration */
    CELL_BITS,      /* a set of an enumeration of at most 64 values: bit i = value i */
    CELL_REFSET,    /* a sorted set of references */
    CELL_VALUE,     /* any other set, map, option: a struct value */
};

enum qualifier { QUAL_RW, QUAL_RO_CONSTRUCTOR, QUAL_RO_RUNTIME };
enum lifecycle { LIFE_PUBLISHED, LIFE_PROTOTYPED, LIFE_DEPRECATED, LIFE_REMOVED };

/* Least role, from most to least powerful; a role's bit mask includes all weaker ones. */
enum role_id {
    ROLE_POOL_ADMIN, ROLE_POOL_OPERATOR, ROLE_VM_POWER_ADMIN, ROLE_VM_ADMIN, ROLE_VM_OPERATOR, ROLE_CLIENT_CERT,
    ROLE_READ_ONLY,
    ROLE_NONE,         /* any authenticated session */
    ROLE_LOCAL_ROOT,   /* carried by no role: the local superuser only */
};

struct key_role {                  /* key-level rule of a map field: keys matching pattern need this role */
    const char *pattern;           /* exact, or a prefix ending in '*' */
    enum role_id role;
};

struct field_desc {
    const char *name;              /* flattened, as on the wire: "name_label" */
    const char *long_name;         /* "name__label" in filter expressions, else the same */
    const struct type_desc *type;
    enum cell_kind cell;
    enum qualifier qualifier;
    enum lifecycle lifecycle;
    bool persistent;
    bool secret;                   /* never logged */
    const char *default_text;      /* the schema's default, as text: "" , "0", "OpaqueRef:NULL", "{}", an enum value */
    struct value default_value;    /* the same, normalized */
    field_id id;
    field_id inverse;              /* a REFSET kept by the db from this ref field of the other class; 0 = none */
    const struct key_role *key_roles;   /* ends with pattern NULL; NULL = none */
    const char *doc;
};

struct class_desc {
    const char *name;              /* "VM" */
    const char *event_name;        /* "vm" */
    int id;
    unsigned n_fields;
    const struct field_desc *fields;
    field_id uuid, name_label;     /* 0 = none */
    bool stored;                   /* has rows in the database */
    bool evented;
    bool has_get_all_records;
    enum lifecycle lifecycle;
    const char *doc;
};

enum method_kind {
    METHOD_CUSTOM,                 /* behaviour in a class file only */
    METHOD_GET, METHOD_SET, METHOD_ADD, METHOD_REMOVE,   /* one field: get_x, set_x, add_(to_)x, remove_(from_)x */
    METHOD_GET_RECORD, METHOD_GET_ALL, METHOD_GET_ALL_RECORDS, METHOD_GET_ALL_RECORDS_WHERE,
    METHOD_GET_BY_UUID, METHOD_GET_BY_NAME_LABEL, METHOD_CREATE, METHOD_DESTROY,
};

struct param_desc {
    const char *name;
    const struct type_desc *type;
    bool optional;
    struct value fallback;         /* normalized; used when an optional one is absent */
    bool secret;                   /* passwords: never logged, never in the audit line */
};

/* Generated for every message: unpacks normalized arguments, calls the class function, packs the result.
 * args has n_params entries (the leading session is not among them). */
typedef int (*thunk_fn)(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err);

struct method_desc {
    const char *name;              /* "VM.start" */
    const char *message;           /* "start" */
    int cls;
    enum method_kind kind;
    field_id field;                /* of the four field kinds, else 0 */
    bool explicit_message;
    bool field_access;             /* an explicit set_x/add_to_x/remove_from_x that is plain field access */
    bool session;                  /* takes a session as first parameter on the wire */
    bool blocks;                   /* may wait for storage, guests, processes: gets a thread of its own */
    bool async;                    /* Async.Class.message exists */
    bool internal;                 /* served, but not listed in the published model (get_all_records_where) */
    bool local;                    /* also for a session of this host alone */
    enum role_id role;
    enum lifecycle lifecycle;
    unsigned n_params;
    const struct param_desc *params;
    const struct type_desc *result;
    thunk_fn thunk;                /* never NULL in the daemon for custom, create, destroy, set, add and remove kinds;
                                      NULL for the other kinds and in programs without gen/thunks.c */
    const void *behaviour;         /* address of the class function, NULL when nobody wrote it (weak symbol) */
    const char *const *errors;     /* documented codes, NULL-terminated */
    const char *doc;
};

struct error_desc {
    const char *code;
    unsigned n_params;
    const char *const *params;
    const char *doc;
};

struct role_desc {
    const char *name, *uuid, *doc;
    bool internal;
};

struct model {
    unsigned n_classes, n_methods, n_errors, n_roles, n_enums;
    const struct class_desc *classes;      /* by class id, 1 .. n_classes - 1; slot 0 is an empty placeholder */
    const struct method_desc *methods;     /* sorted by name */
    const struct error_desc *errors;       /* sorted by code */
    const struct role_desc *roles;         /* by role_id, without NONE and LOCAL_ROOT */
    const struct enum_desc *const *enums;
};

extern const struct model model;

/* Lookups; NULL when there is none. */
const struct class_desc *model_class(const char *name);            /* exact case */
const struct class_desc *model_class_nocase(const char *name);     /* event subscriptions */
const struct method_desc *model_method(const char *name);          /* "VM.start" */
const struct error_desc *model_error(const char *code);
const struct field_desc *model_field(field_id f);
/* By wire name or by the name with double underscores. */
const struct field_desc *model_field_by_name(const struct class_desc *cls, const char *name);
/* The index of a wire text in an enumeration, or -1. */
int enum_index(const struct enum_desc *e, const char *text);

#endif
