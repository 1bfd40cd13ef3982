/* What tests do to simulated guests from outside: the files in DIR/poke (sim.h has the commands).
 * Called by: sim.c, sim_run.c.  Calls: sim_table, sim_run. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "lib/strbuf.h"
#include "xapi/hv/sim_run.h"

#define LOG_MODULE "hv"
#include "lib/log.h"

enum { MAX_POKE_BYTES = 1 << 20 };
static const char failed_suffix[] = ".failed";

/* One word of a command; *p moves behind it. NULL at the end. */
static char *next_word(char **p)
{
    char *word;

    do word = strsep(p, " \t\r");
    while (word && !*word);
    return word;
}

static bool parse_int(const char *s, int64_t *ret)
{
    char *end;

    if (!s || !*s) return false;
    errno = 0;
    long long v = strtoll(s, &end, 10);
    if (errno || *end) return false;
    *ret = v;
    return true;
}

static bool alive(const struct sim_domain *dom)
{
    return dom->state == HV_STATE_RUNNING || dom->state == HV_STATE_PAUSED;
}

/* A command about one guest, under the lock. NULL, or why not. */
static const char *poke_one(struct sim *s, struct sim_domain *dom, const char *verb, char *rest)
{
    char *word;
    int64_t bytes;

    if (streq(verb, "kill")) { sim_stop(s, dom, HV_STOP_CRASH); return NULL; }
    if (streq(verb, "deaf")) { dom->deaf = 1; return NULL; }
    if (streq(verb, "hear")) { dom->deaf = 0; return NULL; }
    if (streq(verb, "clutch")) { dom->clutch = 1; return NULL; }
    if (streq(verb, "release")) { dom->clutch = 0; return NULL; }
    if (!alive(dom)) return "it has crashed";
    if (streq(verb, "poweroff")) { sim_stop(s, dom, HV_STOP_POWEROFF); return NULL; }
    if (streq(verb, "reboot")) { sim_restart(s, dom); return NULL; }
    if (streq(verb, "crash")) { sim_crash(s, dom); return NULL; }
    if (streq(verb, "pause")) {
        if (dom->state == HV_STATE_RUNNING) sim_pause(s, dom);
        return NULL;
    }
    if (streq(verb, "unpause")) {
        if (dom->state == HV_STATE_PAUSED) sim_unpause(s, dom);
        return NULL;
    }
    if (streq(verb, "agent")) {
        word = next_word(&rest);
        if (!word || (!streq(word, "on") && !streq(word, "off"))) return "on or off?";
        dom->agent = streq(word, "on");
        sim_event_of(s, dom, HV_EVENT_AGENT);
        return NULL;
    }
    if (streq(verb, "balloon")) {
        if (!parse_int(next_word(&rest), &bytes) || bytes <= 0) return "how many bytes?";
        sim_balloon(s, dom, bytes);
        return NULL;
    }
    return "no such command";
}

static const char *poke_guests(struct sim *s, const char *verb, char *rest)
{
    char *uuid = next_word(&rest);
    const char *why = "no such guest";

    if (!uuid) return "which guest?";
    if (streq(verb, "print")) {
        sim_print(s, uuid, rest ? rest : "");
        return NULL;
    }
    sim_lock(&s->table);
    if (streq(uuid, "all")) {
        why = NULL;
        for (uint32_t i = 0; i < s->table.head->n_slots; i++) {
            struct sim_domain *dom = sim_at(&s->table, i);
            _cleanup_free_ char *words = xstrdup(rest ? rest : "");
            const char *one = dom->state == HV_STATE_NONE ? NULL : poke_one(s, dom, verb, words);
            if (one) why = one;
        }
    } else {
        struct sim_domain *dom = sim_find(&s->table, uuid);
        if (dom) why = poke_one(s, dom, verb, rest);
    }
    sim_unlock(&s->table);
    return why;
}

