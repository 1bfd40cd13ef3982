/* HTTP/1.x heads, queries, cookies and chunked framing, parsed in place.
 * Called by: xapi/http, lib/httpc, xe.  Calls: arena, base64, strbuf. */
#include "lib/http.h"

#include <strings.h>

#include "lib/base64.h"

/* --- characters ---------------------------------------------------------------------------------------- */

static bool is_token_char(unsigned char c)
{
    static const char others[] = "!#$%&'*+-.^_`|~";

    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) return true;
    return c && strchr(others, c);
}

static int hex_digit(unsigned char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

ssize_t http_unescape(char *s, size_t n, bool plus)
{
    size_t to = 0;

    for (size_t at = 0; at < n; at++) {
        char c = s[at];
        if (c == '%') {
            if (n - at < 3) return -1;
            int hi = hex_digit((unsigned char)s[at + 1]), lo = hex_digit((unsigned char)s[at + 2]);
            if (hi < 0 || lo < 0 || !(hi | lo)) return -1;
            c = (char)(hi << 4 | lo);
            at += 2;
        } else if (c == '+' && plus) {
            c = ' ';
        }
        s[to++] = c;
    }
    if (to < n) s[to] = '\0';
    return (ssize_t)to;
}

void http_escape(struct strbuf *b, const char *s, const char *keep)
{
    static const char hex[] = "0123456789ABCDEF";

    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')
                     || strchr("-._~", c) || (keep && strchr(keep, c));
        if (plain) {
            strbuf_char(b, *s);
        } else {
            strbuf_char(b, '%');
            strbuf_char(b, hex[c >> 4]);
            strbuf_char(b, hex[c & 15]);
        }
    }
}

/* --- lines --------------------------------------------------------------------------------------------- */

size_t http_head_end(const char *buf, size_t len, size_t *scan)
{
    size_t at = *scan;

    /* Empty lines in front of the first line do not end the head. */
    if (!at) {
        while (at < len && (buf[at] == '\r' || buf[at] == '\n')) at++;
        if (at == len) return 0;
    }
    /* at is the start of a line that had no LF yet. */
    for (;;) {
        const char *lf = memchr(buf + at, '\n', len - at);
        if (!lf) return 0;
        size_t end = (size_t)(lf - buf);
        if (end == at || (end == at + 1 && buf[at] == '\r')) return end + 1;
        *scan = at = end + 1;
    }
}

/* The next line of [*at, end): NUL-terminated in place, without CR LF. NULL when there is none. */
static char *next_line(char **at, char *end, size_t *ret_len)
{
    char *line = *at, *lf = memchr(line, '\n', (size_t)(end - line));

    if (!lf) return NULL;
    *at = lf + 1;
    if (lf > line && lf[-1] == '\r') lf--;
    *lf = '\0';
    *ret_len = (size_t)(lf - line);
    return line;
}

/* Counts lines so that the array is allocated once. */
static size_t count_lines(const char *at, const char *end)
{
    size_t n = 0;

    while (at < end && (at = memchr(at, '\n', (size_t)(end - at)))) {
        n++;
        at++;
    }
    return n;
}

/* "Name: value" lines until the empty one. False when one is malformed. */
static bool parse_headers(char *at, char *end, struct arena *a, const struct http_pair **ret_pairs,
                          size_t *ret_n)
{
    struct http_pair *pairs = arena_alloc(a, sizeof(*pairs) * (count_lines(at, end) + 1));
    size_t n = 0, len;
    char *line;

    while ((line = next_line(&at, end, &len)) && len) {
        size_t name = 0;
        while (is_token_char((unsigned char)line[name])) name++;
        if (!name || line[name] != ':') return false;
        line[name] = '\0';
        char *value = line + name + 1, *tail = line + len;
        while (*value == ' ' || *value == '\t') value++;
        while (tail > value && (tail[-1] == ' ' || tail[-1] == '\t')) *--tail = '\0';
        for (const char *c = value; c < tail; c++)
            if (((unsigned char)*c < ' ' && *c != '\t') || *c == 127) return false;
        pairs[n++] = (struct http_pair){ line, value };
    }
    *ret_pairs = pairs;
    *ret_n = n;
    return true;
}

