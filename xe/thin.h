/* The thin CLI protocol's messages as bytes: what xe and the daemon say to each other behind POST /cli. No
 * I/O. Called by: xe.c, xapi/http/cli.c.  Calls: lib.
 *
 * Both sides first send a hello. Then messages: int32 length, int32 kind, int32 tag, arguments; integers are
 * little endian, a string is its int32 length and its bytes. */
#ifndef XE_THIN_H
#define XE_THIN_H

#include "lib/arena.h"
#include "lib/strbuf.h"

enum { THIN_MAJOR = 0, THIN_MINOR = 2, THIN_HELLO = 27 + 8 };

enum thin_kind { THIN_COMMAND = 9, THIN_RESPONSE = 10, THIN_BLOB = 11 };

enum thin_tag {
    /* commands, to the client */
    THIN_PRINT = 0,          /* text; the client adds a newline */
    THIN_LOAD = 1,           /* file name: send its bytes */
    THIN_PROMPT = 3,         /* send a line of standard input */
    THIN_EXIT = 4,           /* number */
    THIN_HTTP_GET = 12,      /* file name, URL; "" = standard output */
    THIN_HTTP_PUT = 13,      /* file name, URL */
    THIN_ERROR = 14,         /* code, params */
    THIN_DEBUG = 15,         /* text */
    THIN_PRINT_STDERR = 16,  /* text, newlines are its own */
    THIN_HTTP_CONNECT = 17,  /* URL */
    /* responses, to the server */
    THIN_OK = 5,
    THIN_FAILED = 6,
    THIN_WAIT = 18,          /* still at it */
    /* blobs, to the server */
    THIN_CHUNK = 7,          /* number: so many raw bytes follow behind the message */
    THIN_END = 8,
};

struct thin_msg {
    enum thin_kind kind;
    enum thin_tag tag;
    const char *text, *url;             /* in the arena, NUL-terminated; "" when the tag has none */
    size_t text_len;
    int32_t number;
    const char *const *params;
    size_t n_params;
};

void thin_put_hello(struct strbuf *b);
/* False when these 35 bytes are no hello of our major version. */
bool thin_get_hello(const char hello[THIN_HELLO]);

/* Decode what follows a message's length. 0, or -1 when it is none: unknown kind or tag, cut short, bytes
 * left over. */
int thin_decode(const char *p, size_t n, struct arena *a, struct thin_msg *ret_msg);
/* The int32 at p. */
int32_t thin_int(const char *p);

/* Append a whole message. */
void thin_put_text(struct strbuf *b, enum thin_tag tag, const char *s, size_t n);
void thin_put_transfer(struct strbuf *b, enum thin_tag tag, const char *file, const char *url);
void thin_put_plain(struct strbuf *b, enum thin_kind kind, enum thin_tag tag);
void thin_put_number(struct strbuf *b, enum thin_kind kind, enum thin_tag tag, int32_t number);
void thin_put_error(struct strbuf *b, const char *code, const char *const *params, size_t n);

#endif
