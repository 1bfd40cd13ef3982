/* The daemon's capabilities.
 * Called by: main.  Calls: capset(2).
 *
 * Parsers of what strangers send have a process of their own with nothing at all (helper/confine.c). The daemon needs most of what
 * makes root root; what it does not need (modules, raw devices, the clock, booting, BPF, others' security labels, and whatever a
 * later kernel adds) is gone before its first thread runs, so that no mistake of its own reaches that part of the kernel. */
#include "xapi/privileges.h"

#include <linux/capability.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/util.h"

/* What is kept, and for what. doc/security.md has the same table, and a test compares. */
static const int kept[] = {
    CAP_CHOWN,              /* disks and variables are given to QEMU's account */
    CAP_DAC_OVERRIDE,       /* and written there */
    CAP_DAC_READ_SEARCH,
    CAP_FOWNER,
    CAP_FSETID,
    CAP_KILL,               /* helpers and QEMU run as other accounts */
    CAP_SETGID,
    CAP_SETUID,
    CAP_SETPCAP,
    CAP_NET_BIND_SERVICE,   /* ports 80 and 443 */
    CAP_NET_ADMIN,          /* bridges, bonds, addresses, limits, locks */
    CAP_NET_RAW,
    CAP_IPC_LOCK,           /* buffers of hypercalls */
    CAP_SYS_PTRACE,         /* /proc of processes with more capabilities than these: libvirtd, drivers */
    CAP_SYS_ADMIN,          /* mounts, the namespace of QEMU's disks */
    CAP_SYS_NICE,           /* threads that get their priority back */
    CAP_SYS_RESOURCE,       /* descriptors */
    CAP_MKNOD,              /* device nodes in that namespace */
    CAP_SYSLOG,             /* host.dmesg */
};

int privileges_drop(void)
{
    struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct have[_LINUX_CAPABILITY_U32S_3];
    uint32_t keep[_LINUX_CAPABILITY_U32S_3] = { 0 };

    if (geteuid()) return 0;
    if (syscall(SYS_capget, &head, have)) return -1;
    for (size_t i = 0; i < ARRAY_SIZE(kept); i++) keep[CAP_TO_INDEX(kept[i])] |= CAP_TO_MASK(kept[i]);
    for (size_t i = 0; i < ARRAY_SIZE(keep); i++) {
        have[i].effective &= keep[i];
        have[i].permitted &= keep[i];
        have[i].inheritable &= keep[i];
    }
    return syscall(SYS_capset, &head, have) ? -1 : 0;
}
