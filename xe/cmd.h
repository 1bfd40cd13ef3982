/* A command line of xe while it runs: what its code gets and the helpers it is written with.
 * Called by: cmd_*.c, commands.c; cmd_run() by xapi/http/cli.c.  Calls: lib, gen.
 *
 * Commands are written once against "call a method" (struct cmd_env): in the daemon the calls go through the
 * gates with the caller's session; elsewhere they may go over the wire. Everything lives in the command's
 * arena. */
#ifndef XE_CMD_H
#define XE_CMD_H

#include "gen/xe_fields.h"
#include "lib/map.h"
#include "lib/strbuf.h"

struct cmd;
struct command;
struct tls_client;

enum { CMD_TOKEN = 64 };               /* room for an event token */

enum { CMD_BEGINS = -1, CMD_BEGINS_SHOWN = -2 };      /* see working of struct cmd_env */

enum cmd_transfer { CMD_GET, CMD_PUT, CMD_CONNECT };
enum cmd_state { CMD_RUNNING, CMD_DONE, CMD_BROKEN };

struct cmd_object {
    int cls;
    const char *uuid, *name;           /* name NULL when the class has none */
};

/* Where a command runs: what answers it, and the client it talks to. */
struct cmd_env {
    void *arg;                         /* of the functions that ask the API */

    /* Called once, before the first message of a command that needs them: logs in. local: a local session,
     * good without the pool. NULL: somebody has logged in already. */
    int (*login)(void *arg, const char *user, const char *password, bool local, struct xerr *err);
    /* The session's reference as text, for URLs. */
    const char *(*session)(void *arg);
    /* One message, without the session; the result is in the arena, typed as the model says. */
    int (*call)(void *arg, const char *method, const struct value *args, size_t n, struct arena *arena,
                struct value *ret_result, struct xerr *err);
    /* The same with another session, which must have been got by a message. */
    int (*call_by)(void *arg, const char *session, const char *method, const struct value *args, size_t n,
                   struct arena *arena, struct value *ret_result, struct xerr *err);
    /* Every record of a class as a map by reference text, with these fields at least (fields NULL = all of
     * them). NULL: CLASS.get_all_records is called. */
    int (*records)(void *arg, const struct class_desc *cls, const field_id *fields, size_t n,
                   struct arena *arena, struct value *ret_map, struct xerr *err);
    /* Waits until something has changed since the token: what is a set of subscriptions, "vm" or
     * "task/OpaqueRef:...". With the empty token it only fetches one. 0 also when timeout_ms went by.
     * ret_events (may be NULL): the events, a set of maps as event.from gives them, in the arena. */
    int (*watch)(void *arg, const struct value *what, char token[CMD_TOKEN], int timeout_ms,
                 struct arena *arena, struct value *ret_events, struct xerr *err);
    /* An object by its reference; cls CLASS_NONE: of any class. False when there is none. */
    bool (*lookup)(void *arg, int cls, struct ref ref, struct arena *arena, struct cmd_object *ret_object);
    /* How other servers' certificates are checked. NULL: not at all, as xe itself does. */
    int (*tls)(void *arg, struct tls_client **ret_client, struct xerr *err);

    /* Output to a client that has gone is dropped; what waits for the client then fails. */
    void *client;                      /* of the functions that talk to the client */
    void (*print)(void *client, const char *text, size_t n);          /* a newline is added */
    void (*print_error)(void *client, const char *text, size_t n);    /* none is added */
    void (*error)(void *client, const char *code, const char *const *params, size_t n);
    /* A file of the client, at most limit bytes; NUL-terminated. 0; 1 when the client cannot read it; -1
     * gone. */
    int (*load)(void *client, const char *file, size_t limit, struct arena *arena, char **ret_text,
                size_t *ret_len);
    /* A line of the client's input. 0, or -1 when the client has gone. */
    int (*prompt)(void *client, struct arena *arena, char **ret_line);
    /* The client moves data between a file and a URL; then ask how far it is, waiting at most timeout_ms. */
    void (*transfer)(void *client, enum cmd_transfer kind, const char *file, const char *url);
    enum cmd_state (*transferred)(void *client, int timeout_ms);
    /* True when the client has hung up. */
    bool (*gone)(void *client);
    /* The client shows what to do after an error, behind the error. */
    bool advice;
    const struct catalog *words;       /* the client's language; NULL: English */
    /* A task of this session that the command waits for: there will be one (task ""), it begins (done CMD_BEGINS, or
     * CMD_BEGINS_SHOWN when something else shows how far it is), is so far (0 .. 1), has ended (task NULL). NULL: the
     * client does not want to know, and blocking messages need no task. */
    void (*working)(void *client, const char *session, const char *task, double done);
};

