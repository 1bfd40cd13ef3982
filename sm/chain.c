/* Images of a repository and what stands on what.
 * Called by: dir*.c, lvhd*.c.  Calls: lib. */
#include "sm/chain.h"

#include "lib/map.h"

void images_add(struct images *s, const struct image *im)
{
    if (s->n == s->cap) {
        s->cap = s->cap ? s->cap * 2 : 64;
        s->list = xrealloc(s->list, s->cap * sizeof(*s->list));
    }
    s->list[s->n++] = *im;
}

void images_free(struct images *s) { free(s->list); }

const struct image *chain_find(const struct images *all, const char *uuid)
{
    for (size_t i = 0; i < all->n; i++)
        if (streq(all->list[i].uuid, uuid)) return &all->list[i];
    return NULL;
}

bool chain_has_children(const struct images *all, const char *base, const char *but_name)
{
    for (size_t i = 0; i < all->n; i++)
        if (streq(all->list[i].parent, base) && !streq(all->list[i].name, but_name)) return true;
    return false;
}

bool chain_readable(const struct images *all)
{
    for (size_t i = 0; i < all->n; i++)
        if (all->list[i].broken) return false;
    return true;
}

struct map *chain_parents(const struct images *all)
{
    struct map *parents = map_new();

    for (size_t i = 0; i < all->n; i++)
        if (*all->list[i].parent) map_put(parents, all->list[i].parent, parents);
    return parents;
}

void chain_hide_bases(struct images *all)
{
    _cleanup_(map_freep) struct map *parents = chain_parents(all);

    for (size_t i = 0; i < all->n; i++)
        if (all->list[i].format->marks_hidden && map_get(parents, all->list[i].uuid))
            all->list[i].hidden = true;
}

bool chain_is_attached(const struct sm *sm, const char *uuid)
{
    const struct value *list = value_get(&sm->request, "attached");

    for (size_t i = 0; list && list->kind == VALUE_SET && i < list->set.n; i++)
        if (list->set.items[i].kind == VALUE_STRING && streq(list->set.items[i].s, uuid)) return true;
    return false;
}

bool chain_can_merge(const struct sm *sm, const struct images *all, const struct image *top)
{
    const struct image *base = *top->parent ? chain_find(all, top->parent) : NULL;

    if (!base || !base->hidden || base->format != top->format || top->merged) return false;
    for (size_t i = 0; i < all->n; i++) {
        const struct image *im = &all->list[i];
        if (!streq(im->parent, base->uuid) || streq(im->name, top->name)) continue;
        /* Who still has it open reads all that top has from top. A disk takes its base's place: only alone. */
        if (!top->hidden || !im->merged || chain_has_children(all, im->uuid, "")) return false;
    }
    return top->hidden ? chain_has_children(all, top->uuid, "") : !chain_is_attached(sm, top->uuid);
}
