/* Metrics over HTTP: the newest rows of many objects, one object's whole archives, OpenMetrics.
 * Called by: the HTTP server, on threads of their own.  Calls: http_auth, rrd/. */
#include "xapi/http/metrics.h"

#include <ctype.h>
#include <stdlib.h>

#include "lib/clock.h"
#include "lib/limits.h"
#include "lib/num.h"
#include "xapi/http/http_auth.h"
#include "xapi/http/transfer.h"
#include "xapi/rrd/rrd_read.h"
#include "xapi/rrd/rrd_write.h"

/* Pages of other origins (XO Lite) read every host of a pool. */
static const char cors[] = "Access-Control-Allow-Origin: *\r\n";

/* ---- XML or JSON ------------------------------------------------------------------------------------------------- */

static const char *const json_ranges[] = { "application/json", "application/*", "*/*", NULL };
static const char *const xml_ranges[] = { "application/xml", "text/xml", "application/*", "text/*", "*/*", NULL };

/* The weight of one range of an Accept header, 0 to 1. */
static double weight(const char *parameters, size_t n)
{
    for (size_t i = 0; i + 2 < n; i++)
        if (parameters[i] == ';') {
            size_t k = i + 1;
            while (k < n && isspace((unsigned char)parameters[k])) k++;
            if (k + 2 < n && (parameters[k] == 'q' || parameters[k] == 'Q') && parameters[k + 1] == '=')
                return strtod(parameters + k + 2, NULL);
        }
    return 1;
}

/* How much a type is wanted: the greatest weight of the ranges that take it. 0 = not named. */
static double wanted(const char *accept, const char *const *ranges)
{
    double most = 0;

    for (const char *p = accept; *p;) {
        p += strspn(p, ", \t");
        size_t n = strcspn(p, ","), name = strcspn(p, ",; \t");
        for (size_t i = 0; ranges[i]; i++)
            if (strlen(ranges[i]) == name && !strncasecmp(p, ranges[i], name)) {
                double w = weight(p + name, n - name);
                if (w > most) most = w;
            }
        p += n;
    }
    return most;
}

/* The Accept header decides when it names one of them (JSON when both), else that there is a "json" in the query. */
static bool wants_json(const struct http_request *req)
{
    const char *accept = http_header(&req->head, "accept");
    double json = accept ? wanted(accept, json_ranges) : 0, xml = accept ? wanted(accept, xml_ranges) : 0;

    if (json > 0 || xml > 0) return json >= xml;
    return http_query(&req->head, "json");
}

static void reply_text(struct http_request *req, bool json, struct strbuf *text)
{
    struct http_reply reply = { .status = 200, .content_type = json ? "application/json" : "text/xml", .headers = cors,
                                .body = text };

    http_reply(req, &reply);
}

/* ---- rrd_updates ------------------------------------------------------------------------------------------------- */

/* Every value of a repeated parameter. */
static struct rrd_choice choice(const struct http_request *req, const char *name)
{
    const char **uuids = arena_new_array(req->arena, const char *, req->head.n_query + 1);
    struct rrd_choice c = { .uuids = uuids };

    for (size_t i = 0; i < req->head.n_query; i++)
        if (streq(req->head.query[i].name, name)) uuids[c.n++] = req->head.query[i].value;
    return c;
}

static bool read_cf(const char *text, struct rrd_query *q)
{
    q->all_cfs = !text;
    for (unsigned i = 0; text && i < RRD_CFS; i++)
        if (streq(text, rrd_cf_name[i])) {
            q->cf = (enum rrd_cf)i;
            return true;
        }
    return !text;
}

/* start is needed, in seconds; cf is AVERAGE, MIN or MAX; interval is in seconds. Errors: INVALID_VALUE [name, value]. */
static int read_query(const struct http_request *req, struct rrd_query *q, struct xerr *err)
{
    const char *start = http_query(&req->head, "start"), *interval = http_query(&req->head, "interval");
    const char *host = http_query(&req->head, "host"), *cf = http_query(&req->head, "cf");
    double start_s;

    *q = (struct rrd_query){ .interval_s = 0 };
    if (!start || !num_parse_float(start, &start_s) || !(start_s > -1e15 && start_s < 1e15))
        return xerr_invalid_value(err, "start", start ? start : "");
    if (interval && !num_parse_int(interval, &q->interval_s)) return xerr_invalid_value(err, "interval", interval);
    if (!read_cf(cf, q)) return xerr_invalid_value(err, "cf", cf);
    q->start_s = (int64_t)start_s;
    if (q->start_s < 0) q->start_s += clock_wall_seconds();
    q->choice[RRD_HOST].all = host && streq(host, "true");
    q->choice[RRD_VM] = choice(req, "vm_uuid");
    q->choice[RRD_VM].all = !q->choice[RRD_VM].n;
    q->choice[RRD_SR] = choice(req, "sr_uuid");
    return 0;
}

