/* HTTP/1.x messages as bytes: request and response heads, queries, cookies, chunked framing. No I/O.
 * Called by: xapi/http, lib/httpc, xe.  Calls: arena, strbuf. */
#ifndef LIB_HTTP_H
#define LIB_HTTP_H

#include "lib/arena.h"
#include "lib/strbuf.h"

enum http_method {
    HTTP_GET, HTTP_POST, HTTP_PUT, HTTP_CONNECT, HTTP_OPTIONS,
    HTTP_HEAD, HTTP_DELETE, HTTP_OTHER_METHOD,   /* understood, never served: 501 */
};
enum { HTTP_METHODS = HTTP_OTHER_METHOD + 1 };

struct http_pair {
    const char *name, *value;       /* value "" when there was no '=' */
};

/* Text points into the parsed buffer or into the arena; everything is NUL-terminated. */
struct http_head {
    enum http_method method;
    const char *method_text;
    const char *target;             /* as sent, without scheme and authority: "/export?uuid=..." */
    const char *path;               /* percent-decoded, without the query; starts with '/', or is "*" */
    const char *query_text;         /* as sent, without '?'; "" when there was none */
    int minor;                      /* 0 or 1 of HTTP/1.x */
    bool keep_alive;                /* what the client asked for, with the defaults of its version */
    bool expect_continue;
    bool chunked;                   /* Transfer-Encoding: chunked */
    bool has_length;
    uint64_t length;                /* Content-Length */
    size_t n_headers, n_query, n_cookies;
    const struct http_pair *headers;   /* names as sent */
    const struct http_pair *query;     /* decoded, in order; a key may repeat */
    const struct http_pair *cookies;   /* decoded */
};

/* A response's head. */
struct http_status {
    int status;
    const char *reason;
    int minor;
    bool keep_alive, chunked, has_length;
    uint64_t length;
    size_t n_headers;
    const struct http_pair *headers;
};

/* Where the head in buf ends (offset behind its empty line), 0 when it is not complete yet.
 * *scan is 0 at first and keeps what was looked at already, so that a slow head costs O(n). Empty lines
 * before the first one belong to the head. */
size_t http_head_end(const char *buf, size_t len, size_t *scan);

/* Parse a whole request head of len bytes, in place (buf is changed and must outlive ret_head; arrays are in
 * the arena). 0, or the HTTP status that says what is wrong: 400, 501 (transfer coding), 505 (version). */
int http_parse_request(char *buf, size_t len, struct arena *a, struct http_head *ret_head);
/* The same for a response head. 0, or -1 when it is none. */
int http_parse_response(char *buf, size_t len, struct arena *a, struct http_status *ret_status);

/* First header of that name (any case), first query value, cookie; NULL when absent. */
const char *http_find(const struct http_pair *pairs, size_t n, const char *name, bool any_case);
const char *http_header(const struct http_head *h, const char *name);
const char *http_query(const struct http_head *h, const char *name);
const char *http_cookie(const struct http_head *h, const char *name);
/* A parameter that may be a query value or a cookie. For session_id, task_id, subtask_of and pool_secret the
 * cookie wins, else the query. */
const char *http_param(const struct http_head *h, const char *name);
/* True when a comma-separated header value has this token (any case). */
bool http_has_token(const char *value, const char *token);

/* Percent-decode n bytes at s in place; plus: '+' is a space. Returns the new length (NUL-terminated when
 * it is shorter or s[n] may be written), or -1 when an escape is malformed or gives a NUL. */
ssize_t http_unescape(char *s, size_t n, bool plus);
/* Append s, with everything but unreserved characters (and those in keep) escaped. */
void http_escape(struct strbuf *b, const char *s, const char *keep);

/* "OK", "Not Found", ... never NULL. */
const char *http_reason(int status);

/* Basic credentials of an Authorization header: malloc'd texts. 0, or -1 when it is not Basic or
 * malformed. */
int http_basic_auth(const char *authorization, char **ret_user, char **ret_password);

/* Chunked framing, fed piece by piece. */
struct http_chunked {
    int state;
    unsigned line;                  /* bytes of the current framing line */
    uint64_t left;                  /* payload bytes left in this chunk */
};
#define HTTP_CHUNKED_INIT { 0, 0, 0 }
enum http_chunk { HTTP_CHUNK_MORE, HTTP_CHUNK_DATA, HTTP_CHUNK_END, HTTP_CHUNK_BAD };
/* Look at n bytes. MORE: all n were framing. DATA: skip *ret_skip bytes, then *ret_len bytes are payload;
 * go on behind them. END: the body ended behind *ret_skip bytes. BAD: no chunked framing. */
enum http_chunk http_chunk_next(struct http_chunked *c, const char *p, size_t n, size_t *ret_skip,
                                size_t *ret_len);

#endif
