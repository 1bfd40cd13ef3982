/* VHD images against a model: what is written comes back, alone, in chains, after growing and at every crash.
 * Called by: make check.  Calls: lib/vhd. */
#include "tests/unit/unit.h"

#include "lib/vhd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>

enum { DISK = 11 * VHD_BLOCK + 5 * VHD_SECTOR };

static int new_file(void)
{
    int fd = memfd_create("image", MFD_CLOEXEC);

    assert_true(fd >= 0);
    return fd;
}

static struct vhd_new describe(enum vhd_type type, int64_t size)
{
    return (struct vhd_new){ .type = type, .size = size, .uuid = ref_new(), .parent_name = "base.vhd" };
}

static struct vhd *must_open(int fd)
{
    const char *why = NULL;
    struct vhd *v = NULL;

    if (vhd_open(dup(fd), true, &v, &why)) fail_msg("%s", why);
    return v;
}

/* ---- chains: fds[0] is the leaf -------------------------------------------------------------- */

struct family {
    int fds[VHD_MAX_CHAIN + 2];
    size_t n, next;
    bool raw_end;
};

static int find_parent(void *arg, const struct vhd_header *child _unused_, bool *ret_raw,
                       const char **ret_why)
{
    struct family *f = arg;

    *ret_why = "no such parent";
    if (f->next >= f->n) return -1;
    *ret_raw = f->raw_end && f->next == f->n - 1;
    return dup(f->fds[f->next++]);
}

static int open_chain(struct family *f, struct vhd_chain **ret_chain, const char **ret_why)
{
    f->next = 1;
    return vhd_chain_open(dup(f->fds[0]), true, find_parent, f, ret_chain, ret_why);
}

static struct vhd_chain *must_chain(struct family *f)
{
    struct vhd_chain *c = NULL;
    const char *why = NULL;

    if (open_chain(f, &c, &why)) fail_msg("%s", why);
    return c;
}

static void push_leaf(struct family *f, int64_t size, struct ref parent)
{
    struct vhd_new n = describe(VHD_DIFFERENCING, size);

    memmove(f->fds + 1, f->fds, f->n++ * sizeof(f->fds[0]));
    f->fds[0] = new_file();
    n.parent = parent;
    assert_int_equal(vhd_create(f->fds[0], &n), 0);
}

static struct ref uuid_of(int fd)
{
    struct vhd_footer footer;
    struct vhd_header header;
    const char *why = NULL;

    assert_int_equal(vhd_look(fd, &footer, &header, &why), 0);
    return footer.uuid;
}

static void family_end(struct family *f)
{
    for (size_t i = 0; i < f->n; i++) close(f->fds[i]);
}

static void fill(unsigned char *p, size_t n, unsigned seed)
{
    for (size_t i = 0; i < n; i++) p[i] = (unsigned char)((seed = seed * 1103515245 + 12345) >> 16);
}

/* Random ranges, also of part sectors and across blocks. */
static void scribble(struct vhd_chain *c, unsigned char *model, int64_t size, unsigned seed, int writes)
{
    unsigned char *piece = xmalloc(3 << 20);

    srand(seed);
    for (int i = 0; i < writes; i++) {
        int64_t at = ((int64_t)rand() * 77 + rand()) % size;
        size_t len = (size_t)(i % 7 ? rand() % 9000 : rand() % (3 << 20)) + 1;
        if ((int64_t)len > size - at) len = (size_t)(size - at);
        fill(piece, len, seed + (unsigned)i);
        memcpy(model + at, piece, len);
        assert_int_equal(vhd_chain_write(c, piece, len, at), 0);
    }
    assert_int_equal(vhd_flush(vhd_chain_leaf(c)), 0);
    free(piece);
}

static void assert_disk(struct vhd_chain *c, const unsigned char *model, int64_t size)
{
    unsigned char *got = xmalloc((size_t)size);

    assert_int_equal(vhd_chain_size(c), size);
    assert_int_equal(vhd_chain_read(c, got, (size_t)size, 0), 0);
    assert_memory_equal(got, model, (size_t)size);
    free(got);
}

