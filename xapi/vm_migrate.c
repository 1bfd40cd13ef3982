/* Class VM, migration: to a new domain of this host, or with its record to a host of another pool.
 * Called by: the generated thunks (schema/vm.xml, schema/host.xml), http/migrate.c.  Calls: hv/, xva, httpc, vm_power.c.
 *
 * Between pools, over one connection (CONNECT /migrate; all lengths are 32 bits in network order):
 *   sender:   length, JSON {version, vm, power_state, copy, vdis: {VDI uuid: SR}, networks: {device: network}}; length, its
 *             records as an XVA file without disks
 *   receiver: length, JSON {} when the records are in place, or {error: [code, ...]}
 *   both:     what their hypervisor drivers say to each other (hv_migrate_send(), hv_migrate_receive()), if the VM runs;
 *   sender:   else length, JSON {}: it is the receiver's
 *   receiver: length, JSON {vm: reference} or {error}
 * Disks are not copied: they lie where both pools see them. vm_moves.c is who remembers when one of the two forgets. */
#include "xapi/vm_migrate.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "gen/methods.h"
#include "lib/clock.h"
#include "lib/httpc.h"
#include "lib/json.h"
#include "lib/limits.h"
#include "lib/num.h"
#include "lib/stream.h"
#include "xapi/call/lifecycle.h"
#include "xapi/certificate.h"
#include "xapi/vbd.h"
#include "xapi/vm.h"
#include "xapi/vm_moves.h"
#include "xapi/xva.h"

#define LOG_MODULE "vm"
#include "lib/log.h"

enum {
    PROTOCOL_VERSION = 2, JSON_MAX = 1 << 20, CONNECT_MS = 30000, STEP_MS = 60000,
    ANSWER_MS = 600000, IDLE_MS = 600000, CANCEL_MS = 200, HTTPS_PORT = 443,
    ASK_AGAIN_MS = 30000, SILENT_MS = 30000,
};

/* ---- pieces of the conversation -------------------------------------------------------------------------------- */

static int lost(struct xerr *err)
{
    return xerr_internal(err, "migration: the other side has gone: %s", strerror(errno));
}

static int send_all(int fd, const void *bytes, size_t n)
{
    const char *p = bytes;

    while (n) {
        struct pollfd wait = { .fd = fd, .events = POLLOUT };
        ssize_t done = send(fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (done >= 0) {
            p += done;
            n -= (size_t)done;
        } else if (errno == EAGAIN) {
            if (poll(&wait, 1, STEP_MS) == 0) {
                errno = ETIMEDOUT;
                return -1;
            }
        } else if (errno != EINTR) {
            return -1;
        }
    }
    return 0;
}

static int receive_all(int fd, void *bytes, size_t n, int timeout_ms)
{
    char *p = bytes;

    while (n) {
        struct pollfd wait = { .fd = fd, .events = POLLIN };
        ssize_t done = recv(fd, p, n, MSG_DONTWAIT);
        if (done > 0) {
            p += done;
            n -= (size_t)done;
        } else if (done == 0) {
            errno = EPIPE;
            return -1;
        } else if (errno == EAGAIN) {
            if (poll(&wait, 1, timeout_ms) == 0) {
                errno = ETIMEDOUT;
                return -1;
            }
        } else if (errno != EINTR) {
            return -1;
        }
    }
    return 0;
}

static int send_piece(int fd, const void *bytes, size_t n, struct xerr *err)
{
    const uint32_t size = htonl((uint32_t)n);

    return send_all(fd, &size, sizeof size) || send_all(fd, bytes, n) ? lost(err) : 0;
}

static int receive_piece(int fd, size_t max, int timeout_ms, struct arena *a, char **ret_bytes, size_t *ret_n, struct xerr *err)
{
    uint32_t size;

    if (receive_all(fd, &size, sizeof size, timeout_ms)) return lost(err);
    const size_t n = ntohl(size);
    if (n > max) return xerr_internal(err, "migration: the other side says too much");
    char *bytes = arena_alloc(a, n + 1);
    if (receive_all(fd, bytes, n, STEP_MS)) return lost(err);
    bytes[n] = '\0';
    *ret_bytes = bytes;
    *ret_n = n;
    return 0;
}

static int send_json(int fd, const struct value *v, struct xerr *err)
{
    _cleanup_strbuf_ struct strbuf text = STRBUF_INIT;

    json_encode_value(v, &text);
    return send_piece(fd, text.ptr, text.len, err);
}

static int receive_json(int fd, int timeout_ms, struct arena *a, struct value *ret_value, struct xerr *err)
{
    const char *error;
    char *text;
    size_t n;

    if (receive_piece(fd, JSON_MAX, timeout_ms, a, &text, &n, err)) return -1;
    if (json_decode(text, n, a, ret_value, &error) == 0 && ret_value->kind == VALUE_MAP) return 0;
    return xerr_internal(err, "migration: the other side says something strange");
}

/* The other side's error, with its own code. */
static int take_error(const struct value *answer, struct xerr *err)
{
    const struct value *e = value_get(answer, "error");
    const char *params[8];
    size_t n = 0;

    if (!e) return 0;
    if (e->kind != VALUE_SET || !e->set.n || e->set.items[0].kind != VALUE_STRING)
        return xerr_internal(err, "migration: the other side failed");
    for (size_t i = 1; i < e->set.n && n < ARRAY_SIZE(params); i++)
        params[n++] = e->set.items[i].kind == VALUE_STRING ? e->set.items[i].s : "";
    return xerr_set_dynamic(err, e->set.items[0].s, n, params);
}

static void send_error(int fd, const struct xerr *why, struct arena *a)
{
    struct value_builder list = value_builder(a);
    struct xerr ignored = XERR_INIT;

    value_push(&list, value_string(why->code));
    for (size_t i = 0; i < why->n; i++) value_push(&list, value_string(why->params[i]));
    const struct member m = { "error", value_built_set(&list) };
    const struct value v = value_map(&m, 1);
    send_json(fd, &v, &ignored);
    xerr_clear(&ignored);
}

/* A sender in the middle of a guest's memory reads our last word once it can write no more, or when we have gone: it may write. */
static void discard_rest(int fd)
{
    const int64_t until_ns = clock_monotonic_ns() + ANSWER_MS * NS_PER_MS;
    struct pollfd wait = { .fd = fd, .events = POLLIN };
    enum { PIECE = 65536 };
    _cleanup_free_ char *rest = xmalloc(PIECE);

    shutdown(fd, SHUT_WR);
    while (clock_monotonic_ns() < until_ns && poll(&wait, 1, STEP_MS) > 0 && recv(fd, rest, PIECE, MSG_DONTWAIT) > 0) continue;
}

/* ---- what is common to both sides ------------------------------------------------------------------------------- */

static struct hv_id id_of(struct call *c, struct ref vm)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_get(s, CLASS_VM, vm);

    return hv_id(row ? arena_strdup(c->arena, row_uuid(row)) : "", vm);
}

