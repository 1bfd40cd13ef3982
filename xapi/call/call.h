/* One call in flight, and the agent it runs in: what every class function gets.
 * Called by: class files, rpc/, jobs/.  Calls: db/, lib.
 *
 * A class function `int vm_start(struct call *c, ..., struct xerr *err)` runs after the gates of rpc/ (session, role,
 * arity and types, task, operation): its arguments are checked, the operation is its own, and it is on the right host. */
#ifndef CALL_CALL_H
#define CALL_CALL_H

#include "db/db.h"
#include "gen/errors.h"
#include "lib/arena.h"

#include <stdatomic.h>

struct conf;
struct hv;
struct net;
struct rrd_store;      /* xapi/rrd/rrd_store.h */
struct storage;
struct tls_server;     /* lib/tls.h */
struct call;
struct live_tasks;     /* xapi/call/live_task.h */
struct ready;          /* xapi/call/ready.h */
struct vm_doubts;
struct vm_monitor;
struct auth;           /* xapi/auth.h */
struct pool_secret;    /* xapi/pool_secret.h */
struct session_dbs;    /* xapi/session_db.h */
struct event_hub;      /* xapi/event.h */
struct user_agents;    /* xapi/user_agents.h */
struct rpc;            /* xapi/rpc/rpc.h */

/* What the agent is at, all the time. Apart from what is immutable: a call on a dump has an agent of its own, with the same now. */
struct agent_now {
    atomic_bool rechecking;            /* the accounts behind sessions are being looked up again */
    atomic_bool contacting;            /* the coordinator is being asked for */
    atomic_bool replicating;           /* somebody uses a disk that holds a database (xapi/vdi_metadata.c) */
    atomic_bool replication_started, replication_broken;
    _Atomic uint64_t replicated;       /* the revision that those disks hold */
    atomic_bool counting_paths;        /* to disks, by multipath */
    atomic_uint starting;              /* guests for which the hypervisor looks for memory */
    atomic_bool looking_for_room;      /* for VMs that are paused until there is some */
    atomic_bool settling;              /* other pools are being asked for VMs that went there */
    size_t unused;                     /* only the thread of the jobs: what memory_return() left */
};

/* The agent: one per process, made by main.c. Everything but what is marked is immutable after startup. */
struct agent {
    struct db *db;
    struct ready *ready;           /* before it is: hv, net and storage are for nobody but startup */
    const struct conf *conf;
    const char *root;              /* state directory; every path of ours is below it */
    const char *helper;            /* path of xapi-helper */
    const char *machine;           /* program that changes the machine (xapi/machine.h); NULL = none */
    const char *etc;               /* the machine's own configuration */
    struct hv *hv;
    struct net *net;
    struct storage *storage;
    struct rrd_store *rrds;        /* metrics */
    struct vm_monitor *vms;        /* xapi/vm_monitor.c */
    struct vm_doubts *doubts;      /* VMs of which a commit failed; xapi/vm_doubts.h */
    struct live_tasks *tasks;
    struct auth *auth;             /* passwords and session keys */
    struct pool_secret *pool_secret;
    struct pool_role *role;        /* leads or follows; xapi/pool_role.h; NULL = leads */
    struct session_dbs *session_dbs;   /* dumps that sessions read */
    struct agent_now *now;
    struct event_hub *events;      /* waiters of event.from */
    struct user_agents *user_agents;   /* who logged in lately */
    struct plugin_calls *plugin_calls;   /* and for which VMs plug-ins were called; xapi/vm_plugin.h */
    struct login_guard *logins;    /* who guesses passwords */
    struct session_room *session_room;     /* xapi/session_room.h */
    struct login_cache *directory_logins;  /* of external directories; xapi/login_cache.h */
    struct rpc *rpc;               /* the gates' own state; set by rpc_init() */
    struct ref pool, host, dom0;   /* this host's own rows */
    char *address;                 /* this host's management address as clients reach it */
    int http_port, https_port;     /* bound ports; 0 = none */
    struct tls_server *tls;        /* what TLS listeners show; set before they listen */
    const char *certificate;       /* its PEM file, with the key */
    /* Upward pointers, set by main.c: see call_message() and agent_vm_event(). */
    int (*call_message)(struct call *c, const char *method, const struct value *args, size_t n,
                        struct value *ret_result, struct xerr *err);
    /* Which of the TCP listeners are open. Errors: INTERNAL_ERROR when one cannot be opened. */
    int (*listen)(struct agent *agent, bool plain, bool tls, struct xerr *err);
    /* The NBD server opens and closes as the purposes of networks say. Errors: INTERNAL_ERROR. */
    int (*serve_nbd)(struct agent *agent, struct xerr *err);
    atomic_int nbd_port;           /* 0 = closed */
};

