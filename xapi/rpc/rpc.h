/* The gates that every call goes through: method, arguments, session, role, audit, task, operations.
 * Called by: main.c (rpc_init), http/ (calls from clients), the CLI, jobs/.  Calls: class files, db/.
 *
 * A call from a client: rpc_call_new, rpc_prepare, then as the step says
 *
 *   RPC_INLINE   rpc_perform on this thread: it waits for nothing but a commit
 *   RPC_THREAD   rpc_perform on a thread of its own
 *   RPC_ASYNC    rpc_start_async: answers with the task and goes on behind
 *   RPC_EVENTS   event.from, event.next: answered when rc->events has something, see xapi/event.h
 *
 * and rpc_call_end in every case. Every failure is a XenAPI error for the client. */
#ifndef RPC_RPC_H
#define RPC_RPC_H

#include "xapi/auth.h"
#include "xapi/event.h"
#include "xapi/rpc/fields.h"

struct audit;
struct oplocks;

struct http_config;

struct rpc_config {
    struct auth_config auth;       /* accounts and passwords */
    bool audit_reads;              /* a line in the audit log for each plain read too */
    unsigned threads;              /* blocking calls in flight, Async ones included: 0 = 256 */
    unsigned session_threads;      /* ... of one session: 0 = 64 */
    unsigned sr_threads;           /* ... on one storage repository: 0 = 48 */
};

/* Makes agent->rpc, ->auth, ->pool_secret and ->events, sets agent->call_message, makes the role rows
 * agree with the schema and fails what an earlier process left pending. Needs agent->db, ->root, ->tasks and ->host.
 * Errors: INTERNAL_ERROR. */
int rpc_init(struct agent *agent, const struct rpc_config *config, struct rpc **ret_rpc, struct xerr *err);
/* What the server must tell us when it stops. Defined in http/post_rpc.c. */
void rpc_http_config(struct rpc *rpc, struct http_config *config);
/* Answers every waiter and asks every call to end; does not wait. */
void rpc_stopping(struct rpc *rpc);
/* Waits for Async calls to end, timeout_ms at most; returns how many have not. After http_server_stop, and before what
 * calls work with (hypervisor, storage, database) is closed. */
unsigned rpc_stop(struct rpc *rpc, int timeout_ms);
/* After the HTTP server has stopped. Waits as rpc_stop does when nobody did. NULL is fine. */
void rpc_free(struct rpc *rpc);

/* ---- one call of a client ---- */

/* Where a call comes from. Texts are borrowed for the call's life. */
struct rpc_origin {
    const char *peer;              /* "unix" or the address */
    const char *certificate;       /* names of a verified TLS certificate (tls_peer_names), or NULL */
    bool local;                    /* came over a unix socket */
    bool trusted;                  /* ... from uid 0 or our own: is root without a password */
    struct ref subtask_of;         /* parent of the task of an Async call */
};

/* Whom a blocking call is counted for. */
struct rpc_place {
    struct ref session;            /* null: a login, counted apart so that one can always be tried */
    struct ref sr;                 /* the repository it works on; of a login, what stands for its address; or null */
};

enum rpc_step { RPC_INLINE, RPC_THREAD, RPC_ASYNC, RPC_EVENTS };

struct rpc_call {
    struct call call;              /* first */
    struct rpc *rpc;
    struct rpc_origin origin;
    bool async;
    const struct value *args;      /* checked */
    bool counted;                  /* holds this place among the threads */
    struct rpc_place place;
    struct live_task quiet;        /* the task of a call that nobody can cancel */
    struct event_request events;   /* RPC_EVENTS; owned until taken */
    unsigned delay_ms;             /* hold the answer back that long: a wrong password */
};

/* In the arena, which must outlive it. */
struct rpc_call *rpc_call_new(struct agent *agent, struct arena *arena, const struct rpc_origin *origin);
/* Finds the method and checks session, arguments and role. params: as sent, the session included. */
int rpc_prepare(struct rpc_call *rc, const char *method, const struct value *params, enum rpc_step *ret_step,
                struct xerr *err);
int rpc_perform(struct rpc_call *rc, struct rpc_result *r, struct xerr *err);
int rpc_start_async(struct rpc_call *rc, struct ref *ret_task, struct xerr *err);
void rpc_call_end(struct rpc_call *rc);

/* system.listMethods: a set of all names, in the arena. */
struct value rpc_list_methods(struct arena *a);

/* True when calling the message does what it says: a class function, the tables, or MESSAGE_REMOVED for what is gone. */
bool rpc_has_behaviour(const struct method_desc *m);

/* ---- inside ---- */

struct agent *rpc_agent(const struct rpc *rpc);
struct audit *rpc_audit(struct rpc *rpc);
/* How many calls on workers wait for a commit now. */
atomic_uint *rpc_writers(struct rpc *rpc);
/* A place among the threads of blocking calls. Errors: TOO_MANY_PENDING_TASKS. */
int rpc_count_in(struct rpc *rpc, struct rpc_place place, struct xerr *err);
void rpc_count_out(struct rpc *rpc, struct rpc_place place);
const struct oplocks *rpc_oplocks(const struct rpc *rpc);
/* Runs fn(job) on a detached thread that rpc_stop waits for. 0, or -1 with TOO_MANY_PENDING_TASKS. */
int rpc_spawn(struct rpc *rpc, void (*fn)(void *job), void *job, struct xerr *err);
/* What agent->call_message is. */
int rpc_call_message(struct call *c, const char *method, const struct value *args, size_t n, struct value *ret_result,
                     struct xerr *err);

#endif