/* --- header meaning ------------------------------------------------------------------------------------ */

bool http_has_token(const char *value, const char *token)
{
    size_t n = strlen(token);

    while (*value) {
        value += strspn(value, ", \t");
        size_t item = strcspn(value, ",");
        size_t word = item;
        while (word && (value[word - 1] == ' ' || value[word - 1] == '\t')) word--;
        if (word == n && strncasecmp(value, token, n) == 0) return true;
        value += item;
    }
    return false;
}

static bool parse_length(const char *s, uint64_t *ret_length)
{
    uint64_t v = 0;
    size_t n = strspn(s, "0123456789");

    if (!n || s[n] || n > 18) return false;
    for (; *s; s++) v = v * 10 + (uint64_t)(*s - '0');
    *ret_length = v;
    return true;
}

/* What the framing headers of a message say; the same fields in both kinds of head. */
struct framing {
    bool close, keep, chunked, has_length, expect_continue;
    uint64_t length;
};

/* 0 or an HTTP status. */
static int read_framing(const struct http_pair *headers, size_t n, struct framing *f)
{
    *f = (struct framing){ .close = false };
    for (size_t i = 0; i < n; i++) {
        const char *name = headers[i].name, *value = headers[i].value;
        /* The first letter decides cheaply for most headers. */
        switch (name[0] | 0x20) {
        case 'c':
            if (strcasecmp(name, "content-length") == 0) {
                uint64_t length;
                if (!parse_length(value, &length) || (f->has_length && f->length != length)) return 400;
                f->has_length = true;
                f->length = length;
            } else if (strcasecmp(name, "connection") == 0) {
                if (http_has_token(value, "close")) f->close = true;
                if (http_has_token(value, "keep-alive")) f->keep = true;
            }
            break;
        case 't':
            if (strcasecmp(name, "transfer-encoding") == 0) {
                if (f->chunked) return 400;
                if (strcasecmp(value, "chunked") == 0) f->chunked = true;
                else if (strcasecmp(value, "identity") != 0) return 501;
            }
            break;
        case 'e':
            if (strcasecmp(name, "expect") == 0 && strcasecmp(value, "100-continue") == 0)
                f->expect_continue = true;
            break;
        }
    }
    /* Two framings in one message are how requests are smuggled past proxies. */
    return f->chunked && f->has_length ? 400 : 0;
}

/* --- query and cookies --------------------------------------------------------------------------------- */

/* text (changed in place) split at the separators into decoded pairs. False when an escape is malformed and
 * strict; otherwise such text stays as it is. */
static bool split_pairs(char *text, const char *separators, bool strict, struct arena *a,
                        struct http_pair *pairs, size_t *n)
{
    while (*text) {
        text += strspn(text, separators);
        if (strict == false) text += strspn(text, " \t");
        size_t len = strcspn(text, separators);
        char *next = text[len] ? text + len + 1 : text + len;
        text[len] = '\0';
        if (len) {
            char *value = strchr(text, '=');
            if (value) *value++ = '\0';
            else value = arena_strdup(a, "");
            if (!strict) {
                size_t v = strlen(value);
                while (v && (value[v - 1] == ' ' || value[v - 1] == '\t')) value[--v] = '\0';
                char *raw = strchr(value, '%') ? arena_strdup(a, value) : value;
                if (http_unescape(value, v, false) < 0) value = raw;
                if (http_unescape(text, strlen(text), false) < 0) text[0] = '\0';
            } else if (http_unescape(text, strlen(text), true) < 0
                       || http_unescape(value, strlen(value), true) < 0) {
                return false;
            }
            if (*text) pairs[(*n)++] = (struct http_pair){ text, value };
        }
        text = next;
    }
    return true;
}

static size_t count_chars(const char *s, char a, char b)
{
    size_t n = 0;

    for (; *s; s++) n += *s == a || *s == b;
    return n;
}