/* The caller's word, else what the guest can do. */
static bool wants_live(struct call *c, struct ref vm, const struct value *options)
{
    const char *word = value_get_str(options, "live", "");
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_get(s, CLASS_VM, vm);

    if (*word) return streq(word, "true") || streq(word, "1");
    return row && vm_domain_type(row) != domain_type_pv;
}

/* ---- on one host ------------------------------------------------------------------------------------------------ */

struct newcomer {
    struct hv *hv;
    const struct hv_vm *vm;
    int fd, rc;
    int64_t domid;
    struct xerr err;
};

static void *receive_here(void *arg)
{
    struct newcomer *n = arg;

    n->rc = hv_migrate_receive(n->hv, n->vm, n->fd, 0, &n->domid, &n->err);
    shutdown(n->fd, SHUT_RDWR);
    return NULL;
}

static int commit_moved(struct call *c, struct ref vm, int64_t domid, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);

    if (snap_get(txn_snap(t), CLASS_VM, vm)) txn_set_int(t, vm, F_VM_domid, domid);
    return db_commit(t, err);
}

static int move_here(struct call *c, struct ref vm, bool live, struct xerr *err)
{
    struct newcomer n = { .hv = c->agent->hv, .err = XERR_INIT };
    struct hv_vm description;
    pthread_t thread;
    int fds[2];

    if (!hv_moves_here(c->agent->hv) && hv_can(c->agent->hv, HV_CAN_MIGRATE))
        return xerr_vm_incompatible_with_this_host(err, REF_STR(vm), REF_STR(c->agent->host),
                                                   "a guest has one domain on a host: it cannot move to a second one");
    /* Disks and cards are attached already: this only lists them. */
    if (vm_describe_now(c, vm, &description, err) || vm_attach_devices(c, vm, &description, err)) return -1;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds)) return xerr_internal(err, "socketpair: %s", strerror(errno));
    n.vm = &description;
    n.fd = fds[1];
    int rc = pthread_create(&thread, NULL, receive_here, &n);
    if (rc) {
        xerr_internal(err, "thread: %s", strerror(rc));
        rc = -1;
    } else {
        rc = hv_migrate_send(c->agent->hv, id_of(c, vm), fds[0], live, 0, err);
        shutdown(fds[0], SHUT_RDWR);
        pthread_join(thread, NULL);
    }
    close(fds[0]);
    close(fds[1]);
    /* Both failed: the sender knows more, unless all it knows is that the receiver failed. */
    if (rc && n.rc && xerr_is(err, "INTERNAL_ERROR") && !xerr_is(&n.err, "SUSPEND_IMAGE_NOT_ACCESSIBLE") && n.err.code) {
        xerr_clear(err);
        rc = xerr_move(err, &n.err);
    }
    xerr_clear(&n.err);
    return rc ? -1 : commit_moved(c, vm, n.domid, err);
}

