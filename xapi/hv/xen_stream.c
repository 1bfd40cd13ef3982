/* Streams of guests: the xapi-domain that works on one, and what of a guest goes through it besides its memory.
 * Called by: xen_suspend.c, xen_migrate.c, xen_create.c.  Calls: xapi-domain through domain/proto.h, xen_store, lib/json. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>

#include "lib/json.h"
#include "xapi/hv/domain/proto.h"
#include "xapi/hv/xen_int.h"

#define LOG_MODULE "hv"
#include "lib/log.h"

enum { LOOK_MS = 200, END_MS = 5000 };

/* ---- the process ----------------------------------------------------------------------------- */

int xn_stream_begin(struct xn *xn, const char *role, int stream_fd, struct xn_stream *ret_s, struct hv_failure *f)
{
    ret_s->fd = ret_s->peer_fd = -1;
    if (xn_fault("hv.xen.stream", f) < 0) return -1;
    return xn_helper_start(xn, role, stream_fd, &ret_s->child, &ret_s->fd, f);
}

int xn_stream_send(struct xn_stream *s, const void *message, size_t n, struct hv_failure *f)
{
    if (send(s->fd, message, n, MSG_NOSIGNAL) == (ssize_t)n) return 0;
    return hv_fail(f, HV_FAIL_ENGINE, "xapi-domain: %s", strerror(errno));
}

int xn_stream_next(struct xn *xn, const struct xn_guest *g, struct xn_stream *s, int64_t deadline_ms, struct domain_event *ret_e,
                   struct hv_failure *f)
{
    for (;;) {
        struct pollfd p[2] = { { .fd = s->fd, .events = POLLIN }, { .fd = s->peer_fd, .events = POLLIN } };
        if (g && xn_hurry(xn, g)) return hv_fail(f, HV_FAIL_CANCELLED, "something more urgent came");
        if (hv_now_ms() >= deadline_ms) return hv_fail(f, HV_FAIL_TIMEOUT, "the stream takes too long");
        if (poll(p, 2, LOOK_MS) <= 0) continue;
        if (!p[0].revents) {
            /* Whoever has read all of it before the process could say that all is written has no reason to give up. */
            if (xn_has_given_up(s->peer_fd)) return hv_fail(f, HV_FAIL_ENGINE, "the other side has gone");
            s->peer_fd = -1;
            continue;
        }
        ssize_t n = recv(s->fd, ret_e, sizeof *ret_e, MSG_DONTWAIT);
        if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (n != (ssize_t)sizeof *ret_e || ret_e->size != sizeof *ret_e)
            return hv_fail(f, HV_FAIL_ENGINE, "xapi-domain died over the stream");
        ret_e->why[sizeof ret_e->why - 1] = ret_e->text[sizeof ret_e->text - 1] = '\0';
        return 0;
    }
}

void xn_stream_end(struct xn_stream *s)
{
    int status;

    if (s->fd < 0) return;
    close(s->fd);
    s->fd = -1;
    subproc_kill(&s->child, SIGKILL);
    if (subproc_wait(&s->child, END_MS, &status) == 1) subproc_forget(&s->child);
}

/* ---- the head -------------------------------------------------------------------------------- */

static void put_int(struct value_builder *b, const char *key, int64_t i) { value_put_new(b, key, value_int(i)); }

char *xn_head_text(struct xn *xn, const struct xn_guest *g)
{
    _cleanup_arena_ struct arena *a = arena_new();
    struct value_builder b = value_builder(a);
    _cleanup_strbuf_ struct strbuf text = STRBUF_INIT;
    xc_domaininfo_t info;
    int64_t now = xn_dominfo(xn, g, &info) ? (int64_t)info.tot_pages << XC_PAGE_SHIFT : 0;

    value_put_new(&b, "uuid", value_string(g->vm));
    put_int(&b, "type", g->type);
    put_int(&b, "static_max", g->static_max_bytes);
    put_int(&b, "target", g->target_bytes);
    /* Its balloon may be on the way. */
    put_int(&b, "memory", now > g->target_bytes ? now : g->target_bytes);
    put_int(&b, "video", g->video_bytes);
    put_int(&b, "vcpus_max", g->vcpus_max);
    put_int(&b, "vcpus", g->vcpus);
    const struct value v = value_built_map(&b);
    json_encode_value(&v, &text);
    return strbuf_take(&text);
}

