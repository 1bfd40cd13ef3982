/* The NBD server: its listener, its clients, one thread each.
 * Called by: main.c.  Calls: nbd_handshake, storage/content, session. */
#define LOG_MODULE "nbd"
#include "xapi/http/nbd_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "gen/methods.h"
#include "lib/clock.h"
#include "lib/conf.h"
#include "lib/log.h"
#include "xapi/call/ready.h"
#include "xapi/http/nbd_handshake.h"
#include "xapi/http/server.h"
#include "xapi/network.h"
#include "xapi/rpc/rbac.h"
#include "xapi/session.h"
#include "xapi/storage/content.h"
#include "xapi/vdi.h"

enum { HANDSHAKE_MS = 30000, IDLE_MS = 3600 * 1000, STACK_BYTES = 512 << 10, RETRY_MS = 200 };

struct client {
    struct client *next;
    struct nbd_server *server;
    int fd;
    char address[INET6_ADDRSTRLEN];
    /* of its thread */
    struct call *call;
    struct ref vdi;
    const char *owner;
    struct content *content;
    bool attached;
};

struct nbd_server {
    struct agent *agent;             /* immutable */
    int wake;                        /* immutable: an eventfd that ends the listener's thread */
    pthread_mutex_t applying;        /* one at a time opens or closes; held across that, no other lock before it */
    pthread_t thread;                /* of applying */
    bool running;                    /* of applying */
    int listener;                    /* of applying; the thread's while it runs */
    pthread_mutex_t lock;
    pthread_cond_t gone;             /* with lock */
    struct client *clients;          /* lock */
    unsigned n_clients;              /* lock */
    bool stopping;                   /* lock */
};

/* ---- one client ---------------------------------------------------------------------------- */

/* "/<uuid>?session_id=<session>", with or without the slash. */
static bool split_name(struct arena *a, const char *name, const char **ret_uuid, const char **ret_session)
{
    const char *query = strchr(name, '?');
    struct ref bytes;

    if (*name == '/') name++;
    if (!query || !has_prefix(query, "?session_id=")) return false;
    *ret_uuid = arena_strndup(a, name, (size_t)(query - name));
    *ret_session = query + strlen("?session_id=");
    return uuid_from_text(*ret_uuid, &bytes);
}

static int find_disk(struct client *k, const char *uuid, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(k->call->agent->db);
    const struct row *row = snap_by_uuid(s, CLASS_VDI, uuid);

    if (!row) return xerr_uuid_invalid(err, "VDI", uuid);
    if (row_enum(row, F_VDI_type) == vdi_type_cbt_metadata)
        return xerr_vdi_incompatible_type(err, REF_STR(row_ref_of(row)), "cbt_metadata");
    k->vdi = row_ref_of(row);
    return 0;
}

static int admit(struct client *k, const char *session, struct xerr *err)
{
    struct ref secret;

    if (!ref_parse(session, &secret)) return xerr_session_invalid(err, "");
    if (session_resume(k->call, secret, session, err)) return -1;
    session_touch(k->call);
    return rbac_check_permission(k->call, "vdi.get_nbd_info", err) || scope_check_permission(k->call, "vdi.get_nbd_info", err)
               ? -1
               : 0;
}

/* What nbd_handshake() asks for. The client learns no more than that it was refused: it may be anybody. */
static int open_disk(void *arg, const char *name, int *ret_fd, const char **ret_why)
{
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    struct client *k = arg;
    struct storage_disk disk;
    const char *uuid, *session;

    if (!split_name(k->call->arena, name, &uuid, &session)) {
        *ret_why = "export names are /VDI-UUID?session_id=SESSION";
        return -1;
    }
    *ret_why = "the session is not valid";
    int rc = admit(k, session, &err);
    if (!rc) *ret_why = "the disk cannot be read now";
    if (!rc) rc = find_disk(k, uuid, &err) || call_wait_ready(k->call, &err) || vdi_attach(k->call, k->vdi, k->owner, false, &disk, &err);
    if (!rc) {
        k->attached = true;
        rc = content_connect(k->call->agent->storage, &disk, &k->content, ret_fd, &err);
    }
    if (rc) {
        _cleanup_free_ char *why = xerr_text(&err);
        log_warn("%s: disk %s refused: %s", k->address, uuid, why);
    }
    return rc ? -1 : 0;
}

