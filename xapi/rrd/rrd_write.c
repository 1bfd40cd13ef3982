/* Metrics as XML, JSON and OpenMetrics.
 * Called by: http/metrics.c.  Calls: xmlrpc, json, num. */
#include "xapi/rrd/rrd_write.h"

#include <ctype.h>
#include <math.h>

#include "lib/json.h"
#include "lib/num.h"
#include "lib/xmlrpc.h"

#define US_PER_S INT64_C(1000000)

/* Rows have seven digits; no exponents, which some readers do not take. */
static void put_number(struct strbuf *out, double d)
{
    char text[NUM_FLOAT_TEXT];

    if (!isfinite(d)) strbuf_str(out, num_float_text(d, text));
    else if (d == nearbyint(d) && fabs(d) < 1e15) strbuf_int(out, (int64_t)d);
    else if (fabs(d) >= 1e6) strbuf_printf(out, "%.1f", d);
    else if (fabs(d) < 1e-3) strbuf_printf(out, "%.10f", d);
    else strbuf_printf(out, "%.7g", d);
}

/* ---- elements and members ---------------------------------------------------------------------------------------- */

static void xml_number(struct strbuf *out, const char *name, double d)
{
    strbuf_printf(out, "<%s>", name);
    put_number(out, d);
    strbuf_printf(out, "</%s>", name);
}

static void xml_text(struct strbuf *out, const char *name, const char *text)
{
    strbuf_printf(out, "<%s>", name);
    xmlrpc_encode_text(text, strlen(text), out);
    strbuf_printf(out, "</%s>", name);
}

static void json_number(struct strbuf *out, const char *name, double d)
{
    json_member_begin(name, out);
    strbuf_char(out, '"');
    put_number(out, d);
    strbuf_char(out, '"');
}

static void json_text(struct strbuf *out, const char *name, const char *text)
{
    json_member_begin(name, out);
    json_encode_string(text, strlen(text), out);
}

static void put_named_number(struct strbuf *out, bool json, const char *name, double d)
{
    (json ? json_number : xml_number)(out, name, d);
}

static void put_named_text(struct strbuf *out, bool json, const char *name, const char *text)
{
    (json ? json_text : xml_text)(out, name, text);
}

/* ---- rrd_updates ------------------------------------------------------------------------------------------------- */

static void put_meta(const struct rrd_table *t, bool json, struct strbuf *out)
{
    put_named_number(out, json, "start", (double)t->start_s);
    put_named_number(out, json, "step", (double)t->step_s);
    put_named_number(out, json, "end", (double)t->end_s);
    put_named_number(out, json, "rows", (double)t->rows);
    put_named_number(out, json, "columns", (double)t->columns);
}

static void table_json(const struct rrd_table *t, struct strbuf *out)
{
    strbuf_str(out, "{\"meta\":{");
    put_meta(t, true, out);
    strbuf_str(out, ",\"legend\":[");
    for (size_t c = 0; c < t->columns; c++) {
        if (c) strbuf_char(out, ',');
        json_encode_string(t->legend[c], strlen(t->legend[c]), out);
    }
    strbuf_str(out, "]},\"data\":[");
    for (size_t i = 0; i < t->rows; i++) {
        strbuf_str(out, i ? ",{" : "{");
        json_number(out, "t", (double)(t->end_s - (int64_t)i * t->step_s));
        strbuf_str(out, ",\"values\":[");
        for (size_t c = 0; c < t->columns; c++) {
            strbuf_str(out, c ? ",\"" : "\"");
            put_number(out, (double)t->values[c * t->rows + i]);
            strbuf_char(out, '"');
        }
        strbuf_str(out, "]}");
    }
    strbuf_str(out, "]}");
}

static void table_xml(const struct rrd_table *t, struct strbuf *out)
{
    strbuf_str(out, "<?xml version=\"1.0\"?>\n<xport><meta>");
    put_meta(t, false, out);
    strbuf_str(out, "<legend>");
    for (size_t c = 0; c < t->columns; c++) xml_text(out, "entry", t->legend[c]);
    strbuf_str(out, "</legend></meta><data>");
    for (size_t i = 0; i < t->rows; i++) {
        strbuf_str(out, "<row>");
        xml_number(out, "t", (double)(t->end_s - (int64_t)i * t->step_s));
        for (size_t c = 0; c < t->columns; c++) xml_number(out, "v", (double)t->values[c * t->rows + i]);
        strbuf_str(out, "</row>");
    }
    strbuf_str(out, "</data></xport>\n");
}

