/* Class pool and host: who leads, and what a host can do that has lost its coordinator.
 * Called by: main.c, rpc/, http/, jobs/, the generated thunks (schema/host.xml, pool.xml).  Calls: httpc, db/. */
#include "xapi/pool_role.h"

#include <errno.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>

#define LOG_MODULE "pool"
#include "gen/methods.h"
#include "lib/httpc.h"
#include "lib/log.h"
#include "lib/num.h"
#include "xapi/call/ready.h"
#include "xapi/host.h"

enum { FILE_MAX = 4096, ADDRESS_MAX = 255, TLS_PORT = 443, CONTACT_MS = 5000, ANSWER_MAX = 64 << 10, MISSES = 2 };

struct pool_role {
    char *path;                    /* immutable */
    pthread_mutex_t lock;
    char *coordinator;             /* lock: lock; as it was given; NULL = we lead */
    char *proposed;                /* lock: lock; host.propose_new_master, until it is committed or aborted */
    unsigned missed;               /* lock: lock; how often in a row the coordinator did not answer */
    atomic_bool leads, emergency;
};

/* ---- addresses ------------------------------------------------------------------------------------------ */

/* "name", "192.0.2.1", "name:443", "2001:db8::1", "[2001:db8::1]:443": the host goes to name. */
static bool split_address(const char *text, char name[ADDRESS_MAX + 1], unsigned *ret_port)
{
    const char *end = text + strlen(text), *colon = strrchr(text, ':');
    bool bracketed = *text == '[';
    int64_t port = TLS_PORT;

    if (bracketed) {
        const char *close = strchr(text, ']');
        if (!close || (close[1] && close[1] != ':')) return false;
        colon = close[1] ? close + 1 : NULL;
        end = close;
        text++;
    } else if (colon && strchr(text, ':') == colon) {
        end = colon;
    } else {
        colon = NULL;
    }
    size_t n = (size_t)(end - text);
    if (colon && (!num_parse_int(colon + 1, &port) || port < 1 || port > 65535)) return false;
    if (!n || n > ADDRESS_MAX || strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:%_") < n) return false;
    memcpy(name, text, n);
    name[n] = '\0';
    *ret_port = (unsigned)port;
    return true;
}

/* ---- the file --------------------------------------------------------------------------------------------- */

static int store(struct pool_role *r, const char *coordinator, struct xerr *err)
{
    _cleanup_free_ char *text = coordinator ? xasprintf("slave:%s\n", coordinator) : xstrdup("master\n");

    if (!write_file_atomic(r->path, text, strlen(text), 0644)) return 0;
    return xerr_internal(err, "%s: %s", r->path, strerror(errno));
}

static int load(struct pool_role *r, struct xerr *err)
{
    static const char key[] = "slave:";
    _cleanup_free_ char *text = NULL;
    char name[ADDRESS_MAX + 1];
    unsigned port;

    if (access(r->path, F_OK)) return 0;
    if (read_file(r->path, FILE_MAX, &text, NULL)) return xerr_internal(err, "%s: %s", r->path, strerror(errno));
    text[strcspn(text, " \r\n")] = '\0';
    if (streq(text, "master") || !*text) return 0;
    if (!has_prefix(text, key) || !split_address(text + strlen(key), name, &port))
        return xerr_internal(err, "%s holds neither \"master\" nor \"slave:ADDRESS\"", r->path);
    r->coordinator = xstrdup(text + strlen(key));
    return 0;
}

int pool_role_open(const char *root, struct pool_role **ret_role, struct xerr *err)
{
    struct pool_role *r = xcalloc(1, sizeof(*r));

    r->path = xasprintf("%s/pool.conf", root);
    pthread_mutex_init(&r->lock, NULL);
    if (load(r, err)) {
        pool_role_free(r);
        return -1;
    }
    atomic_store(&r->leads, !r->coordinator);
    /* Until it has answered it is lost: its members must not take a host for the pool's that only says so. */
    atomic_store(&r->emergency, r->coordinator != NULL);
    if (r->coordinator) log_info("this host follows %s, which has not answered yet", r->coordinator);
    *ret_role = r;
    return 0;
}

int pool_role_redirect(const char *root, const char *coordinator, struct xerr *err)
{
    struct pool_role *r;
    char name[ADDRESS_MAX + 1];
    unsigned port;

    if (!split_address(coordinator, name, &port)) return xerr_invalid_value(err, "master", coordinator);
    if (pool_role_open(root, &r, err)) return -1;
    int rc = r->coordinator ? store(r, coordinator, err) : 0;
    pool_role_free(r);
    return rc;
}

void pool_role_free(struct pool_role *r)
{
    if (!r) return;
    pthread_mutex_destroy(&r->lock);
    free(r->proposed);
    free(r->coordinator);
    free(r->path);
    free(r);
}

/* ---- the gate --------------------------------------------------------------------------------------------- */

bool pool_role_leads(const struct pool_role *r) { return !r || atomic_load(&r->leads); }

bool pool_role_is_emergency(const struct pool_role *r) { return r && atomic_load(&r->emergency); }

int pool_role_check(struct pool_role *r, bool emergency_call, struct xerr *err)
{
    if (pool_role_leads(r) || emergency_call) return 0;
    if (pool_role_is_emergency(r)) return xerr_host_in_emergency_mode(err);
    pthread_mutex_lock(&r->lock);
    _cleanup_free_ char *coordinator = xstrdup(r->coordinator ? r->coordinator : "");
    pthread_mutex_unlock(&r->lock);
    return xerr_host_is_slave(err, coordinator);
}

/* ---- looking for the coordinator ---------------------------------------------------------------------------- */

/* Any XenAPI server that leads refuses this call with SESSION_INVALID; one that follows or is lost itself says so. No secret is
 * sent, so that whoever answers there learns none. */
static const char question[] = "<?xml version=\"1.0\"?><methodCall><methodName>pool.get_all</methodName><params><param>"
                               "<value>OpaqueRef:NULL</value></param></params></methodCall>";

static int ask(const char *coordinator, struct xerr *err)
{
    _cleanup_strbuf_ struct strbuf answer = STRBUF_INIT;
    char name[ADDRESS_MAX + 1];
    struct httpc_target target = { .host = name };
    int status, rc = -1;

    if (!split_address(coordinator, name, &target.port)) return xerr_internal(err, "%s is no address", coordinator);
    target.tls = tls_client_new(NULL, err);
    if (!target.tls) return -1;
    struct httpc *http = httpc_connect(&target, CONTACT_MS, err);
    if (http)
        rc = httpc_call(http, "POST", "/", "Content-Type: text/xml\r\n", question, strlen(question), ANSWER_MAX, CONTACT_MS, &status,
                        &answer, err);
    httpc_free(http);
    tls_client_free(target.tls);
    if (rc) return -1;
    return strstr(strbuf_cstr(&answer), ">SESSION_INVALID<") ? 0 : xerr_internal(err, "%s does not lead a pool", coordinator);
}

void pool_role_contact(struct agent *agent)
{
    struct pool_role *r = agent->role;
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    _cleanup_free_ char *coordinator = NULL;

    if (pool_role_leads(r)) return;
    pthread_mutex_lock(&r->lock);
    if (r->coordinator) coordinator = xstrdup(r->coordinator);
    pthread_mutex_unlock(&r->lock);
    if (!coordinator) return;
    bool there = !ask(coordinator, &err), before = atomic_load(&r->emergency);

    pthread_mutex_lock(&r->lock);
    /* The role may have changed meanwhile: then the answer is of no interest. */
    if (r->coordinator && streq(r->coordinator, coordinator)) {
        r->missed = there ? 0 : r->missed + 1;
        if (there) atomic_store(&r->emergency, false);
        else if (r->missed >= MISSES) atomic_store(&r->emergency, true);
    }
    pthread_mutex_unlock(&r->lock);
    bool now = atomic_load(&r->emergency);
    if (before == now) return;
    _cleanup_free_ char *why = now ? xerr_text(&err) : NULL;
    if (now) log_error("emergency mode: the coordinator %s cannot be reached: %s", coordinator, why);
    else log_info("the coordinator %s answers", coordinator);
}

/* ---- changing the role ------------------------------------------------------------------------------------------ */

/* coordinator NULL: we lead. */
static int become(struct agent *agent, const char *coordinator, struct xerr *err)
{
    struct pool_role *r = agent->role;

    if (store(r, coordinator, err)) return -1;
    pthread_mutex_lock(&r->lock);
    free(r->coordinator);
    r->coordinator = coordinator ? xstrdup(coordinator) : NULL;
    free(take_ptr(r->proposed));
    r->missed = 0;
    atomic_store(&r->leads, !coordinator);
    atomic_store(&r->emergency, coordinator != NULL);
    pthread_mutex_unlock(&r->lock);
    log_info("this host %s%s", coordinator ? "follows " : "leads its pool", coordinator ? coordinator : "");
    if (coordinator) {
        pool_role_contact(agent);
        return 0;
    }
    struct txn *t = db_begin(agent->db);
    txn_set_ref(t, agent->pool, F_pool_master, agent->host);
    return db_commit(t, err);
}

static bool same_address(const struct sockaddr *a, const struct sockaddr *b)
{
    if (a->sa_family != b->sa_family) return false;
    if (a->sa_family == AF_INET)
        return ((const struct sockaddr_in *)a)->sin_addr.s_addr == ((const struct sockaddr_in *)b)->sin_addr.s_addr;
    return a->sa_family == AF_INET6
           && !memcmp(&((const struct sockaddr_in6 *)a)->sin6_addr, &((const struct sockaddr_in6 *)b)->sin6_addr, sizeof(struct in6_addr));
}

/* One of this machine's addresses, at a port of ours. Names are not looked up. */
static bool is_own(const struct agent *agent, const char *name, unsigned port)
{
    const struct addrinfo hints = { .ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM };
    struct addrinfo *given = NULL;
    struct ifaddrs *all = NULL;
    bool own = streq(name, agent->address);

    if (port != TLS_PORT && (int)port != agent->https_port) return false;
    if (!own && !getaddrinfo(name, NULL, &hints, &given) && !getifaddrs(&all))
        for (const struct ifaddrs *i = all; i && !own; i = i->ifa_next) own = i->ifa_addr && same_address(i->ifa_addr, given->ai_addr);
    if (given) freeaddrinfo(given);
    if (all) freeifaddrs(all);
    return own;
}

static int follow(struct agent *agent, const char *address, struct xerr *err)
{
    char name[ADDRESS_MAX + 1];
    unsigned port;

    if (!split_address(address, name, &port)) return xerr_invalid_value(err, "master_address", address);
    if (is_own(agent, name, port)) return xerr_host_its_own_slave(err);
    return become(agent, address, err);
}

int pool_emergency_reset_master(struct call *c, const char *master_address, struct xerr *err)
{
    return follow(c->agent, master_address, err);
}

int pool_emergency_transition_to_master(struct call *c, struct xerr *err)
{
    return become(c->agent, NULL, err);
}

/* ---- two-phase change: every host is told of the new coordinator first ------------------------------------------- */

static int refuse(struct xerr *err, const char *why) { return xerr_ha_abort_new_master(err, why); }

int host_propose_new_master(struct call *c, const char *address, bool manual, struct xerr *err)
{
    struct pool_role *r = c->agent->role;
    char name[ADDRESS_MAX + 1];
    unsigned port;

    (void)manual;      /* nothing here chooses a coordinator by itself */
    if (!split_address(address, name, &port)) return xerr_invalid_value(err, "address", address);
    pthread_mutex_lock(&r->lock);
    bool other = r->proposed && !streq(r->proposed, address);
    if (!other) {
        free(r->proposed);
        r->proposed = xstrdup(address);
    }
    pthread_mutex_unlock(&r->lock);
    return other ? refuse(err, "another host was proposed before") : 0;
}

/* Takes the proposal when it is this address. */
static int take_proposal(struct pool_role *r, const char *address, struct xerr *err)
{
    pthread_mutex_lock(&r->lock);
    bool same = r->proposed && streq(r->proposed, address);
    if (same) free(take_ptr(r->proposed));
    pthread_mutex_unlock(&r->lock);
    return same ? 0 : refuse(err, "this host was not proposed");
}

int host_abort_new_master(struct call *c, const char *address, struct xerr *err)
{
    return take_proposal(c->agent->role, address, err);
}

int host_commit_new_master(struct call *c, const char *address, struct xerr *err)
{
    char name[ADDRESS_MAX + 1];
    unsigned port;

    if (take_proposal(c->agent->role, address, err)) return -1;
    if (split_address(address, name, &port) && is_own(c->agent, name, port)) return become(c->agent, NULL, err);
    return follow(c->agent, address, err);
}

/* ---- asking ----------------------------------------------------------------------------------------------------- */

int host_is_in_emergency_mode(struct call *c, bool *ret_result, struct xerr *err)
{
    (void)err;
    *ret_result = pool_role_is_emergency(c->agent->role);
    return 0;
}

int host_local_assert_healthy(struct call *c, struct xerr *err)
{
    if (pool_role_is_emergency(c->agent->role)) return xerr_host_in_emergency_mode(err);
    return call_wait_ready(c, err);
}

/* That it answers is the answer. */
int host_ha_xapi_healthcheck(struct call *c, bool *ret_result, struct xerr *err)
{
    (void)c, (void)err;
    *ret_result = true;
    return 0;
}

/* The network of the machine is another: who we can reach may be, too. */
int host_signal_networking_change(struct call *c, struct xerr *err)
{
    (void)err;
    pool_role_contact(c->agent);
    return 0;
}

int pool_is_slave(struct call *c, struct ref host, bool *ret_result, struct xerr *err)
{
    if (host_need_self(c, host, err)) return -1;
    *ret_result = !pool_role_leads(c->agent->role);
    return 0;
}

int pool_ping_slave(struct call *c, struct ref host, bool *ret_result, struct xerr *err)
{
    return pool_is_slave(c, host, ret_result, err);
}
