/* Which programs logged in lately: class host, get_tracked_user_agents.
 * Called by: http/post_rpc.c, the generated thunks (schema/host.xml).  Calls: lib. */
#include "xapi/user_agents.h"

#include <ctype.h>
#include <pthread.h>

#include "gen/methods.h"
#include "lib/limits.h"
#include "xapi/host.h"

enum { NAME_MAX_BYTES = 64, VERSION_MAX_BYTES = 64 };

struct seen {
    char name[NAME_MAX_BYTES + 1], version[VERSION_MAX_BYTES + 1];
};

struct user_agents {
    pthread_mutex_t lock;
    size_t n;                              /* lock */
    struct seen items[LIMIT_USER_AGENTS];    /* lock; the one seen last at the end */
};

struct user_agents *user_agents_new(void)
{
    struct user_agents *all = xcalloc(1, sizeof(*all));

    pthread_mutex_init(&all->lock, NULL);
    return all;
}

void user_agents_free(struct user_agents *all)
{
    if (!all) return;
    pthread_mutex_destroy(&all->lock);
    free(all);
}

/* Printable characters up to a delimiter; the length that was read. */
static size_t word(const char *from, char until, char *to, size_t max)
{
    size_t n = 0;

    while (isgraph((unsigned char)from[n]) && from[n] != until) {
        if (n < max) to[n] = from[n];
        n++;
    }
    to[n < max ? n : max] = '\0';
    return n;
}

void user_agents_note(struct user_agents *all, const char *user_agent)
{
    struct seen new;
    size_t i = 0;

    if (!user_agent) return;
    size_t n = word(user_agent, '/', new.name, NAME_MAX_BYTES);
    word(user_agent + n + (user_agent[n] == '/'), '\0', new.version, VERSION_MAX_BYTES);
    if (!n) return;
    pthread_mutex_lock(&all->lock);
    while (i < all->n && !streq(all->items[i].name, new.name)) i++;
    if (i == LIMIT_USER_AGENTS) i = 0;
    else if (i == all->n) all->n++;
    memmove(&all->items[i], &all->items[i + 1], (all->n - 1 - i) * sizeof(new));
    all->items[all->n - 1] = new;
    pthread_mutex_unlock(&all->lock);
}

struct value user_agents_list(struct user_agents *all, struct arena *a)
{
    struct value_builder map = value_builder(a);

    pthread_mutex_lock(&all->lock);
    for (size_t i = 0; i < all->n; i++)
        value_put_new(&map, arena_strdup(a, all->items[i].name), value_string(arena_strdup(a, all->items[i].version)));
    pthread_mutex_unlock(&all->lock);
    return value_built_map(&map);
}

int host_get_tracked_user_agents(struct call *c, struct ref self, struct value *ret_result, struct xerr *err)
{
    if (host_need_self(c, self, err)) return -1;
    *ret_result = user_agents_list(c->agent->user_agents, c->arena);
    return 0;
}
