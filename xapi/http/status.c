/* The page: tables of records, and what the process itself needs.
 * Called by: the HTTP server.  Calls: db/, the kernel's /proc. */
#include "xapi/http/status.h"

#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>

#include "config.h"
#include "lib/clock.h"
#include "lib/iso8601.h"
#include "lib/xmlrpc.h"
#include "xapi/crash_reports.h"

enum { FIELDS_MAX = 8, ROWS_MAX = 200, PROC_BYTES = 16 << 10 };

struct page {
    struct call *c;
    const struct snap *s;
    struct strbuf out;
};

static void put(struct page *p, const char *element, const char *text)
{
    strbuf_printf(&p->out, "<%s>", element);
    xmlrpc_encode_text(text, strlen(text), &p->out);
    strbuf_printf(&p->out, "</%s>", element);
}

/* ---- fields as people read them -------------------------------------------------------------------------------------------------- */

static const char *name_of(const struct page *p, struct ref ref)
{
    const struct row *row = ref_is_null(ref) ? NULL : snap_find(p->s, ref);
    const struct field_desc *name = row ? model_field_by_name(&model.classes[row_class(row)], "name_label") : NULL;

    return name ? row_field_value(row, name, p->c->arena).s : "";
}

/* Members, as keys or names; how many when they are many. */
static const char *set_text(const struct page *p, const struct value *v)
{
    enum { SHOWN = 4 };
    const char *text = "";

    if (v->set.n > SHOWN) return arena_printf(p->c->arena, "%zu", v->set.n);
    for (size_t i = 0; i < v->set.n; i++) {
        const struct value *item = &v->set.items[i];
        text = arena_printf(p->c->arena, "%s%s%s", text, i ? ", " : "", item->kind == VALUE_REF ? name_of(p, item->ref) : item->s);
    }
    return text;
}

static const char *text_of(const struct page *p, const struct row *row, field_id field)
{
    const struct value v = row_field_value(row, model_field(field), p->c->arena);
    char time[ISO8601_TEXT];

    switch (v.kind) {
    case VALUE_STRING: return v.s;
    case VALUE_INT:
    case VALUE_INT32: return arena_printf(p->c->arena, "%lld", (long long)v.i);
    case VALUE_BOOL: return v.b ? "yes" : "no";
    case VALUE_FLOAT: return arena_printf(p->c->arena, "%.2f", v.d);
    case VALUE_DATETIME:
    case VALUE_LOCALTIME: return arena_strdup(p->c->arena, iso8601_text(v.i, time));
    case VALUE_REF: return name_of(p, v.ref);
    case VALUE_SET: return set_text(p, &v);
    case VALUE_MAP:
    case VALUE_VOID: break;
    }
    return "";
}

/* ---- tables of records ------------------------------------------------------------------------------------------------------------ */

static bool is_guest(const struct row *vm)
{
    return !row_bool(vm, F_VM_is_a_template) && !row_bool(vm, F_VM_is_a_snapshot) && !row_bool(vm, F_VM_is_control_domain);
}

static bool is_pending(const struct row *task)
{
    return row_enum(task, F_task_status) == task_status_type_pending || row_enum(task, F_task_status) == task_status_type_cancelling;
}

static const struct section {
    const char *title;
    enum class_id cls;
    bool (*shown)(const struct row *row);      /* NULL = all */
    field_id newest;                           /* a time by which they are sorted; 0 = by the first field */
    field_id fields[FIELDS_MAX];               /* 0 ends them */
} sections[] = {
    { "Hosts", CLASS_host, NULL, 0,
      { F_host_name_label, F_host_address, F_host_enabled, F_host_current_operations, F_host_edition } },
    { "Memory", CLASS_host_metrics, NULL, 0,
      { F_host_metrics_live, F_host_metrics_memory_total, F_host_metrics_memory_free, F_host_metrics_last_updated } },
    { "Tasks at work", CLASS_task, is_pending, F_task_created,
      { F_task_name_label, F_task_status, F_task_progress, F_task_created, F_task_resident_on } },
    { "Virtual machines", CLASS_VM, is_guest, 0,
      { F_VM_name_label, F_VM_power_state, F_VM_current_operations, F_VM_resident_on, F_VM_VCPUs_at_startup, F_VM_memory_target } },
    { "Storage", CLASS_SR, NULL, 0,
      { F_SR_name_label, F_SR_type, F_SR_current_operations, F_SR_physical_size, F_SR_physical_utilisation, F_SR_virtual_allocation,
        F_SR_VDIs } },
    { "Plugged storage", CLASS_PBD, NULL, 0, { F_PBD_SR, F_PBD_host, F_PBD_currently_attached } },
    { "Interfaces", CLASS_PIF, NULL, 0,
      { F_PIF_device, F_PIF_VLAN, F_PIF_network, F_PIF_currently_attached, F_PIF_management, F_PIF_IP, F_PIF_MAC, F_PIF_MTU } },
    { "Alerts", CLASS_message, NULL, F_message_timestamp,
      { F_message_timestamp, F_message_priority, F_message_name, F_message_body } },
};

struct sorted { const struct row *row; const char *text; int64_t time; };