void rrd_write_table(const struct rrd_table *t, bool json, struct strbuf *out)
{
    (json ? table_json : table_xml)(t, out);
}

/* ---- a whole RRD ------------------------------------------------------------------------------------------------- */

static void put_source(const struct rrd_source *s, bool json, struct strbuf *out)
{
    strbuf_str(out, json ? "{" : "<ds>");
    put_named_text(out, json, "name", s->name);
    put_named_text(out, json, "type", rrd_type_name[s->type]);
    put_named_number(out, json, "minimal_heartbeat", RRD_HEARTBEAT_S);
    put_named_number(out, json, "min", s->min);
    put_named_number(out, json, "max", s->max);
    put_named_number(out, json, "last_ds", s->last);
    put_named_number(out, json, "value", s->pdp_value);
    put_named_number(out, json, "unknown_sec", s->pdp_unknown_s);
    strbuf_str(out, json ? "}" : "</ds>");
}

static void put_prep(const struct rrd_prep *p, bool json, struct strbuf *out)
{
    strbuf_str(out, json ? "{" : "<ds>");
    put_named_number(out, json, "primary_value", 0);
    put_named_number(out, json, "secondary_value", 0);
    put_named_number(out, json, "value", p->value);
    put_named_number(out, json, "unknown_datapoints", p->unknown);
    strbuf_str(out, json ? "}" : "</ds>");
}

/* The sources that have rows, one after another: separators are between them. */
static const struct rrd_source *next_recorded(const struct rrd *r, size_t *at)
{
    while (*at < r->n)
        if (r->sources[(*at)++].enabled) return &r->sources[*at - 1];
    return NULL;
}

static void put_row(const struct rrd *r, enum rrd_cf cf, unsigned archive, int64_t row, bool json, struct strbuf *out)
{
    bool first = true;

    strbuf_str(out, json ? "[" : "<row>");
    for (size_t at = 0; at < r->n; first = false) {
        const struct rrd_source *s = next_recorded(r, &at);
        if (!s) break;
        if (json) strbuf_str(out, first ? "\"" : ",\"");
        else strbuf_str(out, "<v>");
        put_number(out, rrd_row(r, s, cf, archive, row));
        strbuf_str(out, json ? "\"" : "</v>");
    }
    strbuf_str(out, json ? "]" : "</row>");
}

static void put_archive(const struct rrd *r, enum rrd_cf cf, unsigned archive, bool json, struct strbuf *out)
{
    int64_t last = rrd_last_row(r, archive), rows = rrd_archives[archive].rows;
    const struct rrd_source *s;

    strbuf_str(out, json ? "{" : "<rra>");
    put_named_text(out, json, "cf", rrd_cf_name[cf]);
    put_named_number(out, json, "pdp_per_row", rrd_archives[archive].pdp_per_row);
    strbuf_str(out, json ? ",\"params\":{\"xff\":\"0.5\"},\"cdp_prep\":{\"ds\":["
                         : "<params><xff>0.5</xff></params><cdp_prep>");
    for (size_t at = 0, i = 0; (s = next_recorded(r, &at)); i++) {
        if (json && i) strbuf_char(out, ',');
        put_prep(&s->prep[cf * RRD_ARCHIVES + archive], json, out);
    }
    strbuf_str(out, json ? "]},\"database\":[" : "</cdp_prep><database>");
    for (int64_t row = last - rows + 1; row <= last; row++) {
        if (json && row > last - rows + 1) strbuf_char(out, ',');
        put_row(r, cf, archive, row, json, out);
    }
    strbuf_str(out, json ? "]}" : "</database></rra>");
}