static const char *poke_set(struct sim *s, char *rest)
{
    char *key = next_word(&rest), *text = next_word(&rest);
    int64_t value;

    if (!key || !parse_int(text, &value) || value < 0) return "set KEY NUMBER";
    sim_lock(&s->table);
    int64_t *setting = sim_setting(&s->table, key);
    if (setting) __atomic_store_n(setting, value, __ATOMIC_RELAXED);
    sim_unlock(&s->table);
    return setting ? NULL : "no such setting";
}

static void poke_lose(struct sim *s, bool lose)
{
    sim_lock(&s->table);
    bool was = s->table.head->lost;
    s->table.head->lost = lose;
    if (was != lose)
        sim_emit(s, &(struct hv_event){ .kind = lose ? HV_EVENT_DRIVER_LOST : HV_EVENT_DRIVER_REGAINED,
                                        .uuid = "" });
    sim_unlock(&s->table);
}

static const char *poke_line(struct sim *s, char *line)
{
    char *rest = line, *verb = next_word(&rest);

    if (!verb || verb[0] == '#') return NULL;
    if (streq(verb, "set")) return poke_set(s, rest);
    if (streq(verb, "lose") || streq(verb, "regain")) {
        poke_lose(s, streq(verb, "lose"));
        return NULL;
    }
    return poke_guests(s, verb, rest);
}

static void poke_file(struct sim *s, const char *name)
{
    _cleanup_free_ char *path = xasprintf("%s/%s", s->poke_dir, name), *text = NULL;
    _cleanup_strbuf_ struct strbuf wrong = STRBUF_INIT;
    char *lines, *line;

    if (read_file(path, MAX_POKE_BYTES, &text, NULL) < 0) {
        if (errno != ENOENT && errno != EISDIR) log_warn("%s: %s", path, strerror(errno));
        return;
    }
    for (lines = text; (line = strsep(&lines, "\n"));) {
        _cleanup_free_ char *shown = xstrdup(line);
        const char *why = poke_line(s, line);
        if (why) strbuf_printf(&wrong, "%s: %s\n", shown, why);
    }
    if (wrong.len) {
        _cleanup_free_ char *failed = xasprintf("%s%s", path, failed_suffix);
        log_warn("poke %s: %s", name, wrong.ptr);
        if (write_file_atomic(failed, wrong.ptr, wrong.len, 0600) < 0)
            log_warn("%s: %s", failed, strerror(errno));
    }
    unlink(path);
}

static int wanted(const struct dirent *e)
{
    size_t n = strlen(e->d_name), suffix = sizeof failed_suffix - 1;

    return e->d_name[0] != '.' && !(n > suffix && streq(e->d_name + n - suffix, failed_suffix)) &&
           !strstr(e->d_name, ".tmp");
}

void sim_poke_drain(struct sim *s)
{
    char buf[64 * (sizeof(struct inotify_event) + NAME_MAX + 1)]
        __attribute__((aligned(__alignof__(struct inotify_event))));

    /* What came says which files are whole; a file still being written is told of when it is closed. */
    for (ssize_t n; (n = read(s->inotify_fd, buf, sizeof buf)) > 0;)
        for (char *p = buf; p < buf + n;) {
            struct inotify_event e;
            struct dirent name;
            memcpy(&e, p, sizeof e);
            snprintf(name.d_name, sizeof name.d_name, "%s", e.len ? p + sizeof e : "");
            if (e.len && wanted(&name)) poke_file(s, name.d_name);
            p += sizeof e + e.len;
        }
}

int sim_poke_open(struct sim *s, struct hv_failure *f)
{
    struct dirent **names = NULL;

    s->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (s->inotify_fd < 0 || inotify_add_watch(s->inotify_fd, s->poke_dir, IN_CLOSE_WRITE | IN_MOVED_TO) < 0)
        return hv_fail(f, HV_FAIL_ENGINE, "%s: %s", s->poke_dir, strerror(errno));
    int n = scandir(s->poke_dir, &names, wanted, alphasort);
    for (int i = 0; i < n; i++) {
        poke_file(s, names[i]->d_name);
        free(names[i]);
    }
    free(names);
    return 0;
}