int vm_pool_migrate(struct call *c, struct ref vm, struct ref host, const struct value *options, struct xerr *err)
{
    if (ref_eq(host, c->agent->host)) return move_here(c, vm, wants_live(c, vm, options), err);
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    return snap_need(s, CLASS_host, host, err) ? xerr_host_offline(err, REF_STR(host)) : -1;
}

/* ---- the receiver ----------------------------------------------------------------------------------------------- */

static int find_address(struct call *c, struct ref network, const char **ret_address, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_need(s, CLASS_network, network, err);
    struct ref pif = REF_NULL;

    if (!row) return -1;
    const struct refset *pifs = row_refs(row, F_network_PIFs);
    for (size_t i = 0; i < pifs->n; i++) {
        const struct row *p = snap_get(s, CLASS_PIF, pifs->refs[i]);
        if (!p || !ref_eq(row_ref(p, F_PIF_host), c->agent->host)) continue;
        pif = pifs->refs[i];
        if (!*row_str(p, F_PIF_IP)) continue;
        *ret_address = arena_strdup(c->arena, row_str(p, F_PIF_IP));
        return 0;
    }
    return xerr_interface_has_no_ip(err, REF_STR(pif));
}

int host_migrate_receive(struct call *c, struct ref host, struct ref network, const struct value *options, struct value *ret_result,
                         struct xerr *err)
{
    struct value_builder b = value_builder(c->arena);
    const char *address = "";

    (void)options;
    if (!ref_eq(host, c->agent->host)) {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        return snap_need(s, CLASS_host, host, err) ? xerr_host_offline(err, REF_STR(host)) : -1;
    }
    if (find_address(c, network, &address, err)) return -1;
    const char *url = arena_printf(c->arena, strchr(address, ':') ? "https://[%s]" : "https://%s", address);
    if (c->agent->https_port && c->agent->https_port != HTTPS_PORT)
        url = arena_printf(c->arena, "%s:%d", url, c->agent->https_port);
    value_put_new(&b, "host", value_string(arena_strdup(c->arena, REF_STR(host))));
    value_put_new(&b, "session_id", value_string(arena_strdup(c->arena, REF_STR(c->handle))));
    value_put_new(&b, "master", value_string(url));
    *ret_result = value_built_map(&b);
    return 0;
}

struct records {
    const char *bytes;
    size_t n, at;
};

static ssize_t read_records(void *arg, void *buf, size_t n)
{
    struct records *r = arg;

    if (n > r->n - r->at) n = r->n - r->at;
    memcpy(buf, r->bytes + r->at, n);
    r->at += n;
    return (ssize_t)n;
}

/* Every disk is here, in the SR that the sender was told to expect it in. */
static int check_disks(struct call *c, const struct value *vdis, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);

    for (size_t i = 0; vdis && vdis->kind == VALUE_MAP && i < vdis->map.n; i++) {
        const struct member *m = &vdis->map.members[i];
        const struct row *vdi = snap_by_uuid(s, CLASS_VDI, m->key);
        struct ref wish = REF_NULL;
        if (m->value.kind == VALUE_STRING && *m->value.s && (!ref_parse(m->value.s, &wish) || !snap_get(s, CLASS_SR, wish)))
            return xerr_handle_invalid(err, "SR", m->value.s);
        if (!vdi) return xerr_import_error_failed_to_find_object(err, m->key);
        if (!ref_is_null(wish) && !ref_eq(wish, row_ref(vdi, F_VDI_SR))) return xerr_sr_does_not_support_migration(err, m->value.s, "");
    }
    return 0;
}

/* The cards' networks as the sender's user chose them. */
static void map_networks(struct txn *t, struct ref vm, const struct value *networks)
{
    const struct row *row = snap_get(txn_snap(t), CLASS_VM, vm);
    size_t n = row ? row_refs(row, F_VM_VIFs)->n : 0;

    for (size_t i = 0; i < n; i++) {
        row = snap_get(txn_snap(t), CLASS_VM, vm);
        struct ref vif = row_refs(row, F_VM_VIFs)->refs[i], network;
        const struct row *card = snap_get(txn_snap(t), CLASS_VIF, vif);
        const char *wish = card ? value_get_str(networks, row_str(card, F_VIF_device), "") : "";
        if (ref_parse(wish, &network) && snap_get(txn_snap(t), CLASS_network, network)) txn_set_ref(t, vif, F_VIF_network, network);
    }
}

