/* The storage layer's life and its list of drivers.
 * Called by: see storage.h.  Calls: slot, ledger. */
#define LOG_MODULE "storage"
#include "xapi/storage/storage.h"

#include "gen/errors.h"
#include "lib/log.h"
#include "lib/num.h"
#include "xapi/storage/content.h"
#include "xapi/storage/slots.h"

#include <assert.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>

enum { DRIVER_INFO_MS = 15000, MAX_DRIVERS = 256 };

/* ---- what a driver says -------------------------------------------------------------------- */

/* Features come as an array of "NAME" or "NAME/2". */
static void take_features(struct storage_driver *d, const struct value *answer, struct arena *a)
{
    const struct value *list = value_get(answer, "features");
    struct value_builder features = value_builder(a), names = value_builder(a);

    if (!list || list->kind != VALUE_SET || list->set.n == 0) list = value_get(answer, "capabilities");
    for (size_t i = 0; list && list->kind == VALUE_SET && i < list->set.n; i++) {
        if (list->set.items[i].kind != VALUE_STRING) continue;
        char *name = arena_strdup(a, list->set.items[i].s), *slash = strchr(name, '/');
        int64_t version = 1;
        if (slash) {
            *slash = '\0';
            num_parse_int(slash + 1, &version);
        }
        value_put(&features, name, value_int(version));
    }
    /* SMAPIv1 has no word for it: every driver can. */
    if (d->foreign) value_put(&features, "SR_SCAN", value_int(1));
    struct value map = value_built_map(&features);
    for (size_t i = 0; i < map.map.n; i++) value_push(&names, value_string(map.map.members[i].key));
    d->features = map;
    d->capabilities = value_built_set(&names);
}

static void take_configuration(struct storage_driver *d, const struct value *answer, struct arena *a)
{
    const struct value *list = value_get(answer, "configuration");
    struct value_builder keys = value_builder(a);

    for (size_t i = 0; list && list->kind == VALUE_SET && i < list->set.n; i++) {
        const struct value *pair = &list->set.items[i];
        const char *key = value_get_str(pair, "key", "");
        if (*key) value_put(&keys, key, value_string(value_get_str(pair, "description", "")));
    }
    d->configuration = value_built_map(&keys);
}

static int ask_driver(struct storage *s, struct storage_driver *d, struct xerr *err)
{
    struct arena *a = s->arena;
    struct value answer;

    if (slot_run(s, d, NULL, NULL, "sr_get_driver_info", NULL, 0, NULL, DRIVER_INFO_MS, a, &answer, err))
        return -1;
    d->name = value_get_str(&answer, "name", d->type);
    d->description = value_get_str(&answer, "description", "");
    d->vendor = value_get_str(&answer, "vendor", "");
    d->copyright = value_get_str(&answer, "copyright", "");
    d->version = value_get_str(&answer, "driver_version", "");
    d->required_api_version = value_get_str(&answer, "required_api_version", "");
    const struct value *formats = value_get(&answer, "image_formats");
    d->image_formats = formats && formats->kind == VALUE_SET ? *formats : value_set(NULL, 0);
    take_features(d, &answer, a);
    take_configuration(d, &answer, a);
    return 0;
}

/* ---- finding them -------------------------------------------------------------------------- */

/* "file" serves type file; "EXTSR" is a foreign driver of type ext. NULL: not a driver's name. */
static const char *type_of(const char *name, struct arena *a, bool *ret_foreign)
{
    size_t n = strlen(name);

    for (const char *p = name; *p; p++)
        if (!isalnum((unsigned char)*p) && *p != '_') return NULL;
    *ret_foreign = n > 2 && streq(name + n - 2, "SR");
    char *type = arena_strndup(a, name, *ret_foreign ? n - 2 : n);
    for (char *p = type; *p; p++) *p = (char)tolower((unsigned char)*p);
    return type;
}

static void find_in(struct storage *s, const char *dir_path)
{
    DIR *dir = opendir(dir_path);
    const struct dirent *e;

    if (!dir) {
        log_warn("no driver directory %s: %s", dir_path, strerror(errno));
        return;
    }
    while ((e = readdir(dir)) && s->n_drivers < MAX_DRIVERS) {
        struct storage_driver d = { .type = type_of(e->d_name, s->arena, &d.foreign) };
        _cleanup_xerr_ struct xerr err = XERR_INIT;
        struct stat st;

        if (!d.type) continue;
        d.program = arena_printf(s->arena, "%s/%s", dir_path, e->d_name);
        if (stat(d.program, &st) || !S_ISREG(st.st_mode) || access(d.program, X_OK)) continue;
        if (storage_driver_need(s, d.type, NULL)) continue;   /* an earlier directory has one */
        if (ask_driver(s, &d, &err)) {
            _cleanup_free_ char *why = xerr_text(&err);
            log_warn("driver %s left out: %s", d.program, why);
            continue;
        }
        s->drivers[s->n_drivers++] = d;
    }
    closedir(dir);
}