static bool parse_query(struct http_head *h, struct arena *a)
{
    if (!*h->query_text) return true;
    struct http_pair *pairs = arena_alloc(a, sizeof(*pairs) * (count_chars(h->query_text, '&', '&') + 1));

    h->query = pairs;
    return split_pairs(arena_strdup(a, h->query_text), "&", true, a, pairs, &h->n_query);
}

static void parse_cookies(struct http_head *h, struct arena *a)
{
    size_t most = 0;

    for (size_t i = 0; i < h->n_headers; i++)
        if (strcasecmp(h->headers[i].name, "cookie") == 0)
            most += count_chars(h->headers[i].value, ';', '&') + 1;
    if (!most) return;
    struct http_pair *pairs = arena_alloc(a, sizeof(*pairs) * most);
    h->cookies = pairs;
    for (size_t i = 0; i < h->n_headers; i++)
        if (strcasecmp(h->headers[i].name, "cookie") == 0)
            split_pairs(arena_strdup(a, h->headers[i].value), ";&", false, a, pairs, &h->n_cookies);
}

/* --- heads --------------------------------------------------------------------------------------------- */

static enum http_method method_of(const char *s)
{
    static const char *const names[] = {
        [HTTP_GET] = "GET", [HTTP_POST] = "POST", [HTTP_PUT] = "PUT", [HTTP_CONNECT] = "CONNECT",
        [HTTP_OPTIONS] = "OPTIONS", [HTTP_HEAD] = "HEAD", [HTTP_DELETE] = "DELETE",
    };

    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (streq(s, names[i])) return (enum http_method)i;
    return HTTP_OTHER_METHOD;
}

/* "http://host/path" -> "/path". NULL when it is no path at all. */
static const char *origin_form(const char *target, enum http_method method, struct arena *a)
{
    if (target[0] == '/') return target;
    if (streq(target, "*")) return method == HTTP_OPTIONS ? target : NULL;
    size_t scheme = 0;
    if (strncasecmp(target, "http://", 7) == 0) scheme = 7;
    else if (strncasecmp(target, "https://", 8) == 0) scheme = 8;
    else return NULL;
    const char *path = target + scheme + strcspn(target + scheme, "/?");
    if (path == target + scheme) return NULL;
    return *path == '/' ? path : arena_printf(a, "/%s", path);
}

/* The request line; 0 or a status. */
static int parse_request_line(char *line, struct arena *a, struct http_head *h)
{
    /* 1. METHOD SP target SP HTTP/1.x, nothing else. */
    char *target = line;
    while (is_token_char((unsigned char)*target)) target++;
    if (target == line || *target != ' ') return 400;
    *target++ = '\0';
    char *version = target;
    while ((unsigned char)*version > ' ' && *version != 127) version++;
    if (version == target || *version != ' ') return 400;
    *version++ = '\0';
    if (!has_prefix(version, "HTTP/")) return 400;
    if (strlen(version) != 8 || version[6] != '.' || version[5] < '0' || version[5] > '9'
        || version[7] < '0' || version[7] > '9')
        return 400;
    if (version[5] != '1') return 505;
    h->minor = version[7] == '0' ? 0 : 1;
    h->method_text = line;
    h->method = method_of(line);

    /* 2. The target's path and query. */
    h->target = origin_form(target, h->method, a);
    if (!h->target) return 400;
    size_t path = strcspn(h->target, "?");
    char *decoded = arena_strndup(a, h->target, path);
    if (http_unescape(decoded, path, false) < 0) return 400;
    h->path = decoded;
    h->query_text = h->target[path] ? h->target + path + 1 : h->target + path;
    return parse_query(h, a) ? 0 : 400;
}

