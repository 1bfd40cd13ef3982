/* The configuration: one table of options; values from the command line, then a file, then the default.
 * Called by: main programs; everyone reads.  Calls: num, strbuf. */
#ifndef LIB_CONF_H
#define LIB_CONF_H

#include "lib/strbuf.h"

enum conf_type {
    CONF_STRING,
    CONF_PATH,
    CONF_INT,
    CONF_BOOL,       /* yes no true false on off 1 0; as arguments: `--key` is yes, `--key=no` is no */
    CONF_ENUM,       /* one of choices */
    CONF_DURATION,   /* 500ms 30s 5min 2h 1d, or a bare number of seconds; kept in milliseconds */
    CONF_SIZE,       /* 4096 64K 16M 2G 1T, also with iB; kept in bytes */
};

/* A table of these ends with key NULL. Keys are lower case with dashes. */
struct conf_option {
    const char *key;
    enum conf_type type;
    const char *fallback;           /* as it would stand in the file; must be valid */
    const char *unit;               /* for the help: "seconds", "ADDR:PORT"; NULL = the type's own */
    const char *doc;                /* one sentence without a full stop */
    const char *const *choices;     /* CONF_ENUM: NULL-terminated */
    int64_t min, max;               /* numbers, in the unit they are kept in; both 0 = any */
    bool reloadable;                /* conf_reload() changes it in the running program */
    bool command_line_only;
};

struct conf;

/* Every option at its default. The table is borrowed. */
struct conf *conf_new(const struct conf_option *options);
void conf_free(struct conf *c);     /* NULL is fine */

/* `--key VALUE`, `--key=VALUE`. Every mistake is a line in errors. 0 or -1. *ret_rest: index of the first
 * argument that is not an option (argc when there is none; a "--" before it is skipped). */
int conf_parse_args(struct conf *c, int argc, char *const *argv, int *ret_rest, struct strbuf *errors);
/* Lines `key = value`; a line that starts with # is a comment; white space around both is ignored. What the
 * command line has set stays. Every mistake is a line "FILE:LINE: ..." in errors, and then nothing is
 * changed. 0 or -1. */
int conf_load(struct conf *c, const char *path, struct strbuf *errors);
/* Reads the file again. Reloadable options take their new values (or defaults); for others that differ, notes
 * gets a line saying that a restart is needed. With a mistake in the file nothing changes, and errors says
 * what. 0 or -1. */
int conf_reload(struct conf *c, const char *path, struct strbuf *notes, struct strbuf *errors);

/* The options, their meaning and defaults, wrapped for a terminal. */
void conf_help(const struct conf *c, struct strbuf *out);
/* Every option as `key = value`, with where it came from: what a configuration check prints. */
void conf_dump(const struct conf *c, struct strbuf *out);

/* Values. The key and the type must be right (asserted). Thread-safe against conf_reload(); texts live as
 * long as c. */
const char *conf_str(const struct conf *c, const char *key);       /* STRING, PATH, ENUM */
int64_t conf_int(const struct conf *c, const char *key);           /* INT; ENUM: index of the choice */
bool conf_bool(const struct conf *c, const char *key);
int64_t conf_ms(const struct conf *c, const char *key);            /* DURATION */
int64_t conf_bytes(const struct conf *c, const char *key);         /* SIZE */

static inline void conf_freep(struct conf **c) { conf_free(*c); }
#define _cleanup_conf_ _cleanup_(conf_freep)

#endif
