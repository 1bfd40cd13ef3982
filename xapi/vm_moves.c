/* VMs on their way to or from another pool, written down: whatever is killed or cut, one pool has the VM in the end.
 * Called by: vm_migrate.c, startup.c, jobs/jobs.c.  Calls: hv/, httpc, vm_power.c.
 *
 * Files below root/migrate, named by the VM's uuid:
 *   in-UUID   from before its records are made here until it is ours. A restart keeps the VM if its domain lives, else removes it.
 *   out-UUID  from when the other side has its records until it is known whose it is; JSON {host, port, session}. Its writer has it
 *             locked. A restart keeps the VM if its domain lives; else the other side is asked whether it has the VM.
 * Whoever receives has the VM (for whoever asks) once migrate_send is not among its current operations: it is there from the first
 * instant that a VM with an in-file can be seen, and goes when the VM is ours for good. */
#include "xapi/vm_moves.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include "lib/clock.h"
#include "lib/httpc.h"
#include "lib/jsonrpc.h"
#include "xapi/call/lifecycle.h"
#include "xapi/certificate.h"
#include "xapi/vm.h"

#define LOG_MODULE "vm"
#include "lib/log.h"

enum { ASK_MS = 10000, AGAIN_MS = 1000, ANSWER_MAX = 1 << 20, FILE_MAX = 1 << 16, GIVE_UP_S = 600 };

/* ---- files ------------------------------------------------------------------------------------------------------ */

static char *folder_of(const struct agent *agent) { return xasprintf("%s/migrate", agent->root); }
static char *path_of(const struct agent *agent, const char *way, const char *uuid)
{
    return xasprintf("%s/migrate/%s-%s", agent->root, way, uuid);
}

static int write_note(const struct agent *agent, const char *way, const char *uuid, const char *text, struct xerr *err)
{
    _cleanup_free_ char *folder = folder_of(agent), *path = path_of(agent, way, uuid);

    if (make_dirs(folder, 0700) == 0 && write_file_atomic(path, text, strlen(text), 0600) == 0) return 0;
    return xerr_internal(err, "%s: %s", path, strerror(errno));
}

static void drop_note(const struct agent *agent, const char *way, const char *uuid)
{
    _cleanup_free_ char *path = path_of(agent, way, uuid);

    if (unlink(path) < 0 && errno != ENOENT) log_error("%s: %s", path, strerror(errno));
}

/* The VMs that have such a file; from the arena. */
static size_t list_notes(const struct agent *agent, const char *way, struct arena *a, const char *const **ret_uuids)
{
    _cleanup_free_ char *folder = folder_of(agent), *prefix = xasprintf("%s-", way);
    const char **uuids = NULL;
    size_t n = 0, room = 0;
    struct ref ignored;
    DIR *dir = opendir(folder);

    for (const struct dirent *e; dir && (e = readdir(dir));) {
        if (!has_prefix(e->d_name, prefix) || !uuid_from_text(e->d_name + strlen(prefix), &ignored)) continue;
        if (n == room) {
            const char **more = arena_new_array(a, const char *, room = 2 * room + 8);
            for (size_t i = 0; i < n; i++) more[i] = uuids[i];
            uuids = more;
        }
        uuids[n++] = arena_strdup(a, e->d_name + strlen(prefix));
    }
    if (dir) closedir(dir);
    *ret_uuids = uuids;
    return n;
}

/* ---- the record meanwhile --------------------------------------------------------------------------------------- */

static struct ref find_vm(const struct agent *agent, const char *uuid)
{
    _cleanup_snap_ struct snap *s = db_snap(agent->db);
    const struct row *row = snap_by_uuid(s, CLASS_VM, uuid);

    return row ? row_ref_of(row) : REF_NULL;
}

/* What the operation is named by once its call has ended. */
static char *key_of(const char *uuid) { return xasprintf("OpaqueRef:%s", uuid); }

static int mark(struct agent *agent, const char *uuid, bool moving, struct xerr *err)
{
    _cleanup_free_ char *key = key_of(uuid);
    struct txn *t = db_begin(agent->db);
    const struct row *row = snap_by_uuid(txn_snap(t), CLASS_VM, uuid);

    if (row) {
        const struct ref vm = row_ref_of(row);
        if (moving) txn_map_put_str(t, vm, F_VM_current_operations, key, "migrate_send");
        else txn_map_remove(t, vm, F_VM_current_operations, key);
        lifecycle_refresh(t, CLASS_VM, vm);
    }
    return db_commit(t, err);
}

