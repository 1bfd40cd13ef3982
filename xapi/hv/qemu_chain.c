/* What a running QEMU has open below an image: opened anew.
 * Called by: qemu_chain.h names them.  Calls: QEMU's machine protocol.
 *
 * QEMU reads an image's tables once. What is merged into an image while QEMU has it open below another is not seen there, which
 * harms nobody as long as the image that it came from is asked first; and that one stays open, and on the disk, until then. So the whole
 * chain below the guest's own image is opened a second time, as it is now, and put under that image in one step. */
#include "xapi/hv/qemu_chain.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "lib/json.h"
#include "lib/strbuf.h"

enum { MAX_NAME = 1023, NODE_TEXT = 32, MAX_CHAIN = 1024 };
#define OURS "xapi-below-"

/* ---- the head of a qcow2 --------------------------------------------------------------------- */

static uint64_t big_endian(const unsigned char *p, size_t n)
{
    uint64_t v = 0;

    for (size_t i = 0; i < n; i++) v = v << 8 | p[i];
    return v;
}

/* Path of what an image stands on; NULL + no failure: nothing. */
static int read_below(const char *path, struct arena *a, const char **ret_below, struct hv_failure *f)
{
    static const unsigned char magic[4] = { 'Q', 'F', 'I', 0xfb };
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    unsigned char head[20];

    *ret_below = NULL;
    if (fd < 0 || pread(fd, head, sizeof head, 0) != (ssize_t)sizeof head || memcmp(head, magic, sizeof magic) != 0)
        return hv_fail(f, HV_FAIL_ENGINE, "%s: no image of QEMU's", path);
    const uint64_t at = big_endian(head + 8, 8), n = big_endian(head + 16, 4);
    if (!at || !n) return 0;
    char *name = arena_zalloc(a, MAX_NAME + 1);
    if (n > MAX_NAME || at > INT64_MAX - n || pread(fd, name, n, (off_t)at) != (ssize_t)n)
        return hv_fail(f, HV_FAIL_ENGINE, "%s: its head says nothing sensible", path);
    const char *slash = strrchr(path, '/');
    *ret_below = *name == '/' || !slash ? name : arena_printf(a, "%.*s/%s", (int)(slash - path), path, name);
    return 0;
}

/* ---- the graph ------------------------------------------------------------------------------- */

struct graph {
    const struct value *nodes, *edges;
};

static int read_graph(const struct qemu_way *q, struct arena *a, struct graph *ret_graph, struct hv_failure *f)
{
    struct value *v = arena_alloc(a, sizeof *v);

    if (q->run(q->arg, "x-debug-query-block-graph", NULL, a, v, f) < 0) return -1;
    ret_graph->nodes = v->kind == VALUE_MAP ? value_get(v, "nodes") : NULL;
    ret_graph->edges = v->kind == VALUE_MAP ? value_get(v, "edges") : NULL;
    if (!ret_graph->nodes || ret_graph->nodes->kind != VALUE_SET || !ret_graph->edges || ret_graph->edges->kind != VALUE_SET)
        return hv_fail(f, HV_FAIL_ENGINE, "QEMU's graph of images is none");
    return 0;
}

static int64_t int_of(const struct value *map, const char *key)
{
    const struct value *v = value_get(map, key);

    return v && v->kind == VALUE_INT ? v->i : -1;
}

static bool is_true(const struct value *map, const char *key)
{
    const struct value *v = map ? value_get(map, key) : NULL;

    return v && v->kind == VALUE_BOOL && v->b;
}

static bool is_text(const struct value *map, const char *key, const char *text)
{
    return map->kind == VALUE_MAP && streq(value_get_str(map, key, ""), text);
}

/* -1: there is none of this name. */
static int64_t node_id(const struct graph *g, const char *name)
{
    for (size_t i = 0; i < g->nodes->set.n; i++) {
        const struct value *node = &g->nodes->set.items[i];
        if (is_text(node, "type", "block-driver") && is_text(node, "name", name)) return int_of(node, "id");
    }
    return -1;
}

/* "": there is none. */
static const char *node_name(const struct graph *g, int64_t id)
{
    for (size_t i = 0; id >= 0 && i < g->nodes->set.n; i++) {
        const struct value *node = &g->nodes->set.items[i];
        if (node->kind == VALUE_MAP && int_of(node, "id") == id) return value_get_str(node, "name", "");
    }
    return "";
}

/* What a node has as its "file" or "backing"; -1: nothing. */
static int64_t child_of(const struct graph *g, int64_t id, const char *role)
{
    for (size_t i = 0; i < g->edges->set.n; i++) {
        const struct value *edge = &g->edges->set.items[i];
        if (is_text(edge, "name", role) && int_of(edge, "parent") == id) return int_of(edge, "child");
    }
    return -1;
}

/* ---- commands -------------------------------------------------------------------------------- */

/* Its owner is this protocol: nodes that QEMU named itself go with what stands on them. */
static void delete_node(const struct qemu_way *q, const char *name, struct arena *a)
{
    struct hv_failure in_use = { .kind = HV_FAIL_NONE };
    struct value ignored;

    if (!*name || *name == '#') return;
    q->run(q->arg, "blockdev-del", arena_printf(a, "{\"node-name\":\"%s\"}", name), a, &ignored, &in_use);
}

