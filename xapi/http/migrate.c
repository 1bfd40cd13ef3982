/* /migrate: a VM of another pool comes in, over a connection that is raw after CONNECT.
 * Called by: the route table.  Calls: vm_migrate, http_auth. */
#include "xapi/http/migrate.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/socket.h>

#include "lib/stream.h"
#include "xapi/http/http_auth.h"
#include "xapi/vm_migrate.h"

enum { IDLE_MS = 600000, SILENT_MS = 30000 };

struct ends {
    struct stream *client, local;
};

static void *relay(void *arg)
{
    struct ends *e = arg;

    stream_relay(e->client, &e->local, IDLE_MS);
    shutdown(e->local.fd, SHUT_RDWR);
    return NULL;
}

/* TLS ends here: whoever writes a guest's memory knows plain sockets only. */
static int serve(struct http_request *req, struct call *c, struct value *ret_vm, struct xerr *err)
{
    struct ends ends = { .local = STREAM_INIT };
    pthread_t thread;
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds)) return xerr_internal(err, "socketpair: %s", strerror(errno));
    ends.local.fd = fds[1];
    if (fcntl(fds[1], F_SETFL, O_NONBLOCK) < 0 || http_stream_head(req, 200, NULL)) {
        close(fds[0]);
        close(fds[1]);
        return xerr_internal(err, "migration: the client has gone");
    }
    ends.client = http_stream(req);
    stream_watch_peer(ends.client, SILENT_MS);
    int rc = pthread_create(&thread, NULL, relay, &ends);
    if (rc) {
        xerr_internal(err, "thread: %s", strerror(rc));
        rc = -1;
    } else {
        rc = vm_migrate_serve(c, fds[0], ret_vm, err);
        shutdown(fds[0], SHUT_WR);
        pthread_join(thread, NULL);
    }
    close(fds[0]);
    stream_close(&ends.local);
    return rc;
}

void migrate(struct http_request *req, struct call *c, struct xerr *err)
{
    struct value vm = value_void();

    serve(req, c, &vm, err);
    http_call_end(c, &vm, err);
}
