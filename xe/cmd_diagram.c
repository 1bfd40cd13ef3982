/* network-diagram: cards, bonds, VLANs, tunnels, networks and the cards of VMs as a tree, as SVG or for Graphviz.
 * Called by: commands.c.  Calls: cmd_call, cmd_print.
 *
 * One list of nodes, each below another, is made of the records; the three pictures are ways to draw it. */
#include "xe/commands.h"

#include <stdio.h>

enum { ROW = 30, INDENT = 34, BOX = 22, CHAR = 8, MARGIN = 10 };   /* of the SVG, in pixels */

enum node_kind { NODE_CARD, NODE_BOND, NODE_VLAN, NODE_TUNNEL, NODE_NETWORK, NODE_VIF, NODE_HOST };
static const char *const colours[] = { "#cfe2f3", "#b4a7d6", "#fff2cc", "#f9cb9c", "#d9ead3", "#eeeeee", "#ffffff" };

struct node {
    enum node_kind kind;
    size_t parent;               /* its place in the list; its own: a root */
    unsigned depth;
    const char *label;
};

struct diagram {
    struct cmd *c;
    struct value pifs, networks, vifs, bonds, vlans, tunnels, hosts;
    struct node *nodes;
    size_t n, room;
};

static size_t add(struct diagram *d, size_t parent, enum node_kind kind, const char *label)
{
    if (d->n == d->room) {
        size_t room = d->room ? d->room * 2 : 64;
        struct node *more = arena_new_array(d->c->arena, struct node, room);
        if (d->n) memcpy(more, d->nodes, d->n * sizeof(*more));
        d->nodes = more;
        d->room = room;
    }
    bool root = parent == SIZE_MAX;
    d->nodes[d->n] = (struct node){ kind, root ? d->n : parent, root ? 0 : d->nodes[parent].depth + 1, label };
    return d->n++;
}

/* ---- what there is ----------------------------------------------------------------------------------- */

/* Records in the order of two of their fields. */
struct order { const char *first, *second; };

static int cmp_members(const struct member *a, const struct member *b, const struct order *o)
{
    int rc = strcmp(cmd_member_text(&a->value, o->first), cmd_member_text(&b->value, o->first));

    return rc || !o->second ? rc : strcmp(cmd_member_text(&a->value, o->second), cmd_member_text(&b->value, o->second));
}

/* By insertion: a host has tens of them. */
static int fetch(struct diagram *d, int cls, const char *first, const char *second, struct value *ret_map, struct xerr *err)
{
    const struct order o = { first, second };
    struct value all;

    if (cmd_all(d->c, cls, NULL, 0, &all, err) < 0) return -1;
    struct member *sorted = arena_new_array(d->c->arena, struct member, all.map.n);
    for (size_t i = 0; i < all.map.n; i++) {
        size_t at = i;
        for (; at > 0 && cmp_members(&sorted[at - 1], &all.map.members[i], &o) > 0; at--) sorted[at] = sorted[at - 1];
        sorted[at] = all.map.members[i];
    }
    *ret_map = value_map(sorted, all.map.n);
    return 0;
}

static bool refers(const struct value *record, const char *field, const char *key)
{
    return streq(REF_STR(cmd_member_ref(record, field)), key);
}

static bool has_any(const struct value *record, const char *field)
{
    const struct value *set = value_get(record, field);

    return set && set->kind == VALUE_SET && set->set.n;
}

/* ---- from records to nodes ---------------------------------------------------------------------------- */

static void add_vifs(struct diagram *d, size_t parent, const char *network)
{
    for (size_t i = 0; i < d->vifs.map.n; i++) {
        const struct value *vif = &d->vifs.map.members[i].value;
        if (!refers(vif, "network", network)) continue;
        const struct value *vm = cmd_object_record(d->c, CLASS_VM, cmd_member_ref(vif, "VM"));
        if (vm && (cmd_member_bool(vm, "is_a_template") || cmd_member_bool(vm, "is_a_snapshot"))) continue;
        add(d, parent, NODE_VIF,
            arena_printf(d->c->arena, "%s: card %s %s%s", vm ? cmd_member_text(vm, "name_label") : "", cmd_member_text(vif, "device"),
                         cmd_member_text(vif, "MAC"), cmd_member_bool(vif, "currently_attached") ? "" : ", not plugged"));
    }
}

static void add_network(struct diagram *d, size_t parent, const struct member *network)
{
    const struct value *r = &network->value;
    size_t at = add(d, parent, NODE_NETWORK, arena_printf(d->c->arena, "network %s: %s", cmd_member_text(r, "bridge"),
                                                           cmd_member_text(r, "name_label")));

    add_vifs(d, at, network->key);
}

static void add_network_of(struct diagram *d, size_t parent, const struct value *pif)
{
    for (size_t i = 0; i < d->networks.map.n; i++)
        if (refers(pif, "network", d->networks.map.members[i].key)) add_network(d, parent, &d->networks.map.members[i]);
}