/* How the node is opened now: what blockdev-reopen is not told goes back to defaults. */
static const struct value *describe(const struct qemu_way *q, const char *node, struct arena *a, struct hv_failure *f)
{
    struct value *all = arena_alloc(a, sizeof *all);

    if (q->run(q->arg, "query-named-block-nodes", "{\"flat\":true}", a, all, f) < 0) return NULL;
    for (size_t i = 0; all->kind == VALUE_SET && i < all->set.n; i++)
        if (is_text(&all->set.items[i], "node-name", node)) return &all->set.items[i];
    hv_fail(f, HV_FAIL_ENGINE, "QEMU does not describe the node %s", node);
    return NULL;
}

static const char *text_of(bool yes) { return yes ? "true" : "false"; }

static const char *quoted(struct arena *a, const char *text)
{
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
    const struct value v = value_string(text);

    json_encode_value(&v, &b);
    return arena_strdup(a, strbuf_cstr(&b));
}

static int open_below(const struct qemu_way *q, const char *name, const char *path, bool direct, struct arena *a, struct hv_failure *f)
{
    struct stat st;
    const bool block = stat(path, &st) == 0 && S_ISBLK(st.st_mode);
    const char *file = arena_printf(a, "{\"driver\":\"%s\",\"filename\":%s,\"read-only\":true,\"cache\":{\"direct\":%s}}",
                                    block ? "host_device" : "file", quoted(a, path), text_of(direct));
    struct value ignored;

    return q->run(q->arg, "blockdev-add",
                  arena_printf(a, "{\"driver\":\"qcow2\",\"node-name\":\"%s\",\"read-only\":true,\"cache\":{\"direct\":%s},\"file\":%s}",
                               name, text_of(direct), file),
                  a, &ignored, f);
}

/* QEMU keeps the name that it has read in the image's head at first, and would write it back with the whole head: when a bitmap is kept
 * in the image, which we never ask for. Growing and closing it leave the name alone. */
static int put_under(const struct qemu_way *q, const char *node, const char *file, const char *below, const struct value *now,
                     struct arena *a, struct hv_failure *f)
{
    const struct value *cache = value_get(now, "cache");
    struct value ignored;

    if (cache && cache->kind != VALUE_MAP) cache = NULL;
    const char *caching =
        arena_printf(a, "{\"direct\":%s,\"no-flush\":%s}", text_of(is_true(cache, "direct")), text_of(is_true(cache, "no-flush")));
    const char *how = arena_printf(a, "\"read-only\":%s,\"discard\":\"unmap\",\"detect-zeroes\":\"%s\",\"cache\":%s",
                                   text_of(is_true(now, "ro")), value_get_str(now, "detect_zeroes", "off"), caching);
    const char *what = arena_printf(a, "{\"driver\":\"qcow2\",\"node-name\":\"%s\",%s,\"file\":\"%s\",\"backing\":\"%s\"}",
                                    node, how, file, below);
    return q->run(q->arg, "blockdev-reopen", arena_printf(a, "{\"options\":[%s]}", what), a, &ignored, f);
}

/* ---- the whole ------------------------------------------------------------------------------- */

int qemu_chain_reopen(const struct qemu_way *q, const char *node, const char *path, struct hv_failure *f)
{
    _cleanup_arena_ struct arena *a = arena_new();
    const char *below, *old[MAX_CHAIN * 2];
    char name[NODE_TEXT], unique[UUID_TEXT];
    struct graph g;
    size_t n = 0;

    if (read_below(path, a, &below, f) < 0 || read_graph(q, a, &g, f) < 0) return -1;
    const int64_t top = node_id(&g, node);
    const char *file = node_name(&g, child_of(&g, top, "file"));
    if (!*file) return hv_fail(f, HV_FAIL_ENGINE, "QEMU has no node %s", node);
    if (!below) return 0;
    const struct value *now = describe(q, node, a, f);
    if (!now) return -1;
    for (int64_t at = child_of(&g, top, "backing"); at >= 0 && n < ARRAY_SIZE(old); at = child_of(&g, at, "backing")) {
        old[n++] = node_name(&g, at);
        old[n++] = node_name(&g, child_of(&g, at, "file"));
    }

    snprintf(name, sizeof name, OURS "%.8s", uuid_new(unique));
    const struct value *cache = value_get(now, "cache");
    if (open_below(q, name, below, cache && cache->kind == VALUE_MAP && is_true(cache, "direct"), a, f) < 0) return -1;
    if (put_under(q, node, file, name, now, a, f) < 0) {
        delete_node(q, name, a);
        return -1;
    }
    for (size_t i = 0; i < n; i++) delete_node(q, old[i], a);
    return 0;
}

void qemu_chain_sweep(const struct qemu_way *q)
{
    _cleanup_arena_ struct arena *a = arena_new();
    struct hv_failure ignored = { .kind = HV_FAIL_NONE };
    struct graph g;

    if (read_graph(q, a, &g, &ignored) < 0) return;
    for (size_t i = 0; i < g.nodes->set.n; i++) {
        const struct value *v = &g.nodes->set.items[i];
        const char *name = v->kind == VALUE_MAP ? value_get_str(v, "name", "") : "";
        if (has_prefix(name, OURS)) delete_node(q, name, a);
    }
}