struct cmd_param {
    const char *key, *value;
};

struct cmd_failure {
    const char *uuid, *text;
};

struct cmd {
    const struct cmd_env *env;
    struct arena *arena;
    const char *name;                  /* of the command */
    const struct command *command;     /* NULL for those of record classes */
    const struct xe_record *record;    /* whose command it is, or NULL */
    const struct cmd_param *params;
    size_t n_params;
    bool minimal, json;
    bool local;                        /* the session is this host's alone: it can follow no task */
    struct strbuf buffered; /* --minimal: printed in one piece at the end; --json: the last object */
    bool any_buffered;
    struct refmap *objects[N_CLASSES]; /* records fetched so far; see cmd_object_record */
    bool prefetched[N_CLASSES];        /* all of that class are */
    struct cmd_failure *failures;      /* of --multiple */
    size_t n_failures;
    int exit_code;
};

typedef int (*command_fn)(struct cmd *c, struct xerr *err);

/* Runs one command line: argument texts as the client sent them, without session, in order. Prints what went
 * wrong. The exit code. */
int cmd_run(const struct cmd_env *env, struct arena *arena, const char *const *args, size_t n);

/* ---- command lines (cmd_args.c) ---------------------------------------------------------------------- */

struct cmd_line {
    const char *name;                  /* "" when there was none */
    struct cmd_param *params;
    size_t n;
};
/* Splits argument texts. -1 with a usage error. */
int cmd_parse(const char *const *args, size_t n, struct arena *a, struct cmd_line *ret_line,
              struct xerr *err);
/* First value of a key in a parsed line, or NULL. */
const char *cmd_line_get(const struct cmd_line *line, const char *key);

/* The value of a parameter, NULL when it is not there. */
const char *cmd_get(const struct cmd *c, const char *key);
const char *cmd_get_or(const struct cmd *c, const char *key, const char *fallback);
/* A parameter that the command table requires. */
const char *cmd_need(const struct cmd *c, const char *key);
/* Readers: "Failed to parse ..." when the text is wrong; the fallback when the parameter is not there. */
int cmd_get_bool(const struct cmd *c, const char *key, bool fallback, bool *ret_bool, struct xerr *err);
int cmd_get_int(const struct cmd *c, const char *key, int64_t fallback, int64_t *ret_int, struct xerr *err);
int cmd_get_bytes(const struct cmd *c, const char *key, int64_t fallback, int64_t *ret_bytes,
                  struct xerr *err);
int cmd_parse_bool(const char *key, const char *text, bool *ret_bool, struct xerr *err);
int cmd_parse_int(const char *key, const char *text, int64_t *ret_int, struct xerr *err);
/* A number with bytes, KiB, MiB, GiB or TiB behind it. */
int cmd_parse_bytes(const char *key, const char *text, int64_t *ret_bytes, struct xerr *err);
int cmd_parse_float(const char *key, const char *text, double *ret_float, struct xerr *err);
/* "NAME:key=value" parameters (and the old NAME-key) as a map of strings. */
struct value cmd_get_map(const struct cmd *c, const char *name);
/* Comma-separated words; none for "". */
struct value cmd_split(struct cmd *c, const char *text);
/* Parameters that every command may have and that select nothing. */
bool cmd_is_standard_param(const char *key);

/* ---- failures ---------------------------------------------------------------------------------------- */