static void mark_or_say(struct agent *agent, const char *uuid, bool moving)
{
    _cleanup_xerr_ struct xerr why = XERR_INIT;

    if (!mark(agent, uuid, moving, &why)) return;
    _cleanup_free_ char *text = xerr_text(&why);
    log_error("VM %s: %s", uuid, text);
}

int vm_moves_forget(struct call *c, struct ref vm, struct xerr *err)
{
    vm_detach_devices(c, vm);
    struct txn *t = db_begin(c->agent->db);
    for (;;) {
        const struct row *row = snap_get(txn_snap(t), CLASS_VM, vm);
        if (!row || txn_failed(t) || !row_refs(row, F_VM_snapshots)->n) break;
        vm_destroy_rows(t, row_refs(row, F_VM_snapshots)->refs[0]);
    }
    if (snap_get(txn_snap(t), CLASS_VM, vm)) vm_destroy_rows(t, vm);
    return db_commit(t, err);
}

/* ---- who receives ----------------------------------------------------------------------------------------------- */

int vm_moves_begin_in(struct call *c, const char *uuid, struct xerr *err)
{
    const struct ref there = find_vm(c->agent, uuid);
    struct ref ignored;

    if (!uuid_from_text(uuid, &ignored)) return xerr_uuid_invalid(err, "VM", uuid);
    if (!ref_is_null(there)) return xerr_duplicate_vm(err, REF_STR(there));
    return write_note(c->agent, "in", uuid, "", err);
}

void vm_moves_end_in(struct call *c, const char *uuid) { drop_note(c->agent, "in", uuid); }

/* ---- who sends -------------------------------------------------------------------------------------------------- */

/* Whoever has it locked is at work on the move. -1: it is gone, or (LOCK_NB) somebody else has it. */
static int lock_note(const struct agent *agent, const char *uuid, int how)
{
    _cleanup_free_ char *path = path_of(agent, "out", uuid);
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat st;

    /* The name may have gone while the lock was waited for. */
    if (fd < 0 || flock(fd, how) < 0 || fstat(fd, &st) < 0 || !st.st_nlink) return -1;
    return take_fd(fd);
}

int vm_moves_begin_out(struct call *c, const char *uuid, const struct vm_target *to, int *ret_fd, struct xerr *err)
{
    struct value_builder b = value_builder(c->arena);
    _cleanup_strbuf_ struct strbuf text = STRBUF_INIT;

    value_put_new(&b, "host", value_string(to->host));
    value_put_new(&b, "port", value_int(to->port));
    value_put_new(&b, "session", value_string(to->session));
    const struct value v = value_built_map(&b);
    json_encode_value(&v, &text);
    if (write_note(c->agent, "out", uuid, strbuf_cstr(&text), err)) return -1;
    *ret_fd = lock_note(c->agent, uuid, LOCK_EX);
    return *ret_fd < 0 ? xerr_internal(err, "migration of VM %s: its note is lost", uuid) : 0;
}

void vm_moves_end_out(struct call *c, const char *uuid, int fd)
{
    drop_note(c->agent, "out", uuid);
    close(fd);
}

static int ask_once(struct call *c, struct httpc *http, const char *method, const struct vm_target *to, const char *what,
                    struct value *ret_result, struct xerr *err)
{
    _cleanup_strbuf_ struct strbuf question = STRBUF_INIT, answer = STRBUF_INIT;
    const struct value items[] = { value_string(to->session), value_string(what) };
    const struct value params = value_set(items, ARRAY_SIZE(items));
    int status;

    jsonrpc_encode_call(method, &params, 1, &question);
    if (httpc_call(http, "POST", "/jsonrpc", "Content-Type: application/json\r\n", question.ptr, question.len, ANSWER_MAX, ASK_MS, &status,
                   &answer, err))
        return -1;
    return jsonrpc_decode_response(strbuf_cstr(&answer), answer.len, c->arena, ret_result, err);
}

static enum vm_owner ask(struct call *c, struct httpc *http, const char *uuid, const struct vm_target *to, struct ref *ret_there,
                         struct xerr *err)
{
    struct value vm, operations;
    const char *ref;

