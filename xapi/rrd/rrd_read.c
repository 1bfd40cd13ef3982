/* A whole RRD as XML, read back.
 * Called by: http/metrics.c, tests.  Calls: rrd.c, libxml2.
 *
 * Read element by element, without a tree: a year of a large VM is megabytes. */
#include "xapi/rrd/rrd_read.h"

#include <libxml/xmlreader.h>
#include <math.h>

#include "lib/limits.h"
#include "lib/num.h"

#define US_PER_S INT64_C(1000000)

/* Where in the document we are, by the names that matter. */
struct reader {
    xmlTextReader *xml;
    struct rrd *rrd;
    int64_t last_s;
    size_t n;                         /* sources */
    char name[RRD_NAME_MAX + 1];
    enum rrd_type type;
    /* the archive under way */
    int cf, archive;                  /* -1 = one that we do not keep */
    int64_t row;                      /* of the document's rows, counted from the first */
    size_t column;
    float *rows;                      /* [row][column], as they come */
    size_t n_rows, cap_rows;
    const char *why;
};

static int bad(struct reader *r, const char *why)
{
    if (!r->why) r->why = why;
    return -1;
}

static double number(const char *text)
{
    double d;

    return num_parse_float(text, &d) ? d : NAN;
}

static int index_of(const char *const *names, int n, const char *text)
{
    for (int i = 0; i < n; i++)
        if (streq(names[i], text)) return i;
    return -1;
}

static int need_rrd(struct reader *r)
{
    if (r->rrd) return 0;
    if (r->last_s <= 0) return bad(r, "lastupdate is missing");
    if (r->last_s > RRD_LAST_S_MAX) return bad(r, "lastupdate is no time");
    r->rrd = rrd_new(RRD_CFS, r->last_s * US_PER_S);
    return 0;
}

static int end_source(struct reader *r)
{
    if (need_rrd(r)) return -1;
    if (!r->name[0] || r->n == LIMIT_RRD_SOURCES) return bad(r, "a data source without name, or too many of them");
    if (rrd_find(r->rrd, r->name)) return bad(r, "two data sources of one name");
    /* Adding moves the ones before: their places are looked up when all are there. */
    if (!rrd_add(r->rrd, r->name, r->type)) return bad(r, "too many data sources");
    r->n++;
    r->name[0] = '\0';
    return 0;
}

static int add_value(struct reader *r, double v)
{
    if (r->column >= r->n) return bad(r, "a row with more values than sources");
    size_t at = (size_t)r->row * r->n + r->column++;
    if (at >= r->cap_rows) {
        r->cap_rows = r->cap_rows ? 2 * r->cap_rows : 4096;
        r->rows = xrealloc(r->rows, r->cap_rows * sizeof(*r->rows));
    }
    r->rows[at] = (float)v;
    r->n_rows = at + 1;
    return 0;
}

/* The rows of an archive, oldest first; the last one ended when the archive was updated last. */
static int end_archive(struct reader *r)
{
    if (r->cf < 0 || r->archive < 0 || !r->n) return 0;
    if (need_rrd(r)) return -1;
    int64_t last = rrd_last_row(r->rrd, (unsigned)r->archive), n = r->row;
    for (size_t k = 0; k < r->n; k++) {
        struct rrd_source *s = &r->rrd->sources[k];
        for (int64_t i = 0; i < n; i++)
            rrd_set_row(r->rrd, s, (enum rrd_cf)r->cf, (unsigned)r->archive, last - n + 1 + i,
                        (double)r->rows[(size_t)i * r->n + k]);
    }
    return 0;
}

