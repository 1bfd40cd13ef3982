/* The inside of the HTTP server: connections, exchanges, workers.
 * Called by: xapi/http/{server,conn,reply,stream,threads}.c only.  Calls: xapi/http/server.h, lib.
 *
 * Who owns a connection is its state:
 *
 *   FREE -> READING                    accepted; epoll owns it: handshake, idle, part of a head or body
 *   READING -> BUSY                    a worker took an event, or the timer took an expired one
 *   BUSY -> READING, WRITING, LINGERING, PARKED, FREE
 *   PARKED -> BUSY                     by http_park_reply
 *   PARKED -> LEAVING -> FREE | LEFT   the client hung up: on_gone runs; LEFT waits for http_park_reply
 *   WRITING, LINGERING -> BUSY         epoll: room in the socket; bytes to throw away
 *
 * Descriptors are registered once, edge-triggered. An event that finds the connection BUSY or PARKED is
 * kept in `pending` and looked at when the owner gives it back. The generation in an event's data makes
 * late events of an earlier connection in the same slot harmless: slots are never freed. */
#ifndef XAPI_HTTP_CONN_H
#define XAPI_HTTP_CONN_H

#include "xapi/http/gate.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/socket.h>

enum {
    READ_SIZE = 32 << 10,           /* an exchange's buffer; at least head_max and a small body */
    CONNS_PER_BLOCK = 64,
    LISTENERS_MAX = 64,
    LINGER_MS = 10000,
    UNREAD_HARD = 4,
    STILL_MS = 5000,
    LINGER_BYTES = 16 << 20,
    TLS_RECORD = 16 << 10,
    IOV_BATCH = 128,
};

enum conn_state {
    CONN_FREE, CONN_READING, CONN_BUSY, CONN_PARKED, CONN_LEAVING, CONN_LEFT, CONN_WRITING, CONN_LINGERING,
};

/* What is still to be sent. Pieces in order: head, body, iov. */
struct out {
    char *head;                     /* owned; NULL when done */
    size_t head_len;
    struct strbuf body;
    const struct iovec *iov;
    size_t n_iov;
    size_t at;                      /* bytes sent of the first piece that is left */
    void (*release)(void *arg);
    void *release_arg;
};

struct conn {
    /* immutable */
    struct http_server *server;
    uint32_t index;

    /* lock: lock */
    pthread_mutex_t lock;
    pthread_cond_t left;            /* LEAVING ended */
    enum conn_state state;
    uint32_t generation;
    uint32_t pending;               /* epoll events while BUSY or PARKED */
    bool detached;                  /* BUSY with a thread, not a worker */
    int fd;                         /* changes under lock; the owner may read it without */
    bool (*on_gone)(void *arg);
    void *on_gone_arg;
    _Atomic int64_t deadline_ms;    /* 0 = none; read by the timer without the lock */

    /* the owner's */
    SSL *ssl;
    struct exchange *exchange;      /* a request whose body is not complete */
    struct out *out;
    char *in;                       /* bytes of the next request; owned */
    size_t in_len, scan;
    int64_t head_deadline_ms, since_ms;
    int64_t asked_ns;               /* since when its next request is waited for */
    size_t lingered, waiting_bytes, unread_bytes;   /* the latter two: in the server's counts */
    bool is_unix, has_cred, handshaken, proxy_line, served, prompt, drained, hup, keep, linger, watch_out;
    unsigned char minor;            /* HTTP/1.x of the request being answered */
    uint16_t port;
    struct ucred cred;
    char address[46];
    uint32_t next_free;             /* lock: server */
    struct conn *next_stalled;      /* lock: gate */
};

enum outcome { X_OPEN, X_REPLIED, X_PARKED, X_STREAMING };
enum body_mode { BODY_NONE, BODY_LENGTH, BODY_CHUNKED, BODY_EOF };

/* One request on its way: the worker's until it is deferred. */
struct exchange {
    struct http_request req;
    struct conn *conn;              /* NULL once parked or replied by another owner */
    const struct http_route *route;
    enum outcome outcome;
    bool *deferred;                 /* the worker's: set before a thread takes the exchange */
    char *buf;                      /* READ_SIZE + 1: the head, and the body when both fit */
    size_t len;
    struct strbuf body;             /* a body that did not come with its head */
    struct stream stream;           /* threads of STREAM routes */
    enum body_mode mode;
    uint64_t body_left;
    struct http_chunked chunked;
    struct strbuf last;             /* of a streamed reply: sent when its handler is through */
    bool continued, ended;          /* 100 Continue is out; the body's end was seen */
    http_handler_fn fn;             /* what the thread runs */
    void *fn_arg;
    struct exchange *next;          /* in the pool's queue; at the gate */
    struct gate_flow *flow;         /* what it counts for at the gate; NULL = nothing */
};

struct worker {
    struct http_server *server;
    struct exchange *exchange;      /* a fresh one, or NULL */
};

/* Threads that wait for the same. One that has just run a long call is owed little by the kernel, and would keep a new
 * connection's call waiting: so those who read are others than those who run what waited at the gate. */
struct team {
    const char *name;
    void *(*main)(void *server);
    int events_fd;                  /* an epoll set */
    unsigned min;                   /* stay when there is nothing to do */
    atomic_uint workers;            /* changes under the server's lock */
    atomic_uint idle;
    atomic_bool starting;
};

enum { READERS, RUNNERS, N_TEAMS };