    if (ask_once(c, http, "VM.get_by_uuid", to, uuid, &vm, err)) return xerr_is(err, "UUID_INVALID") ? VM_OURS : VM_UNKNOWN;
    if (vm.kind != VALUE_STRING || !ref_parse(vm.s, ret_there)) return VM_UNKNOWN;
    ref = vm.s;
    if (ask_once(c, http, "VM.get_current_operations", to, ref, &operations, err))
        return xerr_is(err, "HANDLE_INVALID") ? VM_OURS : VM_UNKNOWN;
    if (operations.kind != VALUE_MAP) return VM_UNKNOWN;
    for (size_t i = 0; i < operations.map.n; i++)
        if (operations.map.members[i].value.kind != VALUE_STRING || streq(operations.map.members[i].value.s, "migrate_send"))
            return VM_UNKNOWN;
    return VM_THEIRS;
}

enum vm_owner vm_moves_ask(struct call *c, const char *uuid, const struct vm_target *to, int64_t wait_ms, struct ref *ret_there)
{
    const int64_t until_ms = clock_boottime_ns() / NS_PER_MS + wait_ms;

    for (;;) {
        _cleanup_xerr_ struct xerr why = XERR_INIT;
        struct tls_client *tls = NULL;
        enum vm_owner owner = VM_UNKNOWN;
        struct httpc_target target = { .host = to->host, .port = to->port };
        if (!certificate_client(c->agent, &tls, &why)) {
            target.tls = tls;
            struct httpc *http = httpc_connect(&target, ASK_MS, &why);
            if (http) owner = ask(c, http, uuid, to, ret_there, &why);
            httpc_free(http);
            tls_client_free(tls);
        }
        if (owner != VM_UNKNOWN || clock_boottime_ns() / NS_PER_MS >= until_ms) return owner;
        nanosleep(&(struct timespec){ AGAIN_MS / 1000, AGAIN_MS % 1000 * 1000000L }, NULL);
    }
}

void vm_moves_leave_open(struct call *c, const char *uuid, int fd)
{
    log_error("VM %s: whether the other pool has it is not known; it is asked again", uuid);
    mark_or_say(c->agent, uuid, true);
    close(fd);
}

/* ---- after a restart -------------------------------------------------------------------------------------------- */

/* What a killed agent had half written. */
static void sweep(const struct agent *agent)
{
    _cleanup_free_ char *folder = folder_of(agent);
    DIR *dir = opendir(folder);

    for (const struct dirent *e; dir && (e = readdir(dir));)
        if (strchr(e->d_name, '.') && *e->d_name != '.' && unlinkat(dirfd(dir), e->d_name, 0) < 0)
            log_error("%s/%s: %s", folder, e->d_name, strerror(errno));
    if (dir) closedir(dir);
}

void vm_moves_mark(struct agent *agent)
{
    _cleanup_arena_ struct arena *a = arena_new();
    static const char *const ways[] = { "in", "out" };
    const char *const *uuids;

    sweep(agent);

    for (size_t w = 0; w < ARRAY_SIZE(ways); w++) {
        size_t n = list_notes(agent, ways[w], a, &uuids);
        for (size_t i = 0; i < n; i++) mark_or_say(agent, uuids[i], true);
    }
}

static int alive_as(struct call *c, struct ref vm, const char *uuid, struct hv_domain *ret_domain, struct xerr *err)
{
    if (hv_query(c->agent->hv, hv_id(uuid, vm), c->arena, ret_domain, err)) return -1;
    return ret_domain->state == HV_STATE_RUNNING || ret_domain->state == HV_STATE_PAUSED;
}

/* Its domain lives, so the other side knows that we have it, or will. It stood still for a moment only. */
static int arrived(struct call *c, struct ref vm, const char *uuid, const struct hv_domain *domain, struct xerr *err)
{
    _cleanup_xerr_ struct xerr why = XERR_INIT;
    struct hv_vm description;

    if (vm_describe_now(c, vm, &description, err) || vm_make_running(c, &description, domain->domid, false, err)) return -1;
    if (domain->state == HV_STATE_PAUSED && hv_unpause(c->agent->hv, hv_id(uuid, vm), &why)) {
        _cleanup_free_ char *text = xerr_text(&why);
        log_error("VM %s, which has just arrived, stands still: %s", uuid, text);
    }
    log_info("VM %s arrived while the agent was away", uuid);
    return 0;
}

static int settle_in(struct call *c, const char *uuid, struct xerr *err)
{
    const struct ref vm = find_vm(c->agent, uuid);
    struct hv_domain domain;

    if (!ref_is_null(vm)) {
        int alive = alive_as(c, vm, uuid, &domain, err);
        if (alive < 0 || (alive && arrived(c, vm, uuid, &domain, err))) return -1;
        if (!alive) log_info("VM %s did not arrive: its records go", uuid);
        if (!alive && vm_moves_forget(c, vm, err)) return -1;
    }
    drop_note(c->agent, "in", uuid);
    return mark(c->agent, uuid, false, err);
}