static void find_drivers(struct storage *s, const char *dirs)
{
    _cleanup_free_ char *list = xstrdup(dirs ? dirs : "");
    char *save = NULL;

    s->drivers = arena_new_array(s->arena, struct storage_driver, MAX_DRIVERS);
    for (char *dir = strtok_r(list, ":", &save); dir; dir = strtok_r(NULL, ":", &save)) find_in(s, dir);
    log_info("%zu storage drivers", s->n_drivers);
}

size_t storage_driver_count(const struct storage *s)
{
    return s->n_drivers;
}

const struct storage_driver *storage_driver_at(const struct storage *s, size_t i)
{
    assert(i < s->n_drivers);
    return &s->drivers[i];
}

const struct storage_driver *storage_driver_need(const struct storage *s, const char *type, struct xerr *err)
{
    for (size_t i = 0; i < s->n_drivers; i++)
        if (streq(s->drivers[i].type, type)) return &s->drivers[i];
    if (err) xerr_sr_unknown_driver(err, type);
    return NULL;
}

bool storage_driver_has(const struct storage_driver *d, const char *feature)
{
    return value_get(&d->features, feature) != NULL;
}

/* ---- life ---------------------------------------------------------------------------------- */

int notes_each(struct storage *s, const char *folder, void (*fn)(struct storage *s, const char *name), struct xerr *err)
{
    DIR *dir = opendir(folder);
    const struct dirent *e;

    if (!dir) return xerr_internal(err, "cannot list %s: %s", folder, strerror(errno));
    while ((e = readdir(dir)))
        if (*e->d_name != '.') fn(s, e->d_name);
    closedir(dir);
    return 0;
}

static int make_state(struct storage *s, struct xerr *err)
{
    const char *const dirs[] = { s->state_dir, s->record_dir, s->attached_dir, s->making_dir };

    for (size_t i = 0; i < ARRAY_SIZE(dirs); i++)
        if (make_dirs(dirs[i], 0700))
            return xerr_internal(err, "cannot make %s: %s", dirs[i], strerror(errno));
    /* QEMU's user passes through these. */
    const char *const open_dirs[] = { s->mount_dir, s->serve_dir };
    for (size_t i = 0; i < ARRAY_SIZE(open_dirs); i++)
        if (make_dirs(open_dirs[i], 0711))
            return xerr_internal(err, "cannot make %s: %s", open_dirs[i], strerror(errno));
    return 0;
}

int storage_open(const struct storage_config *config, struct storage **ret_storage, struct xerr *err)
{
    struct storage *s = xcalloc(1, sizeof(*s));

    s->magic = STORAGE_MAGIC;
    s->state_dir = xasprintf("%s/storage/locks", config->root);
    s->record_dir = xasprintf("%s/storage/running", config->root);
    s->attached_dir = xasprintf("%s/storage/attached", config->root);
    s->making_dir = xasprintf("%s/storage/making", config->root);
    s->mount_dir = config->mount_dir ? xstrdup(config->mount_dir) : xasprintf("%s/sr-mount", config->root);
    s->serve_dir = xasprintf("%s/nbd", config->root);
    s->plugin_dir = xstrdup(config->plugin_dir ? config->plugin_dir : "");
    s->socket = xstrdup(config->socket ? config->socket : "");
    s->session_open = config->session_open;
    s->session_close = config->session_close;
    s->arg = config->arg;
    s->deadline_ms = config->deadline_ms;
    s->arena = arena_new();
    s->slots = map_new();
    s->silent = map_new();
    s->entries = map_new();
    s->making = map_new();
    s->merges = map_new();
    pthread_cond_init(&s->merge_ended, NULL);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->unused, NULL);
    if (make_state(s, err) || ledger_load(s, err) || making_load(s, err)) {
        storage_close(s);
        return -1;
    }
    content_sweep(s);
    slot_load_leftovers(s);
    find_drivers(s, config->driver_dirs);
    *ret_storage = s;
    return 0;
}

void storage_use_begin(struct storage *s)
{
    HOLD(&s->lock);
    s->uses++;
}

void storage_use_end(struct storage *s)
{
    HOLD(&s->lock);
    if (--s->uses == 0) pthread_cond_broadcast(&s->unused);
}

void storage_stop(struct storage *s)
{
    if (!s) return;
    atomic_store(&s->stopping, true);
    slot_wake_all(s);
}

void storage_drain(struct storage *s)
{
    if (!s) return;
    assert(s->magic == STORAGE_MAGIC);
    storage_stop(s);
    pthread_mutex_lock(&s->lock);
    while (s->uses) pthread_cond_wait(&s->unused, &s->lock);
    pthread_mutex_unlock(&s->lock);
}

void storage_close(struct storage *s)
{
    if (!s) return;
    storage_drain(s);
    slot_free_all(s);
    ledger_free(s);
    making_free(s);
    map_free(s->slots);
    map_free(s->silent);
    map_free(s->entries);
    map_free(s->merges);
    pthread_cond_destroy(&s->merge_ended);
    arena_free(s->arena);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->unused);
    free(s->state_dir);
    free(s->record_dir);
    free(s->attached_dir);
    free(s->making_dir);
    free(s->mount_dir);
    free(s->serve_dir);
    free(s->plugin_dir);
    free(s->socket);
    s->magic = 0;
    free(s);
}

const char *storage_mount_dir(const struct storage *s)
{
    return s->mount_dir;
}