/* The VM that came, and the snapshots that came with it. A copy comes alone, and has got a uuid of its own. */
static int find_main(struct call *c, const struct value *vms, const char *uuid, bool copy, struct ref *ret_vm, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);

    for (size_t i = 0; i < vms->set.n; i++) {
        const struct row *row = snap_get(s, CLASS_VM, vms->set.items[i].ref);
        if (!row || (!copy && !streq(row_uuid(row), uuid))) continue;
        *ret_vm = vms->set.items[i].ref;
        return 0;
    }
    return xerr_import_error_failed_to_find_object(err, uuid);
}

static void drop_records(struct call *c, const struct value *vms)
{
    struct xerr why = XERR_INIT;
    struct txn *t = db_begin(c->agent->db);

    for (size_t i = 0; vms->kind == VALUE_SET && i < vms->set.n; i++)
        if (snap_get(txn_snap(t), CLASS_VM, vms->set.items[i].ref)) vm_destroy_rows(t, vms->set.items[i].ref);
    if (!db_commit(t, &why)) return;
    _cleanup_free_ char *text = xerr_text(&why);
    log_error("records of a VM that did not arrive stay: %s", text);
    xerr_clear(&why);
}

/* Nobody else is to start what is about to run. */
static int set_busy(struct call *c, struct ref vm, const struct value *networks, bool busy, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);
    const char *key = REF_STR(c->task->ref);

    if (snap_get(txn_snap(t), CLASS_VM, vm)) {
        if (networks) map_networks(t, vm, networks);
        if (busy) txn_map_put_str(t, vm, F_VM_current_operations, key, "migrate_send");
        else txn_map_remove(t, vm, F_VM_current_operations, key);
        lifecycle_refresh(t, CLASS_VM, vm);
    }
    return db_commit(t, err);
}

static int receive(struct call *c, const struct hv_vm *description, int fd, int64_t *ret_domid, struct xerr *err)
{
    _cleanup_opening_ struct storage_opening opening;

    vbd_opening_begin(c, description->disks, description->n_disks, &opening);
    return hv_migrate_receive(c->agent->hv, description, fd, 0, ret_domid, err);
}

/* Its disks first: why they cannot be had here, the sender hears before its guest is on the way. */
static int run_here(struct call *c, struct ref vm, int fd, struct xerr *err)
{
    const struct value nothing = value_map(NULL, 0);
    struct hv_vm description;
    int64_t domid;

    if (vm_describe_now(c, vm, &description, err) || vm_attach_devices(c, vm, &description, err)) return -1;
    if (send_json(fd, &nothing, err) || receive(c, &description, fd, &domid, err)) goto detach;
    if (!vm_make_running(c, &description, domid, false, err)) {
        vbd_qos_begun(c, description.id, true);
        return 0;
    }
    vm_undo_domain(c, description.id);
detach:
    vm_detach_devices(c, vm);
    return -1;
}

/* *ret_noted: also after a failure. */
static int take_in(struct call *c, int fd, const struct value *order, bool *ret_noted, struct value *ret_vms, struct ref *ret_vm,
                   struct xerr *err)
{
    struct records records = { .bytes = NULL };
    const struct value *wish = value_get(order, "copy");
    const bool copy = wish && wish->kind == VALUE_BOOL && wish->b;
    const struct xva_import what = { .restore = !copy, .metadata = true, .read = read_records, .arg = &records };
    const char *uuid = value_get_str(order, "vm", "");
    const struct value *version = value_get(order, "version");
    const struct value nothing = value_map(NULL, 0);
    struct value word;
    char *bytes;

    if (receive_piece(fd, LIMIT_MIGRATION_RECORDS, STEP_MS, c->arena, &bytes, &records.n, err)) return -1;
    records.bytes = bytes;
    if (!version || version->kind != VALUE_INT || version->i != PROTOCOL_VERSION)
        return xerr_internal(err, "migration: the other side is of another version");
    if (check_disks(c, value_get(order, "vdis"), err)) return -1;
    /* A copy is nobody's but ours. */
    if (!copy) {
        if (vm_moves_begin_in(c, uuid, err)) return -1;
        *ret_noted = true;
    }
    if (xva_import(c, &what, ret_vms, err) || find_main(c, ret_vms, uuid, copy, ret_vm, err)) return -1;
    if (set_busy(c, *ret_vm, value_get(order, "networks"), true, err)) return -1;
    if (streq(value_get_str(order, "power_state", ""), "Running")) return run_here(c, *ret_vm, fd, err);
    if (send_json(fd, &nothing, err)) return -1;
    return receive_json(fd, ANSWER_MS, c->arena, &word, err);
}

