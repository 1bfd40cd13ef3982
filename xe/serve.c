/* The server's side of the thin CLI protocol: a conversation with one client.
 * Called by: xapi/http/cli.c, xmlrpc_main.c.  Calls: thin, cmd, lib/stream. */
#include "xe/serve.h"

#include <poll.h>
#include <stdio.h>

#include "lib/catalog.h"
#include "lib/clock.h"
#include "lib/http.h"
#include "lib/utf8.h"
#include "xe/thin.h"

enum {
    FLUSH_BYTES = 16 << 10, /* messages are gathered up to this much */
    HELLO_MS = 60 * 1000,
    PROMPT_MS = 3600 * 1000, /* somebody may be reading the question */
    ANSWER_MS = 60 * 1000,   /* programs answer at once */
    SILENCE_MS = 900 * 1000, /* a client that transfers says so every 300 s */
    MAX_ANSWER = 64,         /* bytes of a response; blobs' bytes are not in it */
    MAX_LINE = 64 << 10,
    MAX_ARGS = 4096,
};

/* ---- bytes ------------------------------------------------------------------------------------------- */

void serve_flush(struct serve *s)
{
    if (!s->gone && s->out.len && stream_write(s->stream, s->out.ptr, s->out.len, s->write_ms) < 0)
        s->gone = true;
    strbuf_clear(&s->out);
}

static void flush_when_full(struct serve *s)
{
    if (s->out.len >= FLUSH_BYTES) serve_flush(s);
}

static int read_bytes(struct serve *s, void *buf, size_t n, int timeout_ms)
{
    serve_flush(s);
    if (!s->gone && stream_read_full(s->stream, buf, n, timeout_ms) < 0) s->gone = true;
    return s->gone ? -1 : 0;
}

/* The client's next message; it only ever sends small ones. */
static int read_answer(struct serve *s, struct thin_msg *ret_msg, int timeout_ms)
{
    char head[4], payload[MAX_ANSWER];
    int32_t n;

    if (read_bytes(s, head, sizeof head, timeout_ms) < 0) return -1;
    n = thin_int(head);
    if (n < 8 || n > MAX_ANSWER || read_bytes(s, payload, (size_t)n, ANSWER_MS) < 0 ||
        thin_decode(payload, (size_t)n, s->arena, ret_msg) < 0 || ret_msg->kind == THIN_COMMAND) {
        s->gone = true;
        return -1;
    }
    return 0;
}

/* Old terminals send what is no UTF-8; it must not reach a record. */
static char *repaired(struct arena *arena, const char *text, size_t n)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;

    if (utf8_valid(text, n)) return arena_strndup(arena, text, n);
    utf8_repair(text, n, &b);
    return arena_strndup(arena, strbuf_cstr(&b), b.len);
}

/* Chunks until End, at most limit bytes in all. */
static int read_blob(struct serve *s, size_t limit, struct arena *arena, char **ret_text, size_t *ret_len)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
    struct thin_msg msg;

    for (;;) {
        size_t n, at = b.len;

        if (read_answer(s, &msg, PROMPT_MS) < 0) return -1;
        if (msg.kind == THIN_BLOB && msg.tag == THIN_END) break;
        n = (size_t)msg.number;
        if (msg.kind != THIN_BLOB || msg.number < 0 || n > limit - b.len) {
            s->gone = true;
            return -1;
        }
        strbuf_reserve(&b, n + 1);
        if (read_bytes(s, b.ptr + at, n, ANSWER_MS) < 0) return -1;
        b.len += n;
        b.ptr[b.len] = '\0';
    }
    *ret_text = repaired(arena, strbuf_cstr(&b), b.len);
    *ret_len = strlen(*ret_text);
    return 0;
}

/* ---- what commands ask of the client ----------------------------------------------------------------- */

static void env_print(void *client, const char *text, size_t n)
{
    struct serve *s = client;

    thin_put_text(&s->out, THIN_PRINT, text, n);
    flush_when_full(s);
}

static void env_print_error(void *client, const char *text, size_t n)
{
    struct serve *s = client;

    thin_put_text(&s->out, THIN_PRINT_STDERR, text, n);
    if (n && text[0] == '\r')
        serve_flush(s); /* a progress bar is of no use later */
    else
        flush_when_full(s);
}

static void env_error(void *client, const char *code, const char *const *params, size_t n)
{
    struct serve *s = client;

    thin_put_error(&s->out, code, params, n);
}

static int env_load(void *client, const char *file, size_t limit, struct arena *arena, char **ret_text,
                    size_t *ret_len)
{
    struct serve *s = client;
    struct thin_msg msg;

    thin_put_text(&s->out, THIN_LOAD, file, strlen(file));
    if (read_answer(s, &msg, ANSWER_MS) < 0) return -1;
    if (msg.kind != THIN_RESPONSE) {
        s->gone = true;
        return -1;
    }
    return msg.tag == THIN_OK ? read_blob(s, limit, arena, ret_text, ret_len) : 1;
}

static int env_prompt(void *client, struct arena *arena, char **ret_line)
{
    struct serve *s = client;
    size_t n;

    thin_put_plain(&s->out, THIN_COMMAND, THIN_PROMPT);
    return read_blob(s, MAX_LINE, arena, ret_line, &n);
}

