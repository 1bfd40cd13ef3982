/* Does KVM work here? Asking /dev/kvm is not enough: some answer every ioctl and never run the guest.
 * Called by: libvirt.c.  Calls: subproc, QEMU. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "xapi/hv/libvirt_int.h"

#define LOG_MODULE "hv"
#include "lib/log.h"

enum { ROM_BYTES = 65536, RESET_VECTOR = 0xfff0, TEST_MS = 5000, EXIT_MARK = 0x2a };

/* The guest: a ROM whose first instructions tell QEMU's exit device, which makes QEMU exit with (mark << 1)
 * | 1. */
static int write_rom(const char *path)
{
    static const unsigned char code[] = { 0xb0, EXIT_MARK,      /* mov al, mark */
                                          0xe6, 0xf4,           /* out 0xf4, al */
                                          0xf4 };               /* hlt */
    char *rom = xcalloc(1, ROM_BYTES);

    memcpy(rom + RESET_VECTOR, code, sizeof code);
    int rc = write_file_atomic(path, rom, ROM_BYTES, 0600);
    free(rom);
    return rc;
}

static bool run_guest(const char *emulator, const char *rom)
{
    const char *const argv[] = {
        emulator,
        "-machine",
        "pc,accel=kvm",
        "-cpu",
        "host", /* as guests get it: some hosts fail only when its registers are set */
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-no-reboot",
        "-m",
        "16",
        "-bios",
        rom,
        "-device",
        "isa-debug-exit,iobase=0xf4,iosize=0x01",
        NULL
    };
    const struct subproc_command cmd = { .argv = argv };
    const struct subproc_limits limits = { .timeout_ms = TEST_MS, .grace_ms = 200 };
    _cleanup_subproc_result_ struct subproc_result r = { .code = 0 };

    if (subproc_run(&cmd, "", 0, &limits, &r) < 0) return false;
    bool ok = r.end == SUBPROC_EXITED && r.code == (EXIT_MARK << 1 | 1);
    _cleanup_free_ char *why = subproc_describe(&r);
    log_info("libvirt: KVM self-test: %s", ok ? "works" : why);
    return ok;
}

bool lv_kvm_works(const char *emulator, const char *dir)
{
    _cleanup_free_ char *rom = xasprintf("%s/kvm-test.rom", dir), *verdict = xasprintf("%s/kvm-test", dir);
    _cleanup_free_ char *boot = NULL, *old = NULL;
    struct stat st;

    if (access("/dev/kvm", R_OK | W_OK) < 0 || stat(emulator, &st) < 0) return false;
    /* A hanging test costs seconds: one for each boot and emulator. */
    if (read_file("/proc/sys/kernel/random/boot_id", 256, &boot, NULL) < 0) boot = xstrdup("");
    boot[strcspn(boot, "\n")] = '\0';
    _cleanup_free_ char *yes = xasprintf("%s %s %jd yes\n", boot, emulator, (intmax_t)st.st_mtime);
    _cleanup_free_ char *no = xasprintf("%s %s %jd no\n", boot, emulator, (intmax_t)st.st_mtime);
    if (read_file(verdict, 4096, &old, NULL) == 0 && (streq(old, yes) || streq(old, no)))
        return streq(old, yes);
    bool works = write_rom(rom) == 0 && run_guest(emulator, rom);
    const char *text = works ? yes : no;
    if (write_file_atomic(verdict, text, strlen(text), 0600) < 0) log_warn("%s: cannot be written", verdict);
    return works;
}
