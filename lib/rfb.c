/* What a screen shows now.
 * Called by: xapi/http/screenshot.c.  Calls: stream, clock. */
#include "lib/rfb.h"

#include <endian.h>
#include <errno.h>

#include "lib/clock.h"

enum { SECURITY_NONE = 1, MAX_SECURITY = 255, MAX_TEXT = 1 << 20, ENCODING_RAW = 0 };
enum client_message { SET_PIXEL_FORMAT = 0, SET_ENCODINGS = 2, UPDATE_REQUEST = 3 };
enum server_message { UPDATE = 0, BELL = 2, CUT_TEXT = 3 };

struct viewer {
    struct stream *stream;
    int64_t deadline_ns;
};

struct pixel_format {
    uint8_t bits, depth, big_endian, true_colour;
    uint16_t red_max, green_max, blue_max;
    uint8_t red_shift, green_shift, blue_shift, padding[3];
} __attribute__((packed));

struct server_init {
    uint16_t width, height;
    struct pixel_format format;
    uint32_t name_len;
} __attribute__((packed));

struct rectangle {
    uint16_t x, y, width, height;
    int32_t encoding;
} __attribute__((packed));

static int fail(int why)
{
    errno = why;
    return -1;
}

static int left_ms(const struct viewer *v)
{
    return clock_poll_ms(v->deadline_ns, INT32_MAX);
}

static int take(struct viewer *v, void *buf, size_t n)
{
    return stream_read_full(v->stream, buf, n, left_ms(v));
}

static int give(struct viewer *v, const void *buf, size_t n)
{
    return stream_write(v->stream, buf, n, left_ms(v));
}

static int skip(struct viewer *v, size_t n)
{
    char waste[4096];

    if (n > MAX_TEXT) return fail(EPROTO);
    for (size_t step; n; n -= step) {
        step = n < sizeof(waste) ? n : sizeof(waste);
        if (take(v, waste, step)) return -1;
    }
    return 0;
}

static int agree(struct viewer *v)
{
    static const char version[12] = "RFB 003.008\n";
    static const uint8_t none = SECURITY_NONE, shared = 1;
    char theirs[sizeof(version)];
    uint8_t n, types[MAX_SECURITY];
    uint32_t result;

    if (take(v, theirs, sizeof(theirs))) return -1;
    if (memcmp(theirs, "RFB 003.", 8) != 0 || memcmp(theirs + 8, version + 8, 4) < 0) return fail(EPROTO);
    if (give(v, version, sizeof(version)) || take(v, &n, 1) || take(v, types, n)) return -1;
    if (!memchr(types, SECURITY_NONE, n)) return fail(n ? EACCES : EPROTO);
    if (give(v, &none, 1) || take(v, &result, sizeof(result))) return -1;
    if (result) return fail(EACCES);
    return give(v, &shared, 1);
}

static int measure(struct viewer *v, struct rfb_frame *f)
{
    struct server_init init;

    if (take(v, &init, sizeof(init)) || skip(v, be32toh(init.name_len))) return -1;
    f->width = be16toh(init.width);
    f->height = be16toh(init.height);
    if (!f->width || !f->height) return fail(EPROTO);
    if (f->width > RFB_MAX_SIDE || f->height > RFB_MAX_SIDE || f->width * f->height > RFB_MAX_PIXELS) return fail(EFBIG);
    return 0;
}

/* Everything, as it is, in our order of bytes. */
static int request(struct viewer *v, const struct rfb_frame *f)
{
    const struct {
        uint8_t format_type, pad1[3];
        struct pixel_format format;
        uint8_t encodings_type, pad2;
        uint16_t n;
        int32_t encoding;
        uint8_t update_type, incremental;
        uint16_t x, y, width, height;
    } __attribute__((packed)) m = {
        .format_type = SET_PIXEL_FORMAT,
        .format = { .bits = 32, .depth = 24, .true_colour = 1, .red_max = htobe16(255), .green_max = htobe16(255),
                    .blue_max = htobe16(255), .red_shift = 16, .green_shift = 8 },
        .encodings_type = SET_ENCODINGS,
        .n = htobe16(1),
        .encoding = ENCODING_RAW,
        .update_type = UPDATE_REQUEST,
        .width = htobe16((uint16_t)f->width),
        .height = htobe16((uint16_t)f->height),
    };

    return give(v, &m, sizeof(m));
}

static int take_rectangle(struct viewer *v, struct rfb_frame *f)
{
    struct rectangle r;

    if (take(v, &r, sizeof(r))) return -1;
    unsigned x = be16toh(r.x), y = be16toh(r.y), width = be16toh(r.width), height = be16toh(r.height);
    if (r.encoding != ENCODING_RAW || x + width > f->width || y + height > f->height) return fail(EPROTO);
    for (unsigned row = 0; width && row < height; row++)
        if (take(v, f->pixels + 4 * ((size_t)(y + row) * f->width + x), 4 * (size_t)width)) return -1;
    return 0;
}

static int take_update(struct viewer *v, struct rfb_frame *f)
{
    struct { uint8_t padding; uint16_t n; } __attribute__((packed)) head;

    if (take(v, &head, sizeof(head))) return -1;
    for (unsigned i = 0; i < be16toh(head.n); i++)
        if (take_rectangle(v, f)) return -1;
    return 0;
}

static int take_cut_text(struct viewer *v)
{
    struct { uint8_t padding[3]; uint32_t len; } __attribute__((packed)) head;

    return take(v, &head, sizeof(head)) ? -1 : skip(v, be32toh(head.len));
}

/* Up to the update that answers the request. */
static int take_frame(struct viewer *v, struct rfb_frame *f)
{
    for (;;) {
        uint8_t type;
        if (take(v, &type, 1)) return -1;
        switch (type) {
        case UPDATE: return take_update(v, f);
        case BELL: break;
        case CUT_TEXT:
            if (take_cut_text(v)) return -1;
            break;
        default: return fail(EPROTO);
        }
    }
}

int rfb_read_frame(struct stream *s, int timeout_ms, struct rfb_frame *ret_frame)
{
    struct viewer v = { s, clock_deadline_ns(timeout_ms) };
    struct rfb_frame f = { 0 };

    if (agree(&v) || measure(&v, &f)) return -1;
    f.pixels = xcalloc((size_t)f.width * f.height, 4);
    if (request(&v, &f) || take_frame(&v, &f)) {
        int why = errno;
        free(f.pixels);
        return fail(why);
    }
    *ret_frame = f;
    return 0;
}