int http_parse_request(char *buf, size_t len, struct arena *a, struct http_head *ret_head)
{
    struct http_head h = { .minor = 1 };
    struct framing f;
    char *at = buf, *end = buf + len, *line;
    size_t line_len;

    /* 1. The request line, behind empty lines that old clients leave after a body. */
    if (memchr(buf, '\0', len)) return 400;
    do line = next_line(&at, end, &line_len); while (line && !line_len);
    if (!line) return 400;
    int status = parse_request_line(line, a, &h);
    if (status) return status;

    /* 2. Headers and what they say about the body and the connection. */
    if (!parse_headers(at, end, a, &h.headers, &h.n_headers)) return 400;
    status = read_framing(h.headers, h.n_headers, &f);
    if (status) return status;
    if (f.chunked && h.minor == 0) return 400;
    h.keep_alive = !f.close && (h.minor == 1 || f.keep);
    h.expect_continue = f.expect_continue && h.minor == 1;
    h.chunked = f.chunked;
    h.has_length = f.has_length;
    h.length = f.length;

    /* 3. Cookies. */
    parse_cookies(&h, a);
    *ret_head = h;
    return 0;
}

int http_parse_response(char *buf, size_t len, struct arena *a, struct http_status *ret_status)
{
    struct http_status h = { .minor = 1 };
    struct framing f;
    char *at = buf, *end = buf + len;
    size_t line_len;

    if (memchr(buf, '\0', len)) return -1;
    char *line = next_line(&at, end, &line_len);
    if (!line || line_len < 12 || !has_prefix(line, "HTTP/1.") || line[8] != ' ') return -1;
    if (line[7] != '0' && line[7] != '1') return -1;
    h.minor = line[7] - '0';
    for (int i = 9; i < 12; i++) {
        if (line[i] < '0' || line[i] > '9') return -1;
        h.status = h.status * 10 + (line[i] - '0');
    }
    if (h.status < 100 || (line[12] && line[12] != ' ')) return -1;
    h.reason = line[12] ? line + 13 : "";
    if (!parse_headers(at, end, a, &h.headers, &h.n_headers)) return -1;
    if (read_framing(h.headers, h.n_headers, &f)) return -1;
    h.keep_alive = !f.close && (h.minor == 1 || f.keep);
    h.chunked = f.chunked;
    h.has_length = f.has_length;
    h.length = f.length;
    *ret_status = h;
    return 0;
}

/* --- lookups ------------------------------------------------------------------------------------------- */

const char *http_find(const struct http_pair *pairs, size_t n, const char *name, bool any_case)
{
    for (size_t i = 0; i < n; i++)
        if ((any_case ? strcasecmp(pairs[i].name, name) : strcmp(pairs[i].name, name)) == 0)
            return pairs[i].value;
    return NULL;
}

const char *http_header(const struct http_head *h, const char *name)
{
    return http_find(h->headers, h->n_headers, name, true);
}

const char *http_query(const struct http_head *h, const char *name)
{
    return http_find(h->query, h->n_query, name, false);
}

const char *http_cookie(const struct http_head *h, const char *name)
{
    return http_find(h->cookies, h->n_cookies, name, false);
}

const char *http_param(const struct http_head *h, const char *name)
{
    static const char *const cookie_wins[] = { "session_id", "task_id", "subtask_of", "pool_secret" };
    const char *query = http_query(h, name), *cookie = http_cookie(h, name);

    for (size_t i = 0; i < ARRAY_SIZE(cookie_wins); i++)
        if (streq(name, cookie_wins[i])) return cookie ? cookie : query;
    return query ? query : cookie;
}

