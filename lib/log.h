/* Logging: one line an event, a level per module, the call's id on every line.
 * Called by: everyone.  Calls: syslog, stderr. */
#ifndef LIB_LOG_H
#define LIB_LOG_H

#include "lib/util.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Where to: "stderr", "syslog" or "file:PATH" (reopened by log_reopen). levels: "info" or "info,db=debug,hv=warn".
 * 0, or -1 when the text is wrong. Thread-safe; may be called again (SIGHUP). */
int log_configure(const char *target, const char *levels);
void log_reopen(void);
/* True when a line of this module and level would be written. */
bool log_enabled(const char *module, enum log_level level);

/* The id printed on every line of this thread (a task's uuid), "" for none. Copied. */
void log_set_call(const char *id);
/* That id. */
const char *log_call(void);

/* Newlines and control characters in the message are written as escapes. */
void log_write(const char *module, enum log_level level, const char *fmt, ...) _printf_(3, 4);

/* A file says `#define LOG_MODULE "db"` before the include. */
#ifdef LOG_MODULE
#define log_error(...) log_write(LOG_MODULE, LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...) log_write(LOG_MODULE, LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...) log_write(LOG_MODULE, LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) \
    do { if (log_enabled(LOG_MODULE, LOG_LEVEL_DEBUG)) log_write(LOG_MODULE, LOG_LEVEL_DEBUG, __VA_ARGS__); } while (0)
#endif

#endif