static const char *pif_label(struct diagram *d, const struct value *pif, const char *name)
{
    const char *ip = cmd_member_text(pif, "IP");

    return arena_printf(d->c->arena, "%s%s%s%s%s%s", name, *cmd_member_text(pif, "MAC") ? " " : "", cmd_member_text(pif, "MAC"),
                        *ip ? " " : "", ip, cmd_member_bool(pif, "management") ? ", management" : "");
}

static void add_above(struct diagram *d, size_t at, const struct member *pif);

/* What stands on an interface: records of a class that name it in one field and what stands there in another. */
static void add_standing(struct diagram *d, size_t at, const char *foot, const struct value *all, const char *below, const char *above,
                         enum node_kind kind)
{
    for (size_t i = 0; i < all->map.n; i++) {
        const struct value *r = &all->map.members[i].value;
        if (!refers(r, below, foot)) continue;
        for (size_t k = 0; k < d->pifs.map.n; k++) {
            const struct member *pif = &d->pifs.map.members[k];
            if (!refers(r, above, pif->key)) continue;
            const char *name = kind == NODE_VLAN ? arena_printf(d->c->arena, "VLAN %d", (int)cmd_member_int(r, "tag"))
                                                 : arena_printf(d->c->arena, "tunnel %s", cmd_member_text(r, "protocol"));
            add_above(d, add(d, at, kind, pif_label(d, &pif->value, name)), pif);
        }
    }
}

static void add_above(struct diagram *d, size_t at, const struct member *pif)
{
    add_network_of(d, at, &pif->value);
    add_standing(d, at, pif->key, &d->vlans, "tagged_PIF", "untagged_PIF", NODE_VLAN);
    add_standing(d, at, pif->key, &d->tunnels, "transport_PIF", "access_PIF", NODE_TUNNEL);
}

/* A bond with its members, then what stands on it. */
static void add_bond(struct diagram *d, size_t host, const struct member *pif)
{
    size_t at = SIZE_MAX;

    for (size_t i = 0; i < d->bonds.map.n; i++) {
        const struct member *bond = &d->bonds.map.members[i];
        if (!refers(&bond->value, "master", pif->key)) continue;
        const char *name = arena_printf(d->c->arena, "bond %s (%s)", cmd_member_text(&pif->value, "device"),
                                        cmd_member_text(&bond->value, "mode"));
        at = add(d, host, NODE_BOND, pif_label(d, &pif->value, name));
        for (size_t k = 0; k < d->pifs.map.n; k++) {
            const struct value *member = &d->pifs.map.members[k].value;
            if (refers(member, "bond_slave_of", bond->key))
                add(d, at, NODE_CARD, pif_label(d, member, cmd_member_text(member, "device")));
        }
    }
    if (at != SIZE_MAX) add_above(d, at, pif);
}

static bool is_member(struct diagram *d, const struct value *pif)
{
    for (size_t i = 0; i < d->bonds.map.n; i++)
        if (refers(pif, "bond_slave_of", d->bonds.map.members[i].key)) return true;
    return false;
}

static void add_host(struct diagram *d, const struct member *host)
{
    size_t at = add(d, SIZE_MAX, NODE_HOST, arena_printf(d->c->arena, "host %s", cmd_member_text(&host->value, "name_label")));

    for (size_t i = 0; i < d->pifs.map.n; i++) {
        const struct member *pif = &d->pifs.map.members[i];
        if (!refers(&pif->value, "host", host->key)) continue;
        if (has_any(&pif->value, "bond_master_of")) add_bond(d, at, pif);
        if (!cmd_member_bool(&pif->value, "physical") || is_member(d, &pif->value)) continue;
        add_above(d, add(d, at, NODE_CARD, pif_label(d, &pif->value, cmd_member_text(&pif->value, "device"))), pif);
    }
}

/* ---- drawing -------------------------------------------------------------------------------------------- */

/* Whether another node below the same one comes later. */
static bool has_next(const struct diagram *d, size_t at)
{
    for (size_t i = at + 1; i < d->n && d->nodes[i].depth >= d->nodes[at].depth; i++)
        if (d->nodes[i].depth == d->nodes[at].depth) return true;
    return false;
}

static void draw_text(struct diagram *d)
{
    for (size_t i = 0; i < d->n; i++) {
        _cleanup_strbuf_ struct strbuf line = STRBUF_INIT;
        size_t above[64] = { 0 };
        unsigned depth = d->nodes[i].depth;
        for (size_t at = i, k = depth; k > 0 && k < ARRAY_SIZE(above); at = d->nodes[at].parent) above[k--] = at;
        for (unsigned k = 1; k < depth; k++) strbuf_str(&line, has_next(d, above[k]) ? "│  " : "   ");
        if (depth) strbuf_str(&line, has_next(d, i) ? "├─ " : "└─ ");
        strbuf_str(&line, d->nodes[i].label);
        cmd_print(d->c, strbuf_cstr(&line));
    }
}