/* Codes that never come from the API. */
extern const char CMD_FAILURE[];       /* [format, text...]: "Error: sentence" */
extern const char CMD_USAGE[];         /* [subject, format, text...]: "subject: what", "For usage run: 'xe help'" */
extern const char CMD_EXIT[];          /* [code]: everything has been said */
extern const char CMD_MULTIPLE[];      /* []: see failures of struct cmd */
/* A sentence; its format has no conversion but %s, for it is put together in the client's language. */
int cmd_fail(struct xerr *err, const char *fmt, ...) _printf_(2, 3);
int cmd_exit(struct xerr *err, int code);
int cmd_usage(struct xerr *err, const char *subject, const char *fmt, ...) _printf_(3, 4);
/* The sentence of a CMD_FAILURE. */
const char *cmd_failure_text(struct cmd *c, const struct xerr *err);

/* "This operation is dangerous ..." unless --force. */
int cmd_need_force(struct cmd *c, struct xerr *err);
/* Asks "Type 'yes' to continue". 1 yes, 0 no (and says so), -1. */
int cmd_confirm(struct cmd *c, struct xerr *err);

/* ---- output (cmd_print.c) ---------------------------------------------------------------------------- */

struct cmd_pair {
    const char *name, *value;
};

/* What stands for a sentence in the client's language. What scripts read is never translated: lists, fields,
 * values, results. */
const char *cmd_tr(const struct cmd *c, const char *sentence);
/* Always, at once. Not for results. */
void cmd_print(struct cmd *c, const char *text);
/* The same for a sentence, which is translated. */
void cmd_say(struct cmd *c, const char *fmt, ...) _printf_(2, 3);
/* What somebody should read who waits for it: with --json on standard error. */
void cmd_notice(struct cmd *c, const char *text);
/* Both translate their sentence. */
void cmd_print_error(struct cmd *c, const char *text);                 /* a newline is added */
void cmd_printf_error(struct cmd *c, const char *fmt, ...) _printf_(2, 3);   /* none is added */
/* Not with --minimal or --json. */
void cmd_message(struct cmd *c, const char *text);
/* A result: a line, or with --minimal an item between commas; with --json {"value": text}. */
void cmd_item(struct cmd *c, const char *text);
void cmd_items(struct cmd *c, const struct value *set);                /* of strings */
/* The same for a value of a type, which --json shows as what it is. */
void cmd_result(struct cmd *c, const struct type_desc *type, const struct value *v);
/* A table's row: name and value a line; with --minimal the first value between commas; with --json an object
 * of texts. */
void cmd_row(struct cmd *c, const struct cmd_pair *pairs, size_t n);
void cmd_row_of_map(struct cmd *c, const struct value *map);
/* What --minimal and --json held back. */
void cmd_flush(struct cmd *c);

/* An API error as people read it: its sentence (NULL when the code is unknown) and "name: value" lines. */
const char *cmd_error_sentence(const struct cmd *c, const struct xerr *err);
struct value cmd_error_lines(struct cmd *c, const struct xerr *err);
/* An error parameter: a known reference becomes "uuid (name)". */
const char *cmd_ref_text(struct cmd *c, const char *param);

/* ---- --json (cmd_json.c) ----------------------------------------------------------------------------- */

/* Appends a value; type NULL: by its kind alone. */
void cmd_json_value(struct cmd *c, const struct type_desc *type, const struct value *v, bool by_name,
                    struct strbuf *out);
/* Appends what a command made up itself, as it shows it: texts, which QUIRK_NUMBER and QUIRK_BOOL make
 * values. */
void cmd_json_computed(const struct value *v, unsigned quirk_flags, struct strbuf *out);
/* One object of the result: as JSON text; of a map; {name: value}; of a table's row. */
void cmd_json_line(struct cmd *c, const char *object);
void cmd_json_object(struct cmd *c, const struct type_desc *type, const struct value *map);
void cmd_json_single(struct cmd *c, const char *name, const struct type_desc *type, const struct value *v);
void cmd_json_pairs(struct cmd *c, const struct cmd_pair *pairs, size_t n);
void cmd_json_end(struct cmd *c);