static void close_disk(struct client *k)
{
    _cleanup_xerr_ struct xerr err = XERR_INIT;

    content_close(k->content);
    if (k->attached && vdi_detach(k->call, k->vdi, k->owner, &err)) {
        _cleanup_free_ char *why = xerr_text(&err);
        log_warn("disk %s stays attached: %s", REF_STR(k->vdi), why);
    }
}

/* Only so that the relay meets its end. */
static void cut(void *arg)
{
    const int *fd = arg;

    shutdown(*fd, SHUT_RDWR);
}

static void serve(struct client *k, bool tls_required)
{
    struct stream stream = { .fd = k->fd };
    struct nbd_handshake h = {
        .client = &stream,
        .tls = k->call->agent->tls,
        .tls_required = tls_required,
        .open = open_disk,
        .arg = k,
        .timeout_ms = HANDSHAKE_MS,
    };

    if (nbd_handshake(&h) == 0) {
        struct session_watch *watch = session_watch_begin(k->call);
        if (watch) session_watch_set(watch, cut, &k->fd);
        log_info("%s reads disk %s", k->address, REF_STR(k->vdi));
        stream_relay(&stream, &h.backend, IDLE_MS);
        log_info("%s has read disk %s: %llu bytes", k->address, REF_STR(k->vdi), (unsigned long long)stream.n_written);
        session_watch_end(watch);
    }
    stream_close(&h.backend);
    close_disk(k);
    pthread_mutex_lock(&k->server->lock);
    k->fd = -1;
    pthread_mutex_unlock(&k->server->lock);
    stream_shutdown(&stream);
    stream_close(&stream);
}

static void forget(struct client *k)
{
    struct nbd_server *s = k->server;

    pthread_mutex_lock(&s->lock);
    for (struct client **p = &s->clients; *p; p = &(*p)->next)
        if (*p == k) {
            *p = k->next;
            break;
        }
    s->n_clients--;
    pthread_cond_broadcast(&s->gone);
    pthread_mutex_unlock(&s->lock);
    free(k);
}

static void *client_main(void *arg)
{
    struct client *k = arg;
    struct agent *agent = k->server->agent;
    enum nbd_purpose purpose;
    char uuid[UUID_TEXT];

    k->call = call_new_internal(agent, "nbd");
    /* Nobody, until a session says who. */
    k->call->is_root = false;
    k->call->roles = 0;
    k->call->local = false;
    k->call->peer = k->address;
    k->owner = arena_printf(k->call->arena, VDI_NBD_OWNER "%s", uuid_new(uuid));
    purpose = network_nbd_purpose(agent, k->address);
    if (purpose == NBD_OFF) {
        log_warn("a client came by %s, which is no address for NBD", k->address);
        close(k->fd);
    } else {
        serve(k, purpose == NBD_TLS);
    }
    call_free_internal(k->call);
    forget(k);
    return NULL;
}

/* ---- the listener -------------------------------------------------------------------------- */

/* The address of ours that the client came by; 4-in-6 as IPv4. */
static void own_address(int fd, char text[INET6_ADDRSTRLEN])
{
    struct sockaddr_storage at;
    socklen_t len = sizeof(at);

    *text = '\0';
    if (getsockname(fd, (struct sockaddr *)&at, &len)) return;
    if (at.ss_family == AF_INET) {
        inet_ntop(AF_INET, &((struct sockaddr_in *)(void *)&at)->sin_addr, text, INET6_ADDRSTRLEN);
    } else if (at.ss_family == AF_INET6) {
        const struct in6_addr *a = &((struct sockaddr_in6 *)(void *)&at)->sin6_addr;
        if (IN6_IS_ADDR_V4MAPPED(a)) inet_ntop(AF_INET, &a->s6_addr[12], text, INET6_ADDRSTRLEN);
        else inet_ntop(AF_INET6, a, text, INET6_ADDRSTRLEN);
    }
}

