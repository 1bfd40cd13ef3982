/* A client of Open vSwitch's database.
 * Called by: ovs.c, ovs_plan.c.  Calls: lib/json, lib/stream. */
#include "xapi/net/ovsdb.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "lib/clock.h"
#include "lib/fault.h"
#include "lib/json.h"

enum { CONNECT_S = 5, ANSWER_MS = 10000, TAKEN_MS = 15000, ANSWER_MAX_BYTES = 64 << 20, READ_BYTES = 65536 };

/* ---- the connection --------------------------------------------------------------------------------------------------- */

char *ovs_file(const char *name)
{
    const char *folder = getenv("OVS_RUNDIR");

    return xasprintf("%s/%s", folder && *folder ? folder : "/run/openvswitch", name);
}

int ovs_connect(const char *name, struct stream *ret_stream, char **ret_why)
{
    _cleanup_free_ char *path = ovs_file(name);
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    const struct timeval limit = { .tv_sec = CONNECT_S };
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (strlen(path) >= sizeof(to.sun_path)) errno = ENAMETOOLONG;
    else memcpy(to.sun_path, path, strlen(path) + 1);
    if (fd >= 0) setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));    /* of connect() */
    if (!*to.sun_path || fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) || fcntl(fd, F_SETFL, O_NONBLOCK)) {
        *ret_why = xasprintf("%s: %s", path, strerror(errno));
        return -1;
    }
    *ret_stream = (struct stream)STREAM_INIT;
    ret_stream->fd = take_fd(fd);
    return 0;
}

int ovsdb_open(struct ovsdb *db, char **ret_why)
{
    *db = (struct ovsdb){ .stream = STREAM_INIT };
    return ovs_connect("db.sock", &db->stream, ret_why);
}

void ovsdb_close(struct ovsdb *db)
{
    stream_close(&db->stream);
    strbuf_free(&db->in);
}

/* ---- messages ------------------------------------------------------------------------------------------------------------ */

/* Messages come one behind the other with nothing in between: where the first of them ends, 0 when it is not all there. */
static size_t message_end(const struct strbuf *in, size_t *at, int *depth, bool *quoted)
{
    for (; *at < in->len; (*at)++) {
        char ch = in->ptr[*at];
        if (*quoted) {
            if (ch == '\\') (*at)++;
            else if (ch == '"') *quoted = false;
        } else if (ch == '"') {
            *quoted = true;
        } else if (ch == '{' || ch == '[') {
            (*depth)++;
        } else if ((ch == '}' || ch == ']') && --*depth == 0) {
            return *at + 1;
        }
    }
    return 0;
}

static int fail(char **ret_why, const char *what)
{
    *ret_why = xasprintf("Open vSwitch's database: %s", what);
    return -1;
}

static int next_message(struct ovsdb *db, struct arena *a, struct value *ret_message, char **ret_why)
{
    size_t at = 0, end;
    int depth = 0;
    bool quoted = false;
    const char *why;

    while (!(end = message_end(&db->in, &at, &depth, &quoted))) {
        if (db->in.len > ANSWER_MAX_BYTES) return fail(ret_why, "an answer without end");
        strbuf_reserve(&db->in, READ_BYTES);
        ssize_t n = stream_read(&db->stream, db->in.ptr + db->in.len, READ_BYTES - 1, ANSWER_MS);
        if (n <= 0) return fail(ret_why, n ? strerror(errno) : "it has hung up");
        db->in.len += (size_t)n;
    }
    int rc = json_decode(db->in.ptr, end, a, ret_message, &why) ? fail(ret_why, why) : 0;
    memmove(db->in.ptr, db->in.ptr + end, db->in.len - end);
    db->in.len -= end;
    return rc;
}

static int send_text(struct ovsdb *db, const struct strbuf *text, char **ret_why)
{
    return stream_write(&db->stream, text->ptr, text->len, ANSWER_MS) ? fail(ret_why, strerror(errno)) : 0;
}

/* "Are you there?" */
static int answer_echo(struct ovsdb *db, const struct value *message, char **ret_why)
{
    _cleanup_strbuf_ struct strbuf text = STRBUF_INIT;
    const struct value *id = value_get(message, "id"), *params = value_get(message, "params");

    if (!id || !params || !streq(value_get_str(message, "method", ""), "echo")) return 0;
    strbuf_str(&text, "{\"error\":null,\"id\":");
    json_encode_value(id, &text);
    strbuf_str(&text, ",\"result\":");
    json_encode_value(params, &text);
    strbuf_char(&text, '}');
    return send_text(db, &text, ret_why);
}

/* The first operation that failed, in words. */
static int check_results(const struct value *results, char **ret_why)
{
    if (!results || results->kind != VALUE_SET) return fail(ret_why, "an answer without results");
    for (size_t i = 0; i < results->set.n; i++) {
        const char *error = value_get_str(&results->set.items[i], "error", "");
        if (!*error) continue;
        _cleanup_free_ char *text = xasprintf("%s: %s", error, value_get_str(&results->set.items[i], "details", "no details"));
        return fail(ret_why, text);
    }
    return 0;
}