/* ---- calling (cmd_call.c) ---------------------------------------------------------------------------- */

#define CMD_ARGS(...)                                                                                        \
    (const struct value[]){ __VA_ARGS__ }, ARRAY_SIZE(((const struct value[]){ __VA_ARGS__ }))

int cmd_call(struct cmd *c, const char *method, const struct value *args, size_t n, struct value *ret_result,
             struct xerr *err);
/* The same, with the result dropped. */
int cmd_do(struct cmd *c, const char *method, const struct value *args, size_t n, struct xerr *err);
int cmd_call_ref(struct cmd *c, const char *method, const struct value *args, size_t n, struct ref *ret_ref,
                 struct xerr *err);
/* Strings and enumerations. */
int cmd_call_text(struct cmd *c, const char *method, const struct value *args, size_t n,
                  const char **ret_text, struct xerr *err);
/* Waits for a change of one subscription, "vm" or "task/OpaqueRef:...", as env->watch does. */
int cmd_watch(struct cmd *c, const char *what, char token[CMD_TOKEN], int timeout_ms, struct xerr *err);
/* A value that should be a reference, whatever form the transport gave it; null when it is none. */
struct ref cmd_as_ref(const struct value *v);
/* A member of a record. */
struct ref cmd_member_ref(const struct value *record, const char *field);
const char *cmd_member_text(const struct value *record, const char *field);
bool cmd_member_bool(const struct value *record, const char *field);
int64_t cmd_member_int(const struct value *record, const char *field);

int cmd_by_uuid(struct cmd *c, int cls, const char *uuid, struct ref *ret_ref, struct xerr *err);
/* The object whose uuid is the value of a required parameter. */
int cmd_need_ref(struct cmd *c, const char *key, int cls, struct ref *ret_ref, struct xerr *err);
/* The same for an optional one; null when it is not there. */
int cmd_get_ref(struct cmd *c, const char *key, int cls, struct ref *ret_ref, struct xerr *err);
int cmd_uuid_of(struct cmd *c, int cls, struct ref ref, const char **ret_uuid, struct xerr *err);
/* Prints the uuid of a new object. */
int cmd_print_uuid(struct cmd *c, int cls, struct ref ref, struct xerr *err);
int cmd_record(struct cmd *c, int cls, struct ref ref, struct value *ret_record, struct xerr *err);
int cmd_all(struct cmd *c, int cls, const field_id *fields, size_t n, struct value *ret_map,
            struct xerr *err);
/* Object of which there may be many, fetched before or now; NULL when it does not exist. */
const struct value *cmd_object_record(struct cmd *c, int cls, struct ref ref);
/* Fetches every object of a class, for cmd_object_record. */
void cmd_prefetch(struct cmd *c, int cls);
/* What was fetched before is of no use after a change; nor is the memory it took. */
void cmd_forget(struct cmd *c);

/* ---- long calls (cmd_task.c) -------------------------------------------------------------------------- */

/* A message that may take long. With --progress it runs as a task whose progress is shown. */
int cmd_work(struct cmd *c, const char *method, const struct value *args, size_t n, struct value *ret_result,
             struct xerr *err);

/* What --progress shows. */
enum cmd_bar { BAR_NONE, BAR_PERCENT, BAR_LONG };
struct cmd_progress {
    struct ref task;
    enum cmd_bar bar;
    bool client;                       /* the client shows it, in its own way */
    bool told;                         /* the client knows of the task, and can cancel it */
};
/* bar: the one to show with --progress. */
int cmd_progress_begin(struct cmd *c, struct ref task, enum cmd_bar bar, struct cmd_progress *ret_progress,
                       struct xerr *err);
bool cmd_progress_wanted(const struct cmd_progress *p);
/* record: the task's. */
void cmd_progress_show(struct cmd *c, struct cmd_progress *p, const struct value *record, bool last);
void cmd_progress_end(struct cmd *c, struct cmd_progress *p);
/* Until the task has ended, or timeout_ms went by (negative: no limit); shows how far it is. The record as it is then. */
int cmd_wait_for_task(struct cmd *c, struct cmd_progress *p, int timeout_ms, struct value *ret_record,
                      struct xerr *err);
