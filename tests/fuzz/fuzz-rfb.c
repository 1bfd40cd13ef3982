/* What a screen's server may say: a frame inside its limits, or an error, and no byte beyond.
 * Called by: libFuzzer, replay.c.  Calls: lib/rfb. */
#include "tests/fuzz/fuzz.h"

#include "lib/rfb.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct stream s = STREAM_INIT;
    struct rfb_frame frame = { 0 };
    int pair[2];

    if (size > 100 << 10) return 0;    /* what a socket holds, so that this needs no second thread */
    MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
    MUST(size == 0 || send(pair[1], data, size, 0) == (ssize_t)size);
    shutdown(pair[1], SHUT_WR);
    s.fd = pair[0];
    errno = 0;
    if (rfb_read_frame(&s, 5000, &frame) == 0) {
        unsigned sum = 0;
        MUST(frame.width && frame.height && frame.width <= RFB_MAX_SIDE && frame.width * frame.height <= RFB_MAX_PIXELS);
        for (size_t i = 0; i < 4 * (size_t)frame.width * frame.height; i += 997) sum += frame.pixels[i];
        MUST(sum < UINT32_MAX);
        free(frame.pixels);
    } else {
        MUST(errno && errno != ETIMEDOUT && !frame.pixels);
    }
    stream_close(&s);
    close(pair[1]);
    return 0;
}
