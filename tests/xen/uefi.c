/* What a disk's EFI/BOOT/BOOTX64.EFI is in test-uefi.py: an application of the firmware's. It writes to the first serial line by itself
 * (the firmware's own words go there too), sets a variable and reads it again, waits by the firmware's clock and turns the machine off.
 * Built by the test: flat code that runs wherever it is put.  Offsets: UEFI specification 2.9, 4.3 to 4.5, 8.2. */
#include <stdbool.h>
#include <stdint.h>

typedef uint64_t (*service)(uint64_t, ...) __attribute__((ms_abi));

enum { TABLE_VENDOR = 0x18, TABLE_RUNTIME = 0x58, TABLE_BOOT = 0x60 };
enum { BOOT_STALL = 0xf8, RUNTIME_GET_VARIABLE = 0x48, RUNTIME_SET_VARIABLE = 0x58, RUNTIME_RESET = 0x68 };
enum { COM1 = 0x3f8, LINE_STATUS = COM1 + 5, LINE_FREE = 0x20, KEPT_AND_IN_BOTH_TIMES = 7, SHUTDOWN = 2, TICKS = 12, TICK_US = 500000 };

static void *at(void *table, unsigned offset) { return *(void **)((char *)table + offset); }
static service of(void *table, unsigned offset) { return (service)at(table, offset); }

static uint8_t in(uint16_t port)
{
    uint8_t value;

    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static void say(char c)
{
    while (!(in(LINE_STATUS) & LINE_FREE)) { }
    __asm__ volatile("outb %0, %1" : : "a"(c), "Nd"((uint16_t)COM1));
}

static void say_text(const char *s) { while (*s) say(*s++); }

static void say_wide(const uint16_t *s) { while (*s) say((char)*s++); }

static void say_number(uint64_t n)
{
    if (n > 9) say_number(n / 10);
    say((char)('0' + n % 10));
}

static const uint16_t name[] = { 'R', 'i', 'g', 0 };
static const uint8_t owner[16] = { 0x3b, 0x5f, 0x52, 0x71, 0x0c, 0x9d, 0x4c, 0x4f, 0x8a, 0x77, 0x12, 0x5e, 0x60, 0x31, 0xd2, 0x9a };

/* A number under a name of ours; 0 = there is none. */
static uint64_t variable(void *runtime)
{
    uint64_t found = 0, size = sizeof found;

    return of(runtime, RUNTIME_GET_VARIABLE)((uint64_t)name, owner, (void *)0, &size, &found) || size != sizeof found ? 0 : found;
}

/* False when it is not what was set. */
static bool keeps_variable(void *runtime, uint64_t number)
{
    uint64_t size = sizeof number;

    if (of(runtime, RUNTIME_SET_VARIABLE)((uint64_t)name, owner, (uint64_t)KEPT_AND_IN_BOTH_TIMES, size, &number)) return false;
    return variable(runtime) == number;
}

__attribute__((ms_abi, section(".text.first"))) uint64_t start(void *image, void *table)
{
    (void)image;
    say_text("\r\nuserland: application of ");
    say_wide(at(table, TABLE_VENDOR));
    say_text("\r\n");
    const uint64_t before = variable(at(table, TABLE_RUNTIME));
    say_text("variable was ");
    say_number(before);
    say_text("\r\n");
    say_text(keeps_variable(at(table, TABLE_RUNTIME), before ? before + 1 : 42) ? "variable kept\r\n" : "variable lost\r\n");
    for (uint64_t n = 1; n <= TICKS; n++) {
        of(at(table, TABLE_BOOT), BOOT_STALL)(TICK_US);
        say_text("tick ");
        say_number(n);
        say_text("\r\n");
    }
    of(at(table, TABLE_RUNTIME), RUNTIME_RESET)(SHUTDOWN, 0UL, 0UL, 0UL);
    return 0;
}
