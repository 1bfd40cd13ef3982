/* What the Xen driver writes: nodes of xenstore, ACPI tables.
 * Called by: make check.  Calls: xapi/hv/xen_layout, xapi/hv/domain/acpi. */
#include "tests/unit/unit.h"

#include "lib/map.h"
#include "xapi/hv/domain/acpi.h"
#include "xapi/hv/xen_layout.h"

/* ---- reading a batch back ---- */

enum { INTRODUCE = 8, WRITE = 11, MKDIR = 12, RM = 13, PERMS = 14 };
struct head { uint32_t type, id, transaction, len; };

/* What a batch leaves in an empty xenstore: "PATH" -> value, "PATH perms" -> "n0 r5". */
static struct map *replay(const struct xst_batch *b, const char **last)
{
    struct map *m = map_new();

    for (size_t at = 0; at < b->bytes.len;) {
        struct head h;
        memcpy(&h, b->bytes.ptr + at, sizeof h);
        const char *body = b->bytes.ptr + at + sizeof h, *second = body + strlen(body) + 1;
        size_t n = (size_t)(body + h.len - second);
        if (h.type == WRITE) free(map_put(m, body, xstrndup(second, n)));
        if (h.type == INTRODUCE) free(map_put(m, "introduced", xasprintf("%s %s %s", body, second, second + strlen(second) + 1)));
        if (h.type == PERMS) {
            _cleanup_free_ char *key = xasprintf("%s perms", body);
            size_t first = strlen(second) + 1;
            free(map_put(m, key, first < n ? xasprintf("%s %s", second, second + first) : xstrdup(second)));
        }
        if (last) *last = body;
        at += sizeof h + h.len;
    }
    return m;
}

static void drop(struct map *m)
{
    const char *key;
    void *value;

    for (size_t at = 0; map_next(m, &at, &key, &value);) free(value);
    map_free(m);
}

#define assert_node(m, key, value)                                       \
    do {                                                                 \
        const char *got_ = map_get(m, key);                              \
        if (!got_) fail_msg("no %s", key);                               \
        assert_string_equal(got_, value);                                \
    } while (0)

/* ---- nodes ---- */

static void disks_have_the_numbers_that_guests_expect(void **state _unused_)
{
    assert_int_equal(xn_devid(0), 51712);
    assert_int_equal(xn_devid(1), 51728);
    assert_int_equal(xn_devid(15), 51952);
    assert_int_equal(xn_devid(16), (1 << 28) | (16 << 8));
    assert_int_equal(xn_devid(255), (1 << 28) | (255 << 8));
}

static void a_domain_is_laid_out(void **state _unused_)
{
    _cleanup_batch_ struct xst_batch b = XST_BATCH_INIT;
    const struct hv_pair data[] = {
        { "vm-data/hello", "world" }, { "vm-data/../../1/x", "no" }, { "control/shutdown", "no" }, { "vm-data/", "no" },
        { "vm-data/a b", "no" },
    };
    const struct hv_vm vm = {
        .id = hv_id("11111111-2222-3333-4444-555555555555", REF_NULL), .name = "a/b\nc", .domain_type = HV_DOMAIN_PV,
        .memory_static_max_bytes = 512 << 20, .memory_target_bytes = 256 << 20, .vcpus_max = 2, .vcpus_at_startup = 1,
        .xenstore_data = data, .n_xenstore_data = ARRAY_SIZE(data),
    };

    xn_layout_domain(&b, 7, &vm, 0);
    xn_layout_rings(&b, 7, 4711, 1, 4712, 2);
    struct map *m = replay(&b, NULL);
    assert_node(m, "/local/domain/7 perms", "n0 r7");
    assert_node(m, "/local/domain/7/vm", "/vm/11111111-2222-3333-4444-555555555555");
    assert_node(m, "/local/domain/7/name", "a-b-c");
    assert_node(m, "/local/domain/7/memory/static-max", "524288");
    assert_node(m, "/local/domain/7/memory/target", "262144");
    assert_node(m, "/local/domain/7/cpu/0/availability", "online");
    assert_node(m, "/local/domain/7/cpu/1/availability", "offline");
    assert_node(m, "/local/domain/7/control perms", "n7");
    assert_node(m, "/local/domain/7/data perms", "n7");
    assert_null(map_get(m, "/local/domain/7/memory perms"));
    assert_null(map_get(m, "/local/domain/7/hvmloader perms"));
    assert_node(m, "/local/domain/7/vm-data/hello", "world");
    assert_node(m, "introduced", "7 4711 1");
    assert_node(m, "/local/domain/7/console/port", "2");
    const char *key;
    void *value;
    for (size_t at = 0; map_next(m, &at, &key, &value);) assert_string_not_equal(value, "no");
    drop(m);
}

static void firmware_has_its_own_nodes(void **state _unused_)
{
    _cleanup_batch_ struct xst_batch b = XST_BATCH_INIT;
    const struct hv_pair strings[] = { { "bios-vendor", "Xen" } };
    const struct hv_vm vm = {
        .id = hv_id("11111111-2222-3333-4444-555555555555", REF_NULL), .name = "", .domain_type = HV_DOMAIN_HVM,
        .memory_static_max_bytes = 512 << 20, .memory_target_bytes = 512 << 20, .vcpus_max = 1, .vcpus_at_startup = 1,
        .firmware = HV_FIRMWARE_UEFI, .bios_strings = strings, .n_bios_strings = 1,
    };

    xn_layout_domain(&b, 7, &vm, 8 << 20);
    struct map *m = replay(&b, NULL);
    assert_node(m, "/local/domain/7/hvmloader/bios", "ovmf");
    assert_node(m, "/local/domain/7/bios-strings/bios-vendor", "Xen");
    assert_node(m, "/local/domain/7/memory/target", "516096");
    assert_node(m, "/local/domain/7/memory/videoram", "8192");
    assert_node(m, "/local/domain/7/name", "unnamed");
    drop(m);
}

