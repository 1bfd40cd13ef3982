/* One process of a driver: its request, its deadline, its answer; and one at a time for each SR.
 * Called by: storage.c, ledger.c, class files through storage_call().  Calls: lib/subproc, lib/xmlrpc. */
#define LOG_MODULE "storage"
#include "xapi/storage/answer.h"
#include "xapi/storage/slots.h"

#include "gen/errors.h"
#include "lib/clock.h"
#include "lib/fault.h"
#include "lib/limits.h"
#include "lib/log.h"
#include "lib/num.h"
#include "lib/xmlrpc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum {
    SHOWN = 2000,                  /* of stdout and stderr in SR_BACKEND_FAILURE */
    MAX_ARGUMENT = 120 << 10,      /* the kernel's limit for one argument is 128 KiB */
    KILL_GRACE_MS = 2000,
    STOP_POLL_MS = 200,            /* how soon the end of the agent is noticed */
    LEFTOVER_MS = 10000,           /* how long a leftover of ours may finish its work before it is ended */
    LONG_MS = 300000,
    USUAL_MS = 120000,
};

/* ---- the request --------------------------------------------------------------------------- */

static struct value empty_map(void) { return (struct value){ .kind = VALUE_MAP }; }

static const char *ref_in(struct arena *a, struct ref r)
{
    return ref_text(r, arena_alloc(a, REF_TEXT));
}

static void put_device_config(struct value_builder *b, const struct storage_sr *sr)
{
    struct value_builder config = value_builder(b->arena);

    for (size_t i = 0; sr->device_config && i < sr->device_config->map.n; i++)
        value_put(&config, sr->device_config->map.members[i].key, sr->device_config->map.members[i].value);
    value_put(&config, "SRmaster", value_string(sr->master ? "true" : "false"));
    value_put(b, "device_config", value_built_map(&config));
}

static void put_vdi(struct value_builder *b, const struct storage_vdi *vdi)
{
    value_put(b, "vdi_ref", value_string(ref_in(b->arena, vdi->ref)));
    if (vdi->uuid) value_put(b, "vdi_uuid", value_string(vdi->uuid));
    value_put(b, "vdi_location", value_string(vdi->location ? vdi->location : ""));
    value_put(b, "vdi_type", value_string(vdi->type ? vdi->type : "user"));
    value_put(b, "vdi_on_boot", value_string(vdi->on_boot ? vdi->on_boot : "persist"));
    value_put(b, "vdi_allow_caching", value_string(vdi->allow_caching ? "true" : "false"));
    value_put(b, "vdi_sm_config", vdi->sm_config ? *vdi->sm_config : empty_map());
}

static void encode_request(const struct storage_sr *sr, const struct storage_vdi *vdi, const char *command,
                           const struct value *args, size_t n_args, const struct value *extra,
                           const char *session, struct strbuf *out)
{
    _cleanup_arena_ struct arena *a = arena_new();
    struct value_builder b = value_builder(a);

    value_put(&b, "command", value_string(command));
    value_put(&b, "args", value_set(args, n_args));
    value_put(&b, "session_ref", value_string(session));
    if (sr) {
        put_device_config(&b, sr);
        value_put(&b, "host_ref", value_string(ref_in(a, sr->host)));
        value_put(&b, "sr_ref", value_string(ref_in(a, sr->ref)));
        if (*sr->uuid) value_put(&b, "sr_uuid", value_string(sr->uuid));
        if (sr->pool_uuid) value_put(&b, "pool_uuid", value_string(sr->pool_uuid));
        value_put(&b, "multipathing", value_string(sr->multipath ? "true" : "false"));
        value_put(&b, "sr_sm_config", sr->sm_config ? *sr->sm_config : empty_map());
    } else {
        value_put(&b, "device_config", empty_map());
    }
    if (vdi) put_vdi(&b, vdi);
    for (size_t i = 0; extra && i < extra->map.n; i++)
        value_put(&b, extra->map.members[i].key, extra->map.members[i].value);
    struct value request = value_built_map(&b), params = value_set(&request, 1);
    xmlrpc_encode_call(command, &params, out);
}

/* ---- cancelling ---------------------------------------------------------------------------- */

enum stop { GOES_ON, STOPS_WAITING, STOPS_READING };

/* What may be given up, and how far: detaching, deleting and their like are how others undo their work. */
static enum stop stop_of(const struct storage_sr *sr, const char *command)
{
    static const struct { const char *command; enum stop stop; } commands[] = {
        { "sr_scan", STOPS_READING },  { "sr_probe", STOPS_READING },  { "sr_update", STOPS_READING },
        { "sr_create", STOPS_WAITING }, { "vdi_create", STOPS_WAITING }, { "vdi_clone", STOPS_WAITING },
        { "vdi_snapshot", STOPS_WAITING }, { "vdi_resize", STOPS_WAITING }, { "vdi_resize_online", STOPS_WAITING },
        { "vdi_update", STOPS_READING },
    };