static int cmp_sorted(const void *a, const void *b)
{
    const struct sorted *x = a, *y = b;

    return x->time == y->time ? strcmp(x->text, y->text) : x->time < y->time ? 1 : -1;
}

static const struct sorted *sort(const struct page *p, const struct section *sec, size_t *ret_n)
{
    struct sorted *rows = arena_new_array(p->c->arena, struct sorted, snap_count(p->s, sec->cls) + 1);
    size_t n = 0;

    SNAP_EACH (p->s, sec->cls, row) {
        if (sec->shown && !sec->shown(row)) continue;
        rows[n].row = row;
        rows[n].time = sec->newest ? row_time(row, sec->newest) : 0;
        rows[n++].text = sec->newest ? "" : text_of(p, row, sec->fields[0]);
    }
    qsort(rows, n, sizeof(*rows), cmp_sorted);
    *ret_n = n;
    return rows;
}

/* ROWS_MAX of them, and how many there are. */
static void put_section(struct page *p, const struct section *sec)
{
    size_t n;
    const struct sorted *rows = sort(p, sec, &n);

    put(p, "h2", sec->title);
    if (!n) {
        put(p, "p", "none");
        return;
    }
    strbuf_str(&p->out, "<table><tr>");
    for (size_t i = 0; i < FIELDS_MAX && sec->fields[i]; i++) put(p, "th", model_field(sec->fields[i])->name);
    strbuf_str(&p->out, "</tr>\n");
    for (size_t k = 0; k < n && k < ROWS_MAX; k++) {
        strbuf_str(&p->out, "<tr>");
        for (size_t i = 0; i < FIELDS_MAX && sec->fields[i]; i++) put(p, "td", text_of(p, rows[k].row, sec->fields[i]));
        strbuf_str(&p->out, "</tr>\n");
    }
    strbuf_str(&p->out, "</table>\n");
    if (n > ROWS_MAX) put(p, "p", arena_printf(p->c->arena, "%d of %zu", ROWS_MAX, n));
}

/* ---- the agent itself -------------------------------------------------------------------------------------------------------------- */

static void put_fact(struct page *p, const char *what, const char *text)
{
    strbuf_str(&p->out, "<tr>");
    put(p, "th", what);
    put(p, "td", text);
    strbuf_str(&p->out, "</tr>\n");
}

static void put_number(struct page *p, const char *what, size_t n)
{
    put_fact(p, what, arena_printf(p->c->arena, "%zu", n));
}

static size_t open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    size_t n = 0;

    for (const struct dirent *e; dir && (e = readdir(dir));) n += e->d_name[0] != '.';
    if (dir) closedir(dir);
    return n;
}

/* A line of /proc/self/status: "VmRSS:", "Threads:". */
static const char *process_fact(const struct page *p, const char *label)
{
    _cleanup_free_ char *text = NULL;
    size_t n;

    if (read_file("/proc/self/status", PROC_BYTES, &text, &n)) return "";
    const char *line = strstr(text, label);
    if (!line) return "";
    line += strlen(label);
    line += strspn(line, " \t");
    return arena_printf(p->c->arena, "%.*s", (int)strcspn(line, "\n"), line);
}

static void put_agent(struct page *p)
{
    const struct row *host = snap_get(p->s, CLASS_host, p->c->agent->host);
    char time[ISO8601_TEXT];
    size_t crashes;

    crash_reports_list(p->c->agent->root, p->c->arena, &crashes);
    put(p, "h2", "Agent");
    strbuf_str(&p->out, "<table>\n");
    put_fact(p, "version", PACKAGE_VERSION);
    put_number(p, "process", (size_t)getpid());
    if (host) put_fact(p, "started", iso8601_text(atoll(row_map_str(host, F_host_other_config, "agent_start_time", "0")), time));
    put_fact(p, "now", iso8601_text(clock_wall_seconds(), time));
    put_fact(p, "memory", process_fact(p, "VmRSS:"));
    put_fact(p, "threads", process_fact(p, "Threads:"));
    put_number(p, "open descriptors", open_descriptors());
    put_number(p, "sessions", snap_count(p->s, CLASS_session));
    put_number(p, "commits that failed since the start", (size_t)db_failures(p->c->agent->db));
    put_number(p, "reports of crashes", crashes);
    strbuf_str(&p->out, "</table>\n");
}

void get_status(struct http_request *req, struct call *c, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    struct page p = { .c = c, .s = s, .out = STRBUF_INIT };

    (void)err;
    strbuf_str(&p.out, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/><title>xapi</title><style>"
                       "body{font-family:sans-serif}table{border-collapse:collapse}"
                       "td,th{border:1px solid #ccc;padding:2px 8px;text-align:left;vertical-align:top}</style></head><body>\n");
    put_agent(&p);
    for (size_t i = 0; i < ARRAY_SIZE(sections); i++) put_section(&p, &sections[i]);
    strbuf_str(&p.out, "</body></html>\n");
    struct http_reply reply = { .status = 200, .body = &p.out, .content_type = "text/html; charset=utf-8",
                                .headers = "Cache-Control: no-store\r\n" };
    http_reply(req, &reply);
}