static int64_t get_int(const struct value *map, const char *key)
{
    const struct value *v = value_get(map, key);

    return v && v->kind == VALUE_INT ? v->i : -1;
}

/* What is fixed in a guest that runs: the record may have changed while it was an image. */
static int take_head(struct xn_incoming *in, const char *text, struct hv_failure *f)
{
    static const int64_t most = INT64_C(1) << 46;
    _cleanup_arena_ struct arena *a = arena_new();
    struct hv_vm *vm = &in->vm;
    const char *error;
    struct value v;

    if (json_decode(text, strlen(text), a, &v, &error) < 0) return hv_fail(f, HV_FAIL_NO_IMAGE, "its head is damaged: %s", error);
    const int64_t type = get_int(&v, "type"), max = get_int(&v, "static_max");
    const int64_t memory = get_int(&v, "memory"), target = get_int(&v, "target");
    const int64_t video = get_int(&v, "video"), vcpus_max = get_int(&v, "vcpus_max"), vcpus = get_int(&v, "vcpus");
    /* The uuid may be another: a suspended VM can be copied. */
    if (type != (int64_t)vm->domain_type) return hv_fail(f, HV_FAIL_NO_IMAGE, "it is the image of another kind of guest");
    if (max <= 0 || max > most || memory <= 0 || memory > most || target <= 0 || target > memory || video < 0 || video >= target ||
        vcpus < 1 || vcpus > vcpus_max || vcpus_max > 4096)
        return hv_fail(f, HV_FAIL_NO_IMAGE, "its head is damaged");
    vm->memory_static_max_bytes = max;
    vm->memory_target_bytes = target;
    in->held_bytes = memory;
    vm->vcpus_max = (unsigned)vcpus_max;
    vm->vcpus_at_startup = (unsigned)vcpus;
    in->video_bytes = video;
    return 0;
}

/* ---- what the guest wrote into xenstore ------------------------------------------------------ */

static const char *const kept[] = { "data", "attr", "drivers", "feature", "control" };
enum { MAX_DEPTH = 6, MAX_NODES = 512, MAX_CHILDREN = 256, MAX_KEY = 100 };

struct walk {
    struct xst *store;
    struct arena *a;
    struct value_builder nodes;
    size_t room;                         /* bytes that the text may still grow by, reckoned on the high side */
    int64_t domid;
};