/* Why a task that has ended is no success. */
int cmd_task_failure(struct cmd *c, struct ref task, const struct value *record, struct xerr *err);
/* Is it a message that runs as a task, so that the client can show and cancel it? cmd_call does so by itself. */
bool cmd_goes_as_task(struct cmd *c, const char *method);
int cmd_call_as_task(struct cmd *c, const char *method, const struct value *args, size_t n, enum cmd_bar bar,
                     struct value *ret_result, struct xerr *err);

/* ---- well-known objects ------------------------------------------------------------------------------ */

int cmd_pool(struct cmd *c, struct ref *ret_pool, struct xerr *err);
int cmd_coordinator(struct cmd *c, struct ref *ret_host, struct xerr *err);
int cmd_this_host(struct cmd *c, struct ref *ret_host, struct xerr *err);
/* The pool's default SR; null when there is none. */
int cmd_default_sr(struct cmd *c, struct ref *ret_sr, struct xerr *err);
/* A host by name or uuid. */
int cmd_host_named(struct cmd *c, const char *name, struct ref *ret_host, struct xerr *err);

/* ---- records and their fields (cmd_field.c) ---------------------------------------------------------- */

struct cmd_object_row {
    const struct xe_record *type;
    struct ref ref;
    const struct value *record;        /* a map of model fields; NULL: fetched when needed */
};

const struct xe_record *cmd_record_type(const char *name);
const struct xe_field *cmd_field(const struct xe_record *type, const char *name);
/* The field as shown: a string, a set of strings or a map of strings, in the arena. */
int cmd_field_value(struct cmd *c, struct cmd_object_row *row, const struct xe_field *f,
                    struct value *ret_value, struct xerr *err);
/* The same as one text. */
int cmd_field_text(struct cmd *c, struct cmd_object_row *row, const struct xe_field *f, const char **ret_text,
                   struct xerr *err);
/* The same as JSON, appended. */
int cmd_field_json(struct cmd *c, struct cmd_object_row *row, const struct xe_field *f, struct strbuf *out,
                   struct xerr *err);
/* "name ( RO)" */
const char *cmd_field_title(struct cmd *c, const struct xe_field *f);
/* Model fields that showing this field needs, appended to ids (room for 4). How many; *ret_all set when it
 * needs any. */
size_t cmd_field_needs(const struct xe_record *type, const struct xe_field *f, field_id *ids, bool *ret_all);
/* By name, then uuid: so that the order of a list means something. The records must hold both. */
void cmd_sort_rows(struct cmd_object_row *rows, size_t n);
/* Prints these fields (a comma list, "all", or NULL for fallback; fallback NULL = the defaults of the class).
 */
int cmd_show(struct cmd *c, struct cmd_object_row *row, const char *fields, const char *fallback,
             struct xerr *err);
/* The fields that cmd_show would print, as a JSON object, appended. */
int cmd_show_json(struct cmd *c, struct cmd_object_row *row, const char *fields, const char *fallback,
                  struct strbuf *out, struct xerr *err);
/* What people see of an enumeration's value. */
const char *cmd_enum_shown(const struct enum_desc *e, const char *wire);
/* Any value as text, by its type. */
const char *cmd_value_text(struct cmd *c, const struct type_desc *type, const struct value *v);
/* What a person wrote for a value of this type: references are uuids, sets words between commas. bytes: sizes
 * may have a suffix. */
int cmd_value_parse(struct cmd *c, const char *key, const char *text, const struct type_desc *type,
                    bool bytes, struct value *ret_value, struct xerr *err);

/* Which field a key of a filter or of param-set means: "name", "name:sub" (also "name-sub" for maps and
 * sets). ret_sub is NULL for the first. "Unknown field" when there is none. */