/* ---- facts ----------------------------------------------------------------------------------- */

static void a_new_image_reads_as_zeros_and_keeps_what_is_written(void **state _unused_)
{
    struct family f = { .fds = { new_file() }, .n = 1 };
    struct vhd_new n = describe(VHD_DYNAMIC, DISK);
    unsigned char *model = xcalloc(1, DISK);

    assert_int_equal(vhd_create(f.fds[0], &n), 0);
    struct vhd_chain *c = must_chain(&f);
    assert_disk(c, model, DISK);
    scribble(c, model, DISK, 1, 60);
    assert_disk(c, model, DISK);
    vhd_chain_close(c);
    c = must_chain(&f);
    assert_disk(c, model, DISK);
    vhd_chain_close(c);
    free(model);
    family_end(&f);
}

static void a_fixed_image_is_its_data_and_a_footer(void **state _unused_)
{
    struct family f = { .fds = { new_file() }, .n = 1 };
    struct vhd_new n = describe(VHD_FIXED, 1 << 20);
    unsigned char *model = xcalloc(1, 2 << 20), text[512];

    assert_int_equal(vhd_create(f.fds[0], &n), 0);
    assert_int_equal(lseek(f.fds[0], 0, SEEK_END), (1 << 20) + 512);
    struct vhd_chain *c = must_chain(&f);
    scribble(c, model, 1 << 20, 2, 20);
    assert_disk(c, model, 1 << 20);
    vhd_chain_close(c);
    assert_int_equal(pread(f.fds[0], text, 512, 4096), 512);
    assert_memory_equal(text, model + 4096, 512);

    struct vhd *v = must_open(f.fds[0]);
    assert_int_equal(vhd_resize(v, 2 << 20), 0);
    vhd_close(v);
    c = must_chain(&f);
    assert_disk(c, model, 2 << 20); /* where the footer was there are zeros */
    vhd_chain_close(c);
    free(model);
    family_end(&f);
}

static void a_chain_shows_the_newest_of_every_sector(void **state _unused_)
{
    struct family f = { .fds = { new_file() }, .n = 1 };
    struct vhd_new n = describe(VHD_DYNAMIC, DISK);
    unsigned char *model = xcalloc(1, DISK);

    assert_int_equal(vhd_create(f.fds[0], &n), 0);
    for (unsigned i = 0; i < 6; i++) {
        struct vhd_chain *c = must_chain(&f);
        assert_int_equal(vhd_chain_depth(c), i + 1);
        scribble(c, model, DISK, 10 + i, 12);
        assert_disk(c, model, DISK);
        vhd_chain_close(c);
        push_leaf(&f, DISK, uuid_of(f.fds[0]));
    }
    struct vhd_chain *c = must_chain(&f);
    assert_disk(c, model, DISK);
    assert_int_equal(vhd_used(vhd_chain_leaf(c)), 0);
    vhd_chain_close(c);
    free(model);
    family_end(&f);
}

static void a_parent_may_be_a_raw_image_and_smaller(void **state _unused_)
{
    struct family f = { .fds = { new_file() }, .n = 1, .raw_end = true };
    unsigned char *model = xcalloc(1, DISK);
    const size_t raw = 3 * VHD_BLOCK + 512;

    fill(model, raw, 5);
    assert_int_equal(write(f.fds[0], model, raw), raw);
    push_leaf(&f, DISK, REF_NULL);
    struct vhd_chain *c = must_chain(&f);
    assert_disk(c, model, DISK);
    scribble(c, model, DISK, 6, 20);
    assert_disk(c, model, DISK);
    vhd_chain_close(c);
    free(model);
    family_end(&f);
}