/* What a task has while its call runs: progress and the wish to stop. */
struct live_task {
    struct ref ref;                /* the task's reference, also for a synchronous call (then only in memory) */
    char uuid[UUID_TEXT];
    atomic_bool cancelled;
    bool in_db;                    /* Async and client-made tasks have a row */
    _Atomic double progress;
};

/* What a session is good for, besides its roles. */
enum call_scope {
    SCOPE_ALL,
    SCOPE_LOCAL,                   /* messages marked local: session.slave_local_login* */
    SCOPE_REPOSITORY,              /* reading, and changing the records of one SR: a foreign storage driver */
    SCOPE_DATABASE,                /* reading a dump of a database instead: session.create_from_db_file */
};

#define CALL_MAGIC 0x63616c6cu

struct call {
    unsigned magic;
    struct agent *agent;
    struct agent *home;                   /* while a dump is read: the agent itself, agent's database being the dump; else NULL */
    struct arena *arena;                  /* lives until the answer is encoded */
    const struct method_desc *method;
    struct ref session;                   /* the session's row (not the secret the client holds); null before login */
    struct ref handle;                    /* that secret: only to name the session in an answer to this client */
    bool is_root;                         /* local superuser: every role */
    unsigned roles;                       /* bit i = has role i (enum role_id) */
    enum call_scope scope;
    struct ref repository;                /* of SCOPE_REPOSITORY */
    const char *user_name;                /* "" for root over the socket */
    const char *originator;
    const char *peer;                     /* "unix" or the address */
    const char *certificate;              /* names of the client's verified TLS certificate (tls_peer_names), or NULL */
    const char *unfinished;               /* NULL, or its disks are nobody's yet: xapi/unfinished.h */
    const char *making;                   /* of SCOPE_REPOSITORY: the disk whose making calls back; NULL = none */
    bool local;                           /* came over the unix socket, or from the agent itself */
    struct live_task *task;               /* never NULL */
};

/* Progress of the call's task, 0 to 1; events of Async tasks are limited to a few a second. */
void call_progress(struct call *c, double fraction);
/* True once somebody cancelled the task. */
static inline bool call_cancelled(const struct call *c) { return atomic_load(&c->task->cancelled); }
/* -1 with TASK_CANCELLED [task] once somebody cancelled the task, else 0. */
int call_check_cancel(struct call *c, struct xerr *err);
/* Another message, through all the gates, with this call's session: call_message(c, "VDI.clone", ARGS(value_ref(vdi)), &ret, err).
 * Arguments without the session. */
int call_message(struct call *c, const char *method, const struct value *args, size_t n, struct value *ret_result,
                 struct xerr *err);
#define ARGS(...) (const struct value[]){ __VA_ARGS__ }, ARRAY_SIZE(((const struct value[]){ __VA_ARGS__ }))

/* A call of the agent's own (background work, guest events): root, its own arena and in-memory task. */
struct call *call_new_internal(struct agent *agent, const char *what);
void call_free_internal(struct call *c);

/* Snapshot shorthand: the row or HANDLE_INVALID. */
static inline const struct row *call_need(const struct snap *s, enum class_id cls, struct ref ref, struct xerr *err)
{
    return snap_need(s, cls, ref, err);
}

#endif