static void devices_have_two_ends_and_their_state_comes_last(void **state _unused_)
{
    _cleanup_batch_ struct xst_batch b = XST_BATCH_INIT, c = XST_BATCH_INIT;
    const char *last;

    xn_layout_vbd(&b, 5, &(struct xn_vbd_nodes){ .slot = 0, .devid = 51712, .major = 7, .minor = 26, .path = "/a", .readonly = true });
    struct map *m = replay(&b, &last);
    assert_string_equal(last, "/local/domain/5/device/vbd/51712/state");
    assert_node(m, "/local/domain/0/backend/vbd/5/51712/physical-device", "7:1a");
    assert_node(m, "/local/domain/0/backend/vbd/5/51712/mode", "r");
    assert_node(m, "/local/domain/0/backend/vbd/5/51712/frontend", "/local/domain/5/device/vbd/51712");
    assert_node(m, "/local/domain/0/backend/vbd/5/51712 perms", "n0 r5");
    assert_node(m, "/local/domain/5/device/vbd/51712 perms", "n5 r0");
    assert_node(m, "/local/domain/5/device/vbd/51712/backend", "/local/domain/0/backend/vbd/5/51712");
    assert_node(m, "/local/domain/0/backend/vbd/5/51712/state", "1");
    drop(m);

    xn_layout_vif(&c, 5, &(struct xn_vif_nodes){ .device = 1, .mtu = 1400, .mac = "00:16:3e:00:00:01", .bridge = "xenbr0",
                                                 .rate_bytes = 1 << 20 });
    m = replay(&c, &last);
    assert_string_equal(last, "/local/domain/5/device/vif/1/state");
    assert_node(m, "/local/domain/0/backend/vif/5/1/mac", "00:16:3e:00:00:01");
    assert_node(m, "/local/domain/0/backend/vif/5/1/rate", "52428,50000");
    assert_node(m, "/local/domain/5/device/vif/1/mtu", "1400");
    assert_null(map_get(m, "/local/domain/0/backend/vif/5/1/hotplug-status"));
    drop(m);
}

/* ---- ACPI ---- */

static uint64_t get(const uint8_t *at, size_t bytes)
{
    uint64_t value = 0;

    for (size_t i = bytes; i;) value = value << 8 | at[--i];
    return value;
}

static void assert_sums_to_zero(const uint8_t *table, size_t len)
{
    unsigned sum = 0;

    for (size_t i = 0; i < len; i++) sum += table[i];
    assert_int_equal(sum & 0xff, 0);
}

static void tables_are_found_from_the_rsdp(void **state _unused_)
{
    const uint64_t base = 0xfc000000;
    static const unsigned counts[][2] = { { 1, 1 }, { 4, 2 }, { ACPI_VCPUS_MAX, ACPI_VCPUS_MAX } };

    for (size_t k = 0; k < ARRAY_SIZE(counts); k++) {
        struct acpi_tables t;
        acpi_build(base, counts[k][0], counts[k][1], &t);
        assert_memory_equal(t.rsdp, "RSD PTR ", 8);
        assert_sums_to_zero(t.rsdp, 20);
        assert_sums_to_zero(t.rsdp, sizeof t.rsdp);
        const uint8_t *xsdt = t.tables + (get(t.rsdp + 24, 8) - base);
        assert_memory_equal(xsdt, "XSDT", 4);
        assert_sums_to_zero(xsdt, get(xsdt + 4, 4));
        assert_int_equal(get(xsdt + 4, 4), 36 + 2 * 8);
        const uint8_t *fadt = t.tables + (get(xsdt + 36, 8) - base), *madt = t.tables + (get(xsdt + 44, 8) - base);
        assert_memory_equal(fadt, "FACP", 4);
        assert_sums_to_zero(fadt, get(fadt + 4, 4));
        assert_true(get(fadt + 112, 4) & 1 << 20);
        const uint8_t *dsdt = t.tables + (get(fadt + 140, 8) - base);
        assert_memory_equal(dsdt, "DSDT", 4);
        assert_sums_to_zero(dsdt, get(dsdt + 4, 4));
        assert_memory_equal(madt, "APIC", 4);
        assert_sums_to_zero(madt, get(madt + 4, 4));
        unsigned all = 0, enabled = 0;
        for (const uint8_t *p = madt + 44; p < madt + get(madt + 4, 4); p += p[1]) {
            assert_int_equal(p[0], 0);
            assert_int_equal(p[3], 2 * all);
            enabled += p[4] & 1;
            all++;
        }
        assert_int_equal(all, counts[k][0]);
        assert_int_equal(enabled, counts[k][1]);
    }
}

UNIT_MAIN(cmocka_unit_test(disks_have_the_numbers_that_guests_expect), cmocka_unit_test(a_domain_is_laid_out),
          cmocka_unit_test(firmware_has_its_own_nodes), cmocka_unit_test(devices_have_two_ends_and_their_state_comes_last),
          cmocka_unit_test(tables_are_found_from_the_rsdp))