static void growing_keeps_the_data_also_when_the_table_must_move(void **state _unused_)
{
    /* 128 entries fit in the table's sector; 2,000 do not. */
    const int64_t steps[] = { DISK, DISK + 512, INT64_C(40) * VHD_BLOCK, INT64_C(2000) * VHD_BLOCK };
    struct family f = { .fds = { new_file() }, .n = 1 };
    struct vhd_new n = describe(VHD_DYNAMIC, DISK);
    unsigned char *model = xcalloc(1, DISK), *got = xmalloc(DISK), last[512], back[512];

    assert_int_equal(vhd_create(f.fds[0], &n), 0);
    struct vhd_chain *c = must_chain(&f);
    scribble(c, model, DISK, 3, 30);
    vhd_chain_close(c);
    fill(last, sizeof(last), 9);
    for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
        struct vhd *v = must_open(f.fds[0]);
        assert_int_equal(vhd_resize(v, steps[i]), 0);
        if (i) assert_int_equal(vhd_write(v, last, 512, steps[i] - 512), 0);
        assert_int_equal(vhd_resize(v, steps[i] - 512), -1);
        assert_int_equal(errno, EINVAL);
        vhd_close(v);
        c = must_chain(&f);
        assert_int_equal(vhd_chain_size(c), steps[i]);
        assert_int_equal(vhd_chain_read(c, got, DISK, 0), 0);
        assert_memory_equal(got, model, DISK);
        if (i) assert_int_equal(vhd_chain_read(c, back, 512, steps[i] - 512), 0);
        if (i) assert_memory_equal(back, last, 512);
        vhd_chain_close(c);
    }
    free(got);
    free(model);
    family_end(&f);
}

static void the_parent_and_the_mark_of_hidden_can_change(void **state _unused_)
{
    int fd = new_file();
    struct vhd_new n = describe(VHD_DIFFERENCING, DISK);
    struct vhd_footer footer;
    struct vhd_header header;
    const struct ref other = ref_new();
    const char *why = NULL;

    n.parent = ref_new();
    n.parent_name = "h\xc3\xa4user \xf0\x9f\x8f\xa0.vhd";
    assert_int_equal(vhd_create(fd, &n), 0);
    assert_int_equal(vhd_look(fd, &footer, &header, &why), 0);
    assert_string_equal(header.parent_name, n.parent_name);
    assert_true(ref_eq(header.parent, n.parent) && ref_eq(footer.uuid, n.uuid) && !footer.hidden);

    struct vhd *v = must_open(fd);
    assert_int_equal(vhd_set_hidden(v, true), 0);
    assert_int_equal(vhd_set_parent(v, other, "b.vhd", 77), 0);
    assert_int_equal(vhd_look(fd, &footer, &header, &why), 0);
    assert_true(footer.hidden && ref_eq(header.parent, other) && header.parent_timestamp == 77);
    assert_string_equal(header.parent_name, "b.vhd");
    assert_int_equal(vhd_set_parent(v, REF_NULL, NULL, 0), 0);
    assert_int_equal(vhd_look(fd, &footer, &header, &why), 0);
    assert_int_equal(footer.type, VHD_DYNAMIC);
    vhd_close(v);
    close(fd);
}

static void a_lost_last_footer_is_replaced_by_the_first(void **state _unused_)
{
    struct family f = { .fds = { new_file() }, .n = 1 };
    struct vhd_new n = describe(VHD_DYNAMIC, DISK);
    unsigned char *model = xcalloc(1, DISK);

    assert_int_equal(vhd_create(f.fds[0], &n), 0);
    struct vhd_chain *c = must_chain(&f);
    scribble(c, model, DISK, 4, 20);
    vhd_chain_close(c);
    assert_int_equal(ftruncate(f.fds[0], lseek(f.fds[0], 0, SEEK_END) - 512), 0);
    c = must_chain(&f);
    assert_disk(c, model, DISK);
    scribble(c, model, DISK, 7, 20);
    vhd_chain_close(c);
    c = must_chain(&f);
    assert_disk(c, model, DISK);
    vhd_chain_close(c);
    free(model);
    family_end(&f);
}