int vm_migrate_serve(struct call *c, int fd, struct value *ret_vm, struct xerr *err)
{
    struct value order = value_map(NULL, 0), vms = value_void();
    struct xerr ignored = XERR_INIT;
    struct ref vm = REF_NULL;
    bool noted = false;

    int rc = receive_json(fd, STEP_MS, c->arena, &order, err);
    if (!rc) rc = take_in(c, fd, &order, &noted, &vms, &vm, err);
    /* Until it is settled whose the VM is, whoever asks finds it on the move. */
    if (rc) drop_records(c, &vms);
    if (noted) vm_moves_end_in(c, value_get_str(&order, "vm", ""));
    if (!rc && set_busy(c, vm, NULL, false, &ignored)) xerr_clear(&ignored);
    if (rc) {
        send_error(fd, err, c->arena);
        discard_rest(fd);
        return -1;
    }
    const struct member m = { "vm", value_string(arena_strdup(c->arena, REF_STR(vm))) };
    const struct value answer = value_map(&m, 1);
    if (send_json(fd, &answer, &ignored)) xerr_clear(&ignored);      /* it runs here, whoever knows */
    *ret_vm = value_ref(vm);
    return 0;
}

/* ---- the sender ------------------------------------------------------------------------------------------------- */

struct destination {
    struct vm_target to;
    bool here;
};

/* What goes there, and how. */
struct move {
    bool runs, live, copy;
    struct value vdis, networks;
};

static int parse_destination(struct call *c, const struct value *dest, struct destination *ret_d, struct xerr *err)
{
    const char *url = value_get_str(dest, "master", ""), *at = url;
    struct destination d = { .to = { .session = value_get_str(dest, "session_id", ""), .port = HTTPS_PORT } };
    struct ref host;
    int64_t port;

    d.here = ref_parse(value_get_str(dest, "host", ""), &host) && ref_eq(host, c->agent->host);
    if (!has_prefix(url, "https://")) return xerr_invalid_value(err, "dest", "master");
    at += strlen("https://");
    if (*at == '[') {
        d.to.host = arena_strndup(c->arena, at + 1, strcspn(at + 1, "]"));
        at += strcspn(at, "]");
        if (*at) at++;
    } else {
        d.to.host = arena_strndup(c->arena, at, strcspn(at, ":/"));
        at += strcspn(at, ":/");
    }
    if (*at == ':') {
        const char *digits = arena_strndup(c->arena, at + 1, strcspn(at + 1, "/"));
        if (!num_parse_int(digits, &port) || port < 1 || port > 65535) return xerr_invalid_value(err, "dest", "master");
        d.to.port = (unsigned)port;
    }
    if (!*d.to.host) return xerr_invalid_value(err, "dest", "master");
    if (!*d.to.session || strpbrk(d.to.session, " \r\n&?#")) return xerr_invalid_value(err, "dest", "session_id");
    *ret_d = d;
    return 0;
}

/* Disks that would have to be copied are refused before anything moves. */
static int list_disks(struct call *c, struct ref vm, const struct value *vdi_map, struct value *ret_vdis, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_need(s, CLASS_VM, vm, err);
    struct value_builder b = value_builder(c->arena);

    if (!row) return -1;
    const struct refset *vbds = row_refs(row, F_VM_VBDs);
    for (size_t i = 0; i < vbds->n; i++) {
        const struct row *vbd = snap_get(s, CLASS_VBD, vbds->refs[i]);
        const struct row *vdi = vbd ? snap_get(s, CLASS_VDI, row_ref(vbd, F_VBD_VDI)) : NULL;
        if (!vdi || row_enum(vbd, F_VBD_type) != vbd_type_Disk) continue;
        const struct row *sr = snap_get(s, CLASS_SR, row_ref(vdi, F_VDI_SR));
        if (!sr || !row_bool(sr, F_SR_shared))
            return xerr_sr_does_not_support_migration(err, REF_STR(row_ref(vdi, F_VDI_SR)), "VDI_MIRROR");
        const struct value *wish = value_get(vdi_map, REF_STR(row_ref_of(vdi)));
        const char *sr_there = wish && wish->kind == VALUE_REF ? arena_strdup(c->arena, REF_STR(wish->ref)) : "";
        value_put(&b, arena_strdup(c->arena, row_uuid(vdi)), value_string(sr_there));
    }
    *ret_vdis = value_built_map(&b);
    return 0;
}

