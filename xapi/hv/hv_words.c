/* What the two sides of a migration say to each other once the guest's memory is over.
 * Called by: sim_migrate.c, libvirt_migrate.c.  Calls: hv_util.c. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>

#include "xapi/hv/hv_driver.h"

enum { MAGIC = 0x314d5831, LOOK_MS = 200 };
struct message {
    uint32_t magic, word;
    int64_t zero;
    char why[240];
};

int hv_say(int fd, enum hv_word word, const char *why, struct hv_failure *f)
{
    struct message m = { .magic = MAGIC, .word = word };

    snprintf(m.why, sizeof m.why, "%s", why);
    if (send(fd, &m, sizeof m, MSG_NOSIGNAL) == (ssize_t)sizeof m) return 0;
    return hv_fail(f, HV_FAIL_ENGINE, "the other side has gone: %s", strerror(errno));
}

int hv_read(int fd, void *bytes, size_t n, int64_t deadline_ms, bool (*hurry)(void *arg), void *arg, struct hv_failure *f)
{
    for (size_t got = 0; got < n;) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        if (hurry && hurry(arg)) return hv_fail(f, HV_FAIL_CANCELLED, "something more urgent came");
        if (hv_now_ms() >= deadline_ms) return hv_fail(f, HV_FAIL_TIMEOUT, "the other side does not answer");
        if (poll(&p, 1, LOOK_MS) <= 0) continue;
        ssize_t part = recv(fd, (char *)bytes + got, n - got, MSG_DONTWAIT);
        if (part < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (part <= 0) return hv_fail(f, HV_FAIL_ENGINE, "the other side has gone");
        got += (size_t)part;
    }
    return 0;
}

int hv_expect(int fd, enum hv_word word, int64_t deadline_ms, bool (*hurry)(void *arg), void *arg, struct hv_failure *f)
{
    struct message m;

    if (hv_read(fd, &m, sizeof m, deadline_ms, hurry, arg, f) < 0) return -1;
    m.why[sizeof m.why - 1] = '\0';
    if (m.magic != MAGIC) return hv_fail(f, HV_FAIL_ENGINE, "the other side says something strange");
    if (m.word == (uint32_t)word) return 0;
    if (m.word != HV_WORD_FAILED) return hv_fail(f, HV_FAIL_ENGINE, "the other side: an unexpected word");
    hv_fail(f, HV_FAIL_ENGINE, "the other side: %s", m.why);
    return HV_SAID_NO;
}