static bool key_ok(const char *key)
{
    bool known = false;

    for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
        known |= has_prefix(key, kept[i]) && key[strlen(kept[i])] == '/';
    if (!known || strlen(key) > MAX_KEY || strstr(key, "//") || key[strlen(key) - 1] == '/') return false;
    /* Of what steers it, only that it listens. */
    if (has_prefix(key, "control/") && !has_prefix(key, "control/feature-")) return false;
    for (const char *p = key; *p; p++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-/_@", *p)) return false;
    return true;
}

static int walk(struct walk *w, const char *key, unsigned depth, int64_t deadline_ms, struct hv_failure *f)
{
    const char *const *names, *value;
    size_t n;
    const char *path = XN_P(w->domid, "%s", key);

    if (depth && key_ok(key)) {
        if (xst_get(w->store, path, w->a, &value, deadline_ms, f) < 0) return -1;
        const size_t cost = value ? 6 * strlen(value) + strlen(key) + 8 : 0;
        if (value && cost < w->room && w->nodes.n < MAX_NODES) {
            w->room -= cost;
            value_put_new(&w->nodes, key, value_string(value));
        }
    }
    if (depth >= MAX_DEPTH) return 0;
    if (xst_list(w->store, path, w->a, MAX_CHILDREN, &names, &n, deadline_ms, f) < 0) return -1;
    for (size_t i = 0; i < n && w->nodes.n < MAX_NODES; i++) {
        const char *child = arena_printf(w->a, "%s/%s", key, names[i]);
        if (strlen(child) <= MAX_KEY && walk(w, child, depth + 1, deadline_ms, f) < 0) return -1;
    }
    return 0;
}

char *xn_nodes_read(struct xn *xn, const struct xn_guest *g, size_t max)
{
    _cleanup_arena_ struct arena *a = arena_new();
    _cleanup_strbuf_ struct strbuf text = STRBUF_INIT;
    struct hv_failure f = { .kind = HV_FAIL_NONE };
    struct walk w = { .a = a, .nodes = value_builder(a), .room = max - 16, .domid = g->domid };
    int64_t deadline_ms = hv_now_ms() + XN_STORE_MS;
    int rc = xn_store(xn, deadline_ms, &w.store, &f);

    for (size_t i = 0; rc == 0 && i < ARRAY_SIZE(kept); i++) rc = walk(&w, kept[i], 0, deadline_ms, &f);
    if (w.store) xn_store_done(xn, w.store, false);
    if (rc < 0) log_warn("xen: domain %jd (%s): what it wrote into xenstore stays behind: %s", (intmax_t)g->domid, g->vm, f.why);
    const struct value v = value_built_map(&w.nodes);
    json_encode_value(&v, &text);
    return strbuf_take(&text);
}

int xn_nodes_write(struct xn *xn, const struct xn_guest *g, const char *text, int64_t deadline_ms, struct hv_failure *f)
{
    _cleanup_arena_ struct arena *a = arena_new();
    _cleanup_batch_ struct xst_batch b = XST_BATCH_INIT;
    const char *error;
    struct value v;

    if (!*text) return 0;
    if (json_decode(text, strlen(text), a, &v, &error) < 0 || v.kind != VALUE_MAP)
        return hv_fail(f, HV_FAIL_NO_IMAGE, "the guest's nodes are damaged");
    for (size_t i = 0; i < v.map.n && i < MAX_NODES; i++) {
        const struct member *m = &v.map.members[i];
        if (m->value.kind == VALUE_STRING && key_ok(m->key)) xst_write(&b, XN_P(g->domid, "%s", m->key), m->value.s);
    }
    return b.n ? xn_store_run(xn, &b, deadline_ms, f) : 0;
}

/* ---- a guest that comes ---------------------------------------------------------------------- */

int xn_incoming_begin(struct xn *xn, const struct hv_vm *vm, int fd, int64_t deadline_ms, struct xn_incoming *ret_in,
                      struct hv_failure *f)
{
    struct domain_event *e = xcalloc(1, sizeof *e);
    int rc = -1;

    *ret_in = (struct xn_incoming){ .vm = *vm };
    if (xn_stream_begin(xn, "restore", fd, &ret_in->stream, f) < 0) goto out;
    if (xn_stream_next(xn, NULL, &ret_in->stream, deadline_ms, e, f) < 0) goto out;
    if (e->kind == DOMAIN_HEAD) rc = take_head(ret_in, e->text, f);
    else hv_fail(f, HV_FAIL_NO_IMAGE, "%s", e->why);
out:
    free(e);
    if (rc < 0) xn_incoming_end(ret_in);
    return rc;
}

int xn_incoming_fill(struct xn *xn, struct xn_incoming *in, struct xn_guest *g, int64_t deadline_ms, struct hv_failure *f)
{
    struct domain_event *e = xcalloc(1, sizeof *e);
    struct domain_restore *q = xcalloc(1, sizeof *q);
    _cleanup_free_ char *state = xn_qemu_state(xn, g);
    int rc = -1;

    *q = (struct domain_restore){ .size = sizeof *q, .domid = (uint32_t)g->domid, .store_port = g->store_port,
                                  .console_port = g->console_port };
    snprintf(q->devices, sizeof q->devices, "%s", state);
    if (xn_fault("hv.xen.fill", f) < 0) goto out;
    if (xn_stream_send(&in->stream, q, sizeof *q, f) < 0 || xn_stream_next(xn, g, &in->stream, deadline_ms, e, f) < 0) goto out;
    if (e->kind != DOMAIN_DONE || e->rc < 0) {
        f->code = e->code;
        hv_fail(f, e->code == ENOMEM ? HV_FAIL_NO_MEMORY : HV_FAIL_BUILD, "%s", e->why);
        f->number = xn_free_bytes(xn);
        goto out;
    }
    if (g->type == HV_DOMAIN_HVM && !e->devices) {
        hv_fail(f, HV_FAIL_NO_IMAGE, "the device model's state is missing");
        goto out;
    }
    g->store_frame = e->store_frame;
    g->console_frame = e->console_frame;
    in->devices = e->devices;
    in->nodes = xstrdup(e->text);
    rc = 0;
out:
    free(q);
    free(e);
    return rc;
}

void xn_incoming_end(struct xn_incoming *in)
{
    xn_stream_end(&in->stream);
    free(in->nodes);
    in->nodes = NULL;
}