void rrd_write_full(const struct rrd *r, bool json, struct strbuf *out)
{
    const struct rrd_source *s;

    strbuf_str(out, json ? "{" : "<?xml version=\"1.0\"?>\n<rrd>");
    put_named_text(out, json, "version", "0003");
    put_named_number(out, json, "step", RRD_STEP_S);
    put_named_number(out, json, "lastupdate", (double)(r->last_us / US_PER_S));
    if (json) strbuf_str(out, ",\"ds\":[");
    for (size_t at = 0, i = 0; (s = next_recorded(r, &at)); i++) {
        if (json && i) strbuf_char(out, ',');
        put_source(s, json, out);
    }
    if (json) strbuf_str(out, "],\"rra\":[");
    for (unsigned cf = 0; cf < r->n_cfs; cf++)
        for (unsigned a = 0; a < RRD_ARCHIVES; a++) {
            if (json && (cf || a)) strbuf_char(out, ',');
            put_archive(r, (enum rrd_cf)cf, a, json, out);
        }
    strbuf_str(out, json ? "]}" : "</rrd>\n");
}

/* ---- OpenMetrics ------------------------------------------------------------------------------------------------- */

/* A source's name taken apart: "vif_0_rx" is family "vif_rx" of device "0", "cpu3" is family "cpu" of cpu "3". */
struct line {
    const char *family, *label, *which;   /* label NULL = none */
    const struct rrd_value *value;
};

static const char *clean(struct arena *a, const char *name)
{
    char *copy = arena_strdup(a, name);

    for (char *p = copy; *p; p++)
        if (!isalnum((unsigned char)*p) || (unsigned char)*p > 0x7f) *p = '_';
    return copy;
}

static struct line dissect(struct arena *a, const struct rrd_value *v)
{
    static const char *const devices[] = { "vif_", "vbd_", "pif_" };
    const char *kind = rrd_kind_name[v->kind];

    if (has_prefix(v->name, "cpu") && isdigit((unsigned char)v->name[3]))
        return (struct line){ arena_printf(a, "xapi_%s_cpu", kind), "cpu", v->name + 3, v };
    for (size_t i = 0; i < ARRAY_SIZE(devices); i++) {
        const char *device = v->name + 4, *rest = has_prefix(v->name, devices[i]) ? strchr(device, '_') : NULL;
        if (!rest || has_prefix(device, "aggr_")) continue;
        return (struct line){ clean(a, arena_printf(a, "xapi_%s_%s%s", kind, devices[i], rest + 1)), "device",
                              arena_strndup(a, device, (size_t)(rest - device)), v };
    }
    return (struct line){ clean(a, arena_printf(a, "xapi_%s_%s", kind, v->name)), NULL, NULL, v };
}

static int compare_lines(const void *a, const void *b)
{
    const struct line *x = a, *y = b;
    int rc = strcmp(x->family, y->family);

    if (!rc) rc = strcmp(x->value->uuid, y->value->uuid);
    return rc ? rc : strcmp(x->value->name, y->value->name);
}

static void put_label(struct strbuf *out, const char *text)
{
    for (const char *p = text; *p; p++) {
        if (*p == '"' || *p == '\\') strbuf_char(out, '\\');
        if (*p == '\n') strbuf_str(out, "\\n");
        else strbuf_char(out, *p);
    }
}

void rrd_write_openmetrics(struct rrd_value *values, size_t n, struct arena *a, struct strbuf *out)
{
    struct line *lines = arena_new_array(a, struct line, n + 1);

    for (size_t i = 0; i < n; i++) lines[i] = dissect(a, &values[i]);
    qsort(lines, n, sizeof(*lines), compare_lines);
    for (size_t i = 0; i < n; i++) {
        const struct line *l = &lines[i];
        if (!i || !streq(l->family, lines[i - 1].family)) {
            strbuf_printf(out, "# TYPE %s gauge\n", l->family);
            if (*l->value->description) strbuf_printf(out, "# HELP %s %s\n", l->family, l->value->description);
        }
        strbuf_printf(out, "%s{uuid=\"%s\"", l->family, l->value->uuid);
        if (l->label) {
            strbuf_printf(out, ",%s=\"", l->label);
            put_label(out, l->which);
            strbuf_char(out, '"');
        }
        strbuf_str(out, "} ");
        put_number(out, l->value->value);
        strbuf_char(out, '\n');
    }
    strbuf_str(out, "# EOF\n");
}