    for (size_t i = 0; sr && sr->cancelled && i < ARRAY_SIZE(commands); i++)
        if (streq(commands[i].command, command)) return commands[i].stop;
    return GOES_ON;
}

/* ---- the process --------------------------------------------------------------------------- */

/* Memory for the child's output that cannot grow beyond a limit. Nothing to poll, and a child that
 * outlives us never meets a broken pipe. */
static int output_fd(const char *name, size_t limit)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd >= 0 && (ftruncate(fd, (off_t)limit) || fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK))) {
        close(fd);
        return -1;
    }
    return fd;
}

/* What the child wrote: up to the offset that it shares with us. */
static void read_output(int fd, struct strbuf *out)
{
    off_t end = lseek(fd, 0, SEEK_CUR);

    if (end <= 0) return;
    strbuf_reserve(out, (size_t)end);
    while (out->len < (size_t)end) {
        ssize_t n = pread(fd, out->ptr + out->len, (size_t)end - out->len, (off_t)out->len);
        if (n <= 0) break;
        out->len += (size_t)n;
    }
    out->ptr[out->len] = '\0';
}

static int input_fd(const struct strbuf *text)
{
    int fd = memfd_create("request", MFD_CLOEXEC);

    if (fd < 0) return -1;
    for (size_t at = 0; at < text->len;) {
        ssize_t n = pwrite(fd, text->ptr + at, text->len - at, (off_t)at);
        if (n <= 0) {
            close(fd);
            return -1;
        }
        at += (size_t)n;
    }
    return fd;
}

static char *record_path(const struct storage *s, const char *sr_uuid)
{
    return xasprintf("%s/%s", s->record_dir, sr_uuid);
}

/* So that the next agent finds the process. It need not survive a power cut: nor does the process. */
static void write_record(struct storage *s, const struct storage_sr *sr, const struct storage_driver *d,
                         const struct subproc *child)
{
    if (!sr || !*sr->uuid) return;
    _cleanup_free_ char *path = record_path(s, sr->uuid);
    FILE *f = fopen(path, "we");

    if (!f) {
        log_warn("cannot write %s: %s", path, strerror(errno));
        return;
    }
    fprintf(f, "%ld %" PRIu64 " %d\n", (long)child->pid, child->start_time, d->foreign);
    fclose(f);
}

static void drop_record(struct storage *s, const char *sr_uuid)
{
    _cleanup_free_ char *path = record_path(s, sr_uuid);

    if (*sr_uuid) unlink(path);
}

struct run {
    struct strbuf out, diag;
    int status;                /* wait status; meaningful when status_known */
    bool status_known, timed_out, cancelled;
    struct leftover left;      /* it is still there */
};

static void run_free(struct run *r)
{
    strbuf_free(&r->out);
    strbuf_free(&r->diag);
}
#define _cleanup_run_ _cleanup_(run_free)

/* Waits to the deadline, or until nobody wants the answer. A driver of ours is then killed: it is made for that. A foreign
 * one is not. */
static void await_child(struct storage *s, struct subproc *child, bool foreign, int timeout_ms, const atomic_bool *cancelled,
                        struct run *r)
{
    struct leftover who = { child->pid, child->start_time };
    int64_t deadline_ns = clock_deadline_ns(timeout_ms);
    int rc = 1;

    while (rc == 1 && !atomic_load(&s->stopping) && clock_poll_ms(deadline_ns, 1) &&
           !(cancelled && atomic_load(cancelled)))
        rc = subproc_wait(child, clock_poll_ms(deadline_ns, STOP_POLL_MS), &r->status);
    if (rc == 1) {
        r->cancelled = cancelled && atomic_load(cancelled);
        r->timed_out = !r->cancelled;
        if (!foreign && !atomic_load(&s->stopping)) {
            subproc_kill(child, SIGKILL);
            rc = subproc_wait(child, KILL_GRACE_MS, &r->status);
        }
        if (rc == 1) {
            r->left = who;
            subproc_forget(child);
        }
    }
    r->status_known = rc == 0;
}