static void loops_strangers_and_endless_chains_are_refused(void **state _unused_)
{
    struct family f = { .fds = { new_file() }, .n = 1 };
    struct vhd_new n = describe(VHD_DYNAMIC, DISK);
    struct vhd_chain *c;
    const char *why = NULL;

    assert_int_equal(vhd_create(f.fds[0], &n), 0);
    push_leaf(&f, DISK, ref_new());
    assert_int_equal(open_chain(&f, &c, &why), -1);
    assert_non_null(strstr(why, "another image"));

    struct family loop = { .fds = { f.fds[0], f.fds[0] }, .n = 2 };
    assert_int_equal(open_chain(&loop, &c, &why), -1);
    assert_non_null(strstr(why, "tail"));

    struct family orphan = { .fds = { f.fds[0] }, .n = 1 };
    assert_int_equal(open_chain(&orphan, &c, &why), -1);
    assert_string_equal(why, "no such parent");

    struct family tall = { .fds = { dup(f.fds[1]) }, .n = 1 };
    for (int i = 0; i < VHD_MAX_CHAIN - 1; i++) push_leaf(&tall, DISK, uuid_of(tall.fds[0]));
    assert_int_equal(open_chain(&tall, &c, &why), 0);
    vhd_chain_close(c);
    push_leaf(&tall, DISK, uuid_of(tall.fds[0]));
    assert_int_equal(open_chain(&tall, &c, &why), -1);
    assert_non_null(strstr(why, "too long"));
    family_end(&tall);
    family_end(&f);
}

static void an_impossible_size_makes_no_image(void **state _unused_)
{
    const int64_t sizes[] = { 0, -512, 513, VHD_MAX_SIZE + 512, INT64_MAX };
    int fd = new_file();

    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct vhd_new n = describe(VHD_DYNAMIC, sizes[i]);
        assert_int_equal(vhd_create(fd, &n), -1);
        assert_int_equal(errno, EINVAL);
    }
    close(fd);
}

static void the_name_of_a_parent_in_a_volume_ends_with_its_uuid(void **state)
{
    static const char *const good[] = {
        "0a1b2c3d-0001-4002-8003-00aabbccddee",
        "VHD-0a1b2c3d-0001-4002-8003-00aabbccddee",
        "/dev/VG_XenStorage-x/LV-0a1b2c3d-0001-4002-8003-00aabbccddee",
        "VG_XenStorage--1111--2222-VHD--0a1b2c3d--0001--4002--8003--00aabbccddee",
    };
    static const char *const bad[] = { "", "-", "VHD-", "a--------------------------------------------------b",
                                       "VHD-0a1b2c3d-0001-4002-8003-00aabbccddee.vhd" };
    char uuid[UUID_TEXT];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        assert_true(vhd_parent_uuid(good[i], uuid));
        assert_string_equal(uuid, "0a1b2c3d-0001-4002-8003-00aabbccddee");
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) assert_false(vhd_parent_uuid(bad[i], uuid));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_image_reads_as_zeros_and_keeps_what_is_written),
        cmocka_unit_test(a_fixed_image_is_its_data_and_a_footer),
        cmocka_unit_test(a_chain_shows_the_newest_of_every_sector),
        cmocka_unit_test(a_parent_may_be_a_raw_image_and_smaller),
        cmocka_unit_test(growing_keeps_the_data_also_when_the_table_must_move),
        cmocka_unit_test(the_parent_and_the_mark_of_hidden_can_change),
        cmocka_unit_test(a_lost_last_footer_is_replaced_by_the_first),
        cmocka_unit_test(loops_strangers_and_endless_chains_are_refused),
        cmocka_unit_test(an_impossible_size_makes_no_image),
        cmocka_unit_test(the_name_of_a_parent_in_a_volume_ends_with_its_uuid),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