int ovsdb_read(struct ovsdb *db, const char *ops, struct arena *a, struct value *ret_results, char **ret_why)
{
    _cleanup_strbuf_ struct strbuf text = STRBUF_INIT;
    struct value message;
    const struct value *id;

    strbuf_printf(&text, "{\"method\":\"transact\",\"id\":%d,\"params\":[\"Open_vSwitch\",%s]}", ++db->id, ops);
    if (send_text(db, &text, ret_why)) return -1;
    do {
        if (next_message(db, a, &message, ret_why) || answer_echo(db, &message, ret_why)) return -1;
        id = value_get(&message, "id");
    } while (value_get(&message, "method") || !id || id->kind != VALUE_INT || id->i != db->id);
    const struct value *results = value_get(&message, "result");
    if (check_results(results, ret_why)) return -1;
    *ret_results = *results;
    return 0;
}

/* Until the switch's own number has reached that of the change. */
static int wait_taken(struct ovsdb *db, int64_t number, struct arena *a, char **ret_why)
{
    int64_t until = clock_deadline_ns(TAKEN_MS);

    for (;;) {
        struct value results;
        if (ovsdb_read(db, "{\"op\":\"select\",\"table\":\"Open_vSwitch\",\"where\":[],\"columns\":[\"cur_cfg\"]}", a, &results, ret_why))
            return -1;
        const struct value *rows = ovsdb_rows(&results, 0), *now = rows->set.n ? value_get(&rows->set.items[0], "cur_cfg") : NULL;
        if (!now || now->kind != VALUE_INT) return fail(ret_why, "it has no row for the switch");
        if (now->i >= number) return 0;
        int left_ms = clock_poll_ms(until, ANSWER_MS / 2);
        if (!left_ms) return fail(ret_why, "ovs-vswitchd does not take what was changed");
        /* Until it is another number; that it is still this one when the time is up is no failure of ours. */
        _cleanup_free_ char *why = NULL, *op = xasprintf(
            "{\"op\":\"wait\",\"table\":\"Open_vSwitch\",\"where\":[],\"columns\":[\"cur_cfg\"],\"until\":\"!=\",\"rows\":"
            "[{\"cur_cfg\":%lld}],\"timeout\":%d}", (long long)now->i, left_ms);
        if (ovsdb_read(db, op, a, &results, &why) && !strstr(why, "timed out")) {
            *ret_why = take_ptr(why);
            return -1;
        }
    }
}

int ovsdb_change(struct ovsdb *db, const char *ops, char **ret_why)
{
    _cleanup_arena_ struct arena *a = arena_new();
    _cleanup_free_ char *all = xasprintf("%s,{\"op\":\"mutate\",\"table\":\"Open_vSwitch\",\"where\":[],\"mutations\":"
                                         "[[\"next_cfg\",\"+=\",1]]},{\"op\":\"select\",\"table\":\"Open_vSwitch\",\"where\":[],"
                                         "\"columns\":[\"next_cfg\"]}", ops);
    struct value results;
    int e = fault("net.ovsdb");

    if (e) return fail(ret_why, strerror(e));
    if (ovsdb_read(db, all, a, &results, ret_why)) return -1;
    const struct value *rows = ovsdb_rows(&results, results.set.n - 1);
    const struct value *number = rows->set.n ? value_get(&rows->set.items[0], "next_cfg") : NULL;
    if (!number || number->kind != VALUE_INT) return fail(ret_why, "it has no row for the switch");
    return wait_taken(db, number->i, a, ret_why);
}

/* ---- rows ---------------------------------------------------------------------------------------------------------------- */

const struct value *ovsdb_rows(const struct value *results, size_t i)
{
    static const struct value none = { .kind = VALUE_SET };
    const struct value *rows = results->kind == VALUE_SET && i < results->set.n ? value_get(&results->set.items[i], "rows") : NULL;

    return rows && rows->kind == VALUE_SET ? rows : &none;
}

/* ["uuid","..."], ["set",[...]], ["map",[...]]: what stands behind the word. */
static const struct value *tagged(const struct value *v, const char *word)
{
    bool is = v && v->kind == VALUE_SET && v->set.n == 2 && v->set.items[0].kind == VALUE_STRING && streq(v->set.items[0].s, word);

    return is ? &v->set.items[1] : NULL;
}

const char *ovsdb_uuid(const struct value *row, const char *column, size_t k)
{
    const struct value *v = value_get(row, column), *set = tagged(v, "set");

    if (set) v = set->kind == VALUE_SET && k < set->set.n ? &set->set.items[k] : NULL;
    else if (k) v = NULL;
    const struct value *uuid = tagged(v, "uuid");
    return uuid && uuid->kind == VALUE_STRING ? uuid->s : "";
}

const char *ovsdb_map_text(const struct value *row, const char *column, const char *key)
{
    const struct value *pairs = tagged(value_get(row, column), "map");

    for (size_t i = 0; pairs && pairs->kind == VALUE_SET && i < pairs->set.n; i++) {
        const struct value *pair = &pairs->set.items[i];
        if (pair->kind != VALUE_SET || pair->set.n != 2 || pair->set.items[0].kind != VALUE_STRING) continue;
        if (streq(pair->set.items[0].s, key) && pair->set.items[1].kind == VALUE_STRING) return pair->set.items[1].s;
    }
    return "";
}