/* The network that a card is to get there: its own, else that of another card on the same network here; null. */
static struct ref wished_network(const struct snap *s, const struct row *card, const struct value *vif_map)
{
    const struct value *own = value_get(vif_map, REF_STR(row_ref_of(card)));

    if (own && own->kind == VALUE_REF) return own->ref;
    for (size_t i = 0; i < vif_map->map.n; i++) {
        const struct member *m = &vif_map->map.members[i];
        struct ref vif;
        const struct row *other = ref_parse(m->key, &vif) ? snap_get(s, CLASS_VIF, vif) : NULL;
        if (other && m->value.kind == VALUE_REF && ref_eq(row_ref(other, F_VIF_network), row_ref(card, F_VIF_network)))
            return m->value.ref;
    }
    return REF_NULL;
}

/* Where each card goes must be said: names of networks mean nothing between pools. */
static int list_networks(struct call *c, struct ref vm, const struct value *vif_map, struct value *ret_networks, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_need(s, CLASS_VM, vm, err);
    struct value_builder b = value_builder(c->arena);

    if (!row) return -1;
    const struct refset *cards = row_refs(row, F_VM_VIFs);
    for (size_t i = 0; i < cards->n; i++) {
        const struct row *card = snap_get(s, CLASS_VIF, cards->refs[i]);
        if (!card) continue;
        const struct ref network = wished_network(s, card, vif_map);
        if (ref_is_null(network)) return xerr_vif_not_in_map(err, REF_STR(cards->refs[i]));
        value_put(&b, arena_strdup(c->arena, row_str(card, F_VIF_device)), value_string(arena_strdup(c->arena, REF_STR(network))));
    }
    *ret_networks = value_built_map(&b);
    return 0;
}

/* The connection, the thread that moves bytes between it and a socket that anybody can read, and the one that breaks it off
 * when the task is cancelled, until what moves is the other side's. */
struct channel {
    struct call *call;
    struct httpc *http;
    struct tls_client *tls;
    struct stream local;
    int fd, end;                       /* end: an eventfd, readable when the channel is closed */
    pthread_t thread, watcher;
    bool runs, watched;
    atomic_int state;
};

enum { CHANNEL_OPEN, CHANNEL_SEALED, CHANNEL_CUT };

#define CHANNEL_INIT(call_) { .call = (call_), .local = STREAM_INIT, .fd = -1, .end = -1 }

static void *relay(void *arg)
{
    struct channel *ch = arg;

    stream_relay(httpc_stream(ch->http), &ch->local, IDLE_MS);
    shutdown(ch->local.fd, SHUT_RDWR);
    return NULL;
}

static void *watch_cancel(void *arg)
{
    struct channel *ch = arg;
    struct pollfd end = { .fd = ch->end, .events = POLLIN };
    int open = CHANNEL_OPEN;

    while (poll(&end, 1, CANCEL_MS) <= 0) {
        if (!call_cancelled(ch->call)) continue;
        if (atomic_compare_exchange_strong(&ch->state, &open, CHANNEL_CUT)) shutdown(ch->fd, SHUT_RDWR);
        break;
    }
    return NULL;
}

/* From here on it is too late to cancel. -1 with TASK_CANCELLED when it was not. */
static int seal_channel(struct channel *ch, struct xerr *err)
{
    int open = CHANNEL_OPEN;

    if (atomic_compare_exchange_strong(&ch->state, &open, CHANNEL_SEALED) || open == CHANNEL_SEALED) return 0;
    return call_check_cancel(ch->call, err);
}

static void close_channel(struct channel *ch)
{
    if (ch->watched && eventfd_write(ch->end, 1) == 0) pthread_join(ch->watcher, NULL);
    if (ch->end >= 0) close(ch->end);
    if (ch->fd >= 0) {
        shutdown(ch->fd, SHUT_RDWR);
        close(ch->fd);
    }
    if (ch->runs) pthread_join(ch->thread, NULL);
    stream_close(&ch->local);
    httpc_free(ch->http);
    tls_client_free(ch->tls);
}

static int refused(const struct http_status *head, struct xerr *err)
{
    if (head->status == 401 || head->status == 403) return xerr_internal(err, "migration: the destination does not know the session");
    return xerr_vm_migrate_contact_remote_service_failed(err);
}

