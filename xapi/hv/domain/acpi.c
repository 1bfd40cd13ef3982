/* ACPI tables of a PVH guest (ACPI specification 5.1): XSDT, a FADT that says "hardware-reduced", MADT, an empty DSDT.
 * Called by: domain/build.c.  Calls: nothing. */
#include "xapi/hv/domain/acpi.h"

#include <assert.h>

enum {
    HEADER_BYTES = 36,
    FADT_BYTES = 268,
    FADT_REVISION = 5,
    XSDT_BYTES = HEADER_BYTES + 2 * 8,
    MADT_BYTES = HEADER_BYTES + 8,
    LAPIC_BYTES = 8,
    ALIGN = 16,
    /* offsets in the FADT */
    FADT_DSDT = 40,
    FADT_BOOT_ARCH = 109,
    FADT_FLAGS = 112,
    FADT_X_DSDT = 140,
    /* bits */
    BOOT_ARCH_NO_VGA = 1 << 2,
    BOOT_ARCH_NO_RTC = 1 << 5,
    FLAGS_WBINVD = 1 << 0,
    FLAGS_NO_POWER_BUTTON = 1 << 4,
    FLAGS_NO_SLEEP_BUTTON = 1 << 5,
    FLAGS_HW_REDUCED = 1 << 20,
};
static const uint32_t lapic_address = UINT32_C(0xfee00000);

static void put(uint8_t *at, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) at[i] = (uint8_t)(value >> (8 * i));
}

/* Makes the bytes add up to zero. */
static void seal(const uint8_t *table, size_t len, uint8_t *checksum)
{
    unsigned sum = 0;

    *checksum = 0;
    for (size_t i = 0; i < len; i++) sum += table[i];
    *checksum = (uint8_t)(0x100 - (sum & 0xff));
}

/* Room for a table with its header filled in but for the checksum. */
static uint8_t *begin(struct acpi_tables *t, const char *signature, uint8_t revision, size_t len, size_t *ret_at)
{
    size_t at = (t->len + ALIGN - 1) / ALIGN * ALIGN;
    uint8_t *table = t->tables + at;

    assert(at + len <= sizeof t->tables);
    memcpy(table, signature, 4);
    put(table + 4, len, 4);
    table[8] = revision;
    memcpy(table + 10, "Xen   HVM     ", 14);      /* as Xen's own tools have it */
    memcpy(table + 28, "HVML", 4);
    t->len = at + len;
    *ret_at = at;
    return table;
}

void acpi_build(uint64_t address, unsigned vcpus, unsigned online, struct acpi_tables *ret)
{
    size_t dsdt_at, fadt_at, madt_at, xsdt_at;

    assert(vcpus >= 1 && vcpus <= ACPI_VCPUS_MAX);
    memset(ret, 0, sizeof *ret);
    uint8_t *dsdt = begin(ret, "DSDT", 2, HEADER_BYTES, &dsdt_at);
    seal(dsdt, HEADER_BYTES, dsdt + 9);

    uint8_t *fadt = begin(ret, "FACP", FADT_REVISION, FADT_BYTES, &fadt_at);
    put(fadt + FADT_DSDT, address + dsdt_at, 4);
    put(fadt + FADT_BOOT_ARCH, BOOT_ARCH_NO_VGA | BOOT_ARCH_NO_RTC, 2);
    put(fadt + FADT_FLAGS, FLAGS_WBINVD | FLAGS_NO_POWER_BUTTON | FLAGS_NO_SLEEP_BUTTON | FLAGS_HW_REDUCED, 4);
    put(fadt + FADT_X_DSDT, address + dsdt_at, 8);
    seal(fadt, FADT_BYTES, fadt + 9);

    size_t madt_len = MADT_BYTES + (size_t)vcpus * LAPIC_BYTES;
    uint8_t *madt = begin(ret, "APIC", 2, madt_len, &madt_at);
    put(madt + HEADER_BYTES, lapic_address, 4);
    for (unsigned i = 0; i < vcpus; i++) {
        uint8_t *lapic = madt + MADT_BYTES + i * LAPIC_BYTES;
        lapic[1] = LAPIC_BYTES;
        lapic[2] = (uint8_t)i;                /* type 0: processor, local APIC */
        lapic[3] = (uint8_t)(2 * i);          /* as Xen numbers them */
        lapic[4] = i < online;
    }
    seal(madt, madt_len, madt + 9);

    uint8_t *xsdt = begin(ret, "XSDT", 1, XSDT_BYTES, &xsdt_at);
    put(xsdt + HEADER_BYTES, address + fadt_at, 8);
    put(xsdt + HEADER_BYTES + 8, address + madt_at, 8);
    seal(xsdt, XSDT_BYTES, xsdt + 9);

    memcpy(ret->rsdp, "RSD PTR ", 8);
    memcpy(ret->rsdp + 9, "Xen   ", 6);
    ret->rsdp[15] = 2;
    put(ret->rsdp + 20, ACPI_RSDP_BYTES, 4);
    put(ret->rsdp + 24, address + xsdt_at, 8);
    seal(ret->rsdp, 20, ret->rsdp + 8);
    seal(ret->rsdp, ACPI_RSDP_BYTES, ret->rsdp + 32);
}
