/* Which command somebody may have meant: the nearest names to one that there is not.
 * Called by: cmd.c.  Calls: commands. */
#include "xe/commands.h"

enum { MAX_NAME = 80, MAX_NAMES = 3 };

/* Letters to insert, drop, change or swap with their neighbour, to make one text of the other. */
static unsigned distance(const char *a, const char *b)
{
    unsigned rows[3][MAX_NAME + 1], *before = rows[0], *last = rows[1], *now = rows[2];
    size_t n = strlen(a), m = strlen(b);

    for (size_t k = 0; k <= m; k++) last[k] = (unsigned)k;
    for (size_t i = 1; i <= n; i++) {
        unsigned *swap = before;

        now[0] = (unsigned)i;
        for (size_t k = 1; k <= m; k++) {
            unsigned best = last[k - 1] + (a[i - 1] != b[k - 1]);

            if (last[k] + 1 < best) best = last[k] + 1;
            if (now[k - 1] + 1 < best) best = now[k - 1] + 1;
            if (i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1] && before[k - 2] + 1 < best)
                best = before[k - 2] + 1;
            now[k] = best;
        }
        before = last;
        last = now;
        now = swap;
    }
    return last[m];
}

static bool has_word(const char *text, const char *word, size_t n)
{
    for (const char *p = text; *p; p += strcspn(p, "-"), p += *p == '-')
        if (strncmp(p, word, n) == 0 && (p[n] == '-' || !p[n])) return true;
    return false;
}

/* "list-vm" and "vm-list". */
static bool same_words(const char *a, const char *b)
{
    if (strlen(a) != strlen(b)) return false;
    for (const char *p = a; *p; p += strcspn(p, "-"), p += *p == '-')
        if (!has_word(b, p, strcspn(p, "-"))) return false;
    return true;
}

struct nearest {
    const char *name, *names[MAX_NAMES];
    unsigned distance;                 /* of those found so far, or what is too far */
    size_t n;
};

static void consider(struct nearest *best, const char *name)
{
    unsigned d;

    if (strlen(name) > MAX_NAME) return;
    d = same_words(best->name, name) ? 1 : distance(best->name, name);
    if (d > best->distance || (d == best->distance && best->n == MAX_NAMES)) return;
    if (d < best->distance) best->n = 0;
    best->distance = d;
    best->names[best->n++] = name;
}

const char *cmd_suggest(struct cmd *c, const char *name)
{
    struct nearest best = { .name = name };
    _cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
    size_t n = strlen(name);

    if (n < 3 || n > MAX_NAME) return NULL;
    best.distance = n < 8 ? 2 : 3;
    for (size_t i = 0; i < n_commands; i++)
        if (!(commands[i].flags & COMMAND_HIDDEN)) consider(&best, commands[i].name);
    for (const struct xe_record *r = xe_records; r->name; r++)
        for (int v = 0; v < N_VERBS; v++) {
            const struct command *command = cmd_record_command(r, (enum cmd_verb)v, c->arena);

            if (command) consider(&best, command->name);
        }
    if (!best.n) return NULL;
    for (size_t i = 0; i < best.n; i++)
        strbuf_printf(&b, "%s%s", !i ? "" : i + 1 == best.n ? cmd_tr(c, " or ") : ", ", best.names[i]);
    return arena_strdup(c->arena, strbuf_cstr(&b));
}