static void env_transfer(void *client, enum cmd_transfer kind, const char *file, const char *url)
{
    struct serve *s = client;

    if (kind == CMD_CONNECT)
        thin_put_text(&s->out, THIN_HTTP_CONNECT, url, strlen(url));
    else
        thin_put_transfer(&s->out, kind == CMD_GET ? THIN_HTTP_GET : THIN_HTTP_PUT, file, url);
    serve_flush(s);
    s->transfer_deadline_ns = clock_deadline_ns(SILENCE_MS);
}

static enum cmd_state env_transferred(void *client, int timeout_ms)
{
    struct serve *s = client;
    struct pollfd p = { .fd = s->stream->fd, .events = POLLIN };
    struct thin_msg msg;

    serve_flush(s);
    if (s->gone || clock_boottime_ns() > s->transfer_deadline_ns) return CMD_BROKEN;
    if (!stream_pending(s->stream) && poll(&p, 1, timeout_ms) <= 0) return CMD_RUNNING;
    if (read_answer(s, &msg, ANSWER_MS) < 0 || msg.kind != THIN_RESPONSE) return CMD_BROKEN;
    s->transfer_deadline_ns = clock_deadline_ns(SILENCE_MS);
    if (msg.tag == THIN_WAIT) return CMD_RUNNING;
    return msg.tag == THIN_OK ? CMD_DONE : CMD_BROKEN;
}

static bool env_gone(void *client)
{
    struct serve *s = client;

    return s->gone || (s->hung_up && s->hung_up(s->hung_up_arg));
}

/* What the client is to read now. */
static void remark(struct serve *s, const char *text)
{
    thin_put_text(&s->out, THIN_DEBUG, text, strlen(text));
    serve_flush(s);
}

static void env_working(void *client, const char *session, const char *task, double done)
{
    struct serve *s = client;
    char progress[64];

    if (task && (!s->task || !streq(s->task, task))) {
        s->task = arena_strdup(s->arena, task);
        remark(s, !*task ? "xe-task soon"
                         : arena_printf(s->arena, "xe-task %s %s %s", done == CMD_BEGINS ? "begin" : "shown",
                                        session, task));
    } else if (task) {
        snprintf(progress, sizeof progress, "xe-task progress %.4f", done);
        remark(s, progress);
    } else if (s->task) {
        s->task = NULL;
        remark(s, "xe-task end");
    }
}

/* "ja-JP,en;q=0.5": its first. NULL for English. */
static struct catalog *words_of(const char *languages)
{
    size_t n = languages ? strcspn(languages, ",; ") : 0;
    _cleanup_free_ char *language = xstrndup(n ? languages : "", n), *folder = NULL;
    char *dash = strchr(language, '-');

    if (!n || streq(language, "en") || has_prefix(language, "en-")) return NULL;
    if (dash) *dash = '_';
    folder = catalog_folder();
    return catalog_open(folder, language, "xe");
}

void serve_env(struct serve *s, const char *wants, const char *language, struct cmd_env *env)
{
    s->words = words_of(language);
    env->words = s->words;
    env->client = s;
    env->print = env_print;
    env->print_error = env_print_error;
    env->error = env_error;
    env->load = env_load;
    env->prompt = env_prompt;
    env->transfer = env_transfer;
    env->transferred = env_transferred;
    env->gone = env_gone;
    env->advice = wants && http_has_token(wants, "advice");
    env->working = wants && http_has_token(wants, "task") ? env_working : NULL;
}

/* ---- the conversation -------------------------------------------------------------------------------- */

bool serve_hello(struct serve *s)
{
    char hello[THIN_HELLO];

    thin_put_hello(&s->out);
    return read_bytes(s, hello, sizeof hello, HELLO_MS) == 0 && thin_get_hello(hello);
}

const char *serve_arguments(struct serve *s, const char *body, size_t n, const char *const **ret_args,
                            size_t *ret_n, const char **ret_session)
{
    const char **args = arena_new_array(s->arena, const char *, MAX_ARGS);
    char *rest = n ? repaired(s->arena, body, n) : NULL, *line;
    size_t count = 0;

    *ret_session = NULL;
    if (n && memchr(body, 0, n)) return "Error: an argument contains a NUL byte\n";
    while ((line = strsep(&rest, "\n"))) {
        size_t len = strlen(line);

        if (count == MAX_ARGS) return "Error: too many arguments\n";
        if (len && line[len - 1] == '\r') line[len - 1] = '\0';
        if (!count && !*ret_session && has_prefix(line, "session_id="))
            *ret_session = line + strlen("session_id=");
        else
            args[count++] = line;
    }
    *ret_args = args;
    *ret_n = count;
    return NULL;
}

void serve_say(struct serve *s, const char *text) { env_print_error(s, text, strlen(text)); }

void serve_exit(struct serve *s, int code)
{
    thin_put_number(&s->out, THIN_COMMAND, THIN_EXIT, code);
    serve_flush(s);
}

void serve_free(struct serve *s)
{
    strbuf_free(&s->out);
    catalog_free(s->words);
}