static int spawn_and_await(struct storage *s, const struct storage_driver *d, const struct storage_sr *sr,
                           const struct strbuf *request, int timeout_ms, const atomic_bool *cancelled,
                           struct run *r, struct xerr *err)
{
    _cleanup_close_ int in = d->foreign ? -1 : input_fd(request);
    _cleanup_close_ int out = output_fd("answer", LIMIT_SM_ANSWER),
                        diag = output_fd("diagnostics", LIMIT_SM_DIAGNOSTICS);
    _cleanup_free_ char *state = xasprintf("XAPI_SM_STATE_DIR=%s", s->state_dir);
    _cleanup_free_ char *mounts = xasprintf("XAPI_SM_MOUNT_DIR=%s", s->mount_dir);
    _cleanup_free_ char *sock = xasprintf("XAPI_SOCKET=%s", s->socket);
    const char *env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", state, mounts, sock, NULL };
    const char *argv[] = { d->program, d->foreign ? request->ptr : NULL, NULL };
    struct subproc_command cmd = { .argv = argv, .env = env, .cwd = "/" };
    struct subproc child = SUBPROC_INIT;

    if (out < 0 || diag < 0 || (!d->foreign && in < 0))
        return xerr_internal(err, "cannot make memory for %s: %s", d->program, strerror(errno));
    if (d->foreign && request->len > MAX_ARGUMENT)
        return xerr_internal(err, "request for %s is too long for an argument", d->program);
    if ((errno = fault_step("storage.call")) || subproc_spawn(&cmd, in, out, diag, &child))
        return xerr_internal(err, "cannot start %s: %s", d->program, strerror(errno));
    write_record(s, sr, d, &child);
    (void)fault_step("storage.spawned");
    await_child(s, &child, d->foreign, timeout_ms, d->foreign ? NULL : cancelled, r);
    if (!r->left.pid && sr) drop_record(s, sr->uuid);
    if (!fault_step("storage.answered")) read_output(out, &r->out);
    read_output(diag, &r->diag);
    return 0;
}

/* ---- the answer ---------------------------------------------------------------------------- */

static int fail_silent(const struct run *r, struct xerr *err)
{
    _cleanup_free_ char *out = xstrndup(strbuf_cstr(&r->out), SHOWN),
                        *diag = xstrndup(strbuf_cstr(&r->diag), SHOWN);
    char status[48] = "unknown";

    if (r->status_known && WIFEXITED(r->status))
        snprintf(status, sizeof(status), "exit %d", WEXITSTATUS(r->status));
    else if (r->status_known) snprintf(status, sizeof(status), "signal %d", WTERMSIG(r->status));
    return xerr_sr_backend_failure(err, status, out, diag);
}

static int read_answer(const struct storage_driver *d, const struct storage_sr *sr, const struct run *r,
                       struct arena *a, struct value *ret_answer, struct xerr *err)
{
    if (r->out.len == 0 || (r->status_known && r->status != 0)) return fail_silent(r, err);
    return storage_read_answer(d, sr, &r->out, a, ret_answer, err);
}

/* ---- the slot ------------------------------------------------------------------------------ */

static struct slot *slot_get(struct storage *s, const char *sr_uuid)
{
    struct slot *slot = map_get(s->slots, sr_uuid);

    if (!slot) {
        pthread_condattr_t attr;
        slot = xcalloc(1, sizeof(*slot));
        slot->sr_uuid = xstrdup(sr_uuid);
        pthread_condattr_init(&attr);
        pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
        pthread_cond_init(&slot->freed, &attr);
        pthread_condattr_destroy(&attr);
        map_put(s->slots, sr_uuid, slot);
    }
    slot->users++;
    return slot;
}

static void slot_free(struct slot *slot)
{
    pthread_cond_destroy(&slot->freed);
    free(slot->sr_uuid);
    free(slot);
}

static void slot_put(struct storage *s, struct slot *slot)
{
    if (--slot->users || slot->left.pid) return;
    map_remove(s->slots, slot->sr_uuid);
    slot_free(slot);
}

static bool still_unresponsive(struct storage *s, struct slot *slot)
{
    if (!slot->unresponsive) return false;
    if (subproc_alive(slot->left.pid, slot->left.start_time)) return true;
    slot->unresponsive = false;
    slot->left.pid = 0;
    drop_record(s, slot->sr_uuid);
    log_info("SR %s: the process that did not answer has gone", slot->sr_uuid);
    return false;
}

/* 0 with the slot busy for us, else -1 and the slot given back. */
static int slot_take(struct storage *s, const struct storage_sr *sr, bool may_stop, int64_t deadline_ns,
                     struct slot **ret_slot, struct xerr *err)
{
    HOLD(&s->lock);
    struct slot *slot = slot_get(s, sr->uuid);
    int ms = 1, longest_ms = may_stop ? STOP_POLL_MS : 3600000;

