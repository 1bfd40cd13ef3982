/* What the parts of the client share.
 * Called by: client.c, transfer.c, console.c.  Calls: conn, thin, operation. */
#ifndef XE_CLIENT_INSIDE_H
#define XE_CLIENT_INSIDE_H

#include "xe/client.h"
#include "xe/operation.h"
#include "xe/thin.h"
#include "xe/web.h"

enum {
    CLIENT_BLOCK = 64 << 10,
    CLIENT_MAX_MESSAGE = 64 << 20,     /* no server has a reason to say more at once */
};

struct client {
    const struct client_config *cfg;
    struct conn_waker waker;
    struct conn_target target;         /* the user's, heard by the waker */
    struct conn *conn;
    char *in;                          /* bytes read and not yet used: in[at .. len) */
    size_t at, len, cap;
    struct operation op;
    bool soon;                         /* the server is about to make a task */
    bool in_message;                   /* a message has begun and is not all there */
    bool ticking;                      /* in client_tick() */
    bool transferring;                 /* a second connection moves data; messages are read meanwhile */
    bool own_task;                     /* whose task was read off the URL: the server did not say that it begins */
    char *unconfirmed;                 /* a file that has come; the server has not said yet that it is whole */
    int64_t next_heartbeat_ns, next_tick_ns;
    int exit_code;                     /* -1 until the server says */
};

/* A sentence on standard error, in the user's language; a newline is its own. */
void client_complain(const struct client *cl, const char *fmt, ...) _printf_(2, 3);
/* One line for --debug. */
void client_debug(const struct client *cl, const char *fmt, ...) _printf_(2, 3);
void client_respond(struct client *cl, enum thin_tag tag);
/* Sends b and empties it. */
int client_say(struct client *cl, struct strbuf *b);
/* What was printed is on its way before something else is said or waited for. Says so when that fails. */
int client_flush(const struct client *cl);
/* May the server touch this file? Says so when not. */
bool client_permitted(const struct client *cl, const char *file, bool writing);

/* Between the blocks of a transfer, and whenever a connection waits: hears Ctrl-C, shows what the server says meanwhile,
 * tells it that we live. -1: the user wants it to end. */
int client_tick(struct client *cl);
/* A second connection begins to move data for this URL, and ends. */
void client_transfer_begin(struct client *cl, const char *url);
void client_transfer_end(struct client *cl);

int write_all(int fd, const char *p, size_t n);

/* ---- what the server asks for: -1 ends xe, what went wrong has been said ---- */

int client_get(struct client *cl, const struct thin_msg *msg);
int client_put(struct client *cl, const struct thin_msg *msg);
int client_console(struct client *cl, const struct thin_msg *msg);

#endif