static void start_client(struct nbd_server *s, int fd)
{
    struct client *k = xcalloc(1, sizeof(*k));
    pthread_attr_t attr;
    pthread_t thread;

    k->server = s;
    k->fd = fd;
    own_address(fd, k->address);
    pthread_mutex_lock(&s->lock);
    bool full = s->stopping || s->n_clients >= (unsigned)conf_int(s->agent->conf, "nbd-connections");
    if (!full) {
        k->next = s->clients;
        s->clients = k;
        s->n_clients++;
    }
    pthread_mutex_unlock(&s->lock);
    if (full) {
        log_warn("too many clients: one by %s is sent away", k->address);
        close(fd);
        free(k);
        return;
    }
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    if (pthread_create(&thread, &attr, client_main, k)) {
        log_warn("no thread for a client");
        close(fd);
        forget(k);
    }
    pthread_attr_destroy(&attr);
}

static void *listener_main(void *arg)
{
    struct nbd_server *s = arg;
    struct pollfd p[] = { { .fd = s->listener, .events = POLLIN }, { .fd = s->wake, .events = POLLIN } };

    for (;;) {
        poll(p, ARRAY_SIZE(p), -1);
        if (p[1].revents) return NULL;
        int fd = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) start_client(s, fd);
        else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) poll(p + 1, 1, RETRY_MS); /* no descriptors left */
    }
}

static void close_listener(struct nbd_server *s)
{
    eventfd_t value;

    if (!s->running) return;
    eventfd_write(s->wake, 1);
    pthread_join(s->thread, NULL);
    eventfd_read(s->wake, &value);
    /* A child that is just being started may have it a moment longer. */
    shutdown(s->listener, SHUT_RDWR);
    close(take_fd(s->listener));
    s->running = false;
    atomic_store(&s->agent->nbd_port, 0);
    log_info("NBD is closed");
}

static int open_listener(struct nbd_server *s, struct xerr *err)
{
    const char *address = conf_str(s->agent->conf, "nbd");
    unsigned port;

    if (s->running || streq(address, "none")) return 0;
    if (http_bind_tcp(address, &s->listener, &port, err)) return -1;
    if (pthread_create(&s->thread, NULL, listener_main, s)) {
        close(take_fd(s->listener));
        return xerr_internal(err, "no thread for the NBD server");
    }
    s->running = true;
    atomic_store(&s->agent->nbd_port, (int)port);
    log_info("NBD on %s, port %u", address, port);
    return 0;
}

/* ---- life ---------------------------------------------------------------------------------- */

struct nbd_server *nbd_server_new(struct agent *agent)
{
    struct nbd_server *s = xcalloc(1, sizeof(*s));

    s->agent = agent;
    s->listener = -1;
    s->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&s->applying, NULL);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->gone, NULL);
    return s;
}

int nbd_server_apply(struct nbd_server *s, struct xerr *err)
{
    int rc = 0;

    pthread_mutex_lock(&s->applying);
    if (network_nbd_purpose(s->agent, NULL) == NBD_OFF) close_listener(s);
    else rc = open_listener(s, err);
    pthread_mutex_unlock(&s->applying);
    return rc;
}

void nbd_server_stop(struct nbd_server *s)
{
    if (!s) return;
    pthread_mutex_lock(&s->applying);
    close_listener(s);
    pthread_mutex_unlock(&s->applying);
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    for (struct client *k = s->clients; k; k = k->next)
        if (k->fd >= 0) shutdown(k->fd, SHUT_RDWR);
    while (s->n_clients) pthread_cond_wait(&s->gone, &s->lock);
    pthread_mutex_unlock(&s->lock);
}

void nbd_server_free(struct nbd_server *s)
{
    if (!s) return;
    close(s->wake);
    pthread_mutex_destroy(&s->applying);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->gone);
    free(s);
}
