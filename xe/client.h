/* The client side of the thin CLI protocol: obeys the server until it says exit.
 * Called by: xe.c.  Calls: conn, thin. */
#ifndef XE_CLIENT_H
#define XE_CLIENT_H

#include "xe/conn.h"
#include "xe/terminal.h"

struct client_config {
    struct conn_target target;
    const char *traceparent;           /* NULL = none */
    const char *language;              /* of messages; NULL = English */
    const char *const *args;           /* what the server is told, in order */
    size_t n_args;
    const char *const
        *files; /* absolute names the server may read or write: they stood on the command line */
    size_t n_files;
    void (*debug)(const char *line);   /* NULL = none */
    bool watching;                     /* the command goes on for ever: end when nobody reads the output */
    bool advice;                       /* errors are followed by what to do */
    struct terminal *term;
};

/* Posts the arguments and does what the server says. The exit code, 130 when the user has cancelled it; what went wrong
 * stands on stderr. */
int client_run(const struct client_config *cfg);

/* Absolute, without "." and ".." and double slashes; links are not followed. malloc'd. */
char *client_absolute(const char *path);

#endif