struct listener {
    pthread_mutex_t lock;
    int fd;                         /* lock; -1 = closed */
    uint32_t generation;            /* lock */
    bool is_unix, proxy_line, paused;
    unsigned port;
    char *path;
    dev_t dev;
    ino_t ino;
    struct tls_server *tls;
};

/* Threads for deferred and streaming requests; idle ones end after a while. */
/* Where a thread of the pool waits; on its stack. */
struct seat {
    sem_t called;                   /* posted by who took the seat off the list, out of the lock */
    struct exchange *x;             /* lock, until it is called; NULL: nothing, the pool stops */
    struct seat *next;              /* lock */
    bool listed;                    /* lock */
};

struct pool {
    pthread_mutex_t lock;
    pthread_cond_t ended;
    struct seat *seats;             /* lock; who sat down last is called first */
    struct exchange *first, **last; /* lock; those for which a thread was started */
    unsigned threads, idle, max;    /* lock; idle: seats */
    bool stop;                      /* lock */
    size_t stack_bytes;
};

struct http_server {
    struct http_config cfg;
    int epoll_fd, wake_fd, turn_fd;   /* epoll_fd: of connections; turn_fd: somebody's turn has come at the gate */
    struct gate *gate;
    _Atomic int64_t now_ms;         /* CLOCK_BOOTTIME, as of the last tick */
    int tick_ms;
    atomic_bool stopping, stopped;
    bool looks;                     /* there are processors enough for a worker that looks instead of sleeping */
    atomic_bool looking;            /* one does */

    struct http_route *routes[HTTP_METHODS];   /* longest prefix first */
    size_t n_routes[HTTP_METHODS];

    pthread_mutex_t lock;           /* slots, workers, timer */
    pthread_cond_t wake;            /* timer; stop */
    struct conn **blocks;           /* block pointers are set once */
    uint32_t n_slots, max_slots, free_slot;    /* lock; free_slot: index + 1 */
    _Atomic uint32_t n_scan;        /* slots in use at most */
    struct team teams[N_TEAMS];
    pthread_t timer;
    bool timer_runs;
    pthread_mutex_t ended_lock;
    pthread_t *ended;               /* ended_lock: threads to be joined */
    size_t n_ended;                 /* ended_lock */
    atomic_uint tcp_conns, unix_conns, parked, running;
    _Atomic size_t waiting_bytes, unread_bytes;
    _Atomic uint64_t requests, accepted, refused, prompt;

    struct listener listeners[LISTENERS_MAX];
    struct pool pool;
};

/* server.c */
struct conn *server_conn(struct http_server *s, uint32_t index);
struct conn *server_take_slot(struct http_server *s);
void server_put_slot(struct conn *c);
/* fn(s) on a thread. Its last deed is server_thread_ends(), before it is counted out. 0, or -1 + errno. */
int server_start_thread(struct http_server *s, void *(*fn)(void *), size_t stack_bytes,
                        pthread_t *ret_thread);
void server_thread_ends(struct http_server *s);
static inline int64_t server_now_ms(struct http_server *s)
{
    return atomic_load_explicit(&s->now_ms, memory_order_relaxed);
}

/* conn.c */
void conn_open(struct http_server *s, const struct listener *l, int fd, const struct sockaddr_storage *peer);
void conn_event(struct worker *w, struct conn *c, uint32_t generation, uint32_t events);
/* The timer took it: answer 408 when half a request is there, close. */
void conn_expire(struct conn *c);
void conn_close(struct conn *c);
/* What waited at the gate runs; serves its connection further. */
void conn_run_next(struct worker *w);
/* A reply is out or under way: what comes next. True: the worker shall read on. w NULL: not on a worker. */
bool conn_after_reply(struct conn *c, struct worker *w);
/* Any thread, lock held: give the connection back to epoll so that an event comes at once. */
void conn_kick(struct conn *c);
/* Interest of the registration. */
void conn_watch(struct conn *c, uint32_t events);
/* Never blocks. >0 bytes, 0 end, -1 + errno (EAGAIN). */
ssize_t conn_recv(struct conn *c, void *buf, size_t n);
bool conn_evict(struct http_server *s);
/* Cut those that have not gone on reading since then, the longest first, until no more than so many bytes of
 * replies wait. */
void conn_cut_unread(struct http_server *s, size_t most_bytes, int64_t since_ms);

/* reply.c */
/* Send what can be sent. 1 = all of it, 0 = the socket is full, -1 = broken. */
int out_flush(struct conn *c);
void out_free(struct out *o);
/* What is left of the connection's reply is given up, or was sent. */
void out_end(struct conn *c);
void reply_drop(struct http_reply *r);
/* The head and body of a reply on a connection the caller owns; keep and out are set. */
void conn_reply(struct conn *c, struct http_reply *r);
/* The end of what a stream has sent; takes the buffer. */
void conn_send_last(struct conn *c, struct strbuf *last);
void conn_reply_error(struct conn *c, int status, const char *text);

/* threads.c */
struct exchange *exchange_new(struct http_server *s);
void exchange_reset(struct exchange *x);
void exchange_free(struct exchange *x);
/* The handler returned: 500 when it did nothing, then conn_after_reply. */
bool exchange_done(struct exchange *x, struct worker *w);
int pool_init(struct pool *p, unsigned max, size_t stack_bytes);
int pool_submit(struct http_server *s, struct exchange *x);
/* Waits at most timeout_ms; how many threads still run something. */
unsigned pool_stop(struct pool *p, int timeout_ms);

static inline struct exchange *exchange_of(struct http_request *req)
{
    return (struct exchange *)(void *)req;   /* its first member */
}

#endif