    while (slot->busy && !slot->unresponsive && !atomic_load(&s->stopping) &&
           !(may_stop && atomic_load(sr->cancelled)) && (ms = clock_poll_ms(deadline_ns, longest_ms)) > 0) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += ms / 1000;
        until.tv_nsec += (long)(ms % 1000) * 1000000;
        if (until.tv_nsec >= NS_PER_S) {
            until.tv_sec++;
            until.tv_nsec -= NS_PER_S;
        }
        pthread_cond_timedwait(&slot->freed, &s->lock, &until);
    }
    if (may_stop && atomic_load(sr->cancelled)) {
        if (!slot->busy) pthread_cond_signal(&slot->freed);   /* it may have been given to us */
        slot_put(s, slot);
        return xerr_task_cancelled(err, REF_STR(sr->task));
    }
    if (ms <= 0 || still_unresponsive(s, slot) || slot->busy || atomic_load(&s->stopping)) {
        log_warn("SR %s does not respond", sr->uuid);
        slot_put(s, slot);
        return xerr_sm_plugin_communication_failure(err, sr->type);
    }
    slot->busy = true;
    *ret_slot = slot;
    return 0;
}

/* What a driver says of storage that it cannot reach: 47 it is not there, 141 the target does not answer. */
static bool says_silent(const struct xerr *err)
{
    return err && (xerr_is(err, "SR_BACKEND_FAILURE_47") || xerr_is(err, "SR_BACKEND_FAILURE_141"));
}

/* Cancelled commands say nothing about their storage. */
static void slot_give(struct storage *s, struct slot *slot, const struct run *r, const struct xerr *why)
{
    const struct leftover left = r->left;
    HOLD(&s->lock);
    if ((r->timed_out && !atomic_load(&s->stopping)) || says_silent(why)) map_put(s->silent, slot->sr_uuid, s);
    else if (r->status_known && !r->timed_out && !r->cancelled) map_remove(s->silent, slot->sr_uuid);
    slot->busy = false;
    slot->left = left;
    if (left.pid) slot->unresponsive = true;
    if (slot->unresponsive) pthread_cond_broadcast(&slot->freed);
    else pthread_cond_signal(&slot->freed);
    slot_put(s, slot);
}

/* A process of an earlier agent gets some time to finish, then it is ended if it is ours. 0 when it has
 * gone. */
static int await_leftover(struct storage *s, struct slot *slot, bool foreign, int64_t deadline_ns)
{
    struct leftover left = slot->left;
    int64_t patience_ns = clock_deadline_ns(LEFTOVER_MS);

    if (!left.pid) return 0;
    log_info("SR %s: waiting for process %ld of an earlier agent", slot->sr_uuid, (long)left.pid);
    while (subproc_alive(left.pid, left.start_time)) {
        if (clock_poll_ms(deadline_ns, 1) == 0 || atomic_load(&s->stopping)) return -1;
        if (!foreign && clock_poll_ms(patience_ns, 1) == 0) {
            kill(-left.pid, SIGKILL);   /* it leads its group */
            patience_ns = deadline_ns;
        }
        usleep(20000);
    }
    drop_record(s, slot->sr_uuid);
    return 0;
}

/* ---- a call -------------------------------------------------------------------------------- */

static int default_deadline_ms(const char *command)
{
    return has_prefix(command, "sr_") ? LONG_MS : USUAL_MS;
}

static int open_session(struct storage *s, const struct storage_driver *d, const struct storage_sr *sr,
                        char **ret_session, struct xerr *err)
{
    if (d->foreign && sr && s->session_open) return s->session_open(s->arg, sr, ret_session, err);
    *ret_session = xstrdup("");
    return 0;
}

int slot_run(struct storage *s, const struct storage_driver *d, const struct storage_sr *sr,
             const struct storage_vdi *vdi, const char *command, const struct value *args, size_t n_args,
             const struct value *extra, int deadline_ms, struct arena *a, struct value *ret_answer,
             struct xerr *err)
{
    int timeout_ms = deadline_ms      ? deadline_ms
                     : s->deadline_ms ? s->deadline_ms
                                      : default_deadline_ms(command);
    int64_t began_ns = clock_boottime_ns(), deadline_ns = clock_deadline_ns(timeout_ms);
    bool exclusive = sr && *sr->uuid;
    enum stop stop = stop_of(sr, command);
    _cleanup_strbuf_ struct strbuf request = STRBUF_INIT;
    _cleanup_free_ char *session = NULL;
    _cleanup_run_ struct run r = { .status = 0 };
    struct slot *slot = NULL;
    int rc = -1;

