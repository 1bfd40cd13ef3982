/* Another pool, asked by a command while it runs: over XML-RPC, with a session of its own.
 * Called by: cmd_migrate.c.  Calls: lib/httpc, lib/xmlrpc. */
#include "xe/peer.h"

#include <stdio.h>

#include "lib/httpc.h"
#include "lib/num.h"
#include "lib/xmlrpc.h"

enum {
    CONNECT_MS = 30 * 1000,
    CALL_MS = 120 * 1000,
    GOODBYE_MS = 5 * 1000,
    REPLY_LIMIT = 64 << 20,
};

struct peer {
    struct cmd *c;
    const char *address;
    const char *host;
    int64_t port;
    struct tls_client *tls;            /* NULL: plain */
    struct httpc *http;                /* NULL: not connected */
    const char *session;               /* NULL before login */
};

/* Name and port of an address; *ret_tls. False when it is none. */
static bool parse_address(struct arena *a, const char *text, const char **ret_host, int64_t *ret_port, bool *ret_tls)
{
    const char *end, *at = text;
    bool tls = !has_prefix(text, "http://");

    if (has_prefix(at, "https://")) at += strlen("https://");
    else if (!tls) at += strlen("http://");
    *ret_tls = tls;
    *ret_port = tls ? 443 : 80;
    end = at + strcspn(at, "/");
    if (*at == '[') {
        const char *close = memchr(at, ']', (size_t)(end - at));

        if (!close) return false;
        *ret_host = arena_strndup(a, at + 1, (size_t)(close - at - 1));
        at = close + 1;
    } else {
        const char *colon = memchr(at, ':', (size_t)(end - at));
        bool v6 = colon && memchr(colon + 1, ':', (size_t)(end - colon - 1));
        const char *stop = colon && !v6 ? colon : end;

        *ret_host = arena_strndup(a, at, (size_t)(stop - at));
        at = stop;
    }
    if (!**ret_host) return false;
    if (at == end) return true;
    return *at == ':' && num_parse_int(arena_strndup(a, at + 1, (size_t)(end - at - 1)), ret_port) && *ret_port > 0
           && *ret_port <= 65535;
}

/* ---- calls ------------------------------------------------------------------------------------------- */

static int unreachable(const struct peer *p, const struct xerr *why, struct xerr *err)
{
    return cmd_fail(err, "The pool at %s cannot be reached: %s", p->address, why->n ? why->params[0] : why->code);
}

static int no_xenapi(const struct peer *p, const char *why, struct xerr *err)
{
    return cmd_fail(err, "What answers at %s is no XenAPI server: %s", p->address, why);
}

/* The pool's own error, in words. */
static int refused(const struct peer *p, const struct xerr *why, struct xerr *err)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
    const char *sentence = cmd_error_sentence(p->c, why);

    if (xerr_is(why, "SESSION_AUTHENTICATION_FAILED"))
        return cmd_fail(err, "The pool at %s does not accept this user and password", p->address);
    if (xerr_is(why, "HOST_IS_SLAVE"))
        return cmd_fail(err, "The host at %s is a member of its pool; the coordinator is %s", p->address,
                        why->n ? why->params[0] : "another");
    if (sentence) strbuf_printf(&b, "%s (", sentence);
    strbuf_str(&b, why->code);
    for (size_t i = 0; i < why->n; i++) strbuf_printf(&b, "%s %s", i ? "," : ":", why->params[i]);
    if (sentence) strbuf_char(&b, ')');
    return cmd_fail(err, "The pool at %s refuses: %s", p->address, strbuf_cstr(&b));
}

/* Sends it and reads the answer's body. */
static int post(struct peer *p, const struct strbuf *document, int timeout_ms, struct strbuf *body, struct xerr *err)
{
    const struct httpc_target target = { .host = p->host, .port = (unsigned)p->port, .tls = p->tls };
    _cleanup_xerr_ struct xerr why = XERR_INIT;
    char digits[16];
    int status;

    if (p->http && !httpc_usable(p->http)) {
        httpc_free(p->http);
        p->http = NULL;
    }
    if (!p->http) p->http = httpc_connect(&target, timeout_ms < CONNECT_MS ? timeout_ms : CONNECT_MS, &why);
    if (!p->http || httpc_call(p->http, "POST", "/", "Content-Type: text/xml\r\n", strbuf_cstr(document), document->len,
                               REPLY_LIMIT, timeout_ms, &status, body, &why) < 0)
        return unreachable(p, &why, err);
    if (status == 200) return 0;
    snprintf(digits, sizeof digits, "HTTP %d", status);
    return no_xenapi(p, digits, err);
}

static int call(struct peer *p, const char *method, const struct value *args, size_t n, int timeout_ms,
                struct value *ret_result, struct xerr *err)
{
    struct value *items = arena_new_array(p->c->arena, struct value, n + 1), params, response;
    _cleanup_strbuf_ struct strbuf document = STRBUF_INIT;
    _cleanup_strbuf_ struct strbuf body = STRBUF_INIT;
    _cleanup_xerr_ struct xerr why = XERR_INIT;
    size_t first = p->session ? 1 : 0;
    const char *wrong;

    if (first) items[0] = value_string(p->session);
    for (size_t i = 0; i < n; i++) items[first + i] = args[i];
    params = value_set(items, first + n);
    xmlrpc_encode_call(method, &params, &document);
    if (post(p, &document, timeout_ms, &body, err) < 0) return -1;
    if (xmlrpc_decode_response(strbuf_cstr(&body), body.len, p->c->arena, &response, &wrong) < 0)
        return no_xenapi(p, wrong, err);
    return xmlrpc_result(&response, ret_result, &why) < 0 ? refused(p, &why, err) : 0;
}

int peer_call(struct peer *p, const char *method, const struct value *args, size_t n, struct value *ret_result,
              struct xerr *err)
{
    return call(p, method, args, n, CALL_MS, ret_result, err);
}

/* ---- sessions ---------------------------------------------------------------------------------------- */

static int log_in(struct peer *p, const char *user, const char *password, struct xerr *err)
{
    struct value result;

    if (call(p, "session.login_with_password",
             CMD_ARGS(value_string(user), value_string(password), value_string(""), value_string("xe")), CONNECT_MS, &result,
             err) < 0)
        return -1;
    if (result.kind != VALUE_STRING) return no_xenapi(p, "session.login_with_password", err);
    p->session = result.s;
    return 0;
}

int peer_open(struct cmd *c, const char *address, const char *user, const char *password, struct peer **ret_peer,
              struct xerr *err)
{
    struct peer *p = xcalloc(1, sizeof *p);
    bool tls;

    *p = (struct peer){ .c = c, .address = address };
    if (!parse_address(c->arena, address, &p->host, &p->port, &tls)) {
        cmd_fail(err, "%s is not the address of a pool", address);
        goto fail;
    }
    if (tls && (c->env->tls ? c->env->tls(c->env->arg, &p->tls, err) : !(p->tls = tls_client_new(NULL, err)))) goto fail;
    if (log_in(p, user, password, err) < 0) goto fail;
    *ret_peer = p;
    return 0;
fail:
    peer_close(p);
    return -1;
}

void peer_close(struct peer *p)
{
    _cleanup_xerr_ struct xerr ignored = XERR_INIT;
    struct value dropped;

    if (!p) return;
    if (p->session) (void)call(p, "session.logout", NULL, 0, GOODBYE_MS, &dropped, &ignored);
    httpc_free(p->http);
    tls_client_free(p->tls);
    free(p);
}