const char *http_reason(int status)
{
    static const struct {
        int status;
        const char *text;
    } reasons[] = {
        { 100, "Continue" },
        { 101, "Switching Protocols" },
        { 200, "OK" },
        { 201, "Created" },
        { 204, "No Content" },
        { 206, "Partial Content" },
        { 301, "Moved Permanently" },
        { 302, "Found" },
        { 304, "Not Modified" },
        { 400, "Bad Request" },
        { 401, "Unauthorized" },
        { 403, "Forbidden" },
        { 404, "Not Found" },
        { 405, "Method Not Allowed" },
        { 406, "Not Acceptable" },
        { 408, "Request Timeout" },
        { 409, "Conflict" },
        { 411, "Length Required" },
        { 413, "Content Too Large" },
        { 416, "Range Not Satisfiable" },
        { 417, "Expectation Failed" },
        { 426, "Upgrade Required" },
        { 429, "Too Many Requests" },
        { 431, "Request Header Fields Too Large" },
        { 500, "Internal Server Error" },
        { 501, "Not Implemented" },
        { 502, "Bad Gateway" },
        { 503, "Service Unavailable" },
        { 504, "Gateway Timeout" },
        { 505, "HTTP Version Not Supported" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(reasons); i++)
        if (reasons[i].status == status) return reasons[i].text;
    return status < 400 ? "OK" : "Error";
}

/* --- basic authentication ------------------------------------------------------------------------------ */

int http_basic_auth(const char *authorization, char **ret_user, char **ret_password)
{
    struct strbuf plain = STRBUF_INIT;
    int rc = -1;

    if (strncasecmp(authorization, "basic ", 6) != 0) return -1;
    const char *text = authorization + 6;
    if (base64_decode(text, strlen(text), &plain) && !memchr(strbuf_cstr(&plain), '\0', plain.len)) {
        const char *credentials = strbuf_cstr(&plain), *colon = strchr(credentials, ':');
        if (colon) {
            *ret_user = xstrndup(credentials, (size_t)(colon - credentials));
            *ret_password = xstrdup(colon + 1);
            rc = 0;
        }
    }
    if (plain.ptr) explicit_bzero(plain.ptr, plain.cap);
    strbuf_free(&plain);
    return rc;
}

/* --- chunked framing ----------------------------------------------------------------------------------- */

enum { CH_SIZE, CH_EXTENSION, CH_SIZE_LF, CH_DATA, CH_DATA_CR, CH_DATA_LF, CH_TRAILER, CH_END };
enum { CH_LINE_MAX = 4096, CH_TRAILERS_MAX = 16384 };

/* One framing byte. False = malformed. */
static bool chunk_byte(struct http_chunked *c, unsigned char b)
{
    int digit;

    switch (c->state) {
    case CH_SIZE:
        digit = hex_digit(b);
        if (digit >= 0) {
            if (c->left >> 56) return false;
            c->left = c->left << 4 | (unsigned)digit;
            return ++c->line <= CH_LINE_MAX;
        }
        if (!c->line) return false;
        if (b == ';' || b == ' ' || b == '\t') c->state = CH_EXTENSION;
        else if (b == '\r') c->state = CH_SIZE_LF;
        else if (b == '\n') goto size_done;
        else return false;
        return true;
    case CH_EXTENSION:
        if (b == '\n') goto size_done;
        return ++c->line <= CH_LINE_MAX;
    case CH_SIZE_LF:
        if (b != '\n') return false;
        goto size_done;
    case CH_DATA_CR:
        if (b == '\r') {
            c->state = CH_DATA_LF;
            return true;
        }
        /* fall through */
    case CH_DATA_LF:
        if (b != '\n') return false;
        c->state = CH_SIZE;
        c->line = 0;
        return true;
    case CH_TRAILER:
        /* left's low bit: this line has a byte */
        if (b == '\n') {
            if (!c->left) c->state = CH_END;
            c->left = 0;
        } else if (b != '\r') {
            c->left = 1;
        }
        return ++c->line <= CH_TRAILERS_MAX;
    }
    return false;

size_done:
    c->line = 0;
    c->state = c->left ? CH_DATA : CH_TRAILER;
    return true;
}

enum http_chunk http_chunk_next(struct http_chunked *c, const char *p, size_t n, size_t *ret_skip,
                                size_t *ret_len)
{
    size_t at = 0;

    while (c->state != CH_DATA && c->state != CH_END) {
        if (at == n) return HTTP_CHUNK_MORE;
        if (!chunk_byte(c, (unsigned char)p[at++])) return HTTP_CHUNK_BAD;
    }
    *ret_skip = at;
    *ret_len = 0;
    if (c->state == CH_END) return HTTP_CHUNK_END;
    if (at == n) return HTTP_CHUNK_MORE;
    size_t len = n - at;
    if (len > c->left) len = (size_t)c->left;
    c->left -= len;
    if (!c->left) c->state = CH_DATA_CR;
    *ret_len = len;
    return HTTP_CHUNK_DATA;
}