static int open_channel(struct call *c, const struct destination *d, struct channel *ch, struct xerr *err)
{
    const struct http_status *head;
    int fds[2];

    if (certificate_client(c->agent, &ch->tls, err)) return -1;
    const struct httpc_target target = { .host = d->to.host, .port = d->to.port, .tls = ch->tls };
    ch->http = httpc_connect(&target, CONNECT_MS, err);
    if (!ch->http) return -1;
    stream_watch_peer(httpc_stream(ch->http), SILENT_MS);
    const char *path = arena_printf(c->arena, "/migrate?session_id=%s", d->to.session);
    if (httpc_send(ch->http, "CONNECT", path, NULL, NULL, 0, CONNECT_MS, err) || httpc_receive(ch->http, CONNECT_MS, &head, err))
        return -1;
    if (head->status != 200) return refused(head, err);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds)) return xerr_internal(err, "socketpair: %s", strerror(errno));
    ch->fd = fds[0];
    ch->local.fd = fds[1];
    if (fcntl(fds[1], F_SETFL, O_NONBLOCK) < 0 || pthread_create(&ch->thread, NULL, relay, ch))
        return xerr_internal(err, "migration: no thread");
    ch->runs = true;
    ch->end = eventfd(0, EFD_CLOEXEC);
    if (ch->end < 0 || pthread_create(&ch->watcher, NULL, watch_cancel, ch)) return xerr_internal(err, "migration: no thread");
    ch->watched = true;
    return call_check_cancel(c, err);
}

static int send_order(struct call *c, struct ref vm, const struct move *m, int fd, struct xerr *err)
{
    const struct xva_metadata what = { .vms = &vm, .n = 1, .snapshots = !m->copy };
    _cleanup_strbuf_ struct strbuf records = STRBUF_INIT;
    struct value_builder b = value_builder(c->arena);
    struct value answer;

    if (xva_metadata(c, &what, &records, err)) return -1;
    value_put_new(&b, "version", value_int(PROTOCOL_VERSION));
    value_put_new(&b, "vm", value_string(id_of(c, vm).uuid));
    value_put_new(&b, "power_state", value_string(m->runs ? "Running" : "Halted"));
    value_put_new(&b, "copy", value_bool(m->copy));
    value_put_new(&b, "vdis", m->vdis);
    value_put_new(&b, "networks", m->networks);
    const struct value order = value_built_map(&b);
    if (send_json(fd, &order, err) || send_piece(fd, records.ptr, records.len, err)) return -1;
    return receive_json(fd, ANSWER_MS, c->arena, &answer, err) || take_error(&answer, err) ? -1 : 0;
}

/* The other side's last word, or what it says of the VM when the connection has broken before that. */
static enum vm_owner finish(struct call *c, const char *uuid, const struct vm_target *to, int fd, struct ref *ret_there, struct xerr *err)
{
    struct value answer;

    if (receive_json(fd, ANSWER_MS, c->arena, &answer, err)) return vm_moves_ask(c, uuid, to, ASK_AGAIN_MS, ret_there);
    if (take_error(&answer, err)) return VM_OURS;
    return ref_parse(value_get_str(&answer, "vm", ""), ret_there) ? VM_THEIRS : VM_UNKNOWN;
}

/* The other side says why, when it can. */
static void prefer_its_word(struct call *c, int fd, struct xerr *err)
{
    _cleanup_xerr_ struct xerr why = XERR_INIT;
    struct value answer;

    shutdown(fd, SHUT_WR);
    if (receive_json(fd, STEP_MS, c->arena, &answer, &why) || !take_error(&answer, &why) || xerr_is(&why, "INTERNAL_ERROR")) return;
    xerr_clear(err);
    xerr_move(err, &why);
}

/* The other side has the records; the guest, or the word that it may have them, follows. The VM is ours for certain when this fails. */
static int hand_over(struct call *c, struct hv_id id, struct channel *ch, const struct move *m, struct xerr *err)
{
    const struct value nothing = value_map(NULL, 0);
    _cleanup_xerr_ struct xerr late = XERR_INIT;

    if (!m->runs) return send_json(ch->fd, &nothing, err);
    if (hv_migrate_send(c->agent->hv, id, ch->fd, m->live, 0, err)) {
        if (atomic_load(&ch->state) != CHANNEL_CUT) prefer_its_word(c, ch->fd, err);
        return -1;
    }
    seal_channel(ch, &late);        /* cancelled too late: what has become of it is asked for */
    return 0;
}

/* What has become of it, whoever has it. */
static int settle(struct call *c, struct hv_id id, enum vm_owner owner, bool runs, int note_fd, struct xerr *err)
{
    struct xerr why = XERR_INIT;

    if (owner == VM_THEIRS) {
        xerr_clear(err);
        int rc = vm_moves_forget(c, id.vm, err);
        vm_moves_end_out(c, id.uuid, note_fd);
        return rc;
    }
    /* There is no domain here any more. */
    if (runs && vm_make_halted(c, id.vm, -1, &why)) xerr_clear(&why);
    if (owner == VM_OURS) vm_moves_end_out(c, id.uuid, note_fd);
    else vm_moves_leave_open(c, id.uuid, note_fd);
    return err->code ? -1 : xerr_internal(err, "migration: the other side says something strange");
}