static int settle_out(struct call *c, const char *uuid, struct xerr *err)
{
    const struct ref vm = find_vm(c->agent, uuid);
    struct hv_domain domain;
    int alive = ref_is_null(vm) ? 1 : alive_as(c, vm, uuid, &domain, err);

    if (alive < 0) return -1;
    /* Handed over or not, its domain has ended. */
    if (!alive) return vm_make_halted(c, vm, -1, err);
    drop_note(c->agent, "out", uuid);
    return mark(c->agent, uuid, false, err);
}

int vm_moves_startup(struct call *c, struct xerr *err)
{
    const char *const *uuids;
    size_t n = list_notes(c->agent, "in", c->arena, &uuids);

    for (size_t i = 0; i < n; i++)
        if (settle_in(c, uuids[i], err)) return -1;
    n = list_notes(c->agent, "out", c->arena, &uuids);
    for (size_t i = 0; i < n; i++)
        if (settle_out(c, uuids[i], err)) return -1;
    return 0;
}

static int read_target(struct call *c, const char *uuid, struct vm_target *ret_to)
{
    _cleanup_free_ char *path = path_of(c->agent, "out", uuid), *text = NULL;
    const char *error;
    struct value v;
    size_t len;

    if (read_file(path, FILE_MAX, &text, &len) < 0 || json_decode(arena_strdup(c->arena, text), len, c->arena, &v, &error) < 0) return -1;
    const struct value *port = value_get(&v, "port");
    *ret_to = (struct vm_target){ .host = value_get_str(&v, "host", ""), .session = value_get_str(&v, "session", ""),
                                  .port = port && port->kind == VALUE_INT ? (unsigned)port->i : 0 };
    return 0;
}

/* Nobody can tell any more. Who looks at both pools may take the block off. */
static int give_up(struct call *c, struct ref vm, struct xerr *err)
{
    static const char *const barred[] = { "start", "start_on", "resume", "resume_on" };
    struct txn *t = db_begin(c->agent->db);

    for (size_t i = 0; i < ARRAY_SIZE(barred); i++)
        if (snap_get(txn_snap(t), CLASS_VM, vm))
            txn_map_put_str(t, vm, F_VM_blocked_operations, barred[i], "VM_MIGRATE_CONTACT_REMOTE_SERVICE_FAILED");
    return db_commit(t, err);
}

static int settle_one(struct call *c, const char *uuid, int fd, struct xerr *err)
{
    const struct ref vm = find_vm(c->agent, uuid);
    struct vm_target to;
    struct ref there;
    struct stat st;

    enum vm_owner owner = VM_OURS;
    if (!ref_is_null(vm)) owner = read_target(c, uuid, &to) ? VM_UNKNOWN : vm_moves_ask(c, uuid, &to, 0, &there);
    if (owner == VM_UNKNOWN && fstat(fd, &st) == 0 && time(NULL) - st.st_mtime < GIVE_UP_S) return 0;
    if (owner == VM_UNKNOWN) log_error("VM %s: whether the other pool has it was never known", uuid);
    else if (!ref_is_null(vm)) log_info("VM %s is %s", uuid, owner == VM_OURS ? "still ours" : "the other pool's");
    if (owner == VM_THEIRS && vm_moves_forget(c, vm, err)) return -1;
    if (owner == VM_UNKNOWN && give_up(c, vm, err)) return -1;
    drop_note(c->agent, "out", uuid);
    return mark(c->agent, uuid, false, err);
}

void vm_moves_settle(struct agent *agent)
{
    struct call *c = call_new_internal(agent, "VMs on the move");
    const char *const *uuids;
    size_t n = list_notes(agent, "out", c->arena, &uuids);

    for (size_t i = 0; i < n; i++) {
        _cleanup_close_ int fd = lock_note(agent, uuids[i], LOCK_EX | LOCK_NB);
        _cleanup_xerr_ struct xerr why = XERR_INIT;
        if (fd < 0 || !settle_one(c, uuids[i], fd, &why)) continue;
        _cleanup_free_ char *text = xerr_text(&why);
        log_error("VM %s: %s", uuids[i], text);
    }
    call_free_internal(c);
}