static int leaf(struct reader *r, const char *parent, const char *name, const char *text)
{
    int64_t i;

    if (streq(parent, "rrd") && streq(name, "lastupdate")) {
        if (!num_parse_int(text, &r->last_s)) return bad(r, "lastupdate is no number");
    } else if (streq(parent, "rrd") && streq(name, "step")) {
        if (!num_parse_int(text, &i) || i != RRD_STEP_S) return bad(r, "the step is not five seconds");
    } else if (streq(parent, "ds") && streq(name, "name")) {
        if (strlen(text) > RRD_NAME_MAX) return bad(r, "the name of a data source is too long");
        memcpy(r->name, text, strlen(text) + 1);
    } else if (streq(parent, "ds") && streq(name, "type")) {
        int type = index_of(rrd_type_name, RRD_ABSOLUTE + 1, text);
        if (type < 0) return bad(r, "a data source of an unknown type");
        r->type = (enum rrd_type)type;
    } else if (streq(parent, "rra") && streq(name, "cf")) {
        r->cf = index_of(rrd_cf_name, RRD_CFS, text);
    } else if (streq(parent, "rra") && streq(name, "pdp_per_row")) {
        r->archive = -1;
        if (!num_parse_int(text, &i)) return bad(r, "pdp_per_row is no number");
        for (unsigned a = 0; a < RRD_ARCHIVES; a++)
            if (rrd_archives[a].pdp_per_row == i) r->archive = (int)a;
    } else if (streq(parent, "row") && streq(name, "v")) {
        return add_value(r, number(text));
    }
    return 0;
}

static int begin(struct reader *r, const char *parent, const char *name)
{
    if (streq(name, "rra")) {
        r->cf = r->archive = -1;
        r->row = 0;
        r->n_rows = 0;
    } else if (streq(name, "row")) {
        if (r->row >= INT64_C(100000)) return bad(r, "an archive of too many rows");
        r->column = 0;
    }
    (void)parent;
    return 0;
}

static int finish(struct reader *r, const char *parent, const char *name)
{
    if (streq(parent, "rrd") && streq(name, "ds")) return end_source(r);
    if (streq(name, "row")) {
        if (r->column != r->n) return bad(r, "a row with fewer values than sources");
        r->row++;
    }
    return streq(name, "rra") ? end_archive(r) : 0;
}

enum { DEPTH_MAX = 16, TEXT_MAX = 256 };

/* Walks the document with the path of open elements. */
static int walk(struct reader *r)
{
    char path[DEPTH_MAX][32] = { "" }, text[TEXT_MAX] = "";
    int depth = 0, rc;

    while ((rc = xmlTextReaderRead(r->xml)) == 1) {
        const char *name = (const char *)xmlTextReaderConstName(r->xml);
        const char *value = (const char *)xmlTextReaderConstValue(r->xml);
        switch (xmlTextReaderNodeType(r->xml)) {
        case XML_READER_TYPE_ELEMENT:
            if (depth + 2 > DEPTH_MAX || strlen(name) >= sizeof(path[0])) return bad(r, "elements too deep or too long");
            if (!depth && !streq(name, "rrd")) return bad(r, "the document is no rrd");
            if (begin(r, path[depth], name)) return -1;
            if (xmlTextReaderIsEmptyElement(r->xml)) {
                if (leaf(r, path[depth], name, "") || finish(r, path[depth], name)) return -1;
                break;
            }
            memcpy(path[++depth], name, strlen(name) + 1);
            text[0] = '\0';
            break;
        case XML_READER_TYPE_TEXT:
            if (strlen(value) >= sizeof(text)) return bad(r, "a text that is too long");
            memcpy(text, value, strlen(value) + 1);
            break;
        case XML_READER_TYPE_END_ELEMENT:
            depth--;
            if (leaf(r, path[depth], name, text) || finish(r, path[depth], name)) return -1;
            text[0] = '\0';
            break;
        case XML_READER_TYPE_DOCUMENT_TYPE:
        case XML_READER_TYPE_ENTITY_REFERENCE: return bad(r, "the document has a DTD or entities");
        default: break;
        }
    }
    return rc ? bad(r, "the document is no XML") : 0;
}

struct rrd *rrd_read_full(const char *xml, size_t len, unsigned n_cfs, const char **ret_why)
{
    struct reader *r = xcalloc(1, sizeof(*r));
    struct rrd *made = NULL;

    r->xml = len <= INT32_MAX ? xmlReaderForMemory(xml, (int)len, NULL, "UTF-8",
                                                   XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING)
                              : NULL;
    if (!r->xml || walk(r) || need_rrd(r)) {
        *ret_why = r->why ? r->why : "the document is too large";
        rrd_free(r->rrd);
    } else {
        made = r->rrd;
        rrd_set_cfs(made, n_cfs);
    }
    if (r->xml) xmlFreeTextReader(r->xml);
    free(r->rows);
    free(r);
    return made;
}