static int copy_there(struct call *c, struct channel *ch, struct ref *ret_result, struct xerr *err)
{
    const struct value nothing = value_map(NULL, 0);
    struct value answer;

    if (send_json(ch->fd, &nothing, err)) return -1;
    if (receive_json(ch->fd, ANSWER_MS, c->arena, &answer, err) || take_error(&answer, err)) return -1;
    if (!ref_parse(value_get_str(&answer, "vm", ""), ret_result)) *ret_result = REF_NULL;
    return 0;
}

static int move_there(struct call *c, struct ref vm, const struct destination *d, const struct move *m, struct ref *ret_result,
                      struct xerr *err)
{
    struct channel ch = CHANNEL_INIT(c);
    const struct hv_id id = id_of(c, vm);
    int rc = -1, note_fd = -1;

    /* What has no memory is there as soon as its records are. */
    if (open_channel(c, d, &ch, err) || (!m->runs && seal_channel(&ch, err)) || send_order(c, vm, m, ch.fd, err)) goto out;
    call_progress(c, 0.1);
    if (m->copy) {
        rc = copy_there(c, &ch, ret_result, err);
        goto out;
    }
    if (vm_moves_begin_out(c, id.uuid, &d->to, &note_fd, err)) goto out;
    if (hand_over(c, id, &ch, m, err)) vm_moves_end_out(c, id.uuid, note_fd);
    else rc = settle(c, id, finish(c, id.uuid, &d->to, ch.fd, ret_result, err), m->runs, note_fd, err);
out:
    if (rc && atomic_load(&ch.state) == CHANNEL_CUT) {
        xerr_clear(err);
        call_check_cancel(c, err);
    }
    close_channel(&ch);
    return rc;
}

/* copy: only what is halted can be copied. */
static int power_state_for(struct call *c, struct ref vm, bool copy, bool *ret_runs, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_need(s, CLASS_VM, vm, err);

    if (!row) return -1;
    *ret_runs = row_enum(row, F_VM_power_state) == vm_power_state_Running;
    if ((*ret_runs && !copy) || row_enum(row, F_VM_power_state) == vm_power_state_Halted) return 0;
    return lifecycle_bad_power_state(row, (copy ? 0 : 1u << vm_power_state_Running) | 1u << vm_power_state_Halted, err);
}

static bool wants_copy(const struct value *options)
{
    const char *word = value_get_str(options, "copy", "");

    return streq(word, "true") || streq(word, "1");
}

/* Everything that can be known here is refused before anything moves. */
static int prepare(struct call *c, struct ref vm, const struct value *dest, const struct value *vdi_map, const struct value *vif_map,
                   const struct value *options, struct destination *ret_d, struct move *ret_move, struct xerr *err)
{
    struct move m = { .copy = wants_copy(options) };

    if (power_state_for(c, vm, m.copy, &m.runs, err) || parse_destination(c, dest, ret_d, err)) return -1;
    if (!ret_d->here && (list_disks(c, vm, vdi_map, &m.vdis, err) || list_networks(c, vm, vif_map, &m.networks, err))) return -1;
    *ret_move = m;
    return 0;
}

int vm_assert_can_migrate(struct call *c, struct ref vm, const struct value *dest, bool live, const struct value *vdi_map,
                          const struct value *vif_map, const struct value *options, const struct value *vgpu_map, struct xerr *err)
{
    struct channel ch = CHANNEL_INIT(c);
    struct destination d;
    struct move m;

    (void)live;
    (void)vgpu_map;
    if (prepare(c, vm, dest, vdi_map, vif_map, options, &d, &m, err)) return -1;
    if (d.here) return 0;
    int rc = open_channel(c, &d, &ch, err);      /* it answers, and knows the session */
    close_channel(&ch);
    return rc;
}

int vm_migrate_send(struct call *c, struct ref vm, const struct value *dest, bool live, const struct value *vdi_map,
                    const struct value *vif_map, const struct value *options, const struct value *vgpu_map,
                    const struct value *vdi_format_map, struct ref *ret_result, struct xerr *err)
{
    struct destination d;
    struct move m;

    (void)vgpu_map;
    (void)vdi_format_map;
    if (prepare(c, vm, dest, vdi_map, vif_map, options, &d, &m, err)) return -1;
    if (d.here) {
        if (m.copy) return xerr_operation_not_allowed(err, "A copy on the same host is VM.copy");
        *ret_result = vm;
        return m.runs ? move_here(c, vm, live, err) : 0;
    }
    m.live = live;
    return move_there(c, vm, &d, &m, ret_result, err);
}