    if (exclusive && slot_take(s, sr, stop != GOES_ON, deadline_ns, &slot, err)) return -1;
    if (exclusive && await_leftover(s, slot, d->foreign, deadline_ns)) {
        r.left = slot->left;
        xerr_sm_plugin_communication_failure(err, d->type);
        goto out;
    }
    if (open_session(s, d, sr, &session, err)) goto out;
    encode_request(sr, vdi, command, args, n_args, extra, session, &request);
    /* The time spent waiting for the slot is not the driver's. */
    rc = spawn_and_await(s, d, sr, &request, timeout_ms, stop == STOPS_READING ? sr->cancelled : NULL, &r, err);
    /* A process that we could not end keeps its session; who made it finds out when the process has gone. */
    if (*session && s->session_close && !r.left.pid) s->session_close(s->arg, session);
    if (rc) goto out;
    if (r.cancelled) {
        log_info("%s %s was cancelled", d->type, command);
        rc = xerr_task_cancelled(err, REF_STR(sr->task));
        goto out;
    }
    if (r.timed_out) {
        log_warn("%s %s passed its deadline of %d ms%s", d->type, command, timeout_ms,
                 r.left.pid ? " and cannot be ended" : " and was ended");
        rc = xerr_sm_plugin_communication_failure(err, d->type);
        goto out;
    }
    rc = read_answer(d, sr, &r, a, ret_answer, err);
    if (r.diag.len)
        log_info("%s %s: %.*s", d->type, command, (int)(r.diag.len < SHOWN ? r.diag.len : SHOWN), r.diag.ptr);
out:
    if (slot) slot_give(s, slot, &r, rc ? err : NULL);
    log_debug("%s %s %s: %s in %lld ms", d->type, command, sr ? sr->uuid : "",
              rc ? (err ? err->code : "failed") : "ok",
              (long long)((clock_boottime_ns() - began_ns) / NS_PER_MS));
    return rc;
}

int storage_call(struct storage *s, const struct storage_sr *sr, const struct storage_vdi *vdi,
                 const char *command, const struct value *args, size_t n_args, const struct value *extra,
                 int deadline_ms, struct arena *a, struct value *ret_answer, struct xerr *err)
{
    const struct storage_driver *d = storage_driver_need(s, sr->type, err);

    if (!d) return -1;
    return slot_run(s, d, sr, vdi, command, args, n_args, extra, deadline_ms, a, ret_answer, err);
}

bool storage_driver_runs(struct storage *s, const char *sr_uuid)
{
    HOLD(&s->lock);
    const struct slot *slot = map_get(s->slots, sr_uuid);

    return slot && (slot->busy || (slot->left.pid && subproc_alive(slot->left.pid, slot->left.start_time)));
}

bool storage_sr_silent(struct storage *s, const char *sr_uuid)
{
    HOLD(&s->lock);
    struct slot *slot = map_get(s->slots, sr_uuid);

    return map_get(s->silent, sr_uuid) || (slot && still_unresponsive(s, slot));
}

/* ---- leftovers of an earlier agent --------------------------------------------------------- */

static void load_leftover(struct storage *s, const char *sr_uuid)
{
    _cleanup_free_ char *path = record_path(s, sr_uuid), *text = NULL;
    uint64_t start;
    long pid;

    if (read_file(path, 256, &text, NULL) || sscanf(text, "%ld %" SCNu64, &pid, &start) != 2 || pid <= 0 ||
        !subproc_alive((pid_t)pid, start)) {
        unlink(path);
        return;
    }
    HOLD(&s->lock);
    struct slot *slot = slot_get(s, sr_uuid);
    slot->left = (struct leftover){ (pid_t)pid, start };
    slot_put(s, slot);
    log_info("SR %s: process %ld of an earlier agent still runs", sr_uuid, pid);
}

void slot_load_leftovers(struct storage *s)
{
    DIR *dir = opendir(s->record_dir);
    const struct dirent *e;
    struct ref bytes;

    while (dir && (e = readdir(dir)))
        if (uuid_from_text(e->d_name, &bytes)) load_leftover(s, e->d_name);
    if (dir) closedir(dir);
}

void slot_wake_all(struct storage *s)
{
    HOLD(&s->lock);
    const char *key;
    void *slot;

    for (size_t at = 0; map_next(s->slots, &at, &key, &slot);)
        pthread_cond_broadcast(&((struct slot *)slot)->freed);
}

void slot_free_all(struct storage *s)
{
    const char *key;
    void *slot;

    for (size_t at = 0; map_next(s->slots, &at, &key, &slot);) slot_free(slot);
}
