/* One HTTP request of xe: a transfer's head, a console's, a call of the API. HTTP/1.0, redirects followed.
 * Called by: client.c, transfer.c, console.c.  Calls: conn. */
#ifndef XE_WEB_H
#define XE_WEB_H

#include "xe/conn.h"

enum { WEB_MAX_HEAD = 64 << 10 };

struct web {
    struct conn *conn;
    char head[WEB_MAX_HEAD + 1];
    size_t len, body;                  /* bytes read; where the body starts in head */
    int status;                        /* 0 until an answer has come */
};

/* Connects, asks, reads the answer's head. url: "https://host[:port]/path", or "/path" on the server of target, which
 * is also taken for a URL of its own name. headers: whole lines with CR LF, then the body; "" = none.
 * 0 with web->status set, or -1; only that it could not connect has been said then. The caller closes it in any case. */
int web_begin(const struct conn_target *target, struct web *web, const char *method, const char *url,
              const char *headers, const char *body, void (*debug)(const char *line));
/* Bytes of the body as the head says, asked before it is read; -1 when it does not. */
int64_t web_length(const struct web *web);
/* More of the body: what came with the head first. As conn_read and conn_read_now. */
ssize_t web_read(struct web *web, void *buf, size_t n);
ssize_t web_read_now(struct web *web, void *buf, size_t n);
/* For messages; malloc'd. */
char *web_status_line(const struct web *web);
void web_close(struct web *web);

#endif
