/* A client of xenstored: requests go out many at a time, and no wait is without a deadline.
 * Called by: xen*.c.  Calls: the kernel's sockets.
 *
 * libxenstore sends one request and waits for ever for its answer; a start is some forty requests, and a killed
 * xenstored leaves its clients hanging. So the protocol of xs_wire.h is spoken here. A connection belongs to one
 * thread at a time; after a failure of transport it is broken and can only be closed.
 *
 * Failures: HV_FAIL_UNREACHABLE (no xenstored, or it went away), HV_FAIL_TIMEOUT, HV_FAIL_ENGINE (it said no;
 * code: its errno). What guests wrote is any bytes: values have a length and are NUL-terminated besides. */
#ifndef XAPI_HV_XEN_STORE_H
#define XAPI_HV_XEN_STORE_H

#include "lib/strbuf.h"
#include "xapi/hv/hv_driver.h"

enum { XST_PATH = 3072 };            /* longest path, with its NUL */

struct xst;
/* patience_ms: for how long the daemon may say nothing to requests that wait for it. One that answers, slowly, is
 * given the deadline of each call; one that hangs is a TIMEOUT after this already. It ends the connecting, too. */
int xst_open(const char *socket_path, int64_t patience_ms, int64_t deadline_ms, struct xst **ret_s, struct hv_failure *f);
void xst_close(struct xst *s);       /* NULL is fine; its watches end with it */
bool xst_is_broken(const struct xst *s);
/* Readable when xst_fill() has something to do. */
int xst_fd(const struct xst *s);

/* ---- batches ---- */

/* Requests that are sent together and answered in order. They are no transaction: others may see some of them
 * done. A batch can be run again (a retry, a lost store). */
struct xst_op {
    uint32_t type;
    bool may_miss;                   /* ENOENT is no failure */
    size_t path_at;                  /* of the request's first text in bytes */
    char *value;                     /* answer of a read, owned; NULL = there is no such node */
    size_t len;
};
struct xst_batch {
    struct strbuf bytes;             /* the requests as they go out */
    struct xst_op *ops;
    size_t n, cap;
};
#define XST_BATCH_INIT { .bytes = STRBUF_INIT, .ops = NULL }
void xst_batch_free(struct xst_batch *b);
#define _cleanup_batch_ _cleanup_(xst_batch_free)

void xst_write(struct xst_batch *b, const char *path, const char *value);
void xst_writef(struct xst_batch *b, const char *path, const char *fmt, ...) _printf_(3, 4);
void xst_mkdir(struct xst_batch *b, const char *path);
/* Owner and, when reader is not negative, one more domain that may read; nobody else may. */
void xst_perms(struct xst_batch *b, const char *path, int64_t owner, int64_t reader);
void xst_rm(struct xst_batch *b, const char *path);            /* a missing node is fine */
/* Returns the index for xst_value(). A missing node is no failure. */
size_t xst_read(struct xst_batch *b, const char *path);
void xst_watch(struct xst_batch *b, const char *path, const char *token);
void xst_unwatch(struct xst_batch *b, const char *path, const char *token);
/* xenstored maps the domain's ring: frame and port as the builder made them. */
void xst_introduce(struct xst_batch *b, int64_t domid, uint64_t frame, unsigned port);
void xst_release(struct xst_batch *b, int64_t domid);
/* A domain that was shut down for a suspend goes on: its next shutdown is news again. */
void xst_resume(struct xst_batch *b, int64_t domid);

/* Sends all and reads all answers. The first refusal is the failure, but every request was tried. TIMEOUT: the deadline
 * passed, or no answer came for patience_ms (events are none). */
int xst_run(struct xst *s, struct xst_batch *b, int64_t deadline_ms, struct hv_failure *f);
/* The answer to a read of a batch that has run; NULL when there is no such node. Borrowed from the batch. */
const char *xst_value(const struct xst_batch *b, size_t i);
/* xst_value() as a number; fallback when it is missing or is none. */
int64_t xst_value_int(const struct xst_batch *b, size_t i, int64_t fallback);

/* ---- one at a time ---- */

/* A node's value in the arena, *ret_value NULL when there is none. */
int xst_get(struct xst *s, const char *path, struct arena *a, const char **ret_value, int64_t deadline_ms,
            struct hv_failure *f);
/* Names of a node's children (no such node: none), at most `max` of them. */
int xst_list(struct xst *s, const char *path, struct arena *a, size_t max, const char *const **ret_names,
             size_t *ret_n, int64_t deadline_ms, struct hv_failure *f);

/* ---- events ---- */

struct xst_event {
    struct xst_event *next;
    const char *token;               /* inside path's memory */
    char path[];
};
/* Takes in what has arrived without waiting. */
int xst_fill(struct xst *s, struct hv_failure *f);
/* The oldest event, to be freed with free(); NULL when there is none. */
struct xst_event *xst_take_event(struct xst *s);
/* Waits until a watch of this connection fires and drops the events. 1 = it did, 0 = the deadline passed. */
int xst_wait(struct xst *s, int64_t deadline_ms, struct hv_failure *f);

#endif
