/* The thin CLI protocol's messages as bytes.
 * Called by: xe.c, xapi/http/cli.c.  Calls: lib. */
#include "xe/thin.h"

#include <assert.h>

static const char magic[] = "XenSource thin CLI protocol";

int32_t thin_int(const char *p)
{
    const unsigned char *u = (const unsigned char *)p;

    return (int32_t)((uint32_t)u[0] | (uint32_t)u[1] << 8 | (uint32_t)u[2] << 16 | (uint32_t)u[3] << 24);
}

static void put_int(struct strbuf *b, int32_t i)
{
    uint32_t u = (uint32_t)i;
    const char bytes[4] = { (char)u, (char)(u >> 8), (char)(u >> 16), (char)(u >> 24) };

    strbuf_add(b, bytes, sizeof bytes);
}

static void put_string(struct strbuf *b, const char *s, size_t n)
{
    assert(n < INT32_MAX / 2);
    put_int(b, (int32_t)n);
    strbuf_add(b, s, n);
}

void thin_put_hello(struct strbuf *b)
{
    strbuf_add(b, magic, sizeof magic - 1);
    put_int(b, THIN_MAJOR);
    put_int(b, THIN_MINOR);
}

bool thin_get_hello(const char hello[THIN_HELLO])
{
    size_t n = sizeof magic - 1;

    return memcmp(hello, magic, n) == 0 && thin_int(hello + n) == THIN_MAJOR;
}

/* ---- writing ----------------------------------------------------------------------------------------- */

/* Starts a message whose arguments take n bytes. */
static void put_head(struct strbuf *b, enum thin_kind kind, enum thin_tag tag, size_t n)
{
    put_int(b, (int32_t)(8 + n));
    put_int(b, (int32_t)kind);
    put_int(b, (int32_t)tag);
}

void thin_put_text(struct strbuf *b, enum thin_tag tag, const char *s, size_t n)
{
    put_head(b, THIN_COMMAND, tag, 4 + n);
    put_string(b, s, n);
}

void thin_put_transfer(struct strbuf *b, enum thin_tag tag, const char *file, const char *url)
{
    size_t n_file = strlen(file), n_url = strlen(url);

    put_head(b, THIN_COMMAND, tag, 8 + n_file + n_url);
    put_string(b, file, n_file);
    put_string(b, url, n_url);
}

void thin_put_plain(struct strbuf *b, enum thin_kind kind, enum thin_tag tag)
{
    put_head(b, kind, tag, 0);
}

void thin_put_number(struct strbuf *b, enum thin_kind kind, enum thin_tag tag, int32_t number)
{
    put_head(b, kind, tag, 4);
    put_int(b, number);
}

void thin_put_error(struct strbuf *b, const char *code, const char *const *params, size_t n)
{
    size_t bytes = 4 + strlen(code) + 4;

    for (size_t i = 0; i < n; i++) bytes += 4 + strlen(params[i]);
    put_head(b, THIN_COMMAND, THIN_ERROR, bytes);
    put_string(b, code, strlen(code));
    put_int(b, (int32_t)n);
    for (size_t i = 0; i < n; i++) put_string(b, params[i], strlen(params[i]));
}

/* ---- reading ----------------------------------------------------------------------------------------- */

struct reader {
    const char *p;
    size_t left;
    bool bad;
};

static int32_t get_int(struct reader *r)
{
    int32_t i;

    if (r->bad || r->left < 4) {
        r->bad = true;
        return 0;
    }
    i = thin_int(r->p);
    r->p += 4;
    r->left -= 4;
    return i;
}

static const char *get_string(struct reader *r, struct arena *a, size_t *ret_len)
{
    int32_t n = get_int(r);
    const char *s;

    if (n < 0 || (size_t)n > r->left) r->bad = true;
    if (r->bad) return "";
    s = arena_strndup(a, r->p, (size_t)n);
    r->p += n;
    r->left -= (size_t)n;
    if (ret_len) *ret_len = (size_t)n;
    return s;
}

static void get_params(struct reader *r, struct arena *a, struct thin_msg *msg)
{
    int32_t n = get_int(r);
    const char **params;

    if (n < 0 || (size_t)n > r->left / 4) r->bad = true;   /* each takes its length at least */
    if (r->bad) return;
    params = arena_new_array(a, const char *, (size_t)n + 1);
    for (int32_t i = 0; i < n; i++) params[i] = get_string(r, a, NULL);
    msg->params = params;
    msg->n_params = (size_t)n;
}

static void get_command(struct reader *r, struct arena *a, struct thin_msg *msg)
{
    switch (msg->tag) {
    case THIN_PRINT:
    case THIN_LOAD:
    case THIN_DEBUG:
    case THIN_PRINT_STDERR:
        msg->text = get_string(r, a, &msg->text_len);
        break;
    case THIN_HTTP_CONNECT:
        msg->url = get_string(r, a, NULL);
        break;
    case THIN_HTTP_GET:
    case THIN_HTTP_PUT:
        msg->text = get_string(r, a, &msg->text_len);
        msg->url = get_string(r, a, NULL);
        break;
    case THIN_ERROR:
        msg->text = get_string(r, a, &msg->text_len);
        get_params(r, a, msg);
        break;
    case THIN_EXIT:
        msg->number = get_int(r);
        break;
    case THIN_PROMPT:
        break;
    case THIN_OK:
    case THIN_FAILED:
    case THIN_WAIT:
    case THIN_CHUNK:
    case THIN_END:
    default:
        r->bad = true;
    }
}

int thin_decode(const char *p, size_t n, struct arena *a, struct thin_msg *ret_msg)
{
    struct reader r = { p, n, false };
    int32_t kind = get_int(&r), tag = get_int(&r);
    struct thin_msg msg = { .kind = (enum thin_kind)kind, .tag = (enum thin_tag)tag, .text = "", .url = "" };

    switch (kind) {
    case THIN_COMMAND:
        get_command(&r, a, &msg);
        break;
    case THIN_RESPONSE:
        if (tag != THIN_OK && tag != THIN_FAILED && tag != THIN_WAIT) r.bad = true;
        break;
    case THIN_BLOB:
        if (tag == THIN_CHUNK)
            msg.number = get_int(&r);
        else if (tag != THIN_END)
            r.bad = true;
        break;
    default:
        r.bad = true;
    }
    if (r.bad || r.left) return -1;
    *ret_msg = msg;
    return 0;
}