static void draw_dot(struct diagram *d)
{
    cmd_print(d->c, "digraph network {\n  rankdir=LR;\n  node [shape=box, style=filled];");
    for (size_t i = 0; i < d->n; i++) {
        _cleanup_strbuf_ struct strbuf label = STRBUF_INIT;
        const struct node *node = &d->nodes[i];
        for (const char *p = node->label; *p; p++) {
            if (*p == '"' || *p == '\\') strbuf_char(&label, '\\');
            strbuf_char(&label, *p);
        }
        cmd_print(d->c, arena_printf(d->c->arena, "  n%zu [label=\"%s\", fillcolor=\"%s\"];", i, strbuf_cstr(&label), colours[node->kind]));
        if (node->parent != i) cmd_print(d->c, arena_printf(d->c->arena, "  n%zu -> n%zu;", node->parent, i));
    }
    cmd_print(d->c, "}");
}

static void escape_xml(struct strbuf *out, const char *text)
{
    for (const char *p = text; *p; p++) {
        if (*p == '<') strbuf_str(out, "&lt;");
        else if (*p == '&') strbuf_str(out, "&amp;");
        else if (*p == '"') strbuf_str(out, "&quot;");
        else if ((unsigned char)*p >= ' ') strbuf_char(out, *p);
    }
}

static void draw_svg(struct diagram *d)
{
    _cleanup_strbuf_ struct strbuf out = STRBUF_INIT;
    size_t width = 0;

    for (size_t i = 0; i < d->n; i++) {
        size_t right = 2 * MARGIN + d->nodes[i].depth * INDENT + CHAR * (strlen(d->nodes[i].label) + 2);
        if (right > width) width = right;
    }
    strbuf_printf(&out,
                  "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%zu\" height=\"%zu\" font-family=\"monospace\" "
                  "font-size=\"13\">\n",
                  width, 2 * MARGIN + d->n * ROW);
    for (size_t i = 0; i < d->n; i++) {
        const struct node *node = &d->nodes[i];
        size_t x = MARGIN + node->depth * INDENT, y = MARGIN + i * ROW, from = MARGIN + node->parent * ROW + BOX;
        if (node->parent != i)
            strbuf_printf(&out, "<path d=\"M%zu %zuV%zuH%zu\" fill=\"none\" stroke=\"#666\"/>\n", x - INDENT / 2, from, y + BOX / 2, x);
        strbuf_printf(&out,
                      "<rect x=\"%zu\" y=\"%zu\" width=\"%zu\" height=\"%d\" rx=\"3\" fill=\"%s\" stroke=\"#666\"/>"
                      "<text x=\"%zu\" y=\"%zu\">",
                      x, y, CHAR * (strlen(node->label) + 2), BOX, colours[node->kind], x + CHAR, y + BOX - 6);
        escape_xml(&out, node->label);
        strbuf_str(&out, "</text>\n");
    }
    strbuf_str(&out, "</svg>");
    cmd_print(d->c, strbuf_cstr(&out));
}

int cmd_network_diagram(struct cmd *c, struct xerr *err)
{
    static const struct { const char *name; void (*draw)(struct diagram *d); } formats[] = {
        { "text", draw_text }, { "svg", draw_svg }, { "dot", draw_dot },
    };
    struct diagram d = { .c = c };
    const char *format = cmd_get_or(c, "format", "text");
    size_t f = 0;

    while (f < ARRAY_SIZE(formats) && !streq(formats[f].name, format)) f++;
    if (f == ARRAY_SIZE(formats)) return cmd_fail(err, "The format is one of text, svg and dot");
    if (fetch(&d, CLASS_host, "name_label", NULL, &d.hosts, err) || fetch(&d, CLASS_PIF, "device", NULL, &d.pifs, err) ||
        fetch(&d, CLASS_network, "name_label", "bridge", &d.networks, err) || fetch(&d, CLASS_VIF, "MAC", NULL, &d.vifs, err) ||
        fetch(&d, CLASS_Bond, "uuid", NULL, &d.bonds, err) || fetch(&d, CLASS_VLAN, "uuid", NULL, &d.vlans, err) ||
        fetch(&d, CLASS_tunnel, "uuid", NULL, &d.tunnels, err))
        return -1;
    cmd_prefetch(c, CLASS_VM);
    for (size_t i = 0; i < d.hosts.map.n; i++) add_host(&d, &d.hosts.map.members[i]);
    for (size_t i = 0; i < d.networks.map.n; i++)
        if (!has_any(&d.networks.map.members[i].value, "PIFs")) add_network(&d, SIZE_MAX, &d.networks.map.members[i]);
    formats[f].draw(&d);
    return 0;
}
