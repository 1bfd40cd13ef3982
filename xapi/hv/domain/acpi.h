/* ACPI tables of a PVH guest: which processors there are, and that there is no legacy hardware.
 * Called by: domain/build.c, its unit test.  Calls: nothing. */
#ifndef XAPI_HV_DOMAIN_ACPI_H
#define XAPI_HV_DOMAIN_ACPI_H

#include "lib/util.h"

enum { ACPI_RSDP_BYTES = 36, ACPI_TABLES_MAX = 8192, ACPI_VCPUS_MAX = 128 };

/* The RSDP stands alone: the builder populates each module's pages separately, so that one which shares a page
 * with the tables would be lost. */
struct acpi_tables {
    uint8_t rsdp[ACPI_RSDP_BYTES];
    size_t len;                          /* of tables */
    uint8_t tables[ACPI_TABLES_MAX];     /* XSDT, FADT, MADT, DSDT, to lie at `address` */
};

/* vcpus: 1..ACPI_VCPUS_MAX, of which the first `online` are enabled; the others may be plugged later. */
void acpi_build(uint64_t address, unsigned vcpus, unsigned online, struct acpi_tables *ret);

#endif