int cmd_find_field(struct cmd *c, const struct xe_record *type, const char *key,
                   const struct xe_field **ret_field, const char **ret_sub, struct xerr *err);
/* Keeps the rows that match key=value: a field, "map:key" or "set:contains". */
int cmd_filter(struct cmd *c, struct cmd_object_row *rows, size_t *n, const char *key, const char *value,
               struct xerr *err);

/* ---- after an error (cmd_advice.c) ------------------------------------------------------------------- */

/* Says what somebody may do about it, when the client wants to hear that and the table knows something. */
void cmd_next_steps(struct cmd *c, const struct xerr *err);

/* ---- selectors (cmd_select.c) ------------------------------------------------------------------------ */

enum {
    CMD_CONTROL_VMS = 1,               /* control domains too */
    CMD_TEMPLATES = 2,                 /* templates too */
    CMD_ONE = 4,                       /* --multiple is not possible */
    CMD_MANY = 8,                      /* --multiple is not needed */
};
typedef int (*cmd_each_fn)(struct cmd *c, struct cmd_object_row *row, void *arg, struct xerr *err);

/* The objects that vm=, uuid= and filters name. ignore: parameters of the command itself, between commas. */
int cmd_select(struct cmd *c, const char *type, unsigned flags, const char *ignore,
               struct cmd_object_row **ret_rows, size_t *ret_n, struct xerr *err);
/* Calls fn for each of them; with --multiple goes on behind failures and reports them in the end. */
int cmd_each(struct cmd *c, const char *type, unsigned flags, const char *ignore, cmd_each_fn fn, void *arg,
             struct xerr *err);

/* ---- commands of record classes (cmd_record.c) ------------------------------------------------------- */

enum cmd_verb { VERB_LIST, VERB_PARAM_LIST, VERB_PARAM_GET, VERB_PARAM_SET, VERB_PARAM_ADD, VERB_PARAM_REMOVE,
                VERB_PARAM_CLEAR, N_VERBS };

/* What a record class offers. NULL when it does not offer this verb; else the command, in the arena. */
const struct command *cmd_record_command(const struct xe_record *type, enum cmd_verb verb, struct arena *a);
/* "vm-param-list" to its class and verb; false when it is none. */
bool cmd_record_name(const char *name, const struct xe_record **ret_type, enum cmd_verb *ret_verb);
const char *cmd_verb_name(enum cmd_verb verb);

/* ---- transfers (cmd_file.c) -------------------------------------------------------------------------- */

/* Lets the client move data under a task of this name; url without session_id and task_id, with its '?' when
 * it has a query. ret_result (may be NULL): the task's result. */
int cmd_transfer(struct cmd *c, enum cmd_transfer kind, const char *file, const char *url, const char *label,
                 const char **ret_result, struct xerr *err);
/* The text of a client's file; "Failed to read WHAT" when there is none. */
int cmd_load(struct cmd *c, const char *what, const char *file, const char **ret_text, struct xerr *err);
/* Percent-encoded for a query. */
const char *cmd_escape(struct cmd *c, const char *text);
/* args:KEY=value; args:KEY:file=name is the content of the client's file. */
int cmd_plugin_args(struct cmd *c, struct value *ret_args, struct xerr *err);

/* ---- VMs (cmd_vm.c) ---------------------------------------------------------------------------------- */

/* The VM with this uuid, which must be a "template" or a "snapshot". */
int cmd_special_vm(struct cmd *c, const char *uuid, const char *kind, struct ref *ret_vm, struct xerr *err);
/* The snapshot that snapshot-uuid= or uuid= names. */
int cmd_named_snapshot(struct cmd *c, struct ref *ret_vm, struct xerr *err);
/* Prints a table: each host, and whether the VM could start there. */
int cmd_vm_host_report(struct cmd *c, struct ref vm, struct xerr *err);
/* Why a VM cannot start, in words. */
const char *cmd_start_problem(struct cmd *c, const struct xerr *err);
/* Prints a map of (object -> words), as workload balancing answers. */
void cmd_print_advice(struct cmd *c, const char *head, const char *head_value, const struct value *map);

#endif