void get_rrd_updates(struct http_request *req, struct call *c, struct xerr *err)
{
    struct strbuf text = STRBUF_INIT;
    struct rrd_query query;
    struct rrd_table table;

    if (read_query(req, &query, err)) {
        transfer_refuse(req, 400, err);
    } else {
        bool json = wants_json(req);
        rrd_store_query(c->agent->rrds, &query, req->arena, &table);
        rrd_write_table(&table, json, &text);
        reply_text(req, json, &text);
    }
}

/* ---- whole archives ---------------------------------------------------------------------------------------------- */

static void reply_full(struct http_request *req, struct agent *agent, enum rrd_kind kind, const char *uuid, struct xerr *err)
{
    static const char *const classes[] = { [RRD_HOST] = "host", [RRD_VM] = "VM", [RRD_SR] = "SR" };
    struct strbuf text = STRBUF_INIT;
    struct rrd *r = rrd_store_get(agent->rrds, kind, uuid);
    bool json = wants_json(req);

    if (!r) {
        xerr_uuid_invalid(err, classes[kind], uuid);
        transfer_refuse(req, 404, err);
        return;
    }
    rrd_write_full(r, json, &text);
    rrd_free(r);
    reply_text(req, json, &text);
}

void get_host_rrd(struct http_request *req, struct call *c, struct xerr *err)
{
    struct snap *s = db_snap(c->agent->db);
    const struct row *host = snap_get(s, CLASS_host, c->agent->host);
    const char *uuid = arena_strdup(req->arena, host ? row_uuid(host) : "");

    snap_unref(s);
    reply_full(req, c->agent, RRD_HOST, uuid, err);
}

static void get_named(struct http_request *req, struct agent *agent, enum rrd_kind kind, struct xerr *err)
{
    const char *uuid = http_query(&req->head, "uuid");

    if (uuid) {
        reply_full(req, agent, kind, uuid, err);
    } else {
        xerr_invalid_value(err, "uuid", "");
        transfer_refuse(req, 400, err);
    }
}

void get_vm_rrd(struct http_request *req, struct call *c, struct xerr *err)
{
    get_named(req, c->agent, RRD_VM, err);
}

void get_sr_rrd(struct http_request *req, struct call *c, struct xerr *err)
{
    get_named(req, c->agent, RRD_SR, err);
}

/* ---- history from elsewhere --------------------------------------------------------------------------------------- */

/* Whose uuid it is. */
static bool find_owner(struct agent *agent, const char *uuid, enum rrd_kind *ret_kind)
{
    static const struct { enum class_id cls; enum rrd_kind kind; } owners[] = {
        { CLASS_VM, RRD_VM }, { CLASS_host, RRD_HOST }, { CLASS_SR, RRD_SR },
    };
    _cleanup_snap_ struct snap *s = db_snap(agent->db);

    for (size_t i = 0; i < ARRAY_SIZE(owners); i++) {
        if (!snap_by_uuid(s, owners[i].cls, uuid)) continue;
        *ret_kind = owners[i].kind;
        return true;
    }
    return false;
}

/* 1. 200, for which clients wait; 2. the document; 3. it is the object's history. */
void put_rrd(struct http_request *req, struct call *c, struct xerr *err)
{
    const char *uuid = http_query(&req->head, "uuid"), *why;
    _cleanup_strbuf_ struct strbuf xml = STRBUF_INIT;
    enum rrd_kind kind;

    if (!uuid || !find_owner(c->agent, uuid, &kind)) {
        xerr_uuid_invalid(err, "VM", uuid ? uuid : "");
        transfer_refuse(req, 404, err);
        return;
    }
    if (transfer_begin_upload(req, err) || transfer_receive(req, c, LIMIT_RRD_XML, &xml, err)) return;
    struct rrd *r = rrd_read_full(strbuf_cstr(&xml), xml.len, rrd_store_cfs(c->agent->rrds), &why);
    if (r) rrd_store_put(c->agent->rrds, kind, uuid, r);
    else xerr_import_error(err, why);
}

/* ---- OpenMetrics ------------------------------------------------------------------------------------------------- */

void get_metrics(struct http_request *req, struct call *c, struct xerr *err)
{
    struct strbuf text = STRBUF_INIT;
    struct rrd_value *values;

    (void)err;
    size_t n = rrd_store_values(c->agent->rrds, req->arena, &values);
    rrd_write_openmetrics(values, n, req->arena, &text);
    struct http_reply reply = { .status = 200, .body = &text,
                                .content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8" };
    http_reply(req, &reply);
}
